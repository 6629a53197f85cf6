//! The first burst of an unseen task meets the same caps as its last call: in dollars and in turns.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use bursar::sim::{Settings, Sim};
use common::calls::{Ask, Caller, Dialect, Reply};
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
    burst_of(&gateway.caller(task), model).await
}

async fn burst_of(caller: &Caller, model: &str) -> Vec<Reply> {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn meets_the_cap_that_its_caller_lowered() {
    let sim = sim().await;
    let setup = Setup::new(sim.addr())
        .limits("[[limit]]\nname = \"task\"\nper = [\"task\"]\nusd = \"1.00\"");
    let gateway = Gateway::start(&setup).await;
    let caller = gateway.caller("t-own").header("x-bursar-task-usd", "0.02");
    let replies = burst_of(&caller, "sim-burst").await;
    let billed = sim.bill().task("t-own").0;
    assert!(billed <= 20_000_000, "billed {billed}");
    assert!(billed >= 17_000_000, "billed {billed}");
    assert!(count(&replies, Some("task_budget_exceeded")) > 0);
    // A caller may lower, never widen.
    let wider = caller.header("x-bursar-task-usd", "0.50");
    let next = wider
        .call(&Ask::chat("sim-burst"))
        .await
        .expect("an answer");
    assert_eq!(next.refusal().as_deref(), Some("task_budget_exceeded"));
    assert_eq!(sim.bill().task("t-own").0, billed);
    gateway.quiet().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn meets_its_caps_in_tokens() {
    for (meter, cap) in [
        ("tokens", 15_000),
        ("output_tokens", 8_000),
        ("input_tokens", 3_000),
    ] {
        let sim = sim().await;
        let limit = format!("[[limit]]\nname = \"task\"\nper = [\"task\"]\n{meter} = {cap}");
        let gateway = Gateway::start(&Setup::new(sim.addr()).limits(&limit)).await;
        let replies = burst(&gateway, "t-tokens", "sim-burst").await;
        gateway.quiet().await;
        let line = sim.bill().by_task["t-tokens"];
        let used = match meter {
            "tokens" => line.input_tokens + line.output_tokens,
            "output_tokens" => line.output_tokens,
            _ => line.input_tokens,
        };
        assert!(used <= cap, "{meter}: {used} of {cap}");
        // A least call: 256 tokens of output, and an input of two hundred bytes.
        assert!(
            used + 256 + 200 >= cap * 98 / 100,
            "{meter}: {used} of {cap}"
        );
        let refused = count(&replies, Some("task_budget_exceeded"));
        assert_eq!(count(&replies, None) + refused, BURST);
        eprintln!("{meter}: used {used} of {cap}, {refused} refused");
    }
}

/// Money that is only held is waited for, not refused; at the end of the wait the answer says that
/// it was only held.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waits_for_held_money() {
    let settings = || Settings {
        latency: Duration::from_millis(700),
        output_tokens: 20..=40,
        ..Settings::default()
    };
    // Room for one call of 300 tokens at a time, and for many that come to 40.
    let limit = "[[limit]]\nname = \"task\"\nper = [\"task\"]\nusd = \"0.0022\"";
    for (wait, code) in [("30s", None), ("150ms", Some("budget_held"))] {
        let sim = Sim::start(settings()).await.expect("a simulated provider");
        let setup = Setup::new(sim.addr())
            .limits(limit)
            .top(&format!("wait_for_holds = \"{wait}\""));
        let gateway = Gateway::start(&setup).await;
        let caller = gateway.caller("t-held");
        let first = {
            let caller = caller.clone();
            tokio::spawn(async move { caller.call(&Ask::chat("sim-x")).await })
        };
        until(
            "the first is on its way",
            Duration::from_secs(20),
            || async { (sim.bill().calls == 1).then_some(()) },
        )
        .await;
        let second = caller.call(&Ask::chat("sim-x")).await.expect("an answer");
        assert_eq!(second.refusal().as_deref(), code, "{}", second.text());
        if code.is_some() {
            assert_eq!(second.status, 402);
            assert_eq!(second.json()["error"]["bursar"]["retryable"], true);
            assert_eq!(second.header("x-should-retry").as_deref(), Some("false"));
        }
        let first = first.await.expect("a task").expect("an answer");
        assert!(first.status.is_success());
        gateway.quiet().await;
    }
}
