//! Chat callers on Anthropic's models: what was said.
//!
//! System and developer messages become the system prompt, wherever they stand; a run of tool
//! messages becomes one user message with their results, for that is where the target looks for them.

use super::super::from_chat::said::{
    ASSISTANT, MARKS, Mark, Thought, answered, base64, file as file_of, forgotten_thoughts,
    image_url, others, text_of, tool_call as call_of,
};
use super::super::read::{Members, Raw};
use super::super::write::Writer;
use super::super::{Fit, Unfit, malformed, objects};

/// Writes `messages` and `system`.
pub(super) fn messages(
    messages: Raw<'_>,
    fit: &mut Fit<'_>,
    out: &mut Writer,
) -> Result<(), Unfit> {
    let messages = objects(messages, "messages")?;
    let mut system = Vec::new();
    out.key("messages").array(|out| {
        let mut in_results = false;
        for message in messages {
            let message = message?;
            let role = message.text("role").unwrap_or_default();
            let is_result = role == "tool";
            if in_results && !is_result {
                out.close(']');
                out.close('}');
            }
            if is_result && !in_results {
                out.open('{');
                out.key("role").string("user");
                out.key("content").open('[');
            }
            in_results = is_result;
            match &*role {
                "system" | "developer" => system.push(message),
                "user" => out.object(|out| user(&message, fit, out))?,
                "assistant" => out.object(|out| assistant(&message, fit, out))?,
                "tool" => out.object(|out| tool_result(&message, fit, out))?,
                role => return fit.must(&format!("messages.{role}"), ""),
            }
        }
        if in_results {
            out.close(']');
            out.close('}');
        }
        Ok(())
    })?;
    system_prompt(&system, fit, out)
}

fn system_prompt(system: &[Members<'_>], fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    for message in system {
        others(message, &["content"], fit)?;
    }
    if let [only] = system
        && let Some(text) = only.get("content").filter(|content| content.is_string())
    {
        out.key("system").raw(text);
        return Ok(());
    }
    if system.is_empty() {
        return Ok(());
    }
    out.key("system").array(|out| {
        for message in system {
            match message.get("content") {
                Some(text) if text.is_string() => text_block(text, None, out)?,
                Some(parts) => {
                    for part in objects(parts, "messages")? {
                        content_part(&part?, false, fit, out)?;
                    }
                }
                None => {}
            }
        }
        Ok(())
    })
}

fn user(message: &Members<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    others(message, &["content"], fit)?;
    out.key("role").string("user");
    let content = message.get("content");
    content_of(
        content.ok_or_else(|| malformed("messages.content"))?,
        fit,
        out,
    )
}

/// `content`: a text as it stands, or the blocks of its parts.
fn content_of(content: Raw<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    if content.is_string() {
        out.key("content").raw(content);
        return Ok(());
    }
    let mut parts = objects(content, "messages.content")?;
    out.key("content")
        .array(|out| parts.try_for_each(|part| content_part(&part?, true, fit, out)))
}

/// A text block. Empty ones are refused by the target, and say nothing.
fn text_block(text: Raw<'_>, mark: Option<Mark<'_>>, out: &mut Writer) -> Result<(), Unfit> {
    if text.inside().is_none() {
        return Err(malformed("messages.content.text"));
    }
    if text.is_nothing() {
        return Ok(());
    }
    out.object(|out| {
        out.key("type").string("text");
        out.key("text").raw(text);
        marked(mark, out);
        Ok(())
    })
}

fn marked(mark: Option<Mark<'_>>, out: &mut Writer) {
    match mark {
        None => {}
        Some(Mark::Theirs(mark)) => out.key("cache_control").raw(mark),
        Some(Mark::Ours(is_long)) => out.key("cache_control").json(if is_long {
            r#"{"type":"ephemeral","ttl":"1h"}"#
        } else {
            r#"{"type":"ephemeral"}"#
        }),
    }
}

fn content_part(
    part: &Members<'_>,
    media: bool,
    fit: &mut Fit<'_>,
    out: &mut Writer,
) -> Result<(), Unfit> {
    let mark = Mark::of(part);
    let kind = part.text("type").unwrap_or_default();
    match &*kind {
        "text" | "refusal" => {
            let text = text_of(part, &kind, MARKS, fit)?;
            text_block(text, mark, out)
        }
        "image_url" if media => image(part, mark, fit, out),
        "file" if media => file(part, mark, fit, out),
        kind => fit.cannot(&format!("content.{kind}")),
    }
}

fn image(
    part: &Members<'_>,
    mark: Option<Mark<'_>>,
    fit: &mut Fit<'_>,
    out: &mut Writer,
) -> Result<(), Unfit> {
    let url = image_url(part, MARKS, fit)?;
    out.object(|out| {
        out.key("type").string("image");
        source(&url, out)?;
        marked(mark, out);
        Ok(())
    })
}

fn file(
    part: &Members<'_>,
    mark: Option<Mark<'_>>,
    fit: &mut Fit<'_>,
    out: &mut Writer,
) -> Result<(), Unfit> {
    let known = ["file_data", "file_id", "filename"];
    let (file, data) = file_of(part, MARKS, &known, fit)?;
    out.object(|out| {
        out.key("type").string("document");
        source(&data, out)?;
        if let Some(name) = file.get("filename") {
            out.key("title").raw(name);
        }
        marked(mark, out);
        Ok(())
    })
}

/// Where an image or a document comes from: the bytes themselves, or an address.
fn source(url: &str, out: &mut Writer) -> Result<(), Unfit> {
    out.key("source").object(|out| {
        let Some(inline) = url.strip_prefix("data:") else {
            out.key("type").string("url");
            out.key("url").string(url);
            return Ok(());
        };
        let (media_type, data) = base64(inline)?;
        out.key("type").string("base64");
        out.key("media_type").string(media_type);
        out.key("data").string(data);
        Ok(())
    })
}

fn assistant(message: &Members<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    others(message, &ASSISTANT, fit)?;
    out.key("role").string("assistant");
    let calls = message
        .get("tool_calls")
        .filter(|calls| !calls.is_nothing());
    let refusal = message.get("refusal");
    let details = message.get("reasoning_details");
    let content = message.get("content");
    if let (Some(text), None, None, None) =
        (content.filter(|c| c.is_string()), calls, refusal, details)
    {
        forgotten_thoughts(message, fit)?;
        out.key("content").raw(text);
        return Ok(());
    }
    out.key("content").array(|out| {
        match details.and_then(Raw::items) {
            Some(details) => details
                .iter()
                .try_for_each(|detail| thought(*detail, fit, out))?,
            None => forgotten_thoughts(message, fit)?,
        }
        match content {
            Some(text) if text.is_string() => text_block(text, None, out)?,
            Some(parts) => {
                for part in objects(parts, "messages.content")? {
                    content_part(&part?, false, fit, out)?;
                }
            }
            None => {}
        }
        if let Some(refusal) = refusal {
            text_block(refusal, None, out)?;
        }
        let calls = calls.map(|calls| calls.items().ok_or_else(|| malformed("tool_calls")));
        for call in calls.transpose()?.unwrap_or_default() {
            tool_call(call, fit, out)?;
        }
        Ok(())
    })
}

/// Reasoning as an answer of the target's gave it.
fn thought(detail: Raw<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    let Some(thought) = Thought::of(detail, fit)? else {
        return Ok(());
    };
    out.object(|out| {
        match thought {
            Thought::Signed { text, signature } => {
                out.key("type").string("thinking");
                out.key("thinking").json(text);
                out.key("signature").raw(signature);
            }
            Thought::Encrypted(data) => {
                out.key("type").string("redacted_thinking");
                out.key("data").raw(data);
            }
        }
        Ok(())
    })
}

fn tool_call(call: Raw<'_>, fit: &Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    call_of(call, fit, |id, name, input| {
        out.object(|out| {
            out.key("type").string("tool_use");
            out.key("id").string(id);
            out.key("name").raw(name);
            out.key("input").json(input);
            Ok(())
        })
    })
}

fn tool_result(message: &Members<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    let id = answered(message, fit)?;
    out.key("type").string("tool_result");
    out.key("tool_use_id").string(&id);
    if let Some(content) = message.get("content") {
        content_of(content, fit, out)?;
    }
    marked(Mark::of(message), out);
    Ok(())
}
