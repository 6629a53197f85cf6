//! The providers' own bill: what they charged, by task, agent, owner, key and request.
//!
//! Everything is entered before the first byte of the answer leaves, so nobody ever holds an answer
//! that is not on the bill; a client that hangs up changes nothing.

use super::prices::Tokens;
use crate::units::NanoUsd;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// Tasks, agents, owners, keys and requests kept apart, of each; more share the line [`OTHERS`].
const MOST_LINES: usize = 1_000_000;
/// The line of everything beyond `MOST_LINES`.
pub const OTHERS: &str = "(others)";

/// One line of the bill.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Nano-dollars.
    pub nano_usd: u64,
    /// All input tokens, cached ones included.
    pub input_tokens: u64,
    /// All output tokens, unseen reasoning included.
    pub output_tokens: u64,
    /// Billed calls.
    pub calls: u64,
}

/// What one `x-bursar-request-id` cost, retries together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestLine {
    /// Nano-dollars.
    pub nano_usd: u64,
    /// Billed calls under this id.
    pub calls: u64,
    /// Every billed call under this id was answered to its last byte.
    pub complete: bool,
}

/// The bill as `GET /bill` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bill {
    /// Nano-dollars in all.
    pub total_nano_usd: u64,
    /// Billed calls.
    pub calls: u64,
    /// Billed generation calls (embeddings are no turns).
    pub turns: u64,
    /// Error answers that cost nothing.
    pub refused: u64,
    /// By `x-bursar-task-id`, else `x-sim-task`, else `metadata.user_task_id`, else `none`.
    pub by_task: BTreeMap<String, Line>,
    /// By `task/agent`, for calls with `x-bursar-agent-id`.
    pub by_agent: BTreeMap<String, Line>,
    /// By `x-bursar-owner`, for calls that carry it.
    pub by_owner: BTreeMap<String, Line>,
    /// By API key: made-up keys (`sk-sim…`) as they are, others as `sha256:` and twelve digits.
    pub by_key: BTreeMap<String, Line>,
    /// By `x-bursar-request-id`; only when asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_request: Option<BTreeMap<String, RequestLine>>,
}

impl Bill {
    /// Everything together.
    #[must_use]
    pub fn total(&self) -> NanoUsd {
        NanoUsd(self.total_nano_usd)
    }

    /// What that task cost.
    #[must_use]
    pub fn task(&self, task: &str) -> NanoUsd {
        NanoUsd(self.by_task.get(task).map_or(0, |line| line.nano_usd))
    }
}

/// Whom a call is charged to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Payer<'a> {
    pub task: Option<&'a str>,
    pub agent: Option<&'a str>,
    pub owner: Option<&'a str>,
    pub key: Option<&'a str>,
    pub request: Option<&'a str>,
}

/// One charge.
#[derive(Clone, Copy, Debug)]
pub struct Charge {
    pub cost: NanoUsd,
    pub tokens: Tokens,
    pub turn: bool,
}

#[derive(Debug, Default)]
struct TaskLines {
    line: Line,
    agents: HashMap<Box<str>, Line>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Attempted {
    nano_usd: u64,
    calls: u64,
    completed: u64,
}

#[derive(Debug, Default)]
struct Lines {
    total: Line,
    turns: u64,
    refused: u64,
    tasks: HashMap<Box<str>, TaskLines>,
    agents: usize,
    owners: HashMap<Box<str>, Line>,
    keys: HashMap<Box<str>, Line>,
    requests: HashMap<Box<str>, Attempted>,
}

/// The bill while it grows. One lock, held for a few map look-ups.
#[derive(Debug, Default)]
pub struct Books(Mutex<Lines>);

impl Books {
    /// Enters a charge.
    pub fn charge(&self, payer: &Payer<'_>, charge: &Charge) {
        let mut lines = self.0.lock();
        let lines = &mut *lines;
        lines.total.add(charge);
        lines.turns += u64::from(charge.turn);
        let agents = &mut lines.agents;
        update(&mut lines.tasks, payer.task.unwrap_or("none"), |task| {
            task.line.add(charge);
            let Some(agent) = payer.agent else { return };
            let known = task.agents.contains_key(agent);
            let room = known || *agents < MOST_LINES;
            *agents += usize::from(!known && room);
            update(
                &mut task.agents,
                if room { agent } else { OTHERS },
                |line| {
                    line.add(charge);
                },
            );
        });
        if let Some(owner) = payer.owner {
            update(&mut lines.owners, owner, |line| line.add(charge));
        }
        if let Some(key) = payer.key {
            update(&mut lines.keys, key, |line| line.add(charge));
        }
        if let Some(request) = payer.request {
            update(&mut lines.requests, request, |line| {
                line.nano_usd = line.nano_usd.saturating_add(charge.cost.0);
                line.calls += 1;
            });
        }
    }

    /// The last byte of an answer under this id was handed over.
    pub fn completed(&self, request: &str) {
        if let Some(line) = self.0.lock().requests.get_mut(request) {
            line.completed += 1;
        }
    }

    /// An error answer that costs nothing.
    pub fn refused(&self) {
        self.0.lock().refused += 1;
    }

    /// Begins a new bill.
    pub fn reset(&self) {
        *self.0.lock() = Lines::default();
    }

    /// The bill so far.
    pub fn bill(&self, with_requests: bool) -> Bill {
        let lines = self.0.lock();
        let by_agent = lines.tasks.iter().flat_map(|(task, within)| {
            let agents = within.agents.iter();
            agents.map(move |(agent, line)| (format!("{task}/{agent}"), *line))
        });
        Bill {
            total_nano_usd: lines.total.nano_usd,
            calls: lines.total.calls,
            turns: lines.turns,
            refused: lines.refused,
            by_task: sorted(
                lines
                    .tasks
                    .iter()
                    .map(|(task, within)| (task, &within.line)),
            ),
            by_agent: by_agent.collect(),
            by_owner: sorted(lines.owners.iter()),
            by_key: sorted(lines.keys.iter()),
            by_request: with_requests.then(|| {
                let requests = lines.requests.iter();
                requests
                    .map(|(id, line)| (id.to_string(), shown(line)))
                    .collect()
            }),
        }
    }
}

const fn shown(line: &Attempted) -> RequestLine {
    RequestLine {
        nano_usd: line.nano_usd,
        calls: line.calls,
        complete: line.calls == line.completed,
    }
}

fn sorted<'a>(lines: impl Iterator<Item = (&'a Box<str>, &'a Line)>) -> BTreeMap<String, Line> {
    lines
        .map(|(name, line)| (name.to_string(), *line))
        .collect()
}

/// Changes the line of that name; a name not seen before gets one while there is room. A known name
/// costs one look-up and no allocation.
fn update<T: Default>(lines: &mut HashMap<Box<str>, T>, name: &str, change: impl FnOnce(&mut T)) {
    if let Some(line) = lines.get_mut(name) {
        return change(line);
    }
    let name = if lines.len() < MOST_LINES {
        name
    } else {
        OTHERS
    };
    change(lines.entry(name.into()).or_default());
}

impl Line {
    fn add(&mut self, charge: &Charge) {
        self.nano_usd = self.nano_usd.saturating_add(charge.cost.0);
        self.input_tokens += charge.tokens.all_input();
        self.output_tokens += charge.tokens.output;
        self.calls += 1;
    }
}
