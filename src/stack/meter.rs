//! Reads what the call cost out of the answer as it passes, and ends the hold: settle, void, or
//! doubt, by the table of endings.
//!
//! Needs the record that `admit` opened. Adds the cost to plain answers. Whatever becomes of the
//! caller, the exchange with the provider is seen through to its usage for a bounded time.

mod error;
mod finish;
mod framed;
mod plain;
mod stream;

pub use stream::{Metered, Whole};

use super::body::{AnswerBody, Upstream};
use super::failed::{Cure, Failed, NoAnswer};
use super::gate::boxed;
use super::record::{Outcome, Record};
use super::retry::Again;
use super::upstream::Outgoing;
use super::{Code, Refused};
use crate::dialect::answer::{BodyBuffer, StreamFilter};
use crate::gateway::Provider;
use error::{shed, unreached, unsigned};
use finish::see_through;
use futures_util::future::{Either, select};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body::Body;
use hyper_util::client::legacy::ResponseFuture;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::time::{Instant, timeout_at};
use tower::Service;
/// The content type of a translated answer.
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The service.
#[derive(Clone)]
pub struct Meter<S> {
    pub(super) inner: S,
}

/// A call that may leave: its request and its open record.
pub struct Admitted {
    /// What goes to the provider.
    pub request: Request<Outgoing>,
    /// What is known of the call; owns the hold. Boxed, for it is handed on several times.
    pub record: Box<Record>,
}

impl<S> Service<Admitted> for Meter<S>
where
    S: Service<
            (Arc<Provider>, Request<Outgoing>),
            Response = ResponseFuture,
            Error = std::convert::Infallible,
        > + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<AnswerBody>;
    type Error = NoAnswer;
    type Future = Pin<Box<dyn Future<Output = Result<Response<AnswerBody>, NoAnswer>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), NoAnswer>> {
        self.inner.poll_ready(cx).map_err(|never| match never {})
    }

    fn call(&mut self, admitted: Admitted) -> Self::Future {
        let Admitted {
            mut request,
            mut record,
        } = admitted;
        let mut inner = self.inner.clone();
        boxed(move || async move {
            if let Err(refused) = record.take_place().await {
                return Err(shed(record, refused));
            }
            if let Err(why) = record.provider.authorize(request.headers_mut()).await {
                return Err(unsigned(record, &why));
            }
            let mut again = Again::of(&record, &request);
            loop {
                record.sent();
                let sending = inner.call((Arc::clone(&record.provider), request));
                let Ok(future) = sending.await;
                record.forget_body();
                let underway = Underway {
                    part: Some(Part::Sent(future)),
                    record: Some(record),
                };
                match (underway.answer().await, &mut again) {
                    (Err(NoAnswer::Failed(failed)), Some(again)) => {
                        (request, record) = again.next(failed).await?;
                    }
                    (answer, _) => return answer,
                }
            }
        })
    }
}

/// How far an exchange has come.
enum Part {
    /// The request is on its way; no answer yet.
    Sent(ResponseFuture),
    /// A plain answer is being collected.
    Plain(Upstream, Box<BodyBuffer>),
    /// A stream passes.
    Stream(Upstream, Box<StreamFilter>),
}

/// An exchange with a provider that somebody must see through. Dropped half-way (the caller hung
/// up, the stream was cut), it goes on in a task of its own.
struct Underway {
    part: Option<Part>,
    record: Option<Box<Record>>,
}

impl Drop for Underway {
    fn drop(&mut self) {
        if let (Some(part), Some(record)) = (self.part.take(), self.record.take()) {
            see_through(part, record);
        }
    }
}

impl Underway {
    async fn answer(mut self) -> Result<Response<AnswerBody>, NoAnswer> {
        let response = self.head().await?;
        let (mut parts, body) = response.into_parts();
        let body = unpack(&mut parts.headers, body);
        super::upstream::strip_hop_by_hop(&mut parts.headers);
        let Some(record) = &mut self.record else {
            return Err(Refused::internal("no record").into());
        };
        record.answered(parts.status);
        record.stamp(&mut parts.headers);
        if !parts.status.is_success() || is_page(&parts.headers) {
            return self.error_answer(parts, body).await;
        }
        if is_event_stream(&parts.headers) {
            parts.headers.remove(header::CONTENT_LENGTH);
            record.stamp_remaining(&mut parts.headers);
            let (dialect, keep) = (record.call.dialect, record.keep());
            let mut filter = StreamFilter::new(dialect, record.hide_usage).keeping(keep);
            if record.listens() {
                filter = filter.listening();
            }
            self.part = Some(Part::Stream(body, Box::new(filter)));
            let metered = Metered::new(self);
            return Ok(Response::from_parts(
                parts,
                AnswerBody::Metered(Box::new(metered)),
            ));
        }
        let length = body.size_hint().exact();
        self.part = Some(Part::Plain(
            body,
            Box::new(BodyBuffer::new(record.call.dialect, length).keeping(record.keep())),
        ));
        Ok(self.plain_answer(parts).await?)
    }

    /// Waits for the head of the answer.
    async fn head(&mut self) -> Result<Response<hyper::body::Incoming>, NoAnswer> {
        let (Some(Part::Sent(future)), Some(record)) = (&mut self.part, &self.record) else {
            return Err(Refused::internal("an exchange begins by being sent").into());
        };
        let flight = Arc::clone(record.flight());
        let (since, patience) = (Instant::now(), record.provider.timeouts.first_byte);
        let waited = loop {
            let by = record.until(since, patience);
            let answer = pin!(timeout_at(by, &mut *future));
            match select(answer, pin!(flight.stop())).await {
                // The clock of a deadline may have stood still meanwhile.
                Either::Left((Err(_), _))
                    if !record.is_over() && !record.is_out_of_patience(since, patience) => {}
                Either::Left((answer, _)) => break Ok(answer),
                Either::Right((stop, _)) => break Err(stop),
            }
        };
        match waited {
            Ok(Ok(Ok(response))) => Ok(response),
            Ok(Ok(Err(error))) => {
                self.part = None;
                let Some(record) = self.record.take() else {
                    return Err(Refused::internal("no record").into());
                };
                Err(NoAnswer::Failed(unreached(record, &error)))
            }
            Ok(Err(_)) if record.is_over() => Err(record.deadline_refusal().into()),
            Ok(Err(_)) => {
                self.part = None;
                let Some(record) = self.record.take() else {
                    return Err(Refused::internal("no record").into());
                };
                let provider = &record.provider.name;
                let message = format!("Provider `{provider}` did not answer in time.");
                let told = Err(Refused::new(Code::UpstreamTimeout, &message));
                let outcome = Outcome::Doubt("timeout");
                let failed = Failed::new(record, outcome, told, Cure::ANY);
                Err(NoAnswer::Failed(failed))
            }
            // Dropping `self` sees the exchange through.
            Err(stop) => Err(record.stop_refusal(stop).into()),
        }
    }
}

/// A page for people: no provider answers a call with that, but what stands before one may.
fn is_page(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE);
    value.is_some_and(|value| {
        let kind = value.as_bytes().get(..9);
        kind.is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/html"))
    })
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let value = headers
        .get(header::CONTENT_TYPE)
        .map(http::HeaderValue::as_bytes);
    value.is_some_and(|value| {
        value
            .get(..17)
            .is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/event-stream"))
    })
}

/// Unpacks a body that came compressed although nobody asked for it, or in binary frames.
fn unpack(headers: &mut HeaderMap, body: hyper::body::Incoming) -> Upstream {
    let body = decompressed(headers, body);
    framed::unframed(headers, body)
}

/// An encoding that Bursar cannot read passes as it came, and leaves the hold in doubt: no usage can be read.
fn decompressed(headers: &mut HeaderMap, body: hyper::body::Incoming) -> Upstream {
    let Some(encoding) = headers.get(header::CONTENT_ENCODING) else {
        return Upstream::Plain(body);
    };
    match super::decode::unpacked(encoding.as_bytes(), body) {
        Ok(unpacked) => {
            headers.remove(header::CONTENT_ENCODING);
            headers.remove(header::CONTENT_LENGTH);
            Upstream::Unpacked(unpacked)
        }
        Err(body) => Upstream::Plain(body),
    }
}
