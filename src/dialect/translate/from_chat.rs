//! Chat requests, read once for every target: which members were said, and what of them is the same
//! wherever the call goes. What a target makes of it, and refuses of it, stands in the file of its pair.

pub(super) mod said;

use super::read::{Members, Raw};
use super::write::Writer;
use super::{Fit, Said, To, Unfit, malformed, objects};
use std::borrow::Cow;

/// What a thinking budget leaves for the answer itself where the caller named no cap, tokens.
const BESIDE_THINKING: u64 = 4_096;

/// The members of a chat request that a translation reads.
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

/// Reads the members of a request in their order. `own` is asked first, and takes those that the
/// target has rules of its own for: it says whether it has.
///
/// # Errors
/// The first that has no place, or is not of its form.
pub(super) fn read<'a>(
    members: &Members<'a>,
    fit: &mut Fit<'_>,
    said: &mut Said,
    mut own: impl FnMut(&str, Raw<'a>, &mut Fit<'_>) -> Result<bool, Unfit>,
) -> Result<Asked<'a>, Unfit> {
    let mut asked = Asked::default();
    for (name, value) in members.iter() {
        if own(name, value, fit)? {
            continue;
        }
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

impl<'a> Asked<'a> {
    /// The output cap that the caller named, tokens: the lower one of two.
    pub(super) fn cap(&self) -> Result<Option<u64>, Unfit> {
        let mut told = None;
        for cap in self.caps.into_iter().flatten() {
            let tokens = cap.whole().ok_or_else(|| malformed("max_tokens"))?;
            told = Some(told.map_or(tokens, |told: u64| told.min(tokens)));
        }
        Ok(told)
    }

    /// The output cap for a target that must be told one, tokens.
    pub(super) fn cap_told(&self, to: &To<'_>, said: &mut Said) -> Result<u64, Unfit> {
        let told = self.cap()?;
        if told.is_none() {
            let thinking = self.thinking.and_then(Raw::members);
            let budget = thinking.and_then(|thinking| thinking.get("budget_tokens")?.whole());
            let least = budget.map_or(0, |budget| budget.saturating_add(BESIDE_THINKING));
            said.output_cap = Some(to.output_when_unasked.max(least));
        }
        Ok(told.or(said.output_cap).unwrap_or(to.output_when_unasked))
    }

    /// Writes the temperature for a target that takes 0 to 1.
    pub(super) fn temperature(&self, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
        if let Some(temperature) = self.temperature {
            if temperature.number().is_some_and(|degrees| degrees > 1.0) {
                fit.cannot_for("temperature", ": the target takes 0 to 1")?;
            } else {
                out.key("temperature").raw(temperature);
            }
        }
        Ok(())
    }

    /// Writes what the answer is to stop at, always a list, under the target's name for it.
    pub(super) fn stop(&self, name: &str, out: &mut Writer) -> Result<(), Unfit> {
        match self.stop {
            Some(stop) if stop.is_string() => out.key(name).array(|out| {
                out.raw(stop);
                Ok(())
            }),
            Some(stop) if stop.is_array() => {
                out.key(name).raw(stop);
                Ok(())
            }
            Some(_) => Err(malformed("stop")),
            None => Ok(()),
        }
    }

    /// The declared tools that are functions.
    pub(super) fn functions(&self, fit: &mut Fit<'_>) -> Result<Vec<Function<'a>>, Unfit> {
        let mut functions = Vec::new();
        if let Some(tools) = self.tools {
            for tool in objects(tools, "tools")? {
                functions.extend(Function::of(tool?, fit)?);
            }
        }
        Ok(functions)
    }

    /// The form that the answer must have.
    pub(super) fn form(&self) -> Result<Form<'a>, Unfit> {
        let Some(format) = self.format else {
            return Ok(Form::Open);
        };
        let wrong = || malformed("response_format");
        let format = format.members().ok_or_else(wrong)?;
        match format.text("type") {
            None => Ok(Form::Open),
            Some(kind) if kind == "text" => Ok(Form::Open),
            Some(kind) if kind == "json_schema" => {
                let declared = format.get("json_schema").and_then(Raw::members);
                let declared = declared.ok_or_else(wrong)?;
                let schema = declared.get("schema").ok_or_else(wrong)?;
                Ok(Form::Schema { declared, schema })
            }
            Some(kind) => Ok(Form::Other(kind)),
        }
    }

    /// `metadata`, for a target that takes the id of a user out of it.
    pub(super) fn metadata(&self, fit: &mut Fit<'_>) -> Result<Members<'a>, Unfit> {
        let metadata = self
            .metadata
            .map(|metadata| metadata.members().ok_or_else(|| malformed("metadata")));
        let metadata = metadata.transpose()?.unwrap_or_default();
        for (name, _) in metadata.iter() {
            // Bursar's own are read and go no further.
            if !matches!(name, "user_id" | "user_task_id" | "agent_id" | "agent_role") {
                fit.cannot("metadata")?;
            }
        }
        Ok(metadata)
    }
}

/// A declared function: the tool, and what is said of it inside.
pub(super) struct Function<'a> {
    pub(super) tool: Members<'a>,
    pub(super) said: Members<'a>,
}

impl<'a> Function<'a> {
    /// The function that a tool is; `None` of another kind that is left out.
    pub(super) fn of(tool: Members<'a>, fit: &mut Fit<'_>) -> Result<Option<Self>, Unfit> {
        match tool.get("function").and_then(Raw::members) {
            Some(said) => Ok(Some(Self { tool, said })),
            None => {
                let kind = tool.text("type").unwrap_or_default();
                fit.cannot(&format!("tools.{kind}"))?;
                Ok(None)
            }
        }
    }
}

/// Which tools are to be used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice<'a> {
    Auto,
    Any,
    None,
    /// The one of this name.
    Named(Raw<'a>),
}

impl<'a> Choice<'a> {
    /// What `tool_choice` says; `None` if it is of a kind that is left out.
    pub(super) fn of(choice: Raw<'a>, fit: &mut Fit<'_>) -> Result<Option<Self>, Unfit> {
        match choice.inside() {
            Some("auto") => return Ok(Some(Self::Auto)),
            Some("none") => return Ok(Some(Self::None)),
            Some("required") => return Ok(Some(Self::Any)),
            Some(_) => return Err(malformed("tool_choice")),
            None => {}
        }
        let choice = choice.members().ok_or_else(|| malformed("tool_choice"))?;
        let function = choice.get("function").and_then(Raw::members);
        match function.and_then(|function| function.get("name")) {
            Some(name) => Ok(Some(Self::Named(name))),
            None => {
                let kind = choice.text("type").unwrap_or_default();
                fit.cannot(&format!("tool_choice.{kind}"))?;
                Ok(None)
            }
        }
    }
}

/// The form that an answer must have.
pub(super) enum Form<'a> {
    /// None, or text.
    Open,
    /// As a schema has it: what is declared of it, the schema, which is in there, too.
    Schema {
        declared: Members<'a>,
        schema: Raw<'a>,
    },
    /// Of another kind.
    Other(Cow<'a, str>),
}

impl Form<'_> {
    /// A kind that has no place.
    pub(super) fn cannot(kind: &str, fit: &mut Fit<'_>) -> Result<(), Unfit> {
        fit.cannot(&format!("response_format.{kind}"))
    }
}
