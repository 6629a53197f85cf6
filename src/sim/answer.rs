//! One metered call: read it, decide what it produces, write the bill, answer.

mod decide;

use super::Shared;
use super::bedrock::{self, BedrockVoice};
use super::behaviour::{Behaviour, Ending};
use super::body::{Dropped, Pace, SimBody};
use super::chat::{self, ChatVoice};
use super::completions::{self, CompletionsVoice};
use super::embeddings;
use super::gemini::{self, GeminiVoice};
use super::messages::{self, MessagesVoice};
use super::plan::Plan;
use super::refusal::Refusal;
use super::request;
use super::responses::{self, Progress, ResponsesVoice};
use super::script::{Script, Voice};
use crate::dialect::Dialect;
use bytes::{Bytes, BytesMut};
use decide::{Decided, Planned, chunks, decide};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

/// Room for an answer before it grows, in bytes.
const ANSWER_BYTES: usize = 2_048;
/// What an intermediary says in the place of an answer.
const PAGE: &[u8] = b"<!doctype html><title>Please wait</title><p>One moment, please.";
/// Answers one call. `deployment` is the model's name if the path has it.
///
/// # Errors
/// [`Dropped`] when the connection is to be dropped before the first byte.
pub async fn answer(
    shared: &Arc<Shared>,
    dialect: Dialect,
    deployment: Option<&str>,
    head: &Parts,
    body: &Bytes,
) -> Result<Response<SimBody>, Dropped> {
    let planned = match decide(shared, dialect, deployment, head, body) {
        Decided::Refused(refusal) => return Ok(refused(shared, dialect, &refusal)),
        Decided::Planned(planned) => planned,
    };
    let settings = &shared.settings;
    let slow = if planned.behaviour.slow {
        settings.slow_delay
    } else {
        Duration::ZERO
    };
    let mut latency = settings.latency + slow;
    if !planned.stream && planned.behaviour.reasoning {
        latency += settings.reasoning_delay;
    }
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    match planned.ending {
        Ending::ResetEarly => Err(Dropped),
        Ending::Page => Ok(typed(
            SimBody::whole(Bytes::from_static(PAGE), None),
            "text/html; charset=utf-8",
        )),
        // Billed already: the answer was produced behind the intermediary that lost it.
        Ending::Status(status) => Ok(error(shared, dialect, &Refusal::simulated(dialect, status))),
        _ if planned.stream => Ok(streamed(shared, dialect, *planned)),
        _ => Ok(plain(dialect, *planned)),
    }
}

/// Anthropic's free token count.
pub fn count_tokens(shared: &Shared, body: &[u8]) -> Response<SimBody> {
    let dialect = Dialect::AnthropicMessages;
    match request::read(dialect, true, None, body) {
        Err(refusal) => refused(shared, dialect, &refusal),
        Ok(ask) => {
            let dense = Behaviour::of(&ask.model).dense;
            json(format!("{{\"input_tokens\":{}}}", ask.prompt.tokens(dense)).into())
        }
    }
}

/// An error answer that costs nothing.
pub fn refused(shared: &Shared, dialect: Dialect, refusal: &Refusal) -> Response<SimBody> {
    shared.books.refused();
    error(shared, dialect, refusal)
}

/// An answer of 200 in JSON.
pub fn json(body: Bytes) -> Response<SimBody> {
    typed(SimBody::whole(body, None), "application/json")
}

fn typed(body: SimBody, kind: &'static str) -> Response<SimBody> {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn error(shared: &Shared, dialect: Dialect, refusal: &Refusal) -> Response<SimBody> {
    let mut response = json(refusal.body(dialect));
    if dialect == Dialect::Bedrock {
        bedrock::name_error(response.headers_mut(), refusal);
    }
    *response.status_mut() = refusal.status;
    if refusal.status == StatusCode::TOO_MANY_REQUESTS {
        let pause = shared.settings.retry_after;
        let seconds = pause.as_secs() + u64::from(pause.subsec_nanos() > 0);
        let headers = response.headers_mut();
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        if pause.subsec_nanos() > 0 {
            let ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
            headers.insert("retry-after-ms", HeaderValue::from(ms));
        }
    }
    response
}

fn streamed(shared: &Shared, dialect: Dialect, planned: Planned) -> Response<SimBody> {
    let Planned {
        plan,
        behaviour,
        ending,
        gzip,
        receipt,
        ..
    } = planned;
    let settings = &shared.settings;
    let voice: Box<dyn Voice> = match dialect {
        Dialect::OpenaiChat | Dialect::OpenaiEmbeddings => Box::new(ChatVoice::default()),
        Dialect::OpenaiCompletions => Box::new(CompletionsVoice::default()),
        Dialect::OpenaiResponses => Box::new(ResponsesVoice::default()),
        Dialect::AnthropicMessages => Box::new(MessagesVoice::default()),
        Dialect::Gemini => Box::new(GeminiVoice),
        Dialect::Bedrock => Box::new(BedrockVoice::default()),
    };
    let breaks =
        (ending != Ending::Full).then(|| (chunks(&plan, settings.chunk_tokens) / 2, ending));
    let id = request_id(&plan);
    let script = Script::new(
        plan,
        voice,
        settings.chunk_tokens,
        breaks,
        behaviour.usage_late,
    );
    let slow = if behaviour.slow {
        settings.slow_delay
    } else {
        Duration::ZERO
    };
    let pace = Pace {
        chunk: settings.chunk_pause() + slow,
        reasoning: settings.reasoning_delay,
        usage: settings.late_delay,
    };
    let mut response = typed(
        SimBody::told(script, pace, gzip, receipt),
        match dialect {
            Dialect::Bedrock => "application/vnd.amazon.eventstream",
            _ => "text/event-stream; charset=utf-8",
        },
    );
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    identify(headers, dialect, id);
    response
}

fn plain(dialect: Dialect, planned: Planned) -> Response<SimBody> {
    let Planned {
        plan,
        ending,
        shape,
        gzip,
        receipt,
        ..
    } = planned;
    let text = usize::try_from(plan.tokens.output.saturating_mul(4)).unwrap_or(0);
    let mut out = BytesMut::with_capacity(ANSWER_BYTES + text);
    match dialect {
        _ if ending == Ending::ErrorEvent => {
            out.extend_from_slice(&Refusal::simulated(dialect, 500).body(dialect));
        }
        Dialect::OpenaiChat => chat::plain(&plan, &mut out),
        Dialect::OpenaiCompletions => completions::plain(&plan, &mut out),
        Dialect::OpenaiResponses if plan.background => {
            responses::plain(&plan, Progress::Queued, &mut out);
        }
        Dialect::OpenaiResponses => responses::plain(&plan, Progress::Done, &mut out),
        Dialect::AnthropicMessages => messages::plain(&plan, &mut out),
        Dialect::Gemini => gemini::plain(&plan, &mut out),
        Dialect::Bedrock => bedrock::plain(&plan, &mut out),
        Dialect::OpenaiEmbeddings => {
            if let Some(shape) = shape {
                embeddings::plain(&plan, shape, &mut out);
            }
        }
    }
    let body = if gzip { gzipped(&out) } else { out.freeze() };
    let length = body.len();
    let body = match ending {
        Ending::Reset | Ending::Stall => SimBody::fragment(body.slice(..length / 2), ending),
        Ending::ErrorEvent => SimBody::whole(body, None),
        _ => SimBody::whole(body, receipt),
    };
    let mut response = typed(body, "application/json");
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    if gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    identify(headers, dialect, request_id(&plan));
    response
}

fn request_id(plan: &Plan) -> Option<HeaderValue> {
    HeaderValue::from_str(&plan.id).ok()
}

fn identify(headers: &mut HeaderMap, dialect: Dialect, id: Option<HeaderValue>) {
    let name = match dialect {
        Dialect::AnthropicMessages => "request-id",
        Dialect::Bedrock => "x-amzn-requestid",
        _ => "x-request-id",
    };
    if let Some(id) = id {
        headers.insert(name, id);
    }
}

fn gzipped(plain: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing into memory cannot fail.
    let _ = encoder.write_all(plain);
    encoder.finish().unwrap_or_default().into()
}
