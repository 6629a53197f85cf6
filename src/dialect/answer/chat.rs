//! `openai-chat`, `openai-completions` and `openai-embeddings` answers, of OpenAI and of those who
//! imitate it.

use super::Kind;
use super::facts::{Facts, first, last};
use super::given::Piece;
use super::scan::{Cursor, Malformed, Scan};

/// Most choices of one answer that are told apart.
const CHOICES_MAX: usize = 128;
/// How deep content parts may nest (Mistral puts text in a thinking part in the content).
const PARTS_DEPTH_MAX: usize = 4;

/// What a stream has opened and not closed.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// `created` of the first chunk, in seconds since the epoch.
    pub(super) created: Option<u64>,
    /// Each choice seen: its index, and whether it has finished.
    pub(super) choices: Vec<(u64, bool)>,
    /// `[DONE]` was seen.
    pub(super) done: bool,
}

impl Progress {
    pub(super) fn event(&mut self, facts: &mut Facts, data: &[u8]) -> Scan<Kind> {
        if data == b"[DONE]" {
            self.done = true;
            facts.terminal = true;
            return Ok(Kind::Ordinary);
        }
        let object = object(facts, Some(self), data)?;
        facts.finished =
            !self.choices.is_empty() && self.choices.iter().all(|(_, finished)| *finished);
        // Usage of a stream still under way (some send it with every chunk) is not the last word.
        facts.terminal |= object.usage && facts.finished;
        let usage_only = object.usage && object.choices == Some(0);
        Ok(if usage_only {
            Kind::UsageOnly
        } else {
            Kind::Ordinary
        })
    }

    fn note(&mut self, index: u64, finished: bool) {
        if let Some((_, done)) = self.choices.iter_mut().find(|(known, _)| *known == index) {
            *done |= finished;
        } else if self.choices.len() < CHOICES_MAX {
            self.choices.push((index, finished));
        }
    }
}

/// Reads a whole plain answer.
pub(super) fn body(facts: &mut Facts, body: &[u8]) -> Scan<()> {
    object(facts, None, body).map(drop)?;
    facts.terminal = true;
    facts.finished = true;
    Ok(())
}

/// What one chunk or body held.
struct Object {
    /// How many choices, if there was such a member.
    choices: Option<usize>,
    usage: bool,
}

fn object(facts: &mut Facts, mut progress: Option<&mut Progress>, json: &[u8]) -> Scan<Object> {
    let mut cursor = Cursor::new(json);
    if cursor.peek()? != b'{' {
        return Err(Malformed);
    }
    let (mut usage, mut x_groq, mut choices) = (None, None, None);
    cursor.object(|key, cursor| {
        match key {
            b"choices" => {
                let mut count = 0;
                cursor.array(|cursor| {
                    count += 1;
                    choice(facts, progress.as_deref_mut(), cursor)
                })?;
                choices = Some(count);
            }
            b"id" => first(&mut facts.id, cursor)?,
            b"model" => first(&mut facts.model, cursor)?,
            b"service_tier" => last(&mut facts.service_tier, cursor)?,
            b"usage" => usage = cursor.present()?,
            b"x_groq" => x_groq = cursor.present()?,
            b"created" => {
                let created = cursor.whole()?;
                if let Some(progress) = progress.as_deref_mut() {
                    progress.created = progress.created.or(created);
                }
            }
            b"error" => {
                if let Some(error) = cursor.present()? {
                    facts.failed(error)?;
                }
            }
            _ => drop(cursor.skip()?),
        }
        Ok(())
    })?;
    if let (None, Some(groq)) = (usage, x_groq) {
        Cursor::new(groq).object(|key, cursor| {
            match key {
                b"usage" => usage = cursor.present()?,
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
    }
    if let Some(usage) = usage {
        facts.usage.replace(usage);
    }
    let usage = usage.is_some_and(|usage| usage.first() == Some(&b'{'));
    Ok(Object { choices, usage })
}

fn choice(facts: &mut Facts, progress: Option<&mut Progress>, cursor: &mut Cursor<'_>) -> Scan<()> {
    let (mut index, mut said, mut finished) = (0, None, false);
    let mut completed = Piece::None;
    cursor.object(|key, cursor| {
        match key {
            b"index" => index = cursor.whole()?.unwrap_or(0),
            // The index may stand behind these; tool calls are told apart by it.
            b"delta" | b"message" => said = cursor.present()?,
            b"text" => {
                completed = facts.piece(cursor)?;
                content(facts, cursor, 0)?;
            }
            b"finish_reason" => {
                if let Some(reason) = cursor.text()?.filter(|reason| !reason.is_empty()) {
                    finished = true;
                    facts.finish = Some(reason.decoded(super::facts::NAME_BYTES_MAX));
                }
            }
            // Moonshot's habit. A usage at its proper place comes later and wins.
            b"usage" => {
                let usage = cursor.present()?;
                if let (Some(usage), None) = (usage, facts.usage.json()) {
                    facts.usage.replace(usage);
                }
            }
            _ => drop(cursor.skip()?),
        }
        Ok(())
    })?;
    if let Some(progress) = progress {
        progress.note(index, finished);
    }
    if let (Some(given), Piece::More(text)) = (&mut facts.given, completed) {
        given.completion(index, text);
    }
    said.map_or(Ok(()), |said| message(facts, index, said))
}

/// A delta, or a whole message.
fn message(facts: &mut Facts, choice: u64, json: &[u8]) -> Scan<()> {
    // The same reasoning comes under two names, or three, from some (OpenRouter): the longest counts.
    let mut reasoning = 0;
    Cursor::new(json).object(|key, cursor| {
        match key {
            b"content" => {
                match facts.piece(cursor)? {
                    Piece::More(text) => facts.say_text(choice, text, false),
                    Piece::None => {}
                    // Parts: nobody asks for a form and for parts.
                    _ => facts.decline(),
                }
                content(facts, cursor, 0)?;
            }
            b"refusal" => {
                if !matches!(facts.piece(cursor)?, Piece::None) {
                    facts.decline();
                }
                content(facts, cursor, 0)?;
            }
            b"reasoning_content" | b"reasoning" | b"reasoning_details" => {
                let mut apart = Facts::default();
                content(&mut apart, cursor, 0)?;
                reasoning = reasoning.max(apart.visible_bytes);
            }
            b"tool_calls" => {
                let mut position = 0;
                cursor.array(|cursor| {
                    tool_call(facts, choice, position, cursor)?;
                    position += 1;
                    Ok(())
                })?;
            }
            b"function_call" => function(facts, (choice, u64::MAX), None, false, cursor)?,
            b"audio" => cursor.object(|key, cursor| match key {
                b"transcript" => content(facts, cursor, 0),
                _ => cursor.skip().map(drop),
            })?,
            _ => drop(cursor.skip()?),
        }
        Ok(())
    })?;
    facts.visible_bytes = facts.visible_bytes.saturating_add(reasoning);
    Ok(())
}

/// Text, or parts that hold text.
pub(super) fn content(facts: &mut Facts, cursor: &mut Cursor<'_>, depth: usize) -> Scan<()> {
    match cursor.peek()? {
        b'"' => {
            if let Some(text) = cursor.text()? {
                facts.produced(text);
            }
            Ok(())
        }
        b'[' if depth < PARTS_DEPTH_MAX => cursor.array(|cursor| part(facts, cursor, depth)),
        _ => cursor.skip().map(drop),
    }
}

fn part(facts: &mut Facts, cursor: &mut Cursor<'_>, depth: usize) -> Scan<()> {
    if cursor.peek()? == b'"' {
        return content(facts, cursor, depth);
    }
    cursor.object(|key, cursor| match key {
        b"text" | b"thinking" | b"refusal" | b"summary" | b"transcript" => {
            content(facts, cursor, depth + 1)
        }
        _ => cursor.skip().map(drop),
    })
}

fn tool_call(facts: &mut Facts, choice: u64, position: u64, cursor: &mut Cursor<'_>) -> Scan<()> {
    let (mut id, mut index, mut called, mut is_custom) = (None, position, None, false);
    cursor.object(|key, cursor| {
        match key {
            b"id" => id = cursor.text()?,
            b"index" => index = cursor.whole()?.unwrap_or(position),
            b"function" => called = cursor.present()?.or(called),
            b"custom" => {
                let custom = cursor.present()?;
                is_custom |= custom.is_some();
                called = custom.or(called);
            }
            _ => drop(cursor.skip()?),
        }
        Ok(())
    })?;
    let called = called.unwrap_or(b"{}");
    let mut called = Cursor::new(called);
    function(facts, (choice, index), id, is_custom, &mut called)
}

fn function(
    facts: &mut Facts,
    place: (u64, u64),
    id: Option<super::scan::Text<'_>>,
    is_custom: bool,
    cursor: &mut Cursor<'_>,
) -> Scan<()> {
    if cursor.peek()? != b'{' {
        return cursor.skip().map(drop);
    }
    let (mut name, mut arguments) = (None, Piece::None);
    cursor.object(|key, cursor| {
        match key {
            b"name" => name = cursor.text()?.filter(|name| !name.is_empty()),
            b"arguments" | b"input" => {
                arguments = facts.piece(cursor)?;
                content(facts, cursor, 0)?;
            }
            _ => drop(cursor.skip()?),
        }
        Ok(())
    })?;
    if facts.tools.note(place, id, name) {
        name.into_iter().for_each(|name| facts.produced(name));
    }
    let piece = if is_custom { Piece::Free } else { arguments };
    facts.say_call(place, id, name, piece);
    Ok(())
}
