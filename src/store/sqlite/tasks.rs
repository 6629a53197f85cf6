//! Tasks and stop buttons, durable and journalled.

use super::super::entry::{CapsBody, SwitchBody, TaskBody};
use super::super::{Kind, StoreError, Switch, TaskOpening, TaskRecord, TaskState, Text};
use super::group::{Db, Group, key_digest};
use crate::ledger::Caps;
use crate::units::{IdentityName, Owner, TaskId, TaskKey, UnixMs};
use rusqlite::{Connection, Row, params};

/// Columns of a task, as [`read`] wants them.
pub(crate) const COLUMNS: &str = "owner, task, state, opened, caps, paused_ms, paused_since";

/// A task from its [`COLUMNS`].
pub(crate) fn read(row: &Row<'_>) -> Result<TaskRecord, StoreError> {
    let state: String = row.get(2)?;
    let caps: String = row.get(4)?;
    let paused_ms: i64 = row.get(5)?;
    Ok(TaskRecord {
        key: TaskKey {
            owner: Owner::from(row.get::<_, String>(0)?),
            task: TaskId::from(row.get::<_, String>(1)?),
        },
        state: TaskState::from_name(&state)
            .ok_or_else(|| StoreError::Corrupt(format!("no task state `{state}`")))?,
        opened: UnixMs(row.get(3)?),
        caps: serde_json::from_str::<CapsBody>(&caps)?.0,
        paused_ms: u64::try_from(paused_ms).unwrap_or(0),
        paused_since: row.get::<_, Option<i64>>(6)?.map(UnixMs),
    })
}

/// The task, if it is known.
pub(super) fn find(group: &Group<'_>, key: &TaskKey) -> Db<Option<TaskRecord>> {
    let sql = format!("SELECT {COLUMNS} FROM tasks WHERE owner = ?1 AND task = ?2");
    let mut select = group.conn.prepare_cached(&sql)?;
    let mut rows = select.query([key.owner.as_str(), key.task.as_str()])?;
    rows.next()?.map(read).transpose()
}

/// The task, made if it is new (then true).
pub(super) fn open(group: &mut Group<'_>, opening: &TaskOpening) -> Db<(TaskRecord, bool)> {
    if let Some(record) = find(group, &opening.key)? {
        return Ok((record, false));
    }
    let record = TaskRecord {
        key: opening.key.clone(),
        state: TaskState::Active,
        opened: group.now(),
        caps: opening.caps,
        paused_ms: 0,
        paused_since: None,
    };
    write(group, Kind::TaskOpened, &record, &opening.by)?;
    Ok((record, true))
}

fn write(group: &mut Group<'_>, kind: Kind, record: &TaskRecord, by: &str) -> Db<()> {
    let sql = "INSERT INTO tasks (owner, task, state, opened, caps, paused_ms, paused_since)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
               ON CONFLICT (owner, task) DO UPDATE SET state = excluded.state,
               caps = excluded.caps, paused_ms = excluded.paused_ms, paused_since = excluded.paused_since";
    group.conn.prepare_cached(sql)?.execute(params![
        record.key.owner.as_str(),
        record.key.task.as_str(),
        record.state.name(),
        record.opened.0,
        serde_json::to_string(&CapsBody(record.caps))?,
        i64::try_from(record.paused_ms).unwrap_or(i64::MAX),
        record.paused_since.map(|since| since.0)
    ])?;
    let at = group.now();
    let task = Some(key_digest(&record.key));
    group
        .append(kind, at, task, &TaskBody::new(record, by))
        .map(drop)
}

fn unknown(key: &TaskKey) -> StoreError {
    StoreError::NotFound {
        what: "task",
        which: key.task.to_string(),
    }
}

/// Sets the state; time spent suspended is added up on leaving that state.
pub(super) fn set_state(
    group: &mut Group<'_>,
    key: &TaskKey,
    state: TaskState,
    by: &str,
) -> Db<Result<TaskRecord, StoreError>> {
    let Some(mut record) = find(group, key)? else {
        return Ok(Err(unknown(key)));
    };
    if record.state == state {
        return Ok(Ok(record));
    }
    if record.state == TaskState::Closed {
        return Ok(Err(StoreError::TaskClosed(key.task.to_string())));
    }
    let now = group.now();
    if let Some(since) = record.paused_since.take() {
        let paused = u64::try_from(now.0.saturating_sub(since.0)).unwrap_or(0);
        record.paused_ms = record.paused_ms.saturating_add(paused);
    }
    if state == TaskState::Suspended {
        record.paused_since = Some(now);
    }
    record.state = state;
    write(group, Kind::TaskChanged, &record, by)?;
    Ok(Ok(record))
}

/// Lowers the caps, meter by meter.
pub(super) fn lower_caps(
    group: &mut Group<'_>,
    key: &TaskKey,
    caps: &Caps,
    by: &str,
) -> Db<Result<TaskRecord, StoreError>> {
    let Some(mut record) = find(group, key)? else {
        return Ok(Err(unknown(key)));
    };
    let lowered = Caps(std::array::from_fn(|i| {
        match (record.caps.0[i], caps.0[i]) {
            (Some(old), Some(new)) => Some(old.min(new)),
            (old, new) => old.or(new),
        }
    }));
    if lowered != record.caps {
        record.caps = lowered;
        write(group, Kind::TaskChanged, &record, by)?;
    }
    Ok(Ok(record))
}

// === stop buttons ===

/// The name under which the button for everybody is stored: no identity has it.
const ALL: &str = "";

/// Presses or lifts a button; the answer is every button that is pressed.
pub(super) fn set_switch(
    group: &mut Group<'_>,
    switch: &Switch,
    on: bool,
    by: &str,
) -> Db<Result<Vec<Switch>, StoreError>> {
    let name = match switch {
        Switch::All => ALL,
        Switch::Identity(identity) => identity.as_str(),
    };
    if on {
        group.conn.execute(
            "INSERT OR IGNORE INTO switches VALUES (?1, ?2, ?3)",
            params![name, group.now().0, by],
        )?;
    } else {
        group
            .conn
            .execute("DELETE FROM switches WHERE identity = ?1", [name])?;
    }
    let identity = match switch {
        Switch::All => None,
        Switch::Identity(identity) => Some(Text::from(identity.as_str())),
    };
    let body = SwitchBody {
        identity,
        on,
        by: Text::from(by),
    };
    group.append(Kind::Switch, group.now(), None, &body)?;
    switches(group.conn).map(Ok)
}

/// Every button that is pressed.
pub(crate) fn switches(conn: &Connection) -> Result<Vec<Switch>, StoreError> {
    let mut select = conn.prepare("SELECT identity FROM switches ORDER BY identity")?;
    let rows = select.query_map([], |row| row.get::<_, String>(0))?;
    rows.map(|name| {
        Ok(match name? {
            name if name == ALL => Switch::All,
            name => Switch::Identity(IdentityName::from(name)),
        })
    })
    .collect()
}
