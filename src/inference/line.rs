//! One conversation of one agent, as far as a later call can be joined to it. Digests and ids, no text.

use super::arguments::Argument;
use super::portrait::Fingerprint;
use crate::attribution::{Source, Sourced};
use crate::units::{AgentId, InvocationId, TaskId, UnixMs};
use smallvec::SmallVec;

/// Newest prefixes of one conversation that are kept.
pub(super) const MOST_MARKS: usize = 8;
/// Newest ids handed out in one conversation that are kept.
pub(super) const MOST_IDS: usize = 64;
/// Tool calls of one conversation that are open at once.
pub(super) const MOST_OPEN: usize = 32;
/// Newest answers of one conversation whose texts are known again.
pub(super) const MOST_SAID: usize = 4;

/// A tool call that was handed out and whose result has not come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The digest of its id.
    pub id: u64,
    /// Its tool's name says that the conversation goes to another agent.
    pub hands_off: bool,
    /// Its string arguments.
    pub arguments: SmallVec<[Argument; 2]>,
}

/// A conversation.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub task: TaskId,
    pub agent: Option<AgentId>,
    pub print: Fingerprint,
    pub invocation: InvocationId,
    pub parent: Option<Sourced<AgentId>>,
    /// What joined its first call to the task.
    pub by: Source,
    /// Its calls said which task they are of: one that says nothing is no repetition of theirs.
    pub named: bool,
    /// The digest of its first message.
    pub first: u128,
    /// What its calls ended with, the newest last.
    pub marks: SmallVec<[u128; 4]>,
    pub ids: SmallVec<[u64; 4]>,
    pub open: Vec<Open>,
    pub said: SmallVec<[u64; 2]>,
    /// Its newest call came to nothing: the same call again is that call.
    pub failed: bool,
    pub begun: UnixMs,
    pub seen: UnixMs,
}

impl Line {
    /// Nothing followed the prefix that ends with `mark`.
    pub(super) fn ends_with(&self, mark: u128) -> bool {
        self.marks.last() == Some(&mark)
    }
}

/// What an answer handed out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handed {
    /// Digests of the ids of its tool calls, and of its own where the next call may name that.
    pub ids: Vec<u64>,
    /// Its tool calls.
    pub open: Vec<Open>,
    /// The digest of its text; 0 if it had none to know it by.
    pub said: u64,
}
