//! Responses callers on servers that speak chat alone: what was said.
//!
//! Function calls join the assistant's message before them, for chat has them inside it.

use super::super::read::{Members, Raw};
use super::super::to_chat::function;
use super::super::write::Writer;
use super::super::{Fit, Unfit, malformed, objects};

/// The member that marks a prefix of the prompt for the provider's cache.
const BREAKPOINT: &str = "prompt_cache_breakpoint";

/// What an assistant message is made of.
#[derive(Default)]
struct Turn<'a> {
    content: Option<Raw<'a>>,
    calls: Vec<Members<'a>>,
    open: bool,
}

/// Writes `messages`.
pub(super) fn messages(
    instructions: Option<Raw<'_>>,
    input: Option<Raw<'_>>,
    fit: &mut Fit<'_>,
    out: &mut Writer,
) -> Result<(), Unfit> {
    out.key("messages").array(|out| {
        if let Some(text) = instructions.filter(|text| !text.is_nothing()) {
            if !text.is_string() {
                return fit.must("instructions", ": only a text can be");
            }
            message("system", text, fit, out)?;
        }
        match input {
            None => fit.must("input", ": there is none"),
            Some(text) if text.is_string() => message("user", text, fit, out),
            Some(items) => {
                let items = items.items().ok_or_else(|| malformed("input"))?;
                input_items(&items, fit, out)
            }
        }
    })
}

fn input_items(items: &[Raw<'_>], fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    let mut turn = Turn::default();
    for item in items {
        let item = item.members().ok_or_else(|| malformed("input"))?;
        let role = item.text("role");
        beside(&item, fit)?;
        match (item.text("type").as_deref(), role.as_deref()) {
            (None | Some("message"), Some("assistant")) => {
                turn.close(fit, out)?;
                turn.content = item.get("content");
                turn.open = true;
            }
            (None | Some("message"), Some(role @ ("user" | "system" | "developer"))) => {
                turn.close(fit, out)?;
                let content = item
                    .get("content")
                    .ok_or_else(|| malformed("input.content"))?;
                let role = if role == "developer" { "system" } else { role };
                message(role, content, fit, out)?;
            }
            (Some("function_call"), _) => {
                turn.calls.push(item);
                turn.open = true;
            }
            (Some("function_call_output"), _) => {
                turn.close(fit, out)?;
                output(&item, fit, out)?;
            }
            (Some("reasoning"), _) => fit.cannot("reasoning_items")?,
            (kind, _) => return fit.must(&format!("input.{}", kind.unwrap_or_default()), ""),
        }
    }
    turn.close(fit, out)
}

/// Members of an item that have no place.
fn beside(item: &Members<'_>, fit: &mut Fit<'_>) -> Result<(), Unfit> {
    let known: &[&str] = match item.text("type").as_deref() {
        None | Some("message") => &["role", "content"],
        Some("function_call") => &["call_id", "name", "arguments"],
        Some("function_call_output") => &["call_id", "output"],
        // All of it, or nothing.
        _ => return Ok(()),
    };
    for (name, value) in item.iter() {
        let is_told = ["type", "id", "status"].contains(&name) || known.contains(&name);
        if !is_told && !value.is_nothing() {
            fit.cannot(&format!("input.{name}"))?;
        }
    }
    Ok(())
}

impl Turn<'_> {
    fn close(&mut self, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
        let Self {
            content,
            calls,
            open,
        } = std::mem::take(self);
        if !open {
            return Ok(());
        }
        out.object(|out| {
            out.key("role").string("assistant");
            match content {
                Some(content) => content_of(content, fit, out)?,
                None => out.key("content").json("null"),
            }
            if calls.is_empty() {
                return Ok(());
            }
            out.key("tool_calls").array(|out| {
                calls.iter().try_for_each(|call| {
                    let get = |name| call.get(name).ok_or_else(|| malformed("function_call"));
                    let (id, name) = (get("call_id")?, get("name")?);
                    let arguments = get("arguments")?;
                    out.object(|out| {
                        out.key("id").raw(id);
                        function(out, |out| {
                            out.key("name").raw(name);
                            out.key("arguments").raw(arguments);
                        });
                        Ok(())
                    })
                })
            })
        })
    }
}

fn message(role: &str, content: Raw<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    out.object(|out| {
        out.key("role").string(role);
        content_of(content, fit, out)
    })
}

/// `content`: a text as it stands, one text part as such, or the parts.
fn content_of(content: Raw<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    if content.is_string() {
        out.key("content").raw(content);
        return Ok(());
    }
    let parts: Vec<_> = objects(content, "input.content")?.collect::<Result<_, _>>()?;
    if let [only] = parts.as_slice()
        && only.get(BREAKPOINT).is_none()
        && let Some(text) = text_of(only, fit)?
    {
        out.key("content").raw(text);
        return Ok(());
    }
    out.key("content").array(|out| {
        parts
            .iter()
            .try_for_each(|part| content_part(part, fit, out))
    })
}

/// The text of a part, if it is one of text.
fn text_of<'a>(part: &Members<'a>, fit: &mut Fit<'_>) -> Result<Option<Raw<'a>>, Unfit> {
    let name = match part.text("type").as_deref() {
        Some("input_text" | "output_text" | "text") => "text",
        Some("refusal") => "refusal",
        _ => return Ok(None),
    };
    for (member, value) in part.iter() {
        match member {
            "type" | BREAKPOINT => {}
            _ if member == name || value.is_nothing() => {}
            "annotations" | "logprobs" => fit.cannot("annotations")?,
            member => fit.cannot(member)?,
        }
    }
    let text = part.get(name);
    text.map(Some).ok_or_else(|| malformed("input.content"))
}

/// Where the caller wants a prefix of the prompt cached, if the part says so: both sides have it.
fn marked(part: &Members<'_>, out: &mut Writer) {
    if let Some(mark) = part.get(BREAKPOINT) {
        out.key(BREAKPOINT).raw(mark);
    }
}

fn content_part(part: &Members<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    if let Some(text) = text_of(part, fit)? {
        return out.object(|out| {
            out.key("type").string("text");
            out.key("text").raw(text);
            marked(part, out);
            Ok(())
        });
    }
    for (name, value) in part.iter() {
        let known = [
            "type",
            "image_url",
            "detail",
            "file_data",
            "file_id",
            "filename",
            BREAKPOINT,
        ];
        if !known.contains(&name) && !value.is_nothing() {
            fit.cannot(&format!("content.{name}"))?;
        }
    }
    match part.text("type").as_deref() {
        Some("input_image") => {
            let Some(url) = part.get("image_url") else {
                return fit.must("input_image.file_id", ": the target does not have the file");
            };
            out.object(|out| {
                out.key("type").string("image_url");
                out.key("image_url").object(|out| {
                    out.key("url").raw(url);
                    if let Some(detail) = part.get("detail") {
                        out.key("detail").raw(detail);
                    }
                    Ok(())
                })?;
                marked(part, out);
                Ok(())
            })
        }
        Some("input_file") => {
            let Some(data) = part.get("file_data") else {
                return fit.must("input_file.file_id", ": the target does not have the file");
            };
            out.object(|out| {
                out.key("type").string("file");
                out.key("file").object(|out| {
                    if let Some(name) = part.get("filename") {
                        out.key("filename").raw(name);
                    }
                    out.key("file_data").raw(data);
                    Ok(())
                })?;
                marked(part, out);
                Ok(())
            })
        }
        kind => fit.cannot(&format!("content.{}", kind.unwrap_or_default())),
    }
}

fn output(item: &Members<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    let id = item
        .get("call_id")
        .ok_or_else(|| malformed("function_call_output"))?;
    let content = item
        .get("output")
        .ok_or_else(|| malformed("function_call_output"))?;
    out.object(|out| {
        out.key("role").string("tool");
        out.key("tool_call_id").raw(id);
        content_of(content, fit, out)
    })
}
