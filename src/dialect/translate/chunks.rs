//! Chat chunks being written: what streams for chat callers have in common, whatever they are made from.

use super::created;
use super::heard::Counts;
use super::read::Raw;
use super::stream::Events;
use super::write::Writer;

/// Writes the chunks of one answer.
#[derive(Debug)]
pub(super) struct Chunks {
    /// Everything of a chunk before its choices, brace and all, once the answer has begun.
    pub(super) head: String,
    include_usage: bool,
    /// The caller was told why the model stopped.
    finished: bool,
    over: bool,
}

impl Chunks {
    pub(super) fn new(include_usage: bool) -> Self {
        Self {
            head: String::new(),
            include_usage,
            finished: false,
            over: false,
        }
    }

    /// The answer begins, of this id and model if it says them.
    pub(super) fn begin(&mut self, id: Option<Raw<'_>>, model: Option<Raw<'_>>) {
        let mut head = Writer::default();
        head.open('{');
        if let Some(id) = id {
            head.key("id").raw(id);
        }
        head.key("object").string("chat.completion.chunk");
        head.key("created").number(created());
        if let Some(model) = model {
            head.key("model").raw(model);
        }
        self.head = head.finish();
    }

    /// The caller was told the end.
    pub(super) const fn is_over(&self) -> bool {
        self.over
    }

    /// Why the model stopped; told once.
    pub(super) fn finish(&mut self, reason: &str, events: &mut Events) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        self.choice(events, |choice| {
            choice.key("delta").json("{}");
            choice.key("logprobs").json("null");
            choice.key("finish_reason").string(reason);
        });
    }

    /// The end of an answer that said why it stopped; `counts` if it said them.
    pub(super) fn end(&mut self, counts: Option<&Counts>, events: &mut Events) {
        if !self.finished || std::mem::replace(&mut self.over, true) {
            return;
        }
        if let Some(counts) = counts.filter(|_| self.include_usage) {
            let usage = usage(counts);
            self.whole(events, |chunk| {
                chunk.key("choices").json("[]");
                chunk.key("usage").json(&usage);
            });
        }
        events.data("[DONE]");
    }

    fn whole(&self, events: &mut Events, write: impl FnOnce(&mut Writer)) {
        let mut chunk = Writer::with_capacity(self.head.len() + 256);
        if self.head.is_empty() {
            chunk.open('{');
        } else {
            // The opening brace and the members that every chunk repeats.
            chunk.json(&self.head);
        }
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

    /// A chunk whose delta has the members that `write` writes.
    pub(super) fn delta(&self, events: &mut Events, write: impl FnOnce(&mut Writer)) {
        self.choice(events, |choice| {
            choice.key("delta").open('{');
            write(choice);
            choice.close('}');
            choice.key("logprobs").json("null");
            choice.key("finish_reason").json("null");
        });
    }

    /// The chunk that says who speaks.
    pub(super) fn role(&self, events: &mut Events) {
        self.delta(events, |delta| {
            delta.key("role").string("assistant");
            delta.key("content").string("");
        });
    }

    /// A chunk of one tool call, with the members that `write` writes.
    pub(super) fn tool(&self, events: &mut Events, at: u64, write: impl FnOnce(&mut Writer)) {
        self.delta(events, |delta| {
            delta.key("tool_calls").open('[');
            delta.open('{');
            delta.key("index").number(at);
            write(delta);
            delta.close('}');
            delta.close(']');
        });
    }

    /// A tool call begins. `arguments` is JSON, or nothing yet.
    pub(super) fn call(
        &self,
        events: &mut Events,
        at: u64,
        (id, name): (Raw<'_>, Raw<'_>),
        arguments: &str,
    ) {
        self.tool(events, at, |call| {
            call.key("id").raw(id);
            call.key("type").string("function");
            function(call, |function| {
                function.key("name").raw(name);
                function.key("arguments").string(arguments);
            });
        });
    }

    /// More of a tool call's arguments: `text` is a JSON string.
    pub(super) fn arguments(&self, events: &mut Events, at: u64, text: &str) {
        self.tool(events, at, |call| {
            function(call, |function| {
                function.key("arguments").json(text);
            });
        });
    }

    /// A piece of reasoning; `text` is what of it there is to read.
    pub(super) fn thought(
        &self,
        events: &mut Events,
        at: u64,
        text: Option<Raw<'_>>,
        write: impl FnOnce(&mut Writer),
    ) {
        self.delta(events, |delta| {
            if let Some(text) = text {
                delta.key("reasoning_content").raw(text);
            }
            delta.key("reasoning_details").open('[');
            delta.open('{');
            write(delta);
            delta.key("index").number(at);
            delta.close('}');
            delta.close(']');
        });
    }
}

fn function(call: &mut Writer, write: impl FnOnce(&mut Writer)) {
    call.key("function").open('{');
    write(call);
    call.close('}');
}

/// A chat `usage` object.
pub(super) fn usage(counts: &Counts) -> String {
    let mut out = Writer::default();
    out.open('{');
    out.key("prompt_tokens").number(counts.input);
    out.key("completion_tokens").number(counts.output);
    let total = counts.input.saturating_add(counts.output);
    out.key("total_tokens").number(total);
    out.key("prompt_tokens_details").open('{');
    out.key("cached_tokens").number(counts.cached);
    if counts.written > 0 {
        out.key("cache_write_tokens").number(counts.written);
    }
    out.close('}');
    out.key("completion_tokens_details").open('{');
    out.key("reasoning_tokens").number(counts.reasoning);
    out.close('}');
    out.close('}');
    out.finish()
}
