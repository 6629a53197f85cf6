//! The purse: accounts, holds and allotments as a pure state machine. No HTTP, no sockets, no
//! clock of its own, no I/O: the shell around it holds the one lock, carries grants to the store
//! and hands verdicts to the calls that wait for them.
//!
//! A call asks for [`Ask::fixed`] + [`Ask::elastic`] on every account that covers it and gets all
//! of it or nothing. What it gets is a hold, which ends exactly once: [`Ledger::settle`],
//! [`Ledger::void`] or [`Ledger::doubt`].
//!
//! **Invariant:** on every capped meter of an enforced account, after each hold,
//! settled + in doubt + held ≤ granted and ≤ cap + topped up. Only an overrun, a lowered cap or a
//! hold that [`Ledger::cover`] added can break that later, and then nothing further is held there.
//! Checked in release.
//!
//! **Invariant:** what an account holds is the sum of the holds that cover it; a hold ends once.
//!
//! **Invariant:** nothing is held out of an allotment that the store has not made durable.
//!
//! **Invariant:** a waiter holds nothing. It stands in line on at least one account, and whatever
//! changes on that account makes the ledger look at its line again.
//!
//! The parts: `ask` what is asked, `quote` the arithmetic of what a call may cost, `account` one counter,
//! `allotment` how much to ask of the store, `weigh` whether an ask fits (reads only), `hold` how
//! holds begin and end, `line` who waits and who is next, `waiter` one who waits.

mod account;
mod allotment;
mod ask;
mod hold;
mod line;
mod quote;
mod verdict;
mod waiter;
mod weigh;

#[cfg(test)]
mod tests;

pub use ask::{Ask, Asker, Cover, Edition, Elastic, Stand};
pub use hold::{Footing, HoldId};
pub use line::WaiterId;
pub use verdict::{
    Deadline, Denial, End, Held, Patience, Reached, Refusal, Remaining, Shortage, Totals, Verdict,
};

use crate::store::{Balance, Grant, Shift};
use crate::units::{Amounts, Meter, NanoUsd, UnixMs};
use account::{Account, AccountAt, Accounts};
use hold::Holds;
use line::Line;
use quote::Quote;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

/// One side of what a limit counts per: `("task", "t-17")`.
pub type Dimension = (&'static str, Arc<str>);

/// Which counter: (limit, values of its `per`, window).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AccountKey {
    /// The limit's id: its name and a digest of its shape (`match`, `per`, window rule), so that a
    /// changed shape is another account. Caps are no part of it.
    pub limit: Arc<str>,
    /// The values of `per`, in the limit's order. Empty: one account for all.
    pub per: Arc<[Dimension]>,
    /// When its calendar window opened; `None` for a task's lifetime.
    pub window: Option<UnixMs>,
}

impl AccountKey {
    /// `per = ["call"]`: a ceiling on each call by itself. It is checked and never becomes an
    /// account, for there is nothing to remember.
    #[must_use]
    pub fn is_per_call(&self) -> bool {
        self.per.iter().any(|(dimension, _)| *dimension == "call")
    }
}

// By hand: every call hashes its keys, and the names of the sides go with the limit.
impl Hash for AccountKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { limit, per, window } = self;
        limit.hash(state);
        for (_, value) in per.iter() {
            value.hash(state);
        }
        state.write_i64(window.map_or(i64::MIN, |opened| opened.0));
    }
}

/// Caps of one account, per meter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caps(pub [Option<u64>; Meter::COUNT]);

impl Caps {
    /// These, with `cap` on `meter`.
    #[must_use]
    pub fn with(mut self, meter: Meter, cap: u64) -> Self {
        self.0[meter as usize] = Some(cap);
        self
    }

    /// Of each meter the lower cap, where either has one.
    #[must_use]
    pub fn lowered(&self, by: &Self) -> Self {
        Self(std::array::from_fn(|i| match (self.0[i], by.0[i]) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }))
    }
}

/// The bounds of waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `wait_for_holds`: how long a call waits for money that is only held, milliseconds.
    pub wait_for_holds_ms: i64,
    /// Calls in the line of one account.
    pub line_max_waiters: usize,
    /// Memory that all waiting calls may cost together, bytes.
    pub line_max_bytes: usize,
}

/// What one account looks like from outside.
#[derive(Clone, Debug)]
pub struct AccountView<'a> {
    /// Which account.
    pub key: &'a AccountKey,
    /// The policy's caps; `topped_up` comes on top.
    pub caps: Caps,
    /// Raised by top-ups.
    pub topped_up: Amounts,
    /// Spent for certain.
    pub settled: Amounts,
    /// Set aside for calls in flight.
    pub held: Amounts,
    /// Spent perhaps.
    pub in_doubt: Amounts,
    /// What the store has granted, the above included.
    pub granted: Amounts,
    /// First hold.
    pub opened: Option<UnixMs>,
    /// `on_exceed = "observe"`.
    pub observe: bool,
    /// The store's balance is in; before that the amounts are only this process's.
    pub loaded: bool,
    /// Calls standing in its line.
    pub waiting: usize,
}

impl AccountView<'_> {
    /// The cap with its top-ups, in the meter's unit.
    #[must_use]
    pub fn cap(&self, meter: Meter) -> Option<u64> {
        self.caps.0[meter as usize].map(|cap| cap.saturating_add(self.topped_up[meter]))
    }

    /// What can still be held, in the meter's unit; `None` without a cap.
    #[must_use]
    pub fn unheld(&self, meter: Meter) -> Option<u64> {
        let used = self
            .settled
            .saturating_add(&self.in_doubt)
            .saturating_add(&self.held);
        self.cap(meter).map(|cap| cap.saturating_sub(used[meter]))
    }
}

/// The state machine. See the module's documentation.
#[derive(Debug)]
pub struct Ledger {
    settings: Settings,
    /// The time it was last told, for verbs that have none of their own.
    now: UnixMs,
    accounts: Accounts,
    holds: Holds,
    line: Line,
    /// Grants that the store has still to make durable; drained by the shell.
    wished: Vec<Grant>,
    /// Answers to waiting calls; drained by the shell.
    woken: Vec<(WaiterId, Verdict)>,
    /// Of calls that ended without evidence.
    in_doubt_usd: NanoUsd,
    /// Of calls that crashes cut off.
    crash_doubt_usd: NanoUsd,
}

/// An ask whose accounts have been found.
#[derive(Clone, Debug)]
struct Need {
    quote: Quote,
    places: Box<[AccountAt]>,
    /// `per = ["call"]` covers.
    ceilings: Vec<Cover>,
}

impl Ledger {
    /// An empty ledger: every account is unknown until its first grant.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            now: UnixMs::default(),
            accounts: Accounts::default(),
            holds: Holds::default(),
            line: Line::default(),
            wished: Vec::new(),
            woken: Vec::new(),
            in_doubt_usd: NanoUsd::ZERO,
            crash_doubt_usd: NanoUsd::ZERO,
        }
    }

    /// Takes new bounds; calls that wait already keep theirs.
    pub fn set_settings(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Asks for a hold. The verdict is never [`Verdict::Rolled`]; [`Verdict::Short`] only under
    /// [`Patience::Peek`]. After [`Verdict::Waiting`] the answer comes out of [`Ledger::woken`].
    ///
    /// # Panics
    /// If an ask names an account twice.
    pub fn request(
        &mut self,
        now: UnixMs,
        asker: &Asker,
        ask: &Ask,
        patience: Patience,
    ) -> Verdict {
        self.told_time(now);
        let need = self.find(ask);
        self.look(now);
        let verdict = match self.quick(now, asker, &need) {
            Some((quoted, told)) => {
                return Verdict::Held(self.begin(now, asker, need, quoted, told));
            }
            None => self.queue(now, asker, need, patience),
        };
        self.look(now);
        verdict
    }

    /// The grants that the store must make durable, then tell by [`Ledger::granted`] or
    /// [`Ledger::grant_failed`]. The shell drains it after every change, whoever caused them: no
    /// grant depends on the call that first needed it, which may hang up meanwhile.
    pub fn grants(&mut self) -> Vec<Grant> {
        std::mem::take(&mut self.wished)
    }

    /// The answers to calls that waited: held, short (after a peek that waited for the store),
    /// refused or rolled. The shell drains it after every change.
    pub fn woken(&mut self) -> Vec<(WaiterId, Verdict)> {
        std::mem::take(&mut self.woken)
    }

    /// What the store has made durable. Also loads accounts that are unknown here.
    pub fn granted(&mut self, now: UnixMs, balances: &[(AccountKey, Balance)]) {
        self.told_time(now);
        for (key, balance) in balances {
            let at = self.accounts.at_or_new(key, now);
            if self.accounts[at].granted_by(balance) {
                self.mark(at);
            } else {
                self.refuse_for_want_of_grant(now, at);
            }
        }
        self.look(now);
    }

    /// The store could not grant these. Calls that cannot go without are refused
    /// ([`Refusal::StoreUnavailable`]); the next one asks the store again.
    pub fn grant_failed(&mut self, keys: &[AccountKey]) {
        let now = self.now;
        for key in keys {
            if let Some(at) = self.accounts.find(key) {
                self.accounts[at].grant_failed();
                self.refuse_for_want_of_grant(now, at);
            }
        }
        self.look(now);
    }

    /// Late evidence or a person: money leaves doubt, and what proved to be spent is settled.
    /// Accounts that are not in memory are the store's business alone.
    pub fn correct(
        &mut self,
        now: UnixMs,
        keys: &[AccountKey],
        from_doubt: &Amounts,
        to_settled: &Amounts,
    ) {
        self.told_time(now);
        let usd = self.in_doubt_usd.0.saturating_sub(from_doubt[Meter::Usd]);
        self.in_doubt_usd = NanoUsd(usd);
        for key in keys {
            if let Some(at) = self.accounts.find(key) {
                self.accounts[at].correct(from_doubt, to_settled);
                self.mark(at);
            }
        }
        self.look(now);
    }

    /// What the store took out of doubt, account by account; `cleared` is the sum in dollars, each
    /// call counted once.
    pub fn shifted(&mut self, now: UnixMs, shifts: &[Shift], cleared: NanoUsd) {
        self.told_time(now);
        self.in_doubt_usd = NanoUsd(self.in_doubt_usd.0.saturating_sub(cleared.0));
        for shift in shifts {
            if let Some(at) = self.accounts.find(&shift.key) {
                self.accounts[at].correct(&shift.doubt_less, &shift.settled_more);
                self.mark(at);
            }
        }
        self.look(now);
    }

    /// The account's top-ups are now `total` in all, not in addition, and `lapsed` was taken back of
    /// others: the store's numbers, so that hearing of one top-up twice raises nothing twice, and
    /// hearing late of an earlier one brings none back.
    pub fn topped_up_to(
        &mut self,
        now: UnixMs,
        key: &AccountKey,
        total: &Amounts,
        lapsed: &Amounts,
    ) {
        self.told_time(now);
        if let Some(at) = self.accounts.find(key) {
            self.accounts[at].topped_up_to(total, lapsed);
            self.mark(at);
        }
        self.look(now);
    }

    /// Money of calls in doubt from before this process, dollars, for [`Ledger::totals`].
    pub fn begin_with_doubt(&mut self, in_doubt: NanoUsd) {
        self.in_doubt_usd = NanoUsd(self.in_doubt_usd.0.saturating_add(in_doubt.0));
    }

    /// What calls that crashes cut off can have cost, dollars, for [`Ledger::totals`]. The answer is what
    /// it was.
    pub const fn set_crash_doubt(&mut self, in_doubt: NanoUsd) -> NanoUsd {
        std::mem::replace(&mut self.crash_doubt_usd, in_doubt)
    }

    /// Accounts without holds and waiters that nobody has touched for `idle_ms`, each with the
    /// level to which the store lowers its grant. Here it is lowered at once, and nothing new is
    /// granted until the shell has told the store and then calls [`Ledger::forget`] — also when the
    /// store failed, which leaves it with a grant that is larger than it need be and harms nobody.
    pub fn idle(&mut self, now: UnixMs, idle_ms: i64) -> Vec<(AccountKey, Amounts)> {
        let since = UnixMs(now.0.saturating_sub(idle_ms));
        let slots = self.accounts.slots();
        self.idle_in(now, since, slots).0
    }

    /// The same for the accounts in some places of the table that nobody has touched after `since`, so that
    /// no call waits while a large table is looked through. The second range is of the places left, and
    /// empty at the end.
    pub fn idle_in(
        &mut self,
        now: UnixMs,
        since: UnixMs,
        places: Range<usize>,
    ) -> (Vec<(AccountKey, Amounts)>, Range<usize>) {
        self.told_time(now);
        let left = places.end.min(self.accounts.slots().end)..self.accounts.slots().end;
        let idle = self.accounts.idle(places, |_, touched| touched <= since);
        (idle, left)
    }

    /// Since when an account must have rested to be among those that are too many for `most` in memory.
    #[must_use]
    pub fn crowded(&self, most: usize) -> Option<UnixMs> {
        let surplus = self.accounts.len().checked_sub(most)?;
        self.accounts.longest_at_rest(surplus)
    }

    /// As [`Ledger::idle`] for all accounts of these limits, however lately they were touched: the
    /// store knows what calls cost while the limits were not in force, and this process does not. Those
    /// that calls in flight use stay, as accounts of unknown balance. The second figure says how many
    /// could not be dealt with yet, for the store is being asked about them.
    pub fn retire(
        &mut self,
        now: UnixMs,
        limits: &[Arc<str>],
    ) -> (Vec<(AccountKey, Amounts)>, usize) {
        self.told_time(now);
        let meant = |key: &AccountKey| limits.contains(&key.limit);
        let busy = self.accounts.unload(meant);
        let slots = self.accounts.slots();
        (self.accounts.idle(slots, |key, _| meant(key)), busy)
    }

    /// The policy changed a limit's caps: calls that wait need not wait for the next one to say so.
    pub fn take_caps(
        &mut self,
        now: UnixMs,
        limit: &str,
        from: &Caps,
        to: &Caps,
        edition: Edition,
    ) {
        self.told_time(now);
        for at in self.accounts.of_limit(limit) {
            if self.accounts[at].take_caps(from, to, edition) {
                self.mark(at);
            }
        }
        self.look(now);
    }

    /// Ends what [`Ledger::idle`] began: the account is paged out if nobody has touched it since;
    /// else it goes on.
    pub fn forget(&mut self, key: &AccountKey) {
        let now = self.now;
        if let Some(at) = self.accounts.find(key)
            && !self.accounts.forget(at)
        {
            self.mark(at);
            self.look(now);
        }
    }

    /// One account, if it is in memory.
    #[must_use]
    pub fn account(&self, key: &AccountKey) -> Option<AccountView<'_>> {
        self.accounts.find(key).map(|at| self.accounts[at].view())
    }

    /// Every account in memory.
    pub fn accounts(&self) -> impl Iterator<Item = AccountView<'_>> {
        self.accounts.iter().map(Account::view)
    }

    /// Sums for the metrics, each call counted once however many accounts cover it.
    #[must_use]
    pub fn totals(&self) -> Totals {
        Totals {
            held_usd: self.holds.held_usd(),
            in_doubt_usd: NanoUsd(self.in_doubt_usd.0.saturating_add(self.crash_doubt_usd.0)),
            holds: self.holds.len(),
            waiting: self.line.len(),
            accounts: self.accounts.len(),
        }
    }

    /// Finds the ask's accounts, creating unknown ones, and takes the newest caps.
    fn find(&mut self, ask: &Ask) -> Need {
        let now = self.now;
        let mut places = Vec::with_capacity(ask.covers.len());
        let mut ceilings = Vec::new();
        for cover in &ask.covers {
            if cover.key.is_per_call() {
                ceilings.push(cover.clone());
                continue;
            }
            let at = self.accounts.at_or_new(&cover.key, now);
            if self.accounts[at].take_terms(cover) {
                self.mark(at);
            }
            assert!(!places.contains(&at), "an ask names an account once");
            places.push(at);
        }
        Need {
            quote: Quote {
                fixed: ask.fixed,
                elastic: ask.elastic,
            },
            places: places.into(),
            ceilings,
        }
    }
}
