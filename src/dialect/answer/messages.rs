//! `anthropic-messages` answers.

use super::chat::content;
use super::facts::{Facts, first, last};
use super::given::Piece;
use super::scan::{Cursor, Malformed, Scan, Text};

/// Where a stream stands.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// `message_start` was seen.
    pub(super) started: bool,
    /// The index of the content block that is open.
    pub(super) open_block: Option<u64>,
    /// A `message_delta` has told the stop reason.
    pub(super) told_stop: bool,
    /// `message_stop` was seen.
    pub(super) stopped: bool,
}

/// The members of an event, as they stand.
#[derive(Default)]
struct Members<'a> {
    kind: Option<Text<'a>>,
    index: u64,
    /// `delta`, `content_block` or `message`.
    inner: Option<&'a [u8]>,
    usage: Option<&'a [u8]>,
    error: Option<&'a [u8]>,
}

impl<'a> Members<'a> {
    fn of(data: &'a [u8]) -> Scan<Self> {
        let mut members = Self::default();
        let mut cursor = Cursor::new(data);
        if cursor.peek()? != b'{' {
            return Err(Malformed);
        }
        cursor.object(|key, cursor| {
            match key {
                b"type" => members.kind = cursor.text()?,
                b"index" => members.index = cursor.whole()?.unwrap_or(0),
                b"delta" | b"content_block" | b"message" => members.inner = cursor.present()?,
                b"usage" => members.usage = cursor.present()?,
                b"error" => members.error = cursor.present()?,
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        Ok(members)
    }
}

impl Progress {
    pub(super) fn event(
        &mut self,
        facts: &mut Facts,
        name: Option<&[u8]>,
        data: &[u8],
    ) -> Scan<()> {
        if data == b"[DONE]" {
            return Ok(());
        }
        let members = Members::of(data)?;
        let inner = members.inner.unwrap_or(b"{}");
        match members.kind.map(|kind| kind.0).or(name) {
            Some(b"content_block_delta") => delta(facts, members.index, inner)?,
            Some(b"content_block_start") => {
                self.open_block = Some(members.index);
                block(facts, members.index, &mut Cursor::new(inner))?;
            }
            Some(b"content_block_stop") => self.open_block = None,
            Some(b"message_start") => {
                self.started = true;
                message(facts, inner)?;
            }
            Some(b"message_delta") => {
                if let Some(usage) = members.usage {
                    facts.usage.merge(usage)?;
                }
                self.told_stop |= stop_reason(facts, inner)?;
                facts.finished = self.told_stop;
            }
            Some(b"message_stop") => {
                self.stopped = true;
                facts.terminal = true;
            }
            Some(b"error") => facts.failed(members.error.unwrap_or(data))?,
            _ => {}
        }
        Ok(())
    }
}

/// Reads a whole plain answer.
pub(super) fn body(facts: &mut Facts, body: &[u8]) -> Scan<()> {
    let members = Members::of(body)?;
    if let Some(error) = members.error {
        return facts.failed(error);
    }
    message(facts, body)?;
    facts.terminal = true;
    facts.finished = true;
    Ok(())
}

/// A message: whole, or as `message_start` shows it.
fn message(facts: &mut Facts, json: &[u8]) -> Scan<()> {
    Cursor::new(json).object(|key, cursor| {
        match key {
            b"id" => first(&mut facts.id, cursor)?,
            b"model" => first(&mut facts.model, cursor)?,
            b"stop_reason" => last(&mut facts.finish, cursor)?,
            b"usage" => {
                if let Some(usage) = cursor.present()? {
                    facts.usage.merge(usage)?;
                }
            }
            b"content" => {
                let mut position = 0;
                cursor.array(|cursor| {
                    block(facts, position, cursor)?;
                    position += 1;
                    Ok(())
                })?;
            }
            _ => drop(cursor.skip()?),
        }
        Ok(())
    })
}

/// A content block: whole, or as `content_block_start` shows it.
fn block(facts: &mut Facts, position: u64, cursor: &mut Cursor<'_>) -> Scan<()> {
    let (mut kind, mut id, mut name, mut input) = (None, None, None, None);
    let mut text = Piece::None;
    cursor.object(|key, cursor| {
        match key {
            b"type" => kind = cursor.text()?,
            b"id" => id = cursor.text()?,
            b"name" => name = cursor.text()?,
            b"text" => {
                text = facts.piece(cursor)?;
                content(facts, cursor, 0)?;
            }
            b"thinking" => content(facts, cursor, 0)?,
            b"input" => input = cursor.present()?.filter(|input| *input != b"{}"),
            _ => drop(cursor.skip()?),
        }
        Ok(())
    })?;
    // `tool_use`, `server_tool_use`, `mcp_tool_use`.
    if kind.is_some_and(|kind| kind.0.ends_with(b"tool_use")) {
        if facts.tools.note((position, 0), id, name) {
            name.into_iter().for_each(|name| facts.produced(name));
        }
        let bytes = input.map_or(0, <[u8]>::len);
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        facts.visible_bytes = facts.visible_bytes.saturating_add(bytes);
    }
    match (kind.map(|kind| kind.0), text) {
        // The others are called by the provider.
        (Some(b"tool_use"), _) => {
            let piece = input.map_or(Piece::None, Piece::Bare);
            facts.say_call((position, 0), id, name, piece);
        }
        (Some(b"text"), Piece::More(text)) => facts.say_text(position, text, false),
        _ => {}
    }
    Ok(())
}

fn delta(facts: &mut Facts, index: u64, json: &[u8]) -> Scan<()> {
    Cursor::new(json).object(|key, cursor| match key {
        b"text" | b"partial_json" => {
            match facts.piece(cursor)? {
                Piece::More(text) if key == b"text" => facts.say_text(index, text, false),
                Piece::More(text) => facts.say_more((index, 0), text),
                _ => {}
            }
            content(facts, cursor, 0)
        }
        b"thinking" => content(facts, cursor, 0),
        _ => cursor.skip().map(drop),
    })
}

/// Keeps the stop reason of a `message_delta`; true if there was one.
fn stop_reason(facts: &mut Facts, json: &[u8]) -> Scan<bool> {
    let mut told = None;
    Cursor::new(json).object(|key, cursor| match key {
        b"stop_reason" => last(&mut told, cursor),
        _ => cursor.skip().map(drop),
    })?;
    let is_told = told.is_some();
    facts.finish = told.or(facts.finish.take());
    Ok(is_told)
}
