//! What a collector is told of calls, agents and tasks: one tree per task, every span with its four tags,
//! whoever asks, over HTTP and gRPC; what the log says of the same calls; and that nobody waits for a
//! collector that is gone.
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
#[path = "traces/events.rs"]
mod events;
#[path = "traces/forms.rs"]
mod forms;
#[path = "traces/hedges.rs"]
mod hedges;
#[path = "traces/inferred.rs"]
mod inferred;
#[path = "traces/logs.rs"]
mod logs;
#[path = "traces/presets.rs"]
mod presets;
#[path = "inference/program.rs"]
mod program;
#[path = "traces/receivers.rs"]
mod receivers;
#[path = "traces/reparented.rs"]
mod reparented;
#[path = "traces/rig.rs"]
mod rig;
#[path = "traces/tree.rs"]
mod tree;
#[path = "traces/ways.rs"]
mod ways;

use collector::{Collector, Span};
use common::books;
use common::gateway::Gateway;
use rig::Rig;
use std::collections::BTreeMap;

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

/// The task of each request that was sent, as the journal has it.
async fn rows(gateway: &Gateway) -> BTreeMap<String, String> {
    gateway.quiet().await;
    let calls = books::calls(&gateway.store()).into_iter();
    calls.map(|call| (call.request, call.task)).collect()
}

/// The spans of a task.
fn of_task(spans: &[Span], task: &str) -> Vec<Span> {
    let own = spans.iter().filter(|span| span.tag("user_task_id") == task);
    own.cloned().collect()
}

/// The span of the call of this request.
fn of_request<'a>(spans: &'a [Span], request: &str) -> &'a Span {
    let mut own = spans.iter().filter(|span| {
        span.tag("bursar.request_id") == request && !span.name.starts_with("attempt")
    });
    let call = own
        .next()
        .unwrap_or_else(|| panic!("no span of {request}: {spans:?}"));
    assert!(own.next().is_none(), "one call is one span");
    assert_eq!(call.kind, 3);
    call
}

/// Every one has the four tags of multi-agent tracing and a session.
fn assert_tagged(spans: &[Span]) {
    let tags = [
        "user_task_id",
        "agent_id",
        "agent_role",
        "parent_agent_id",
        "session.id",
    ];
    for span in spans {
        for tag in tags {
            assert!(!span.tag(tag).is_empty(), "{tag} of {}", span.name);
        }
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit()) && text.bytes().any(|byte| byte != b'0')
}
