//! Traces: every call a span, the agents and tasks above it made up where the application does not trace
//! itself, exported over OTLP in the words of whoever reads them.
//!
//! A call notes what happens to it in its [`CallSpan`]; when it is over, that goes into one bounded box. A
//! task of its own ([`run`]) empties the box a few times a second, writes the spans in each exporter's
//! vocabulary ([`encode`]) and puts them into the exporters' bounded queues, which tasks of their own post
//! ([`exporter`]). Nobody on a call's way waits for any of it: what does not fit is dropped and counted.
//! Without an exporter no call has a span.

mod ask;
mod call;
mod content;
mod encode;
pub mod exporter;
pub mod item;
mod metrics;
mod tree;
mod wire;

pub use ask::AskSpan;
pub use call::{Beginning, CallSpan};
pub use content::{Content, MAX_CONTENT_BYTES, ToolContent};
pub use encode::Style;
pub use exporter::{Exporter, Exporting};
pub use item::{EndedAs, Event, Lane, Said, Tokens};
pub use metrics::TraceMetrics;
pub use tree::{Caller, MAX_OPEN, MAX_RESTED};

use crate::clock;
use crate::gateway::Gateway;
use crate::store::TaskState;
use crate::units::{Amounts, Meter, RequestId, TaskKey};
use item::{Item, UnixNs};
use parking_lot::Mutex;
use smallvec::{SmallVec, smallvec};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tree::Tree;

/// Calls and stays that wait to be written, in number, some 700 bytes each; what comes on top is dropped.
const MAX_ITEMS: usize = 16_384;
/// So many that wait are written at once.
const MANY_ITEMS: usize = 1_024;
/// How often the box is emptied.
const EMPTIED: Duration = Duration::from_millis(200);
/// How often it is looked for stays that have rested, at most.
const SWEPT: Duration = Duration::from_secs(5);
/// How long exporters may take for what is left at a stop.
const LAST_POSTS: Duration = Duration::from_secs(5);

/// What is known of spans that are not over, and the box of those that are.
pub struct Traces {
    tree: Tree,
    /// The store's own name: two deployments may have a task of the same id.
    node: OnceLock<String>,
    over: Mutex<Vec<Item>>,
    /// Room for what calls say, where an exporter asks for that.
    room: content::Room,
    dropped: AtomicU64,
    many: Notify,
    started: Instant,
    /// The wall clock when it started, nanoseconds since the Unix epoch.
    started_at: AtomicU64,
    stop: CancellationToken,
    stopped: CancellationToken,
}

impl Traces {
    /// Nothing is known yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            tree: Tree::new(),
            node: OnceLock::new(),
            over: Mutex::default(),
            room: content::Room::default(),
            dropped: AtomicU64::new(0),
            many: Notify::new(),
            started: Instant::now(),
            started_at: AtomicU64::new(wall_clock()),
            stop: CancellationToken::new(),
            stopped: CancellationToken::new(),
        })
    }

    /// Names the store whose tasks these are, once.
    pub fn of_node(&self, node: &str) {
        let _ = self.node.set(node.to_owned());
    }

    fn node(&self) -> &str {
        self.node.get().map_or("", String::as_str)
    }

    /// The time of day of a moment.
    fn at(&self, moment: Instant) -> UnixNs {
        let since = moment.saturating_duration_since(self.started).as_nanos();
        let since = u64::try_from(since).unwrap_or(u64::MAX);
        self.started_at
            .load(Ordering::Relaxed)
            .saturating_add(since)
    }

    /// Clocks run apart, and are set: spans follow the wall clock by the second, not by the jitter.
    fn follow_clock(&self) {
        let (ours, wall) = (self.at(Instant::now()), wall_clock());
        if ours.abs_diff(wall) > 1_000_000_000 {
            let since = ours - self.started_at.load(Ordering::Relaxed);
            let started = wall.saturating_sub(since);
            self.started_at.store(started, Ordering::Relaxed);
        }
    }

    fn push(&self, item: Item) {
        let mut over = self.over.lock();
        if over.len() >= MAX_ITEMS {
            drop(over);
            self.dropped
                .fetch_add(item.spans() as u64, Ordering::Relaxed);
            return;
        }
        over.push(item);
        let many = over.len() == MANY_ITEMS;
        drop(over);
        if many {
            self.many.notify_one();
        }
    }

    fn push_all(&self, items: Vec<Item>) {
        items.into_iter().for_each(|item| self.push(item));
    }

    /// Something happened to a task: the span of the task tells it.
    fn note(&self, key: &TaskKey, name: &'static str, more: SmallVec<[(&'static str, Said); 3]>) {
        let at = self.at(Instant::now());
        self.tree.note(key, Event { at, name, more });
    }

    /// Caps of a task were raised by so much.
    pub fn topped_up(&self, key: &TaskKey, by: &Amounts) {
        let raised = Meter::ALL.into_iter().filter(|meter| by[*meter] > 0);
        let said = raised.map(|meter| match meter {
            Meter::Usd => (meter.name(), Said::Usd(by.usd())),
            meter => (meter.name(), Said::Number(by[meter])),
        });
        self.note(key, "top_up", said.collect());
    }

    /// The state of a task has changed. Closed, its spans end.
    pub fn state(&self, key: &TaskKey, state: TaskState) {
        let said = Said::Text(state.name().into());
        self.note(key, "task_state", smallvec![("state", said)]);
        if state != TaskState::Closed {
            return;
        }
        let mut over = Vec::new();
        self.tree.close(key, self.at(Instant::now()), &mut over);
        self.push_all(over);
    }

    /// Ends all spans, and gives the exporters a little time to post them.
    pub async fn stop(&self) {
        self.stop.cancel();
        let _ = tokio::time::timeout(LAST_POSTS, self.stopped.cancelled()).await;
    }
}

fn wall_clock() -> UnixNs {
    clock::now()
        .0
        .max(0)
        .unsigned_abs()
        .saturating_mul(1_000_000)
}

/// The number in a request's id.
fn number(request: &RequestId) -> u128 {
    crate::units::request_number(request.as_str())
        .unwrap_or(0)
        .max(1)
}

/// The lower half.
#[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
const fn half(number: u128) -> u64 {
    number as u64
}

/// Writes what is over and hands it to the exporters, until it is stopped.
pub async fn run(gateway: Arc<Gateway>) {
    let traces = Arc::clone(&gateway.traces);
    let mut every = tokio::time::interval(EMPTIED);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut workers = exporter::Workers::default();
    let mut swept = Instant::now();
    loop {
        let stops = tokio::select! {
            _ = every.tick() => false,
            () = traces.many.notified() => false,
            () = traces.stop.cancelled() => true,
        };
        let live = gateway.live();
        let exporting = &live.exporting;
        workers.follow(exporting, &gateway.metrics);
        let idle = live.config().traces.idle;
        if stops || swept.elapsed() >= SWEPT.min(idle / 4) {
            swept = Instant::now();
            traces.follow_clock();
            let idle = if stops {
                0
            } else {
                u64::try_from(idle.as_nanos()).unwrap_or(u64::MAX)
            };
            let mut over = Vec::new();
            traces
                .tree
                .sweep(traces.at(Instant::now()), idle, &mut over);
            traces.push_all(over);
        }
        let over = std::mem::take(&mut *traces.over.lock());
        exporting.hand_over(over);
        let dropped = traces.dropped.swap(0, Ordering::Relaxed);
        gateway.metrics.traces.dropped("-", "gateway", dropped);
        if stops {
            workers.finish().await;
            traces.stopped.cancel();
            return;
        }
    }
}

#[cfg(test)]
mod tests;
