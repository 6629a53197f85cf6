//! Answers that outlive the process, by idempotency key: in a file of their own beside the store, for they
//! hold what models said, which the journal never does.
//!
//! One process at a time writes it: the one that holds the store's lock.

use super::Print;
use super::recording::Head;
use crate::units::{NanoUsd, UnixMs};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, params};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// Why an answer cannot be found or kept.
#[derive(Debug, thiserror::Error)]
pub enum DurableError {
    /// The file as a database.
    #[error(transparent)]
    File(#[from] rusqlite::Error),
    /// The file as such.
    #[error(transparent)]
    Disk(#[from] std::io::Error),
    /// The work did not come to its end.
    #[error("the work was stopped")]
    Stopped,
    /// What is written there cannot be read.
    #[error("an answer in the file is damaged")]
    Damaged,
}

const TABLES: &str = "
PRAGMA journal_mode = WAL;
PRAGMA auto_vacuum = INCREMENTAL;
CREATE TABLE IF NOT EXISTS answers (
    key BLOB PRIMARY KEY,
    print BLOB NOT NULL,
    at INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    status INTEGER NOT NULL,
    cost INTEGER,
    headers BLOB NOT NULL,
    body BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS answers_by_age ON answers (at);
";

/// An answer as it was written down.
#[derive(Clone, Debug)]
pub struct Written {
    /// The digest of the call that it answered.
    pub print: Print,
    /// Its head.
    pub head: Head,
    /// Its body.
    pub body: Bytes,
    /// What it cost, where that is known.
    pub cost: Option<NanoUsd>,
}

struct File {
    conn: Connection,
    /// Bytes of all answers.
    bytes: u64,
}

/// The file; opened when it is first needed.
pub struct Durable {
    path: PathBuf,
    /// Every write is synced.
    synced: bool,
    file: OnceLock<Arc<Mutex<Option<File>>>>,
}

impl Durable {
    /// The file at this path. `synced`: what is kept survives a loss of power too.
    #[must_use]
    pub const fn new(path: PathBuf, synced: bool) -> Self {
        Self {
            path,
            synced,
            file: OnceLock::new(),
        }
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut File) -> Result<T, DurableError> + Send + 'static,
    ) -> Result<T, DurableError> {
        let file = Arc::clone(self.file.get_or_init(Arc::default));
        let (path, synced) = (self.path.clone(), self.synced);
        let working = tokio::task::spawn_blocking(move || {
            let mut file = file.lock();
            let file = match &mut *file {
                Some(file) => file,
                none => none.insert(File::open(&path, synced)?),
            };
            work(file)
        });
        working.await.map_err(|_| DurableError::Stopped)?
    }

    /// The answer to this key, written since then.
    ///
    /// # Errors
    /// The file.
    pub async fn find(&self, key: Print, since: UnixMs) -> Result<Option<Written>, DurableError> {
        self.work(move |file| file.find(key, since)).await
    }

    /// Writes an answer down, and lets go of those from before `since` and, beyond `most` bytes, of the oldest.
    ///
    /// # Errors
    /// The file.
    pub async fn keep(
        &self,
        key: Print,
        written: Written,
        (at, since): (UnixMs, UnixMs),
        most: usize,
    ) -> Result<(), DurableError> {
        self.work(move |file| {
            file.keep(key, &written, at)?;
            file.trim(since, most as u64)
        })
        .await
    }
}

impl File {
    fn open(path: &std::path::Path, synced: bool) -> Result<Self, DurableError> {
        private(path)?;
        let conn = Connection::open(path)?;
        conn.execute_batch(TABLES)?;
        let synchronous = if synced { "FULL" } else { "NORMAL" };
        conn.pragma_update(None, "synchronous", synchronous)?;
        let bytes = "SELECT COALESCE(SUM(bytes), 0) FROM answers";
        let bytes = conn.query_row(bytes, [], |row| row.get::<_, i64>(0))?;
        let bytes = u64::try_from(bytes).unwrap_or(0);
        Ok(Self { conn, bytes })
    }

    fn find(&self, key: Print, since: UnixMs) -> Result<Option<Written>, DurableError> {
        let found = self.conn.prepare_cached(
            "SELECT print, status, cost, headers, body FROM answers WHERE key = ?1 AND at >= ?2",
        )?
        .query_row(params![key, since.0], |row| {
            let print: Print = row.get(0)?;
            let status: u16 = row.get(1)?;
            let cost: Option<i64> = row.get(2)?;
            let headers: Vec<u8> = row.get(3)?;
            let body: Vec<u8> = row.get(4)?;
            Ok((print, status, cost, headers, body))
        })
        .optional()?;
        let Some((print, status, cost, headers, body)) = found else {
            return Ok(None);
        };
        let status = StatusCode::from_u16(status).map_err(|_| DurableError::Damaged)?;
        let headers = unpacked(&headers).ok_or(DurableError::Damaged)?;
        Ok(Some(Written {
            print,
            head: Head { status, headers },
            body: body.into(),
            cost: cost.and_then(|cost| u64::try_from(cost).ok()).map(NanoUsd),
        }))
    }

    fn keep(&mut self, key: Print, written: &Written, at: UnixMs) -> Result<(), DurableError> {
        let headers = packed(&written.head.headers);
        let bytes = headers.len() + written.body.len();
        let cost = written
            .cost
            .map(|cost| i64::try_from(cost.0).unwrap_or(i64::MAX));
        let replaced = self.forget("key = ?1", params![key])?;
        self.conn
            .prepare_cached(
                "INSERT INTO answers (key, print, at, bytes, status, cost, headers, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                key,
                written.print,
                at.0,
                i64::try_from(bytes).unwrap_or(i64::MAX),
                written.head.status.as_u16(),
                cost,
                headers,
                &written.body[..],
            ])?;
        self.bytes = self.bytes.saturating_sub(replaced) + bytes as u64;
        Ok(())
    }

    fn trim(&mut self, since: UnixMs, most: u64) -> Result<(), DurableError> {
        let gone = self.forget("at < ?1", params![since.0])?;
        self.bytes = self.bytes.saturating_sub(gone);
        while self.bytes > most {
            let oldest = "key = (SELECT key FROM answers ORDER BY at LIMIT 1)";
            let gone = self.forget(oldest, params![])?;
            if gone == 0 {
                break;
            }
            self.bytes = self.bytes.saturating_sub(gone);
        }
        Ok(())
    }

    /// Deletes what that condition picks; how many bytes that were.
    fn forget(&self, which: &str, given: &[&dyn rusqlite::ToSql]) -> Result<u64, DurableError> {
        let delete = format!("DELETE FROM answers WHERE {which} RETURNING bytes");
        let mut delete = self.conn.prepare_cached(&delete)?;
        let bytes = delete.query_map(given, |row| row.get::<_, i64>(0))?;
        let mut gone = 0;
        for bytes in bytes {
            gone += u64::try_from(bytes?).unwrap_or(0);
        }
        Ok(gone)
    }
}

/// Makes the file, if it is new, for nobody else to read: it holds what models said. What SQLite puts beside it
/// has the same mode.
fn private(path: &std::path::Path) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new();
    file.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut file, 0o600);
    file.open(path).map(drop)
}

/// `name: value` lines; a header's value holds no line feed.
fn packed(headers: &HeaderMap) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in headers {
        out.extend_from_slice(name.as_str().as_bytes());
        out.push(b':');
        out.extend_from_slice(value.as_bytes());
        out.push(b'\n');
    }
    out
}

fn unpacked(lines: &[u8]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for line in lines
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        headers.append(name, HeaderValue::from_bytes(&line[colon + 1..]).ok()?);
    }
    Some(headers)
}
