//! Calls that wait: how they begin to, how they end, and what survives whom.

use super::rig::{ONE_TURN, PATIENCE, Scene};
use crate::common::calls::Ask;
use crate::common::{books, until};
use bursar::units::Meter;
use serde_json::json;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_over_its_cap_waits_until_a_person_raises_it() {
    let scene = Scene::new("").await;
    scene.spend_the_turn("t").await;
    let call = scene.call("t", &Ask::chat("sim-cheap"));
    let id = scene.question("t").await;
    scene.held_open(1.0).await;
    assert!(!call.is_finished());
    let question = scene.get(&format!("/api/escalations/{id}")).await;
    assert_eq!(question["limit"]["name"], "task turns");
    assert_eq!(question["limit"]["meter"], "turns");
    assert_eq!(question["agent"], "writer");
    let task = scene.get("/api/tasks/t").await;
    assert_eq!(task["state"], "suspended");
    assert_eq!(task["question"]["id"], id.as_str());
    let approved = scene.approve(&id, json!({"turns": 1, "by": "ann"})).await;
    assert!(approved.status.is_success(), "{}", approved.text());
    assert_eq!(approved.json()["applied"], true);
    let reply = call.await.expect("a call");
    assert!(reply.status.is_success(), "{}", reply.text());
    assert_eq!(scene.get("/api/tasks/t").await["state"], "active");
    scene.gateway.quiet().await;
    assert_eq!(scene.sim.bill().calls, 2);
    books::verify(&scene.gateway.store());
    let (trace, code) = scene.bursar(&["audit", "trace", "t"]);
    assert_eq!(code, Some(0));
    assert!(trace.contains("a person was asked"), "{trace}");
    assert!(trace.contains("was approved by ops:ann"), "{trace}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_join_one_question_and_all_go_on() {
    let scene = Scene::new("").await;
    scene.spend_the_turn("t").await;
    let calls: Vec<_> = (0..6)
        .map(|_| scene.call("t", &Ask::chat("sim-cheap")))
        .collect();
    scene.held_open(6.0).await;
    let waiting = scene.waiting().await;
    assert_eq!(waiting.len(), 1, "{waiting:?}");
    let id = scene.question("t").await;
    scene.approve(&id, json!({"turns": 10})).await;
    for call in calls {
        let reply = call.await.expect("a call");
        assert!(reply.status.is_success(), "{}", reply.text());
    }
    assert!(scene.waiting().await.is_empty());
    assert_eq!(scene.sim.bill().calls, 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_waited_long_enough_is_refused_with_the_id_and_the_question_stays() {
    let scene = Scene::new("wait = \"300ms\"").await;
    scene.spend_the_turn("t").await;
    for _ in 0..2 {
        let reply = scene.call("t", &Ask::chat("sim-cheap")).await.unwrap();
        assert_eq!(reply.status, 402);
        assert_eq!(reply.refusal().as_deref(), Some("task_suspended"));
        assert_eq!(reply.header("x-should-retry").as_deref(), Some("false"));
        let id = scene.question("t").await;
        assert_eq!(reply.json()["error"]["bursar"]["escalation"], id.as_str());
    }
    let id = scene.question("t").await;
    scene.approve(&id, json!({"turns": 1})).await;
    let reply = scene.call("t", &Ask::chat("sim-cheap")).await.unwrap();
    assert!(reply.status.is_success(), "{}", reply.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_takes_only_its_call_along() {
    let scene = Scene::new("").await;
    scene.spend_the_turn("t").await;
    let call = scene.call("t", &Ask::chat("sim-cheap"));
    scene.held_open(1.0).await;
    call.abort();
    scene.held_open(0.0).await;
    let id = scene.question("t").await;
    scene.approve(&id, json!({"turns": 1})).await;
    scene.gateway.quiet().await;
    assert_eq!(scene.sim.bill().calls, 1, "nobody waited for the second");
    scene.spend_the_turn("t").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_the_bound_calls_do_not_wait() {
    let scene = Scene::new("max_waiting = 1").await;
    scene.spend_the_turn("t").await;
    let first = scene.call("t", &Ask::chat("sim-cheap"));
    scene.held_open(1.0).await;
    let second = scene.call("t", &Ask::chat("sim-cheap")).await.unwrap();
    assert_eq!(second.refusal().as_deref(), Some("task_suspended"));
    let id = scene.question("t").await;
    scene.approve(&id, json!({"turns": 1})).await;
    assert!(first.await.unwrap().status.is_success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_between_question_and_answer() {
    let mut scene = Scene::new("").await;
    scene.spend_the_turn("t").await;
    let lost = scene.gateway.caller("t");
    let lost = tokio::spawn(async move { lost.call(&Ask::chat("sim-cheap")).await });
    let id = scene.question("t").await;
    scene.gateway.kill();
    assert!(lost.await.unwrap().is_err(), "its connection is gone");
    books::verify(&scene.gateway.store());
    scene.gateway.start_again().await;
    // The question is there, and the task still waits for it.
    assert_eq!(scene.question("t").await, id);
    let call = scene.call("t", &Ask::chat("sim-cheap"));
    scene.held_open(1.0).await;
    assert_eq!(scene.waiting().await.len(), 1);
    scene.approve(&id, json!({"turns": 1, "by": "ann"})).await;
    let reply = call.await.unwrap();
    assert!(reply.status.is_success(), "{}", reply.text());
    // And an answer survives as well.
    scene.gateway.kill();
    scene.gateway.start_again().await;
    let decided = scene.get(&format!("/api/escalations/{id}")).await;
    assert_eq!(decided["state"], "approved");
    assert_eq!(decided["decision"]["by"], "ops:ann");
    let accounts = books::accounts(&scene.gateway.store(), "task turns");
    assert_eq!(accounts[0].balance.topped_up[Meter::Turns], 1);
    assert_eq!(scene.sim.bill().calls, 2);
    books::verify(&scene.gateway.store());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopping_gateway_lets_held_calls_go() {
    let mut scene = Scene::with(|setup| setup.top("drain = \"20s\"")).await;
    scene.spend_the_turn("t").await;
    let call = scene.call("t", &Ask::chat("sim-cheap"));
    scene.held_open(1.0).await;
    let begun = std::time::Instant::now();
    let status = scene.gateway.stop().await;
    assert!(status.success());
    assert!(begun.elapsed() < Duration::from_secs(15), "it did not wait");
    let reply = call.await.unwrap();
    assert_eq!(reply.refusal().as_deref(), Some("draining"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_in_flight_are_not_cut_by_a_question() {
    use bursar::sim::{Settings, Sim};
    let settings = Settings {
        latency: Duration::from_millis(1_500),
        ..Settings::default()
    };
    let sim = Sim::start(settings).await.expect("providers");
    let setup = crate::common::setup::Setup::new(sim.addr()).limits(ONE_TURN);
    let gateway = crate::common::gateway::Gateway::start(&setup).await;
    let (caller, late) = (gateway.caller("t"), gateway.caller("t"));
    let first = tokio::spawn(async move { caller.call(&Ask::chat("sim-cheap")).await });
    until("it is in flight", PATIENCE, || async {
        // Its task is there before its hold is.
        (gateway.metrics().await.get("bursar_held_usd") > 0.0).then_some(())
    })
    .await;
    // Only held money would be in the way: the second waits for the first, then asks.
    let second = tokio::spawn(async move { late.call(&Ask::chat("sim-cheap")).await });
    let reply = first.await.unwrap().expect("an answer");
    assert!(reply.status.is_success(), "{}", reply.text());
    until("a question", PATIENCE, || async {
        (gateway.metrics().await.get("bursar_escalations_open") > 0.5).then_some(())
    })
    .await;
    second.abort();
}
