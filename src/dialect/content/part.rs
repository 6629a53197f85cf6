//! One part of a message, whatever the dialect: their members have names that do not get in each other's
//! way, so that one reading takes all of them.

use super::{Budget, Part, mark, unescaped_lossy};
use crate::json::{Cursor, JsonError, Kind, Value};
use std::borrow::Cow;

/// The members of a part, an item, or a tool call.
#[derive(Default)]
pub(super) struct Block<'a> {
    pub(super) kind: Cow<'a, str>,
    pub(super) text: Option<Cow<'a, str>>,
    /// The id of a tool call.
    pub(super) id: Option<Cow<'a, str>>,
    /// Its own, which stands for that where there is no other.
    own_id: Option<Cow<'a, str>>,
    name: Option<Cow<'a, str>>,
    arguments: Option<Cow<'a, str>>,
    result: Option<Cow<'a, str>>,
    /// It stands in a result: what stands within it is not read.
    is_within: bool,
}

impl<'a> Block<'a> {
    /// Reads the object before which the cursor stands; it is of this kind unless it says another.
    pub(super) fn of(cursor: &mut Cursor<'a>, kind: &'static str) -> Result<Self, JsonError> {
        let block = Self {
            kind: kind.into(),
            ..Self::default()
        };
        block.read(cursor)
    }

    fn read(mut self, cursor: &mut Cursor<'a>) -> Result<Self, JsonError> {
        let body = cursor.body();
        cursor.object(|cursor, key| self.member(cursor, &key.text(body)))?;
        Ok(self)
    }

    /// Reads one member.
    pub(super) fn member(&mut self, cursor: &mut Cursor<'a>, key: &str) -> Result<(), JsonError> {
        match (key, cursor.peek()) {
            ("type", _) => self.kind = string(cursor)?.unwrap_or_default(),
            ("text" | "refusal", _) => self.text = string(cursor)?.or(self.text.take()),
            // Bedrock's results.
            ("json", _) => self.text = text_or_json(cursor)?,
            ("id", _) => self.own_id = string(cursor)?,
            ("call_id" | "tool_call_id" | "tool_use_id" | "toolUseId", _) => {
                self.id = string(cursor)?;
            }
            ("name", _) => self.name = string(cursor)?,
            ("arguments" | "input" | "args" | "action" | "code", _) => {
                self.arguments = text_or_json(cursor)?;
            }
            ("content" | "output", _) if !self.is_within => self.result = result(cursor)?,
            // Gemini's results: any object.
            ("response", _) => self.result = text_or_json(cursor)?,
            ("function" | "custom", Some(b'{')) => self.within(cursor, "function_call")?,
            ("functionCall" | "toolUse", Some(b'{')) => self.within(cursor, "tool_use")?,
            ("functionResponse" | "toolResult", Some(b'{')) => {
                self.within(cursor, "tool_result")?;
            }
            (
                kind @ ("image" | "document" | "video" | "audio" | "inlineData" | "fileData"
                | "inline_data" | "file_data" | "reasoningContent" | "guardContent"),
                Some(b'{'),
            ) => {
                cursor.skip()?;
                self.kind = Cow::Owned(kind.to_owned());
            }
            ("thought", Some(b't')) => {
                cursor.skip()?;
                self.kind = "thought".into();
            }
            _ => {
                cursor.skip()?;
            }
        }
        Ok(())
    }

    /// What stands one level further in, as if it stood here.
    fn within(&mut self, cursor: &mut Cursor<'a>, kind: &'static str) -> Result<(), JsonError> {
        let body = cursor.body();
        cursor.object(|cursor, key| self.member(cursor, &key.text(body)))?;
        self.kind = kind.into();
        Ok(())
    }

    /// It is what a tool gave.
    pub(super) fn is_result(&self) -> bool {
        self.kind.ends_with("_output") || self.kind.ends_with("tool_result")
    }

    fn is_call(&self) -> bool {
        let kind = &*self.kind;
        kind.ends_with("_call")
            || kind.ends_with("tool_use")
            || matches!(kind, "function" | "custom")
    }

    /// The part that it is, if it says anything.
    pub(super) fn into_part(self, budget: &mut Budget) -> Option<Part> {
        let id = self.id.as_deref().or(self.own_id.as_deref());
        let id = id.map(|id| budget.name(id));
        if self.is_result() {
            let text = self.result.or(self.text).unwrap_or_default();
            let text = budget.text(text);
            return Some(Part::Result { id, text });
        }
        if self.is_call() {
            return Some(Part::Call {
                id,
                name: budget.name(self.name.as_deref().unwrap_or(&self.kind)),
                arguments: budget.text(self.arguments.unwrap_or_default()),
            });
        }
        match (&*self.kind, self.text) {
            ("" | "text" | "input_text" | "output_text" | "refusal" | "message", text) => {
                text.map(|text| Part::Text(budget.text(text)))
            }
            ("cachePoint" | "cache_point", _) => None,
            (kind, _) => Some(budget.mark(kind)),
        }
    }
}

/// What a tool gave, as one text: parts joined by line ends, any other value as it stands.
fn result<'a>(cursor: &mut Cursor<'a>) -> Result<Option<Cow<'a, str>>, JsonError> {
    if cursor.peek() != Some(b'[') {
        return piece(cursor);
    }
    let mut texts: Vec<Cow<'a, str>> = Vec::new();
    cursor.array(|cursor, _| {
        texts.extend(piece(cursor)?);
        Ok::<_, JsonError>(())
    })?;
    Ok(Some(texts.join("\n").into()))
}

/// A part of what a tool gave.
fn piece<'a>(cursor: &mut Cursor<'a>) -> Result<Option<Cow<'a, str>>, JsonError> {
    if cursor.peek() != Some(b'{') {
        return text_or_json(cursor);
    }
    let start = cursor.offset();
    let block = Block {
        is_within: true,
        ..Block::default()
    };
    let block = block.read(cursor)?;
    if block.text.is_none() && block.kind.is_empty() {
        let json = &cursor.body()[start..cursor.offset()];
        return Ok(std::str::from_utf8(json).ok().map(Cow::Borrowed));
    }
    if block.text.is_none() && block.is_result() {
        return Ok(Some(mark(&block.kind).into()));
    }
    let mut whole = Budget::new(usize::MAX);
    Ok(match block.into_part(&mut whole) {
        Some(Part::Text(text) | Part::Result { text, .. }) => Some(text.into()),
        Some(Part::Call { .. }) | None => None,
    })
}

/// A string; `None` for anything else.
pub(super) fn string<'a>(cursor: &mut Cursor<'a>) -> Result<Option<Cow<'a, str>>, JsonError> {
    let value = cursor.skip()?;
    Ok(text(&value, cursor.body()))
}

/// A string's text, or any other value as it stands; nothing for null.
pub(super) fn text_or_json<'a>(cursor: &mut Cursor<'a>) -> Result<Option<Cow<'a, str>>, JsonError> {
    let body = cursor.body();
    let value = cursor.skip()?;
    Ok(match value.kind {
        Kind::Null => None,
        Kind::String { .. } => text(&value, body),
        _ => std::str::from_utf8(&body[value.at]).ok().map(Cow::Borrowed),
    })
}

/// A string's text, with U+FFFD for half of a surrogate pair.
fn text<'a>(value: &Value, body: &'a [u8]) -> Option<Cow<'a, str>> {
    let Kind::String { .. } = value.kind else {
        return None;
    };
    let inside = &body[value.at.start + 1..value.at.end - 1];
    let lossy = || unescaped_lossy(inside).into();
    Some(value.text(body).unwrap_or_else(lossy))
}
