//! Decides, before the first byte leaves, everything that a call will produce.
//!
//! Text is not kept but a seed for it, so a planned answer is small and can be said twice.

use super::behaviour::{Bad, Behaviour, UsageShown};
use super::prices::Tokens;
use super::refusal::quote;
use super::request::Ask;
use super::scenario::Step;
use super::schema;
use super::wants::ToolChoice;
use super::words::{Draw, Words};
use crate::units::NanoUsd;
use bytes::BytesMut;
use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// The longest answer of all, in tokens: a bound on what a rogue can be told to produce.
const LONGEST_ANSWER: u64 = 1_000_000;
/// Times the output cap that a rogue produces.
const ROGUE_FACTOR: u64 = 3;
/// Tokens of a tool call beside its name and arguments.
const TOKENS_PER_TOOL_CALL: u64 = 8;
/// Unseen reasoning, in tokens.
const REASONING: RangeInclusive<u64> = 32..=256;

/// A piece of an answer.
#[derive(Clone, Debug)]
pub enum Part {
    /// Words, kept as their seed.
    Words(Words),
    /// A text as it is: JSON or an echo.
    Literal(String),
    /// Visible thinking (Anthropic).
    Thinking(Words),
    /// Reasoning that happens unseen.
    Unseen,
    /// A tool call.
    Tool {
        id: String,
        name: String,
        arguments: String,
    },
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    Stop,
    Length,
    Tools,
}

/// One answer (one of `n`).
#[derive(Clone, Debug)]
pub struct Output {
    pub parts: Vec<Part>,
    pub finish: Finish,
}

impl Part {
    /// Writes the visible text as the inside of a JSON string.
    pub fn say(&self, out: &mut BytesMut) {
        match self {
            Self::Words(words) | Self::Thinking(words) => {
                let mut words = *words;
                words.say(words.left(), out);
            }
            Self::Literal(text)
            | Self::Tool {
                arguments: text, ..
            } => escape(text, out),
            Self::Unseen => {}
        }
    }

    /// Chunks of `tokens` tokens each that the text comes to.
    pub fn chunks(&self, tokens: u64) -> u64 {
        let tokens = tokens.max(1);
        match self {
            Self::Words(words) | Self::Thinking(words) => words.left().div_ceil(tokens),
            Self::Literal(text)
            | Self::Tool {
                arguments: text, ..
            } => (text.len() as u64).div_ceil(tokens * 4),
            Self::Unseen => 0,
        }
    }
}

/// Writes text as the inside of a JSON string.
pub fn escape(text: &str, out: &mut BytesMut) {
    let start = out.len();
    quote(out, text);
    // Both quotes go; what stands between them moves one byte to the left.
    let end = out.len();
    out.copy_within(start + 1..end - 1, start);
    out.truncate(end - 2);
}

/// A whole call's answer.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Hexadecimal digits that make every id of this answer unique.
    pub id: String,
    /// The model's name as a JSON string, quotes included.
    pub model_json: String,
    /// Seconds since the Unix epoch.
    pub created: i64,
    pub outputs: Vec<Output>,
    pub tokens: Tokens,
    pub usage: UsageShown,
    pub stated_cost: Option<NanoUsd>,
    pub include_usage: bool,
    pub cap: Option<u64>,
    pub previous_response: Option<String>,
    pub background: bool,
    pub store: bool,
    pub seed: u64,
}

/// What outputs are planned from.
#[derive(Debug)]
pub struct Planner<'a> {
    pub ask: &'a Ask<'a>,
    pub behaviour: &'a Behaviour,
    /// Tokens that an answer without a cap comes to.
    pub usual: &'a RangeInclusive<u64>,
    /// Makes ids of tool calls unique.
    pub id: &'a str,
    /// What the answer is to be: what `sim-echo` says, or a scenario's step.
    pub told: Option<Arc<Step>>,
    pub draw: Draw,
}

impl Planner<'_> {
    /// The answers that are returned, and the tokens of all that are produced: output and, within it,
    /// reasoning.
    pub fn outputs(mut self) -> (Vec<Output>, u64, u64) {
        let ask = self.ask;
        let mut outputs = Vec::new();
        let (mut produced, mut reasoned) = (0, 0);
        for _ in 0..ask.prompts {
            for answer in 0..ask.produced {
                let (output, tokens, reasoning) = self.output(outputs.len());
                produced += tokens;
                reasoned += reasoning;
                if answer < ask.answers {
                    outputs.push(output);
                }
            }
        }
        (outputs, produced, reasoned)
    }

    /// One answer, its tokens, and those of them that nobody sees.
    fn output(&mut self, index: usize) -> (Output, u64, u64) {
        let longest = self.ask.card.longest.clamp(1, LONGEST_ANSWER);
        let cap = self.ask.cap.unwrap_or(longest).min(longest);
        let desired = self.draw.between(*self.usual.start(), *self.usual.end());
        let reasoning = self.reasoning(desired);
        if self.behaviour.rogue && self.ask.cap.is_some() {
            let total = cap.saturating_mul(ROGUE_FACTOR).min(LONGEST_ANSWER);
            return self.words(reasoning.min(total), total, Finish::Stop);
        }
        if self.behaviour.greedy {
            let total = if self.ask.cap.is_some() {
                cap
            } else {
                (*self.usual.end()).min(cap)
            };
            return self.words(reasoning.min(total), total, Finish::Length);
        }
        let (parts, tokens, finish) = self.content(index, desired);
        if reasoning + tokens <= cap {
            return self.whole(parts, reasoning, tokens, finish);
        }
        let reasoning = reasoning.min(cap);
        match parts.into_iter().next() {
            Some(Part::Literal(mut text)) => {
                let kept = usize::try_from(self.bytes(cap - reasoning)).unwrap_or(usize::MAX);
                text.truncate(text.floor_char_boundary(kept));
                let tokens = self.tokens_of(text.len());
                self.whole(vec![Part::Literal(text)], reasoning, tokens, Finish::Length)
            }
            // A model cut within a tool call has said nothing that could be called.
            _ => self.words(reasoning, cap, Finish::Length),
        }
    }

    /// Reasoning tokens before the answer proper.
    fn reasoning(&mut self, desired: u64) -> u64 {
        let drawn = self.draw.between(*REASONING.start(), *REASONING.end());
        match self.ask.thinking_budget {
            Some(budget) => drawn.min(budget),
            None if self.behaviour.reasoning => drawn,
            None if self.ask.card.reasons => desired / 2,
            None => 0,
        }
    }

    /// Words up to `total` tokens, after reasoning.
    fn words(&mut self, reasoning: u64, total: u64, finish: Finish) -> (Output, u64, u64) {
        let tokens = total - reasoning;
        let words = Words::new(self.draw.next(), tokens, self.behaviour.dense);
        self.whole(vec![Part::Words(words)], reasoning, tokens, finish)
    }

    fn whole(
        &mut self,
        mut parts: Vec<Part>,
        reasoning: u64,
        tokens: u64,
        finish: Finish,
    ) -> (Output, u64, u64) {
        let is_seen = self.ask.thinking_budget.is_some();
        if is_seen && reasoning > 0 {
            let words = Words::new(self.draw.next(), reasoning, self.behaviour.dense);
            parts.insert(0, Part::Thinking(words));
        } else if reasoning > 0 {
            parts.insert(0, Part::Unseen);
        }
        let unseen = if is_seen { 0 } else { reasoning };
        (Output { parts, finish }, reasoning + tokens, unseen)
    }

    /// What the answer would say without a cap, and its tokens.
    fn content(&mut self, index: usize, desired: u64) -> (Vec<Part>, u64, Finish) {
        if let Some(step) = self.told.clone() {
            return self.step(index, &step);
        }
        if self.calls_tools() {
            return self.tool_calls(index);
        }
        if let Some(schema) = self.ask.json {
            let value = schema::value_for(schema.map(|raw| raw.get()), &mut self.draw);
            let mut text = value.to_string();
            if self.behaviour.bad == Bad::Json {
                text.truncate(text.floor_char_boundary(text.len() / 2));
            }
            let tokens = self.tokens_of(text.len());
            return (vec![Part::Literal(text)], tokens, Finish::Stop);
        }
        let words = Words::new(self.draw.next(), desired, self.behaviour.dense);
        (vec![Part::Words(words)], desired, Finish::Stop)
    }

    /// An answer told beforehand.
    fn step(&self, index: usize, step: &Step) -> (Vec<Part>, u64, Finish) {
        match step {
            Step::Text(text) => {
                let tokens = self.tokens_of(text.len());
                (vec![Part::Literal(text.clone())], tokens, Finish::Stop)
            }
            Step::Tool { name, arguments } => {
                let tokens = TOKENS_PER_TOOL_CALL + self.tokens_of(name.len() + arguments.len());
                let call = Part::Tool {
                    id: self.call_id(index, 0),
                    name: name.clone(),
                    arguments: arguments.clone(),
                };
                (vec![call], tokens, Finish::Tools)
            }
        }
    }

    fn call_id(&self, index: usize, call: u64) -> String {
        let mut id = String::with_capacity(24);
        // Writing into a string cannot fail.
        let _ = write!(id, "{}{index:02x}{call:x}", self.id);
        id
    }

    fn calls_tools(&self) -> bool {
        let ask = self.ask;
        let any = || ask.tools.iter().any(|tool| !tool.name.is_empty());
        match &ask.tool_choice {
            ToolChoice::None => false,
            ToolChoice::Any => any(),
            ToolChoice::Named(name) => ask.tools.iter().any(|tool| tool.name == *name),
            ToolChoice::Auto => (self.behaviour.tools || ask.asks_for_tool) && any(),
        }
    }

    fn tool_calls(&mut self, index: usize) -> (Vec<Part>, u64, Finish) {
        let ask = self.ask;
        let tools: Vec<_> = match &ask.tool_choice {
            ToolChoice::Named(name) => ask.tools.iter().filter(|tool| tool.name == *name).collect(),
            _ => ask
                .tools
                .iter()
                .filter(|tool| !tool.name.is_empty())
                .collect(),
        };
        let same = self.behaviour.same_tool;
        let most = if same || !ask.parallel_tools { 1 } else { 2 };
        let count = self.draw.between(1, most);
        let (mut parts, mut tokens) = (Vec::new(), 0);
        for call in 0..count {
            let last = (tools.len() as u64).saturating_sub(1);
            let at = if same { 0 } else { self.draw.between(0, last) };
            let Some(tool) = usize::try_from(at).ok().and_then(|at| tools.get(at)) else {
                break;
            };
            let mut fixed = Draw::new(0, 0);
            let draw = if same { &mut fixed } else { &mut self.draw };
            let mut arguments =
                schema::value_for(tool.schema.map(|raw| raw.get()), draw).to_string();
            let mut name = tool.name.to_string();
            match self.behaviour.bad {
                Bad::Args => arguments = r#"{"nonsense":true}"#.to_owned(),
                Bad::Tool => name.push_str("_undeclared"),
                Bad::Nothing | Bad::Json => {}
            }
            tokens += TOKENS_PER_TOOL_CALL + self.tokens_of(name.len() + arguments.len());
            parts.push(Part::Tool {
                id: self.call_id(index, call),
                name,
                arguments,
            });
        }
        (parts, tokens, Finish::Tools)
    }

    const fn tokens_of(&self, bytes: usize) -> u64 {
        let bytes = bytes as u64;
        if self.behaviour.dense {
            bytes
        } else {
            bytes.div_ceil(4)
        }
    }

    const fn bytes(&self, tokens: u64) -> u64 {
        if self.behaviour.dense {
            tokens
        } else {
            tokens.saturating_mul(4)
        }
    }
}
