//! Reset, timeout, an intermediary's error, an error within a 200: the whole hold is in doubt.

use crate::common::calls::{Ask, Dialect};
use crate::common::fake::{self, Fake, Then};
use crate::common::gateway::Gateway;
use crate::common::setup::Setup;
use crate::{DIALECTS, ONE_DOLLAR, Scene, ends_with_error, only_entry};
use bursar::sim::Settings;
use std::time::Duration;

/// Asks once plain and once streaming in every dialect; all must end in doubt, for this reason.
async fn all_in_doubt(
    scene: &Scene,
    model: &str,
    reason: &str,
    see: impl Fn(Dialect, bool, &crate::Reply),
) {
    for dialect in DIALECTS {
        let ask = Ask::chat(model).dialect(dialect);
        for ask in [ask.clone(), ask.stream()] {
            let (reply, entry) = scene.call(&ask).await;
            see(dialect, ask.stream, &reply);
            entry.assert_in_doubt(reason);
            assert!(scene.billed(&entry) <= entry.usd(), "{model} {dialect:?}");
        }
    }
    let metrics = scene.gateway.quiet().await;
    let in_doubt = metrics.nano("bursar_in_doubt_usd");
    assert!(in_doubt >= scene.sim.bill().total_nano_usd && in_doubt > 0);
    assert_eq!(metrics.sum("bursar_cost_usd_total"), 0.0, "shown apart");
}

fn is_upstream_error(dialect: Dialect, streamed: bool, reply: &crate::Reply, code: &str) {
    if streamed {
        assert_eq!(reply.status, 200);
        assert_eq!(
            ends_with_error(dialect, reply).as_deref(),
            Some(code),
            "{}",
            reply.text()
        );
    } else {
        assert_eq!(reply.refusal().as_deref(), Some(code));
    }
}

#[tokio::test]
async fn reset_in_mid_answer() {
    let scene = Scene::new().await;
    all_in_doubt(&scene, "sim-reset", "reset", |dialect, streamed, reply| {
        is_upstream_error(dialect, streamed, reply, "upstream_error");
    })
    .await;
}

#[tokio::test]
async fn reset_before_the_first_byte() {
    let scene = Scene::new().await;
    all_in_doubt(&scene, "sim-reset-early", "reset", |_, _, reply| {
        assert_eq!(reply.status, 502);
        assert_eq!(reply.refusal().as_deref(), Some("upstream_error"));
    })
    .await;
}

#[tokio::test]
async fn errors_of_intermediaries() {
    for status in [408, 499, 502, 504] {
        let scene = Scene::new().await;
        let model = format!("sim-{status}");
        all_in_doubt(&scene, &model, "billed_error", |_, _, reply| {
            assert_eq!(reply.status, status, "as it came");
        })
        .await;
    }
}

#[tokio::test]
async fn silence_in_mid_answer() {
    let scene = Scene::with(Settings::default(), |setup| {
        setup
            .limits(ONE_DOLLAR)
            .provider("timeouts = { between_bytes = \"400ms\" }")
    })
    .await;
    all_in_doubt(
        &scene,
        "sim-stall",
        "timeout",
        |dialect, streamed, reply| {
            is_upstream_error(dialect, streamed, reply, "upstream_timeout");
        },
    )
    .await;
}

#[tokio::test]
async fn silence_before_the_first_byte() {
    let settings = Settings {
        slow_delay: Duration::from_secs(30),
        ..Settings::default()
    };
    let scene = Scene::with(settings, |setup| {
        setup
            .limits(ONE_DOLLAR)
            .provider("timeouts = { first_byte = \"400ms\" }")
    })
    .await;
    all_in_doubt(&scene, "sim-slow", "timeout", |_, _, reply| {
        assert_eq!(reply.status, 504);
        assert_eq!(reply.refusal().as_deref(), Some("upstream_timeout"));
    })
    .await;
}

#[tokio::test]
async fn longer_than_a_call_may_take() {
    let settings = Settings {
        slow_delay: Duration::from_millis(50),
        ..Settings::default()
    };
    let scene = Scene::with(settings, |setup| {
        setup
            .limits(ONE_DOLLAR)
            .provider("timeouts = { total = \"500ms\" }")
    })
    .await;
    for dialect in DIALECTS {
        let ask = Ask::chat("sim-slow-greedy").dialect(dialect).stream();
        let (reply, entry) = scene.call(&ask).await;
        is_upstream_error(dialect, true, &reply, "upstream_timeout");
        entry.assert_in_doubt("timeout");
        assert!(scene.billed(&entry) <= entry.usd());
    }
}

#[tokio::test]
async fn an_error_within_a_200() {
    let scene = Scene::new().await;
    all_in_doubt(&scene, "sim-error-event", "error_event", |_, _, reply| {
        assert_eq!(reply.status, 200, "as it came");
        assert!(reply.text().contains("error"));
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_ends_without_its_end() {
    let said = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"sim-x\",\
                \"choices\":[{\"index\":0,\"delta\":{\"content\":\"A purse\"},\"finish_reason\":null}]}\n\n";
    let fake = Fake::start(fake::events(said), Then::Close).await;
    let gateway = Gateway::start(&Setup::new(fake.addr).limits(ONE_DOLLAR)).await;
    let ask = Ask::chat("sim-x").stream();
    let reply = gateway.caller("t").call(&ask).await.expect("an answer");
    assert!(reply.text().contains("A purse"));
    only_entry(&gateway).await.assert_in_doubt("cut_short");
}

#[tokio::test]
async fn a_plain_answer_that_is_no_json() {
    let fake = Fake::start(fake::json("{\"id\": \"c\", \"choices\": ["), Then::Close).await;
    let gateway = Gateway::start(&Setup::new(fake.addr).limits(ONE_DOLLAR)).await;
    let reply = gateway.caller("t").call(&Ask::chat("sim-x")).await;
    assert_eq!(reply.expect("an answer").status, 200, "as it came");
    let entry = only_entry(&gateway).await;
    assert_eq!(entry.ending, "unreconciled");
    assert_eq!(entry.usd(), entry.held(), "{entry:?}");
}
