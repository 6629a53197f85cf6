//! The form of answers: what a request declares of it (its tools with their schemas, and a schema of
//! the answer itself), and whether an answer keeps to that. Pure: no HTTP, no clock.
//!
//! Declarations are shared by the calls that make the same, so that a schema is compiled once; it is
//! compiled when an answer first calls for it. What cannot be checked within bounds (schemas that are
//! too large, that name others elsewhere, or that would take too long) is not checked, and says nothing
//! against an answer.
//!
//! **Invariant:** nothing is ever fetched: a schema that names another by URL is not checked.

mod cost;
mod declared;
mod schema;

use crate::dialect::answer::{Given, Keep};
use crate::dialect::{Call, Dialect};
use declared::{Parsed, Rule};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use std::fmt;
use std::sync::{Arc, OnceLock};
use xxhash_rust::xxh3::Xxh3;

/// Longest declarations of one call that are checked against, in bytes.
pub const DECLARED_BYTES_MAX: usize = 256 * 1024;
/// Declarations remembered, in bytes of their text; compiled ones take several times as much.
pub const REMEMBERED_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// What one remembered declaration counts at least, in bytes.
const LEAST_WEIGHT: u64 = 1024;
/// Declarations expected in the cache: only a hint for its first size.
const EXPECTED: usize = 256;
/// Longest name of a tool that a fault repeats, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// Declarations met lately.
pub struct Forms(Cache<u128, Arc<Declared>, ByText>);

#[derive(Clone)]
struct ByText;

impl Weighter<u128, Arc<Declared>> for ByText {
    fn weight(&self, _key: &u128, declared: &Arc<Declared>) -> u64 {
        let bytes = declared.tools.len() + declared.answer.len();
        u64::try_from(bytes).unwrap_or(u64::MAX).max(LEAST_WEIGHT)
    }
}

/// What one request declares.
pub struct Declared {
    dialect: Dialect,
    /// The text of the tools; empty if there are none.
    tools: Box<[u8]>,
    /// The text of the field that asks for a form of answer; empty if there is none.
    answer: Box<[u8]>,
    /// There may be tools that cannot be seen from here.
    open: bool,
    parsed: OnceLock<Parsed>,
}

/// What is wrong with an answer. Names what was declared, never what was said, but for the name of a
/// tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It calls a tool that was not declared.
    Undeclared(String),
    /// The arguments of a tool, or the answer, are no JSON.
    NotJson(Option<String>),
    /// The arguments of a tool, or the answer, break this keyword of their schema.
    Breaks(Option<String>, String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undeclared(tool) => write!(f, "tool `{tool}` is not declared"),
            Self::NotJson(Some(tool)) => write!(f, "the arguments of tool `{tool}` are no JSON"),
            Self::NotJson(None) => f.write_str("the answer is not the JSON that was asked for"),
            Self::Breaks(Some(tool), keyword) => {
                write!(f, "the arguments of tool `{tool}` break `{keyword}`")
            }
            Self::Breaks(None, keyword) => {
                write!(f, "the answer breaks `{keyword}` of its schema")
            }
        }
    }
}

/// What a check came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is wrong with it.
    Good,
    /// Something is.
    Bad(Fault),
    /// It was not checked, or not all of it: it was cut short, or is too long.
    Unknown,
}

impl Default for Forms {
    fn default() -> Self {
        Self(Cache::with_weighter(EXPECTED, REMEMBERED_BYTES_MAX, ByText))
    }
}

impl Forms {
    /// What `call` declares; `None` if that is nothing that could be checked.
    #[must_use]
    pub fn of(&self, call: &Call) -> Option<Arc<Declared>> {
        let dialects = [
            Dialect::OpenaiChat,
            Dialect::OpenaiResponses,
            Dialect::AnthropicMessages,
            Dialect::Gemini,
            Dialect::Bedrock,
        ];
        let places = &call.places;
        if places.tools.is_empty() && places.answer_form.is_empty() {
            return None;
        }
        if !dialects.contains(&call.dialect) || places.tools_twice {
            return None;
        }
        let text = |at: &std::ops::Range<usize>| call.body.get(at.clone()).unwrap_or_default();
        let tools = match text(&places.tools) {
            b"null" | b"[]" => &[],
            tools => tools,
        };
        let answer = text(&places.answer_form);
        let mark: &[u8] = match call.dialect {
            Dialect::Gemini => b"\"application/json\"",
            _ => b"\"json_",
        };
        let answer = match memchr::memmem::find(answer, mark) {
            Some(_) => answer,
            None => &[],
        };
        let bytes = tools.len() + answer.len();
        if bytes == 0 || bytes > DECLARED_BYTES_MAX {
            return None;
        }
        let open = call.prompt.opaque || call.prompt.media.tools > 0;
        Some(self.shared(
            Declared {
                dialect: call.dialect,
                tools: Box::default(),
                answer: Box::default(),
                open,
                parsed: OnceLock::new(),
            },
            tools,
            answer,
        ))
    }

    /// The declaration that was made before, or this one from now on.
    fn shared(&self, new: Declared, tools: &[u8], answer: &[u8]) -> Arc<Declared> {
        let mut digest = Xxh3::new();
        digest.update(&[u8::from(new.open), new.dialect as u8]);
        digest.update(&tools.len().to_le_bytes());
        digest.update(tools);
        digest.update(answer);
        let key = digest.digest128();
        // Compared, for whoever made two texts collide would be checked against the wrong one.
        if let Some(known) = self.0.get(&key)
            && known.is(&new, tools, answer)
        {
            return known;
        }
        let new = Arc::new(Declared {
            tools: tools.into(),
            answer: answer.into(),
            ..new
        });
        self.0.insert(key, Arc::clone(&new));
        new
    }
}

impl Declared {
    fn is(&self, other: &Self, tools: &[u8], answer: &[u8]) -> bool {
        let same = self.dialect == other.dialect && self.open == other.open;
        same && *self.tools == *tools && *self.answer == *answer
    }

    /// What of the answer must be kept for the check.
    #[must_use]
    pub fn keep(&self) -> Keep {
        Keep {
            calls: !self.tools.is_empty() || !self.answer.is_empty(),
            text: !self.answer.is_empty(),
            beginning: false,
        }
    }

    /// What a check comes to where there is nothing to check: no tool was called, and no form of the answer
    /// asked for.
    #[must_use]
    pub fn at_once(&self, given: &Given, finish: Option<&str>) -> Option<Verdict> {
        // What was cut short may well be no JSON; that is the cap's doing, not the model's.
        if given.is_partial() || !self.is_finished(finish) {
            return Some(Verdict::Unknown);
        }
        (given.calls().is_empty() && self.answer.is_empty()).then_some(Verdict::Good)
    }

    /// Checks an answer that ended for the reason `finish`.
    #[must_use]
    pub fn check(&self, given: &Given, finish: Option<&str>) -> Verdict {
        if let Some(verdict) = self.at_once(given, finish) {
            return verdict;
        }
        let parsed = self
            .parsed
            .get_or_init(|| Parsed::of(self.dialect, &self.tools, &self.answer));
        if !self.tools.is_empty() {
            for call in given.calls() {
                match parsed.tools.get(call.name()) {
                    None if self.open || parsed.open => {}
                    None => return Verdict::Bad(Fault::Undeclared(short(call.name()))),
                    Some(_) if call.is_free() => {}
                    Some(rule) => {
                        let tool = || Some(short(call.name()));
                        let Some(arguments) = call.arguments() else {
                            return Verdict::Bad(Fault::NotJson(tool()));
                        };
                        if let Some(fault) = broken(rule, &arguments, true, tool) {
                            return Verdict::Bad(fault);
                        }
                    }
                }
            }
        }
        // A turn that calls tools is not the answer yet.
        if self.answer.is_empty() || !given.calls().is_empty() || given.declined() {
            return Verdict::Good;
        }
        self.check_texts(&parsed.answer, given)
    }

    fn check_texts(&self, rule: &Rule, given: &Given) -> Verdict {
        let mut texts: Vec<_> = given.texts().collect();
        if self.dialect != Dialect::OpenaiChat {
            // Blocks before the last are what was said on the way.
            texts.drain(..texts.len().saturating_sub(1));
        }
        for text in texts {
            let text = text.unwrap_or_default();
            if let Some(fault) = broken(rule, text.as_bytes(), false, || None) {
                return Verdict::Bad(fault);
            }
        }
        Verdict::Good
    }

    /// The model said all that it wanted to say.
    fn is_finished(&self, finish: Option<&str>) -> bool {
        let usual: &[&str] = match self.dialect {
            Dialect::AnthropicMessages | Dialect::Bedrock => {
                &["end_turn", "tool_use", "stop_sequence"]
            }
            Dialect::OpenaiResponses => &["completed"],
            Dialect::Gemini => &["STOP"],
            _ => &["stop", "tool_calls", "function_call"],
        };
        finish.is_some_and(|finish| usual.contains(&finish))
    }
}

/// What of `rule` a JSON text breaks.
fn broken(
    rule: &Rule,
    json: &[u8],
    is_call: bool,
    tool: impl Fn() -> Option<String>,
) -> Option<Fault> {
    if matches!(rule, Rule::Anything) {
        return None;
    }
    // Many models write nothing where a tool takes nothing.
    let json = match json.trim_ascii() {
        [] if is_call => b"{}",
        json => json,
    };
    let Ok(value) = serde_json::from_slice(json) else {
        return Some(Fault::NotJson(tool()));
    };
    rule.breaks(&value)
        .map(|keyword| Fault::Breaks(tool(), keyword))
}

fn short(name: &str) -> String {
    name[..name.floor_char_boundary(NAME_BYTES_MAX)].to_owned()
}

#[cfg(test)]
mod tests;
