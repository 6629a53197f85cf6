//! A call that two targets are asked for at once (`hedge_after`): one span, with a try below it for each.

use super::{Rig, Span, assert_tagged, named, path};
use crate::common::books;
use crate::common::calls::{Ask, Reply};
use crate::common::until;
use bursar::ops::metrics::dollars;
use bursar::sim::{Settings, Sim};
use bursar::units::NanoUsd;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

/// Takes so long to the first byte where a model's name says `slow`.
async fn slow(ms: u64) -> Sim {
    let settings = Settings {
        slow_delay: Duration::from_millis(ms),
        chunk_tokens: 4_096,
        ..Settings::default()
    };
    Sim::start(settings).await.unwrap()
}

/// The rig, whose provider is the first, and the provider that is asked beside it if the first takes
/// longer than `after`.
async fn two(after: &str, first: (u64, &str), second: (u64, &str)) -> (Rig, Sim) {
    let other = slow(second.0).await;
    let provider = format!(
        "[[provider]]\nname = \"second\"\nkind = \"openai\"\nbase_url = \"http://{}/v1\"\nmodels = [\"second-*\"]",
        other.addr()
    );
    let routes = format!(
        "[[route]]\nname = \"asked\"\nmatch = {{ model = \"asked\" }}\nto = [\"sim/{}\", \"second/{}\"]\nhedge_after = \"{after}\"\n",
        first.1, second.1
    );
    let rig = Rig::before(slow(first.0).await, "", |setup| {
        setup.routes(&routes).more(&provider)
    })
    .await;
    (rig, other)
}

/// The tries below a call: that of `sim` and that of `second`.
fn tries<'a>(spans: &'a [Span], call: &Span) -> [&'a Span; 2] {
    ["attempt sim", "attempt second"].map(|name| {
        let mut found = spans.iter().filter(|span| span.parent == call.id);
        let found = found.by_ref().filter(|span| span.name == name);
        let found: Vec<_> = found.collect();
        assert_eq!(found.len(), 1, "{name}: {spans:?}");
        assert_eq!(found[0].trace, call.trace);
        found[0]
    })
}

/// What all calls' spans say that they cost, and what the journal and both bills say.
fn is_paid_in_full(rig: &Rig, other: &Sim, spans: &[Span]) {
    let direct = spans
        .iter()
        .filter_map(|span| span.tags.get("bursar.cost_usd"));
    let direct: f64 = direct.map(|cost| cost.parse::<f64>().unwrap()).sum();
    let root = named(spans, "task t")[0];
    let inclusive: f64 = root.tag("bursar.inclusive_cost_usd").parse().unwrap();
    let billed = rig.sim.bill().total_nano_usd + other.bill().total_nano_usd;
    let billed = format!("{:.9}", dollars(NanoUsd(billed)));
    assert_eq!(
        (format!("{direct:.9}"), format!("{inclusive:.9}")),
        (billed.clone(), billed)
    );
}

/// Which of the two answers, and which is cancelled.
async fn one_call_with_two_tries(first: (u64, &str), second: (u64, &str), winner: usize) {
    for stream in [false, true] {
        let (rig, other) = two("150ms", first, second).await;
        let mut ask = Ask::chat("asked");
        (ask.tools, ask.stream) = (true, stream);
        let who = ("t", "lead", "");
        let reply = rig.call(who, &ask).await;
        assert!(reply.status.is_success(), "{}", reply.text());
        tells_results(&rig, &ask, &reply).await;
        let spans = rig.told(&["t"]).await;
        let calls = named(&spans, "chat asked");
        assert_tagged(&spans);
        assert!(spans.iter().all(|span| span.trace == calls[0].trace));
        assert_eq!(calls.len(), 1, "one call is one span: {spans:?}");
        let call = calls[0];
        assert_eq!((call.kind, call.status), (3, 0));
        assert_eq!(
            path(&spans, call),
            ["chat asked", "invoke_agent lead", "task t"]
        );
        let tries = tries(&spans, call);
        let (won, lost) = (tries[winner], tries[1 - winner]);
        assert_eq!(
            [tries[0], tries[1]].map(|span| span.tag("bursar.hedge")),
            ["first", "second"]
        );
        assert_eq!(
            (won.tag("http.response.status_code"), won.status),
            ("200", 0)
        );
        assert_eq!(
            (won.tag("bursar.cancelled"), lost.tag("bursar.cancelled")),
            ("", "true")
        );
        // It was read on to its usage, and is no failure.
        assert_eq!(
            (lost.tag("http.response.status_code"), lost.status),
            ("200", 0)
        );
        assert!(lost.end >= call.end, "the caller did not wait for it");
        for attempt in tries {
            assert_eq!((attempt.kind, attempt.tag("agent_id")), (3, "lead"));
        }
        // Whichever answered, its tools are at work until their results come.
        let tools = named(&spans, "execute_tool look_up");
        let ended = tools
            .iter()
            .filter(|tool| tool.tag("bursar.tool_answered") == "true");
        assert!(ended.count() > 0, "{spans:?}");
        for tool in tools {
            assert_eq!(path(&spans, tool)[1..], ["invoke_agent lead", "task t"]);
        }
        let root = named(&spans, "task t")[0];
        assert_eq!(root.tag("bursar.calls"), "2");
        is_paid_in_full(&rig, &other, &spans);
        let rows = until("both rows", PATIENCE, || async {
            let mut rows = books::calls(&rig.gateway.store());
            rows.retain(|row| row.request == reply.request_id());
            (rows.len() == 2).then_some(rows)
        });
        let hedges: Vec<_> = rows.await.into_iter().map(|row| row.hedge).collect();
        assert_eq!(
            hedges,
            if winner == 0 {
                ["first", "second"]
            } else {
                ["second", "first"]
            }
        );
    }
}

/// The next call brings the results of the tools that this answer asked for.
async fn tells_results(rig: &Rig, ask: &Ask, reply: &Reply) {
    let mut next = ask.clone();
    (next.model, next.stream, next.tools) = ("sim-cheap".to_owned(), false, false);
    next.history = match ask.stream {
        false => ask.answered(reply),
        true => {
            let events = reply.events();
            let ids = events.iter().filter_map(|event| {
                let event: serde_json::Value = serde_json::from_str(event).ok()?;
                let id = &event["choices"][0]["delta"]["tool_calls"][0]["id"];
                Some(id.as_str()?.to_owned())
            });
            ids.map(|id| serde_json::json!({"role": "tool", "tool_call_id": id, "content": "42"}))
                .collect()
        }
    };
    let reply = rig.call(("t", "lead", ""), &next).await;
    assert!(reply.status.is_success(), "{}", reply.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_answers_and_the_first_is_cancelled() {
    one_call_with_two_tries((3_000, "sim-slow-tools"), (0, "sim-tools"), 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_answers_and_the_second_is_cancelled() {
    one_call_with_two_tries((1_500, "sim-slow-tools"), (6_000, "sim-slow-tools"), 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_that_fail_both_say_why_and_so_does_the_call() {
    let (rig, _other) = two("150ms", (3_000, "sim-slow-503"), (0, "sim-500")).await;
    let reply = rig.call(("t", "lead", ""), &Ask::chat("asked")).await;
    assert!(!reply.status.is_success());
    let spans = rig.told(&["t"]).await;
    let call = named(&spans, "chat asked")[0];
    assert_eq!(
        (call.status, call.tag("error.type")),
        (2, "provider_refused")
    );
    for (attempt, status) in tries(&spans, call).into_iter().zip(["503", "500"]) {
        assert_eq!(
            (attempt.status, attempt.tag("http.response.status_code")),
            (2, status)
        );
        assert_eq!(attempt.tag("bursar.cancelled"), "");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_asked_alone_is_no_race() {
    let (rig, _other) = two("60s", (0, "sim-cheap"), (0, "sim-cheap")).await;
    let reply = rig.call(("t", "lead", ""), &Ask::chat("asked")).await;
    assert!(reply.status.is_success());
    let spans = rig.told(&["t"]).await;
    let tries: Vec<_> = named(&spans, "attempt sim");
    assert_eq!((tries.len(), tries[0].tag("bursar.hedge")), (1, ""));
    assert!(named(&spans, "attempt second").is_empty());
}

/// The trace context that a provider was given, by what `sim-echo` says of it.
async fn heard(first: (u64, &str), second: (u64, &str), name: &str) {
    let (rig, _other) = two("150ms", first, second).await;
    let reply = rig.call(("t", "lead", ""), &Ask::chat("asked")).await;
    let body = reply.json();
    let said = body["choices"][0]["message"]["content"].as_str();
    let echo: serde_json::Value = serde_json::from_str(said.expect("text")).expect("JSON");
    let spans = rig.told(&["t"]).await;
    let call = named(&spans, "chat asked")[0];
    let attempt = tries(&spans, call)
        .into_iter()
        .find(|span| span.name == name);
    let Span { trace, id, .. } = attempt.expect("one of both");
    assert_eq!(
        echo["headers"]["traceparent"],
        format!("00-{trace}-{id}-01")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_provider_stands_below_the_try_that_it_was_sent() {
    heard((3_000, "sim-slow"), (0, "sim-echo"), "attempt second").await;
    heard((1_500, "sim-slow-echo"), (6_000, "sim-slow"), "attempt sim").await;
}
