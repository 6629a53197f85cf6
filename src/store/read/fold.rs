//! The balances and open doubts that the journal implies, to be compared with those stored.

use super::super::entry::{
    AccountBody, CallBody, CrashBody, DoubtBody, MarkBody, TaskBody, TopUpBody, WhoseBody,
};
use super::super::sqlite::{task_digest, unpack};
use super::super::{Ending, Kind, StoreError};
use super::{Reader, Row};
use crate::units::Amounts;
use std::collections::{HashMap, HashSet};
use xxhash_rust::xxh3::xxh3_64;

/// What the journal says of one account.
#[derive(Debug, Default, PartialEq, Eq)]
struct Implied {
    key_digest: u64,
    settled: Amounts,
    in_doubt: Amounts,
    topped_up: Amounts,
}

/// The state after the rows seen so far.
#[derive(Debug, Default)]
pub(super) struct Fold {
    accounts: HashMap<i64, Implied>,
    doubts: HashSet<i64>,
    /// Questions that wait.
    questions: HashSet<String>,
}

impl Fold {
    /// Takes a row in. The error says what is wrong with its columns or its entry.
    pub(super) fn take(&mut self, row: &Row<'_>) -> Result<(), String> {
        let kind = Kind::from_name(row.kind).ok_or_else(|| format!("no kind `{}`", row.kind))?;
        let task = self
            .apply(kind, row)
            .map_err(|error| format!("its entry: {error}"))?;
        // Archives hold no digest: it is an index, not a fact.
        if row.task.is_some() && row.task != task {
            return Err("its task index does not fit its entry".to_owned());
        }
        Ok(())
    }

    /// The answer is the digest of the row's task.
    fn apply(&mut self, kind: Kind, row: &Row<'_>) -> Result<Option<i64>, serde_json::Error> {
        match kind {
            Kind::Call => {
                let call = CallBody::read(row.at, row.entry)?;
                self.call(row.seq, &call);
                return Ok(Some(task_digest(call.owner.as_str(), call.task.as_str())));
            }
            Kind::TaskOpened | Kind::TaskChanged => {
                let task: TaskBody<'_> = serde_json::from_str(row.entry)?;
                return Ok(Some(task_digest(task.owner.as_str(), task.task.as_str())));
            }
            Kind::Mark => {
                let mark: MarkBody<'_> = serde_json::from_str(row.entry)?;
                return Ok(Some(task_digest(mark.owner.as_str(), mark.task.as_str())));
            }
            Kind::EscalationOpened | Kind::EscalationEnded => {
                let whose: WhoseBody<'_> = serde_json::from_str(row.entry)?;
                let id = whose.id.as_str();
                if kind == Kind::EscalationOpened {
                    self.questions.insert(id.to_owned());
                } else {
                    self.questions.remove(id);
                }
                return Ok(Some(task_digest(whose.owner.as_str(), whose.task.as_str())));
            }
            Kind::Account | Kind::Seed => self.seed(&serde_json::from_str(row.entry)?)?,
            Kind::TopUp => {
                let top_up: TopUpBody<'_> = serde_json::from_str(row.entry)?;
                let topped_up = &mut self.account(top_up.account).topped_up;
                *topped_up = topped_up.saturating_add(&top_up.amounts.0);
            }
            Kind::TopUpEnded => {
                let ended: TopUpBody<'_> = serde_json::from_str(row.entry)?;
                let topped_up = &mut self.account(ended.account).topped_up;
                *topped_up = topped_up.saturating_sub(&ended.amounts.0);
            }
            Kind::Crash => {
                let crash: CrashBody = serde_json::from_str(row.entry)?;
                let in_doubt = &mut self.account(crash.account).in_doubt;
                *in_doubt = in_doubt.saturating_add(&crash.amounts.0);
                self.doubts.insert(row.seq);
            }
            Kind::Release | Kind::Reconcile => self.end_doubt(&serde_json::from_str(row.entry)?),
            _ => serde_json::from_str::<serde::de::IgnoredAny>(row.entry).map(drop)?,
        }
        Ok(None)
    }

    fn compare_questions(
        &mut self,
        reader: &Reader,
        findings: &mut Vec<String>,
    ) -> Result<(), StoreError> {
        let sql = "SELECT id FROM escalations WHERE state = 'waiting'";
        let mut select = reader.connection().prepare(sql)?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let id: String = row.get(0)?;
            if !self.questions.remove(&id) {
                findings.push(format!("escalation {id} waits, and no journal row says so"));
            }
        }
        let missing = self.questions.iter();
        findings.extend(missing.map(|id| format!("escalation {id} should wait and does not")));
        Ok(())
    }

    fn account(&mut self, id: i64) -> &mut Implied {
        self.accounts.entry(id).or_default()
    }

    fn call(&mut self, seq: i64, call: &CallBody<'_>) {
        let in_doubt = Ending::from_name(call.ending.as_str()) == Some(Ending::Unreconciled);
        for id in &call.accounts {
            let account = self.account(*id);
            let pile = if in_doubt {
                &mut account.in_doubt
            } else {
                &mut account.settled
            };
            *pile = pile.saturating_add(&call.charged.0);
        }
        if in_doubt {
            self.doubts.insert(seq);
        }
    }

    fn seed(&mut self, body: &AccountBody) -> Result<(), serde_json::Error> {
        let digest = xxh3_64(serde_json::to_string(&body.key)?.as_bytes());
        let account = self.account(body.account);
        account.key_digest = digest;
        account.settled = account.settled.saturating_add(&body.settled.0);
        account.in_doubt = account.in_doubt.saturating_add(&body.in_doubt.0);
        Ok(())
    }

    fn end_doubt(&mut self, end: &DoubtBody<'_>) {
        self.doubts.remove(&end.doubt);
        for id in &end.accounts {
            let account = self.account(*id);
            account.in_doubt = account.in_doubt.saturating_sub(&end.amounts.0);
            account.settled = account.settled.saturating_add(&end.settled.0);
        }
    }

    /// What the tables say otherwise than the journal, in words; at most `most` findings.
    pub(super) fn compare(
        mut self,
        reader: &Reader,
        most: usize,
    ) -> Result<Vec<String>, StoreError> {
        let mut findings = Vec::new();
        let conn = reader.connection();
        let mut select =
            conn.prepare("SELECT id, key, settled, in_doubt, topped_up FROM accounts")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            let key: String = row.get(1)?;
            let amounts = |column: usize| -> Result<Amounts, StoreError> {
                Ok(unpack(
                    row.get_ref(column)?
                        .as_blob()
                        .map_err(rusqlite::Error::from)?,
                ))
            };
            let stored = Implied {
                key_digest: xxh3_64(key.as_bytes()),
                settled: amounts(2)?,
                in_doubt: amounts(3)?,
                topped_up: amounts(4)?,
            };
            match self.accounts.remove(&id) {
                Some(implied) if implied == stored => {}
                Some(_) => findings.push(format!("account {id} {key} differs from the journal")),
                None => findings.push(format!("account {id} {key} is in no journal row")),
            }
        }
        findings.extend(
            self.accounts
                .keys()
                .map(|id| format!("account {id} is missing")),
        );
        let mut select = conn.prepare("SELECT id FROM doubts")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            if !self.doubts.remove(&id) {
                findings.push(format!("doubt {id} is in no journal row"));
            }
        }
        findings.extend(
            self.doubts
                .iter()
                .map(|id| format!("doubt {id} is missing")),
        );
        self.compare_questions(reader, &mut findings)?;
        findings.truncate(most);
        Ok(findings)
    }
}
