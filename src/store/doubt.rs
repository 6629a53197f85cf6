//! Doubts: what was perhaps spent, and how that ends.

use crate::ledger::AccountKey;
use crate::units::{Amounts, NanoUsd, TaskKey, UnixMs};
use std::sync::Arc;

/// Which doubts a person releases.
#[derive(Clone, Debug)]
pub enum Release {
    /// One doubt, by its id.
    One(i64),
    /// Every doubt of one task.
    Task(TaskKey),
    /// Every doubt about one call.
    Request(Arc<str>),
    /// Every doubt older than this.
    Before(UnixMs),
    /// All of them.
    All,
}

/// Money (and what else is metered) of which nobody knows whether it was spent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// Its id: the number of the journal row that raised it.
    pub id: i64,
    /// When it was raised.
    pub at: UnixMs,
    /// Why: a call's reason, or `crash`.
    pub reason: Arc<str>,
    /// The call's task; after a crash that of the account, if it counts one task.
    pub task: Option<TaskKey>,
    /// The call's identity.
    pub identity: Option<Arc<str>>,
    /// The call.
    pub request: Option<Arc<str>>,
    /// The answer's own id.
    pub answer_id: Option<String>,
    /// The provider.
    pub provider: Option<Arc<str>>,
    /// The model.
    pub model: Option<Arc<str>>,
    /// How much.
    pub amounts: Amounts,
    /// The accounts that count it.
    pub accounts: Vec<AccountKey>,
}

/// A change that a release or a reconciliation made to one account. `granted` stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shift {
    /// Which account.
    pub key: AccountKey,
    /// `in_doubt` fell by this.
    pub doubt_less: Amounts,
    /// `settled` rose by this.
    pub settled_more: Amounts,
}

/// What evidence did.
#[derive(Clone, Debug, Default)]
pub struct Reconciled {
    /// Doubts that it ended.
    pub doubts: u64,
    /// Of these, doubts that a crash had raised, one for each account.
    pub crashes: u64,
    /// Nano-dollars that were in doubt and are so no longer, each call counted once. Doubts of crashes
    /// are left out: see [`Stake`](super::Stake).
    pub cleared: NanoUsd,
    /// Nano-dollars of it that were spent.
    pub spent: NanoUsd,
    /// What changed, account by account.
    pub shifts: Vec<Shift>,
    /// Evidence about calls that are not in doubt, by its place in the request (from 0).
    pub unmatched: Vec<usize>,
}
