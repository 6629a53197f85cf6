//! `gemini` answers. Each event of a stream is an answer of the same form as the plain one, with the
//! parts that are new; the last one names why it is over and has the final counts.

use super::chat::content;
use super::facts::{Facts, first, last};
use super::given::Piece;
use super::scan::{Cursor, Malformed, Scan};
use crate::dialect::gemini::{compact, tool_id};

/// Where a stream stands.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// An event has told why the answer is over.
    pub(super) told_stop: bool,
    /// Tool calls so far.
    calls: u64,
}

impl Progress {
    pub(super) fn event(&mut self, facts: &mut Facts, data: &[u8]) -> Scan<()> {
        if data == b"[DONE]" {
            return Ok(());
        }
        let counts = self.read(facts, data)?;
        // The last event has both; a later one would have nothing new to say.
        facts.terminal |= facts.finished && counts;
        Ok(())
    }

    /// Reads a whole plain answer.
    pub(super) fn body(&mut self, facts: &mut Facts, body: &[u8]) -> Scan<()> {
        self.read(facts, body)?;
        if facts.error.is_none() {
            facts.terminal = true;
            facts.finished = true;
        }
        Ok(())
    }

    /// True if counts were told.
    fn read(&mut self, facts: &mut Facts, data: &[u8]) -> Scan<bool> {
        let mut counts = false;
        let mut candidates = None;
        let mut cursor = Cursor::new(data);
        if cursor.peek()? != b'{' {
            return Err(Malformed);
        }
        cursor.object(|key, cursor| {
            match key {
                b"candidates" => candidates = cursor.present()?,
                b"usageMetadata" => {
                    if let Some(usage) = cursor.present()? {
                        counts = memchr::memmem::find(usage, b"TokenCount\"").is_some();
                        facts.usage.replace(usage);
                    }
                }
                b"modelVersion" => first(&mut facts.model, cursor)?,
                b"responseId" => first(&mut facts.id, cursor)?,
                b"promptFeedback" => self.feedback(facts, cursor)?,
                b"error" => {
                    if let Some(error) = cursor.present()? {
                        failed(facts, error)?;
                    }
                }
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        // The id under which callers hear of tool calls may stand behind them.
        if let Some(candidates) = candidates {
            let mut place = 0;
            Cursor::new(candidates).array(|cursor| {
                self.candidate(facts, place, cursor)?;
                place += 1;
                Ok(())
            })?;
        }
        Ok(counts)
    }

    /// A prompt that was blocked has no candidates.
    fn feedback(&mut self, facts: &mut Facts, cursor: &mut Cursor<'_>) -> Scan<()> {
        cursor.object(|key, cursor| {
            if key == b"blockReason" {
                last(&mut facts.finish, cursor)?;
                self.told_stop |= facts.finish.is_some();
                facts.finished |= self.told_stop;
                return Ok(());
            }
            cursor.skip().map(drop)
        })
    }

    fn candidate(&mut self, facts: &mut Facts, place: u64, cursor: &mut Cursor<'_>) -> Scan<()> {
        cursor.object(|key, cursor| {
            match key {
                b"content" => cursor.object(|key, cursor| match key {
                    b"parts" => cursor.array(|cursor| self.part(facts, place, cursor)),
                    _ => cursor.skip().map(drop),
                })?,
                b"finishReason" => {
                    let mut told = None;
                    last(&mut told, cursor)?;
                    self.told_stop |= told.is_some();
                    facts.finished |= told.is_some();
                    facts.finish = told.or(facts.finish.take());
                }
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })
    }

    fn part(&mut self, facts: &mut Facts, place: u64, cursor: &mut Cursor<'_>) -> Scan<()> {
        let mut thought = false;
        let mut text = Piece::None;
        cursor.object(|key, cursor| {
            match key {
                b"thought" => thought = cursor.skip()? == b"true",
                b"text" => {
                    text = facts.piece(cursor)?;
                    content(facts, cursor, 0)?;
                }
                b"functionCall" => self.call(facts, place, cursor)?,
                // Code that the provider runs, and its output.
                b"executableCode" | b"codeExecutionResult" => {
                    let bytes = cursor.skip()?.len();
                    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
                    facts.visible_bytes = facts.visible_bytes.saturating_add(bytes);
                }
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        if let (false, Piece::More(text)) = (thought, text) {
            facts.say_text(place, text, false);
        }
        Ok(())
    }

    fn call(&mut self, facts: &mut Facts, place: u64, cursor: &mut Cursor<'_>) -> Scan<()> {
        let (mut id, mut name, mut args) = (None, None, None);
        cursor.object(|key, cursor| {
            match key {
                b"id" => id = cursor.text()?,
                b"name" => name = cursor.text()?,
                b"args" | b"partialArgs" => args = cursor.present()?,
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        let name = name.filter(|name| !name.is_empty());
        // Callers are told of no arguments as of empty ones.
        let said = args.unwrap_or(if name.is_some() { b"{}" } else { b"" });
        let dense = compact(&String::from_utf8_lossy(said)).len();
        let bytes = u64::try_from(dense).unwrap_or(u64::MAX);
        facts.visible_bytes = facts.visible_bytes.saturating_add(bytes);
        // Pieces of one call go on without its name.
        let Some(name) = name else {
            return Ok(());
        };
        let at = (place, self.calls);
        let given = id.map(|id| id.decoded(super::facts::NAME_BYTES_MAX));
        let id = tool_id(facts.id.as_deref(), self.calls, given.as_deref());
        self.calls += 1;
        let id = super::scan::Text(id.as_bytes());
        if facts.tools.note(at, Some(id), Some(name)) {
            facts.produced(name);
        }
        let piece = args.map_or(Piece::None, Piece::Bare);
        facts.say_call(at, Some(id), Some(name), piece);
        Ok(())
    }
}

/// `{"code": 503, "message": …, "status": "UNAVAILABLE"}`.
fn failed(facts: &mut Facts, error: &[u8]) -> Scan<()> {
    let mut status = None;
    Cursor::new(error).object(|key, cursor| match key {
        b"status" => last(&mut status, cursor),
        _ => cursor.skip().map(drop),
    })?;
    facts.failed(error)?;
    facts.error = status.or(facts.error.take());
    Ok(())
}
