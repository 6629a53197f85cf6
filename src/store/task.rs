//! Tasks as the store knows them, and what is said when one is opened.

use crate::escalation::{Allowed, Asked};
use crate::ledger::Caps;
use crate::units::{ProviderName, TaskKey, UnixMs};
use std::sync::Arc;

/// The state of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// Calls are admitted.
    Active,
    /// Calls are refused until resumed.
    Suspended,
    /// Calls are refused for good.
    Closed,
}

impl TaskState {
    /// The word in the store, in reports and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Closed => "closed",
        }
    }

    /// The state of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Active, Self::Suspended, Self::Closed]
            .into_iter()
            .find(|state| state.name() == name)
    }
}

/// What the store knows of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskRecord {
    /// Which task.
    pub key: TaskKey,
    /// Whether it may spend.
    pub state: TaskState,
    /// When it was first seen.
    pub opened: UnixMs,
    /// Its own, lower caps.
    pub caps: Caps,
    /// Milliseconds spent suspended, for `duration`.
    pub paused_ms: u64,
    /// Since when it is suspended.
    pub paused_since: Option<UnixMs>,
    /// The question it waits for, or the one that was answered with no.
    pub escalation: Option<Asked>,
    /// Turns that a person allowed before being asked again.
    pub allowed: Option<Allowed>,
}

impl TaskRecord {
    /// Milliseconds spent suspended, the present suspension included.
    #[must_use]
    pub fn suspended_ms(&self, now: UnixMs) -> u64 {
        Self::paused(self.paused_ms, self.paused_since, now)
    }

    /// The same of a task that was suspended for so long before, and is since then.
    pub(crate) fn paused(before_ms: u64, since: Option<UnixMs>, now: UnixMs) -> u64 {
        let present = since.map_or(0, |since| now.0.saturating_sub(since.0).max(0));
        before_ms.saturating_add(present.unsigned_abs())
    }

    /// Adds the present suspension, if there is one, to the time spent suspended.
    pub(super) fn leave_suspension(&mut self, now: UnixMs) {
        self.paused_ms = self.suspended_ms(now);
        self.paused_since = None;
    }
}

/// The model that a task is held to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelPin {
    /// By which route, and for which model asked for where the route goes by that.
    pub what: Arc<str>,
    /// The provider that answered first.
    pub provider: ProviderName,
    /// The model as it named it.
    pub model: Arc<str>,
}

/// A task that a call names.
#[derive(Clone, Debug)]
pub struct TaskOpening {
    /// Which task.
    pub key: TaskKey,
    /// Its own caps, kept only if the task is new.
    pub caps: Caps,
    /// Who opens it: the caller's identity, or an operator.
    pub by: Arc<str>,
}
