//! Ways in which calls fail, and who pays.

use super::{Settings, chat, message, world, world_with};
use http::StatusCode;
use http_body_util::BodyExt;
use serde_json::json;

const CHAT: &str = "/v1/chat/completions";

#[tokio::test]
async fn plain_errors_cost_nothing_and_an_intermediarys_cost_the_answer() {
    let world = world().await;
    for status in [400, 429, 500, 503, 529] {
        let got = world
            .post(CHAT, &chat(&format!("sim-{status}"), json!({})))
            .await;
        assert_eq!(got.status.as_u16(), status);
        assert!(got.json()["error"]["message"].is_string());
        assert_eq!(got.headers.contains_key("retry-after"), status == 429);
        let got = world
            .post(
                "/v1/messages",
                &message(&format!("sim-{status}"), json!({})),
            )
            .await;
        assert_eq!(got.json()["type"], "error");
    }
    let bill = world.bill();
    assert_eq!((bill.calls, bill.refused), (0, 10));
    for (billed, status) in (1..).zip([408, 499, 502, 504]) {
        let got = world
            .post(CHAT, &chat(&format!("sim-{status}"), json!({})))
            .await;
        assert_eq!(got.status.as_u16(), status);
        assert_eq!(world.bill().calls, billed);
    }
    assert!(world.bill().total_nano_usd > 0);
}

#[tokio::test]
async fn a_reset_in_mid_answer_bills_what_was_produced() {
    let world = world().await;
    let more = json!({"stream": true, "max_tokens": 20});
    let headers = [("x-bursar-request-id", "r1")];
    let got = world
        .post_with(CHAT, &headers, &chat("sim-reset", more))
        .await;
    assert!(!got.whole);
    assert!(got.text().contains("content"), "something came");
    assert!(!got.text().contains("[DONE]"));
    let line = world.bill().by_task["none"];
    assert!(
        line.output_tokens >= 10 && line.output_tokens < 20,
        "{line:?}"
    );
    assert!(!world.bill().by_request.expect("requests")["r1"].complete);

    let got = world
        .post(CHAT, &chat("sim-reset", json!({"max_tokens": 20})))
        .await;
    assert!(!got.whole && !got.body.is_empty());
    assert_eq!(
        world.bill().by_task["none"].output_tokens,
        line.output_tokens + 20
    );
}

#[tokio::test]
async fn an_early_reset_bills_the_whole_answer() {
    let world = world().await;
    let body = chat("sim-reset-early", json!({"max_tokens": 20})).to_string();
    assert!(world.send(CHAT, &[], body.into()).await.is_err());
    assert_eq!(world.bill().total_nano_usd, 9 * 1_000 + 20 * 4_000);
}

#[tokio::test]
async fn a_stalled_answer_begins_and_is_billed_in_full() {
    let world = world().await;
    for more in [
        json!({"stream": true, "max_tokens": 20}),
        json!({"max_tokens": 20}),
    ] {
        world.sim.reset_bill();
        let request = world.request(CHAT, &[], chat("sim-stall", more).to_string().into());
        let mut body = world
            .client
            .request(request)
            .await
            .expect("a head")
            .into_body();
        assert!(body.frame().await.expect("a frame").is_ok());
        assert_eq!(world.bill().by_task["none"].output_tokens, 20);
    }
}

#[tokio::test]
async fn an_error_within_a_200_is_billed() {
    let world = world().await;
    let stream = json!({"stream": true});
    let got = world
        .post(CHAT, &chat("sim-error-event", stream.clone()))
        .await;
    assert_eq!(got.status, StatusCode::OK);
    let events = got.events();
    assert!(events[events.len() - 1]["error"].is_object());
    let got = world
        .post("/v1/messages", &message("sim-error-event", stream))
        .await;
    assert!(got.text().contains("event: error\n"));
    let body = json!({"model": "sim-error-event", "input": "x", "stream": true});
    let events = world.post("/v1/responses", &body).await.events();
    assert_eq!(events[events.len() - 1]["type"], "response.failed");
    let plain = world.post(CHAT, &chat("sim-error-event", json!({}))).await;
    assert_eq!(plain.status, StatusCode::OK);
    assert!(plain.json()["error"].is_object());
    assert_eq!(world.bill().calls, 4);
}

#[tokio::test]
async fn rates_fail_their_share_of_calls() {
    let settings = Settings {
        fail_rate: 0.3,
        reset_rate: 0.3,
        seed: 7,
        ..Settings::default()
    };
    let world = world_with(settings).await;
    let (mut failed, mut dropped, mut answered) = (0, 0, 0);
    for _ in 0..200 {
        let body = chat("sim-x", json!({"max_tokens": 1})).to_string();
        match world.send(CHAT, &[], body.into()).await {
            Ok(got) if got.status == StatusCode::OK && got.whole => answered += 1,
            Ok(got) if got.status == StatusCode::OK => dropped += 1,
            Ok(_) => failed += 1,
            Err(_) => dropped += 1,
        }
    }
    let bill = world.bill();
    assert_eq!(bill.refused, failed);
    assert_eq!(bill.calls, dropped + answered);
    assert!((30..=90).contains(&failed), "{failed}");
    assert!((15..=75).contains(&dropped), "{dropped}");
}

#[tokio::test]
async fn a_dropped_sim_drops_its_connections() {
    let world = world().await;
    let request = world.request(
        CHAT,
        &[],
        chat("sim-stall", json!({"stream": true}))
            .to_string()
            .into(),
    );
    let mut body = world
        .client
        .request(request)
        .await
        .expect("a head")
        .into_body();
    drop(world.sim);
    let mut broke = false;
    while let Some(frame) = body.frame().await {
        broke |= frame.is_err();
    }
    assert!(broke);
}
