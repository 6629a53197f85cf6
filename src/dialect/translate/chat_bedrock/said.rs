//! Chat callers on Amazon Bedrock: what was said.
//!
//! System and developer messages become the system prompt, wherever they stand. Turns must alternate there: what
//! one side says in a row, results of tools included, is one message of several blocks. A cache mark is a
//! block of its own behind the one that it stands on.

use super::super::chat_messages::said::{Mark, beside, forgotten_thoughts, others};
use super::super::read::{Members, Raw, object_in};
use super::super::write::Writer;
use super::super::{Fit, Unfit, malformed, tool_id};

/// Media types of images that the target takes, and its words for them.
const IMAGES: [(&str, &str); 4] = [
    ("image/png", "png"),
    ("image/jpeg", "jpeg"),
    ("image/gif", "gif"),
    ("image/webp", "webp"),
];
/// The same of files.
const FILES: [(&str, &str); 9] = [
    ("application/pdf", "pdf"),
    ("text/csv", "csv"),
    ("application/msword", "doc"),
    (
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "docx",
    ),
    ("application/vnd.ms-excel", "xls"),
    (
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "xlsx",
    ),
    ("text/html", "html"),
    ("text/plain", "txt"),
    ("text/markdown", "md"),
];
/// The longest name of a document, in characters.
const NAME_CHARS_MAX: usize = 200;

/// Messages being written: what one side says in a row is one.
struct Turns<'w> {
    out: &'w mut Writer,
    /// Who speaks.
    open: Option<&'static str>,
}

impl Turns<'_> {
    /// A block of this side's.
    fn block(
        &mut self,
        role: &'static str,
        write: impl FnOnce(&mut Writer) -> Result<(), Unfit>,
    ) -> Result<(), Unfit> {
        if self.open != Some(role) {
            self.close();
            self.out.open('{');
            self.out.key("role").string(role);
            self.out.key("content").open('[');
            self.open = Some(role);
        }
        write(self.out)
    }

    fn close(&mut self) {
        if self.open.take().is_some() {
            self.out.close(']');
            self.out.close('}');
        }
    }
}

/// Writes `messages` and `system`.
pub(super) fn messages(
    messages: Raw<'_>,
    fit: &mut Fit<'_>,
    out: &mut Writer,
) -> Result<(), Unfit> {
    let messages = messages.items().ok_or_else(|| malformed("messages"))?;
    let mut system = Vec::new();
    out.key("messages").array(|out| {
        let mut turns = Turns { out, open: None };
        for message in messages {
            let message = message.members().ok_or_else(|| malformed("messages"))?;
            let role = message.text("role").unwrap_or_default();
            match &*role {
                "system" | "developer" => system.push(message),
                "user" => {
                    others(&message, &["content"], fit)?;
                    let content = message.get("content");
                    let content = content.ok_or_else(|| malformed("messages.content"))?;
                    for part in parts(content)? {
                        part.write("user", fit, &mut turns)?;
                    }
                }
                "assistant" => assistant(&message, fit, &mut turns)?,
                "tool" => tool_result(&message, fit, &mut turns)?,
                role => return fit.must(&format!("messages.{role}"), ""),
            }
        }
        turns.close();
        Ok(())
    })?;
    system_prompt(&system, fit, out)
}

/// The messages hold calls of tools, or results of such.
pub(super) fn has_tools(messages: Option<Raw<'_>>) -> bool {
    let messages = messages.and_then(Raw::items).unwrap_or_default();
    messages.into_iter().any(|message| {
        message.members().is_some_and(|message| {
            let calls = message.get("tool_calls");
            calls.is_some_and(|calls| !calls.is_nothing())
                || message.text("role").as_deref() == Some("tool")
        })
    })
}

fn system_prompt(system: &[Members<'_>], fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    if system.is_empty() {
        return Ok(());
    }
    out.key("system").array(|out| {
        for message in system {
            others(message, &["content"], fit)?;
            let Some(content) = message.get("content") else {
                continue;
            };
            for part in parts(content)? {
                part.write_text(fit, out)?;
            }
        }
        Ok(())
    })
}

/// A part of a message's content.
enum Part<'a> {
    /// The content is a text.
    Bare(Raw<'a>),
    Part(Members<'a>),
}

fn parts(content: Raw<'_>) -> Result<Vec<Part<'_>>, Unfit> {
    if content.is_string() {
        return Ok(vec![Part::Bare(content)]);
    }
    let wrong = || malformed("messages.content");
    let parts = content.items().ok_or_else(wrong)?.into_iter();
    parts
        .map(|part| part.members().map(Part::Part).ok_or_else(wrong))
        .collect()
}

/// What a part becomes.
enum Block<'a> {
    Text(Raw<'a>),
    Image(&'static str, &'a str),
    Document(&'static str, String, &'a str),
}

impl Block<'_> {
    fn write(&self, out: &mut Writer) -> Result<(), Unfit> {
        out.object(|out| match self {
            Self::Text(text) => {
                out.key("text").raw(*text);
                Ok(())
            }
            Self::Image(format, data) => out.key("image").object(|out| {
                out.key("format").string(format);
                source(data, out)
            }),
            Self::Document(format, name, data) => out.key("document").object(|out| {
                out.key("format").string(format);
                out.key("name").string(name);
                source(data, out)
            }),
        })
    }
}

fn source(data: &str, out: &mut Writer) -> Result<(), Unfit> {
    out.key("source").object(|out| {
        out.key("bytes").string(data);
        Ok(())
    })
}

impl<'a> Part<'a> {
    fn write(
        &self,
        role: &'static str,
        fit: &mut Fit<'_>,
        turns: &mut Turns<'_>,
    ) -> Result<(), Unfit> {
        self.with(role == "user", fit, |block, mark| {
            turns.block(role, |out| {
                block.write(out)?;
                cache_point(mark, out);
                Ok(())
            })
        })
    }

    fn write_text(&self, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
        self.with(false, fit, |block, mark| {
            block.write(out)?;
            cache_point(mark, out);
            Ok(())
        })
    }

    /// Gives `each` what the part becomes, and its cache mark; not called for what says nothing or is left out.
    fn with(
        &self,
        media: bool,
        fit: &mut Fit<'_>,
        each: impl FnOnce(&Block<'_>, Option<bool>) -> Result<(), Unfit>,
    ) -> Result<(), Unfit> {
        let part = match self {
            Self::Bare(text) => return text_of(*text, |text| each(&Block::Text(text), None)),
            Self::Part(part) => part,
        };
        let mark = mark_of(part);
        let kind = part.text("type").unwrap_or_default();
        match &*kind {
            "text" | "refusal" => {
                beside(part, &["text", "refusal"], fit)?;
                let text = part.get(&kind);
                let text = text.ok_or_else(|| malformed("messages.content.text"))?;
                text_of(text, |text| each(&Block::Text(text), mark))
            }
            "image_url" if media => image(part, fit, |block| each(block, mark)),
            "file" if media => file(part, fit, |block| each(block, mark)),
            kind => fit.cannot(&format!("content.{kind}")),
        }
    }
}

/// A text. Empty ones are refused by the target, and say nothing.
fn text_of<'a>(
    text: Raw<'a>,
    each: impl FnOnce(Raw<'a>) -> Result<(), Unfit>,
) -> Result<(), Unfit> {
    if text.inside().is_none() {
        return Err(malformed("messages.content.text"));
    }
    if text.is_nothing() {
        return Ok(());
    }
    each(text)
}

fn image(
    part: &Members<'_>,
    fit: &mut Fit<'_>,
    each: impl FnOnce(&Block<'_>) -> Result<(), Unfit>,
) -> Result<(), Unfit> {
    beside(part, &["image_url"], fit)?;
    let image = part.get("image_url").and_then(Raw::members);
    let image = image.ok_or_else(|| malformed("image_url"))?;
    beside(&image, &["url", "detail"], fit)?;
    if image.text("detail").is_some_and(|detail| detail != "auto") {
        fit.cannot("detail")?;
    }
    let url = image.text("url").ok_or_else(|| malformed("image_url"))?;
    let Some(inline) = url.strip_prefix("data:") else {
        return fit.cannot_for("image_url.url", ": the target takes the bytes alone");
    };
    let (format, data) = inline_of(inline, &IMAGES)?;
    match format {
        Some(format) => each(&Block::Image(format, data)),
        None => fit.cannot_for(
            "image_url.type",
            ": the target takes PNG, JPEG, GIF and WebP",
        ),
    }
}

fn file(
    part: &Members<'_>,
    fit: &mut Fit<'_>,
    each: impl FnOnce(&Block<'_>) -> Result<(), Unfit>,
) -> Result<(), Unfit> {
    beside(part, &["file"], fit)?;
    let file = part.get("file").and_then(Raw::members);
    let file = file.ok_or_else(|| malformed("file"))?;
    beside(&file, &["file_data", "file_id", "filename"], fit)?;
    let Some(data) = file.text("file_data") else {
        return fit.must("file.file_id", ": the target does not have the file");
    };
    let inline = data.strip_prefix("data:").unwrap_or(&data);
    let (format, data) = inline_of(inline, &FILES)?;
    let name = document_name(file.text("filename").as_deref().unwrap_or("document"));
    match format {
        Some(format) => each(&Block::Document(format, name, data)),
        None => fit.cannot_for("file.type", ": the target takes no such files"),
    }
}

/// The target's word for the type of an inline file, if it has one, and the data.
fn inline_of<'d>(
    inline: &'d str,
    types: &[(&str, &'static str)],
) -> Result<(Option<&'static str>, &'d str), Unfit> {
    let (kind, data) = inline
        .split_once(";base64,")
        .ok_or_else(|| malformed("url"))?;
    let bare = kind.split(';').next().unwrap_or(kind);
    let known = types
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(bare));
    Ok((known.map(|(_, word)| *word), data))
}

/// What the target takes for a document's name: letters, digits, single blanks, hyphens and brackets.
fn document_name(name: &str) -> String {
    let plain = |letter: char| match letter {
        ' ' | '-' | '(' | ')' | '[' | ']' => letter,
        _ if letter.is_ascii_alphanumeric() => letter,
        _ => '-',
    };
    let plain: String = name.chars().take(NAME_CHARS_MAX).map(plain).collect();
    let words: Vec<&str> = plain.split(' ').filter(|word| !word.is_empty()).collect();
    match words.is_empty() {
        true => "document".to_owned(),
        false => words.join(" "),
    }
}

/// A cache mark; true for longer than the shortest time.
pub(super) fn mark_of(part: &Members<'_>) -> Option<bool> {
    Some(match Mark::of(part)? {
        Mark::Theirs(mark) => {
            let ttl = mark.members().and_then(|mark| mark.get("ttl"));
            ttl.is_some_and(|ttl| ttl.inside() != Some("5m"))
        }
        Mark::Ours(is_long) => is_long,
    })
}

pub(super) fn cache_point(mark: Option<bool>, out: &mut Writer) {
    match mark {
        None => {}
        Some(false) => out.json(r#"{"cachePoint":{"type":"default"}}"#),
        Some(true) => out.json(r#"{"cachePoint":{"type":"default","ttl":"1h"}}"#),
    }
}

fn assistant(message: &Members<'_>, fit: &mut Fit<'_>, turns: &mut Turns<'_>) -> Result<(), Unfit> {
    const ROLE: &str = "assistant";
    let known = [
        "content",
        "tool_calls",
        "refusal",
        "reasoning_details",
        "reasoning_content",
        "reasoning",
    ];
    others(message, &known, fit)?;
    match message.get("reasoning_details").and_then(Raw::items) {
        Some(details) => details
            .iter()
            .try_for_each(|detail| thought(*detail, fit, turns))?,
        None => forgotten_thoughts(message, fit)?,
    }
    if let Some(content) = message.get("content") {
        for part in parts(content)? {
            part.write(ROLE, fit, turns)?;
        }
    }
    if let Some(refusal) = message.get("refusal") {
        Part::Bare(refusal).write(ROLE, fit, turns)?;
    }
    let calls = message
        .get("tool_calls")
        .map(|calls| calls.items().ok_or_else(|| malformed("tool_calls")));
    for call in calls.transpose()?.unwrap_or_default() {
        tool_call(call, fit, turns)?;
    }
    Ok(())
}

/// Reasoning as an answer of the target's gave it.
fn thought(detail: Raw<'_>, fit: &mut Fit<'_>, turns: &mut Turns<'_>) -> Result<(), Unfit> {
    let detail = detail
        .members()
        .ok_or_else(|| malformed("reasoning_details"))?;
    let get = |name| detail.get(name).filter(|text: &Raw<'_>| text.is_string());
    let kind = detail.text("type").unwrap_or_default();
    match (&*kind, get("signature"), get("data")) {
        ("reasoning.text", Some(signature), _) => turns.block("assistant", |out| {
            out.object(|out| {
                out.key("reasoningContent").object(|out| {
                    out.key("reasoningText").object(|out| {
                        out.key("text").json(get("text").map_or("\"\"", Raw::json));
                        out.key("signature").raw(signature);
                        Ok(())
                    })
                })
            })
        }),
        ("reasoning.encrypted", _, Some(data)) => turns.block("assistant", |out| {
            out.object(|out| {
                out.key("reasoningContent").object(|out| {
                    out.key("redactedContent").raw(data);
                    Ok(())
                })
            })
        }),
        _ => fit.cannot("thinking_blocks"),
    }
}

fn tool_call(call: Raw<'_>, fit: &mut Fit<'_>, turns: &mut Turns<'_>) -> Result<(), Unfit> {
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
    turns.block("assistant", |out| {
        out.object(|out| {
            out.key("toolUse").object(|out| {
                out.key("toolUseId").string(&id);
                out.key("name").raw(name);
                out.key("input").json(input);
                Ok(())
            })
        })
    })
}

fn tool_result(
    message: &Members<'_>,
    fit: &mut Fit<'_>,
    turns: &mut Turns<'_>,
) -> Result<(), Unfit> {
    // Some frameworks repeat the tool's name here; the id says it.
    others(
        message,
        &["content", "tool_call_id", "name", "cache_control"],
        fit,
    )?;
    let id = message.get("tool_call_id").and_then(tool_id);
    let id = id.ok_or_else(|| malformed("messages.tool_call_id"))?;
    let content = message.get("content").map(parts).transpose()?;
    // No mark may stand inside a result: one behind it says the same.
    let mut mark = mark_of(message);
    turns.block("user", |out| {
        out.object(|out| {
            out.key("toolResult").object(|out| {
                out.key("toolUseId").string(&id);
                out.key("content").array(|out| {
                    for part in content.unwrap_or_default() {
                        part.with(true, fit, |block, marked| {
                            mark = mark.max(marked);
                            block.write(out)
                        })?;
                    }
                    Ok(())
                })
            })
        })?;
        cache_point(mark, out);
        Ok(())
    })
}
