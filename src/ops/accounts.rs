//! `GET /api/accounts`: what every counter holds. The store knows all accounts; what is held, and
//! what was settled a moment ago, the ledger knows.

use super::Ops;
use super::failure::{Answer, Failure};
use super::fields::Fields;
use super::request::Pairs;
use super::standing::Standing;
use super::tasks::bounded;
use crate::clock;
use crate::store::{AccountFilter, TaskRecord};
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

/// Accounts of one answer unless the request says otherwise.
const ACCOUNTS: usize = 100;
/// Accounts of one answer, at most.
const MAX_ACCOUNTS: usize = 10_000;

/// `GET /api/accounts?name=…&value=…&limit=…`: the newest first.
///
/// # Errors
/// See [`Failure`].
pub async fn list(State(ops): State<Ops>, Pairs(query): Pairs) -> Answer {
    let mut fields = Fields::of_query(query, &["name", "value", "limit"])?;
    let filter = AccountFilter {
        key: None,
        limit: fields.text("name")?,
        value: fields.text("value")?,
        rows: Some(bounded(fields.count("limit")?, ACCOUNTS, MAX_ACCOUNTS)),
    };
    let accounts = standings(&ops, filter, None).await?;
    let accounts: Vec<Value> = accounts.iter().map(Standing::to_json).collect();
    Ok(Json(json!({"accounts": accounts})))
}

/// The accounts as they stand; of one task alone if it is given.
///
/// # Errors
/// The store's fault.
pub async fn standings(
    ops: &Ops,
    filter: AccountFilter,
    task: Option<&TaskRecord>,
) -> Result<Vec<Standing>, Failure> {
    ops.up_to_date().await;
    let rows = ops.gateway.purse.store().accounts(filter).await?;
    let live = ops.gateway.live();
    let own = task.map(|task| &task.caps);
    let mut standings: Vec<Standing> = rows
        .into_iter()
        .filter(|row| task.is_none_or(|task| is_of(task, &row.key.per)))
        .map(|row| Standing::new(row.key, row.balance, &live.loaded.policies, own))
        .collect();
    overlay(ops, &mut standings, task);
    if let Some(task) = task.filter(|_| standings.iter().any(Standing::caps_tree)) {
        let reached = ops.gateway.tasks.reached(&task.key).await?;
        standings
            .iter_mut()
            .for_each(|standing| standing.tree = Some(reached));
    }
    Ok(standings)
}

/// Whether an account counts this very task: ids are known within their owner only.
#[must_use]
pub fn is_of(task: &TaskRecord, per: &[crate::ledger::Dimension]) -> bool {
    let is = |side: &str, value: &str| {
        per.iter()
            .any(|(name, known)| *name == side && **known == *value)
    };
    is("task", task.key.task.as_str()) && is("owner", task.key.owner.as_str())
}

/// Puts what the ledger knows over what the store said, and counts the task's time.
pub fn overlay(ops: &Ops, standings: &mut [Standing], task: Option<&TaskRecord>) {
    let now = clock::now();
    ops.gateway.purse.look(|ledger| {
        for standing in standings.iter_mut() {
            standing.overlay(ledger);
        }
    });
    let Some(task) = task else { return };
    for standing in standings {
        standing.count_time(now, task.suspended_ms(now));
    }
}
