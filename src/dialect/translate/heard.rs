//! What chat servers answer, in all the ways that they have of saying it.

use super::Unreadable;
use super::read::{Members, Raw};
use crate::price::usage::{Shape, from_json};
use std::borrow::Cow;

/// How deep content parts may nest (Mistral puts text in a thinking part in the content).
const PARTS_DEPTH_MAX: usize = 3;

/// What a piece of an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Thinking,
    Text,
    Refusal,
}

/// The pieces of a message, or of a delta, in order: the insides of JSON strings, none of them empty.
pub(super) fn pieces<'a>(message: &Members<'a>) -> Vec<(Part, &'a str)> {
    let mut pieces = Vec::new();
    // The same reasoning comes under two names from some (OpenRouter).
    let thinking = ["reasoning_content", "reasoning"]
        .iter()
        .find_map(|name| message.get(name)?.inside().filter(|text| !text.is_empty()));
    match (thinking, message.get("reasoning_details")) {
        (Some(text), _) => pieces.push((Part::Thinking, text)),
        (None, Some(details)) => add(details, Part::Thinking, &mut pieces, 0),
        (None, None) => {}
    }
    if let Some(content) = message.get("content") {
        add(content, Part::Text, &mut pieces, 0);
    }
    if let Some(refusal) = message.get("refusal") {
        add(refusal, Part::Refusal, &mut pieces, 0);
    }
    pieces
}

fn add<'a>(content: Raw<'a>, part: Part, pieces: &mut Vec<(Part, &'a str)>, depth: usize) {
    if let Some(text) = content.inside() {
        if !text.is_empty() {
            pieces.push((part, text));
        }
        return;
    }
    if depth >= PARTS_DEPTH_MAX {
        return;
    }
    for item in content.items().unwrap_or_default() {
        let Some(members) = item.members() else {
            add(item, part, pieces, depth + 1);
            continue;
        };
        for (name, value) in members.iter() {
            let part = match name {
                "text" | "summary" => part,
                "thinking" => Part::Thinking,
                "refusal" => Part::Refusal,
                _ => continue,
            };
            add(value, part, pieces, depth + 1);
        }
    }
}

/// The first choice of a chunk; `None` if it has none.
///
/// # Errors
/// It is none.
pub(super) fn choice<'a>(said: &Members<'a>) -> Result<Option<Members<'a>>, Unreadable> {
    let choices = said.get("choices").and_then(Raw::items).unwrap_or_default();
    let choice = choices.first().map(|choice| choice.members());
    choice
        .map(|choice| choice.ok_or(Unreadable::Form))
        .transpose()
}

/// Why a choice says that the model stopped, if it says so yet.
pub(super) fn finish<'a>(choice: &Members<'a>) -> Option<Cow<'a, str>> {
    choice
        .text("finish_reason")
        .filter(|finish| !finish.is_empty())
}

/// Pieces of tool calls in a delta.
///
/// # Errors
/// One is none.
pub(super) fn calls<'a>(delta: &Members<'a>) -> Result<Vec<Members<'a>>, Unreadable> {
    let calls = delta.get("tool_calls").and_then(Raw::items);
    let calls = calls.unwrap_or_default().into_iter().map(Raw::members);
    calls.map(|call| call.ok_or(Unreadable::Form)).collect()
}

/// Token counts as chat servers report them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    /// All input.
    pub(super) input: u64,
    /// Of it, read from a cache.
    pub(super) cached: u64,
    /// Of it, written to one.
    pub(super) written: u64,
    /// All output, reasoning included.
    pub(super) output: u64,
    /// Of it, reasoning.
    pub(super) reasoning: u64,
}

impl Counts {
    /// Those of an answer or a chunk, wherever the server puts them.
    pub(super) fn of(said: &Members<'_>) -> Option<Self> {
        let within = |members: Members<'_>| Self::read(members.get("usage")?);
        let usage = said.get("usage").and_then(Self::read);
        let groq = || within(said.get("x_groq")?.members()?);
        // Moonshot's habit.
        let choice = || within(said.get("choices")?.items()?.first()?.members()?);
        usage.or_else(groq).or_else(choice)
    }

    fn read(usage: Raw<'_>) -> Option<Self> {
        let usage = from_json(Shape::OpenaiChat, usage.json().as_bytes())?;
        Some(Self {
            input: usage.all_input(),
            cached: usage.cache_read.saturating_add(usage.audio_cache_read),
            written: usage.cache_write_5m.saturating_add(usage.cache_write_1h),
            output: usage.all_output(),
            reasoning: usage.reasoning,
        })
    }
}

/// A piece of a tool call in a stream.
pub(super) struct CallPiece<'a> {
    pub(super) id: Option<Raw<'a>>,
    pub(super) name: Option<Raw<'a>>,
    /// The inside of a JSON string, not empty.
    pub(super) arguments: Option<&'a str>,
    index: u64,
}

impl<'a> CallPiece<'a> {
    pub(super) fn of(call: &Members<'a>) -> Self {
        let function = call.get("function").and_then(Raw::members);
        let function = function.unwrap_or_default();
        let said = |value: &Raw<'_>| value.is_string() && !value.is_nothing();
        let arguments = function.get("arguments").and_then(Raw::inside);
        Self {
            id: call.get("id").filter(said),
            name: function.get("name").filter(said),
            arguments: arguments.filter(|text| !text.is_empty()),
            index: call.get("index").and_then(Raw::whole).unwrap_or(0),
        }
    }
}

/// Which tool call of a stream a piece belongs to.
#[derive(Debug, Default)]
pub(super) struct Calls {
    /// The last that began: its index and its id, as JSON.
    last: Option<(u64, String)>,
}

/// A piece in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It begins another call.
    Begins,
    /// It goes on with the last one.
    GoesOn,
    /// It goes on with an earlier one.
    Earlier,
}

impl Calls {
    /// Where the piece belongs. Servers that number their calls all alike tell them apart by their ids.
    pub(super) fn place(&mut self, piece: &CallPiece<'_>) -> Place {
        let id = piece.id.map(Raw::json);
        let place = match &self.last {
            None => Place::Begins,
            Some((index, _)) if piece.index > *index => Place::Begins,
            Some((_, last)) if id.is_some_and(|id| id != last) && piece.name.is_some() => {
                Place::Begins
            }
            Some((index, _)) if piece.index < *index => Place::Earlier,
            Some(_) => Place::GoesOn,
        };
        if place == Place::Begins {
            self.last = Some((piece.index, id.unwrap_or_default().to_owned()));
        }
        place
    }
}
