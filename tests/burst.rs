//! The first burst of an unseen task meets the same caps as its last call: in dollars and in turns.

mod common;

use bursar::sim::{Settings, Sim};
use common::calls::{Ask, Dialect, Reply};
use common::gateway::Gateway;
use common::setup::Setup;
use common::{books, until};
use std::time::Duration;

/// First calls of the task at once.
const BURST: usize = 500;

async fn sim() -> Sim {
    let settings = Settings {
        latency: Duration::from_millis(30),
        ..Settings::default()
    };
    Sim::start(settings).await.expect("a simulated provider")
}

/// Everybody calls at once; plain and streaming, chat and messages.
async fn burst(gateway: &Gateway, task: &str, model: &str) -> Vec<Reply> {
    let caller = gateway.caller(task);
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..BURST {
        let caller = caller.clone().agent(&format!("agent-{}", number % 8));
        let mut ask = Ask::chat(model);
        ask.text = format!("Call {number}.");
        ask.stream = number % 3 == 0;
        if number % 2 == 0 {
            ask.dialect = Dialect::Messages;
        }
        calls.spawn(async move { caller.call(&ask).await.expect("an answer") });
    }
    calls.join_all().await
}

fn count(replies: &[Reply], code: Option<&str>) -> usize {
    let of = |reply: &&Reply| reply.refusal().as_deref() == code;
    replies.iter().filter(of).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn meets_its_cap_in_dollars() {
    let sim = sim().await;
    let cap = 50_000_000;
    let setup = Setup::new(sim.addr())
        .limits("[[limit]]\nname = \"task\"\nper = [\"task\"]\nusd = \"0.05\"");
    let mut gateway = Gateway::start(&setup).await;
    let replies = burst(&gateway, "t-dollars", "sim-burst").await;

    gateway.quiet().await;
    let bill = sim.bill_by_request();
    let billed = bill.task("t-dollars").0;
    assert!(billed <= cap, "billed {billed} under a cap of {cap}");
    let (answered, refused) = (
        count(&replies, None),
        count(&replies, Some("task_budget_exceeded")),
    );
    assert_eq!(
        answered + refused,
        BURST,
        "nothing but answers and refusals"
    );
    assert!(refused > 0, "the demand was more than the cap");
    // What is left is too little for the least that is of use: 256 output tokens and the input.
    let least = 256 * 4_000 + 200 * 1_000;
    assert!(billed + least >= cap * 98 / 100, "billed {billed} of {cap}");
    assert_eq!(sim.bill().turns, answered as u64);
    gateway.stop().await;
    books::verify(&gateway.store());
    let compared = books::compare(&bill, &books::calls(&gateway.store()));
    assert_eq!(compared.settled, answered);
    eprintln!("dollars: {answered} answered, {refused} refused, billed {billed} of {cap}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn meets_its_cap_in_turns_exactly() {
    let sim = sim().await;
    let setup = Setup::new(sim.addr()).limits(
        "[[limit]]\nname = \"task\"\nper = [\"task\"]\nturns = 40\nusd = \"5\"\n\
         [[limit]]\nname = \"agent\"\nper = [\"task\", \"agent\"]\nturns = 7",
    );
    let gateway = Gateway::start(&setup).await;
    let replies = burst(&gateway, "t-turns", "sim-burst").await;

    let answered = count(&replies, None);
    assert_eq!(
        answered, 40,
        "as many as there are turns: the demand was more"
    );
    assert_eq!(count(&replies, Some("turns_exceeded")), BURST - 40);
    assert_eq!(sim.bill().turns, 40);
    for (agent, line) in &sim.bill().by_agent {
        assert!(line.calls <= 7, "{agent} had {} turns", line.calls);
    }
    gateway.quiet().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn turns_of_refused_calls_are_free_again() {
    let sim = sim().await;
    let setup =
        Setup::new(sim.addr()).limits("[[limit]]\nname = \"task\"\nper = [\"task\"]\nturns = 40");
    let gateway = Gateway::start(&setup).await;
    let replies = burst(&gateway, "t-void", "sim-503").await;

    let theirs = replies.iter().filter(|reply| reply.status == 503).count();
    assert_eq!(theirs, BURST, "each got the provider's own error");
    assert_eq!(sim.bill().turns, 0);
    until("a turn is free", Duration::from_secs(10), || async {
        let reply = gateway.caller("t-void").call(&Ask::chat("sim-burst")).await;
        reply.ok()?.status.is_success().then_some(())
    })
    .await;
}
