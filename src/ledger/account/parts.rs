//! What an account is made of where the plain form would be large: many accounts rest at once, and most of
//! them were never topped up, in doubt, or waited for.

use crate::ledger::line::WaiterId;
use crate::ledger::quote::Meters;
use crate::ledger::{Caps, Meter};
use crate::units::Amounts;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

static NOTHING: Amounts = Amounts::ZERO;

/// Amounts that are nothing, as a rule, and then take no room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::ledger) struct Seldom(Option<Box<Amounts>>);

impl Deref for Seldom {
    type Target = Amounts;

    fn deref(&self) -> &Amounts {
        self.0.as_deref().unwrap_or(&NOTHING)
    }
}

impl From<Amounts> for Seldom {
    fn from(amounts: Amounts) -> Self {
        Self((!amounts.is_zero()).then(|| Box::new(amounts)))
    }
}

/// [`Caps`] in half their room.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::ledger) struct Capped {
    /// Meters with a cap.
    pub(in crate::ledger) meters: Meters,
    /// Nothing where there is none.
    at: Amounts,
}

impl Capped {
    pub(in crate::ledger) fn get(&self, meter: Meter) -> Option<u64> {
        self.meters.has(meter).then(|| self.at[meter])
    }

    pub(in crate::ledger) fn caps(&self) -> Caps {
        Caps(Meter::ALL.map(|meter| self.get(meter)))
    }

    pub(in crate::ledger) fn are(&self, caps: &Caps) -> bool {
        // Every call asks, of each of its accounts: without a branch for each meter.
        let (mut meters, mut differ) = (Meters::default(), 0);
        for meter in Meter::ALL {
            let cap = caps.0[meter as usize];
            meters = meters.with_if(meter, cap.is_some());
            differ |= cap.unwrap_or(0) ^ self.at[meter];
        }
        meters == self.meters && differ == 0
    }
}

impl From<&Caps> for Capped {
    fn from(caps: &Caps) -> Self {
        let mut capped = Self::default();
        for meter in Meter::ALL {
            if let Some(cap) = caps.0[meter as usize] {
                capped.meters = capped.meters.with(meter);
                capped.at[meter] = cap;
            }
        }
        capped
    }
}

/// A sum of quotes. Wider than they are, so that absurd quotes on meters without a cap still add up.
#[derive(Clone, Debug, Default)]
pub(in crate::ledger) struct Sum {
    low: Amounts,
    /// How often each went over.
    over: Option<Box<[u64; Meter::COUNT]>>,
}

impl Sum {
    /// At most `u64::MAX`.
    pub(in crate::ledger) fn get(&self, meter: Meter) -> u64 {
        let is_over = self.over.as_ref().is_some_and(|n| n[meter as usize] > 0);
        if is_over { u64::MAX } else { self.low[meter] }
    }

    pub(in crate::ledger) fn add(&mut self, quoted: &Amounts) {
        for (at, quoted) in quoted.0.into_iter().enumerate() {
            let (sum, is_over) = self.low.0[at].overflowing_add(quoted);
            self.low.0[at] = sum;
            if is_over {
                self.over.get_or_insert_default()[at] += 1;
            }
        }
    }

    /// Takes off what was added.
    ///
    /// # Panics
    /// If it was not.
    pub(in crate::ledger) fn take(&mut self, quoted: &Amounts) {
        for (at, quoted) in quoted.0.into_iter().enumerate() {
            let (rest, is_under) = self.low.0[at].overflowing_sub(quoted);
            self.low.0[at] = rest;
            if is_under {
                let over = self.over.as_mut().map(|over| &mut over[at]);
                let carried = over.filter(|over| **over > 0).map(|over| *over -= 1);
                assert!(carried.is_some(), "an account holds the sum of its holds");
            }
        }
        let is_done = |over: &[u64; Meter::COUNT]| over.iter().all(|over| *over == 0);
        if self.over.as_deref().is_some_and(is_done) {
            self.over = None;
        }
    }
}

/// Who waits on one account.
#[derive(Debug, Default)]
pub(in crate::ledger) struct Queue {
    /// Who stands in line here, oldest first.
    pub(in crate::ledger) line: BTreeSet<WaiterId>,
    /// Those in `line` that pass the line: their wait is over, or the line waits on their caller.
    pub(in crate::ledger) passing: BTreeSet<WaiterId>,
    /// What is kept free for waiters that are next, wherever they stand.
    pub(in crate::ledger) kept: BTreeMap<WaiterId, Amounts>,
}

static NOBODY: Queue = Queue {
    line: BTreeSet::new(),
    passing: BTreeSet::new(),
    kept: BTreeMap::new(),
};

/// A [`Queue`] that takes no room while nobody waits, as is the rule.
#[derive(Debug, Default)]
pub(in crate::ledger) struct Waits(Option<Box<Queue>>);

impl Waits {
    /// Changes it.
    pub(in crate::ledger) fn change<R>(&mut self, change: impl FnOnce(&mut Queue) -> R) -> R {
        let queue = self.0.get_or_insert_default();
        let result = change(queue);
        if queue.is_empty() {
            self.0 = None;
        }
        result
    }
}

impl Deref for Waits {
    type Target = Queue;

    fn deref(&self) -> &Queue {
        self.0.as_deref().unwrap_or(&NOBODY)
    }
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.line.is_empty() && self.passing.is_empty() && self.kept.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_sum_is_exact_however_large_its_parts(
            parts in proptest::collection::vec(prop_oneof![Just(u64::MAX), Just(1), any::<u64>()], 1..40),
            keep in 0_usize..40,
        ) {
            let of = |part: u64| Amounts::ZERO.with(Meter::Tokens, part).with(Meter::Usd, 1);
            let mut sum = Sum::default();
            parts.iter().for_each(|part| sum.add(&of(*part)));
            let keep = keep.min(parts.len());
            parts[keep..].iter().for_each(|part| sum.take(&of(*part)));
            let kept: u128 = parts[..keep].iter().map(|part| u128::from(*part)).sum();
            prop_assert_eq!(sum.get(Meter::Tokens), u64::try_from(kept).unwrap_or(u64::MAX));
            prop_assert_eq!(sum.get(Meter::Usd), keep as u64);
            prop_assert_eq!(sum.over.is_some(), kept > u128::from(u64::MAX));
        }
    }

    #[test]
    #[should_panic(expected = "the sum of its holds")]
    fn more_than_was_added_cannot_be_taken_off() {
        let one = Amounts::ZERO.with(Meter::Usd, 1);
        let mut sum = Sum::default();
        sum.add(&one);
        sum.take(&one);
        sum.take(&one);
    }

    /// Some 30,000 of them may be in memory.
    #[test]
    fn an_account_is_small() {
        let bytes = size_of::<crate::ledger::Account>();
        assert!(bytes <= 600, "{bytes} bytes");
    }

    #[test]
    fn caps_come_out_as_they_went_in() {
        let caps = Caps::default().with(Meter::Usd, 0).with(Meter::Turns, 7);
        let capped = Capped::from(&caps);
        assert_eq!(capped.caps(), caps);
        assert!(capped.are(&caps) && !capped.are(&Caps::default()));
        assert_eq!(capped.get(Meter::Tokens), None);
    }
}
