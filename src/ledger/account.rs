//! One counter: what is settled, in doubt and held, under which caps, out of which allotment. And
//! (`table`) all of them; `parts` keeps it small.

mod parts;
mod table;

pub(super) use table::Accounts;

use super::allotment;
use super::quote::HELD;
use super::verdict::Reached;
use super::{AccountKey, AccountView, Caps, Cover, Edition};
use crate::store::{Balance, Grant};
use crate::units::{Amounts, Meter, UnixMs};
use parts::{Capped, Seldom, Sum, Waits};

/// Where an account stands in the table. Valid while a hold, a waiter or the caller's borrow pins it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct AccountAt(u32);

/// What the store has been asked and not yet answered.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Pending {
    Nothing,
    /// To raise the grant to this.
    Grant(Box<Amounts>),
    /// To lower it: nothing is asked for meanwhile, so that the two cannot overtake each other.
    GiveBack {
        touched: UnixMs,
    },
}

#[derive(Debug)]
pub(super) struct Account {
    pub(super) key: AccountKey,
    pub(super) caps: Capped,
    topped_up: Seldom,
    /// Taken back of earlier top-ups, in all.
    lapsed: Seldom,
    pub(super) observe: bool,
    warn_permille: Option<u16>,
    /// The newest policy that named these terms.
    version: u64,
    /// The store's balance is in. Before that the amounts below are what this process added since
    /// the store was asked, and they are added to its balance when it comes.
    pub(super) loaded: bool,
    pub(super) settled: Amounts,
    pub(super) in_doubt: Seldom,
    /// Taken out of doubt while not loaded.
    released: Seldom,
    pub(super) granted: Amounts,
    held: Sum,
    pub(super) opened: Option<UnixMs>,
    touched: UnixMs,
    pending: Pending,
    /// The last grant failed: none is fetched ahead of need until one succeeds.
    grants_fail: bool,
    /// Holds and waiters that refer to this account.
    pub(super) pins: u32,
    /// Who stands in line here.
    pub(super) waits: Waits,
    /// The line is to be looked at.
    pub(super) marked: bool,
}

impl Account {
    fn new(key: AccountKey, now: UnixMs) -> Self {
        Self {
            key,
            caps: Capped::default(),
            topped_up: Seldom::default(),
            lapsed: Seldom::default(),
            observe: false,
            warn_permille: None,
            version: 0,
            loaded: false,
            settled: Amounts::ZERO,
            in_doubt: Seldom::default(),
            released: Seldom::default(),
            granted: Amounts::ZERO,
            held: Sum::default(),
            opened: None,
            touched: now,
            pending: Pending::Nothing,
            grants_fail: false,
            pins: 0,
            waits: Waits::default(),
            marked: false,
        }
    }

    /// The policy changed its caps from `from` to `to`. Accounts under other caps than `from` have
    /// them for a reason that the next call knows.
    pub(super) fn take_caps(&mut self, from: &Caps, to: &Caps, edition: Edition) -> bool {
        if !self.caps.are(from) {
            if let Edition::Policy(version) = edition {
                self.version = self.version.max(version);
            }
            return false;
        }
        let cover = Cover {
            key: self.key.clone(),
            caps: *to,
            observe: self.observe,
            warn_permille: self.warn_permille,
            edition,
        };
        self.take_terms(&cover)
    }

    /// Takes the caps as the policy says now, unless it heard of a newer policy; usage stays. True
    /// if anything changed.
    pub(super) fn take_terms(&mut self, cover: &Cover) -> bool {
        let Cover {
            key: _,
            caps,
            observe,
            warn_permille,
            edition,
        } = cover;
        let lowered;
        let caps = match *edition {
            Edition::Policy(version) if version < self.version => return false,
            Edition::Policy(version) => {
                self.version = version;
                caps
            }
            Edition::Falling => {
                lowered = self.caps.caps().lowered(caps);
                &lowered
            }
        };
        if self.caps.are(caps) && self.observe == *observe && self.warn_permille == *warn_permille {
            return false;
        }
        self.caps = Capped::from(caps);
        self.observe = *observe;
        self.warn_permille = *warn_permille;
        true
    }

    // === impl Account: what is left ===

    /// The cap with its top-ups; `u64::MAX` without one. A cap stays below `u64::MAX`, which a
    /// quote means as "more than can be counted".
    pub(super) fn cap(&self, meter: Meter) -> u64 {
        self.caps.get(meter).map_or(u64::MAX, |cap| {
            cap.saturating_add(self.topped_up[meter]).min(u64::MAX - 1)
        })
    }

    /// Settled and in doubt.
    pub(super) fn spent(&self, meter: Meter) -> u64 {
        self.settled[meter].saturating_add(self.in_doubt[meter])
    }

    /// Set aside for calls in flight.
    pub(super) fn held(&self, meter: Meter) -> u64 {
        self.held.get(meter)
    }

    /// Settled, in doubt and held.
    pub(super) fn used(&self, meter: Meter) -> u64 {
        self.spent(meter).saturating_add(self.held(meter))
    }

    /// What would be left were every hold settled at nothing.
    pub(super) fn left(&self, meter: Meter) -> u64 {
        self.cap(meter).saturating_sub(self.spent(meter))
    }

    /// What is left beside the holds.
    pub(super) fn unheld(&self, meter: Meter) -> u64 {
        self.cap(meter).saturating_sub(self.used(meter))
    }

    /// What is left of the allotment.
    pub(super) fn unspent(&self, meter: Meter) -> u64 {
        self.granted[meter].saturating_sub(self.used(meter))
    }

    /// The balance is in and `quoted` is within the allotment.
    pub(super) fn allots(&self, quoted: &Amounts) -> bool {
        self.loaded
            && self
                .caps
                .meters
                .and(HELD)
                .each()
                .all(|meter| quoted[meter] == 0 || quoted[meter] <= self.unspent(meter))
    }

    /// How long it has been open, milliseconds, without the time that the task was suspended.
    pub(super) fn open_ms(&self, now: UnixMs, paused_ms: u64) -> u64 {
        let opened = self.opened.unwrap_or(now);
        let passed = u64::try_from(now.0.saturating_sub(opened.0)).unwrap_or(0);
        passed.saturating_sub(paused_ms)
    }

    /// When `duration` runs out.
    pub(super) fn ends_at(&self, now: UnixMs, paused_ms: u64) -> Option<UnixMs> {
        let cap = self
            .caps
            .get(Meter::Duration)?
            .saturating_add(self.topped_up[Meter::Duration]);
        let ms = i64::try_from(cap.saturating_add(paused_ms)).unwrap_or(i64::MAX);
        Some(UnixMs(self.opened.unwrap_or(now).0.saturating_add(ms)))
    }

    /// This meter against its cap.
    pub(super) fn reached(&self, meter: Meter) -> Reached {
        let (cap, used) = (self.cap(meter), self.spent(meter));
        Reached {
            key: self.key.clone(),
            meter,
            cap,
            used,
        }
    }

    pub(super) const fn warns(&self) -> bool {
        self.warn_permille.is_some()
    }

    /// Meters whose spending rose from below `warn_at` to `warn_at` or above by `more`, which is
    /// counted already.
    pub(super) fn warned(&self, more: &Amounts) -> impl Iterator<Item = Meter> {
        let permille = u128::from(self.warn_permille.unwrap_or(u16::MAX));
        self.caps.meters.each().filter(move |meter| {
            let at_least = u128::from(self.cap(*meter)) * permille;
            let crosses = |spent: u64| u128::from(spent) * 1000 >= at_least;
            let spent = self.spent(*meter);
            crosses(spent) && !crosses(spent.saturating_sub(more[*meter]))
        })
    }

    // === impl Account: holds ===

    /// Counts what a call came to.
    pub(super) fn settle(&mut self, charged: &Amounts) {
        self.settled = self.settled.saturating_add(charged);
    }

    /// The same for a call of which nobody knows what it came to.
    pub(super) fn doubt(&mut self, charged: &Amounts) {
        self.in_doubt = self.in_doubt.saturating_add(charged).into();
    }

    pub(super) fn hold(&mut self, now: UnixMs, quoted: &Amounts) {
        self.held.add(quoted);
        self.opened.get_or_insert(now);
        self.touched = now;
        self.pins += 1;
        if !self.observe {
            self.assert_within(quoted);
        }
    }

    /// Holds what is spent already, whether it fits or not.
    pub(super) fn add(&mut self, now: UnixMs, quoted: &Amounts) {
        self.held.add(quoted);
        self.opened.get_or_insert(now);
        self.touched = now;
        self.pins += 1;
    }

    fn assert_within(&self, quoted: &Amounts) {
        assert!(self.loaded, "a hold needs the account's balance");
        for meter in self.caps.meters.and(HELD) {
            if quoted[meter] > 0 {
                let used = self.used(meter);
                assert!(used <= self.cap(meter), "a hold stays within the cap");
                assert!(
                    used <= self.granted[meter],
                    "a hold stays within the allotment"
                );
            }
        }
    }

    pub(super) fn unhold(&mut self, now: UnixMs, quoted: &Amounts) {
        self.held.take(quoted);
        self.touched = now;
        self.unpin();
    }

    pub(super) fn unpin(&mut self) {
        assert!(self.pins > 0, "an account knows who refers to it");
        self.pins -= 1;
    }

    pub(super) fn correct(&mut self, from_doubt: &Amounts, to_settled: &Amounts) {
        if !self.loaded {
            // What cannot be taken from here is taken from the store's balance when it comes.
            let beyond = from_doubt.saturating_sub(&self.in_doubt);
            self.released = self.released.saturating_add(&beyond).into();
        }
        self.in_doubt = self.in_doubt.saturating_sub(from_doubt).into();
        self.settled = self.settled.saturating_add(to_settled);
    }

    /// Whatever the order in which the store's answers arrive: all that was ever topped up only rises,
    /// and so does all that was taken back.
    pub(super) fn topped_up_to(&mut self, total: &Amounts, lapsed: &Amounts) {
        let here = self.topped_up.saturating_add(&self.lapsed);
        let ever = most(&here, &total.saturating_add(lapsed));
        self.lapsed = most(&self.lapsed, lapsed).into();
        self.topped_up = ever.saturating_sub(&self.lapsed).into();
    }

    // === impl Account: the store ===

    /// Asks the store to raise the grant so that `quoted` fits, unless it is being asked already.
    pub(super) fn ask(&mut self, quoted: &Amounts) -> Option<Grant> {
        (self.pending == Pending::Nothing).then(|| self.ask_upto(allotment::level(self, quoted)))
    }

    /// Asks the store for the balance alone: an observed account spends no allotment.
    pub(super) fn ask_balance(&mut self) -> Option<Grant> {
        (!self.loaded && self.pending == Pending::Nothing).then(|| self.ask_upto(Amounts::ZERO))
    }

    /// Fetches the next allotment before anyone has to wait for it.
    pub(super) fn ask_ahead(&mut self, quoted: &Amounts) -> Option<Grant> {
        let ahead = !self.grants_fail && allotment::runs_low(self, quoted);
        if ahead { self.ask(quoted) } else { None }
    }

    /// The balance is known, and what is held has been granted (or the store will not grant it).
    pub(super) fn covers_its_holds(&self) -> bool {
        let granted = |meter| self.used(meter) <= self.granted[meter];
        self.loaded && (self.observe || self.caps.meters.and(HELD).each().all(granted))
    }

    /// Asks the store to know of what is held, so that a crash leaves it in doubt.
    pub(super) fn ask_for_holds(&mut self) -> Option<Grant> {
        if self.pending != Pending::Nothing {
            return None;
        }
        let mut upto = self.granted;
        for meter in self.caps.meters.and(HELD).each().filter(|_| !self.observe) {
            // What is spent of an account that is not loaded yet, only the store knows.
            let used = if self.loaded {
                self.used(meter)
            } else {
                self.held(meter)
            };
            upto[meter] = upto[meter].max(used);
        }
        Some(self.ask_upto(upto))
    }

    /// Its balance is unknown, and the store is being asked for it.
    pub(super) fn is_awaited(&self) -> bool {
        !self.loaded && matches!(self.pending, Pending::Grant(_))
    }

    fn ask_upto(&mut self, upto: Amounts) -> Grant {
        if !self.loaded {
            // From here on these count what the store's answer cannot contain.
            self.settled = Amounts::ZERO;
            self.in_doubt = Seldom::default();
            self.released = Seldom::default();
        }
        self.pending = Pending::Grant(Box::new(upto));
        Grant {
            key: self.key.clone(),
            upto,
            seed: None,
        }
    }

    /// Takes the store's answer. False if it granted less than it was asked for.
    pub(super) fn granted_by(&mut self, balance: &Balance) -> bool {
        let Balance {
            settled,
            in_doubt,
            granted,
            topped_up,
            lapsed,
            opened,
        } = balance;
        if !self.loaded {
            self.loaded = true;
            self.settled = self.settled.saturating_add(settled);
            let in_doubt = self.in_doubt.saturating_add(in_doubt);
            self.in_doubt = in_doubt.saturating_sub(&self.released).into();
        }
        // Memory is ahead of the store in everything else, for entries are written behind.
        self.granted = most(&self.granted, granted);
        self.topped_up_to(topped_up, lapsed);
        self.opened = match (self.opened, *opened) {
            (Some(here), Some(there)) => Some(here.min(there)),
            (here, there) => here.or(there),
        };
        let Pending::Grant(upto) = &self.pending else {
            return true;
        };
        self.grants_fail = upto
            .0
            .iter()
            .zip(self.granted.0)
            .any(|(asked, got)| *asked > got);
        self.pending = Pending::Nothing;
        !self.grants_fail
    }

    pub(super) fn grant_failed(&mut self) {
        if matches!(self.pending, Pending::Grant(_)) {
            self.pending = Pending::Nothing;
            self.grants_fail = true;
        }
    }

    fn is_at_rest(&self) -> bool {
        self.pins == 0 && self.waits.line.is_empty() && self.pending == Pending::Nothing
    }

    /// The same from outside.
    pub(super) fn view(&self) -> AccountView<'_> {
        AccountView {
            key: &self.key,
            caps: self.caps.caps(),
            topped_up: *self.topped_up,
            settled: self.settled,
            held: Amounts(Meter::ALL.map(|meter| self.held(meter))),
            in_doubt: *self.in_doubt,
            granted: self.granted,
            opened: self.opened,
            observe: self.observe,
            loaded: self.loaded,
            waiting: self.waits.line.len(),
        }
    }
}

fn most(one: &Amounts, other: &Amounts) -> Amounts {
    Amounts(std::array::from_fn(|i| one.0[i].max(other.0[i])))
}
