//! The ledger at work: one lock around the pure state machine, the store's I/O, and the calls that
//! wait in line.
//!
//! Every change to the ledger goes through [`Purse::change`], which hands the verdicts that the
//! change brought about to the calls waiting for them before the lock is let go.

use crate::clock;
use crate::ledger::{
    AccountKey, Ask, Asker, Denial, End, Held, HoldId, Ledger, Patience, Verdict, WaiterId,
};
use crate::store::{Grant, Place, Store, StoreError};
use crate::units::{Amounts, UnixMs};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// How often idle allotments are given back.
const GIVE_BACK_EVERY: Duration = Duration::from_secs(5);
/// How long an account rests before its allotment goes back, milliseconds.
const IDLE_MS: i64 = 30_000;
/// The least pause between two looks at the line.
const TICK_MIN_MS: i64 = 5;

/// Why a call got no hold.
#[derive(Debug)]
pub enum NoHold {
    /// A limit is in the way.
    Denied(Denial),
    /// The store is.
    Store(StoreError),
}

struct Inner {
    ledger: Ledger,
    waiting: HashMap<WaiterId, oneshot::Sender<Verdict>>,
}

/// The purse of this node.
pub struct Purse {
    inner: Mutex<Inner>,
    store: Arc<dyn Store>,
    line_changed: Notify,
}

/// Money set aside for one call. It ends exactly once, by [`Hold::settle`], [`Hold::void`] or
/// [`Hold::doubt`]; whoever carries it sees to that in its own `Drop`.
pub struct Hold {
    purse: Arc<Purse>,
    id: HoldId,
    /// What was granted, and on which terms.
    pub terms: Held,
    /// The accounts that cover the call.
    pub accounts: Arc<[AccountKey]>,
    /// The journal place of its own end.
    pub place: Place,
}

impl Purse {
    /// A purse over a store, beginning with what the store knows.
    #[must_use]
    pub fn new(ledger: Ledger, store: Arc<dyn Store>) -> Arc<Self> {
        let inner = Mutex::new(Inner { ledger, waiting: HashMap::new() });
        Arc::new(Self { inner, store, line_changed: Notify::new() })
    }

    /// The store behind it.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Looks at the ledger.
    pub fn look<R>(&self, look: impl FnOnce(&Ledger) -> R) -> R {
        look(&self.inner.lock().ledger)
    }

    /// Changes the ledger and wakes those whom the change concerns.
    pub fn change<R>(self: &Arc<Self>, change: impl FnOnce(&mut Ledger) -> R) -> R {
        let mut inner = self.inner.lock();
        let result = change(&mut inner.ledger);
        let grants = inner.hand_out();
        drop(inner);
        for grant in grants {
            self.spawn_grant(grant);
        }
        result
    }

    /// Sets aside what the ask may cost, waiting for other holds until `deadline`. `tighten` is
    /// asked once, when the ask does not fit as it is; it returns true if it made it smaller.
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
        let place = self.store.reserve().await.map_err(NoHold::Store)?;
        let mut tighten = Some(tighten);
        loop {
            let patience = match tighten {
                Some(_) => Patience::Peek,
                None => Patience::Wait { deadline },
            };
            let verdict = match self.request(asker, ask, patience) {
                Answered::Now(verdict) => verdict,
                Answered::Later(waiting) => waiting.verdict().await,
            };
            match verdict {
                Verdict::Held(terms) => {
                    let accounts = ask.covers.iter().map(|cover| cover.key.clone()).collect();
                    let purse = Arc::clone(self);
                    return Ok(Hold { purse, id: terms.id, terms, accounts, place });
                }
                Verdict::Grants(grants) => {
                    // On a task of its own: others wait for this grant even if this call goes away.
                    let granted = self.spawn_grant(grants);
                    granted.await.map_err(|_| NoHold::Store(StoreError::gone()))?.map_err(NoHold::Store)?;
                }
                Verdict::Short(_) => {
                    if let Some(tighten) = tighten.take() {
                        tighten(ask);
                    }
                }
                Verdict::Waiting(_) => unreachable!("a waiting call is answered later"),
                Verdict::Refused(denial) => return Err(NoHold::Denied(denial)),
            }
        }
    }

    fn request(self: &Arc<Self>, asker: &Asker, ask: &Ask, patience: Patience) -> Answered {
        let mut inner = self.inner.lock();
        let verdict = inner.ledger.request(clock::now(), asker, ask, patience);
        let answered = if let Verdict::Waiting(id) = verdict {
            let (tell, told) = oneshot::channel();
            inner.waiting.insert(id, tell);
            let purse = Arc::clone(self);
            Answered::Later(Waiting { purse, id, told: Some(told) })
        } else {
            Answered::Now(verdict)
        };
        let grants = inner.hand_out();
        drop(inner);
        for grant in grants {
            self.spawn_grant(grant);
        }
        if matches!(answered, Answered::Later(_)) {
            self.line_changed.notify_one();
        }
        answered
    }

    fn spawn_grant(self: &Arc<Self>, grants: Vec<Grant>) -> tokio::task::JoinHandle<Result<(), StoreError>> {
        let purse = Arc::clone(self);
        tokio::spawn(async move {
            let keys: Vec<AccountKey> = grants.iter().map(|grant| grant.key.clone()).collect();
            match purse.store.open(None, grants).await {
                Ok(opened) => {
                    purse.change(|ledger| ledger.granted(clock::now(), &opened.balances));
                    Ok(())
                }
                Err(error) => {
                    purse.change(|ledger| ledger.grant_failed(&keys));
                    Err(error)
                }
            }
        })
    }

    /// Looks at the line when waits end, and gives idle allotments back. Runs until it is dropped.
    pub async fn run(self: Arc<Self>) {
        let mut give_back = tokio::time::interval(GIVE_BACK_EVERY);
        loop {
            let next = self.look(Ledger::next_tick);
            let pause = next.map(|at| (at.0 - clock::now().0).max(TICK_MIN_MS));
            let pause = Duration::from_millis(pause.map_or(60_000, i64::unsigned_abs));
            tokio::select! {
                () = tokio::time::sleep(pause) => self.change(|ledger| ledger.tick(clock::now())),
                () = self.line_changed.notified() => {}
                _ = give_back.tick() => self.give_back(IDLE_MS).await,
            }
        }
    }

    /// Gives the allotments of accounts at rest back to the store and pages them out.
    pub async fn give_back(self: &Arc<Self>, idle_ms: i64) {
        let idle = self.change(|ledger| ledger.idle(clock::now(), idle_ms));
        if idle.is_empty() {
            return;
        }
        let keys: Vec<AccountKey> = idle.iter().map(|(key, _)| key.clone()).collect();
        match self.store.give_back(idle).await {
            Ok(()) => self.change(|ledger| keys.iter().for_each(|key| ledger.forget(key))),
            Err(error) => tracing::warn!(%error, "idle allotments could not be given back"),
        }
    }
}

impl Inner {
    /// Hands out verdicts until none is left. A hold whose waiter has gone is voided at once; grants
    /// for which nobody waits any more are still carried out, for others may stand behind them.
    fn hand_out(&mut self) -> Vec<Vec<Grant>> {
        let mut orphaned = Vec::new();
        loop {
            let woken = self.ledger.woken();
            if woken.is_empty() {
                return orphaned;
            }
            for (id, verdict) in woken {
                let unheard = match self.waiting.remove(&id) {
                    Some(tell) => tell.send(verdict).err(),
                    None => Some(verdict),
                };
                match unheard {
                    Some(Verdict::Held(held)) => {
                        self.ledger.void(clock::now(), held.id, 0);
                    }
                    Some(Verdict::Grants(grants)) => orphaned.push(grants),
                    _ => {}
                }
            }
        }
    }
}

enum Answered {
    Now(Verdict),
    Later(Waiting),
}

/// A place in the line; leaves it when dropped.
struct Waiting {
    purse: Arc<Purse>,
    id: WaiterId,
    told: Option<oneshot::Receiver<Verdict>>,
}

impl Waiting {
    async fn verdict(mut self) -> Verdict {
        // The receiver stays in `self` while it waits, so that a hold that arrives as the caller
        // hangs up is found there by `drop`.
        let verdict = match &mut self.told {
            Some(told) => told.await,
            None => unreachable!("told is taken once, below"),
        };
        self.told = None;
        verdict.unwrap_or(Verdict::Refused(Denial::Gone))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Some(mut told) = self.told.take() else { return };
        told.close();
        let late = told.try_recv().ok();
        let id = self.id;
        self.purse.change(|ledger| match late {
            Some(Verdict::Held(held)) => {
                ledger.void(clock::now(), held.id, 0);
            }
            _ => ledger.leave(id),
        });
        self.purse.inner.lock().waiting.remove(&id);
    }
}

impl Hold {
    /// Ends it at what was charged.
    pub fn settle(self, charged: Amounts) -> (End, Place) {
        let end = self.purse.change(|ledger| ledger.settle(clock::now(), self.id, charged));
        (end, self.place)
    }

    /// Ends it without a charge.
    pub fn void(self, attempts: u64) -> (End, Place) {
        let end = self.purse.change(|ledger| ledger.void(clock::now(), self.id, attempts));
        (end, self.place)
    }

    /// Ends it in doubt.
    pub fn doubt(self, in_doubt: Amounts) -> (End, Place) {
        let end = self.purse.change(|ledger| ledger.doubt(clock::now(), self.id, in_doubt));
        (end, self.place)
    }
}
