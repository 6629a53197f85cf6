//! Doubt: raised by calls that ended without evidence and by crashes, ended by evidence or a
//! person. Open doubts are rows of their own; the journal keeps how each began and ended.

use super::super::entry::{CrashBody, DoubtBody, EvidenceKey};
use super::super::{CallEntry, Evidence, Kind, Reconciled, Release, Shift, StoreError, Sums, Text};
use super::group::{Db, Group, at_most};
use super::schema::{pack, unpack};
use crate::ledger::AccountKey;
use crate::units::{Amounts, Meter, NanoUsd};
use rusqlite::{Params, params};

/// The reason of doubts that a crash raised.
pub(in super::super) const CRASH: &str = "crash";

/// An open doubt, as far as ending it needs.
#[derive(Debug)]
struct Open {
    id: i64,
    is_of_crash: bool,
    request: Option<String>,
    amounts: Amounts,
    accounts: Vec<i64>,
}

/// A call ended without evidence.
pub(super) fn raise_for_call(
    group: &Group<'_>,
    seq: i64,
    call: &CallEntry,
    accounts: &[i64],
) -> Db<()> {
    let who = &call.attribution;
    let sql = "INSERT INTO doubts VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
    group.conn.prepare_cached(sql)?.execute(params![
        seq,
        call.ended.0,
        call.reason.as_deref().unwrap_or("unreconciled"),
        who.owner.as_str(),
        who.task.value.as_str(),
        who.identity.as_str(),
        &*call.request,
        call.answer_id.as_deref(),
        call.provider.as_deref(),
        &*call.model,
        pack(&call.charged).as_slice(),
        serde_json::to_string(accounts)?
    ])?;
    Ok(())
}

/// The process before did not stop in good order: what each account was granted and has not
/// proven is in doubt.
pub(super) fn raise_after_crash(group: &mut Group<'_>) -> Db<Vec<(AccountKey, Amounts)>> {
    let mut doubted = Vec::new();
    for id in outstanding(group)? {
        let index = group.account_by_id(id)?;
        let balance = &group.at(index).balance;
        let proven = balance.settled.saturating_add(&balance.in_doubt);
        let amounts = balance.granted.saturating_sub(&proven);
        let body = CrashBody {
            account: id,
            amounts: Sums(amounts),
        };
        let seq = group.append(Kind::Crash, group.now(), None, &body)?;
        group.change(index, |balance| {
            balance.in_doubt = balance.in_doubt.saturating_add(&amounts);
        });
        let key = group.at(index).key.clone();
        let side = |name: &str| {
            let found = key.per.iter().find(|(side, _)| *side == name);
            found.map(|(_, value)| &**value)
        };
        // Of one task, if all that the account counts is.
        let (owner, task) = side("owner").zip(side("task")).unzip();
        let sql = "INSERT INTO doubts (id, at, reason, owner, task, amounts, accounts)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        group.conn.prepare_cached(sql)?.execute(params![
            seq,
            group.now().0,
            CRASH,
            owner,
            task,
            pack(&amounts).as_slice(),
            serde_json::to_string(&[id])?
        ])?;
        doubted.push((key, amounts));
    }
    Ok(doubted)
}

/// After a stop in good order no hold is out: every allotment falls to what is proven.
pub(super) fn give_all_back(group: &mut Group<'_>) -> Db<()> {
    for id in outstanding(group)? {
        let index = group.account_by_id(id)?;
        group.change(index, |balance| balance.granted = Amounts::ZERO);
    }
    Ok(())
}

fn outstanding(group: &Group<'_>) -> Db<Vec<i64>> {
    let mut select = group
        .conn
        .prepare("SELECT id FROM accounts WHERE outstanding = 1 ORDER BY id")?;
    let ids = select.query_map([], |row| row.get(0))?;
    Ok(ids.collect::<Result<_, _>>()?)
}

/// A person says it was not spent.
pub(super) fn release(
    group: &mut Group<'_>,
    release: &Release,
    by: &str,
) -> Db<Result<Reconciled, StoreError>> {
    let open = match release {
        Release::One(id) => find(group, "id = ?1", [id])?,
        Release::Request(request) => find(group, "request = ?1", [&**request])?,
        Release::Before(at) => find(group, "at < ?1", [at.0])?,
        Release::All => find(group, "true", [])?,
        Release::Task(key) => {
            let names = [key.owner.as_str(), key.task.as_str()];
            find(group, "owner = ?1 AND task = ?2", names)?
        }
    };
    if open.is_empty()
        && let Release::One(id) = release
    {
        return Ok(Err(StoreError::NotFound {
            what: "open doubt",
            which: id.to_string(),
        }));
    }
    let mut result = Reconciled::default();
    for doubt in open {
        end(
            group,
            Kind::Release,
            &doubt,
            &Amounts::ZERO,
            by,
            &mut result,
        )?;
    }
    Ok(Ok(result))
}

/// A provider says what was spent.
pub(super) fn reconcile(
    group: &mut Group<'_>,
    evidence: &[Evidence],
    by: &str,
) -> Db<Result<Reconciled, StoreError>> {
    let mut result = Reconciled::default();
    for (place, evidence) in evidence.iter().enumerate() {
        let open = match &evidence.key {
            EvidenceKey::Request(request) => find(group, "request = ?1", [&**request])?,
            EvidenceKey::Answer(answer) => find(group, "answer_id = ?1", [&**answer])?,
        };
        // One call may have several doubts (a retry holds anew): evidence names one of them, and
        // only one, else it would be settled twice.
        let Some(doubt) = open.first() else {
            result.unmatched.push(place);
            continue;
        };
        let actual = evidence.actual(&doubt.amounts);
        end(group, Kind::Reconcile, doubt, &actual, by, &mut result)?;
    }
    Ok(Ok(result))
}

fn find(group: &Group<'_>, condition: &str, values: impl Params) -> Db<Vec<Open>> {
    let sql = format!(
        "SELECT id, request, amounts, accounts, reason FROM doubts WHERE {condition} ORDER BY id"
    );
    let mut select = group.conn.prepare_cached(&sql)?;
    let mut rows = select.query(values)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(Open {
            id: row.get(0)?,
            is_of_crash: row.get::<_, String>(4)? == CRASH,
            request: row.get(1)?,
            amounts: unpack(row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?),
            accounts: serde_json::from_str(&row.get::<_, String>(3)?)?,
        });
    }
    Ok(found)
}

fn end(
    group: &mut Group<'_>,
    kind: Kind,
    doubt: &Open,
    actual: &Amounts,
    by: &str,
    result: &mut Reconciled,
) -> Db<()> {
    group
        .conn
        .prepare_cached("DELETE FROM doubts WHERE id = ?1")?
        .execute([doubt.id])?;
    let body = DoubtBody {
        doubt: doubt.id,
        request: doubt.request.as_deref().map(Text::from),
        amounts: Sums(doubt.amounts),
        settled: Sums(*actual),
        accounts: doubt.accounts.clone(),
        by: Text::from(by),
    };
    group.append(kind, group.now(), None, &body)?;
    for id in &doubt.accounts {
        let index = group.account_by_id(*id)?;
        let less = at_most(&group.at(index).balance.in_doubt, &doubt.amounts);
        group.change(index, |balance| {
            balance.in_doubt = balance.in_doubt.saturating_sub(&less);
            balance.settled = balance.settled.saturating_add(actual);
        });
        result.shifts.push(Shift {
            key: group.at(index).key.clone(),
            doubt_less: less,
            settled_more: *actual,
        });
    }
    let add = |sum: &mut NanoUsd, amounts: &Amounts| {
        *sum = NanoUsd(sum.0.saturating_add(amounts[Meter::Usd]));
    };
    result.doubts += 1;
    if doubt.is_of_crash {
        result.crashes += 1;
    } else {
        add(&mut result.cleared, &doubt.amounts);
    }
    add(&mut result.spent, actual);
    Ok(())
}
