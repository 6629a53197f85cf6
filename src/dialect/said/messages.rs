//! `anthropic-messages`: tool results stand in user messages, several in one, and text beside them.

use super::{Cow, Cursor, JsonError, Parts, Said, Wanted, role, string, text_or_json};
use crate::loops::Role;

/// How the text begins that a client puts into user messages itself: no person wrote it.
const REMINDER: &str = "<system-reminder>";

pub(super) fn message<'a>(json: &'a [u8], read: &mut Vec<Said<'a>>) -> Result<(), JsonError> {
    let mut said = Said::new(Role::Other, Cow::default());
    let mut parts = Parts::default();
    let mut results = Vec::new();
    Cursor::new(json)?.object(|cursor, key| {
        match &*key.name(json) {
            b"role" => said.role = string(cursor)?.map_or(Role::Other, |name| role(&name)),
            b"content" if cursor.peek() == Some(b'[') => {
                cursor.array(|cursor, _| {
                    let block = Block::read(cursor)?;
                    block.take(&mut said, &mut parts, &mut results);
                    Ok::<_, JsonError>(())
                })?;
            }
            b"content" => parts.read(cursor)?,
            _ => {
                cursor.skip()?;
            }
        }
        Ok::<_, JsonError>(())
    })?;
    let alone = results.is_empty();
    read.append(&mut results);
    said.media = parts.media;
    if alone || parts.text.is_some() || said.media != 0 {
        said.text = parts.into_text();
        read.push(said);
    }
    Ok(())
}

/// The members of a block, whatever its type.
#[derive(Default)]
struct Block<'a> {
    kind: Cow<'a, str>,
    text: Option<Cow<'a, str>>,
    id: Option<Cow<'a, str>>,
    name: Option<Cow<'a, str>>,
    input: Option<Cow<'a, str>>,
    content: Parts<'a>,
    is_error: bool,
    json: &'a [u8],
}

impl<'a> Block<'a> {
    fn read(cursor: &mut Cursor<'a>) -> Result<Self, JsonError> {
        let mut block = Self::default();
        let body = cursor.body();
        if cursor.peek() != Some(b'{') {
            cursor.skip()?;
            return Ok(block);
        }
        let at = cursor.object(|cursor, key| {
            match &*key.name(body) {
                b"type" => block.kind = string(cursor)?.unwrap_or_default(),
                b"text" => block.text = string(cursor)?,
                b"id" | b"tool_use_id" => block.id = string(cursor)?,
                b"name" => block.name = string(cursor)?,
                b"input" => block.input = text_or_json(cursor)?,
                b"content" => block.content.read(cursor)?,
                b"is_error" => block.is_error = body[cursor.skip()?.at] == *b"true",
                _ => {
                    cursor.skip()?;
                }
            }
            Ok::<_, JsonError>(())
        })?;
        block.json = &body[at];
        Ok(block)
    }

    fn take(self, said: &mut Said<'a>, parts: &mut Parts<'a>, results: &mut Vec<Said<'a>>) {
        match &*self.kind {
            "text" => match self.text {
                Some(text) if text.trim_start().starts_with(REMINDER) => {}
                Some(text) => parts.add(text),
                None => {}
            },
            "tool_use" | "server_tool_use" | "mcp_tool_use" => said.tools.push(Wanted {
                name: self.name.unwrap_or_default(),
                arguments: self.input.unwrap_or_default(),
                id: self.id,
            }),
            kind if kind.ends_with("tool_result") => results.push(self.into_result()),
            kind if super::is_thinking(kind) => {}
            _ => parts.add_media(self.json),
        }
    }

    fn into_result(self) -> Said<'a> {
        let media = self.content.media;
        let text = self.content.into_text();
        let text = match self.is_error {
            // The text need not say so.
            true => Cow::Owned(format!("error: {text}")),
            false => text,
        };
        Said {
            result_of: self.id,
            media,
            ..Said::new(Role::Tool, text)
        }
    }
}
