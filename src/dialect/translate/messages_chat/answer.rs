//! Anthropic's callers on any model: the plain answer.

use super::super::Unreadable;
use super::super::heard::{Counts, Part, pieces};
use super::super::read::{Members, Raw, object_in};
use super::super::write::Writer;

/// What the caller calls the reason for which the model stopped.
pub(super) fn stop_reason(finish_reason: &str) -> &'static str {
    match finish_reason {
        "length" | "model_length" => "max_tokens",
        "tool_calls" | "function_call" => "tool_use",
        "content_filter" => "refusal",
        _ => "end_turn",
    }
}

/// Writes the members of a message.
pub(in super::super) fn answer(said: &Members<'_>, out: &mut Writer) -> Result<(), Unreadable> {
    let choice = said.get("choices").and_then(Raw::items);
    let choice = choice.and_then(|choices| choices.first()?.members());
    let choice = choice.ok_or(Unreadable::Form)?;
    let message = choice.get("message").and_then(Raw::members);
    let message = message.ok_or(Unreadable::Form)?;
    match said.get("id") {
        Some(id) => out.key("id").raw(id),
        None => out.key("id").string("msg_unnamed"),
    };
    out.key("type").string("message");
    out.key("role").string("assistant");
    if let Some(model) = said.get("model") {
        out.key("model").raw(model);
    }
    out.key("content").array(|out| content(&message, out))?;
    let refusal = message.get("refusal").filter(|text| !text.is_nothing());
    let finish = choice.text("finish_reason").unwrap_or_default();
    out.key("stop_reason").string(match refusal {
        Some(_) => "refusal",
        None => stop_reason(&finish),
    });
    out.key("stop_sequence").json("null");
    let counts = Counts::of(said).unwrap_or_default();
    out.key("usage").json(&usage(&counts));
    Ok(())
}

fn content(message: &Members<'_>, out: &mut Writer) -> Result<(), Unreadable> {
    for (part, text) in pieces(message) {
        out.object(|out| {
            let text = std::iter::once(text);
            if part == Part::Thinking {
                out.key("type").string("thinking");
                out.key("thinking").joined(text);
                out.key("signature").string("");
            } else {
                out.key("type").string("text");
                out.key("text").joined(text);
            }
            Ok(())
        })?;
    }
    let calls = message.get("tool_calls");
    let calls = calls.filter(|calls| !calls.is_nothing());
    let calls = calls.map(|calls| calls.items().ok_or(Unreadable::Form));
    for call in calls.transpose()?.unwrap_or_default() {
        let call = call.members().ok_or(Unreadable::Form)?;
        tool_use(&call, out)?;
    }
    Ok(())
}

fn tool_use(call: &Members<'_>, out: &mut Writer) -> Result<(), Unreadable> {
    let function = call.get("function").and_then(Raw::members);
    let function = function.ok_or(Unreadable::Form)?;
    let (Some(id), Some(name)) = (call.get("id"), function.get("name")) else {
        return Err(Unreadable::Form);
    };
    let arguments = function.text("arguments").unwrap_or_default();
    let input = object_in(&arguments).ok_or(Unreadable::Arguments)?;
    out.object(|out| {
        out.key("type").string("tool_use");
        out.key("id").raw(id);
        out.key("name").raw(name);
        out.key("input").json(input);
        Ok(())
    })
}

/// The caller's `usage`: what was read from a cache, or written to one, lies beside its input.
pub(super) fn usage(counts: &Counts) -> String {
    let fresh = counts
        .input
        .saturating_sub(counts.cached)
        .saturating_sub(counts.written);
    let mut out = Writer::default();
    out.open('{');
    out.key("input_tokens").number(fresh);
    out.key("cache_creation_input_tokens")
        .number(counts.written);
    out.key("cache_read_input_tokens").number(counts.cached);
    out.key("output_tokens").number(counts.output);
    if counts.reasoning > 0 {
        out.key("output_tokens_details").open('{');
        out.key("thinking_tokens").number(counts.reasoning);
        out.close('}');
    }
    out.close('}');
    out.finish()
}
