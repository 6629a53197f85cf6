//! `/api/report` and `/api/audit/trace/{task}`: what the journal says, beside the calls it grows by.

use super::Ops;
use super::failure::{Answer, Failure};
use super::fields::Fields;
use super::request::Pairs;
use super::show;
use super::tasks::bounded;
use crate::config::{advice, parse_instant, parse_span};
use crate::store::{By, EscalationFilter, ReportQuery};
use crate::units::UnixMs;
use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

/// Calls of one trace unless the request says otherwise: the newest.
const CALLS: usize = 1_000;
/// Calls of one trace, at most.
const MAX_CALLS: usize = 100_000;

/// What a report may be by.
pub const DIMENSIONS: [(&str, By); 8] = [
    ("agent", By::Agent),
    ("role", By::Role),
    ("identity", By::Identity),
    ("owner", By::Owner),
    ("model", By::Model),
    ("provider", By::Provider),
    ("task", By::Task),
    ("tool", By::Tool),
];

/// `GET /api/report?by&since&until`: costs by one dimension, the dearest first.
///
/// # Errors
/// See [`Failure`].
pub async fn report(State(ops): State<Ops>, Pairs(query): Pairs) -> Answer {
    let mut fields = Fields::of_query(query, &["by", "since", "until"])?;
    let word = fields.text("by")?.unwrap_or_else(|| "task".into());
    let by = DIMENSIONS.iter().find(|(name, _)| *name == &*word);
    let by = by.map(|(_, by)| *by).ok_or_else(|| {
        let advice = advice(&word, &DIMENSIONS.map(|(name, _)| name));
        Failure::invalid(format!("nothing is reported by `{word}`; {advice}"))
    })?;
    let query = ReportQuery {
        by,
        since: when(&mut fields, "since")?,
        until: when(&mut fields, "until")?,
    };
    ops.up_to_date().await;
    let rows = ops.gateway.purse.store().report(query).await?;
    let rows: Vec<Value> = rows.iter().map(show::report_row).collect();
    Ok(Json(json!({"by": *word, "rows": rows})))
}

/// An instant, or how long ago.
fn when(fields: &mut Fields, name: &str) -> Result<Option<UnixMs>, Failure> {
    let Some(text) = fields.text(name)? else {
        return Ok(None);
    };
    if let Ok(span) = parse_span(&text) {
        let span = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        return Ok(Some(UnixMs(crate::clock::now().0.saturating_sub(span))));
    }
    let instant = parse_instant(&text).or_else(|_| parse_instant(&format!("{text}T00:00:00Z")));
    instant.map(Some).map_err(|_| {
        Failure::invalid(format!(
            "`{name}`: `{text}` is neither an instant (2026-01-31T00:00:00Z), a day (2026-01-31) nor a span (24h)"
        ))
    })
}

/// `GET /api/audit/trace/{task}?owner&limit`: the task's calls, oldest first.
///
/// # Errors
/// See [`Failure`].
pub async fn trace(State(ops): State<Ops>, Path(id): Path<String>, Pairs(query): Pairs) -> Answer {
    let mut fields = Fields::of_query(query, &["owner", "limit"])?;
    let record = ops.task(&id, fields.id("owner")?).await?;
    let limit = bounded(fields.count("limit")?, CALLS, MAX_CALLS);
    ops.up_to_date().await;
    let store = ops.gateway.purse.store();
    let calls = store.trace(record.key.clone(), limit).await?;
    let calls = calls
        .iter()
        .map(show::call)
        .collect::<Result<Vec<Value>, _>>()?;
    let questions = EscalationFilter {
        task: Some(record.key.clone()),
        rows: Some(limit),
        ..EscalationFilter::default()
    };
    let questions = store.escalations(questions).await?;
    let questions: Vec<Value> = questions.iter().rev().map(show::escalation).collect();
    let mut shown = show::task(&record);
    shown.insert("escalations".to_owned(), questions.into());
    shown.insert("calls".to_owned(), calls.into());
    Ok(Json(Value::Object(shown)))
}
