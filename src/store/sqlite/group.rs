//! One group: a transaction in which journal rows are appended and each touched account is read
//! once and written once, however many calls it covers.
//!
//! A group works on its own copy of the chain's head; the writer takes it over only after the
//! commit, so that a failed group leaves no trace.

use super::super::chain;
use super::super::entry::{AccountBody, CallBody, KeyBody, Mark, MarkBody, NoteBody};
use super::super::{Balance, CallEntry, Ending, Entry, Kind, Note, StoreError, Sums, Text};
use super::schema::{ChainHead, pack, unpack};
use crate::ledger::AccountKey;
use crate::units::{Amounts, TaskKey, UnixMs};
use rusqlite::{CachedStatement, Connection, OptionalExtension, params};
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3Default;

/// The result of a step in the database: an error ends the whole group.
pub(super) type Db<T> = Result<T, StoreError>;

/// An account while a group works on it.
#[derive(Debug)]
pub(super) struct Account {
    /// Its row.
    pub id: i64,
    /// Which account.
    pub key: AccountKey,
    /// What it holds.
    pub balance: Balance,
    /// Since when its limit had been in force when the account was last opened.
    pub limit_since: i64,
    changed: bool,
}

/// A transaction under way.
pub(super) struct Group<'c> {
    /// The writer's connection, inside the transaction.
    pub conn: &'c Connection,
    /// Where the chain will be.
    pub head: ChainHead,
    epoch: i64,
    now: UnixMs,
    text: Vec<u8>,
    /// Appends a row; looked up once for all rows of the group.
    append: Option<CachedStatement<'c>>,
    kept: &'c mut Kept,
}

/// What the writer knows of the database from the groups before; forgotten with a failed group. It
/// may be trusted because nobody else writes: a group that another process fenced is not committed.
#[derive(Debug, Default)]
pub(super) struct Kept {
    accounts: Accounts,
    blocks: TaskBlocks,
}

/// Accounts that groups worked on.
#[derive(Debug, Default)]
struct Accounts {
    list: Vec<Account>,
    by_key: HashMap<AccountKey, usize, foldhash::fast::RandomState>,
    by_id: HashMap<i64, usize, foldhash::fast::RandomState>,
    /// Those that the present group changed.
    changed: Vec<usize>,
}

/// Accounts kept from one group to the next, at most; about 500 bytes each.
const ACCOUNTS_KEPT: usize = 2_048;

impl Kept {
    /// Lets go of accounts when they are too many. Between groups only: a group knows them by place.
    fn trim(&mut self) {
        if self.accounts.list.len() > ACCOUNTS_KEPT {
            self.accounts = Accounts::default();
        }
    }
}

/// Which tasks have rows in the newest block of rows.
///
/// Rows of one task are found through the blocks of [`BLOCK_ROWS`] rows that hold any: an index entry a row
/// would cost as much as the row.
#[derive(Debug, Default)]
struct TaskBlocks {
    block: i64,
    tasks: HashSet<i64, foldhash::fast::RandomState>,
}

/// Rows of a block, in number.
pub(crate) const BLOCK_ROWS: i64 = 256;

impl<'c> Group<'c> {
    /// Begins a transaction.
    pub(super) fn begin(
        conn: &'c Connection,
        kept: &'c mut Kept,
        head: ChainHead,
        epoch: i64,
        now: UnixMs,
    ) -> Db<Self> {
        kept.trim();
        conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        Ok(Self {
            conn,
            head,
            epoch,
            now: now.max(head.at),
            text: Vec::with_capacity(1024),
            append: None,
            kept,
        })
    }

    /// The store's time, which never steps back.
    pub(super) const fn now(&self) -> UnixMs {
        self.now
    }

    /// This process's epoch.
    pub(super) const fn epoch(&self) -> i64 {
        self.epoch
    }

    /// Writes the accounts and the head, checks the epoch, and commits.
    pub(super) fn commit(mut self) -> Db<ChainHead> {
        self.write_accounts()?;
        let sql = "UPDATE meta SET head_seq = ?1, head_hash = ?2, head_at = ?3, last_call_at = ?4
                   WHERE epoch = ?5";
        let head = &self.head;
        let fenced = self.conn.prepare_cached(sql)?.execute(params![
            head.seq,
            head.hash.as_slice(),
            head.at.0,
            head.last_call_at.0,
            self.epoch
        ])? == 0;
        if fenced {
            let theirs = self
                .conn
                .query_row("SELECT epoch FROM meta", [], |row| row.get(0))?;
            return Err(StoreError::Fenced {
                ours: self.epoch,
                theirs,
            });
        }
        self.conn.prepare_cached("COMMIT")?.execute([])?;
        Ok(self.head)
    }

    fn write_accounts(&mut self) -> Db<()> {
        let sql = "UPDATE accounts SET limit_since = ?1, settled = ?2, in_doubt = ?3, granted = ?4,
                   topped_up = ?5, outstanding = ?6 WHERE id = ?7";
        let mut update = self.conn.prepare_cached(sql)?;
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
                outstanding,
                account.id
            ])?;
        }
        Ok(())
    }

    // === the journal ===

    /// Appends a row; `at` is moved forward if the chain is already later. The answer is its number.
    pub(super) fn append(
        &mut self,
        kind: Kind,
        at: UnixMs,
        task: Option<i64>,
        body: &impl Serialize,
    ) -> Db<i64> {
        self.text.clear();
        serde_json::to_writer(&mut self.text, body)?;
        let seq = self.head.seq + 1;
        let at = at.max(self.head.at);
        let hash = chain::link(&self.head.hash, seq, at.0, kind.name(), &self.text);
        let entry = std::str::from_utf8(&self.text)
            .map_err(|error| StoreError::Failed(format!("an entry is no UTF-8: {error}")))?;
        let append = match &mut self.append {
            Some(append) => append,
            none => {
                let sql = "INSERT INTO journal VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
                none.insert(self.conn.prepare_cached(sql)?)
            }
        };
        append.execute(params![
            seq,
            at.0,
            kind.name(),
            task,
            entry,
            hash.as_slice()
        ])?;
        if let Some(task) = task {
            self.index(task, seq)?;
        }
        self.head = ChainHead {
            seq,
            hash,
            at,
            last_call_at: match kind {
                Kind::Call => at,
                _ => self.head.last_call_at,
            },
        };
        Ok(seq)
    }

    fn index(&mut self, task: i64, seq: i64) -> Db<()> {
        let block = seq / BLOCK_ROWS;
        let blocks = &mut self.kept.blocks;
        if blocks.block != block {
            blocks.block = block;
            blocks.tasks.clear();
        }
        if blocks.tasks.insert(task) {
            self.conn
                .prepare_cached("INSERT OR IGNORE INTO task_blocks VALUES (?1, ?2)")?
                .execute([task, block])?;
        }
        Ok(())
    }

    /// Writes a posted entry and what follows from it.
    pub(super) fn post(&mut self, entry: &Entry) -> Db<()> {
        match entry {
            Entry::Call(call) => self.post_call(call),
            Entry::Note(note) => self.post_note(note),
            Entry::Mark(mark) => self.post_mark(mark),
            Entry::Evidence(evidence) => {
                let by = "gateway";
                super::doubts::reconcile(self, std::slice::from_ref(&**evidence), by)?.map(drop)
            }
        }
    }

    fn post_note(&mut self, note: &Note) -> Db<()> {
        let body = NoteBody {
            by: Text::from(&*note.by),
            subject: Text::from(&*note.subject),
            detail: Text::from(&*note.detail),
        };
        self.append(note.what.kind(), self.now, None, &body)
            .map(drop)
    }

    fn post_mark(&mut self, mark: &Mark) -> Db<()> {
        let body = MarkBody {
            owner: Text::from(mark.task.owner.as_str()),
            task: Text::from(mark.task.task.as_str()),
            rule: Text::from(&*mark.rule),
            agent: mark.agent.as_deref().map(Text::from),
            received_by: mark.received_by.as_deref().map(Text::from),
            detail: Text::from(&*mark.detail),
            calls: mark.calls.iter().map(|call| Text::from(&**call)).collect(),
        };
        let task = key_digest(&mark.task);
        self.append(Kind::Mark, self.now, Some(task), &body)
            .map(drop)
    }

    fn post_call(&mut self, call: &CallEntry) -> Db<()> {
        let in_doubt = call.ending == Ending::Unreconciled;
        let mut ids = Vec::new();
        if !call.charged.is_zero() {
            ids.reserve_exact(call.accounts.len());
            for key in call.accounts.iter() {
                let index = self.account_or_new(key)?;
                ids.push(self.at(index).id);
                self.change(index, |balance| {
                    let pile = if in_doubt {
                        &mut balance.in_doubt
                    } else {
                        &mut balance.settled
                    };
                    *pile = pile.saturating_add(&call.charged);
                });
            }
        }
        let attribution = &call.attribution;
        let task = task_digest(attribution.owner.as_str(), attribution.task.value.as_str());
        let body = CallBody::new(call, call.ended.max(self.head.at), ids);
        let seq = self.append(Kind::Call, call.ended, Some(task), &body)?;
        if in_doubt {
            super::doubts::raise_for_call(self, seq, call, &body.accounts)?;
        }
        Ok(())
    }

    // === accounts ===

    /// The account's place in the group, if the store knows it.
    pub(super) fn account(&mut self, key: &AccountKey) -> Db<Option<usize>> {
        if let Some(index) = self.kept.accounts.by_key.get(key) {
            return Ok(Some(*index));
        }
        let sql = "SELECT id, limit_since, opened, settled, in_doubt, granted, topped_up, lapsed
                   FROM accounts WHERE key = ?1";
        let text = key_text(key)?;
        let mut select = self.conn.prepare_cached(sql)?;
        let found = select
            .query_row([&text], |row| read_account(row, key.clone()))
            .optional()?;
        Ok(found.map(|account| self.adopt(account)))
    }

    /// The account of that number.
    pub(super) fn account_by_id(&mut self, id: i64) -> Db<usize> {
        if let Some(index) = self.kept.accounts.by_id.get(&id) {
            return Ok(*index);
        }
        let sql =
            "SELECT id, limit_since, opened, settled, in_doubt, granted, topped_up, lapsed, key
                   FROM accounts WHERE id = ?1";
        let mut select = self.conn.prepare_cached(sql)?;
        let (text, mut account) = select.query_row([id], |row| {
            let nobody = AccountKey {
                limit: "".into(),
                per: [].into(),
                window: None,
            };
            Ok((row.get::<_, String>(8)?, read_account(row, nobody)?))
        })?;
        account.key = serde_json::from_str::<KeyBody>(&text)?.0;
        Ok(self.adopt(account))
    }

    /// The account, opened empty if it is unknown; what came before is counted by the next grant.
    pub(super) fn account_or_new(&mut self, key: &AccountKey) -> Db<usize> {
        match self.account(key)? {
            Some(index) => Ok(index),
            None => {
                let nothing = (Amounts::ZERO, Amounts::ZERO);
                self.new_account(key, super::grants::UNSEEDED, &nothing)
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
        let suspended =
            super::tasks::find(self, &task)?.map_or(0, |task| task.suspended_ms(self.now));
        let suspended = i64::try_from(suspended).unwrap_or(i64::MAX);
        Ok(UnixMs(self.now.0.saturating_sub(suspended)))
    }

    /// Opens an account with a seed of (settled, in doubt); journalled.
    pub(super) fn new_account(
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
    pub(super) fn at(&self, index: usize) -> &Account {
        &self.kept.accounts.list[index]
    }

    /// Changes a balance. What is spent or in doubt has been granted, at the latest now.
    pub(super) fn change(&mut self, index: usize, change: impl FnOnce(&mut Balance)) {
        let account = &mut self.kept.accounts.list[index];
        change(&mut account.balance);
        let balance = &mut account.balance;
        let proven = balance.settled.saturating_add(&balance.in_doubt);
        balance.granted = at_least(&balance.granted, &proven);
        self.note_change(index);
    }

    /// The latest stay of any limit that an account was opened under, in Unix milliseconds.
    pub(super) fn latest_limit_since(&self) -> Db<i64> {
        let sql = "SELECT COALESCE(MAX(limit_since), 0) FROM accounts";
        let written: i64 = self.conn.query_row(sql, [], |row| row.get(0))?;
        let here = self.kept.accounts.list.iter();
        let here = here.map(|account| account.limit_since).max();
        Ok(written.max(here.unwrap_or(0)))
    }

    /// The account has been opened under its limit's present stay.
    pub(super) fn set_limit_since(&mut self, index: usize, since: i64) {
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
}

/// Meter by meter the larger.
pub(super) fn at_least(one: &Amounts, other: &Amounts) -> Amounts {
    Amounts(std::array::from_fn(|i| one.0[i].max(other.0[i])))
}

/// Meter by meter the smaller.
pub(super) fn at_most(one: &Amounts, other: &Amounts) -> Amounts {
    Amounts(std::array::from_fn(|i| one.0[i].min(other.0[i])))
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
        changed: false,
    })
}

/// An account's key as the store writes it.
pub(super) fn key_text(key: &AccountKey) -> Db<String> {
    Ok(serde_json::to_string(&KeyBody(key.clone()))?)
}

/// A task's digest, by which its rows are indexed. Collisions only cost a reader a second look.
pub(crate) fn task_digest(owner: &str, task: &str) -> i64 {
    let mut hasher = Xxh3Default::new();
    hasher.update(owner.as_bytes());
    hasher.update(&[0]);
    hasher.update(task.as_bytes());
    i64::from_ne_bytes(hasher.digest().to_ne_bytes())
}

/// The digest of a task's key.
pub(super) fn key_digest(key: &TaskKey) -> i64 {
    task_digest(key.owner.as_str(), key.task.as_str())
}
