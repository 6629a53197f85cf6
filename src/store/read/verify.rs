//! `bursar audit verify`: walks the chain from its oldest archive (or the oldest row kept) to its
//! head and names the first bad row. One read transaction, so that a running gateway does not
//! disturb it.
//!
//! What it finds: a changed, deleted, inserted or reordered row; a tail cut off (the head is stored
//! apart); an archive that was changed or does not join; balances and doubts that the rows do not
//! imply. What it cannot find by itself: a file rewritten as a whole, head included. For that, keep
//! the head that it prints somewhere else and pass it next time.

use super::super::chain::{self, Hash, Head, genesis, link, unhex};
use super::super::entry::CheckpointBody;
use super::super::sqlite::{Meta, read_meta};
use super::super::{Kind, StoreError};
use super::fold::Fold;
use super::{Reader, Row};
use crate::units::UnixMs;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// Findings about balances that are listed, at most.
const FINDINGS: usize = 20;

/// What to verify against.
#[derive(Clone, Debug, Default)]
pub struct VerifyOptions {
    /// Where the archives are; `None`: the rows kept are walked, from the last checkpoint on.
    pub archive_dir: Option<PathBuf>,
    /// A head noted earlier, which the chain must contain.
    pub head: Option<Head>,
}

/// The first row that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstBad {
    /// Its number.
    pub seq: i64,
    /// The archive it is in.
    pub archive: Option<String>,
    /// What is wrong.
    pub why: String,
}

/// What a verification found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Rows walked in the table.
    pub rows: u64,
    /// Rows walked in archives.
    pub archived_rows: u64,
    /// The head that the store claims.
    pub head: Head,
    /// The first bad row.
    pub first_bad: Option<FirstBad>,
    /// Balances and doubts that differ from the journal. Compared only when every row ever written
    /// was walked (see [`Self::balances_compared`]).
    pub bad_balances: Vec<String>,
    /// The walk began with the first row ever written.
    pub balances_compared: bool,
}

impl Verdict {
    /// Nothing is wrong.
    #[must_use]
    pub const fn is_ok(&self) -> bool {
        self.first_bad.is_none() && self.bad_balances.is_empty()
    }
}

/// A walk along the chain.
struct Walk {
    /// The row before.
    seq: i64,
    /// Its hash.
    hash: Hash,
    at: i64,
    complete: bool,
    fold: Fold,
    expected: Option<Head>,
    /// The head was met, or lies before the walk's beginning.
    expected_met: bool,
    /// By the last row that left: its hash and its archive.
    checkpoints: HashMap<i64, (String, Option<String>)>,
    /// Archives were asked for, but do not reach the rows kept.
    gap: bool,
    archive: Option<String>,
    rows: u64,
}

impl Reader {
    /// Walks the chain.
    ///
    /// # Errors
    /// [`StoreError`] only if the file cannot be read; what is wrong with its rows is in the verdict.
    pub fn verify(&self, options: &VerifyOptions) -> Result<Verdict, StoreError> {
        let snapshot = self.connection().unchecked_transaction()?;
        let meta = read_meta(&snapshot)?;
        let mut walk = Walk::new(&meta, options.head);
        let mut verdict = Verdict {
            rows: 0,
            archived_rows: 0,
            head: Head {
                seq: meta.head.seq,
                hash: meta.head.hash,
            },
            first_bad: None,
            bad_balances: Vec::new(),
            balances_compared: false,
        };
        verdict.first_bad = self.walk_all(&mut walk, &meta, options, &mut verdict.archived_rows)?;
        verdict.rows = walk.rows;
        if verdict.first_bad.is_none() && walk.complete {
            verdict.balances_compared = true;
            verdict.bad_balances = walk.fold.compare(self, FINDINGS)?;
        }
        Ok(verdict)
    }

    fn walk_all(
        &self,
        walk: &mut Walk,
        meta: &Meta,
        options: &VerifyOptions,
        archived_rows: &mut u64,
    ) -> Result<Option<FirstBad>, StoreError> {
        if let Some(directory) = &options.archive_dir {
            let bad = walk_archives(walk, meta, directory)?;
            *archived_rows = std::mem::take(&mut walk.rows);
            if bad.is_some() {
                return Ok(bad);
            }
        }
        if walk.seq != meta.base_seq {
            walk.gap = options.archive_dir.is_some();
            walk.join(meta.base_seq, meta.base_hash);
        } else if walk.hash != meta.base_hash {
            return Ok(Some(
                walk.bad(meta.base_seq, "the rows kept do not follow this row"),
            ));
        }
        walk.archive = None;
        let mut bad = None;
        let outcome = self.rows(0, |row| {
            bad = walk.step(row);
            Ok(bad.is_none())
        });
        match outcome {
            Err(StoreError::Corrupt(why)) => return Ok(Some(walk.bad(walk.seq + 1, &why))),
            outcome => outcome?,
        }
        Ok(bad.or_else(|| walk.end(meta)))
    }
}

impl Walk {
    fn new(meta: &Meta, expected: Option<Head>) -> Self {
        Self {
            seq: 0,
            hash: genesis(&meta.node),
            at: 0,
            complete: true,
            fold: Fold::default(),
            expected,
            expected_met: expected.is_none_or(|head| head.seq == 0),
            checkpoints: HashMap::new(),
            gap: false,
            archive: None,
            rows: 0,
        }
    }

    fn bad(&self, seq: i64, why: &str) -> FirstBad {
        FirstBad {
            seq,
            archive: self.archive.clone(),
            why: why.to_owned(),
        }
    }

    /// Goes on after rows that are not at hand.
    fn join(&mut self, seq: i64, hash: Hash) {
        self.complete = false;
        self.seq = seq;
        self.hash = hash;
        self.at = i64::MIN;
        self.expected_met |= self.expected.is_some_and(|head| head.seq < seq);
        self.expect(seq, &hash);
    }

    fn expect(&mut self, seq: i64, hash: &Hash) -> bool {
        match self.expected {
            Some(head) if head.seq == seq => {
                self.expected_met = head.hash == *hash;
                self.expected_met
            }
            _ => true,
        }
    }

    fn step(&mut self, row: &Row<'_>) -> Option<FirstBad> {
        if row.seq != self.seq + 1 {
            let why = match row.seq {
                seq if seq <= self.seq => format!("row {seq} stands where none should be"),
                seq => format!("the rows before {seq} are missing"),
            };
            return Some(self.bad(row.seq.min(self.seq + 1), &why));
        }
        let hash = link(
            &self.hash,
            row.seq,
            row.at.0,
            row.kind,
            row.entry.as_bytes(),
        );
        if hash != row.hash {
            let why = "its hash does not follow from the row before and what it says";
            return Some(self.bad(row.seq, why));
        }
        if row.at.0 < self.at {
            return Some(self.bad(row.seq, "its time lies before the row before"));
        }
        if let Err(why) = self.fold.take(row) {
            return Some(self.bad(row.seq, &why));
        }
        if row.kind == Kind::Checkpoint.name()
            && let Ok(body) = serde_json::from_str::<CheckpointBody>(row.entry)
        {
            self.checkpoints
                .insert(body.through, (body.hash, body.archive));
        }
        if !self.expect(row.seq, &hash) {
            return Some(self.bad(row.seq, "it is not the row of the head that was noted"));
        }
        self.seq = row.seq;
        self.hash = hash;
        self.at = row.at.0;
        self.rows += 1;
        None
    }

    /// The chain must reach the stored head, prove where it began, and contain the head noted earlier.
    fn end(&self, meta: &Meta) -> Option<FirstBad> {
        if self.seq != meta.head.seq {
            let next = self.seq.min(meta.head.seq) + 1;
            return Some(self.bad(
                next,
                &format!("the chain should end at row {}", meta.head.seq),
            ));
        }
        if self.hash != meta.head.hash {
            return Some(self.bad(self.seq, "it is not the newest row that was written"));
        }
        let base = meta.base_seq;
        match self.checkpoints.get(&base) {
            _ if base == 0 => {}
            Some((hash, archive)) if *hash == chain::hex(&meta.base_hash) => {
                if let (true, Some(archive)) = (self.gap, archive) {
                    return Some(self.bad(base, &format!("its archive {archive} is missing")));
                }
            }
            _ => return Some(self.bad(base + 1, "no checkpoint proves what was before it")),
        }
        if !self.expected_met {
            let seq = self.expected.map_or(0, |head| head.seq);
            return Some(self.bad(seq, "the head that was noted is not in the chain"));
        }
        None
    }
}

// === archives ===

#[derive(Deserialize)]
struct Header {
    format: String,
    node: String,
    first: i64,
    previous: String,
}

#[derive(Deserialize)]
struct Line<'a> {
    seq: i64,
    at: i64,
    kind: String,
    hash: String,
    #[serde(borrow)]
    entry: &'a RawValue,
}

/// Walks this node's archives in order, as far as the rows that are still in the table.
fn walk_archives(
    walk: &mut Walk,
    meta: &Meta,
    directory: &Path,
) -> Result<Option<FirstBad>, StoreError> {
    let prefix = format!("journal-{}-", meta.node);
    let failed = |error: std::io::Error| StoreError::opening(directory, &error);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let name = entry
            .map_err(failed)?
            .file_name()
            .to_string_lossy()
            .into_owned();
        if name.starts_with(&prefix) && name.ends_with(".jsonl") {
            names.push(name);
        }
    }
    names.sort();
    for name in names {
        walk.archive = Some(name.clone());
        let file = std::fs::File::open(directory.join(&name)).map_err(failed)?;
        if let Some(bad) = walk_archive(walk, meta, BufReader::new(file)).map_err(failed)? {
            return Ok(Some(bad));
        }
    }
    Ok(None)
}

fn walk_archive(
    walk: &mut Walk,
    meta: &Meta,
    lines: impl BufRead,
) -> Result<Option<FirstBad>, std::io::Error> {
    let mut lines = lines.lines();
    let next = walk.seq + 1;
    let header = lines.next().transpose()?.unwrap_or_default();
    let header = serde_json::from_str::<Header>(&header)
        .ok()
        .filter(|header| header.format == "bursar-journal-1" && header.node == meta.node);
    let previous = header.as_ref().and_then(|header| unhex(&header.previous));
    let (Some(header), Some(previous)) = (header, previous) else {
        return Ok(Some(walk.bad(next, "its header cannot be read")));
    };
    if header.first > meta.base_seq {
        // Written, but a crash came before its rows left the table: they are walked there.
        return Ok(None);
    }
    if header.first != next {
        if walk.rows > 0 {
            return Ok(Some(walk.bad(next, "the archive with this row is missing")));
        }
        walk.join(header.first - 1, previous);
    } else if previous != walk.hash {
        return Ok(Some(
            walk.bad(next, "the archive does not follow the one before"),
        ));
    }
    for line in lines {
        let line = line?;
        let read = serde_json::from_str::<Line<'_>>(&line).ok();
        let hash = read.as_ref().and_then(|line| unhex(&line.hash));
        let (Some(read), Some(hash)) = (read, hash) else {
            return Ok(Some(walk.bad(walk.seq + 1, "its line cannot be read")));
        };
        let bad = walk.step(&Row {
            seq: read.seq,
            at: UnixMs(read.at),
            kind: &read.kind,
            task: None,
            entry: read.entry.get(),
            hash,
        });
        if bad.is_some() {
            return Ok(bad);
        }
    }
    Ok(None)
}
