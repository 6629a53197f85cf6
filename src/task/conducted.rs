//! A task's [`Conduct`], shared by its calls; and the answers of the task that are still being checked,
//! for which its next call waits a moment, so that it meets what its last answer came to.

use super::Task;
use crate::conduct::{Conduct, End, Finding, HandedOn, Thresholds, Who};
use crate::units::AgentId;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// How long a call waits for checks of its task's answers; they take far less.
const PATIENCE: Duration = Duration::from_secs(1);

/// What of a task went wrong lately.
#[derive(Default)]
pub struct Conducted {
    kept: Mutex<Option<Box<Conduct>>>,
    checks: AtomicUsize,
    checked: Notify,
}

/// An answer being checked; done when dropped.
pub struct Checking(Arc<Task>);

impl Drop for Checking {
    fn drop(&mut self) {
        let Conducted {
            checks, checked, ..
        } = &self.0.conducted;
        checks.fetch_sub(1, Ordering::AcqRel);
        checked.notify_waiters();
    }
}

impl Checking {
    /// Begins a check.
    #[must_use]
    pub fn begin(task: &Arc<Task>) -> Self {
        task.conducted.checks.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(task))
    }

    /// The task.
    #[must_use]
    pub fn task(&self) -> &Arc<Task> {
        &self.0
    }
}

impl Conducted {
    /// Nothing went wrong lately, and nothing is being checked.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.checks.load(Ordering::Acquire) == 0 && self.is_quiet()
    }

    /// Nothing went wrong lately.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.kept.lock().is_none()
    }

    /// Waits until the answers so far have been checked, for a bounded time.
    pub async fn settled(&self) {
        let waiting = async {
            loop {
                let mut next = std::pin::pin!(self.checked.notified());
                next.as_mut().enable();
                if self.checks.load(Ordering::Acquire) == 0 {
                    return;
                }
                next.await;
            }
        };
        if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
            tracing::warn!("an answer takes long to be checked");
        }
    }

    /// Takes in how a call ended.
    pub fn ended(&self, who: &Who, parent: Option<&AgentId>, end: &End, call: &Arc<str>) {
        let mut kept = self.kept.lock();
        if kept.is_none() && matches!(end, End::Good | End::Answered) {
            return;
        }
        let conduct = kept.get_or_insert_default();
        conduct.ended(who, parent, end, call);
        if conduct.is_empty() {
            *kept = None;
        }
    }

    /// What stands out about an agent.
    pub fn judge(&self, who: &Who, from: &Thresholds) -> Option<Finding> {
        self.kept.lock().as_mut()?.judge(who, from)
    }

    /// Agents that gave malformed answers, of which this request holds a piece.
    pub fn handed_on(&self, to: &AgentId, request: &[u8]) -> Vec<HandedOn> {
        let mut kept = self.kept.lock();
        let kept = kept.as_mut();
        kept.map(|conduct| conduct.handed_on(to, request))
            .unwrap_or_default()
    }

    /// The agents whose newest call went wrong, by name, and why.
    #[must_use]
    pub fn failed(&self) -> Vec<(AgentId, String)> {
        let kept = self.kept.lock();
        let failed = kept.iter().flat_map(|conduct| conduct.failed());
        failed
            .map(|(agent, why)| (agent.clone(), why.to_owned()))
            .collect()
    }

    /// A person has looked: everything begins anew.
    pub fn forget(&self) {
        *self.kept.lock() = None;
    }
}
