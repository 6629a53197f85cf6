//! Calls that later ones can be joined to.

use super::{CallRow, Kind, Reader, StoreError};
use crate::units::UnixMs;
use std::collections::VecDeque;

impl Reader {
    /// Those since then, oldest first, at most so many of the newest.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn joined(&self, since: UnixMs, most: usize) -> Result<Vec<CallRow>, StoreError> {
        let mut found: VecDeque<CallRow> = VecDeque::new();
        self.rows_since(Some(since), |row| {
            // Most rows tell nothing of the kind; those are not kept.
            if row.kind == Kind::Call.name() && row.entry.contains("\"joins\":") {
                if found.len() >= most {
                    found.pop_front();
                }
                found.push_back(CallRow {
                    seq: row.seq,
                    at: row.at,
                    entry: row.entry.to_owned(),
                });
            }
            Ok(true)
        })?;
        Ok(found.into())
    }
}
