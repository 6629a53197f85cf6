//! The race: many workers of many tasks spend against task, agent-in-task and owner caps at once,
//! hang up, and meet failures and resets. The provider's own bill is the judge, to the nano-dollar.
//!
//! By default 4 tasks of 16 workers; the tests that are ignored, or `BURSAR_RACE=long`, take 8 of 64.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use bursar::sim::{Bill, Settings, Sim};
use common::books::{self, Compared};
use common::company::{Account, Company, accounts};
use common::gateway::Gateway;
use common::load::Seen;
use common::ops::Metrics;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// What the least call may cost that is still of use, in nano-dollars: $0.40 per million tokens for
/// 16 of output, $0.10 per million for an input of at most 2,000. When a cap is used up no more than
/// this is left over, for its workers ask for all kinds before they give up.
const LEAST: u64 = 16 * 400 + 2_000 * 100;

struct Race(Company);

impl Race {
    fn new(is_long: bool) -> Self {
        let is_long = is_long || std::env::var("BURSAR_RACE").is_ok_and(|race| race == "long");
        let (tasks, workers) = if is_long { (8, 64) } else { (4, 16) };
        Self(Company {
            tasks,
            workers,
            task_cap: if is_long { 2_000_000_000 } else { 400_000_000 },
        })
    }

    async fn run(&self, settings: Settings) -> Outcome {
        let began = Instant::now();
        let sim = Sim::start(settings).await.expect("a simulated provider");
        let mut gateway = Gateway::start(&self.0.setup(sim.addr())).await;
        let crew = self.0.crew(7);
        let never = Arc::new(AtomicBool::new(false));
        let seen = crew.spend(&gateway.caller("-"), &never).await;
        let metrics = gateway.quiet().await;
        assert!(seen.odd.is_empty(), "odd answers: {:?}", seen.odd);
        assert_eq!(seen.unreachable, 0, "the gateway was there all the time");
        let bill = sim.bill_by_request();
        gateway.stop().await;
        books::verify(&gateway.store());
        let compared = books::compare(&bill, &books::calls(&gateway.store()));
        eprintln!(
            "race: {} tasks x {} workers, {} billed calls in {:.1?}: answered {}, hung up {}, failed {}, \
             broken {}, refused {:?}; {compared:?}",
            self.0.tasks,
            self.0.workers,
            bill.calls,
            began.elapsed(),
            seen.answered,
            seen.hung_up,
            seen.failed,
            seen.broken,
            seen.refused,
        );
        Outcome {
            seen,
            bill,
            metrics,
            compared,
            tasks: accounts(&gateway.store(), "task"),
            owners: accounts(&gateway.store(), "tight owner"),
        }
    }

    /// 98 % of a cap, less one smallest quote, was of use: spent, or shown as in doubt.
    fn assert_used(&self, outcome: &Outcome) {
        let members = self.0.members();
        for member in members.iter().filter(|member| member.owner == "wide") {
            assert_used(&member.task, outcome.tasks[&member.task], self.0.task_cap);
        }
        assert_used("tight", outcome.owners["tight"], self.0.tight_cap());
    }
}

fn assert_used(name: &str, account: Account, cap: u64) {
    let used = account.used();
    eprintln!(
        "{name}: used {used} of {cap} ({:.2} %), {} of it in doubt",
        percent(used, cap),
        account.in_doubt
    );
    assert!(
        used + LEAST >= cap * 98 / 100,
        "{name}: {account:?} of {cap}"
    );
}

#[expect(clippy::cast_precision_loss, reason = "to be read by people")]
fn percent(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole as f64
}

struct Outcome {
    seen: Seen,
    bill: Bill,
    metrics: Metrics,
    compared: Compared,
    tasks: BTreeMap<String, Account>,
    owners: BTreeMap<String, Account>,
}

impl Outcome {
    fn assert_patient(&self) {
        assert_eq!(
            self.seen.refusals("budget_held"),
            0,
            "nobody is refused for money that is only held"
        );
    }

    /// Plain answers tell their cost: the bill's, to the nano-dollar.
    fn assert_told_costs(&self) {
        let by_request = self.bill.by_request.as_ref().expect("asked for");
        assert!(!self.seen.costs.is_empty());
        for (request, cost) in &self.seen.costs {
            assert_eq!(cost.0, by_request[request].nano_usd, "{request}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whole_answers() {
    race_with_whole_answers(Race::new(false)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn whole_answers_of_many() {
    race_with_whole_answers(Race::new(true)).await;
}

async fn race_with_whole_answers(race: Race) {
    let outcome = race
        .run(Settings {
            latency: Duration::from_millis(5),
            fail_rate: 0.05,
            chunk_tokens: 16,
            seed: 1,
            ..Settings::default()
        })
        .await;
    race.0.assert_never_above(&outcome.bill);
    race.assert_used(&outcome);
    outcome.assert_patient();
    outcome.assert_told_costs();
    assert_eq!(outcome.compared.unreconciled, 0, "nothing was broken");
    assert_eq!(outcome.compared.settled_nano, outcome.bill.total_nano_usd);
    assert_eq!(outcome.metrics.nano("bursar_in_doubt_usd"), 0);
    assert_eq!(outcome.metrics.get("bursar_overrun_usd_total"), 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_answers() {
    race_with_broken_answers(Race::new(false)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn broken_answers_of_many() {
    race_with_broken_answers(Race::new(true)).await;
}

async fn race_with_broken_answers(race: Race) {
    let outcome = race
        .run(Settings {
            latency: Duration::from_millis(5),
            fail_rate: 0.05,
            reset_rate: 0.03,
            chunk_tokens: 16,
            seed: 2,
            ..Settings::default()
        })
        .await;
    race.0.assert_never_above(&outcome.bill);
    race.assert_used(&outcome);
    outcome.assert_patient();
    outcome.assert_told_costs();
    assert!(outcome.seen.broken > 0 && outcome.compared.unreconciled > 0);
    assert_eq!(
        outcome.metrics.nano("bursar_in_doubt_usd"),
        outcome.compared.in_doubt_nano,
        "doubt is shown apart"
    );
    assert_eq!(outcome.metrics.get("bursar_overrun_usd_total"), 0.0);
}
