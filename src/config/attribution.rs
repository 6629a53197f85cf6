//! `[attribution]` and `[[agent]]`: which further sources name a task, what becomes of calls that
//! name none, and the roles of agents that are known by name.

use super::bounds::TOP_LEVEL;
use super::fault::Place;
use super::glob::Glob;
use super::read::Section;
use super::value;
use crate::inference::{Fingerprint, Portrait};
use crate::units::{AgentId, Role};
use http::HeaderName;
use std::time::Duration;
use toml::de::DeValue;

/// The task of calls that name none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unattributed {
    /// The owner's `unattributed` task of the UTC day.
    Day,
    /// The owner's `unattributed` task of the UTC hour.
    Hour,
    /// None: such a call is refused.
    Refuse,
}

/// A further source of a task's id, weaker than those that are always read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskSource {
    /// This header.
    Header(HeaderName),
    /// This key of the W3C baggage.
    Baggage(String),
    /// The W3C trace id.
    Trace,
}

/// `[attribution]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributionRules {
    /// What becomes of calls that name no task.
    pub unattributed: Unattributed,
    /// Further sources, in their order.
    pub task_from: Vec<TaskSource>,
    /// Tasks that one owner's callers may open in an hour.
    pub tasks_per_hour: u64,
    /// What no source names is inferred.
    pub infer: bool,
    /// How far back calls are joined to what came before them.
    pub infer_window: Duration,
    /// Tasks that calls of one owner which name none, and are joined to none, may open in an hour.
    pub inferred_tasks_per_hour: u64,
}

impl Default for AttributionRules {
    fn default() -> Self {
        Self {
            unattributed: Unattributed::Day,
            task_from: Vec::new(),
            tasks_per_hour: 10_000,
            infer: true,
            infer_window: Duration::from_secs(3_600),
            inferred_tasks_per_hour: 1_000,
        }
    }
}

pub(super) fn read(parent: &Section<'_>, top_level: &[&str]) -> AttributionRules {
    let usual = AttributionRules::default();
    let Some(section) = parent.section("attribution") else {
        return usual;
    };
    let words = [
        ("day", Unattributed::Day),
        ("hour", Unattributed::Hour),
        ("refuse", Unattributed::Refuse),
    ];
    let sources = section.list("task_from", |value| source(&value::text(value)?));
    let rules = AttributionRules {
        unattributed: section.or("unattributed", usual.unattributed, value::word(&words)),
        task_from: sources.unwrap_or_default(),
        tasks_per_hour: section.or(
            "tasks_per_hour",
            usual.tasks_per_hour,
            value::count_in(1, 1_000_000_000),
        ),
        infer: section.or("infer", usual.infer, value::flag),
        infer_window: section.or("infer_window", usual.infer_window, value::positive_span),
        inferred_tasks_per_hour: section.or(
            "inferred_tasks_per_hour",
            usual.inferred_tasks_per_hour,
            value::count_in(0, 1_000_000_000),
        ),
    };
    section.close_with(top_level);
    rules
}

fn source(text: &str) -> Result<TaskSource, String> {
    let wrong = || {
        format!(
            "`{text}` is no source; write a header such as \"x-session-id\", \"baggage:session.id\", \
             \"gen_ai.conversation.id\" or \"trace\""
        )
    };
    if let Some(key) = text
        .strip_prefix("baggage:")
        .or_else(|| text.strip_prefix("baggage "))
    {
        let key = key.trim();
        let right = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic());
        return right
            .then(|| TaskSource::Baggage(key.to_owned()))
            .ok_or_else(wrong);
    }
    match text {
        "trace" | "trace id" => Ok(TaskSource::Trace),
        // No header has this name: it is an attribute that only baggage carries.
        "session.id" | "gen_ai.conversation.id" => Ok(TaskSource::Baggage(text.to_owned())),
        _ => text.parse().map(TaskSource::Header).map_err(|_| wrong()),
    }
}

/// `[[agent]]`: an agent that is known by name. Metrics show it under its own name.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownAgent {
    /// Its id.
    pub id: AgentId,
    /// Its role, if calls bring none.
    pub role: Option<Role>,
    /// Which calls are its own, where they do not say.
    pub matches: Option<AgentMatch>,
    /// Where it is written.
    pub place: Place,
}

pub(super) fn read_agents(parent: &Section<'_>) -> Vec<KnownAgent> {
    let mut agents: Vec<KnownAgent> = Vec::new();
    for section in parent.sections("agent") {
        let id = section.need("id", value::id);
        let role = section.get("role", value::id).map(Role::from);
        let matches = section.section("match").and_then(|of| read_match(&of));
        section.close_with(&TOP_LEVEL);
        let Some(id) = id.map(AgentId::from) else {
            continue;
        };
        if let Some(first) = agents.iter().find(|other| other.id == id) {
            let line = first.place.line;
            section.fault_of("id", format!("line {line} has an agent `{id}` already"));
        }
        let place = section.place();
        agents.push(KnownAgent {
            id,
            role,
            matches,
            place,
        });
    }
    agents
}

/// `match` of an `[[agent]]`: everything that it names must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentMatch {
    /// Beginnings of its prompt's digest, one of them; empty: any.
    pub prompts: Vec<String>,
    /// Globs, one of which matches the system text; empty: any.
    pub system: Vec<Glob>,
    /// Globs, each of which matches the name of one of its tools.
    pub tools: Vec<Glob>,
}

impl AgentMatch {
    /// Whether an agent is meant.
    #[must_use]
    pub fn is(&self, print: Fingerprint, portrait: &Portrait<'_>) -> bool {
        let digits = print.to_string();
        let system = portrait.system.trim();
        let has = |glob: &Glob| portrait.tools.iter().any(|tool| glob.matches(tool));
        let is_prompt = |known: &String| digits.starts_with(known);
        (self.prompts.is_empty() || self.prompts.iter().any(is_prompt))
            && self.tools.iter().all(has)
            && (self.system.is_empty() || self.system.iter().any(|glob| glob.matches(system)))
    }
}

fn read_match(section: &Section<'_>) -> Option<AgentMatch> {
    let matches = AgentMatch {
        prompts: section.list("prompt", digest).unwrap_or_default(),
        system: section.list("system", glob).unwrap_or_default(),
        tools: section.list("tools", glob).unwrap_or_default(),
    };
    section.close();
    if matches.prompts.is_empty() && matches.system.is_empty() && matches.tools.is_empty() {
        section.fault("`match` names nothing; it takes `prompt`, `system` and `tools`".to_owned());
        return None;
    }
    Some(matches)
}

/// Hexadecimal digits that a prompt's digest begins with.
fn digest(value: &DeValue<'_>) -> Result<String, String> {
    let text = value::text(value)?;
    let text = text
        .strip_prefix("agent-")
        .unwrap_or(&text)
        .to_ascii_lowercase();
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match text.len() {
        8..=32 if is_hex => Ok(text),
        _ => Err(
            "a prompt's digest is 8 to 32 hexadecimal digits: see `bursar agent list`".to_owned(),
        ),
    }
}

fn glob(value: &DeValue<'_>) -> Result<Glob, String> {
    Ok(Glob::from(value::text(value)?.as_str()))
}
