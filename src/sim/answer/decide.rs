//! What a call gets: read, drawn, planned and put on the bill, all at once.

use super::super::Shared;
use super::super::bedrock;
use super::super::behaviour::{Behaviour, Ending, UsageShown, billed_status};
use super::super::bill::Charge;
use super::super::body::Receipt;
use super::super::caller;
use super::super::embeddings::{self, Shape};
use super::super::gemini;
use super::super::memory::{Cacheable, Remembered};
use super::super::plan::{Plan, Planner};
use super::super::refusal::{Refusal, quote};
use super::super::request::{self, Ask};
use super::super::scenario::Step;
use super::super::words::Draw;
use crate::dialect::Dialect;
use crate::units::NanoUsd;
use bytes::{Bytes, BytesMut};
use http::request::Parts;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Keeps the draws for slowness and the like apart from both.
const MOOD: u64 = 0x0000_d00d_ca11;
/// Keeps the draws for failures apart from those for answers.
const CHANCE: u64 = 0xc4a7_ce00_fa11;

/// What a call will get; the bill knows it already.
pub(super) enum Decided {
    Refused(Refusal),
    Planned(Box<Planned>),
}

pub(super) struct Planned {
    pub(super) plan: Arc<Plan>,
    pub(super) behaviour: Behaviour,
    pub(super) ending: Ending,
    pub(super) stream: bool,
    pub(super) shape: Option<Shape>,
    pub(super) gzip: bool,
    pub(super) receipt: Option<Receipt>,
}

/// Everything that happens at once: what the call produces, and its place on the bill.
pub(super) fn decide(
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

pub(super) fn chunks(plan: &Plan, chunk_tokens: u64) -> u64 {
    let parts = plan.outputs.iter().flat_map(|output| &output.parts);
    parts.map(|part| part.chunks(chunk_tokens)).sum()
}
