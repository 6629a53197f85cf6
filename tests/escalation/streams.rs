//! Streams that wait: comments keep them alive, then their own events or the dialect's error follow.

use super::rig::Scene;
use crate::common::bounded;
use crate::common::calls::{Ask, Dialect, Reply};
use http_body_util::BodyExt;
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn comments_keep_a_stream_alive_until_its_answer_follows() {
    let scene = Scene::new("").await;
    scene.spend_the_turn("t").await;
    let caller = scene.gateway.caller("t");
    let ask = Ask::chat("sim-cheap").stream();
    // The head comes before anybody has decided.
    let answer = caller.open(&ask).await.expect("a head");
    assert_eq!(answer.status(), 200);
    let kind = answer.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(kind.starts_with("text/event-stream"), "{kind}");
    let id = scene.question("t").await;
    assert_eq!(answer.headers()["x-bursar-escalation"], id.as_str());
    assert!(answer.headers().contains_key("x-bursar-request-id"));
    let (parts, mut body) = answer.into_parts();
    let first = bounded("a frame", body.frame()).await;
    let first = first.expect("a frame").expect("a comment");
    let first = first.into_data().expect("data");
    assert!(first.starts_with(b": waiting for a person"), "{first:?}");
    scene.approve(&id, json!({"turns": 1})).await;
    let rest = Reply::read(http::Response::from_parts(parts, body)).await;
    let rest = rest.expect("the rest");
    assert_eq!(rest.events().last().map(String::as_str), Some("[DONE]"));
    let last = rest.last_event();
    assert!(last.get("error").is_none(), "{last}");
    scene.gateway.quiet().await;
    assert_eq!(scene.sim.bill().calls, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_no_in_mid_stream_is_the_dialects_error_event() {
    let scene = Scene::new("").await;
    let dialects = [Dialect::Chat, Dialect::Messages, Dialect::Responses];
    let mut streams = Vec::new();
    for dialect in dialects {
        let task = format!("{dialect:?}");
        scene.spend_the_turn(&task).await;
        let ask = Ask::chat("sim-cheap").dialect(dialect).stream();
        let (caller, task) = (scene.gateway.caller(&task), task.clone());
        streams.push((
            dialect,
            task,
            tokio::spawn(async move { caller.open(&ask).await.expect("a head") }),
        ));
    }
    for (dialect, task, stream) in streams {
        let answer = stream.await.unwrap();
        assert_eq!(answer.status(), 200);
        let id = scene.question(&task).await;
        scene.deny(&id, "no").await;
        let reply = Reply::read(answer).await.expect("a whole stream");
        let last = reply.last_event();
        let error = match dialect {
            Dialect::Responses => {
                assert_eq!(last["type"], "response.failed");
                &last["response"]["error"]
            }
            _ => &last["error"],
        };
        assert_eq!(error["code"], "task_suspended", "{dialect:?}: {last}");
        assert_eq!(error["bursar"]["escalation"], id.as_str());
        if dialect == Dialect::Messages {
            assert!(reply.text().contains("event: error\n"));
        }
    }
    assert_eq!(scene.sim.bill().calls, 3, "none of them left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quick_answer_needs_no_head_of_its_own() {
    let scene = Scene::new("").await;
    scene.spend_the_turn("t").await;
    let call = scene.call("t", &Ask::chat("sim-cheap").stream());
    let id = scene.question("t").await;
    scene.deny(&id, "no").await;
    let reply = call.await.unwrap();
    assert_eq!(reply.status, 402, "{}", reply.text());
    assert_eq!(reply.refusal().as_deref(), Some("task_suspended"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_whose_client_leaves_is_let_go() {
    let scene = Scene::new("").await;
    scene.spend_the_turn("t").await;
    let caller = scene.gateway.caller("t");
    let ask = Ask::chat("sim-cheap").stream();
    let answer = caller.open(&ask).await.expect("a head");
    scene.held_open(1.0).await;
    drop(answer);
    scene.held_open(0.0).await;
    let id = scene.question("t").await;
    scene.approve(&id, json!({"turns": 1})).await;
    scene.gateway.quiet().await;
    assert_eq!(scene.sim.bill().calls, 1);
}
