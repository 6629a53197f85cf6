//! Chat callers on Anthropic's models: the plain answer.

use super::super::read::{Members, Raw};
use super::super::to_chat::{choices, tool_call as call_in};
use super::super::write::Writer;
use super::super::{Unreadable, chunks, created, heard};

/// What the caller calls the reason for which the model stopped.
pub(super) fn finish_reason(stop_reason: &str) -> &'static str {
    match stop_reason {
        "max_tokens" | "model_context_window_exceeded" => "length",
        "tool_use" => "tool_calls",
        "refusal" => "content_filter",
        _ => "stop",
    }
}

/// Writes the members of a chat completion.
pub(in super::super) fn answer(said: &Members<'_>, out: &mut Writer) -> Result<(), Unreadable> {
    let blocks = said.get("content").and_then(Raw::items);
    let blocks = blocks.ok_or(Unreadable::Form)?;
    let blocks: Option<Vec<_>> = blocks.into_iter().map(Raw::members).collect();
    let blocks = blocks.ok_or(Unreadable::Form)?;
    if let Some(id) = said.get("id") {
        out.key("id").raw(id);
    }
    out.key("object").string("chat.completion");
    out.key("created").number(created());
    if let Some(model) = said.get("model") {
        out.key("model").raw(model);
    }
    let stop = said.text("stop_reason").unwrap_or_default();
    choices(finish_reason(&stop), |out| message(&blocks, out), out)?;
    if let Some(usage) = said.get("usage").and_then(Raw::members) {
        let mut counts = Counts::default();
        counts.read(&usage);
        out.key("usage").json(&chunks::usage(&counts.told()));
    }
    Ok(())
}

fn message(blocks: &[Members<'_>], out: &mut Writer) -> Result<(), Unreadable> {
    let is = |block: &&Members<'_>, kind: &str| block.text("type").as_deref() == Some(kind);
    let of = |kind: &'static str, member: &'static str| {
        blocks
            .iter()
            .filter(move |block| is(block, kind))
            .filter_map(move |block| block.get(member)?.inside())
    };
    out.key("role").string("assistant");
    if of("text", "text").next().is_some() {
        out.key("content").joined(of("text", "text"));
    } else {
        out.key("content").json("null");
    }
    out.key("refusal").json("null");
    if blocks.iter().any(|block| is(&block, "tool_use")) {
        out.key("tool_calls").array(|out| {
            let calls = blocks.iter().filter(|block| is(block, "tool_use"));
            calls.into_iter().try_for_each(|call| tool_call(call, out))
        })?;
    }
    if of("thinking", "thinking").next().is_some() {
        out.key("reasoning_content")
            .joined(of("thinking", "thinking"));
    }
    let thoughts = |block: &&Members<'_>| is(block, "thinking") || is(block, "redacted_thinking");
    if blocks.iter().any(|block| thoughts(&block)) {
        out.key("reasoning_details").array(|out| {
            blocks
                .iter()
                .filter(thoughts)
                .try_for_each(|block| thought(block, out))
        })?;
    }
    Ok(())
}

fn tool_call(block: &Members<'_>, out: &mut Writer) -> Result<(), Unreadable> {
    let (Some(id), Some(name)) = (block.get("id"), block.get("name")) else {
        return Err(Unreadable::Form);
    };
    call_in(id, name, block.get("input"), out);
    Ok(())
}

/// Reasoning with what the target wants to see again of it.
fn thought(block: &Members<'_>, out: &mut Writer) -> Result<(), Unreadable> {
    out.object(|out| {
        if let Some(data) = block.get("data") {
            out.key("type").string("reasoning.encrypted");
            out.key("data").raw(data);
        } else {
            out.key("type").string("reasoning.text");
            for (name, member) in [("text", "thinking"), ("signature", "signature")] {
                if let Some(value) = block.get(member) {
                    out.key(name).raw(value);
                }
            }
        }
        Ok(())
    })
}

/// Token counts as Anthropic reports them, in a stream bit by bit.
#[derive(Debug, Default)]
pub(super) struct Counts {
    input: u64,
    cache_read: u64,
    cache_written: u64,
    output: u64,
    thinking: Option<u64>,
}

impl Counts {
    /// What this report says over what was said before.
    pub(super) fn read(&mut self, usage: &Members<'_>) {
        let set = |name: &str, slot: &mut u64| {
            if let Some(count) = usage.get(name).and_then(Raw::whole) {
                *slot = count;
            }
        };
        set("input_tokens", &mut self.input);
        set("cache_read_input_tokens", &mut self.cache_read);
        set("cache_creation_input_tokens", &mut self.cache_written);
        set("output_tokens", &mut self.output);
        let details = usage.get("output_tokens_details").and_then(Raw::members);
        let thinking = details.and_then(|details| details.get("thinking_tokens")?.whole());
        self.thinking = thinking.or(self.thinking);
    }

    /// As the caller counts: what was read from a cache or written to one lies inside its input.
    pub(super) fn told(&self) -> heard::Counts {
        let input = self
            .input
            .saturating_add(self.cache_read)
            .saturating_add(self.cache_written);
        heard::Counts {
            input,
            cached: self.cache_read,
            written: self.cache_written,
            output: self.output,
            reasoning: self.thinking.unwrap_or(0),
        }
    }
}
