//! The agents that were seen of one owner, for people to give them names.

use crate::units::{AgentId, TaskId, UnixMs};
use std::collections::HashMap;

use super::portrait::Fingerprint;

/// Agents of one owner that are listed; the one longest unseen makes room.
pub const MOST_SEEN: usize = 256;

/// An agent that was seen, since this process began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Its id, inferred or said.
    pub agent: Option<AgentId>,
    /// Its tools' names, sorted.
    pub tools: Vec<String>,
    /// Its calls.
    pub calls: u64,
    /// Its stays: conversations that it began.
    pub invocations: u64,
    /// Tasks that it was seen in; one that it comes back to after another counts anew.
    pub tasks: u64,
    /// Conversations of it that opened a task.
    pub opened: u64,
    /// Conversations of it that another agent called.
    pub called: u64,
    /// Its newest call, Unix milliseconds.
    pub last: UnixMs,
    pub(super) task: Option<TaskId>,
}

/// Makes room for one more.
pub(super) fn make_room(seen: &mut HashMap<Fingerprint, Seen>) {
    if seen.len() < MOST_SEEN {
        return;
    }
    let oldest = seen.iter().min_by_key(|(_, seen)| seen.last);
    if let Some(oldest) = oldest.map(|(print, _)| *print) {
        seen.remove(&oldest);
    }
}
