//! The books of both sides: the provider's bill and Bursar's journal, compared call by call.

use bursar::sim::Bill;
use bursar::store::{
    AccountFilter, AccountRow, CallBody, DoubtFilter, Kind, Reader, VerifyOptions,
};
use bursar::units::{Amounts, Meter};
use std::collections::BTreeMap;
use std::path::Path;

/// One call of the journal.
#[derive(Clone, Debug)]
pub struct Entry {
    pub request: String,
    pub task: String,
    pub owner: String,
    pub agent: String,
    pub ending: String,
    pub reason: String,
    pub quoted: Amounts,
    pub charged: Amounts,
    pub overrun: u64,
    /// Which of two asks of one call, if there were two.
    pub hedge: String,
}

/// The calls of the journal that reached a provider, or might have.
pub fn calls(store: &Path) -> Vec<Entry> {
    let reader = Reader::open(store).expect("a store");
    let mut entries = Vec::new();
    let read = reader.rows(0, |row| {
        if row.kind != Kind::Call.name() {
            return Ok(true);
        }
        let body: CallBody<'_> = serde_json::from_str(row.entry)?;
        let reason = body.reason.as_ref().map_or("", |reason| reason.as_str());
        if body.ending.as_str() != "denied" && reason != "task_opened" {
            entries.push(Entry {
                request: body.request.as_str().to_owned(),
                task: body.task.as_str().to_owned(),
                owner: body.owner.as_str().to_owned(),
                agent: body
                    .agent
                    .as_ref()
                    .map_or("", |agent| agent.as_str())
                    .to_owned(),
                ending: body.ending.as_str().to_owned(),
                reason: reason.to_owned(),
                quoted: body.quoted.0,
                charged: body.charged.0,
                overrun: body.overrun,
                hedge: (body.hedge.as_ref())
                    .map_or("", |hedge| hedge.as_str())
                    .to_owned(),
            });
        }
        Ok(true)
    });
    read.expect("a journal");
    entries
}

/// The journal's entry of one call.
///
/// # Panics
/// If there is not exactly one.
pub fn call(store: &Path, request: &str) -> Entry {
    let mut found = calls(store);
    found.retain(|entry| entry.request == request);
    assert_eq!(found.len(), 1, "one entry for {request}: {found:?}");
    found.remove(0)
}

/// Walks the chain and compares the balances.
pub fn verify(store: &Path) {
    let reader = Reader::open(store).expect("a store");
    let verdict = reader.verify(&VerifyOptions::default()).expect("a walk");
    assert!(verdict.is_ok(), "the journal does not hold: {verdict:?}");
    assert!(verdict.balances_compared, "nothing has left the journal");
}

/// The accounts of a limit.
pub fn accounts(store: &Path, limit: &str) -> Vec<AccountRow> {
    let reader = Reader::open(store).expect("a store");
    let filter = AccountFilter {
        limit: Some(limit.into()),
        ..AccountFilter::default()
    };
    reader.accounts(&filter).expect("accounts")
}

/// The doubts that are open, in nano-dollars, each counted once.
pub fn in_doubt(store: &Path) -> u64 {
    let reader = Reader::open(store).expect("a store");
    let doubts = reader.doubts(&DoubtFilter::default()).expect("doubts");
    doubts.iter().map(|doubt| doubt.amounts.usd().0).sum()
}

/// What the open doubts come to, in nano-dollars: each call's once, and of each crash the accounts of
/// one limit, the largest but for `partial`, which does not cover every call.
pub fn at_stake(store: &Path, partial: &str) -> u64 {
    let reader = Reader::open(store).expect("a store");
    let doubts = reader.doubts(&DoubtFilter::default()).expect("doubts");
    let mut calls = 0;
    let mut crashes: BTreeMap<i64, BTreeMap<String, u64>> = BTreeMap::new();
    for doubt in doubts {
        let usd = doubt.amounts.usd().0;
        if doubt.request.is_some() {
            calls += usd;
            continue;
        }
        let limit = bursar::config::Limit::name_in(&doubt.accounts[0].limit).to_owned();
        if limit != partial {
            *crashes
                .entry(doubt.at.0)
                .or_default()
                .entry(limit)
                .or_default() += usd;
        }
    }
    let largest = crashes.values().filter_map(|limits| limits.values().max());
    calls + largest.sum::<u64>()
}

/// What the comparison counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Compared {
    pub settled: usize,
    pub unreconciled: usize,
    pub void: usize,
    pub settled_nano: u64,
    pub in_doubt_nano: u64,
}

/// Every call that was settled stands on the bill with that very amount, every one in doubt with no
/// more, every void one not at all, and the bill has nothing else.
pub fn compare(bill: &Bill, journal: &[Entry]) -> Compared {
    let mut lines = bill.by_request.clone().expect("a bill by request");
    let mut compared = Compared::default();
    for entry in journal {
        let billed = lines.remove(&entry.request).unwrap_or_default();
        let charged = entry.charged[Meter::Usd];
        match entry.ending.as_str() {
            "settle" => {
                compared.settled += 1;
                compared.settled_nano += charged;
                assert_eq!(
                    charged, billed.nano_usd,
                    "settled {entry:?}, billed {billed:?}"
                );
            }
            "unreconciled" => {
                compared.unreconciled += 1;
                compared.in_doubt_nano += charged;
                assert!(
                    charged >= billed.nano_usd,
                    "in doubt {entry:?}, billed {billed:?}"
                );
            }
            "void" => {
                compared.void += 1;
                assert_eq!(billed.nano_usd, 0, "void {entry:?}, billed {billed:?}");
            }
            other => panic!("ending `{other}`"),
        }
    }
    assert!(
        lines.is_empty(),
        "billed, and not in the journal: {lines:?}"
    );
    compared
}
