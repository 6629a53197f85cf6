//! Where questions are opened, joined and decided, and where held calls take a place.

use super::{Asker, Deciding, Evidence, Opening, Question, Reason, State, new_id};
use crate::purse::Purse;
use crate::store::{EscalationEnded, EscalationFilter, Store, StoreError, TaskRecord, TaskState};
use crate::task::{Task, Tasks};
use crate::traces::Traces;
use crate::units::{Amounts, EscalationId, TaskKey, UnixMs};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The desk of this node.
pub struct Escalations {
    purse: Arc<Purse>,
    tasks: Arc<Tasks>,
    traces: Arc<Traces>,
    held: Mutex<Occupied>,
    leaving: CancellationToken,
}

/// What an opening came to.
pub enum Opened {
    /// The task waits for this question; it may have waited for it before.
    Asked(Question),
    /// The task stands still for another reason, or somebody has decided meanwhile: look again.
    LookAgain,
}

#[derive(Clone, Copy, Debug, Default)]
struct Occupied {
    calls: usize,
    bytes: usize,
}

/// A place among the calls that are held open; given back when dropped.
pub struct Place {
    desk: Arc<Escalations>,
    bytes: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.desk.held.lock();
        held.calls -= 1;
        held.bytes -= self.bytes;
    }
}

impl Escalations {
    /// A desk over these.
    #[must_use]
    pub fn new(purse: Arc<Purse>, tasks: Arc<Tasks>, traces: Arc<Traces>) -> Arc<Self> {
        Arc::new(Self {
            purse,
            tasks,
            traces,
            held: Mutex::default(),
            leaving: CancellationToken::new(),
        })
    }

    fn store(&self) -> &Arc<dyn Store> {
        self.purse.store()
    }

    /// Fires when there is something to tell people.
    #[must_use]
    pub fn news(&self) -> &Notify {
        &self.tasks.news
    }

    /// Opens a question about a task and suspends it, or joins the one it waits for. Calls in flight
    /// go on: their money is set aside already. `decisions` is [`Task::decisions`] of before the look
    /// that led here: a decision since then makes the question pointless.
    ///
    /// # Errors
    /// The store's fault; a closed task is no error, for the caller looks again.
    pub async fn open(
        self: &Arc<Self>,
        task: &Arc<Task>,
        decisions: u64,
        (reason, evidence, asker): (Reason, Vec<Evidence>, Asker),
    ) -> Result<Opened, StoreError> {
        if task.decisions() != decisions {
            return Ok(Opened::LookAgain);
        }
        let opening = Opening {
            id: new_id(),
            task: task.record().key,
            reason,
            evidence,
            asker,
        };
        let (desk, asked) = (Arc::clone(self), Arc::clone(task));
        // Seen through although the call hangs up: the task must learn that it waits.
        let opened = tokio::spawn(async move {
            let opened = desk.store().open_escalation(opening).await?;
            asked.suspended(&opened.task, decisions);
            if opened.newly {
                desk.traces.state(&opened.task.key, opened.task.state);
                desk.news().notify_one();
            }
            Ok::<_, StoreError>(opened)
        });
        let opened = opened.await.map_err(|_| StoreError::Stopped)??;
        Ok(match opened.escalation {
            Some(escalation) => Opened::Asked(self.question(escalation.id, task)),
            None => Opened::LookAgain,
        })
    }

    /// Asks about a task that a rule has looked at, such as one that goes round in circles: it is
    /// suspended, and the call at hand may be passed on as it is, for admission finds the task waiting and
    /// holds the call open. What led here is stale once [`Task::decisions`] has changed: whoever keeps
    /// windows or counts over a task begins them anew then.
    ///
    /// # Errors
    /// The store's fault.
    pub async fn ask(
        self: &Arc<Self>,
        key: &TaskKey,
        reason: Reason,
        evidence: Vec<Evidence>,
        asker: Asker,
    ) -> Result<Opened, StoreError> {
        // A task that no call has named for an hour makes no call that a rule could look at.
        let Some(task) = self.tasks.known(key, crate::clock::now()) else {
            return Ok(Opened::LookAgain);
        };
        let decisions = task.decisions();
        self.open(&task, decisions, (reason, evidence, asker)).await
    }

    /// The question of that id, which the task waits for.
    #[must_use]
    pub fn question(&self, id: EscalationId, task: &Arc<Task>) -> Question {
        Question::new(id, Arc::clone(task), self.leaving.clone())
    }

    /// A place for a call that is held open; `None` if there are too many.
    #[must_use]
    pub fn place(
        self: &Arc<Self>,
        bytes: usize,
        max_calls: usize,
        max_bytes: usize,
    ) -> Option<Place> {
        let mut held = self.held.lock();
        let sum = held.bytes.saturating_add(bytes);
        if held.calls >= max_calls || sum > max_bytes {
            return None;
        }
        held.calls += 1;
        held.bytes = sum;
        drop(held);
        Some(Place {
            desk: Arc::clone(self),
            bytes,
        })
    }

    /// Calls that are held open.
    #[must_use]
    pub fn held_open(&self) -> usize {
        self.held.lock().calls
    }

    /// Decides a question, once, and lets the task's calls go on or go. Seen through although the
    /// one who decides hangs up.
    ///
    /// # Errors
    /// No such question, or the store's fault.
    pub async fn decide(
        self: &Arc<Self>,
        deciding: Deciding,
    ) -> Result<EscalationEnded, StoreError> {
        let desk = Arc::clone(self);
        let decided = tokio::spawn(async move {
            for (key, _) in &deciding.raises {
                desk.purse.open_seeded(key.clone()).await?;
            }
            // Each account is raised in what its own limit caps, by as much as every other.
            let each = deciding.raises.iter().map(|(_, amounts)| *amounts);
            let raised =
                each.reduce(|all, one| Amounts(std::array::from_fn(|i| all.0[i].max(one.0[i]))));
            let ended = desk.store().decide_escalation(deciding).await?;
            if ended.applied {
                // First the caps, then the task: whoever wakes finds them raised.
                desk.purse.topped_up(&ended.balances);
                desk.tell(&ended.task, raised);
                desk.tasks.decided(&ended.task);
                desk.news().notify_one();
            }
            Ok(ended)
        });
        decided.await.map_err(|_| StoreError::Stopped)?
    }

    /// The task's span tells what was decided of it.
    fn tell(&self, task: &TaskRecord, raised: Option<Amounts>) {
        if let Some(by) = raised {
            self.traces.topped_up(&task.key, &by);
        }
        if task.state != TaskState::Suspended {
            self.traces.state(&task.key, task.state);
        }
    }

    /// Ends questions that nobody has answered since `before`; says how many.
    ///
    /// # Errors
    /// The store's fault.
    pub async fn expire(self: &Arc<Self>, before: UnixMs) -> Result<usize, StoreError> {
        let overdue = EscalationFilter {
            state: Some(State::Waiting),
            before: Some(before),
            ..EscalationFilter::default()
        };
        let overdue = self.store().escalations(overdue).await?;
        for escalation in &overdue {
            let deciding = Deciding {
                id: escalation.id.clone(),
                state: State::Expired,
                by: "gateway".into(),
                why: Some("nobody answered in time".into()),
                raises: Vec::new(),
                ends: None,
                turns: None,
            };
            self.decide(deciding).await?;
        }
        Ok(overdue.len())
    }

    /// Takes back top-ups whose end has come.
    ///
    /// # Errors
    /// The store's fault.
    pub async fn lapse(&self) -> Result<(), StoreError> {
        let lowered = self.store().lapse().await?;
        self.purse.topped_up(&lowered);
        Ok(())
    }

    /// Lets every held call go, for the gateway is about to stop.
    pub fn drain(&self) {
        self.leaving.cancel();
    }
}
