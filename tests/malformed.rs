//! Answers that break the form that was asked for, and calls and children that fail, again and again:
//! the agent's next call is refused or a person is asked, whoever has what it handed on is named in the
//! audit story, and a person's decision lets it begin anew.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use bursar::sim::{Settings, Sim};
use common::books;
use common::calls::{Ask, Caller, Dialect, Http, Reply};
use common::gateway::Gateway;
use common::program::Ends as _;
use common::setup::Setup;
use common::until;
use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const DIALECTS: [Dialect; 3] = [Dialect::Chat, Dialect::Messages, Dialect::Responses];

/// Simulated providers and a gateway with these rules.
async fn scene(loops: &str) -> (Sim, Gateway) {
    let sim = Sim::start(Settings::default()).await.expect("providers");
    let setup = Setup::new(sim.addr()).loops(loops);
    let gateway = Gateway::start(&setup).await;
    (sim, gateway)
}

/// A call with a tool, or for a structured answer.
fn ask(model: &str, dialect: Dialect, stream: bool) -> Ask {
    let mut ask = Ask::chat(model).dialect(dialect);
    ask.stream = stream;
    ask.structured = model.ends_with("json");
    ask.tools = !ask.structured;
    ask
}

async fn call(caller: &Caller, ask: &Ask) -> Reply {
    caller.call(ask).await.expect("an answer")
}

async fn answered(caller: &Caller, ask: &Ask) {
    let reply = call(caller, ask).await;
    assert!(reply.status.is_success(), "{}", reply.text());
}

/// `bursar …`: what it printed.
fn bursar(gateway: &Gateway, words: &[&str]) -> String {
    let done = Command::new(env!("CARGO_BIN_EXE_bursar"))
        .args(words)
        .arg("--config")
        .arg(gateway.config())
        .env("BURSAR_OPS", &gateway.ops)
        .ended();
    assert!(done.status.success(), "{words:?}: {done:?}");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_malformed_answers_trip_the_agent_in_each_dialect() {
    let (sim, gateway) = scene("").await;
    let mut tripped = 0.0;
    for dialect in DIALECTS {
        for stream in [false, true] {
            for model in ["sim-bad-args", "sim-bad-tool", "sim-bad-json"] {
                let task = format!("{dialect:?}-{stream}-{model}");
                let agent = gateway.caller(&task).agent("writer");
                let ask = ask(model, dialect, stream);
                for _ in 0..3 {
                    answered(&agent, &ask).await;
                }
                let refused = call(&agent, &ask).await;
                assert_eq!(refused.status, 402, "{task}: {}", refused.text());
                assert_eq!(
                    refused.refusal().as_deref(),
                    Some("loop_detected"),
                    "{task}"
                );
                assert_eq!(refused.header("x-should-retry").as_deref(), Some("false"));
                let text = refused.text();
                assert!(text.contains("3 malformed answers"), "{text}");
                let why = match model {
                    "sim-bad-args" => "break `required`",
                    "sim-bad-tool" => "is not declared",
                    _ => "not the JSON",
                };
                assert!(text.contains(why), "{text}");
                let evidence = &refused.json()["error"]["bursar"];
                assert_eq!(evidence["rule"], "malformed");
                assert_eq!(evidence["agent"], "writer");
                let list = |key: &str| evidence[key].as_array().map_or(0, Vec::len);
                assert_eq!((list("calls"), list("digests")), (3, 3), "{text}");
                assert!(text.contains(evidence["calls"][2].as_str().unwrap()));
                // The others of its task go on.
                answered(&gateway.caller(&task).agent("other"), &ask).await;
                tripped += 1.0;
            }
        }
    }
    let metrics = gateway.quiet().await;
    let counted = metrics.get("bursar_loops_total{kind=\"malformed\"}");
    assert!((counted - tripped).abs() < 0.5, "{counted} of {tripped}");
    assert_eq!(sim.bill().calls, 4 * 18);
    books::verify(&gateway.store());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn good_answers_trip_nobody_and_begin_the_count_anew() {
    let (_sim, gateway) = scene("").await;
    for dialect in DIALECTS {
        for stream in [false, true] {
            let agent = gateway
                .caller(&format!("{dialect:?}-{stream}"))
                .agent("writer");
            for model in ["sim-tools", "sim-cheap-json", "sim-cheap"] {
                for _ in 0..4 {
                    answered(&agent, &ask(model, dialect, stream)).await;
                }
            }
            for _ in 0..3 {
                for model in ["sim-bad-args", "sim-bad-json", "sim-tools"] {
                    answered(&agent, &ask(model, dialect, stream)).await;
                }
            }
            // An answer that its cap cuts short says nothing of the model.
            for _ in 0..4 {
                let cut = ask("sim-bad-args", dialect, stream).max_tokens(Some(10));
                if dialect != Dialect::Responses {
                    answered(&agent, &cut).await;
                }
            }
        }
    }
    let metrics = gateway.metrics().await;
    assert!(metrics.sum("bursar_loops_total") < 0.5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_tripped_agent_handed_on_is_marked_for_its_parent() {
    let (_sim, gateway) = scene("").await;
    let boss = gateway.caller("t").agent("boss");
    answered(&boss, &ask("sim-tools", Dialect::Chat, false)).await;
    let child = gateway
        .caller("t")
        .agent("child")
        .header("x-bursar-parent-agent-id", "boss");
    let bad = ask("sim-bad-args", Dialect::Chat, true);
    for _ in 0..3 {
        answered(&child, &bad).await;
    }
    let tripped = call(&child, &bad).await;
    assert_eq!(tripped.status, 402);
    // Somebody else gets what it had said, with the ids of its calls.
    let plain = ask("sim-bad-args", Dialect::Chat, false);
    let gone = gateway.caller("t").agent("gone");
    let mut said = call(&gone, &plain).await;
    for _ in 0..2 {
        said = call(&gone, &plain).await;
    }
    let mut next = ask("sim-cheap", Dialect::Chat, false);
    next.history = plain.answered(&said);
    answered(&gateway.caller("t").agent("heir"), &next).await;
    gateway.quiet().await;
    let story = bursar(&gateway, &["audit", "trace", "t"]);
    assert!(
        story.contains("! has what child handed on (malformed)"),
        "{story}"
    );
    assert!(
        story.contains("agent `boss` has what it handed on"),
        "{story}"
    );
    assert!(
        story.contains("! has what gone handed on (malformed)"),
        "{story}"
    );
    assert!(
        story.contains("agent `heir` has what it handed on"),
        "{story}"
    );
    let story = bursar(&gateway, &["audit", "trace", "t", "--json"]);
    let lines = story
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let mark = lines
        .filter(|line| line["mark"].is_object())
        .collect::<Vec<_>>();
    assert_eq!(mark.len(), 3, "{story}");
    let mark = &mark[0]["mark"];
    assert_eq!(
        (&mark["agent"], &mark["received_by"]),
        (&json!("child"), &json!("boss"))
    );
    assert_eq!(mark["calls"].as_array().map(Vec::len), Some(3));
    // Its supervisor is told where its children stand.
    let budget = boss.get("/v1/budget").await.expect("an answer").json();
    assert_eq!(
        budget["children"],
        json!({"running": [], "finished": [], "failed": ["child"]})
    );
    books::verify(&gateway.store());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_is_asked_and_lets_it_begin_anew() {
    let (_sim, gateway) = scene("[malformed]\naction = \"escalate\"\nin_row = 2\n").await;
    let agent = gateway.caller("t").agent("writer");
    let bad = ask("sim-bad-args", Dialect::Messages, false);
    answered(&agent, &bad).await;
    answered(&agent, &bad).await;
    let (held, asks) = (agent.clone(), bad.clone());
    let held = tokio::spawn(async move { call(&held, &asks).await });
    let http = Http::new();
    let url = format!("{}/api/escalations", gateway.ops);
    let question = until("a question", PATIENCE, || async {
        let waiting = http.get(&format!("{url}?state=waiting")).await.ok()?.json();
        waiting["escalations"].as_array()?.first().cloned()
    })
    .await;
    assert_eq!(question["rule"], "malformed", "{question}");
    let id = question["id"].as_str().expect("an id");
    let approved = http
        .post(&format!("{url}/{id}/approve"), &json!({"by": "ann"}))
        .await;
    assert!(approved.expect("an answer").status.is_success());
    assert!(held.await.expect("a call").status.is_success());
    // That was one of two again.
    answered(&agent, &ask("sim-tools", Dialect::Messages, false)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_top_up_lets_it_begin_anew() {
    let sim = Sim::start(Settings::default()).await.expect("providers");
    let limits = "[[limit]]\nname = \"task\"\nper = [\"task\"]\nusd = \"5.00\"\n";
    let gateway = Gateway::start(&Setup::new(sim.addr()).limits(limits)).await;
    let agent = gateway.caller("t").agent("writer");
    let bad = ask("sim-bad-json", Dialect::Responses, true);
    for _ in 0..3 {
        answered(&agent, &bad).await;
    }
    assert_eq!(call(&agent, &bad).await.status, 402);
    bursar(&gateway, &["task", "top-up", "t", "--usd", "1.00"]);
    answered(&agent, &bad).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_persons_own_message_lets_it_begin_anew() {
    let (_sim, gateway) = scene("").await;
    let agent = gateway.caller("t").agent("writer");
    let bad = ask("sim-bad-args", Dialect::Chat, false);
    let mut said = call(&agent, &bad).await;
    for _ in 0..2 {
        said = call(&agent, &bad).await;
    }
    assert_eq!(call(&agent, &bad).await.status, 402);
    let mut next = ask("sim-tools", Dialect::Chat, false);
    next.history = bad.answered(&said);
    next.text = "Leave that, and tell me about ledgers of the fifteenth century.".to_owned();
    answered(&agent, &next).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warning_is_given_once_and_stops_nobody() {
    let rules = "[malformed]\naction = \"warn\"\n[failures]\naction = \"off\"\n";
    let (_sim, gateway) = scene(rules).await;
    let agent = gateway.caller("t").agent("writer");
    for _ in 0..6 {
        answered(&agent, &ask("sim-bad-tool", Dialect::Chat, false)).await;
    }
    let metrics = gateway.quiet().await;
    let counted = metrics.get("bursar_loops_total{kind=\"malformed\"}");
    assert!((counted - 1.0).abs() < 0.5, "{counted}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_name_no_task_are_stopped_by_nothing_here() {
    let (_sim, gateway) = scene("").await;
    let nobody = Caller::of_nobody(&Http::new(), &gateway.agents);
    for _ in 0..5 {
        answered(&nobody, &ask("sim-bad-args", Dialect::Chat, false)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_calls_in_a_row_stop_the_agent_and_what_asks_to_come_again_does_not() {
    let rules = "[failures]\naction = \"deny\"\nin_row = 3\n";
    let (_sim, gateway) = scene(rules).await;
    let agent = gateway.caller("t").agent("writer");
    for model in ["sim-429", "sim-503", "sim-529"] {
        for _ in 0..2 {
            let reply = call(&agent, &ask(model, Dialect::Chat, false)).await;
            assert!(!reply.status.is_success());
        }
    }
    let failing = ask("sim-500", Dialect::Chat, false);
    // The client's own retries are the same call again.
    let retry = agent.clone().header("x-stainless-retry-count", "1");
    for _ in 0..3 {
        assert_eq!(call(&retry, &failing).await.status, 500);
    }
    for _ in 0..2 {
        assert_eq!(call(&agent, &failing).await.status, 500);
    }
    let broken = agent
        .call(&ask("sim-error-event", Dialect::Chat, true))
        .await;
    assert!(broken.is_ok());
    let refused = call(&agent, &failing).await;
    assert_eq!(
        refused.refusal().as_deref(),
        Some("loop_detected"),
        "{}",
        refused.text()
    );
    assert!(
        refused.text().contains("3 failed calls"),
        "{}",
        refused.text()
    );
    let evidence = &refused.json()["error"]["bursar"];
    assert_eq!(evidence["rule"], "failures");
    let digests = evidence["digests"].as_array().unwrap();
    assert_eq!(digests.len(), 3);
    assert_eq!(digests[0], digests[1], "they failed alike");
    let metrics = gateway.quiet().await;
    assert!((metrics.get("bursar_loops_total{kind=\"failures\"}") - 1.0).abs() < 0.5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_children_stop_their_parent_and_those_who_came_round_do_not_count() {
    let rules = "[failures]\naction = \"deny\"\nchildren = 3\n";
    let (_sim, gateway) = scene(rules).await;
    let boss = gateway.caller("t").agent("boss");
    let fine = ask("sim-cheap", Dialect::Chat, false);
    let child = |name: &str| {
        let child = gateway.caller("t").agent(name);
        child.header("x-bursar-parent-agent-id", "boss")
    };
    answered(&boss, &fine).await;
    for name in ["one", "two", "three"] {
        let failed = call(&child(name), &ask("sim-500", Dialect::Chat, false)).await;
        assert_eq!(failed.status, 500);
    }
    answered(&child("two"), &fine).await;
    answered(&boss, &fine).await;
    answered(&child("four"), &ask("sim-tools", Dialect::Chat, false)).await;
    let failed = call(&child("five"), &ask("sim-500", Dialect::Messages, true)).await;
    assert_eq!(failed.status, 500);
    let refused = call(&boss, &fine).await;
    assert_eq!(
        refused.refusal().as_deref(),
        Some("loop_detected"),
        "{}",
        refused.text()
    );
    assert!(refused.text().contains("3 children"), "{}", refused.text());
    gateway.quiet().await;
    let budget = boss.get("/v1/budget").await.expect("an answer").json();
    let stand =
        json!({"running": ["four"], "finished": ["two"], "failed": ["five", "one", "three"]});
    assert_eq!(budget["children"], stand);
}
