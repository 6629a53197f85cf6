//! Calls that do not say whose they are: programs as frameworks run them, by base URL alone, through the
//! gateway; and what operators see and say of it.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may panic")]

mod common;
#[path = "inference/named.rs"]
mod named;
#[path = "inference/program.rs"]
mod program;
#[path = "inference/rules.rs"]
mod rules;

use bursar::sim::{Settings, Sim};
use bursar::store::{CallBody, Kind, Reader};
use common::books;
use common::gateway::Gateway;
use common::setup::Setup;
use program::{Run, Wire};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What the journal says of a call.
#[derive(Clone, Debug, Default)]
struct Row {
    task: String,
    agent: String,
    parent: String,
    from: [String; 4],
    invocation: String,
    ending: String,
}

fn rows(store: &Path) -> BTreeMap<String, Row> {
    let mut rows = BTreeMap::new();
    let reader = Reader::open(store).expect("a store");
    let read = reader.rows(0, |row| {
        if row.kind == Kind::Call.name() {
            let body = CallBody::read(row.at, row.entry)?;
            let text = |text: Option<&bursar::store::Text<'_>>| {
                text.map_or_else(String::new, |text| text.as_str().to_owned())
            };
            let row = Row {
                task: body.task.as_str().to_owned(),
                agent: text(body.agent.as_ref()),
                parent: text(body.parent.as_ref()),
                from: [
                    body.task_from.as_ref(),
                    body.agent_from.as_ref(),
                    body.parent_from.as_ref(),
                    body.invocation_from.as_ref(),
                ]
                .map(text),
                invocation: text(body.invocation.as_ref()),
                ending: body.ending.as_str().to_owned(),
            };
            if body.dialect.as_str() != "task" {
                rows.insert(body.request.as_str().to_owned(), row);
            }
        }
        Ok(true)
    });
    read.expect("a journal");
    rows
}

async fn scene(setup: impl FnOnce(Setup) -> Setup) -> (Sim, Gateway) {
    let sim = Sim::start(Settings::default()).await.expect("providers");
    let gateway = Gateway::start(&setup(Setup::new(sim.addr()))).await;
    (sim, gateway)
}

/// Shares in percent, of all calls: the right task, agent and parent; and how many tasks were merged.
fn compare(runs: &[Run], rows: &BTreeMap<String, Row>) -> ([usize; 3], usize) {
    let mut right = [0; 3];
    let mut calls = 0;
    let mut names: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    let mut tasks: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    for (number, run) in runs.iter().enumerate() {
        for met in &run.met {
            let row = &rows[&met.request];
            *names
                .entry(met.agent)
                .or_default()
                .entry(&row.agent)
                .or_default() += 1;
            tasks.entry(&row.task).or_default().insert(number);
        }
    }
    let name_of = |agent: &str| {
        let seen = names[agent].iter().max_by_key(|(_, count)| **count);
        seen.map_or("", |(name, _)| *name)
    };
    for run in runs {
        let task = &rows[&run.met[0].request].task;
        for met in &run.met {
            let row = &rows[&met.request];
            calls += 1;
            right[0] += usize::from(row.task == *task);
            right[1] += usize::from(row.agent == name_of(met.agent));
            let parent = met.parent.map_or("", name_of);
            right[2] += usize::from(row.parent == parent);
        }
    }
    let merged = tasks.values().filter(|runs| runs.len() > 1).count();
    (right.map(|right| right * 100 / calls), merged)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_are_told_apart_through_a_crash() {
    let (sim, mut gateway) = scene(|setup| setup).await;
    let mut runs: Vec<Run> = Vec::new();
    for wire in Wire::ALL {
        for number in 0..8 {
            runs.push(Run::new(wire, number));
        }
    }
    for run in &runs {
        run.tell(sim.addr()).await;
    }
    let base = gateway.agents.clone();
    futures_util::future::join_all(runs.iter_mut().map(|run| run.begin(&base))).await;
    gateway.quiet().await;
    gateway.kill();
    gateway.start_again().await;
    let base = gateway.agents.clone();
    futures_util::future::join_all(runs.iter_mut().map(|run| run.end(&base))).await;
    gateway.quiet().await;
    let rows = rows(&gateway.store());
    let ([task, agent, parent], merged) = compare(&runs, &rows);
    println!(
        "{} runs at once: task {task} %, agent {agent} %, parent {parent} %, {merged} merged",
        runs.len()
    );
    assert_eq!(merged, 0);
    assert!(
        task >= 95 && agent >= 95 && parent >= 90,
        "{task} {agent} {parent}"
    );
    // Who stays in an agent, stays there over the crash; who was called twice was there twice.
    for run in &runs {
        let stays = |agent: &str| -> BTreeSet<&str> {
            let met = run.met.iter().filter(|met| met.agent == agent);
            met.map(|met| &*rows[&met.request].invocation).collect()
        };
        assert_eq!(stays("editor").len(), 1, "{:?}", run.wire);
        assert_eq!(stays("researcher").len(), 2, "{:?}", run.wire);
    }
    // Each field says what told it.
    let row = |run: &Run, at: usize| rows[&run.met[at].request].clone();
    let words = ["orphan", "fingerprint", "", "orphan"];
    assert_eq!(row(&runs[0], 0).from, words);
    let words = ["argument", "fingerprint", "argument", "argument"];
    assert_eq!(row(&runs[0], 1).from, words);
    assert!(runs[0].met.iter().all(|met| met.how == "inferred"));
    books::verify(&gateway.store());
}
