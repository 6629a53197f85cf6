//! `/api/doubts`: money of which nobody knows whether it was spent, and how it leaves doubt: a
//! person says it was not, or evidence says what was.

use super::Ops;
use super::evidence;
use super::failure::{Answer, Failure};
use super::fields::Fields;
use super::request::{Body, EvidenceBody, Pairs, by};
use super::show;
use super::tasks::bounded;
use crate::config::parse_instant;
use crate::store::{DoubtFilter, Reconciled, Release};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use serde_json::{Value, json};

/// Doubts of one answer unless the request says otherwise.
const DOUBTS: usize = 100;
/// Doubts of one answer, at most.
const MAX_DOUBTS: usize = 10_000;

/// `GET /api/doubts?task&owner&after&limit`: the oldest first. `after`: an id, for the next page.
///
/// # Errors
/// See [`Failure`].
pub async fn list(State(ops): State<Ops>, Pairs(query): Pairs) -> Answer {
    let mut fields = Fields::of_query(query, &["task", "owner", "after", "limit"])?;
    let owner = fields.id("owner")?;
    let task = match fields.id("task")? {
        Some(task) => Some(ops.task(&task, owner).await?.key),
        None if owner.is_some() => {
            return Err(Failure::invalid("`owner` goes with `task`"));
        }
        None => None,
    };
    let after = fields.count("after")?;
    let filter = DoubtFilter {
        task,
        after: after.map(|after| i64::try_from(after).unwrap_or(i64::MAX)),
        rows: Some(bounded(fields.count("limit")?, DOUBTS, MAX_DOUBTS)),
    };
    ops.up_to_date().await;
    let doubts = ops.gateway.purse.store().doubts(filter).await?;
    let total = ops.gateway.purse.look(crate::ledger::Ledger::totals);
    let doubts: Vec<Value> = doubts.iter().map(show::doubt).collect();
    Ok(Json(
        json!({"doubts": doubts, "in_doubt_usd": total.in_doubt_usd.to_string()}),
    ))
}

/// `POST /api/doubts/release`: a person says that it was not spent.
///
/// # Errors
/// See [`Failure`].
pub async fn release(State(ops): State<Ops>, Body(body): Body) -> Answer {
    let known = ["id", "task", "owner", "request", "before", "all", "by"];
    let mut fields = Fields::of_body(&body, &known)?;
    let by = by(&mut fields)?;
    let owner = fields.id("owner")?;
    let (id, task) = (fields.count("id")?, fields.id("task")?);
    let (request, before) = (fields.text("request")?, fields.text("before")?);
    let all = fields.flag("all")?;
    let release = match (id, task, request, before, all) {
        (Some(id), None, None, None, false) => Release::One(i64::try_from(id).unwrap_or(i64::MAX)),
        (None, Some(task), None, None, false) => Release::Task(ops.task(&task, owner).await?.key),
        (None, None, Some(request), None, false) => Release::Request(request),
        (None, None, None, Some(before), false) => {
            Release::Before(parse_instant(&before).map_err(Failure::invalid)?)
        }
        (None, None, None, None, true) => Release::All,
        _ => {
            let message =
                "say which doubts: one of `id`, `task`, `request`, `before`, or `all` as true";
            return Err(Failure::invalid(message));
        }
    };
    ops.up_to_date().await;
    let done = ops.gateway.release(release, by).await?;
    Ok(Json(shown(&done)))
}

/// `POST /api/doubts/reconcile?by=…`: evidence says what was spent. A JSON array, JSON lines or CSV,
/// by its content type.
///
/// # Errors
/// See [`Failure`].
pub async fn reconcile(
    State(ops): State<Ops>,
    Pairs(query): Pairs,
    headers: HeaderMap,
    EvidenceBody(body): EvidenceBody,
) -> Answer {
    let by = by(&mut Fields::of_query(query, &["by"])?)?;
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let is_csv = kind
        .trim_start()
        .to_ascii_lowercase()
        .starts_with("text/csv");
    let evidence = if is_csv {
        evidence::of_csv(&body)
    } else {
        evidence::of_json(&body)
    }?;
    ops.up_to_date().await;
    let done = ops.gateway.reconcile(evidence, by).await?;
    Ok(Json(shown(&done)))
}

fn shown(done: &Reconciled) -> Value {
    let Reconciled {
        doubts,
        crashes: _,
        cleared,
        spent,
        shifts: _,
        unmatched,
    } = done;
    json!({
        "doubts": doubts,
        "cleared_usd": cleared.to_string(),
        "spent_usd": spent.to_string(),
        "unmatched": unmatched,
    })
}
