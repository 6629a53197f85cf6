//! What the journal says an account's calls cost before its limit was in force.

use super::super::entry::{CallBody, DoubtBody};
use super::super::{Ending, Field, Kind, SeedFrom, SeedQuery, StoreError};
use super::{Reader, Row, text_of};
use crate::units::{Amounts, Meter};
use std::collections::HashMap;
use wildmatch::WildMatch;

/// A query with its globs compiled.
struct Counter<'q> {
    query: &'q SeedQuery,
    globs: Vec<(Field, Vec<WildMatch>)>,
    settled: Amounts,
    in_doubt: Amounts,
    /// Doubts among the calls counted.
    doubts: HashMap<i64, Amounts>,
}

impl Reader {
    /// (settled, in doubt) of the calls that the query describes, as of the row `through`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(in super::super) fn seed(
        &self,
        query: &SeedQuery,
        through: i64,
    ) -> Result<(Amounts, Amounts), StoreError> {
        let glob = |glob: &std::sync::Arc<str>| WildMatch::new(glob);
        let globs = query.matching.iter();
        let mut counter = Counter {
            query,
            globs: globs
                .map(|(field, list)| (*field, list.iter().map(glob).collect()))
                .collect(),
            settled: Amounts::ZERO,
            in_doubt: Amounts::ZERO,
            doubts: HashMap::new(),
        };
        match &query.from {
            SeedFrom::Window(start) => {
                self.rows_since(Some(*start), |row| {
                    let counts = row.seq <= through;
                    if counts {
                        counter.count(row)?;
                    }
                    Ok(counts)
                })?;
            }
            SeedFrom::Task(task) => {
                self.rows_of_task(task, |row| match row.seq <= through {
                    true => counter.count(row),
                    false => Ok(()),
                })?;
                // How doubts ended is in rows that the task's index does not lead to.
                if let Some(first) = counter.doubts.keys().min().copied() {
                    self.rows(first, |row| {
                        if row.seq <= through && row.kind != Kind::Call.name() {
                            counter.count(row)?;
                        }
                        Ok(row.seq <= through && !counter.doubts.is_empty())
                    })?;
                }
            }
        }
        Ok((counter.settled, counter.in_doubt))
    }
}

impl Counter<'_> {
    fn count(&mut self, row: &Row<'_>) -> Result<(), StoreError> {
        match Kind::from_name(row.kind) {
            Some(Kind::Call) => {
                let call = CallBody::read(row.at, row.entry)?;
                // The calls themselves tell which tools were asked for.
                if call.dialect.as_str() == "tool" {
                    return Ok(());
                }
                let counted = self.counted(&call);
                if counted.is_zero() || !self.covers(&call) {
                    return Ok(());
                }
                if Ending::from_name(call.ending.as_str()) == Some(Ending::Unreconciled) {
                    self.doubts.insert(row.seq, counted);
                    self.in_doubt = self.in_doubt.saturating_add(&counted);
                } else {
                    self.settled = self.settled.saturating_add(&counted);
                }
            }
            Some(Kind::Release | Kind::Reconcile) => {
                let end: DoubtBody<'_> = serde_json::from_str(row.entry)?;
                if let Some(doubted) = self.doubts.remove(&end.doubt) {
                    self.in_doubt = self.in_doubt.saturating_sub(&doubted);
                    self.settled = self.settled.saturating_add(&end.settled.0);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// What of the call an account of this kind counts.
    fn counted(&self, call: &CallBody<'_>) -> Amounts {
        let tool = self
            .query
            .per
            .iter()
            .find(|(field, _)| *field == Field::Tool);
        let Some((_, tool)) = tool else {
            return call.charged.0;
        };
        let counts = call
            .tools
            .iter()
            .filter(|(name, _)| name.as_str() == &**tool);
        Amounts::ZERO.with(Meter::ToolCalls, counts.map(|(_, count)| count).sum())
    }

    fn covers(&self, call: &CallBody<'_>) -> bool {
        let in_period = match &self.query.from {
            SeedFrom::Window(start) => call.admitted >= start.0,
            SeedFrom::Task(task) => {
                call.owner.as_str() == task.owner.as_str()
                    && call.task.as_str() == task.task.as_str()
            }
        };
        in_period
            && self
                .query
                .per
                .iter()
                .all(|(field, value)| *field == Field::Tool || value_of(call, *field) == &**value)
            && self
                .globs
                .iter()
                .all(|(field, globs)| self.matches(call, *field, globs))
    }

    fn matches(&self, call: &CallBody<'_>, field: Field, globs: &[WildMatch]) -> bool {
        if field == Field::Tool {
            let mut names = call.tools.iter().map(|(name, _)| name.as_str());
            return names.any(|name| globs.iter().any(|glob| glob.matches(name)));
        }
        let value = value_of(call, field);
        !value.is_empty() && globs.iter().any(|glob| glob.matches(value))
    }
}

fn value_of<'a>(call: &'a CallBody<'_>, field: Field) -> &'a str {
    match field {
        Field::Owner => call.owner.as_str(),
        Field::Identity => call.identity.as_str(),
        Field::OnBehalfOf => text_of(call.on_behalf_of.as_ref()),
        Field::Task => call.task.as_str(),
        Field::Agent => text_of(call.agent.as_ref()),
        Field::Role => text_of(call.role.as_ref()),
        Field::Model => call.model.as_str(),
        Field::Provider => text_of(call.provider.as_ref()),
        Field::Dialect => call.dialect.as_str(),
        Field::Tool => "",
    }
}
