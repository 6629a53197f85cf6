//! Grants, give-backs and top-ups, and the seed of an account whose limit is younger than its
//! window or task.

use super::super::Balance;
use super::super::entry::{AccountBody, KeyBody, TopUpBody};
use super::super::{Grant, Kind, Opened, SeedFrom, StoreError, Sums, TaskOpening, Text};
use super::group::{Db, Group, at_least, at_most};
use super::schema::{pack, unpack};
use super::tasks;
use crate::ledger::AccountKey;
use crate::units::{Amounts, UnixMs};
use rusqlite::{OptionalExtension, params};
use std::sync::Arc;

/// (settled, in doubt) that the journal holds for an account, beyond what the account has.
pub(super) type Seed = (Amounts, Amounts);

/// Top-ups taken back in one step, in number.
const LAPSES: i64 = 256;
/// Stands for the time since when its limit is in force at an account that was opened without a look
/// at the journal: by a call's end, or while its limit was not in force.
pub(super) const UNSEEDED: i64 = -1;

/// A seed that must be counted. The count takes its time, and calls end meanwhile: it is of the
/// rows up to one, and what the account had at that row is taken off.
#[derive(Debug)]
pub(super) struct Needed {
    /// Which grant's.
    pub index: usize,
    /// The newest row that counts.
    pub through: i64,
    /// What the account has.
    pub known: Seed,
}

/// What an `open` came to.
#[derive(Debug)]
pub(super) enum OpenStep {
    /// It is done.
    Done(Box<Opened>),
    /// Nothing was done: these seeds must be counted first.
    NeedSeeds(Vec<Needed>),
}

/// The task's row and every grant.
pub(super) fn open(
    group: &mut Group<'_>,
    task: Option<&TaskOpening>,
    grants: &[Grant],
    seeds: &[Option<Seed>],
) -> Db<Result<OpenStep, StoreError>> {
    let mut needed = Vec::new();
    for (index, grant) in grants.iter().enumerate() {
        if seeds[index].is_none() && needs_seed(group, grant)? {
            let through = group.head.seq;
            let account = group.account(&grant.key)?;
            let known = account.map_or((Amounts::ZERO, Amounts::ZERO), |account| {
                let balance = &group.at(account).balance;
                (balance.settled, balance.in_doubt)
            });
            needed.push(Needed {
                index,
                through,
                known,
            });
        }
    }
    if !needed.is_empty() {
        return Ok(Ok(OpenStep::NeedSeeds(needed)));
    }
    let (task, newly_opened) = match task {
        Some(opening) => {
            let (record, new) = tasks::open(group, opening)?;
            (Some(record), new)
        }
        None => (None, false),
    };
    let mut balances = Vec::with_capacity(grants.len());
    for (grant, seed) in grants.iter().zip(seeds) {
        let index = open_account(group, grant, seed.as_ref())?;
        balances.push((grant.key.clone(), group.at(index).balance.clone()));
    }
    Ok(Ok(OpenStep::Done(Box::new(Opened {
        task,
        newly_opened,
        balances,
    }))))
}

/// True if calls were made, within the account's window or task, before its limit was in force.
fn needs_seed(group: &mut Group<'_>, grant: &Grant) -> Db<bool> {
    let Some(query) = &grant.seed else {
        return Ok(false);
    };
    let Some((since, last_call_at)) = limit_since(group, &grant.key.limit)? else {
        return Ok(false);
    };
    match group.account(&grant.key)? {
        Some(index) if group.at(index).limit_since == since => return Ok(false),
        Some(index) if group.at(index).limit_since != UNSEEDED => {}
        _ if query.whenever_new => return Ok(true),
        _ => {}
    }
    Ok(match &query.from {
        SeedFrom::Window(start) => last_call_at >= *start,
        SeedFrom::Task(key) => tasks::find(group, key)?.is_some_and(|task| since >= task.opened.0),
    })
}

fn open_account(group: &mut Group<'_>, grant: &Grant, seed: Option<&Seed>) -> Db<usize> {
    // Whoever asks without a seed, or for a limit that is not in force, may have asked before it came
    // into force: the account is seeded when somebody asks who knows.
    let since = match &grant.seed {
        Some(_) => limit_since(group, &grant.key.limit)?.map(|(since, _)| since),
        None => None,
    };
    let index = match group.account(&grant.key)? {
        Some(index) => {
            // Another may have counted it meanwhile.
            let is_due = since.is_some_and(|since| since != group.at(index).limit_since);
            if let Some(seed) = seed.filter(|_| is_due) {
                seed_again(group, index, seed)?;
            }
            if let Some(since) = since {
                group.set_limit_since(index, since);
            }
            raise(group, index, &grant.upto);
            return Ok(index);
        }
        None => group.new_account(
            &grant.key,
            since.unwrap_or(UNSEEDED),
            seed.unwrap_or(&(Amounts::ZERO, Amounts::ZERO)),
        )?,
    };
    let seeded = group.at(index).balance.granted;
    raise(group, index, &seeded.saturating_add(&grant.upto));
    Ok(index)
}

fn raise(group: &mut Group<'_>, index: usize, upto: &Amounts) {
    let granted = at_least(&group.at(index).balance.granted, upto);
    if granted != group.at(index).balance.granted {
        group.change(index, |balance| balance.granted = granted);
    }
}

/// The limit was away: whatever the journal knows beyond the account is added to it, and to what is
/// granted, so that the allotment stays as large as it was.
fn seed_again(group: &mut Group<'_>, index: usize, seed: &Seed) -> Db<()> {
    let account = group.at(index);
    let (settled, in_doubt) = *seed;
    if settled.is_zero() && in_doubt.is_zero() {
        return Ok(());
    }
    let body = AccountBody {
        account: account.id,
        key: KeyBody(account.key.clone()),
        settled: Sums(settled),
        in_doubt: Sums(in_doubt),
    };
    group.append(Kind::Seed, group.now(), None, &body)?;
    group.change(index, |balance| {
        balance.settled = balance.settled.saturating_add(&settled);
        balance.in_doubt = balance.in_doubt.saturating_add(&in_doubt);
        let more = settled.saturating_add(&in_doubt);
        balance.granted = balance.granted.saturating_add(&more);
    });
    Ok(())
}

/// Since when a limit is in force, and when the newest call before that was; `None`: it is not.
fn limit_since(group: &Group<'_>, limit: &str) -> Db<Option<(i64, UnixMs)>> {
    let found = group
        .conn
        .prepare_cached("SELECT since, last_call_at FROM limits WHERE id = ?1")?
        .query_row([limit], |row| Ok((row.get(0)?, UnixMs(row.get(1)?))))
        .optional()?;
    Ok(found)
}

/// Forgets since when other limits than these were in force; these are in force from now at the latest.
pub(super) fn set_limits(group: &mut Group<'_>, limits: &[Arc<str>]) -> Db<Result<(), StoreError>> {
    let known: Vec<String> = group
        .conn
        .prepare_cached("SELECT id FROM limits")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for gone in known
        .iter()
        .filter(|id| !limits.iter().any(|limit| **limit == ***id))
    {
        group
            .conn
            .prepare_cached("DELETE FROM limits WHERE id = ?1")?
            .execute([gone])?;
    }
    let is_new = |limit: &Arc<str>| !known.iter().any(|id| **limit == **id);
    let last_call_at = group.head.last_call_at.0;
    // A limit that was away for less than a millisecond has been away all the same.
    let now = if limits.iter().any(is_new) {
        group.now().0.max(group.latest_limit_since()? + 1)
    } else {
        group.now().0
    };
    for limit in limits {
        group
            .conn
            .prepare_cached("INSERT OR IGNORE INTO limits VALUES (?1, ?2, ?3)")?
            .execute(params![limit, now, last_call_at])?;
    }
    Ok(Ok(()))
}

/// Lowers what is granted, down to what is proven.
pub(super) fn give_back(
    group: &mut Group<'_>,
    levels: &[(AccountKey, Amounts)],
) -> Db<Result<(), StoreError>> {
    for (key, level) in levels {
        if let Some(index) = group.account(key)? {
            group.change(index, |balance| {
                balance.granted = at_most(&balance.granted, level)
            });
        }
    }
    Ok(Ok(()))
}

/// Raises an account's cap.
pub(super) fn top_up(
    group: &mut Group<'_>,
    key: &AccountKey,
    amounts: &Amounts,
    by: &str,
) -> Db<Result<Balance, StoreError>> {
    let index = group.account_or_new(key)?;
    let body = TopUpBody {
        account: group.at(index).id,
        amounts: Sums(*amounts),
        by: Text::from(by),
    };
    group.append(Kind::TopUp, group.now(), None, &body)?;
    group.change(index, |balance| {
        balance.topped_up = balance.topped_up.saturating_add(amounts);
    });
    Ok(Ok(group.at(index).balance.clone()))
}

/// Notes that a top-up of this account is to be taken back then.
pub(super) fn end_top_up(
    group: &mut Group<'_>,
    key: &AccountKey,
    amounts: &Amounts,
    ends: UnixMs,
) -> Db<()> {
    let index = group.account_or_new(key)?;
    let sql = "INSERT INTO top_ups (account, amounts, ends) VALUES (?1, ?2, ?3)";
    group.conn.prepare_cached(sql)?.execute(params![
        group.at(index).id,
        pack(amounts).as_slice(),
        ends.0
    ])?;
    Ok(())
}

/// Takes back top-ups whose end has come: the cap is lower again, what was spent stays spent.
pub(super) fn lapse(group: &mut Group<'_>) -> Db<Result<Vec<(AccountKey, Balance)>, StoreError>> {
    let now = group.now();
    let sql = "SELECT id, account, amounts FROM top_ups WHERE ends <= ?1 ORDER BY ends LIMIT ?2";
    let due: Vec<(i64, i64, Amounts)> = group
        .conn
        .prepare_cached(sql)?
        .query_map([now.0, LAPSES], |row| {
            Ok((row.get(0)?, row.get(1)?, unpack(row.get_ref(2)?.as_blob()?)))
        })?
        .collect::<Result<_, _>>()?;
    let mut lowered = Vec::with_capacity(due.len());
    for (id, account, amounts) in due {
        let index = group.account_by_id(account)?;
        let amounts = at_most(&amounts, &group.at(index).balance.topped_up);
        let body = TopUpBody {
            account,
            amounts: Sums(amounts),
            by: Text::from("gateway"),
        };
        group.append(Kind::TopUpEnded, now, None, &body)?;
        group.change(index, |balance| {
            balance.topped_up = balance.topped_up.saturating_sub(&amounts);
            balance.lapsed = balance.lapsed.saturating_add(&amounts);
        });
        let balance = group.at(index).balance.clone();
        // Only here does it change, so that the write of every other group can leave it out.
        let sql = "UPDATE accounts SET lapsed = ?1 WHERE id = ?2";
        let lapsed = pack(&balance.lapsed);
        group
            .conn
            .prepare_cached(sql)?
            .execute(params![lapsed.as_slice(), account])?;
        group
            .conn
            .prepare_cached("DELETE FROM top_ups WHERE id = ?1")?
            .execute([id])?;
        lowered.push((group.at(index).key.clone(), balance));
    }
    Ok(Ok(lowered))
}
