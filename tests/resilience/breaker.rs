//! Targets that fail are passed over, and looked at again.

use crate::ONE_DOLLAR;
use crate::common::calls::Ask;
use crate::common::fake::Fake;
use crate::common::until;
use crate::rig::{BOTH, PATIENCE, Rig, both, sim};
use bursar::sim::Settings;
use std::time::Duration;

#[tokio::test]
async fn a_dead_target_is_passed_over_and_found_again_when_it_lives() {
    let addr = Fake::nobody().await;
    let mut rig = Rig::of(None, addr, sim(Settings::default()).await, |setup| {
        let setup = setup.routes(BOTH).limits(ONE_DOLLAR);
        setup.provider("breaker = { failures = 3, open_for = \"700ms\" }")
    })
    .await;
    assert_eq!(rig.provider("sim").await["state"], "unknown");
    for _ in 0..8 {
        let reply = rig.work("t", &Ask::chat("asked")).await;
        assert!(reply.status.is_success());
    }
    let tried = "bursar_provider_calls_total{provider=\"sim\",result=\"unreachable\"}";
    let metrics = rig.gateway.metrics().await;
    assert!(metrics.get(tried) <= 5.0, "three, and perhaps a look");
    assert!(metrics.get("bursar_provider_opened_total{provider=\"sim\"}") >= 1.0);
    let shown = rig.provider("sim").await;
    assert_eq!(shown["targets"][0]["model"], "sim-a");
    assert!(shown["targets"][0]["opened"].as_u64() >= Some(1));
    assert_eq!(rig.provider("second").await["state"], "healthy");
    // It lives.
    let settings = Settings {
        listen: addr,
        ..Settings::default()
    };
    rig.first = Some(sim(settings).await);
    until("it is called again", PATIENCE, || async {
        let reply = rig.work("t", &Ask::chat("asked")).await;
        (reply.header("x-bursar-model").as_deref() == Some("sim-a")).then_some(())
    })
    .await;
    assert_eq!(rig.provider("sim").await["state"], "healthy");
    let reply = rig.work("t", &Ask::chat("asked")).await;
    assert_eq!(reply.header("x-bursar-model").as_deref(), Some("sim-a"));
    rig.settles().await;
}

#[tokio::test]
async fn whom_a_provider_asks_to_spare_is_spared() {
    let mut rig = Rig::start(&both("sim-429"), ONE_DOLLAR, |setup| setup).await;
    for _ in 0..3 {
        let reply = rig.work("t", &Ask::chat("asked")).await;
        assert!(reply.status.is_success());
    }
    let refused = rig.bill().refused;
    assert!(
        (1..3).contains(&refused),
        "not each of them asks: {refused}"
    );
    rig.settles().await;
}

#[tokio::test]
async fn alone_it_is_called_all_the_same() {
    let mut rig = Rig::start("", ONE_DOLLAR, |setup| {
        setup.provider("breaker = { failures = 1, open_for = \"60s\" }")
    })
    .await;
    for _ in 0..3 {
        assert_eq!(rig.call(&Ask::chat("sim-500")).await.status, 500);
    }
    assert_eq!(rig.provider("sim").await["state"], "open");
    rig.settles().await;
    assert_eq!(rig.bill().refused, 3);
}

#[tokio::test]
async fn or_the_call_is_refused_at_once() {
    let mut rig = Rig::start("", ONE_DOLLAR, |setup| {
        setup.provider("breaker = { failures = 2, open_for = \"60s\", alone = \"refuse\" }")
    })
    .await;
    for _ in 0..2 {
        assert_eq!(rig.call(&Ask::chat("sim-500")).await.status, 500);
    }
    let reply = rig.call(&Ask::chat("sim-500")).await;
    assert_eq!(reply.status, 503);
    assert_eq!(reply.refusal().as_deref(), Some("provider_unavailable"));
    let after: u64 = reply
        .header("retry-after")
        .expect("a time")
        .parse()
        .unwrap();
    assert!((1..=60).contains(&after));
    assert!(reply.json()["error"]["bursar"]["retryable"] == true);
    // Another model of it is another target.
    assert!(rig.call(&Ask::chat("sim-x")).await.status.is_success());
    rig.settles().await;
    assert_eq!(rig.bill().refused, 2);
    assert!(Duration::from_secs(after) > Duration::from_secs(30));
}
