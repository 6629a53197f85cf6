//! Chat callers on Anthropic's models: what was said.
//!
//! System and developer messages become the system prompt, wherever they stand; a run of tool
//! messages becomes one user message with their results, for that is where the target looks for them.

use super::super::read::{Members, Raw, object_in};
use super::super::write::Writer;
use super::super::{Fit, Unfit, malformed, tool_id};

/// Writes `messages` and `system`.
pub(super) fn messages(
    messages: Raw<'_>,
    fit: &mut Fit<'_>,
    out: &mut Writer,
) -> Result<(), Unfit> {
    let messages = messages.items().ok_or_else(|| malformed("messages"))?;
    let mut system = Vec::new();
    out.key("messages").array(|out| {
        let mut in_results = false;
        for message in messages {
            let message = message.members().ok_or_else(|| malformed("messages"))?;
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

/// Members that say nothing to the model, or nothing that has a place.
pub(in super::super) fn others(
    message: &Members<'_>,
    known: &[&str],
    fit: &mut Fit<'_>,
) -> Result<(), Unfit> {
    for (name, value) in message.iter() {
        if name != "role" && !known.contains(&name) && !value.is_nothing() {
            fit.cannot(match name {
                "reasoning_content" | "reasoning" | "reasoning_details" => "thinking_blocks",
                name => name,
            })?;
        }
    }
    Ok(())
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
                    for part in parts.items().ok_or_else(|| malformed("messages"))? {
                        let part = part.members().ok_or_else(|| malformed("messages"))?;
                        content_part(&part, false, fit, out)?;
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
    let parts = content
        .items()
        .ok_or_else(|| malformed("messages.content"))?;
    out.key("content").array(|out| {
        for part in parts {
            let part = part
                .members()
                .ok_or_else(|| malformed("messages.content"))?;
            content_part(&part, true, fit, out)?;
        }
        Ok(())
    })
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

/// Where the caller wants a prefix of the prompt cached.
#[derive(Clone, Copy)]
pub(in super::super) enum Mark<'a> {
    /// In the target's own words.
    Theirs(Raw<'a>),
    /// In the caller's; true for longer than the shortest time.
    Ours(bool),
}

impl<'a> Mark<'a> {
    pub(in super::super) fn of(part: &Members<'a>) -> Option<Self> {
        let theirs = part.get("cache_control").map(Self::Theirs);
        let ours = || part.get("prompt_cache_breakpoint").and_then(Raw::members);
        theirs.or_else(|| Some(Self::Ours(ours()?.get("ttl").is_some())))
    }
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

/// Members of a part, or of what is inside it, that have no place.
pub(in super::super) fn beside(
    part: &Members<'_>,
    known: &[&str],
    fit: &mut Fit<'_>,
) -> Result<(), Unfit> {
    const EVERYWHERE: [&str; 3] = ["type", "cache_control", "prompt_cache_breakpoint"];
    for (name, value) in part.iter() {
        let is_told = EVERYWHERE.contains(&name) || known.contains(&name);
        if !is_told && !value.is_nothing() {
            fit.cannot(name)?;
        }
    }
    Ok(())
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
            beside(part, &["text", "refusal"], fit)?;
            let text = part.get(&kind);
            let text = text.ok_or_else(|| malformed("messages.content.text"))?;
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
    beside(part, &["image_url"], fit)?;
    let image = part.get("image_url").and_then(Raw::members);
    let image = image.ok_or_else(|| malformed("image_url"))?;
    beside(&image, &["url", "detail"], fit)?;
    let detail = image.text("detail");
    if detail.is_some_and(|detail| detail != "auto") {
        fit.cannot("detail")?;
    }
    let url = image.text("url").ok_or_else(|| malformed("image_url"))?;
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
    beside(part, &["file"], fit)?;
    let file = part.get("file").and_then(Raw::members);
    let file = file.ok_or_else(|| malformed("file"))?;
    beside(&file, &["file_data", "file_id", "filename"], fit)?;
    let Some(data) = file.text("file_data") else {
        return fit.must("file.file_id", ": the target does not have the file");
    };
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
        let (media_type, data) = inline
            .split_once(";base64,")
            .ok_or_else(|| malformed("url"))?;
        out.key("type").string("base64");
        out.key("media_type").string(media_type);
        out.key("data").string(data);
        Ok(())
    })
}

fn assistant(message: &Members<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    let known = [
        "content",
        "tool_calls",
        "refusal",
        "reasoning_details",
        "reasoning_content",
        "reasoning",
    ];
    others(message, &known, fit)?;
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
                for part in parts.items().ok_or_else(|| malformed("messages.content"))? {
                    let part = part
                        .members()
                        .ok_or_else(|| malformed("messages.content"))?;
                    content_part(&part, false, fit, out)?;
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

/// Reasoning without the signature that the target asks for.
pub(in super::super) fn forgotten_thoughts(
    message: &Members<'_>,
    fit: &mut Fit<'_>,
) -> Result<(), Unfit> {
    let thought = ["reasoning_content", "reasoning"]
        .iter()
        .any(|name| message.get(name).is_some_and(|text| !text.is_nothing()));
    if thought {
        fit.cannot("thinking_blocks")?;
    }
    Ok(())
}

/// Reasoning as an answer of the target's gave it.
fn thought(detail: Raw<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    let detail = detail
        .members()
        .ok_or_else(|| malformed("reasoning_details"))?;
    let get = |name| detail.get(name).filter(|text: &Raw<'_>| text.is_string());
    match (
        detail.text("type").as_deref(),
        get("text"),
        get("signature"),
        get("data"),
    ) {
        (Some("reasoning.text"), text, Some(signature), _) => out.object(|out| {
            out.key("type").string("thinking");
            match text {
                Some(text) => out.key("thinking").raw(text),
                None => out.key("thinking").string(""),
            };
            out.key("signature").raw(signature);
            Ok(())
        }),
        (Some("reasoning.encrypted"), _, _, Some(data)) => out.object(|out| {
            out.key("type").string("redacted_thinking");
            out.key("data").raw(data);
            Ok(())
        }),
        _ => fit.cannot("thinking_blocks"),
    }
}

fn tool_call(call: Raw<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    let call = call.members().ok_or_else(|| malformed("tool_calls"))?;
    let Some(function) = call.get("function").and_then(Raw::members) else {
        let kind = call.text("type").unwrap_or_default();
        return fit.must(&format!("tool_calls.{kind}"), "");
    };
    let id = call.get("id").and_then(tool_id);
    let id = id.ok_or_else(|| malformed("tool_calls.id"))?;
    let name = function
        .get("name")
        .ok_or_else(|| malformed("tool_calls.function.name"))?;
    let arguments = function.text("arguments").unwrap_or_default();
    let Some(input) = object_in(&arguments) else {
        return fit.must("tool_calls.function.arguments", ": they are no JSON object");
    };
    out.object(|out| {
        out.key("type").string("tool_use");
        out.key("id").string(&id);
        out.key("name").raw(name);
        out.key("input").json(input);
        Ok(())
    })
}

fn tool_result(message: &Members<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    // Some frameworks repeat the tool's name here; the id says it.
    others(
        message,
        &["content", "tool_call_id", "name", "cache_control"],
        fit,
    )?;
    let id = message.get("tool_call_id").and_then(tool_id);
    let id = id.ok_or_else(|| malformed("messages.tool_call_id"))?;
    out.key("type").string("tool_result");
    out.key("tool_use_id").string(&id);
    if let Some(content) = message.get("content") {
        content_of(content, fit, out)?;
    }
    marked(Mark::of(message), out);
    Ok(())
}
