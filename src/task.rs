//! The life of a task: opened by its first call, active, suspended, closed. The store keeps it; here
//! stand the tasks that calls have named lately, so that a call need not ask.

mod conducted;
mod covers;
mod hand_offs;
mod kept;
pub mod pulse;
mod tasks;
pub mod tree;
pub mod versions;

pub use conducted::{Checking, Conducted};
pub use covers::{TASKS_OWN, allowed_cover, own_account, own_cover, own_usd};
pub use hand_offs::HandOffs;
pub use tasks::Tasks;

use crate::clock;
use crate::ledger::{Caps, Cover};
use crate::store::{TaskRecord, TaskState};
use crate::units::{AgentId, EscalationId, UnixMs};
use kept::Kept;
use parking_lot::{Mutex, RwLock};
use pulse::{Beat, Pulse, PulseRules, Sign};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tree::Tree;
use versions::Versions;

/// Tools remembered per task; a task that uses more is asked about these.
const MAX_TOOLS: usize = 64;

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

/// One task as calls see it. Many rest at once, so that what few of them need stands in a box of its own.
pub struct Task {
    kept: RwLock<Kept>,
    tools: Mutex<Vec<Arc<str>>>,
    used: AtomicI64,
    /// Signs that it does not go on as it should.
    pulse: Mutex<Pulse>,
    /// What went wrong with its agents lately.
    pub conducted: Conducted,
    /// Which versions of models have answered it.
    pub versions: Versions,
    /// How often somebody decided on its state.
    decisions: AtomicU64,
    seldom: OnceLock<Box<Seldom>>,
}

/// What few tasks need.
#[derive(Default)]
struct Seldom {
    /// Caps of its own that are about to come into force, its first.
    coming: Mutex<Option<Caps>>,
    /// Held while its own caps are lowered.
    lowering: tokio::sync::Mutex<()>,
    last_calls: Mutex<Vec<LastCall>>,
    /// Counted only where somebody reviews them; `None` until the journal was asked.
    hand_offs: Mutex<Option<HandOffs>>,
    /// Its agents, where somebody caps their tree; `None` until the journal was asked.
    tree: Mutex<Option<Tree>>,
    /// Fires when its state changes, for calls that wait for a person.
    changed: Notify,
}

impl Task {
    fn new(record: TaskRecord, now: UnixMs) -> Self {
        Self {
            kept: RwLock::new(record.into()),
            tools: Mutex::default(),
            used: AtomicI64::new(now.0),
            pulse: Mutex::default(),
            conducted: Conducted::default(),
            versions: Versions::default(),
            decisions: AtomicU64::new(0),
            seldom: OnceLock::new(),
        }
    }

    fn seldom(&self) -> &Seldom {
        self.seldom.get_or_init(Box::default)
    }

    /// Fires for calls that wait. Whoever begins to wait later, finds what was written before.
    fn tell_changed(&self) {
        if let Some(seldom) = self.seldom.get() {
            seldom.changed.notify_waiters();
        }
    }

    /// Whether it may spend.
    #[must_use]
    pub fn state(&self) -> TaskState {
        self.kept.read().state
    }

    /// Its own caps.
    #[must_use]
    pub fn caps(&self) -> Caps {
        self.kept.read().caps()
    }

    /// Appends the accounts of its own caps and of the turns that a person allowed, where there are any.
    pub fn own_covers(&self, covers: &mut Vec<Cover>) {
        let kept = self.kept.read();
        if let Some(more) = &kept.more {
            covers.extend(own_cover(&kept.key, more.caps));
            covers.extend(allowed_cover(&kept.key, more.allowed.as_ref()));
        }
    }

    /// The account of its own caps, if it has any.
    #[must_use]
    pub fn own_cover(&self) -> Option<Cover> {
        let kept = self.kept.read();
        own_cover(&kept.key, kept.more.as_ref()?.caps)
    }

    /// Held while its own caps are lowered.
    pub fn lowering(&self) -> &tokio::sync::Mutex<()> {
        &self.seldom().lowering
    }

    /// How often somebody decided on its state: what was seen before a decision may be no longer so.
    #[must_use]
    pub fn decisions(&self) -> u64 {
        self.decisions.load(Ordering::Acquire)
    }

    /// Gives an agent its last call under a limit; false if it had one and the cap was not raised since.
    pub fn take_last_call(&self, limit: &Arc<str>, agent: &str, cap: u64) -> bool {
        let mut had = self.seldom().last_calls.lock();
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
        self.seldom.get()?.hand_offs.lock().clone()
    }

    /// Begins to count hand-offs with what the journal knows, unless they are counted already.
    pub fn begin_hand_offs(&self, counted: HandOffs) {
        self.seldom().hand_offs.lock().get_or_insert(counted);
    }

    /// A call of this agent; how many hand-offs have been made since a person last looked.
    pub fn hand_off(&self, agent: &AgentId) -> u64 {
        self.seldom()
            .hand_offs
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
        self.seldom.get()?.tree.lock().as_mut().map(change)
    }

    /// Begins to keep the tree of its agents with what the journal knows, unless it is kept already.
    pub fn begin_tree(&self, tree: Tree) {
        self.seldom().tree.lock().get_or_insert(tree);
    }

    /// Fires at the next change of its state.
    pub fn changed(&self) -> Notified<'_> {
        self.seldom().changed.notified()
    }

    /// A question has suspended it, unless somebody has decided since `decisions` were counted: answers of
    /// the store may overtake one another.
    pub fn suspended(&self, record: &TaskRecord, decisions: u64) {
        let mut known = self.kept.write();
        if self.decisions() == decisions {
            *known = record.clone().into();
        }
        drop(known);
        self.tell_changed();
    }

    fn decided(&self, record: &TaskRecord) {
        let mut known = self.kept.write();
        self.decisions.fetch_add(1, Ordering::AcqRel);
        if record.state == TaskState::Active {
            self.conducted.forget();
        }
        if record.state == TaskState::Active
            && let Some(seldom) = self.seldom.get()
            && let Some(hand_offs) = &mut *seldom.hand_offs.lock()
        {
            hand_offs.looked_at();
        }
        *known = record.clone().into();
        drop(known);
        self.tell_changed();
    }

    /// Says which caps of its own are about to come into force.
    pub fn announce(&self, caps: Option<Caps>) {
        *self.seldom().coming.lock() = caps;
    }

    /// The account of its own caps, if they are about to come into force.
    #[must_use]
    pub fn coming_cover(&self) -> Option<Cover> {
        let caps = (*self.seldom.get()?.coming.lock())?;
        own_cover(&self.kept.read().key, caps)
    }

    /// Milliseconds spent suspended, the present suspension included.
    #[must_use]
    pub fn paused_ms(&self, now: UnixMs) -> u64 {
        self.kept.read().suspended_ms(now)
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
        self.kept.read().record()
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

#[cfg(test)]
mod tests;
