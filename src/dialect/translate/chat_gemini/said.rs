//! Chat callers on Google's models: what was said.
//!
//! System and developer messages become the system instruction, wherever they stand; a run of tool
//! messages becomes one content with their results, which go by the tools' names.

use super::super::from_chat::said::{
    arguments, beside, called, file as file_of, image_url, others, text_of,
};
use super::super::read::{Members, Raw};
use super::super::write::Writer;
use super::super::{Fit, Unfit, malformed, objects};
use crate::dialect::gemini::NUMBERED;

/// Tool calls of earlier answers: their ids, and the names that their results must have.
type Calls<'a> = Vec<(Raw<'a>, Raw<'a>)>;

/// Writes `contents` and `systemInstruction`.
pub(super) fn messages(
    messages: Raw<'_>,
    fit: &mut Fit<'_>,
    out: &mut Writer,
) -> Result<(), Unfit> {
    let messages = objects(messages, "messages")?;
    let (mut system, mut calls) = (Vec::new(), Calls::new());
    out.key("contents").open('[');
    let mut in_results = false;
    for message in messages {
        let message = message?;
        let role = message.text("role").unwrap_or_default();
        let is_result = role == "tool";
        if in_results && !is_result {
            end(out);
        }
        if is_result && !in_results {
            begin("user", out);
        }
        in_results = is_result;
        match &*role {
            "system" | "developer" => system.push(message),
            "user" => {
                others(&message, &["content"], fit)?;
                begin("user", out);
                let content = message.get("content");
                content_of(
                    content.ok_or_else(|| malformed("messages.content"))?,
                    true,
                    fit,
                    out,
                )?;
                end(out);
            }
            "assistant" => {
                begin("model", out);
                assistant(&message, &mut calls, fit, out)?;
                end(out);
            }
            "tool" => tool_result(&message, &calls, fit, out)?,
            role => return fit.must(&format!("messages.{role}"), ""),
        }
    }
    if in_results {
        end(out);
    }
    out.close(']');
    if system.is_empty() {
        return Ok(());
    }
    out.key("systemInstruction").open('{');
    out.key("parts").open('[');
    for message in &system {
        others(message, &["content"], fit)?;
        if let Some(content) = message.get("content") {
            content_of(content, false, fit, out)?;
        }
    }
    end(out);
    Ok(())
}

/// Begins a content.
fn begin(role: &str, out: &mut Writer) {
    out.open('{');
    out.key("role").string(role);
    out.key("parts").open('[');
}

/// Ends its parts and it; a content without any is refused by the target.
fn end(out: &mut Writer) {
    if out.as_str().ends_with('[') {
        out.json(r#"{"text":""}"#);
    }
    out.close(']');
    out.close('}');
}

/// A text, or parts.
fn content_of(
    content: Raw<'_>,
    media: bool,
    fit: &mut Fit<'_>,
    out: &mut Writer,
) -> Result<(), Unfit> {
    if content.is_string() {
        text(content, out);
        return Ok(());
    }
    objects(content, "messages.content")?.try_for_each(|part| content_part(&part?, media, fit, out))
}

/// A text part. Empty ones say nothing.
fn text(text: Raw<'_>, out: &mut Writer) {
    if !text.is_nothing() {
        out.open('{');
        out.key("text").raw(text);
        out.close('}');
    }
}

fn content_part(
    part: &Members<'_>,
    media: bool,
    fit: &mut Fit<'_>,
    out: &mut Writer,
) -> Result<(), Unfit> {
    let kind = part.text("type").unwrap_or_default();
    match &*kind {
        "text" | "refusal" => {
            text(text_of(part, &kind, &[], fit)?, out);
            Ok(())
        }
        "image_url" if media => image(part, fit, out),
        "input_audio" if media => audio(part, fit, out),
        "file" if media => file(part, fit, out),
        kind => fit.cannot(&format!("content.{kind}")),
    }
}

fn image(part: &Members<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    let url = image_url(part, &[], fit)?;
    if !url.starts_with("data:") {
        return fit.cannot_for("image_url.url", ": the target fetches nothing");
    }
    inline(&url, out)
}

fn audio(part: &Members<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    beside(part, &[], &["input_audio"], fit)?;
    let audio = part.get("input_audio").and_then(Raw::members);
    let audio = audio.ok_or_else(|| malformed("input_audio"))?;
    beside(&audio, &[], &["data", "format"], fit)?;
    let (Some(data), Some(format)) = (audio.get("data"), audio.text("format")) else {
        return Err(malformed("input_audio"));
    };
    blob(&format!("audio/{format}"), data.json(), out);
    Ok(())
}

fn file(part: &Members<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    let (_, data) = file_of(part, &[], &["file_data", "file_id"], fit)?;
    inline(&data, out)
}

/// A data URL.
fn inline(url: &str, out: &mut Writer) -> Result<(), Unfit> {
    let inline = url.strip_prefix("data:");
    let inline = inline.and_then(|inline| inline.split_once(";base64,"));
    let (kind, data) = inline.ok_or_else(|| malformed("data URL"))?;
    blob(kind, &crate::json::quoted(data), out);
    Ok(())
}

/// `data` is a JSON string.
fn blob(kind: &str, data: &str, out: &mut Writer) {
    out.open('{');
    out.key("inlineData").open('{');
    out.key("mimeType").string(kind);
    out.key("data").json(data);
    out.close('}');
    out.close('}');
}

/// What the target wants to see again of its own thoughts, as its endpoint for OpenAI's clients has it.
fn signature<'a>(said: &Members<'a>) -> Option<Raw<'a>> {
    let google = said.get("extra_content")?.members()?.get("google")?;
    let signature = google.members()?.get("thought_signature");
    signature.filter(|signature| signature.is_string())
}

fn assistant<'a>(
    message: &Members<'a>,
    calls: &mut Calls<'a>,
    fit: &mut Fit<'_>,
    out: &mut Writer,
) -> Result<(), Unfit> {
    const KNOWN: [&str; 4] = ["content", "refusal", "tool_calls", "extra_content"];
    others(message, &KNOWN, fit)?;
    if let Some(content) = message.get("content") {
        content_of(content, false, fit, out)?;
    }
    if let Some(refusal) = message.get("refusal").filter(|refusal| refusal.is_string()) {
        text(refusal, out);
    }
    if let Some(signature) = signature(message) {
        out.open('{');
        out.key("text").string("");
        out.key("thoughtSignature").raw(signature);
        out.close('}');
    }
    let asked = message.get("tool_calls");
    let asked = asked.map(|calls| calls.items().ok_or_else(|| malformed("tool_calls")));
    for call in asked.transpose()?.unwrap_or_default() {
        let call = call.members().ok_or_else(|| malformed("tool_calls"))?;
        calls.push(tool_call(&call, fit, out)?);
    }
    Ok(())
}

/// The id, if it is one that the target has given itself.
fn numbered(id: Raw<'_>, out: &mut Writer) {
    if let Some(theirs) = id
        .text()
        .as_deref()
        .and_then(|id| id.strip_prefix(NUMBERED))
    {
        out.key("id").string(theirs);
    }
}

fn tool_call<'a>(
    call: &Members<'a>,
    fit: &Fit<'_>,
    out: &mut Writer,
) -> Result<(Raw<'a>, Raw<'a>), Unfit> {
    let function = called(call, fit)?;
    let string = |value: &Raw<'_>| value.is_string();
    let id = call.get("id").filter(string);
    let id = id.ok_or_else(|| malformed("tool_calls.id"))?;
    let name = function.get("name").filter(string);
    let name = name.ok_or_else(|| malformed("tool_calls.function.name"))?;
    let text = function.text("arguments").unwrap_or_default();
    let args = arguments(&text, fit)?;
    out.open('{');
    out.key("functionCall").open('{');
    numbered(id, out);
    out.key("name").raw(name);
    out.key("args").json(args);
    out.close('}');
    if let Some(signature) = signature(call) {
        out.key("thoughtSignature").raw(signature);
    }
    out.close('}');
    Ok((id, name))
}

fn tool_result(
    message: &Members<'_>,
    calls: &Calls<'_>,
    fit: &mut Fit<'_>,
    out: &mut Writer,
) -> Result<(), Unfit> {
    others(message, &["content", "tool_call_id", "name"], fit)?;
    let id = message.get("tool_call_id").filter(|id| id.is_string());
    let id = id.ok_or_else(|| malformed("messages.tool_call_id"))?;
    let mut earlier = calls.iter().rev();
    let called = earlier.find(|(known, _)| *known == id || known.text() == id.text());
    let name = called.map(|(_, name)| *name).or(message.get("name"));
    let Some(name) = name.filter(|name| name.is_string()) else {
        return fit.must("tool_call_id", ": no call before it has this id");
    };
    out.open('{');
    out.key("functionResponse").open('{');
    numbered(id, out);
    out.key("name").raw(name);
    out.key("response").open('{');
    out.key("result");
    result(message.get("content"), fit, out)?;
    for _ in 0..3 {
        out.close('}');
    }
    Ok(())
}

/// What the tool gave: its text, or a list of several.
fn result(content: Option<Raw<'_>>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    let Some(content) = content else {
        out.string("");
        return Ok(());
    };
    if content.is_string() {
        out.raw(content);
        return Ok(());
    }
    let mut texts = Vec::new();
    for part in objects(content, "messages.content")? {
        let part = part?;
        match part.text("type").as_deref() {
            Some("text") => {
                beside(&part, &[], &["text"], fit)?;
                let text = part.get("text").filter(|text| text.is_string());
                texts.push(text.ok_or_else(|| malformed("messages.content.text"))?);
            }
            kind => fit.cannot(&format!("content.{}", kind.unwrap_or_default()))?,
        }
    }
    match texts.as_slice() {
        [] => out.string(""),
        [only] => out.raw(*only),
        several => {
            out.open('[');
            several.iter().for_each(|text| out.raw(*text));
            out.close(']');
        }
    }
    Ok(())
}
