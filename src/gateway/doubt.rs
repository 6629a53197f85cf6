//! Doubt as the gateway's figures show it: what crashes left is bounded by the limits in force.

use super::{Gateway, Live};
use crate::config::Policies;
use crate::store::{DoubtFilter, Evidence, Reconciled, Release, Stake, Store, StoreError};
use crate::units::{Meter, NanoUsd};
use std::sync::Arc;

/// Doubts read at a time, in number.
const PAGE: usize = 10_000;

impl Gateway {
    /// A person takes money out of doubt as not spent.
    ///
    /// # Errors
    /// No such doubt, or the store's fault.
    pub async fn release(&self, release: Release, by: Arc<str>) -> Result<Reconciled, StoreError> {
        let done = self.purse.release(release, by).await?;
        self.with_crashes(done).await
    }

    /// Evidence takes money out of doubt: what it says was spent is settled.
    ///
    /// # Errors
    /// The store's fault.
    pub async fn reconcile(
        &self,
        evidence: Vec<Evidence>,
        by: Arc<str>,
    ) -> Result<Reconciled, StoreError> {
        let done = self.purse.reconcile(evidence, by).await?;
        self.with_crashes(done).await
    }

    /// Adds what the crashes' doubts came to less.
    async fn with_crashes(&self, mut done: Reconciled) -> Result<Reconciled, StoreError> {
        if done.crashes > 0 {
            let stake = stake(self.purse.store().as_ref()).await?;
            let now = of_crashes(&stake, &self.live());
            let before = self.purse.change(|ledger| ledger.set_crash_doubt(now));
            let less = before.0.saturating_sub(now.0);
            done.cleared = NanoUsd(done.cleared.0.saturating_add(less));
        }
        Ok(done)
    }
}

/// The open doubts.
///
/// # Errors
/// The store's fault.
pub async fn stake(store: &dyn Store) -> Result<Stake, StoreError> {
    let (mut stake, mut after) = (Stake::default(), None);
    loop {
        let filter = DoubtFilter {
            after,
            rows: Some(PAGE),
            ..DoubtFilter::default()
        };
        let page = store.doubts(filter).await?;
        page.iter().for_each(|doubt| stake.add(doubt));
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some(last.id),
            _ => return Ok(stake),
        }
    }
}

/// What the calls that crashes cut off can have cost, under these limits.
#[must_use]
pub fn of_crashes(stake: &Stake, live: &Live) -> NanoUsd {
    stake.of_crashes(|limit| caps_every_call(&live.loaded.policies, limit))
}

fn caps_every_call(policies: &Policies, limit: &str) -> bool {
    policies.by_id(limit).is_some_and(|limit| {
        limit.matches.sides.is_empty()
            && !limit.is_of_tools()
            && !limit.observe
            && limit.caps.0[Meter::Usd as usize].is_some()
    })
}
