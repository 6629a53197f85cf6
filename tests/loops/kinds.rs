//! Each kind of loop, on each dialect, fires at the call at which `replay` says that it would.

use crate::common::program::Ends as _;
use crate::runs::{harmless, loops};
use crate::talk::{Form, Scene, first_warning};
use serde_json::Value;
use std::collections::HashMap;
use std::io::Write as _;
use std::process::Command;

/// Every rule warns, so that each run can be seen to its end.
const WARN: &str = "[repeat]\naction = \"warn\"\n[error_retry]\naction = \"warn\"\n[cycle]\naction = \"warn\"\n\
    [monologue]\naction = \"warn\"\n[rounds]\naction = \"warn\"\n[no_progress]\naction = \"warn\"\n";

/// What `bursar replay --loops` says of each run: the call's index, and the rule.
fn replayed(runs: &[Value]) -> HashMap<String, Option<(usize, String)>> {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    for run in runs {
        writeln!(file, "{run}").expect("written");
    }
    let done = Command::new(env!("CARGO_BIN_EXE_bursar"))
        .args(["replay", "--loops"])
        .arg(file.path())
        .ended();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let lines = String::from_utf8(done.stdout).expect("text");
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("a line");
        let at = line["at"]
            .as_u64()
            .map(|at| usize::try_from(at).expect("an index"));
        let rule = line["rule"].as_str().map(str::to_owned);
        (line["id"].as_str().expect("an id").to_owned(), at.zip(rule))
    };
    lines.lines().map(line).collect()
}

/// The call in which the gateway sees what came of call `at`: the agent's next.
fn seen_at(run: &Value, at: usize) -> usize {
    let calls = run["agent_calls"].as_array().expect("calls");
    let later = calls.iter().enumerate().skip(at + 1);
    let next = later.filter(|(_, call)| call["agent"] == calls[at]["agent"]);
    next.map(|(next, _)| next).next().unwrap_or(calls.len())
}

async fn compare(runs: &[Value]) -> Vec<String> {
    let replayed = replayed(runs);
    let mut differ = Vec::new();
    for form in Form::ALL {
        let scene = Scene::new(WARN).await;
        for run in runs {
            let id = run["id"].as_str().expect("an id");
            let expected = replayed[id].clone();
            let expected = expected.map(|(at, rule)| (seen_at(run, at), rule));
            let live = first_warning(&scene, form, &format!("{id}-{form:?}"), run).await;
            // Where the agents never call again, a person may have spoken before what they did last is seen.
            let calls = run["agent_calls"].as_array().map_or(0, Vec::len);
            let never_again = expected.as_ref().is_some_and(|(at, _)| *at == calls);
            if live != expected && !(live.is_none() && never_again) {
                differ.push(format!("{id} {form:?}: live {live:?}, replay {expected:?}"));
            }
        }
    }
    differ
}

#[tokio::test]
async fn every_kind_fires_where_replay_says_so() {
    let runs = loops();
    for (id, fired) in replayed(&runs) {
        assert!(fired.is_some(), "{id}");
    }
    assert_eq!(compare(&runs).await, Vec::<String>::new());
}

#[tokio::test]
async fn what_only_looks_like_a_loop_passes() {
    let runs = harmless();
    for (id, fired) in replayed(&runs) {
        assert_eq!(fired, None, "{id}");
    }
    assert_eq!(compare(&runs).await, Vec::<String>::new());
}

#[tokio::test]
#[ignore = "needs LOOP_RUNS, a file of runs in the neutral form"]
async fn recorded_runs_fire_where_replay_says_so() {
    let file = std::env::var("LOOP_RUNS").expect("LOOP_RUNS");
    let text = std::fs::read_to_string(file).expect("the runs");
    let runs = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("a run"));
    let runs: Vec<Value> = runs.collect();
    let differ = compare(&runs).await;
    assert!(
        differ.is_empty(),
        "{} of {}:\n{}",
        differ.len(),
        runs.len() * Form::ALL.len(),
        differ.join("\n")
    );
}
