//! Chat callers on Google's models: the request.

mod answer;
mod said;
mod stream;

use super::read::{Members, Raw};
use super::write::Writer;
use super::{Fit, Said, To, Unfit, malformed};
pub(super) use answer::answer;
pub(super) use stream::Voice;

/// What is left out always for this target, beside what is for all: it has no place for them, and does
/// the same without.
pub(super) const HINTS: &[&str] = &[
    "filename",
    "prompt_cache_breakpoint",
    "safety_identifier",
    "user",
];

/// The members of a chat request that the translation reads.
#[derive(Default)]
struct Asked<'a> {
    messages: Option<Raw<'a>>,
    caps: [Option<Raw<'a>>; 2],
    /// Those that leave under another name, with that name.
    sampling: Vec<(&'static str, Raw<'a>)>,
    stop: Option<Raw<'a>>,
    tools: Option<Raw<'a>>,
    tool_choice: Option<Raw<'a>>,
    parallel: Option<bool>,
    format: Option<Raw<'a>>,
    effort: Option<Raw<'a>>,
    thinking: Option<Raw<'a>>,
    service_tier: Option<Raw<'a>>,
}

/// Writes the members of a `generateContent` request.
pub(super) fn request(
    members: &Members<'_>,
    to: &To<'_>,
    fit: &mut Fit<'_>,
    out: &mut Writer,
    said: &mut Said,
) -> Result<(), Unfit> {
    let asked = read(members, fit, said)?;
    if let Some(messages) = asked.messages {
        said::messages(messages, fit, out)?;
    }
    let declared = tools(&asked, fit, out)?;
    tool_choice(&asked, declared, fit, out)?;
    out.key("generationConfig").object(|out| {
        output_cap(&asked, to, out)?;
        for (name, value) in &asked.sampling {
            out.key(name).raw(*value);
        }
        stop(&asked, out)?;
        form(&asked, fit, out)?;
        thinking(&asked, to, fit, out)
    })?;
    service_tier(&asked, fit, out)
}

fn read<'a>(members: &Members<'a>, fit: &mut Fit<'_>, said: &mut Said) -> Result<Asked<'a>, Unfit> {
    let mut asked = Asked::default();
    for (name, value) in members.iter() {
        let slot = match name {
            // The path says both.
            "model" | "stream" => continue,
            "messages" => &mut asked.messages,
            "max_completion_tokens" => &mut asked.caps[0],
            "max_tokens" => &mut asked.caps[1],
            "stop" => &mut asked.stop,
            "tools" => &mut asked.tools,
            "tool_choice" => &mut asked.tool_choice,
            "response_format" => &mut asked.format,
            "reasoning_effort" => &mut asked.effort,
            "thinking" => &mut asked.thinking,
            "service_tier" => &mut asked.service_tier,
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
            "logprobs" | "store" if value.flag() == Some(false) => continue,
            "modalities" if is_text_only(value) => continue,
            name => {
                match sampled(name) {
                    Some(theirs) => asked.sampling.push((theirs, value)),
                    None if value.is_nothing() => {}
                    None => fit.cannot(name)?,
                }
                continue;
            }
        };
        *slot = Some(value);
    }
    Ok(asked)
}

/// What is a number on both sides.
fn sampled(name: &str) -> Option<&'static str> {
    Some(match name {
        "temperature" => "temperature",
        "top_p" => "topP",
        "top_k" => "topK",
        "seed" => "seed",
        "frequency_penalty" => "frequencyPenalty",
        "presence_penalty" => "presencePenalty",
        _ => return None,
    })
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

fn output_cap(asked: &Asked<'_>, to: &To<'_>, out: &mut Writer) -> Result<(), Unfit> {
    let mut told = None;
    for cap in asked.caps.into_iter().flatten() {
        let tokens = cap.whole().ok_or_else(|| malformed("max_tokens"))?;
        told = Some(told.map_or(tokens, |told: u64| told.min(tokens)));
    }
    if let Some(tokens) = told {
        out.key(to.output_cap_field).number(tokens);
    }
    Ok(())
}

fn stop(asked: &Asked<'_>, out: &mut Writer) -> Result<(), Unfit> {
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
}

/// Which tools there are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Declared {
    None,
    Loose,
    /// The arguments of some must be as declared.
    Strict,
}

fn tools(asked: &Asked<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<Declared, Unfit> {
    let Some(tools) = asked.tools else {
        return Ok(Declared::None);
    };
    let mut functions = Vec::new();
    for tool in tools.items().ok_or_else(|| malformed("tools"))? {
        let tool = tool.members().ok_or_else(|| malformed("tools"))?;
        let Some(function) = tool.get("function").and_then(Raw::members) else {
            let kind = tool.text("type").unwrap_or_default();
            fit.cannot(&format!("tools.{kind}"))?;
            continue;
        };
        for (name, value) in tool.iter() {
            match name {
                "type" | "function" => {}
                "cache_control" => fit.cannot(name)?,
                _ if value.is_nothing() || value.flag() == Some(false) => {}
                name => fit.cannot(&format!("tools.{name}"))?,
            }
        }
        functions.push(function);
    }
    if functions.is_empty() {
        return Ok(Declared::None);
    }
    let mut declared = Declared::Loose;
    out.key("tools").open('[');
    out.open('{');
    out.key("functionDeclarations").open('[');
    for function in functions {
        out.open('{');
        for (name, value) in function.iter() {
            match name {
                "name" | "description" => out.key(name).raw(value),
                "parameters" => out.key("parametersJsonSchema").raw(value),
                "strict" if value.flag() == Some(true) => declared = Declared::Strict,
                "strict" => {}
                name => fit.cannot(&format!("tools.{name}"))?,
            }
        }
        out.close('}');
    }
    for bracket in [']', '}', ']'] {
        out.close(bracket);
    }
    Ok(declared)
}

fn tool_choice(
    asked: &Asked<'_>,
    declared: Declared,
    fit: &mut Fit<'_>,
    out: &mut Writer,
) -> Result<(), Unfit> {
    if declared == Declared::None {
        return Ok(());
    }
    if asked.parallel == Some(false) {
        fit.cannot("parallel_tool_calls")?;
    }
    let mut named = None;
    let mode = match asked.tool_choice {
        None => "AUTO",
        Some(choice) => match choice.inside() {
            Some("auto") => "AUTO",
            Some("none") => "NONE",
            Some("required") => "ANY",
            Some(_) => return Err(malformed("tool_choice")),
            None => {
                let choice = choice.members().ok_or_else(|| malformed("tool_choice"))?;
                let function = choice.get("function").and_then(Raw::members);
                named = function.and_then(|function| function.get("name"));
                if named.is_none() {
                    let kind = choice.text("type").unwrap_or_default();
                    return fit.cannot(&format!("tool_choice.{kind}"));
                }
                "ANY"
            }
        },
    };
    let mode = match (mode, declared) {
        ("AUTO", Declared::Strict) => "VALIDATED",
        ("AUTO", _) if asked.tool_choice.is_none() => return Ok(()),
        (mode, _) => mode,
    };
    out.key("toolConfig").object(|out| {
        out.key("functionCallingConfig").object(|out| {
            out.key("mode").string(mode);
            if let Some(name) = named {
                out.key("allowedFunctionNames").array(|out| {
                    out.raw(name);
                    Ok::<(), Unfit>(())
                })?;
            }
            Ok(())
        })
    })
}

fn form(asked: &Asked<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    let Some(format) = asked.format else {
        return Ok(());
    };
    let format = format
        .members()
        .ok_or_else(|| malformed("response_format"))?;
    match format.text("type").as_deref() {
        Some("text") | None => Ok(()),
        Some("json_object") => {
            out.key("responseMimeType").string("application/json");
            Ok(())
        }
        Some("json_schema") => {
            let form = format.get("json_schema").and_then(Raw::members);
            let schema = form.and_then(|form| form.get("schema"));
            let schema = schema.ok_or_else(|| malformed("response_format"))?;
            out.key("responseMimeType").string("application/json");
            out.key("responseJsonSchema").raw(schema);
            Ok(())
        }
        Some(kind) => fit.cannot(&format!("response_format.{kind}")),
    }
}

/// Models up to 2.5 take a budget of tokens, later ones a level; the budgets are those of Google's own
/// endpoint for OpenAI's clients: <https://ai.google.dev/gemini-api/docs/openai#thinking>.
fn thinking(
    asked: &Asked<'_>,
    to: &To<'_>,
    fit: &mut Fit<'_>,
    out: &mut Writer,
) -> Result<(), Unfit> {
    let budgets = ["gemini-1", "gemini-2"];
    let by_budget = budgets.iter().any(|name| to.model.contains(name));
    let (budget, level) = match asked.effort.map(|effort| effort.inside()) {
        None => (None, None),
        Some(Some("none")) => (Some(0), Some("MINIMAL")),
        Some(Some("minimal")) => (Some(1_024), Some("MINIMAL")),
        Some(Some("low")) => (Some(1_024), Some("LOW")),
        Some(Some("medium")) => (Some(8_192), Some("MEDIUM")),
        Some(Some("high" | "xhigh" | "max")) => (Some(24_576), Some("HIGH")),
        Some(_) => return Err(malformed("reasoning_effort")),
    };
    let mut shown = false;
    let (mut budget, mut level) = match by_budget {
        true => (budget, None),
        false => (None, level),
    };
    if let Some(thinking) = asked.thinking {
        let thinking = thinking.members().ok_or_else(|| malformed("thinking"))?;
        let own = match thinking.text("type").as_deref() {
            Some("enabled") => thinking.get("budget_tokens").and_then(Raw::whole),
            Some("disabled") => Some(0),
            _ => None,
        };
        shown = thinking.text("type").as_deref() != Some("disabled");
        if own.is_some() {
            if asked.effort.is_some() {
                fit.cannot("reasoning_effort")?;
            }
            (budget, level) = (own, None);
        }
    }
    if budget.is_none() && level.is_none() && !shown {
        return Ok(());
    }
    out.key("thinkingConfig").object(|out| {
        if let Some(budget) = budget {
            out.key("thinkingBudget").number(budget);
        }
        if let Some(level) = level {
            out.key("thinkingLevel").string(level);
        }
        if shown {
            out.key("includeThoughts").json("true");
        }
        Ok(())
    })
}

fn service_tier(asked: &Asked<'_>, fit: &mut Fit<'_>, out: &mut Writer) -> Result<(), Unfit> {
    match asked.service_tier.map(Raw::inside) {
        None | Some(Some("auto")) => {}
        Some(Some("default")) => out.key("serviceTier").string("standard"),
        Some(Some(tier @ ("flex" | "priority"))) => out.key("serviceTier").string(tier),
        Some(_) => fit.cannot("service_tier")?,
    }
    Ok(())
}
