//! Anthropic's callers on any model: the stream.
//!
//! The caller's dialect has one content block open at a time, in order; chat servers send text first
//! and tool calls one after the other. Usage comes at the end there, so `message_start` says zero.

use super::super::Unreadable;
use super::super::heard::{CallPiece, Calls, Counts, Part, Place, calls, choice, finish, pieces};
use super::super::read::{Members, Raw};
use super::super::stream::Events;
use super::super::write::Writer;
use super::answer::{stop_reason, usage};

/// What is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Block {
    #[default]
    None,
    Text,
    Thinking,
    /// The last tool call that began.
    Tool,
}

/// Speaks message events.
#[derive(Debug, Default)]
pub(in super::super) struct Voice {
    started: bool,
    block: Block,
    /// The next block's index.
    next: u64,
    calls: Calls,
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
        if let Some(counts) = Counts::of(said) {
            self.counts = counts;
        }
        let Some(choice) = choice(said)? else {
            return Ok(());
        };
        if let Some(delta) = choice.get("delta").and_then(Raw::members) {
            self.delta(&delta, events)?;
        }
        if let Some(finish) = finish(&choice) {
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
        for (part, text) in pieces(delta) {
            self.refused |= part == Part::Refusal;
            let block = match part {
                Part::Thinking => Block::Thinking,
                Part::Text | Part::Refusal => Block::Text,
            };
            self.text(block, text, events);
        }
        for call in calls(delta)? {
            self.tool(&call, events)?;
        }
        Ok(())
    }

    fn text(&mut self, block: Block, text: &str, events: &mut Events) {
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
        let piece = CallPiece::of(call);
        match self.calls.place(&piece) {
            Place::Begins => {
                let (Some(id), Some(name)) = (piece.id, piece.name) else {
                    return Err(Unreadable::Form);
                };
                let mut begin = Writer::default();
                begin.open('{');
                begin.key("type").string("tool_use");
                begin.key("id").raw(id);
                begin.key("name").raw(name);
                begin.key("input").json("{}");
                begin.close('}');
                self.open(Block::Tool, begin.as_str(), events);
            }
            Place::GoesOn if self.block == Block::Tool => {}
            Place::GoesOn | Place::Earlier => return Err(Unreadable::Mixed),
        }
        if let Some(arguments) = piece.arguments {
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

    fn piece(&self, kind: &str, member: &str, text: &str, events: &mut Events) {
        let mut event = Writer::with_capacity(text.len() + 96);
        event.open('{');
        event.key("type").string("content_block_delta");
        event.key("index").number(self.next);
        event.key("delta").open('{');
        event.key("type").string(kind);
        event.key(member).joined(std::iter::once(text));
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

    /// The server's last word. Some never say why the model stopped.
    pub(in super::super) fn done(&mut self, events: &mut Events) {
        if self.started && self.stop.is_none() {
            let calls = self.block == Block::Tool;
            self.close(events);
            self.stop = Some(if calls { "tool_use" } else { "end_turn" });
        }
        self.end(events);
    }

    /// The end, once it is known why the model stopped.
    pub(in super::super) fn end(&mut self, events: &mut Events) {
        let Some(stop) = self.stop else { return };
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        let usage = usage(&self.counts);
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
    event.key("usage").json(&usage(&Counts::default()));
    event.close('}');
    event.close('}');
    events.named("message_start", event.as_str());
}
