//! Questions to people, and what people are to be told of them.

use super::super::entry::Text;
use super::super::sqlite::{DELIVERY_COLUMNS, ESCALATION_COLUMNS, read_delivery, read_escalation};
use super::super::{Kind, Outbox, StoreError, StoryRow};
use super::{Reader, bounded};
use crate::escalation::{Escalation, State};
use crate::units::{EscalationId, TaskKey, UnixMs};
use rusqlite::{OptionalExtension, params};
use serde::Deserialize;

/// Which questions.
#[derive(Clone, Debug, Default)]
pub struct EscalationFilter {
    /// This one.
    pub id: Option<EscalationId>,
    /// Of this task.
    pub task: Option<TaskKey>,
    /// In this state.
    pub state: Option<State>,
    /// Opened before this.
    pub before: Option<UnixMs>,
    /// At most so many; 1,000 unless given.
    pub rows: Option<usize>,
}

/// Whose row it is, without reading the rest.
#[derive(Deserialize)]
struct OfTask<'a> {
    #[serde(borrow)]
    owner: Text<'a>,
    task: Text<'a>,
}

impl Reader {
    /// The questions, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn escalations(&self, filter: &EscalationFilter) -> Result<Vec<Escalation>, StoreError> {
        let by = match (&filter.id, &filter.task, filter.state) {
            (Some(_), _, _) => "id = ?1",
            (None, Some(_), _) => "owner = ?2 AND task = ?3",
            // The word itself, so that the index of those that wait serves.
            (None, None, Some(State::Waiting)) => "state = 'waiting'",
            (None, None, _) => "TRUE",
        };
        let sql = format!(
            "SELECT {ESCALATION_COLUMNS} FROM escalations WHERE {by} AND (?1 IS NULL OR id = ?1)
             AND (?2 IS NULL OR (owner = ?2 AND task = ?3)) AND (?4 IS NULL OR state = ?4)
             AND (?5 IS NULL OR opened < ?5) ORDER BY seq DESC LIMIT ?6"
        );
        let mut select = self.conn.prepare_cached(&sql)?;
        let task = filter.task.as_ref();
        let mut rows = select.query(params![
            filter.id.as_ref().map(AsRef::<str>::as_ref),
            task.map(|key| key.owner.as_str()),
            task.map(|key| key.task.as_str()),
            filter.state.map(State::name),
            filter.before.map(|before| before.0),
            bounded(filter.rows)
        ])?;
        let mut escalations = Vec::new();
        while let Some(row) = rows.next()? {
            escalations.push(read_escalation(row)?);
        }
        Ok(escalations)
    }

    /// What people are to be told, at most so many messages of it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn outbox(&self, now: UnixMs, most: usize) -> Result<Outbox, StoreError> {
        let sql = format!(
            "SELECT {DELIVERY_COLUMNS} FROM deliveries WHERE next_at <= ?1 ORDER BY next_at, id LIMIT ?2"
        );
        let mut select = self.conn.prepare_cached(&sql)?;
        let mut rows = select.query(params![now.0, bounded(Some(most))])?;
        let mut due = Vec::new();
        while let Some(row) = rows.next()? {
            due.push(read_delivery(row)?);
        }
        let number = |sql: &str, now: Option<i64>| -> Result<Option<i64>, StoreError> {
            let mut select = self.conn.prepare_cached(sql)?;
            let number = match now {
                Some(now) => select.query_row([now], |row| row.get(0)),
                None => select.query_row([], |row| row.get(0)),
            };
            Ok(number.optional()?)
        };
        let next = "SELECT next_at FROM deliveries WHERE next_at > ?1 ORDER BY next_at LIMIT 1";
        let waiting = "SELECT count(*) FROM escalations WHERE state = 'waiting'";
        Ok(Outbox {
            due,
            next: number(next, Some(now.0))?.map(UnixMs),
            waiting: number(waiting, None)?.map_or(0, i64::unsigned_abs),
            lapses: number("SELECT ends FROM top_ups ORDER BY ends LIMIT 1", None)?.map(UnixMs),
        })
    }

    /// The rows of one task's story beside its calls, oldest first: questions and remarks about its agents.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn story(&self, task: &TaskKey) -> Result<Vec<StoryRow>, StoreError> {
        let mut found = Vec::new();
        self.rows_of_task(task, |row| {
            let kind = match Kind::from_name(row.kind) {
                Some(kind @ (Kind::EscalationOpened | Kind::EscalationEnded | Kind::Mark)) => kind,
                _ => return Ok(()),
            };
            let whose: OfTask<'_> = serde_json::from_str(row.entry)?;
            if whose.owner.as_str() == task.owner.as_str()
                && whose.task.as_str() == task.task.as_str()
            {
                found.push(StoryRow {
                    seq: row.seq,
                    at: row.at,
                    kind,
                    entry: row.entry.to_owned(),
                });
            }
            Ok(())
        })?;
        Ok(found)
    }
}
