//! Anthropic's callers on any model: the stream.
//!
//! The caller's dialect has one content block open at a time, in order; chat servers send text first
//! and tool calls one after the other. Usage comes at the end there, so `message_start` says zero.

use super::super::Unreadable;
use super::super::read::{Members, Raw};
use super::super::stream::Events;
use super::super::write::Writer;
use super::answer::{Counts, stop_reason};

/// What is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Block {
    #[default]
    None,
    Text,
    Thinking,
    /// A tool call, by its index.
    Tool(u64),
}

/// Speaks message events.
#[derive(Debug, Default)]
pub(in super::super) struct Voice {
    started: bool,
    block: Block,
    /// The next block's index.
    next: u64,
    /// Tool calls up to this index have begun.
    begun: Option<u64>,
    /// The refusal was told in words of its own.
    refused: bool,
    stop: Option<&'static str>,
    counts: Counts,
    over: bool,
}

impl Voice {
    pub(in super::super) fn event(
        &mut self,
        said: &Members<'_>,
        events: &mut Events,
    ) -> Result<(), Unreadable> {
        if !std::mem::replace(&mut self.started, true) {
            start(said, events);
        }
        if let Some(usage) = said.get("usage").and_then(Raw::members) {
            self.counts = Counts::of(&usage);
        }
        let choices = said.get("choices").and_then(Raw::items).unwrap_or_default();
        let Some(choice) = choices.first() else {
            return Ok(());
        };
        let choice = choice.members().ok_or(Unreadable::Form)?;
        if let Some(delta) = choice.get("delta").and_then(Raw::members) {
            self.delta(&delta, events)?;
        }
        let finish = choice.text("finish_reason");
        if let Some(finish) = finish.filter(|finish| !finish.is_empty()) {
            self.close(events);
            self.stop = Some(if self.refused {
                "refusal"
            } else {
                stop_reason(&finish)
            });
        }
        Ok(())
    }

    fn delta(&mut self, delta: &Members<'_>, events: &mut Events) -> Result<(), Unreadable> {
        let get = |name| {
            let text = delta.get(name);
            text.filter(|text: &Raw<'_>| text.is_string() && !text.is_nothing())
        };
        if let Some(thinking) = get("reasoning_content").or(get("reasoning")) {
            self.text(Block::Thinking, thinking, events);
        }
        if let Some(text) = get("content") {
            self.text(Block::Text, text, events);
        }
        if let Some(refusal) = get("refusal") {
            self.refused = true;
            self.text(Block::Text, refusal, events);
        }
        let calls = delta.get("tool_calls").and_then(Raw::items);
        for call in calls.unwrap_or_default() {
            self.tool(&call.members().ok_or(Unreadable::Form)?, events)?;
        }
        Ok(())
    }

    fn text(&mut self, block: Block, text: Raw<'_>, events: &mut Events) {
        let (begin, kind, member) = match block {
            Block::Thinking => (
                r#"{"type":"thinking","thinking":"","signature":""}"#,
                "thinking_delta",
                "thinking",
            ),
            _ => (r#"{"type":"text","text":""}"#, "text_delta", "text"),
        };
        if self.block != block {
            self.open(block, begin, events);
        }
        self.piece(kind, member, text, events);
    }

    fn tool(&mut self, call: &Members<'_>, events: &mut Events) -> Result<(), Unreadable> {
        let function = call.get("function").and_then(Raw::members);
        let function = function.unwrap_or_default();
        // Servers that number their calls all zero tell them apart by their ids.
        let index = call.get("index").and_then(Raw::whole).unwrap_or(0);
        let id = call.get("id").filter(|id| !id.is_nothing());
        let name = function.get("name").filter(|name| !name.is_nothing());
        let is_new = self.begun.is_none_or(|begun| index > begun);
        if is_new {
            let (Some(id), Some(name)) = (id, name) else {
                return Err(Unreadable::Form);
            };
            let mut begin = Writer::default();
            begin.open('{');
            begin.key("type").string("tool_use");
            begin.key("id").raw(id);
            begin.key("name").raw(name);
            begin.key("input").json("{}");
            begin.close('}');
            self.begun = Some(index);
            self.open(Block::Tool(index), begin.as_str(), events);
        } else if self.block != Block::Tool(index) {
            return Err(Unreadable::Mixed);
        }
        let arguments = function.get("arguments");
        let arguments = arguments.filter(|text| text.is_string() && !text.is_nothing());
        if let Some(arguments) = arguments {
            self.piece("input_json_delta", "partial_json", arguments, events);
        }
        Ok(())
    }

    fn open(&mut self, block: Block, begin: &str, events: &mut Events) {
        self.close(events);
        self.block = block;
        let mut event = Writer::with_capacity(begin.len() + 64);
        event.open('{');
        event.key("type").string("content_block_start");
        event.key("index").number(self.next);
        event.key("content_block").json(begin);
        event.close('}');
        events.named("content_block_start", event.as_str());
    }

    fn piece(&self, kind: &str, member: &str, text: Raw<'_>, events: &mut Events) {
        let mut event = Writer::with_capacity(text.json().len() + 96);
        event.open('{');
        event.key("type").string("content_block_delta");
        event.key("index").number(self.next);
        event.key("delta").open('{');
        event.key("type").string(kind);
        event.key(member).raw(text);
        event.close('}');
        event.close('}');
        events.named("content_block_delta", event.as_str());
    }

    fn close(&mut self, events: &mut Events) {
        if std::mem::take(&mut self.block) == Block::None {
            return;
        }
        let event = format!(r#"{{"type":"content_block_stop","index":{}}}"#, self.next);
        self.next += 1;
        events.named("content_block_stop", &event);
    }

    /// The end, once it is known why the model stopped.
    pub(in super::super) fn end(&mut self, events: &mut Events) {
        let Some(stop) = self.stop else { return };
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        let usage = self.counts.json();
        events.named(
            "message_delta",
            &format!(
                r#"{{"type":"message_delta","delta":{{"stop_reason":"{stop}","stop_sequence":null}},"usage":{usage}}}"#
            ),
        );
        events.named("message_stop", r#"{"type":"message_stop"}"#);
    }
}

fn start(said: &Members<'_>, events: &mut Events) {
    let mut event = Writer::default();
    event.open('{');
    event.key("type").string("message_start");
    event.key("message").open('{');
    match said.get("id") {
        Some(id) => event.key("id").raw(id),
        None => event.key("id").string("msg_unnamed"),
    };
    event.key("type").string("message");
    event.key("role").string("assistant");
    match said.get("model") {
        Some(model) => event.key("model").raw(model),
        None => event.key("model").string(""),
    };
    event.key("content").json("[]");
    event.key("stop_reason").json("null");
    event.key("stop_sequence").json("null");
    event.key("usage").json(&Counts::default().json());
    event.close('}');
    event.close('}');
    events.named("message_start", event.as_str());
}
