//! The gateway before simulated providers, and who hears of it.

use super::Span;
use super::collector::Collector;
use crate::common::calls::{Ask, Caller, Http, Reply};
use crate::common::gateway::Gateway;
use crate::common::setup::Setup;
use bursar::sim::{Settings, Sim};
use http::Request;
use serde_json::Value;

/// How long spans rest where a test waits for them to end by themselves.
const SHORT: &str = "2s";
/// Where it ends them itself.
const LONG: &str = "10m";

pub struct Rig {
    pub sim: Sim,
    pub gateway: Gateway,
    pub collector: Collector,
    pub http: Http,
}

impl Rig {
    /// `keys` are the exporter's, `more` changes the rest.
    pub async fn start(keys: &str, more: impl FnOnce(Setup) -> Setup) -> Self {
        let sim = Sim::start(Settings::default()).await.unwrap();
        Self::before(sim, keys, more).await
    }

    /// Before these providers.
    pub async fn before(sim: Sim, keys: &str, more: impl FnOnce(Setup) -> Setup) -> Self {
        Self::resting(sim, SHORT, keys, more).await
    }

    /// Whose spans end when their tasks are closed ([`Rig::closed`]), and not before.
    pub async fn open(more: impl FnOnce(Setup) -> Setup) -> Self {
        let sim = Sim::start(Settings::default()).await.unwrap();
        Self::resting(sim, LONG, "", more).await
    }

    async fn resting(sim: Sim, idle: &str, keys: &str, more: impl FnOnce(Setup) -> Setup) -> Self {
        let collector = Collector::start().await;
        let exporter = collector.exporter(keys);
        let setup = Setup::new(sim.addr()).more(&format!("[trace]\nidle = \"{idle}\"\n{exporter}"));
        let gateway = Gateway::start(&more(setup)).await;
        Self {
            sim,
            gateway,
            collector,
            http: Http::new(),
        }
    }

    /// A call of `agent`, called by `parent`; an empty name is not said.
    pub async fn call(&self, who: (&str, &str, &str), ask: &Ask) -> Reply {
        self.call_with(who, &[], ask).await
    }

    pub async fn call_with(
        &self,
        (task, agent, parent): (&str, &str, &str),
        headers: &[(&'static str, &str)],
        ask: &Ask,
    ) -> Reply {
        let mut caller = self.gateway.caller(task);
        if !agent.is_empty() {
            caller = caller.agent(agent);
        }
        if !parent.is_empty() {
            caller = caller.header("x-bursar-parent-agent-id", parent);
        }
        for (name, value) in headers {
            caller = caller.header(name, value);
        }
        caller.call(ask).await.expect("an answer")
    }

    /// A caller who knows the base URL alone.
    pub fn nobody(&self) -> Caller {
        Caller::of_nobody(&self.http, &self.gateway.agents)
    }

    /// This body as a chat completion.
    pub async fn chat(&self, headers: &[(&str, &str)], body: &Value) -> Reply {
        let url = format!("{}/v1/chat/completions", self.gateway.agents);
        let mut request = Request::post(url).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.to_string().into()).expect("a request");
        let response = self.http.send(request).await.expect("an answer");
        Reply::read(response).await.expect("a whole answer")
    }

    /// A POST on `ops` about a task.
    pub async fn does(&self, task: &str, verb: &str, body: Value) -> Value {
        let url = format!("{}/api/tasks/{task}/{verb}", self.gateway.ops);
        let reply = self.http.post(&url, &body).await.expect("an answer");
        assert!(reply.status.is_success(), "{}", reply.text());
        reply.json()
    }

    /// The spans of these tasks, which are closed for it.
    pub async fn closed(&self, tasks: &[&str]) -> Vec<Span> {
        self.gateway.quiet().await;
        for task in tasks {
            self.does(task, "close", serde_json::json!({})).await;
        }
        self.told(tasks).await
    }

    /// All spans, once those of these tasks are among them.
    pub async fn told(&self, tasks: &[&str]) -> Vec<Span> {
        let is_told = |spans: &[Span]| {
            let is_told =
                |task: &&str| spans.iter().any(|span| span.name == format!("task {task}"));
            tasks.iter().all(is_told)
        };
        self.collector.until("the tasks' spans", is_told).await
    }
}
