//! `Idempotency-Key`.

use crate::common::bounded;
use crate::common::calls::Reply;
use crate::rig::{CHAT, HIGH_LIMITS, Shape, World, assert_refused, chat};
use crate::{assert_again, assert_billed};
use http_body_util::BodyExt;
use serde_json::{Value, json};

const AGAIN: (&str, &str) = ("idempotent-replayed", "true");

async fn world() -> World {
    World::start(|setup| setup.limits(HIGH_LIMITS)).await
}

async fn call(world: &World, key: &str, body: &Value) -> Reply {
    let call = world.post(CHAT, body).header("x-bursar-task-id", "t");
    call.header("idempotency-key", key).send().await
}

fn stream(model: &str) -> Value {
    let mut body = chat(model);
    body["stream"] = json!(true);
    body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_key_and_body_get_the_same_answer_for_nothing() {
    let world = world().await;
    let mut billed = 0;
    for (n, body) in [chat("sim-a"), stream("sim-a"), stream("sim-tools")]
        .iter()
        .enumerate()
    {
        let key = format!("k-{n}");
        let first = call(&world, &key, body).await;
        assert_eq!(first.status, 200, "{}", first.text());
        assert_eq!(first.header(AGAIN.0), None);
        for _ in 0..3 {
            assert_again(&first, &call(&world, &key, body).await, AGAIN);
        }
        billed += 1;
        assert_billed(&world, billed);
        // Another key is another call.
        call(&world, &format!("other-{n}"), body).await;
        billed += 1;
        assert_billed(&world, billed);
    }
    let metrics = world.gateway.quiet().await;
    let from = "{from=\"idempotency_key\"}";
    assert_eq!(metrics.get(&format!("bursar_replayed_total{from}")), 9.0);
    assert!(metrics.get(&format!("bursar_saved_usd_total{from}")) > 0.0);
    world.journal(billed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_key_with_another_body_is_a_mistake() {
    let world = world().await;
    let first = call(&world, "k", &chat("sim-a")).await;
    assert_eq!(first.status, 200);
    let mut other = chat("sim-a");
    other["max_tokens"] = json!(401);
    let reply = call(&world, "k", &other).await;
    assert_refused(
        "another body",
        &reply,
        Shape::Openai,
        422,
        "invalid_request",
    );
    let body =
        json!({"model": "sim-a", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]});
    let messages = world.post("/v1/messages", &body);
    let reply = messages.header("idempotency-key", "k").send().await;
    assert_refused(
        "another endpoint",
        &reply,
        Shape::Anthropic,
        422,
        "invalid_request",
    );
    assert_billed(&world, 1);
    for key in ["", "a\u{e9}", &"x".repeat(256)] {
        let call = world.post(CHAT, &chat("sim-a"));
        let reply = call
            .header_bytes("idempotency-key", key.as_bytes())
            .send()
            .await;
        assert_refused("no key", &reply, Shape::Openai, 400, "invalid_request");
    }
    assert_billed(&world, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_come_while_it_is_under_way_wait_for_it() {
    let world = world().await;
    for body in [chat("sim-slow"), stream("sim-slow")] {
        let before = world.sim.bill().calls;
        let key = format!("k-{before}");
        let calls = (0..8).map(|_| call(&world, &key, &body));
        let replies = futures_util::future::join_all(calls).await;
        let again = |reply: &&Reply| reply.header(AGAIN.0).is_some();
        assert_eq!(replies.iter().filter(again).count(), 7);
        let first = replies.iter().find(|reply| !again(reply)).expect("a first");
        assert_eq!(first.status, 200, "{}", first.text());
        for reply in &replies {
            assert_eq!(reply.text(), first.text());
        }
        assert_billed(&world, before + 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_hangs_up_finds_the_answer_when_asking_again() {
    let world = world().await;
    let body = stream("sim-slow");
    let open = world.post(CHAT, &body).header("idempotency-key", "k");
    let mut answer = open.open().await;
    let piece = bounded("a piece", answer.frame()).await;
    let piece = piece.expect("a piece").expect("data");
    drop(answer);
    let reply = call(&world, "k", &body).await;
    assert_eq!(reply.header(AGAIN.0).as_deref(), Some(AGAIN.1));
    let seen = piece.into_data().expect("data");
    assert!(
        reply.text().as_bytes().starts_with(&seen),
        "from its beginning"
    );
    assert!(reply.text().ends_with("data: [DONE]\n\n"), "to its end");
    assert_billed(&world, 1);
    world.journal(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_to_nothing_is_tried_anew() {
    let world = World::start(|setup| {
        setup.limits("[[limit]]\nname = \"task\"\nper = [\"task\"]\nusd = \"1\"\nturns = 3\n")
    })
    .await;
    // An error that is not billed, and an answer that breaks off: no answer is there to be given again.
    for model in ["sim-500", "sim-reset"] {
        for _ in 0..2 {
            let reply = call(&world, model, &chat(model)).await;
            assert!(reply.status.is_server_error(), "{model}: {}", reply.status);
            assert_eq!(reply.header(AGAIN.0), None, "{model}");
        }
    }
    // A refusal of ours, met by many at once.
    assert_eq!(call(&world, "last", &chat("sim-a")).await.status, 200);
    let body = chat("sim-b");
    let calls = (0..4).map(|_| call(&world, "refused", &body));
    let replies = futures_util::future::join_all(calls).await;
    for reply in &replies {
        assert_refused(
            "too many turns",
            reply,
            Shape::Openai,
            402,
            "turns_exceeded",
        );
    }
    // What was answered before is given all the same: it was paid for.
    let again = call(&world, "last", &chat("sim-a")).await;
    assert_eq!(
        (again.status.as_u16(), again.header(AGAIN.0).as_deref()),
        (200, Some("true"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_an_identitys_own() {
    let world = World::start(|setup| {
        let setup = setup.limits(HIGH_LIMITS);
        setup.identity("one", "house").identity("two", "house")
    })
    .await;
    let call = |identity: &str| {
        let call = world
            .post(CHAT, &chat("sim-a"))
            .header("idempotency-key", "k");
        call.identity(identity).send()
    };
    let first = call("one").await;
    assert_again(&first, &call("one").await, AGAIN);
    assert_eq!(call("two").await.header(AGAIN.0), None);
    assert_billed(&world, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_too_long_passes_whole_and_is_not_kept() {
    let world = World::start(|setup| {
        let setup = setup.limits(HIGH_LIMITS);
        setup.more("[idempotency]\nmax_answer = \"1KiB\"\n")
    })
    .await;
    let body = stream("sim-greedy");
    for calls in 1..=2 {
        let reply = call(&world, "k", &body).await;
        assert!(reply.text().len() > 4096 && reply.text().ends_with("data: [DONE]\n\n"));
        assert_eq!(reply.header(AGAIN.0), None);
        assert_billed(&world, calls);
    }
    world.journal(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_window_the_header_has_no_effect() {
    let world = World::start(|setup| {
        let setup = setup.limits(HIGH_LIMITS);
        setup.more("[idempotency]\nwindow = \"0s\"\n")
    })
    .await;
    for calls in 1..=2 {
        assert_eq!(call(&world, "k", &chat("sim-a")).await.status, 200);
        assert_billed(&world, calls);
    }
}
