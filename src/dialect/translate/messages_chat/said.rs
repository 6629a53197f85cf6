//! Anthropic's callers on any model: what was said.
//!
//! The results in a user message become tool messages before what else it says; an image among them
//! is handed over in a user message behind them, for tool messages hold text alone.

use super::super::read::{Members, Raw};
use super::super::to_chat::function;
use super::super::write::Writer;
use super::super::{Fit, Unfit, malformed, objects, tool_id};

/// Writes `messages`, the system prompt first.
pub(super) fn messages(
    system: Option<Raw<'_>>,
    messages: Option<Raw<'_>>,
    fit: &mut Fit<'_>,
    out: &mut Writer,
) -> Result<(), Unfit> {
    let messages = messages.and_then(Raw::items);
    let messages = messages.ok_or_else(|| malformed("messages"))?;
    out.key("messages").array(|out| {
        if let Some(system) = system.filter(|system| !system.is_nothing()) {
            out.object(|out| {
                out.key("role").string("system");
                text_content(system, "system", fit, out)
            })?;
        }
        for message in messages {
            let message = message.members().ok_or_else(|| malformed("messages"))?;
            for (name, _) in message.iter() {
                if !matches!(name, "role" | "content") {
                    fit.cannot(&format!("messages.{name}"))?;
                }
            }
            let content = message.get("content");
            let content = content.ok_or_else(|| malformed("messages.content"))?;
            match message.text("role").as_deref() {
                Some("user") => user(content, fit, out)?,
                Some("assistant") => assistant(content, fit, out)?,
                Some("system") => out.object(|out| {
                    out.key("role").string("system");
                    text_content(content, "messages.content", fit, out)
                })?,
                _ => return Err(malformed("messages.role")),
            }
        }
        Ok(())
    })
}

fn blocks<'a>(content: Raw<'a>, name: &'static str) -> Result<Vec<Members<'a>>, Unfit> {
    objects(content, name)?.collect()
}

/// `content` of texts alone: one as it stands, several as parts.
fn text_content(
    content: Raw<'_>,
    name: &'static str,
    fit: &mut Fit<'_>,
    out: &mut Writer,
) -> Result<(), Unfit> {
    if content.is_string() {
        out.key("content").raw(content);
        return Ok(());
    }
    let mut texts = Vec::new();
    for block in blocks(content, name)? {
        match block.text("type").as_deref() {
            Some("text") => texts.push(text_of(&block, fit)?),
            kind => fit.cannot(&format!("content.{}", kind.unwrap_or_default()))?,
        }
    }
    texts_as_content(&texts, out);
    Ok(())
}

fn texts_as_content(texts: &[Raw<'_>], out: &mut Writer) {
    match texts {
        [only] => out.key("content").raw(*only),
        texts => {
            out.key("content").open('[');
            for text in texts {
                text_part(*text, out);
            }
            out.close(']');
        }
    }
}

fn text_part(text: Raw<'_>, out: &mut Writer) {
    out.open('{');
    out.key("type").string("text");
    out.key("text").raw(text);
    out.close('}');
}

/// The text of a text block; what is written beside it has no place.
fn text_of<'a>(block: &Members<'a>, fit: &mut Fit<'_>) -> Result<Raw<'a>, Unfit> {
    beside(block, &["text"], fit)?;
    let text = block.get("text").filter(|text| text.is_string());
    text.ok_or_else(|| malformed("messages.content.text"))
}

fn beside(block: &Members<'_>, known: &[&str], fit: &mut Fit<'_>) -> Result<(), Unfit> {
    for (name, value) in block.iter() {
        let is_told = name == "type" || known.contains(&name);
        if !is_told && !value.is_nothing() {
            fit.cannot(name)?;
        }
    }
    Ok(())
}

fn user(content: Raw<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    if content.is_string() {
        return out.object(|out| {
            out.key("role").string("user");
            out.key("content").raw(content);
            Ok(())
        });
    }
    let blocks = blocks(content, "messages.content")?;
    let (results, said): (Vec<_>, Vec<_>) = blocks
        .into_iter()
        .partition(|block| block.text("type").as_deref() == Some("tool_result"));
    let mut shown = Vec::new();
    for result in &results {
        tool_result(result, &mut shown, fit, out)?;
    }
    shown.extend(said);
    if shown.is_empty() {
        return Ok(());
    }
    out.object(|out| {
        out.key("role").string("user");
        if let [only] = shown.as_slice()
            && only.text("type").as_deref() == Some("text")
        {
            let text = text_of(only, fit)?;
            out.key("content").raw(text);
            return Ok(());
        }
        out.key("content").array(|out| {
            shown
                .iter()
                .try_for_each(|block| user_part(block, fit, out))
        })
    })
}

fn user_part(block: &Members<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    match block.text("type").as_deref() {
        Some("text") => {
            let text = text_of(block, fit)?;
            text_part(text, out);
            Ok(())
        }
        Some("image") => {
            beside(block, &["source"], fit)?;
            let Some(url) = address(block, fit)? else {
                return Ok(());
            };
            out.object(|out| {
                out.key("type").string("image_url");
                out.key("image_url").object(|out| {
                    out.key("url").string(&url);
                    Ok(())
                })
            })
        }
        Some("document") => document(block, fit, out),
        kind => fit.cannot(&format!("content.{}", kind.unwrap_or_default())),
    }
}

/// A block's bytes or address as a URL.
fn address(block: &Members<'_>, fit: &mut Fit<'_>) -> Result<Option<String>, Unfit> {
    let source = block.get("source").and_then(Raw::members);
    let source = source.ok_or_else(|| malformed("source"))?;
    let text = |name| source.text(name).ok_or_else(|| malformed("source"));
    match &*text("type")? {
        "base64" => Ok(Some(format!(
            "data:{};base64,{}",
            text("media_type")?,
            text("data")?
        ))),
        "url" => Ok(Some(text("url")?.into_owned())),
        kind => fit.cannot(&format!("source.{kind}")).map(|()| None),
    }
}

fn document(block: &Members<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    beside(block, &["source", "title"], fit)?;
    let source = block.get("source").and_then(Raw::members);
    let source = source.ok_or_else(|| malformed("source"))?;
    if source.text("type").as_deref() == Some("text")
        && let Some(text) = source.get("data").filter(|data| data.is_string())
    {
        text_part(text, out);
        return Ok(());
    }
    if source.text("type").as_deref() == Some("url") {
        return fit.cannot("source.url");
    }
    let Some(url) = address(block, fit)? else {
        return Ok(());
    };
    out.object(|out| {
        out.key("type").string("file");
        out.key("file").object(|out| {
            match block.get("title") {
                Some(title) => out.key("filename").raw(title),
                None => out.key("filename").string("document.pdf"),
            };
            out.key("file_data").string(&url);
            Ok(())
        })
    })
}

/// A tool message; images go to `shown`.
fn tool_result<'a>(
    block: &Members<'a>,
    shown: &mut Vec<Members<'a>>,
    fit: &mut Fit<'_>,
    out: &mut Writer,
) -> Result<(), Unfit> {
    beside(block, &["tool_use_id", "content", "is_error"], fit)?;
    let id = block.get("tool_use_id").and_then(tool_id);
    let id = id.ok_or_else(|| malformed("tool_use_id"))?;
    let mut texts = Vec::new();
    match block.get("content") {
        Some(text) if text.is_string() => texts.push(text),
        Some(content) => {
            for part in blocks(content, "tool_result.content")? {
                match part.text("type").as_deref() {
                    Some("text") => texts.push(text_of(&part, fit)?),
                    Some("image" | "document") => shown.push(part),
                    kind => fit.cannot(&format!("content.{}", kind.unwrap_or_default()))?,
                }
            }
        }
        None => {}
    }
    let failed = block.get("is_error").and_then(Raw::flag) == Some(true);
    out.object(|out| {
        out.key("role").string("tool");
        out.key("tool_call_id").string(&id);
        match (texts.as_slice(), failed) {
            ([], false) => out.key("content").string(""),
            ([..], false) => texts_as_content(&texts, out),
            // The target has no mark for it, so the words say it.
            ([..], true) => {
                let words = texts.iter().filter_map(|text| text.inside());
                let words = std::iter::once("Error: ").chain(words);
                out.key("content").joined(words);
            }
        }
        Ok(())
    })
}

fn assistant(content: Raw<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    if content.is_string() {
        return out.object(|out| {
            out.key("role").string("assistant");
            out.key("content").raw(content);
            Ok(())
        });
    }
    let (mut texts, mut calls) = (Vec::new(), Vec::new());
    for block in blocks(content, "messages.content")? {
        match block.text("type").as_deref() {
            Some("text") => texts.push(text_of(&block, fit)?),
            Some("tool_use") => calls.push(block),
            Some("thinking" | "redacted_thinking") => fit.cannot("thinking_blocks")?,
            Some(kind) => return fit.must(&format!("content.{kind}"), ""),
            None => return Err(malformed("messages.content")),
        }
    }
    out.object(|out| {
        out.key("role").string("assistant");
        match texts.as_slice() {
            [] if calls.is_empty() => out.key("content").string(""),
            [] => out.key("content").json("null"),
            texts => texts_as_content(texts, out),
        }
        if calls.is_empty() {
            return Ok(());
        }
        out.key("tool_calls")
            .array(|out| calls.iter().try_for_each(|call| tool_call(call, fit, out)))
    })
}

fn tool_call(block: &Members<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    beside(block, &["id", "name", "input", "caller"], fit)?;
    let id = block.get("id").and_then(tool_id);
    let id = id.ok_or_else(|| malformed("tool_use.id"))?;
    let name = block
        .get("name")
        .ok_or_else(|| malformed("tool_use.name"))?;
    let input = block.get("input").map_or("{}", Raw::json);
    out.object(|out| {
        out.key("id").string(&id);
        function(out, |out| {
            out.key("name").raw(name);
            out.key("arguments").string(input);
        });
        Ok(())
    })
}
