//! Chat callers on Google's models: the plain answer.

use super::super::chunks::usage;
use super::super::heard::Counts;
use super::super::read::{Members, Raw};
use super::super::write::Writer;
use super::super::{Unreadable, created};
use crate::dialect::gemini::{compact, tool_id};
use crate::price::usage::{Shape, from_json};

/// What the caller calls the reason for which the model stopped.
pub(super) fn finish_reason(reason: &str, calls: bool) -> &'static str {
    match reason {
        "MAX_TOKENS" => "length",
        "SAFETY"
        | "RECITATION"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION"
        | "MODEL_ARMOR" => "content_filter",
        _ if calls => "tool_calls",
        _ => "stop",
    }
}

/// Why a prompt was not answered at all.
pub(super) fn is_blocked(said: &Members<'_>) -> bool {
    let feedback = said.get("promptFeedback").and_then(Raw::members);
    feedback.is_some_and(|feedback| feedback.get("blockReason").is_some())
}

/// A part of an answer, as far as the caller's dialect has a place for it.
pub(super) enum Part<'a> {
    Text(Raw<'a>),
    Thought(Raw<'a>),
    /// The name and the arguments of a tool call, and its id if it was given any.
    Call {
        name: Raw<'a>,
        args: Option<Raw<'a>>,
        given: Option<Raw<'a>>,
    },
    /// Nothing but a signature, or what has no place.
    Other,
}

/// The parts of a candidate, each with the signature that the target wants to see again.
pub(super) fn parts<'a>(
    candidate: &Members<'a>,
) -> Result<Vec<(Part<'a>, Option<Raw<'a>>)>, Unreadable> {
    let content = candidate.get("content").and_then(Raw::members);
    let parts = content.and_then(|content| content.get("parts")?.items());
    parts.unwrap_or_default().into_iter().map(part).collect()
}

fn part(raw: Raw<'_>) -> Result<(Part<'_>, Option<Raw<'_>>), Unreadable> {
    let said = raw.members().ok_or(Unreadable::Form)?;
    let string = |value: &Raw<'_>| value.is_string() && !value.is_nothing();
    let signature = said.get("thoughtSignature").filter(string);
    if let Some(call) = said.get("functionCall").and_then(Raw::members) {
        // Arguments by the piece come to those alone who ask for them.
        if call.get("partialArgs").is_some() {
            return Err(Unreadable::Form);
        }
        let part = match call.get("name").filter(string) {
            None => Part::Other,
            Some(name) => Part::Call {
                name,
                args: call.get("args").filter(|args| args.is_object()),
                given: call.get("id").filter(string),
            },
        };
        return Ok((part, signature));
    }
    let is_thought = said.get("thought").and_then(Raw::flag) == Some(true);
    let part = match said.get("text").filter(string) {
        Some(text) if is_thought => Part::Thought(text),
        Some(text) => Part::Text(text),
        None => Part::Other,
    };
    Ok((part, signature))
}

/// Writes the members of a chat completion.
pub(in super::super) fn answer(said: &Members<'_>, out: &mut Writer) -> Result<(), Unreadable> {
    let candidates = said.get("candidates").and_then(Raw::items);
    let candidates = candidates.unwrap_or_default();
    if candidates.is_empty() && !is_blocked(said) {
        return Err(Unreadable::Form);
    }
    if let Some(id) = said.get("responseId") {
        out.key("id").raw(id);
    }
    out.key("object").string("chat.completion");
    out.key("created").number(created());
    if let Some(model) = said.get("modelVersion") {
        out.key("model").raw(model);
    }
    out.key("choices").array(|out| {
        if candidates.is_empty() {
            let blocked = Members::default();
            return choice(said, &blocked, (0, &mut 0), out);
        }
        let mut calls = 0;
        for (place, candidate) in (0..).zip(candidates) {
            let candidate = candidate.members().ok_or(Unreadable::Form)?;
            choice(said, &candidate, (place, &mut calls), out)?;
        }
        Ok(())
    })?;
    if let Some(counts) = said.get("usageMetadata").and_then(counts) {
        out.key("usage").json(&usage(&counts));
    }
    Ok(())
}

fn choice(
    said: &Members<'_>,
    candidate: &Members<'_>,
    (place, calls): (u64, &mut u64),
    out: &mut Writer,
) -> Result<(), Unreadable> {
    let before = *calls;
    out.object(|out| {
        out.key("index").number(place);
        let parts = parts(candidate)?;
        out.key("message").object(|out| {
            message(said, &parts, calls, out);
            Ok::<(), Unreadable>(())
        })?;
        out.key("logprobs").json("null");
        let reason = candidate.text("finishReason");
        let reason = match reason.as_deref() {
            None if is_blocked(said) => "content_filter",
            reason => finish_reason(reason.unwrap_or_default(), *calls > before),
        };
        out.key("finish_reason").string(reason);
        Ok(())
    })
}

fn message(
    said: &Members<'_>,
    parts: &[(Part<'_>, Option<Raw<'_>>)],
    calls: &mut u64,
    out: &mut Writer,
) {
    let texts = || {
        parts.iter().filter_map(|(part, _)| match part {
            Part::Text(text) => text.inside(),
            _ => None,
        })
    };
    let thoughts = || {
        parts.iter().filter_map(|(part, _)| match part {
            Part::Thought(text) => text.inside(),
            _ => None,
        })
    };
    let is_call = |part: &Part<'_>| matches!(part, Part::Call { .. });
    out.key("role").string("assistant");
    if texts().next().is_some() {
        out.key("content").joined(texts());
    } else {
        out.key("content").json("null");
    }
    out.key("refusal").json("null");
    if parts.iter().any(|(part, _)| is_call(part)) {
        out.key("tool_calls").open('[');
        for (part, signature) in parts {
            if let Part::Call { name, args, given } = part {
                out.open('{');
                tool_call(said, *calls, (*name, *args, *given), *signature, out);
                out.close('}');
                *calls += 1;
            }
        }
        out.close(']');
    }
    if thoughts().next().is_some() {
        out.key("reasoning_content").joined(thoughts());
    }
    let own = parts.iter().rev().filter(|(part, _)| !is_call(part));
    if let Some(signature) = own.clone().find_map(|(_, signature)| *signature) {
        extra_content(signature, out);
    }
}

/// The members of the `number`th tool call of an answer.
pub(super) fn tool_call(
    said: &Members<'_>,
    number: u64,
    (name, args, given): (Raw<'_>, Option<Raw<'_>>, Option<Raw<'_>>),
    signature: Option<Raw<'_>>,
    out: &mut Writer,
) {
    let answer = said.text("responseId");
    let given = given.and_then(Raw::text);
    out.key("id")
        .string(&tool_id(answer.as_deref(), number, given.as_deref()));
    out.key("type").string("function");
    out.key("function").open('{');
    out.key("name").raw(name);
    let args = args.map_or_else(|| "{}".to_owned(), |args| compact(args.json()));
    out.key("arguments").string(&args);
    out.close('}');
    if let Some(signature) = signature {
        extra_content(signature, out);
    }
}

/// Where Google's endpoint for OpenAI's clients has its signatures.
pub(super) fn extra_content(signature: Raw<'_>, out: &mut Writer) {
    out.key("extra_content").open('{');
    out.key("google").open('{');
    out.key("thought_signature").raw(signature);
    out.close('}');
    out.close('}');
}

/// What was counted; `None` if nothing is yet.
pub(super) fn counts(metadata: Raw<'_>) -> Option<Counts> {
    let usage = from_json(Shape::Gemini, metadata.json().as_bytes())?;
    Some(Counts {
        input: usage.all_input(),
        output: usage.all_output(),
        cached: usage.cache_read.saturating_add(usage.audio_cache_read),
        reasoning: usage.reasoning,
        ..Counts::default()
    })
}
