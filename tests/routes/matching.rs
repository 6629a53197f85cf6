//! Which calls a route takes.

use crate::common::calls::{Ask, Dialect, Http, Reply};
use crate::common::setup::key_of;
use crate::rig::Rig;
use http::Request;
use serde_json::json;
use std::collections::BTreeSet;

const WORKERS: &str = r#"
[[route]]
name = "workers"
match = { role = "worker*" }
to = ["second/sim-cheap", "sim/sim-cheap"]
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_goes_to_its_model_and_the_others_where_they_ask() {
    let mut rig = Rig::start(WORKERS, "").await;
    let strong = Ask::chat("sim-strong");
    for ask in [strong.clone(), strong.clone().stream()] {
        let before = rig.billed();
        let reply = rig.caller("t", "worker-7").call(&ask).await.unwrap();
        assert_eq!(reply.header("x-bursar-model").unwrap(), "sim-cheap");
        assert_eq!(rig.billed()[0], before[0]);
        if !ask.stream {
            let cost = reply.cost().expect("a cost").0;
            assert_eq!(rig.billed()[1] - before[1], cost);
            rig.gateway.quiet().await;
            let went = rig.went(&reply.request_id());
            assert_eq!((&*went.provider, &*went.model), ("second", "sim-cheap"));
            assert_eq!((&*went.route, &*went.asked), ("workers", "sim-strong"));
        }
    }
    assert_eq!(rig.say("t", "supervisor", &strong).await, "sim/sim-strong");
    assert_eq!(rig.say("t", "", &strong).await, "sim/sim-strong");
    let responses = strong.clone().dialect(Dialect::Responses);
    assert_eq!(rig.say("t", "worker", &responses).await, "second/sim-cheap");
    let metrics = rig.gateway.metrics().await;
    let counted = "bursar_routed_calls_total{route=\"workers\",target=\"second/sim-cheap\"}";
    assert!((metrics.get(counted) - 3.0).abs() < 0.1);
    rig.settles().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embeddings_go_where_generation_goes_only_if_the_route_says_so() {
    let routes = r#"
[[route]]
match = { role = "worker" }
to = "second/sim-cheap"

[[route]]
match = { role = "indexer", kind = "embeddings" }
to = "second/sim-embed"
"#;
    let rig = Rig::start(routes, "").await;
    for (role, who) in [("worker", [1, 0]), ("indexer", [1, 1])] {
        let request = Request::post(format!("{}/v1/embeddings", rig.gateway.agents))
            .header("content-type", "application/json")
            .header("x-bursar-agent-role", role);
        let body = json!({"model": "sim-embed", "input": "purse"}).to_string();
        let body = bytes::Bytes::from(body).into();
        let sent = Http::new().send(request.body(body).unwrap()).await.unwrap();
        assert!(Reply::read(sent).await.unwrap().status.is_success());
        let calls = [&rig.first, &rig.second].map(|sim| sim.bill().calls);
        assert_eq!(calls, who, "{role}");
    }
    // A route for embeddings takes no generation.
    let ask = Ask::chat("sim-strong");
    assert_eq!(rig.say("t", "indexer", &ask).await, "sim/sim-strong");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_of_a_match_must_match_and_the_first_route_wins() {
    let routes = r#"
[[route]]
name = "tools"
match = { tools = true, model = ["sim-strong", "nobody-has-this"] }
to = "second/tooled"

[[route]]
name = "long"
match = { context_tokens = { over = 2000 }, dialect = "openai-*" }
to = "second/long"

[[route]]
name = "a task"
match = { task = "t-1", agent = "a", owner = "local", identity = "local" }
to = "second/*"
"#;
    let rig = Rig::start(routes, "").await;
    let mut ask = Ask::chat("sim-strong");
    assert_eq!(rig.say("t", "", &ask).await, "sim/sim-strong");
    ask.tools = true;
    assert_eq!(rig.say("t", "", &ask).await, "second/tooled");
    // With a provider's name before it, the model is still the one that the route means; one that
    // nobody has is as good a name as any.
    for model in ["sim/sim-strong", "nobody-has-this"] {
        ask.model = model.to_owned();
        assert_eq!(rig.say("t", "", &ask).await, "second/tooled");
    }
    ask.model = "sim-cheap".to_owned();
    assert_eq!(rig.say("t", "", &ask).await, "sim/sim-cheap");
    // Far more bytes than two thousand, but no more tokens.
    ask.text = "purse ".repeat(1_500);
    assert_eq!(rig.say("t", "", &ask).await, "sim/sim-cheap");
    ask.text = "purse ".repeat(2_500);
    assert_eq!(rig.say("t", "", &ask).await, "second/long");
    let messages = ask.clone().dialect(Dialect::Messages);
    assert_eq!(rig.say("t", "", &messages).await, "sim/sim-cheap");
    let short = Ask::chat("sim-cheap");
    let before = rig.billed();
    let caller = rig.caller("t-1", "").agent("a");
    let reply = caller.call(&short).await.unwrap();
    assert_eq!(rig.who(before, &reply), "second/sim-cheap");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_does_not_take_the_dialect_is_left_out() {
    let routes = r#"
[[route]]
match = { role = "either" }
to = ["sim-anthropic/sim-strong", "second/sim-cheap"]

[[route]]
name = "no completions"
match = { role = "chat" }
to = ["sim-anthropic/sim-strong"]
"#;
    let rig = Rig::start(routes, "").await;
    let chat = Ask::chat("x");
    let completions = chat.clone().dialect(Dialect::Completions);
    // Chat is translated for it; completions cannot be.
    assert_eq!(rig.say("t", "either", &chat).await, "sim/sim-strong");
    assert_eq!(
        rig.say("t", "either", &completions).await,
        "second/sim-cheap"
    );
    let reply = rig.caller("t", "chat").call(&completions).await.unwrap();
    assert_eq!(reply.status, 404);
    assert!(reply.text().contains("no completions"), "{}", reply.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_target_cannot_be_told_the_next_may() {
    let routes = r#"
[[route]]
match = { role = "seeded" }
to = ["sim-anthropic/sim-strong", "second/sim-cheap"]

[[route]]
name = "claude"
match = { role = "stubborn" }
to = ["sim-anthropic/sim-strong"]
"#;
    let rig = Rig::start(routes, "").await;
    let mut ask = Ask::chat("x");
    ask.n = Some(2);
    assert_eq!(rig.say("t", "seeded", &ask).await, "second/sim-cheap");
    let reply = rig.caller("t", "stubborn").call(&ask).await.unwrap();
    assert_eq!(reply.status, 400);
    assert!(reply.text().contains("`n` cannot be carried"));
    ask.n = None;
    assert_eq!(rig.say("t", "seeded", &ask).await, "sim/sim-strong");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_identity_needs_leave_for_the_name_it_asks_for() {
    let rig = Rig::start_with(WORKERS, "", |setup| {
        setup.identity_with("crew", "o", "role = \"worker\"\nmodels = [\"sim-strong\"]")
    })
    .await;
    let key = format!("Bearer {}", key_of("crew"));
    let caller = rig.caller("t", "").header("authorization", &key);
    let before = rig.billed();
    let reply = caller.call(&Ask::chat("sim-strong")).await.unwrap();
    assert_eq!(rig.who(before, &reply), "second/sim-cheap");
    let reply = caller.call(&Ask::chat("sim-cheap")).await.unwrap();
    assert_eq!(reply.refusal().unwrap(), "not_permitted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weights_are_drawn_once_a_task() {
    let routes = r#"
[[route]]
to = [{ model = "sim/sim-cheap", weight = 3 }, { model = "second/sim-cheap", weight = 1 }]
"#;
    let mut rig = Rig::start(routes, "").await;
    let ask = Ask::chat("anything");
    let mut seen = Vec::new();
    for task in 0..60 {
        seen.push(rig.say(&format!("t-{task}"), "", &ask).await);
    }
    let seconds = seen.iter().filter(|who| who.starts_with("second")).count();
    assert!((4..=28).contains(&seconds), "{seconds} of 60");
    for (task, who) in seen.iter().enumerate().take(10) {
        for role in ["", "worker"] {
            assert_eq!(rig.say(&format!("t-{task}"), role, &ask).await, *who);
        }
    }
    rig.gateway.stop().await;
    rig.gateway.start_again().await;
    for (task, who) in seen.iter().enumerate().take(10) {
        assert_eq!(rig.say(&format!("t-{task}"), "", &ask).await, *who);
    }
    let all: BTreeSet<_> = seen.iter().collect();
    assert_eq!(all.len(), 2);
    rig.settles().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_routes_take_over_without_a_restart_and_bad_ones_do_not() {
    let rig = Rig::start(WORKERS, "").await;
    let ask = Ask::chat("sim-strong");
    assert_eq!(rig.say("t", "worker", &ask).await, "second/sim-cheap");
    rig.reload("[[route]]\nto = \"nowhere/x\"\n", "error").await;
    assert_eq!(rig.say("t", "worker", &ask).await, "second/sim-cheap");
    rig.reload("[[route]]\nto = \"second/other\"\n", "ok").await;
    assert_eq!(rig.say("t", "", &ask).await, "second/other");
    rig.reload("", "ok").await;
    assert_eq!(rig.say("t", "worker", &ask).await, "sim/sim-strong");
}
