//! `review_every`: after so many hand-offs of a task a person looks before it goes on.
//!
//! A hand-off is a call whose agent is another than that of the task's call before it; a call that
//! names no agent is none. The count is kept with the task and begins anew with every decision of a
//! person; after a restart it is taken from the journal.

use super::{Admission, NotYet};
use crate::escalation::{self, Opened, Reason, State};
use crate::stack::Refused;
use crate::store::{Ending, EscalationFilter};
use crate::task::{HandOffs, Task};
use std::sync::Arc;

/// Calls of the journal that the count is taken from after a restart, the newest.
const MAX_CALLS: usize = 10_000;

/// Counts the call, and asks a person if it is time.
///
/// # Errors
/// The call waits, or the store's fault.
pub(super) async fn check(
    admission: &Admission,
    task: &Arc<Task>,
    decisions: u64,
) -> Result<(), NotYet> {
    let policies = &admission.live.loaded.policies;
    let Some((limit, every)) = policies.review_every(&admission.facts()) else {
        return Ok(());
    };
    let Some(agent) = &admission.attribution.agent else {
        return Ok(());
    };
    if task.hand_offs().is_none() {
        let counted = from_journal(admission, task).await.map_err(Refused::from)?;
        task.begin_hand_offs(counted);
    }
    let made = task.hand_off(&agent.value);
    if made < every {
        return Ok(());
    }
    let message = format!(
        "{made} hand-offs between agents since a person last looked (limit \"{limit}\"): {} is next.",
        agent.value
    );
    let question = (
        Reason::of_rule("review", &message),
        Vec::new(),
        admission.asking(),
    );
    let desk = &admission.gateway.escalations;
    match desk.open(task, decisions, question).await {
        Ok(Opened::Asked(question)) => Err(NotYet::Asked(question)),
        Ok(Opened::LookAgain) => Err(NotYet::LookAgain),
        Err(error) => Err(error.into()),
    }
}

async fn from_journal(
    admission: &Admission,
    task: &Task,
) -> Result<HandOffs, crate::store::StoreError> {
    let store = admission.gateway.purse.store();
    let key = task.record().key;
    let approved = EscalationFilter {
        task: Some(key.clone()),
        state: Some(State::Approved),
        rows: Some(1),
        ..EscalationFilter::default()
    };
    let approved: Option<escalation::Escalation> = store.escalations(approved).await?.pop();
    let since = approved
        .and_then(|approved| approved.decision)
        .map(|decision| decision.at.0);
    let mut counted = HandOffs::default();
    for row in store.trace(key, MAX_CALLS).await? {
        let call = row.body()?;
        let left = Ending::from_name(call.ending.as_str()) != Some(Ending::Denied);
        let is_call = left && !matches!(call.dialect.as_str(), "task" | "tool");
        if let Some(agent) = call.agent.as_ref().filter(|_| is_call) {
            counted.hand_off(&agent.as_str().into());
            if since.is_some_and(|since| call.admitted <= since) {
                counted.looked_at();
            }
        }
    }
    Ok(counted)
}
