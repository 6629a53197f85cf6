//! What headers, baggage, path and body say of a call's task, agent, role and parent agent.
//!
//! One pass over the headers; per field the first source in the design's order wins.

use crate::attribution::Source;
use http::HeaderMap;
use std::borrow::Cow;

/// The longest id, bytes.
pub const MAX_ID_BYTES: usize = 256;

/// An explicit id that is no id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{from}` is not an id: at most 256 bytes of visible ASCII")]
pub struct BadId {
    /// The header, path part or field it stood in.
    pub from: &'static str,
}

/// One place that may name a field.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    value: &'a str,
    from: &'static str,
    source: Source,
    /// A percent-encoded value of baggage.
    encoded: bool,
}

/// The best place seen so far: the lowest rank wins.
#[derive(Clone, Copy, Debug, Default)]
pub struct Slot<'a> {
    best: Option<(u8, Place<'a>)>,
    bad: Option<(u8, &'static str)>,
}

impl<'a> Slot<'a> {
    /// Offers a value; an empty one says nothing.
    pub fn offer(&mut self, rank: u8, value: &'a str, from: &'static str, source: Source) {
        let encoded = source == Source::Baggage;
        self.place(
            rank,
            Place {
                value,
                from,
                source,
                encoded,
            },
        );
    }

    /// Offers a value of baggage that a setting names.
    pub fn offer_configured_baggage(&mut self, rank: u8, value: &'a str, from: &'static str) {
        let (source, encoded) = (Source::Configured, true);
        self.place(
            rank,
            Place {
                value,
                from,
                source,
                encoded,
            },
        );
    }

    fn place(&mut self, rank: u8, place: Place<'a>) {
        if !place.value.is_empty() && self.best.is_none_or(|(best, _)| rank < best) {
            self.best = Some((rank, place));
        }
    }

    /// Offers a header's value as it came.
    pub fn offer_bytes(&mut self, rank: u8, value: &'a [u8], from: &'static str, source: Source) {
        match std::str::from_utf8(value) {
            Ok(text) => self.offer(rank, text.trim(), from, source),
            Err(_) if self.bad.is_none_or(|(bad, _)| rank < bad) => self.bad = Some((rank, from)),
            Err(_) => {}
        }
    }

    /// The winner and its source.
    ///
    /// # Errors
    /// The winner is no id.
    pub fn take(self) -> Result<Option<(Cow<'a, str>, Source)>, BadId> {
        match (self.best, self.bad) {
            (Some((rank, _)), Some((bad, from))) if bad < rank => Err(BadId { from }),
            (None, Some((_, from))) => Err(BadId { from }),
            (Some((_, place)), _) if is_id(place.value) => {
                let value = match place.encoded {
                    true => decoded(place.value),
                    false => Cow::Borrowed(place.value),
                };
                Ok(Some((value, place.source)))
            }
            (Some((_, place)), _) => Err(BadId { from: place.from }),
            (None, None) => Ok(None),
        }
    }
}

/// At most 256 bytes of visible ASCII, at least one.
#[must_use]
pub fn is_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_ID_BYTES && text.bytes().all(|b| b.is_ascii_graphic())
}

/// Everything the outside of a body says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said<'a> {
    /// The task.
    pub task: Slot<'a>,
    /// The agent.
    pub agent: Slot<'a>,
    /// Its role.
    pub role: Slot<'a>,
    /// Which stay in the agent.
    pub invocation: Slot<'a>,
    /// Who called it.
    pub parent: Slot<'a>,
    /// For whom.
    pub on_behalf_of: Slot<'a>,
    /// `x-bursar-task-usd`: the task's own cap, on its first call.
    pub task_usd: Option<&'a str>,
}

/// Ranks: header 0, path 1, baggage 2.., other headers 8.., body 20.., configured 40...
pub mod rank {
    /// `/task/{id}` and the like.
    pub const PATH: u8 = 1;
    /// Fields of the body.
    pub const BODY: u8 = 20;
    /// `previous_response_id`.
    pub const PREVIOUS: u8 = 30;
    /// `[attribution] task_from`.
    pub const CONFIGURED: u8 = 40;
}

/// Reads all headers once.
#[must_use]
pub fn from_headers(headers: &HeaderMap) -> Said<'_> {
    use Source::{Foreign, Header};
    let mut said = Said::default();
    for (name, value) in headers {
        let name = name.as_str();
        let value = value.as_bytes();
        match name {
            "x-bursar-task-id" => said.task.offer_bytes(0, value, "x-bursar-task-id", Header),
            "x-bursar-agent-id" => said
                .agent
                .offer_bytes(0, value, "x-bursar-agent-id", Header),
            "x-bursar-agent-role" => said
                .role
                .offer_bytes(0, value, "x-bursar-agent-role", Header),
            "x-bursar-parent-agent-id" => {
                said.parent
                    .offer_bytes(0, value, "x-bursar-parent-agent-id", Header);
            }
            "x-bursar-on-behalf-of" => {
                said.on_behalf_of
                    .offer_bytes(0, value, "x-bursar-on-behalf-of", Header);
            }
            "x-bursar-task-usd" => said.task_usd = std::str::from_utf8(value).ok(),
            "baggage" => from_baggage(value, &mut said),
            "x-claude-code-agent-id" => {
                said.agent
                    .offer_bytes(8, value, "x-claude-code-agent-id", Foreign);
            }
            "x-litellm-agent-id" => said
                .agent
                .offer_bytes(9, value, "x-litellm-agent-id", Foreign),
            "x-claude-code-agent-type" => {
                said.role
                    .offer_bytes(8, value, "x-claude-code-agent-type", Foreign);
            }
            "x-claude-code-parent-agent-id" => {
                said.parent
                    .offer_bytes(8, value, "x-claude-code-parent-agent-id", Foreign);
            }
            _ => {
                let position = FOREIGN_TASK_HEADERS.iter().position(|known| *known == name);
                if let Some(position) = position {
                    let rank = 8 + u8::try_from(position).unwrap_or(u8::MAX - 8);
                    said.task
                        .offer_bytes(rank, value, FOREIGN_TASK_HEADERS[position], Foreign);
                }
            }
        }
    }
    said
}

/// Session ids of frameworks and of other gateways' clients, in order.
const FOREIGN_TASK_HEADERS: [&str; 8] = [
    "x-claude-code-session-id",
    "session-id",
    "session_id",
    "x-litellm-session-id",
    "x-litellm-trace-id",
    "x-bf-session-id",
    "helicone-session-id",
    "x-portkey-trace-id",
];

/// Known keys only: baggage carries other people's data too.
fn from_baggage<'a>(value: &'a [u8], said: &mut Said<'a>) {
    let Ok(text) = std::str::from_utf8(value) else {
        return;
    };
    for (key, value) in baggage_members(text) {
        match key {
            "user_task_id" => said
                .task
                .offer(2, value, "baggage user_task_id", Source::Baggage),
            "agent_id" => said
                .agent
                .offer(2, value, "baggage agent_id", Source::Baggage),
            "gen_ai.agent.id" => {
                said.agent
                    .offer(3, value, "baggage gen_ai.agent.id", Source::Baggage);
            }
            "gen_ai.agent.name" => {
                said.agent
                    .offer(4, value, "baggage gen_ai.agent.name", Source::Baggage);
            }
            "gen_ai.agent.call.id" => {
                let from = "baggage gen_ai.agent.call.id";
                said.invocation.offer(2, value, from, Source::Baggage);
            }
            "agent_role" => said
                .role
                .offer(2, value, "baggage agent_role", Source::Baggage),
            "parent_agent_id" => {
                said.parent
                    .offer(2, value, "baggage parent_agent_id", Source::Baggage);
            }
            _ => {}
        }
    }
}

/// The members of a baggage header, without their properties, their values as they stand: [`decoded`]
/// gives what they mean.
pub fn baggage_members(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split(',').filter_map(|member| {
        let member = member.split(';').next()?;
        let (key, value) = member.split_once('=')?;
        Some((key.trim(), value.trim()))
    })
}

/// What a percent-encoded id means, so that `team%3A7` in baggage and `team:7` in a header are one
/// task. What is no id when decoded (an agent's name with spaces) is taken as it stands.
#[must_use]
pub fn decoded(value: &str) -> Cow<'_, str> {
    if !value.contains('%') {
        return Cow::Borrowed(value);
    }
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [first, after @ ..] = rest {
        let byte = match (first, after) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match byte {
            Some((high, low)) => {
                out.push(high * 16 + low);
                rest = &after[2..];
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    match String::from_utf8(out) {
        Ok(text) if is_id(&text) => Cow::Owned(text),
        _ => Cow::Borrowed(value),
    }
}

fn hex(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}
