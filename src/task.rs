//! The life of a task: opened by its first call, active, suspended, closed. The store keeps it; here
//! stand the tasks that calls have named lately, so that a call need not ask.

mod conducted;
pub mod pulse;
pub mod tree;
pub mod versions;

pub use conducted::{Checking, Conducted};

use crate::attribution::Attribution;
use crate::clock;
use crate::escalation::{Asked, allowed_account};
use crate::flights::{Flights, Stop, Whose};
use crate::ledger::{AccountKey, Caps, Cover, Edition, Stand};
use crate::store::{Store, StoreError, Switch, TaskFilter, TaskOpening, TaskRecord, TaskState};
use crate::units::{AgentId, EscalationId, Meter, NanoUsd, TaskKey, UnixMs};
use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};
use pulse::{Beat, Pulse, PulseRules, Sign};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tree::{MAX_PAIRS, Tree};
use versions::Versions;

/// Tasks kept in memory; beyond it those at rest longest are let go. The store knows them all.
const MAX_IN_MEMORY: usize = 100_000;
/// How long a task rests before it is let go, milliseconds.
const IDLE_MS: i64 = 3_600_000;

/// Tools remembered per task; a task that uses more is asked about these.
const MAX_TOOLS: usize = 64;

/// Hand-offs between the agents of a task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandOffs {
    last: Option<AgentId>,
    made: u64,
}

impl HandOffs {
    /// A call of this agent; how many hand-offs have been made since a person last looked.
    pub fn hand_off(&mut self, agent: &AgentId) -> u64 {
        if self.last.as_ref() != Some(agent) {
            self.made += u64::from(self.last.is_some());
            self.last = Some(agent.clone());
        }
        self.made
    }

    /// A person has looked: the count begins anew.
    pub fn looked_at(&mut self) {
        self.made = 0;
    }
}

/// Last calls of one task; further agents are refused without one.
const MAX_LAST_CALLS: usize = 256;

/// An agent that had its last call.
#[derive(Debug)]
struct LastCall {
    /// By which limit.
    limit: Arc<str>,
    /// Which agent.
    agent: Arc<str>,
    /// The cap of then.
    cap: u64,
}

/// One task as calls see it.
pub struct Task {
    record: RwLock<TaskRecord>,
    /// Caps of its own that are about to come into force, its first.
    coming: Mutex<Option<Box<Caps>>>,
    /// Held while its own caps are lowered.
    pub lowering: tokio::sync::Mutex<()>,
    tools: Mutex<Vec<Arc<str>>>,
    used: AtomicI64,
    last_calls: Mutex<Vec<LastCall>>,
    /// Counted only where somebody reviews them; `None` until the journal was asked.
    hand_offs: Mutex<Option<HandOffs>>,
    /// Its agents, where somebody caps their tree; `None` until the journal was asked.
    tree: Mutex<Option<Box<Tree>>>,
    /// Signs that it does not go on as it should.
    pulse: Mutex<Pulse>,
    /// What went wrong with its agents lately.
    pub conducted: Conducted,
    /// Which versions of models have answered it.
    pub versions: Versions,
    /// How often somebody decided on its state.
    decisions: AtomicU64,
    /// Fires when its state changes, for calls that wait for a person.
    changed: Notify,
}

impl Task {
    fn new(record: TaskRecord, now: UnixMs) -> Self {
        Self {
            record: RwLock::new(record),
            coming: Mutex::default(),
            lowering: tokio::sync::Mutex::default(),
            tools: Mutex::default(),
            used: AtomicI64::new(now.0),
            last_calls: Mutex::default(),
            hand_offs: Mutex::default(),
            tree: Mutex::default(),
            pulse: Mutex::default(),
            conducted: Conducted::default(),
            versions: Versions::default(),
            decisions: AtomicU64::new(0),
            changed: Notify::new(),
        }
    }

    /// Whether it may spend.
    #[must_use]
    pub fn state(&self) -> TaskState {
        self.record.read().state
    }

    /// Its own caps.
    #[must_use]
    pub fn caps(&self) -> Caps {
        self.record.read().caps
    }

    /// Appends the accounts of its own caps and of the turns that a person allowed, where there are any.
    pub fn own_covers(&self, covers: &mut Vec<Cover>) {
        let record = self.record.read();
        covers.extend(own_cover(&record.key, record.caps));
        covers.extend(allowed_cover(&record));
    }

    /// The account of its own caps, if it has any.
    #[must_use]
    pub fn own_cover(&self) -> Option<Cover> {
        let record = self.record.read();
        own_cover(&record.key, record.caps)
    }

    /// How often somebody decided on its state: what was seen before a decision may be no longer so.
    #[must_use]
    pub fn decisions(&self) -> u64 {
        self.decisions.load(Ordering::Acquire)
    }

    /// Gives an agent its last call under a limit; false if it had one and the cap was not raised since.
    pub fn take_last_call(&self, limit: &Arc<str>, agent: &str, cap: u64) -> bool {
        let mut had = self.last_calls.lock();
        let is_full = had.len() >= MAX_LAST_CALLS;
        let known = had
            .iter_mut()
            .find(|had| had.limit == *limit && *had.agent == *agent);
        match known {
            Some(known) if known.cap >= cap => false,
            Some(known) => {
                known.cap = cap;
                true
            }
            None if !is_full => {
                had.push(LastCall {
                    limit: Arc::clone(limit),
                    agent: agent.into(),
                    cap,
                });
                true
            }
            None => false,
        }
    }

    /// Its hand-offs, if they are counted.
    #[must_use]
    pub fn hand_offs(&self) -> Option<HandOffs> {
        self.hand_offs.lock().clone()
    }

    /// Begins to count hand-offs with what the journal knows, unless they are counted already.
    pub fn begin_hand_offs(&self, counted: HandOffs) {
        self.hand_offs.lock().get_or_insert(counted);
    }

    /// A call of this agent; how many hand-offs have been made since a person last looked.
    pub fn hand_off(&self, agent: &AgentId) -> u64 {
        self.hand_offs
            .lock()
            .get_or_insert_default()
            .hand_off(agent)
    }

    /// Takes in a call that was admitted; tells what it is a sign of.
    pub fn beat(&self, rules: &PulseRules, beat: &Beat<'_>) -> Vec<Sign> {
        self.pulse.lock().beat(rules, beat)
    }

    /// An admitted call ended; `asked` for tools or not.
    pub fn ended(&self, agent: Option<&str>, asked: bool) {
        self.pulse.lock().ended(agent, asked, clock::now());
    }

    /// Signs that it does not go on as it should, oldest first.
    #[must_use]
    pub fn signs(&self) -> Vec<Sign> {
        self.pulse.lock().signs().to_vec()
    }

    /// Looks at the tree of its agents, or changes it, if it is kept.
    pub fn in_tree<R>(&self, change: impl FnOnce(&mut Tree) -> R) -> Option<R> {
        self.tree.lock().as_deref_mut().map(change)
    }

    /// Begins to keep the tree of its agents with what the journal knows, unless it is kept already.
    pub fn begin_tree(&self, tree: Tree) {
        self.tree.lock().get_or_insert_with(|| Box::new(tree));
    }

    /// Fires at the next change of its state.
    pub fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// A question has suspended it, unless somebody has decided since `decisions` were counted: answers of
    /// the store may overtake one another.
    pub fn suspended(&self, record: &TaskRecord, decisions: u64) {
        let mut known = self.record.write();
        if self.decisions() == decisions {
            *known = record.clone();
        }
        drop(known);
        self.changed.notify_waiters();
    }

    fn decided(&self, record: &TaskRecord) {
        let mut known = self.record.write();
        self.decisions.fetch_add(1, Ordering::AcqRel);
        if record.state == TaskState::Active {
            self.conducted.forget();
        }
        if record.state == TaskState::Active
            && let Some(hand_offs) = &mut *self.hand_offs.lock()
        {
            hand_offs.looked_at();
        }
        *known = record.clone();
        drop(known);
        self.changed.notify_waiters();
    }

    /// Says which caps of its own are about to come into force.
    pub fn announce(&self, caps: Option<Caps>) {
        *self.coming.lock() = caps.map(Box::new);
    }

    /// The account of its own caps, if they are about to come into force.
    #[must_use]
    pub fn coming_cover(&self) -> Option<Cover> {
        let caps = *self.coming.lock().as_deref()?;
        own_cover(&self.record.read().key, caps)
    }

    /// Milliseconds spent suspended, the present suspension included.
    #[must_use]
    pub fn paused_ms(&self, now: UnixMs) -> u64 {
        self.record.read().suspended_ms(now)
    }

    /// An answer asked for this tool.
    pub fn used(&self, tool: &Arc<str>) {
        let mut tools = self.tools.lock();
        if tools.len() < MAX_TOOLS && !tools.contains(tool) {
            tools.push(Arc::clone(tool));
        }
    }

    /// The tools that its answers asked for, as far as this process remembers.
    #[must_use]
    pub fn tools(&self) -> Vec<Arc<str>> {
        self.tools.lock().clone()
    }

    /// What the store said last.
    #[must_use]
    pub fn record(&self) -> TaskRecord {
        self.record.read().clone()
    }
}

/// Why a call's task does not let it spend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standstill {
    /// The task is suspended.
    Suspended,
    /// It waits for a person to answer this question.
    Asked(EscalationId),
    /// A person answered this question with no, or nobody answered it.
    Declined(EscalationId),
    /// Its identity is.
    IdentitySuspended,
    /// Everything is.
    AllSuspended,
    /// The task is closed.
    Closed,
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
            *task.record.write() = record;
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
                return Some(match task.record.read().escalation.clone() {
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
            task.record.write().caps = record.caps;
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

    /// Lets go of tasks that no call named for an hour.
    pub fn sweep(&self, now: UnixMs) {
        let mut known = self.known.write();
        let crowded = known.len() > MAX_IN_MEMORY;
        let rest = if crowded { IDLE_MS / 60 } else { IDLE_MS };
        known.retain(|_, task| {
            Arc::strong_count(task) > 1 || now.0 - task.used.load(Ordering::Relaxed) < rest
        });
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

/// The limit that a task's own caps make.
pub const TASKS_OWN: &str = "task's own";

/// The account of a task's own caps.
#[must_use]
pub fn own_account(key: &TaskKey) -> AccountKey {
    AccountKey {
        limit: TASKS_OWN.into(),
        per: [("task", key.task.shared()), ("owner", key.owner.shared())].into(),
        window: None,
    }
}

/// How a task's own caps cover its calls, if it has any.
#[must_use]
pub fn own_cover(key: &TaskKey, caps: Caps) -> Option<Cover> {
    let any = caps.0.iter().any(Option::is_some);
    any.then(|| Cover {
        key: own_account(key),
        caps,
        observe: false,
        warn_permille: None,
        edition: Edition::Falling,
    })
}

/// How the turns that a person allowed cover a task's calls, if there is such a bound.
#[must_use]
pub fn allowed_cover(record: &TaskRecord) -> Option<Cover> {
    let allowed = record.allowed.as_ref()?;
    Some(Cover {
        key: allowed_account(&record.key, allowed),
        caps: Caps::default().with(Meter::Turns, allowed.turns),
        observe: false,
        warn_permille: None,
        edition: Edition::Policy(0),
    })
}

/// The cap a caller sets on its own task by header.
#[must_use]
pub fn own_usd(usd: NanoUsd) -> Caps {
    let mut caps = Caps::default();
    caps.0[Meter::Usd as usize] = Some(usd.0);
    caps
}
