//! A request's content: its instructions, its messages from the newest back, and its tools.

use super::part::{Block, string, text_or_json};
use super::{
    Asked, Budget, INPUT_BYTES_MAX, INSTRUCTIONS_BYTES_MAX, Message, PART_BYTES, Part,
    TOOLS_BYTES_MAX, Tool,
};
use crate::dialect::{Call, Dialect};
use crate::json::{Cursor, JsonError, Kind};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;

/// Most messages that are looked at, the newest: as many as find room if they say nothing.
pub(super) const INPUT_MESSAGES_MAX: usize = INPUT_BYTES_MAX / PART_BYTES;

/// Where things stand in a body.
#[derive(Default)]
pub(super) struct Places {
    instructions: Option<Range<usize>>,
    pub(super) messages: VecDeque<Range<usize>>,
    /// Messages before those.
    pub(super) earlier: usize,
    tools: Option<Range<usize>>,
    /// Prompts that are tokens already.
    are_tokens: bool,
}

/// Reads what `call` says. Its body is walked once, and only what finds room is read closely.
#[must_use]
pub fn asked(call: &Call) -> Asked {
    let mut asked = Asked::default();
    // What was walked before cannot be malformed; if it were, it would say nothing.
    if let Ok(places) = Places::of(call) {
        let _ = asked.read(&call.body, &places);
    }
    asked
}

impl Places {
    pub(super) fn of(call: &Call) -> Result<Self, JsonError> {
        let body = &*call.body;
        let mut places = Self::default();
        Cursor::new(body)?.object(|cursor, key| {
            match &*key.text(body) {
                "messages" | "contents" | "input" | "prompt" => places.messages(cursor)?,
                "system" | "instructions" | "systemInstruction" | "system_instruction" => {
                    places.instructions = Some(cursor.skip()?.at);
                }
                "tools" | "functions" => places.tools = Some(cursor.skip()?.at),
                // Gemini's says how tools are chosen, and stands beside them.
                "toolConfig" if call.dialect == Dialect::Bedrock => {
                    places.tools = Some(cursor.skip()?.at);
                }
                _ => {
                    cursor.skip()?;
                }
            }
            Ok::<_, JsonError>(())
        })?;
        Ok(places)
    }

    /// A list of messages, items or prompts, or the only one.
    fn messages(&mut self, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
        if cursor.peek() != Some(b'[') {
            let value = cursor.skip()?;
            if value.kind != Kind::Null {
                self.messages.push_back(value.at);
            }
            return Ok(());
        }
        let walked = cursor.array(|cursor, _| {
            let value = cursor.skip()?;
            match value.kind {
                Kind::Object | Kind::String { .. } => {
                    if self.messages.len() == INPUT_MESSAGES_MAX {
                        self.messages.pop_front();
                        self.earlier += 1;
                    }
                    self.messages.push_back(value.at);
                }
                _ => self.are_tokens = true,
            }
            Ok::<_, JsonError>(())
        });
        walked.map(drop)
    }
}

impl Asked {
    fn read(&mut self, body: &[u8], places: &Places) -> Result<(), JsonError> {
        if let Some(at) = &places.instructions {
            let mut budget = Budget::new(INSTRUCTIONS_BYTES_MAX);
            let mut cursor = Cursor::new(&body[at.clone()])?;
            instructions(&mut cursor, &mut budget, &mut self.instructions)?;
            self.is_cut |= budget.is_cut;
        }
        if let Some(at) = &places.tools {
            let mut budget = Budget::new(TOOLS_BYTES_MAX);
            let mut cursor = Cursor::new(&body[at.clone()])?;
            tools(&mut cursor, &mut budget, &mut self.tools)?;
            self.is_cut |= budget.is_cut;
        }
        let mut budget = Budget::new(INPUT_BYTES_MAX);
        let mut left_out = places.messages.len() + places.earlier;
        for at in places.messages.iter().rev() {
            if !budget.part() {
                break;
            }
            let read = message(&mut Cursor::new(&body[at.clone()])?, &mut budget)?;
            if read.parts.is_empty() && budget.left == 0 {
                break;
            }
            left_out -= 1;
            self.input
                .extend(Some(read).filter(|read| !read.parts.is_empty()));
        }
        let earlier = (left_out > 0).then(|| format!("{left_out} earlier messages"));
        let tokens = places.are_tokens.then(|| "tokens".to_owned());
        for what in earlier.into_iter().chain(tokens) {
            self.input.push(Message {
                role: "system",
                parts: vec![budget.mark(&what)],
                finish: None,
            });
        }
        self.input.reverse();
        self.is_cut |= budget.is_cut || left_out > 0;
        Ok(())
    }
}

/// Instructions: parts, or in Gemini's form an object that they stand in.
fn instructions(
    cursor: &mut Cursor<'_>,
    budget: &mut Budget,
    read: &mut Vec<Part>,
) -> Result<(), JsonError> {
    if cursor.peek() != Some(b'{') {
        return parts(cursor, budget, read);
    }
    let body = cursor.body();
    let mut block = Block::default();
    cursor.object(|cursor, key| match (&*key.text(body), cursor.peek()) {
        ("parts", Some(b'[')) => parts(cursor, budget, read),
        (key, _) => block.member(cursor, key),
    })?;
    if read.is_empty() && budget.part() {
        read.extend(block.into_part(budget));
    }
    Ok(())
}

/// A message, an item, or a text that stands for one.
fn message(cursor: &mut Cursor<'_>, budget: &mut Budget) -> Result<Message, JsonError> {
    let mut message = Message {
        role: "user",
        parts: Vec::new(),
        finish: None,
    };
    if cursor.peek() != Some(b'{') {
        parts(cursor, budget, &mut message.parts)?;
        return Ok(message);
    }
    let body = cursor.body();
    let mut item = Block::default();
    let mut named = None;
    cursor.object(|cursor, key| {
        match &*key.text(body) {
            "role" => named = string(cursor)?,
            "content" | "parts" => parts(cursor, budget, &mut message.parts)?,
            "tool_calls" if cursor.peek() == Some(b'[') => {
                parts(cursor, budget, &mut message.parts)?;
            }
            "function_call" if cursor.peek() == Some(b'{') => {
                let block = Block::of(cursor, "function_call")?;
                message.parts.extend(block.into_part(budget));
            }
            key => item.member(cursor, key)?,
        }
        Ok::<_, JsonError>(())
    })?;
    let is_item = !matches!(&*item.kind, "" | "message");
    message.role = match named.as_deref() {
        Some("system") => "system",
        Some("developer") => "developer",
        Some("assistant" | "model") => "assistant",
        Some("tool" | "function") => "tool",
        None if item.is_result() => "tool",
        None if is_item => "assistant",
        _ => "user",
    };
    let has_result = |part: &Part| matches!(part, Part::Result { .. });
    if message.role == "tool" && named.is_some() && !message.parts.iter().any(has_result) {
        // The content is the result, in one piece or in several.
        let texts = message.parts.drain(..).filter_map(|part| match part {
            Part::Text(text) => Some(text),
            Part::Call { .. } | Part::Result { .. } => None,
        });
        let text = texts.collect::<Vec<_>>().join("\n");
        let id = item.id.as_deref().map(|id| budget.name(id));
        message.parts = vec![Part::Result { id, text }];
    } else if is_item || item.text.is_some() {
        message.parts.extend(item.into_part(budget));
    }
    Ok(message)
}

/// A text, a part, or a list of them.
fn parts(
    cursor: &mut Cursor<'_>,
    budget: &mut Budget,
    read: &mut Vec<Part>,
) -> Result<(), JsonError> {
    match cursor.peek() {
        Some(b'[') => {
            cursor.array(|cursor, _| match budget.left {
                0 => {
                    budget.is_cut = true;
                    cursor.skip().map(drop)
                }
                _ => parts(cursor, budget, read),
            })?;
        }
        Some(b'{') => {
            let block = Block::of(cursor, "")?;
            if budget.part() {
                read.extend(block.into_part(budget));
            }
        }
        _ => {
            if let Some(text) = string(cursor)?
                && budget.part()
            {
                read.push(Part::Text(budget.text(text)));
            }
        }
    }
    Ok(())
}

/// A list of tools, or what one stands in.
fn tools(
    cursor: &mut Cursor<'_>,
    budget: &mut Budget,
    read: &mut Vec<Tool>,
) -> Result<(), JsonError> {
    match cursor.peek() {
        Some(b'[') => cursor
            .array(|cursor, _| tools(cursor, budget, read))
            .map(drop),
        Some(b'{') => {
            let mut form = Form::default();
            form.read(cursor, budget, read)?;
            if (form.name.is_some() || !form.kind.is_empty()) && budget.part() {
                read.push(form.into_tool(budget));
            }
            Ok(())
        }
        _ => cursor.skip().map(drop),
    }
}

/// The members of a tool's description that are told; there may be keys among the others.
#[derive(Default)]
struct Form<'a> {
    kind: Cow<'a, str>,
    name: Option<Cow<'a, str>>,
    description: Option<Cow<'a, str>>,
    parameters: Option<Cow<'a, str>>,
}

impl<'a> Form<'a> {
    fn read(
        &mut self,
        cursor: &mut Cursor<'a>,
        budget: &mut Budget,
        read: &mut Vec<Tool>,
    ) -> Result<(), JsonError> {
        let body = cursor.body();
        let walked = cursor.object(|cursor, key| {
            match (&*key.text(body), cursor.peek()) {
                ("type", _) => self.kind = string(cursor)?.unwrap_or_default(),
                ("name", _) => self.name = string(cursor)?,
                ("description", _) => self.description = string(cursor)?,
                ("parameters" | "input_schema" | "json" | "parametersJsonSchema", Some(b'{')) => {
                    self.parameters = text_or_json(cursor)?;
                }
                ("function" | "custom" | "toolSpec" | "inputSchema", Some(b'{')) => {
                    self.read(cursor, budget, read)?;
                }
                ("functionDeclarations" | "function_declarations" | "tools", Some(b'[')) => {
                    tools(cursor, budget, read)?;
                }
                _ => {
                    cursor.skip()?;
                }
            }
            Ok::<_, JsonError>(())
        });
        walked.map(drop)
    }

    fn into_tool(self, budget: &mut Budget) -> Tool {
        let kind = match &*self.kind {
            "" => "function",
            kind => kind,
        };
        let parameters = self.parameters.filter(|schema| {
            // Half a schema is none.
            budget.is_cut |= schema.len() > budget.left;
            schema.len() <= budget.left
        });
        Tool {
            kind: budget.name(kind),
            name: budget.name(self.name.as_deref().unwrap_or(kind)),
            parameters: parameters.map(|schema| budget.text(schema)),
            description: self
                .description
                .filter(|_| budget.left > 0)
                .map(|text| budget.text(text)),
        }
    }
}
