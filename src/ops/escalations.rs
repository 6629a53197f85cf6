//! `/api/escalations`: questions to people, listed, shown, approved, denied.

use super::Ops;
use super::failure::{Answer, Failure};
use super::fields::Fields;
use super::request::{Body, Pairs, by};
use super::tasks::{self, Raise, bounded, with_meters};
use super::{show, tasks::side_names};
use crate::clock;
use crate::config::{LimitIndex, Policies, advice, parse_instant, parse_span};
use crate::escalation::{Deciding, Escalation, Reached, State};
use crate::ledger::Caps;
use crate::store::{EscalationEnded, EscalationFilter, TaskRecord, TaskState};
use crate::task::TASKS_OWN;
use crate::units::{EscalationId, UnixMs};
use axum::Json;
use axum::extract::{Path, State as Shared};
use serde_json::{Value, json};
use std::sync::Arc;

/// Questions of one answer unless the request says otherwise.
const QUESTIONS: usize = 100;
/// Questions of one answer, at most.
const MAX_QUESTIONS: usize = 10_000;

/// `GET /api/escalations?state&task&owner&limit`: the newest first.
///
/// # Errors
/// See [`Failure`].
pub async fn list(Shared(ops): Shared<Ops>, Pairs(query): Pairs) -> Answer {
    let mut fields = Fields::of_query(query, &["state", "task", "owner", "limit"])?;
    let state = fields.text("state")?.map(|word| state(&word)).transpose()?;
    let owner = fields.id("owner")?;
    let task = match fields.id("task")? {
        Some(id) => Some(ops.task(&id, owner).await?.key),
        None if owner.is_some() => {
            return Err(Failure::invalid("`owner` goes with `task`"));
        }
        None => None,
    };
    let filter = EscalationFilter {
        state,
        task,
        rows: Some(bounded(fields.count("limit")?, QUESTIONS, MAX_QUESTIONS)),
        ..EscalationFilter::default()
    };
    let found = ops.gateway.purse.store().escalations(filter).await?;
    let found: Vec<Value> = found.iter().map(show::escalation).collect();
    Ok(Json(json!({"escalations": found})))
}

fn state(word: &str) -> Result<State, Failure> {
    State::from_name(word).ok_or_else(|| {
        let advice = advice(word, &State::ALL.map(State::name));
        Failure::invalid(format!("no escalation is `{word}`; {advice}"))
    })
}

/// `GET /api/escalations/{id}`
///
/// # Errors
/// See [`Failure`].
pub async fn show_one(Shared(ops): Shared<Ops>, Path(id): Path<String>) -> Answer {
    let escalation = ops.escalation(&id).await?;
    Ok(Json(show::escalation(&escalation)))
}

impl Ops {
    /// The question of that id.
    ///
    /// # Errors
    /// There is none.
    pub(super) async fn escalation(&self, id: &str) -> Result<Escalation, Failure> {
        let filter = EscalationFilter {
            id: Some(EscalationId::from(id)),
            ..EscalationFilter::default()
        };
        let found = self.gateway.purse.store().escalations(filter).await?.pop();
        found.ok_or_else(|| Failure::not_found(format!("no such escalation: {id}")))
    }

    async fn decide(&self, deciding: Deciding) -> Answer {
        let wanted = deciding.state;
        let ended = self.gateway.escalations.decide(deciding).await?;
        let EscalationEnded {
            escalation,
            applied,
            ..
        } = ended;
        // The same answer again changes nothing and is no error: its first reply may have been lost.
        if !applied && escalation.state != wanted {
            let state = escalation.state.name();
            let by = escalation.decision.map(|decision| decision.by);
            let by = by.as_deref().unwrap_or("-");
            let message = format!("it was {state} by {by} already");
            return Err(Failure::conflict("already_decided", message));
        }
        let mut shown = show::escalation(&escalation);
        shown["applied"] = applied.into();
        Ok(Json(shown))
    }
}

/// `POST /api/escalations/{id}/approve`: the task goes on, as it is, with raised caps, or for so many
/// turns until a person is asked again. Without `limit` or `scope` the account in the way is raised.
///
/// # Errors
/// See [`Failure`].
pub async fn approve(Shared(ops): Shared<Ops>, Path(id): Path<String>, Body(body): Body) -> Answer {
    let mut known = with_meters(&["by", "why", "scope", "limit", "expires", "for_turns"]);
    known.extend(side_names());
    let mut fields = Fields::of_body(&body, &known)?;
    let escalation = ops.escalation(&id).await?;
    let task = &escalation.task;
    let record = ops.task(task.task.as_str(), Some(task.owner.shared()));
    let record = record.await?;
    let (by, why) = (by(&mut fields)?, fields.text("why")?);
    let turns = fields.count("for_turns")?;
    if turns == Some(0) {
        return Err(Failure::invalid("`for_turns` is at least 1"));
    }
    let ends = fields
        .text("expires")?
        .map(|text| ends(&text))
        .transpose()?;
    let raises = match escalation.state {
        // Whatever the caps are by now, they are not raised again.
        State::Waiting => raises(&ops, &escalation, &record, &mut fields)?,
        _ => Vec::new(),
    };
    if ends.is_some() && raises.is_empty() && escalation.state == State::Waiting {
        return Err(Failure::invalid("`expires` goes with caps to raise"));
    }
    ops.decide(Deciding {
        id: escalation.id,
        state: State::Approved,
        by,
        why,
        raises,
        ends,
        turns,
    })
    .await
}

/// When raised caps are as before again: an instant, or a span from now.
fn ends(text: &str) -> Result<UnixMs, Failure> {
    let now = clock::now();
    let at = match parse_span(text) {
        Ok(span) => {
            let span = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
            UnixMs(now.0.saturating_add(span))
        }
        Err(_) => parse_instant(text).map_err(|_| {
            Failure::invalid(format!(
                "`expires`: `{text}` is neither a span (\"2h\") nor an instant (\"2027-01-31T00:00:00Z\")"
            ))
        })?,
    };
    match at > now {
        true => Ok(at),
        false => Err(Failure::invalid("`expires` is in the past")),
    }
}

/// `POST /api/escalations/{id}/deny`: the task stays suspended, or is closed with `close`.
///
/// # Errors
/// See [`Failure`].
pub async fn deny(Shared(ops): Shared<Ops>, Path(id): Path<String>, Body(body): Body) -> Answer {
    let mut fields = Fields::of_body(&body, &["by", "why", "close"])?;
    let escalation = ops.escalation(&id).await?;
    let (by, why) = (by(&mut fields)?, fields.text("why")?);
    let closes = fields.flag("close")?;
    let deciding = Deciding {
        id: escalation.id,
        state: State::Denied,
        by: Arc::clone(&by),
        why,
        raises: Vec::new(),
        ends: None,
        turns: None,
    };
    let denied = ops.decide(deciding).await?;
    if closes && denied.0["applied"] == Value::Bool(true) {
        let tasks = &ops.gateway.tasks;
        let (record, _) = tasks
            .set_state(escalation.task, TaskState::Closed, by)
            .await?;
        ops.gateway.tell_state(&record);
    }
    Ok(denied)
}

/// Which caps to raise, and by how much.
fn raises(
    ops: &Ops,
    escalation: &Escalation,
    record: &TaskRecord,
    fields: &mut Fields,
) -> Result<Vec<Raise>, Failure> {
    let more = fields.meters()?;
    let (scope, limit) = (fields.text("scope")?, fields.text("limit")?);
    let live = ops.gateway.live();
    let policies = &live.loaded.policies;
    if !tasks::is_something(&more) {
        let named = scope.is_some() || limit.is_some();
        return match named {
            true => Err(Failure::invalid(
                "say by how much: `usd`, `turns`, `tokens` or the like",
            )),
            false => Ok(Vec::new()),
        };
    }
    match (scope.as_deref(), limit, &escalation.reason.limit) {
        (Some(_), Some(_), _) => Err(Failure::invalid("either `scope` or `limit`")),
        (None, Some(limit), _) => {
            let raise = tasks::one_limit(policies, record, &limit, &more, fields)?;
            Ok(vec![raise])
        }
        (Some("task"), None, _) => tasks::whole_task(policies, record, &more),
        (Some("limit") | None, None, Some(reached)) => {
            Ok(vec![in_the_way(policies, record, reached, &more)?])
        }
        (None, None, None) => tasks::whole_task(policies, record, &more),
        (Some("limit"), None, None) => Err(Failure::conflict(
            "no_such_cap",
            "no limit asked this question; say `scope` \"task\", or name a `limit`",
        )),
        (Some(other), None, _) => {
            let advice = advice(other, &["limit", "task"]);
            Err(Failure::invalid(format!("no scope is `{other}`; {advice}")))
        }
    }
}

/// The account that was in the way, in its window of now.
fn in_the_way(
    policies: &Policies,
    record: &TaskRecord,
    reached: &Reached,
    more: &Caps,
) -> Result<Raise, Failure> {
    let mut key = reached.account.clone();
    if *key.limit == *TASKS_OWN {
        return tasks::checked(key, TASKS_OWN, more, &record.caps);
    }
    let found = policies.limits().position(|limit| limit.id == key.limit);
    let found = found.map(LimitIndex);
    let limit = found.and_then(|index| Some((index, policies.limit(index)?)));
    let Some((index, limit)) = limit else {
        return Err(Failure::conflict(
            "no_such_cap",
            "what asked this question is no cap that can be raised; say `scope` \"task\", name a `limit`, or `for_turns`",
        ));
    };
    if key.window.is_some() {
        let facts = tasks::facts(&record.key);
        let now = policies.account_at(index, &facts, clock::now());
        key.window = now.and_then(|now| now.window);
    }
    tasks::checked(key, limit.name.as_str(), more, &limit.caps)
}
