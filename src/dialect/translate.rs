//! Translation between dialects: a request into the target's, its answer back into the caller's.
//!
//! Needs: a request that [`decode`](super::decode) has read, and what the target's provider takes.
//! Adds: the body that leaves, what was left out of it by name, and [`Back`], which turns the
//! provider's answer, stream or error into the caller's dialect.
//!
//! Nothing is left out silently: what the target cannot say is refused ([`Unfit`]) unless a setting
//! names it, and [`HINTS`] are left out always. Either is told ([`Translated::dropped`]). The table in
//! `docs/TRANSLATION.md` is kept true by a test.
//!
//! One file per pair, `CALLER_TARGET.rs`, with the way back in `answer.rs` and `stream.rs` beside it. What
//! chat has in common whatever stands on the other side is in `from_chat.rs`, `to_chat.rs` and `chunks.rs`.
//! A new target is a variant of [`Dialect`], a line in [`Pair`] and such a directory.

mod chat_bedrock;
mod chat_gemini;
mod chat_messages;
mod chunks;
mod errors;
mod from_chat;
mod heard;
mod messages_chat;
mod read;
mod responses_chat;
mod stream;
mod to_chat;
mod twice;
mod write;

use super::Dialect;
use bytes::Bytes;
use http::StatusCode;
use read::{Members, Raw};
use std::borrow::Cow;
pub use stream::Stream;
use write::Writer;

/// What is left out without a setting where the target has no place for it: it changes neither what
/// the model is told nor what the answer may be. The answer's head names it all the same.
pub const HINTS: &[&str] = &[
    "annotations",
    "cache_control",
    "citations",
    "detail",
    "eager_input_streaming",
    "include",
    "include_obfuscation",
    "metadata",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning_items",
    "store",
    "thinking.type",
    "thinking_blocks",
];

/// A translation that exists: from the caller's dialect to the target's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pair {
    /// Chat callers on Anthropic's models.
    ChatMessages,
    /// Chat callers on Google's models.
    ChatGemini,
    /// Chat callers on Amazon Bedrock.
    ChatBedrock,
    /// Anthropic's callers on any model.
    MessagesChat,
    /// Responses callers on servers that speak chat alone.
    ResponsesChat,
}

impl Pair {
    /// Every pair. Of several for one caller the first that the provider speaks is taken.
    pub const ALL: [Self; 5] = [
        Self::ChatMessages,
        Self::ChatGemini,
        Self::ChatBedrock,
        Self::MessagesChat,
        Self::ResponsesChat,
    ];

    /// The caller's dialect.
    #[must_use]
    pub const fn caller(self) -> Dialect {
        match self {
            Self::ChatMessages | Self::ChatGemini | Self::ChatBedrock => Dialect::OpenaiChat,
            Self::MessagesChat => Dialect::AnthropicMessages,
            Self::ResponsesChat => Dialect::OpenaiResponses,
        }
    }

    /// The target's.
    #[must_use]
    pub const fn target(self) -> Dialect {
        match self {
            Self::ChatMessages => Dialect::AnthropicMessages,
            Self::ChatGemini => Dialect::Gemini,
            Self::ChatBedrock => Dialect::Bedrock,
            Self::MessagesChat | Self::ResponsesChat => Dialect::OpenaiChat,
        }
    }

    /// What this pair leaves out without a setting, beside [`HINTS`].
    #[must_use]
    pub const fn hints(self) -> &'static [&'static str] {
        match self {
            Self::ChatGemini => chat_gemini::HINTS,
            _ => &[],
        }
    }

    /// The pair for a caller's dialect and a provider that speaks what `speaks` says.
    pub fn of(caller: Dialect, speaks: impl Fn(Dialect) -> bool) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|pair| pair.caller() == caller && speaks(pair.target()))
    }
}

/// What the target takes.
#[derive(Clone, Copy, Debug)]
pub struct To<'a> {
    /// The model as the provider names it.
    pub model: &'a str,
    /// The field under which it honours an output cap, in the target's dialect.
    pub output_cap_field: &'a str,
    /// The output cap where the caller named none and the target must be told one, tokens.
    pub output_when_unasked: u64,
    /// Its streams tell their usage only when asked to; else the question itself may be refused.
    pub asks_usage: bool,
    /// What a setting leaves out, by name.
    pub drop: &'a [String],
}

/// What the target cannot be told: a 400 `invalid_request`, fit to be shown to the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Something that the target's dialect has no words for.
    #[error(
        "`{name}` cannot be carried from {} to {}{why}. The provider's `drop` setting leaves out what it names.",
        pair.caller().name(), pair.target().name()
    )]
    Foreign {
        /// Its name, as `drop` takes it.
        name: String,
        /// Which part of it, or nothing.
        why: &'static str,
        /// Between which dialects.
        pair: Pair,
    },
    /// Something that cannot be left out either, for what stands around it rests on it.
    #[error("`{name}` cannot be carried from {} to {}{why}.", pair.caller().name(), pair.target().name())]
    Needed {
        /// Its name.
        name: String,
        /// Which part of it, or nothing.
        why: &'static str,
        /// Between which dialects.
        pair: Pair,
    },
    /// A name that stands twice in one object: which of the two is meant, the provider would have said.
    #[error(
        "`{0}` stands twice in one object, and a call that is translated cannot say which is meant."
    )]
    Twice(String),
    /// Not of the caller's dialect's form.
    #[error("`{0}` is not of the form that its dialect has")]
    Malformed(String),
}

/// A request in the target's dialect.
#[derive(Debug)]
pub struct Translated {
    /// The body that leaves.
    pub body: Bytes,
    /// What was left out, by name, each once.
    pub dropped: Vec<String>,
    /// The output cap that was put in because the target must be told one, tokens.
    pub output_cap: Option<u64>,
    /// The way back.
    pub back: Back,
}

/// Puts a request into the target's dialect. `body` has been read by [`super::decode`].
///
/// # Errors
/// See [`Unfit`].
pub fn request(pair: Pair, body: &[u8], to: &To<'_>) -> Result<Translated, Unfit> {
    if let Some(name) = twice::twice(body) {
        return Err(Unfit::Twice(name));
    }
    let malformed = || Unfit::Malformed("body".to_owned());
    let asked = Raw::parse(body).and_then(Raw::members);
    let mut asked = asked.ok_or_else(malformed)?;
    let mut fit = Fit {
        pair,
        drop: to.drop,
        dropped: Vec::new(),
    };
    if !to.drop.is_empty() {
        asked.retain(|name| !fit.leaves_out(name));
    }
    let mut out = Writer::with_capacity(body.len() + body.len() / 8 + 256);
    let mut said = Said::default();
    out.object(|out| match pair {
        Pair::ChatMessages => chat_messages::request(&asked, to, &mut fit, out, &mut said),
        Pair::ChatGemini => chat_gemini::request(&asked, to, &mut fit, out, &mut said),
        Pair::ChatBedrock => chat_bedrock::request(&asked, to, &mut fit, out, &mut said),
        Pair::MessagesChat => messages_chat::request(&asked, to, &mut fit, out, &mut said),
        Pair::ResponsesChat => responses_chat::request(&asked, to, &mut fit, out, &mut said),
    })?;
    Ok(Translated {
        body: out.finish().into(),
        dropped: fit.dropped,
        output_cap: said.output_cap,
        back: Back {
            pair,
            include_usage: said.include_usage,
            echo: said.echo.into(),
        },
    })
}

/// What a request said that its answer depends on.
#[derive(Debug, Default)]
struct Said {
    output_cap: Option<u64>,
    include_usage: bool,
    /// Members that the answer repeats, as JSON without braces.
    echo: String,
}

/// What fits and what does not.
struct Fit<'a> {
    pair: Pair,
    drop: &'a [String],
    dropped: Vec<String>,
}

impl Fit<'_> {
    /// A setting leaves this field out, whether or not the target has a place for it.
    fn leaves_out(&mut self, name: &str) -> bool {
        let is_needed = ["model", "messages", "input"].contains(&name);
        let leaves = !is_needed && self.drop.iter().any(|drop| drop == name);
        if leaves {
            self.note(name);
        }
        leaves
    }

    fn note(&mut self, name: &str) {
        if !self.dropped.iter().any(|dropped| dropped == name) {
            self.dropped.push(name.to_owned());
        }
    }

    /// Something has no place: left out if a setting names it or it is a hint, else refused.
    fn cannot(&mut self, name: &str) -> Result<(), Unfit> {
        self.cannot_for(name, "")
    }

    /// The same, saying which part of it.
    fn cannot_for(&mut self, name: &str, why: &'static str) -> Result<(), Unfit> {
        let is_hint = HINTS.contains(&name) || self.pair.hints().contains(&name);
        if is_hint || self.drop.iter().any(|drop| drop == name) {
            self.note(name);
            return Ok(());
        }
        Err(Unfit::Foreign {
            name: name.chars().take(64).collect(),
            why,
            pair: self.pair,
        })
    }

    /// Something has no place and cannot be left out.
    fn must<T>(&self, name: &str, why: &'static str) -> Result<T, Unfit> {
        Err(Unfit::Needed {
            name: name.chars().take(64).collect(),
            why,
            pair: self.pair,
        })
    }
}

/// Something is not what its dialect has there.
fn malformed(name: &str) -> Unfit {
    Unfit::Malformed(name.chars().take(64).collect())
}

/// The objects of a list, one by one; `name` says what is malformed if the list or one of them is none.
fn objects<'a>(
    list: Raw<'a>,
    name: &'static str,
) -> Result<impl Iterator<Item = Result<Members<'a>, Unfit>>, Unfit> {
    let items = list.items().ok_or_else(|| malformed(name))?.into_iter();
    Ok(items.map(move |item| item.members().ok_or_else(|| malformed(name))))
}

/// Why a provider's answer cannot be put into the caller's dialect; fit to be shown to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is not of its dialect's form.
    #[error("The provider's answer is not of the form that its dialect has.")]
    Form,
    /// A tool's arguments are no JSON object, and the caller's dialect has no other way to say them.
    #[error(
        "The model asked for a tool with arguments that are no JSON object, which the caller's dialect cannot say."
    )]
    Arguments,
    /// Pieces of several tool calls came mixed.
    #[error("The provider sent its tool calls mixed, which the caller's dialect cannot say.")]
    Mixed,
    /// The answer is longer than what may be kept of it.
    #[error("The provider's answer is too long to be translated.")]
    TooLong,
}

/// The way back: from the target's answers to the caller's.
#[derive(Clone, Debug)]
pub struct Back {
    pair: Pair,
    /// The caller asked for usage in its stream.
    include_usage: bool,
    echo: Box<str>,
}

impl Back {
    /// Between which dialects.
    #[must_use]
    pub const fn pair(&self) -> Pair {
        self.pair
    }

    /// A plain answer.
    ///
    /// # Errors
    /// See [`Unreadable`].
    pub fn answer(&self, body: &[u8]) -> Result<Bytes, Unreadable> {
        let said = Raw::parse(body).and_then(Raw::members);
        let said = said.ok_or(Unreadable::Form)?;
        let mut out = Writer::with_capacity(body.len() + 512);
        out.object(|out| match self.pair {
            Pair::ChatMessages => chat_messages::answer(&said, out),
            Pair::ChatGemini => chat_gemini::answer(&said, out),
            Pair::ChatBedrock => chat_bedrock::answer(&said, &self.echo, out),
            Pair::MessagesChat => messages_chat::answer(&said, out),
            Pair::ResponsesChat => responses_chat::answer(&said, &self.echo, out),
        })?;
        Ok(out.finish().into())
    }

    /// A complete error answer.
    #[must_use]
    pub fn error(&self, status: StatusCode, body: &[u8]) -> (StatusCode, Bytes) {
        errors::answer(self.pair.caller().into(), status, body)
    }

    /// A stream, to be translated as it comes.
    #[must_use]
    pub fn stream(&self) -> Stream {
        Stream::new(self)
    }
}

/// Seconds since the epoch, for dialects whose answers say when they were made.
fn created() -> u64 {
    u64::try_from(crate::clock::now().0 / 1000).unwrap_or(0)
}

/// A tool call's id with nothing in it that either side refuses.
fn tool_id(id: Raw<'_>) -> Option<Cow<'_, str>> {
    let id = id.text()?;
    let at_home = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !id.is_empty() && id.bytes().all(at_home) {
        return Some(id);
    }
    let mut safe = String::with_capacity(id.len());
    for byte in id.bytes() {
        safe.push(if at_home(byte) { char::from(byte) } else { '_' });
    }
    Some(Cow::Owned(safe))
}

#[cfg(test)]
mod tests;
