//! What happens to a call stands on the call's span, what happens to a task on the task's: each event that is
//! promised, with what it says.

use super::{Rig, Span, named, of_request};
use crate::common::calls::{Ask, Caller, Reply};
use crate::common::until;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const ONE_TURN: &str =
    "[[limit]]\nname = \"turns\"\nper = [\"task\"]\nturns = 1\non_exceed = \"escalate\"\n";

/// What a span says of the events of this name.
fn events<'a>(span: &'a Span, name: &str) -> Vec<&'a BTreeMap<String, String>> {
    let own = span.events.iter().filter(|(event, _)| event == name);
    own.map(|(_, more)| more).collect()
}

/// The names of a span's events, in their order.
fn names(span: &Span) -> Vec<&str> {
    span.events.iter().map(|(name, _)| &**name).collect()
}

/// What an event says, without the prefix.
fn said(event: &BTreeMap<String, String>) -> Vec<(&str, &str)> {
    let said = event.iter().map(|(name, said)| {
        let name = name.strip_prefix("bursar.").expect("a name of ours");
        (name, &**said)
    });
    said.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_warnings_and_what_is_only_observed() {
    let limits = "[[limit]]\nname = \"two\"\nper = [\"task\"]\nturns = 2\nwarn_at = 0.5\n\
        [[limit]]\nname = \"watched\"\nper = [\"task\"]\nturns = 1\non_exceed = \"observe\"\n";
    let rig = Rig::open(|setup| setup.limits(limits)).await;
    let mut requests = Vec::new();
    for stream in [false, true, false, true] {
        let mut ask = Ask::chat("sim-cheap");
        ask.stream = stream;
        let reply = rig.call(("t", "a", ""), &ask).await;
        let status = if requests.len() < 2 { 200 } else { 402 };
        assert_eq!(reply.status, status, "{}", reply.text());
        requests.push(reply.request_id());
        rig.gateway.quiet().await;
    }
    let spans = rig.closed(&["t"]).await;
    let [first, second, third, fourth] =
        [0, 1, 2, 3].map(|number: usize| of_request(&spans, &requests[number]));
    let of = |span, limit: &str| -> Vec<Vec<(String, String)>> {
        let all = events(span, "bursar.limit_warning").into_iter();
        let own = all.filter(|event| event["bursar.limit"] == limit);
        own.map(|event| {
            let said = said(event).into_iter();
            said.map(|(name, said)| (name.to_owned(), said.to_owned()))
                .collect()
        })
        .collect()
    };
    let warning = [("limit", "two"), ("meter", "turns"), ("used", "1")];
    let warning = warning.map(|(name, said)| (name.to_owned(), said.to_owned()));
    assert_eq!(of(first, "two"), [warning.to_vec()], "{first:?}");
    assert!(of(second, "two").is_empty(), "once");
    assert!(events(first, "bursar.observed").is_empty());
    assert_eq!(
        said(events(second, "bursar.observed")[0]),
        [("limit", "watched")]
    );
    for refused in [third, fourth] {
        assert_eq!(names(refused), ["bursar.refused"]);
        let why = [("code", "turns_exceeded"), ("limit", "two")];
        assert_eq!(said(events(refused, "bursar.refused")[0]), why);
        assert_eq!((refused.status, refused.tag("bursar.limit")), (2, "two"));
        assert!(
            spans.iter().all(|span| span.parent != refused.id),
            "nothing was sent"
        );
    }
    let root = named(&spans, "task t")[0];
    assert_eq!(
        (root.tag("bursar.calls"), root.tag("bursar.refused_calls")),
        ("4", "2")
    );
}

/// The answers to calls that ask for the same tool again and again, up to the one that is found out.
pub async fn going_round(rig: &Rig, task: &str, agent: &str) -> Vec<Reply> {
    let schema = json!({"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]});
    let tool = json!({"type": "function", "function": {"name": "look_up", "parameters": schema}});
    let mut messages = vec![json!({"role": "user", "content": "Find it."})];
    let mut replies = Vec::new();
    let who = [("x-bursar-task-id", task), ("x-bursar-agent-id", agent)];
    for _ in 0..4 {
        let body = json!({"model": "sim-tools-loop", "messages": messages, "tools": [tool]});
        let reply = rig.chat(&who, &body).await;
        if reply.status.is_success() {
            let message = reply.json()["choices"][0]["message"].clone();
            let id = message["tool_calls"][0]["id"].clone();
            assert!(id.is_string(), "{message}");
            messages.push(message);
            messages.push(json!({"role": "tool", "tool_call_id": id, "content": "There is nothing of that name here."}));
        }
        replies.push(reply);
    }
    replies
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loop_stands_on_the_call_in_which_it_was_found() {
    for (loops, action) in [("", "deny"), ("[repeat]\naction = \"warn\"\n", "warn")] {
        let rig = Rig::open(|setup| setup.loops(loops)).await;
        let replies = going_round(&rig, "t", "seeker").await;
        let last = replies.last().expect("four");
        let is_refused = last.refusal().as_deref() == Some("loop_detected");
        assert_eq!(is_refused, action == "deny", "{}", last.text());
        let spans = rig.closed(&["t"]).await;
        for (number, reply) in replies.iter().enumerate() {
            let found = events(of_request(&spans, &reply.request_id()), "bursar.loop");
            assert_eq!(found.len(), usize::from(number == 3), "{action} {number}");
        }
        let call = of_request(&spans, &last.request_id());
        assert_eq!(
            said(events(call, "bursar.loop")[0]),
            [("action", action), ("rule", "repeat")]
        );
        match is_refused {
            true => {
                assert_eq!(names(call), ["bursar.loop", "bursar.refused"]);
                assert_eq!(
                    events(call, "bursar.refused")[0]["bursar.code"],
                    "loop_detected"
                );
            }
            false => assert_eq!(call.status, 0),
        }
    }
}

/// A call that waits for a person, and the question.
async fn asked(rig: &Rig, task: &str, ask: &Ask) -> (tokio::task::JoinHandle<Reply>, String) {
    let reply = rig.call((task, "a", ""), &Ask::chat("sim-cheap")).await;
    assert!(reply.status.is_success(), "{}", reply.text());
    let (caller, ask) = (rig.gateway.caller(task).agent("a"), ask.clone());
    let waiting = tokio::spawn(async move { caller.call(&ask).await.expect("an answer") });
    let url = format!("{}/api/escalations?state=waiting", rig.gateway.ops);
    let id = until("a question", PATIENCE, || async {
        let waiting = rig.http.get(&url).await.ok()?.json();
        let mut waiting = waiting["escalations"].as_array()?.iter();
        let own = waiting.find(|question| question["task"] == task)?;
        Some(own["id"].as_str()?.to_owned())
    });
    let id = id.await;
    until("it waits", PATIENCE, || async {
        let held = rig.gateway.metrics().await.get("bursar_held_open_calls");
        (held > 0.5).then_some(())
    })
    .await;
    (waiting, id)
}

async fn decide(rig: &Rig, id: &str, verb: &str, body: Value) {
    let url = format!("{}/api/escalations/{id}/{verb}", rig.gateway.ops);
    let reply = rig.http.post(&url, &body).await.expect("an answer");
    assert!(reply.status.is_success(), "{}", reply.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_and_its_answer_stand_on_the_call_and_what_they_change_on_the_task() {
    let rig = Rig::open(|setup| setup.limits(ONE_TURN)).await;
    let (waiting, id) = asked(&rig, "t", &Ask::chat("sim-cheap")).await;
    decide(&rig, &id, "approve", json!({"turns": 2})).await;
    let approved = waiting.await.expect("no panic");
    assert!(approved.status.is_success(), "{}", approved.text());
    let (waiting, other) = asked(&rig, "u", &Ask::chat("sim-cheap").stream()).await;
    decide(&rig, &other, "deny", json!({"why": "enough"})).await;
    let denied = waiting.await.expect("no panic");
    let spans = rig.closed(&["t", "u"]).await;
    let call = of_request(&spans, &approved.request_id());
    let own: Vec<_> = names(call)
        .into_iter()
        .filter(|name| *name != "bursar.limit_warning")
        .collect();
    assert_eq!(own, ["bursar.escalation", "bursar.decided"]);
    for (_, more) in call
        .events
        .iter()
        .filter(|(name, _)| name != "bursar.limit_warning")
    {
        assert_eq!(said(more), [("question", &*id)]);
    }
    assert_eq!(call.status, 0);
    let call = of_request(&spans, &denied.request_id());
    assert_eq!(
        names(call),
        ["bursar.escalation", "bursar.decided", "bursar.refused"]
    );
    assert_eq!(events(call, "bursar.decided")[0]["bursar.question"], other);
    assert_eq!(
        events(call, "bursar.refused")[0]["bursar.code"],
        "task_suspended"
    );
    assert_eq!(call.status, 2);
    let told = |task: &str| -> Vec<String> {
        let root = named(&spans, task)[0];
        let told = root.events.iter().map(|(name, more)| {
            let name = name.strip_prefix("bursar.").expect("a name of ours");
            format!("{name} {:?}", said(more))
        });
        told.collect()
    };
    let state = |state: &str| format!("task_state [(\"state\", {state:?})]");
    let raised = "top_up [(\"turns\", \"2\")]".to_owned();
    let all = [state("suspended"), raised, state("active"), state("closed")];
    assert_eq!(told("task t"), all);
    assert_eq!(told("task u"), [state("suspended"), state("closed")]);
}

/// After a while the head of a stream that waits is sent: its refusal comes as an event of the stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_in_an_open_stream_is_told_once() {
    let rig = Rig::open(|setup| setup.limits(ONE_TURN)).await;
    rig.call(("t", "a", ""), &Ask::chat("sim-cheap")).await;
    let caller: Caller = rig.gateway.caller("t").agent("a");
    let head = caller
        .open(&Ask::chat("sim-cheap").stream())
        .await
        .expect("a head");
    let id = head.headers()["x-bursar-escalation"]
        .to_str()
        .expect("text")
        .to_owned();
    assert_eq!(head.status(), 200);
    decide(&rig, &id, "deny", json!({})).await;
    let denied = Reply::read(head).await.expect("a whole stream");
    assert!(
        denied.text().contains("task_suspended"),
        "{}",
        denied.text()
    );
    let spans = rig.closed(&["t"]).await;
    let call = of_request(&spans, &denied.request_id());
    assert_eq!(
        names(call),
        ["bursar.escalation", "bursar.decided", "bursar.refused"]
    );
    assert_eq!((call.status, call.tag("error.type")), (2, "task_suspended"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fallback_says_where_it_comes_from() {
    let rig = Rig::open(|setup| {
        setup.routes("[[route]]\nname = \"asked\"\nmatch = { model = \"asked\" }\nto = [\"sim/sim-503\", \"sim/sim-cheap\"]\n")
    })
    .await;
    for stream in [false, true] {
        let task = if stream { "s" } else { "t" };
        let mut ask = Ask::chat("asked");
        ask.stream = stream;
        let reply = rig.call((task, "a", ""), &ask).await;
        assert!(reply.status.is_success(), "{}", reply.text());
        let spans = rig.closed(&[task]).await;
        let call = of_request(&spans, &reply.request_id());
        assert_eq!(names(call), ["bursar.fallback"]);
        assert_eq!(
            said(events(call, "bursar.fallback")[0]),
            [("from", "sim/sim-503")]
        );
        let mut tries: Vec<_> = spans.iter().filter(|span| span.parent == call.id).collect();
        tries.sort_by_key(|attempt| attempt.start);
        let how = |attempt: &&Span| {
            let status = attempt.tag("http.response.status_code").to_owned();
            (
                attempt.tag("bursar.model").to_owned(),
                status,
                attempt.status,
            )
        };
        let how: Vec<_> = tries.iter().map(how).collect();
        let text = str::to_owned;
        assert_eq!(
            how,
            [
                (text("sim-503"), text("503"), 2),
                (text("sim-cheap"), text("200"), 0)
            ]
        );
        assert_eq!(
            (call.status, call.tag("gen_ai.response.model")),
            (0, "sim-cheap")
        );
    }
}

/// What was to go on at a target that does not fit ends as its last try did, and says what stood in the way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_cannot_go_on_ends_as_its_try_did() {
    let limits = "[[limit]]\nname = \"task\"\nper = [\"task\"]\nusd = \"0.001\"\n";
    for (model, ending, reason) in [
        ("sim-cheap-503", "void", "provider_refused"),
        ("sim-cheap-502", "unreconciled", "billed_error"),
    ] {
        let routes = format!(
            "[[route]]\nname = \"asked\"\nmatch = {{ model = \"asked\" }}\nto = [\"sim/{model}\", \"sim/sim-strong\"]\n"
        );
        let rig = Rig::open(|setup| setup.limits(limits).routes(&routes)).await;
        let reply = rig.call(("t", "a", ""), &Ask::chat("asked")).await;
        assert!(reply.status.is_server_error(), "{}", reply.text());
        let spans = rig.closed(&["t"]).await;
        let call = of_request(&spans, &reply.request_id());
        let tries = spans.iter().filter(|span| span.parent == call.id);
        assert_eq!(tries.count(), 1, "{spans:?}");
        assert_eq!(
            (call.tag("bursar.ending"), call.tag("bursar.reason")),
            (ending, reason)
        );
        assert_eq!(
            names(call),
            ["bursar.fallback", "bursar.refused"],
            "{call:?}"
        );
        let is_in_doubt = call.tags.contains_key("bursar.in_doubt_usd");
        assert_eq!(is_in_doubt, ending == "unreconciled", "{call:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_operators_do_to_a_task_stands_on_the_task() {
    let limits = "[[limit]]\nname = \"task\"\nper = [\"task\"]\nusd = \"1.00\"\nturns = 9\n";
    let rig = Rig::open(|setup| setup.limits(limits)).await;
    rig.call(("t", "a", ""), &Ask::chat("sim-cheap")).await;
    rig.does("t", "top-up", json!({"usd": "0.50", "turns": 3}))
        .await;
    rig.does("t", "suspend", json!({})).await;
    let refused = rig.call(("t", "a", ""), &Ask::chat("sim-cheap")).await;
    assert_eq!(refused.refusal().as_deref(), Some("task_suspended"));
    rig.does("t", "resume", json!({})).await;
    let spans = rig.closed(&["t"]).await;
    let root = named(&spans, "task t")[0];
    let told: Vec<_> = root
        .events
        .iter()
        .map(|(name, more)| (&**name, said(more)))
        .collect();
    let state = |state| ("bursar.task_state", vec![("state", state)]);
    let raised = ("bursar.top_up", vec![("turns", "3"), ("usd", "0.5")]);
    assert_eq!(
        told,
        [raised, state("suspended"), state("active"), state("closed")]
    );
    let call = of_request(&spans, &refused.request_id());
    assert_eq!(names(call), ["bursar.refused"]);
}

/// What is no step that repeats: a stream that chants, a task that forgot, an agent whose answers are malformed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_rules_stand_on_their_calls_as_loops_do() {
    let rig = Rig::open(|setup| setup).await;
    let words = "Let me check that again.\n".repeat(200);
    let scenario = json!({"model": "sim-cheap-singer", "steps": [{"text": words}]});
    let url = format!("http://{}/scenario", rig.sim.addr());
    let told = rig.http.post(&url, &scenario).await.expect("an answer");
    assert!(told.status.is_success(), "{}", told.text());
    let singing = Ask::chat("sim-cheap-singer")
        .max_tokens(Some(20_000))
        .stream();
    let chanted = rig.call(("chant", "singer", ""), &singing).await;
    let mut talk = Ask::chat("sim-cheap");
    for number in 0..3 {
        talk.text = format!("Question {number}.");
        let reply = rig.call(("lost", "a", ""), &talk).await;
        talk.history = talk.answered(&reply);
    }
    (talk.history, talk.text) = (Vec::new(), "Who are you?".to_owned());
    let forgot = rig.call(("lost", "a", ""), &talk).await;
    assert_eq!(
        forgot.header("x-bursar-warning").as_deref(),
        Some("loop=state_lost")
    );
    let mut bad = Ask::chat("sim-tools-bad-args");
    bad.tools = true;
    let mut malformed = Vec::new();
    for _ in 0..4 {
        malformed.push(rig.call(("bad", "writer", ""), &bad).await);
    }
    let refused = &malformed[3];
    assert_eq!(
        refused.refusal().as_deref(),
        Some("loop_detected"),
        "{}",
        refused.text()
    );
    let spans = rig.closed(&["chant", "lost", "bad"]).await;
    for (reply, rule, action) in [
        (&chanted, "chant", "end"),
        (&forgot, "state_lost", "warn"),
        (refused, "malformed", "deny"),
    ] {
        let call = of_request(&spans, &reply.request_id());
        let found = events(call, "bursar.loop");
        assert_eq!(found.len(), 1, "{rule}: {:?}", call.events);
        assert_eq!(said(found[0]), [("action", action), ("rule", rule)]);
    }
    let found = spans.iter().flat_map(|span| events(span, "bursar.loop"));
    assert_eq!(found.count(), 3, "on no other call");
}
