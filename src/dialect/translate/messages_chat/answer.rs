//! Anthropic's callers on any model: the plain answer.

use super::super::Unreadable;
use super::super::read::{Members, Raw, object_in};
use super::super::write::Writer;

/// What the caller calls the reason for which the model stopped.
pub(super) fn stop_reason(finish_reason: &str) -> &'static str {
    match finish_reason {
        "length" => "max_tokens",
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
    let usage = said.get("usage").and_then(Raw::members);
    let counts = usage.map_or_else(Counts::default, |usage| Counts::of(&usage));
    out.key("usage").json(&counts.json());
    Ok(())
}

fn content(message: &Members<'_>, out: &mut Writer) -> Result<(), Unreadable> {
    let get = |name| {
        message
            .get(name)
            .filter(|text: &Raw<'_>| !text.is_nothing())
    };
    if let Some(thinking) = get("reasoning_content").or(get("reasoning"))
        && thinking.is_string()
    {
        out.object(|out| {
            out.key("type").string("thinking");
            out.key("thinking").raw(thinking);
            out.key("signature").string("");
            Ok(())
        })?;
    }
    match get("content") {
        Some(text) if text.is_string() => text_block(text, out)?,
        Some(parts) => {
            for part in parts.items().ok_or(Unreadable::Form)? {
                let part = part.members().ok_or(Unreadable::Form)?;
                let text = part.get("text").filter(|text| text.is_string());
                if let Some(text) = text {
                    text_block(text, out)?;
                }
            }
        }
        None => {}
    }
    if let Some(refusal) = get("refusal") {
        text_block(refusal, out)?;
    }
    let calls = get("tool_calls").map(|calls| calls.items().ok_or(Unreadable::Form));
    for call in calls.transpose()?.unwrap_or_default() {
        let call = call.members().ok_or(Unreadable::Form)?;
        tool_use(&call, out)?;
    }
    Ok(())
}

fn text_block(text: Raw<'_>, out: &mut Writer) -> Result<(), Unreadable> {
    out.object(|out| {
        out.key("type").string("text");
        out.key("text").raw(text);
        Ok(())
    })
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

/// Token counts as chat servers report them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    input: u64,
    cached: u64,
    written: u64,
    output: u64,
    reasoning: u64,
}

impl Counts {
    pub(super) fn of(usage: &Members<'_>) -> Self {
        let count =
            |members: &Members<'_>, name: &str| members.get(name).and_then(Raw::whole).unwrap_or(0);
        let details = |name: &str| usage.get(name).and_then(Raw::members).unwrap_or_default();
        let input = details("prompt_tokens_details");
        let output = details("completion_tokens_details");
        Self {
            input: count(usage, "prompt_tokens"),
            cached: count(&input, "cached_tokens"),
            written: count(&input, "cache_write_tokens"),
            output: count(usage, "completion_tokens"),
            reasoning: count(&output, "reasoning_tokens"),
        }
    }

    /// The caller's `usage`: what was read from a cache lies beside its input.
    pub(super) fn json(&self) -> String {
        let fresh = self
            .input
            .saturating_sub(self.cached)
            .saturating_sub(self.written);
        let mut text = format!(
            r#"{{"input_tokens":{fresh},"cache_creation_input_tokens":{},"cache_read_input_tokens":{},"output_tokens":{}"#,
            self.written, self.cached, self.output
        );
        if self.reasoning > 0 {
            text.push_str(&format!(
                r#","output_tokens_details":{{"thinking_tokens":{}}}"#,
                self.reasoning
            ));
        }
        text.push('}');
        text
    }
}
