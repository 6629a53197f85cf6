//! Spans as OTLP's protobuf, in an exporter's vocabulary. Names and counts alone: no prompt, no answer, unless the
//! exporter asks for them (`content.rs`).
//!
//! Every span of a task carries the four tags of multi-agent tracing (`user_task_id`, `agent_id`,
//! `agent_role`, `parent_agent_id`; `-` where there is none) and `session.id`. What a call cost stands on the
//! call (`bursar.cost_usd`), what a task cost on the task (`bursar.inclusive_cost_usd`): neither is summed
//! twice.

mod call;
mod content;

use super::item::{Event, Item, Said, StaySpan, Tags, TaskSpan, ToolSpan, UnixNs};
use super::wire::Wire;
use crate::config::{Conventions, Vocabulary};
use crate::ops::metrics::dollars;
use crate::units::NanoUsd;

/// In whose words spans are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Whose names the attributes have.
    pub vocabulary: Vocabulary,
    /// Which generation of OpenTelemetry's.
    pub conventions: Conventions,
    /// What calls, answers and tools say is told too.
    pub content: bool,
}

impl Style {
    const fn is_openinference(self) -> bool {
        matches!(self.vocabulary, Vocabulary::OpenInference)
    }

    const fn is_langfuse(self) -> bool {
        matches!(self.vocabulary, Vocabulary::Langfuse)
    }
}

/// A list of spans, as `ScopeSpans` has it.
const SPANS: u32 = 2;
/// Of a span: its attributes.
const ATTRIBUTES: u32 = 9;
const INTERNAL: u64 = 1;
const CLIENT: u64 = 3;
const ERROR: u64 = 2;
/// The lowest eight flags of a span are those of its trace context; the next two say whether its parent is
/// known to be elsewhere, and is.
const SAMPLED: u32 = 0x01;
const PARENT_IS_REMOTE: u32 = 0x300;
const PARENT_IS_HERE: u32 = 0x100;

/// What every span has.
struct Head<'a> {
    trace: u128,
    span: u64,
    parent: Option<u64>,
    remote: bool,
    name: (&'a str, &'a str),
    kind: u64,
    started: UnixNs,
    ended: UnixNs,
}

/// Appends the spans of an item.
pub fn encode(item: &Item, style: Style, out: &mut Wire) {
    match item {
        Item::Call(data) => call::encode(data, style, out),
        Item::Stay(data) => stay(data, style, out),
        Item::Task(data) => task(data, style, out),
        Item::Tool(data) => tool(data, style, out),
    }
}

fn span(out: &mut Wire, head: &Head<'_>, rest: impl FnOnce(&mut Wire)) {
    out.message(SPANS, |out| {
        out.bytes(1, &head.trace.to_be_bytes());
        out.bytes(2, &head.span.to_be_bytes());
        if let Some(parent) = head.parent {
            out.bytes(4, &parent.to_be_bytes());
        }
        let (what, which) = head.name;
        if which.is_empty() {
            out.bytes(5, what.as_bytes());
        } else {
            out.bytes(5, [what, " ", which].concat().as_bytes());
        }
        out.number(6, head.kind);
        out.fixed64(7, head.started);
        out.fixed64(8, head.ended.max(head.started));
        rest(out);
        let parent = if head.remote {
            PARENT_IS_REMOTE
        } else {
            PARENT_IS_HERE
        };
        out.fixed32(16, SAMPLED | parent);
    });
}

fn events(out: &mut Wire, events: &[Event]) {
    for Event { at, name, more } in events {
        out.message(11, |out| {
            out.fixed64(1, *at);
            out.bytes(2, ["bursar.", name].concat().as_bytes());
            for (name, said) in more {
                let name = ["bursar.", name].concat();
                match said {
                    Said::Text(text) => out.text(3, &name, text),
                    Said::Number(number) => out.whole(3, &name, *number),
                    Said::Usd(usd) => out.fraction(3, &name, dollars(*usd)),
                }
            }
        });
    }
}

fn link(out: &mut Wire, (trace, span): (u128, u64), why: &str) {
    out.message(13, |out| {
        out.bytes(1, &trace.to_be_bytes());
        out.bytes(2, &span.to_be_bytes());
        out.text(4, "bursar.link", why);
    });
}

fn status(out: &mut Wire, code: u64, message: &str) {
    out.message(15, |out| {
        out.bytes(2, message.as_bytes());
        out.number(3, code);
    });
}

/// Whose the span is.
struct Whose<'a> {
    owner: &'a str,
    task: &'a str,
    agent: Option<&'a str>,
    role: Option<&'a str>,
    parent: Option<&'a str>,
    session: Option<&'a str>,
    user: Option<&'a str>,
}

impl<'a> From<&'a Tags> for Whose<'a> {
    fn from(tags: &'a Tags) -> Self {
        Self {
            owner: &tags.owner,
            task: &tags.task,
            agent: tags.agent.as_deref(),
            role: tags.role.as_deref(),
            parent: tags.parent.as_deref(),
            session: tags.session.as_deref(),
            user: None,
        }
    }
}

fn whose(out: &mut Wire, style: Style, whose: &Whose<'_>) {
    let none = "-";
    out.text(ATTRIBUTES, "user_task_id", whose.task);
    out.text(ATTRIBUTES, "agent_id", whose.agent.unwrap_or(none));
    out.text(ATTRIBUTES, "agent_role", whose.role.unwrap_or(none));
    out.text(ATTRIBUTES, "parent_agent_id", whose.parent.unwrap_or(none));
    let session = whose.session.unwrap_or(whose.task);
    out.text(ATTRIBUTES, "session.id", session);
    out.text(ATTRIBUTES, "bursar.owner", whose.owner);
    if let Some(user) = whose.user {
        out.text(ATTRIBUTES, "user.id", user);
    }
    match style.vocabulary {
        Vocabulary::OpenInference => {
            if let Some(agent) = whose.agent {
                out.text(ATTRIBUTES, "agent.name", agent);
                out.text(ATTRIBUTES, "graph.node.id", agent);
            }
            if let Some(parent) = whose.parent {
                out.text(ATTRIBUTES, "graph.node.parent_id", parent);
            }
        }
        Vocabulary::GenAi | Vocabulary::Langfuse => {
            out.text(ATTRIBUTES, "gen_ai.conversation.id", session);
            if let Some(agent) = whose.agent {
                out.text(ATTRIBUTES, "gen_ai.agent.id", agent);
                out.text(ATTRIBUTES, "gen_ai.agent.name", agent);
            }
        }
    }
    if style.is_langfuse() {
        out.text(ATTRIBUTES, "langfuse.trace.name", whose.task);
    }
}

/// What kind of thing the span is, for those who sort spans by that.
fn sort(out: &mut Wire, style: Style, openinference: &str, langfuse: &str) {
    match style.vocabulary {
        Vocabulary::OpenInference => {
            out.text(ATTRIBUTES, "openinference.span.kind", openinference);
        }
        Vocabulary::Langfuse => out.text(ATTRIBUTES, "langfuse.observation.type", langfuse),
        Vocabulary::GenAi => {}
    }
}

fn usd(out: &mut Wire, name: &str, usd: NanoUsd) {
    out.fraction(ATTRIBUTES, name, dollars(usd));
}

fn operation(out: &mut Wire, style: Style, name: &str) {
    if !style.is_openinference() {
        out.text(ATTRIBUTES, "gen_ai.operation.name", name);
    }
}

/// The conventions want a provider on every operation; these are the gateway's own word.
fn own_provider(out: &mut Wire, style: Style) {
    if !style.is_openinference() {
        out.text(ATTRIBUTES, "gen_ai.provider.name", "bursar");
        if style.conventions == Conventions::Both {
            out.text(ATTRIBUTES, "gen_ai.system", "bursar");
        }
    }
}

fn stay(stay: &StaySpan, style: Style, out: &mut Wire) {
    let head = Head {
        trace: stay.belongs.trace,
        span: stay.span,
        parent: Some(stay.parent),
        remote: false,
        name: (
            "invoke_agent",
            stay.tags.agent.as_deref().unwrap_or_default(),
        ),
        kind: INTERNAL,
        started: stay.started,
        ended: stay.ended,
    };
    span(out, &head, |out| {
        operation(out, style, "invoke_agent");
        own_provider(out, style);
        sort(out, style, "AGENT", "agent");
        whose(out, style, &Whose::from(&stay.tags));
        if let Some(invocation) = &stay.invocation {
            out.text(ATTRIBUTES, "gen_ai.agent.call.id", invocation);
        }
        out.whole(ATTRIBUTES, "bursar.calls", stay.calls);
    });
}

fn task(task: &TaskSpan, style: Style, out: &mut Wire) {
    let head = Head {
        trace: task.belongs.trace,
        span: task.span,
        parent: task.parent,
        remote: false,
        name: ("task", &task.tags.task),
        kind: INTERNAL,
        started: task.started,
        ended: task.ended,
    };
    span(out, &head, |out| {
        sort(out, style, "CHAIN", "span");
        whose(out, style, &Whose::from(&task.tags));
        out.whole(ATTRIBUTES, "bursar.calls", task.calls);
        out.whole(ATTRIBUTES, "bursar.refused_calls", task.refused);
        usd(out, "bursar.inclusive_cost_usd", task.cost);
        out.whole(ATTRIBUTES, "bursar.inclusive_input_tokens", task.input);
        out.whole(ATTRIBUTES, "bursar.inclusive_output_tokens", task.output);
        events(out, &task.events);
        for to in &task.links {
            link(out, *to, "call");
        }
    });
}

fn tool(tool: &ToolSpan, style: Style, out: &mut Wire) {
    let head = Head {
        trace: tool.belongs.trace,
        span: tool.span,
        parent: Some(tool.parent),
        remote: false,
        name: ("execute_tool", &tool.name),
        kind: INTERNAL,
        started: tool.started,
        ended: tool.ended,
    };
    span(out, &head, |out| {
        operation(out, style, "execute_tool");
        sort(out, style, "TOOL", "tool");
        whose(out, style, &Whose::from(&tool.tags));
        if style.is_openinference() {
            out.text(ATTRIBUTES, "tool.name", &tool.name);
            out.text(ATTRIBUTES, "tool_call.id", &tool.id);
        } else {
            out.text(ATTRIBUTES, "gen_ai.tool.name", &tool.name);
            out.text(ATTRIBUTES, "gen_ai.tool.call.id", &tool.id);
            out.text(ATTRIBUTES, "gen_ai.tool.type", "function");
        }
        out.flag(ATTRIBUTES, "bursar.tool_answered", tool.answered);
        if let Some(content) = tool.content.as_deref().filter(|_| style.content) {
            content::tool(content, style, out);
        }
    });
}
