//! How the agents of one task conduct themselves, as far as it went wrong: malformed answers and failed
//! calls in a row, and children that failed. Pure: it is told how calls ended, and says what stands out.
//!
//! **Invariant:** only agents whose last judged call went wrong are kept, and at most [`MOST_AGENTS`] of
//! them, in some 64 KiB at the very most: a task whose calls go well takes nothing here.

use crate::units::AgentId;
use std::fmt;
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3;

/// As many agents of a task are kept; the one longest silent makes room.
pub const MOST_AGENTS: usize = 16;
/// As many calls of a run are remembered by id, the newest.
const MOST_CALLS: usize = 8;
/// As many pieces of a run's answers are remembered, the newest, to know who was handed them.
const MOST_TRACES: usize = 8;
/// As many agents that were handed such a piece are remembered for each agent.
const MOST_RECEIVERS: usize = 4;

/// Which agent: by its name, else by its system text and tools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// By name.
    Named(AgentId),
    /// By the digest of its system text and tools.
    Like(u128),
}

impl Who {
    /// Its name, if it has one.
    #[must_use]
    pub fn name(&self) -> Option<&AgentId> {
        match self {
            Self::Named(name) => Some(name),
            Self::Like(_) => None,
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => write!(f, "agent `{name}`"),
            Self::Like(_) => f.write_str("an agent without a name"),
        }
    }
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Well.
    Good,
    /// With an answer whose form nobody can judge.
    Answered,
    /// With an answer that breaks what was declared.
    Malformed {
        /// How.
        what: Arc<str>,
        /// Pieces by which the answer is known where it is handed on.
        traces: Vec<Box<[u8]>>,
    },
    /// With no answer, or perhaps none; why.
    Failed(Arc<str>),
    /// Refused by us for good; the code.
    Refused(Arc<str>),
}

/// What stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Malformed answers of an agent in a row.
    Malformed,
    /// Failed calls of an agent in a row.
    Failures,
    /// Failed children of an agent.
    Children,
}

impl Kind {
    /// The rule's name in configuration, the journal and metrics.
    #[must_use]
    pub const fn rule(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Failures | Self::Children => "failures",
        }
    }
}

/// From how many on something stands out; `None`: never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Thresholds {
    /// Malformed answers in a row.
    pub malformed: Option<u32>,
    /// Failed calls in a row.
    pub failures: Option<u32>,
    /// Failed children.
    pub children: Option<u32>,
}

/// Something that stands out, with its evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub kind: Kind,
    /// How many.
    pub count: u32,
    /// The newest fault, or the children's names.
    pub what: Arc<str>,
    /// The calls, by `x-bursar-request-id`, the newest last.
    pub calls: Vec<Arc<str>>,
    /// A digest for each of them: of what was malformed in its answer, or of why it failed.
    pub digests: Vec<u64>,
    /// Nobody was told of it yet.
    pub first: bool,
}

/// The agents of one task that went wrong.
#[derive(Clone, Debug, Default)]
pub struct Conduct {
    agents: Vec<Agent>,
    ticks: u64,
}

#[derive(Clone, Debug)]
struct Agent {
    who: Who,
    parent: Option<AgentId>,
    malformed: Run,
    failed: Run,
    /// Its newest call went wrong.
    is_failed: bool,
    /// The code, if its newest call was refused.
    refused: Option<Arc<str>>,
    /// When its newest call ended.
    tick: u64,
    /// It was told as a child of its parent.
    told_parent: bool,
    /// Pieces of the answers of a row of malformed ones.
    traces: Vec<Box<[u8]>>,
    /// Who is known to have what it handed on.
    receivers: Vec<AgentId>,
}

/// Somebody was handed what an agent had said while it went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandedOn {
    /// Who went wrong.
    pub from: Who,
    /// How.
    pub what: Arc<str>,
    /// Its calls.
    pub calls: Vec<Arc<str>>,
}

#[derive(Clone, Debug, Default)]
struct Run {
    count: u32,
    what: Arc<str>,
    calls: Vec<Arc<str>>,
    digests: Vec<u64>,
    told: bool,
}

/// What went wrong: the pieces of the answer, or else why, in words.
fn digest(what: &str, traces: &[Box<[u8]>]) -> u64 {
    let mut hash = Xxh3::new();
    for trace in traces {
        hash.update(trace);
        hash.update(&[0]);
    }
    if traces.is_empty() {
        hash.update(what.as_bytes());
    }
    hash.digest()
}

impl Run {
    fn more(&mut self, what: &Arc<str>, traces: &[Box<[u8]>], call: &Arc<str>) {
        self.count = self.count.saturating_add(1);
        self.what = Arc::clone(what);
        if self.calls.len() == MOST_CALLS {
            self.calls.remove(0);
            self.digests.remove(0);
        }
        self.calls.push(Arc::clone(call));
        self.digests.push(digest(what, traces));
    }

    fn finding(&mut self, kind: Kind, from: Option<u32>) -> Option<Finding> {
        if self.count < from? {
            return None;
        }
        Some(Finding {
            kind,
            count: self.count,
            what: Arc::clone(&self.what),
            calls: self.calls.clone(),
            digests: self.digests.clone(),
            first: !std::mem::replace(&mut self.told, true),
        })
    }
}

impl Conduct {
    /// Nothing went wrong lately.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.agents.is_empty()
    }

    /// Takes in how a call ended.
    pub fn ended(&mut self, who: &Who, parent: Option<&AgentId>, end: &End, call: &Arc<str>) {
        self.ticks += 1;
        let known = self.agents.iter().position(|agent| agent.who == *who);
        match (end, known) {
            (End::Good | End::Answered, None) => return,
            (End::Good, Some(index)) => {
                self.agents.swap_remove(index);
                return;
            }
            (End::Answered, Some(index)) => {
                let agent = &mut self.agents[index];
                (agent.failed, agent.is_failed) = (Run::default(), false);
                if agent.malformed.count == 0 {
                    self.agents.swap_remove(index);
                }
                return;
            }
            _ => {}
        }
        let index = known.unwrap_or_else(|| self.begin(who));
        let tick = self.ticks;
        let agent = &mut self.agents[index];
        agent.tick = tick;
        (agent.is_failed, agent.refused) = (true, None);
        agent.parent = parent.cloned().or(agent.parent.take());
        match end {
            End::Malformed { what, traces } => {
                agent.traces.extend(traces.iter().cloned());
                let most = agent.traces.len().saturating_sub(MOST_TRACES);
                agent.traces.drain(..most);
                agent.malformed.more(what, traces, call);
                agent.failed.more(what, traces, call);
            }
            End::Failed(what) => agent.failed.more(what, &[], call),
            // It is its parent who should know; the agent itself has been told.
            End::Refused(code) => agent.refused = Some(Arc::clone(code)),
            End::Good | End::Answered => {}
        }
    }

    /// A place for one more; that of the longest silent if there are too many.
    fn begin(&mut self, who: &Who) -> usize {
        let agent = Agent {
            who: who.clone(),
            parent: None,
            malformed: Run::default(),
            failed: Run::default(),
            is_failed: false,
            refused: None,
            tick: 0,
            told_parent: false,
            traces: Vec::new(),
            receivers: Vec::new(),
        };
        if self.agents.len() < MOST_AGENTS {
            self.agents.push(agent);
            return self.agents.len() - 1;
        }
        let ticks = self.agents.iter().map(|agent| agent.tick).enumerate();
        let index = ticks.min_by_key(|(_, tick)| *tick).map_or(0, |(i, _)| i);
        self.agents[index] = agent;
        index
    }

    /// What stands out about an agent, the most telling first.
    pub fn judge(&mut self, who: &Who, from: &Thresholds) -> Option<Finding> {
        if let Some(agent) = self.agents.iter_mut().find(|agent| agent.who == *who) {
            let malformed = agent.malformed.finding(Kind::Malformed, from.malformed);
            let failed = || agent.failed.finding(Kind::Failures, from.failures);
            if let Some(found) = malformed.or_else(failed) {
                return Some(found);
            }
        }
        self.judge_children(who.name()?, from.children?)
    }

    /// Agents that were found to give malformed answers, of which the request of `to` holds a piece; each
    /// is told once. The parent of one is told without that.
    pub fn handed_on(&mut self, to: &AgentId, request: &[u8]) -> Vec<HandedOn> {
        let mut found = Vec::new();
        for agent in &mut self.agents {
            let is_other = agent.malformed.told && agent.who.name() != Some(to);
            let is_known = agent.parent.as_ref() == Some(to) || agent.receivers.contains(to);
            if !is_other || is_known || agent.receivers.len() == MOST_RECEIVERS {
                continue;
            }
            let has = |trace: &[u8]| memchr::memmem::find(request, trace).is_some();
            if agent.traces.iter().any(|trace| has(trace)) {
                agent.receivers.push(to.clone());
                found.push(HandedOn {
                    from: agent.who.clone(),
                    what: Arc::clone(&agent.malformed.what),
                    calls: agent.malformed.calls.clone(),
                });
            }
        }
        found
    }

    fn judge_children(&mut self, parent: &AgentId, from: u32) -> Option<Finding> {
        let mine = |agent: &&mut Agent| agent.is_failed && agent.parent.as_ref() == Some(parent);
        let mut children: Vec<_> = self.agents.iter_mut().filter(mine).collect();
        let count = u32::try_from(children.len()).unwrap_or(u32::MAX);
        if count < from {
            return None;
        }
        children.sort_by_key(|child| child.tick);
        let names: Vec<String> = children.iter().map(|child| child.who.to_string()).collect();
        let calls = children
            .iter()
            .filter_map(|child| child.failed.calls.last());
        let calls = calls.cloned().collect();
        let digests = children
            .iter()
            .filter_map(|child| child.failed.digests.last().copied());
        let digests = digests.collect();
        let first = children.iter().any(|child| !child.told_parent);
        for child in children {
            child.told_parent = true;
        }
        Some(Finding {
            kind: Kind::Children,
            count,
            what: names.join(", ").into(),
            calls,
            digests,
            first,
        })
    }

    /// The agents whose newest call went wrong: by name, and why.
    pub fn failed(&self) -> impl Iterator<Item = (&AgentId, &str)> {
        let failed = self.agents.iter().filter(|agent| agent.is_failed);
        failed.filter_map(|agent| {
            let what = agent.refused.as_ref().unwrap_or(&agent.failed.what);
            Some((agent.who.name()?, &**what))
        })
    }
}

#[cfg(test)]
mod tests;
