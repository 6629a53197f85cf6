//! How holds end, and when: see the invariant of the purse.

use super::{Hold, Inner};
use crate::clock;
use crate::ledger::{End, Footing, HoldId, Ledger};
use crate::store::{CallEntry, Entry, Place};
use crate::units::Amounts;

/// What becomes of a hold.
#[derive(Clone, Copy, Debug)]
pub enum Outcome {
    /// Charged.
    Settle(Amounts),
    /// In doubt.
    Doubt(Amounts),
    /// Not charged; so many attempts are counted.
    Void(u64),
}

/// Hears of an end that had to wait for the store.
pub type Later = Box<dyn FnOnce(&End) + Send>;

/// The end of one hold that waits for the store, with what the journal is to say of it.
pub(super) struct Ending {
    pub(super) id: HoldId,
    outcome: Outcome,
    entry: Option<Box<CallEntry>>,
    place: Place,
    later: Later,
}

impl Inner {
    fn is_awaited(&self, id: HoldId) -> bool {
        self.ledger.footing(id) == Some(Footing::Awaited)
    }

    /// Ends the holds that waited for an answer of the store which has come. Who is to hear of it is
    /// told once the purse is free again.
    pub(super) fn end_delayed(&mut self) -> Vec<(Later, End)> {
        let mut over = Vec::new();
        if self.ending.is_empty() {
            return over;
        }
        for ending in std::mem::take(&mut self.ending) {
            if self.is_awaited(ending.id) {
                self.ending.push(ending);
                continue;
            }
            let end = ending.outcome.end(&mut self.ledger, ending.id);
            post(ending.place, ending.entry, &end);
            over.push((ending.later, end));
        }
        over
    }
}

impl Outcome {
    fn end(self, ledger: &mut Ledger, id: HoldId) -> End {
        let now = clock::now();
        match self {
            Self::Settle(charged) => ledger.settle(now, id, charged),
            Self::Doubt(in_doubt) => ledger.doubt(now, id, in_doubt),
            Self::Void(attempts) => ledger.void(now, id, attempts),
        }
    }
}

/// Posts what the journal is to say of an end: with the accounts that were added to the hold.
fn post(place: Place, entry: Option<Box<CallEntry>>, end: &End) {
    let Some(mut entry) = entry else { return };
    if !end.added.is_empty() {
        entry.accounts = entry.accounts.iter().chain(&end.added).cloned().collect();
    }
    place.post(Entry::Call(entry));
}

impl Hold {
    /// Its name in the ledger.
    #[must_use]
    pub const fn id(&self) -> HoldId {
        self.id
    }

    /// Ends it, and posts the entry into the place that was kept for it. `entry.accounts` are
    /// [`Hold::accounts`]; those that were added meanwhile are added there.
    ///
    /// `None` if it has to wait for an answer of the store: what `later` makes, in the purse's lock, hears of
    /// the end when it comes.
    pub fn end(
        self,
        outcome: Outcome,
        entry: Option<Box<CallEntry>>,
        later: impl FnOnce() -> Later,
    ) -> Option<End> {
        let Self {
            purse,
            id,
            terms: _,
            accounts: _,
            place,
        } = self;
        let (end, posting) = purse.with(|inner| {
            let footing = inner.ledger.footing(id);
            if footing == Some(Footing::Awaited) {
                inner.ending.push(Ending {
                    id,
                    outcome,
                    entry,
                    place,
                    later: later(),
                });
                return None;
            }
            let end = outcome.end(&mut inner.ledger, id);
            if footing == Some(Footing::Known) {
                return Some((end, Some((place, entry))));
            }
            post(place, entry, &end);
            Some((end, None))
        })?;
        if let Some((place, entry)) = posting {
            post(place, entry, &end);
        }
        Some(end)
    }

    /// Ends it without a charge and without an entry: nothing came of it.
    pub fn let_go(self) {
        drop(self.end(Outcome::Void(0), None, || Box::new(|_| {})));
    }
}

/// A hold that ends as void when another begins in its stead.
pub struct Leaving {
    pub(super) hold: Hold,
    /// Definite refusals to be counted.
    pub(super) attempts: u64,
    entry: Box<CallEntry>,
    then: Later,
}

impl Leaving {
    /// What the journal is to say of its end, and what is done once that is posted.
    #[must_use]
    pub fn new(hold: Hold, attempts: u64, entry: Box<CallEntry>, then: Later) -> Self {
        Self {
            hold,
            attempts,
            entry,
            then,
        }
    }

    /// Nobody takes its stead in the same step.
    pub(super) fn end(self) {
        let Self {
            hold,
            attempts,
            entry,
            then,
        } = self;
        let mut then = Some(then);
        let later = || then.take().unwrap_or_else(|| Box::new(|_| {}));
        let end = hold.end(Outcome::Void(attempts), Some(entry), later);
        if let (Some(end), Some(then)) = (end, then) {
            then(&end);
        }
    }

    /// It has ended in the ledger.
    pub(super) fn ended(self, end: &End) {
        post(self.hold.place, Some(self.entry), end);
        (self.then)(end);
    }
}
