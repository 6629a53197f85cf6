//! The ledger at work: one lock around the pure state machine, the store's I/O, and the calls that
//! wait in line.
//!
//! Every change to the ledger goes through [`Purse::change`], which hands out the verdicts and
//! carries the grants that the change brought about.
//!
//! **Invariant:** an end is counted exactly once, in memory and in the store's balance of each
//! account, whenever the balance is fetched. While the balance of some account that a hold covers
//! is being fetched, the hold does not end: the answer could contain the end or not. While it is
//! unknown and nobody asks, the end is counted and posted under the one lock, so that whoever asks
//! next gets an answer that contains it. Once all balances are known, the order does not matter.

mod chores;
mod end;
mod waiting;

pub use end::{Later, Leaving, Outcome};

use crate::clock;
use crate::ledger::{
    AccountKey, Ask, Asker, Cover, Footing, Held, HoldId, Ledger, Patience, Refusal, Shortage,
    Verdict, WaiterId,
};
use crate::store::{
    Balance, Evidence, Grant, Place, Reconciled, Release, SeedQuery, Store, StoreError,
};
use crate::units::{Amounts, UnixMs};
use end::Ending;
use parking_lot::{Mutex, RwLock};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use waiting::Waiting;

/// How often the store is asked anew for accounts that holds were added to: calls go on meanwhile.
const LOAD_TRIES: u32 = 100;
/// Between two looks at accounts that others have asked for.
const LOAD_PAUSE: Duration = Duration::from_millis(2);

/// Why a call got no hold.
#[derive(Debug)]
pub enum NoHold {
    /// The ledger refuses.
    Refused(Refusal),
    /// The journal has no place for the call's end.
    Store(StoreError),
    /// A window ended while the call waited: other accounts cover it now.
    Rolled,
    /// It does not fit at once, or not whole (only of [`Purse::hold_at_once`]).
    Short,
}

/// Which earlier calls an account that is new to the store would have counted.
pub type Seeds = Box<dyn Fn(&AccountKey) -> Option<Arc<SeedQuery>> + Send + Sync>;

struct Inner {
    ledger: Ledger,
    waiting: HashMap<WaiterId, oneshot::Sender<Verdict>>,
    /// Ends that wait for the store; bounded by the places they keep.
    ending: Vec<Ending>,
}

/// The purse of this node.
pub struct Purse {
    inner: Mutex<Inner>,
    store: Arc<dyn Store>,
    seeds: RwLock<Seeds>,
    line_changed: Notify,
}

/// Money set aside for one call. It ends exactly once, by [`Hold::end`] or [`Hold::let_go`]; whoever
/// carries it sees to that in its own `Drop`.
pub struct Hold {
    purse: Arc<Purse>,
    id: HoldId,
    /// What was granted, and on which terms.
    pub terms: Box<Held>,
    /// The accounts that cover the call.
    pub accounts: Arc<[AccountKey]>,
    place: Place,
}

impl Purse {
    /// A purse over a store.
    #[must_use]
    pub fn new(ledger: Ledger, store: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::new(Inner {
                ledger,
                waiting: HashMap::new(),
                ending: Vec::new(),
            }),
            store,
            seeds: RwLock::new(Box::new(|_| None)),
            line_changed: Notify::new(),
        })
    }

    /// The store behind it.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Says how accounts of new limits begin.
    pub fn seed_by(&self, seeds: Seeds) {
        *self.seeds.write() = seeds;
    }

    /// Looks at the ledger.
    pub fn look<R>(&self, look: impl FnOnce(&Ledger) -> R) -> R {
        look(&self.inner.lock().ledger)
    }

    /// Changes the ledger, answers those whom the change concerns, and carries its grants.
    pub fn change<R>(self: &Arc<Self>, change: impl FnOnce(&mut Ledger) -> R) -> R {
        self.with(|inner| change(&mut inner.ledger))
    }

    fn with<R>(self: &Arc<Self>, change: impl FnOnce(&mut Inner) -> R) -> R {
        let mut inner = self.inner.lock();
        let result = change(&mut inner);
        let over = inner.end_delayed();
        inner.hand_out();
        let grants = inner.ledger.grants();
        drop(inner);
        if !grants.is_empty() {
            self.carry(grants);
        }
        for (later, end) in over {
            later(&end);
        }
        result
    }

    /// Sets aside what the ask may cost, waiting for other holds until `deadline`. `tighten` is
    /// asked once, when the ask does not fit as it is and a better bound on its input could help.
    ///
    /// # Errors
    /// A limit or the store is in the way.
    pub async fn hold(
        self: &Arc<Self>,
        asker: &Asker,
        ask: &mut Ask,
        deadline: UnixMs,
        tighten: impl FnOnce(&mut Ask),
    ) -> Result<Hold, NoHold> {
        let asked = match self.store.try_reserve() {
            Ok(place) => match self.ask(asker, ask, Patience::Peek) {
                Ok(Verdict::Held(terms)) => return Ok(self.begun(ask, terms, place)),
                asked => Some((place, asked)),
            },
            Err(_) => None,
        };
        // Most calls fit at once: what it takes to wait is no part of their futures.
        Box::pin(self.hold_on(asked, asker, ask, deadline, tighten)).await
    }

    /// Goes on from what the purse said at once; `None`: it was not asked, for want of a place.
    async fn hold_on(
        self: &Arc<Self>,
        asked: Option<(Place, Result<Verdict, Waiting>)>,
        asker: &Asker,
        ask: &mut Ask,
        deadline: UnixMs,
        tighten: impl FnOnce(&mut Ask),
    ) -> Result<Hold, NoHold> {
        let (place, asked) = match asked {
            Some(asked) => asked,
            None => {
                let place = self.place().await?;
                (place, self.ask(asker, ask, Patience::Peek))
            }
        };
        let mut verdict = match asked {
            Ok(verdict) => verdict,
            Err(waiting) => waiting.verdict().await,
        };
        if let Verdict::Short(shortage) = verdict {
            if shortage.refinable {
                tighten(ask);
            }
            verdict = match self.ask(asker, ask, Patience::Wait { deadline }) {
                Ok(verdict) => verdict,
                Err(waiting) => waiting.verdict().await,
            };
        }
        self.held(ask, verdict, place)
    }

    /// Sets aside what the ask may cost if all of it fits at once: without waiting for other holds, and
    /// with as much output as is wanted. `tighten` is as in [`Purse::hold`].
    ///
    /// # Errors
    /// As [`Purse::hold`], and [`NoHold::Short`].
    pub async fn hold_at_once(
        self: &Arc<Self>,
        asker: &Asker,
        ask: &mut Ask,
        tighten: impl FnOnce(&mut Ask),
    ) -> Result<Hold, NoHold> {
        let place = self.place().await?;
        let mut verdict = match self.ask(asker, ask, Patience::Peek) {
            Ok(verdict) => verdict,
            Err(waiting) => waiting.verdict().await,
        };
        if verdict == Verdict::Short(Shortage { refinable: true }) {
            tighten(ask);
            verdict = match self.ask(asker, ask, Patience::Peek) {
                Ok(verdict) => verdict,
                Err(waiting) => waiting.verdict().await,
            };
        }
        self.held(ask, verdict, place)
    }

    /// Asks in the stead of another hold, which ends as void in the very step in which the new one begins,
    /// so that nobody in line comes between them. `leave` gives it up; it is asked once the journal has
    /// a place. `None`: it does not fit at once, or not whole, and may be asked for anew.
    ///
    /// # Errors
    /// A limit or the store is in the way; the other hold is over nevertheless.
    pub async fn swap(
        self: &Arc<Self>,
        leave: impl FnOnce() -> Option<Leaving>,
        asker: &Asker,
        ask: &Ask,
    ) -> Result<Option<Hold>, NoHold> {
        let place = self.place().await?;
        let asked = match leave() {
            Some(leaving) => self.ask_instead(leaving, asker, ask),
            None => self.ask(asker, ask, Patience::Peek),
        };
        let verdict = match asked {
            Ok(verdict) => verdict,
            Err(waiting) => waiting.verdict().await,
        };
        match self.held(ask, verdict, place) {
            Err(NoHold::Short) => Ok(None),
            held => held.map(Some),
        }
    }

    /// Ends one hold and asks for another, in one step where the balances of the old one's accounts are
    /// known; else one after the other.
    fn ask_instead(
        self: &Arc<Self>,
        leaving: Leaving,
        asker: &Asker,
        ask: &Ask,
    ) -> Result<Verdict, Waiting> {
        let void = (leaving.hold.id, leaving.attempts);
        let swapped = self.with(|inner| {
            if inner.ledger.footing(void.0) != Some(Footing::Known) {
                return None;
            }
            let now = clock::now();
            let (end, verdict) = inner.ledger.swap(now, void, asker, ask, Patience::Peek);
            Some((end, inner.answer(self, verdict)))
        });
        let Some((end, answer)) = swapped else {
            leaving.end();
            return self.ask(asker, ask, Patience::Peek);
        };
        leaving.ended(&end);
        if answer.is_err() {
            self.line_changed.notify_one();
        }
        answer
    }

    /// A place in the journal for the call's end.
    async fn place(&self) -> Result<Place, NoHold> {
        match self.store.try_reserve() {
            Ok(place) => Ok(place),
            Err(StoreError::Full) => self.store.reserve().await.map_err(NoHold::Store),
            Err(error) => Err(NoHold::Store(error)),
        }
    }

    fn held(self: &Arc<Self>, ask: &Ask, verdict: Verdict, place: Place) -> Result<Hold, NoHold> {
        match verdict {
            Verdict::Held(terms) => Ok(self.begun(ask, terms, place)),
            Verdict::Rolled => Err(NoHold::Rolled),
            Verdict::Refused(refusal) => Err(NoHold::Refused(refusal)),
            Verdict::Short(_) => Err(NoHold::Short),
            Verdict::Waiting(_) => unreachable!("an asker is answered"),
        }
    }

    fn begun(self: &Arc<Self>, ask: &Ask, terms: Box<Held>, place: Place) -> Hold {
        let keys = ask.covers.iter().map(|cover| &cover.key);
        // Few calls have a ceiling of their own; without one the list is as long as theirs.
        let accounts = if keys.clone().any(AccountKey::is_per_call) {
            keys.filter(|key| !key.is_per_call()).cloned().collect()
        } else {
            keys.cloned().collect()
        };
        Hold {
            purse: Arc::clone(self),
            id: terms.id,
            terms,
            accounts,
            place,
        }
    }

    /// The verdict, or a place in the line.
    fn ask(
        self: &Arc<Self>,
        asker: &Asker,
        ask: &Ask,
        patience: Patience,
    ) -> Result<Verdict, Waiting> {
        let answer = self.with(|inner| {
            let verdict = inner.ledger.request(clock::now(), asker, ask, patience);
            inner.answer(self, verdict)
        });
        if answer.is_err() {
            self.line_changed.notify_one();
        }
        answer
    }

    /// Raises one account's cap, durably first.
    ///
    /// # Errors
    /// The store's fault.
    pub async fn top_up(
        self: &Arc<Self>,
        key: AccountKey,
        amounts: Amounts,
        by: Arc<str>,
    ) -> Result<Balance, StoreError> {
        self.open_seeded(key.clone()).await?;
        let balance = self.store.top_up(key.clone(), amounts, by).await?;
        self.topped_up(&[(key, balance.clone())]);
        Ok(balance)
    }

    /// Opens an account that nobody may have held on yet, with what its limit would have counted.
    ///
    /// # Errors
    /// The store's fault.
    pub async fn open_seeded(&self, key: AccountKey) -> Result<(), StoreError> {
        let seed = self.seeds.read()(&key);
        let grant = Grant {
            key,
            upto: Amounts::ZERO,
            seed,
        };
        self.store.open(None, vec![grant]).await.map(drop)
    }

    /// Takes in top-ups that the store has made durable.
    pub fn topped_up(self: &Arc<Self>, balances: &[(AccountKey, Balance)]) {
        self.change(|ledger| {
            for (key, balance) in balances {
                let Balance {
                    topped_up, lapsed, ..
                } = balance;
                ledger.topped_up_to(clock::now(), key, topped_up, lapsed);
            }
        });
    }

    /// A person takes money out of doubt as not spent.
    ///
    /// # Errors
    /// No such doubt, or the store's fault.
    pub async fn release(
        self: &Arc<Self>,
        release: Release,
        by: Arc<str>,
    ) -> Result<Reconciled, StoreError> {
        let done = self.store.release(release, by).await?;
        self.change(|ledger| ledger.shifted(clock::now(), &done.shifts, done.cleared));
        Ok(done)
    }

    /// Evidence takes money out of doubt: what it says was spent is settled.
    ///
    /// # Errors
    /// The store's fault.
    pub async fn reconcile(
        self: &Arc<Self>,
        evidence: Vec<Evidence>,
        by: Arc<str>,
    ) -> Result<Reconciled, StoreError> {
        let done = self.store.reconcile(evidence, by).await?;
        self.change(|ledger| ledger.shifted(clock::now(), &done.shifts, done.cleared));
        Ok(done)
    }

    /// Makes grants durable, in a task of its own: several calls may need them, and the one that
    /// needed them first may hang up.
    fn carry(self: &Arc<Self>, grants: Vec<Grant>) {
        drop(tokio::spawn(Arc::clone(self).deliver(grants)));
    }

    async fn deliver(self: Arc<Self>, mut grants: Vec<Grant>) -> Result<(), StoreError> {
        {
            let seeds = self.seeds.read();
            for grant in &mut grants {
                grant.seed = seeds(&grant.key);
            }
        }
        let keys: Vec<AccountKey> = grants.iter().map(|grant| grant.key.clone()).collect();
        match self.store.open(None, grants).await {
            Ok(opened) => {
                self.change(|ledger| ledger.granted(clock::now(), &opened.balances));
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "the store could not grant an allotment");
                self.change(|ledger| ledger.grant_failed(&keys));
                Err(error)
            }
        }
    }

    /// Adds running holds to further accounts, all in one step: nobody holds on those accounts before
    /// what runs already is held there. Says which of the holds have ended. What they cost, the
    /// store knows once their entries are posted; then [`Purse::load`] fetches the balances.
    pub fn cover(self: &Arc<Self>, holds: &[(HoldId, Vec<Cover>)]) -> Vec<HoldId> {
        self.change(|ledger| {
            let now = clock::now();
            let ended = holds
                .iter()
                .filter(|(id, covers)| !ledger.cover(now, *id, covers));
            ended.map(|(id, _)| *id).collect()
        })
    }

    /// Waits until the ends that now wait for an answer of the store are posted.
    pub async fn delayed(&self) {
        let delayed = |inner: &Inner| inner.ending.iter().map(|ending| ending.id).collect();
        let mut ids: Vec<HoldId> = delayed(&self.inner.lock());
        while !ids.is_empty() {
            tokio::time::sleep(LOAD_PAUSE).await;
            let still: Vec<HoldId> = delayed(&self.inner.lock());
            ids.retain(|id| still.contains(id));
        }
    }

    /// Fetches the balances of accounts that holds were added to, and makes durable that so much is
    /// held there.
    ///
    /// # Errors
    /// The store's fault.
    pub async fn load(self: &Arc<Self>, keys: &[AccountKey]) -> Result<(), StoreError> {
        let mut asked = 0;
        loop {
            let (grants, waits) = self.change(|ledger| ledger.load(clock::now(), keys));
            if !grants.is_empty() {
                asked += 1;
                if asked > LOAD_TRIES {
                    let keys: Vec<_> = grants.into_iter().map(|grant| grant.key).collect();
                    self.change(|ledger| ledger.grant_failed(&keys));
                    return Err(StoreError::Failed("it grants less than is held".to_owned()));
                }
                // In a task of its own: whoever waits for it may go away, the answer must not.
                let delivery = tokio::spawn(Arc::clone(self).deliver(grants));
                delivery.await.map_err(|_| StoreError::Stopped)??;
            } else if waits {
                // Others have asked; they will be answered.
                tokio::time::sleep(LOAD_PAUSE).await;
            } else {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests;
