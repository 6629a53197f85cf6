//! Chat callers on Amazon Bedrock: the request, as Converse takes it.
//!
//! The model and whether the answer is streamed stand in the path; see `stack/admit/translation.rs`.

mod answer;
mod said;
mod stream;

use super::from_chat::{Asked, Choice, Form, Function, read};
use super::read::{Members, Raw};
use super::write::Writer;
use super::{Fit, Said, To, Unfit};
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
    let asked = read(members, fit, said, |_, _, _| Ok(false))?;
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
    let tokens = asked.cap_told(to, said)?;
    out.key("inferenceConfig").object(|out| {
        out.key(to.output_cap_field).number(tokens);
        asked.temperature(fit, out)?;
        if let Some(top_p) = asked.top_p {
            out.key("topP").raw(top_p);
        }
        asked.stop("stopSequences", out)
    })
}

fn tools(asked: &Asked<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    let functions = asked.functions(fit)?;
    if functions.is_empty() {
        return Ok(());
    }
    if asked.parallel == Some(false) {
        fit.cannot("parallel_tool_calls")?;
    }
    let choice = match asked.tool_choice {
        Some(choice) => Choice::of(choice, fit)?,
        None => None,
    };
    if choice == Some(Choice::None) {
        // The target has no such word: tools that must not be used are not declared, unless what was said
        // rests on them.
        if !has_tools(asked.messages) {
            return Ok(());
        }
        fit.cannot_for("tool_choice.none", ": tools were used before")?;
    }
    out.key("toolConfig").object(|out| {
        out.key("tools").array(|out| {
            functions
                .iter()
                .try_for_each(|function| declaration(function, fit, out))
        })?;
        match choice {
            None | Some(Choice::None) => Ok(()),
            Some(Choice::Auto) => kind("auto", out),
            Some(Choice::Any) => kind("any", out),
            Some(Choice::Named(name)) => out.key("toolChoice").object(|out| {
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

fn declaration(function: &Function<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    out.object(|out| out.key("toolSpec").object(|out| spec(function, fit, out)))?;
    cache_point(mark_of(&function.tool), out);
    Ok(())
}

fn spec(function: &Function<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    let mut schema = None;
    for (name, value) in function.said.iter() {
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
    for (name, value) in function.tool.iter() {
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
    let (declared, schema) = match asked.form()? {
        Form::Open => return Ok(()),
        Form::Schema { declared, schema } => (declared, schema),
        Form::Other(kind) => return Form::cannot(&kind, fit),
    };
    out.key("outputConfig").object(|out| {
        out.key("textFormat").object(|out| {
            out.key("type").string("json_schema");
            out.key("structure").object(|out| {
                out.key("jsonSchema").object(|out| {
                    out.key("schema").string(schema.json());
                    for name in ["name", "description"] {
                        if let Some(value) = declared.get(name).filter(|value| !value.is_nothing())
                        {
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
    let metadata = asked.metadata(fit)?;
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
