//! Every form of a call, whoever traces it: plain and streamed, in each dialect, over a WebSocket, refused,
//! asked for twice.

use super::{Rig, Span, assert_tagged, named, of_request};
use crate::common::calls::{Ask, Dialect};
use crate::common::socket::Line;
use std::collections::BTreeSet;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const OTHER: &str = "1bf7651916cd43dd8448eb211c80319c";
const SPAN: &str = "00f067aa0ba902b7";
/// Whoever is `banned` may spend nothing to speak of.
const LIMITS: &str = "[[limit]]\nname = \"none\"\nmatch = { role = \"banned\" }\nper = [\"task\", \"role\"]\nusd = \"0.000000001\"\n";
const ROUTES: &str = "[[route]]\nname = \"asked\"\nmatch = { model = \"asked\" }\nto = [\"sim/sim-slow\", \"sim/sim-cheap\"]\nhedge_after = \"50ms\"\n";

async fn rig() -> Rig {
    Rig::open(|setup| setup.limits(LIMITS).routes(ROUTES)).await
}

/// Makes a call of each form for a task, with this `traceparent` if any; how many were refused.
async fn all_forms(rig: &Rig, task: &str, traceparent: Option<&str>) -> usize {
    let traceparent = traceparent.map(|value| ("traceparent", value));
    let mut asks = Vec::new();
    for dialect in [
        Dialect::Chat,
        Dialect::Messages,
        Dialect::Responses,
        Dialect::Completions,
    ] {
        let ask = Ask::chat("sim-cheap").dialect(dialect);
        asks.extend([(ask.clone(), "writer"), (ask.clone().stream(), "writer")]);
        asks.extend([(ask.clone(), "banned"), (ask.stream(), "banned")]);
    }
    let asked = Ask::chat("asked");
    asks.extend([(asked.clone(), "writer"), (asked.stream(), "writer")]);
    asks.push((Ask::chat("sim-503"), "writer"));
    asks.push((Ask::chat("sim-reset").stream(), "writer"));
    let mut refused = 0;
    for (ask, role) in asks {
        let mut headers = vec![("x-bursar-agent-role", role)];
        headers.extend(traceparent);
        let (caller, parent) = match role {
            "banned" => ("helper", "lead"),
            _ => ("lead", ""),
        };
        let mut caller = rig.gateway.caller(task).agent(caller);
        if !parent.is_empty() {
            caller = caller.header("x-bursar-parent-agent-id", parent);
        }
        for (name, value) in headers {
            caller = caller.header(name, value);
        }
        // An answer that breaks off is an error here, and a span there.
        let reply = caller.call(&ask).await;
        let is_refused = reply.is_ok_and(|reply| reply.status == 402);
        assert_eq!(is_refused, role == "banned", "{ask:?}");
        refused += usize::from(is_refused);
    }
    for (role, ends) in [("writer", "response.completed"), ("banned", "error")] {
        let mut headers = vec![
            ("x-bursar-task-id", task),
            ("x-bursar-agent-id", "speaker"),
            ("x-bursar-agent-role", role),
        ];
        headers.extend(traceparent);
        let mut line = Line::open(&rig.gateway, &headers).await;
        for _ in 0..2 {
            let last = line.call("sim-cheap").await;
            assert_eq!(last["type"], ends, "{last}");
            refused += usize::from(role == "banned");
        }
    }
    refused
}

/// The spans of calls, and of their tries.
fn calls(spans: &[Span]) -> Vec<&Span> {
    let of_calls = |span: &&Span| span.tags.contains_key("bursar.dialect");
    spans.iter().filter(of_calls).collect()
}

/// 20 calls over HTTP, of which 8 are refused; and 4 frames, of which 2 are.
fn assert_all_there(spans: &[Span], refused: usize) {
    assert_tagged(spans);
    let calls = calls(spans);
    assert_eq!((calls.len(), refused), (24, 10));
    let is_refused = |call: &Span| call.tag("bursar.limit") == "none";
    let found = calls.iter().filter(|call| is_refused(call));
    assert_eq!(found.count(), refused, "{spans:?}");
    for call in &calls {
        assert_eq!(call.kind, 3);
        let tries = spans.iter().filter(|span| span.parent == call.id);
        let tries: Vec<_> = tries
            .filter(|span| span.name.starts_with("attempt"))
            .collect();
        let sent = !is_refused(call);
        assert_eq!(!tries.is_empty(), sent, "{call:?}");
        assert!(tries.iter().all(|attempt| attempt.trace == call.trace));
        let role = if sent { "writer" } else { "banned" };
        assert!(
            tries
                .iter()
                .all(|attempt| attempt.tag("agent_role") == role)
        );
        assert_eq!(call.tag("agent_role"), role);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_bring_no_trace_are_in_their_task_s() {
    let rig = rig().await;
    let refused = all_forms(&rig, "t", None).await;
    let spans = rig.closed(&["t"]).await;
    assert_all_there(&spans, refused);
    let root = named(&spans, "task t")[0];
    assert!(root.parent.is_empty() && root.links.is_empty());
    for span in &spans {
        assert_eq!(span.trace, root.trace, "{}", span.name);
        assert!(span.links.is_empty());
        assert_eq!(span.tag("user_task_id"), "t");
    }
    let ids: BTreeSet<_> = spans.iter().map(|span| &*span.id).collect();
    assert_eq!(ids.len(), spans.len());
    for span in spans.iter().filter(|span| span.id != root.id) {
        assert!(
            ids.contains(&*span.parent),
            "below one of them: {}",
            span.name
        );
    }
    for call in calls(&spans) {
        let stay = spans
            .iter()
            .find(|span| span.id == call.parent)
            .expect("a stay");
        assert_eq!(stay.name, format!("invoke_agent {}", call.tag("agent_id")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_bring_the_same_trace_stay_in_it() {
    let rig = rig().await;
    let traceparent = format!("00-{TRACE}-{SPAN}-01");
    let refused = all_forms(&rig, "t", Some(&traceparent)).await;
    let spans = rig
        .collector
        .until("all calls", |spans| calls(spans).len() == 24)
        .await;
    assert_all_there(&spans, refused);
    for span in &spans {
        assert_eq!(
            (&*span.trace, span.links.len()),
            (TRACE, 0),
            "{}",
            span.name
        );
    }
    assert!(calls(&spans).iter().all(|call| call.parent == SPAN));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_bring_another_trace_are_linked_and_so_is_their_task() {
    let rig = rig().await;
    let first = rig.call(("t", "lead", ""), &Ask::chat("sim-cheap")).await;
    let traceparent = format!("00-{OTHER}-{SPAN}-01");
    let refused = all_forms(&rig, "t", Some(&traceparent)).await;
    let all = rig.closed(&["t"]).await;
    let (there, here): (Vec<_>, Vec<_>) = all.iter().cloned().partition(|span| span.trace == OTHER);
    assert_all_there(&there, refused);
    assert_tagged(&here);
    let root = named(&here, "task t")[0];
    assert_eq!(of_request(&here, &first.request_id()).trace, root.trace);
    let mut linked = Vec::new();
    for call in calls(&there) {
        assert_eq!(call.links, [(root.trace.clone(), root.id.clone())]);
        assert_eq!(call.parent, SPAN);
        linked.push((OTHER.to_owned(), call.id.clone()));
    }
    let mut links = root.links.clone();
    links.sort();
    linked.sort();
    assert_eq!(links, linked, "the root knows them all");
    assert!(here.iter().all(|span| span.trace == root.trace));
}
