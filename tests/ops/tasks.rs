//! Tasks with caps of their own, and top-ups.

use crate::common::calls::Ask;
use crate::common::until;
use crate::rig::{Operator, account, gateway, sim};
use serde_json::json;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_task_opened_with_a_lower_cap_refuses_and_a_top_up_lets_it_pass() {
    let sim = sim().await;
    let gateway = gateway(&sim).await;
    let ops = Operator::of(&gateway);
    let (status, task) = ops
        .post(
            "/api/tasks",
            &json!({"id": "t-1", "turns": 2, "by": "anna"}),
        )
        .await;
    assert_eq!(status, 201);
    assert_eq!(task["caps"], json!({"turns": 2}));
    let caller = gateway.caller("t-1");
    for _ in 0..2 {
        assert_eq!(
            caller.call(&Ask::chat("sim-cheap")).await.unwrap().status,
            200
        );
    }
    let refused = caller.call(&Ask::chat("sim-cheap")).await.unwrap();
    assert_eq!(
        (refused.status.as_u16(), refused.refusal().as_deref()),
        (402, Some("turns_exceeded"))
    );
    assert!(refused.text().contains("task's own"), "{}", refused.text());

    let raised = ops
        .does("/api/tasks/t-1/top-up", json!({"turns": 1, "by": "anna"}))
        .await;
    // Both accounts that count the whole task.
    assert_eq!(
        account(&raised["raised"], "task's own")["meters"]["turns"]["cap"],
        3
    );
    assert_eq!(
        account(&raised["raised"], "task")["meters"]["turns"]["cap"],
        101
    );
    assert_eq!(
        caller.call(&Ask::chat("sim-cheap")).await.unwrap().status,
        200
    );
    assert_eq!(
        caller.call(&Ask::chat("sim-cheap")).await.unwrap().status,
        402
    );

    gateway.quiet().await;
    let shown = ops.sees("/api/tasks/t-1").await;
    let own = &account(&shown["accounts"], "task's own")["meters"]["turns"];
    assert_eq!((&own["settled"], &own["remaining"]), (&json!(3), &json!(0)));
    assert_eq!(shown["agents"][0]["turns"], 3);
    assert_eq!(shown["agents"][0]["denied"], 2);
    let bill = sim.bill().total().0;
    let task = &account(&shown["accounts"], "task")["meters"]["usd"];
    let settled: bursar::units::NanoUsd = task["settled"].as_str().unwrap().parse().unwrap();
    assert_eq!(settled.0, bill, "the journal's sum is the provider's bill");
}

#[tokio::test(flavor = "multi_thread")]
async fn dollars_refuse_and_pass_likewise() {
    let sim = sim().await;
    let gateway = gateway(&sim).await;
    let ops = Operator::of(&gateway);
    ops.does("/api/tasks", json!({"id": "poor", "usd": "0.000001"}))
        .await;
    let caller = gateway.caller("poor");
    let refused = caller.call(&Ask::chat("sim-cheap")).await.unwrap();
    assert_eq!(refused.refusal().as_deref(), Some("task_budget_exceeded"));
    assert_eq!(sim.bill().total().0, 0);
    ops.does(
        "/api/tasks/poor/top-up",
        json!({"usd": "0.01", "limit": "task's own"}),
    )
    .await;
    assert_eq!(
        caller.call(&Ask::chat("sim-cheap")).await.unwrap().status,
        200
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn caps_only_fall_and_count_what_was_spent_before() {
    let sim = sim().await;
    let gateway = gateway(&sim).await;
    let ops = Operator::of(&gateway);
    let caller = gateway.caller("t-2");
    for _ in 0..3 {
        assert_eq!(
            caller.call(&Ask::chat("sim-cheap")).await.unwrap().status,
            200
        );
    }
    gateway.quiet().await;
    let (status, _) = ops
        .post("/api/tasks", &json!({"id": "t-2", "turns": 4}))
        .await;
    assert_eq!(status, 200, "it was open already");
    let higher = ops
        .does("/api/tasks", json!({"id": "t-2", "turns": 50, "usd": 1}))
        .await;
    assert_eq!(higher["caps"], json!({"turns": 4, "usd": "1.00"}));
    // Three turns are spent: one is left.
    assert_eq!(
        caller.call(&Ask::chat("sim-cheap")).await.unwrap().status,
        200
    );
    let refused = caller.call(&Ask::chat("sim-cheap")).await.unwrap();
    assert_eq!(refused.refusal().as_deref(), Some("turns_exceeded"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_agents_account_is_raised_by_name() {
    let sim = sim().await;
    let gateway = gateway(&sim).await;
    let ops = Operator::of(&gateway);
    let (eager, other) = (
        gateway.caller("t-3").agent("eager"),
        gateway.caller("t-3").agent("other"),
    );
    for caller in [&eager, &other] {
        for status in [200, 200, 402] {
            assert_eq!(
                caller.call(&Ask::chat("sim-cheap")).await.unwrap().status,
                status
            );
        }
    }
    let path = "/api/tasks/t-3/top-up";
    let unnamed = ops
        .fails(path, json!({"turns": 1, "limit": "agent turns"}))
        .await;
    assert_eq!(unnamed, (400, "invalid_request".to_owned()));
    ops.does(
        path,
        json!({"turns": 1, "limit": "agent turns", "agent": "eager"}),
    )
    .await;
    assert_eq!(
        eager.call(&Ask::chat("sim-cheap")).await.unwrap().status,
        200
    );
    assert_eq!(
        other.call(&Ask::chat("sim-cheap")).await.unwrap().status,
        402
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_meant_is_refused_with_the_nearest_name() {
    let sim = sim().await;
    let gateway = gateway(&sim).await;
    let ops = Operator::of(&gateway);
    ops.does("/api/tasks", json!({"id": "t-4"})).await;
    for (path, body, status, code, says) in [
        (
            "/api/tasks",
            json!({"id": "t-5", "turn": 1}),
            400,
            "invalid_request",
            "`turns`",
        ),
        (
            "/api/tasks",
            json!({"id": "t-5", "usd": 0.5}),
            400,
            "invalid_request",
            "\"0.50\"",
        ),
        (
            "/api/tasks",
            json!({"id": "a b"}),
            400,
            "invalid_request",
            "visible ASCII",
        ),
        (
            "/api/tasks",
            json!({"id": "t-5", "owner": "locl"}),
            400,
            "invalid_request",
            "`local`",
        ),
        (
            "/api/tasks",
            json!({"turns": 1}),
            400,
            "invalid_request",
            "`id`",
        ),
        ("/api/tasks", json!([1]), 400, "invalid_request", "object"),
        (
            "/api/tasks/none/top-up",
            json!({"usd": 1}),
            404,
            "not_found",
            "none",
        ),
        (
            "/api/tasks/t-4/top-up",
            json!({}),
            400,
            "invalid_request",
            "how much",
        ),
        (
            "/api/tasks/t-4/top-up",
            json!({"usd": 1, "limit": "tsk"}),
            400,
            "invalid_request",
            "`task`",
        ),
        (
            "/api/tasks/t-4/top-up",
            json!({"tokens": 1}),
            409,
            "no_such_cap",
            "`tokens`",
        ),
        (
            "/api/tasks/t-4/top-up",
            json!({"usd": 1, "limit": "owner per day"}),
            409,
            "not_per_task",
            "policies",
        ),
        (
            "/api/suspend",
            json!({"identity": "loca"}),
            404,
            "not_found",
            "`local`",
        ),
        ("/api/suspend", json!({}), 400, "invalid_request", "`all`"),
        (
            "/api/suspend",
            json!({"all": true, "identity": "local"}),
            400,
            "invalid_request",
            "either",
        ),
    ] {
        let (answered, said) = ops.post(path, &body).await;
        assert_eq!(answered, status, "{path} {body}: {said}");
        assert_eq!(said["error"]["code"], code, "{path} {body}");
        let message = said["error"]["message"].as_str().unwrap();
        assert!(message.contains(says), "{path} {body}: {message}");
    }
    let twice = ops
        .send("POST", "/api/tasks", r#"{"id":"t-5","id":"t-6"}"#)
        .await;
    assert_eq!(twice.0, 400, "a field twice");
    let long = format!("{{\"id\":\"{}\"}}", "x".repeat(70_000));
    assert_eq!(ops.send("POST", "/api/tasks", &long).await.0, 413);
    assert_eq!(ops.get("/api/tasks?owmer=x").await.0, 400);
    assert_eq!(ops.get("/api/nothing").await.0, 404);
    assert_eq!(ops.send("POST", "/api/health", "{}").await.0, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_budget_says_what_is_left_for_caller_task_and_agent() {
    let sim = sim().await;
    let gateway = gateway(&sim).await;
    let ops = Operator::of(&gateway);
    ops.does("/api/tasks", json!({"id": "t-7", "turns": 5}))
        .await;
    let caller = gateway.caller("t-7").agent("writer");
    assert_eq!(
        caller.call(&Ask::chat("sim-cheap")).await.unwrap().status,
        200
    );
    gateway.quiet().await;
    let agents = Operator::of(&gateway)
        .at(&gateway.agents)
        .header("x-bursar-task-id", "t-7")
        .header("x-bursar-agent-id", "writer");
    // The sums are those of the ledger at once; how siblings fared comes from the journal.
    let budget = until(
        "the call is journalled",
        Duration::from_secs(20),
        || async {
            let budget = agents.sees("/v1/budget").await;
            let is_there = budget["agents"][0]["calls"] == 1;
            is_there.then_some(budget)
        },
    )
    .await;
    assert_eq!(budget["task"], "t-7");
    let remaining = |limit: &str, meter: &str| {
        account(&budget["limits"], limit)["meters"][meter]["remaining"].clone()
    };
    assert_eq!(remaining("task", "turns"), 99);
    assert_eq!(remaining("agent turns", "turns"), 1);
    assert_eq!(remaining("task's own", "turns"), 4);
    assert_eq!(budget["agents"][0]["agent"], "writer");
    assert_eq!(budget["state"], "active");
}
