//! Queries, on a read-only connection: beside a running gateway as well as on its file at rest.
//!
//! Journal rows are scanned in order and their entries parsed where they lie; `at` never steps back
//! along the chain, so the first row of a period is found by halving.

mod agents;
mod asked;
mod fold;
mod joined;
mod pins;
mod report;
mod seed;
mod verify;

pub use asked::EscalationFilter;
pub use report::{By, ReportQuery, ReportRow};
pub use verify::{FirstBad, Verdict, VerifyOptions};

use super::chain::{self, Hash};
use super::entry::{CallBody, KeyBody};
use super::sqlite::{
    BLOCK_ROWS, Meta, TASK_COLUMNS, check_version, read_meta, read_task, schema_of, task_digest,
    unpack,
};
use super::{Balance, Doubt, Ending, Kind, StoreError, TaskRecord, TaskState};
use crate::ledger::AccountKey;
use crate::units::{Amounts, Owner, TaskId, TaskKey, UnixMs};
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use std::path::Path;
use std::sync::Arc;

/// Rows of one answer unless the caller says otherwise, in number.
const ANSWER_ROWS: usize = 1_000;

/// A read-only view of the file.
#[derive(Debug)]
pub struct Reader {
    conn: Connection,
}

/// One journal row, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct Row<'r> {
    /// Its number.
    pub seq: i64,
    /// Its time.
    pub at: UnixMs,
    /// Its kind's word.
    pub kind: &'r str,
    /// The digest of its task, by which it is indexed.
    pub task: Option<i64>,
    /// Its entry, as hashed.
    pub entry: &'r str,
    /// Its hash.
    pub hash: [u8; 32],
}

impl Row<'_> {
    /// The row as one line of JSON: `seq`, `at`, `kind`, `hash`, `entry`.
    #[must_use]
    pub fn to_json(&self) -> String {
        let Self {
            seq,
            at,
            kind,
            entry,
            ..
        } = self;
        let hash = chain::hex(&self.hash);
        let at = at.0;
        // The kind comes from a closed list of words and the entry is JSON already.
        format!(r#"{{"seq":{seq},"at":{at},"kind":"{kind}","hash":"{hash}","entry":{entry}}}"#)
    }
}

/// A call's row, owned; [`Self::body`] reads it.
#[derive(Clone, Debug)]
pub struct CallRow {
    /// Its number.
    pub seq: i64,
    /// Its time.
    pub at: UnixMs,
    /// Its entry.
    pub entry: String,
}

impl CallRow {
    /// What it says.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn body(&self) -> Result<CallBody<'_>, StoreError> {
        Ok(CallBody::read(self.at, &self.entry)?)
    }
}

/// Which tasks.
#[derive(Clone, Debug, Default)]
pub struct TaskFilter {
    /// Of this owner.
    pub owner: Option<Owner>,
    /// This one.
    pub task: Option<TaskId>,
    /// In this state.
    pub state: Option<TaskState>,
    /// At most so many; 1,000 unless given.
    pub limit: Option<usize>,
}

/// Which accounts.
#[derive(Clone, Debug, Default)]
pub struct AccountFilter {
    /// This one.
    pub key: Option<AccountKey>,
    /// Of the limit with this id, or this name (what comes before its digest).
    pub limit: Option<Arc<str>>,
    /// With this value among `per`.
    pub value: Option<Arc<str>>,
    /// At most so many; 1,000 unless given.
    pub rows: Option<usize>,
}

/// An account and its balance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRow {
    /// Which account.
    pub key: AccountKey,
    /// What it holds.
    pub balance: Balance,
}

/// Which doubts.
#[derive(Clone, Debug, Default)]
pub struct DoubtFilter {
    /// Of this task.
    pub task: Option<TaskKey>,
    /// With a greater id than this, for the next page.
    pub after: Option<i64>,
    /// At most so many; 1,000 unless given.
    pub rows: Option<usize>,
}

fn bounded(rows: Option<usize>) -> i64 {
    i64::try_from(rows.unwrap_or(ANSWER_ROWS)).unwrap_or(i64::MAX)
}

impl Reader {
    /// Opens the file for reading. It must exist.
    ///
    /// # Errors
    /// [`StoreError`]: absent, damaged, of a newer version.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        if !path.is_file() {
            let text = format!("{}: no such file", path.display());
            return Err(StoreError::CannotOpen(text));
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(path, flags)?;
        conn.busy_timeout(std::time::Duration::from_secs(2))?;
        match check_version(&conn) {
            Ok(()) => {}
            // In a directory that cannot be written, a file at rest is read as it lies.
            Err(StoreError::CannotOpen(_) | StoreError::ReadOnly(_)) => {
                return Self::open_at_rest(path);
            }
            Err(error) => return Err(error),
        }
        let tables: i64 =
            conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if tables == 0 {
            return Err(StoreError::Corrupt("the file holds no store".to_owned()));
        }
        schema_of(&conn)?;
        Ok(Self { conn })
    }

    fn open_at_rest(path: &Path) -> Result<Self, StoreError> {
        let mut wal = path.as_os_str().to_owned();
        wal.push("-wal");
        if std::fs::metadata(&wal).is_ok_and(|wal| wal.len() > 0) {
            let text = "its directory cannot be written, and its write-ahead log was not merged";
            return Err(StoreError::ReadOnly(format!("{}: {text}", path.display())));
        }
        let mut uri = String::from("file:");
        for byte in path.as_os_str().as_encoded_bytes() {
            match byte {
                b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                    uri.push(char::from(*byte))
                }
                byte => uri.push_str(&format!("%{byte:02X}")),
            }
        }
        uri.push_str("?immutable=1");
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_URI;
        let conn = Connection::open_with_flags(uri, flags)?;
        check_version(&conn)?;
        Ok(Self { conn })
    }

    /// The connection, for what is read elsewhere in the store.
    pub(super) const fn connection(&self) -> &Connection {
        &self.conn
    }

    /// The newest row's number and hash, to be kept somewhere else: `audit verify --head` then also
    /// finds a chain that was cut or rewritten as a whole.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn head(&self) -> Result<super::Head, StoreError> {
        let head = read_meta(&self.conn)?.head;
        Ok(super::Head {
            seq: head.seq,
            hash: head.hash,
        })
    }

    /// The number of the last row that left the table; 0: none did.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn base(&self) -> Result<i64, StoreError> {
        Ok(read_meta(&self.conn)?.base_seq)
    }

    /// Calls `each` with the rows from number `first` on, until it says false.
    ///
    /// # Errors
    /// [`StoreError`], also from `each`.
    pub fn rows(
        &self,
        first: i64,
        mut each: impl FnMut(&Row<'_>) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let sql =
            "SELECT seq, at, kind, task, entry, hash FROM journal WHERE seq >= ?1 ORDER BY seq";
        let mut select = self.conn.prepare_cached(sql)?;
        let mut rows = select.query([first])?;
        while let Some(row) = rows.next()? {
            if !each(&read_row(row)?)? {
                break;
            }
        }
        Ok(())
    }

    /// Calls `each` with the rows since that time (all, if `None`), until it says false.
    ///
    /// # Errors
    /// [`StoreError`], also from `each`.
    pub fn rows_since(
        &self,
        since: Option<UnixMs>,
        each: impl FnMut(&Row<'_>) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let first = match since {
            Some(since) => first_row_since(&self.conn, since.0, &read_meta(&self.conn)?)?,
            None => 0,
        };
        self.rows(first, each)
    }

    /// The tasks, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn tasks(&self, filter: &TaskFilter) -> Result<Vec<TaskRecord>, StoreError> {
        // Every call of an unknown task asks for one by its key: an index must serve that.
        let by_key = match (&filter.owner, &filter.task) {
            (Some(_), Some(_)) => "owner = ?1 AND task = ?2",
            (None, Some(_)) => "?1 IS NULL AND task = ?2",
            (Some(_), None) => "owner = ?1 AND ?2 IS NULL",
            (None, None) => "?1 IS NULL AND ?2 IS NULL",
        };
        let sql = format!(
            "SELECT {TASK_COLUMNS} FROM tasks WHERE {by_key}
             AND (?3 IS NULL OR state = ?3) ORDER BY id DESC LIMIT ?4"
        );
        let mut select = self.conn.prepare_cached(&sql)?;
        let mut rows = select.query(params![
            filter.owner.as_ref().map(AsRef::<str>::as_ref),
            filter.task.as_ref().map(AsRef::<str>::as_ref),
            filter.state.map(TaskState::name),
            bounded(filter.limit)
        ])?;
        let mut tasks = Vec::new();
        while let Some(row) = rows.next()? {
            tasks.push(read_task(row)?);
        }
        Ok(tasks)
    }

    /// The accounts, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn accounts(&self, filter: &AccountFilter) -> Result<Vec<AccountRow>, StoreError> {
        // A key is found by its index; a value stands in the key's text just as it is written there.
        let key = filter.key.clone().map(KeyBody);
        let key = key.map(|key| serde_json::to_string(&key)).transpose()?;
        let value = filter
            .value
            .as_ref()
            .map(serde_json::to_string)
            .transpose()?;
        let by_key = match key {
            Some(_) => "key = ?1",
            None => "?1 IS NULL",
        };
        let sql = format!(
            "SELECT key, opened, settled, in_doubt, granted, topped_up, lapsed FROM accounts
             WHERE {by_key} AND (?2 IS NULL OR instr(key, ?2) > 0) ORDER BY id DESC"
        );
        let mut select = self.conn.prepare_cached(&sql)?;
        let mut rows = select.query(params![key, value])?;
        let most = filter.rows.unwrap_or(ANSWER_ROWS);
        let mut accounts = Vec::new();
        while accounts.len() < most
            && let Some(row) = rows.next()?
        {
            let text = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
            let KeyBody(key) = serde_json::from_str(text)?;
            if !filter.matches(&key) {
                continue;
            }
            let amounts = |column: usize| -> Result<Amounts, rusqlite::Error> {
                Ok(unpack(row.get_ref(column)?.as_blob()?))
            };
            let balance = Balance {
                opened: Some(UnixMs(row.get(1)?)),
                settled: amounts(2)?,
                in_doubt: amounts(3)?,
                granted: amounts(4)?,
                topped_up: amounts(5)?,
                lapsed: row
                    .get_ref(6)?
                    .as_blob_or_null()
                    .map_err(rusqlite::Error::from)?
                    .map_or(Amounts::ZERO, unpack),
            };
            accounts.push(AccountRow { key, balance });
        }
        Ok(accounts)
    }

    /// The open doubts, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn doubts(&self, filter: &DoubtFilter) -> Result<Vec<Doubt>, StoreError> {
        let sql =
            "SELECT id, at, reason, owner, task, identity, request, answer_id, provider, model,
                   amounts, accounts FROM doubts WHERE (?1 IS NULL OR (owner = ?1 AND task = ?2))
                   AND id > ?3 ORDER BY id LIMIT ?4";
        let mut select = self.conn.prepare_cached(sql)?;
        let mut rows = select.query(params![
            filter.task.as_ref().map(|key| key.owner.as_str()),
            filter.task.as_ref().map(|key| key.task.as_str()),
            filter.after.unwrap_or(0),
            bounded(filter.rows)
        ])?;
        let mut doubts = Vec::new();
        while let Some(row) = rows.next()? {
            doubts.push(self.read_doubt(row)?);
        }
        Ok(doubts)
    }

    fn read_doubt(&self, row: &rusqlite::Row<'_>) -> Result<Doubt, StoreError> {
        let (owner, task): (Option<String>, Option<String>) = (row.get(3)?, row.get(4)?);
        let ids: Vec<i64> = serde_json::from_str(&row.get::<_, String>(11)?)?;
        let mut key = self
            .conn
            .prepare_cached("SELECT key FROM accounts WHERE id = ?1")?;
        let mut accounts = Vec::with_capacity(ids.len());
        for id in ids {
            let text: Option<String> = key.query_row([id], |row| row.get(0)).optional()?;
            let text =
                text.ok_or_else(|| StoreError::Corrupt(format!("account {id} is missing")))?;
            accounts.push(serde_json::from_str::<KeyBody>(&text)?.0);
        }
        Ok(Doubt {
            id: row.get(0)?,
            at: UnixMs(row.get(1)?),
            reason: row.get(2)?,
            task: owner.zip(task).map(|(owner, task)| TaskKey {
                owner: owner.into(),
                task: task.into(),
            }),
            identity: row.get(5)?,
            request: row.get(6)?,
            answer_id: row.get(7)?,
            provider: row.get(8)?,
            model: row.get(9)?,
            amounts: unpack(row.get_ref(10)?.as_blob().map_err(rusqlite::Error::from)?),
            accounts,
        })
    }

    /// Calls `each` with every row of one task, oldest first.
    fn rows_of_task(
        &self,
        task: &TaskKey,
        mut each: impl FnMut(&Row<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let digest = task_digest(task.owner.as_str(), task.task.as_str());
        let sql =
            "SELECT seq, at, kind, j.task, entry, hash FROM task_blocks b CROSS JOIN journal j
                   WHERE b.task = ?1 AND j.seq >= b.block * ?2 AND j.seq < (b.block + 1) * ?2
                   AND j.task = ?1 ORDER BY b.block, j.seq";
        let mut select = self.conn.prepare_cached(sql)?;
        let mut rows = select.query([digest, BLOCK_ROWS])?;
        while let Some(row) = rows.next()? {
            each(&read_row(row)?)?;
        }
        Ok(())
    }

    /// The calls of one task, oldest first, the newest `limit` of them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn trace(&self, task: &TaskKey, limit: usize) -> Result<Vec<CallRow>, StoreError> {
        let mut calls = std::collections::VecDeque::new();
        self.rows_of_task(task, |row| {
            if row.kind == Kind::Call.name() {
                let body = CallBody::read(row.at, row.entry)?;
                let same = body.owner.as_str() == task.owner.as_str();
                if same && body.task.as_str() == task.task.as_str() {
                    calls.push_back(CallRow {
                        seq: row.seq,
                        at: row.at,
                        entry: row.entry.to_owned(),
                    });
                }
            }
            if calls.len() > limit {
                calls.pop_front();
            }
            Ok(())
        })?;
        Ok(calls.into())
    }
}

impl AccountFilter {
    fn matches(&self, key: &AccountKey) -> bool {
        let name = |id: &str| {
            id.rsplit_once(['#', '@', ':'])
                .map(|(name, _)| name.to_owned())
        };
        let limit = self.limit.as_ref().is_none_or(|limit| {
            *limit == key.limit || name(&key.limit).is_some_and(|name| *name == **limit)
        });
        limit
            && self
                .value
                .as_ref()
                .is_none_or(|value| key.per.iter().any(|(_, known)| known == value))
    }
}

fn read_row<'r>(row: &'r rusqlite::Row<'_>) -> Result<Row<'r>, StoreError> {
    // A value of the wrong type is damage (or tampering), not a fault of the reader.
    let damaged = |seq: i64, what: &str| {
        StoreError::Corrupt(format!(
            "journal row {seq}: its {what} is of the wrong type"
        ))
    };
    let seq: i64 = row.get(0)?;
    let text = |column: usize, what: &str| {
        row.get_ref(column)
            .map_err(StoreError::from)
            .and_then(|value| value.as_str().map_err(|_| damaged(seq, what)))
    };
    Ok(Row {
        seq,
        at: UnixMs(row.get(1).map_err(|_| damaged(seq, "time"))?),
        kind: text(2, "kind")?,
        task: row.get(3).map_err(|_| damaged(seq, "task"))?,
        entry: text(4, "entry")?,
        hash: row.get::<_, Hash>(5).map_err(|_| damaged(seq, "hash"))?,
    })
}

/// The number of the first row at or after `at`; one past the newest if there is none.
pub(super) fn first_row_since(conn: &Connection, at: i64, meta: &Meta) -> Result<i64, StoreError> {
    let sql = "SELECT at FROM journal WHERE seq >= ?1 ORDER BY seq LIMIT 1";
    let mut select = conn.prepare_cached(sql)?;
    let (mut low, mut high) = (meta.base_seq + 1, meta.head.seq + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        let found: Option<i64> = select.query_row([middle], |row| row.get(0)).optional()?;
        match found {
            Some(found) if found < at => low = middle + 1,
            _ => high = middle,
        }
    }
    Ok(low)
}

/// The call's field is this value; an absent field is `""`.
fn text_of<'a>(field: Option<&'a super::entry::Text<'_>>) -> &'a str {
    field.map_or("", |text| text.as_str())
}
