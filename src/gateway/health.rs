//! Whether a target (one model at one provider) is fit to be called: its breaker, and what it asked to
//! be spared for.
//!
//! A target opens after so many failures in a row, or when a share of the last calls failed. While it
//! is open, calls go elsewhere; when that time is over, one call at a time looks whether it is well
//! again. Pure but for atomics: the time is told, and nobody waits for anybody.
//!
//! Of its own making, for no crate fits: those at hand wrap a call and say yes or no by a clock of their
//! own. Here several targets are compared before one is called, a call's end is known long after its
//! head, and the state is shown to operators.

use crate::config::Breaker;
use crate::units::UnixMs;
use arc_swap::ArcSwap;
use foldhash::quality::RandomState;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

/// Models of one provider that are told apart; the next ones share one state.
const MODELS_MAX: usize = 256;
/// Parts of the window.
const SLOTS: usize = 8;
/// Bits for each of the two counts of a slot; they stop there.
const COUNT_BITS: u32 = 20;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;
/// Most times that the time for which a target stays open is doubled.
const DOUBLINGS_MAX: u32 = 20;
/// How long a look is waited for before there is another, milliseconds.
const LOOK_MS: i64 = 30_000;
/// The longest that a provider's own word keeps calls away, milliseconds.
const QUIET_MAX_MS: i64 = 300_000;

/// What a breaker makes of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fitness {
    /// It may be called.
    Fit,
    /// This call is the one that looks whether it is well again.
    Look,
    /// It is passed over until then.
    Unfit(UnixMs),
}

/// What operators are shown of a target.
#[derive(Clone, Debug)]
pub struct TargetView {
    /// The model as the provider names it; `other` for those that share a state.
    pub model: Arc<str>,
    /// `closed`, `open`, `looking` or `quiet`.
    pub state: &'static str,
    /// When a call may look again; `None` while it is closed.
    pub until: Option<UnixMs>,
    /// Failures in a row.
    pub failures_in_a_row: u32,
    /// Calls of the window that went well, and that failed.
    pub window: (u64, u64),
    /// How often it opened since it was last well for long.
    pub opened: u32,
}

/// The state of one target.
#[derive(Debug, Default)]
pub struct Health {
    in_a_row: AtomicU32,
    slots: [AtomicU64; SLOTS],
    /// [`State`] in the two lowest bits, the time in the others; zero while closed.
    breaker: AtomicU64,
    opened: AtomicU32,
    last_opened: AtomicI64,
    /// The provider asked for silence until then.
    quiet_until: AtomicI64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open(i64),
    Looking(i64),
}

impl State {
    fn unpack(packed: u64) -> Self {
        let until = i64::try_from(packed >> 2).unwrap_or(i64::MAX);
        match packed & 3 {
            1 => Self::Open(until),
            2 => Self::Looking(until),
            _ => Self::Closed,
        }
    }

    fn pack(self) -> u64 {
        let (kind, until) = match self {
            Self::Closed => return 0,
            Self::Open(until) => (1, until),
            Self::Looking(until) => (2, until),
        };
        (until.max(0).unsigned_abs() << 2) | kind
    }
}

impl Health {
    /// Whether a call may go there now. [`Fitness::Look`] is given to one call at a time; whoever gets
    /// it calls.
    #[must_use]
    pub fn fitness(&self, now: UnixMs, rules: &Breaker) -> Fitness {
        let quiet = self.quiet_until.load(Ordering::Relaxed);
        if quiet > now.0 {
            return Fitness::Unfit(UnixMs(quiet));
        }
        let packed = self.breaker.load(Ordering::Acquire);
        let (State::Open(until) | State::Looking(until)) = State::unpack(packed) else {
            return Fitness::Fit;
        };
        if now.0 < until {
            return Fitness::Unfit(UnixMs(until));
        }
        // A look that is never heard of again is followed by another.
        let opened = self.opened.load(Ordering::Relaxed);
        let look_ms = open_ms(opened.saturating_sub(1), rules).max(LOOK_MS);
        let look_ms = look_ms.min(ms(rules.max_open));
        let next = State::Looking(now.0.saturating_add(look_ms));
        let won =
            self.breaker
                .compare_exchange(packed, next.pack(), Ordering::AcqRel, Ordering::Acquire);
        match won {
            Ok(_) => Fitness::Look,
            Err(_) => Fitness::Unfit(UnixMs(now.0.saturating_add(look_ms))),
        }
    }

    /// When it may be called again; `None` if it may now. Takes no look.
    #[must_use]
    pub fn closed_until(&self, now: UnixMs) -> Option<UnixMs> {
        let quiet = self.quiet_until.load(Ordering::Relaxed);
        let until = match State::unpack(self.breaker.load(Ordering::Acquire)) {
            State::Closed => quiet,
            State::Open(until) | State::Looking(until) => quiet.max(until),
        };
        (until > now.0).then_some(UnixMs(until))
    }

    /// A call went well.
    pub fn well(&self, now: UnixMs, rules: &Breaker) {
        if self.in_a_row.load(Ordering::Relaxed) != 0 {
            self.in_a_row.store(0, Ordering::Relaxed);
        }
        self.count(now, rules, false);
        self.alive();
    }

    /// A call is being answered: whoever looked whether it is well again has seen enough.
    pub fn alive(&self) {
        let packed = self.breaker.load(Ordering::Acquire);
        if packed != 0
            && let State::Looking(_) = State::unpack(packed)
        {
            self.close(packed);
        }
    }

    /// A call ended, and nobody can say whether the target is well: if it was the look, another may follow
    /// at once.
    pub fn unheard(&self, now: UnixMs) {
        let packed = self.breaker.load(Ordering::Acquire);
        if let State::Looking(_) = State::unpack(packed) {
            let open = State::Open(now.0).pack();
            // Who lost to somebody else has nothing to say any more.
            let _ =
                self.breaker
                    .compare_exchange(packed, open, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// A call failed. True if the target opened by it.
    pub fn failed(&self, now: UnixMs, rules: &Breaker) -> bool {
        let in_a_row = self.in_a_row.fetch_add(1, Ordering::Relaxed);
        let in_a_row = in_a_row.saturating_add(1);
        self.count(now, rules, true);
        let packed = self.breaker.load(Ordering::Acquire);
        let opens = match State::unpack(packed) {
            State::Looking(_) => true,
            // Calls that left before it opened come back one by one.
            State::Open(_) => false,
            State::Closed => in_a_row >= rules.failures || self.fails_often(now, rules),
        };
        opens && self.open(packed, now, rules)
    }

    /// The provider asks to be left alone for so long.
    pub fn quiet(&self, now: UnixMs, milliseconds: i64) {
        let until = now.0.saturating_add(milliseconds.clamp(0, QUIET_MAX_MS));
        self.quiet_until.fetch_max(until, Ordering::Relaxed);
    }

    fn close(&self, packed: u64) {
        let closed = self.breaker.compare_exchange(
            packed,
            State::Closed.pack(),
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
        if closed.is_ok() {
            // What was before says nothing any more.
            self.in_a_row.store(0, Ordering::Relaxed);
            for slot in &self.slots {
                slot.store(0, Ordering::Relaxed);
            }
        }
    }

    fn open(&self, packed: u64, now: UnixMs, rules: &Breaker) -> bool {
        let since = now
            .0
            .saturating_sub(self.last_opened.load(Ordering::Relaxed));
        let longest = ms(rules.max_open);
        // One that was well for long begins anew.
        let before = match self.opened.load(Ordering::Relaxed) {
            before if since <= longest.saturating_mul(2) => before,
            _ => 0,
        };
        let open = State::Open(now.0.saturating_add(open_ms(before, rules)));
        let won = self
            .breaker
            .compare_exchange(packed, open.pack(), Ordering::AcqRel, Ordering::Relaxed)
            .is_ok();
        if won {
            self.opened
                .store(before.saturating_add(1), Ordering::Relaxed);
            self.last_opened.store(now.0, Ordering::Relaxed);
        }
        won
    }

    fn count(&self, now: UnixMs, rules: &Breaker, failure: bool) {
        let (number, at) = slot(now, rules);
        let Some(slot) = self.slots.get(at) else {
            return;
        };
        let add = |packed: u64| {
            let (old, well, bad) = parts(packed);
            let (well, bad) = if old == number { (well, bad) } else { (0, 0) };
            let (well, bad) = match failure {
                false => ((well + 1).min(COUNT_MAX), bad),
                true => (well, (bad + 1).min(COUNT_MAX)),
            };
            Some(number << (2 * COUNT_BITS) | well << COUNT_BITS | bad)
        };
        // Never refused: the closure always has an answer.
        let _ = slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Calls of the window that went well, and that failed.
    fn window(&self, now: UnixMs, rules: &Breaker) -> (u64, u64) {
        let (number, _) = slot(now, rules);
        let mut sum = (0, 0);
        for slot in &self.slots {
            let (old, well, bad) = parts(slot.load(Ordering::Relaxed));
            let age = number.wrapping_sub(old) & SLOT_MASK;
            if age < SLOTS as u64 {
                sum = (sum.0 + well, sum.1 + bad);
            }
        }
        sum
    }

    fn fails_often(&self, now: UnixMs, rules: &Breaker) -> bool {
        let (well, bad) = self.window(now, rules);
        let all = well + bad;
        all >= u64::from(rules.min_calls) && bad * 100 >= all * u64::from(rules.failure_percent)
    }

    fn view(&self, model: &Arc<str>, now: UnixMs, rules: &Breaker) -> TargetView {
        let state = match State::unpack(self.breaker.load(Ordering::Acquire)) {
            State::Open(_) => "open",
            State::Looking(_) => "looking",
            State::Closed if self.quiet_until.load(Ordering::Relaxed) > now.0 => "quiet",
            State::Closed => "closed",
        };
        TargetView {
            model: Arc::clone(model),
            state,
            until: self.closed_until(now),
            failures_in_a_row: self.in_a_row.load(Ordering::Relaxed),
            window: self.window(now, rules),
            opened: self.opened.load(Ordering::Relaxed),
        }
    }
}

/// How long a target stays open that opened so many times before, milliseconds.
fn open_ms(before: u32, rules: &Breaker) -> i64 {
    let factor = 1_i64 << before.min(DOUBLINGS_MAX);
    let open_ms = ms(rules.open_for).saturating_mul(factor);
    open_ms.min(ms(rules.max_open))
}

const SLOT_MASK: u64 = (1 << (64 - 2 * COUNT_BITS)) - 1;

/// The number of the slot that counts now, and its place.
fn slot(now: UnixMs, rules: &Breaker) -> (u64, usize) {
    let width = (ms(rules.window) / SLOTS as i64).max(1);
    let number = (now.0.max(0) / width).unsigned_abs() & SLOT_MASK;
    (number, usize::try_from(number).unwrap_or(0) % SLOTS)
}

fn parts(packed: u64) -> (u64, u64, u64) {
    let number = packed >> (2 * COUNT_BITS);
    (number, packed >> COUNT_BITS & COUNT_MAX, packed & COUNT_MAX)
}

fn ms(span: std::time::Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// The targets of one provider.
#[derive(Default)]
pub struct Healths {
    by_model: ArcSwap<HashMap<Arc<str>, Arc<Health>, RandomState>>,
    other: Arc<Health>,
}

impl Healths {
    /// The state of a model; the shared one if there are too many.
    #[must_use]
    pub fn of(&self, model: &str) -> Arc<Health> {
        if let Some(found) = self.by_model.load().get(model) {
            return Arc::clone(found);
        }
        self.by_model.rcu(|known| {
            let mut known = HashMap::clone(known);
            if known.len() < MODELS_MAX {
                known.entry(model.into()).or_default();
            }
            known
        });
        let known = self.by_model.load();
        Arc::clone(known.get(model).unwrap_or(&self.other))
    }

    /// All of them, by the model's name.
    #[must_use]
    pub fn view(&self, now: UnixMs, rules: &Breaker) -> Vec<TargetView> {
        let known = self.by_model.load();
        let mut views: Vec<TargetView> = known
            .iter()
            .map(|(model, health)| health.view(model, now, rules))
            .collect();
        views.sort_by(|one, other| one.model.cmp(&other.model));
        if known.len() >= MODELS_MAX {
            views.push(self.other.view(&"other".into(), now, rules));
        }
        views
    }
}

#[cfg(test)]
mod tests;
