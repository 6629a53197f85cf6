//! `[attribution]` and `[[agent]]`: which further sources name a task, what becomes of calls that
//! name none, and the roles of agents that are known by name.

use super::bounds::TOP_LEVEL;
use super::fault::Place;
use super::read::Section;
use super::value;
use crate::units::{AgentId, Role};
use http::HeaderName;

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
}

impl Default for AttributionRules {
    fn default() -> Self {
        Self {
            unattributed: Unattributed::Day,
            task_from: Vec::new(),
            tasks_per_hour: 10_000,
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownAgent {
    /// Its id.
    pub id: AgentId,
    /// Its role, if calls bring none.
    pub role: Option<Role>,
    /// Where it is written.
    pub place: Place,
}

pub(super) fn read_agents(parent: &Section<'_>) -> Vec<KnownAgent> {
    let mut agents: Vec<KnownAgent> = Vec::new();
    for section in parent.sections("agent") {
        let id = section.need("id", value::id);
        let role = section.get("role", value::id).map(Role::from);
        section.close_with(&TOP_LEVEL);
        let Some(id) = id.map(AgentId::from) else {
            continue;
        };
        if let Some(first) = agents.iter().find(|other| other.id == id) {
            let line = first.place.line;
            section.fault_of("id", format!("line {line} has an agent `{id}` already"));
        }
        let place = section.place();
        agents.push(KnownAgent { id, role, place });
    }
    agents
}
