//! Two asks of one call (`hedge_after`): which of them answered first, and which of their ends is the
//! call's own. Made by `admit/again/hedge.rs`, carried by each ask's record.
//!
//! Both asks are admitted, held, settled and journalled by themselves. Only what is heard once a call,
//! the task's pulse and the check of the answer, goes by which of them the caller got.

use crate::traces::Lane;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Side {
    /// The one that the call began with.
    First = 1,
    /// The one beside it.
    Second = 2,
}

impl Side {
    /// The word in the journal and on metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Second => "second",
        }
    }
}

/// What both know of each other.
#[derive(Debug, Default)]
struct Race {
    /// The head of the first one's answer has come.
    is_heard: AtomicBool,
    /// The second one was sent.
    is_on: AtomicBool,
    /// The [`Side`] that answered the caller; 0: none yet.
    won: AtomicU8,
    /// How many have ended.
    ended: AtomicU8,
}

/// One ask of a call that may have two.
#[derive(Clone, Debug)]
pub struct Runner {
    race: Arc<Race>,
    side: Side,
}

impl Runner {
    /// The first ask of a call.
    #[must_use]
    pub fn first() -> Self {
        Self {
            race: Arc::default(),
            side: Side::First,
        }
    }

    /// The ask beside it.
    #[must_use]
    pub fn second(&self) -> Self {
        Self {
            race: Arc::clone(&self.race),
            side: Side::Second,
        }
    }

    /// Its tries among those of the call.
    #[must_use]
    pub const fn lane(&self) -> Lane {
        match self.side {
            Side::First => Lane::First,
            Side::Second => Lane::Second,
        }
    }

    /// The head of an answer that is no error has come.
    pub fn hears(&self) {
        if self.side == Side::First {
            self.race.is_heard.store(true, Ordering::Release);
        }
    }

    /// The head of the first one's answer has come.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.race.is_heard.load(Ordering::Acquire)
    }

    /// The second one leaves.
    pub fn sets_out(&self) {
        self.race.is_on.store(true, Ordering::Release);
    }

    /// The caller gets this one's answer.
    pub fn wins(&self) {
        let to = self.side as u8;
        // Whoever was first stays so.
        let _ = (self.race.won).compare_exchange(0, to, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Which of two asks this one is; `None` as long as there is one only.
    #[must_use]
    pub fn row(&self) -> Option<&'static str> {
        let is_on = self.race.is_on.load(Ordering::Acquire);
        is_on.then(|| self.side.name())
    }

    /// The other one answered the caller.
    #[must_use]
    pub fn has_lost(&self) -> bool {
        let won = self.race.won.load(Ordering::Acquire);
        won != 0 && won != self.side as u8
    }

    /// It ends, with a whole answer or not. True if the call does not end with it: the other one
    /// answered the caller, or may yet.
    #[must_use]
    pub fn ends(&self, is_whole: bool) -> bool {
        if !self.race.is_on.load(Ordering::Acquire) {
            // A second one that does not leave ends nothing.
            return self.side == Side::Second;
        }
        if is_whole {
            self.wins();
        }
        let is_earlier = self.race.ended.fetch_add(1, Ordering::AcqRel) == 0;
        match self.race.won.load(Ordering::Acquire) {
            0 => is_earlier,
            won => won != self.side as u8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> (Runner, Runner) {
        let first = Runner::first();
        let second = first.second();
        second.sets_out();
        (first, second)
    }

    #[test]
    fn one_alone_ends_the_call() {
        let first = Runner::first();
        assert_eq!(first.row(), None);
        assert!(first.second().ends(false), "it has not left");
        assert!(!first.ends(false));
    }

    #[test]
    fn the_call_ends_with_the_winner() {
        let (first, second) = two();
        second.wins();
        assert!(first.has_lost() && !second.has_lost());
        assert!(first.ends(true), "a whole answer that nobody got");
        assert!(!second.ends(true));
        assert_eq!((first.row(), second.row()), (Some("first"), Some("second")));
    }

    #[test]
    fn of_two_failures_the_later_one_ends_it() {
        let (first, second) = two();
        assert!(second.ends(false));
        assert!(!first.ends(false));
    }

    #[test]
    fn after_a_failure_the_other_ones_answer_does() {
        let (first, second) = two();
        assert!(first.ends(false));
        assert!(!second.ends(true));
    }
}
