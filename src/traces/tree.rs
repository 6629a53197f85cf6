//! The tasks that calls belong to, as far as spans need to know them: the trace of each, the stays of its
//! agents that are open, the tools at work.
//!
//! A stay opens with an agent's first call (or with the first call that names the agent as its caller) and
//! ends when its caller speaks again after its last answer asked for nothing, when its task is closed, or
//! when it has rested. The id of its span is derived from the trace, the agent and the request that opened
//! it, so that what stands below it is exported at once and the stay itself when it is over. A call after
//! that opens another stay.
//!
//! The trace of a task is that of its first call, or derived from owner and task where that brings none.
//! Calls that come with a trace stay in it: nothing is made up above them. Bounded in every direction; what
//! finds no place hangs below the task or is a trace of its own.

mod task;
mod tools;

use super::content::Content;
use super::item::{Belongs, Event, Item, Joined, UnixNs};
use crate::attribution::Attribution;
use crate::units::{NanoUsd, RequestId, TaskKey};
use parking_lot::Mutex;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use task::{OpenTask, Rested};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed, xxh3_128_with_seed};

/// Tasks whose spans are open, in number, about 1 kB each; the calls of further ones are traces of their own.
pub const MAX_OPEN: usize = 50_000;
/// Tasks that rest whose trace is remembered, 80 bytes each; of a forgotten one later calls open a new root.
pub const MAX_RESTED: usize = 100_000;
/// Open stays of one task, about 200 bytes each; the calls of further agents hang below the task.
pub const MAX_STAYS: usize = 128;
/// Tools at work in one task, about 150 bytes each; further ones have no span.
pub const MAX_TOOLS: usize = 256;
/// Other traces that a task's root is linked to.
pub const MAX_LINKS: usize = 64;
/// Events of one task that are told.
pub const MAX_EVENTS: usize = 64;
/// How long the trace of a task at rest is remembered, nanoseconds.
const REMEMBERED_NS: u64 = 3_600_000_000_000;
const SHARDS: usize = 16;

type Map<T> = HashMap<u128, T, foldhash::quality::RandomState>;

/// All tasks.
pub struct Tree {
    shards: [Mutex<Shard>; SHARDS],
    seed: u64,
}

#[derive(Default)]
struct Shard {
    open: Map<Box<OpenTask>>,
    rested: Map<Rested>,
}

/// The caller's own span.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// Its trace.
    pub trace: u128,
    /// Its span.
    pub span: u64,
    /// It is exported.
    pub sampled: bool,
}

/// A call that comes in.
pub struct Entering<'a> {
    /// Whose it is.
    pub whose: &'a Attribution,
    /// Its request.
    pub request: &'a RequestId,
    /// Its own span.
    pub span: u64,
    /// The caller's span, if it named one.
    pub caller: Option<Caller>,
    /// What the caller calls its session.
    pub session: Option<&'a Arc<str>>,
    /// When.
    pub at: UnixNs,
    /// The ids of tool calls whose results it brings.
    pub answered: &'a dyn Fn() -> Vec<Cow<'a, str>>,
    /// What it says, where an exporter asks for that.
    pub content: Option<&'a Content>,
}

/// Where a call hangs.
pub struct Placed {
    /// Its trace.
    pub belongs: Belongs,
    /// The span above it.
    pub parent: Option<u64>,
    /// The root of its task in another trace.
    pub link: Option<(u128, u64)>,
    /// Where it is counted; none where its task found no place.
    pub joined: Option<Joined>,
}

/// What was settled.
#[derive(Clone, Copy, Debug, Default)]
pub struct Charge {
    /// Money.
    pub cost: NanoUsd,
    /// Input and output tokens.
    pub tokens: (u64, u64),
}

/// What a call was, when it is over.
pub struct Leaving<'a> {
    /// Whose it is.
    pub whose: &'a Attribution,
    /// When.
    pub at: UnixNs,
    /// It was refused.
    pub refused: bool,
    /// Its answer came.
    pub answered: bool,
    /// What it cost.
    pub charged: Charge,
    /// The tools that its answer asked for: id and name.
    pub tools: &'a [(String, String)],
    /// What it and its answer say, where an exporter asks for that.
    pub content: Option<&'a Content>,
}

impl Tree {
    /// A tree without tasks.
    pub fn new() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            // Whoever chooses ids must not be able to choose two that meet.
            seed: super::half(crate::stack::trace::random()),
        }
    }

    fn digest(&self, owner: &str, task: &str) -> u128 {
        let seed = xxh3_64_with_seed(owner.as_bytes(), self.seed);
        xxh3_128_with_seed(task.as_bytes(), seed)
    }

    fn shard(&self, task: u128) -> &Mutex<Shard> {
        &self.shards[usize::from(task.to_le_bytes()[15]) % SHARDS]
    }

    /// A call comes in. What is over by that is appended to `over`.
    pub fn enter(&self, node: &str, entering: &Entering<'_>, over: &mut Vec<Item>) -> Placed {
        let whose = entering.whose;
        let digest = self.digest(whose.owner.as_str(), whose.task.value.as_str());
        let mut shard = self.shard(digest).lock();
        let Shard { open, rested } = &mut *shard;
        if !open.contains_key(&digest) {
            if open.len() >= MAX_OPEN / SHARDS {
                return Placed::alone(entering);
            }
            let task = OpenTask::open(node, entering, rested.get(&digest));
            open.insert(digest, Box::new(task));
        }
        match open.get_mut(&digest) {
            Some(task) => task.enter(digest, entering, over),
            None => Placed::alone(entering),
        }
    }

    /// A call is over.
    pub fn leave(&self, joined: Joined, leaving: &Leaving<'_>) {
        let mut shard = self.shard(joined.task).lock();
        if let Some(task) = shard.open.get_mut(&joined.task) {
            task.leave(joined, leaving);
        }
    }

    /// An ask beside a call is over.
    pub fn leave_aside(&self, joined: Joined, at: UnixNs, charged: &Charge) {
        let mut shard = self.shard(joined.task).lock();
        if let Some(task) = shard.open.get_mut(&joined.task) {
            task.charge(at, charged);
        }
    }

    /// A call that the gateway makes for one that has entered, or an ask beside it.
    pub fn enter_aside(&self, joined: Joined) {
        let mut shard = self.shard(joined.task).lock();
        if let Some(task) = shard.open.get_mut(&joined.task) {
            task.in_flight += 1;
        }
    }

    /// Something happened to a task, if its spans are open.
    pub fn note(&self, key: &TaskKey, event: Event) {
        let digest = self.digest(key.owner.as_str(), key.task.as_str());
        let mut shard = self.shard(digest).lock();
        if let Some(task) = shard.open.get_mut(&digest) {
            task.note(event);
        }
    }

    /// A task is closed: what is open of it ends, but for calls in flight, which end with it when they do.
    pub fn close(&self, key: &TaskKey, at: UnixNs, over: &mut Vec<Item>) {
        let digest = self.digest(key.owner.as_str(), key.task.as_str());
        let mut shard = self.shard(digest).lock();
        let Shard { open, rested } = &mut *shard;
        if open.get(&digest).is_some_and(|task| task.in_flight == 0)
            && let Some(task) = open.remove(&digest)
        {
            task.rest(digest, at, rested, over);
        }
    }

    /// Ends what has rested for `idle` nanoseconds.
    pub fn sweep(&self, at: UnixNs, idle: u64, over: &mut Vec<Item>) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            let Shard { open, rested } = &mut *shard;
            let done =
                |task: &OpenTask| task.in_flight == 0 && at.saturating_sub(task.last) >= idle;
            let ended: Vec<u128> = open
                .iter_mut()
                .filter_map(|(digest, task)| {
                    task.end_idle(at, idle, over);
                    done(task).then_some(*digest)
                })
                .collect();
            for digest in ended {
                if let Some(task) = open.remove(&digest) {
                    task.rest(digest, at, rested, over);
                }
            }
            rested.retain(|_, rested| at.saturating_sub(rested.at) < REMEMBERED_NS);
        }
    }

    /// Tasks whose spans are open, and tasks at rest that are remembered.
    #[cfg(test)]
    pub fn sizes(&self) -> [usize; 2] {
        self.shards.iter().fold([0; 2], |[open, rested], shard| {
            let shard = shard.lock();
            [open + shard.open.len(), rested + shard.rested.len()]
        })
    }
}

impl Placed {
    fn alone(entering: &Entering<'_>) -> Self {
        let caller = entering.caller;
        let own = super::number(entering.request);
        Self::outside(caller.map_or(own, |caller| caller.trace), caller)
    }

    /// A call outside of any task's tree.
    pub fn outside(trace: u128, caller: Option<Caller>) -> Self {
        Self {
            belongs: Belongs {
                trace,
                sampled: caller.map(|caller| caller.sampled),
            },
            parent: caller.map(|caller| caller.span),
            link: None,
            joined: None,
        }
    }
}

/// The span of a call's try of this number, counted from 1.
#[must_use]
pub fn attempt_of(call: u64, number: usize) -> u64 {
    xxh3_64(&[call.to_le_bytes(), (number as u64).to_le_bytes()].concat()).max(1)
}
