//! What messages say: who wrote them, their text, the tools they ask for and what tools gave. Read from
//! as many of a request's messages as somebody asks for, and not from the rest of its body.
//!
//! Needs: ranges that [`decode`](super::decode) has walked, so that malformed JSON is no concern here;
//! what has an unexpected shape says nothing.

mod chat;
mod messages;
mod responses;

use super::{Call, Dialect};
use crate::json::{Cursor, JsonError, Kind};
use crate::loops::Role;
use std::borrow::Cow;
use std::ops::Range;
use xxhash_rust::xxh3::xxh3_64;

/// One message, or one tool's result where several stand in one message.
#[derive(Clone, Debug)]
pub struct Said<'a> {
    /// Who wrote it.
    pub role: Role,
    /// Its text; several parts are joined by line ends.
    pub text: Cow<'a, str>,
    /// The tools it asks for.
    pub tools: Vec<Wanted<'a>>,
    /// Its `name`.
    pub name: Option<Cow<'a, str>>,
    /// Which tool call it is the result of.
    pub result_of: Option<Cow<'a, str>>,
    /// A digest of what is no text; 0 if there is none.
    pub media: u64,
    /// Where in the call's chain it ends.
    pub place: usize,
}

/// A tool that an answer asks for.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// The tool.
    pub name: Cow<'a, str>,
    /// Its arguments as the model wrote them.
    pub arguments: Cow<'a, str>,
    /// The call's id.
    pub id: Option<Cow<'a, str>>,
}

/// Reads the messages of `call` with these places in its chain.
#[must_use]
pub fn said(call: &Call, places: Range<usize>) -> Vec<Said<'_>> {
    let mut read = Vec::with_capacity(places.len());
    for place in places {
        let Some(link) = call.chain.links.get(place) else {
            break;
        };
        let json = &call.body[link.at.clone()];
        let before = read.len();
        // What was walked before cannot be malformed; if it were, it would say nothing.
        let _ = match call.dialect {
            Dialect::OpenaiChat => chat::message(json, &mut read),
            Dialect::OpenaiResponses => responses::item(json, &mut read),
            Dialect::AnthropicMessages => messages::message(json, &mut read),
            Dialect::OpenaiEmbeddings
            | Dialect::OpenaiCompletions
            | Dialect::Gemini
            | Dialect::Bedrock => Ok(()),
        };
        // An item that made no message of its own was put to the answer before it.
        let from = before.min(read.len().saturating_sub(1));
        for said in read.iter_mut().skip(from) {
            said.place = place;
        }
    }
    read
}

/// Reads the `output` of an `openai-responses` answer, a JSON array of items.
#[must_use]
pub fn said_by_answer(output: &[u8]) -> Vec<Said<'_>> {
    let mut read = Vec::new();
    let _ = responses::items(output, &mut read);
    read
}

impl<'a> Said<'a> {
    fn new(role: Role, text: Cow<'a, str>) -> Self {
        Self {
            role,
            text,
            tools: Vec::new(),
            name: None,
            result_of: None,
            media: 0,
            place: 0,
        }
    }

    /// An answer of a model.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        self.role == Role::Assistant
    }
}

/// Text in parts, and what stands among it that is none.
#[derive(Debug, Default)]
struct Parts<'a> {
    text: Option<Cow<'a, str>>,
    media: u64,
}

impl<'a> Parts<'a> {
    fn add(&mut self, more: Cow<'a, str>) {
        match &mut self.text {
            None => self.text = Some(more),
            Some(text) => {
                let text = text.to_mut();
                text.push('\n');
                text.push_str(&more);
            }
        }
    }

    fn add_media(&mut self, json: &[u8]) {
        self.media = self.media.rotate_left(1) ^ xxh3_64(json);
    }

    /// A string, or a list of strings and of objects with a `text`.
    fn read(&mut self, cursor: &mut Cursor<'a>) -> Result<(), JsonError> {
        let body = cursor.body();
        match cursor.peek() {
            Some(b'[') => {
                cursor.array(|cursor, _| self.read_part(cursor))?;
            }
            Some(b'{') => self.read_part(cursor)?,
            _ => {
                let value = cursor.skip()?;
                if let Some(text) = value.text(body) {
                    self.add(text);
                }
            }
        }
        Ok(())
    }

    fn read_part(&mut self, cursor: &mut Cursor<'a>) -> Result<(), JsonError> {
        if cursor.peek() != Some(b'{') {
            return self.read(cursor);
        }
        let body = cursor.body();
        let (mut text, mut thinks) = (None, false);
        let at = cursor.object(|cursor, key| {
            match &*key.name(body) {
                b"text" | b"refusal" => text = string(cursor)?,
                b"type" => thinks = string(cursor)?.is_some_and(|kind| is_thinking(&kind)),
                _ => {
                    cursor.skip()?;
                }
            }
            Ok::<_, JsonError>(())
        })?;
        match text {
            _ if thinks => {}
            Some(text) => self.add(text),
            None => self.add_media(&body[at]),
        }
        Ok(())
    }

    fn into_text(self) -> Cow<'a, str> {
        self.text.unwrap_or_default()
    }
}

/// What a model thought is neither said nor done.
fn is_thinking(kind: &str) -> bool {
    matches!(
        kind,
        "thinking" | "redacted_thinking" | "reasoning" | "reasoning_text" | "summary_text"
    )
}

/// A string; `None` for anything else.
fn string<'a>(cursor: &mut Cursor<'a>) -> Result<Option<Cow<'a, str>>, JsonError> {
    let body = cursor.body();
    Ok(cursor.skip()?.text(body))
}

/// A string's text, or any other value as it stands; nothing for null.
fn text_or_json<'a>(cursor: &mut Cursor<'a>) -> Result<Option<Cow<'a, str>>, JsonError> {
    let body = cursor.body();
    let value = cursor.skip()?;
    Ok(match value.kind {
        Kind::Null => None,
        Kind::String { .. } => value.text(body),
        _ => std::str::from_utf8(&body[value.at]).ok().map(Cow::Borrowed),
    })
}

fn role(name: &str) -> Role {
    match name {
        "assistant" => Role::Assistant,
        "tool" | "function" => Role::Tool,
        "user" => Role::User,
        _ => Role::Other,
    }
}

#[cfg(test)]
mod tests;
