//! Memory of a gateway that remembers many tasks which rest: 100,000 of them within 200 MB, for the whole
//! process; and, in every run, what one task keeps.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use bursar::sim::{Settings, Sim};
use bytes::Bytes;
use common::calls::{Http, Reply};
use common::gateway::Gateway;
use common::setup::Setup;
use http::Request;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const TASKS: usize = 100_000;
const MOST_MB: u64 = 200;
/// What a short task keeps, bytes: some 2.3 kB (0.7 kB of its own, 1.2 kB of what the watch knows of it, and its part
/// of tables that fill), and room for what the allocator keeps at hand. `src/task/tests.rs` is stricter.
const TASK_BYTES: f64 = 3_200.0;
/// What an account takes until it is paged out, bytes.
const ACCOUNT_BYTES: f64 = 900.0;
/// Calls at once.
const WIDTH: usize = 8;

const LIMITS: &str = "[[limit]]\nname = \"task\"\nper = [\"task\"]\nusd = \"2.00\"\nturns = 200\n\
    [[limit]]\nname = \"agent turns\"\nper = [\"task\", \"agent\"]\nturns = 40\n\
    [[limit]]\nname = \"owner per day\"\nper = [\"owner\"]\nwindow = { every = \"day\", timezone = \"UTC\" }\nusd = \"5000000.00\"\n";

/// What the process holds in memory, MB.
fn resident_mb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kb = line.and_then(|line| line.split_whitespace().nth(1));
    kb.and_then(|kb| kb.parse::<u64>().ok()).expect("a size") / 1_024
}

/// A task's first call, and one that brings a tool's result.
fn bodies(task: usize) -> [Value; 2] {
    let said = json!({"role": "user", "content": format!("Look up page {task} of the ledger.")});
    let call = json!({"role": "assistant", "content": null, "tool_calls": [{"id": "c", "type": "function",
        "function": {"name": "look_up", "arguments": format!("{{\"page\":{task}}}")}}]});
    let result = json!({"role": "tool", "tool_call_id": "c", "content": format!("Page {task} tells of {} chests.", task % 97)});
    let body =
        |messages: &[&Value]| json!({"model": "sim-cheap", "max_tokens": 5, "messages": messages});
    [body(&[&said]), body(&[&said, &call, &result])]
}

/// What a measurement is told from outside.
fn told(name: &str) -> Option<usize> {
    std::env::var(name).ok()?.parse().ok()
}

/// Opens these tasks, each with two calls, at most `pace` of them a second.
async fn rest(gateway: &Gateway, tasks: std::ops::Range<usize>, pace: Option<usize>) {
    let http = Arc::new(Http::new());
    let (first, begun) = (tasks.start, Instant::now());
    let next = Arc::new(AtomicUsize::new(tasks.start));
    let url = format!("{}/v1/chat/completions", gateway.agents);
    let mut agents = tokio::task::JoinSet::new();
    for _ in 0..WIDTH {
        let (http, next, url, end) = (Arc::clone(&http), Arc::clone(&next), url.clone(), tasks.end);
        agents.spawn(async move {
            loop {
                let task = next.fetch_add(1, Ordering::Relaxed);
                if task >= end {
                    return;
                }
                if let Some(pace) = pace {
                    let due = Duration::from_secs(1) * u32::try_from(task - first).expect("few");
                    let due = due / u32::try_from(pace).expect("a pace");
                    tokio::time::sleep(due.saturating_sub(begun.elapsed())).await;
                }
                for body in bodies(task) {
                    let request = Request::post(&url)
                        .header("content-type", "application/json")
                        .header("x-bursar-task-id", format!("task-{task:08}"))
                        .header("x-bursar-agent-id", "worker")
                        .body(Bytes::from(body.to_string()).into());
                    let answer = http.send(request.expect("a request")).await;
                    let reply = Reply::read(answer.expect("an answer"))
                        .await
                        .expect("a body");
                    assert!(reply.status.is_success(), "{}", reply.text());
                }
            }
        });
    }
    while let Some(done) = agents.join_next().await {
        done.expect("no panic");
    }
}

/// What the gateway has allocated once all is quiet, bytes, and its accounts in memory.
async fn allocated(gateway: &Gateway) -> (f64, f64) {
    gateway.quiet().await;
    // The gauges are of the last second.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let metrics = gateway.metrics().await;
    let bytes = metrics.get("bursar_memory_bytes{kind=\"allocated\"}");
    assert!(bytes > 1e6, "the allocator counts");
    (bytes, metrics.get("bursar_accounts"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_keeps_no_more_than_is_stated() {
    const BEFORE: usize = 500;
    const MORE: usize = 1_000;
    let sim = Sim::start(Settings::default()).await.expect("a simulation");
    let setup = Setup::new(sim.addr())
        .limits(LIMITS)
        .more("[attribution]\ntasks_per_hour = 1_000_000\n");
    let gateway = Gateway::start(&setup).await;
    rest(&gateway, 0..BEFORE, None).await;
    let before = allocated(&gateway).await;
    rest(&gateway, BEFORE..BEFORE + MORE, None).await;
    let after = allocated(&gateway).await;
    // Some accounts are paged out again by now.
    let (grown, accounts) = (after.0 - before.0, after.1 - before.1);
    let each = (grown - accounts * ACCOUNT_BYTES) / MORE as f64;
    println!("{grown} bytes more, {accounts} accounts more: {each:.0} bytes a task");
    assert!(each <= TASK_BYTES, "{each:.0} bytes a task");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes; IDLE_TASKS asks for another number, IDLE_PACE bounds how many open in a second, \
            IDLE_REST says how many seconds are watched afterwards, BURSAR_BIN names another build"]
async fn a_hundred_thousand_idle_tasks_stay_within_their_memory() {
    let tasks = told("IDLE_TASKS").unwrap_or(TASKS);
    let pace = told("IDLE_PACE");
    let sim = Sim::start(Settings::default()).await.expect("a simulation");
    let setup = Setup::new(sim.addr())
        .limits(LIMITS)
        .more("[attribution]\ntasks_per_hour = 1_000_000\n");
    let gateway = Gateway::start(&setup).await;
    let begun = resident_mb(gateway.pid());
    let clock = Instant::now();
    for tenth in 0..10 {
        let range = tasks * tenth / 10..tasks * (tenth + 1) / 10;
        rest(&gateway, range, pace).await;
        let (now, seconds) = (resident_mb(gateway.pid()), clock.elapsed().as_secs());
        let open = tasks * (tenth + 1) / 10;
        println!("{open} tasks after {seconds} s: {now} MB, {begun} MB at first");
    }
    gateway.quiet().await;
    let ended = resident_mb(gateway.pid());
    println!("{ended} MB at rest");
    for ten_seconds in 1..=told("IDLE_REST").unwrap_or(0) / 10 {
        tokio::time::sleep(Duration::from_secs(10)).await;
        let now = resident_mb(gateway.pid());
        println!("{now} MB after {} s at rest", ten_seconds * 10);
    }
    assert!(ended <= MOST_MB, "{ended} MB");
}
