//! What can go wrong with the store, as types that the rest of the gateway can tell apart.

use rusqlite::ErrorCode;
use std::path::{Path, PathBuf};

/// Why the store did not do it. Cloneable, for one fault fails every grant of a group.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another gateway has the file.
    #[error("{} is in use by another gateway (its lock file is held); stop that one first, or give this one a file of its own", .0.display())]
    Locked(PathBuf),
    /// A successor has taken the file over.
    #[error(
        "a successor has taken over the store (epoch {theirs} follows {ours}); this gateway must stop"
    )]
    Fenced {
        /// This process's epoch.
        ours: i64,
        /// The epoch found.
        theirs: i64,
    },
    /// The file was written by a newer version.
    #[error(
        "the store has schema {found}, this version knows up to {known}; use the newer version of Bursar"
    )]
    NewerSchema {
        /// In the file.
        found: i64,
        /// The newest known here.
        known: i64,
    },
    /// The file was written by an older version, and is only read here.
    #[error(
        "the store has schema {found}, this version reads {known}; start this version's gateway on it once, which brings it up to date"
    )]
    OlderSchema {
        /// In the file.
        found: i64,
        /// What is read here.
        known: i64,
    },
    /// The file is no database, or a damaged one.
    #[error("the store is damaged or no database: {0}")]
    Corrupt(String),
    /// The file or its directory cannot be written.
    #[error("the store cannot be written: {0}")]
    ReadOnly(String),
    /// No such file, or no way to open it.
    #[error("the store cannot be opened: {0}")]
    CannotOpen(String),
    /// No space left on the device.
    #[error("the disk that holds the store is full")]
    DiskFull,
    /// Another process holds SQLite's own lock.
    #[error("the store is busy: {0}")]
    Busy(String),
    /// Any other failure of the disk or the database.
    #[error("the store failed: {0}")]
    Failed(String),
    /// Every journal place is taken.
    #[error("the journal lags: every place in its queue is taken")]
    Full,
    /// The store was stopped, or its writer has died.
    #[error("the store has stopped")]
    Stopped,
    /// No such task, account or doubt.
    #[error("no such {what}: {which}")]
    NotFound {
        /// `task`, `doubt`.
        what: &'static str,
        /// Its id.
        which: String,
    },
    /// A closed task cannot be opened again.
    #[error("task {0} is closed, which is final")]
    TaskClosed(String),
}

impl StoreError {
    /// The error of opening `path`.
    pub(super) fn opening(path: &Path, error: &std::io::Error) -> Self {
        let text = format!("{}: {error}", path.display());
        match error.kind() {
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                Self::ReadOnly(text)
            }
            std::io::ErrorKind::StorageFull => Self::DiskFull,
            _ => Self::CannotOpen(text),
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let text = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt(text),
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Self::ReadOnly(text),
            Some(ErrorCode::CannotOpen) => Self::CannotOpen(text),
            Some(ErrorCode::DiskFull) => Self::DiskFull,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy(text),
            _ => Self::Failed(text),
        }
    }
}

impl From<serde_json::Error> for StoreError {
    fn from(error: serde_json::Error) -> Self {
        Self::Corrupt(format!("a journal entry cannot be read: {error}"))
    }
}
