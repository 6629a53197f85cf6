//! How the agents of one task have fared, by its calls in the journal.

use crate::store::{CallBody, CallRow, Ending, StoreError};
use crate::units::{Meter, NanoUsd};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};

/// Calls of a task that its agents' figures are summed over, the newest.
pub const MAX_CALLS: usize = 100_000;

/// Where an agent stands, by its newest call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It has calls in flight, or was told to call tools and has not come back yet.
    #[default]
    Running,
    /// Its newest answer asked for nothing more.
    Finished,
    /// Its newest call went wrong.
    Failed,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Running, Self::Finished, Self::Failed];

    /// The word in answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Failed => "failed",
        }
    }
}

/// One agent's figures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Its role in its newest call.
    pub role: Option<String>,
    /// Who called it, by its newest call that says so.
    pub parent: Option<String>,
    /// Where it stands.
    pub state: State,
    /// Why it failed.
    pub why: Option<String>,
    /// Calls that were let through.
    pub calls: u64,
    /// Calls that were refused here.
    pub denied: u64,
    /// Turns.
    pub turns: u64,
    /// Tokens.
    pub tokens: u64,
    /// Settled by its calls.
    pub settled: NanoUsd,
    /// In doubt and not yet decided.
    pub in_doubt: NanoUsd,
    /// Calls in flight; `None` where no gateway was asked.
    pub in_flight: Option<u64>,
    /// When its newest call ended, Unix milliseconds.
    pub last: i64,
}

/// The agents by name; `-` stands for calls that named none.
#[derive(Clone, Debug, Default)]
pub struct Crew(BTreeMap<String, Member>);

impl Crew {
    /// Sums up calls. `open`: the doubts of the task that nobody has decided.
    ///
    /// # Errors
    /// A row cannot be read.
    pub fn of(calls: &[CallRow], open: &HashSet<i64>) -> Result<Self, StoreError> {
        let mut crew = Self::default();
        for row in calls {
            let call = row.body()?;
            // Rows of tasks opened and of tools counted tell no call of their own.
            if matches!(call.dialect.as_str(), "task" | "tool") {
                continue;
            }
            let member = crew.member(call.agent.as_ref().map(|agent| agent.as_str()));
            member.role = call.role.as_ref().map(|role| role.as_str().to_owned());
            member.last = call.ended;
            if let Some(parent) = &call.parent {
                member.parent = Some(parent.as_str().to_owned());
            }
            (member.state, member.why) = stands(&call);
            let charged = &call.charged.0;
            match Ending::from_name(call.ending.as_str()) {
                Some(Ending::Denied) => {
                    member.denied += 1;
                    continue;
                }
                Some(Ending::Unreconciled) if open.contains(&row.seq) => {
                    member.in_doubt = sum(member.in_doubt, charged.usd());
                }
                // Decided since; what it came to stands in the accounts.
                Some(Ending::Unreconciled) => {}
                _ => member.settled = sum(member.settled, charged.usd()),
            }
            member.calls += 1;
            member.turns += charged[Meter::Turns];
            member.tokens = member.tokens.saturating_add(charged[Meter::Tokens]);
        }
        Ok(crew)
    }

    /// Counts calls in flight, by the names of their agents.
    pub fn fly<'a>(&mut self, agents: impl Iterator<Item = Option<&'a str>>) {
        for member in self.0.values_mut() {
            member.in_flight = Some(0);
        }
        for agent in agents {
            let member = self.member(agent);
            member.in_flight = Some(member.in_flight.unwrap_or(0) + 1);
            (member.state, member.why) = (State::Running, None);
        }
    }

    /// Notes an agent whose newest answer was found wanting, for a reason that the journal's rows of
    /// calls do not tell. Before [`Self::fly`], for who has calls in flight may still come round.
    pub fn fail(&mut self, agent: &str, why: String) {
        if let Some(member) = self.0.get_mut(agent) {
            (member.state, member.why) = (State::Failed, Some(why));
        }
    }

    /// The children of an agent, by where they stand.
    #[must_use]
    pub fn children_of(&self, parent: &str) -> Value {
        let of = |state: State| {
            let mine = self.0.iter().filter(move |(_, member)| {
                member.parent.as_deref() == Some(parent) && member.state == state
            });
            mine.map(|(name, _)| name.as_str()).collect::<Vec<_>>()
        };
        State::ALL
            .iter()
            .map(|state| (state.name().to_owned(), json!(of(*state))))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }

    fn member(&mut self, agent: Option<&str>) -> &mut Member {
        self.0.entry(agent.unwrap_or("-").to_owned()).or_default()
    }

    /// One object per agent.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let line = |(name, member): (&String, &Member)| {
            json!({
                "agent": name,
                "role": member.role,
                "parent": member.parent,
                "state": member.state.name(),
                "why": member.why,
                "usd": member.settled.to_string(),
                "in_doubt_usd": member.in_doubt.to_string(),
                "calls": member.calls,
                "turns": member.turns,
                "tokens": member.tokens,
                "denied": member.denied,
                "in_flight": member.in_flight,
                "last": (member.last > 0).then(|| super::show::instant(crate::units::UnixMs(member.last))),
            })
        };
        self.0.iter().map(line).collect()
    }
}

/// Where an agent stands whose newest call is this, and why if it failed.
fn stands(call: &CallBody<'_>) -> (State, Option<String>) {
    let reason = call
        .reason
        .as_ref()
        .map(|reason| reason.as_str().to_owned());
    let is_answered = match Ending::from_name(call.ending.as_str()) {
        Some(Ending::Settle) => true,
        // Answered, only that its cost is not known.
        Some(Ending::Unreconciled) => reason.as_deref() == Some("no_usage"),
        _ => false,
    };
    match is_answered {
        false => (State::Failed, reason),
        true if call.tools.is_empty() => (State::Finished, None),
        true => (State::Running, None),
    }
}

const fn sum(one: NanoUsd, other: NanoUsd) -> NanoUsd {
    NanoUsd(one.0.saturating_add(other.0))
}
