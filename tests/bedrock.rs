//! Chat callers on Amazon Bedrock: signed, framed, and billed to the nano-dollar.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;
#[path = "edges/rig.rs"]
#[allow(dead_code, reason = "shared with the tests of edges")]
mod rig;

use bursar::sim::{AwsKey, Settings, Sim};
use bytes::Bytes;
use common::books;
use common::calls::{Ask, Reply};
use common::frames::{frame, framed};
use common::gateway::Gateway;
use common::setup::Setup;
use http::Response;
use http_body_util::BodyExt;
use rig::Provider;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const ONE_DOLLAR: &str = "[[limit]]\nname = \"task\"\nper = [\"task\"]\nusd = \"1.00\"\n";
const FRAMES: &str = "application/vnd.amazon.eventstream";
const CLAUDE: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
const KEYS: &str = "region = \"us-east-1\"\naccess_key_id = \"env:AWS_ID\"\nsecret_access_key = \"env:AWS_SECRET\"\n";

/// A Bedrock at this address, with these credentials.
fn bedrock(addr: SocketAddr, credentials: &str) -> String {
    format!(
        "[[provider]]\nname = \"bedrock\"\nkind = \"bedrock\"\nbase_url = \"http://{addr}\"\n\
         models = [\"never\"]\nforward_attribution = true\n{credentials}\n"
    )
}

fn with_keys(setup: Setup) -> Setup {
    let AwsKey { id, secret } = AwsKey::default();
    setup.env("AWS_ID", &id).env("AWS_SECRET", &secret)
}

async fn scene(settings: Settings, limits: &str) -> (Sim, Gateway) {
    let sim = Sim::start(settings).await.expect("a simulated provider");
    let setup = Setup::new(sim.addr())
        .limits(limits)
        .more(&bedrock(sim.addr(), KEYS));
    let gateway = Gateway::start(&with_keys(setup)).await;
    (sim, gateway)
}

fn ask(model: &str) -> Ask {
    let mut ask = Ask::chat(&format!("bedrock/{model}"));
    ask.system = Some("You are a librarian.".to_owned());
    ask
}

/// The text, the names of the tools, and the reason for which a stream stopped.
fn streamed(reply: &Reply) -> (String, Vec<String>, String) {
    let (mut text, mut tools, mut finish) = (String::new(), Vec::new(), String::new());
    for data in reply.events().iter().filter(|data| *data != "[DONE]") {
        let chunk: Value = serde_json::from_str(data).expect("JSON");
        let choice = &chunk["choices"][0];
        let said = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        text.push_str(&said(&choice["delta"]["content"]));
        let name = said(&choice["delta"]["tool_calls"][0]["function"]["name"]);
        tools.extend(Some(name).filter(|name| !name.is_empty()));
        finish.push_str(&said(&choice["finish_reason"]));
    }
    (text, tools, finish)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_call_is_signed_and_the_books_agree() {
    let (sim, gateway) = scene(Settings::default(), ONE_DOLLAR).await;
    let caller = gateway.caller("t").agent("a");
    let mut calls = 0;
    let ids = [
        CLAUDE,
        "global.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "amazon.nova-lite-v1:0",
        "arn:aws:bedrock:us-east-1::foundation-model/sim-cheap",
    ];
    for model in ["sim-cheap", "sim-tools", "sim-strong"].iter().chain(&ids) {
        for stream in [false, true] {
            for kind in ["text", "tools", "image", "form"] {
                let mut ask = ask(model);
                ask.text = format!("{model} {stream} {kind}");
                (ask.stream, ask.tools) = (stream, kind == "tools");
                (ask.image, ask.structured) = (kind == "image", kind == "form");
                if kind == "tools" {
                    ask.text.push_str(": use a tool");
                }
                let reply = caller.call(&ask).await.expect("an answer");
                let what = format!("{model} {stream} {kind}: {}", reply.text());
                if model.starts_with("arn:") {
                    // No list has a price for every name that one may give to a model.
                    assert_eq!(reply.status, 403, "{what}");
                    assert_eq!(reply.json()["error"]["code"], "unpriced_model");
                    continue;
                }
                assert_eq!(reply.status, 200, "{what}");
                let target = reply.header("x-bursar-translated");
                assert_eq!(target.as_deref(), Some("bedrock"), "{what}");
                let (text, tools) = match stream {
                    true => {
                        assert!(reply.text().ends_with("data: [DONE]\n\n"), "{what}");
                        let (text, tools, finish) = streamed(&reply);
                        assert!(!finish.is_empty(), "{what}");
                        (text, tools)
                    }
                    false => {
                        assert!(reply.cost().is_some(), "{what}");
                        let body = reply.json();
                        assert_eq!(body["model"], **model, "{what}");
                        let message = &body["choices"][0]["message"];
                        let calls = message["tool_calls"].as_array().cloned();
                        let names = calls.unwrap_or_default();
                        let names = names.iter().map(|call| {
                            let arguments = call["function"]["arguments"].as_str();
                            let arguments: Value =
                                serde_json::from_str(arguments.expect("a text")).expect("JSON");
                            assert!(arguments["query"].is_string(), "{what}");
                            call["function"]["name"]
                                .as_str()
                                .expect("a name")
                                .to_owned()
                        });
                        let text = message["content"].as_str().unwrap_or_default();
                        (text.to_owned(), names.collect())
                    }
                };
                match kind {
                    "tools" => assert!(
                        tools.iter().all(|name| name == "look_up") && !tools.is_empty(),
                        "{what}"
                    ),
                    "form" => {
                        let book: Value = serde_json::from_str(&text).expect("the form");
                        assert!(book["pages"].is_u64(), "{what}");
                    }
                    _ => assert!(!text.is_empty() && tools.is_empty(), "{what}"),
                }
                calls += 1;
            }
        }
    }
    gateway.quiet().await;
    let entries = books::calls(&gateway.store());
    for entry in entries.iter().filter(|entry| entry.ending == "settle") {
        assert!(entry.quoted.usd() >= entry.charged.usd(), "{entry:?}");
    }
    let compared = books::compare(&sim.bill_by_request(), &entries);
    assert_eq!(compared.settled, calls);
    books::verify(&gateway.store());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_goes_on_and_what_is_marked_is_cached() {
    let (sim, gateway) = scene(Settings::default(), ONE_DOLLAR).await;
    let caller = gateway.caller("t");
    let mut ask = ask("sim-tools");
    ask.tools = true;
    for turn in 0..3 {
        let reply = caller.call(&ask).await.expect("an answer");
        assert_eq!(reply.status, 200, "{turn}: {}", reply.text());
        ask.history = ask.answered(&reply);
        ask.text = format!("And now {turn}?");
    }
    // Marks become cache points: the first call writes, the second reads.
    let http = common::calls::Http::new();
    let url = format!("{}/v1/chat/completions", gateway.agents);
    let long = "word ".repeat(4_000);
    let mark = json!({"type": "ephemeral", "ttl": "1h"});
    let body = json!({"model": format!("bedrock/{CLAUDE}"), "max_tokens": 50, "messages": [
        {"role": "system", "content": [{"type": "text", "text": long, "cache_control": mark}]},
        {"role": "user", "content": "hi"}]});
    let details = |reply: &Reply| reply.json()["usage"]["prompt_tokens_details"].clone();
    let first = http.post(&url, &body).await.expect("an answer");
    assert_eq!(first.status, 200, "{}", first.text());
    assert!(
        details(&first)["cache_write_tokens"].as_u64() > Some(1_000),
        "{}",
        first.text()
    );
    let second = http.post(&url, &body).await.expect("an answer");
    assert!(
        details(&second)["cached_tokens"].as_u64() > Some(1_000),
        "{}",
        second.text()
    );
    gateway.quiet().await;
    let compared = books::compare(&sim.bill_by_request(), &books::calls(&gateway.store()));
    assert_eq!(compared.settled, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_race_for_a_small_cap_is_never_billed_beyond_it() {
    let cap = "[[limit]]\nname = \"task\"\nper = [\"task\"]\nusd = \"0.02\"\n";
    let (sim, gateway) = scene(Settings::default(), cap).await;
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..32_u32 {
        let caller = gateway.caller("t");
        let mut ask = ask(CLAUDE).max_tokens(None);
        ask.text = format!("Tell {number}.");
        ask.stream = number % 2 == 0;
        calls.spawn(async move {
            match number % 8 {
                // These hang up after some events.
                0 => {
                    let answer = caller.open(&ask).await.expect("an answer");
                    let status = answer.status().as_u16();
                    let mut body = answer.into_body();
                    let _ = tokio::time::timeout(Duration::from_secs(20), body.frame()).await;
                    status
                }
                _ => caller.call(&ask).await.expect("an answer").status.as_u16(),
            }
        });
    }
    let (mut answered, mut refused) = (0, 0);
    while let Some(status) = calls.join_next().await {
        match status.expect("a call") {
            200 => answered += 1,
            402 => refused += 1,
            other => panic!("status {other}"),
        }
    }
    gateway.quiet().await;
    assert!(answered > 0 && refused > 0, "{answered} {refused}");
    let bill = sim.bill_by_request();
    books::compare(&bill, &books::calls(&gateway.store()));
    let billed = bill.by_task.get("t").map_or(0, |line| line.nano_usd);
    assert!(billed > 0 && billed <= 20_000_000, "{billed}");
    books::verify(&gateway.store());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endings_are_those_of_every_other_dialect() {
    let settings = Settings {
        slow_delay: Duration::from_millis(10),
        ..Settings::default()
    };
    let (sim, gateway) = scene(settings, ONE_DOLLAR).await;
    let caller = gateway.caller("t");
    for (model, stream, status, ending, reason) in [
        ("sim-error-event", true, 200, "unreconciled", "error_event"),
        ("sim-reset", true, 200, "unreconciled", "reset"),
        ("sim-reset-early", true, 502, "unreconciled", "reset"),
        ("sim-no-usage", true, 200, "unreconciled", "no_usage"),
        ("sim-zero-usage", false, 200, "unreconciled", "no_usage"),
        ("sim-page", false, 502, "unreconciled", "no_answer"),
        ("sim-rogue", true, 200, "settle", ""),
        ("sim-greedy", true, 200, "settle", ""),
        ("sim-400", false, 400, "void", "provider_refused"),
        ("sim-429", true, 429, "void", "provider_refused"),
        ("sim-500", true, 500, "void", "provider_refused"),
        ("sim-503", false, 503, "void", "provider_refused"),
        ("sim-408", false, 408, "unreconciled", "billed_error"),
        ("sim-504", true, 504, "unreconciled", "billed_error"),
    ] {
        let mut ask = ask(model);
        ask.stream = stream;
        let reply = caller.call(&ask).await.expect("an answer");
        let case = format!("{model}: {}", reply.text());
        assert_eq!(reply.status.as_u16(), status, "{case}");
        gateway.quiet().await;
        let entry = books::call(&gateway.store(), &reply.request_id());
        assert_eq!((&*entry.ending, &*entry.reason), (ending, reason), "{case}");
        match model {
            "sim-error-event" | "sim-reset" => {
                assert!(reply.last_event()["error"]["message"].is_string(), "{case}");
            }
            "sim-rogue" => {
                assert_eq!(streamed(&reply).2, "length", "{case}");
                assert!(entry.overrun > 0, "{case}");
            }
            "sim-429" => {
                assert_eq!(reply.json()["error"]["type"], "rate_limit_error", "{case}");
                assert!(reply.header("retry-after").is_some(), "{case}");
            }
            _ => {}
        }
    }
    let request = caller
        .hang_up(&ask("sim-slow").stream(), 2)
        .await
        .expect("an answer");
    gateway.quiet().await;
    let entry = books::call(&gateway.store(), &request.expect("an id"));
    assert_eq!(entry.ending, "settle", "read on to its usage: {entry:?}");
    books::compare(&sim.bill_by_request(), &books::calls(&gateway.store()));
    books::verify(&gateway.store());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_answers_trip_their_agent() {
    let (_sim, gateway) = scene(Settings::default(), ONE_DOLLAR).await;
    for (model, why) in [
        ("sim-bad-args", "break `required`"),
        ("sim-bad-tool", "is not declared"),
        ("sim-bad-json", "not the JSON"),
    ] {
        for stream in [false, true] {
            let agent = gateway.caller(&format!("{model}-{stream}")).agent("writer");
            let mut ask = ask(model);
            (ask.stream, ask.tools) = (stream, model != "sim-bad-json");
            ask.structured = model == "sim-bad-json";
            for _ in 0..3 {
                let reply = agent.call(&ask).await.expect("an answer");
                assert_eq!(reply.status, 200, "{}", reply.text());
            }
            let reply = agent.call(&ask).await.expect("an answer");
            let case = format!("{model} {stream}: {}", reply.text());
            assert_eq!(reply.status, 402, "{case}");
            assert!(
                case.contains("3 malformed answers") && case.contains(why),
                "{case}"
            );
        }
    }
}

/// A gateway in front of a provider that says these bytes.
async fn before(status: u16, kind: &'static str, body: Vec<u8>) -> (Provider, Gateway) {
    let body = Bytes::from(body);
    let provider = Provider::start(move |_| {
        let answer = Response::builder()
            .status(status)
            .header("content-type", kind);
        answer.body(body.clone()).expect("an answer")
    })
    .await;
    let token = format!("{KEYS}session_token = \"env:AWS_TOKEN\"\n");
    let setup = Setup::new(provider.addr)
        .limits(ONE_DOLLAR)
        .more(&bedrock(provider.addr, &token))
        .env("AWS_TOKEN", "lent/for=an+hour");
    (provider, Gateway::start(&with_keys(setup)).await)
}

const STREAM: &str = r#"
data: {"messageStart": {"role": "assistant"}}
data: {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": "Hello."}}}
data: {"contentBlockStop": {"contentBlockIndex": 0}}
data: {"messageStop": {"stopReason": "end_turn"}}
data: {"metadata": {"usage": {"inputTokens": 20, "outputTokens": 3, "totalTokens": 23}, "metrics": {"latencyMs": 5}}}
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_are_cut_or_corrupted_leave_the_hold_in_doubt() {
    let whole = framed(STREAM);
    let mut flipped = whole.clone();
    flipped[whole.len() - 30] ^= 1;
    let exception = [
        (":message-type", "exception"),
        (":exception-type", "throttlingException"),
    ];
    let mut thrown = framed(STREAM.split("data: {\"messageStop").next().unwrap());
    thrown.extend_from_slice(&frame(&exception, b"{\"message\":\"Too many tokens.\"}"));
    let unfinished = framed(STREAM.split("data: {\"messageStop").next().unwrap());
    for (name, bytes, ending, reason) in [
        ("whole", whole.clone(), "settle", ""),
        (
            "cut within a frame",
            whole[..whole.len() - 9].to_vec(),
            "unreconciled",
            "reset",
        ),
        ("a bit flipped", flipped, "unreconciled", "reset"),
        ("an exception", thrown, "unreconciled", "error_event"),
        ("no end", unfinished, "unreconciled", "cut_short"),
    ] {
        let (_provider, gateway) = before(200, FRAMES, bytes).await;
        let call = ask("sim-cheap").stream();
        let reply = gateway.caller("t").call(&call).await.expect("an answer");
        let case = format!("{name}: {}", reply.text());
        assert_eq!(reply.status, 200, "{case}");
        let kind = reply.header("content-type").unwrap_or_default();
        assert!(kind.starts_with("text/event-stream"), "{case}");
        assert_eq!(streamed(&reply).0, "Hello.", "{case}");
        let done = reply.text().contains("\"finish_reason\":\"stop\"");
        // What came whole before the bad bytes was passed on.
        assert_eq!(
            done,
            ["whole", "cut within a frame", "a bit flipped"].contains(&name),
            "{case}"
        );
        if name == "an exception" {
            assert_eq!(
                reply.last_event()["error"]["type"],
                "rate_limit_error",
                "{case}"
            );
        }
        gateway.quiet().await;
        let entry = books::call(&gateway.store(), &reply.request_id());
        assert_eq!((&*entry.ending, &*entry.reason), (ending, reason), "{case}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_leaves_is_a_signed_request_and_nothing_of_the_callers_own() {
    let answer = json!({"output": {"message": {"role": "assistant", "content": [{"text": "Hi."}]}},
        "stopReason": "end_turn", "usage": {"inputTokens": 9, "outputTokens": 2, "totalTokens": 11}});
    let (provider, gateway) =
        before(200, "application/json", answer.to_string().into_bytes()).await;
    let arn = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0";
    let caller = gateway
        .caller("t")
        .header("authorization", "Bearer sk-callers")
        .header("x-amz-security-token", "foreign")
        .header("anthropic-beta", "x")
        .header("openai-organization", "o");
    let reply = caller.call(&ask(arn)).await.expect("an answer");
    assert_eq!(reply.status, 200, "{}", reply.text());
    let seen = provider.last();
    let encoded = arn.replace(':', "%3A").replace('/', "%2F");
    assert_eq!(seen.path, format!("/model/{encoded}/converse"));
    assert_eq!(
        seen.header("x-amz-security-token"),
        Some("lent/for=an+hour")
    );
    assert_eq!(
        (
            seen.header("anthropic-beta"),
            seen.header("openai-organization")
        ),
        (None, None)
    );
    let signed = seen.header("authorization").expect("a signature");
    let AwsKey { id, secret } = AwsKey::default();
    assert!(
        signed.starts_with(&format!("AWS4-HMAC-SHA256 Credential={id}/")),
        "{signed}"
    );
    assert!(signed.contains("/us-east-1/bedrock/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, "), "{signed}");
    assert!(!signed.contains(&secret));
    let body = seen.json();
    assert_eq!(
        (&body["model"], &body["stream"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(body["inferenceConfig"]["maxTokens"], 300);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_tried_again_is_signed_again() {
    let answer = json!({"output": {"message": {"role": "assistant", "content": [{"text": "Hi."}]}},
        "stopReason": "end_turn", "usage": {"inputTokens": 9, "outputTokens": 2, "totalTokens": 11}});
    let tries = AtomicUsize::new(0);
    let provider = Provider::start(move |_| {
        let (status, body) = match tries.fetch_add(1, Ordering::SeqCst) {
            0 => (503, r#"{"message":"Too busy."}"#.to_owned()),
            _ => (200, answer.to_string()),
        };
        let made = Response::builder()
            .status(status)
            .header("content-type", "application/json");
        made.body(Bytes::from(body)).expect("an answer")
    })
    .await;
    let more = bedrock(
        provider.addr,
        &format!("{KEYS}retry = {{ max = 1, backoff = \"2100ms\" }}"),
    );
    let setup = Setup::new(provider.addr).limits(ONE_DOLLAR).more(&more);
    let gateway = Gateway::start(&with_keys(setup)).await;
    let reply = gateway
        .caller("t")
        .call(&ask("sim-cheap"))
        .await
        .expect("an answer");
    assert_eq!(reply.status, 200, "{}", reply.text());
    let signed: Vec<String> = provider
        .seen()
        .iter()
        .map(|seen| {
            seen.header("authorization")
                .expect("a signature")
                .to_owned()
        })
        .collect();
    assert_eq!(signed.len(), 2);
    assert_ne!(signed[0], signed[1], "at the second that it leaves");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_are_wrong_late_or_missing_are_told_and_cost_nothing() {
    let sim = Sim::start(Settings::default()).await.expect("a sim");
    let named = |name: &str, more: &str| {
        bedrock(sim.addr(), more).replace("name = \"bedrock\"", &format!("name = \"{name}\""))
    };
    let wrong = KEYS.replace("AWS_SECRET", "AWS_WRONG");
    let missing = KEYS.replace("AWS_SECRET", "AWS_NOWHERE");
    let setup = Setup::new(sim.addr())
        .limits(ONE_DOLLAR)
        .env("AWS_WRONG", "another")
        .env("AWS_BEARER", "bedrock-api-key-x")
        .more(&named("wrong", &wrong))
        .more(&named("missing", &missing))
        .more(&named("bearer", "api_key = \"env:AWS_BEARER\""));
    let gateway = Gateway::start(&with_keys(setup)).await;
    let call = |name: &str| {
        let ask = Ask::chat(&format!("{name}/sim-cheap"));
        let caller = gateway.caller("t");
        async move { caller.call(&ask).await.expect("an answer") }
    };
    let reply = call("wrong").await;
    assert_eq!(reply.status, 403, "{}", reply.text());
    assert_eq!(reply.json()["error"]["type"], "permission_error");
    assert!(reply.text().contains("signature"), "{}", reply.text());
    let reply = call("missing").await;
    assert!(reply.status.is_client_error() || reply.status.is_server_error());
    assert!(reply.text().contains("AWS_NOWHERE"), "{}", reply.text());
    let reply = call("bearer").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    gateway.quiet().await;
    let compared = books::compare(&sim.bill_by_request(), &books::calls(&gateway.store()));
    assert_eq!((compared.settled, compared.void), (1, 1));

    // A clock that is wrong: the service says so, and nothing was done.
    let late = br#"{"message":"Signature expired: 20260101T000000Z is now earlier than 20260101T001000Z"}"#;
    let (_provider, gateway) = before(403, "application/json", late.to_vec()).await;
    let reply = gateway
        .caller("t")
        .call(&ask("sim-cheap"))
        .await
        .expect("an answer");
    assert_eq!(reply.status, 403);
    assert!(
        reply.text().contains("Signature expired"),
        "{}",
        reply.text()
    );
    gateway.quiet().await;
    let entry = books::call(&gateway.store(), &reply.request_id());
    assert_eq!(entry.ending, "void");
}

#[test]
fn what_does_not_go_together_is_told_with_its_line() {
    let cases = [
        ("kind = \"bedrock\"", "`base_url`"),
        ("kind = \"bedrock\"\nregion = \"US East\"", "no region"),
        (
            "kind = \"bedrock\"\nregion = \"us-east-1\"\naccess_key_id = \"env:A\"",
            "`secret_access_key`",
        ),
        (
            "kind = \"bedrock\"\nbase_url = \"http://127.0.0.1:1\"\naccess_key_id = \"env:A\"\nsecret_access_key = \"env:B\"",
            "`region`",
        ),
        (
            "kind = \"bedrock\"\nregion = \"us-east-1\"\naccess_key_id = \"AKIA\"\nsecret_access_key = \"env:B\"",
            "a secret is never written here",
        ),
        (
            "kind = \"bedrock\"\nregion = \"us-east-1\"\napi_key = \"env:K\"\naccess_key_id = \"env:A\"\nsecret_access_key = \"env:B\"",
            "either calls are signed or",
        ),
        (
            "kind = \"openai\"\nregion = \"us-east-1\"",
            "only `kind = \"bedrock\"`",
        ),
        (
            "kind = \"bedrock\"\nregion = \"us-east-1\"\ndialects = [\"openai-chat\"]",
            "does not speak",
        ),
    ];
    let checked = |toml: &str| {
        let sim = SocketAddr::from(([127, 0, 0, 1], 1));
        let setup = Setup::new(sim).more(&format!("[[provider]]\nname = \"b\"\n{toml}\n"));
        let dir = setup.write();
        let mut check = Command::new(env!("CARGO_BIN_EXE_bursar"));
        check
            .args(["check", "--config"])
            .arg(dir.path().join("config/bursar.toml"));
        let output = check
            .env("A", "a")
            .env("B", "b")
            .env("K", "k")
            .output()
            .expect("it runs");
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&text).into_owned(),
        )
    };
    for (toml, told) in cases {
        let (is_good, text) = checked(toml);
        assert!(!is_good && text.contains(told), "{toml}: {text}");
        assert!(text.contains("bursar.toml:"), "{text}");
    }
    let (is_good, text) = checked(
        "kind = \"bedrock\"\nregion = \"eu-central-1\"\naccess_key_id = \"env:A\"\nsecret_access_key = \"env:B\"",
    );
    assert!(is_good, "{text}");
}
