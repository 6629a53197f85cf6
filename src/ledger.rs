//! The purse: accounts, holds and allotments as a pure state machine. No HTTP, no sockets, no
//! clock of its own.

use crate::units::{Amounts, Meter, UnixMs};
use std::sync::Arc;

/// One side of what a limit counts per: `("task", "t-17")`.
pub type Dimension = (&'static str, Arc<str>);

/// Which counter: (limit, values of its `per`, window).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountKey {
    /// The limit's id: its name and a digest of its shape (`match`, `per`, window rule), so that a
    /// changed shape is another account. Caps are no part of it.
    pub limit: Arc<str>,
    /// The values of `per`, in the limit's order. Empty: one account for all.
    pub per: Arc<[Dimension]>,
    /// When its calendar window opened; `None` for a task's lifetime.
    pub window: Option<UnixMs>,
}

/// Caps of one account, per meter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caps(pub [Option<u64>; Meter::COUNT]);

/// One account that covers a call.
#[derive(Clone, Debug)]
pub struct Cover {
    /// Which account.
    pub key: AccountKey,
    /// Its caps as the policy says now (top-ups are the account's own and come on top).
    pub caps: Caps,
    /// `on_exceed = "observe"`: count, never refuse.
    pub observe: bool,
}

/// The part of a quote that grows with the output the provider is told it may produce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elastic {
    /// Output tokens wanted, for one output.
    pub want: u64,
    /// The caller named no cap: fall back to this when `want` takes more than a quarter of what is left.
    pub unasked: Option<u64>,
    /// Fewer than this is no use: deny instead. Equal to `want` if the call cannot be clamped.
    pub least: u64,
    /// How many outputs are produced (`n`, prompts, rounds).
    pub outputs: u64,
    /// Nano-dollars per million output tokens, at the dearest rate that the request can select.
    pub nano_per_million: u64,
}

/// What a call asks of the purse: `fixed + elastic(n)` on every covering account, all or none.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The covering accounts.
    pub covers: Vec<Cover>,
    /// Input, fees, the turn; rounded up.
    pub fixed: Amounts,
    /// The output side, if it generates.
    pub elastic: Option<Elastic>,
}
