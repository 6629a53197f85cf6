//! The tree: who stands below whom, in which trace.

use super::{Rig, assert_tagged, by_id, is_hex, named, path};
use crate::common::calls::{Ask, Dialect};
use bursar::units::NanoUsd;
use serde_json::Value;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const OTHER: &str = "1bf7651916cd43dd8448eb211c80319c";

fn traceparent(trace: &str, span: &str, flags: &str) -> String {
    format!("00-{trace}-{span}-{flags}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_is_one_tree_with_its_agents_and_what_they_cost() {
    let rig = Rig::start("", |setup| setup).await;
    let ask = Ask::chat("sim-cheap");
    let mut cost = NanoUsd::ZERO;
    let who = [
        ("t", "lead", ""),
        ("t", "researcher", "lead"),
        ("t", "reader", "researcher"),
        ("t", "researcher", "lead"),
        ("t", "lead", ""),
        ("t", "researcher", "lead"),
    ];
    for (n, who) in who.into_iter().enumerate() {
        let ask = if n == 1 {
            ask.clone().stream()
        } else {
            ask.clone()
        };
        let reply = rig.call(who, &ask).await;
        assert!(reply.status.is_success(), "{}", reply.text());
        cost = NanoUsd(cost.0 + reply.cost().map_or(0, |cost| cost.0));
    }
    let spans = rig
        .collector
        .until("the task's span", |spans| {
            !named(spans, "task t").is_empty()
        })
        .await;
    by_id(&spans);
    let root = named(&spans, "task t")[0];
    assert!(root.parent.is_empty() && is_hex(&root.trace) && is_hex(&root.id));
    assert_tagged(&spans);
    for span in &spans {
        assert_eq!(span.trace, root.trace, "one trace: {}", span.name);
        assert_eq!(span.tag("user_task_id"), "t");
        assert_eq!(span.resource["service.name"], "bursar");
    }
    let calls = named(&spans, "chat sim-cheap");
    assert_eq!(calls.len(), 6);
    for call in &calls {
        let above = path(&spans, call);
        let tree: &[&str] = match call.tag("agent_id") {
            "lead" => &["chat sim-cheap", "invoke_agent lead", "task t"],
            "researcher" => &[
                "chat sim-cheap",
                "invoke_agent researcher",
                "invoke_agent lead",
                "task t",
            ],
            _ => &[
                "chat sim-cheap",
                "invoke_agent reader",
                "invoke_agent researcher",
                "invoke_agent lead",
                "task t",
            ],
        };
        assert_eq!(above, tree);
        assert_eq!((call.kind, call.status), (3, 0));
        assert_eq!(call.tag("gen_ai.operation.name"), "chat");
        assert_eq!(call.tag("gen_ai.provider.name"), "openai");
        assert!(
            call.tag("gen_ai.usage.input_tokens")
                .parse::<u64>()
                .unwrap()
                > 0
        );
        assert!(
            call.tag("gen_ai.usage.output_tokens")
                .parse::<u64>()
                .unwrap()
                > 0
        );
        let tries = spans.iter().filter(|span| span.parent == call.id);
        let tries: Vec<_> = tries.collect();
        assert_eq!(tries.len(), 1);
        assert_eq!(tries[0].name, "attempt sim");
        assert!(tries[0].start >= call.start && tries[0].end <= call.end);
    }
    // Entered again after it had handed back: two stays.
    let stays = named(&spans, "invoke_agent researcher");
    assert_eq!(stays.len(), 2);
    assert_eq!(named(&spans, "invoke_agent lead").len(), 1);
    assert!(stays[0].end <= stays[1].start || stays[1].end <= stays[0].start);
    // Direct cost on the calls, inclusive cost on the root, and on nobody else.
    let direct: f64 = calls
        .iter()
        .map(|call| call.tag("bursar.cost_usd").parse::<f64>().unwrap())
        .sum();
    let inclusive: f64 = root.tag("bursar.inclusive_cost_usd").parse().unwrap();
    let bill = rig.sim.bill();
    assert!((direct - inclusive).abs() < 1e-12, "{direct} {inclusive}");
    assert_eq!(
        format!("{inclusive:.9}"),
        format!(
            "{:.9}",
            bursar::ops::metrics::dollars(NanoUsd(bill.total_nano_usd))
        )
    );
    assert!(cost.0 > 0);
    let priced = spans
        .iter()
        .filter(|span| span.tags.contains_key("bursar.cost_usd"));
    assert_eq!(priced.count(), 6);
    // No prompt, no answer, no key.
    let all = format!("{spans:?}");
    assert!(!all.contains("What is a purse"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_entered_twice_at_once_has_two_spans_that_overlap() {
    let rig = Rig::start("", |setup| setup).await;
    rig.call(("t", "lead", ""), &Ask::chat("sim-cheap")).await;
    let twice = ["call-1", "call-2"].map(|invocation| {
        let baggage = format!("gen_ai.agent.call.id={invocation}");
        let rig = &rig;
        async move {
            let ask = Ask::chat("sim-slow").stream();
            let who = ("t", "worker", "lead");
            rig.call_with(who, &[("baggage", &baggage)], &ask).await
        }
    });
    futures_util::future::join_all(twice).await;
    rig.call(("t", "lead", ""), &Ask::chat("sim-cheap")).await;
    let spans = rig
        .collector
        .until("both", |spans| {
            named(spans, "invoke_agent worker").len() == 2
        })
        .await;
    let stays = named(&spans, "invoke_agent worker");
    assert!(
        stays[0].start < stays[1].end && stays[1].start < stays[0].end,
        "they overlap"
    );
    assert_eq!(stays[0].parent, stays[1].parent);
    let mut said: Vec<_> = stays
        .iter()
        .map(|stay| stay.tag("gen_ai.agent.call.id"))
        .collect();
    said.sort_unstable();
    assert_eq!(said, ["call-1", "call-2"]);
    for call in named(&spans, "chat sim-slow") {
        let stay = stays
            .iter()
            .find(|stay| stay.id == call.parent)
            .expect("below its stay");
        assert_eq!(
            stay.tag("gen_ai.agent.call.id"),
            call.tag("gen_ai.agent.call.id")
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_with_a_trace_stays_in_it_and_others_of_its_task_join_the_first() {
    let rig = Rig::start("", |setup| setup).await;
    let ask = Ask::chat("sim-echo");
    let first = traceparent(TRACE, "00f067aa0ba902b7", "03");
    let headers = [
        ("traceparent", &*first),
        ("tracestate", "vendor=kept"),
        ("baggage", "secret=yes,session.id=chat%3A7"),
    ];
    let reply = rig.call_with(("t", "lead", ""), &headers, &ask).await;
    let echo: Value = serde_json::from_str(
        reply.json()["choices"][0]["message"]["content"]
            .as_str()
            .unwrap(),
    )
    .unwrap();
    let sent = echo["headers"]["traceparent"].as_str().unwrap().to_owned();
    assert_eq!(echo["headers"]["tracestate"], "vendor=kept");
    assert!(echo["headers"]["baggage"].is_null());
    let none = rig.call(("t", "worker", "lead"), &ask).await;
    assert!(none.status.is_success());
    let other = traceparent(OTHER, "00f067aa0ba902b8", "01");
    rig.call_with(("t", "lead", ""), &[("traceparent", &other)], &ask)
        .await;
    let unsampled = traceparent(OTHER, "00f067aa0ba902b9", "00");
    rig.call_with(("t", "lead", ""), &[("traceparent", &unsampled)], &ask)
        .await;
    let spans = rig
        .collector
        .until("all", |spans| {
            named(spans, "chat sim-echo").len() == 3
                && named(spans, "invoke_agent worker").len() == 1
        })
        .await;
    let calls = named(&spans, "chat sim-echo");
    let below = |parent: &str| {
        *calls
            .iter()
            .find(|call| call.parent == parent)
            .expect("a call")
    };
    let ours = below("00f067aa0ba902b7");
    assert_eq!(
        (&*ours.trace, &*ours.state, ours.links.len()),
        (TRACE, "vendor=kept", 0)
    );
    assert_eq!(ours.tag("session.id"), "chat:7");
    // The provider stands below the span of the try that it was sent.
    let attempt = spans.iter().find(|span| span.parent == ours.id).unwrap();
    assert_eq!(sent, traceparent(TRACE, &attempt.id, "03"));
    let elsewhere = below("00f067aa0ba902b8");
    assert_eq!(elsewhere.trace, OTHER);
    assert_eq!(
        elsewhere.links,
        [(TRACE.to_owned(), "00f067aa0ba902b7".to_owned())]
    );
    // The one without a trace is in the task's, below its agent, below what the first caller named.
    let joined = calls
        .iter()
        .find(|call| call.tag("agent_id") == "worker")
        .unwrap();
    assert_eq!(joined.trace, TRACE);
    assert_eq!(
        path(&spans, joined),
        ["chat sim-echo", "invoke_agent worker", "invoke_agent lead"]
    );
    let lead = named(&spans, "invoke_agent lead")[0];
    assert_eq!(lead.parent, "00f067aa0ba902b7");
    assert!(
        named(&spans, "task t").is_empty(),
        "the caller's own root stands for it"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_trace_of_a_task_is_linked_to_its_root_and_the_root_to_it() {
    let rig = Rig::start("", |setup| setup).await;
    let ask = Ask::chat("sim-cheap");
    rig.call(("t", "", ""), &ask).await;
    let other = traceparent(OTHER, "00f067aa0ba902b8", "01");
    rig.call_with(("t", "", ""), &[("traceparent", &other)], &ask)
        .await;
    let spans = rig
        .collector
        .until("the root", |spans| !named(spans, "task t").is_empty())
        .await;
    let root = named(&spans, "task t")[0];
    let there = spans
        .iter()
        .find(|span| span.trace == OTHER && span.kind == 3)
        .unwrap();
    assert_eq!(there.links, [(root.trace.clone(), root.id.clone())]);
    assert_eq!(root.links, [(OTHER.to_owned(), there.id.clone())]);
    let calls = named(&spans, "chat sim-cheap");
    assert!(calls.iter().any(|call| call.parent == root.id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_or_goes_wrong_is_a_span_too() {
    let limits = "[[limit]]\nname = \"two\"\nper = [\"task\"]\nturns = 2\nwarn_at = 0.5\n";
    let rig = Rig::start("", |setup| {
        setup
            .limits(limits)
            .provider("retry = { max = 1, backoff = \"5ms\" }")
    })
    .await;
    rig.call(("t", "a", ""), &Ask::chat("sim-cheap")).await;
    let failed = rig.call(("t", "a", ""), &Ask::chat("sim-503")).await;
    assert_eq!(failed.status, 503);
    rig.call(("t", "a", ""), &Ask::chat("sim-cheap")).await;
    let refused = rig.call(("t", "a", ""), &Ask::chat("sim-cheap")).await;
    assert_eq!(refused.refusal().as_deref(), Some("turns_exceeded"));
    let spans = rig
        .collector
        .until("the root", |spans| !named(spans, "task t").is_empty())
        .await;
    let call = named(&spans, "chat sim-503")[0];
    assert_eq!(
        (call.status, call.tag("error.type")),
        (2, "provider_refused")
    );
    let tries: Vec<_> = spans.iter().filter(|span| span.parent == call.id).collect();
    assert_eq!(tries.len(), 2, "sent once more inside the hold");
    for attempt in tries {
        assert_eq!(attempt.tag("http.response.status_code"), "503");
        assert_eq!(attempt.status, 2);
    }
    let refused = spans
        .iter()
        .find(|span| span.tag("error.type") == "turns_exceeded");
    let refused = refused.expect("a span of the refusal");
    assert_eq!((refused.status, refused.tag("bursar.limit")), (2, "two"));
    assert_eq!(refused.events[0].0, "bursar.refused");
    assert_eq!(
        path(&spans, refused),
        ["chat sim-cheap", "invoke_agent a", "task t"]
    );
    let warned = spans.iter().flat_map(|span| &span.events);
    assert_eq!(
        warned
            .filter(|(name, _)| name == "bursar.limit_warning")
            .count(),
        1
    );
    let root = named(&spans, "task t")[0];
    assert_eq!(
        (root.tag("bursar.calls"), root.tag("bursar.refused_calls")),
        ("4", "1")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_is_a_span_from_the_answer_that_asks_to_the_call_that_tells_its_result() {
    for dialect in [Dialect::Chat, Dialect::Messages, Dialect::Responses] {
        let rig = Rig::start("", |setup| setup).await;
        let mut ask = Ask::chat("sim-tools").dialect(dialect);
        ask.tools = true;
        let reply = rig.call(("t", "lead", ""), &ask).await;
        ask.history = ask.answered(&reply);
        ask.model = "sim-cheap".to_owned();
        rig.call(("t", "lead", ""), &ask).await;
        let spans = rig
            .collector
            .until("the root", |spans| !named(spans, "task t").is_empty())
            .await;
        let tools: Vec<_> = spans
            .iter()
            .filter(|span| span.name.starts_with("execute_tool"))
            .collect();
        let told: Vec<_> = tools
            .iter()
            .filter(|tool| tool.tag("bursar.tool_answered") == "true")
            .collect();
        assert!(!told.is_empty(), "{dialect:?}: {spans:?}");
        let first = named(&spans, "chat sim-tools")[0];
        for tool in told {
            assert_eq!(tool.name, "execute_tool look_up");
            assert_eq!(path(&spans, tool)[1..], ["invoke_agent lead", "task t"]);
            assert!(tool.start >= first.start && tool.start <= first.end);
            assert!(!tool.tag("gen_ai.tool.call.id").is_empty());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_rests_and_goes_on_has_another_span_below_its_first_and_closing_ends_it() {
    let rig = Rig::start("", |setup| setup).await;
    let ask = Ask::chat("sim-cheap");
    rig.call(("t", "lead", ""), &ask).await;
    rig.collector
        .until("the first", |spans| !named(spans, "task t").is_empty())
        .await;
    rig.call(("t", "lead", ""), &ask).await;
    let http = crate::common::calls::Http::new();
    let url = format!("{}/api/tasks/t", rig.gateway.ops);
    let raised = http
        .post(&format!("{url}/suspend"), &serde_json::json!({}))
        .await
        .unwrap();
    assert!(raised.status.is_success());
    let closed = http
        .post(&format!("{url}/close"), &serde_json::json!({}))
        .await
        .unwrap();
    assert!(closed.status.is_success(), "{}", closed.text());
    let spans = rig
        .collector
        .until("the second", |spans| named(spans, "task t").len() == 2)
        .await;
    let mut roots = named(&spans, "task t");
    roots.sort_by_key(|span| span.start);
    assert_eq!((&*roots[0].parent, &roots[1].parent), ("", &roots[0].id));
    assert_eq!(roots[0].trace, roots[1].trace);
    let told: Vec<_> = roots[1]
        .events
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(told, ["bursar.task_state", "bursar.task_state"]);
    assert_eq!(named(&spans, "invoke_agent lead").len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_without_a_task_are_traces_of_their_own() {
    let rig = Rig::start("", |setup| setup).await;
    let http = crate::common::calls::Http::new();
    for _ in 0..2 {
        let caller = crate::common::calls::Caller::of_nobody(&http, &rig.gateway.agents);
        assert!(
            caller
                .call(&Ask::chat("sim-cheap"))
                .await
                .unwrap()
                .status
                .is_success()
        );
    }
    let spans = rig
        .collector
        .until("both", |spans| named(spans, "chat sim-cheap").len() == 2)
        .await;
    let calls = named(&spans, "chat sim-cheap");
    assert_ne!(calls[0].trace, calls[1].trace);
    assert!(calls.iter().all(|call| call.parent.is_empty()));
    assert!(calls[0].tag("user_task_id").starts_with("unattributed-"));
}
