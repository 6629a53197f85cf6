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

/// The end of one hold, with what the journal is to say of it.
pub(super) struct Ending {
    pub(super) id: HoldId,
    outcome: Outcome,
    entry: Option<Box<CallEntry>>,
    place: Place,
}

impl Inner {
    /// Ends a hold and posts its entry, unless it has to wait for the store.
    #[expect(
        clippy::result_large_err,
        reason = "an ending that cannot be yet is handed back as it came"
    )]
    fn end(&mut self, ending: Ending) -> Result<End, Ending> {
        if self.ledger.footing(ending.id) == Some(Footing::Awaited) {
            return Err(ending);
        }
        let Ending {
            id,
            outcome,
            entry,
            place,
        } = ending;
        let end = outcome.end(&mut self.ledger, id);
        post(place, entry, &end);
        Ok(end)
    }

    /// Ends the holds that waited for an answer of the store which has come.
    pub(super) fn end_delayed(&mut self) {
        if self.ending.is_empty() {
            return;
        }
        for ending in std::mem::take(&mut self.ending) {
            if let Err(still) = self.end(ending) {
                self.ending.push(still);
            }
        }
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
    pub fn end(self, outcome: Outcome, entry: Option<Box<CallEntry>>) -> End {
        let Self {
            purse,
            id,
            terms,
            accounts: _,
            place,
        } = self;
        let ended = purse.with(|inner| {
            if inner.ledger.footing(id) == Some(Footing::Known) {
                return Ok((outcome.end(&mut inner.ledger, id), Some((place, entry))));
            }
            let ending = Ending {
                id,
                outcome,
                entry,
                place,
            };
            let ended = inner.end(ending).map(|end| (end, None));
            ended.map_err(|later| inner.ending.push(later))
        });
        match ended {
            Ok((end, posting)) => {
                if let Some((place, entry)) = posting {
                    post(place, entry, &end);
                }
                end
            }
            // It ends when the store has answered; what is left then is not known yet.
            Err(()) => End {
                remaining: terms.remaining,
                ..End::default()
            },
        }
    }

    /// Ends it without a charge and without an entry: nothing came of it.
    pub fn let_go(self) {
        drop(self.end(Outcome::Void(0), None));
    }
}

/// A hold that ends as void when another begins in its stead.
pub struct Leaving {
    pub(super) hold: Hold,
    /// Definite refusals to be counted.
    pub(super) attempts: u64,
    entry: Box<CallEntry>,
    then: Box<dyn FnOnce(&End) + Send>,
}

impl Leaving {
    /// What the journal is to say of its end, and what is done once that is posted.
    #[must_use]
    pub fn new(
        hold: Hold,
        attempts: u64,
        entry: Box<CallEntry>,
        then: Box<dyn FnOnce(&End) + Send>,
    ) -> Self {
        Self {
            hold,
            attempts,
            entry,
            then,
        }
    }

    /// Nobody takes its stead in the same step.
    pub(super) fn end(self) {
        let end = self
            .hold
            .end(Outcome::Void(self.attempts), Some(self.entry));
        (self.then)(&end);
    }

    /// It has ended in the ledger.
    pub(super) fn ended(self, end: &End) {
        post(self.hold.place, Some(self.entry), end);
        (self.then)(end);
    }
}
