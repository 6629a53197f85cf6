//! `kill -9` at random moments under load, started again on the same store: the provider's bill stays
//! under every cap over all lives, nothing that was spent is lost, and what nobody can prove is shown
//! as in doubt and can be released.
//!
//! By default three times; the test that is ignored, or `BURSAR_CRASH=20`, kills it twenty times.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use bursar::sim::{Settings, Sim};
use common::calls::Http;
use common::company::{Account, Company, accounts};
use common::gateway::Gateway;
use common::{Draw, books, until};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// All limits that the company has.
const LIMITS: [&str; 4] = ["task", "agent", "tight owner", "owner"];
/// How long the last life goes on at most.
const LAST_LIFE: Duration = Duration::from_secs(20);

fn crashes() -> u64 {
    std::env::var("BURSAR_CRASH").map_or(3, |count| count.parse().expect("a number"))
}

async fn sim(seed: u64) -> Sim {
    let settings = Settings {
        latency: Duration::from_millis(5),
        fail_rate: 0.05,
        reset_rate: 0.02,
        chunk_tokens: 16,
        seed,
        ..Settings::default()
    };
    Sim::start(settings).await.expect("a simulated provider")
}

type Books = BTreeMap<(&'static str, String), Account>;

fn all_accounts(store: &Path) -> Books {
    let of = |limit: &'static str| {
        accounts(store, limit)
            .into_iter()
            .map(move |(name, account)| ((limit, name), account))
    };
    LIMITS.into_iter().flat_map(of).collect()
}

/// Lets the company spend until so many more calls are billed, then kills the gateway in the midst.
async fn kill_under_load(gateway: &mut Gateway, sim: &Sim, company: Company, draw: &mut Draw) {
    let stop = Arc::new(AtomicBool::new(false));
    let caller = gateway.caller("-");
    let crew = company.crew(draw.next());
    let spending = tokio::spawn(async move { crew.spend(&caller, &stop).await });
    let enough = sim.bill().calls + 10 + draw.below(150);
    until("so many calls", Duration::from_secs(120), || async {
        (sim.bill().calls >= enough || spending.is_finished()).then_some(())
    })
    .await;
    // Anywhere between two calls.
    tokio::time::sleep(Duration::from_micros(draw.below(20_000))).await;
    gateway.kill();
    let seen = spending.await.expect("a crew");
    assert!(seen.odd.is_empty(), "odd answers: {:?}", seen.odd);
}

/// Starts it again; what was granted and not proven is in doubt now, to the nano-dollar.
async fn start_again(gateway: &mut Gateway) -> u64 {
    let store = gateway.store();
    books::verify(&store);
    let before = all_accounts(&store);
    let doubts_before = books::in_doubt(&store);
    gateway.start_again().await;
    books::verify(&store);
    let after = all_accounts(&store);
    for (name, before) in &before {
        let after = after[name];
        assert_eq!(after.settled, before.settled, "{name:?}");
        assert_eq!(
            after.in_doubt,
            before.in_doubt + before.alive(),
            "{name:?}: the allotment alive at the crash: {before:?}, {after:?}"
        );
    }
    let doubts = books::in_doubt(&store);
    let shown = gateway.metrics().await.nano("bursar_in_doubt_usd");
    let at_stake = books::at_stake(&store, "tight owner");
    assert_eq!(shown, at_stake, "all doubt is shown, and once");
    assert!(shown <= doubts);
    let alive: u64 = before.values().map(Account::alive).sum();
    assert_eq!(doubts, doubts_before + alive);
    before
        .iter()
        .filter(|((limit, _), _)| *limit == "task")
        .map(|(_, account)| account.alive())
        .sum()
}

async fn release_all(gateway: &Gateway) {
    let url = format!("{}/api/doubts/release", gateway.ops);
    let body = json!({"all": true, "by": "ann"});
    let reply = Http::new().post(&url, &body).await.expect("an answer");
    assert!(reply.status.is_success(), "{}", reply.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_moments() {
    kill(crashes()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn killed_twenty_times() {
    kill(20).await;
}

async fn kill(crashes: u64) {
    // Each crash may leave in doubt what all workers hold, so that the load needs room to go on.
    let company = Company {
        tasks: 4,
        workers: 12,
        task_cap: 1_000_000_000 * crashes,
    };
    let sim = sim(3).await;
    let mut gateway = Gateway::start(&company.setup(sim.addr())).await;
    let mut draw = Draw::new(11);
    for crash in 1..=crashes {
        let before = sim.bill().calls;
        kill_under_load(&mut gateway, &sim, company, &mut draw).await;
        let alive = start_again(&mut gateway).await;
        let bill = sim.bill();
        company.assert_never_above(&bill);
        company.assert_nothing_lost(&bill, &gateway.store());
        // What is shown once bounds what nobody has proven.
        let journal = books::calls(&gateway.store());
        let settled = journal.iter().filter(|entry| entry.ending == "settle");
        let settled: u64 = settled.map(|entry| entry.charged.usd().0).sum();
        let shown = gateway.metrics().await.nano("bursar_in_doubt_usd");
        assert!(
            bill.total_nano_usd <= settled + shown,
            "{settled} + {shown}"
        );
        eprintln!(
            "crash {crash}: after {} calls, {alive} nano-dollars unproven on the tasks' accounts",
            bill.calls - before
        );
    }
    let stop = Arc::new(AtomicBool::new(false));
    let last = company.crew(draw.next());
    let caller = gateway.caller("-");
    let spending = last.spend(&caller, &stop);
    tokio::pin!(spending);
    let seen = tokio::select! {
        seen = &mut spending => seen,
        () = tokio::time::sleep(LAST_LIFE) => {
            stop.store(true, Ordering::Relaxed);
            spending.await
        }
    };
    assert!(seen.odd.is_empty(), "odd answers: {:?}", seen.odd);
    assert_eq!(seen.refusals("budget_held"), 0);
    gateway.quiet().await;
    let bill = sim.bill();
    company.assert_never_above(&bill);
    release_all(&gateway).await;
    assert_eq!(gateway.metrics().await.nano("bursar_in_doubt_usd"), 0);
    assert_eq!(books::in_doubt(&gateway.store()), 0);
    for (name, account) in all_accounts(&gateway.store()) {
        assert_eq!(account.in_doubt, 0, "{name:?}");
    }
    gateway.stop().await;
    books::verify(&gateway.store());
    eprintln!(
        "{crashes} crashes: {} calls billed, {} answered in the last life",
        bill.calls, seen.answered
    );
}

/// A cap that is nearly used up when the gateway dies: whatever the next lives ask for, the bill
/// does not cross it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_the_cap() {
    let company = Company {
        tasks: 2,
        workers: 16,
        task_cap: 60_000_000,
    };
    let sim = sim(4).await;
    let mut gateway = Gateway::start(&company.setup(sim.addr())).await;
    let mut draw = Draw::new(12);
    for _ in 0..3 {
        kill_under_load(&mut gateway, &sim, company, &mut draw).await;
        start_again(&mut gateway).await;
        company.assert_nothing_lost(&sim.bill(), &gateway.store());
    }
    let never = Arc::new(AtomicBool::new(false));
    let last = company.crew(draw.next());
    let seen = last.spend(&gateway.caller("-"), &never).await;
    assert!(seen.odd.is_empty(), "odd answers: {:?}", seen.odd);
    gateway.quiet().await;
    let bill = sim.bill();
    company.assert_never_above(&bill);
    gateway.stop().await;
    books::verify(&gateway.store());
    company.assert_nothing_lost(&bill, &gateway.store());
}

/// A stop in good order leaves nothing in doubt, and usage is kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_in_good_order() {
    let company = Company {
        tasks: 2,
        workers: 8,
        task_cap: 200_000_000,
    };
    let settings = Settings {
        latency: Duration::from_millis(5),
        chunk_delay: Duration::from_millis(1),
        ..Settings::default()
    };
    let sim = Sim::start(settings).await.expect("a simulated provider");
    let mut gateway = Gateway::start(&company.setup(sim.addr())).await;
    let stop = Arc::new(AtomicBool::new(false));
    let (caller, crew) = (gateway.caller("-"), company.crew(5));
    let spending = tokio::spawn(async move { crew.spend(&caller, &stop).await });
    until("some calls", Duration::from_secs(60), || async {
        (sim.bill().calls >= 40).then_some(())
    })
    .await;
    let status = gateway.stop().await;
    assert!(status.success(), "{status}");
    spending.await.expect("a crew");
    books::verify(&gateway.store());
    let bill = sim.bill_by_request();
    let compared = books::compare(&bill, &books::calls(&gateway.store()));
    assert_eq!(compared.unreconciled, 0, "every call in flight ended");
    for (name, account) in all_accounts(&gateway.store()) {
        assert_eq!((account.in_doubt, account.alive()), (0, 0), "{name:?}");
    }
    gateway.start_again().await;
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.nano("bursar_in_doubt_usd"), 0);
    let never = Arc::new(AtomicBool::new(false));
    company.crew(6).spend(&gateway.caller("-"), &never).await;
    gateway.quiet().await;
    company.assert_never_above(&sim.bill());
}
