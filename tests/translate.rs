//! Calls whose provider does not speak their caller's dialect: translated on the way out and back,
//! quoted and billed as what leaves.
#![allow(clippy::expect_used, reason = "a test may panic")]

#[path = "common/account.rs"]
mod account;
mod common;
#[path = "translate/google.rs"]
mod google;

use bursar::sim::{Settings, Sim};
use common::books;
use common::calls::{Ask, Dialect, Http, Reply};
use common::fake::{self, Fake, Then};
use common::gateway::Gateway;
use common::setup::Setup;
use serde_json::{Value, json};

/// A server that speaks chat alone, at the same place as the others.
fn chat_only(addr: std::net::SocketAddr, more: &str) -> String {
    format!(
        "[[provider]]\nname = \"plain\"\nkind = \"openai\"\nbase_url = \"http://{addr}/v1\"\n\
         models = [\"plain-*\"]\ndialects = [\"openai-chat\"]\nforward_attribution = true\n{more}\n"
    )
}

async fn scene(setup: impl FnOnce(Setup) -> Setup) -> (Sim, Gateway) {
    let sim = Sim::start(Settings::default())
        .await
        .expect("a simulated provider");
    let more = chat_only(sim.addr(), "") + &google::providers(sim.addr());
    let account = google::account("agents", sim.addr());
    let base = Setup::new(sim.addr()).more(&more);
    let setup = setup(
        base.env("SERVICE_ACCOUNT", &account)
            .env("GOOGLE_KEY", "g-key"),
    );
    let gateway = Gateway::start(&setup).await;
    (sim, gateway)
}

/// Each caller, the provider that it is translated for, and that provider's dialect.
const WAYS: [(Dialect, &str, &str); 5] = [
    (Dialect::Chat, "sim-anthropic", "anthropic-messages"),
    (Dialect::Chat, "google", "gemini"),
    (Dialect::Chat, "vertex", "gemini"),
    (Dialect::Messages, "sim", "openai-chat"),
    (Dialect::Responses, "plain", "openai-chat"),
];

fn ask(dialect: Dialect, model: &str) -> Ask {
    let mut ask = Ask::chat(model).dialect(dialect);
    if dialect != Dialect::Responses {
        ask.system = Some("You are a librarian.".to_owned());
    }
    ask
}

/// What the answer says in its caller's dialect: its text, its tool calls, and its tokens.
fn said(dialect: Dialect, body: &Value) -> (String, Vec<(String, Value)>, (u64, u64)) {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let parsed = |value: &Value| serde_json::from_str(&text(value)).expect("arguments");
    let usage = |input: &str, output: &str| {
        let count = |name: &str| body["usage"][name].as_u64().expect("a count");
        (count(input), count(output))
    };
    match dialect {
        Dialect::Chat => {
            let message = &body["choices"][0]["message"];
            let calls = list(&message["tool_calls"]);
            let calls = calls.iter().map(|call| {
                let function = &call["function"];
                (text(&function["name"]), parsed(&function["arguments"]))
            });
            let tokens = usage("prompt_tokens", "completion_tokens");
            (text(&message["content"]), calls.collect(), tokens)
        }
        Dialect::Messages => {
            let blocks = list(&body["content"]);
            let words = blocks.iter().map(|block| text(&block["text"]));
            let calls = blocks.iter().filter(|block| block["type"] == "tool_use");
            let calls = calls.map(|call| (text(&call["name"]), call["input"].clone()));
            (
                words.collect(),
                calls.collect(),
                usage("input_tokens", "output_tokens"),
            )
        }
        _ => {
            let items = list(&body["output"]);
            let words = items.iter().map(|item| text(&item["content"][0]["text"]));
            let calls = items.iter().filter(|item| item["type"] == "function_call");
            let calls = calls.map(|call| (text(&call["name"]), parsed(&call["arguments"])));
            (
                words.collect(),
                calls.collect(),
                usage("input_tokens", "output_tokens"),
            )
        }
    }
}

/// The same of a stream, put together as the caller's SDK does.
fn streamed(dialect: Dialect, reply: &Reply) -> (String, Vec<(String, Value)>, (u64, u64)) {
    let events: Vec<Value> = reply
        .events()
        .iter()
        .filter(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str(data).expect("JSON"))
        .collect();
    if dialect == Dialect::Responses {
        let last = events.last().expect("an event");
        assert_eq!(last["type"], "response.completed");
        let mut text = String::new();
        for event in &events {
            if event["type"] == "response.output_text.delta" {
                text.push_str(event["delta"].as_str().expect("a delta"));
            }
        }
        let whole = said(dialect, &last["response"]);
        assert_eq!(text, whole.0, "the pieces make up the whole");
        return whole;
    }
    let (mut text, mut calls) = (String::new(), Vec::<(String, String)>::new());
    let mut tokens = (0, 0);
    for event in &events {
        let (said, begun, more) = match dialect {
            Dialect::Chat => {
                let delta = &event["choices"][0]["delta"];
                let call = &delta["tool_calls"][0]["function"];
                if let Some(usage) = event["usage"].as_object() {
                    let count = |name: &str| usage[name].as_u64().expect("a count");
                    tokens = (count("prompt_tokens"), count("completion_tokens"));
                }
                (&delta["content"], &call["name"], &call["arguments"])
            }
            _ => {
                let delta = &event["delta"];
                if event["type"] == "message_delta" {
                    let count = |name: &str| event["usage"][name].as_u64().expect("a count");
                    tokens = (count("input_tokens"), count("output_tokens"));
                }
                (
                    &delta["text"],
                    &event["content_block"]["name"],
                    &delta["partial_json"],
                )
            }
        };
        text.push_str(said.as_str().unwrap_or_default());
        if let Some(name) = begun.as_str() {
            calls.push((name.to_owned(), String::new()));
        }
        if let (Some(more), Some((_, arguments))) = (more.as_str(), calls.last_mut()) {
            arguments.push_str(more);
        }
    }
    let calls = calls
        .into_iter()
        .map(|(name, json)| (name, serde_json::from_str(&json).expect("arguments")));
    (text, calls.collect(), tokens)
}

fn is_whole(dialect: Dialect, reply: &Reply) -> bool {
    let text = reply.text();
    match dialect {
        Dialect::Chat => text.ends_with("data: [DONE]\n\n"),
        Dialect::Messages => text.ends_with("{\"type\":\"message_stop\"}\n\n"),
        _ => text.contains("event: response.completed\n"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_pair_carries_text_tools_images_and_forms_and_the_books_agree() {
    let (sim, gateway) = scene(|setup| setup).await;
    let caller = gateway.caller("t").agent("a");
    let mut calls = 0;
    for (dialect, provider, target) in WAYS {
        for stream in [false, true] {
            for kind in ["text", "tools", "image", "form"] {
                let model = match kind {
                    "tools" => format!("{provider}/sim-tools"),
                    _ => format!("{provider}/sim-cheap"),
                };
                let mut ask = ask(dialect, &model);
                ask.text = format!("{dialect:?} {stream} {kind}");
                ask.stream = stream;
                ask.tools = kind == "tools";
                ask.image = kind == "image";
                ask.structured = kind == "form";
                let reply = caller.call(&ask).await.expect("an answer");
                let what = format!("{dialect:?} {stream} {kind}: {}", reply.text());
                assert_eq!(reply.status, 200, "{what}");
                assert_eq!(
                    reply.header("x-bursar-translated").as_deref(),
                    Some(target),
                    "{what}"
                );
                let (text, tools, tokens) = if stream && dialect == Dialect::Chat {
                    // Usage goes only to those who asked for it.
                    assert!(!reply.text().contains("usage"), "{what}");
                    let (text, tools, _) = streamed(dialect, &reply);
                    (text, tools, (1, 1))
                } else if stream {
                    streamed(dialect, &reply)
                } else {
                    assert!(reply.cost().is_some(), "{what}");
                    said(dialect, &reply.json())
                };
                assert!(!stream || is_whole(dialect, &reply), "{what}");
                assert!(tokens.0 > 0 && tokens.1 > 0, "{what}");
                match kind {
                    "tools" => assert!(!tools.is_empty(), "{what}"),
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
    let metrics = gateway.quiet().await;
    let entries = books::calls(&gateway.store());
    let compared = books::compare(&sim.bill_by_request(), &entries);
    assert_eq!(compared.settled, calls);
    for (dialect, from, expected) in [
        ("openai-chat", "anthropic-messages", 8.0),
        ("openai-chat", "gemini", 16.0),
        ("anthropic-messages", "openai-chat", 8.0),
        ("openai-responses", "openai-chat", 8.0),
    ] {
        let name = "bursar_translated_calls_total";
        let labels = format!("dialect=\"{dialect}\",target=\"{from}\"");
        let counted = metrics.get(&format!("{name}{{{labels}}}"));
        assert!((counted - expected).abs() < 0.1, "{dialect}: {counted}");
    }
    books::verify(&gateway.store());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_with_tools_goes_on_in_every_pair() {
    let (sim, gateway) = scene(|setup| setup).await;
    for (dialect, provider, _) in WAYS {
        let caller = gateway.caller(&format!("t-{dialect:?}-{provider}"));
        let mut ask = ask(dialect, &format!("{provider}/sim-tools"));
        ask.tools = true;
        for turn in 0..3 {
            let reply = caller.call(&ask).await.expect("an answer");
            assert_eq!(reply.status, 200, "{dialect:?} {turn}: {}", reply.text());
            let (_, tools, _) = said(dialect, &reply.json());
            assert!(!tools.is_empty());
            ask.history = ask.answered(&reply);
            ask.text = format!("And now {turn}?");
        }
    }
    gateway.quiet().await;
    books::compare(&sim.bill_by_request(), &books::calls(&gateway.store()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_name_of_a_model_leads_to_its_own_dialect_first() {
    let (_sim, gateway) = scene(|setup| setup).await;
    let caller = gateway.caller("t");
    for dialect in [Dialect::Chat, Dialect::Messages, Dialect::Responses] {
        let reply = caller
            .call(&ask(dialect, "sim-cheap"))
            .await
            .expect("an answer");
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("x-bursar-translated"), None, "{dialect:?}");
    }
    // Nobody who speaks Messages has this one.
    let reply = caller
        .call(&ask(Dialect::Messages, "plain-sim"))
        .await
        .expect("an answer");
    assert_eq!(reply.status, 200, "{}", reply.text());
    let target = reply.header("x-bursar-translated");
    assert_eq!(target.as_deref(), Some("openai-chat"));
    let reply = caller
        .call(&ask(Dialect::Completions, "plain-sim"))
        .await
        .expect("an answer");
    assert_eq!(reply.status, 404, "completions have no translation");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_hold_for_what_leaves_and_refuse_in_the_callers_dialect() {
    let limits = "[[limit]]\nname = \"task\"\nper = [\"task\"]\nturns = 1\nusd = \"0.05\"\n";
    let (sim, gateway) = scene(|setup| setup.limits(limits)).await;
    for (dialect, provider, _) in WAYS {
        let caller = gateway.caller(&format!("t-{dialect:?}-{provider}"));
        let mut first = ask(dialect, &format!("{provider}/sim-strong"));
        if dialect != Dialect::Messages {
            first.max_tokens = None;
        } else {
            first.max_tokens = Some(100_000);
        }
        let reply = caller.call(&first).await.expect("an answer");
        assert_eq!(reply.status, 200, "{dialect:?}: {}", reply.text());
        let told = reply.header("x-bursar-output-cap").expect("it was clamped");
        assert!(told.parse::<u64>().expect("a number") < 3_000, "{told}");
        let reply = caller.call(&first).await.expect("an answer");
        assert_eq!(reply.status, 402, "{dialect:?}");
        let body = reply.json();
        assert_eq!(body["error"]["code"], "turns_exceeded");
        let is_anthropics = body["type"] == "error";
        assert_eq!(is_anthropics, dialect == Dialect::Messages);
    }
    gateway.quiet().await;
    assert_eq!(sim.bill().calls, WAYS.len() as u64);
    books::compare(&sim.bill_by_request(), &books::calls(&gateway.store()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unnamed_output_cap_is_told_to_a_target_that_needs_one() {
    let (_sim, gateway) = scene(|setup| setup).await;
    let open = ask(Dialect::Chat, "sim-anthropic/sim-cheap").max_tokens(None);
    let reply = gateway.caller("t").call(&open).await.expect("an answer");
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("x-bursar-output-cap").as_deref(), Some("8192"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_of_a_provider_come_in_the_callers_dialect() {
    let (sim, gateway) = scene(|setup| setup).await;
    for (dialect, provider, _) in WAYS {
        let caller = gateway.caller(&format!("t-{dialect:?}-{provider}"));
        for (model, status, openai, anthropic) in [
            (
                "sim-400",
                400,
                "invalid_request_error",
                "invalid_request_error",
            ),
            ("sim-429", 429, "rate_limit_error", "rate_limit_error"),
            ("sim-500", 500, "server_error", "api_error"),
            ("sim-529", 529, "server_error", "overloaded_error"),
        ] {
            let reply = caller
                .call(&ask(dialect, &format!("{provider}/{model}")))
                .await
                .expect("an answer");
            let body = reply.json();
            let (expected, kind) = match dialect {
                Dialect::Messages => (status, anthropic),
                _ if status == 529 => (503, openai),
                _ => (status, openai),
            };
            assert_eq!(reply.status, expected, "{dialect:?} {model}: {body}");
            assert_eq!(body["error"]["type"], kind, "{dialect:?} {model}: {body}");
            assert!(body["error"]["message"].is_string());
            assert_eq!(body["type"] == "error", dialect == Dialect::Messages);
        }
    }
    gateway.quiet().await;
    let compared = books::compare(&sim.bill_by_request(), &books::calls(&gateway.store()));
    assert_eq!((compared.void, compared.settled), (4 * WAYS.len(), 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_end_badly_end_in_the_callers_dialect() {
    let (sim, gateway) = scene(|setup| setup).await;
    for (dialect, provider, _) in WAYS {
        let caller = gateway.caller(&format!("t-{dialect:?}-{provider}"));
        for model in ["sim-error-event", "sim-reset"] {
            let ask = ask(dialect, &format!("{provider}/{model}")).stream();
            let reply = caller.call(&ask).await.expect("an answer");
            let last = reply.last_event();
            let error = match dialect {
                Dialect::Responses => &last["response"]["error"],
                _ => &last["error"],
            };
            assert!(error["message"].is_string(), "{dialect:?} {model}: {last}");
            assert!(!is_whole(dialect, &reply) || dialect == Dialect::Chat);
        }
        // Three times what it was told.
        let ask = ask(dialect, &format!("{provider}/sim-rogue")).stream();
        let reply = caller.call(&ask).await.expect("an answer");
        let text = reply.text();
        let word = match dialect {
            Dialect::Chat => "\"finish_reason\":\"length\"",
            Dialect::Messages => "\"stop_reason\":\"max_tokens\"",
            _ => "\"reason\":\"max_output_tokens\"",
        };
        assert!(text.contains(word), "{dialect:?}: {text}");
    }
    gateway.quiet().await;
    let entries = books::calls(&gateway.store());
    let in_doubt = entries
        .iter()
        .filter(|entry| entry.ending == "unreconciled");
    assert_eq!(in_doubt.count(), 2 * WAYS.len());
    let overrun = entries.iter().filter(|entry| entry.overrun > 0);
    assert_eq!(overrun.count(), WAYS.len(), "{entries:?}");
    books::compare(&sim.bill_by_request(), &entries);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_carried_is_refused_or_left_out_by_name() {
    let (sim, gateway) = scene(|setup| setup).await;
    let http = common::calls::Http::new();
    let post = |gateway: &Gateway, path: &str, body: Value| {
        let url = format!("{}{path}", gateway.agents);
        let http = http.clone();
        async move { http.post(&url, &body).await.expect("an answer") }
    };
    let hello = json!([{"role": "user", "content": "hi"}]);
    let seeded = json!({"model": "sim-anthropic/sim-cheap", "seed": 4, "messages": hello});
    let reply = post(&gateway, "/v1/chat/completions", seeded.clone()).await;
    assert_eq!(reply.status, 400);
    assert_eq!(reply.json()["error"]["code"], "invalid_request");
    let message = reply.json()["error"]["message"].to_string();
    assert!(message.contains("`seed` cannot be carried"), "{message}");
    let topped = json!({"model": "sim/sim-cheap", "max_tokens": 9, "top_k": 4, "messages": hello});
    let reply = post(&gateway, "/v1/messages", topped).await;
    assert_eq!(reply.status, 400);
    assert_eq!(reply.json()["error"]["type"], "invalid_request_error");
    let stored =
        json!({"model": "plain/sim-cheap", "input": "hi", "previous_response_id": "resp_1"});
    let reply = post(&gateway, "/v1/responses", stored).await;
    assert_eq!(reply.status, 400);
    assert!(reply.text().contains("previous_response_id"));
    assert_eq!(sim.bill().calls, 0, "nothing of it left");

    let (sim, gateway) = scene(|setup| setup.provider("drop = [\"seed\", \"logprobs\"]")).await;
    let reply = post(&gateway, "/v1/chat/completions", seeded).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("x-bursar-dropped").as_deref(), Some("seed"));
    let marked = json!({"model": "sim/sim-cheap", "max_tokens": 9, "messages": hello,
        "system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]});
    let reply = post(&gateway, "/v1/messages", marked).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let dropped = reply.header("x-bursar-dropped");
    assert_eq!(dropped.as_deref(), Some("cache_control"));
    assert_eq!(sim.bill().calls, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_provider_hears_a_client_of_its_own_dialect() {
    let (_sim, gateway) = scene(|setup| setup).await;
    let caller = gateway
        .caller("t")
        .header("anthropic-beta", "context-1m")
        .header("anthropic-version", "2023-06-01");
    let reply = caller
        .call(&ask(Dialect::Messages, "sim/sim-echo").max_tokens(Some(4_000)))
        .await
        .expect("an answer");
    let (heard, _, _) = said(Dialect::Messages, &reply.json());
    assert!(!heard.contains("anthropic-"), "{heard}");
    let caller = gateway.caller("t").header("openai-organization", "o");
    let reply = caller
        .call(&ask(Dialect::Chat, "sim-anthropic/sim-echo").max_tokens(Some(4_000)))
        .await
        .expect("an answer");
    let (heard, _, _) = said(Dialect::Chat, &reply.json());
    assert!(heard.contains("anthropic-version"), "{heard}");
    assert!(!heard.contains("openai-organization"), "{heard}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_none_of_its_dialect_is_an_error_and_in_doubt() {
    let fake = Fake::start(fake::json("{\"object\":\"list\"}"), Then::Close).await;
    let more = chat_only(fake.addr, "") + &google::providers(fake.addr);
    let account = google::account("agents", fake.addr);
    let setup = Setup::new(fake.addr).more(&more);
    let setup = setup
        .env("SERVICE_ACCOUNT", &account)
        .env("GOOGLE_KEY", "k");
    let gateway = Gateway::start(&setup).await;
    // Vertex would have no token.
    for (dialect, provider, _) in WAYS.into_iter().filter(|(_, name, _)| *name != "vertex") {
        let caller = gateway.caller("t");
        let reply = caller
            .call(&ask(dialect, &format!("{provider}/sim-cheap")))
            .await
            .expect("an answer");
        assert_eq!(reply.status, 502, "{dialect:?}: {}", reply.text());
        assert_eq!(reply.json()["error"]["code"], "upstream_error");
    }
    gateway.quiet().await;
    let entries = books::calls(&gateway.store());
    assert!(entries.iter().all(|entry| entry.ending == "unreconciled"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_count_of_tokens_is_an_estimate_where_the_call_is_translated() {
    let (sim, gateway) = scene(|setup| setup).await;
    let http = Http::new();
    let url = format!("{}/v1/messages/count_tokens", gateway.agents);
    let count = async |model: &str, more: Value| {
        let words = "A purse holds what is left. ".repeat(40);
        let mut body = json!({"model": model, "system": "You are a librarian.",
            "messages": [{"role": "user", "content": words}]});
        let members = more.as_object().expect("members").clone();
        body.as_object_mut().expect("members").extend(members);
        http.post(&url, &body).await.expect("an answer")
    };
    let own = count("sim-anthropic/sim-plain", json!({})).await;
    assert_eq!(own.header("x-bursar-estimated"), None);
    let estimate = count("sim/sim-plain", json!({})).await;
    assert_eq!(estimate.status, 200, "{}", estimate.text());
    let header = |name: &str| estimate.header(name);
    assert_eq!(
        header("x-bursar-estimated").as_deref(),
        Some("input_tokens")
    );
    assert_eq!(
        header("x-bursar-translated").as_deref(),
        Some("openai-chat")
    );
    assert_eq!(header("x-bursar-output-cap"), None);
    let tokens = estimate.json()["input_tokens"].as_u64().expect("a count");
    assert!((200..500).contains(&tokens), "{tokens}");
    // What the call would be refused for.
    let refused = count("sim/sim-plain", json!({"top_k": 5})).await;
    assert_eq!(refused.refusal().as_deref(), Some("invalid_request"));
    assert!(refused.text().contains("`top_k` cannot be carried"));
    assert_eq!(sim.bill().calls, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_twice_in_one_object_is_refused_by_name() {
    let (sim, gateway) = scene(|setup| setup).await;
    let http = Http::new();
    let url = format!("{}/v1/chat/completions", gateway.agents);
    let send = async |model: &str| {
        let body = format!(
            r#"{{"model":"{model}","messages":[{{"role":"user","content":[{{"type":"text","text":"Hello.","x":1,"x":2}}]}}]}}"#
        );
        let request = http::Request::post(&url)
            .header("content-type", "application/json")
            .body(bytes::Bytes::from(body).into());
        let answer = http.send(request.expect("a request")).await;
        Reply::read(answer.expect("an answer"))
            .await
            .expect("a body")
    };
    let refused = send("sim-anthropic/sim-plain").await;
    assert_eq!(refused.status, 400);
    assert_eq!(refused.refusal().as_deref(), Some("invalid_request"));
    assert!(
        refused.text().contains("`x` stands twice"),
        "{}",
        refused.text()
    );
    // As it came, it is the provider's to say.
    let passed = send("sim/sim-plain").await;
    assert_eq!(passed.status, 200, "{}", passed.text());
    gateway.quiet().await;
    assert_eq!(sim.bill().calls, 1);
}
