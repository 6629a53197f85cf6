//! Responses callers on servers that speak chat alone: the request.
//!
//! What the Responses API keeps on the provider's side (stored answers, conversations, prompts, files,
//! hosted tools) such a server does not have, and nothing here stands in for it.

mod answer;
mod said;
mod stream;

use super::read::{Members, Raw};
use super::to_chat::{chosen, function, stream, tools};
use super::write::Writer;
use super::{Fit, Said, To, Unfit, malformed};
pub(super) use answer::answer;
pub(super) use stream::Voice;

/// What the answer repeats of its request.
const ECHOED: [&str; 9] = [
    "instructions",
    "max_output_tokens",
    "metadata",
    "parallel_tool_calls",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_p",
];

/// Writes the members of a chat request.
pub(super) fn request(
    members: &Members<'_>,
    to: &To<'_>,
    fit: &mut Fit<'_>,
    out: &mut Writer,
    said: &mut Said,
) -> Result<(), Unfit> {
    out.key("model").string(to.model);
    let declares = match members.get("tools") {
        Some(declared) => tools(declared, is_function, declaration, fit, out)?,
        None => false,
    };
    for (name, value) in members.iter() {
        match name {
            "model" | "input" | "instructions" | "tools" => {}
            "max_output_tokens" => out.key(to.output_cap_field).raw(value),
            "temperature"
            | "top_p"
            | "user"
            | "safety_identifier"
            | "service_tier"
            | "prompt_cache_key"
            | "prompt_cache_retention"
            | "prompt_cache_options" => out.key(name).raw(value),
            "parallel_tool_calls" if declares => out.key(name).raw(value),
            "parallel_tool_calls" => {}
            "stream" => stream(value, to, out, said),
            "tool_choice" if declares => tool_choice(value, fit, out)?,
            "tool_choice" => {}
            "text" => text(value, fit, out)?,
            "reasoning" => reasoning(value, fit, out)?,
            "metadata" => metadata(value, fit)?,
            "store" | "background" | "stream_options" if value.flag() == Some(false) => {}
            "stream_options" => stream_options(value, fit)?,
            "truncation" if value.inside() == Some("disabled") => {}
            "include" => include(value, fit)?,
            _ if value.is_nothing() => {}
            name => fit.cannot(name)?,
        }
    }
    said::messages(members.get("instructions"), members.get("input"), fit, out)?;
    said.echo = echo(members);
    Ok(())
}

fn stream_options(options: Raw<'_>, fit: &mut Fit<'_>) -> Result<(), Unfit> {
    let options = options
        .members()
        .ok_or_else(|| malformed("stream_options"))?;
    for (name, value) in options.iter() {
        if value.flag() != Some(false) {
            fit.cannot(name)?;
        }
    }
    Ok(())
}

/// Bursar's own members are read and go no further.
fn metadata(metadata: Raw<'_>, fit: &mut Fit<'_>) -> Result<(), Unfit> {
    let metadata = metadata.members().ok_or_else(|| malformed("metadata"))?;
    for (name, _) in metadata.iter() {
        if !matches!(name, "user_task_id" | "agent_id" | "agent_role") {
            fit.cannot("metadata")?;
        }
    }
    Ok(())
}

/// More of an answer: reasoning that only its provider can read is a hint, the rest is asked for.
fn include(include: Raw<'_>, fit: &mut Fit<'_>) -> Result<(), Unfit> {
    for item in include.items().ok_or_else(|| malformed("include"))? {
        match item.inside() {
            Some("reasoning.encrypted_content") => fit.cannot("include")?,
            Some(name) => fit.cannot(&format!("include.{name}"))?,
            None => return Err(malformed("include")),
        }
    }
    Ok(())
}

fn is_function(kind: Option<&str>) -> bool {
    kind == Some("function")
}

fn declaration(tool: &Members<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    const CARRIED: [&str; 4] = ["name", "description", "parameters", "strict"];
    for (name, value) in tool.iter() {
        let is_told = name == "type" || CARRIED.contains(&name);
        if !is_told && !value.is_nothing() && value.flag() != Some(false) {
            fit.cannot(&format!("tools.{name}"))?;
        }
    }
    out.object(|out| {
        function(out, |out| {
            for name in CARRIED {
                if let Some(value) = tool.get(name) {
                    out.key(name).raw(value);
                }
            }
        });
        Ok(())
    })
}

fn tool_choice(choice: Raw<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    if choice.is_string() {
        out.key("tool_choice").raw(choice);
        return Ok(());
    }
    let choice = choice.members().ok_or_else(|| malformed("tool_choice"))?;
    match (choice.text("type").as_deref(), choice.get("name")) {
        (Some("function"), Some(name)) => {
            chosen(name, out);
            Ok(())
        }
        (kind, _) => fit.cannot(&format!("tool_choice.{}", kind.unwrap_or_default())),
    }
}

/// `text`: the form of the answer, and how wordy it is.
fn text(text: Raw<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    let text = text.members().ok_or_else(|| malformed("text"))?;
    for (name, value) in text.iter() {
        match name {
            "format" => format(value, fit, out)?,
            "verbosity" => out.key("verbosity").raw(value),
            name => fit.cannot(&format!("text.{name}"))?,
        }
    }
    Ok(())
}

fn format(format: Raw<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    let format = format.members().ok_or_else(|| malformed("text.format"))?;
    match format.text("type").as_deref() {
        Some("text") | None => Ok(()),
        Some("json_object") => {
            out.key("response_format").json(r#"{"type":"json_object"}"#);
            Ok(())
        }
        Some("json_schema") => out.key("response_format").object(|out| {
            out.key("type").string("json_schema");
            out.key("json_schema").object(|out| {
                for name in ["name", "description", "schema", "strict"] {
                    if let Some(value) = format.get(name) {
                        out.key(name).raw(value);
                    }
                }
                Ok(())
            })
        }),
        Some(kind) => fit.cannot(&format!("text.format.{kind}")),
    }
}

fn reasoning(reasoning: Raw<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    let reasoning = reasoning.members().ok_or_else(|| malformed("reasoning"))?;
    for (name, value) in reasoning.iter() {
        match name {
            "effort" => out.key("reasoning_effort").raw(value),
            name => fit.cannot(&format!("reasoning.{name}"))?,
        }
    }
    Ok(())
}

/// The members of a response that come from its request.
fn echo(members: &Members<'_>) -> String {
    let mut out = Writer::default();
    for name in ECHOED {
        out.key(name);
        match members.get(name) {
            Some(value) => out.raw(value),
            None => out.json(match name {
                "parallel_tool_calls" => "true",
                "tool_choice" => "\"auto\"",
                "tools" => "[]",
                "metadata" => "{}",
                _ => "null",
            }),
        };
    }
    // In a stream it stands on one line.
    let mut echo = out.finish();
    if echo.contains(['\n', '\r']) {
        echo = echo.replace(['\n', '\r'], " ");
    }
    echo
}
