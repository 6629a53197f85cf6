//! Signs that a task does not go on as it should: told in the journal, in the metrics and by
//! `bursar task show`, and never a reason to refuse a call.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may panic")]

mod common;

use bursar::sim::{Settings, Sim};
use common::calls::{Ask, Http, Reply};
use common::gateway::Gateway;
use common::program::Ends as _;
use common::setup::Setup;
use common::{books, until};
use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;

/// How long anything may take here: this machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

struct Scene {
    _sim: Sim,
    gateway: Gateway,
}

impl Scene {
    async fn new(loops: &str) -> Self {
        let sim = Sim::start(Settings::default()).await.expect("providers");
        let dir = Setup::new(sim.addr()).write();
        std::fs::write(dir.path().join("policies/loops.toml"), loops).expect("a file");
        Self {
            gateway: Gateway::start_in(dir).await,
            _sim: sim,
        }
    }

    /// A call of `agent` with this conversation.
    async fn say(&self, agent: &str, history: &[Value], text: &str) -> Reply {
        let mut ask = Ask::chat("sim-cheap");
        ask.history = history.to_vec();
        text.clone_into(&mut ask.text);
        let reply = self.gateway.caller("t").agent(agent).call(&ask).await;
        let reply = reply.expect("an answer");
        assert!(reply.status.is_success(), "{}", reply.text());
        reply
    }

    async fn count(&self, kind: &str) -> f64 {
        let metrics = self.gateway.metrics().await;
        metrics.get(&format!("bursar_loops_total{{kind=\"{kind}\"}}"))
    }

    async fn signs(&self) -> Vec<Value> {
        let url = format!("{}/api/tasks/t", self.gateway.ops);
        let shown = Http::new().get(&url).await.expect("an answer").json();
        shown["signs"].as_array().expect("a list").clone()
    }

    fn bursar(&self, words: &[&str]) -> String {
        let done = Command::new(env!("CARGO_BIN_EXE_bursar"))
            .args(words)
            .arg("--config")
            .arg(self.gateway.config())
            .env("BURSAR_OPS", &self.gateway.ops)
            .ended();
        String::from_utf8_lossy(&done.stdout).into_owned()
    }
}

/// So many exchanges that were made before.
fn history(exchanges: usize) -> Vec<Value> {
    let exchange = |n: usize| {
        [
            json!({"role": "user", "content": format!("question {n}")}),
            json!({"role": "assistant", "content": format!("answer {n}")}),
        ]
    };
    (0..exchanges).flat_map(exchange).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_forgot_is_told_and_served() {
    let scene = Scene::new("").await;
    for exchanges in 0..3 {
        scene
            .say("a", &history(exchanges), &format!("question {exchanges}"))
            .await;
    }
    // A replay from a checkpoint.
    scene.say("a", &history(1), "question 1").await;
    scene.say("a", &history(2), "question 2").await;
    assert_eq!(scene.signs().await, Vec::<Value>::new());
    let reply = scene.say("a", &[], "who are you?").await;
    let warning = reply.header("x-bursar-warning");
    assert_eq!(warning.as_deref(), Some("loop=state_lost"));
    let signs = scene.signs().await;
    assert_eq!(signs.len(), 1, "{signs:?}");
    assert_eq!(signs[0]["kind"], "state_lost");
    assert!((scene.count("state_lost").await - 1.0).abs() < 0.5);
    scene.gateway.quiet().await;
    let shown = scene.bursar(&["task", "show", "t"]);
    assert!(shown.contains("state_lost at"), "{shown}");
    let journal = scene.bursar(&["audit", "export"]);
    assert!(journal.contains("loop state_lost"), "{journal}");
    books::verify(&scene.gateway.store());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_is_silent_after_a_tool_call_is_told_once() {
    let scene = Scene::new("[stalled]\nafter = \"1s\"\n").await;
    let mut ask = Ask::chat("sim-tools");
    ask.tools = true;
    let reply = scene.gateway.caller("t").agent("a").call(&ask).await;
    let said = reply.expect("an answer").json();
    assert!(
        said["choices"][0]["message"]["tool_calls"].is_array(),
        "{said}"
    );
    // One that has its answer.
    let done = scene
        .gateway
        .caller("done")
        .call(&Ask::chat("sim-cheap"))
        .await;
    assert!(done.expect("an answer").status.is_success());
    until("it is told", PATIENCE, || async {
        (scene.count("stalled").await > 0.5).then_some(())
    })
    .await;
    let signs = scene.signs().await;
    assert_eq!((signs.len(), &signs[0]["kind"]), (1, &json!("stalled")));
    // The tool's result comes after all.
    scene.say("a", &[], "go on").await;
    assert!(
        (scene.count("stalled").await - 1.0).abs() < 0.5,
        "one task, once"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_takes_nearly_all_turns_is_told_unless_that_is_off() {
    for (loops, told) in [
        ("[stalled]\nleast_turns = 8\nshare_percent = 60\n", 1.0),
        (
            "[stalled]\naction = \"off\"\nleast_turns = 8\nshare_percent = 60\n",
            0.0,
        ),
    ] {
        let scene = Scene::new(loops).await;
        for agent in ["a", "b", "c", "c", "c", "c", "c", "c", "c"] {
            scene.say(agent, &[], "work").await;
        }
        let count = scene.count("turn_share").await;
        assert!((count - told).abs() < 0.5, "{count}");
    }
}
