//! Why a call is not admitted, in the words and numbers that its caller gets.

use super::walk::Miss;
use super::{Admission, NotYet};
use crate::attribution::Attribution;
use crate::config::Limit;
use crate::dialect::refusal::{Refusal, Standing};
use crate::flights::Stop;
use crate::gateway::Live;
use crate::ledger::{self, Deadline, Denial};
use crate::purse::NoHold;
use crate::stack::{Code, Refused, check, record};
use crate::store::StoreError;
use crate::task::{Standstill, Task};
use crate::units::{EscalationId, Meter};
use std::sync::Arc;

/// The limit that `[attribution] tasks_per_hour` makes.
pub const TASKS_PER_HOUR: &str = "tasks per hour";

impl Admission {
    /// Why the call leaves for none of its targets, and what is done about it.
    pub(super) async fn missed(&self, task: &Arc<Task>, decisions: u64, miss: Miss) -> NotYet {
        match miss {
            Miss::Unquoted(refused) => self.denied(refused).into(),
            Miss::NoHold(error) => self.not_held(task, decisions, error).await,
        }
    }

    pub(in crate::stack) fn no_hold(&self, error: NoHold) -> Refused {
        self.denied(no_hold(self, error))
    }

    /// Notes a refusal in the journal.
    pub(super) fn denied(&self, refused: Refused) -> Refused {
        record::deny(self, &refused);
        if let Some(span) = &self.span {
            // What is refused in an open stream never comes by where the span began.
            span.refused(&refused.refusal);
        }
        if let Some(parent) = &self.attribution.parent
            && let Some(task) = self
                .gateway
                .tasks
                .known(&self.attribution.task_key(), self.now)
        {
            let who = check::who(&self.attribution, self.call.chain.root);
            check::refused(&task, &who, &parent.value, &refused, &self.request.shared());
        }
        refused
    }
}

/// The answer to a call that got no hold.
pub fn no_hold(admission: &Admission, error: NoHold) -> Refused {
    match error {
        NoHold::Refused(ledger::Refusal::Limit(denial) | ledger::Refusal::LineFull(denial)) => {
            let only_held = denial.only_held;
            let standing = standing(admission, denial);
            let refusal = if only_held {
                Refusal::held(standing)
            } else {
                Refusal::exceeded(standing)
            };
            match &admission.tried {
                None => refusal.into(),
                Some(tried) => refusal.with_sentence(tried).into(),
            }
        }
        NoHold::Refused(ledger::Refusal::StoreUnavailable) => store_unavailable(),
        NoHold::Store(error) => error.into(),
        NoHold::Rolled | NoHold::Short => Refused::internal("such a call is asked about again"),
    }
}

fn standing(admission: &Admission, denial: Denial) -> Standing {
    let policies = &admission.live.loaded.policies;
    let found = policies
        .limits()
        .position(|limit| limit.id == denial.key.limit);
    let limit = found.and_then(|index| policies.limit(crate::config::LimitIndex(index)));
    let resets_at = denial
        .key
        .window
        .and_then(|_| policies.resets_at(crate::config::LimitIndex(found?), admission.now));
    Standing {
        limit: limit.map_or_else(
            || denial.key.limit.clone(),
            |limit: &Limit| limit.name.shared(),
        ),
        account: denial.key.per.to_vec(),
        meter: denial.meter,
        cap: denial.cap,
        settled: denial.settled,
        held: denial.held,
        in_doubt: denial.in_doubt,
        needed: denial.needed,
        resets_at,
    }
}

/// The answer to a call whose time ran out while it was answered.
#[must_use]
pub fn deadline_refusal(live: &Live, deadline: &Deadline) -> Refused {
    let Deadline { at: _, key, cap_ms } = deadline;
    let limit = live.loaded.policies.by_id(&key.limit);
    let limit = limit.map_or_else(|| key.limit.clone(), |limit| limit.name.shared());
    Refusal::exceeded(Standing {
        limit,
        account: key.per.to_vec(),
        meter: Meter::Duration,
        cap: *cap_ms,
        settled: *cap_ms,
        held: 0,
        in_doubt: 0,
        needed: 0,
        resets_at: None,
    })
    .into()
}

/// The answer to a call that was stopped.
#[must_use]
pub fn stop_refusal(attribution: &Attribution, stop: Stop) -> Refused {
    let standstill = match stop {
        Stop::Suspended => Standstill::Suspended,
        Stop::Closed => Standstill::Closed,
    };
    self::standstill(attribution, &standstill)
}

/// The answer to a call whose task may not spend.
#[must_use]
pub fn standstill(attribution: &Attribution, standstill: &Standstill) -> Refused {
    let task = &attribution.task.value;
    let (code, message) = match standstill {
        Standstill::Asked(id) => return waiting(attribution, id, "and nobody has answered yet"),
        Standstill::Declined(id) => return declined(attribution, id, None),
        Standstill::Suspended => (
            Code::TaskSuspended,
            format!("Task `{task}` is suspended until somebody resumes it."),
        ),
        Standstill::IdentitySuspended => (
            Code::TaskSuspended,
            format!(
                "Identity `{}` is suspended until somebody resumes it.",
                attribution.identity
            ),
        ),
        Standstill::AllSuspended => (
            Code::TaskSuspended,
            "All tasks are suspended until somebody resumes them.".to_owned(),
        ),
        Standstill::Closed => (Code::TaskClosed, format!("Task `{task}` is closed.")),
    };
    Refused::new(code, &message)
}

/// The answer to a call whose task waits for a person, and that waits no longer itself.
#[must_use]
pub fn waiting(attribution: &Attribution, id: &EscalationId, why: &str) -> Refused {
    let task = &attribution.task.value;
    let message = format!("Task `{task}` is suspended: a person was asked ({id}), {why}.");
    Refusal::new(Code::TaskSuspended, &message)
        .with_escalation(id.as_str())
        .into()
}

/// The answer to a call whose task a person did not let go on.
#[must_use]
pub fn declined(attribution: &Attribution, id: &EscalationId, why: Option<&str>) -> Refused {
    let task = &attribution.task.value;
    let why = why.map_or_else(String::new, |why| format!(": {why}"));
    let message = format!(
        "Task `{task}` is suspended: a person was asked ({id}) and did not let it go on{why}."
    );
    Refusal::new(Code::TaskSuspended, &message)
        .with_escalation(id.as_str())
        .into()
}

fn store_unavailable() -> Refused {
    let message =
        "The store does not answer, so nothing can be set aside and no call is let through.";
    Refused::new(Code::StoreUnavailable, message)
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::TaskClosed(task) => {
                Self::new(Code::TaskClosed, &format!("Task `{task}` is closed."))
            }
            error => {
                tracing::error!(%error, "the store failed a call");
                store_unavailable()
            }
        }
    }
}
