//! The commands on a small journal.

use super::*;
use crate::attribution::{Attribution, Source, Sourced};
use crate::cli::report;
use crate::store::{CallEntry, Ending, Entry, Options, SqliteStore, Store, TaskOpening};
use crate::units::{AgentId, Amounts, Meter, TaskKey, UnixMs};
use clap::{Args, Command, FromArgMatches};
use std::sync::Arc;
use std::time::Duration;

fn by_header<T>(value: T) -> Sourced<T> {
    Sourced {
        value,
        source: Source::Header,
    }
}

fn call(agent: &str, parent: Option<&str>, nano: u64) -> CallEntry {
    CallEntry {
        request: "r".into(),
        admitted: UnixMs(0),
        ended: UnixMs(1_000),
        attribution: Arc::new(Attribution {
            owner: "research".into(),
            identity: "crew".into(),
            task: by_header("t-1".into()),
            agent: Some(by_header(agent.into())),
            role: None,
            invocation: None,
            parent: parent.map(|parent| by_header(AgentId::from(parent))),
            on_behalf_of: None,
            joined: None,
        }),
        trace: None,
        dialect: "openai-chat",
        translated: None,
        hedge: None,
        model: "gpt-4o-mini".into(),
        provider: None,
        answered: None,
        answer_id: None,
        ending: Ending::Settle,
        reason: None,
        limit: None,
        quoted: Amounts::ZERO,
        charged: Amounts::ZERO.with(Meter::Usd, nano),
        told: None,
        overrun: crate::units::NanoUsd::ZERO,
        price_version: "1".into(),
        route: None,
        asked: None,
        shadow: None,
        tools: vec![],
        status: None,
        steps: None,
        joins: None,
        accounts: [].into(),
    }
}

/// The path of a journal in which `lead` called `searcher`, and two agents call each other.
async fn journal(folder: &Path) -> PathBuf {
    let path = folder.join("bursar.db");
    let (store, _) = SqliteStore::open(Options::new(&path)).unwrap();
    let key = TaskKey {
        owner: "research".into(),
        task: "t-1".into(),
    };
    let caps = crate::ledger::Caps::default();
    store
        .open(
            Some(TaskOpening {
                key,
                caps,
                by: "call".into(),
            }),
            vec![],
        )
        .await
        .unwrap();
    let calls = [
        call("searcher", Some("lead"), 2_000_000),
        call("lead", None, 1_000_000),
        call("ping", Some("pong"), 1),
        call("pong", Some("ping"), 1),
    ];
    for call in calls {
        store
            .try_reserve()
            .unwrap()
            .post(Entry::Call(Box::new(call)));
    }
    store.stop(Duration::from_secs(10)).await.unwrap();
    path
}

fn parse<A: Args + FromArgMatches>(words: &[&str]) -> A {
    let command = A::augment_args(Command::new("bursar").no_binary_name(true));
    A::from_arg_matches(&command.try_get_matches_from(words).unwrap()).unwrap()
}

fn audit(path: &Path, words: &[&str]) -> String {
    let args: AuditArgs = parse(words);
    let mut out = Vec::new();
    command(&args, Some(path), Path::new("none.toml"), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[tokio::test]
async fn a_trace_is_a_tree_of_agents() {
    let folder = tempfile::tempdir().unwrap();
    let path = journal(folder.path()).await;
    insta::assert_snapshot!(audit(&path, &["trace", "t-1"]), @r"
    task t-1 of research: 4 calls, $0.003000002
    lead: 1 call, $0.001
      1970-01-01T00:00:01Z settle gpt-4o-mini $0.001 in 0 out 0
      searcher: 1 call, $0.002
        1970-01-01T00:00:01Z settle gpt-4o-mini $0.002 in 0 out 0
    ping: 1 call, $0.000000001
      1970-01-01T00:00:01Z settle gpt-4o-mini $0.000000001 in 0 out 0
      pong: 1 call, $0.000000001
        1970-01-01T00:00:01Z settle gpt-4o-mini $0.000000001 in 0 out 0
    ");
    assert_eq!(audit(&path, &["trace", "t-1", "--json"]).lines().count(), 4);
}

#[tokio::test]
async fn a_verification_says_its_head() {
    let folder = tempfile::tempdir().unwrap();
    let path = journal(folder.path()).await;
    let text = audit(&path, &["verify"]);
    assert!(text.starts_with("ok: 7 rows"), "{text}");
    let head = text.lines().last().unwrap().strip_prefix("head: ").unwrap();
    assert!(audit(&path, &["verify", "--head", head]).starts_with("ok"));
    let forged = format!("7:{}", "0".repeat(64));
    assert!(audit(&path, &["verify", "--head", &forged]).starts_with("bad: row 7"));
    let json: serde_json::Value =
        serde_json::from_str(&audit(&path, &["verify", "--json"])).unwrap();
    assert_eq!(json["ok"], true);
}

#[tokio::test]
async fn exports_are_rows_or_calls() {
    let folder = tempfile::tempdir().unwrap();
    let path = journal(folder.path()).await;
    for line in audit(&path, &["export"]).lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(row["entry"].is_object());
    }
    let csv = audit(&path, &["export", "--format", "csv"]);
    assert_eq!(csv.lines().count(), 5);
    assert!(csv.lines().nth(1).unwrap().contains(",0.002,"), "{csv}");
    // Rows are as young as this test.
    assert_eq!(audit(&path, &["export", "--since", "2999-01-01"]), "");
}

#[tokio::test]
async fn a_report_lists_the_dearest_first() {
    let folder = tempfile::tempdir().unwrap();
    let path = journal(folder.path()).await;
    let report = |words: &[&str]| {
        let mut words = words.to_vec();
        words.extend(["--store", path.to_str().unwrap()]);
        let mut out = Vec::new();
        report::report(&parse(&words), Path::new("none.toml"), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    insta::assert_snapshot!(report(&["--by", "agent"]), @r"
    agent             usd  in_doubt_usd  overrun_usd  calls  denied  turns  input_tokens  output_tokens  tool_calls
    searcher        0.002          0.00         0.00      1       0      0             0              0           0
    lead            0.001          0.00         0.00      1       0      0             0              0           0
    ping      0.000000001          0.00         0.00      1       0      0             0              0           0
    pong      0.000000001          0.00         0.00      1       0      0             0              0           0
    ");
    assert!(report(&["--csv"]).contains("t-1,research,0.003000002,"));
    let json: serde_json::Value =
        serde_json::from_str(&report(&["--by", "model", "--json"])).unwrap();
    assert_eq!(json[0]["key"], "gpt-4o-mini");
}
