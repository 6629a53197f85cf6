//! Anthropic's callers on any model: the request.

mod answer;
mod said;
mod stream;

use super::read::{Members, Raw};
use super::to_chat::{chosen, function, stream, tools};
use super::write::Writer;
use super::{Fit, Said, To, Unfit, malformed};
pub(super) use answer::answer;
pub(super) use stream::Voice;

/// A thinking budget up to this many tokens is little effort; up to the next, some.
const LOW_TOKENS: u64 = 4_096;
const MEDIUM_TOKENS: u64 = 16_384;

/// Writes the members of a chat request.
pub(super) fn request(
    members: &Members<'_>,
    to: &To<'_>,
    fit: &mut Fit<'_>,
    out: &mut Writer,
    said: &mut Said,
) -> Result<(), Unfit> {
    out.key("model").string(to.model);
    let get = |name| members.get(name);
    let mut declares = false;
    for (name, value) in members.iter() {
        match name {
            "model" | "messages" | "system" | "tool_choice" | "thinking" | "output_config"
            | "output_format" => {}
            "max_tokens" => out.key(to.output_cap_field).raw(value),
            "temperature" | "top_p" => out.key(name).raw(value),
            "stop_sequences" if value.is_nothing() => {}
            "stop_sequences" => out.key("stop").raw(value),
            "stream" => stream(value, to, out, said),
            "tools" => declares = tools(value, is_function, declaration, fit, out)?,
            "metadata" => user(value, fit, out)?,
            "service_tier" => service_tier(value, fit, out)?,
            "inference_geo" if value.inside() == Some("not_available") => {}
            _ if value.is_nothing() => {}
            name => fit.cannot(name)?,
        }
    }
    if let Some(choice) = get("tool_choice") {
        tool_choice(choice, declares, out)?;
    }
    form_and_effort(members, fit, out)?;
    said::messages(get("system"), get("messages"), fit, out)
}

/// A tool that the caller carries out itself.
fn is_function(kind: Option<&str>) -> bool {
    matches!(kind, None | Some("custom"))
}

fn declaration(tool: &Members<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    for (name, value) in tool.iter() {
        match name {
            "type" | "name" | "description" | "input_schema" | "strict" => {}
            "cache_control" | "eager_input_streaming" => fit.cannot(name)?,
            _ if value.is_nothing() || value.flag() == Some(false) => {}
            name => fit.cannot(&format!("tools.{name}"))?,
        }
    }
    out.object(|out| {
        function(out, |out| {
            let pairs = [
                ("name", "name"),
                ("description", "description"),
                ("parameters", "input_schema"),
            ];
            for (theirs, ours) in pairs {
                if let Some(value) = tool.get(ours) {
                    out.key(theirs).raw(value);
                }
            }
            if tool.get("strict").and_then(Raw::flag) == Some(true) {
                out.key("strict").json("true");
            }
        });
        Ok(())
    })
}

fn tool_choice(choice: Raw<'_>, declares: bool, out: &mut Writer) -> Result<(), Unfit> {
    let choice = choice.members().ok_or_else(|| malformed("tool_choice"))?;
    // Servers refuse a choice among no tools.
    if !declares {
        return Ok(());
    }
    match choice.text("type").as_deref() {
        Some("auto") => out.key("tool_choice").string("auto"),
        Some("any") => out.key("tool_choice").string("required"),
        Some("none") => out.key("tool_choice").string("none"),
        Some("tool") => {
            let name = choice
                .get("name")
                .ok_or_else(|| malformed("tool_choice.name"))?;
            chosen(name, out);
        }
        _ => return Err(malformed("tool_choice")),
    }
    if choice.get("disable_parallel_tool_use").and_then(Raw::flag) == Some(true) {
        out.key("parallel_tool_calls").json("false");
    }
    Ok(())
}

fn form_and_effort(
    members: &Members<'_>,
    fit: &mut Fit<'_>,
    out: &mut Writer,
) -> Result<(), Unfit> {
    let config = members.get("output_config").map(|config| {
        let config = config.members();
        config.ok_or_else(|| malformed("output_config"))
    });
    let config = config.transpose()?.unwrap_or_default();
    for (name, value) in config.iter() {
        if !matches!(name, "format" | "effort") && !value.is_nothing() {
            fit.cannot(&format!("output_config.{name}"))?;
        }
    }
    if let Some(format) = config.get("format").or(members.get("output_format")) {
        let format = format.members().ok_or_else(|| malformed("output_config"))?;
        let schema = format.get("schema");
        match (format.text("type").as_deref(), schema) {
            (Some("json_schema"), Some(schema)) => {
                out.key("response_format").object(|out| {
                    out.key("type").string("json_schema");
                    out.key("json_schema").object(|out| {
                        out.key("name").string("answer");
                        out.key("schema").raw(schema);
                        out.key("strict").json("true");
                        Ok::<(), Unfit>(())
                    })
                })?;
            }
            _ => fit.cannot("output_config.format")?,
        }
    }
    let thinking = members.get("thinking").map(|thinking| {
        let thinking = thinking.members();
        thinking.ok_or_else(|| malformed("thinking"))
    });
    let thinks = thinking.is_some();
    let budget = thinking
        .transpose()?
        .and_then(|thinking| thinking.get("budget_tokens")?.whole());
    let effort = match config.text("effort").as_deref() {
        Some("low") => Some("low"),
        Some("medium") => Some("medium"),
        Some("high") => Some("high"),
        Some("xhigh" | "max") => Some("xhigh"),
        Some(_) => return Err(malformed("output_config.effort")),
        None => budget.map(|budget| {
            if budget <= LOW_TOKENS {
                "low"
            } else if budget <= MEDIUM_TOKENS {
                "medium"
            } else {
                "high"
            }
        }),
    };
    match effort {
        Some(_) if fit.drop.iter().any(|drop| drop == "effort") => fit.cannot("effort"),
        Some(effort) => {
            out.key("reasoning_effort").string(effort);
            Ok(())
        }
        // Whether it thinks at all is the target's own affair.
        None if thinks => fit.cannot("thinking.type"),
        None => Ok(()),
    }
}

fn user(metadata: Raw<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    let metadata = metadata.members().ok_or_else(|| malformed("metadata"))?;
    for (name, value) in metadata.iter() {
        match name {
            "user_id" => out.key("user").raw(value),
            // Bursar's own are read and go no further.
            "user_task_id" | "agent_id" | "agent_role" => {}
            _ => fit.cannot("metadata")?,
        }
    }
    Ok(())
}

fn service_tier(tier: Raw<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    match tier.inside() {
        Some("auto") => out.key("service_tier").string("auto"),
        Some("standard_only") => out.key("service_tier").string("default"),
        _ => fit.cannot("service_tier")?,
    }
    Ok(())
}
