//! An agent's last steps, and the rules that look at nothing else: `repeat`, `error_retry`, `cycle`
//! and `no_progress`.

use super::digest::{Digest, Tone, pair};
use super::rules::{Again, Cycle, NoProgress};

/// The last few of something, oldest first.
#[derive(Clone, Debug)]
pub(super) struct Recent<T, const MOST: usize>(Vec<T>);

impl<T, const MOST: usize> Default for Recent<T, MOST> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const MOST: usize> Recent<T, MOST> {
    pub(super) fn push(&mut self, item: T) {
        if self.0.len() >= MOST {
            self.0.remove(0);
        } else if self.0.len() == self.0.capacity() {
            // Grown by little: most tasks are short, and many rest at once.
            self.0.reserve_exact((MOST - self.0.len()).min(4));
        }
        self.0.push(item);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<T>()
    }
}

impl<T, const MOST: usize> std::ops::Deref for Recent<T, MOST> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

/// One step of an agent: what it did, and what came of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// The number of the call whose answer this is.
    pub call: u64,
    /// What the agent did; for a step without a tool, what it said.
    pub action: Digest,
    /// What came of it.
    pub outcome: Digest,
    pub tone: Tone,
    /// Something came of it: a tool's result, or a message that no person wrote.
    pub answered: bool,
    /// The agent called tools.
    pub acted: bool,
    /// The outcome was among the agent's last ones already.
    pub stale: bool,
    /// So was the whole state.
    pub known: bool,
}

impl Step {
    /// The agent learnt something, said something new, or did something new that was acknowledged: an
    /// edit between two runs of the tests.
    const fn is_progress(&self) -> bool {
        let speaks_for_itself = !self.answered || matches!(self.tone, Tone::Brief);
        (self.answered && !self.stale) || (speaks_for_itself && !self.known)
    }

    /// The state: what the agent did and what came of it.
    pub(super) const fn state(&self) -> Digest {
        Digest(pair(self.action.0, self.outcome.0))
    }
}

/// As many steps as the longest cycle needs: six steps, three times.
pub(super) const MOST_STEPS: usize = 18;
/// An agent's steps.
pub(super) type Steps = Recent<Step, MOST_STEPS>;

/// Where a pattern was found: the calls, and the digests of the states that make it up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub calls: Vec<u64>,
    pub digests: Vec<Digest>,
}

impl Found {
    fn state(calls: Vec<u64>, state: Digest) -> Self {
        let digests = vec![state];
        Self { calls, digests }
    }
}

/// `repeat` (`errors`: false) and `error_retry` (true): the last step's state, met before.
pub(super) fn again(steps: &[Step], rule: &Again, errors: bool) -> Option<Found> {
    let (last, before) = steps.split_last()?;
    // Text alone is no state: only what came of it tells whether anything changed.
    if !last.answered || errors && last.tone != Tone::Error {
        return None;
    }
    let state = last.state();
    let row = before.iter().rev().take_while(|step| step.state() == state);
    let mut calls: Vec<u64> = row.take(rule.in_row - 1).map(|step| step.call).collect();
    if calls.len() + 1 >= rule.in_row {
        calls.reverse();
        calls.push(last.call);
        return Some(Found::state(calls, state));
    }
    in_window(last, before, rule)
}

fn in_window(last: &Step, before: &[Step], rule: &Again) -> Option<Found> {
    let state = last.state();
    let from = before.len().saturating_sub(rule.window - 1);
    let met = |i: &usize| before[*i].state() == state;
    let places: Vec<usize> = (from..before.len()).filter(met).collect();
    let latest = *places.last()?;
    let between = &before[latest + 1..];
    // In a cycle it is the cycle that is told, when it is complete.
    let period = before.len() - latest;
    let twice = latest >= period
        && (0..period)
            .all(|k| before[latest - k].state() == before_or_last(before, last, k).state());
    if period > 1 && twice && last.acted {
        return None;
    }
    let slack = match between.iter().any(Step::is_progress) {
        true => rule.slack,
        false => 0,
    };
    let needed = rule.in_window + slack;
    if places.len() + 1 < needed {
        return None;
    }
    let mut calls: Vec<u64> = places.iter().map(|i| before[*i].call).collect();
    calls.push(last.call);
    Some(Found::state(calls, state))
}

/// The step `k` places before the last.
fn before_or_last<'a>(before: &'a [Step], last: &'a Step, k: usize) -> &'a Step {
    match k {
        0 => last,
        k => &before[before.len() - k],
    }
}

/// One state of a sequence in which a cycle is looked for.
pub(super) trait InCycle {
    fn state(&self) -> Digest;
    fn call(&self) -> u64;
}

impl InCycle for Step {
    fn state(&self) -> Digest {
        Self::state(self)
    }

    fn call(&self) -> u64 {
        self.call
    }
}

/// `cycle`: the last states are one period of two or more, over and over.
pub(super) fn cycle<T: InCycle>(steps: &[T], rule: &Cycle) -> Option<Found> {
    (2..=rule.longest_period).find_map(|period| {
        let length = period * rule.times;
        let tail = &steps[steps.len().checked_sub(length)?..];
        let repeats = (period..length).all(|i| tail[i].state() == tail[i - period].state());
        // A period of one is `repeat`'s business.
        let moves = tail[1..period]
            .iter()
            .any(|step| step.state() != tail[0].state());
        (repeats && moves).then(|| Found {
            calls: tail.iter().map(InCycle::call).collect(),
            digests: tail[..period].iter().map(InCycle::state).collect(),
        })
    })
}

/// `no_progress`: the last steps brought nothing that the agent had not met.
pub(super) fn no_progress(steps: &[Step], rule: &NoProgress) -> Option<Found> {
    let run = |test: fn(&Step) -> bool| steps.iter().rev().take_while(|step| test(step)).count();
    // An acknowledgement is never news, whatever was done: it tells nothing either way.
    let stale = run(|step| step.answered && step.stale && step.tone != Tone::Brief);
    let in_vain = run(|step| step.stale && matches!(step.tone, Tone::Empty | Tone::Error));
    let length = match () {
        () if in_vain >= rule.in_vain => in_vain,
        () if stale >= rule.nothing_new => stale,
        () => return None,
    };
    let tail = &steps[steps.len() - length..];
    let mut digests: Vec<Digest> = tail.iter().map(|step| step.outcome).collect();
    digests.sort_unstable();
    digests.dedup();
    Some(Found {
        calls: tail.iter().map(|step| step.call).collect(),
        digests,
    })
}
