//! `openai-responses`: an answer is several items in a row, and they are read as one message.

use super::{Cow, Cursor, JsonError, Parts, Said, Wanted, role, string, text_or_json};
use crate::loops::Role;

/// Reads one item of the `input`, or the string that it may be.
pub(super) fn item<'a>(json: &'a [u8], read: &mut Vec<Said<'a>>) -> Result<(), JsonError> {
    next(&mut Cursor::new(json)?, read)
}

/// Reads a list of items.
pub(super) fn items<'a>(json: &'a [u8], read: &mut Vec<Said<'a>>) -> Result<(), JsonError> {
    let mut cursor = Cursor::new(json)?;
    cursor.array(|cursor, _| next(cursor, read)).map(drop)
}

/// The members of an item, whatever its type.
#[derive(Default)]
struct Item<'a> {
    kind: Cow<'a, str>,
    role: Option<Role>,
    content: Parts<'a>,
    output: Parts<'a>,
    name: Option<Cow<'a, str>>,
    id: Option<Cow<'a, str>>,
    arguments: Option<Cow<'a, str>>,
    has_output: bool,
}

fn next<'a>(cursor: &mut Cursor<'a>, read: &mut Vec<Said<'a>>) -> Result<(), JsonError> {
    if cursor.peek() != Some(b'{') {
        if let Some(text) = string(cursor)? {
            read.push(Said::new(Role::User, text));
        }
        return Ok(());
    }
    let body = cursor.body();
    let mut item = Item::default();
    cursor.object(|cursor, key| {
        match &*key.name(body) {
            b"type" => item.kind = string(cursor)?.unwrap_or_default(),
            b"role" => item.role = string(cursor)?.map(|name| role(&name)),
            b"content" => item.content.read(cursor)?,
            b"output" => {
                item.has_output = cursor.peek() != Some(b'n');
                item.output.read(cursor)?;
            }
            b"name" => item.name = string(cursor)?,
            b"call_id" => item.id = string(cursor)?,
            b"arguments" | b"input" | b"action" | b"operation" | b"code" => {
                item.arguments = text_or_json(cursor)?;
            }
            _ => {
                cursor.skip()?;
            }
        }
        Ok::<_, JsonError>(())
    })?;
    item.take(read);
    Ok(())
}

impl<'a> Item<'a> {
    fn take(self, read: &mut Vec<Said<'a>>) {
        if self.kind.ends_with("_output") {
            read.push(Said {
                result_of: self.id,
                media: self.output.media,
                ..Said::new(Role::Tool, self.output.into_text())
            });
        } else if self.kind.ends_with("_call") {
            // What the provider runs itself has its outcome beside it.
            let outcome = self.has_output.then_some(self.output);
            let name = self.name.unwrap_or(self.kind);
            let answer = answer(read);
            answer.tools.push(Wanted {
                name,
                arguments: self.arguments.unwrap_or_default(),
                id: self.id,
            });
            if let Some(outcome) = outcome {
                read.push(Said {
                    media: outcome.media,
                    ..Said::new(Role::Tool, outcome.into_text())
                });
            }
        } else if self.role == Some(Role::Assistant) {
            let answer = answer(read);
            let mut parts = Parts {
                text: (!answer.text.is_empty()).then(|| std::mem::take(&mut answer.text)),
                media: answer.media,
            };
            if let Some(text) = self.content.text {
                parts.add(text);
            }
            answer.media = parts.media ^ self.content.media;
            answer.text = parts.into_text();
        } else if let Some(role) = self.role {
            read.push(Said {
                media: self.content.media,
                ..Said::new(role, self.content.into_text())
            });
        }
    }
}

/// The answer that this item belongs to: the one that was begun, if nothing stands in between.
fn answer<'a, 'b>(read: &'b mut Vec<Said<'a>>) -> &'b mut Said<'a> {
    let is_begun = read.last().is_some_and(|said| said.role == Role::Assistant);
    if !is_begun {
        read.push(Said::new(Role::Assistant, Cow::default()));
    }
    let last = read.len() - 1;
    &mut read[last]
}
