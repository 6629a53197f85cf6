//! How long a call may still take: the provider's total, and what a `duration` cap leaves it.

use super::Record;
use crate::clock;
use crate::ledger::Deadline;
use crate::stack::{Refused, admit};
use crate::store::TaskState;
use std::time::Duration;
use tokio::time::Instant;

/// How soon a call looks again at a task that is suspended, milliseconds.
const LOOK_AGAIN_MS: i64 = 1_000;

impl Record {
    /// The moment by which something must come: `patience` after `since`, but within the call's time.
    #[must_use]
    pub fn until(&self, since: Instant, patience: Duration) -> Instant {
        let by = since + patience;
        self.ends_by().map_or(by, |end| by.min(end))
    }

    /// The end of the call's time: the provider's total, or a `duration` cap.
    pub(super) fn ends_by(&self) -> Option<Instant> {
        let total = self
            .progress
            .begun
            .map(|sent| sent + self.provider.timeouts.total);
        let deadline = self.left_ms().map(|left| {
            std::time::Instant::now() + Duration::from_millis(left.max(0).unsigned_abs())
        });
        let end = match (total, deadline) {
            (Some(total), Some(deadline)) => total.min(deadline),
            (one, other) => one.or(other)?,
        };
        Some(Instant::from_std(end))
    }

    fn deadline(&self) -> Option<&Deadline> {
        self.hold.as_ref()?.terms.deadline.as_ref()
    }

    /// What is left until a `duration` cap runs out, milliseconds; the clock stands still while the
    /// task is suspended, and then it is looked at again soon.
    fn left_ms(&self) -> Option<i64> {
        let at = self.deadline()?.at;
        let now = clock::now();
        let (task, paused_before) = &self.facts.task;
        let paused = task.paused_ms(now).saturating_sub(*paused_before);
        let left = at.0.saturating_add_unsigned(paused).saturating_sub(now.0);
        let stands_still = task.state() == TaskState::Suspended;
        Some(if stands_still {
            left.max(LOOK_AGAIN_MS)
        } else {
            left
        })
    }

    /// A `duration` cap has run out.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.left_ms().is_some_and(|left| left <= 0)
    }

    /// The provider has been waited for long enough: for `patience` since then, or for its total.
    #[must_use]
    pub fn is_out_of_patience(&self, since: Instant, patience: Duration) -> bool {
        let total = self.provider.timeouts.total;
        let sent = self.progress.begun.map(Instant::from_std);
        let now = Instant::now();
        now >= since + patience || sent.is_some_and(|sent| now >= sent + total)
    }

    /// What the caller is told when a `duration` cap has run out.
    #[must_use]
    pub fn deadline_refusal(&self) -> Refused {
        match self.deadline() {
            Some(deadline) => admit::deadline_refusal(&self.live, deadline),
            None => Refused::internal("what has no deadline is not over"),
        }
    }
}
