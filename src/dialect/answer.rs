//! What an answer says: usage, ids, tool calls, how it ended and how much it produced, read as it
//! passes and without building a tree of it.
//!
//! [`BodyBuffer`] collects a plain JSON answer; [`StreamFilter`] passes a stream on, event by
//! event; both feed an [`AnswerReader`]. [`Cut`] ends a stream early in its own dialect.

mod bedrock;
mod body;
mod chat;
mod cut;
mod facts;
mod filter;
mod gemini;
mod given;
mod messages;
mod responses;
pub(crate) mod scan;

pub use body::{ANSWER_BYTES_MAX, BodyBuffer, Kept};
pub use cut::{Cut, Stated};
pub use facts::OUTPUT_BYTES_MAX;
pub use filter::{EVENT_BYTES_MAX, HELD_BYTES_MAX, StreamFilter};
pub use given::{GIVEN_BYTES_MAX, Given, GivenCall, Keep};

use super::{Answer, Dialect};
use crate::loops::Chanting;
use crate::price::usage::{Shape, from_json};
use crate::sse::Event;
use facts::Facts;
use scan::Scan;

/// What an event is to whoever passes it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Passes.
    Ordinary,
    /// Carries usage and nothing else: a chunk with an empty `choices`.
    UsageOnly,
}

/// Where a stream stands: what is open, and so what a clean ending must close.
#[derive(Debug)]
enum Progress {
    Chat(chat::Progress),
    Responses(responses::Progress),
    Messages(messages::Progress),
    Gemini(gemini::Progress),
    Bedrock(bedrock::Progress),
}

/// Reads one answer. It keeps a few bounded facts and never the answer itself.
#[derive(Debug)]
pub struct AnswerReader {
    dialect: Dialect,
    facts: Facts,
    progress: Progress,
}

impl AnswerReader {
    /// A reader that has seen nothing.
    #[must_use]
    pub fn new(dialect: Dialect) -> Self {
        let progress = match dialect {
            Dialect::OpenaiChat | Dialect::OpenaiCompletions | Dialect::OpenaiEmbeddings => {
                Progress::Chat(chat::Progress::default())
            }
            Dialect::OpenaiResponses => Progress::Responses(responses::Progress::default()),
            Dialect::AnthropicMessages => Progress::Messages(messages::Progress::default()),
            Dialect::Gemini => Progress::Gemini(gemini::Progress::default()),
            Dialect::Bedrock => Progress::Bedrock(bedrock::Progress::default()),
        };
        Self {
            dialect,
            facts: Facts::default(),
            progress,
        }
    }

    /// Keeps what `keep` names of what it reads from here on.
    pub fn keep(&mut self, keep: Keep) {
        self.facts.given = keep.any().then(|| Box::new(Given::new(keep)));
    }

    /// Reads a whole plain JSON answer. One that is cut short or no JSON is not complete, and each
    /// of its bytes counts as produced.
    pub fn body(&mut self, body: &[u8]) {
        let facts = &mut self.facts;
        let read = match &mut self.progress {
            Progress::Chat(_) => chat::body(facts, body),
            Progress::Responses(progress) => responses::body(facts, progress, body),
            Progress::Messages(_) => messages::body(facts, body),
            Progress::Gemini(progress) => progress.body(facts, body),
            Progress::Bedrock(_) => bedrock::body(facts, body),
        };
        if read.is_err() {
            facts.terminal = false;
            facts.unreadable(body.len());
        }
    }

    /// Reads one event of a stream: its lines, with or without the blank one.
    pub(crate) fn event(&mut self, block: &[u8]) -> Kind {
        let event = Event::parse(block);
        let Some(data) = event.data.as_deref().filter(|data| !data.is_empty()) else {
            return Kind::Ordinary;
        };
        self.read(event.name, data).unwrap_or_else(|_| {
            self.facts.unreadable(data.len());
            Kind::Ordinary
        })
    }

    fn read(&mut self, name: Option<&[u8]>, data: &[u8]) -> Scan<Kind> {
        let facts = &mut self.facts;
        match &mut self.progress {
            Progress::Chat(progress) => progress.event(facts, data),
            Progress::Responses(progress) => {
                progress.event(facts, name, data).map(|()| Kind::Ordinary)
            }
            Progress::Messages(progress) => {
                progress.event(facts, name, data).map(|()| Kind::Ordinary)
            }
            Progress::Gemini(progress) => progress.event(facts, data).map(|()| Kind::Ordinary),
            Progress::Bedrock(progress) => progress.event(facts, data).map(|()| Kind::Ordinary),
        }
    }

    /// From now on it listens for a chant: the same words over and over.
    pub(crate) fn listen(&mut self) {
        self.facts.chant.get_or_insert_default();
    }

    /// The answer chants.
    #[must_use]
    pub const fn chanting(&self) -> Option<Chanting> {
        self.facts.chanting
    }

    /// Notes an event that was too long to read.
    pub(crate) fn unreadable(&mut self, bytes: usize) {
        self.facts.unreadable(bytes);
    }

    /// Bytes of visible output so far, unescaped: text, tool names and arguments, refusals, visible
    /// reasoning. What could not be read counts in full.
    #[must_use]
    pub fn visible_bytes(&self) -> u64 {
        self.facts.visible_bytes
    }

    /// Output tokens that the stream has reported so far, for dialects and providers that do.
    #[must_use]
    pub fn output_tokens_reported(&self) -> Option<u64> {
        let usage = &self.facts.usage;
        if let Progress::Gemini(_) = self.progress {
            let shown = usage.whole(&[b"candidatesTokenCount"])?;
            let thought = usage.whole(&[b"thoughtsTokenCount"]).unwrap_or(0);
            return Some(shown.saturating_add(thought));
        }
        usage.whole(&[b"output_tokens", b"completion_tokens", b"outputTokens"])
    }

    /// The dialect's terminal event was seen: nothing that matters can follow.
    #[must_use]
    pub fn terminal_seen(&self) -> bool {
        self.facts.terminal
    }

    /// The model that the answer names, once it has.
    #[must_use]
    pub fn model(&self) -> Option<&str> {
        self.facts.model.as_deref()
    }

    /// The answer's id, once it has one.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.facts.id.as_deref()
    }

    /// The usage object as it stands, in the provider's own field names: the last one seen, or for
    /// `anthropic-messages` the members of the later events over those of the earlier.
    #[must_use]
    pub fn usage_json(&self) -> Option<&[u8]> {
        self.facts.usage.json()
    }

    /// What the answer said in all. `clean`: upstream ended the body as HTTP has it, without a reset.
    ///
    /// `complete` holds if the terminal event was seen, or if a clean end came after the finish
    /// reason (some providers never send `[DONE]`). An error told in the answer leaves it false,
    /// unless the final usage came with it (OpenRouter's last chunk, `response.failed`).
    #[must_use]
    pub fn finish(&mut self, clean: bool) -> Answer {
        let shape = match self.dialect {
            Dialect::OpenaiChat | Dialect::OpenaiCompletions | Dialect::OpenaiEmbeddings => {
                Shape::OpenaiChat
            }
            Dialect::OpenaiResponses => Shape::OpenaiResponses,
            Dialect::AnthropicMessages => Shape::Anthropic,
            Dialect::Gemini => Shape::Gemini,
            Dialect::Bedrock => Shape::Bedrock,
        };
        let facts = std::mem::take(&mut self.facts);
        let mut usage = facts.usage.json().and_then(|json| from_json(shape, json));
        if let Some(usage) = &mut usage {
            usage.service_tier = facts.service_tier.or(usage.service_tier.take());
        }
        let over = facts.terminal || (clean && facts.finished);
        let is_told = facts.error.is_none() || (facts.finished && usage.is_some());
        let mut tools = facts.tools;
        Answer {
            usage,
            complete: over && is_told,
            error: facts.error,
            visible_bytes: facts.visible_bytes,
            tool_calls: tools.take(),
            model: facts.model,
            id: facts.id,
            finish: facts.finish,
            output: facts.output,
            given: facts.given,
        }
    }
}

#[cfg(test)]
mod tests;
