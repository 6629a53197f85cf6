//! Suspending, resuming and closing: streams end at once, and later calls are refused.

use crate::common::bounded;
use crate::common::calls::{Ask, Caller, Reply};
use crate::common::gateway::Gateway;
use crate::common::setup::Setup;
use crate::rig::{LIMITS, Operator, gateway, sim};
use http_body_util::BodyExt;
use serde_json::json;
use std::time::{Duration, Instant};

/// A stream of about ten seconds.
fn long() -> Ask {
    Ask::chat("sim-slow-greedy")
        .stream()
        .max_tokens(Some(2_000))
}

/// A call whose first piece has come.
async fn streaming(caller: &Caller) -> (tokio::task::JoinHandle<String>, Instant) {
    let answer = caller.open(&long()).await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut body = answer.into_body();
    let first = bounded("a piece", body.frame()).await;
    let first = first.expect("a piece").expect("of the body");
    assert!(first.data_ref().is_some_and(|data| !data.is_empty()));
    let rest = tokio::spawn(async move {
        let rest = body.collect().await.expect("it ends in good order");
        String::from_utf8_lossy(&rest.to_bytes()).into_owned()
    });
    (rest, Instant::now())
}

/// The stream ends soon, and tells the code.
async fn ends_with((rest, since): (tokio::task::JoinHandle<String>, Instant), code: &str) {
    let rest = bounded("the end of a stream", rest).await.unwrap();
    assert!(rest.contains(code), "no `{code}` in {rest}");
    assert!(
        since.elapsed() < Duration::from_secs(8),
        "it ran to its own end"
    );
}

async fn refusal(caller: &Caller) -> Option<String> {
    let reply: Reply = caller.call(&Ask::chat("sim-cheap")).await.unwrap();
    reply.refusal()
}

#[tokio::test(flavor = "multi_thread")]
async fn suspending_a_task_ends_its_stream_and_resuming_lets_it_go_on() {
    let sim = sim().await;
    let gateway = gateway(&sim).await;
    let ops = Operator::of(&gateway);
    let (caller, other) = (gateway.caller("t-1"), gateway.caller("t-2"));
    let stream = streaming(&caller).await;
    let shown = ops.sees("/api/tasks/t-1").await;
    assert_eq!(shown["in_flight"], 1);
    assert_eq!(shown["agents"][0]["in_flight"], 1);
    assert_ne!(shown["accounts"][0]["meters"]["usd"]["held"], "0.00");

    let said = ops
        .does("/api/tasks/t-1/suspend", json!({"by": "anna"}))
        .await;
    assert_eq!(
        (&said["state"], &said["calls_ended"]),
        (&json!("suspended"), &json!(1))
    );
    ends_with(stream, "task_suspended").await;
    assert_eq!(refusal(&caller).await.as_deref(), Some("task_suspended"));
    assert_eq!(refusal(&other).await, None, "another task goes on");

    ops.does("/api/tasks/t-1/resume", json!({})).await;
    assert_eq!(refusal(&caller).await, None);
    let closed = ops.does("/api/tasks/t-1/close", json!({})).await;
    assert_eq!(closed["state"], "closed");
    assert_eq!(refusal(&caller).await.as_deref(), Some("task_closed"));
    let again = ops.fails("/api/tasks/t-1/resume", json!({})).await;
    assert_eq!(again, (409, "task_closed".to_owned()));
    let opened = ops
        .fails("/api/tasks", json!({"id": "t-1", "turns": 1}))
        .await;
    assert_eq!(opened, (409, "task_closed".to_owned()));
    let listed = ops.sees("/api/tasks?state=closed").await;
    assert_eq!(listed["tasks"][0]["task"], "t-1");
    // The exchange was seen through: the provider's bill is settled to the last token.
    gateway.quiet().await;
    let health = ops.sees("/api/health").await;
    assert_eq!(health["in_doubt_usd"], "0.00");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stop_button_stops_an_identity_or_everything_and_outlives_a_restart() {
    let sim = sim().await;
    let setup = Setup::new(sim.addr())
        .limits(LIMITS)
        .identity("crew", "research")
        .identity("desk", "research");
    let mut gateway = Gateway::start(&setup).await;
    let ops = Operator::of(&gateway);
    let (crew, desk) = (
        gateway.caller("t-1").identity("crew"),
        gateway.caller("t-1").identity("desk"),
    );
    let streams = [streaming(&crew).await, streaming(&desk).await];

    let said = ops.does("/api/suspend", json!({"identity": "crew"})).await;
    assert_eq!(said["calls_ended"], 1);
    assert_eq!(
        said["suspended"],
        json!({"all": false, "identities": ["crew"]})
    );
    let [first, second] = streams;
    ends_with(first, "task_suspended").await;
    assert_eq!(refusal(&crew).await.as_deref(), Some("task_suspended"));
    assert_eq!(refusal(&desk).await, None);

    let said = ops.does("/api/suspend", json!({"all": true})).await;
    assert_eq!(said["calls_ended"], 1);
    ends_with(second, "task_suspended").await;
    assert_eq!(refusal(&desk).await.as_deref(), Some("task_suspended"));

    gateway.stop().await;
    gateway.start_again().await;
    let ops = Operator::of(&gateway);
    let desk = desk.at(&gateway.agents);
    assert_eq!(refusal(&desk).await.as_deref(), Some("task_suspended"));
    let said = ops.does("/api/resume", json!({"all": true})).await;
    assert_eq!(
        said["suspended"],
        json!({"all": false, "identities": ["crew"]})
    );
    assert_eq!(refusal(&desk).await, None);
}
