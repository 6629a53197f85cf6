//! Costs by one dimension. Doubt raised in the period is shown as it stands now: what was released
//! or reconciled since is taken out of it.

use super::super::entry::{CallBody, DoubtBody};
use super::super::{Ending, Kind, StoreError};
use super::{Reader, text_of};
use crate::units::{Amounts, Meter, NanoUsd, UnixMs};
use std::collections::HashMap;

/// Keys of one report, at most; what comes after them is summed up under `other`.
const REPORT_KEYS: usize = 100_000;

/// By what costs are summed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The agent.
    Agent,
    /// Its role.
    Role,
    /// Who authenticated.
    Identity,
    /// Whom the identity belongs to.
    Owner,
    /// The model asked for.
    Model,
    /// The provider.
    Provider,
    /// The task, within its owner.
    Task,
    /// The tool asked for: tool calls only.
    Tool,
}

/// What to report on.
#[derive(Clone, Debug)]
pub struct ReportQuery {
    /// The dimension.
    pub by: By,
    /// Calls that ended at or after this.
    pub since: Option<UnixMs>,
    /// Calls that ended before this.
    pub until: Option<UnixMs>,
}

/// One line of a report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReportRow {
    /// The dimension's value; empty: the calls had none.
    pub key: String,
    /// The task's owner, when reporting by task.
    pub owner: Option<String>,
    /// Calls that were let through.
    pub calls: u64,
    /// Calls that were refused here.
    pub denied: u64,
    /// What is settled.
    pub settled: Amounts,
    /// What is in doubt.
    pub in_doubt: Amounts,
    /// Charged beyond what was held.
    pub overrun: NanoUsd,
}

#[derive(Default)]
struct Sums {
    lines: HashMap<(String, String), ReportRow>,
    /// Doubts raised in the period: whose they are.
    doubts: HashMap<i64, (String, String)>,
}

impl Reader {
    /// Costs by one dimension, the dearest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn report(&self, query: &ReportQuery) -> Result<Vec<ReportRow>, StoreError> {
        let mut sums = Sums::default();
        self.rows_since(query.since, |row| {
            match Kind::from_name(row.kind) {
                Some(Kind::Call) => {
                    let call = CallBody::read(row.at, row.entry)?;
                    if query.covers(&call) {
                        sums.add(query.by, row.seq, &call);
                    }
                }
                Some(Kind::Release | Kind::Reconcile) => {
                    sums.end_doubt(&serde_json::from_str(row.entry)?);
                }
                _ => {}
            }
            Ok(true)
        })?;
        let mut lines: Vec<ReportRow> = sums.lines.into_values().collect();
        lines.sort_by(|one, other| {
            let cost =
                |row: &ReportRow| row.settled[Meter::Usd].saturating_add(row.in_doubt[Meter::Usd]);
            let order = cost(other).cmp(&cost(one));
            order
                .then_with(|| other.settled[Meter::ToolCalls].cmp(&one.settled[Meter::ToolCalls]))
                .then_with(|| (&one.key, &one.owner).cmp(&(&other.key, &other.owner)))
        });
        Ok(lines)
    }
}

impl ReportQuery {
    /// The row's `at` may lie after the call's own end (it never steps back), so the call decides.
    fn covers(&self, call: &CallBody<'_>) -> bool {
        // Rows of tasks opened and of tools counted tell no call of their own.
        !matches!(call.dialect.as_str(), "task" | "tool")
            && self.since.is_none_or(|since| call.ended >= since.0)
            && self.until.is_none_or(|until| call.ended < until.0)
    }
}

impl Sums {
    fn line(&mut self, key: (String, String)) -> &mut ReportRow {
        let key = if self.lines.len() >= REPORT_KEYS && !self.lines.contains_key(&key) {
            ("other".to_owned(), String::new())
        } else {
            key
        };
        let (name, owner) = key.clone();
        self.lines.entry(key).or_insert_with(|| ReportRow {
            key: name,
            owner: (!owner.is_empty()).then_some(owner),
            ..ReportRow::default()
        })
    }

    fn add(&mut self, by: By, seq: i64, call: &CallBody<'_>) {
        let key = match by {
            By::Tool => return self.add_tools(call),
            By::Agent => text_of(call.agent.as_ref()),
            By::Role => text_of(call.role.as_ref()),
            By::Identity => call.identity.as_str(),
            By::Owner => call.owner.as_str(),
            By::Model => call.model.as_str(),
            By::Provider => text_of(call.provider.as_ref()),
            By::Task => call.task.as_str(),
        };
        let owner = if by == By::Task {
            call.owner.as_str()
        } else {
            ""
        };
        let key = (key.to_owned(), owner.to_owned());
        let ending = Ending::from_name(call.ending.as_str());
        if ending == Some(Ending::Unreconciled) {
            self.doubts.insert(seq, key.clone());
        }
        let line = self.line(key);
        match ending {
            Some(Ending::Denied) => line.denied += 1,
            _ => line.calls += 1,
        }
        let pile = match ending {
            Some(Ending::Unreconciled) => &mut line.in_doubt,
            _ => &mut line.settled,
        };
        *pile = pile.saturating_add(&call.charged.0);
        line.overrun = NanoUsd(line.overrun.0.saturating_add(call.overrun));
    }

    fn add_tools(&mut self, call: &CallBody<'_>) {
        for (tool, count) in &call.tools {
            let line = self.line((tool.as_str().to_owned(), String::new()));
            line.calls += 1;
            let counted = Amounts::ZERO.with(Meter::ToolCalls, *count);
            line.settled = line.settled.saturating_add(&counted);
        }
    }

    fn end_doubt(&mut self, end: &DoubtBody<'_>) {
        if let Some(key) = self.doubts.remove(&end.doubt) {
            let line = self.line(key);
            line.in_doubt = line.in_doubt.saturating_sub(&end.amounts.0);
            line.settled = line.settled.saturating_add(&end.settled.0);
        }
    }
}
