//! The tasks of this node: found in memory or in the store, opened once, suspended and closed; and the
//! stop buttons, which hold more than one task.

use super::pulse::{PulseRules, Sign};
use super::tree::{MAX_PAIRS, Tree};
use super::{Standstill, Task};
use crate::attribution::Attribution;
use crate::clock;
use crate::escalation::Asked;
use crate::flights::{Flights, Stop, Whose};
use crate::ledger::{Caps, Stand};
use crate::store::{Store, StoreError, Switch, TaskFilter, TaskOpening, TaskRecord, TaskState};
use crate::units::{TaskKey, UnixMs};
use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::Notify;

/// Tasks kept in memory; beyond it those at rest longest are let go. The store knows them all.
const MAX_IN_MEMORY: usize = 100_000;
/// How long a task rests before it is let go, milliseconds.
const IDLE_MS: i64 = 3_600_000;

/// Tasks let go of in one step, during which calls wait.
const SWEPT_AT_ONCE: usize = 1_024;

/// Nobody has it in hand, and no call named it for `rest` milliseconds.
fn rests(task: &Arc<Task>, now: UnixMs, rest: i64) -> bool {
    Arc::strong_count(task) == 1 && now.0 - task.used.load(Ordering::Relaxed) >= rest
}

/// The tasks of this node, and the stop buttons.
pub struct Tasks {
    known: RwLock<HashMap<TaskKey, Arc<Task>, foldhash::quality::RandomState>>,
    /// One lock per task being opened, so that its first burst opens it once.
    opening: Mutex<HashMap<TaskKey, Arc<tokio::sync::Mutex<()>>>>,
    switches: ArcSwap<Vec<Switch>>,
    store: Arc<dyn Store>,
    /// The calls in flight, ended when their task is.
    pub flights: Arc<Flights>,
    /// Fires when a question about a task was opened or answered.
    pub news: Notify,
}

impl Tasks {
    /// No task in memory yet.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, switches: Vec<Switch>) -> Arc<Self> {
        Arc::new(Self {
            known: RwLock::default(),
            opening: Mutex::default(),
            switches: ArcSwap::from_pointee(switches),
            store,
            flights: Arc::default(),
            news: Notify::new(),
        })
    }

    /// The task, if a call named it lately.
    #[must_use]
    pub fn known(&self, key: &TaskKey, now: UnixMs) -> Option<Arc<Task>> {
        let task = self.known.read().get(key).cloned()?;
        task.used.store(now.0, Ordering::Relaxed);
        Some(task)
    }

    /// The task, looked up or opened. `pay` is awaited before a task that nobody has seen is
    /// opened, and may refuse it.
    ///
    /// # Errors
    /// What `pay` says, or the store's fault.
    pub async fn open<E: From<StoreError>>(
        &self,
        opening: TaskOpening,
        pay: impl Future<Output = Result<(), E>>,
    ) -> Result<Arc<Task>, E> {
        let key = opening.key.clone();
        let turn = Arc::clone(self.opening.lock().entry(key.clone()).or_default());
        let result = {
            let _turn = turn.lock().await;
            self.open_in_turn(opening, pay).await
        };
        let mut waiting = self.opening.lock();
        // Two handles: the map's and this one. Nobody else waits.
        if waiting
            .get(&key)
            .is_some_and(|turn| Arc::strong_count(turn) <= 2)
        {
            waiting.remove(&key);
        }
        result
    }

    async fn open_in_turn<E: From<StoreError>>(
        &self,
        opening: TaskOpening,
        pay: impl Future<Output = Result<(), E>>,
    ) -> Result<Arc<Task>, E> {
        let now = clock::now();
        if let Some(task) = self.known(&opening.key, now) {
            return Ok(task);
        }
        if let Some(task) = self.find(&opening.key).await? {
            return Ok(task);
        }
        pay.await?;
        let key = opening.key.clone();
        let opened = self.store.open(Some(opening), Vec::new()).await?;
        let record = opened.task.ok_or_else(|| StoreError::NotFound {
            what: "task",
            which: key.task.to_string(),
        })?;
        Ok(self.remember(record, now))
    }

    /// The task, from memory or the store, if anybody has opened it.
    ///
    /// # Errors
    /// The store's fault.
    pub async fn find(&self, key: &TaskKey) -> Result<Option<Arc<Task>>, StoreError> {
        let now = clock::now();
        if let Some(task) = self.known(key, now) {
            return Ok(Some(task));
        }
        let filter = TaskFilter {
            owner: Some(key.owner.clone()),
            task: Some(key.task.clone()),
            ..TaskFilter::default()
        };
        let found = self.store.tasks(filter).await?.pop();
        Ok(found.map(|record| self.remember(record, now)))
    }

    fn remember(&self, record: TaskRecord, now: UnixMs) -> Arc<Task> {
        let mut known = self.known.write();
        if let Some(task) = known.get(&record.key) {
            *task.kept.write() = record.into();
            return Arc::clone(task);
        }
        let task = Arc::new(Task::new(record.clone(), now));
        known.insert(record.key, Arc::clone(&task));
        task
    }

    /// Why calls of this task and identity must stand still, if they must.
    #[must_use]
    pub fn standstill(&self, task: &Task, attribution: &Attribution) -> Option<Standstill> {
        match task.state() {
            TaskState::Closed => return Some(Standstill::Closed),
            TaskState::Suspended => {
                return Some(match task.kept.read().escalation() {
                    Some(Asked { id, waits: true }) => Standstill::Asked(id),
                    Some(Asked { id, waits: false }) => Standstill::Declined(id),
                    None => Standstill::Suspended,
                });
            }
            TaskState::Active => {}
        }
        self.switches.load().iter().find_map(|switch| match switch {
            Switch::All => Some(Standstill::AllSuspended),
            Switch::Identity(name) if *name == attribution.identity => {
                Some(Standstill::IdentitySuspended)
            }
            Switch::Identity(_) => None,
        })
    }

    /// Sets a task's state durably, then ends its calls in flight; also says how many.
    ///
    /// # Errors
    /// No such task, a closed one, or the store's fault.
    pub async fn set_state(
        &self,
        key: TaskKey,
        state: TaskState,
        by: Arc<str>,
    ) -> Result<(TaskRecord, usize), StoreError> {
        let record = self.store.set_task_state(key.clone(), state, by).await?;
        self.decided(&record);
        // It may have answered a question, and those who were asked hear of that.
        self.news.notify_one();
        let ended = match state {
            TaskState::Active => 0,
            TaskState::Suspended => self.flights.stop(&Whose::Task(key), Stop::Suspended),
            TaskState::Closed => self.flights.stop(&Whose::Task(key), Stop::Closed),
        };
        Ok((record, ended))
    }

    /// Takes in what somebody decided about a task, which is durable already.
    pub fn decided(&self, record: &TaskRecord) {
        let known = self.known.read().get(&record.key).cloned();
        if let Some(task) = known {
            task.decided(record);
        }
    }

    /// How deep the tree of a task's agents is, and the most children that one has.
    ///
    /// # Errors
    /// The store's fault.
    pub async fn reached(&self, key: &TaskKey) -> Result<Stand, StoreError> {
        let known = self.known.read().get(key).cloned();
        if let Some(reached) = known.and_then(|task| task.in_tree(|tree| tree.reached())) {
            return Ok(reached);
        }
        let pairs = self.store.agents(key.clone(), MAX_PAIRS).await?;
        Ok(Tree::of(&pairs).reached())
    }

    /// Somebody has raised the task's caps, and has looked at it for that.
    pub fn topped_up(&self, key: &TaskKey) {
        if let Some(task) = self.known.read().get(key) {
            task.conducted.forget();
        }
    }

    /// Lowers a task's own caps durably; higher ones are ignored. Not for calls in flight:
    /// [`Gateway::lower_caps`](crate::gateway::Gateway::lower_caps) sees to them.
    ///
    /// # Errors
    /// No such task, or the store's fault.
    pub async fn lower_caps(
        &self,
        key: TaskKey,
        caps: Caps,
        by: Arc<str>,
    ) -> Result<TaskRecord, StoreError> {
        let record = self.store.lower_task_caps(key.clone(), caps, by).await?;
        // The caps alone: the state may have changed again since the store answered.
        if let Some(task) = self.known.read().get(&key) {
            task.kept.write().set_caps(record.caps);
        }
        Ok(record)
    }

    /// Presses or lifts a stop button durably, then ends the calls it concerns.
    ///
    /// # Errors
    /// The store's fault.
    pub async fn switch(
        &self,
        switch: Switch,
        on: bool,
        by: Arc<str>,
    ) -> Result<usize, StoreError> {
        let whose = match &switch {
            Switch::All => Whose::All,
            Switch::Identity(name) => Whose::Identity(name.clone()),
        };
        let pressed = self.store.set_switch(switch, on, by).await?;
        self.switches.store(Arc::new(pressed));
        Ok(if on {
            self.flights.stop(&whose, Stop::Suspended)
        } else {
            0
        })
    }

    /// The stop buttons that are pressed.
    #[must_use]
    pub fn switches(&self) -> Arc<Vec<Switch>> {
        self.switches.load_full()
    }

    /// Lets go of tasks that no call named for an hour. Calls go on while they are looked for.
    pub fn sweep(&self, now: UnixMs) {
        let (due, rest): (Vec<TaskKey>, i64) = {
            let known = self.known.read();
            let crowded = known.len() > MAX_IN_MEMORY;
            let rest = if crowded { IDLE_MS / 60 } else { IDLE_MS };
            let due = known.iter().filter(|(_, task)| rests(task, now, rest));
            (due.map(|(key, _)| key.clone()).collect(), rest)
        };
        for some in due.chunks(SWEPT_AT_ONCE) {
            let mut known = self.known.write();
            for key in some {
                // A call may have named it meanwhile.
                if known.get(key).is_some_and(|task| rests(task, now, rest)) {
                    known.remove(key);
                }
            }
        }
        if !due.is_empty() {
            let mut known = self.known.write();
            let size = known.len();
            if size < known.capacity() / 4 {
                known.shrink_to(size * 2);
            }
        }
    }

    /// The tasks that stall, each told once; at most so many at a time, the others with the next look.
    #[must_use]
    pub fn stalled(&self, rules: &PulseRules, now: UnixMs, most: usize) -> Vec<(TaskKey, Sign)> {
        let known = self.known.read();
        let stalled = known.iter().filter_map(|(key, task)| {
            let mut pulse = task.pulse.lock();
            if task.state() != TaskState::Active {
                pulse.rest(now);
            }
            Some((key.clone(), pulse.look(rules, now)?))
        });
        stalled.take(most).collect()
    }

    /// How many tasks in memory are in each state: active, suspended, closed.
    #[must_use]
    pub fn count(&self) -> [usize; 3] {
        let mut counts = [0; 3];
        for task in self.known.read().values() {
            counts[task.state() as usize] += 1;
        }
        counts
    }
}
