//! The store against real files.

mod crash;
mod escalations;
mod faults;
mod journal;
mod money;
mod retention;
mod seeds;
mod speed;

use super::*;
use crate::attribution::{Attribution, Source, Sourced};
use crate::units::{Meter, NanoUsd, TraceIds};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A directory that goes with the test, and a store in it.
fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bursar.db");
    (directory, path)
}

fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(Options::new(path)).unwrap().0
}

fn task_key(task: &str) -> TaskKey {
    TaskKey {
        owner: "research".into(),
        task: task.into(),
    }
}

fn account(limit: &str, task: &str) -> AccountKey {
    AccountKey {
        limit: limit.into(),
        per: [("task", Arc::from(task))].into(),
        window: None,
    }
}

fn usd(nano: u64) -> Amounts {
    Amounts::ZERO.with(Meter::Usd, nano)
}

fn grant(key: &AccountKey, nano: u64) -> Grant {
    Grant {
        key: key.clone(),
        upto: usd(nano),
        seed: None,
    }
}

fn opening(task: &str) -> Option<TaskOpening> {
    Some(TaskOpening {
        key: task_key(task),
        caps: Caps::default(),
        by: "call".into(),
    })
}

fn header<T>(value: T) -> Sourced<T> {
    Sourced {
        value,
        source: Source::Header,
    }
}

fn call(
    request: &str,
    task: &str,
    ending: Ending,
    charged: Amounts,
    accounts: &[AccountKey],
) -> CallEntry {
    CallEntry {
        request: request.into(),
        admitted: UnixMs(1_000),
        ended: UnixMs(2_000),
        attribution: Arc::new(Attribution {
            owner: "research".into(),
            identity: "crew".into(),
            task: header(task.into()),
            agent: Some(header("searcher".into())),
            role: Some(header("researcher".into())),
            invocation: None,
            parent: Some(header("lead".into())),
            on_behalf_of: None,
            joined: None,
        }),
        trace: Some(TraceIds {
            trace: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c,
            span: 0xb7ad_6b71_6920_3331,
        }),
        dialect: "openai-chat",
        translated: None,
        hedge: None,
        model: "gpt-4o-mini".into(),
        provider: Some("openai".into()),
        answered: Some("gpt-4o-mini-2024-07-18".into()),
        answer_id: Some(format!("chatcmpl-{request}")),
        ending,
        reason: (ending == Ending::Unreconciled).then(|| "reset".into()),
        limit: None,
        quoted: usd(500),
        charged,
        told: Some(256),
        overrun: NanoUsd::ZERO,
        price_version: "2025-11-01".into(),
        route: None,
        asked: None,
        shadow: None,
        tools: vec![("search".into(), 2)],
        status: Some(200),
        steps: None,
        joins: None,
        accounts: accounts.into(),
    }
}

fn post(store: &SqliteStore, call: CallEntry) {
    store
        .try_reserve()
        .unwrap()
        .post(Entry::Call(Box::new(call)));
}

async fn balance(store: &SqliteStore, key: &AccountKey) -> Balance {
    let opened = store.open(None, vec![grant(key, 0)]).await.unwrap();
    opened.balances[0].1.clone()
}

#[track_caller]
fn assert_sound(path: &Path) {
    let verdict = Reader::open(path)
        .unwrap()
        .verify(&VerifyOptions::default())
        .unwrap();
    assert!(verdict.is_ok(), "{verdict:?}");
    assert!(verdict.balances_compared);
}
