//! What leaves the journal table. Rows leave from the oldest on, into an archive file or for good,
//! and a checkpoint row proves that those kept follow those that left.
//!
//! An archive is JSON lines: a header (`format`, `node`, `first`, `previous`), then one row a line
//! (`seq`, `at`, `kind`, `hash`, `entry`), the entry byte for byte as it was hashed. It is complete
//! and synced under its final name before any row is deleted.

use super::super::chain::{self, Hash};
use super::super::entry::CheckpointBody;
use super::super::{Kind, Reader, StoreError};
use super::group::{BLOCK_ROWS, Db, Group};
use super::schema::{Meta, read_meta};
use crate::units::UnixMs;
use rusqlite::{Connection, OptionalExtension, params};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Rows that leave in one step, at most, so that grants wait little.
const STEP_ROWS: i64 = 8_192;
/// A journal of less than twice as many rows stays, however large the file is: accounts and tasks
/// take room too, and every rotation writes a row of its own.
const KEPT_ROWS: i64 = 1_000;
/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// What leaves the journal table, and where it goes. The default keeps everything.
///
/// Seeds of new limits, reports and traces see what is kept only: keep more than the longest window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Rows older than this leave, in days.
    pub keep_days: Option<u32>,
    /// When the file's used pages exceed this, the oldest rows leave, in bytes.
    pub max_bytes: Option<u64>,
    /// Where archives go; `None`: what leaves is dropped.
    pub archive_dir: Option<PathBuf>,
}

/// Rows that are ready to leave.
#[derive(Debug)]
pub(super) struct Rotation {
    through: i64,
    hash: Hash,
    archive: Option<String>,
}

/// The last row that should leave now, if any; never the newest row.
pub(super) fn due(conn: &Connection, retention: &Retention, now: UnixMs) -> Db<Option<i64>> {
    let meta = read_meta(conn)?;
    let mut through = meta.base_seq;
    if let Some(days) = retention.keep_days {
        let before = now.0.saturating_sub(i64::from(days).saturating_mul(DAY_MS));
        // The first row to keep: `at` never steps back along the chain.
        let first_kept = super::super::read::first_row_since(conn, before, &meta)?;
        through = through.max(first_kept - 1);
    }
    let rows = meta.head.seq - meta.base_seq;
    if let Some(max_bytes) = retention.max_bytes
        && rows >= 2 * KEPT_ROWS
        && used_bytes(conn)? > max_bytes
    {
        through = through.max(meta.base_seq + rows / 4);
    }
    let through = through
        .min(meta.head.seq - 1)
        .min(meta.base_seq.saturating_add(STEP_ROWS));
    Ok((through > meta.base_seq).then_some(through))
}

fn used_bytes(conn: &Connection) -> Db<u64> {
    let number = |pragma: &str| -> rusqlite::Result<i64> {
        conn.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0))
    };
    let pages = number("page_count")? - number("freelist_count")?;
    Ok(u64::try_from(pages.saturating_mul(number("page_size")?)).unwrap_or(0))
}

/// Rows that leave for good.
pub(super) fn without_archive(conn: &Connection, through: i64) -> Db<Rotation> {
    let sql = "SELECT hash FROM journal WHERE seq = ?1";
    let hash: Option<Hash> = conn
        .query_row(sql, [through], |row| row.get(0))
        .optional()?;
    Ok(Rotation {
        through,
        hash: hash.ok_or_else(|| missing(through))?,
        archive: None,
    })
}

fn missing(seq: i64) -> StoreError {
    StoreError::Corrupt(format!("journal row {seq} is missing"))
}

/// Writes the rows after the last rotation, up to `through`, to an archive file. Runs beside the writer.
pub(super) fn archive(database: &Path, directory: &Path, through: i64) -> Db<Rotation> {
    let failed = |error: std::io::Error| StoreError::opening(directory, &error);
    std::fs::create_dir_all(directory).map_err(failed)?;
    let reader = Reader::open(database)?;
    let meta = read_meta(reader.connection())?;
    let first = meta.base_seq + 1;
    let name = format!("journal-{}-{first:012}-{through:012}.jsonl", meta.node);
    remove_unused(directory, &meta).map_err(failed)?;
    let unfinished = directory.join(format!("{name}.unfinished"));
    let mut out = BufWriter::new(File::create(&unfinished).map_err(failed)?);
    let header = serde_json::json!({
        "format": "bursar-journal-1",
        "node": meta.node,
        "first": first,
        "previous": chain::hex(&meta.base_hash),
    });
    writeln!(out, "{header}").map_err(failed)?;
    let mut last = None;
    reader.rows(first, |row| {
        if row.seq > through {
            return Ok(false);
        }
        writeln!(out, "{}", row.to_json()).map_err(failed)?;
        last = Some((row.seq, row.hash));
        Ok(true)
    })?;
    let file = out
        .into_inner()
        .map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)?;
    std::fs::rename(&unfinished, directory.join(&name)).map_err(failed)?;
    if let Ok(directory) = File::open(directory) {
        directory.sync_all().map_err(failed)?;
    }
    match last {
        Some((seq, hash)) if seq == through => Ok(Rotation {
            through,
            hash,
            archive: Some(name),
        }),
        _ => Err(missing(through)),
    }
}

/// Removes archives of rows that are still in the table: a crash came before they left it.
fn remove_unused(directory: &Path, meta: &Meta) -> Result<(), std::io::Error> {
    let prefix = format!("journal-{}-", meta.node);
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let first = name
            .strip_prefix(&prefix)
            .and_then(|rest| rest.split('-').next());
        let first = first.and_then(|first| first.parse::<i64>().ok());
        if first.is_some_and(|first| first > meta.base_seq) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The rows leave; a checkpoint row says so.
pub(super) fn drop_rows(group: &mut Group<'_>, rotation: &Rotation) -> Db<()> {
    let sql = "DELETE FROM journal WHERE seq <= ?1";
    let rows = group
        .conn
        .prepare_cached(sql)?
        .execute([rotation.through])?;
    let sql = "DELETE FROM task_blocks WHERE block < ?1";
    let block = rotation.through / BLOCK_ROWS;
    group.conn.prepare_cached(sql)?.execute([block])?;
    let body = CheckpointBody {
        through: rotation.through,
        hash: chain::hex(&rotation.hash),
        rows: i64::try_from(rows).unwrap_or(i64::MAX),
        archive: rotation.archive.clone(),
    };
    group.append(Kind::Checkpoint, group.now(), None, &body)?;
    let sql = "UPDATE meta SET base_seq = ?1, base_hash = ?2";
    group
        .conn
        .prepare_cached(sql)?
        .execute(params![rotation.through, rotation.hash.as_slice()])?;
    Ok(())
}
