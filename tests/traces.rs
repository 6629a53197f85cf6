//! What a collector is told of calls, agents and tasks: one tree per task, every span with its four tags,
//! whoever asks, over HTTP and gRPC; and that nobody waits for a collector that is gone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

#[path = "traces/collector.rs"]
mod collector;
mod common;
#[path = "traces/content.rs"]
mod content;
#[path = "traces/presets.rs"]
mod presets;
#[path = "traces/receivers.rs"]
mod receivers;
#[path = "traces/tree.rs"]
mod tree;
#[path = "traces/ways.rs"]
mod ways;

use bursar::sim::{Settings, Sim};
use collector::{Collector, Span};
use common::calls::{Ask, Reply};
use common::gateway::Gateway;
use common::setup::Setup;
use std::collections::BTreeMap;

/// The gateway before simulated providers, and who hears of it.
struct Rig {
    sim: Sim,
    gateway: Gateway,
    collector: Collector,
}

impl Rig {
    /// `keys` are the exporter's, `more` changes the rest.
    async fn start(keys: &str, more: impl FnOnce(Setup) -> Setup) -> Self {
        let sim = Sim::start(Settings::default()).await.unwrap();
        let collector = Collector::start().await;
        let setup = Setup::new(sim.addr()).more(&format!(
            "[trace]\nidle = \"2s\"\n{}",
            collector.exporter(keys)
        ));
        let gateway = Gateway::start(&more(setup)).await;
        Self {
            sim,
            gateway,
            collector,
        }
    }

    /// A call of `agent`, called by `parent`; an empty name is not said.
    async fn call(&self, (task, agent, parent): (&str, &str, &str), ask: &Ask) -> Reply {
        self.call_with((task, agent, parent), &[], ask).await
    }

    async fn call_with(
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
}

/// Spans by id.
fn by_id(spans: &[Span]) -> BTreeMap<&str, &Span> {
    let by_id: BTreeMap<_, _> = spans.iter().map(|span| (&*span.id, span)).collect();
    assert_eq!(by_id.len(), spans.len(), "an id twice");
    by_id
}

/// The names above a span, its own first.
fn path(spans: &[Span], span: &Span) -> Vec<String> {
    let by_id = by_id(spans);
    let mut path = vec![span.name.clone()];
    let mut above = &span.parent;
    while let Some(span) = by_id.get(&**above) {
        path.push(span.name.clone());
        above = &span.parent;
    }
    path
}

fn named<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit()) && text.bytes().any(|byte| byte != b'0')
}
