//! `/api/tasks`: opened with caps of their own, listed, shown, topped up, suspended, resumed, closed.

use super::Ops;
use super::crew::{Crew, MAX_CALLS};
use super::failure::{Answer, Failure};
use super::fields::{Fields, METERS};
use super::models::Models;
use super::request::{Body, Pairs, by};
use super::standing::Standing;
use super::{accounts, show};
use crate::clock;
use crate::config::{Facts, LimitIndex, Policies, Side, advice};
use crate::ledger::{AccountKey, Caps};
use crate::store::{
    AccountFilter, DoubtFilter, StoreError, TaskFilter, TaskOpening, TaskRecord, TaskState,
};
use crate::task::{TASKS_OWN, own_account};
use crate::units::{Amounts, Meter, Owner, TaskKey};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value, json};
use std::sync::Arc;

/// Tasks of one answer unless the request says otherwise.
const TASKS: usize = 100;
/// Tasks of one answer, at most.
const MAX_TASKS: usize = 10_000;
/// Accounts of one task that are shown, at most.
const MAX_ACCOUNTS: usize = 1_000;
/// Doubts of one task that its agents' figures take into account, at most.
const MAX_DOUBTS: usize = 10_000;

/// `POST /api/tasks`: opens a task with caps of its own, or lowers those of one that is open.
///
/// # Errors
/// See [`Failure`].
pub async fn open(
    State(ops): State<Ops>,
    Body(body): Body,
) -> Result<(StatusCode, Json<Value>), Failure> {
    let mut fields = Fields::of_body(&body, &with_meters(&["id", "owner", "by"]))?;
    let id = fields.id("id")?;
    let id = id.ok_or_else(|| Failure::invalid("name the task's `id`"))?;
    let owner = fields.id("owner")?;
    let key = TaskKey {
        owner: ops.owner(owner)?,
        task: id.into(),
    };
    let caps = fields.meters()?;
    let by = by(&mut fields)?;
    let tasks = &ops.gateway.tasks;
    let known = TaskFilter {
        owner: Some(key.owner.clone()),
        task: Some(key.task.clone()),
        ..TaskFilter::default()
    };
    let is_new = ops.gateway.purse.store().tasks(known).await?.is_empty();
    let opening = TaskOpening {
        key: key.clone(),
        caps,
        by: Arc::clone(&by),
    };
    // An operator's own task is not one of those that callers may open per hour.
    let task = tasks
        .open(opening, async { Ok::<(), StoreError>(()) })
        .await?;
    let mut record = task.record();
    if record.state == TaskState::Closed {
        return Err(StoreError::TaskClosed(key.task.to_string()).into());
    }
    if !is_new && record.caps != caps {
        record = ops.gateway.lower_caps(key, caps, by).await?;
    }
    let status = if is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, Json(Value::Object(show::task(&record)))))
}

/// These fields and one for every meter.
pub(super) fn with_meters(names: &[&'static str]) -> Vec<&'static str> {
    let meters = METERS.iter().map(|meter| meter.name());
    names.iter().copied().chain(meters).collect()
}

/// `GET /api/tasks`: the newest first.
///
/// # Errors
/// See [`Failure`].
pub async fn list(State(ops): State<Ops>, Pairs(query): Pairs) -> Answer {
    let mut fields = Fields::of_query(query, &["owner", "state", "limit"])?;
    let state = fields.text("state")?.map(|word| state(&word)).transpose()?;
    let filter = TaskFilter {
        owner: fields.id("owner")?.map(Owner::from),
        state,
        limit: Some(bounded(fields.count("limit")?, TASKS, MAX_TASKS)),
        ..TaskFilter::default()
    };
    let tasks = ops.gateway.purse.store().tasks(filter).await?;
    let tasks: Vec<Value> = tasks
        .iter()
        .map(|task| Value::Object(show::task(task)))
        .collect();
    Ok(Json(json!({"tasks": tasks})))
}

/// How many rows are meant.
pub(super) fn bounded(asked: Option<u64>, usual: usize, most: usize) -> usize {
    asked.map_or(usual, |asked| {
        usize::try_from(asked).unwrap_or(most).min(most)
    })
}

fn state(word: &str) -> Result<TaskState, Failure> {
    TaskState::from_name(word).ok_or_else(|| {
        let advice = advice(word, &["active", "suspended", "closed"]);
        Failure::invalid(format!("no task is `{word}`; {advice}"))
    })
}

/// `GET /api/tasks/{id}`: the task, its accounts and its agents.
///
/// # Errors
/// See [`Failure`].
pub async fn show(State(ops): State<Ops>, Path(id): Path<String>, Pairs(query): Pairs) -> Answer {
    let mut fields = Fields::of_query(query, &["owner"])?;
    let record = ops.task(&id, fields.id("owner")?).await?;
    let key = record.key.clone();
    ops.up_to_date().await;
    let store = ops.gateway.purse.store();
    let calls = store.trace(key.clone(), MAX_CALLS).await?;
    let filter = DoubtFilter {
        task: Some(key.clone()),
        rows: Some(MAX_DOUBTS),
        ..DoubtFilter::default()
    };
    let open = store
        .doubts(filter)
        .await?
        .iter()
        .map(|doubt| doubt.id)
        .collect();
    let mut crew = Crew::of(&calls, &open)?;
    let flights = ops.gateway.tasks.flights.of_task(&key);
    crew.fly(flights.iter().map(|flight| flight.agent()));
    let filter = AccountFilter {
        value: Some(key.task.shared()),
        rows: Some(MAX_ACCOUNTS),
        ..AccountFilter::default()
    };
    let accounts = accounts::standings(&ops, filter, Some(&record)).await?;
    let mut shown = show::task(&record);
    if let Some(asked) = &record.escalation {
        let question = ops.escalation(asked.id.as_str()).await.ok();
        let question = question.as_ref().map(show::escalation);
        shown.insert("question".to_owned(), json!(question));
    }
    let accounts = accounts.iter().map(Standing::to_json);
    shown.insert("accounts".to_owned(), accounts.collect());
    shown.insert("agents".to_owned(), crew.to_json());
    shown.insert("models".to_owned(), Models::of(&calls)?.to_json());
    let pins = store.pins(key.clone()).await?;
    let pins = pins.iter().map(show::pin);
    shown.insert("pins".to_owned(), pins.collect());
    shown.insert("in_flight".to_owned(), flights.len().into());
    let known = ops.gateway.tasks.known(&key, crate::clock::now());
    let signs = known.map(|task| task.signs()).unwrap_or_default();
    shown.insert("signs".to_owned(), signs.iter().map(show::sign).collect());
    Ok(Json(Value::Object(shown)))
}

/// `POST /api/tasks/{id}/suspend`, `/resume` and `/close`.
///
/// # Errors
/// See [`Failure`].
pub async fn set_state(ops: &Ops, id: &str, body: &[u8], state: TaskState) -> Answer {
    let mut fields = Fields::of_body(body, &["owner", "by"])?;
    let record = ops.task(id, fields.id("owner")?).await?;
    let by = by(&mut fields)?;
    let tasks = &ops.gateway.tasks;
    let (record, ended) = tasks.set_state(record.key, state, by).await?;
    ops.gateway.tell_state(&record);
    let mut shown = show::task(&record);
    shown.insert("calls_ended".to_owned(), ended.into());
    Ok(Json(Value::Object(shown)))
}

/// `POST /api/tasks/{id}/suspend`
///
/// # Errors
/// See [`Failure`].
pub async fn suspend(State(ops): State<Ops>, Path(id): Path<String>, Body(body): Body) -> Answer {
    set_state(&ops, &id, &body, TaskState::Suspended).await
}

/// `POST /api/tasks/{id}/resume`
///
/// # Errors
/// See [`Failure`].
pub async fn resume(State(ops): State<Ops>, Path(id): Path<String>, Body(body): Body) -> Answer {
    set_state(&ops, &id, &body, TaskState::Active).await
}

/// `POST /api/tasks/{id}/close`
///
/// # Errors
/// See [`Failure`].
pub async fn close(State(ops): State<Ops>, Path(id): Path<String>, Body(body): Body) -> Answer {
    set_state(&ops, &id, &body, TaskState::Closed).await
}

// === top-ups ===

/// `POST /api/tasks/{id}/top-up`: raises the caps of the accounts that every call of the task is
/// counted on, or of the one account of the limit named.
///
/// # Errors
/// See [`Failure`].
pub async fn top_up(State(ops): State<Ops>, Path(id): Path<String>, Body(body): Body) -> Answer {
    let mut known = with_meters(&["limit", "by"]);
    known.extend(side_names());
    let mut fields = Fields::of_body(&body, &known)?;
    let record = ops.task(&id, fields.id("owner")?).await?;
    let by = by(&mut fields)?;
    let more = fields.meters()?;
    let limit = fields.text("limit")?;
    if !is_something(&more) {
        return Err(Failure::invalid(
            "say by how much: `usd`, `turns`, `tokens` or the like",
        ));
    }
    if record.state == TaskState::Closed {
        return Err(StoreError::TaskClosed(id).into());
    }
    let live = ops.gateway.live();
    let policies = &live.loaded.policies;
    let raises = match limit {
        Some(limit) => vec![one_limit(policies, &record, &limit, &more, &mut fields)?],
        None => whole_task(policies, &record, &more)?,
    };
    let mut raised = Vec::with_capacity(raises.len());
    for (key, amounts) in raises {
        let balance = ops
            .gateway
            .purse
            .top_up(key.clone(), amounts, Arc::clone(&by))
            .await?;
        let own = Some(&record.caps);
        let mut standing = Standing::new(key, balance, policies, own);
        accounts::overlay(&ops, std::slice::from_mut(&mut standing), Some(&record));
        raised.push(standing.to_json());
    }
    ops.gateway.tasks.topped_up(&record.key);
    let raised_by = Amounts(more.0.map(Option::unwrap_or_default));
    ops.gateway.traces.topped_up(&record.key, &raised_by);
    Ok(Json(
        json!({"task": id, "owner": record.key.owner.as_str(), "raised": raised}),
    ))
}

/// One account's cap to be raised, and by how much.
pub(super) type Raise = (AccountKey, Amounts);

/// The sides that tell one account of a task from another.
pub(super) fn side_names() -> impl Iterator<Item = &'static str> {
    let sides = Side::ALL.map(Side::name).into_iter();
    sides.filter(|side| !matches!(*side, "task" | "dialect"))
}

/// At least one meter is named with more than nothing.
pub(super) fn is_something(more: &Caps) -> bool {
    more.0
        .iter()
        .any(|amount| amount.is_some_and(|amount| amount > 0))
}

/// What of `more` the caps of an account know.
fn of_caps(more: &Caps, caps: &Caps) -> Amounts {
    let mut amounts = Amounts::ZERO;
    for meter in Meter::ALL {
        if let (Some(more), Some(_)) = (more.0[meter as usize], caps.0[meter as usize]) {
            amounts[meter] = more;
        }
    }
    amounts
}

/// Facts of the task alone.
pub(super) fn facts(key: &TaskKey) -> Facts {
    Facts {
        owner: key.owner.shared(),
        identity: "-".into(),
        task: key.task.shared(),
        on_behalf_of: None,
        agent: None,
        role: None,
        model: "-".into(),
        provider: "-".into(),
        dialect: "-",
        tool: None,
        agent_trusted: false,
        role_trusted: false,
        unattributed: false,
    }
}

/// The accounts that count the whole task: those of its own caps, and of every limit per task and
/// nothing else that covers all its calls.
pub(super) fn whole_task(
    policies: &Policies,
    record: &TaskRecord,
    more: &Caps,
) -> Result<Vec<Raise>, Failure> {
    let facts = facts(&record.key);
    let now = clock::now();
    let mut raises = vec![(own_account(&record.key), of_caps(more, &record.caps))];
    for (index, limit) in policies.limits().enumerate() {
        let index = LimitIndex(index);
        let is_whole = |side: &Side| matches!(side, Side::Task | Side::Owner);
        let counts_task = limit.is_per(Side::Task)
            && limit.sides().iter().all(is_whole)
            && limit.matches.sides.iter().all(|(side, _)| is_whole(side))
            && limit.matches.matches(&facts);
        if let Some(key) = policies
            .account_at(index, &facts, now)
            .filter(|_| counts_task)
        {
            raises.push((key, of_caps(more, &limit.caps)));
        }
    }
    raises.retain(|(_, amounts)| !amounts.is_zero());
    for meter in METERS
        .into_iter()
        .filter(|meter| more.0[*meter as usize].is_some())
    {
        if !raises.iter().any(|(_, amounts)| amounts[meter] > 0) {
            return Err(Failure::conflict(
                "no_such_cap",
                format!(
                    "nothing caps the `{}` of the whole task; name a `limit`: one of {}",
                    meter.name(),
                    names(policies)
                ),
            ));
        }
    }
    Ok(raises)
}

fn names(policies: &Policies) -> String {
    let names: Vec<String> = policies
        .limits()
        .map(|limit| format!("`{}`", limit.name))
        .collect();
    names.join(", ")
}

/// The one account of a limit that concerns the task.
pub(super) fn one_limit(
    policies: &Policies,
    record: &TaskRecord,
    name: &str,
    more: &Caps,
    fields: &mut Fields,
) -> Result<Raise, Failure> {
    if name == TASKS_OWN {
        return checked(own_account(&record.key), name, more, &record.caps);
    }
    let found = policies
        .limits()
        .position(|limit| limit.name.as_str() == name);
    let found = found.map(LimitIndex);
    let limit = found.and_then(|index| Some((index, policies.limit(index)?)));
    let Some((index, limit)) = limit else {
        let known: Vec<&str> = policies.limits().map(|limit| limit.name.as_str()).collect();
        let advice = advice(name, &known);
        return Err(Failure::invalid(format!(
            "no limit is called `{name}`; {advice}"
        )));
    };
    if !limit.is_per(Side::Task) {
        return Err(Failure::conflict(
            "not_per_task",
            format!("the limit `{name}` does not count per task: raise its cap in the policies"),
        ));
    }
    let mut facts = facts(&record.key);
    for side in policies.key_sides(index) {
        if matches!(side, Side::Owner | Side::Task) {
            continue;
        }
        let value = fields.id(side.name())?.ok_or_else(|| {
            let side = side.name();
            Failure::invalid(format!(
                "the limit `{name}` counts per {side}: name the `{side}` (\"-\": calls without one)"
            ))
        })?;
        match side {
            Side::Identity => facts.identity = value,
            Side::Model => facts.model = value,
            Side::Provider => facts.provider = value,
            Side::OnBehalfOf => facts.on_behalf_of = Some(value),
            Side::Agent => facts.agent = Some(value),
            Side::Role => facts.role = Some(value),
            Side::Tool => facts.tool = Some(value),
            Side::Owner | Side::Task | Side::Dialect => {}
        }
    }
    let key = policies.account_at(index, &facts, clock::now());
    let key = key.ok_or_else(|| Failure::invalid(format!("the limit `{name}` has no accounts")))?;
    checked(key, name, more, &limit.caps)
}

/// What of `more` an account of these caps can take; a meter that it does not cap is refused.
pub(super) fn checked(
    key: AccountKey,
    name: &str,
    more: &Caps,
    caps: &Caps,
) -> Result<Raise, Failure> {
    for meter in METERS {
        if more.0[meter as usize].is_some() && caps.0[meter as usize].is_none() {
            let meter = meter.name();
            let message = format!("the limit `{name}` does not cap `{meter}`");
            return Err(Failure::conflict("no_such_cap", message));
        }
    }
    Ok((key, of_caps(more, caps)))
}
