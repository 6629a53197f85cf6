//! Chat callers on Google's models: the stream. Each event is an answer of its own with what is new.

use super::super::Unreadable;
use super::super::chunks::Chunks;
use super::super::heard::Counts;
use super::super::read::{Members, Raw};
use super::super::stream::Events;
use super::super::write::Writer;
use super::answer::{Part, counts, extra_content, finish_reason, is_blocked, parts, tool_call};

/// Speaks chat chunks.
#[derive(Debug)]
pub(in super::super) struct Voice {
    chunks: Chunks,
    /// The last counts.
    counts: Option<Counts>,
    /// Tool calls so far.
    calls: u64,
}

impl Voice {
    pub(in super::super) fn new(include_usage: bool) -> Self {
        Self {
            chunks: Chunks::new(include_usage),
            counts: None,
            calls: 0,
        }
    }

    pub(in super::super) fn event(
        &mut self,
        said: &Members<'_>,
        events: &mut Events,
    ) -> Result<(), Unreadable> {
        if self.chunks.is_over() {
            return Ok(());
        }
        if self.chunks.head.is_empty() {
            self.chunks
                .begin(said.get("responseId"), said.get("modelVersion"));
            self.chunks.role(events);
        }
        let said_counts = said.get("usageMetadata").and_then(counts);
        let counted = said_counts.is_some();
        self.counts = said_counts.or(self.counts.take());
        // One answer was asked for, so that there is one candidate.
        let candidates = said.get("candidates").and_then(Raw::items);
        let candidate = candidates.and_then(|candidates| candidates.first()?.members());
        if let Some(candidate) = candidate {
            for (part, signature) in parts(&candidate)? {
                self.part(said, &part, signature, events);
            }
            if let Some(reason) = candidate.text("finishReason") {
                self.chunks
                    .finish(finish_reason(&reason, self.calls > 0), events);
            }
        } else if is_blocked(said) {
            self.chunks.finish("content_filter", events);
        }
        if counted {
            self.end(events);
        }
        Ok(())
    }

    fn part(
        &mut self,
        said: &Members<'_>,
        part: &Part<'_>,
        signature: Option<Raw<'_>>,
        events: &mut Events,
    ) {
        let sign = |delta: &mut Writer| {
            if let Some(signature) = signature {
                extra_content(signature, delta);
            }
        };
        match part {
            Part::Text(text) => self.chunks.delta(events, |delta| {
                delta.key("content").raw(*text);
                sign(delta);
            }),
            Part::Thought(text) => self.chunks.delta(events, |delta| {
                delta.key("reasoning_content").raw(*text);
                sign(delta);
            }),
            Part::Call { name, args, given } => {
                let number = self.calls;
                self.calls += 1;
                self.chunks.tool(events, number, |call| {
                    tool_call(said, number, (*name, *args, *given), signature, call);
                });
            }
            Part::Other if signature.is_some() => self.chunks.delta(events, sign),
            Part::Other => {}
        }
    }

    pub(in super::super) fn end(&mut self, events: &mut Events) {
        self.chunks.end(self.counts.as_ref(), events);
    }
}
