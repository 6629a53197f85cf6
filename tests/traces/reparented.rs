//! Only a tool's result shows who had called an agent: its next calls belong to its caller's task, what was
//! held before stays where it was, in money and in spans, and the journal says so.

use super::{Rig, assert_tagged, of_request, path};
use crate::common::books;
use crate::common::calls::{Http, Reply};
use crate::common::program::Ends as _;
use bursar::store::{Kind, MarkBody, Reader};
use bursar::units::Meter;
use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};

const LIMITS: &str = "[[limit]]\nname = \"task\"\nper = [\"task\"]\nusd = \"1.00\"\n";
const FOUND: &str = "What the child found out.";

fn call(agent: &str, model: &str, tool: &str, history: &[Value]) -> Value {
    let mut messages =
        vec![json!({"role": "system", "content": format!("You are the {agent} of this house.")})];
    messages.extend_from_slice(history);
    let tool =
        json!({"type": "function", "function": {"name": tool, "parameters": {"type": "object"}}});
    json!({"model": model, "messages": messages, "tools": [tool]})
}

fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

fn header(reply: &Reply, name: &str) -> String {
    assert!(reply.status.is_success(), "{}", reply.text());
    reply.header(name).unwrap_or_default()
}

async fn says(rig: &Rig, model: &str, steps: Value) {
    let url = format!("http://{}/scenario", rig.sim.addr());
    let told = Http::new()
        .post(&url, &json!({"model": model, "steps": steps}))
        .await;
    assert!(told.expect("an answer").status.is_success());
}

/// Dollars (nano) and turns on the account of a task.
fn account(rig: &Rig, task: &str) -> (u64, u64) {
    let mut rows = books::accounts(&rig.gateway.store(), "task");
    rows.retain(|row| format!("{:?}", row.key).contains(task));
    assert_eq!(rows.len(), 1, "{task}: {rows:?}");
    let settled = rows[0].balance.settled;
    assert!(rows[0].balance.in_doubt.is_zero());
    (settled.usd().0, settled[Meter::Turns])
}

/// The marks of the journal, as task, rule, agent and by whom.
fn marks(rig: &Rig) -> Vec<[String; 4]> {
    let reader = Reader::open(&rig.gateway.store()).expect("a store");
    let mut marks = Vec::new();
    let read = reader.rows(0, |row| {
        if row.kind == Kind::Mark.name() {
            let mark: MarkBody<'_> = serde_json::from_str(row.entry)?;
            let text = |text: Option<&bursar::store::Text<'_>>| {
                text.map_or_else(String::new, |text| text.as_str().to_owned())
            };
            let MarkBody {
                task,
                rule,
                agent,
                received_by,
                ..
            } = &mark;
            marks.push([
                text(Some(task)),
                text(Some(rule)),
                text(agent.as_ref()),
                text(received_by.as_ref()),
            ]);
        }
        Ok(true)
    });
    read.expect("a journal");
    marks
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_finds_its_caller_leaves_its_money_where_it_was() {
    let rig = Rig::open(|setup| setup.limits(LIMITS)).await;
    let (boss, child) = ("sim-cheap-boss", "sim-cheap-child");
    says(
        &rig,
        boss,
        json!([{"tool": "run_code", "arguments": {"code": "ask(child)"}}, {"text": "Done."}]),
    )
    .await;
    says(
        &rig,
        child,
        json!([{"text": FOUND}, {"text": "That is all."}]),
    )
    .await;
    // The boss asks for a tool, whose code calls the child in words of its own.
    let mut plan = vec![user("Begin with this.")];
    let first = rig.chat(&[], &call("boss", boss, "run_code", &plan)).await;
    let (task, lead) = (
        header(&first, "x-bursar-task-id"),
        header(&first, "x-bursar-agent-id"),
    );
    let mut work = vec![user("Composed by code.")];
    let stray = rig.chat(&[], &call("child", child, "search", &work)).await;
    let (apart, worker) = (
        header(&stray, "x-bursar-task-id"),
        header(&stray, "x-bursar-agent-id"),
    );
    assert_ne!(task, apart, "nothing tells yet");
    // Its next call is held, and under way …
    work.push(json!({"role": "assistant", "content": FOUND}));
    work.push(user("And?"));
    let mut body = call("child", "sim-slow", "search", &work);
    (body["stream"], body["max_completion_tokens"]) = (true.into(), 200.into());
    let url = format!("{}/v1/chat/completions", rig.gateway.agents);
    let request = Request::post(url).header("content-type", "application/json");
    let request = request.body(body.to_string().into()).expect("a request");
    let held = rig.http.send(request).await.expect("a head");
    assert_eq!(held.headers()["x-bursar-task-id"], *apart);
    // … when the tool's result comes, which is what the child had said.
    let message = first.json()["choices"][0]["message"].clone();
    let id = message["tool_calls"][0]["id"].clone();
    plan.extend([
        message,
        json!({"role": "tool", "tool_call_id": id, "content": FOUND}),
    ]);
    let second = rig.chat(&[], &call("boss", boss, "run_code", &plan)).await;
    assert_eq!(header(&second, "x-bursar-task-id"), task);
    let under_way = held.headers()["x-bursar-request-id"]
        .to_str()
        .expect("text")
        .to_owned();
    held.into_body().collect().await.expect("a whole stream");
    rig.gateway.quiet().await;
    let before = (account(&rig, &task), account(&rig, &apart));
    assert_eq!((before.0.1, before.1.1), (2, 2), "turns on each");
    // From here on it is the caller's.
    work.extend([
        json!({"role": "assistant", "content": "That is all."}),
        user("Thank you."),
    ]);
    let next = rig.chat(&[], &call("child", child, "search", &work)).await;
    assert_eq!(header(&next, "x-bursar-task-id"), task);
    rig.gateway.quiet().await;
    // No money has moved: the one account is as it was, the other has the new call's and nothing else.
    let after = (account(&rig, &task), account(&rig, &apart));
    let cost = books::call(&rig.gateway.store(), &next.request_id())
        .charged
        .usd()
        .0;
    assert_eq!(after.1, before.1);
    assert_eq!(after.0, (before.0.0 + cost, before.0.1 + 1));
    assert_eq!(after.0.0 + after.1.0, rig.sim.bill().total_nano_usd);
    for (request, of) in [
        (stray.request_id(), &apart),
        (under_way.clone(), &apart),
        (next.request_id(), &task),
    ] {
        assert_eq!(books::call(&rig.gateway.store(), &request).task, *of);
    }
    books::verify(&rig.gateway.store());
    // The journal says who went where, and so does the task's story.
    assert_eq!(
        marks(&rig),
        [[
            task.clone(),
            "reparented".into(),
            worker.clone(),
            lead.clone()
        ]]
    );
    let story = std::process::Command::new(env!("CARGO_BIN_EXE_bursar"))
        .args(["audit", "trace", &task, "--config"])
        .arg(rig.gateway.config())
        .ended();
    let story = String::from_utf8_lossy(&story.stdout).into_owned();
    let told = format!("reparented: {worker} of task {apart} was called by {lead}");
    assert!(story.contains(&told), "{story}");
    // So do the spans: the first calls are where they were, the last one below its caller.
    let spans = rig.closed(&[&task, &apart]).await;
    assert_tagged(&spans);
    let above = |request: &str| path(&spans, of_request(&spans, request))[1..].to_vec();
    let [root, other] = [&task, &apart].map(|task| format!("task {task}"));
    let [lead, worker] = [&lead, &worker].map(|agent| format!("invoke_agent {agent}"));
    for request in [stray.request_id(), under_way] {
        assert_eq!(above(&request), [worker.clone(), other.clone()]);
    }
    assert_eq!(above(&first.request_id()), [lead.clone(), root.clone()]);
    assert_eq!(above(&next.request_id()), [worker, lead, root]);
    let trace = |reply: &Reply| of_request(&spans, &reply.request_id()).trace.clone();
    assert_eq!(trace(&next), trace(&first));
    assert_ne!(trace(&next), trace(&stray));
}
