//! One metered call: read it, decide what it produces, write the bill, answer.

use super::Shared;
use super::bedrock::{self, BedrockVoice};
use super::behaviour::{Behaviour, Ending, UsageShown, billed_status};
use super::bill::Charge;
use super::body::{Dropped, Pace, Receipt, SimBody};
use super::caller;
use super::chat::{self, ChatVoice};
use super::completions::{self, CompletionsVoice};
use super::embeddings::{self, Shape};
use super::gemini::{self, GeminiVoice};
use super::memory::{Cacheable, Remembered};
use super::messages::{self, MessagesVoice};
use super::plan::{Plan, Planner};
use super::refusal::{Refusal, quote};
use super::request::{self, Ask};
use super::responses::{self, Progress, ResponsesVoice};
use super::scenario::Step;
use super::script::{Script, Voice};
use super::words::Draw;
use crate::dialect::Dialect;
use crate::units::NanoUsd;
use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Room for an answer before it grows, in bytes.
const ANSWER_BYTES: usize = 2_048;
/// What an intermediary says in the place of an answer.
const PAGE: &[u8] = b"<!doctype html><title>Please wait</title><p>One moment, please.";
/// Keeps the draws for slowness and the like apart from both.
const MOOD: u64 = 0x0000_d00d_ca11;
/// Keeps the draws for failures apart from those for answers.
const CHANCE: u64 = 0xc4a7_ce00_fa11;

/// What a call will get; the bill knows it already.
enum Decided {
    Refused(Refusal),
    Planned(Box<Planned>),
}

struct Planned {
    plan: Arc<Plan>,
    behaviour: Behaviour,
    ending: Ending,
    stream: bool,
    shape: Option<Shape>,
    gzip: bool,
    receipt: Option<Receipt>,
}

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

/// Everything that happens at once: what the call produces, and its place on the bill.
fn decide(
    shared: &Arc<Shared>,
    dialect: Dialect,
    deployment: Option<&str>,
    head: &Parts,
    body: &Bytes,
) -> Decided {
    let ask = match (dialect, deployment) {
        (Dialect::Gemini, Some(model)) => gemini::read(head, model, body),
        _ => request::read(dialect, false, deployment, body),
    };
    let mut ask = match ask {
        Ok(ask) => ask,
        Err(refusal) => return Decided::Refused(refusal),
    };
    if dialect == Dialect::Bedrock {
        if let Some(refusal) = bedrock::unsigned(shared, head, body) {
            return Decided::Refused(refusal);
        }
        ask.stream = bedrock::path(head.uri.path()).is_some_and(|(_, stream)| stream);
    }
    if is_gone(shared, &ask.model) {
        return Decided::Refused(Refusal::missing_model(dialect, &ask.model));
    }
    let number = shared.calls.fetch_add(1, Ordering::Relaxed);
    let behaviour = moody(shared, Behaviour::of(&ask.model), number);
    let ending = ending(shared, &behaviour, number);
    if let Ending::Status(status) = ending
        && !billed_status(status)
    {
        return Decided::Refused(Refusal::simulated(dialect, status));
    }
    let remembered = match previous(shared, &ask) {
        Ok(remembered) => remembered,
        Err(refusal) => return Decided::Refused(refusal),
    };
    let before = remembered
        .as_ref()
        .map_or(0, |remembered| remembered.tokens);
    let held = remembered.and_then(|remembered| remembered.tools);
    let ask = match held.as_deref().filter(|_| ask.tools.is_empty()) {
        Some(held) => ask.with_tools(held),
        None => ask,
    };
    let input = ask.prompt.tokens(behaviour.dense) + before;
    if input > ask.card.window {
        return Decided::Refused(Refusal::too_long(dialect, input, ask.card.window));
    }
    let told = if behaviour.echo {
        Some(Arc::new(Step::Text(caller::echo(head, body))))
    } else {
        shared.scenarios.take(&ask)
    };
    let mut plan = plan(shared, &ask, &behaviour, input, number, told);
    let breaks_after = chunks(&plan, shared.settings.chunk_tokens) / 2;
    let mut billed = plan.tokens;
    if ending == Ending::Reset && ask.stream {
        let told = breaks_after * shared.settings.chunk_tokens;
        billed.output = billed.output.div_ceil(2).max(told.min(billed.output));
    }
    let mut cost = ask.card.charge(&billed);
    if behaviour.cost {
        // Less than the list price, so that nobody can mistake one for the other.
        cost = NanoUsd(u64::try_from((u128::from(cost.0) * 9).div_ceil(10)).unwrap_or(u64::MAX));
        plan.stated_cost = Some(cost);
    }
    let charge = Charge {
        cost,
        tokens: billed,
        turn: dialect.generates(),
    };
    let key = caller::key(&head.headers);
    let payer = caller::payer(&head.headers, ask.task.as_deref(), key.as_deref());
    shared.books.charge(&payer, &charge);
    let plan = Arc::new(plan);
    let is_response = dialect == Dialect::OpenaiResponses && (plan.store || plan.background);
    if is_response || ask.is_thread {
        let tokens = input + plan.tokens.output;
        let tools = ask.tools_json.map(|json| json.get().into());
        let remembered = Remembered {
            tokens,
            plan: Arc::clone(&plan),
            tools: tools.or_else(|| held.clone()).filter(|_| ask.is_thread),
        };
        shared.memory.remember(&plan.id, remembered);
    }
    Decided::Planned(Box::new(Planned {
        behaviour,
        ending,
        stream: ask.stream && dialect.generates(),
        shape: shape(&ask),
        gzip: behaviour.gzip && caller::takes_gzip(&head.headers),
        receipt: payer.request.map(|id| Receipt {
            shared: Arc::clone(shared),
            request: id.into(),
        }),
        plan,
    }))
}

/// What the settings' rates draw for this call beside its ending.
fn moody(shared: &Shared, behaviour: Behaviour, number: u64) -> Behaviour {
    let settings = &shared.settings;
    let mut chance = Draw::new(shared.seed ^ MOOD, number);
    let slow = chance.happens(settings.slow_rate);
    let silent = chance.happens(settings.no_usage_rate) && behaviour.usage == UsageShown::True;
    Behaviour {
        slow: behaviour.slow || slow,
        usage: if silent {
            UsageShown::Absent
        } else {
            behaviour.usage
        },
        ..behaviour
    }
}

/// The ending that the name asks for, else what the settings' rates draw for this call.
fn ending(shared: &Shared, behaviour: &Behaviour, number: u64) -> Ending {
    let settings = &shared.settings;
    let mut chance = Draw::new(shared.seed ^ CHANCE, number);
    match behaviour.ending {
        Ending::Flaky if chance.happens(0.05) => Ending::Status(500),
        Ending::Flaky | Ending::Full => {
            if chance.happens(settings.fail_rate) {
                let statuses = [500, 503, 429];
                let at = usize::try_from(chance.between(0, 2)).unwrap_or(0);
                Ending::Status(statuses[at])
            } else if chance.happens(settings.reset_rate) {
                if chance.happens(0.5) {
                    Ending::Reset
                } else {
                    Ending::ResetEarly
                }
            } else if chance.happens(settings.page_rate) {
                Ending::Page
            } else {
                Ending::Full
            }
        }
        named => named,
    }
}

/// The conversation that the caller only names.
fn previous(shared: &Shared, ask: &Ask<'_>) -> Result<Option<Remembered>, Refusal> {
    let Some(id) = &ask.previous_response else {
        return Ok(None);
    };
    let prefix = if ask.is_thread { "msg_" } else { "resp_" };
    let found = id
        .strip_prefix(prefix)
        .and_then(|id| shared.memory.recall(id));
    found.map(Some).ok_or_else(|| match ask.is_thread {
        true => Refusal::lost_thread(id),
        false => Refusal {
            code: Some("previous_response_not_found"),
            ..Refusal::about(
                "previous_response_id",
                format!("Previous response with id '{id}' not found."),
            )
        },
    })
}

/// A date at the end of a model's name: `2026-01-01`.
fn dated(model: &str) -> Option<&str> {
    let date = model.get(model.len().checked_sub(10)?..)?;
    let shape = |(at, byte): (usize, u8)| match at {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    };
    date.bytes().enumerate().all(shape).then_some(date)
}

/// A model that is asked for by a version of which there is none any more.
fn is_gone(shared: &Shared, model: &str) -> bool {
    let version = shared.version.lock();
    let date = version.as_ref().and_then(|_| dated(model));
    date.is_some_and(|date| version.as_deref() != Some(date))
}

fn plan(
    shared: &Shared,
    ask: &Ask<'_>,
    behaviour: &Behaviour,
    input: u64,
    number: u64,
    told: Option<Arc<Step>>,
) -> Plan {
    let id = format!(
        "{:016x}{number:08x}",
        Draw::new(shared.nonce, number).next()
    );
    let seed = xxhash_rust::xxh3::xxh3_64_with_seed(ask.model.as_bytes(), ask.prompt.digest);
    let draw = Draw::new(shared.seed, seed);
    let mut tokens = shared.memory.split(&Cacheable {
        dialect: ask.dialect,
        model: &ask.model,
        dense: behaviour.dense,
        frame: &ask.frame,
        marks: &ask.marks,
        input,
    });
    let mut outputs = Vec::new();
    if ask.dialect.generates() {
        let usual = &shared.settings.output_tokens;
        let planner = Planner {
            ask,
            behaviour,
            usual,
            id: &id,
            told,
            draw,
        };
        (outputs, tokens.output, tokens.reasoning) = planner.outputs();
    }
    let version = shared.version.lock().clone();
    let named = match version {
        Some(version) if dated(&ask.model).is_none() => format!("{}-{version}", ask.model),
        _ => ask.model.to_string(),
    };
    let mut model_json = BytesMut::with_capacity(named.len() + 2);
    quote(&mut model_json, &named);
    Plan {
        id,
        model_json: String::from_utf8_lossy(&model_json).into_owned(),
        created: crate::clock::now().0 / 1_000,
        outputs,
        tokens,
        usage: behaviour.usage,
        stated_cost: None,
        include_usage: ask.include_usage,
        cap: ask.cap,
        previous_response: ask.previous_response.as_deref().map(str::to_owned),
        background: ask.background && !ask.stream,
        store: ask.store,
        seed,
    }
}

fn shape(ask: &Ask<'_>) -> Option<Shape> {
    (ask.dialect == Dialect::OpenaiEmbeddings).then(|| Shape {
        vectors: ask.prompts,
        dimensions: ask
            .dimensions
            .unwrap_or_else(|| embeddings::usual_dimensions(&ask.model)),
        base64: ask.base64,
    })
}

fn chunks(plan: &Plan, chunk_tokens: u64) -> u64 {
    let parts = plan.outputs.iter().flat_map(|output| &output.parts);
    parts.map(|part| part.chunks(chunk_tokens)).sum()
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
