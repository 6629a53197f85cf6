//! The client is gone: the exchange is seen through to its usage, for a bounded time.

use crate::common::calls::Ask;
use crate::common::fake::{self, Fake, Then};
use crate::common::gateway::Gateway;
use crate::common::setup::Setup;
use crate::{DIALECTS, ONE_DOLLAR, PATIENCE, Scene, entry_of, only_entry, until};
use bursar::sim::Settings;
use std::time::Duration;

fn slow() -> Settings {
    Settings {
        slow_delay: Duration::from_millis(20),
        ..Settings::default()
    }
}

#[tokio::test]
async fn in_mid_stream() {
    let scene = Scene::with(slow(), |setup| setup.limits(ONE_DOLLAR)).await;
    for dialect in DIALECTS {
        let ask = Ask::chat("sim-slow").dialect(dialect).stream();
        for after in [0, 1, 3] {
            let caller = scene.gateway.caller("t");
            let request = caller.hang_up(&ask, after).await.expect("an answer");
            let entry = entry_of(&scene.gateway, &request.expect("an id")).await;
            entry.assert_settled(scene.billed(&entry));
        }
    }
    let metrics = scene.gateway.quiet().await;
    assert_eq!(metrics.nano("bursar_in_doubt_usd"), 0);
}

#[tokio::test]
async fn before_the_answer() {
    for dialect in DIALECTS {
        for stream in [false, true] {
            let settings = Settings {
                slow_delay: Duration::from_millis(if stream { 30 } else { 300 }),
                ..Settings::default()
            };
            let scene = Scene::with(settings, |setup| setup.limits(ONE_DOLLAR)).await;
            let mut ask = Ask::chat("sim-slow").dialect(dialect).max_tokens(Some(40));
            ask.stream = stream;
            let caller = scene.gateway.caller("t");
            let call = tokio::spawn(async move { caller.call(&ask).await });
            until("it has left", PATIENCE, || async {
                (scene.sim.bill().calls > 0).then_some(())
            })
            .await;
            call.abort();
            let entry = only_entry(&scene.gateway).await;
            entry.assert_settled(scene.billed(&entry));
        }
    }
}

#[tokio::test]
async fn and_the_provider_stalls() {
    let scene = Scene::with(Settings::default(), |setup| {
        setup.limits(ONE_DOLLAR).top("finish_upstream = \"300ms\"")
    })
    .await;
    for dialect in DIALECTS {
        let ask = Ask::chat("sim-stall").dialect(dialect).stream();
        let caller = scene.gateway.caller("t");
        let request = caller.hang_up(&ask, 1).await.expect("an answer");
        let entry = entry_of(&scene.gateway, &request.expect("an id")).await;
        entry.assert_in_doubt("client_gone");
        assert!(scene.billed(&entry) <= entry.usd());
    }
}

#[tokio::test]
async fn and_the_provider_fails() {
    let scene = Scene::with(Settings::default(), |setup| setup.limits(ONE_DOLLAR)).await;
    for (model, reason) in [("sim-reset", "reset"), ("sim-error-event", "error_event")] {
        for dialect in DIALECTS {
            let ask = Ask::chat(model).dialect(dialect).stream();
            let caller = scene.gateway.caller("t");
            let request = caller.hang_up(&ask, 0).await.expect("an answer");
            let entry = entry_of(&scene.gateway, &request.expect("an id")).await;
            entry.assert_in_doubt(reason);
            assert!(scene.billed(&entry) <= entry.usd());
        }
    }
}

/// A provider that has said everything and keeps the connection holds nobody's money.
#[tokio::test]
async fn and_the_provider_does_not_close() {
    const FIRST: &str = concat!(
        "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"sim-x\",",
        "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"A purse.\"},\"finish_reason\":null}]}\n\n",
    );
    const REST: &str = concat!(
        "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"sim-x\",",
        "\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
        "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"sim-x\",",
        "\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":3,\"total_tokens\":12}}\n\n",
        "data: [DONE]\n\n",
    );
    // The rest comes when the hang-up has been noticed, on any but the busiest machine.
    let then = Then::Say(REST, Duration::from_millis(400));
    let fake = Fake::start(fake::events(FIRST), then).await;
    let gateway = Gateway::start(&Setup::new(fake.addr).limits(ONE_DOLLAR)).await;
    let ask = Ask::chat("sim-x").stream();
    let caller = gateway.caller("t");
    let request = caller.hang_up(&ask, 1).await.expect("an answer");
    let entry = entry_of(&gateway, &request.expect("an id")).await;
    entry.assert_settled(9 * 1_000 + 3 * 4_000);
    assert_eq!(fake.calls(), 1);
}
