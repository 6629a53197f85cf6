//! A gateway with one limit that asks, and the operator's hands.

use crate::common::calls::{Ask, Http, Reply};
use crate::common::gateway::Gateway;
use crate::common::program::Ends as _;
use crate::common::setup::Setup;
use crate::common::until;
use bursar::sim::{Settings, Sim};
use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;
use tokio::task::JoinHandle;

/// How long anything may take here: this machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// One turn per task, then a person is asked.
pub const ONE_TURN: &str =
    "[[limit]]\nname = \"task turns\"\nper = [\"task\"]\nturns = 1\non_exceed = \"escalate\"\n";

/// Simulated providers and a gateway before them.
pub struct Scene {
    pub sim: Sim,
    pub gateway: Gateway,
    http: Http,
}

impl Scene {
    /// With these settings of `[escalation]`.
    pub async fn new(settings: &str) -> Self {
        Self::with(|setup| setup.more(&format!("[escalation]\n{settings}"))).await
    }

    /// With more in its setup; [`ONE_TURN`] is there.
    pub async fn with(more: impl FnOnce(Setup) -> Setup) -> Self {
        Self::bare(|setup| more(setup.limits(ONE_TURN))).await
    }

    /// Without any limit but those in its setup.
    pub async fn bare(more: impl FnOnce(Setup) -> Setup) -> Self {
        let sim = Sim::start(Settings::default()).await.expect("providers");
        let setup = more(Setup::new(sim.addr()));
        Self {
            gateway: Gateway::start(&setup).await,
            sim,
            http: Http::new(),
        }
    }

    /// A call of this task that fits its cap.
    pub async fn spend_the_turn(&self, task: &str) {
        let caller = self.gateway.caller(task);
        let reply = caller.call(&Ask::chat("sim-cheap")).await;
        let reply = reply.expect("an answer");
        assert!(reply.status.is_success(), "{}", reply.text());
    }

    /// A call that does not wait for its answer here.
    pub fn call(&self, task: &str, ask: &Ask) -> JoinHandle<Reply> {
        let (caller, ask) = (self.gateway.caller(task).agent("writer"), ask.clone());
        tokio::spawn(async move { caller.call(&ask).await.expect("an answer") })
    }

    /// The questions that wait.
    pub async fn waiting(&self) -> Vec<Value> {
        self.get("/api/escalations?state=waiting").await["escalations"]
            .as_array()
            .expect("a list")
            .clone()
    }

    /// Waits until this task's question is there; its id.
    pub async fn question(&self, task: &str) -> String {
        until("a question", PATIENCE, || async {
            let waiting = self.waiting().await;
            let found = waiting.iter().find(|question| question["task"] == task)?;
            Some(found["id"].as_str()?.to_owned())
        })
        .await
    }

    /// Waits until so many calls are held open.
    pub async fn held_open(&self, calls: f64) {
        until("calls held open", PATIENCE, || async {
            let held = self.gateway.metrics().await.get("bursar_held_open_calls");
            ((held - calls).abs() < 0.5).then_some(())
        })
        .await;
    }

    /// A GET on `ops`.
    pub async fn get(&self, path: &str) -> Value {
        let reply = self.http.get(&format!("{}{path}", self.gateway.ops)).await;
        reply.expect("an answer").json()
    }

    /// A POST on `ops`.
    pub async fn post(&self, path: &str, body: Value) -> Reply {
        let url = format!("{}{path}", self.gateway.ops);
        self.http.post(&url, &body).await.expect("an answer")
    }

    /// Approves, with these fields.
    pub async fn approve(&self, id: &str, body: Value) -> Reply {
        self.post(&format!("/api/escalations/{id}/approve"), body)
            .await
    }

    /// Denies.
    pub async fn deny(&self, id: &str, why: &str) -> Reply {
        let body = json!({"why": why, "by": "ann"});
        self.post(&format!("/api/escalations/{id}/deny"), body)
            .await
    }

    /// `bursar …`: what it printed and how it ended.
    pub fn bursar(&self, words: &[&str]) -> (String, Option<i32>) {
        let done = Command::new(env!("CARGO_BIN_EXE_bursar"))
            .args(words)
            .arg("--config")
            .arg(self.gateway.config())
            .env("BURSAR_OPS", &self.gateway.ops)
            .env("USER", "ann")
            .ended();
        let said = String::from_utf8_lossy(&done.stdout).into_owned()
            + &String::from_utf8_lossy(&done.stderr);
        (said, done.status.code())
    }
}
