//! What calls, answers and tools say, in the words of whoever asks for it: OpenTelemetry's parts as JSON,
//! OpenInference's numbered messages, and the form of chat messages that Langfuse shows.

use super::{ATTRIBUTES, Style};
use crate::config::Vocabulary;
use crate::dialect::Dialect;
use crate::dialect::content::{Message, Part, Tool};
use crate::traces::content::{Content, ToolContent};
use crate::traces::wire::Wire;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};

const JSON: &str = "application/json";
const TEXT: &str = "text/plain";

/// What a call and its answer say.
pub(super) fn call(content: &Content, dialect: Dialect, style: Style, out: &mut Wire) {
    let asked = &content.asked;
    let output = &content.answered.output;
    match style.vocabulary {
        Vocabulary::OpenInference if dialect == Dialect::OpenaiEmbeddings => {
            let texts = asked.input.iter().map(|message| text_of(&message.parts));
            for (number, text) in texts.enumerate() {
                let name = format!("embedding.embeddings.{number}.embedding.text");
                out.text(ATTRIBUTES, &name, &text);
            }
            value(
                out,
                "input",
                &chat(&lines(&asked.instructions, &asked.input)),
            );
        }
        Vocabulary::OpenInference => {
            let input = lines(&asked.instructions, &asked.input);
            let output = lines(&[], output);
            numbered(out, "llm.input_messages", &input);
            numbered(out, "llm.output_messages", &output);
            value(out, "input", &chat(&input));
            value(out, "output", &chat(&output));
            for (number, tool) in asked.tools.iter().enumerate() {
                let name = format!("llm.tools.{number}.tool.json_schema");
                let declared = Declared {
                    kind: &tool.kind,
                    function: described(tool, None),
                };
                out.text(ATTRIBUTES, &name, &written(&declared));
            }
        }
        Vocabulary::GenAi => {
            let parts: Vec<Said<'_>> = asked.instructions.iter().map(part).collect();
            list(out, "gen_ai.system_instructions", &parts);
            let input: Vec<_> = asked
                .input
                .iter()
                .map(|said| message(said, false))
                .collect();
            list(out, "gen_ai.input.messages", &input);
            let output: Vec<_> = output.iter().map(|said| message(said, true)).collect();
            list(out, "gen_ai.output.messages", &output);
            definitions(out, &asked.tools);
        }
        Vocabulary::Langfuse => {
            let input = chat(&lines(&asked.instructions, &asked.input));
            list(out, "langfuse.observation.input", &input);
            list(
                out,
                "langfuse.observation.output",
                &chat(&lines(&[], output)),
            );
            definitions(out, &asked.tools);
        }
    }
    if content.is_cut() {
        out.flag(ATTRIBUTES, "bursar.content_truncated", true);
    }
}

/// What a tool was told, and what it gave.
pub(super) fn tool(content: &ToolContent, style: Style, out: &mut Wire) {
    let names = match style.vocabulary {
        Vocabulary::OpenInference => ["input.value", "output.value"],
        Vocabulary::GenAi => ["gen_ai.tool.call.arguments", "gen_ai.tool.call.result"],
        Vocabulary::Langfuse => ["langfuse.observation.input", "langfuse.observation.output"],
    };
    let texts = [Some(&content.arguments), content.result.as_ref()];
    for (name, text) in names.into_iter().zip(texts) {
        let Some(text) = text.filter(|text| !text.is_empty()) else {
            continue;
        };
        out.text(ATTRIBUTES, name, text);
        if let (Vocabulary::OpenInference, Some(side)) =
            (style.vocabulary, name.strip_suffix("value"))
        {
            let is_json = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
            let kind = if is_json { JSON } else { TEXT };
            out.text(ATTRIBUTES, &format!("{side}mime_type"), kind);
        }
    }
    if content.is_cut {
        out.flag(ATTRIBUTES, "bursar.content_truncated", true);
    }
}

/// A list as JSON, unless there is nothing in it.
fn list(out: &mut Wire, name: &str, values: &[impl Serialize]) {
    if !values.is_empty() {
        out.text(ATTRIBUTES, name, &written(values));
    }
}

fn written(value: &(impl Serialize + ?Sized)) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

// === OpenTelemetry ===

#[derive(Serialize)]
struct Told<'a> {
    role: &'static str,
    parts: Vec<Said<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finish_reason: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Said<'a> {
    Text {
        content: &'a str,
    },
    ToolCall {
        id: Option<&'a str>,
        name: &'a str,
        arguments: Written<'a>,
    },
    ToolCallResponse {
        id: Option<&'a str>,
        response: &'a str,
    },
}

/// JSON as somebody wrote it, to the digit, and anything else as a text.
enum Written<'a> {
    Json(&'a RawValue),
    Text(&'a str),
}

impl<'a> Written<'a> {
    /// No arguments are empty ones.
    fn of(text: &'a str) -> Self {
        let json = if text.is_empty() { "{}" } else { text };
        serde_json::from_str(json).map_or(Self::Text(text), Self::Json)
    }
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Json(json) => json.serialize(serializer),
            Self::Text(text) => text.serialize(serializer),
        }
    }
}

/// A message; an answer always says why it stopped.
fn message(said: &Message, is_answer: bool) -> Told<'_> {
    Told {
        role: said.role,
        parts: said.parts.iter().map(part).collect(),
        finish_reason: is_answer.then(|| said.finish.as_deref().unwrap_or("stop")),
    }
}

fn part(part: &Part) -> Said<'_> {
    match part {
        Part::Text(content) => Said::Text { content },
        Part::Call {
            id,
            name,
            arguments,
        } => Said::ToolCall {
            id: id.as_deref(),
            name,
            arguments: Written::of(arguments),
        },
        Part::Result { id, text } => Said::ToolCallResponse {
            id: id.as_deref(),
            response: text,
        },
    }
}

/// A tool as it is described.
#[derive(Serialize)]
struct Described<'a> {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Written<'a>>,
}

fn described<'a>(tool: &'a Tool, kind: Option<&'a str>) -> Described<'a> {
    Described {
        kind,
        name: &tool.name,
        description: tool.description.as_deref(),
        parameters: tool.parameters.as_deref().map(Written::of),
    }
}

fn definitions(out: &mut Wire, tools: &[Tool]) {
    let tools = tools.iter().map(|tool| described(tool, Some(&tool.kind)));
    list(out, "gen_ai.tool.definitions", &tools.collect::<Vec<_>>());
}

// === Chat messages ===

/// A message as chat has it: a result is one by itself.
#[derive(Default)]
struct Line<'a> {
    role: &'static str,
    text: String,
    calls: Vec<(&'a str, &'a str, &'a str)>,
    result_of: Option<&'a str>,
}

fn lines<'a>(instructions: &'a [Part], messages: &'a [Message]) -> Vec<Line<'a>> {
    let mut lines = Vec::with_capacity(messages.len() + 1);
    if !instructions.is_empty() {
        lines.push(Line {
            role: "system",
            text: text_of(instructions),
            ..Line::default()
        });
    }
    for message in messages {
        let results = message.parts.iter().filter_map(|part| match part {
            Part::Result { id, text } => Some(Line {
                role: "tool",
                text: text.clone(),
                result_of: Some(id.as_deref().unwrap_or_default()),
                ..Line::default()
            }),
            Part::Text(_) | Part::Call { .. } => None,
        });
        lines.extend(results);
        let calls = message.parts.iter().filter_map(|part| match part {
            Part::Call {
                id,
                name,
                arguments,
            } => Some((id.as_deref().unwrap_or_default(), &**name, &**arguments)),
            Part::Text(_) | Part::Result { .. } => None,
        });
        let line = Line {
            role: message.role,
            text: text_of(&message.parts),
            calls: calls.collect(),
            result_of: None,
        };
        if !line.text.is_empty() || !line.calls.is_empty() {
            lines.push(line);
        }
    }
    lines
}

fn text_of(parts: &[Part]) -> String {
    let texts = parts.iter().filter_map(|part| match part {
        Part::Text(text) => Some(&**text),
        Part::Call { .. } | Part::Result { .. } => None,
    });
    texts.collect::<Vec<_>>().join("\n")
}

fn chat(lines: &[Line<'_>]) -> Vec<Value> {
    let said = lines.iter().map(|line| {
        let mut said = json!({"role": line.role, "content": line.text});
        if let Some(id) = line.result_of {
            said["tool_call_id"] = id.into();
        }
        if !line.calls.is_empty() {
            let calls = line.calls.iter().map(|(id, name, arguments)| {
                json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
            });
            said["tool_calls"] = calls.collect();
        }
        said
    });
    said.collect()
}

// === OpenInference ===

fn numbered(out: &mut Wire, under: &str, lines: &[Line<'_>]) {
    for (number, line) in lines.iter().enumerate() {
        let mut say = |name: &str, text: &str| {
            let name = format!("{under}.{number}.message.{name}");
            out.text(ATTRIBUTES, &name, text);
        };
        say("role", line.role);
        if !line.text.is_empty() {
            say("content", &line.text);
        }
        if let Some(id) = line.result_of {
            say("tool_call_id", id);
        }
        for (number, (id, name, arguments)) in line.calls.iter().enumerate() {
            let under = format!("tool_calls.{number}.tool_call");
            say(&format!("{under}.id"), id);
            say(&format!("{under}.function.name"), name);
            say(&format!("{under}.function.arguments"), arguments);
        }
    }
}

fn value(out: &mut Wire, side: &str, messages: &[Value]) {
    if !messages.is_empty() {
        out.text(ATTRIBUTES, &format!("{side}.value"), &written(messages));
        out.text(ATTRIBUTES, &format!("{side}.mime_type"), JSON);
    }
}

/// A tool as chat declares it.
#[derive(Serialize)]
struct Declared<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    function: Described<'a>,
}

#[cfg(test)]
mod tests;
