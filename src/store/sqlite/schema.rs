//! The file: its lock, its tables and its connection settings.
//!
//! One process at a time: an advisory lock on a sibling file dies with its process, and an epoch in
//! the file, which a successor raises and every transaction checks, fences a predecessor whose lock
//! was lost (a network disk, a copied container).

use super::super::StoreError;
use super::super::chain::{self, Hash};
use super::{Durability, Options, Seed};
use crate::units::{Amounts, Meter, UnixMs};
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior, params};
use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

/// `PRAGMA user_version` of the files written here.
pub(crate) const SCHEMA: i64 = 2;
/// `PRAGMA application_id`: "BRSR".
const APPLICATION_ID: i64 = 0x4252_5352;
/// Prepared statements kept, in number.
const STATEMENTS: usize = 64;

const TABLES: &str = "
CREATE TABLE meta (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    node TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    clean INTEGER NOT NULL,
    head_seq INTEGER NOT NULL,
    head_hash BLOB NOT NULL,
    head_at INTEGER NOT NULL,
    last_call_at INTEGER NOT NULL,
    base_seq INTEGER NOT NULL,
    base_hash BLOB NOT NULL
);
CREATE TABLE journal (
    seq INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    task INTEGER,
    entry TEXT NOT NULL,
    hash BLOB NOT NULL
);
CREATE TABLE task_blocks (
    task INTEGER NOT NULL,
    block INTEGER NOT NULL,
    PRIMARY KEY (task, block)
) WITHOUT ROWID;
CREATE TABLE accounts (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    limit_since INTEGER NOT NULL,
    opened INTEGER NOT NULL,
    settled BLOB NOT NULL,
    in_doubt BLOB NOT NULL,
    granted BLOB NOT NULL,
    topped_up BLOB NOT NULL,
    outstanding INTEGER NOT NULL
);
CREATE INDEX accounts_outstanding ON accounts (outstanding) WHERE outstanding = 1;
CREATE TABLE limits (
    id TEXT PRIMARY KEY,
    since INTEGER NOT NULL,
    last_call_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE tasks (
    id INTEGER PRIMARY KEY,
    owner TEXT NOT NULL,
    task TEXT NOT NULL,
    state TEXT NOT NULL,
    opened INTEGER NOT NULL,
    caps TEXT NOT NULL,
    paused_ms INTEGER NOT NULL,
    paused_since INTEGER,
    UNIQUE (owner, task)
);
CREATE TABLE switches (
    identity TEXT PRIMARY KEY,
    at INTEGER NOT NULL,
    by TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE doubts (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    reason TEXT NOT NULL,
    owner TEXT,
    task TEXT,
    identity TEXT,
    request TEXT,
    answer_id TEXT,
    provider TEXT,
    model TEXT,
    amounts BLOB NOT NULL,
    accounts TEXT NOT NULL
);
CREATE INDEX doubts_by_request ON doubts (request) WHERE request IS NOT NULL;
CREATE INDEX doubts_by_answer ON doubts (answer_id) WHERE answer_id IS NOT NULL;
CREATE VIEW calls AS SELECT seq, at,
    entry ->> 'owner' AS owner,
    COALESCE(entry ->> 'identity', entry ->> 'owner') AS identity, entry ->> 'task' AS task,
    entry ->> 'agent' AS agent, entry ->> 'role' AS role, entry ->> 'parent' AS parent,
    entry ->> 'provider' AS provider, entry ->> 'model' AS model, entry ->> 'ending' AS ending,
    entry ->> 'reason' AS reason, entry ->> '$.charged[0]' AS nano_usd,
    entry ->> '$.charged[1]' AS tokens, entry ->> 'request' AS request
    FROM journal WHERE kind = 'call';
";

/// What came with schema 2: escalations, and what waits to be told about them.
const TABLES_2: &str = "
ALTER TABLE tasks ADD COLUMN escalation TEXT;
ALTER TABLE tasks ADD COLUMN escalation_waits INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN allowed_turns INTEGER;
ALTER TABLE tasks ADD COLUMN allowed_since INTEGER;
ALTER TABLE accounts ADD COLUMN lapsed BLOB;
CREATE TABLE top_ups (
    id INTEGER PRIMARY KEY,
    account INTEGER NOT NULL,
    amounts BLOB NOT NULL,
    ends INTEGER NOT NULL
);
CREATE INDEX top_ups_by_end ON top_ups (ends);
CREATE TABLE escalations (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    task TEXT NOT NULL,
    state TEXT NOT NULL,
    opened INTEGER NOT NULL,
    question TEXT NOT NULL,
    decision TEXT
);
CREATE INDEX escalations_by_task ON escalations (owner, task);
CREATE INDEX escalations_waiting ON escalations (opened) WHERE state = 'waiting';
CREATE TABLE deliveries (
    id INTEGER PRIMARY KEY,
    escalation TEXT NOT NULL,
    event TEXT NOT NULL,
    target TEXT,
    created INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    next_at INTEGER NOT NULL
);
CREATE INDEX deliveries_due ON deliveries (next_at);
";

/// The `meta` row.
#[derive(Clone, Debug)]
pub(crate) struct Meta {
    /// This file's chain.
    pub node: String,
    /// Which process writes.
    pub epoch: i64,
    /// The process before stopped in good order.
    pub clean: bool,
    /// The newest row.
    pub head: ChainHead,
    /// The last row that left the table.
    pub base_seq: i64,
    /// Its hash.
    pub base_hash: Hash,
}

/// Where the chain is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChainHead {
    /// The newest row's number.
    pub seq: i64,
    /// Its hash.
    pub hash: Hash,
    /// Its time, which never steps back.
    pub at: UnixMs,
    /// The newest call's.
    pub last_call_at: UnixMs,
}

/// The lock that keeps a second gateway out; released when dropped or when the process dies.
#[derive(Debug)]
pub(super) struct FileLock(File);

impl FileLock {
    pub(super) fn take(database: &Path) -> Result<Self, StoreError> {
        let mut name = OsString::from(database);
        name.push(".lock");
        let path = PathBuf::from(name);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|error| StoreError::opening(&path, &error))?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(StoreError::Locked(database.to_owned())),
            Err(TryLockError::Error(error)) => Err(StoreError::opening(&path, &error)),
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Said, not left to the closing: a process being started at this moment holds a copy of the
        // file until it runs its own program.
        let _ = self.0.unlock();
    }
}

/// Opens the file for the writer, making it if it is new, and takes its epoch.
pub(super) fn open(options: &Options) -> Result<(Connection, FileLock, Meta), StoreError> {
    let path = resolve(&options.path)?;
    let lock = FileLock::take(&path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(&path, flags)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    conn.busy_timeout(std::time::Duration::from_secs(2))?;
    check_version(&conn)?;
    let synchronous = match options.durability {
        Durability::Process => "NORMAL",
        Durability::Power => "FULL",
    };
    conn.execute_batch(&format!(
        "PRAGMA page_size = 8192;
         PRAGMA journal_mode = WAL;
         PRAGMA synchronous = {synchronous};
         PRAGMA wal_autocheckpoint = 2000;
         PRAGMA journal_size_limit = 67108864;
         PRAGMA cache_size = -8000;
         PRAGMA temp_store = MEMORY;
         PRAGMA foreign_keys = OFF;"
    ))?;
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let meta = create_or_take(&tx)?;
    tx.commit()?;
    Ok((conn, lock, meta))
}

/// Absolute, with links resolved, so that two names of one file share one lock.
fn resolve(path: &Path) -> Result<PathBuf, StoreError> {
    if let Ok(path) = path.canonicalize() {
        return Ok(path);
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(parent).map_err(|error| StoreError::opening(parent, &error))?;
    let parent = parent
        .canonicalize()
        .map_err(|error| StoreError::opening(parent, &error))?;
    let name = path
        .file_name()
        .ok_or_else(|| StoreError::CannotOpen(format!("{} is no file", path.display())))?;
    Ok(parent.join(name))
}

/// Refuses files of a newer version and files of something else.
pub(crate) fn check_version(conn: &Connection) -> Result<(), StoreError> {
    let found: i64 = conn.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found > SCHEMA {
        return Err(StoreError::NewerSchema {
            found,
            known: SCHEMA,
        });
    }
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let application: i64 = conn.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    if tables > 0 && application != APPLICATION_ID {
        return Err(StoreError::Corrupt(
            "this SQLite file belongs to another program".to_owned(),
        ));
    }
    Ok(())
}

/// The schema of a file that is only read; an older one must be brought up to date by a gateway.
pub(crate) fn schema_of(conn: &Connection) -> Result<i64, StoreError> {
    let found: i64 = conn.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found < SCHEMA {
        return Err(StoreError::OlderSchema {
            found,
            known: SCHEMA,
        });
    }
    Ok(found)
}

fn create_or_take(tx: &Transaction<'_>) -> Result<Meta, StoreError> {
    let version: i64 = tx.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version == 0 {
        tx.execute_batch(TABLES)?;
        tx.execute_batch(&format!("PRAGMA application_id = {APPLICATION_ID};"))?;
        let node = new_node()?;
        let genesis = chain::genesis(&node);
        tx.execute(
            "INSERT INTO meta VALUES (1, ?1, 0, 1, 0, ?2, 0, 0, 0, ?2)",
            params![node, genesis.as_slice()],
        )?;
    }
    if version < 2 {
        tx.execute_batch(TABLES_2)?;
        tx.execute_batch(&format!("PRAGMA user_version = {SCHEMA};"))?;
    }
    tx.execute_batch(super::pins::TABLE)?;
    draw_seed(tx)?;
    let mut meta = read_meta(tx)?;
    meta.epoch += 1;
    tx.execute("UPDATE meta SET epoch = ?1, clean = 0", [meta.epoch])?;
    Ok(meta)
}

fn new_node() -> Result<String, StoreError> {
    let mut random = [0_u8; 32];
    getrandom::fill(&mut random[..8])
        .map_err(|error| StoreError::Failed(format!("no randomness: {error}")))?;
    Ok(chain::hex(&random)[..16].to_owned())
}

/// What the digests of conversations are keyed with; drawn once a file.
const SECRETS: &str = "
CREATE TABLE IF NOT EXISTS secrets (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;
";

/// Reads the seed of this file's digests, or draws it.
fn draw_seed(tx: &Transaction<'_>) -> Result<(), StoreError> {
    tx.execute_batch(SECRETS)?;
    let mut seed = [0_u8; 32];
    getrandom::fill(&mut seed)
        .map_err(|error| StoreError::Failed(format!("no randomness: {error}")))?;
    let sql = "INSERT OR IGNORE INTO secrets VALUES ('conversation', ?1)";
    tx.execute(sql, [seed.as_slice()])?;
    Ok(())
}

/// The seed of this file's digests.
pub(super) fn seed(conn: &Connection) -> Result<Seed, StoreError> {
    let sql = "SELECT value FROM secrets WHERE name = 'conversation'";
    Ok(Seed(conn.query_row(sql, [], |row| row.get(0))?))
}

/// The `meta` row.
pub(crate) fn read_meta(conn: &Connection) -> Result<Meta, StoreError> {
    let sql = "SELECT node, epoch, clean, head_seq, head_hash, head_at, last_call_at, base_seq, base_hash FROM meta";
    let meta = conn.query_row(sql, [], |row| {
        Ok(Meta {
            node: row.get(0)?,
            epoch: row.get(1)?,
            clean: row.get(2)?,
            head: ChainHead {
                seq: row.get(3)?,
                hash: row.get(4)?,
                at: UnixMs(row.get(5)?),
                last_call_at: UnixMs(row.get(6)?),
            },
            base_seq: row.get(7)?,
            base_hash: row.get(8)?,
        })
    })?;
    Ok(meta)
}

/// Bytes of [`Amounts`] in a column: eight a meter, little end first, in [`Meter`]'s order.
pub(super) const AMOUNTS_BYTES: usize = 8 * Meter::COUNT;

/// Amounts as a column holds them.
pub(super) fn pack(amounts: &Amounts) -> [u8; AMOUNTS_BYTES] {
    let mut bytes = [0; AMOUNTS_BYTES];
    let (slots, _) = bytes.as_chunks_mut();
    for (slot, quantity) in slots.iter_mut().zip(amounts.0) {
        *slot = quantity.to_le_bytes();
    }
    bytes
}

/// Amounts from a column; meters that the file does not know yet are zero.
pub(crate) fn unpack(bytes: &[u8]) -> Amounts {
    let mut amounts = Amounts::ZERO;
    for (quantity, slot) in amounts.0.iter_mut().zip(bytes.chunks_exact(8)) {
        *quantity = u64::from_le_bytes(slot.try_into().unwrap_or_default());
    }
    amounts
}
