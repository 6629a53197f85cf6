//! The content of a call and of its answer, for whoever asked to be told it: messages in parts, the same
//! for all dialects, and cut to a bound. Images, files, audio, tokens and what a model thought are replaced
//! by a mark; of tools only what describes them is read, for keys may stand beside it.
//!
//! Needs: bodies that [`decode`](super::decode) has walked; what has an unexpected shape says nothing. The
//! request's reading is in `asked`, that of its parts in `part`; `unescape` reads texts that are not quite ones.

mod asked;
mod part;
mod unescape;

pub use asked::asked;
pub(super) use unescape::unescaped_lossy;

use super::Dialect;
use super::answer::Given;
use std::borrow::Cow;
use std::fmt;

/// Of the messages of a call, in bytes: the newest, and of the last that finds room its beginning.
pub const INPUT_BYTES_MAX: usize = 64 << 10;
/// Of the instructions that stand beside them, in bytes.
pub const INSTRUCTIONS_BYTES_MAX: usize = 16 << 10;
/// Of the tools that are described, in bytes.
pub const TOOLS_BYTES_MAX: usize = 16 << 10;
/// Of the answer, in bytes.
pub const OUTPUT_BYTES_MAX: usize = 32 << 10;
/// What a part counts beside its text, in bytes.
const PART_BYTES: usize = 64;
/// Longest id, name or kind, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// What a call says.
#[derive(Default)]
pub struct Asked {
    /// Instructions that stand beside the messages.
    pub instructions: Vec<Part>,
    /// The messages, oldest first.
    pub input: Vec<Message>,
    /// The tools that may be called.
    pub tools: Vec<Tool>,
    /// Something was left out or cut.
    pub is_cut: bool,
}

/// What its answer says.
#[derive(Default)]
pub struct Answered {
    /// One message for each choice.
    pub output: Vec<Message>,
    /// Something was left out or cut.
    pub is_cut: bool,
}

/// One message.
pub struct Message {
    /// Who wrote it: `system`, `developer`, `user`, `assistant` or `tool`.
    pub role: &'static str,
    /// What it says.
    pub parts: Vec<Part>,
    /// Why a model stopped there.
    pub finish: Option<String>,
}

/// A part of a message.
#[derive(Clone, PartialEq, Eq)]
pub enum Part {
    /// A text, or the mark of what is none.
    Text(String),
    /// A tool that is to be called.
    Call {
        /// The id of the call.
        id: Option<String>,
        /// The tool.
        name: String,
        /// Its arguments as they were written: JSON, or a free text.
        arguments: String,
    },
    /// What a tool gave.
    Result {
        /// The id of the call.
        id: Option<String>,
        /// It.
        text: String,
    },
}

/// A tool as it was described.
pub struct Tool {
    /// `function`, or what the provider has.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// The schema of its arguments: JSON.
    pub parameters: Option<String>,
}

/// Room for text that is used up, in bytes.
struct Budget {
    left: usize,
    is_cut: bool,
}

impl Budget {
    const fn new(bytes: usize) -> Self {
        Self {
            left: bytes,
            is_cut: false,
        }
    }

    /// Room for one more part.
    const fn part(&mut self) -> bool {
        self.is_cut |= self.left <= PART_BYTES;
        self.left = self.left.saturating_sub(PART_BYTES);
        self.left > 0
    }

    /// The text, or as much of its beginning as finds room, and a mark.
    fn text(&mut self, text: Cow<'_, str>) -> String {
        if text.len() <= self.left {
            self.left -= text.len();
            return text.into_owned();
        }
        self.is_cut = true;
        let end = text.floor_char_boundary(std::mem::take(&mut self.left));
        format!("{}… [cut: {} bytes in all]", &text[..end], text.len())
    }

    /// A short text.
    fn name(&mut self, name: &str) -> String {
        let end = name.floor_char_boundary(NAME_BYTES_MAX);
        self.left = self.left.saturating_sub(end);
        name[..end].to_owned()
    }

    /// What stands for something of this kind that is no text.
    fn mark(&mut self, kind: &str) -> Part {
        Part::Text(mark(&self.name(kind)))
    }
}

fn mark(kind: &str) -> String {
    format!("[{kind} left out]")
}

/// Reads what was kept of an answer in this dialect.
#[must_use]
pub fn answered(dialect: Dialect, given: &Given, finish: Option<&str>) -> Answered {
    let has_choices = matches!(
        dialect,
        Dialect::OpenaiChat | Dialect::OpenaiCompletions | Dialect::Gemini
    );
    let mut budget = Budget::new(OUTPUT_BYTES_MAX);
    let mut parts: Vec<(u64, Part)> = Vec::new();
    for (place, text) in given.beginnings() {
        if !text.is_empty() && budget.part() {
            parts.push((place, Part::Text(budget.text(text.into()))));
        }
    }
    for call in given.calls_begun() {
        if budget.part() {
            let arguments = String::from_utf8_lossy(&call.beginning()).into_owned();
            let id = budget.name(&String::from_utf8_lossy(call.id()));
            let part = Part::Call {
                id: (!id.is_empty()).then_some(id),
                name: budget.name(call.name()),
                arguments: budget.text(arguments.into()),
            };
            parts.push((call.position(), part));
        }
    }
    let last = parts.iter().map(|(place, _)| *place).max();
    if let Some(last) = last.filter(|_| given.is_partial() && !budget.is_cut) {
        parts.push((last, budget.mark("the rest")));
    }
    // Stable: what a choice says stands before what it asks for.
    parts.sort_by_key(|(place, _)| *place);
    let mut output: Vec<(u64, Message)> = Vec::new();
    for (place, part) in parts {
        let choice = if has_choices { place } else { 0 };
        match output.last_mut().filter(|(last, _)| *last == choice) {
            Some((_, message)) => message.parts.push(part),
            None => {
                let message = Message {
                    role: "assistant",
                    parts: vec![part],
                    finish: finish.map(str::to_owned),
                };
                output.push((choice, message));
            }
        }
    }
    Answered {
        output: output.into_iter().map(|(_, message)| message).collect(),
        is_cut: budget.is_cut || given.is_partial(),
    }
}

impl Part {
    /// What it takes, in bytes.
    fn bytes(&self) -> usize {
        let text = match self {
            Self::Text(text) => text.len(),
            Self::Call {
                id,
                name,
                arguments,
            } => id.as_ref().map_or(0, String::len) + name.len() + arguments.len(),
            Self::Result { id, text } => id.as_ref().map_or(0, String::len) + text.len(),
        };
        text + PART_BYTES
    }
}

fn bytes(messages: &[Message]) -> usize {
    let parts = messages.iter().flat_map(|message| &message.parts);
    parts.map(Part::bytes).sum::<usize>() + messages.len() * PART_BYTES
}

impl Asked {
    /// What it takes, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let tools = self.tools.iter().map(|tool| {
            let more = [&tool.description, &tool.parameters];
            let more = more.into_iter().flatten().map(String::len);
            tool.kind.len() + tool.name.len() + more.sum::<usize>() + PART_BYTES
        });
        let instructions = self.instructions.iter().map(Part::bytes);
        bytes(&self.input) + tools.sum::<usize>() + instructions.sum::<usize>()
    }

    /// The result that it brings of this tool call.
    #[must_use]
    pub fn result_of(&self, call: &str) -> Option<&str> {
        let parts = self.input.iter().rev().flat_map(|message| &message.parts);
        parts.into_iter().find_map(|part| match part {
            Part::Result { id: Some(id), text } if id == call => Some(&**text),
            _ => None,
        })
    }
}

impl Answered {
    /// What it takes, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        bytes(&self.output)
    }

    /// The arguments of this tool call.
    #[must_use]
    pub fn arguments_of(&self, call: &str) -> Option<&str> {
        let mut parts = self.output.iter().flat_map(|message| &message.parts);
        parts.find_map(|part| match part {
            Part::Call {
                id: Some(id),
                arguments,
                ..
            } if id == call => Some(&**arguments),
            _ => None,
        })
    }
}

// What was said is shown to nobody by mistake.

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Asked({} bytes)", self.bytes())
    }
}

impl fmt::Debug for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answered({} bytes)", self.bytes())
    }
}

#[cfg(test)]
mod tests;
