//! Chat callers on Amazon Bedrock: the plain answer.

use super::super::heard::Counts;
use super::super::read::{Members, Raw};
use super::super::to_chat::{choices, tool_call as call_in};
use super::super::write::Writer;
use super::super::{Unreadable, chunks, created};
use crate::price::usage::{Shape, from_json};

/// What the caller calls the reason for which the model stopped.
pub(super) fn finish_reason(stop_reason: &str) -> &'static str {
    match stop_reason {
        "max_tokens" | "model_context_window_exceeded" => "length",
        "tool_use" => "tool_calls",
        "guardrail_intervened" | "content_filtered" => "content_filter",
        _ => "stop",
    }
}

/// The counts of a `usage` object.
pub(super) fn counts(usage: Raw<'_>) -> Option<Counts> {
    let usage = from_json(Shape::Bedrock, usage.json().as_bytes())?;
    Some(Counts {
        input: usage.all_input(),
        cached: usage.cache_read,
        written: usage.cache_write_5m.saturating_add(usage.cache_write_1h),
        output: usage.all_output(),
        reasoning: 0,
    })
}

/// Writes the members of a chat completion. `echo`: those that the answer itself does not say.
pub(in super::super) fn answer(
    said: &Members<'_>,
    echo: &str,
    out: &mut Writer,
) -> Result<(), Unreadable> {
    let output = said.get("output").and_then(Raw::members);
    let said_by = output.and_then(|output| output.get("message")?.members());
    let blocks = said_by.and_then(|message| message.get("content")?.items());
    let blocks: Option<Vec<_>> = blocks
        .ok_or(Unreadable::Form)?
        .into_iter()
        .map(Raw::members)
        .collect();
    let blocks = blocks.ok_or(Unreadable::Form)?;
    out.json(echo);
    out.key("object").string("chat.completion");
    out.key("created").number(created());
    let stop = said.text("stopReason").unwrap_or_default();
    choices(finish_reason(&stop), |out| message(&blocks, out), out)?;
    if let Some(counts) = said.get("usage").and_then(counts) {
        out.key("usage").json(&chunks::usage(&counts));
    }
    Ok(())
}

/// A block's `reasoningContent`, with its text where it has one.
fn reasoning<'a>(block: &Members<'a>) -> Option<(Members<'a>, Option<Members<'a>>)> {
    let reasoning = block.get("reasoningContent")?.members()?;
    let text = reasoning.get("reasoningText").and_then(Raw::members);
    Some((reasoning, text))
}

fn message(blocks: &[Members<'_>], out: &mut Writer) -> Result<(), Unreadable> {
    out.key("role").string("assistant");
    let texts = || {
        blocks
            .iter()
            .filter_map(|block| block.get("text")?.inside())
    };
    if texts().next().is_some() {
        out.key("content").joined(texts());
    } else {
        out.key("content").json("null");
    }
    out.key("refusal").json("null");
    let calls = || blocks.iter().filter_map(|block| block.get("toolUse"));
    if calls().next().is_some() {
        out.key("tool_calls").array(|out| {
            calls().try_for_each(|call| tool_call(&call.members().ok_or(Unreadable::Form)?, out))
        })?;
    }
    let thoughts = || blocks.iter().filter_map(reasoning);
    let thought = || thoughts().filter_map(|(_, text)| text?.get("text")?.inside());
    if thought().next().is_some() {
        out.key("reasoning_content").joined(thought());
    }
    if thoughts().next().is_some() {
        out.key("reasoning_details").array(|out| {
            thoughts().try_for_each(|(reasoning, text)| detail(&reasoning, text.as_ref(), out))
        })?;
    }
    Ok(())
}

fn tool_call(call: &Members<'_>, out: &mut Writer) -> Result<(), Unreadable> {
    let (Some(id), Some(name)) = (call.get("toolUseId"), call.get("name")) else {
        return Err(Unreadable::Form);
    };
    call_in(id, name, call.get("input"), out);
    Ok(())
}

/// Reasoning with what the target wants to see again of it.
fn detail(
    reasoning: &Members<'_>,
    text: Option<&Members<'_>>,
    out: &mut Writer,
) -> Result<(), Unreadable> {
    out.object(|out| {
        if let Some(text) = text {
            out.key("type").string("reasoning.text");
            for name in ["text", "signature"] {
                if let Some(value) = text.get(name) {
                    out.key(name).raw(value);
                }
            }
        } else {
            out.key("type").string("reasoning.encrypted");
            if let Some(data) = reasoning.get("redactedContent") {
                out.key("data").raw(data);
            }
        }
        Ok(())
    })
}
