//! Chat callers on Anthropic's models: the stream.

use super::super::Unreadable;
use super::super::chunks::Chunks;
use super::super::read::{Members, Raw};
use super::super::stream::Events;
use super::answer::{Counts, finish_reason};

/// What a content block becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Block {
    /// Text, or what has no place.
    #[default]
    Text,
    /// A tool call, and whether any of its arguments came.
    Tool {
        /// Arguments came.
        said: bool,
    },
}

/// Speaks chat chunks.
#[derive(Debug)]
pub(in super::super) struct Voice {
    chunks: Chunks,
    counts: Counts,
    block: Block,
    /// Tool calls so far.
    calls: u64,
    /// Reasoning blocks so far.
    thoughts: u64,
}

impl Voice {
    pub(in super::super) fn new(include_usage: bool) -> Self {
        Self {
            chunks: Chunks::new(include_usage),
            counts: Counts::default(),
            block: Block::Text,
            calls: 0,
            thoughts: 0,
        }
    }

    pub(in super::super) fn event(
        &mut self,
        said: &Members<'_>,
        events: &mut Events,
    ) -> Result<(), Unreadable> {
        let kind = said.text("type").ok_or(Unreadable::Form)?;
        match &*kind {
            "message_start" => {
                let message = said.get("message").and_then(Raw::members);
                self.begin(&message.ok_or(Unreadable::Form)?);
                self.chunks.role(events);
            }
            "content_block_start" => {
                let block = said.get("content_block").and_then(Raw::members);
                self.open(&block.ok_or(Unreadable::Form)?, events)?;
            }
            "content_block_delta" => {
                let delta = said.get("delta").and_then(Raw::members);
                self.delta(&delta.ok_or(Unreadable::Form)?, events);
            }
            "content_block_stop" => self.close(events),
            "message_delta" => {
                if let Some(usage) = said.get("usage").and_then(Raw::members) {
                    self.counts.read(&usage);
                }
                let delta = said.get("delta").and_then(Raw::members);
                let stop = delta.and_then(|delta| delta.text("stop_reason"));
                if let Some(stop) = stop {
                    self.chunks.finish(finish_reason(&stop), events);
                }
            }
            "message_stop" => self.end(events),
            "ping" => events.comment("ping"),
            // What is added to the dialect later says nothing to this one.
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, message: &Members<'_>) {
        self.chunks.begin(message.get("id"), message.get("model"));
        if let Some(usage) = message.get("usage").and_then(Raw::members) {
            self.counts.read(&usage);
        }
    }

    fn open(&mut self, block: &Members<'_>, events: &mut Events) -> Result<(), Unreadable> {
        self.block = Block::Text;
        match block.text("type").as_deref() {
            Some("tool_use") => {
                let (Some(id), Some(name)) = (block.get("id"), block.get("name")) else {
                    return Err(Unreadable::Form);
                };
                let at = self.calls;
                self.calls += 1;
                let input = block.get("input").filter(|input| !input.is_nothing());
                self.block = Block::Tool {
                    said: input.is_some(),
                };
                let arguments = input.map_or("", Raw::json);
                self.chunks.call(events, at, (id, name), arguments);
            }
            Some("thinking") => self.thoughts += 1,
            Some("redacted_thinking") => {
                let at = self.thoughts;
                self.thoughts += 1;
                if let Some(data) = block.get("data") {
                    self.chunks.thought(events, at, None, |detail| {
                        detail.key("type").string("reasoning.encrypted");
                        detail.key("data").raw(data);
                    });
                }
            }
            Some("text") => {
                if let Some(text) = block.get("text").filter(|text| !text.is_nothing()) {
                    self.chunks
                        .delta(events, |delta| delta.key("content").raw(text));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn delta(&mut self, delta: &Members<'_>, events: &mut Events) {
        let get = |name| delta.get(name).filter(|text: &Raw<'_>| !text.is_nothing());
        match delta.text("type").as_deref() {
            Some("text_delta") => {
                if let Some(text) = get("text") {
                    self.chunks
                        .delta(events, |delta| delta.key("content").raw(text));
                }
            }
            Some("input_json_delta") => {
                if let Some(json) = get("partial_json") {
                    self.block = Block::Tool { said: true };
                    self.arguments(events, json.json());
                }
            }
            Some("thinking_delta") => {
                if let Some(text) = get("thinking") {
                    let at = self.thoughts.saturating_sub(1);
                    self.chunks.thought(events, at, Some(text), |detail| {
                        detail.key("type").string("reasoning.text");
                        detail.key("text").raw(text);
                    });
                }
            }
            Some("signature_delta") => {
                if let Some(signature) = get("signature") {
                    let at = self.thoughts.saturating_sub(1);
                    self.chunks.thought(events, at, None, |detail| {
                        detail.key("type").string("reasoning.text");
                        detail.key("signature").raw(signature);
                    });
                }
            }
            _ => {}
        }
    }

    /// A tool without arguments is asked for with none at all; the caller's SDK reads JSON there.
    fn close(&mut self, events: &mut Events) {
        if self.block == (Block::Tool { said: false }) {
            self.arguments(events, "\"{}\"");
        }
        self.block = Block::Text;
    }

    fn arguments(&self, events: &mut Events, json: &str) {
        let at = self.calls.saturating_sub(1);
        self.chunks.arguments(events, at, json);
    }

    pub(in super::super) fn end(&mut self, events: &mut Events) {
        self.chunks.end(Some(&self.counts.told()), events);
    }
}
