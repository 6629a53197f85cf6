//! A reload changes caps and never resets usage, under load too.
#![allow(clippy::expect_used, reason = "a test may panic")]

mod common;

use bursar::sim::{Settings, Sim};
use common::calls::Ask;
use common::company::accounts;
use common::gateway::Gateway;
use common::setup::Setup;
use common::{books, until};
use std::path::Path;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

fn limit(name: &str, usd: &str, more: &str) -> String {
    format!("[[limit]]\nname = \"{name}\"\nper = [\"task\"]\nusd = \"{usd}\"\n{more}\n")
}

async fn scene(latency: Duration, limits: &str) -> (Sim, Gateway) {
    let settings = Settings {
        latency,
        ..Settings::default()
    };
    let sim = Sim::start(settings).await.expect("a simulated provider");
    let gateway = Gateway::start(&Setup::new(sim.addr()).limits(limits)).await;
    (sim, gateway)
}

/// Writes new limits and waits until they are in force.
async fn reload(gateway: &Gateway, limits: &str) {
    let policies = gateway.config().parent().map(Path::to_owned);
    let policies = policies
        .expect("a directory")
        .join("../policies/limits.toml");
    // In one step: nobody reads half of it.
    let new = policies.with_extension("new");
    std::fs::write(&new, limits).expect("a file");
    std::fs::rename(new, policies).expect("a file");
    // Answered once they are in force.
    let url = format!("{}/api/reload", gateway.ops);
    let reloaded = common::calls::Http::new()
        .post(&url, &serde_json::json!({}))
        .await;
    let reloaded = reloaded.expect("an answer");
    assert!(reloaded.status.is_success(), "{}", reloaded.text());
}

/// Calls of which each may cost 1.2 million nano-dollars, and costs nearly that.
fn ask() -> Ask {
    Ask::chat("sim-greedy")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lowered_cap_counts_what_is_in_flight() {
    let (sim, gateway) = scene(Duration::from_millis(800), &limit("task", "1.00", "")).await;
    let mut first = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let caller = gateway.caller("t");
        first.spawn(async move { caller.call(&ask()).await.expect("an answer") });
    }
    until("they are on their way", PATIENCE, || async {
        (sim.bill().calls == 20).then_some(())
    })
    .await;
    // Twenty calls come to 24.2 million: one more fits.
    reload(&gateway, &limit("task", "0.0256", "")).await;
    let mut next = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let caller = gateway.caller("t");
        next.spawn(async move { caller.call(&ask()).await.expect("an answer") });
    }
    first.join_all().await;
    let next = next.join_all().await;
    let billed = sim.bill().task("t").0;
    assert!(billed <= 25_600_000, "billed {billed}");
    assert!(
        next.iter().any(|reply| reply.status.is_success()),
        "one fits"
    );
    let refused = next.iter().filter(|reply| reply.refusal().is_some());
    assert!(refused.count() >= 18);
    gateway.quiet().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_limit_opens_with_what_was_spent() {
    let (sim, mut gateway) = scene(Duration::ZERO, &limit("task", "0.0105", "")).await;
    for _ in 0..5 {
        let reply = gateway.caller("t").call(&ask()).await.expect("an answer");
        assert!(reply.status.is_success());
    }
    gateway.quiet().await;
    let before = sim.bill().task("t").0;
    // Another shape, hence another account.
    let changed = limit("task", "0.0105", "match = { model = \"sim-*\" }");
    reload(&gateway, &changed).await;
    let mut answered = 0;
    for _ in 0..10 {
        let reply = gateway.caller("t").call(&ask()).await.expect("an answer");
        answered += u64::from(reply.status.is_success());
    }
    let billed = sim.bill().task("t").0;
    assert!(
        billed <= 10_500_000,
        "billed {billed}, {before} of it before"
    );
    assert!(answered >= 2, "what was left is of use: {billed}");
    gateway.stop().await;
    books::verify(&gateway.store());
    let account = accounts(&gateway.store(), "task");
    assert!(!account.is_empty());
}

/// Twenty calls in flight, as the provider sees them.
async fn twenty(sim: &Sim, gateway: &Gateway) -> tokio::task::JoinSet<common::calls::Reply> {
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let caller = gateway.caller("t");
        calls.spawn(async move { caller.call(&ask()).await.expect("an answer") });
    }
    until("they are on their way", PATIENCE, || async {
        (sim.bill().calls == 20).then_some(())
    })
    .await;
    calls
}

/// One new call fits beside the twenty, and no more; their costs stand in the account `limit`, once.
async fn one_fits(
    sim: Sim,
    mut gateway: Gateway,
    flying: tokio::task::JoinSet<common::calls::Reply>,
    limit: &str,
) {
    let mut next = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let caller = gateway.caller("t");
        next.spawn(async move { caller.call(&ask()).await.expect("an answer") });
    }
    let flying = flying.join_all().await;
    assert!(flying.iter().all(|reply| reply.status.is_success()));
    let next = next.join_all().await;
    let billed = sim.bill().task("t").0;
    assert!(billed <= 25_600_000, "billed {billed}");
    let fits = next.iter().filter(|reply| reply.status.is_success());
    assert_eq!(fits.count(), 1);
    gateway.quiet().await;
    gateway.stop().await;
    books::verify(&gateway.store());
    let accounts = accounts(&gateway.store(), limit);
    let settled: Vec<u64> = accounts.values().map(|account| account.settled).collect();
    assert_eq!(settled, [billed], "the account knows what was billed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_limit_holds_what_is_in_flight() {
    let wide = limit("task", "1.00", "");
    let (sim, gateway) = scene(Duration::from_millis(1500), &wide).await;
    let flying = twenty(&sim, &gateway).await;
    reload(&gateway, &(wide + &limit("new", "0.0256", ""))).await;
    one_fits(sim, gateway, flying, "new").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tasks_first_own_cap_holds_what_is_in_flight() {
    let (sim, gateway) = scene(Duration::from_millis(1500), &limit("task", "1.00", "")).await;
    let flying = twenty(&sim, &gateway).await;
    let body = serde_json::json!({"id": "t", "usd": "0.0256"});
    let url = format!("{}/api/tasks", gateway.ops);
    let lowered = common::calls::Http::new().post(&url, &body).await;
    assert!(lowered.expect("an answer").status.is_success());
    one_fits(sim, gateway, flying, "task's own").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_that_come_and_go_under_load_count_every_call_once() {
    let mut limits = limit("task", "9.00", "");
    let (sim, mut gateway) = scene(Duration::from_millis(10), &limits).await;
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (caller, stop) = (gateway.caller("t"), std::sync::Arc::clone(&stop));
        workers.spawn(async move {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let reply = caller.call(&ask()).await.expect("an answer");
                assert!(reply.status.is_success(), "{}", reply.text());
            }
        });
    }
    // One comes with each reload; one is there every other time.
    let (comes_and_goes, watched) = (limit("guest", "9.00", ""), "on_exceed = \"observe\"");
    for round in 0..6 {
        let more = if round % 2 == 0 { "" } else { watched };
        limits += &limit(&format!("new {round}"), "9.00", more);
        let guest = if round % 2 == 0 { &*comes_and_goes } else { "" };
        reload(&gateway, &(limits.clone() + guest)).await;
        let billed = sim.bill().calls;
        until("some more calls", PATIENCE, || async {
            (sim.bill().calls > billed + 20).then_some(())
        })
        .await;
    }
    reload(&gateway, &(limits.clone() + &comes_and_goes)).await;
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    workers.join_all().await;
    gateway.quiet().await;
    // In memory and in the store.
    let billed = sim.bill().task("t").0;
    let url = format!("{}/api/tasks/t", gateway.ops);
    let shown = common::calls::Http::new().get(&url).await;
    let shown = shown.expect("an answer").json();
    let in_memory = shown["accounts"].as_array().expect("accounts").iter();
    let in_memory = in_memory.map(|account| account["meters"]["usd"]["settled"].clone());
    let same = serde_json::json!(bursar::units::NanoUsd(billed).to_string());
    assert_eq!(in_memory.collect::<Vec<_>>(), vec![same; 8]);
    gateway.stop().await;
    books::verify(&gateway.store());
    let names = (0..6).map(|round| format!("new {round}"));
    for name in names.chain(["task", "guest"].map(str::to_owned)) {
        let accounts = accounts(&gateway.store(), &name);
        let settled: Vec<u64> = accounts.values().map(|account| account.settled).collect();
        assert_eq!(settled, [billed], "{name}");
    }
}
