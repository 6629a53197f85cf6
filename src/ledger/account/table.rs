//! The table of all accounts, where an account keeps its place as long as a hold or a waiter needs it.

use super::{Account, AccountAt, Pending};
use crate::ledger::AccountKey;
use crate::units::{Amounts, UnixMs};
use std::collections::HashMap;
use std::ops::{Index, IndexMut, Range};

/// Every account in memory. The hash is keyed at random: callers choose task ids.
#[derive(Debug, Default)]
pub(in crate::ledger) struct Accounts {
    by_key: HashMap<AccountKey, AccountAt, foldhash::quality::RandomState>,
    /// Each in a box, so that one that is paged out leaves no hole of its size.
    slots: Vec<Option<Box<Account>>>,
    free: Vec<AccountAt>,
}

impl Accounts {
    pub(in crate::ledger) fn find(&self, key: &AccountKey) -> Option<AccountAt> {
        self.by_key.get(key).copied()
    }

    pub(in crate::ledger) fn at_or_new(&mut self, key: &AccountKey, now: UnixMs) -> AccountAt {
        if let Some(at) = self.find(key) {
            return at;
        }
        let account = Some(Box::new(Account::new(key.clone(), now)));
        let at = if let Some(at) = self.free.pop() {
            self.slots[at.0 as usize] = account;
            at
        } else {
            let next = u32::try_from(self.slots.len());
            assert!(next.is_ok(), "four billion accounts do not fit into memory");
            self.slots.push(account);
            AccountAt(next.unwrap_or(u32::MAX))
        };
        self.by_key.insert(key.clone(), at);
        at
    }

    /// Where the accounts of a limit stand.
    pub(in crate::ledger) fn of_limit(&self, limit: &str) -> Vec<AccountAt> {
        let of_limit = self.by_key.iter().filter(|(key, _)| *key.limit == *limit);
        of_limit.map(|(_, at)| *at).collect()
    }

    pub(in crate::ledger) fn iter(&self) -> impl Iterator<Item = &Account> {
        self.slots.iter().flatten().map(Box::as_ref)
    }

    /// How many there are.
    pub(in crate::ledger) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Where they stand or stood.
    pub(in crate::ledger) fn slots(&self) -> Range<usize> {
        0..self.slots.len()
    }

    /// When the last of the `many` accounts longest at rest was touched; of all if fewer are at rest.
    pub(in crate::ledger) fn longest_at_rest(&self, many: usize) -> Option<UnixMs> {
        let at_rest = self.iter().filter(|account| account.is_at_rest());
        let mut touched: Vec<UnixMs> = at_rest.map(|account| account.touched).collect();
        let last = many.min(touched.len()).checked_sub(1)?;
        Some(*touched.select_nth_unstable(last).1)
    }

    /// Pages out what the store knows as well, and begins to give back the rest, of accounts at rest
    /// in these slots that are `meant`.
    pub(in crate::ledger) fn idle(
        &mut self,
        slots: Range<usize>,
        meant: impl Fn(&AccountKey, UnixMs) -> bool,
    ) -> Vec<(AccountKey, Amounts)> {
        let mut levels = Vec::new();
        let mut unloaded = Vec::new();
        let slots = slots.start..slots.end.min(self.slots.len());
        for (slot, account) in slots.clone().zip(&mut self.slots[slots]) {
            let Some(account) = account else { continue };
            if !account.is_at_rest() || !meant(&account.key, account.touched) {
                continue;
            }
            if account.loaded {
                account.granted = account.settled.saturating_add(&account.in_doubt);
                account.pending = Pending::GiveBack {
                    touched: account.touched,
                };
                levels.push((account.key.clone(), account.granted));
            } else {
                unloaded.extend(u32::try_from(slot).map(AccountAt));
            }
        }
        for at in unloaded {
            self.remove(at);
        }
        levels
    }

    /// Forgets the balances of accounts that are in use and `meant`: the store will be asked again.
    /// Says how many the store is being asked about already.
    pub(in crate::ledger) fn unload(&mut self, meant: impl Fn(&AccountKey) -> bool) -> usize {
        let mut busy = 0;
        let accounts = self.slots.iter_mut().flatten();
        for account in accounts.filter(|account| meant(&account.key) && !account.is_at_rest()) {
            match &account.pending {
                Pending::Nothing => account.loaded = false,
                Pending::Grant(_) | Pending::GiveBack { .. } => busy += 1,
            }
        }
        busy
    }

    /// True if the account is paged out; false if it goes on.
    pub(in crate::ledger) fn forget(&mut self, at: AccountAt) -> bool {
        let account = &mut self[at];
        let Pending::GiveBack { touched } = account.pending else {
            return false;
        };
        account.pending = Pending::Nothing;
        let gone = account.is_at_rest() && account.touched == touched;
        if gone {
            self.remove(at);
        }
        gone
    }

    fn remove(&mut self, at: AccountAt) {
        if let Some(account) = self.slots[at.0 as usize].take() {
            assert!(account.pins == 0, "an account in use is not forgotten");
            self.by_key.remove(&account.key);
            self.free.push(at);
        }
    }
}

impl Index<AccountAt> for Accounts {
    type Output = Account;
    fn index(&self, at: AccountAt) -> &Account {
        match &self.slots[at.0 as usize] {
            Some(account) => account,
            None => panic!("an account keeps its place while it is referred to"),
        }
    }
}

impl IndexMut<AccountAt> for Accounts {
    fn index_mut(&mut self, at: AccountAt) -> &mut Account {
        match &mut self.slots[at.0 as usize] {
            Some(account) => account,
            None => panic!("an account keeps its place while it is referred to"),
        }
    }
}
