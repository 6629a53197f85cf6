//! `depth` and `fan_out`: where the call stands in the tree of its task's agents, asked where some
//! limit or the task itself caps the tree.
//!
//! A new pair of agent and parent has a row of its own in the journal before its first call leaves, so
//! that caps hold over `kill -9` too. After a restart the tree is taken from the journal, which also
//! knows the agents that called before anybody capped the tree.

use super::Admission;
use crate::ledger::{Caps, Stand};
use crate::stack::{Code, Refused};
use crate::store::Entry;
use crate::task::Task;
use crate::task::tree::{Full, MAX_PAIRS, Pair, Tree};
use crate::units::Meter;
use std::sync::Arc;

/// A call's place in the tree. Unless it is admitted, dropping it gives up what the call added.
pub(super) struct Entered {
    task: Arc<Task>,
    pair: Option<Pair>,
    /// Where the call stands.
    pub(super) stand: Stand,
}

impl Entered {
    /// The call is admitted; true if it is the first of its agent under this parent.
    pub(super) fn admit(mut self) -> bool {
        let pair = self.pair.take();
        pair.is_some_and(|pair| self.task.in_tree(|tree| tree.admit(pair)) == Some(true))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if let Some(pair) = self.pair.take() {
            self.task.in_tree(|tree| tree.leave(pair));
        }
    }
}

/// True if these caps bound the tree.
pub(super) const fn caps_tree(caps: &Caps) -> bool {
    caps.0[Meter::Depth as usize].is_some() || caps.0[Meter::FanOut as usize].is_some()
}

/// Finds the call's place; `None` where nobody asks for it.
///
/// # Errors
/// The tree is full, or the store's fault.
pub(super) async fn enter(
    admission: &Admission,
    task: &Arc<Task>,
) -> Result<Option<Entered>, Refused> {
    let known = task.in_tree(|_| ()).is_some();
    if !known {
        let asked = admission.live.loaded.policies.caps_tree() || caps_tree(&task.caps());
        if !asked {
            return Ok(None);
        }
        Box::pin(load(admission, task)).await?;
    }
    let whose = &admission.attribution;
    let agent = whose.agent.as_ref().map(|agent| &agent.value);
    let parent = whose.parent.as_ref().map(|parent| &parent.value);
    match task.in_tree(|tree| tree.ask(agent, parent)) {
        Some(Ok((stand, pair))) => Ok(Some(Entered {
            task: Arc::clone(task),
            pair,
            stand,
        })),
        Some(Err(Full)) => {
            let message = format!(
                "Task `{}` has {MAX_PAIRS} pairs of an agent and its parent, and no more can be kept apart under a cap on `depth` or `fan_out`.",
                whose.task.value
            );
            Err(admission.denied(Refused::new(Code::LimitExceeded, &message)))
        }
        None => Err(Refused::internal("a tree that was loaded stays")),
    }
}

async fn load(admission: &Admission, task: &Task) -> Result<(), Refused> {
    let store = admission.gateway.purse.store();
    let pairs = store.agents(task.record().key, MAX_PAIRS).await?;
    task.begin_tree(Tree::of(&pairs));
    Ok(())
}

/// Writes the row of an agent that came, and waits until it is durable.
///
/// # Errors
/// The store's fault.
pub(super) async fn join(admission: &Admission) -> Result<(), Refused> {
    let store = admission.gateway.purse.store();
    let place = store.reserve().await?;
    let entry = crate::stack::record::agent_joined(admission);
    place.post(Entry::Call(Box::new(entry)));
    store.flush().await?;
    Ok(())
}
