//! Aliases, tasks that stay with the model that answered first, and versions that part.

use crate::common::calls::{Ask, Dialect};
use crate::common::until;
use crate::rig::Rig;
use crate::story;
use serde_json::Value;
use std::time::Duration;

const ALIAS: &str = r#"
[[alias]]
name = "fast"
to = ["sim/sim-cheap", "second/sim-cheap"]
pin = "task"
"#;
const MOVED: &str = r#"
[[alias]]
name = "fast"
to = ["second/sim-cheap"]
pin = "task"
"#;
const OLD: &str = "2026-01-01";
const NEW: &str = "2026-02-02";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alias_is_a_name_that_callers_may_ask_for() {
    let rig = Rig::start(ALIAS, "").await;
    let ask = Ask::chat("fast");
    assert_eq!(rig.say("t", "", &ask).await, "sim/sim-cheap");
    let models = rig.gateway.caller("t").get("/v1/models").await.unwrap();
    let models = models.json()["data"].as_array().unwrap().clone();
    assert!(models.iter().any(|model| model["id"] == "fast"));
    assert_eq!(
        rig.say("t", "", &Ask::chat("faster")).await,
        "model_not_found"
    );
}

/// Waits until the store holds a task to so many models.
async fn pinned(rig: &Rig, task: &str, pins: usize) {
    until("they are kept", Duration::from_secs(30), || async {
        (story(rig, task, "pinned").len() >= pins).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_stays_with_the_version_that_answered_first() {
    let mut rig = Rig::start(ALIAS, "").await;
    rig.first.answer_as(OLD);
    rig.second.answer_as(NEW);
    let ask = Ask::chat("fast");
    assert_eq!(rig.say("t", "", &ask).await, "sim/sim-cheap-2026-01-01");
    // From here on it is asked for by that name, as a stream and in other dialects that speak to it.
    let streamed = ask.clone().stream();
    let before = rig.billed();
    let reply = rig.caller("t", "").call(&streamed).await.unwrap();
    assert_eq!(rig.who(before, &reply), "sim/sim-cheap-2026-01-01");
    rig.gateway.quiet().await;
    let went = rig.went(&reply.request_id());
    assert_eq!(
        (&*went.model, &*went.route),
        ("sim-cheap-2026-01-01", "fast")
    );
    // Also where the route leads elsewhere by now, and after a restart.
    rig.reload(MOVED, "ok").await;
    assert_eq!(rig.say("t", "", &ask).await, "sim/sim-cheap-2026-01-01");
    assert_eq!(rig.say("u", "", &ask).await, "second/sim-cheap-2026-02-02");
    pinned(&rig, "u", 1).await;
    rig.gateway.kill();
    rig.gateway.start_again().await;
    assert_eq!(rig.say("t", "", &ask).await, "sim/sim-cheap-2026-01-01");
    assert_eq!(rig.say("u", "", &ask).await, "second/sim-cheap-2026-02-02");
    let pinned = story(&rig, "t", "pinned");
    assert_eq!(pinned.len(), 1, "{pinned:?}");
    assert_eq!(pinned[0], "fast is sim/sim-cheap-2026-01-01 from here on");
    // It is gone: nothing else answers in its place.
    rig.first.answer_as(NEW);
    let before = rig.billed();
    let reply = rig.caller("t", "").call(&ask).await.unwrap();
    assert_eq!((reply.status.as_u16(), rig.billed()), (404, before));
    let mut dialect = ask.clone().dialect(Dialect::Messages);
    dialect.max_tokens = Some(10);
    let reply = rig.caller("t", "").call(&dialect).await.unwrap();
    assert_eq!(reply.status, 404);
    rig.settles().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_first_calls_agrees_on_one() {
    let routes = "[[route]]\nname = \"p\"\npin = \"task\"\nto = [\"sim/*\", \"second/*\"]\n";
    let rig = Rig::start(routes, "").await;
    rig.first.answer_as(OLD);
    let ask = Ask::chat("sim-cheap");
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (caller, ask) = (rig.caller("t", ""), ask.clone());
        calls.spawn(async move { caller.call(&ask).await.unwrap() });
    }
    calls.join_all().await;
    rig.gateway.quiet().await;
    pinned(&rig, "t", 1).await;
    assert_eq!(
        story(&rig, "t", "pinned"),
        ["p sim-cheap is sim/sim-cheap-2026-01-01 from here on"]
    );
    // By the model asked for, where the route goes by that; and calls of no task are not held to anything.
    let strong = Ask::chat("sim-strong");
    assert_eq!(rig.say("t", "", &strong).await, "sim/sim-strong-2026-01-01");
    pinned(&rig, "t", 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_versions_are_told_and_shown_by_role() {
    let rig = Rig::start_with("", "", |setup| {
        setup.top("ops_token = \"env:OPS\"").env("OPS", "t0ken")
    })
    .await;
    let ask = Ask::chat("sim-cheap");
    rig.first.answer_as(OLD);
    for role in ["planner", "worker"] {
        assert_eq!(rig.say("t", role, &ask).await, "sim/sim-cheap-2026-01-01");
    }
    let metrics = rig.gateway.metrics().await;
    assert!(metrics.sum("bursar_model_skew_total") < 0.5);
    rig.first.answer_as(NEW);
    for _ in 0..2 {
        assert_eq!(
            rig.say("t", "worker", &ask).await,
            "sim/sim-cheap-2026-02-02"
        );
    }
    rig.gateway.quiet().await;
    let version = story(&rig, "t", "version");
    assert_eq!(
        version,
        ["sim answers sim-cheap as sim-cheap-2026-02-02 now, and before as sim-cheap-2026-01-01"]
    );
    let skew = story(&rig, "t", "skew");
    assert_eq!(
        skew,
        ["worker is answered by sim-cheap-2026-02-02, planner by sim-cheap-2026-01-01"]
    );
    let metrics = rig.gateway.metrics().await;
    assert!((metrics.sum("bursar_model_skew_total") - 2.0).abs() < 0.1);
    let shown = rig.show("t").await;
    let models = shown["models"].as_array().unwrap();
    let lines: Vec<String> = models
        .iter()
        .map(|line| {
            format!("{} {} {}", line["role"], line["answered"], line["skew"]).replace('"', "")
        })
        .collect();
    let expected = [
        "planner sim-cheap-2026-01-01 true",
        "worker sim-cheap-2026-01-01 true",
        "worker sim-cheap-2026-02-02 true",
    ];
    assert_eq!(lines, expected);
    assert_eq!(shown["pins"], Value::Array(Vec::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn skew_may_be_denied_also_after_a_restart() {
    let mut rig = Rig::start("[skew]\naction = \"deny\"\n", "").await;
    let ask = Ask::chat("sim-cheap");
    rig.first.answer_as(OLD);
    assert_eq!(
        rig.say("t", "planner", &ask).await,
        "sim/sim-cheap-2026-01-01"
    );
    rig.first.answer_as(NEW);
    // Nobody knew; from here on everybody does, also in other tasks.
    assert_eq!(rig.say("u", "", &ask).await, "sim/sim-cheap-2026-02-02");
    let reply = rig.caller("t", "worker").call(&ask).await.unwrap();
    assert_eq!(reply.refusal().unwrap(), "not_permitted");
    assert!(
        reply.text().contains("sim-cheap-2026-01-01"),
        "{}",
        reply.text()
    );
    assert_eq!(rig.say("u", "", &ask).await, "sim/sim-cheap-2026-02-02");
    // Another model is another matter.
    let strong = Ask::chat("sim-strong");
    assert_eq!(
        rig.say("t", "worker", &strong).await,
        "sim/sim-strong-2026-02-02"
    );
    rig.gateway.stop().await;
    rig.gateway.start_again().await;
    assert_eq!(rig.say("u", "", &ask).await, "sim/sim-cheap-2026-02-02");
    assert_eq!(rig.say("t", "worker", &ask).await, "not_permitted");
    rig.settles().await;
}
