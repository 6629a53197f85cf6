//! How much money the open doubts can come to.
//!
//! A call that ended without evidence is one doubt, whatever its amount says, and stands in all the
//! accounts that covered it. A crash leaves no such record of the calls that were in flight: what is
//! known is, account by account, what had been granted and was not proven. Each of these figures must
//! count against its own cap, but their sum is no money: one call in flight is in each of them that
//! covered it.
//!
//! What bounds the money: a hold is set aside on every account that covers its call, out of what the
//! account was granted. So the accounts of one limit, together, bound what the calls that it covers
//! can have cost, for each of these calls is in exactly one of them. A limit without `match`, in
//! dollars and enforced, covers every call; its accounts bound everything, and those of the others
//! count the same money once more. Where there are several such limits each of them is a bound, and
//! the largest is shown, so that money does not vanish from the sum while some account still counts it.
//! Where there is none (or all its doubts are released), limits may cover different calls, and only
//! the sum over the limits is a bound.

use super::Doubt;
use super::sqlite::CRASH;
use crate::units::{NanoUsd, UnixMs};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The open doubts in dollars, added up.
#[derive(Clone, Debug, Default)]
pub struct Stake {
    calls: u64,
    /// By the start that found it (each raises its doubts at one instant) and by limit.
    crashes: BTreeMap<UnixMs, BTreeMap<Arc<str>, u64>>,
}

impl Stake {
    /// Adds a doubt.
    pub fn add(&mut self, doubt: &Doubt) {
        let usd = doubt.amounts.usd().0;
        if *doubt.reason != *CRASH {
            self.calls = self.calls.saturating_add(usd);
            return;
        }
        let limits = self.crashes.entry(doubt.at).or_default();
        for key in &doubt.accounts {
            let sum = limits.entry(Arc::clone(&key.limit)).or_default();
            *sum = sum.saturating_add(usd);
        }
    }

    /// What calls that ended without evidence can have cost.
    #[must_use]
    pub const fn of_calls(&self) -> NanoUsd {
        NanoUsd(self.calls)
    }

    /// What the calls that crashes cut off can have cost. `covers_all`: whether a limit, by its id,
    /// caps dollars of every call.
    #[must_use]
    pub fn of_crashes(&self, covers_all: impl Fn(&str) -> bool) -> NanoUsd {
        let crashes = self.crashes.values().map(|limits| {
            let bounds = limits.iter().filter(|(limit, _)| covers_all(limit));
            let largest = bounds.map(|(_, sum)| *sum).max().unwrap_or(0);
            if largest > 0 {
                largest
            } else {
                limits.values().copied().fold(0, u64::saturating_add)
            }
        });
        NanoUsd(crashes.fold(0, u64::saturating_add))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::AccountKey;
    use crate::units::{Amounts, Meter};

    fn doubt(at: i64, reason: &str, limit: &str, of: &str, nano: u64) -> Doubt {
        Doubt {
            id: 1,
            at: UnixMs(at),
            reason: reason.into(),
            task: None,
            identity: None,
            request: None,
            answer_id: None,
            provider: None,
            model: None,
            amounts: Amounts::ZERO.with(Meter::Usd, nano),
            accounts: vec![AccountKey {
                limit: limit.into(),
                per: [("task", Arc::from(of))].into(),
                window: None,
            }],
        }
    }

    fn stake(doubts: &[Doubt]) -> Stake {
        let mut stake = Stake::default();
        doubts.iter().for_each(|doubt| stake.add(doubt));
        stake
    }

    #[test]
    fn a_crash_counts_once_however_many_limits_cover_its_calls() {
        let mut doubts = vec![
            doubt(1, "reset", "task", "a", 7),
            doubt(1, CRASH, "task", "a", 30),
            doubt(1, CRASH, "task", "b", 20),
            doubt(1, CRASH, "owner", "-", 60),
            doubt(1, CRASH, "some models", "-", 500),
            doubt(2, CRASH, "task", "a", 5),
        ];
        let all = |limit: &str| limit != "some models";
        assert_eq!(stake(&doubts).of_calls(), NanoUsd(7));
        assert_eq!(stake(&doubts).of_crashes(all), NanoUsd(60 + 5));
        // What bounds all is released: the rest may be of different calls.
        doubts.retain(|doubt| &*doubt.accounts[0].limit != "owner");
        assert_eq!(stake(&doubts).of_crashes(all), NanoUsd(50 + 5));
        assert_eq!(stake(&doubts).of_crashes(|_| false), NanoUsd(550 + 5));
        assert_eq!(stake(&[]).of_crashes(all), NanoUsd(0));
    }
}
