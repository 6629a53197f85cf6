//! What a held call waits on: the answer to the question that suspended its task.

use crate::store::TaskState;
use crate::task::Task;
use crate::units::EscalationId;
use std::pin::pin;
use std::sync::Arc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// A question that a task waits for.
#[derive(Clone)]
pub struct Question {
    /// Its id.
    pub id: EscalationId,
    task: Arc<Task>,
    leaving: CancellationToken,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// The task waits for this question no longer, whatever the answer.
    Decided,
    /// Not in time.
    TimedOut,
    /// The gateway is about to stop; its successor knows the question.
    Draining,
}

impl Question {
    pub(super) const fn new(id: EscalationId, task: Arc<Task>, leaving: CancellationToken) -> Self {
        Self { id, task, leaving }
    }

    /// Waits for the answer, no longer than `until`. Whoever stops waiting takes nothing along.
    pub async fn answered(&self, until: Instant) -> Answered {
        loop {
            // Listening begins before the look: a change in between is heard.
            let mut changed = pin!(self.task.changed());
            changed.as_mut().enable();
            if !self.waits() {
                return Answered::Decided;
            }
            tokio::select! {
                () = changed => {}
                () = sleep_until(until) => return Answered::TimedOut,
                () = self.leaving.cancelled() => return Answered::Draining,
            }
        }
    }

    fn waits(&self) -> bool {
        let record = self.task.record();
        let asked = record.escalation;
        record.state == TaskState::Suspended
            && asked.is_some_and(|asked| asked.waits && asked.id == self.id)
    }
}
