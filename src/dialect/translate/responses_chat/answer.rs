//! Responses callers on servers that speak chat alone: the plain answer.

use super::super::heard::{Counts, Part, pieces};
use super::super::read::{Members, Raw};
use super::super::write::Writer;
use super::super::{Unreadable, created};

/// Writes the members of a response.
pub(in super::super) fn answer(
    said: &Members<'_>,
    echo: &str,
    out: &mut Writer,
) -> Result<(), Unreadable> {
    let choice = said.get("choices").and_then(Raw::items);
    let choice = choice.and_then(|choices| choices.first()?.members());
    let choice = choice.ok_or(Unreadable::Form)?;
    let message = choice.get("message").and_then(Raw::members);
    let message = message.ok_or(Unreadable::Form)?;
    let id = said.text("id").unwrap_or_default();
    let id = own_id("resp", &id);
    let finish = choice.text("finish_reason").unwrap_or_default();
    let at = said.get("created").and_then(Raw::whole);
    let model = said.get("model").map_or("\"\"", Raw::json);
    head(&id, at.unwrap_or_else(created), model, out);
    ending(&finish, out);
    let status = item_status(&finish);
    out.key("output")
        .array(|out| items(&message, &id, status, out))?;
    out.json(echo);
    out.key("usage").json(&usage_of(Counts::of(said)));
    Ok(())
}

/// An id of the caller's dialect made from the server's own: the same number under another prefix.
pub(super) fn own_id(prefix: &str, id: &str) -> String {
    let number = id.rsplit_once(['-', '_']).map_or(id, |(_, number)| number);
    let safe: String = number
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(64)
        .collect();
    format!("{prefix}_{safe}")
}

/// What every response begins with.
pub(super) fn head(id: &str, created: u64, model: &str, out: &mut Writer) {
    out.key("id").string(id);
    out.key("object").string("response");
    out.key("created_at").number(created);
    out.key("model").json(model);
    out.key("previous_response_id").json("null");
    out.key("store").json("false");
}

/// How it ended.
pub(super) fn ending(finish_reason: &str, out: &mut Writer) {
    let reason = match finish_reason {
        "length" | "model_length" => Some("max_output_tokens"),
        "content_filter" => Some("content_filter"),
        _ => None,
    };
    out.key("error").json("null");
    match reason {
        None => {
            out.key("status").string("completed");
            out.key("incomplete_details").json("null");
        }
        Some(reason) => {
            out.key("status").string("incomplete");
            let details = format!(r#"{{"reason":"{reason}"}}"#);
            out.key("incomplete_details").json(&details);
        }
    }
}

pub(super) fn item_status(finish_reason: &str) -> &'static str {
    match finish_reason {
        "length" | "model_length" | "content_filter" => "incomplete",
        _ => "completed",
    }
}

fn items(
    message: &Members<'_>,
    id: &str,
    status: &str,
    out: &mut Writer,
) -> Result<(), Unreadable> {
    let pieces = pieces(message);
    let thoughts = pieces.iter().filter(|(part, _)| *part == Part::Thinking);
    let thoughts: Vec<&str> = thoughts.map(|(_, text)| *text).collect();
    if !thoughts.is_empty() {
        out.json(&reasoning_item(&own_id("rs", id), &thoughts));
    }
    let said = pieces.iter().filter_map(|(part, text)| match part {
        Part::Thinking => None,
        Part::Text => Some(("output_text", *text)),
        Part::Refusal => Some(("refusal", *text)),
    });
    let said: Vec<_> = said.collect();
    if !said.is_empty() {
        out.json(&message_item(&own_id("msg", id), status, &said));
    }
    let calls = message.get("tool_calls");
    let calls = calls.filter(|calls| !calls.is_nothing());
    let calls = calls.map(|calls| calls.items().ok_or(Unreadable::Form));
    for call in calls.transpose()?.unwrap_or_default() {
        let call = call.members().ok_or(Unreadable::Form)?;
        let function = call.get("function").and_then(Raw::members);
        let function = function.ok_or(Unreadable::Form)?;
        let (Some(id), Some(name)) = (call.text("id"), function.text("name")) else {
            return Err(Unreadable::Form);
        };
        let arguments = function.get("arguments").and_then(Raw::inside);
        out.json(&call_item(
            &id,
            &name,
            status,
            arguments.unwrap_or_default(),
        ));
    }
    Ok(())
}

/// A message item. Texts are the insides of JSON strings.
pub(super) fn message_item(id: &str, status: &str, parts: &[(&str, &str)]) -> String {
    let mut out = Writer::default();
    out.open('{');
    out.key("id").string(id);
    out.key("type").string("message");
    out.key("status").string(status);
    out.key("role").string("assistant");
    out.key("content").open('[');
    for (kind, text) in parts {
        out.json(&part(kind, text));
    }
    out.close(']');
    out.close('}');
    out.finish()
}

/// A content part. The text is the inside of a JSON string.
pub(super) fn part(kind: &str, text: &str) -> String {
    let mut out = Writer::default();
    out.open('{');
    out.key("type").string(kind);
    if kind == "refusal" {
        out.key("refusal").joined(std::iter::once(text));
    } else {
        out.key("text").joined(std::iter::once(text));
        out.key("annotations").json("[]");
        out.key("logprobs").json("[]");
    }
    out.close('}');
    out.finish()
}

/// A reasoning item with its text in the open.
pub(super) fn reasoning_item(id: &str, texts: &[&str]) -> String {
    let mut out = Writer::default();
    out.open('{');
    out.key("id").string(id);
    out.key("type").string("reasoning");
    out.key("summary").json("[]");
    out.key("content").open('[');
    for text in texts {
        out.open('{');
        out.key("type").string("reasoning_text");
        out.key("text").joined(std::iter::once(*text));
        out.close('}');
    }
    out.close(']');
    out.close('}');
    out.finish()
}

/// A function call. The arguments are the inside of a JSON string.
pub(super) fn call_item(call_id: &str, name: &str, status: &str, arguments: &str) -> String {
    let mut out = Writer::default();
    out.open('{');
    out.key("id").string(&own_id("fc", call_id));
    out.key("type").string("function_call");
    out.key("status").string(status);
    out.key("call_id").string(call_id);
    out.key("name").string(name);
    out.key("arguments").joined(std::iter::once(arguments));
    out.close('}');
    out.finish()
}

/// The caller's `usage`.
pub(super) fn usage_of(counts: Option<Counts>) -> String {
    let Some(counts) = counts else {
        return "null".to_owned();
    };
    let mut out = Writer::default();
    out.open('{');
    out.key("input_tokens").number(counts.input);
    out.key("input_tokens_details").open('{');
    out.key("cached_tokens").number(counts.cached);
    if counts.written > 0 {
        out.key("cache_write_tokens").number(counts.written);
    }
    out.close('}');
    out.key("output_tokens").number(counts.output);
    out.key("output_tokens_details").open('{');
    out.key("reasoning_tokens").number(counts.reasoning);
    out.close('}');
    let total = counts.input.saturating_add(counts.output);
    out.key("total_tokens").number(total);
    out.close('}');
    out.finish()
}
