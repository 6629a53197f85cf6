//! What the ledger answers.

use super::{AccountKey, HoldId, WaiterId};
use crate::units::{Amounts, Meter, NanoUsd, UnixMs};

/// How an asker takes it that only held money is in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Does not wait for holds: says [`Verdict::Short`], so that the caller can look for a smaller
    /// bound and come again. It still waits for the store.
    Peek,
    /// Waits for holds up to `wait_for_holds`, and in no case longer than this.
    Wait {
        /// The call's own deadline.
        deadline: UnixMs,
    },
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The money is set aside.
    Held(Box<Held>),
    /// It does not fit as it is, or not without a lower output cap (only under [`Patience::Peek`]).
    Short(Shortage),
    /// The answer comes later, by [`Ledger::woken`](super::Ledger::woken).
    Waiting(WaiterId),
    /// A window ended while the call waited: other accounts cover it now. Ask again.
    Rolled,
    /// No.
    Refused(Refusal),
}

/// Why it does not fit as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// A smaller bound on the input could help. Otherwise (the line is in the way, or turns are)
    /// there is no use in looking for one.
    pub refinable: bool,
}

/// Money set aside for one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Names the hold to its end.
    pub id: HoldId,
    /// What is set aside on every covering account.
    pub quoted: Amounts,
    /// Output tokens that the provider must be told, for one output. `None`: leave the request
    /// alone.
    pub told: Option<u64>,
    /// The `duration` that runs out first.
    pub deadline: Option<Deadline>,
    /// What is left beside this hold.
    pub remaining: Remaining,
    /// Observed limits that would have refused the call. Usually empty.
    pub observed: Vec<Reached>,
}

/// A `duration` that bounds a call, or several: it runs out for all of them at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// When, if the task is not suspended before.
    pub at: UnixMs,
    /// Whose it is: an account, or a ceiling on one call.
    pub key: AccountKey,
    /// The cap with its top-ups, milliseconds.
    pub cap_ms: u64,
}

/// What is left on the tightest enforced account, per meter; `None` if none caps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remaining {
    /// Dollars neither spent, in doubt nor held.
    pub usd: Option<NanoUsd>,
    /// Tokens that a model can still make or be told, likewise: the least of `tokens`, `output_tokens` and
    /// `fresh_tokens`.
    pub tokens: Option<u64>,
    /// Turns, likewise.
    pub turns: Option<u64>,
    /// Tool calls not yet made: at one, parallel calls are switched off where that is possible.
    pub tool_calls: Option<u64>,
}

/// A meter of an account that has reached its cap, or its `warn_at`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Which account.
    pub key: AccountKey,
    /// Which meter.
    pub meter: Meter,
    /// The cap with its top-ups, in the meter's unit.
    pub cap: u64,
    /// Settled and in doubt, in the meter's unit.
    pub used: u64,
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A limit is in the way.
    Limit(Denial),
    /// Money is only held, but too many calls wait already.
    LineFull(Denial),
    /// The store could not grant what the call needs.
    StoreUnavailable,
}

/// The limit in the way, in the meter's unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Which account (or ceiling on one call).
    pub key: AccountKey,
    /// Which meter.
    pub meter: Meter,
    /// The cap with its top-ups.
    pub cap: u64,
    /// Spent for certain; for `duration` the milliseconds that have passed.
    pub settled: u64,
    /// Set aside for calls in flight.
    pub held: u64,
    /// Spent perhaps.
    pub in_doubt: u64,
    /// What the call may cost as it was asked for.
    pub needed: u64,
    /// What it may cost with the least output that is of use.
    pub least: u64,
    /// Only held money is in the way (`budget_held`).
    pub only_held: bool,
}

/// What the end of a hold brought about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// Charged (or put in doubt) beyond the hold, on the meters that are held.
    pub overrun: Amounts,
    /// What is left now.
    pub remaining: Remaining,
    /// Accounts that crossed their `warn_at` by this end. Usually empty.
    pub warned: Vec<Reached>,
    /// Accounts that were added to the hold by [`Ledger::cover`](super::Ledger::cover). Usually empty.
    pub added: Vec<AccountKey>,
}

/// Sums over all calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Set aside for calls in flight.
    pub held_usd: NanoUsd,
    /// Spent perhaps.
    pub in_doubt_usd: NanoUsd,
    /// Calls in flight.
    pub holds: usize,
    /// Calls waiting.
    pub waiting: usize,
    /// Accounts in memory.
    pub accounts: usize,
}
