//! Answers that outlive the process: a workflow engine that replays after a crash pays once.

use crate::common::gateway::Gateway;
use crate::common::setup::Setup;
use crate::rig::{CHAT, HIGH_LIMITS, World, chat};
use crate::{assert_again, assert_billed};
use bursar::sim::{Settings, Sim};
use serde_json::json;

const AGAIN: (&str, &str) = ("idempotent-replayed", "true");

async fn world(more: &str, routes: &str) -> World {
    let sim = Sim::start(Settings::default()).await.expect("a sim");
    let setup = Setup::new(sim.addr()).limits(HIGH_LIMITS).more(more);
    let dir = setup.write();
    std::fs::write(dir.path().join("policies/routes.toml"), routes).expect("a file");
    World::around(sim, dir).await
}

async fn call(world: &World, key: &str, stream: bool) -> crate::common::calls::Reply {
    let mut body = chat("sim-a");
    body["stream"] = json!(stream);
    let call = world
        .post(CHAT, &body)
        .header("x-bursar-agent-role", "step");
    call.header("idempotency-key", key).send().await
}

async fn crash(gateway: &mut Gateway) {
    gateway.quiet().await;
    gateway.kill();
    gateway.start_again().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_there_after_a_crash() {
    let mut world = world("[idempotency]\ndurable_answers = true\n", "").await;
    let plain = call(&world, "plain", false).await;
    let stream = call(&world, "stream", true).await;
    assert_eq!((plain.status.as_u16(), stream.status.as_u16()), (200, 200));
    crash(&mut world.gateway).await;
    for _ in 0..2 {
        assert_again(&plain, &call(&world, "plain", false).await, AGAIN);
        assert_again(&stream, &call(&world, "stream", true).await, AGAIN);
    }
    // Another body under the same key is a mistake after a crash too.
    assert_eq!(call(&world, "plain", true).await.status, 422);
    assert_billed(&world, 2);
    let metrics = world.gateway.metrics().await;
    assert_eq!(metrics.get("bursar_replayed_total{from=\"store\"}"), 2.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_it_a_crash_forgets() {
    let mut world = world("", "").await;
    call(&world, "k", false).await;
    crash(&mut world.gateway).await;
    assert_eq!(call(&world, "k", false).await.header(AGAIN.0), None);
    assert_billed(&world, 2);
    assert!(!world.gateway.store().with_extension("answers.db").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_asks_for_it_for_its_own_calls() {
    let route =
        "[[route]]\nmatch = { role = \"step\" }\nto = [\"sim/*\"]\ndurable_answers = true\n";
    let mut world = world("", route).await;
    let first = call(&world, "k", true).await;
    let aside = |world: &World| {
        let call = world.post(CHAT, &chat("sim-a"));
        call.header("idempotency-key", "aside").send()
    };
    assert_eq!(aside(&world).await.status, 200);
    crash(&mut world.gateway).await;
    assert_again(&first, &call(&world, "k", true).await, AGAIN);
    assert_billed(&world, 2);
    assert_eq!(aside(&world).await.header(AGAIN.0), None);
    assert_billed(&world, 3);
}
