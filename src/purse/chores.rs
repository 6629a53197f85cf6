//! What the purse does unasked: it looks at the line when waits end, and pages out accounts at rest.

use super::Purse;
use crate::clock;
use crate::ledger::{AccountKey, Ledger};
use crate::store::StoreError;
use crate::units::{Amounts, UnixMs};
use std::sync::Arc;
use std::time::Duration;

/// How often it is seen to that accounts at rest are not too many.
const CROWD_EVERY: Duration = Duration::from_secs(1);
/// At every so many of these looks, idle allotments are given back.
const GIVE_BACK_EVERY: u64 = 5;
/// How long an account rests before its allotment goes back, milliseconds.
const IDLE_MS: i64 = 30_000;
/// Accounts in memory (some 800 bytes each); where there are more, those longest at rest go back sooner …
const MOST_ACCOUNTS: usize = 32_768;
/// … but none that rested for less than this, milliseconds.
const LEAST_IDLE_MS: i64 = 1_000;
/// Accounts that are looked at in one step, during which calls wait.
pub(super) const PAGED_AT_ONCE: usize = 1_024;
/// The least pause between two looks at the line, milliseconds.
const TICK_MIN_MS: i64 = 5;
/// The longest, milliseconds.
const TICK_MAX_MS: i64 = 60_000;

impl Purse {
    /// Looks at the line when waits end, and gives idle allotments back. Runs until it is dropped.
    pub async fn run(self: Arc<Self>) {
        tokio::join!(self.watch_line(), self.page_out_idle());
    }

    async fn watch_line(self: &Arc<Self>) {
        loop {
            let next = self.look(Ledger::next_tick);
            let pause = next.map_or(TICK_MAX_MS, |at| at.0 - clock::now().0);
            let pause = Duration::from_millis(pause.clamp(TICK_MIN_MS, TICK_MAX_MS).unsigned_abs());
            tokio::select! {
                () = tokio::time::sleep(pause) => self.change(|ledger| ledger.tick(clock::now())),
                () = self.line_changed.notified() => {}
            }
        }
    }

    async fn page_out_idle(self: &Arc<Self>) {
        let mut looks = tokio::time::interval(CROWD_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for look in 0_u64.. {
            looks.tick().await;
            let crowded = self.look(|ledger| ledger.crowded(MOST_ACCOUNTS));
            if let Some(since) = crowded {
                let rested = (clock::now().0 - since.0).clamp(LEAST_IDLE_MS, IDLE_MS);
                self.give_back(rested).await;
            } else if look % GIVE_BACK_EVERY == 0 {
                self.give_back(IDLE_MS).await;
            }
        }
    }

    /// Gives the allotments of accounts at rest back to the store and pages them out.
    pub async fn give_back(self: &Arc<Self>, idle_ms: i64) {
        let since = UnixMs(clock::now().0.saturating_sub(idle_ms));
        let mut from = 0;
        loop {
            let part = from..from + PAGED_AT_ONCE;
            let (idle, left) = self.change(|ledger| ledger.idle_in(clock::now(), since, part));
            self.page_out(idle).await;
            if left.is_empty() {
                return;
            }
            from = left.start;
        }
    }

    /// Pages out the accounts of limits that were not in force for a while, so that they are loaded
    /// with what calls cost meanwhile. False if the store is just being asked about some of them.
    ///
    /// # Errors
    /// The store's fault.
    pub async fn retire(self: &Arc<Self>, limits: &[Arc<str>]) -> Result<bool, StoreError> {
        let (retired, busy) = self.change(|ledger| ledger.retire(clock::now(), limits));
        let all = retired.len();
        let gone = self.page_out(retired).await;
        // What was charged to them is in the store before anybody asks it for them.
        self.store.flush().await?;
        Ok(busy == 0 && gone == all)
    }

    /// Says how many are gone; the others are in use again.
    async fn page_out(self: &Arc<Self>, idle: Vec<(AccountKey, Amounts)>) -> usize {
        if idle.is_empty() {
            return 0;
        }
        let keys: Vec<AccountKey> = idle.iter().map(|(key, _)| key.clone()).collect();
        if let Err(error) = self.store.give_back(idle).await {
            tracing::warn!(%error, "idle allotments could not be given back");
        }
        self.change(|ledger| {
            keys.iter().for_each(|key| ledger.forget(key));
            keys.iter()
                .filter(|key| ledger.account(key).is_none())
                .count()
        })
    }
}
