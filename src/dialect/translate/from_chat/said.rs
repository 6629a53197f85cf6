//! Chat messages, read once for every target: parts of a content, tool calls and their results,
//! reasoning that an earlier answer gave.

use super::super::read::{Members, Raw, object_in};
use super::super::{Fit, Unfit, malformed, tool_id};
use std::borrow::Cow;

/// The members of an assistant's message that have a place where reasoning has one.
pub(in super::super) const ASSISTANT: [&str; 6] = [
    "content",
    "tool_calls",
    "refusal",
    "reasoning_details",
    "reasoning_content",
    "reasoning",
];

/// The members by which a caller marks, on any part, where a prefix of the prompt is to be cached.
pub(in super::super) const MARKS: &[&str] = &["cache_control", "prompt_cache_breakpoint"];

/// Members of a message that say nothing to the model, or nothing that has a place.
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

/// Members of a part, or of what is inside it, that have no place. `marks`: [`MARKS`] where the target
/// has such, else nothing.
pub(in super::super) fn beside(
    part: &Members<'_>,
    marks: &[&str],
    known: &[&str],
    fit: &mut Fit<'_>,
) -> Result<(), Unfit> {
    for (name, value) in part.iter() {
        let is_told = name == "type" || marks.contains(&name) || known.contains(&name);
        if !is_told && !value.is_nothing() {
            fit.cannot(name)?;
        }
    }
    Ok(())
}

/// Where the caller wants a prefix of the prompt cached.
#[derive(Clone, Copy)]
pub(in super::super) enum Mark<'a> {
    /// In Anthropic's words.
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

/// The text of a part of this kind, `text` or `refusal`.
pub(in super::super) fn text_of<'a>(
    part: &Members<'a>,
    kind: &str,
    marks: &[&str],
    fit: &mut Fit<'_>,
) -> Result<Raw<'a>, Unfit> {
    beside(part, marks, &["text", "refusal"], fit)?;
    let text = part.get(kind).filter(|text| text.is_string());
    text.ok_or_else(|| malformed("messages.content.text"))
}

/// The URL of an image.
pub(in super::super) fn image_url<'a>(
    part: &Members<'a>,
    marks: &[&str],
    fit: &mut Fit<'_>,
) -> Result<Cow<'a, str>, Unfit> {
    beside(part, marks, &["image_url"], fit)?;
    let image = part.get("image_url").and_then(Raw::members);
    let image = image.ok_or_else(|| malformed("image_url"))?;
    beside(&image, marks, &["url", "detail"], fit)?;
    let detail = image.text("detail");
    if detail.is_some_and(|detail| detail != "auto") {
        fit.cannot("detail")?;
    }
    image.text("url").ok_or_else(|| malformed("image_url"))
}

/// What is said of a file, and its data. `known`: its members that have a place.
pub(in super::super) fn file<'a>(
    part: &Members<'a>,
    marks: &[&str],
    known: &[&str],
    fit: &mut Fit<'_>,
) -> Result<(Members<'a>, Cow<'a, str>), Unfit> {
    beside(part, marks, &["file"], fit)?;
    let file = part.get("file").and_then(Raw::members);
    let file = file.ok_or_else(|| malformed("file"))?;
    beside(&file, marks, known, fit)?;
    match file.text("file_data") {
        Some(data) => Ok((file, data)),
        None => fit.must("file.file_id", ": the target does not have the file"),
    }
}

/// Inline data behind its `data:`: the media type and the data.
pub(in super::super) fn base64(inline: &str) -> Result<(&str, &str), Unfit> {
    inline
        .split_once(";base64,")
        .ok_or_else(|| malformed("url"))
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

/// Reasoning as an earlier answer gave it: JSON strings.
pub(in super::super) enum Thought<'a> {
    Signed {
        /// `""` if there is none to read.
        text: &'a str,
        signature: Raw<'a>,
    },
    Encrypted(Raw<'a>),
}

impl<'a> Thought<'a> {
    /// What a reasoning detail is; `None` if it is left out.
    pub(in super::super) fn of(detail: Raw<'a>, fit: &mut Fit<'_>) -> Result<Option<Self>, Unfit> {
        let detail = detail
            .members()
            .ok_or_else(|| malformed("reasoning_details"))?;
        let get = |name| detail.get(name).filter(|text: &Raw<'_>| text.is_string());
        let kind = detail.text("type").unwrap_or_default();
        match (&*kind, get("signature"), get("data")) {
            ("reasoning.text", Some(signature), _) => Ok(Some(Self::Signed {
                text: get("text").map_or("\"\"", Raw::json),
                signature,
            })),
            ("reasoning.encrypted", _, Some(data)) => Ok(Some(Self::Encrypted(data))),
            _ => fit.cannot("thinking_blocks").map(|()| None),
        }
    }
}

/// The function that a tool call calls; another kind of call cannot be left out.
pub(in super::super) fn called<'a>(
    call: &Members<'a>,
    fit: &Fit<'_>,
) -> Result<Members<'a>, Unfit> {
    match call.get("function").and_then(Raw::members) {
        Some(function) => Ok(function),
        None => {
            let kind = call.text("type").unwrap_or_default();
            fit.must(&format!("tool_calls.{kind}"), "")
        }
    }
}

/// The arguments of a call, a text, as the JSON object that they must be.
pub(in super::super) fn arguments<'t>(text: &'t str, fit: &Fit<'_>) -> Result<&'t str, Unfit> {
    match object_in(text) {
        Some(arguments) => Ok(arguments),
        None => fit.must("tool_calls.function.arguments", ": they are no JSON object"),
    }
}

/// Gives `each` a tool call's id, name and arguments, the id with nothing in it that either side refuses.
pub(in super::super) fn tool_call(
    call: Raw<'_>,
    fit: &Fit<'_>,
    each: impl FnOnce(&str, Raw<'_>, &str) -> Result<(), Unfit>,
) -> Result<(), Unfit> {
    let call = call.members().ok_or_else(|| malformed("tool_calls"))?;
    let function = called(&call, fit)?;
    let id = call.get("id").and_then(tool_id);
    let id = id.ok_or_else(|| malformed("tool_calls.id"))?;
    let name = function
        .get("name")
        .ok_or_else(|| malformed("tool_calls.function.name"))?;
    let text = function.text("arguments").unwrap_or_default();
    each(&id, name, arguments(&text, fit)?)
}

/// The id of the call that a tool message answers, with nothing in it that either side refuses.
pub(in super::super) fn answered<'a>(
    message: &Members<'a>,
    fit: &mut Fit<'_>,
) -> Result<Cow<'a, str>, Unfit> {
    // Some frameworks repeat the tool's name here; the id says it.
    others(
        message,
        &["content", "tool_call_id", "name", "cache_control"],
        fit,
    )?;
    let id = message.get("tool_call_id").and_then(tool_id);
    id.ok_or_else(|| malformed("messages.tool_call_id"))
}
