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
use std::process::Command;
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
    let reloads = || async { gateway.metrics().await.sum("bursar_config_reloads_total") };
    let before = reloads().await;
    let policies = gateway.config().parent().map(Path::to_owned);
    let policies = policies
        .expect("a directory")
        .join("../policies/limits.toml");
    std::fs::write(policies, limits).expect("a file");
    let sent = Command::new("kill")
        .args(["-HUP", &gateway.pid().to_string()])
        .status();
    assert!(sent.expect("kill").success());
    until("the limits are in force", PATIENCE, || async {
        (reloads().await > before).then_some(())
    })
    .await;
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
