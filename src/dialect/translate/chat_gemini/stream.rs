//! Chat callers on Google's models: the stream. Each event is an answer of its own with what is new.

use super::super::read::{Members, Raw};
use super::super::stream::Events;
use super::super::write::Writer;
use super::super::{Unreadable, created};
use super::answer::{Part, extra_content, finish_reason, is_blocked, parts, tool_call, usage};

/// Speaks chat chunks.
#[derive(Debug)]
pub(in super::super) struct Voice {
    /// Everything of a chunk before its choices, once the answer has begun.
    head: String,
    include_usage: bool,
    /// The last counts, as the caller's `usage`.
    usage: Option<String>,
    /// Tool calls so far.
    calls: u64,
    /// The caller was told why the model stopped.
    finished: bool,
    over: bool,
}

impl Voice {
    pub(in super::super) const fn new(include_usage: bool) -> Self {
        Self {
            head: String::new(),
            include_usage,
            usage: None,
            calls: 0,
            finished: false,
            over: false,
        }
    }

    pub(in super::super) fn event(
        &mut self,
        said: &Members<'_>,
        events: &mut Events,
    ) -> Result<(), Unreadable> {
        if self.over {
            return Ok(());
        }
        if self.head.is_empty() {
            self.begin(said);
            self.chunk(events, |delta| {
                delta.key("role").string("assistant");
                delta.key("content").string("");
            });
        }
        let counts = said.get("usageMetadata").and_then(usage);
        let counted = counts.is_some();
        self.usage = counts.or(self.usage.take());
        // One answer was asked for, so that there is one candidate.
        let candidates = said.get("candidates").and_then(Raw::items);
        let candidate = candidates.and_then(|candidates| candidates.first()?.members());
        if let Some(candidate) = candidate {
            for (part, signature) in parts(&candidate)? {
                self.part(said, &part, signature, events);
            }
            if let Some(reason) = candidate.text("finishReason") {
                self.finish(finish_reason(&reason, self.calls > 0), events);
            }
        } else if is_blocked(said) {
            self.finish("content_filter", events);
        }
        if self.finished && counted {
            self.end(events);
        }
        Ok(())
    }

    fn begin(&mut self, said: &Members<'_>) {
        let mut head = Writer::default();
        head.open('{');
        if let Some(id) = said.get("responseId") {
            head.key("id").raw(id);
        }
        head.key("object").string("chat.completion.chunk");
        head.key("created").number(created());
        if let Some(model) = said.get("modelVersion") {
            head.key("model").raw(model);
        }
        self.head = head.finish();
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
            Part::Text(text) => self.chunk(events, |delta| {
                delta.key("content").raw(*text);
                sign(delta);
            }),
            Part::Thought(text) => self.chunk(events, |delta| {
                delta.key("reasoning_content").raw(*text);
                sign(delta);
            }),
            Part::Call { name, args, given } => {
                let number = self.calls;
                self.calls += 1;
                self.chunk(events, |delta| {
                    delta.key("tool_calls").open('[');
                    delta.open('{');
                    delta.key("index").number(number);
                    tool_call(said, number, (*name, *args, *given), signature, delta);
                    delta.close('}');
                    delta.close(']');
                });
            }
            Part::Other if signature.is_some() => self.chunk(events, sign),
            Part::Other => {}
        }
    }

    fn finish(&mut self, reason: &'static str, events: &mut Events) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        self.choice(events, |choice| {
            choice.key("delta").json("{}");
            choice.key("logprobs").json("null");
            choice.key("finish_reason").string(reason);
        });
    }

    pub(in super::super) fn end(&mut self, events: &mut Events) {
        if !self.finished || std::mem::replace(&mut self.over, true) {
            return;
        }
        if let (true, Some(usage)) = (self.include_usage, self.usage.take()) {
            self.whole(events, |chunk| {
                chunk.key("choices").json("[]");
                chunk.key("usage").json(&usage);
            });
        }
        events.data("[DONE]");
    }

    fn whole(&self, events: &mut Events, write: impl FnOnce(&mut Writer)) {
        let mut chunk = Writer::with_capacity(self.head.len() + 256);
        // The opening brace and the members that every chunk repeats.
        chunk.json(&self.head);
        write(&mut chunk);
        chunk.close('}');
        events.data(chunk.as_str());
    }

    fn choice(&self, events: &mut Events, write: impl FnOnce(&mut Writer)) {
        self.whole(events, |chunk| {
            chunk.key("choices").open('[');
            chunk.open('{');
            chunk.key("index").number(0);
            write(chunk);
            chunk.close('}');
            chunk.close(']');
            if self.include_usage {
                chunk.key("usage").json("null");
            }
        });
    }

    fn chunk(&self, events: &mut Events, write: impl FnOnce(&mut Writer)) {
        self.choice(events, |choice| {
            choice.key("delta").open('{');
            write(choice);
            choice.close('}');
            choice.key("logprobs").json("null");
            choice.key("finish_reason").json("null");
        });
    }
}
