//! Limits that come into force while calls are in flight: of a reload, or a task's own. The calls are
//! gone and may be billed already, so they are set aside on the new accounts before any call is
//! admitted there.
//!
//! It goes in this order. What comes is announced. Then every call on the list that holds money is
//! added to the accounts that will cover it, in one step. A call that gets its hold meanwhile looks
//! for an announcement once it is on the list with its hold, and adds itself: it is either on the list
//! in time or sees the announcement. A call whose hold had ended in that step is not added; its
//! journal entry is waited for, so that the accounts open with what it cost. Then the balances are
//! fetched, and what is held is made durable. Only then does the new limit come into force; a call that
//! was quoted under the old ones and has not left yet is quoted again.

use super::{Gateway, Live};
use crate::clock;
use crate::config::Facts;
use crate::flights::{Aboard, Flight, Whose};
use crate::ledger::{AccountKey, Caps, Cover, HoldId};
use crate::store::{StoreError, TaskRecord};
use crate::task::own_cover;
use crate::units::TaskKey;
use std::sync::Arc;
use std::time::Duration;

/// Between two looks at whether entries that are about to be posted were.
const PAUSE: Duration = Duration::from_millis(1);

/// A configuration that is about to come into force, and which of its limits are new.
pub struct Coming {
    live: Arc<Live>,
    limits: Vec<Arc<str>>,
}

impl Coming {
    /// The new limits' accounts that will cover a call in flight.
    fn covers(&self, flight: &Flight, aboard: &Aboard) -> Vec<Cover> {
        let facts = Facts::new(
            &flight.attribution,
            Arc::clone(&aboard.model),
            Arc::clone(&aboard.provider),
            aboard.dialect,
        );
        let policies = &self.live.loaded.policies;
        let mut covers = policies.covers_of_past(&facts, flight.admitted, clock::now());
        covers.retain(|cover| self.limits.contains(&cover.key.limit));
        covers
    }
}

impl Gateway {
    /// Puts a new configuration in force; its limits named here are new, and hold the calls in flight
    /// from the beginning. Calls under way keep the rest of the configuration they began with.
    ///
    /// # Errors
    /// The store's fault; the old configuration stays in force.
    pub async fn replace(&self, live: Live, limits: Vec<Arc<str>>) -> Result<(), StoreError> {
        let coming = Arc::new(Coming {
            live: Arc::new(live),
            limits,
        });
        self.coming.store(Some(Arc::clone(&coming)));
        let covered = self.cover_flights(|_| true, |flight, aboard| coming.covers(flight, aboard));
        if let Err(error) = covered.await {
            self.coming.store(None);
            return Err(error);
        }
        self.live.store(Arc::clone(&coming.live));
        self.coming.store(None);
        // Those that added themselves meanwhile are made durable as well; what fails here is
        // tried again by the next call that such an account covers.
        let covered = self.cover_flights(|_| true, |flight, aboard| coming.covers(flight, aboard));
        drop(covered.await);
        Ok(())
    }

    /// Lowers a task's own caps, durably; higher ones are ignored. If they are its first, the calls
    /// in flight are held under them.
    ///
    /// # Errors
    /// No such task, or the store's fault.
    pub async fn lower_caps(
        &self,
        key: TaskKey,
        caps: Caps,
        by: Arc<str>,
    ) -> Result<TaskRecord, StoreError> {
        let Some(task) = self.tasks.find(&key).await? else {
            return self.tasks.lower_caps(key, caps, by).await;
        };
        let _turn = task.lowering().lock().await;
        if task.own_cover().is_some() {
            // The account is the same, and every call in flight is held there.
            return self.tasks.lower_caps(key, caps, by).await;
        }
        let whose = Whose::Task(key.clone());
        let cover = |_: &Flight, _: &Aboard| own_cover(&key, caps).into_iter().collect();
        let meant = |flight: &Flight| whose.covers(&flight.attribution);
        task.announce(Some(caps));
        let covered = self.cover_flights(meant, cover).await;
        let lowered = match covered {
            Ok(()) => self.tasks.lower_caps(key.clone(), caps, by).await,
            Err(error) => Err(error),
        };
        task.announce(None);
        if lowered.is_ok() {
            drop(self.cover_flights(meant, cover).await);
        }
        lowered
    }

    /// The configuration that is about to come into force.
    pub(super) fn coming(&self) -> Option<Arc<Live>> {
        let coming = self.coming.load();
        coming.as_ref().map(|coming| Arc::clone(&coming.live))
    }

    /// A call that is on the list with its hold adds itself to what is announced.
    pub fn cover_by_what_comes(&self, task: &crate::task::Task, flight: &Flight) {
        let (own, coming) = (task.coming_cover(), self.coming.load());
        if own.is_none() && coming.is_none() {
            return;
        }
        let Some(aboard) = flight.aboard() else {
            return;
        };
        let of_policy = coming.as_ref().map(|coming| coming.covers(flight, &aboard));
        let covers = own.into_iter().chain(of_policy.into_iter().flatten());
        self.purse.cover(&[(aboard.hold, covers.collect())]);
    }

    /// Adds the calls in flight to the accounts that cover them, and fetches the accounts' balances.
    async fn cover_flights(
        &self,
        meant: impl Fn(&Flight) -> bool,
        covers: impl Fn(&Flight, &Aboard) -> Vec<Cover>,
    ) -> Result<(), StoreError> {
        let flights = self.tasks.flights.all();
        let mut holds: Vec<(HoldId, Vec<Cover>)> = Vec::new();
        let mut keys: Vec<AccountKey> = Vec::new();
        for flight in flights.iter().filter(|flight| meant(flight)) {
            let Some(aboard) = flight.aboard() else {
                continue;
            };
            let covers = covers(flight, &aboard);
            if !covers.is_empty() {
                keys.extend(covers.iter().map(|cover| cover.key.clone()));
                holds.push((aboard.hold, covers));
            }
        }
        keys.sort_unstable();
        keys.dedup();
        let ended = self.purse.cover(&holds);
        for flight in flights {
            let is_about_to_post =
                || (flight.aboard()).is_some_and(|aboard| ended.contains(&aboard.hold));
            while is_about_to_post() && self.tasks.flights.has(&flight) {
                tokio::time::sleep(PAUSE).await;
            }
        }
        self.purse.delayed().await;
        self.purse.load(&keys).await
    }
}
