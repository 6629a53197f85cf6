//! A stream whose call waits for a person: its head is sent before the provider's, comments keep it
//! alive, then the answer's own events follow, or the dialect's error event in mid-stream.

use super::body::{AnswerBody, BodyError};
use super::meter::Whole;
use super::{Code, Refused};
use crate::dialect::Dialect;
use crate::dialect::answer::{Cut, StreamFilter};
use crate::dialect::refusal::Refusal;
use crate::gateway::Gateway;
use crate::units::EscalationId;
use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body::Body;
use serde_json::Value;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// Between two comments, and before the first: an answer that comes sooner needs none.
pub const BEAT: Duration = Duration::from_secs(5);
/// What of a provider's error message is passed on, bytes.
const MESSAGE_BYTES_MAX: usize = 500;

/// What is waited for.
pub type Going = Pin<Box<dyn Future<Output = Result<Response<AnswerBody>, Refused>> + Send>>;

/// The body of such a stream.
pub struct Held {
    state: State,
    gateway: Arc<Gateway>,
    dialect: Dialect,
    comment: Bytes,
    /// The comment is due at once.
    due: bool,
    beat: Pin<Box<Sleep>>,
}

enum State {
    Waiting(Going),
    Passing(AnswerBody),
    Over(Option<Whole>),
}

/// The head, and a body that waits.
pub fn open(
    gateway: Arc<Gateway>,
    dialect: Dialect,
    id: &EscalationId,
    going: Going,
) -> Response<AnswerBody> {
    let held = Held {
        state: State::Waiting(going),
        gateway,
        dialect,
        comment: format!(": waiting for a person ({id})\n\n").into(),
        due: true,
        beat: Box::pin(sleep_until(Instant::now() + BEAT)),
    };
    let mut answer = Response::new(AnswerBody::Held(Box::new(held)));
    let headers = answer.headers_mut();
    let kind = HeaderValue::from_static("text/event-stream; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, kind);
    let cache = HeaderValue::from_static("no-cache");
    headers.insert(header::CACHE_CONTROL, cache);
    if let Ok(id) = HeaderValue::from_str(id.as_str()) {
        headers.insert("x-bursar-escalation", id);
    }
    answer
}

impl Held {
    /// What became of it, once it is over.
    #[must_use]
    pub const fn whole(&self) -> Option<Whole> {
        match &self.state {
            State::Over(whole) => *whole,
            State::Waiting(_) | State::Passing(_) => None,
        }
    }

    /// The next piece for the caller.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            match &mut self.state {
                State::Over(_) => return Poll::Ready(None),
                State::Passing(body) => {
                    let frame = std::task::ready!(Pin::new(&mut *body).poll_frame(cx));
                    match frame.map(|frame| frame.map(http_body::Frame::into_data)) {
                        Some(Ok(Ok(data))) => return Poll::Ready(Some(Ok(data))),
                        // Trailers: nothing that a client reads.
                        Some(Ok(Err(_))) => {}
                        Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                        None => self.state = State::Over(body.whole()),
                    }
                }
                State::Waiting(going) => {
                    if let Poll::Ready(answer) = going.as_mut().poll(cx) {
                        if let Some(ending) = self.answered(answer) {
                            return Poll::Ready(Some(Ok(ending)));
                        }
                        continue;
                    }
                    return self.poll_beat(cx).map(|comment| Some(Ok(comment)));
                }
            }
        }
    }

    fn poll_beat(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        if !std::mem::take(&mut self.due) {
            std::task::ready!(self.beat.as_mut().poll(cx));
        }
        let next = Instant::now() + BEAT;
        self.beat.as_mut().reset(next);
        Poll::Ready(self.comment.clone())
    }

    /// The answer's head is there: its stream passes. Anything else becomes an error event.
    fn answered(&mut self, answer: Result<Response<AnswerBody>, Refused>) -> Option<Bytes> {
        let refusal = match answer {
            Ok(answer) => {
                let status = answer.status();
                match answer.into_body() {
                    body @ AnswerBody::Metered(_) => {
                        self.state = State::Passing(body);
                        return None;
                    }
                    AnswerBody::Whole(body) => provider_refused(status, &body),
                    _ => Refusal::new(
                        Code::UpstreamError,
                        "The provider's answer is no event stream.",
                    ),
                }
            }
            Err(refused) => {
                let limit = refused.refusal.limit().unwrap_or("-");
                let code = refused.refusal.code().name();
                self.gateway.metrics.denied(code, limit);
                *refused.refusal
            }
        };
        self.state = State::Over(None);
        let mut stream = StreamFilter::new(self.dialect, false);
        Some(stream.cut(Cut::Error(&refusal)))
    }
}

/// An error answer of the provider, whose head cannot be sent any more.
fn provider_refused(status: http::StatusCode, body: &[u8]) -> Refusal {
    let body: Option<Value> = serde_json::from_slice(body).ok();
    let said = body
        .as_ref()
        .and_then(|body| body["error"]["message"].as_str());
    let said: String = said
        .unwrap_or("no message")
        .chars()
        .take(MESSAGE_BYTES_MAX)
        .collect();
    let message = format!(
        "The provider answered with status {}: {said}",
        status.as_u16()
    );
    Refusal::new(Code::UpstreamError, &message)
}
