//! Chat callers on Amazon Bedrock: the stream. Each event is an object with its name as the only member.

use super::super::chunks::Chunks;
use super::super::heard::Counts;
use super::super::read::{Members, Raw};
use super::super::stream::Events;
use super::super::write::Writer;
use super::super::{Unreadable, created};
use super::answer::{counts, finish_reason};

/// Speaks chat chunks.
#[derive(Debug)]
pub(in super::super) struct Voice {
    chunks: Chunks,
    counts: Counts,
    /// The tool call that is open, and whether any of its arguments came.
    call: Option<bool>,
    /// Tool calls so far.
    calls: u64,
    /// Reasoning blocks so far, and the index of the last.
    thoughts: (u64, Option<u64>),
}

impl Voice {
    /// `echo`: members that the answer itself does not say.
    pub(in super::super) fn new(include_usage: bool, echo: &str) -> Self {
        let mut chunks = Chunks::new(include_usage);
        let mut head = Writer::default();
        head.open('{');
        head.json(echo);
        head.key("object").string("chat.completion.chunk");
        head.key("created").number(created());
        chunks.head = head.finish();
        Self {
            chunks,
            counts: Counts::default(),
            call: None,
            calls: 0,
            thoughts: (0, None),
        }
    }

    pub(in super::super) fn event(
        &mut self,
        said: &Members<'_>,
        events: &mut Events,
    ) -> Result<(), Unreadable> {
        for (name, event) in said.iter() {
            let event = event.members().ok_or(Unreadable::Form)?;
            match name {
                "messageStart" => self.chunks.role(events),
                "contentBlockStart" => self.begin(&event, events)?,
                "contentBlockDelta" => {
                    let delta = event.get("delta").and_then(Raw::members);
                    let at = event.get("contentBlockIndex").and_then(Raw::whole);
                    self.delta(&delta.ok_or(Unreadable::Form)?, at, events);
                }
                "contentBlockStop" => self.close(events),
                "messageStop" => {
                    let stop = event.text("stopReason").unwrap_or_default();
                    self.chunks.finish(finish_reason(&stop), events);
                }
                "metadata" => {
                    let told = event.get("usage").and_then(counts);
                    self.counts = told.unwrap_or(self.counts);
                    self.end(events);
                }
                // What is added to the dialect later says nothing to this one.
                _ => {}
            }
        }
        Ok(())
    }

    fn begin(&mut self, event: &Members<'_>, events: &mut Events) -> Result<(), Unreadable> {
        let start = event.get("start").and_then(Raw::members);
        let call = start.and_then(|start| start.get("toolUse")?.members());
        let Some(call) = call else {
            return Ok(());
        };
        let (Some(id), Some(name)) = (call.get("toolUseId"), call.get("name")) else {
            return Err(Unreadable::Form);
        };
        self.chunks.call(events, self.calls, (id, name), "");
        self.calls += 1;
        self.call = Some(false);
        Ok(())
    }

    fn delta(&mut self, delta: &Members<'_>, at: Option<u64>, events: &mut Events) {
        if let Some(text) = delta.get("text").filter(|text| !text.is_nothing()) {
            self.chunks
                .delta(events, |delta| delta.key("content").raw(text));
        }
        let input = delta.get("toolUse").and_then(Raw::members);
        let input = input.and_then(|call| call.get("input"));
        if let Some(input) = input.filter(|input| input.is_string() && !input.is_nothing()) {
            self.call = Some(true);
            self.arguments(input.json(), events);
        }
        if let Some(reasoning) = delta.get("reasoningContent").and_then(Raw::members) {
            self.reasoning(&reasoning, at, events);
        }
    }

    fn reasoning(&mut self, reasoning: &Members<'_>, at: Option<u64>, events: &mut Events) {
        let (thoughts, last) = &mut self.thoughts;
        if *last != at || *thoughts == 0 {
            (*thoughts, *last) = (*thoughts + 1, at);
        }
        let at = thoughts.saturating_sub(1);
        let get = |name| {
            reasoning
                .get(name)
                .filter(|text: &Raw<'_>| !text.is_nothing())
        };
        if let Some(text) = get("text") {
            self.chunks.thought(events, at, Some(text), |detail| {
                detail.key("type").string("reasoning.text");
                detail.key("text").raw(text);
            });
        }
        if let Some(signature) = get("signature") {
            self.chunks.thought(events, at, None, |detail| {
                detail.key("type").string("reasoning.text");
                detail.key("signature").raw(signature);
            });
        }
        if let Some(data) = get("redactedContent") {
            self.chunks.thought(events, at, None, |detail| {
                detail.key("type").string("reasoning.encrypted");
                detail.key("data").raw(data);
            });
        }
    }

    /// A tool without arguments is asked for with none at all; the caller's SDK reads JSON there.
    fn close(&mut self, events: &mut Events) {
        if self.call.take() == Some(false) {
            self.arguments("\"{}\"", events);
        }
    }

    fn arguments(&self, text: &str, events: &mut Events) {
        self.chunks
            .arguments(events, self.calls.saturating_sub(1), text);
    }

    pub(in super::super) fn end(&mut self, events: &mut Events) {
        self.chunks.end(Some(&self.counts), events);
    }
}
