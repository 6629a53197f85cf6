//! More calls than a provider is to be given at once.

use crate::ONE_DOLLAR;
use crate::common::calls::{Ask, Dialect, Reply};
use crate::common::until;
use crate::rig::{PATIENCE, Rig, both, sim};
use bursar::sim::Settings;
use std::time::Duration;
use tokio::task::JoinHandle;

async fn slow_rig(routes: &str, provider: &str) -> Rig {
    let slow = Settings {
        slow_delay: Duration::from_secs(2),
        ..Settings::default()
    };
    let first = sim(slow).await;
    let addr = first.addr();
    Rig::of(Some(first), addr, sim(Settings::default()).await, |setup| {
        setup.routes(routes).limits(ONE_DOLLAR).provider(provider)
    })
    .await
}

fn send(rig: &Rig, ask: Ask) -> JoinHandle<Reply> {
    let caller = rig.gateway.caller("t");
    let caller = caller.header("x-bursar-agent-role", "worker");
    tokio::spawn(async move { caller.call(&ask).await.expect("an answer") })
}

async fn in_flight(rig: &Rig, count: f64) {
    until("they are on their way", PATIENCE, || async {
        let metrics = rig.gateway.metrics().await;
        (metrics.get("bursar_provider_in_flight{provider=\"sim\"}") >= count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_beyond_is_shed_in_its_dialect_and_costs_nothing() {
    let mut rig = slow_rig("", "max_concurrent = 2").await;
    let slow = [
        send(&rig, Ask::chat("sim-slow")),
        send(&rig, Ask::chat("sim-slow")),
    ];
    in_flight(&rig, 2.0).await;
    for dialect in [Dialect::Chat, Dialect::Responses, Dialect::Completions] {
        let reply = rig.call(&Ask::chat("sim-x").dialect(dialect)).await;
        assert_eq!(reply.status, 503);
        assert_eq!(reply.refusal().as_deref(), Some("provider_unavailable"));
        assert_eq!(reply.header("retry-after").as_deref(), Some("2"));
        assert_eq!(reply.json()["error"]["type"], "server_error");
        let entry = rig.entry(&reply.request_id()).await;
        assert_eq!((&*entry.ending, &*entry.reason), ("void", "shed"));
    }
    // The other provider of the same address has places of its own.
    let messages = Ask::chat("sim-x").dialect(Dialect::Messages);
    assert!(rig.call(&messages).await.status.is_success());
    let shown = rig.provider("sim").await;
    assert_eq!(
        (&shown["in_flight"], &shown["max_concurrent"]),
        (&2.into(), &2.into())
    );
    for slow in slow {
        assert!(slow.await.expect("a task").status.is_success());
    }
    assert!(rig.call(&Ask::chat("sim-x")).await.status.is_success());
    let metrics = rig.gateway.quiet().await;
    let shed = "bursar_provider_calls_total{provider=\"sim\",result=\"shed\"}";
    assert_eq!(metrics.get(shed), 3.0);
    rig.settles().await;
    assert_eq!(rig.bill().turns, 4);
}

#[tokio::test]
async fn anthropics_clients_are_told_in_their_own_words() {
    let mut rig = slow_rig("", "max_concurrent = 1").await;
    let slow = Ask::chat("sim-slow").dialect(Dialect::Messages);
    let caller = rig.gateway.caller("t");
    let slow = tokio::spawn(async move { caller.call(&slow).await.expect("an answer") });
    until("it is on its way", PATIENCE, || async {
        let metrics = rig.gateway.metrics().await;
        let name = "bursar_provider_in_flight{provider=\"sim-anthropic\"}";
        (metrics.get(name) >= 1.0).then_some(())
    })
    .await;
    let reply = rig
        .call(&Ask::chat("sim-x").dialect(Dialect::Messages))
        .await;
    assert_eq!(reply.status, 503);
    assert_eq!(reply.json()["error"]["type"], "overloaded_error");
    assert!(slow.await.expect("a task").status.is_success());
    rig.settles().await;
}

#[tokio::test]
async fn a_short_line_is_waited_in() {
    let mut rig = slow_rig(
        "",
        "max_concurrent = 1\nmax_queued = 2\nqueue_wait = \"20s\"",
    )
    .await;
    let first = send(&rig, Ask::chat("sim-slow"));
    in_flight(&rig, 1.0).await;
    let queued = [
        send(&rig, Ask::chat("sim-x")),
        send(&rig, Ask::chat("sim-x")),
    ];
    until("they wait", PATIENCE, || async {
        let metrics = rig.gateway.metrics().await;
        (metrics.get("bursar_provider_queued{provider=\"sim\"}") == 2.0).then_some(())
    })
    .await;
    let reply = rig.call(&Ask::chat("sim-x")).await;
    assert_eq!(reply.refusal().as_deref(), Some("provider_unavailable"));
    assert!(first.await.expect("a task").status.is_success());
    for queued in queued {
        assert!(queued.await.expect("a task").status.is_success());
    }
    rig.settles().await;
}

#[tokio::test]
async fn a_route_goes_on_to_where_there_is_a_place() {
    let mut rig = slow_rig(&both("sim-slow"), "max_concurrent = 1").await;
    let first = send(&rig, Ask::chat("asked"));
    in_flight(&rig, 1.0).await;
    let reply = rig.work("t", &Ask::chat("asked")).await;
    assert_eq!(reply.header("x-bursar-model").as_deref(), Some("sim-b"));
    rig.entry(&reply.request_id()).await;
    assert!(first.await.expect("a task").status.is_success());
    rig.settles().await;
}
