//! Responses over a WebSocket: each frame is a call like any other, in money, in attribution and in what
//! refuses it.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may panic")]

mod common;

use bursar::sim::{Settings, Sim};
use common::books;
use common::gateway::Gateway;
use common::setup::{Setup, key_of};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

/// For one frame; this machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// A socket of a caller.
struct Line(WebSocketStream<TcpStream>);

impl Line {
    async fn open(gateway: &Gateway, headers: &[(&str, &str)]) -> Self {
        Self::try_open(gateway, "/v1/responses", headers)
            .await
            .expect("a socket")
    }

    /// The status if it is not opened.
    async fn try_open(
        gateway: &Gateway,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Self, u16> {
        let place = gateway.agents.strip_prefix("http://").expect("plain HTTP");
        let mut request = format!("ws://{place}{path}").into_client_request().unwrap();
        for (name, value) in headers {
            let name = http::HeaderName::try_from(*name).unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let stream = TcpStream::connect(place).await.expect("a connection");
        match tokio::time::timeout(PATIENCE, tokio_tungstenite::client_async(request, stream))
            .await
            .expect("in time")
        {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    async fn say(&mut self, event: &Value) {
        let text = Message::text(event.to_string());
        self.0.send(text).await.expect("it is sent");
    }

    async fn next(&mut self) -> Option<Message> {
        let next = tokio::time::timeout(PATIENCE, self.0.next()).await;
        next.expect("in time").and_then(Result::ok)
    }

    async fn event(&mut self) -> Value {
        loop {
            match self.next().await {
                Some(Message::Text(text)) => return serde_json::from_str(&text).expect("JSON"),
                Some(Message::Ping(_) | Message::Pong(_)) => {}
                other => panic!("no event: {other:?}"),
            }
        }
    }

    /// One call to its last event.
    async fn call(&mut self, model: &str) -> Value {
        self.say(&create(model)).await;
        self.last().await
    }

    async fn last(&mut self) -> Value {
        loop {
            let event = self.event().await;
            let kind = event["type"].as_str().expect("a type").to_owned();
            if ["response.completed", "response.failed", "error"].contains(&&*kind) {
                return event;
            }
        }
    }

    /// The code that it is closed with, after whatever comes before.
    async fn closed(&mut self) -> CloseCode {
        loop {
            match self.next().await {
                Some(Message::Close(Some(frame))) => return frame.code,
                Some(Message::Close(None)) | None => panic!("closed without a word"),
                Some(_) => {}
            }
        }
    }
}

fn create(model: &str) -> Value {
    json!({"type": "response.create", "model": model, "max_output_tokens": 1_000,
           "input": [{"type": "message", "role": "user", "content": "Where is the purse?"}]})
}

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
