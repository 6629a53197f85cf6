//! The tree of a task's agents: how deep it may be, and how many children one agent may have.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may panic")]

mod common;

use bursar::sim::{Settings, Sim};
use common::calls::{Ask, Http, Reply};
use common::gateway::Gateway;
use common::setup::Setup;
use common::{books, until};
use serde_json::{Value, json};
use std::time::Duration;

/// How long anything may take here: this machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

const CREW: &str = "[[limit]]\nname = \"crew\"\nper = [\"task\"]\ndepth = 2\nfan_out = 3\n";

async fn scene(limits: &str) -> (Sim, Gateway) {
    let sim = Sim::start(Settings::default()).await.expect("providers");
    let gateway = Gateway::start(&Setup::new(sim.addr()).limits(limits)).await;
    (sim, gateway)
}

/// A call of `agent`, called by `parent`; an empty name is not said.
async fn call(gateway: &Gateway, agent: &str, parent: &str) -> Reply {
    let mut caller = gateway.caller("t");
    if !agent.is_empty() {
        caller = caller.agent(agent);
    }
    if !parent.is_empty() {
        caller = caller.header("x-bursar-parent-agent-id", parent);
    }
    caller
        .call(&Ask::chat("sim-cheap"))
        .await
        .expect("an answer")
}

async fn pass(gateway: &Gateway, pairs: &[(&str, &str)]) {
    for (agent, parent) in pairs {
        let reply = call(gateway, agent, parent).await;
        assert!(reply.status.is_success(), "{agent}: {}", reply.text());
    }
}

async fn refused(gateway: &Gateway, agent: &str, parent: &str) -> Value {
    let reply = call(gateway, agent, parent).await;
    assert_eq!(reply.status, 402, "{agent} of {parent}: {}", reply.text());
    assert_eq!(reply.refusal().as_deref(), Some("limit_exceeded"));
    reply.json()["error"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_deep_and_too_many_are_refused_before_anything_is_sent() {
    let (sim, mut gateway) = scene(CREW).await;
    pass(
        &gateway,
        &[("lead", ""), ("a", "lead"), ("b", "lead"), ("c", "a")],
    )
    .await;
    let error = refused(&gateway, "d", "c").await;
    let told = &error["bursar"];
    assert_eq!(
        (&told["limit"], &told["meter"], &told["cap"]),
        (&json!("crew"), &json!("depth"), &json!("2"))
    );
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("stand 3 below the root"), "{message}");
    pass(&gateway, &[("e", "lead")]).await;
    let error = refused(&gateway, "f", "lead").await;
    assert_eq!(error["bursar"]["meter"], "fan_out");
    assert_eq!(error["bursar"]["settled"], "3");
    // Those that are there go on, whatever they say or leave out.
    pass(
        &gateway,
        &[("a", "lead"), ("c", ""), ("e", "lead"), ("lead", "")],
    )
    .await;
    // Another parent has children of its own; one that names none stands where it stood.
    pass(&gateway, &[("f", "a")]).await;
    gateway.quiet().await;
    let sent = sim.bill().calls;
    assert_eq!(sent, 10, "nothing of what was refused was sent");

    gateway.kill();
    gateway.start_again().await;
    refused(&gateway, "d", "c").await;
    refused(&gateway, "g", "lead").await;
    refused(&gateway, "d", "f").await;
    pass(&gateway, &[("b", "lead")]).await;
    gateway.quiet().await;
    assert_eq!(sim.bill().calls, sent + 1);
    books::verify(&gateway.store());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_new_children_meets_the_same_cap_as_the_last() {
    let (_sim, gateway) = scene(CREW).await;
    let names: Vec<String> = (0..12).map(|n| format!("child-{n}")).collect();
    let burst = names.iter().map(|name| call(&gateway, name, "lead"));
    let replies = futures_util::future::join_all(burst).await;
    let passed = replies.iter().filter(|reply| reply.status.is_success());
    assert_eq!(passed.count(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_whose_first_call_never_ended_is_known_after_a_crash() {
    let (_sim, mut gateway) = scene(CREW).await;
    pass(&gateway, &[("a", "lead"), ("b", "lead")]).await;
    let caller = gateway.caller("t").agent("c");
    let caller = caller.header("x-bursar-parent-agent-id", "lead");
    // Its head is here: it was sent.
    let stream = caller.open(&Ask::chat("sim-slow").stream()).await;
    let stream = stream.expect("a stream");
    gateway.kill();
    drop(stream);
    gateway.start_again().await;
    let error = refused(&gateway, "d", "lead").await;
    assert_eq!(error["bursar"]["meter"], "fan_out");
    pass(&gateway, &[("c", "lead")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_refused_for_another_reason_adds_no_child() {
    let limits = "[[limit]]\nname = \"crew\"\nper = [\"task\"]\nfan_out = 1\n\
                  [[limit]]\nname = \"poor\"\nper = [\"task\", \"agent\"]\nmatch = { agent = \"poor\" }\nturns = 0\n";
    let (_sim, gateway) = scene(limits).await;
    let reply = call(&gateway, "poor", "lead").await;
    assert_eq!(reply.refusal().as_deref(), Some("turns_exceeded"));
    pass(&gateway, &[("a", "lead")]).await;
    refused(&gateway, "b", "lead").await;
    // A child that names no agent is one too.
    refused(&gateway, "", "lead").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_that_came_before_the_cap_count_and_what_is_left_is_told() {
    let (_sim, gateway) = scene("").await;
    pass(&gateway, &[("a", "lead"), ("b", "lead"), ("c", "a")]).await;
    gateway.quiet().await;
    // The task's own caps, set by an operator in the middle of it.
    let http = Http::new();
    let url = format!("{}/api/tasks", gateway.ops);
    let body = json!({"id": "t", "fan_out": 2, "depth": 2});
    let opened = http.post(&url, &body).await.unwrap();
    assert!(opened.status.is_success(), "{}", opened.text());
    let error = refused(&gateway, "d", "lead").await;
    assert_eq!(error["bursar"]["settled"], "2");
    refused(&gateway, "d", "c").await;
    let shown = http.get(&format!("{url}/t")).await.unwrap().json();
    let meters = &shown["accounts"][0]["meters"];
    let depth = &meters["depth"];
    assert_eq!((&depth["cap"], &depth["settled"]), (&json!(2), &json!(2)));
    assert_eq!(meters["fan_out"]["remaining"], 0);
    let budget = format!("{}/v1/budget", gateway.agents);
    let request = http::Request::get(&budget).header("x-bursar-task-id", "t");
    let request = request.body(http_body_util::Full::default()).unwrap();
    let answer = Reply::read(http.send(request).await.unwrap())
        .await
        .unwrap();
    let limits = answer.json()["limits"].clone();
    assert_eq!(limits[0]["meters"]["depth"]["settled"], 2, "{limits}");
    // A person lets one more in.
    let raised = http
        .post(&format!("{url}/t/top-up"), &json!({"fan_out": 1}))
        .await;
    let raised = raised.unwrap();
    assert!(raised.status.is_success(), "{}", raised.text());
    pass(&gateway, &[("d", "lead")]).await;
    refused(&gateway, "e", "lead").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_may_be_asked_whether_the_crew_shall_grow() {
    let limits = format!("{CREW}on_exceed = \"escalate\"\n");
    let (_sim, gateway) = scene(&limits).await;
    pass(&gateway, &[("a", "lead"), ("c", "a")]).await;
    let http = Http::new();
    let caller = gateway.caller("t").agent("d");
    let caller = caller.header("x-bursar-parent-agent-id", "c");
    let waiting = tokio::spawn(async move { caller.call(&Ask::chat("sim-cheap")).await });
    let url = format!("{}/api/escalations", gateway.ops);
    let question = until("a question", PATIENCE, || async {
        let asked = http.get(&format!("{url}?state=waiting")).await.ok()?.json();
        asked["escalations"].get(0).cloned()
    })
    .await;
    assert_eq!(question["limit"]["meter"], "depth", "{question}");
    let url = format!("{url}/{}/approve", question["id"].as_str().unwrap());
    let approved = http.post(&url, &json!({"depth": 1})).await.unwrap();
    assert!(approved.status.is_success(), "{}", approved.text());
    let reply = waiting.await.unwrap().expect("an answer");
    assert!(reply.status.is_success(), "{}", reply.text());
}
