//! What calls, answers and tools say, in the words of whoever asks for it: OpenTelemetry's parts as JSON,
//! OpenInference's numbered messages, and the form of chat messages that Langfuse shows.

use super::{ATTRIBUTES, Style};
use crate::config::Vocabulary;
use crate::dialect::Dialect;
use crate::dialect::content::{Message, Part, Tool};
use crate::traces::content::{Content, ToolContent};
use crate::traces::wire::Wire;
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
                out.text(ATTRIBUTES, &name, &declared(tool).to_string());
            }
        }
        Vocabulary::GenAi => {
            let parts: Vec<Value> = asked.instructions.iter().map(part).collect();
            list(out, "gen_ai.system_instructions", parts);
            let input = asked.input.iter().map(|said| message(said, false));
            list(out, "gen_ai.input.messages", input.collect());
            let output = output.iter().map(|said| message(said, true));
            list(out, "gen_ai.output.messages", output.collect());
            definitions(out, &asked.tools);
        }
        Vocabulary::Langfuse => {
            let input = chat(&lines(&asked.instructions, &asked.input));
            list(out, "langfuse.observation.input", input);
            list(
                out,
                "langfuse.observation.output",
                chat(&lines(&[], output)),
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
fn list(out: &mut Wire, name: &str, values: Vec<Value>) {
    if !values.is_empty() {
        out.text(ATTRIBUTES, name, &Value::from(values).to_string());
    }
}

// === OpenTelemetry ===

/// `{"role", "parts", "finish_reason"}`; an answer always says why it stopped.
fn message(said: &Message, is_answer: bool) -> Value {
    let parts: Vec<Value> = said.parts.iter().map(part).collect();
    let mut message = json!({"role": said.role, "parts": parts});
    if is_answer {
        message["finish_reason"] = said.finish.as_deref().unwrap_or("stop").into();
    }
    message
}

fn part(part: &Part) -> Value {
    match part {
        Part::Text(text) => json!({"type": "text", "content": text}),
        Part::Call {
            id,
            name,
            arguments,
        } => {
            json!({"type": "tool_call", "id": id, "name": name, "arguments": parsed(arguments)})
        }
        Part::Result { id, text } => {
            json!({"type": "tool_call_response", "id": id, "response": text})
        }
    }
}

/// JSON as such, and anything else as a text; no arguments are empty ones.
fn parsed(arguments: &str) -> Value {
    match arguments {
        "" => json!({}),
        text => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
    }
}

fn definitions(out: &mut Wire, tools: &[Tool]) {
    let described = tools.iter().map(|tool| {
        let mut described = json!({"type": tool.kind, "name": tool.name});
        describe(tool, &mut described);
        described
    });
    list(out, "gen_ai.tool.definitions", described.collect());
}

fn describe(tool: &Tool, described: &mut Value) {
    if let Some(description) = &tool.description {
        described["description"] = description.as_str().into();
    }
    if let Some(schema) = &tool.parameters {
        described["parameters"] = parsed(schema);
    }
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
        let text = serde_json::to_string(messages).unwrap_or_default();
        out.text(ATTRIBUTES, &format!("{side}.value"), &text);
        out.text(ATTRIBUTES, &format!("{side}.mime_type"), JSON);
    }
}

fn declared(tool: &Tool) -> Value {
    let mut function = json!({"name": tool.name});
    describe(tool, &mut function);
    json!({"type": tool.kind, "function": function})
}
