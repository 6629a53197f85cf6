//! The accounts that a group works on: each read once and written once.

use super::super::super::entry::{AccountBody, KeyBody};
use super::super::super::{Balance, Kind, Sums};
use super::super::grants::UNSEEDED;
use super::super::schema::{pack, unpack};
use super::super::tasks;
use super::{Db, Group, at_least};
use crate::ledger::AccountKey;
use crate::units::{Amounts, TaskKey, UnixMs};
use rusqlite::{OptionalExtension, params};
use std::collections::HashMap;
use std::sync::Arc;

/// Accounts kept from one group to the next, at most; about 500 bytes each.
const ACCOUNTS_KEPT: usize = 2_048;

/// An account while a group works on it.
#[derive(Debug)]
pub(in super::super) struct Account {
    /// Its row.
    pub id: i64,
    /// Which account.
    pub key: AccountKey,
    /// What it holds.
    pub balance: Balance,
    /// Since when its limit had been in force when the account was last opened.
    pub limit_since: i64,
    /// Its row is in the index of those that were granted more than is proven.
    outstanding: bool,
    changed: bool,
}

/// Accounts that groups worked on.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    list: Vec<Account>,
    by_key: HashMap<AccountKey, usize, foldhash::fast::RandomState>,
    by_id: HashMap<i64, usize, foldhash::fast::RandomState>,
    /// Those that the present group changed.
    changed: Vec<usize>,
}

impl Accounts {
    /// Lets go of them when they are too many. Between groups only: a group knows them by place.
    pub(super) fn trim(&mut self) {
        if self.list.len() > ACCOUNTS_KEPT {
            *self = Self::default();
        }
    }
}

impl Group<'_> {
    /// The account's place in the group, if the store knows it.
    pub(in super::super) fn account(&mut self, key: &AccountKey) -> Db<Option<usize>> {
        if let Some(index) = self.kept.accounts.by_key.get(key) {
            return Ok(Some(*index));
        }
        let sql =
            "SELECT id, limit_since, opened, settled, in_doubt, granted, topped_up, lapsed, outstanding
                   FROM accounts WHERE key = ?1";
        let text = key_text(key)?;
        let mut select = self.conn.prepare_cached(sql)?;
        let found = select
            .query_row([&text], |row| read_account(row, key.clone()))
            .optional()?;
        Ok(found.map(|account| self.adopt(account)))
    }

    /// The account of that number.
    pub(in super::super) fn account_by_id(&mut self, id: i64) -> Db<usize> {
        if let Some(index) = self.kept.accounts.by_id.get(&id) {
            return Ok(*index);
        }
        let sql =
            "SELECT id, limit_since, opened, settled, in_doubt, granted, topped_up, lapsed, outstanding, key
                   FROM accounts WHERE id = ?1";
        let mut select = self.conn.prepare_cached(sql)?;
        let (text, mut account) = select.query_row([id], |row| {
            let nobody = AccountKey {
                limit: "".into(),
                per: [].into(),
                window: None,
            };
            Ok((row.get::<_, String>(9)?, read_account(row, nobody)?))
        })?;
        account.key = serde_json::from_str::<KeyBody>(&text)?.0;
        Ok(self.adopt(account))
    }

    /// The account, opened empty if it is unknown; what came before is counted by the next grant.
    pub(in super::super) fn account_or_new(&mut self, key: &AccountKey) -> Db<usize> {
        match self.account(key)? {
            Some(index) => Ok(index),
            None => {
                let nothing = (Amounts::ZERO, Amounts::ZERO);
                self.new_account(key, UNSEEDED, &nothing)
            }
        }
    }

    /// From when the `duration` of an account that opens now counts. All the time that its task was ever
    /// suspended is taken off it, so what passed of that before now is put on here.
    fn opening(&self, key: &AccountKey) -> Db<UnixMs> {
        let side = |name| key.per.iter().find(|(side, _)| *side == name);
        let (Some((_, owner)), Some((_, task))) = (side("owner"), side("task")) else {
            return Ok(self.now);
        };
        let task = TaskKey {
            owner: Arc::clone(owner).into(),
            task: Arc::clone(task).into(),
        };
        let suspended = tasks::find(self, &task)?.map_or(0, |task| task.suspended_ms(self.now));
        let suspended = i64::try_from(suspended).unwrap_or(i64::MAX);
        Ok(UnixMs(self.now.0.saturating_sub(suspended)))
    }

    /// Opens an account with a seed of (settled, in doubt); journalled.
    pub(in super::super) fn new_account(
        &mut self,
        key: &AccountKey,
        limit_since: i64,
        seed: &(Amounts, Amounts),
    ) -> Db<usize> {
        let (settled, in_doubt) = *seed;
        let granted = settled.saturating_add(&in_doubt);
        let opened = self.opening(key)?;
        let sql = "INSERT INTO accounts (key, limit_since, opened, settled, in_doubt, granted, topped_up, outstanding)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0)";
        self.conn.prepare_cached(sql)?.execute(params![
            key_text(key)?,
            limit_since,
            opened.0,
            pack(&settled).as_slice(),
            pack(&in_doubt).as_slice(),
            pack(&granted).as_slice(),
            pack(&Amounts::ZERO).as_slice()
        ])?;
        let id = self.conn.last_insert_rowid();
        let body = AccountBody {
            account: id,
            key: KeyBody(key.clone()),
            settled: Sums(settled),
            in_doubt: Sums(in_doubt),
        };
        self.append(Kind::Account, self.now, None, &body)?;
        let balance = Balance {
            settled,
            in_doubt,
            granted,
            topped_up: Amounts::ZERO,
            lapsed: Amounts::ZERO,
            opened: Some(opened),
        };
        Ok(self.adopt(Account {
            id,
            key: key.clone(),
            balance,
            limit_since,
            outstanding: false,
            changed: false,
        }))
    }

    fn adopt(&mut self, account: Account) -> usize {
        let accounts = &mut self.kept.accounts;
        let index = accounts.list.len();
        accounts.by_key.insert(account.key.clone(), index);
        accounts.by_id.insert(account.id, index);
        accounts.list.push(account);
        index
    }

    /// An account of this group.
    pub(in super::super) fn at(&self, index: usize) -> &Account {
        &self.kept.accounts.list[index]
    }

    /// Changes a balance. What is spent or in doubt has been granted, at the latest now.
    pub(in super::super) fn change(&mut self, index: usize, change: impl FnOnce(&mut Balance)) {
        let account = &mut self.kept.accounts.list[index];
        change(&mut account.balance);
        let balance = &mut account.balance;
        let proven = balance.settled.saturating_add(&balance.in_doubt);
        balance.granted = at_least(&balance.granted, &proven);
        self.note_change(index);
    }

    /// The latest stay of any limit that an account was opened under, in Unix milliseconds.
    pub(in super::super) fn latest_limit_since(&self) -> Db<i64> {
        let sql = "SELECT COALESCE(MAX(limit_since), 0) FROM accounts";
        let written: i64 = self.conn.query_row(sql, [], |row| row.get(0))?;
        let here = self.kept.accounts.list.iter();
        let here = here.map(|account| account.limit_since).max();
        Ok(written.max(here.unwrap_or(0)))
    }

    /// The account has been opened under its limit's present stay.
    pub(in super::super) fn set_limit_since(&mut self, index: usize, since: i64) {
        let account = &mut self.kept.accounts.list[index];
        if std::mem::replace(&mut account.limit_since, since) != since {
            self.note_change(index);
        }
    }

    fn note_change(&mut self, index: usize) {
        let accounts = &mut self.kept.accounts;
        if !std::mem::replace(&mut accounts.list[index].changed, true) {
            accounts.changed.push(index);
        }
    }

    /// Writes what the group changed.
    pub(super) fn write_accounts(&mut self) -> Db<()> {
        let sql = "UPDATE accounts SET limit_since = ?1, settled = ?2, in_doubt = ?3, granted = ?4,
                   topped_up = ?5 WHERE id = ?6";
        let mut update = self.conn.prepare_cached(sql)?;
        // By itself, for it seldom changes, and its index would be written anew all the same.
        let sql = "UPDATE accounts SET outstanding = ?1 WHERE id = ?2";
        let accounts = &mut self.kept.accounts;
        for index in accounts.changed.drain(..) {
            let account = &mut accounts.list[index];
            account.changed = false;
            let balance = &account.balance;
            let proven = balance.settled.saturating_add(&balance.in_doubt);
            let outstanding = !balance.granted.saturating_sub(&proven).is_zero();
            update.execute(params![
                account.limit_since,
                pack(&balance.settled).as_slice(),
                pack(&balance.in_doubt).as_slice(),
                pack(&balance.granted).as_slice(),
                pack(&balance.topped_up).as_slice(),
                account.id
            ])?;
            if std::mem::replace(&mut account.outstanding, outstanding) != outstanding {
                self.conn
                    .prepare_cached(sql)?
                    .execute(params![outstanding, account.id])?;
            }
        }
        Ok(())
    }
}

fn read_account(row: &rusqlite::Row<'_>, key: AccountKey) -> rusqlite::Result<Account> {
    let amounts = |column: usize| -> rusqlite::Result<Amounts> {
        Ok(unpack(row.get_ref(column)?.as_blob()?))
    };
    Ok(Account {
        id: row.get(0)?,
        key,
        limit_since: row.get(1)?,
        balance: Balance {
            opened: Some(UnixMs(row.get(2)?)),
            settled: amounts(3)?,
            in_doubt: amounts(4)?,
            granted: amounts(5)?,
            topped_up: amounts(6)?,
            lapsed: row
                .get_ref(7)?
                .as_blob_or_null()?
                .map_or(Amounts::ZERO, unpack),
        },
        outstanding: row.get(8)?,
        changed: false,
    })
}

/// An account's key as the store writes it.
fn key_text(key: &AccountKey) -> Db<String> {
    Ok(serde_json::to_string(&KeyBody(key.clone()))?)
}
