//! The call's span: begins it where somebody exports spans, and lets a call that brings no trace join its
//! task's. From here on lines of the log say which call they are about.
//!
//! Needs whose call it is, the call and its [`Trace`]. Adds the [`CallSpan`], and changes the trace's id of a
//! call that brought none. On the way back it notes refusals. Where nothing is exported there is no span.

use super::body::AnswerBody;
use super::endpoint::Endpoint;
use super::respond::Arrival;
use super::trace::Trace;
use super::{Refused, arrival, headers};
use crate::attribution::Attribution;
use crate::dialect::Call;
use crate::gateway::Gateway;
use crate::log::{self, CallContext, OfCall};
use crate::stack::attribute::ids;
use crate::traces::{Beginning, CallSpan, Caller};
use http::{Extensions, HeaderMap, Request, Response};
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tower::Service;

/// Longest `tracestate` that a span tells, in bytes; a longer one only passes.
const STATE_BYTES_MAX: usize = 512;

/// The service.
#[derive(Clone)]
pub struct Span<S> {
    gateway: Arc<Gateway>,
    inner: S,
}

impl<S> Span<S> {
    pub(super) const fn new(gateway: Arc<Gateway>, inner: S) -> Self {
        Self { gateway, inner }
    }
}

impl<S, B> Service<Request<B>> for Span<S>
where
    S: Service<Request<B>, Response = Response<AnswerBody>, Error = Refused>,
{
    type Response = Response<AnswerBody>;
    type Error = Refused;
    type Future = OfCall<Spanned<S::Future>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let exports = !arrival(request.extensions()).live.exporting.is_off();
        let span = if exports {
            begin(&self.gateway, &mut request)
        } else {
            None
        };
        let call = context(request.extensions());
        // Stages may have something to say before they are polled.
        let future = log::at(call.clone(), || self.inner.call(request));
        log::within(call, Spanned { future, span })
    }
}

/// What the log calls it.
fn context(extensions: &Extensions) -> Option<CallContext> {
    Some(CallContext {
        request: arrival(extensions).id.clone(),
        ids: extensions.get::<Trace>()?.ids,
        whose: Arc::clone(extensions.get::<Arc<Attribution>>()?),
    })
}

fn begin<B>(gateway: &Gateway, request: &mut Request<B>) -> Option<Arc<CallSpan>> {
    let extensions = request.extensions();
    let Arrival {
        id,
        at,
        live,
        target,
        ..
    } = arrival(extensions);
    if !matches!(target.endpoint, Endpoint::Metered(_)) {
        return None;
    }
    let whose = extensions.get::<Arc<Attribution>>()?;
    let call = extensions.get::<Arc<Call>>()?;
    let mut trace = *extensions.get::<Trace>()?;
    let caller = trace.parent_span.map(|span| Caller {
        trace: trace.ids.trace,
        span,
        sampled: trace.is_sampled(),
    });
    let beginning = Beginning {
        whose,
        request: id,
        call,
        ids: trace.ids,
        caller,
        state: caller.and_then(|_| state(request.headers())),
        session: session(request.headers()),
        at: *at,
    };
    let (joined, span) = CallSpan::begin(&gateway.traces, &live.exporting, beginning);
    if caller.is_none() {
        trace.join(joined, span.is_some());
        request.extensions_mut().insert(trace);
    }
    if let Some(span) = &span {
        request.extensions_mut().insert(Arc::clone(span));
    }
    span
}

fn state(headers: &HeaderMap) -> Option<Arc<str>> {
    // More than one line of it is one list.
    let mut lines = headers.get_all(&headers::TRACESTATE).into_iter();
    let text = lines.next()?.to_str().ok()?;
    let fits = lines.next().is_none() && text.len() <= STATE_BYTES_MAX;
    fits.then(|| text.into())
}

/// What the caller calls its session, in baggage.
fn session(headers: &HeaderMap) -> Option<Arc<str>> {
    let values = headers.get_all(&headers::BAGGAGE).into_iter();
    let mut members = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(ids::baggage_members);
    let (_, value) = members.find(|(key, _)| *key == "session.id")?;
    ids::is_id(value).then(|| ids::decoded(value).into())
}

pin_project! {
    /// Notes a refusal on the way back.
    pub struct Spanned<F> {
        #[pin]
        future: F,
        span: Option<Arc<CallSpan>>,
    }
}

impl<F> Future for Spanned<F>
where
    F: Future<Output = Result<Response<AnswerBody>, Refused>>,
{
    type Output = Result<Response<AnswerBody>, Refused>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.future.poll(cx));
        let span = this.span.take();
        if let Err(refused) = &result {
            refused.log();
            if let Some(span) = span {
                span.refused(&refused.refusal);
            }
        }
        Poll::Ready(result)
    }
}
