//! The log says which call a line is about: with its trace and span, whoever wrote the line, and however many
//! calls are under way at once.

use super::events::going_round;
use super::{Rig, Span, of_request};
use crate::common::calls::Ask;
use crate::common::fake::Fake;
use crate::common::gateway::Gateway;
use crate::common::setup::Setup;
use crate::common::socket::Line;
use crate::common::until;
use bursar::sim::{Settings, Sim};
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const LOG: &str = "[log]\nformat = \"json\"\nlevel = \"debug\"\n";
const LIMITS: &str = "\
    [[limit]]\nname = \"task\"\nper = [\"task\"]\nusd = \"1.00\"\n\
    [[limit]]\nname = \"none\"\nmatch = { model = \"sim-cheap-banned\" }\nper = [\"task\", \"model\"]\nusd = \"0.000000001\"\n\
    [[limit]]\nname = \"watched\"\nmatch = { model = \"sim-cheap-warned\" }\nper = [\"task\", \"model\"]\nturns = 2\nwarn_at = 0.5\n\
    [[limit]]\nname = \"asks\"\nmatch = { model = \"sim-cheap-asking\" }\nper = [\"task\", \"model\"]\nturns = 1\non_exceed = \"escalate\"\n";

fn setup(setup: Setup, nobody: SocketAddr) -> Setup {
    let routes = ["ill", "gone"].map(|model| {
        let first = if model == "ill" { "sim/sim-503" } else { "nobody/sim-cheap" };
        format!("[[route]]\nname = \"{model}\"\nmatch = {{ model = \"{model}\" }}\nto = [\"{first}\", \"sim/sim-cheap\"]\n")
    });
    let provider = format!(
        "[[provider]]\nname = \"nobody\"\nkind = \"openai\"\nbase_url = \"http://{nobody}/v1\"\nmodels = [\"nobody-*\"]\n"
    );
    setup
        .limits(LIMITS)
        .routes(&routes.concat())
        .more(&format!("{LOG}[escalation]\nwait = \"200ms\"\n{provider}"))
}

/// What calls are made of, as model, whether it is a stream, and what the log says of the last of them.
const CALLS: [(&str, bool, &[&str]); 9] = [
    ("sim-cheap", false, &["a call has ended"]),
    ("sim-cheap-banned", false, &["a call was refused"]),
    ("sim-cheap-banned", true, &["a call was refused"]),
    ("sim-cheap-warned", true, &["a limit is nearly used up"]),
    (
        "ill",
        false,
        &[
            "a provider answered with an error",
            "a call goes on at another target",
        ],
    ),
    (
        "gone",
        true,
        &[
            "a provider could not be reached",
            "a call goes on at another target",
        ],
    ),
    (
        "sim-rogue",
        true,
        &["a provider billed more than its bound"],
    ),
    (
        "sim-reset",
        true,
        &["an answer broke off", "what a call cost is in doubt"],
    ),
    (
        "sim-cheap-asking",
        false,
        &["a call waits for a person", "a call was refused"],
    ),
];

/// One call whose lines are looked for.
struct Made {
    request: String,
    task: String,
    agent: String,
    said: Vec<&'static str>,
}

/// Makes such a call in a task and by an agent of its own.
async fn make(gateway: &Gateway, number: usize, round: usize) -> Made {
    let (model, stream, said) = CALLS[number];
    let (task, agent) = (format!("t-{number}-{round}"), format!("a-{number}-{round}"));
    let mut caller = gateway.caller(&task).agent(&agent);
    if model == "gone" {
        // Sent in a task of its own, whoever waits for it.
        caller = caller.header("idempotency-key", &task);
    }
    let mut ask = Ask::chat(model).max_tokens(Some(200));
    ask.stream = stream;
    if model == "sim-cheap-asking" {
        let first = caller.call(&ask).await.expect("an answer");
        assert!(first.status.is_success(), "{}", first.text());
    }
    let head = caller.open(&ask).await.expect("a head");
    let request = head.headers()["x-bursar-request-id"]
        .to_str()
        .expect("text")
        .to_owned();
    // Some break off.
    let _ = http_body_util::BodyExt::collect(head.into_body()).await;
    Made {
        request,
        task,
        agent,
        said: said.to_vec(),
    }
}

/// All at once, three times over.
async fn make_all(gateway: &Gateway) -> Vec<Made> {
    let calls = (0..3).flat_map(|round| (0..CALLS.len()).map(move |number| (number, round)));
    let made = calls.map(|(number, round)| make(gateway, number, round));
    futures_util::future::join_all(made).await
}

/// A call over a WebSocket.
async fn refused_frame(gateway: &Gateway) -> Made {
    let who = [
        ("x-bursar-task-id", "t-socket"),
        ("x-bursar-agent-id", "speaker"),
    ];
    let mut line = Line::open(gateway, &who).await;
    let refused = line.call("sim-cheap-banned").await;
    assert_eq!(refused["type"], "error", "{refused}");
    let said = "a call was refused";
    let request = until("the line is there", PATIENCE, || async {
        let lines = lines(gateway);
        let mut own = lines.iter().filter(|line| text(line, "task") == "t-socket");
        let line = own.find(|line| line["fields"]["message"] == said)?;
        Some(text(line, "request").to_owned())
    });
    Made {
        request: request.await,
        task: "t-socket".to_owned(),
        agent: "speaker".to_owned(),
        said: vec![said],
    }
}

fn lines(gateway: &Gateway) -> Vec<Value> {
    let log = gateway.log();
    let lines = log.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect()
}

fn text<'a>(line: &'a Value, name: &str) -> &'a str {
    line[name].as_str().unwrap_or_default()
}

/// The lines about a call: all of them say whose it is.
fn lines_of<'a>(lines: &'a [Value], made: &Made) -> Vec<&'a Value> {
    let own = lines
        .iter()
        .filter(|line| text(line, "request") == made.request);
    let own: Vec<_> = own.collect();
    for said in &made.said {
        let is_said = own.iter().any(|line| line["fields"]["message"] == *said);
        assert!(is_said, "no `{said}` of {}: {own:?}", made.request);
    }
    for line in &own {
        assert_eq!(
            (text(line, "task"), text(line, "agent")),
            (&*made.task, &*made.agent)
        );
    }
    own
}

fn assert_leads_to(line: &Value, span: &Span) {
    let ids = (text(line, "trace_id"), text(line, "span_id"));
    assert_eq!(ids, (&*span.trace, &*span.id), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_about_a_call_leads_to_its_span() {
    let nobody = Fake::nobody().await;
    let rig = Rig::open(|of| setup(of, nobody)).await;
    let mut made = make_all(&rig.gateway).await;
    for reply in going_round(&rig, "t-loop", "seeker").await.iter().skip(3) {
        made.push(Made {
            request: reply.request_id(),
            task: "t-loop".to_owned(),
            agent: "seeker".to_owned(),
            said: vec!["a loop was detected", "a call was refused"],
        });
    }
    let has = |spans: &[Span], made: &Made| {
        let mut calls = spans
            .iter()
            .filter(|span| span.tags.contains_key("bursar.dialect"));
        calls.any(|call| call.tag("bursar.request_id") == made.request)
    };
    made.push(refused_frame(&rig.gateway).await);
    let is_all = |spans: &[Span]| made.iter().all(|made| has(spans, made));
    let spans = rig.collector.until("all calls", is_all).await;
    let lines = lines(&rig.gateway);
    for made in &made {
        let span = of_request(&spans, &made.request);
        for line in lines_of(&lines, made) {
            assert_leads_to(line, span);
        }
    }
    // Nothing that is said of a call is said of none, and other lines are about no call.
    let of_calls: Vec<&str> = made
        .iter()
        .flat_map(|made| made.said.iter().copied())
        .collect();
    for line in &lines {
        let said = line["fields"]["message"].as_str().unwrap_or_default();
        let is_of_call = text(line, "trace_id").len() == 32;
        if of_calls.contains(&said) {
            assert!(is_of_call, "{line}");
        }
        assert_eq!(is_of_call, !text(line, "request").is_empty(), "{line}");
    }
    let started = lines
        .iter()
        .find(|line| line["fields"]["message"] == "listening");
    assert!(started.expect("it says so").get("trace_id").is_none());
}

/// Without an exporter there are no spans, and lines lead to the caller's trace or the journal's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_exporter_lines_have_the_ids_of_the_journal() {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    let nobody = Fake::nobody().await;
    let sim = Sim::start(Settings::default()).await.expect("providers");
    let gateway = Gateway::start(&setup(Setup::new(sim.addr()), nobody)).await;
    let made = make_all(&gateway).await;
    let caller = gateway.caller("traced").agent("a");
    let traceparent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let traced = caller
        .header("traceparent", &traceparent)
        .call(&Ask::chat("sim-cheap-banned"))
        .await;
    let traced = traced.expect("an answer").request_id();
    gateway.quiet().await;
    let lines = lines(&gateway);
    for made in &made {
        for line in lines_of(&lines, made) {
            // Its own number, and the lower half of it.
            let number = made.request.strip_prefix("req_").expect("an id");
            assert_eq!(text(line, "trace_id"), number, "{line}");
            assert_eq!(text(line, "span_id"), &number[16..], "{line}");
        }
    }
    let refused: Vec<_> = lines
        .iter()
        .filter(|line| text(line, "request") == traced)
        .collect();
    assert!(!refused.is_empty());
    assert!(refused.iter().all(|line| text(line, "trace_id") == TRACE));
}

/// Its head is sent after a while; what becomes of it then is told while the answer's body is read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_waits_for_a_person_is_the_same_call_still() {
    let rig = Rig::open(|of| {
        let of = of.limits(LIMITS).more(LOG);
        of.more("[escalation]\nwait = \"6s\"")
    })
    .await;
    let ask = Ask::chat("sim-cheap-asking").stream();
    let who = ("t", "writer", "");
    assert!(rig.call(who, &ask).await.status.is_success());
    let refused = rig.call(who, &ask).await;
    assert_eq!(refused.status, 200, "its head was sent before");
    assert!(
        refused.text().contains("task_suspended"),
        "{}",
        refused.text()
    );
    let made = Made {
        request: refused.request_id(),
        task: "t".to_owned(),
        agent: "writer".to_owned(),
        said: vec!["a call waits for a person", "a call was refused"],
    };
    let spans = rig.closed(&["t"]).await;
    let span = of_request(&spans, &made.request);
    for line in lines_of(&lines(&rig.gateway), &made) {
        assert_leads_to(line, span);
    }
}
