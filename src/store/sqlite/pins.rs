//! Which model a task is held to: written once, kept for the task's life.

use super::super::entry::MarkBody;
use super::super::{Kind, ModelPin, StoreError, Text};
use super::group::{Db, Group, key_digest};
use crate::units::{ProviderName, TaskKey};
use rusqlite::{Connection, OptionalExtension, Row, params};

/// The table; it is no part of a schema's number, for a file without it only lacks pins.
pub(super) const TABLE: &str = "
CREATE TABLE IF NOT EXISTS pins (
    owner TEXT NOT NULL,
    task TEXT NOT NULL,
    what TEXT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (owner, task, what)
) WITHOUT ROWID;
";

fn read(row: &Row<'_>) -> rusqlite::Result<ModelPin> {
    Ok(ModelPin {
        what: row.get::<_, String>(0)?.into(),
        provider: ProviderName::from(row.get::<_, String>(1)?),
        model: row.get::<_, String>(2)?.into(),
    })
}

/// Writes the pin, unless there is one; the answer is what is in force.
pub(super) fn pin(
    group: &mut Group<'_>,
    task: &TaskKey,
    pin: &ModelPin,
) -> Db<Result<ModelPin, StoreError>> {
    let key = params![task.owner.as_str(), task.task.as_str(), &*pin.what];
    let sql = "SELECT what, provider, model FROM pins WHERE owner = ?1 AND task = ?2 AND what = ?3";
    let found = group.conn.prepare_cached(sql)?.query_row(key, read);
    if let Some(found) = found.optional()? {
        return Ok(Ok(found));
    }
    let (provider, model) = (pin.provider.as_str(), &*pin.model);
    group
        .conn
        .prepare_cached("INSERT INTO pins VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
        .execute(params![
            task.owner.as_str(),
            task.task.as_str(),
            &*pin.what,
            provider,
            model,
            group.now().0
        ])?;
    let body = MarkBody {
        owner: Text::from(task.owner.as_str()),
        task: Text::from(task.task.as_str()),
        rule: Text::from("pinned"),
        agent: None,
        received_by: None,
        detail: Text::from(format!("{} is {provider}/{model} from here on", pin.what)),
        calls: Vec::new(),
    };
    let at = group.now();
    group.append(Kind::Mark, at, Some(key_digest(task)), &body)?;
    Ok(Ok(pin.clone()))
}

/// The pins of a task.
pub(crate) fn pins(conn: &Connection, task: &TaskKey) -> Result<Vec<ModelPin>, StoreError> {
    let sql =
        "SELECT what, provider, model FROM pins WHERE owner = ?1 AND task = ?2 ORDER BY at, what";
    let mut select = conn.prepare(sql)?;
    let key = [task.owner.as_str(), task.task.as_str()];
    let pins = select.query_map(key, read)?.collect::<Result<_, _>>()?;
    Ok(pins)
}
