//! The outermost layer: reads the path, gives the call its id and the configuration it will see all
//! its way, and turns every refusal into an answer in the caller's dialect.
//!
//! Needs nothing. Adds the [`Arrival`].

use super::body::AnswerBody;
use super::endpoint::{self, Endpoint, Target};
use super::{Code, Refused, headers, trace};
use crate::dialect::Dialect;
use crate::dialect::refusal::Family;
use crate::gateway::{Gateway, Live};
use crate::units::RequestId;
use http::{HeaderMap, HeaderValue, Request, Response};
use pin_project_lite::pin_project;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tower::Service;

/// What is known of a call before any stage looks at it.
#[derive(Clone)]
pub struct Arrival {
    /// What its path asks for.
    pub target: Target,
    /// `x-bursar-request-id`
    pub id: RequestId,
    /// When its head was read.
    pub at: Instant,
    /// The configuration that it sees all its way.
    pub live: Arc<Live>,
}

/// The service.
#[derive(Clone)]
pub struct Respond<S> {
    gateway: Arc<Gateway>,
    inner: S,
}

impl<S> Respond<S> {
    pub(super) const fn new(gateway: Arc<Gateway>, inner: S) -> Self {
        Self { gateway, inner }
    }
}

impl<S, B> Service<Request<B>> for Respond<S>
where
    S: Service<Request<B>, Response = Response<AnswerBody>, Error = Refused>,
{
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Responding<S::Future>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // No stage reserves anything before it has a request.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let id = request_id();
        let live = self.gateway.live();
        let shape = Shape {
            anthropic: request.headers().contains_key(&headers::ANTHROPIC_VERSION),
            refusal_status: live.config().bounds.refusal_status,
            id: HeaderValue::from_str(id.as_str()).ok(),
            gateway: Arc::clone(&self.gateway),
        };
        let most = live.config().listen.max_header_bytes;
        if head_bytes(&request) > most {
            let message = format!("The request's head is larger than {most} bytes.");
            let refused = Refused::new(Code::InvalidRequest, &message).status(431);
            return Responding::refused(refused, shape);
        }
        let target = endpoint::read(request.uri().path(), *request.method() == http::Method::GET);
        let (target, shape) = match target {
            None => {
                let refused = Refused::new(Code::InvalidRequest, "The path is malformed.");
                return Responding::refused(refused, shape);
            }
            Some(Target {
                endpoint: Endpoint::Unknown,
                ..
            }) => {
                let message = "There is nothing here. Endpoints stand below /v1: /v1/chat/completions, /v1/responses, /v1/messages …";
                let refused = Refused::new(Code::InvalidRequest, message).status(404);
                return Responding::refused(refused, shape);
            }
            Some(target) => {
                let anthropic = shape.anthropic
                    || matches!(
                        target.endpoint,
                        Endpoint::Metered(Dialect::AnthropicMessages) | Endpoint::CountTokens
                    );
                (target, Shape { anthropic, ..shape })
            }
        };
        let at = Instant::now();
        request.extensions_mut().insert(Arrival {
            target,
            id,
            at,
            live,
        });
        Responding::Inner {
            future: self.inner.call(request),
            shape: Some(shape),
        }
    }
}

/// What a refusal's form depends on.
pub struct Shape {
    anthropic: bool,
    refusal_status: u16,
    gateway: Arc<Gateway>,
    id: Option<HeaderValue>,
}

pin_project! {
    /// The answer, whatever became of the call.
    #[project = RespondingProj]
    pub enum Responding<F> {
        /// On its way.
        Inner { #[pin] future: F, shape: Option<Shape> },
        /// Refused at the door.
        Refused { answer: Option<Response<AnswerBody>> },
    }
}

impl<F> Responding<F> {
    fn refused(refused: Refused, shape: Shape) -> Self {
        Self::Refused {
            answer: Some(render(refused, shape)),
        }
    }
}

impl<F> Future for Responding<F>
where
    F: Future<Output = Result<Response<AnswerBody>, Refused>>,
{
    type Output = Result<Response<AnswerBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            RespondingProj::Inner { future, shape } => {
                let result = ready!(future.poll(cx));
                let Some(shape) = shape.take() else {
                    return Poll::Pending;
                };
                Poll::Ready(Ok(match result {
                    Ok(mut answer) => {
                        stamp(answer.headers_mut(), shape.id);
                        answer
                    }
                    Err(refused) => render(refused, shape),
                }))
            }
            RespondingProj::Refused { answer } => match answer.take() {
                Some(answer) => Poll::Ready(Ok(answer)),
                None => Poll::Pending,
            },
        }
    }
}

/// The length of a head in bytes, as HTTP/1 writes it or nearly so. hyper reads a little more than its
/// bound before it looks.
fn head_bytes<B>(request: &Request<B>) -> usize {
    let uri = request.uri();
    let target = uri.path().len() + uri.query().map_or(0, str::len);
    let headers = request.headers().iter();
    let each = headers.map(|(name, value)| name.as_str().len() + value.len() + 4);
    target + each.sum::<usize>()
}

/// `req_` and 32 hex digits. None has `429` in it: refusals name ids, and no message of theirs may hold
/// what clients take for a reason to come again.
pub(super) fn request_id() -> RequestId {
    let mut text = *b"req_00000000000000000000000000000000";
    loop {
        trace::hex(trace::random(), &mut text[4..]);
        if !text.windows(3).any(|three| three == b"429") {
            break;
        }
    }
    RequestId::from(std::str::from_utf8(&text).unwrap_or("req_"))
}

fn stamp(headers: &mut HeaderMap, id: Option<HeaderValue>) {
    if let Some(id) = id {
        headers.insert(&headers::REQUEST_ID, id);
    }
}

fn render(refused: Refused, shape: Shape) -> Response<AnswerBody> {
    let Refused { refusal, headers } = refused;
    let family = if shape.anthropic {
        Family::Anthropic
    } else {
        Family::Openai
    };
    let refusal = refusal.with_refusal_status(shape.refusal_status);
    shape
        .gateway
        .metrics
        .denied(refusal.code().name(), refusal.limit().unwrap_or("-"));
    let mut answer = refusal.response(family).map(AnswerBody::Whole);
    answer.headers_mut().extend(headers);
    stamp(answer.headers_mut(), shape.id);
    answer
}

#[cfg(test)]
mod tests {
    use super::request_id;

    #[test]
    fn no_id_reads_like_a_reason_to_come_again() {
        let ids: Vec<_> = (0..20_000).map(|_| request_id()).collect();
        assert!(ids.iter().all(|id| !id.as_str().contains("429")));
        assert!(ids.iter().all(|id| id.as_str().len() == 36));
    }
}
