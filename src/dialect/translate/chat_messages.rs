//! Chat callers on Anthropic's models: the request.

mod answer;
mod said;
mod stream;

use super::from_chat::{Asked, Choice, Form, Function, read};
use super::read::{Members, Raw};
use super::write::Writer;
use super::{Fit, Said, To, Unfit, malformed};
pub(super) use answer::answer;
pub(super) use stream::Voice;

/// Writes the members of a messages request.
pub(super) fn request(
    members: &Members<'_>,
    to: &To<'_>,
    fit: &mut Fit<'_>,
    out: &mut Writer,
    said: &mut Said,
) -> Result<(), Unfit> {
    let asked = read(members, fit, said, |_, _, _| Ok(false))?;
    out.key("model").string(to.model);
    // Anthropic must be told one.
    let tokens = asked.cap_told(to, said)?;
    out.key(to.output_cap_field).number(tokens);
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

/// The declared tools; true if there are any.
fn tools(asked: &Asked<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<bool, Unfit> {
    let functions = asked.functions(fit)?;
    if functions.is_empty() {
        return Ok(false);
    }
    out.key("tools").array(|out| {
        functions
            .iter()
            .try_for_each(|function| out.object(|out| declaration(function, fit, out)))
    })?;
    Ok(true)
}

fn declaration(function: &Function<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    for (name, value) in function.said.iter() {
        match name {
            "name" | "description" => out.key(name).raw(value),
            "parameters" => out.key("input_schema").raw(value),
            "strict" if value.flag() == Some(true) => out.key("strict").raw(value),
            "strict" => {}
            name => fit.cannot(&format!("tools.{name}"))?,
        }
    }
    if function.said.get("parameters").is_none() {
        out.key("input_schema")
            .json(r#"{"type":"object","properties":{}}"#);
    }
    for (name, value) in function.tool.iter() {
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
    let choice = match asked.tool_choice {
        None => Some(Choice::Auto),
        Some(choice) => Choice::of(choice, fit)?,
    };
    let Some(choice) = choice else {
        return Ok(());
    };
    out.key("tool_choice").object(|out| {
        out.key("type").string(match choice {
            Choice::Auto => "auto",
            Choice::None => "none",
            Choice::Any => "any",
            Choice::Named(_) => "tool",
        });
        if let Choice::Named(name) = choice {
            out.key("name").raw(name);
        }
        if one && choice != Choice::None {
            out.key("disable_parallel_tool_use").json("true");
        }
        Ok(())
    })
}

fn sampling(asked: &Asked<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    asked.temperature(fit, out)?;
    if let Some(top_p) = asked.top_p {
        out.key("top_p").raw(top_p);
    }
    if let Some(top_k) = asked.top_k {
        out.key("top_k").raw(top_k);
    }
    asked.stop("stop_sequences", out)
}

fn form_and_effort(asked: &Asked<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    let schema = match asked.form()? {
        Form::Open => None,
        Form::Schema { schema, .. } => Some(schema),
        Form::Other(kind) => {
            Form::cannot(&kind, fit)?;
            None
        }
    };
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
    let metadata = asked.metadata(fit)?;
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
