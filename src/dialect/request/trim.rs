//! Leaving messages out of a conversation so that it stays one: which may go, in which order, and the
//! body without them.
//!
//! What always stays: system and developer messages, the task statement (the first message of a user),
//! the last two messages of a user, the exchange that the call ends with, and whatever is of a kind unknown
//! here. An assistant's message goes only with the results of all its tool calls. What stays keeps its
//! bytes.
//!
//! The walk over the messages is taken only for calls that are too large.

use super::{Call, DecodeError, Dialect, decode_for};
use crate::json::{Change, quoted, splice};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

/// What a message is to its conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// System text.
    Fixed,
    /// Something of a kind that is not known here.
    Unknown,
    User,
    /// What a model said or asked for.
    Answer,
    /// Results of tool calls.
    Result,
    /// Results, and a person's words in the same message.
    ResultAndWords,
}

/// One message as far as trimming needs it.
#[derive(Debug)]
struct Message {
    kind: Kind,
    /// Ids of tool calls that it makes.
    makes: Vec<String>,
    /// Ids of tool calls whose results it holds.
    answers: Vec<String>,
}

/// Messages that stay or go together, by their places in order.
#[derive(Debug)]
struct Unit {
    messages: Vec<usize>,
    has_tools: bool,
    /// It may go.
    loose: bool,
}

impl Call {
    /// The messages that may be left out: together or not at all, first those that go first. Tool
    /// exchanges before plain ones, older before newer, and what follows the last message of a user
    /// after everything else. Nothing where the conversation, or a part of it, lies at the provider.
    #[must_use]
    pub fn droppable(&self) -> Vec<Vec<usize>> {
        let in_messages = matches!(
            self.dialect,
            Dialect::OpenaiChat | Dialect::OpenaiResponses | Dialect::AnthropicMessages
        );
        if !in_messages || self.ids.previous_response.is_some() || self.prompt.opaque {
            return Vec::new();
        }
        let links = self.chain.links.iter();
        let messages: Option<Vec<Message>> = links
            .map(|link| read(self.dialect, &self.body[link.at.clone()]))
            .collect();
        messages.map_or_else(Vec::new, |messages| order(self.dialect, &messages))
    }

    /// Some message is a model's: the conversation has gone on already.
    #[must_use]
    pub fn has_answer(&self) -> bool {
        let mut links = self.chain.links.iter();
        links.any(|link| {
            let message = read(self.dialect, &self.body[link.at.clone()]);
            message.is_some_and(|message| message.kind == Kind::Answer)
        })
    }

    /// The same call without these messages, whose places stand in order; everything else keeps its
    /// bytes.
    ///
    /// # Errors
    /// The body could not be read again: a fault of this file.
    pub fn without(&self, dropped: &[usize]) -> Result<Self, DecodeError> {
        let body = splice(&self.body, cuts(self, dropped, None));
        decode_for(self.dialect, body, Some(&self.model))
    }

    /// The same with a `user` message in place of the first of them. `None` where it would come between a
    /// tool call and its result.
    ///
    /// # Errors
    /// As of [`Self::without`].
    pub fn summarised(&self, dropped: &[usize], text: &str) -> Option<Result<Self, DecodeError>> {
        let place = self.gap(dropped)?;
        let message = format!("{{\"role\":\"user\",\"content\":{}}}", quoted(text));
        let body = splice(&self.body, cuts(self, dropped, Some((place, &message))));
        Some(decode_for(self.dialect, body, Some(&self.model)))
    }

    /// The first of these messages in whose place another may stand: no exchange that stays goes on over it.
    fn gap(&self, dropped: &[usize]) -> Option<usize> {
        let links = self.chain.links.iter();
        let messages = links.map(|link| read(self.dialect, &self.body[link.at.clone()]));
        let messages: Vec<Message> = messages.collect::<Option<_>>()?;
        let units = group(self.dialect, &messages).units;
        let is_within = |place: usize, unit: &Unit| {
            let stays = unit
                .messages
                .iter()
                .any(|at| dropped.binary_search(at).is_err());
            let (first, last) = (unit.messages.first(), unit.messages.last());
            stays
                && first.is_some_and(|first| *first < place)
                && last.is_some_and(|last| *last > place)
        };
        let firsts = dropped.chunk_by(|one, next| *next == one + 1);
        let mut firsts = firsts.filter_map(|run| run.first().copied());
        firsts.find(|place| !units.iter().any(|unit| is_within(*place, unit)))
    }
}

/// The cuts that take messages out of their array, with one comma each; and what is put in where a run
/// of them begins.
fn cuts(call: &Call, dropped: &[usize], put: Option<(usize, &str)>) -> Vec<Change<'static>> {
    let links = &call.chain.links;
    let runs = dropped.chunk_by(|one, next| *next == one + 1);
    let cuts = runs.filter_map(|run| {
        let (first, last) = (*run.first()?, *run.last()?);
        let end = links.get(last)?.at.end;
        let put = put.filter(|(place, _)| *place == first);
        let (at, with) = match (first.checked_sub(1), put) {
            (Some(before), put) => {
                let with = put.map(|(_, message)| format!(",{message}"));
                (links[before].at.end..end, with)
            }
            (None, None) => (links[first].at.start..links.get(last + 1)?.at.start, None),
            (None, Some((_, message))) => (links[first].at.start..end, Some(message.to_owned())),
        };
        Some(Change {
            at,
            with: with.map_or(Cow::Borrowed(""), Cow::Owned),
        })
    });
    cuts.collect()
}

/// Bytes of these messages, without what stands between them.
#[must_use]
pub fn bytes_of(call: &Call, messages: &[usize]) -> usize {
    let at = |message: &usize| call.chain.links.get(*message).map(|link| &link.at);
    messages.iter().filter_map(at).map(Range::len).sum()
}

fn read(dialect: Dialect, message: &[u8]) -> Option<Message> {
    let value: Value = serde_json::from_slice(message).ok()?;
    let mut read = Message {
        kind: Kind::Fixed,
        makes: Vec::new(),
        answers: Vec::new(),
    };
    match dialect {
        Dialect::OpenaiChat => chat(&value, &mut read),
        Dialect::AnthropicMessages => blocks(&value, &mut read),
        Dialect::OpenaiResponses => item(&value, &mut read),
        Dialect::OpenaiEmbeddings
        | Dialect::OpenaiCompletions
        | Dialect::Gemini
        | Dialect::Bedrock => {}
    }
    Some(read)
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}

fn chat(message: &Value, read: &mut Message) {
    match text(message, "role") {
        "user" => read.kind = Kind::User,
        "assistant" => {
            read.kind = Kind::Answer;
            let calls = message["tool_calls"].as_array();
            let ids = calls.into_iter().flatten().map(|call| text(call, "id"));
            read.makes.extend(ids.map(str::to_owned));
            if message["function_call"].is_object() {
                read.makes.push(FUNCTION.to_owned());
            }
        }
        "tool" => {
            read.kind = Kind::Result;
            read.answers.push(text(message, "tool_call_id").to_owned());
        }
        "function" => {
            read.kind = Kind::Result;
            read.answers.push(FUNCTION.to_owned());
        }
        _ => {}
    }
}

/// Stands for the id of a call in the older form, which has none.
const FUNCTION: &str = "\u{0}function";

fn blocks(message: &Value, read: &mut Message) {
    let blocks = message["content"].as_array();
    let blocks = || blocks.into_iter().flatten();
    match text(message, "role") {
        "assistant" => {
            read.kind = Kind::Answer;
            let uses = blocks().filter(|block| text(block, "type") == "tool_use");
            read.makes
                .extend(uses.map(|block| text(block, "id").to_owned()));
        }
        "user" => {
            let results = blocks().filter(|block| text(block, "type") == "tool_result");
            read.answers
                .extend(results.map(|block| text(block, "tool_use_id").to_owned()));
            let others = blocks().any(|block| text(block, "type") != "tool_result");
            read.kind = match (read.answers.is_empty(), others) {
                (true, _) => Kind::User,
                (false, true) => Kind::ResultAndWords,
                (false, false) => Kind::Result,
            };
        }
        _ => {}
    }
}

fn item(item: &Value, read: &mut Message) {
    let call_id = || text(item, "call_id").to_owned();
    match text(item, "type") {
        "" | "message" => {
            read.kind = match text(item, "role") {
                "user" => Kind::User,
                "assistant" => Kind::Answer,
                "system" | "developer" => Kind::Fixed,
                _ => Kind::Unknown,
            }
        }
        "function_call" | "custom_tool_call" | "computer_call" | "local_shell_call"
        | "shell_call" | "apply_patch_call" => {
            read.kind = Kind::Answer;
            let id = match call_id() {
                id if id.is_empty() => text(item, "id").to_owned(),
                id => id,
            };
            read.makes.push(id);
        }
        "function_call_output"
        | "custom_tool_call_output"
        | "computer_call_output"
        | "local_shell_call_output"
        | "shell_call_output"
        | "apply_patch_call_output" => {
            read.kind = Kind::Result;
            let id = match call_id() {
                id if id.is_empty() => text(item, "id").to_owned(),
                id => id,
            };
            read.answers.push(id);
        }
        "reasoning"
        | "web_search_call"
        | "file_search_call"
        | "code_interpreter_call"
        | "image_generation_call" => read.kind = Kind::Answer,
        _ => read.kind = Kind::Unknown,
    }
}

/// The units that may go, in the order in which they go.
fn order(dialect: Dialect, messages: &[Message]) -> Vec<Vec<usize>> {
    let Some(last) = messages.len().checked_sub(1) else {
        return Vec::new();
    };
    let of_user = |message: &Message| message.kind == Kind::User;
    let first_user = messages.iter().position(of_user);
    let task = first_user.or_else(|| {
        messages
            .iter()
            .position(|one| !matches!(one.kind, Kind::Fixed | Kind::Unknown))
    });
    let last_user = messages.iter().rposition(of_user).or(task).unwrap_or(0);
    // What was said to the model last may be a gateway's notice: the word before it stays too.
    let said_before = messages[..last_user].iter().rposition(of_user);
    let words = |message: &Message| message.kind == Kind::ResultAndWords;
    let last_words = messages.iter().rposition(words);
    let stay = [task, Some(last_user), said_before, last_words, Some(last)];
    let stays = |at: usize| stay.contains(&Some(at));
    let Grouped { units, unit_of } = group(dialect, messages);
    let loose = |unit: &Unit| unit.loose && !unit.messages.iter().any(|at| stays(*at));
    let loose: Vec<bool> = units.iter().map(loose).collect();
    // Where turns must alternate, a plain exchange goes only if everything up to the next message of a
    // user is gone with it; and plain answers to the task statement stay with that.
    let keeps_turns = |index: usize, unit: &Unit| {
        let Some(begins) = unit.messages.first().copied() else {
            return false;
        };
        if unit.has_tools || dialect != Dialect::AnthropicMessages {
            return true;
        }
        let next = messages[begins + 1..].iter().position(of_user);
        let goes = |at: usize| {
            let own = unit_of[at];
            loose[own] && (units[own].has_tools || own == index)
        };
        let until = next.map(|next| begins + 1 + next);
        of_user(&messages[begins]) && until.is_some_and(|until| (begins..until).all(goes))
    };
    let mut ordered: Vec<(u8, &Unit)> = Vec::new();
    for (index, unit) in units.iter().enumerate() {
        if loose[index] && keeps_turns(index, unit) {
            let before = unit.messages.last().is_some_and(|at| *at < last_user);
            let rank = match (unit.has_tools, before) {
                (true, true) => 0,
                (false, true) => 1,
                (true, false) => 2,
                (false, false) => 3,
            };
            ordered.push((rank, unit));
        }
    }
    ordered.sort_by_key(|(rank, unit)| (*rank, unit.messages.first().copied()));
    let messages = ordered.into_iter().map(|(_, unit)| unit.messages.clone());
    messages.collect()
}

/// Messages in their units.
struct Grouped {
    units: Vec<Unit>,
    /// The unit of each message.
    unit_of: Vec<usize>,
}

/// Groups the messages: a turn of the model with the results of its calls; a message of a user with
/// the plain answers to it; everything else by itself.
fn group(dialect: Dialect, messages: &[Message]) -> Grouped {
    let mut units: Vec<Unit> = Vec::new();
    let mut unit_of: Vec<usize> = Vec::with_capacity(messages.len());
    let mut makers: HashMap<&str, usize> = HashMap::new();
    // The unit of a user's message, while plain answers to it may follow.
    let mut exchange: Option<usize> = None;
    let mut seen_user = false;
    for (at, message) in messages.iter().enumerate() {
        let before = at.checked_sub(1);
        // The items of one turn belong together: reasoning is nothing without what it led to.
        let same_turn = dialect == Dialect::OpenaiResponses
            && message.kind == Kind::Answer
            && before.is_some_and(|before| messages[before].kind == Kind::Answer);
        let own = match message.kind {
            Kind::Answer if same_turn => before.map(|before| unit_of[before]),
            Kind::Answer if message.makes.is_empty() => {
                exchange.filter(|_| !begins_tool_turn(dialect, messages, at))
            }
            Kind::Result | Kind::ResultAndWords => {
                let ids = message.answers.iter();
                let mut makers = ids.filter_map(|id| makers.get(id.as_str()).copied());
                let first = makers.next();
                first.filter(|first| makers.all(|other| other == *first))
            }
            _ => None,
        };
        let own = own.unwrap_or_else(|| {
            units.push(Unit {
                messages: Vec::new(),
                has_tools: false,
                loose: !matches!(message.kind, Kind::Fixed | Kind::Unknown),
            });
            units.len() - 1
        });
        let unit = &mut units[own];
        unit.messages.push(at);
        unit.has_tools |= !message.makes.is_empty() || !message.answers.is_empty();
        unit_of.push(own);
        for id in &message.makes {
            makers.insert(id, own);
        }
        if message.kind == Kind::User {
            // The task statement stays, and what was said to it goes by itself.
            exchange = seen_user.then_some(own);
            seen_user = true;
        }
    }
    fix_incomplete(messages, &mut units);
    for (at, message) in messages.iter().enumerate() {
        // Nobody knows which of its neighbours it needs.
        if message.kind == Kind::Unknown {
            for beside in at.saturating_sub(1)..(at + 2).min(messages.len()) {
                units[unit_of[beside]].loose = false;
            }
        }
    }
    Grouped { units, unit_of }
}

/// In responses, reasoning or text at the head of a turn that goes on to call a tool.
fn begins_tool_turn(dialect: Dialect, messages: &[Message], at: usize) -> bool {
    let turn = messages[at..]
        .iter()
        .take_while(|message| message.kind == Kind::Answer);
    dialect == Dialect::OpenaiResponses && turn.into_iter().any(|message| !message.makes.is_empty())
}

/// A call without its result, or a result without its call, stays where it is.
fn fix_incomplete(messages: &[Message], units: &mut [Unit]) {
    for unit in units.iter_mut().filter(|unit| unit.has_tools) {
        let within = || unit.messages.iter().map(|at| &messages[*at]);
        let mut makes: Vec<&str> = within()
            .flat_map(|m| &m.makes)
            .map(String::as_str)
            .collect();
        let mut answers: Vec<&str> = within()
            .flat_map(|m| &m.answers)
            .map(String::as_str)
            .collect();
        makes.sort_unstable();
        answers.sort_unstable();
        unit.loose &= makes == answers;
    }
}

#[cfg(test)]
mod tests;
