//! Changing a request: at its byte ranges, everything else as it came.

use super::bedrock;
use crate::dialect::{Call, Dialect, Edits};
use crate::json::{Change, quoted, splice};
use bytes::Bytes;
use std::borrow::Cow;
use std::ops::Range;

/// The body of `call` with `edits`; without any, the very same bytes. A model that only the path
/// names is put in, for the target reads it in the body.
///
/// Every output cap present is set to the number told, and the field named is added unless the
/// target is told already by one that it takes for the same. A cap that is null says nothing and
/// stays, but for the one named.
#[must_use]
pub fn rewrite(call: &Call, edits: &Edits) -> Bytes {
    let mut changes = Vec::new();
    let model = edits.model.as_deref();
    if call.dialect.is_named_by_path() {
        // The target hears the model in the path alone.
    } else if call.model_at.is_empty() {
        let model = quoted(model.unwrap_or(&call.model));
        changes.push(insert(call, &format!("\"model\":{model}")));
    } else if call.body[call.model_at.clone()] == *b"null" {
        let model = quoted(model.unwrap_or(&call.model));
        changes.push(replace(&call.model_at, model));
    } else if let Some(model) = model.filter(|model| *model != call.model) {
        changes.push(replace(&call.model_at, quoted(model)));
    }
    let told = edits.output_cap.map(|(_, tokens)| tokens);
    match edits.only_cap.and_then(|field| renamed(call, field, told)) {
        Some(change) => changes.push(change),
        None => {
            if let Some((field, tokens)) = edits.output_cap {
                output_cap(call, field, tokens, &mut changes);
            }
        }
    }
    if let Some([prompt, completion]) = edits.max_price {
        let price = format!("{{\"prompt\":{prompt},\"completion\":{completion}}}");
        changes.push(insert(
            call,
            &format!("\"provider\":{{\"max_price\":{price}}}"),
        ));
    }
    if edits.include_usage && call.stream && !call.usage_asked {
        include_usage(call, &mut changes);
    }
    if edits.no_tools && call.places.has_tools {
        no_tools(call, &mut changes);
    } else if edits.no_parallel_tools && call.places.has_tools {
        no_parallel_tools(call, &mut changes);
    }
    if let (Some(tokens), Some(budget)) = (edits.task_budget, &call.places.task_budget) {
        changes.push(match &budget.remaining {
            Some(value) => replace(value, tokens.to_string()),
            None => insert_into(call, &budget.at, &format!("\"remaining\":{tokens}")),
        });
    }
    if let Some(text) = &edits.notice {
        notice(call, text, &mut changes);
    }
    if edits.strip_foreign {
        let cut = |at: &Range<usize>| replace(at, "");
        changes.extend(call.ids.foreign.iter().map(cut));
    }
    if call.model_at.is_empty() && !call.dialect.is_named_by_path() {
        without_last_comma(call, edits, &mut changes);
    }
    splice(&call.body, changes)
}

/// Fields that every server of the dialect honours; others are aliases that some honour, so that
/// they never count as told.
pub(super) fn is_standard(dialect: Dialect, field: &str) -> bool {
    match dialect {
        Dialect::OpenaiChat => matches!(field, "max_tokens" | "max_completion_tokens"),
        Dialect::OpenaiResponses => field == "max_output_tokens",
        Dialect::OpenaiCompletions | Dialect::AnthropicMessages => field == "max_tokens",
        Dialect::Gemini => field == "maxOutputTokens",
        Dialect::Bedrock => field == "maxTokens",
        Dialect::OpenaiEmbeddings => false,
    }
}

/// True if a target that honours `field` is told a number by the fields present. Targets named by
/// `max_completion_tokens` take `max_tokens` for it, and refuse a request that has both.
pub(super) fn is_told(call: &Call, field: &str) -> bool {
    call.output_caps.iter().any(|cap| {
        let same = cap.name == field
            || (field == "max_completion_tokens" && cap.name == "max_tokens")
                && call.dialect == Dialect::OpenaiChat;
        same && cap.tokens.is_some()
    })
}

fn replace<'a>(at: &Range<usize>, with: impl Into<Cow<'a, str>>) -> Change<'a> {
    Change {
        at: at.clone(),
        with: with.into(),
    }
}

/// Puts a member in at the front of the body.
fn insert(call: &Call, member: &str) -> Change<'static> {
    let at = call.places.members;
    replace(&(at..at), format!("{member},"))
}

/// A body whose model stands in the path may say nothing else: then what was put in last has no
/// member behind it.
fn without_last_comma(call: &Call, edits: &Edits, changes: &mut [Change<'_>]) {
    let members = call.places.members;
    let cut = call.ids.foreign.first().filter(|_| edits.strip_foreign);
    let from = cut.filter(|cut| call.body[members..cut.start].trim_ascii().is_empty());
    let rest = &call.body[from.map_or(members, |cut| cut.end)..];
    if !rest.trim_ascii_start().starts_with(b"}") {
        return;
    }
    let put_in = |change: &&mut Change<'_>| change.at == (members..members);
    if let Some(last) = changes.iter_mut().rfind(put_in) {
        last.with.to_mut().pop();
    }
}

/// Puts a member in at the front of the object at `at`.
fn insert_into(call: &Call, at: &Range<usize>, member: &str) -> Change<'static> {
    let inside = &call.body[at.start + 1..at.end - 1];
    let empty = inside.iter().all(u8::is_ascii_whitespace);
    let comma = if empty { "" } else { "," };
    replace(&(at.start + 1..at.start + 1), format!("{member}{comma}"))
}

fn is_object(call: &Call, at: &Range<usize>) -> bool {
    call.body[at.clone()].starts_with(b"{")
}

fn output_cap(call: &Call, field: &'static str, tokens: u64, changes: &mut Vec<Change<'_>>) {
    let mut named = false;
    for cap in &call.output_caps {
        if cap.tokens.is_none() && (cap.name != field || is_told(call, field)) {
            continue;
        }
        named |= cap.name == field;
        if cap.tokens != Some(tokens) {
            changes.push(replace(&cap.at, tokens.to_string()));
        }
    }
    if !named && !is_told(call, field) {
        let member = format!("\"{field}\":{tokens}");
        changes.push(match (call.dialect, call.places.generation) {
            (Dialect::Gemini, Some((at, empty))) => {
                let comma = if empty { "" } else { "," };
                replace(&(at..at), format!("{member}{comma}"))
            }
            (Dialect::Gemini, None) => insert(call, &format!("\"generationConfig\":{{{member}}}")),
            _ => insert(call, &member),
        });
    }
}

/// The one output cap present under the name that the target hears, if it has another.
fn renamed(call: &Call, field: &str, told: Option<u64>) -> Option<Change<'static>> {
    let [cap] = call.output_caps.as_slice() else {
        return None;
    };
    let tokens = told.or(cap.tokens).filter(|_| cap.name != field)?;
    let before = call.body.get(..cap.at.start)?.trim_ascii_end();
    let before = before.strip_suffix(b":")?.trim_ascii_end();
    // A name written with escapes stays as it is.
    let key = format!("\"{}\"", cap.name);
    let from = before.strip_suffix(key.as_bytes())?.len();
    let member = format!("\"{field}\":{tokens}");
    Some(replace(&(from..cap.at.end), member))
}

fn include_usage(call: &Call, changes: &mut Vec<Change<'_>>) {
    const ASK: &str = "\"include_usage\":true";
    let places = &call.places;
    changes.push(match (&places.include_usage, &places.stream_options) {
        (Some(value), _) => replace(value, "true"),
        (None, Some(options)) if is_object(call, options) => insert_into(call, options, ASK),
        (None, Some(null)) => replace(null, format!("{{{ASK}}}")),
        (None, None) => insert(call, &format!("\"stream_options\":{{{ASK}}}")),
    });
}

/// True if something can be said to the model behind the call's last message. Not where that is the
/// beginning of the answer itself (a prefilled one), nor in dialects without messages.
#[must_use]
pub fn takes_notice(call: &Call) -> bool {
    #[derive(serde::Deserialize)]
    struct Role<'a> {
        #[serde(borrow, default)]
        role: Option<Cow<'a, str>>,
    }
    let Some(last) = call.chain.links.last() else {
        return false;
    };
    let last = &call.body[last.at.clone()];
    match call.dialect {
        Dialect::OpenaiResponses if last.starts_with(b"\"") => true,
        Dialect::OpenaiChat | Dialect::OpenaiResponses | Dialect::AnthropicMessages => {
            let role = serde_json::from_slice::<Role<'_>>(last).ok();
            role.is_some_and(|said| said.role.as_deref() != Some("assistant"))
        }
        Dialect::Gemini => {
            let role = serde_json::from_slice::<Role<'_>>(last).ok();
            role.is_some_and(|said| said.role.as_deref() != Some("model"))
        }
        Dialect::Bedrock => bedrock::room_behind(call).is_some(),
        Dialect::OpenaiEmbeddings | Dialect::OpenaiCompletions => false,
    }
}

fn notice(call: &Call, text: &str, changes: &mut Vec<Change<'_>>) {
    let Some(last) = call.chain.links.last().filter(|_| takes_notice(call)) else {
        return;
    };
    if let Some(at) = bedrock::room_behind(call) {
        let block = format!(",{{\"text\":{}}}", quoted(text));
        changes.push(replace(&(at..at), block));
        return;
    }
    let said = match call.dialect {
        Dialect::Gemini => format!(
            ",{{\"role\":\"user\",\"parts\":[{{\"text\":{}}}]}}",
            quoted(text)
        ),
        _ => format!(",{{\"role\":\"user\",\"content\":{}}}", quoted(text)),
    };
    let (start, end) = (last.at.start, last.at.end);
    if call.body[last.at.clone()].starts_with(b"\"") {
        // The only message is a text of its own: it becomes the first of a list.
        changes.push(replace(&(start..start), "[{\"role\":\"user\",\"content\":"));
        changes.push(replace(&(end..end), format!("}}{said}]")));
    } else {
        changes.push(replace(&(end..end), said));
    }
}

fn no_tools(call: &Call, changes: &mut Vec<Change<'_>>) {
    let none = match call.dialect {
        Dialect::OpenaiChat | Dialect::OpenaiResponses => "\"none\"",
        Dialect::AnthropicMessages => "{\"type\":\"none\"}",
        Dialect::Gemini => "{\"functionCallingConfig\":{\"mode\":\"NONE\"}}",
        // Bedrock has no word for it.
        Dialect::OpenaiEmbeddings | Dialect::OpenaiCompletions | Dialect::Bedrock => return,
    };
    changes.push(match &call.places.tool_choice {
        Some(value) => replace(value, none),
        None if call.dialect == Dialect::Gemini => insert(call, &format!("\"toolConfig\":{none}")),
        None => insert(call, &format!("\"tool_choice\":{none}")),
    });
}

fn no_parallel_tools(call: &Call, changes: &mut Vec<Change<'_>>) {
    const DISABLE: &str = "\"disable_parallel_tool_use\":true";
    let places = &call.places;
    match call.dialect {
        Dialect::OpenaiChat | Dialect::OpenaiResponses => {
            changes.push(match &places.parallel_tool_calls {
                Some(value) => replace(value, "false"),
                None => insert(call, "\"parallel_tool_calls\":false"),
            });
        }
        Dialect::AnthropicMessages => {
            let auto = || format!("{{\"type\":\"auto\",{DISABLE}}}");
            match (&places.disable_parallel, &places.tool_choice) {
                _ if places.tool_choice.is_some()
                    && !places.tool_choice_open
                    && places
                        .tool_choice
                        .as_ref()
                        .is_some_and(|at| is_object(call, at)) => {}
                (Some(value), _) => changes.push(replace(value, "true")),
                (None, Some(choice)) if is_object(call, choice) => {
                    changes.push(insert_into(call, choice, DISABLE));
                }
                (None, Some(null)) => changes.push(replace(null, auto())),
                (None, None) => {
                    changes.push(insert(call, &format!("\"tool_choice\":{}", auto())));
                }
            }
        }
        // The others have no word for it.
        Dialect::OpenaiEmbeddings
        | Dialect::OpenaiCompletions
        | Dialect::Gemini
        | Dialect::Bedrock => {}
    }
}
