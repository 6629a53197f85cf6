//! What outlives the process: balances, allotments, tasks, and the hash-chained journal that is
//! ledger, audit log and source of every report at once.

use crate::ledger::{AccountKey, Caps};
use crate::units::{Amounts, TaskKey, UnixMs};
use std::sync::Arc;

/// What the store knows of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// Spent for certain.
    pub settled: Amounts,
    /// Spent perhaps: shown apart, counted against the cap, released by evidence or a person.
    pub in_doubt: Amounts,
    /// What this node may spend in all, durably: never below settled + in_doubt + held.
    pub granted: Amounts,
    /// Raised on top of the policy's caps by top-ups.
    pub topped_up: Amounts,
    /// First hold, for `duration`; `None` before it.
    pub opened: Option<UnixMs>,
}

/// Raise one account's allotment, creating the account if it is new.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Which account.
    pub key: AccountKey,
    /// Raise `granted` to at least this, meter by meter.
    pub upto: Amounts,
}

/// The state of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// Calls are admitted.
    Active,
    /// Calls are refused until resumed.
    Suspended,
    /// Calls are refused for good.
    Closed,
}

/// What the store knows of a task.
#[derive(Clone, Debug)]
pub struct TaskRecord {
    /// Which task.
    pub key: TaskKey,
    /// Whether it may spend.
    pub state: TaskState,
    /// When it was first seen.
    pub opened: UnixMs,
    /// Its own, lower caps.
    pub caps: Caps,
    /// Milliseconds spent suspended, for `duration`.
    pub paused_ms: u64,
    /// Since when it is suspended.
    pub paused_since: Option<UnixMs>,
}

/// How a hold ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Charged at what the provider reported.
    Settle,
    /// Charged at a bound, for no evidence was to be had: `unreconciled`, in doubt.
    Unreconciled,
    /// Not charged.
    Void,
    /// Never reached a provider: the call was refused here.
    Denied,
}

/// One call, from admission to its end: one row of the journal.
#[derive(Clone, Debug)]
pub struct CallEntry {
    /// `x-bursar-request-id`.
    pub request: Arc<str>,
    /// When it was admitted (or refused).
    pub admitted: UnixMs,
    /// When its hold ended.
    pub ended: UnixMs,
    /// Whose call.
    pub attribution: Arc<crate::attribution::Attribution>,
    /// W3C trace id, lower-case hex, and this call's span id.
    pub trace: Option<(Arc<str>, Arc<str>)>,
    /// The wire format's name.
    pub dialect: &'static str,
    /// The model asked for.
    pub model: Arc<str>,
    /// The provider it went to.
    pub provider: Option<Arc<str>>,
    /// The model that answered.
    pub answered: Option<Arc<str>>,
    /// The answer's own id.
    pub answer_id: Option<Arc<str>>,
    /// How it ended.
    pub ending: Ending,
    /// Why, as a word of the code: a refusal's code, `reset`, `no_usage` …; `None` for a plain settle.
    pub reason: Option<Arc<str>>,
    /// The limit that refused it.
    pub limit: Option<Arc<str>>,
    /// What was held.
    pub quoted: Amounts,
    /// What was charged (settle) or is in doubt (unreconciled).
    pub charged: Amounts,
    /// The output cap the provider was told.
    pub told: Option<u64>,
    /// Charged beyond the hold.
    pub overrun: crate::units::NanoUsd,
    /// The price list's version.
    pub price_version: Arc<str>,
    /// Tools asked for by the answer, by name with their count.
    pub tools: Vec<(Arc<str>, u64)>,
    /// Upstream HTTP status.
    pub status: Option<u16>,
    /// The accounts that covered it.
    pub accounts: Arc<[AccountKey]>,
}
