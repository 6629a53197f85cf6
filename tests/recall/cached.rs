//! `[cache]`.

use crate::common::calls::Reply;
use crate::common::until;
use crate::rig::{CHAT, Call, HIGH_LIMITS, World, chat};
use crate::{assert_again, assert_billed};
use serde_json::{Value, json};
use std::time::Duration;

const HIT: (&str, &str) = ("x-bursar-cache", "hit");

async fn world(cache: &str) -> World {
    World::start(|setup| setup.limits(HIGH_LIMITS).more(cache)).await
}

fn fixed(model: &str, more: Value) -> Value {
    let mut body = chat(model);
    body["temperature"] = json!(0);
    let members = body.as_object_mut().expect("a body");
    members.extend(more.as_object().cloned().unwrap_or_default());
    body
}

fn call(world: &World, body: &Value) -> Call {
    world.post(CHAT, body).header("x-bursar-task-id", "t")
}

fn was(reply: &Reply) -> Option<String> {
    reply.header(HIT.0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deterministic_call_is_paid_for_once() {
    let world = world("[cache]\n").await;
    let bodies = [
        (CHAT, fixed("sim-a", json!({}))),
        (CHAT, fixed("sim-a", json!({"stream": true}))),
        (CHAT, fixed("sim-a", json!({"temperature": 1, "seed": 7}))),
        (
            "/v1/messages",
            fixed("sim-a", json!({"stream": true, "max_tokens": 300})),
        ),
        (
            "/v1/embeddings",
            json!({"model": "sim-embed", "input": "x"}),
        ),
    ];
    for (n, (path, body)) in (1..).zip(&bodies) {
        let call = || {
            world
                .post(path, body)
                .header("x-bursar-task-id", "t")
                .send()
        };
        let first = call().await;
        assert_eq!(first.status, 200, "{path}: {}", first.text());
        assert_eq!(was(&first).as_deref(), Some("miss"), "{path}");
        for _ in 0..2 {
            assert_again(&first, &call().await, HIT);
        }
        assert_billed(&world, n);
    }
    let metrics = world.gateway.quiet().await;
    assert_eq!(metrics.get("bursar_replayed_total{from=\"cache\"}"), 10.0);
    assert_eq!(metrics.get("bursar_cache_misses_total"), 5.0);
    let saved = metrics.nano("bursar_saved_usd_total{from=\"cache\"}");
    assert_eq!(
        saved,
        2 * world.sim.bill().total().0,
        "each was given again twice"
    );
    world.journal(5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_deterministic_or_not_asked_for_is_sent() {
    let world = world("[cache]\n").await;
    let bodies = [
        chat("sim-a"),
        fixed("sim-a", json!({"temperature": 0.2})),
        fixed("sim-500", json!({})),
    ];
    for body in &bodies {
        for _ in 0..2 {
            let reply = call(&world, body).send().await;
            assert_ne!(was(&reply).as_deref(), Some("hit"), "{body}");
        }
    }
    assert_billed(&world, 4);
    let body = fixed("sim-b", json!({}));
    let says = |value: &'static str| call(&world, &body).header("cache-control", value).send();
    assert_eq!(was(&says("no-store").await), None);
    assert_eq!(was(&says("no-cache").await).as_deref(), Some("miss"));
    assert_eq!(
        was(&says("max-age=0, no-cache").await).as_deref(),
        Some("miss")
    );
    assert_billed(&world, 7);
    assert_eq!(was(&says("private").await).as_deref(), Some("hit"));
    assert_billed(&world, 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_off_unless_configured() {
    let world = world("").await;
    for calls in 1..=2 {
        let reply = call(&world, &fixed("sim-a", json!({}))).send().await;
        assert_eq!(was(&reply), None);
        assert_billed(&world, calls);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_anothers_answer() {
    let limit = "[[limit]]\nname = \"judges\"\nmatch = { role = \"judge\" }\nper = [\"task\"]\nusd = \"9\"\n";
    let world = World::start(|setup| {
        let setup = setup.limits(HIGH_LIMITS).limits(limit).more("[cache]\n");
        let say = "may_say_on_behalf_of = true\n";
        setup
            .identity_with("one", "house", say)
            .identity("two", "house")
            .identity("three", "other")
    })
    .await;
    let body = fixed("sim-a", json!({}));
    let calls: [&[(&str, &str)]; 5] = [
        &[],
        &[("x-bursar-on-behalf-of", "ann")],
        &[("x-bursar-on-behalf-of", "bob")],
        &[("x-bursar-agent-role", "judge")],
        &[("anthropic-beta", "x")],
    ];
    let mut billed = 0;
    for identity in ["one", "two", "three"] {
        // Only the first may say for whom it acts.
        let most = if identity == "one" { calls.len() } else { 1 };
        for headers in &calls[..most] {
            let call = || {
                let call = call(&world, &body).identity(identity);
                call.headers(headers.iter().copied()).send()
            };
            let first = call().await;
            assert_eq!(
                was(&first).as_deref(),
                Some("miss"),
                "{identity} {headers:?}"
            );
            billed += 1;
            assert_again(&first, &call().await, HIT);
            assert_billed(&world, billed);
        }
    }
    // Roles under the same limits, and tasks once they are open, share.
    let reply = call(&world, &body).identity("one");
    let reply = reply.header("x-bursar-agent-role", "worker").send().await;
    assert_eq!(was(&reply).as_deref(), Some("hit"));
    let other = || {
        world
            .post(CHAT, &body)
            .identity("one")
            .header("x-bursar-task-id", "u")
    };
    assert_eq!(was(&other().send().await).as_deref(), Some("miss"));
    assert_eq!(was(&other().send().await).as_deref(), Some("hit"));
    assert_billed(&world, billed + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_has_its_time_and_its_size() {
    let world = world("[cache]\nttl = \"300ms\"\nmax_answer = \"2KiB\"\n").await;
    let body = fixed("sim-a", json!({"max_tokens": 20}));
    let first = call(&world, &body).send().await;
    assert_eq!(was(&first).as_deref(), Some("miss"));
    until("its time is over", Duration::from_secs(10), || async {
        let reply = call(&world, &body).send().await;
        (was(&reply).as_deref() == Some("miss")).then_some(())
    })
    .await;
    assert_billed(&world, 2);
    let long = fixed("sim-greedy", json!({"stream": true}));
    for calls in 3..=4 {
        let reply = call(&world, &long).send().await;
        assert!(reply.text().len() > 4096 && reply.text().ends_with("data: [DONE]\n\n"));
        assert_billed(&world, calls);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_stands_still_gets_no_answers() {
    let world = world("[cache]\n").await;
    let body = fixed("sim-a", json!({}));
    call(&world, &body).send().await;
    assert_eq!(
        was(&call(&world, &body).send().await).as_deref(),
        Some("hit")
    );
    let url = format!("{}/api/tasks/t/suspend", world.gateway.ops);
    let http = crate::common::calls::Http::new();
    let reply = http.post(&url, &json!({})).await.expect("an answer");
    assert!(reply.status.is_success(), "{}", reply.text());
    let reply = call(&world, &body).send().await;
    assert_eq!(
        reply.refusal().as_deref(),
        Some("task_suspended"),
        "{}",
        reply.text()
    );
    assert_billed(&world, 1);
}
