//! Tasks and stop buttons, durable and journalled.

use super::super::entry::{CapsBody, SwitchBody, TaskBody};
use super::super::{Kind, StoreError, Switch, TaskOpening, TaskRecord, TaskState, Text};
use super::group::{Db, Group, key_digest};
use crate::escalation::{Allowed, Asked};
use crate::ledger::Caps;
use crate::units::{IdentityName, Owner, TaskId, TaskKey, UnixMs};
use rusqlite::{Connection, Row, params};

/// Columns of a task, as [`read`] wants them.
pub(crate) const COLUMNS: &str = "owner, task, state, opened, caps, paused_ms, paused_since, \
     escalation, escalation_waits, allowed_turns, allowed_since";

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
        escalation: match row.get::<_, Option<String>>(7)? {
            Some(id) => Some(Asked {
                id: id.into(),
                waits: row.get(8)?,
            }),
            None => None,
        },
        allowed: match (row.get::<_, Option<i64>>(9)?, row.get(10)?) {
            (Some(turns), Some(since)) => Some(Allowed {
                turns: u64::try_from(turns).unwrap_or(0),
                since: UnixMs(since),
            }),
            _ => None,
        },
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
        escalation: None,
        allowed: None,
    };
    write(group, Kind::TaskOpened, &record, &opening.by)?;
    Ok((record, true))
}

/// Writes the task's row and journals it.
pub(super) fn write(group: &mut Group<'_>, kind: Kind, record: &TaskRecord, by: &str) -> Db<()> {
    let sql = "INSERT INTO tasks (owner, task, state, opened, caps, paused_ms, paused_since,
               escalation, escalation_waits, allowed_turns, allowed_since)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
               ON CONFLICT (owner, task) DO UPDATE SET state = excluded.state,
               caps = excluded.caps, paused_ms = excluded.paused_ms, paused_since = excluded.paused_since,
               escalation = excluded.escalation, escalation_waits = excluded.escalation_waits,
               allowed_turns = excluded.allowed_turns, allowed_since = excluded.allowed_since";
    let (asked, allowed) = (record.escalation.as_ref(), record.allowed.as_ref());
    group.conn.prepare_cached(sql)?.execute(params![
        record.key.owner.as_str(),
        record.key.task.as_str(),
        record.state.name(),
        record.opened.0,
        serde_json::to_string(&CapsBody(record.caps))?,
        i64::try_from(record.paused_ms).unwrap_or(i64::MAX),
        record.paused_since.map(|since| since.0),
        asked.map(|asked| asked.id.as_str()),
        asked.is_some_and(|asked| asked.waits),
        allowed.map(|allowed| i64::try_from(allowed.turns).unwrap_or(i64::MAX)),
        allowed.map(|allowed| allowed.since.0)
    ])?;
    let at = group.now();
    let task = Some(key_digest(&record.key));
    group
        .append(kind, at, task, &TaskBody::new(record, by))
        .map(drop)
}

/// No call has named it.
pub(super) fn unknown(key: &TaskKey) -> StoreError {
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
    // A task that waits for a person is suspended already, and its question is answered all the same.
    if record.state == state && record.escalation.is_none() {
        return Ok(Ok(record));
    }
    if record.state == TaskState::Closed {
        return Ok(Err(StoreError::TaskClosed(key.task.to_string())));
    }
    let now = group.now();
    super::escalations::end_by_hand(group, &mut record, state, by)?;
    record.leave_suspension(now);
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
    let lowered = record.caps.lowered(caps);
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
