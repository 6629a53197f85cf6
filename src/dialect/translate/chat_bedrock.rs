//! Chat callers on Amazon Bedrock: the request, as Converse takes it.
//!
//! The model and whether the answer is streamed stand in the path; see `stack/admit/translation.rs`.

mod answer;
mod said;
mod stream;

use super::chat_messages::{Asked, read, tokens_told};
use super::read::{Members, Raw};
use super::write::Writer;
use super::{Fit, Said, To, Unfit, malformed};
pub(super) use answer::answer;
use said::{cache_point, has_tools, mark_of};
pub(super) use stream::Voice;

/// The most of a value in `requestMetadata`, in bytes.
const METADATA_BYTES_MAX: usize = 256;

/// Writes the members of a Converse request.
pub(super) fn request(
    members: &Members<'_>,
    to: &To<'_>,
    fit: &mut Fit<'_>,
    out: &mut Writer,
    said: &mut Said,
) -> Result<(), Unfit> {
    let asked = read(members, fit, said)?;
    for (name, value) in [
        ("top_k", asked.top_k),
        ("reasoning_effort", asked.effort),
        ("cache_control", asked.cache_control),
    ] {
        if value.is_some() {
            fit.cannot(name)?;
        }
    }
    if let Some(messages) = asked.messages {
        said::messages(messages, fit, out)?;
    }
    inference(&asked, to, fit, out, said)?;
    tools(&asked, fit, out)?;
    form(&asked, fit, out)?;
    if let Some(thinking) = asked.thinking {
        out.key("additionalModelRequestFields").object(|out| {
            out.key("thinking").raw(thinking);
            Ok::<(), Unfit>(())
        })?;
    }
    user(&asked, fit, out)?;
    match asked.service_tier.map(Raw::inside) {
        None | Some(Some("auto")) => {}
        Some(Some("default")) => out.key("serviceTier").json(r#"{"type":"default"}"#),
        // Others are priced in ways of their own.
        Some(_) => fit.cannot("service_tier")?,
    }
    said.echo = echo(to.model);
    Ok(())
}

/// What the answer itself does not say: an id, and which model it is of.
fn echo(model: &str) -> String {
    let mut id = [0; 16];
    // Without randomness answers would have one id in common; nothing here rests on it.
    let _ = getrandom::fill(&mut id);
    let id = u128::from_le_bytes(id);
    let mut out = Writer::default();
    out.key("id").string(&format!("chatcmpl-{id:032x}"));
    out.key("model").string(model);
    out.finish()
}

fn inference(
    asked: &Asked<'_>,
    to: &To<'_>,
    fit: &mut Fit<'_>,
    out: &mut Writer,
    said: &mut Said,
) -> Result<(), Unfit> {
    // It has a default of its own for each model: what is quoted is told.
    let tokens = tokens_told(asked, to, said)?;
    out.key("inferenceConfig").object(|out| {
        out.key(to.output_cap_field).number(tokens);
        if let Some(temperature) = asked.temperature {
            if temperature.number().is_some_and(|degrees| degrees > 1.0) {
                fit.cannot_for("temperature", ": the target takes 0 to 1")?;
            } else {
                out.key("temperature").raw(temperature);
            }
        }
        if let Some(top_p) = asked.top_p {
            out.key("topP").raw(top_p);
        }
        match asked.stop {
            Some(stop) if stop.is_string() => out.key("stopSequences").array(|out| {
                out.raw(stop);
                Ok(())
            }),
            Some(stop) if stop.is_array() => {
                out.key("stopSequences").raw(stop);
                Ok(())
            }
            Some(_) => Err(malformed("stop")),
            None => Ok(()),
        }
    })
}

fn tools(asked: &Asked<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    let Some(tools) = asked.tools else {
        return Ok(());
    };
    let mut declared = Vec::new();
    for tool in tools.items().ok_or_else(|| malformed("tools"))? {
        let tool = tool.members().ok_or_else(|| malformed("tools"))?;
        match tool.get("function").and_then(Raw::members) {
            Some(function) => declared.push((tool, function)),
            None => {
                let kind = tool.text("type").unwrap_or_default();
                fit.cannot(&format!("tools.{kind}"))?;
            }
        }
    }
    if declared.is_empty() {
        return Ok(());
    }
    if asked.parallel == Some(false) {
        fit.cannot("parallel_tool_calls")?;
    }
    let choice = choice(asked.tool_choice, fit)?;
    if choice == Choice::None {
        // The target has no such word: tools that must not be used are not declared, unless what was said
        // rests on them.
        if !has_tools(asked.messages) {
            return Ok(());
        }
        fit.cannot_for("tool_choice.none", ": tools were used before")?;
    }
    out.key("toolConfig").object(|out| {
        out.key("tools").array(|out| {
            declared
                .iter()
                .try_for_each(|(tool, function)| declaration(tool, function, fit, out))
        })?;
        match choice {
            Choice::Open | Choice::None => Ok(()),
            Choice::Auto => kind("auto", out),
            Choice::Any => kind("any", out),
            Choice::Named(name) => out.key("toolChoice").object(|out| {
                out.key("tool").object(|out| {
                    out.key("name").raw(name);
                    Ok(())
                })
            }),
        }
    })
}

fn kind(word: &str, out: &mut Writer) -> Result<(), Unfit> {
    out.key("toolChoice").object(|out| {
        out.key(word).json("{}");
        Ok(())
    })
}

/// Which tools are to be used.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Choice<'a> {
    /// Nothing is said of it.
    Open,
    Auto,
    Any,
    None,
    Named(Raw<'a>),
}

fn choice<'a>(choice: Option<Raw<'a>>, fit: &mut Fit<'_>) -> Result<Choice<'a>, Unfit> {
    let Some(choice) = choice else {
        return Ok(Choice::Open);
    };
    match choice.inside() {
        Some("auto") => return Ok(Choice::Auto),
        Some("none") => return Ok(Choice::None),
        Some("required") => return Ok(Choice::Any),
        Some(_) => return Err(malformed("tool_choice")),
        None => {}
    }
    let choice = choice.members().ok_or_else(|| malformed("tool_choice"))?;
    let function = choice.get("function").and_then(Raw::members);
    match function.and_then(|function| function.get("name")) {
        Some(name) => Ok(Choice::Named(name)),
        None => {
            let kind = choice.text("type").unwrap_or_default();
            fit.cannot(&format!("tool_choice.{kind}"))?;
            Ok(Choice::Open)
        }
    }
}

fn declaration(
    tool: &Members<'_>,
    function: &Members<'_>,
    fit: &mut Fit<'_>,
    out: &mut Writer,
) -> Result<(), Unfit> {
    out.object(|out| {
        out.key("toolSpec")
            .object(|out| spec(tool, function, fit, out))
    })?;
    cache_point(mark_of(tool), out);
    Ok(())
}

fn spec(
    tool: &Members<'_>,
    function: &Members<'_>,
    fit: &mut Fit<'_>,
    out: &mut Writer,
) -> Result<(), Unfit> {
    let mut schema = None;
    for (name, value) in function.iter() {
        match name {
            "name" => out.key("name").raw(value),
            // The target refuses an empty one.
            "description" if value.is_nothing() => {}
            "description" => out.key("description").raw(value),
            "parameters" => schema = Some(value),
            "strict" if value.flag() == Some(true) => out.key("strict").raw(value),
            "strict" => {}
            name => fit.cannot(&format!("tools.{name}"))?,
        }
    }
    for (name, value) in tool.iter() {
        match name {
            "type" | "function" | "cache_control" => {}
            _ if value.is_nothing() || value.flag() == Some(false) => {}
            name => fit.cannot(&format!("tools.{name}"))?,
        }
    }
    let schema = schema.map_or(r#"{"type":"object","properties":{}}"#, Raw::json);
    out.key("inputSchema").object(|out| {
        out.key("json").json(schema);
        Ok(())
    })
}

/// The form that the answer must have; its schema goes along as a text.
fn form(asked: &Asked<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    let Some(format) = asked.format else {
        return Ok(());
    };
    let wrong = || malformed("response_format");
    let format = format.members().ok_or_else(wrong)?;
    match format.text("type").as_deref() {
        Some("text") | None => return Ok(()),
        Some("json_schema") => {}
        Some(kind) => return fit.cannot(&format!("response_format.{kind}")),
    }
    let form = format.get("json_schema").and_then(Raw::members);
    let form = form.ok_or_else(wrong)?;
    let schema = form.get("schema").ok_or_else(wrong)?;
    out.key("outputConfig").object(|out| {
        out.key("textFormat").object(|out| {
            out.key("type").string("json_schema");
            out.key("structure").object(|out| {
                out.key("jsonSchema").object(|out| {
                    out.key("schema").string(schema.json());
                    for name in ["name", "description"] {
                        if let Some(value) = form.get(name).filter(|value| !value.is_nothing()) {
                            out.key(name).raw(value);
                        }
                    }
                    Ok(())
                })
            })
        })
    })
}

/// Whose call it is: a value that the target's logs can be searched by.
fn user(asked: &Asked<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    let metadata = asked
        .metadata
        .map(|metadata| metadata.members().ok_or_else(|| malformed("metadata")));
    let metadata = metadata.transpose()?.unwrap_or_default();
    for (name, _) in metadata.iter() {
        // Bursar's own are read and go no further.
        if !matches!(name, "user_id" | "user_task_id" | "agent_id" | "agent_role") {
            fit.cannot("metadata")?;
        }
    }
    let named = [
        ("safety_identifier", asked.safety_identifier),
        ("user", asked.user),
        ("user_id", metadata.get("user_id")),
    ];
    let is_plain =
        |byte: u8| byte.is_ascii_alphanumeric() || byte == b' ' || b":_@$#=/+,-.".contains(&byte);
    let mut kept = Vec::new();
    for (name, value) in named {
        let Some(value) = value else { continue };
        let text = value.inside().unwrap_or("\\");
        if text.len() <= METADATA_BYTES_MAX && text.bytes().all(is_plain) {
            kept.push((name, value));
        } else {
            fit.cannot_for(name, ": its logs take plain words")?;
        }
    }
    if kept.is_empty() {
        return Ok(());
    }
    out.key("requestMetadata").object(|out| {
        for (name, value) in kept {
            out.key(name).raw(value);
        }
        Ok(())
    })
}
