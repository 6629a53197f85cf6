//! Chat callers on Anthropic's models: the request.

pub(super) mod answer;
pub(super) mod said;
mod stream;

use super::read::{Members, Raw};
use super::write::Writer;
use super::{Fit, Said, To, Unfit, malformed};
pub(super) use answer::answer;
pub(super) use stream::Voice;

/// What a thinking budget leaves for the answer itself where the caller named no cap, tokens.
const BESIDE_THINKING: u64 = 4_096;

/// The members of a chat request that the translation reads.
#[derive(Default)]
pub(super) struct Asked<'a> {
    pub(super) messages: Option<Raw<'a>>,
    pub(super) caps: [Option<Raw<'a>>; 2],
    pub(super) stream: Option<Raw<'a>>,
    pub(super) temperature: Option<Raw<'a>>,
    pub(super) top_p: Option<Raw<'a>>,
    pub(super) top_k: Option<Raw<'a>>,
    pub(super) stop: Option<Raw<'a>>,
    pub(super) tools: Option<Raw<'a>>,
    pub(super) tool_choice: Option<Raw<'a>>,
    pub(super) parallel: Option<bool>,
    pub(super) format: Option<Raw<'a>>,
    pub(super) effort: Option<Raw<'a>>,
    pub(super) thinking: Option<Raw<'a>>,
    pub(super) user: Option<Raw<'a>>,
    pub(super) safety_identifier: Option<Raw<'a>>,
    pub(super) metadata: Option<Raw<'a>>,
    pub(super) service_tier: Option<Raw<'a>>,
    pub(super) cache_control: Option<Raw<'a>>,
}

/// Writes the members of a messages request.
pub(super) fn request(
    members: &Members<'_>,
    to: &To<'_>,
    fit: &mut Fit<'_>,
    out: &mut Writer,
    said: &mut Said,
) -> Result<(), Unfit> {
    let asked = read(members, fit, said)?;
    out.key("model").string(to.model);
    output_cap(&asked, to, out, said)?;
    if let Some(messages) = asked.messages {
        said::messages(messages, fit, out)?;
    }
    let declares = tools(&asked, fit, out)?;
    tool_choice(&asked, declares, fit, out)?;
    if let Some(stream) = asked.stream {
        out.key("stream").raw(stream);
    }
    sampling(&asked, fit, out)?;
    form_and_effort(&asked, fit, out)?;
    if let Some(thinking) = asked.thinking {
        out.key("thinking").raw(thinking);
    }
    user(&asked, fit, out)?;
    service_tier(&asked, fit, out)?;
    if let Some(mark) = asked.cache_control {
        out.key("cache_control").raw(mark);
    }
    Ok(())
}

pub(super) fn read<'a>(
    members: &Members<'a>,
    fit: &mut Fit<'_>,
    said: &mut Said,
) -> Result<Asked<'a>, Unfit> {
    let mut asked = Asked::default();
    for (name, value) in members.iter() {
        let slot = match name {
            "model" => continue,
            "messages" => &mut asked.messages,
            "max_completion_tokens" => &mut asked.caps[0],
            "max_tokens" => &mut asked.caps[1],
            "stream" => &mut asked.stream,
            "temperature" => &mut asked.temperature,
            "top_p" => &mut asked.top_p,
            "top_k" => &mut asked.top_k,
            "stop" => &mut asked.stop,
            "tools" => &mut asked.tools,
            "tool_choice" => &mut asked.tool_choice,
            "response_format" => &mut asked.format,
            "reasoning_effort" => &mut asked.effort,
            "thinking" => &mut asked.thinking,
            "user" => &mut asked.user,
            "safety_identifier" => &mut asked.safety_identifier,
            "metadata" => &mut asked.metadata,
            "service_tier" => &mut asked.service_tier,
            "cache_control" => &mut asked.cache_control,
            "parallel_tool_calls" => {
                asked.parallel = value.flag();
                continue;
            }
            "stream_options" => {
                stream_options(value, fit, said)?;
                continue;
            }
            // What says what goes without saying.
            "n" if value.json() == "1" => continue,
            "logprobs" | "store" | "use_beam_search" if value.flag() == Some(false) => continue,
            "frequency_penalty" | "presence_penalty" if value.number() == Some(0.0) => continue,
            "modalities" if is_text_only(value) => continue,
            _ if value.is_nothing() => continue,
            name => {
                fit.cannot(name)?;
                continue;
            }
        };
        *slot = Some(value);
    }
    Ok(asked)
}

fn is_text_only(modalities: Raw<'_>) -> bool {
    let items = modalities.items().unwrap_or_default();
    items.iter().all(|item| item.inside() == Some("text"))
}

fn stream_options(options: Raw<'_>, fit: &mut Fit<'_>, said: &mut Said) -> Result<(), Unfit> {
    let options = options
        .members()
        .ok_or_else(|| malformed("stream_options"))?;
    for (name, value) in options.iter() {
        match name {
            "include_usage" => said.include_usage = value.flag() == Some(true),
            _ if value.flag() == Some(false) => {}
            name => fit.cannot(name)?,
        }
    }
    Ok(())
}

/// Anthropic must be told one.
fn output_cap(
    asked: &Asked<'_>,
    to: &To<'_>,
    out: &mut Writer,
    said: &mut Said,
) -> Result<(), Unfit> {
    let tokens = tokens_told(asked, to, said)?;
    out.key(to.output_cap_field).number(tokens);
    Ok(())
}

/// The output cap for a target that must be told one.
pub(super) fn tokens_told(asked: &Asked<'_>, to: &To<'_>, said: &mut Said) -> Result<u64, Unfit> {
    let mut told = None;
    for cap in asked.caps.into_iter().flatten() {
        let tokens = cap.whole().ok_or_else(|| malformed("max_tokens"))?;
        told = Some(told.map_or(tokens, |told: u64| told.min(tokens)));
    }
    if told.is_none() {
        let thinking = asked.thinking.and_then(Raw::members);
        let budget = thinking.and_then(|thinking| thinking.get("budget_tokens")?.whole());
        let least = budget.map_or(0, |budget| budget.saturating_add(BESIDE_THINKING));
        said.output_cap = Some(to.output_when_unasked.max(least));
    }
    Ok(told.or(said.output_cap).unwrap_or(to.output_when_unasked))
}

/// The declared tools; true if there are any.
fn tools(asked: &Asked<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<bool, Unfit> {
    let Some(tools) = asked.tools else {
        return Ok(false);
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
        return Ok(false);
    }
    out.key("tools").array(|out| {
        declared.iter().try_for_each(|(tool, function)| {
            out.object(|out| declaration(tool, function, fit, out))
        })
    })?;
    Ok(true)
}

fn declaration(
    tool: &Members<'_>,
    function: &Members<'_>,
    fit: &mut Fit<'_>,
    out: &mut Writer,
) -> Result<(), Unfit> {
    for (name, value) in function.iter() {
        match name {
            "name" | "description" => out.key(name).raw(value),
            "parameters" => out.key("input_schema").raw(value),
            "strict" if value.flag() == Some(true) => out.key("strict").raw(value),
            "strict" => {}
            name => fit.cannot(&format!("tools.{name}"))?,
        }
    }
    if function.get("parameters").is_none() {
        out.key("input_schema")
            .json(r#"{"type":"object","properties":{}}"#);
    }
    for (name, value) in tool.iter() {
        match name {
            "type" | "function" => {}
            "cache_control" => out.key("cache_control").raw(value),
            _ if value.is_nothing() || value.flag() == Some(false) => {}
            name => fit.cannot(&format!("tools.{name}"))?,
        }
    }
    Ok(())
}

fn tool_choice(
    asked: &Asked<'_>,
    declares: bool,
    fit: &mut Fit<'_>,
    out: &mut Writer,
) -> Result<(), Unfit> {
    let one = asked.parallel == Some(false);
    if !declares || (asked.tool_choice.is_none() && !one) {
        return Ok(());
    }
    let mut named = None;
    let kind = match asked.tool_choice {
        None => "auto",
        Some(choice) => match choice.inside() {
            Some("auto") => "auto",
            Some("none") => "none",
            Some("required") => "any",
            Some(_) => return Err(malformed("tool_choice")),
            None => {
                let choice = choice.members().ok_or_else(|| malformed("tool_choice"))?;
                let function = choice.get("function").and_then(Raw::members);
                named = function.and_then(|function| function.get("name"));
                if named.is_none() {
                    let kind = choice.text("type").unwrap_or_default();
                    return fit.cannot(&format!("tool_choice.{kind}"));
                }
                "tool"
            }
        },
    };
    out.key("tool_choice").object(|out| {
        out.key("type").string(kind);
        if let Some(name) = named {
            out.key("name").raw(name);
        }
        if one && kind != "none" {
            out.key("disable_parallel_tool_use").json("true");
        }
        Ok(())
    })
}

fn sampling(asked: &Asked<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    if let Some(temperature) = asked.temperature {
        if temperature.number().is_some_and(|degrees| degrees > 1.0) {
            fit.cannot_for("temperature", ": the target takes 0 to 1")?;
        } else {
            out.key("temperature").raw(temperature);
        }
    }
    if let Some(top_p) = asked.top_p {
        out.key("top_p").raw(top_p);
    }
    if let Some(top_k) = asked.top_k {
        out.key("top_k").raw(top_k);
    }
    match asked.stop {
        Some(stop) if stop.is_string() => {
            out.key("stop_sequences").array(|out| {
                out.raw(stop);
                Ok(())
            })?;
        }
        Some(stop) if stop.is_array() => out.key("stop_sequences").raw(stop),
        Some(_) => return Err(malformed("stop")),
        None => {}
    }
    Ok(())
}

fn form_and_effort(asked: &Asked<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    let format = asked.format.map(|format| {
        let format = format.members();
        format.ok_or_else(|| malformed("response_format"))
    });
    let mut schema = None;
    if let Some(format) = format.transpose()? {
        match format.text("type").as_deref() {
            Some("text") | None => {}
            Some("json_schema") => {
                let form = format.get("json_schema").and_then(Raw::members);
                schema = form.and_then(|form| form.get("schema"));
                if schema.is_none() {
                    return Err(malformed("response_format"));
                }
            }
            Some(kind) => fit.cannot(&format!("response_format.{kind}"))?,
        }
    }
    let effort = match asked.effort.map(|effort| effort.inside()) {
        None => None,
        Some(Some("none")) => None,
        Some(Some("minimal" | "low")) => Some("low"),
        Some(Some("medium")) => Some("medium"),
        Some(Some("high")) => Some("high"),
        Some(Some("xhigh" | "max")) => Some("max"),
        Some(_) => return Err(malformed("reasoning_effort")),
    };
    if schema.is_none() && effort.is_none() {
        return Ok(());
    }
    out.key("output_config").object(|out| {
        if let Some(effort) = effort {
            out.key("effort").string(effort);
        }
        if let Some(schema) = schema {
            out.key("format").object(|out| {
                out.key("type").string("json_schema");
                out.key("schema").raw(schema);
                Ok::<(), Unfit>(())
            })?;
        }
        Ok(())
    })
}

/// Whose call it is to the provider: one id is all that the target takes.
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
    let user = asked
        .safety_identifier
        .or(asked.user)
        .or(metadata.get("user_id"));
    if let (Some(id), Some(user)) = (asked.safety_identifier, asked.user)
        && id != user
    {
        fit.cannot("user")?;
    }
    if let Some(user) = user {
        out.key("metadata").object(|out| {
            out.key("user_id").raw(user);
            Ok::<(), Unfit>(())
        })?;
    }
    Ok(())
}

fn service_tier(asked: &Asked<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    match asked.service_tier.map(Raw::inside) {
        None => {}
        Some(Some("auto")) => out.key("service_tier").string("auto"),
        Some(Some("default")) => out.key("service_tier").string("standard_only"),
        Some(_) => fit.cannot("service_tier")?,
    }
    Ok(())
}
