//! `bedrock` answers: Converse's, plain, and streamed as [`frames`](crate::aws::frames) give them.

use super::chat::content;
use super::facts::{Facts, last};
use super::given::Piece;
use super::scan::{Cursor, Malformed, Scan};

/// Where a stream stands.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// `messageStart` was seen.
    started: bool,
    /// The index of the content block that is open.
    open_block: Option<u64>,
    /// `messageStop` was seen.
    told_stop: bool,
}

impl Progress {
    pub(super) fn event(&mut self, facts: &mut Facts, data: &[u8]) -> Scan<()> {
        let mut cursor = Cursor::new(data);
        if cursor.peek()? != b'{' {
            return Err(Malformed);
        }
        cursor.object(|name, cursor| {
            let inner = cursor.skip()?;
            match name {
                b"contentBlockDelta" => delta(facts, inner)?,
                b"contentBlockStart" => self.open_block = Some(start(facts, inner)?),
                b"contentBlockStop" => self.open_block = None,
                b"messageStart" => self.started = true,
                b"messageStop" => {
                    self.told_stop = true;
                    facts.finished = true;
                    Cursor::new(inner).object(|key, cursor| match key {
                        b"stopReason" => last(&mut facts.finish, cursor),
                        _ => cursor.skip().map(drop),
                    })?;
                }
                // What comes last.
                b"metadata" => {
                    facts.terminal = self.told_stop;
                    usage(facts, inner)?;
                }
                b"error" => facts.failed(inner)?,
                _ => {}
            }
            Ok(())
        })
    }
}

/// Reads a whole plain answer.
pub(super) fn body(facts: &mut Facts, body: &[u8]) -> Scan<()> {
    let mut cursor = Cursor::new(body);
    if cursor.peek()? != b'{' {
        return Err(Malformed);
    }
    let mut is_answer = false;
    cursor.object(|key, cursor| {
        match key {
            b"output" => {
                is_answer = true;
                message(facts, cursor)?;
            }
            b"stopReason" => last(&mut facts.finish, cursor)?,
            b"usage" => {
                if let Some(usage) = cursor.present()? {
                    facts.usage.replace(usage);
                }
            }
            _ => drop(cursor.skip()?),
        }
        Ok(())
    })?;
    facts.terminal = is_answer;
    facts.finished = is_answer;
    Ok(())
}

fn usage(facts: &mut Facts, metadata: &[u8]) -> Scan<()> {
    Cursor::new(metadata).object(|key, cursor| {
        if key == b"usage" {
            if let Some(usage) = cursor.present()? {
                facts.usage.replace(usage);
            }
            return Ok(());
        }
        cursor.skip().map(drop)
    })
}

/// `{"message":{"role":…,"content":[…]}}`
fn message(facts: &mut Facts, cursor: &mut Cursor<'_>) -> Scan<()> {
    cursor.object(|key, cursor| match key {
        b"message" => cursor.object(|key, cursor| match key {
            b"content" => {
                let mut position = 0;
                cursor.array(|cursor| {
                    block(facts, position, cursor)?;
                    position += 1;
                    Ok(())
                })
            }
            _ => cursor.skip().map(drop),
        }),
        _ => cursor.skip().map(drop),
    })
}

fn block(facts: &mut Facts, position: u64, cursor: &mut Cursor<'_>) -> Scan<()> {
    cursor.object(|kind, cursor| match kind {
        b"text" => text(facts, position, cursor),
        b"toolUse" => tool(facts, position, cursor),
        b"reasoningContent" => reasoning(facts, cursor),
        _ => cursor.skip().map(drop),
    })
}

fn text(facts: &mut Facts, position: u64, cursor: &mut Cursor<'_>) -> Scan<()> {
    if let Piece::More(text) = facts.piece(cursor)? {
        facts.say_text(position, text, false);
    }
    content(facts, cursor, 0)
}

/// A tool call: whole, or as a stream begins it.
fn tool(facts: &mut Facts, position: u64, cursor: &mut Cursor<'_>) -> Scan<()> {
    let (mut id, mut name, mut input) = (None, None, None);
    cursor.object(|key, cursor| {
        match key {
            b"toolUseId" => id = cursor.text()?,
            b"name" => name = cursor.text()?,
            b"input" => input = cursor.present()?.filter(|input| *input != b"{}"),
            _ => drop(cursor.skip()?),
        }
        Ok(())
    })?;
    if facts.tools.note((position, 0), id, name) {
        name.into_iter().for_each(|name| facts.produced(name));
    }
    let bytes = u64::try_from(input.map_or(0, <[u8]>::len)).unwrap_or(u64::MAX);
    facts.visible_bytes = facts.visible_bytes.saturating_add(bytes);
    let piece = input.map_or(Piece::None, Piece::Bare);
    facts.say_call((position, 0), id, name, piece);
    Ok(())
}

/// Reasoning: whole, with its text one level down, or a piece of it.
fn reasoning(facts: &mut Facts, cursor: &mut Cursor<'_>) -> Scan<()> {
    cursor.object(|key, cursor| match key {
        b"text" => content(facts, cursor, 0),
        b"reasoningText" => reasoning_text(facts, cursor),
        _ => cursor.skip().map(drop),
    })
}

fn reasoning_text(facts: &mut Facts, cursor: &mut Cursor<'_>) -> Scan<()> {
    cursor.object(|key, cursor| match key {
        b"text" => content(facts, cursor, 0),
        _ => cursor.skip().map(drop),
    })
}

/// The position and the inside of a block's event.
fn placed<'a>(json: &'a [u8], wanted: &[u8]) -> Scan<(u64, &'a [u8])> {
    let (mut index, mut inner) = (0, &b"{}"[..]);
    Cursor::new(json).object(|key, cursor| {
        if key == b"contentBlockIndex" {
            index = cursor.whole()?.unwrap_or(0);
        } else if key == wanted {
            inner = cursor.skip()?;
        } else {
            cursor.skip()?;
        }
        Ok(())
    })?;
    Ok((index, inner))
}

fn start(facts: &mut Facts, json: &[u8]) -> Scan<u64> {
    let (index, inner) = placed(json, b"start")?;
    Cursor::new(inner).object(|kind, cursor| match kind {
        b"toolUse" => tool(facts, index, cursor),
        _ => cursor.skip().map(drop),
    })?;
    Ok(index)
}

fn delta(facts: &mut Facts, json: &[u8]) -> Scan<()> {
    let (index, inner) = placed(json, b"delta")?;
    Cursor::new(inner).object(|kind, cursor| match kind {
        b"text" => text(facts, index, cursor),
        b"toolUse" => cursor.object(|key, cursor| match key {
            b"input" => {
                if let Piece::More(text) = facts.piece(cursor)? {
                    facts.say_more((index, 0), text);
                }
                content(facts, cursor, 0)
            }
            _ => cursor.skip().map(drop),
        }),
        b"reasoningContent" => reasoning(facts, cursor),
        _ => cursor.skip().map(drop),
    })
}

/// The events that end a stream as if its output cap had been reached.
pub(super) fn length(progress: &Progress) -> String {
    let mut text = String::new();
    if !progress.started {
        text.push_str("data: {\"messageStart\":{\"role\":\"assistant\"}}\n\n");
    }
    if let Some(index) = progress.open_block {
        let stop = format!("{{\"contentBlockStop\":{{\"contentBlockIndex\":{index}}}}}");
        text.push_str(&format!("data: {stop}\n\n"));
    }
    if !progress.told_stop {
        text.push_str("data: {\"messageStop\":{\"stopReason\":\"max_tokens\"}}\n\n");
    }
    text
}
