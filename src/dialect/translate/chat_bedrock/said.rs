//! Chat callers on Amazon Bedrock: what was said.
//!
//! System and developer messages become the system prompt, wherever they stand. Turns must alternate there: what
//! one side says in a row, results of tools included, is one message of several blocks. A cache mark is a
//! block of its own behind the one that it stands on.

use super::super::from_chat::said::{
    ASSISTANT, MARKS, Mark, Thought, answered, base64, file as file_of, forgotten_thoughts,
    image_url, others, text_of, tool_call as call_of,
};
use super::super::read::{Members, Raw};
use super::super::write::Writer;
use super::super::{Fit, Unfit, malformed, objects};

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
    let messages = objects(messages, "messages")?;
    let mut system = Vec::new();
    out.key("messages").array(|out| {
        let mut turns = Turns { out, open: None };
        for message in messages {
            let message = message?;
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
    let parts = objects(content, "messages.content")?;
    parts.map(|part| part.map(Part::Part)).collect()
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
            Self::Bare(bare) => return text(*bare, |text| each(&Block::Text(text), None)),
            Self::Part(part) => part,
        };
        let mark = mark_of(part);
        let kind = part.text("type").unwrap_or_default();
        match &*kind {
            "text" | "refusal" => {
                let said = text_of(part, &kind, MARKS, fit)?;
                text(said, |text| each(&Block::Text(text), mark))
            }
            "image_url" if media => image(part, fit, |block| each(block, mark)),
            "file" if media => file(part, fit, |block| each(block, mark)),
            kind => fit.cannot(&format!("content.{kind}")),
        }
    }
}

/// A text. Empty ones are refused by the target, and say nothing.
fn text<'a>(text: Raw<'a>, each: impl FnOnce(Raw<'a>) -> Result<(), Unfit>) -> Result<(), Unfit> {
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
    let url = image_url(part, MARKS, fit)?;
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
    let known = ["file_data", "file_id", "filename"];
    let (file, data) = file_of(part, MARKS, &known, fit)?;
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
    let (kind, data) = base64(inline)?;
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
    others(message, &ASSISTANT, fit)?;
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
    let Some(thought) = Thought::of(detail, fit)? else {
        return Ok(());
    };
    turns.block("assistant", |out| {
        out.object(|out| {
            out.key("reasoningContent").object(|out| match thought {
                Thought::Signed { text, signature } => out.key("reasoningText").object(|out| {
                    out.key("text").json(text);
                    out.key("signature").raw(signature);
                    Ok(())
                }),
                Thought::Encrypted(data) => {
                    out.key("redactedContent").raw(data);
                    Ok(())
                }
            })
        })
    })
}

fn tool_call(call: Raw<'_>, fit: &Fit<'_>, turns: &mut Turns<'_>) -> Result<(), Unfit> {
    call_of(call, fit, |id, name, input| {
        turns.block("assistant", |out| {
            out.object(|out| {
                out.key("toolUse").object(|out| {
                    out.key("toolUseId").string(id);
                    out.key("name").raw(name);
                    out.key("input").json(input);
                    Ok(())
                })
            })
        })
    })
}

fn tool_result(
    message: &Members<'_>,
    fit: &mut Fit<'_>,
    turns: &mut Turns<'_>,
) -> Result<(), Unfit> {
    let id = answered(message, fit)?;
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
