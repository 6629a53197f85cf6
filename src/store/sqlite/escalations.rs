//! Questions to people, durable and journalled, and the outbox of what people are to be told.

use super::super::entry::{AnsweredBody, AskedBody, DecisionBody, QuestionBody};
use super::super::{
    Delivery, DeliveryEnd, EscalationEnded, EscalationOpened, Kind, StoreError, TaskRecord,
    TaskState,
};
use super::group::{Db, Group, key_digest};
use super::{grants, tasks};
use crate::escalation::{Allowed, Asked, Deciding, Decision, Escalation, Opening, State};
use crate::units::{EscalationId, TaskKey, UnixMs};
use rusqlite::{Connection, Row, params};
use std::sync::Arc;

/// Columns of an escalation, as [`read`] wants them.
pub(crate) const COLUMNS: &str = "id, owner, task, state, opened, question, decision";
/// Columns of a delivery, as [`read_delivery`] wants them.
pub(crate) const DELIVERY_COLUMNS: &str =
    "id, escalation, event, target, created, attempts, next_at";
/// Decided questions that are kept in the table, in number; the journal keeps them all.
const DECIDED_ROWS: i64 = 10_000;
/// Messages waiting to be delivered, in number; beyond it further ones are only journalled.
const OUTBOX_ROWS: i64 = 100_000;

/// An escalation from its [`COLUMNS`].
pub(crate) fn read(row: &Row<'_>) -> Result<Escalation, StoreError> {
    let (state, question): (String, String) = (row.get(3)?, row.get(5)?);
    let decision: Option<String> = row.get(6)?;
    let corrupt = || StoreError::Corrupt("an escalation cannot be read".to_owned());
    let question: QuestionBody = serde_json::from_str(&question)?;
    let (reason, evidence, asker) = question.read().ok_or_else(corrupt)?;
    let decision = decision.map(|text| serde_json::from_str::<DecisionBody>(&text));
    Ok(Escalation {
        id: EscalationId::from(row.get::<_, String>(0)?),
        task: TaskKey {
            owner: row.get::<_, String>(1)?.into(),
            task: row.get::<_, String>(2)?.into(),
        },
        opened: UnixMs(row.get(4)?),
        state: State::from_name(&state).ok_or_else(corrupt)?,
        reason,
        evidence,
        asker,
        decision: decision.transpose()?.map(Decision::from),
    })
}

/// A delivery from its [`DELIVERY_COLUMNS`].
pub(crate) fn read_delivery(row: &Row<'_>) -> Result<Delivery, StoreError> {
    let event: String = row.get(2)?;
    Ok(Delivery {
        id: row.get(0)?,
        escalation: EscalationId::from(row.get::<_, String>(1)?),
        event: State::from_name(&event)
            .ok_or_else(|| StoreError::Corrupt(format!("no event `{event}`")))?,
        target: row.get::<_, Option<String>>(3)?.map(Arc::from),
        created: UnixMs(row.get(4)?),
        attempts: row.get(5)?,
    })
}

fn find(conn: &Connection, id: &EscalationId) -> Db<Option<Escalation>> {
    let sql = format!("SELECT {COLUMNS} FROM escalations WHERE id = ?1");
    let mut select = conn.prepare_cached(&sql)?;
    let mut rows = select.query([id.as_str()])?;
    rows.next()?.map(read).transpose()
}

fn need(conn: &Connection, id: &EscalationId) -> Db<Result<Escalation, StoreError>> {
    Ok(find(conn, id)?.ok_or_else(|| StoreError::NotFound {
        what: "escalation",
        which: id.to_string(),
    }))
}

/// Opens a question and suspends its task, or joins the one it waits for. A task that a person has
/// suspended gets no question: it stands still for another reason.
pub(super) fn open(
    group: &mut Group<'_>,
    opening: &Opening,
) -> Db<Result<EscalationOpened, StoreError>> {
    let Some(mut record) = tasks::find(group, &opening.task)? else {
        return Ok(Err(tasks::unknown(&opening.task)));
    };
    if record.state != TaskState::Active {
        let asked = record.escalation.as_ref().filter(|asked| asked.waits);
        let escalation = match asked {
            Some(asked) => find(group.conn, &asked.id)?,
            None => None,
        };
        return Ok(Ok(EscalationOpened {
            task: record,
            escalation,
            newly: false,
        }));
    }
    let body = AskedBody {
        id: opening.id.shared(),
        owner: opening.task.owner.shared(),
        task: opening.task.task.shared(),
        question: QuestionBody::from(opening),
    };
    let sql = "INSERT INTO escalations (id, owner, task, state, opened, question)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    group.conn.prepare_cached(sql)?.execute(params![
        opening.id.as_str(),
        opening.task.owner.as_str(),
        opening.task.task.as_str(),
        State::Waiting.name(),
        group.now().0,
        serde_json::to_string(&body.question)?
    ])?;
    let task = Some(key_digest(&opening.task));
    group.append(Kind::EscalationOpened, group.now(), task, &body)?;
    record.state = TaskState::Suspended;
    record.paused_since = Some(group.now());
    record.escalation = Some(Asked {
        id: opening.id.clone(),
        waits: true,
    });
    let by = format!("escalation:{}", opening.id);
    tasks::write(group, Kind::TaskChanged, &record, &by)?;
    announce(group, &opening.id, State::Waiting)?;
    prune(group)?;
    let escalation = find(group.conn, &opening.id)?;
    Ok(Ok(EscalationOpened {
        task: record,
        escalation,
        newly: true,
    }))
}

/// Decides a question that waits: its state, the caps it raises and its task's state in one step. A
/// question that was decided before stays as it was, and the answer says so.
pub(super) fn decide(
    group: &mut Group<'_>,
    deciding: &Deciding,
) -> Db<Result<EscalationEnded, StoreError>> {
    let escalation = match need(group.conn, &deciding.id)? {
        Ok(escalation) => escalation,
        Err(error) => return Ok(Err(error)),
    };
    let Some(mut task) = tasks::find(group, &escalation.task)? else {
        return Ok(Err(tasks::unknown(&escalation.task)));
    };
    let mut balances = Vec::new();
    if escalation.state != State::Waiting {
        return Ok(Ok(EscalationEnded {
            escalation,
            task,
            balances,
            applied: false,
        }));
    }
    let approved = deciding.state == State::Approved;
    for (key, amounts) in deciding.raises.iter().filter(|_| approved) {
        match grants::top_up(group, key, amounts, &deciding.by)? {
            Ok(balance) => balances.push((key.clone(), balance)),
            Err(error) => return Ok(Err(error)),
        }
        if let Some(ends) = deciding.ends {
            grants::end_top_up(group, key, amounts, ends)?;
        }
    }
    let decision = Decision {
        at: group.now(),
        by: Arc::clone(&deciding.by),
        why: deciding.why.clone(),
        raised: if approved {
            deciding.raises.clone()
        } else {
            Vec::new()
        },
        ends: deciding.ends.filter(|_| approved),
        turns: deciding.turns.filter(|_| approved),
    };
    let ended = end(group, escalation, deciding.state, decision)?;
    if approved {
        task.leave_suspension(group.now());
        task.state = TaskState::Active;
        task.escalation = None;
        allow(&mut task, &ended, group.now());
    } else {
        task.escalation = Some(Asked {
            id: ended.id.clone(),
            waits: false,
        });
    }
    tasks::write(group, Kind::TaskChanged, &task, &deciding.by)?;
    Ok(Ok(EscalationEnded {
        escalation: ended,
        task,
        balances,
        applied: true,
    }))
}

/// Turns allowed now replace those allowed before; those that were used up are gone in any case.
fn allow(task: &mut TaskRecord, ended: &Escalation, now: UnixMs) {
    let reached = ended.reason.limit.as_ref();
    let used_up =
        reached.is_some_and(|reached| &*reached.account.limit == crate::escalation::ALLOWED_TURNS);
    match ended.decision.as_ref().and_then(|decision| decision.turns) {
        Some(turns) => task.allowed = Some(Allowed { turns, since: now }),
        None if used_up => task.allowed = None,
        None => {}
    }
}

fn end(
    group: &mut Group<'_>,
    mut escalation: Escalation,
    state: State,
    decision: Decision,
) -> Db<Escalation> {
    let body = AnsweredBody {
        id: escalation.id.shared(),
        owner: escalation.task.owner.shared(),
        task: escalation.task.task.shared(),
        state: state.name().into(),
        decision: DecisionBody::from(&decision),
    };
    let sql = "UPDATE escalations SET state = ?1, decision = ?2 WHERE id = ?3";
    group.conn.prepare_cached(sql)?.execute(params![
        state.name(),
        serde_json::to_string(&body.decision)?,
        escalation.id.as_str()
    ])?;
    let task = Some(key_digest(&escalation.task));
    group.append(Kind::EscalationEnded, group.now(), task, &body)?;
    announce(group, &escalation.id, state)?;
    escalation.state = state;
    escalation.decision = Some(decision);
    Ok(escalation)
}

/// A person changed the task's state by hand: that answers the question it waits for. Resumed: yes;
/// suspended or closed: no.
pub(super) fn end_by_hand(
    group: &mut Group<'_>,
    record: &mut TaskRecord,
    state: TaskState,
    by: &str,
) -> Db<()> {
    let asked = record.escalation.take();
    let Some(asked) = asked.filter(|asked| asked.waits) else {
        return Ok(());
    };
    let Some(escalation) = find(group.conn, &asked.id)? else {
        return Ok(());
    };
    let (ended, why) = match state {
        TaskState::Active => (State::Approved, "the task was resumed"),
        TaskState::Suspended => (State::Denied, "the task was suspended"),
        TaskState::Closed => (State::Denied, "the task was closed"),
    };
    let decision = Decision {
        at: group.now(),
        by: by.into(),
        why: Some(why.into()),
        raised: Vec::new(),
        ends: None,
        turns: None,
    };
    let escalation = end(group, escalation, ended, decision)?;
    if ended == State::Approved {
        allow(record, &escalation, group.now());
    }
    Ok(())
}

/// Drops decided questions beyond a bound, the oldest first.
fn prune(group: &Group<'_>) -> Db<()> {
    let sql = "DELETE FROM escalations WHERE state <> 'waiting'
               AND seq <= (SELECT max(seq) FROM escalations) - ?1";
    group.conn.prepare_cached(sql)?.execute([DECIDED_ROWS])?;
    Ok(())
}

// === the outbox ===

fn announce(group: &Group<'_>, id: &EscalationId, event: State) -> Db<()> {
    let waiting: i64 = group
        .conn
        .prepare_cached("SELECT count(*) FROM deliveries")?
        .query_row([], |row| row.get(0))?;
    if waiting >= OUTBOX_ROWS {
        tracing::error!(escalation = %id, "the outbox is full; nobody is told");
        return Ok(());
    }
    let sql = "INSERT INTO deliveries (escalation, event, target, created, attempts, next_at)
               VALUES (?1, ?2, NULL, ?3, 0, ?3)";
    group
        .conn
        .prepare_cached(sql)?
        .execute(params![id.as_str(), event.name(), group.now().0])?;
    Ok(())
}

/// One message becomes one for each of these targets.
pub(super) fn address(
    group: &mut Group<'_>,
    id: i64,
    targets: &[Arc<str>],
) -> Db<Result<(), StoreError>> {
    let sql = "INSERT INTO deliveries (escalation, event, target, created, attempts, next_at)
               SELECT escalation, event, ?2, created, 0, created FROM deliveries
               WHERE id = ?1 AND target IS NULL";
    for target in targets {
        group
            .conn
            .prepare_cached(sql)?
            .execute(params![id, &**target])?;
    }
    let sql = "DELETE FROM deliveries WHERE id = ?1 AND target IS NULL";
    group.conn.prepare_cached(sql)?.execute([id])?;
    Ok(Ok(()))
}

/// A try to deliver has ended.
pub(super) fn delivered(
    group: &mut Group<'_>,
    id: i64,
    ended: &DeliveryEnd,
) -> Db<Result<(), StoreError>> {
    match ended {
        DeliveryEnd::Again(at) => {
            let sql = "UPDATE deliveries SET attempts = attempts + 1, next_at = ?2 WHERE id = ?1";
            group.conn.prepare_cached(sql)?.execute(params![id, at.0])?;
        }
        DeliveryEnd::Done => remove(group, id)?,
        DeliveryEnd::GivenUp(note) => {
            remove(group, id)?;
            group.post(&super::super::Entry::Note(note.clone()))?;
        }
    }
    Ok(Ok(()))
}

fn remove(group: &Group<'_>, id: i64) -> Db<()> {
    let sql = "DELETE FROM deliveries WHERE id = ?1";
    group.conn.prepare_cached(sql)?.execute([id])?;
    Ok(())
}
