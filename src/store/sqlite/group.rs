//! One group: a transaction in which journal rows are appended and each touched account is read
//! once and written once, however many calls it covers.
//!
//! A group works on its own copy of the chain's head; the writer takes it over only after the
//! commit, so that a failed group leaves no trace.

mod accounts;

use super::super::chain;
use super::super::entry::{CallBody, Mark, MarkBody, NoteBody};
use super::super::{CallEntry, Ending, Entry, Kind, Note, StoreError, Text};
use super::schema::ChainHead;
use crate::units::{Amounts, TaskKey, UnixMs};
use accounts::Accounts;
use rusqlite::{CachedStatement, Connection, params};
use serde::Serialize;
use std::collections::HashSet;
use xxhash_rust::xxh3::Xxh3Default;

/// The result of a step in the database: an error ends the whole group.
pub(super) type Db<T> = Result<T, StoreError>;

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
        kept.accounts.trim();
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
        self.append_text(kind, at, task)
    }

    /// Appends a row whose entry stands in `text`.
    fn append_text(&mut self, kind: Kind, at: UnixMs, task: Option<i64>) -> Db<i64> {
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
        self.text.clear();
        body.write(&mut self.text)?;
        let seq = self.append_text(Kind::Call, call.ended, Some(task))?;
        if in_doubt {
            super::doubts::raise_for_call(self, seq, call, &body.accounts)?;
        }
        Ok(())
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
