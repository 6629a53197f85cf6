//! Responses over a WebSocket: each frame is a call like any other, in money, in attribution and in what
//! refuses it.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may panic")]

mod common;

use bursar::sim::{Settings, Sim};
use common::books;
use common::gateway::Gateway;
use common::setup::{Setup, key_of};
use common::socket::{Line, PATIENCE, create};
use futures_util::SinkExt;
use serde_json::json;
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

async fn scene(limits: &str) -> (Sim, Gateway) {
    let sim = Sim::start(Settings::default())
        .await
        .expect("a simulated provider");
    let gateway = Gateway::start(&Setup::new(sim.addr()).limits(limits)).await;
    (sim, gateway)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_frame_is_a_call_of_the_socket_s_task() {
    let (sim, gateway) = scene("").await;
    let mut line = Line::open(
        &gateway,
        &[
            ("x-bursar-task-id", "t-1"),
            ("x-bursar-agent-id", "writer"),
            // Stands for one call, and so for none here.
            ("idempotency-key", "k"),
        ],
    )
    .await;
    for _ in 0..3 {
        let said = line.call("sim-cheap").await;
        assert!(said["response"]["usage"]["output_tokens"].as_u64() > Some(0));
    }
    line.0.close(None).await.expect("closed");
    gateway.quiet().await;
    let calls = books::calls(&gateway.store());
    assert_eq!(calls.len(), 3);
    for call in &calls {
        assert_eq!((&*call.task, &*call.agent), ("t-1", "writer"));
    }
    let bill = sim.bill_by_request();
    assert_eq!(bill.calls, 3);
    let compared = books::compare(&bill, &calls);
    assert_eq!(compared.settled, 3, "{compared:?}");
    assert_eq!(compared.in_doubt_nano, 0);
    books::verify(&gateway.store());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_a_frame_that_says_why_and_the_socket_stays() {
    let limits = "[[limit]]\nname = \"turns\"\nper = [\"task\"]\nturns = 2\n";
    let (sim, gateway) = scene(limits).await;
    let mut line = Line::open(&gateway, &[("x-bursar-task-id", "t")]).await;
    for _ in 0..2 {
        assert_eq!(line.call("sim-cheap").await["type"], "response.completed");
    }
    for _ in 0..2 {
        let refused = line.call("sim-cheap").await;
        assert_eq!(refused["status"], 402);
        assert_eq!(refused["error"]["code"], "turns_exceeded");
        let message = refused["error"]["message"].as_str().unwrap();
        assert!(message.contains("2 turns"), "{message}");
    }
    // What is no call is told, too; so is a provider's own error.
    for (event, status) in [
        (json!({"type": "response.cancel"}), 400),
        (json!({"type": "response.create", "input": "x"}), 400),
        (
            json!({"type": "response.create", "model": "m", "generate": false}),
            400,
        ),
    ] {
        line.say(&event).await;
        let told = line.last().await;
        assert_eq!(told["status"], status, "{event}: {told}");
        assert!(told["error"]["message"].is_string());
    }
    assert_eq!(sim.bill().calls, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_fails_or_breaks_off_ends_with_an_error() {
    let (_sim, gateway) = scene("").await;
    let mut line = Line::open(&gateway, &[]).await;
    for model in ["sim-400", "sim-reset", "sim-error-event", "sim-page"] {
        let told = line.call(model).await;
        assert_ne!(told["type"], "response.completed", "{model}: {told}");
    }
    assert_eq!(line.call("sim-cheap").await["type"], "response.completed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_hangs_up_pays_to_the_nano_dollar() {
    let (sim, gateway) = scene("").await;
    for _ in 0..4 {
        let mut line = Line::open(&gateway, &[("x-bursar-task-id", "t")]).await;
        line.say(&create("sim-slow")).await;
        // It has begun.
        line.event().await;
        line.event().await;
        drop(line);
    }
    let bill = common::until("the calls are settled", PATIENCE, || async {
        gateway.quiet().await;
        let calls = books::calls(&gateway.store());
        (calls.len() == 4).then_some(calls)
    })
    .await;
    let compared = books::compare(&sim.bill_by_request(), &bill);
    assert_eq!(
        (compared.settled, compared.in_doubt_nano),
        (4, 0),
        "{compared:?}"
    );
    books::verify(&gateway.store());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_that_race_never_bill_more_than_the_cap() {
    const CAP_NANO_USD: u64 = 20_000_000;
    let limits = "[[limit]]\nname = \"task\"\nper = [\"task\"]\nusd = \"0.02\"\n";
    let (sim, gateway) = scene(limits).await;
    let spend = |_| {
        let gateway = &gateway;
        async move {
            let mut line = Line::open(gateway, &[("x-bursar-task-id", "t")]).await;
            // Far more than the cap has room for.
            for answered in 0..200_u32 {
                let last = line.call("sim-strong").await;
                if last["type"] == "error" {
                    assert_eq!(last["error"]["code"], "task_budget_exceeded", "{last}");
                    return answered;
                }
            }
            panic!("nobody refused");
        }
    };
    let answered: u32 = futures_util::future::join_all((0..8).map(spend))
        .await
        .into_iter()
        .sum();
    gateway.quiet().await;
    let bill = sim.bill_by_request();
    assert_eq!(bill.calls, u64::from(answered));
    assert!(
        bill.total_nano_usd <= CAP_NANO_USD,
        "{} billed",
        bill.total_nano_usd
    );
    assert!(
        bill.total_nano_usd > CAP_NANO_USD / 2,
        "{} billed",
        bill.total_nano_usd
    );
    let compared = books::compare(&bill, &books::calls(&gateway.store()));
    assert_eq!(compared.in_doubt_nano, 0, "{compared:?}");
    books::verify(&gateway.store());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_has_bounds() {
    let sim = Sim::start(Settings::default()).await.unwrap();
    let setup = Setup::new(sim.addr())
        .listen("agents = \"127.0.0.1:0\"\nmax_sockets = 2\nidle_timeout = \"1s\"")
        .top("max_body = \"64KiB\"")
        .identity("crew", "research");
    let gateway = Gateway::start(&setup).await;
    let key = format!("Bearer {}", key_of("crew"));
    let headers = [("authorization", key.as_str())];
    let open = async |path| Line::try_open(&gateway, path, &headers).await;
    // A stranger is told so before anything is opened.
    let stranger = Line::try_open(&gateway, "/v1/responses", &[]).await;
    assert_eq!(stranger.err(), Some(401));
    assert_eq!(open("/v1/chat/completions").await.err(), Some(426));
    let (mut first, mut second) = (
        open("/v1/responses").await.unwrap(),
        open("/task/t/v1/responses").await.unwrap(),
    );
    assert_eq!(open("/v1/responses").await.err(), Some(429));
    // A frame that is too large.
    let mut large = create("sim-cheap");
    large["instructions"] = "x".repeat(100 << 10).into();
    first.say(&large).await;
    assert_eq!(first.last().await["error"]["code"], "body_too_large");
    assert_eq!(first.closed().await, CloseCode::Size);
    drop(first);
    assert_eq!(second.call("sim-cheap").await["type"], "response.completed");
    // Nothing comes.
    assert_eq!(second.closed().await, CloseCode::Away);
    drop(second);
    // Both places are free again.
    for _ in 0..2 {
        common::until("a place", PATIENCE, || async {
            let mut line = open("/v1/responses").await.ok()?;
            line.0.send(Message::binary(vec![0])).await.ok()?;
            (line.closed().await == CloseCode::Unsupported).then_some(())
        })
        .await;
    }
    assert_eq!(sim.bill().calls, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_lets_the_call_in_flight_end_and_closes_the_idle() {
    let (sim, mut gateway) = scene("").await;
    let mut idle = Line::open(&gateway, &[]).await;
    assert_eq!(idle.call("sim-cheap").await["type"], "response.completed");
    let mut busy = Line::open(&gateway, &[]).await;
    busy.say(&create("sim-slow")).await;
    busy.event().await;
    gateway.signal("TERM");
    let began = Instant::now();
    assert_eq!(idle.closed().await, CloseCode::Away);
    assert_eq!(busy.last().await["type"], "response.completed");
    assert_eq!(busy.closed().await, CloseCode::Away);
    drop((idle, busy));
    assert!(gateway.ended().await.success());
    assert!(
        began.elapsed() < Duration::from_secs(25),
        "{:?}",
        began.elapsed()
    );
    let compared = books::compare(&sim.bill_by_request(), &books::calls(&gateway.store()));
    assert_eq!(
        (compared.settled, compared.in_doubt_nano),
        (2, 0),
        "{compared:?}"
    );
}
