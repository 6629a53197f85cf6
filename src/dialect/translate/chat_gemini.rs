//! Chat callers on Google's models: the request.

mod answer;
mod said;
mod stream;

use super::from_chat::{Asked, Choice, Form, Function, read};
use super::read::{Members, Raw};
use super::write::Writer;
use super::{Fit, Said, To, Unfit, malformed, objects};
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

/// Members that other targets have a place for, and this one has not.
const FOREIGN: [&str; 5] = [
    "cache_control",
    "metadata",
    "safety_identifier",
    "use_beam_search",
    "user",
];

/// Writes the members of a `generateContent` request.
pub(super) fn request(
    members: &Members<'_>,
    to: &To<'_>,
    fit: &mut Fit<'_>,
    out: &mut Writer,
    said: &mut Said,
) -> Result<(), Unfit> {
    // Those that leave under another name, with that name.
    let mut sampling = Vec::new();
    let asked = read(members, fit, said, |name, value, fit| {
        match (sampled(name), name) {
            (Some(theirs), _) => sampling.push((theirs, value)),
            (None, name) if FOREIGN.contains(&name) && !value.is_nothing() => fit.cannot(name)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    if let Some(messages) = asked.messages {
        said::messages(messages, fit, out)?;
    }
    let declared = tools(&asked, fit, out)?;
    tool_choice(&asked, declared, fit, out)?;
    out.key("generationConfig").object(|out| {
        if let Some(tokens) = asked.cap()? {
            out.key(to.output_cap_field).number(tokens);
        }
        for (name, value) in sampling {
            out.key(name).raw(value);
        }
        asked.stop("stopSequences", out)?;
        form(&asked, fit, out)?;
        thinking(&asked, to, fit, out)
    })?;
    service_tier(&asked, fit, out)
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
    for tool in objects(tools, "tools")? {
        let Some(function) = Function::of(tool?, fit)? else {
            continue;
        };
        for (name, value) in function.tool.iter() {
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
        for (name, value) in function.said.iter() {
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
    let choice = match asked.tool_choice {
        None => Some(Choice::Auto),
        Some(choice) => Choice::of(choice, fit)?,
    };
    let (mode, named) = match choice {
        // Of a kind that is left out.
        None => return Ok(()),
        Some(Choice::Auto) => ("AUTO", None),
        Some(Choice::None) => ("NONE", None),
        Some(Choice::Any) => ("ANY", None),
        Some(Choice::Named(name)) => ("ANY", Some(name)),
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
    match asked.form()? {
        Form::Open => {}
        Form::Schema { schema, .. } => {
            out.key("responseMimeType").string("application/json");
            out.key("responseJsonSchema").raw(schema);
        }
        Form::Other(kind) if kind == "json_object" => {
            out.key("responseMimeType").string("application/json");
        }
        Form::Other(kind) => Form::cannot(&kind, fit)?,
    }
    Ok(())
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
