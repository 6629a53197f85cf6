//! A [`TaskRecord`] as a task keeps it in memory: what most tasks have none of takes no room.

use crate::escalation::{Allowed, Asked};
use crate::ledger::Caps;
use crate::store::{TaskRecord, TaskState};
use crate::units::{TaskKey, UnixMs};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) key: TaskKey,
    pub(super) state: TaskState,
    opened: UnixMs,
    paused_ms: u64,
    paused_since: Option<UnixMs>,
    /// Present if anything in it is.
    pub(super) more: Option<Box<More>>,
}

/// What most tasks have none of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct More {
    pub(super) caps: Caps,
    pub(super) escalation: Option<Asked>,
    pub(super) allowed: Option<Allowed>,
}

impl From<TaskRecord> for Kept {
    fn from(record: TaskRecord) -> Self {
        let TaskRecord {
            key,
            state,
            opened,
            caps,
            paused_ms,
            paused_since,
            escalation,
            allowed,
        } = record;
        let more = More {
            caps,
            escalation,
            allowed,
        };
        Self {
            key,
            state,
            opened,
            paused_ms,
            paused_since,
            more: (more != More::default()).then(|| Box::new(more)),
        }
    }
}

impl Kept {
    /// What the store said last.
    pub(super) fn record(&self) -> TaskRecord {
        let more = self.more.as_deref().cloned().unwrap_or_default();
        TaskRecord {
            key: self.key.clone(),
            state: self.state,
            opened: self.opened,
            caps: more.caps,
            paused_ms: self.paused_ms,
            paused_since: self.paused_since,
            escalation: more.escalation,
            allowed: more.allowed,
        }
    }

    pub(super) fn caps(&self) -> Caps {
        self.more.as_ref().map(|more| more.caps).unwrap_or_default()
    }

    pub(super) fn set_caps(&mut self, caps: Caps) {
        *self = TaskRecord {
            caps,
            ..self.record()
        }
        .into();
    }

    pub(super) fn escalation(&self) -> Option<Asked> {
        self.more.as_ref()?.escalation.clone()
    }

    /// Milliseconds spent suspended, the present suspension included.
    pub(super) fn suspended_ms(&self, now: UnixMs) -> u64 {
        let since = self.paused_since;
        TaskRecord::paused(self.paused_ms, since, now)
    }
}
