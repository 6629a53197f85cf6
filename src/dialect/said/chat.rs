//! `openai-chat`: a message is a message.

use super::{Cow, Cursor, JsonError, Parts, Said, Wanted, role, string, text_or_json};
use crate::loops::Role;

pub(super) fn message<'a>(json: &'a [u8], read: &mut Vec<Said<'a>>) -> Result<(), JsonError> {
    let mut said = Said::new(Role::Other, Cow::default());
    let mut parts = Parts::default();
    Cursor::new(json)?.object(|cursor, key| {
        match &*key.name(json) {
            b"role" => said.role = string(cursor)?.map_or(Role::Other, |name| role(&name)),
            b"content" | b"refusal" => parts.read(cursor)?,
            b"name" => said.name = string(cursor)?,
            b"tool_call_id" => said.result_of = string(cursor)?,
            b"tool_calls" if cursor.peek() == Some(b'[') => {
                cursor.array(|cursor, _| wanted(cursor, &mut said.tools))?;
            }
            b"function_call" => wanted(cursor, &mut said.tools)?,
            _ => {
                cursor.skip()?;
            }
        }
        Ok::<_, JsonError>(())
    })?;
    said.media = parts.media;
    said.text = parts.into_text();
    read.push(said);
    Ok(())
}

/// `{"id", "function": {"name", "arguments"}}`, a custom tool in its place, or the inner object alone.
fn wanted<'a>(cursor: &mut Cursor<'a>, tools: &mut Vec<Wanted<'a>>) -> Result<(), JsonError> {
    if cursor.peek() != Some(b'{') {
        return cursor.skip().map(drop);
    }
    let body = cursor.body();
    let mut wanted = Wanted {
        name: Cow::default(),
        arguments: Cow::default(),
        id: None,
    };
    cursor.object(|cursor, key| match &*key.name(body) {
        b"id" => {
            wanted.id = string(cursor)?;
            Ok(())
        }
        b"function" | b"custom" if cursor.peek() == Some(b'{') => cursor
            .object(|cursor, key| inner(cursor, &key.name(body), &mut wanted))
            .map(drop),
        name => inner(cursor, name, &mut wanted),
    })?;
    tools.push(wanted);
    Ok(())
}

fn inner<'a>(
    cursor: &mut Cursor<'a>,
    name: &[u8],
    wanted: &mut Wanted<'a>,
) -> Result<(), JsonError> {
    match name {
        b"name" => wanted.name = string(cursor)?.unwrap_or_default(),
        b"arguments" | b"input" => wanted.arguments = text_or_json(cursor)?.unwrap_or_default(),
        _ => {
            cursor.skip()?;
        }
    }
    Ok(())
}
