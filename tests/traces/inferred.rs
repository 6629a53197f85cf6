//! Calls that say nothing of whose they are: the base URL alone, and the tree is there all the same.

use super::program::{Run, Wire};
use super::{Rig, Span, assert_tagged, named, of_request, of_task, path};
use crate::common::calls::{Ask, Reply};
use crate::common::fake::{Fake, Then};
use crate::common::socket::{Line, create};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// One trace, one root, and every span below it.
fn assert_one_tree(spans: &[Span]) {
    assert_tagged(spans);
    let traces: BTreeSet<_> = spans.iter().map(|span| &*span.trace).collect();
    assert_eq!(traces.len(), 1, "{spans:?}");
    let roots: Vec<_> = spans.iter().filter(|span| span.parent.is_empty()).collect();
    assert_eq!(roots.len(), 1, "{roots:?}");
    for span in spans {
        let top = path(spans, span).pop().expect("itself at least");
        assert_eq!(top, roots[0].name, "{}", span.name);
    }
}

fn header(reply: &Reply, name: &str) -> String {
    assert!(reply.status.is_success(), "{}", reply.text());
    reply.header(name).unwrap_or_default()
}

/// Plain and streamed, in three dialects: an editor, a researcher who is called twice, a writer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_are_one_tree_each_in_which_who_is_called_again_has_a_span_again() {
    let rig = Rig::open(|setup| setup).await;
    let mut runs: Vec<Run> = Wire::ALL.iter().map(|wire| Run::new(*wire, 0)).collect();
    for run in &runs {
        run.tell(rig.sim.addr()).await;
    }
    let base = &rig.gateway.agents;
    let going = runs.iter_mut().map(|run| async move {
        run.begin(base).await;
        run.end(base).await;
    });
    futures_util::future::join_all(going).await;
    let rows = super::rows(&rig.gateway).await;
    let task = |run: &Run| rows[&run.met[0].request].clone();
    let tasks: Vec<String> = runs.iter().map(task).collect();
    let tasks: Vec<&str> = tasks.iter().map(String::as_str).collect();
    let all = rig.closed(&tasks).await;
    for (run, task) in runs.iter().zip(tasks) {
        let spans = of_task(&all, task);
        assert_one_tree(&spans);
        let calls: Vec<_> = run
            .met
            .iter()
            .map(|met| of_request(&spans, &met.request))
            .collect();
        let above = |number: usize| path(&spans, calls[number])[1..].to_vec();
        let agent = |name: &str| {
            let number = run
                .met
                .iter()
                .position(|met| met.agent == name)
                .expect("it calls");
            format!("invoke_agent {}", calls[number].tag("agent_id"))
        };
        let [editor, researcher, writer] = ["editor", "researcher", "writer"].map(agent);
        let root = format!("task {task}");
        for (number, met) in run.met.iter().enumerate() {
            assert_eq!(met.how, "inferred");
            let mut expected = vec![agent(met.agent)];
            expected.extend(met.parent.map(agent));
            expected.push(root.clone());
            assert_eq!(above(number), expected, "{:?}, call {number}", run.wire);
        }
        let counts = [&editor, &researcher, &writer].map(|agent| named(&spans, agent).len());
        assert_eq!(counts, [1, 2, 1], "{:?}", run.wire);
        let stays = named(&spans, &researcher);
        let apart = stays[0].end <= stays[1].start || stays[1].end <= stays[0].start;
        assert!(apart, "one after the other: {:?}", run.wire);
        assert_ne!(
            stays[0].tag("gen_ai.agent.call.id"),
            stays[1].tag("gen_ai.agent.call.id")
        );
        let tools = spans
            .iter()
            .filter(|span| span.name.starts_with("execute_tool"));
        assert!(tools.count() >= 4, "{:?}", run.wire);
    }
}

/// An answer in which a boss asks two researchers at once.
fn asks_two() -> String {
    let ask = |n: u32, question: &str| {
        json!({"id": format!("call_{n}"), "type": "function", "function": {"name": "ask_researcher",
            "arguments": json!({"question": question}).to_string()}})
    };
    let message = json!({"role": "assistant", "content": null, "tool_calls":
        [ask(1, "Find the causes of the rain"), ask(2, "Find the effects of the rain")]});
    let body =
        json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "boss-1",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 80, "total_tokens": 100}})
        .to_string();
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_is_called_twice_at_once_has_two_spans_that_overlap() {
    let boss = Fake::start(asks_two(), Then::Close).await;
    let provider = format!(
        "[[provider]]\nname = \"boss\"\nkind = \"openai\"\nbase_url = \"http://{}/v1\"\nmodels = [\"boss-*\"]",
        boss.addr
    );
    let rig = Rig::open(|setup| setup.more(&provider)).await;
    let system = json!({"role": "system", "content": "You are the editor of this house."});
    let tool = json!({"type": "function", "function": {"name": "ask_researcher", "parameters": {"type": "object"}}});
    let asks = json!({"model": "boss-1", "tools": [tool],
        "messages": [system, {"role": "user", "content": "An article on the rain"}]});
    let first = rig.chat(&[], &asks).await;
    let task = header(&first, "x-bursar-task-id");
    let mut open = Vec::new();
    for question in [
        "Find the causes of the rain",
        "Find the effects of the rain",
    ] {
        let ask = Ask {
            system: Some("You are a researcher of this house.".to_owned()),
            text: question.to_owned(),
            ..Ask::chat("sim-slow").stream()
        };
        // Both are under way before one of them is read.
        open.push(rig.nobody().open(&ask).await.expect("a head"));
    }
    let mut requests = Vec::new();
    for answer in open {
        let reply = Reply::read(answer).await.expect("a whole stream");
        assert_eq!(header(&reply, "x-bursar-task-id"), task);
        requests.push(reply.request_id());
    }
    let spans = rig.closed(&[&task]).await;
    assert_one_tree(&spans);
    let calls = [0, 1].map(|number: usize| of_request(&spans, &requests[number]));
    let stays = calls.map(|call| {
        let stay = spans
            .iter()
            .find(|span| span.id == call.parent)
            .expect("its stay");
        assert_eq!(stay.name, format!("invoke_agent {}", call.tag("agent_id")));
        stay
    });
    assert_ne!(stays[0].id, stays[1].id);
    assert_eq!(
        (&stays[0].name, &stays[0].parent),
        (&stays[1].name, &stays[1].parent)
    );
    let overlap = stays[0].start < stays[1].end && stays[1].start < stays[0].end;
    assert!(overlap, "{stays:?}");
    let lead = format!("invoke_agent {}", header(&first, "x-bursar-agent-id"));
    assert_eq!(path(&spans, calls[0])[2..], [lead, format!("task {task}")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_is_below_its_agent_in_its_task_s_trace() {
    let limits = "[[limit]]\nname = \"turns\"\nper = [\"task\"]\nturns = 1\n";
    let rig = Rig::open(|setup| setup.limits(limits)).await;
    let mut ask = Ask::chat("sim-cheap");
    ask.system = Some("You are the editor of this house.".to_owned());
    let first = rig.nobody().call(&ask).await.expect("an answer");
    let task = header(&first, "x-bursar-task-id");
    ask.history = ask.answered(&first)[0..2].to_vec();
    ask.text = "And then?".to_owned();
    let mut refused = Vec::new();
    for stream in [false, true] {
        ask.stream = stream;
        let reply = rig.nobody().call(&ask).await.expect("an answer");
        assert_eq!(
            reply.refusal().as_deref(),
            Some("turns_exceeded"),
            "{}",
            reply.text()
        );
        refused.push(reply.request_id());
    }
    let spans = rig.closed(&[&task]).await;
    assert_one_tree(&spans);
    let above = path(&spans, of_request(&spans, &first.request_id()))[1..].to_vec();
    assert_eq!(above.len(), 2);
    for request in refused {
        let call = of_request(&spans, &request);
        assert_eq!((call.status, call.tag("bursar.limit")), (2, "turns"));
        assert_eq!(path(&spans, call)[1..], above);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_of_a_socket_that_names_nobody_go_on_in_one_tree() {
    let rig = Rig::open(|setup| setup).await;
    let mut line = Line::open(&rig.gateway, &[]).await;
    let mut event = create("sim-cheap");
    event["instructions"] = "You are the editor of this house.".into();
    let mut answers: Vec<Value> = Vec::new();
    for text in ["Where is the purse?", "And whose is it?", "Thank you."] {
        event["input"] = json!([{"type": "message", "role": "user", "content": text}]);
        if let Some(last) = answers.last() {
            event["previous_response_id"] = last["response"]["id"].clone();
        }
        line.say(&event).await;
        let last = line.last().await;
        assert_eq!(last["type"], "response.completed", "{last}");
        answers.push(last);
    }
    let rows = super::rows(&rig.gateway).await;
    let tasks: BTreeSet<&str> = rows.values().map(String::as_str).collect();
    assert_eq!((rows.len(), tasks.len()), (3, 1), "{rows:?}");
    let task = *tasks.first().expect("one");
    assert!(task.starts_with("task-"), "inferred: {task}");
    let spans = rig.closed(&[task]).await;
    assert_one_tree(&spans);
    for request in rows.keys() {
        let call = of_request(&spans, request);
        let agent = format!("invoke_agent {}", call.tag("agent_id"));
        assert_eq!(path(&spans, call)[1..], [agent, format!("task {task}")]);
        assert_eq!(call.tag("gen_ai.request.stream"), "true");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_two_are_asked_for_is_one_span_of_its_inferred_agent() {
    let routes = "[[route]]\nname = \"asked\"\nmatch = { model = \"asked\" }\nto = [\"sim/sim-slow\", \"sim/sim-cheap\"]\nhedge_after = \"50ms\"\n";
    let rig = Rig::open(|setup| setup.routes(routes)).await;
    let mut ask = Ask::chat("asked");
    ask.system = Some("You are the editor of this house.".to_owned());
    let reply = rig.nobody().call(&ask).await.expect("an answer");
    let task = header(&reply, "x-bursar-task-id");
    let spans = rig.closed(&[&task]).await;
    assert_one_tree(&spans);
    let call = of_request(&spans, &reply.request_id());
    let below = spans.iter().filter(|span| span.parent == call.id);
    assert_eq!(below.clone().count(), 2, "both were asked: {spans:?}");
    assert!(
        below.clone().all(|span| span.name == "attempt sim"),
        "{spans:?}"
    );
}

/// An HTTP client that traces itself, in a framework that says nothing of tasks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conversations_whose_client_traces_itself_stay_in_its_trace_and_are_linked_to_their_task() {
    const TRACES: [&str; 2] = [
        "0af7651916cd43dd8448eb211c80319c",
        "1bf7651916cd43dd8448eb211c80319c",
    ];
    const SPAN: &str = "00f067aa0ba902b7";
    let rig = Rig::open(|setup| setup).await;
    let traced = TRACES.map(|trace| Some(format!("00-{trace}-{SPAN}-01")));
    let [one, other] = &traced;
    for (number, by) in [[one, one, one], [&None, one, other]]
        .into_iter()
        .enumerate()
    {
        let mut ask = Ask::chat("sim-cheap");
        ask.system = Some("You are the editor of this house.".to_owned());
        ask.text = format!("Article {number}");
        let mut replies = Vec::new();
        for traceparent in by {
            let mut caller = rig.nobody();
            if let Some(traceparent) = traceparent {
                caller = caller.header("traceparent", traceparent);
            }
            let reply = caller.call(&ask).await.expect("an answer");
            // The system text stands before the history by itself.
            ask.history = ask.answered(&reply);
            ask.text = format!("And then? {}", replies.len());
            replies.push(reply);
        }
        let task = header(&replies[0], "x-bursar-task-id");
        assert!(
            replies
                .iter()
                .all(|reply| header(reply, "x-bursar-task-id") == task)
        );
        let requests: Vec<_> = replies.iter().map(Reply::request_id).collect();
        let is_all = |spans: &[Span]| {
            let calls = spans
                .iter()
                .filter(|span| span.tags.contains_key("bursar.dialect"));
            let calls = calls.filter(|call| call.tag("user_task_id") == task);
            calls.count() == 3
        };
        rig.gateway.quiet().await;
        rig.does(&task, "close", json!({})).await;
        let all = rig.collector.until("all calls", is_all).await;
        let spans = of_task(&all, &task);
        assert_tagged(&spans);
        let calls: Vec<_> = requests
            .iter()
            .map(|request| of_request(&spans, request))
            .collect();
        if number == 0 {
            for call in calls {
                assert_eq!((&*call.trace, &*call.parent), (TRACES[0], SPAN));
                assert!(call.links.is_empty());
            }
            continue;
        }
        let root = format!("task {task}");
        let told = rig.told(&[&task]).await;
        let root = named(&told, &root)[0].clone();
        assert_eq!(calls[0].trace, root.trace);
        for (call, trace) in calls[1..].iter().zip(TRACES) {
            assert_eq!((&*call.trace, &*call.parent), (trace, SPAN));
            assert_eq!(call.links, [(root.trace.clone(), root.id.clone())]);
            assert!(root.links.contains(&(trace.to_owned(), call.id.clone())));
        }
        assert_eq!(root.links.len(), 2);
    }
}
