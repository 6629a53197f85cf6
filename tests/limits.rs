//! Kinds of limits that the tests of money do not need: per tool, per call, and those that only watch.
#![allow(clippy::expect_used, reason = "a test may panic")]

mod common;

use bursar::sim::{Settings, Sim};
use common::books;
use common::calls::Ask;
use common::gateway::Gateway;
use common::setup::Setup;

async fn scene(limits: &str) -> (Sim, Gateway) {
    let sim = Sim::start(Settings::default())
        .await
        .expect("a simulated provider");
    let gateway = Gateway::start(&Setup::new(sim.addr()).limits(limits)).await;
    (sim, gateway)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_is_counted_once_and_the_answer_that_crosses_its_cap_is_delivered() {
    let limits = "[[limit]]\nname = \"each tool\"\nper = [\"task\", \"tool\"]\ntool_calls = 3\n";
    let (sim, gateway) = scene(limits).await;
    let caller = gateway.caller("t");
    let mut ask = Ask::chat("sim-tools");
    ask.tools = true;
    let mut asked = 0;
    let mut refused: u64 = 0;
    for _ in 0..8 {
        let reply = caller.call(&ask).await.expect("an answer");
        if reply.status.is_success() {
            let said = reply.json();
            let calls = said["choices"][0]["message"]["tool_calls"].as_array();
            asked += calls.map_or(0, Vec::len);
        } else {
            assert_eq!(reply.status, 402);
            assert_eq!(reply.refusal().as_deref(), Some("tool_calls_exceeded"));
            refused += 1;
        }
        gateway.quiet().await;
    }
    assert!(asked >= 1, "the simulated model asks for tools");
    let accounts = books::accounts(&gateway.store(), "each tool");
    let counted: u64 = accounts
        .iter()
        .map(|row| row.balance.settled[bursar::units::Meter::ToolCalls])
        .sum();
    assert_eq!(counted, asked as u64, "each tool call is counted once");
    assert!(
        refused > 0 || asked < 3,
        "{asked} asked for, {refused} refused"
    );
    books::verify(&gateway.store());
    assert_eq!(sim.bill().calls, 8 - refused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ceiling_per_call_clamps_or_denies_and_leaves_no_account() {
    // 0.001 dollars buy 2,500 output tokens at 0.40 a million, and 40 at 25.
    let limits = "[[limit]]\nname = \"dear calls\"\nper = [\"call\"]\nusd = \"0.001\"\n";
    let (_sim, gateway) = scene(limits).await;
    let caller = gateway.caller("t");
    let cheap = Ask::chat("sim-cheap").max_tokens(None);
    let reply = caller.call(&cheap).await.expect("an answer");
    assert!(reply.status.is_success());
    let told = reply.header("x-bursar-output-cap").expect("it was clamped");
    assert!(told.parse::<u64>().expect("a number") < 2_500);
    let dear = Ask::chat("sim-strong").max_tokens(Some(4_000));
    let reply = caller.call(&dear).await.expect("an answer");
    assert_eq!(reply.status, 402);
    assert_eq!(reply.refusal().as_deref(), Some("budget_exceeded"));
    gateway.quiet().await;
    assert!(books::accounts(&gateway.store(), "dear calls").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observed_limit_counts_and_refuses_nothing() {
    let limits =
        "[[limit]]\nname = \"watch\"\nper = [\"task\"]\nturns = 1\non_exceed = \"observe\"\n";
    let (sim, gateway) = scene(limits).await;
    let caller = gateway.caller("t");
    for _ in 0..3 {
        let reply = caller
            .call(&Ask::chat("sim-cheap"))
            .await
            .expect("an answer");
        assert!(reply.status.is_success());
        gateway.quiet().await;
    }
    assert_eq!(sim.bill().calls, 3);
    let metrics = gateway.metrics().await;
    let seen = metrics.get("bursar_denials_total{code=\"observed\",limit=\"watch\"}");
    assert!((seen - 2.0).abs() < 0.5, "{seen}");
    let accounts = books::accounts(&gateway.store(), "watch");
    assert_eq!(accounts[0].balance.settled[bursar::units::Meter::Turns], 3);
}
