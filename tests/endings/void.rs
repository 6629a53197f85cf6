//! What the provider never saw, or definitely refused and does not bill: the hold is void.

use crate::common::calls::Ask;
use crate::common::fake::Fake;
use crate::common::gateway::Gateway;
use crate::common::setup::Setup;
use crate::{DIALECTS, Scene, entry_of};
use bursar::sim::Settings;

const ONE_TURN: &str = "[[limit]]\nname = \"task\"\nper = [\"task\"]\nturns = 1\nusd = \"1.00\"\n";

#[tokio::test]
async fn nobody_listens() {
    let setup = Setup::new(Fake::nobody().await).limits(ONE_TURN);
    let gateway = Gateway::start(&setup).await;
    // More often than there are turns: none was used.
    for _ in 0..3 {
        let reply = gateway.caller("t").call(&Ask::chat("sim-x")).await;
        let reply = reply.expect("an answer");
        assert_eq!(reply.status, 502);
        assert_eq!(reply.refusal().as_deref(), Some("upstream_error"));
        let entry = entry_of(&gateway, &reply.request_id()).await;
        entry.assert_void("unreachable", 0);
    }
    let metrics = gateway.quiet().await;
    assert_eq!(metrics.nano("bursar_in_doubt_usd"), 0);
}

#[tokio::test]
async fn definite_refusals_are_not_billed() {
    let scene = Scene::with(Settings::default(), |setup| setup.limits(ONE_TURN)).await;
    for status in [400, 429, 500, 503, 529] {
        for dialect in DIALECTS {
            let ask = Ask::chat(&format!("sim-{status}")).dialect(dialect);
            for ask in [ask.clone(), ask.stream()] {
                let (reply, entry) = scene.call(&ask).await;
                assert_eq!(reply.status, status, "as it came: {}", reply.text());
                assert!(reply.json()["error"]["bursar"].is_null(), "not ours");
                entry.assert_void("provider_refused", 1);
            }
        }
    }
    assert_eq!(scene.sim.bill().turns, 0);
    // The one turn is still there.
    let (reply, entry) = scene.call(&Ask::chat("sim-x")).await;
    assert!(reply.status.is_success());
    entry.assert_settled(scene.billed(&entry));
    let refused = scene.gateway.caller("t").call(&Ask::chat("sim-x")).await;
    let refused = refused.expect("an answer");
    assert_eq!(refused.refusal().as_deref(), Some("turns_exceeded"));
}

#[tokio::test]
async fn attempts_are_counted() {
    let limit = "[[limit]]\nname = \"tries\"\nper = [\"task\"]\nattempts = 3\n";
    let scene = Scene::with(Settings::default(), |setup| setup.limits(limit)).await;
    for _ in 0..3 {
        let (reply, _) = scene.call(&Ask::chat("sim-500")).await;
        assert_eq!(reply.status, 500);
    }
    let refused = scene.gateway.caller("t").call(&Ask::chat("sim-x")).await;
    let refused = refused.expect("an answer");
    assert_eq!(refused.refusal().as_deref(), Some("limit_exceeded"));
    assert_eq!(scene.sim.bill().turns, 0);
}

#[tokio::test]
async fn who_hangs_up_in_line_held_nothing() {
    let settings = Settings {
        slow_delay: std::time::Duration::from_millis(300),
        ..Settings::default()
    };
    // Room for one call at a time.
    let limit = "[[limit]]\nname = \"task\"\nper = [\"task\"]\nusd = \"0.0018\"\n";
    let scene = Scene::with(settings, |setup| setup.limits(limit)).await;
    let caller = scene.gateway.caller("t");
    let first = {
        let caller = caller.clone();
        tokio::spawn(async move { caller.call(&Ask::chat("sim-slow")).await })
    };
    crate::until("the first is on its way", crate::PATIENCE, || async {
        (scene.gateway.metrics().await.get("bursar_held_usd") > 0.0).then_some(())
    })
    .await;
    let second = {
        let caller = caller.clone();
        tokio::spawn(async move { caller.call(&Ask::chat("sim-slow")).await })
    };
    crate::until("the second waits", crate::PATIENCE, || async {
        (scene.gateway.metrics().await.get("bursar_waiting_calls") > 0.0).then_some(())
    })
    .await;
    second.abort();
    assert!(second.await.is_err(), "it hung up");
    let first = first.await.expect("a task").expect("an answer");
    assert!(first.status.is_success());
    scene.gateway.quiet().await;
    assert_eq!(scene.sim.bill().turns, 1, "the second never left");
}
