//! What passes: bytes that nothing must change leave as they came, and answers come back as they
//! were given; what must be changed is changed alone.

use crate::common::setup::Setup;
use crate::rig::{
    CHAT, HIGH_LIMITS, Provider, Seen, Shape, World, answer, assert_refused, chat, chat_answer,
};
use bursar::sim::{Settings, Sim};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{Method, Response};
use serde_json::{Value, json};
use std::io::Write as _;

/// An answer in the dialect that was asked in.
fn any_answer(seen: &Seen) -> Response<Bytes> {
    let path = seen.path.split('?').next().unwrap_or_default();
    let body = match path.rsplit('/').next().unwrap_or_default() {
        "messages" => {
            json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "sim-a",
            "content": [{"type": "text", "text": "Hello."}], "stop_reason": "end_turn",
            "usage": {"input_tokens": 12, "output_tokens": 3}})
        }
        "responses" => json!({"id": "resp_1", "object": "response", "status": "completed",
            "model": "sim-a", "output": [{"type": "message", "role": "assistant",
            "content": [{"type": "output_text", "text": "Hello.", "annotations": []}]}],
            "usage": {"input_tokens": 12, "output_tokens": 3, "total_tokens": 15}}),
        "embeddings" => json!({"object": "list", "model": "sim-a",
            "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
            "usage": {"prompt_tokens": 12, "total_tokens": 12}}),
        "count_tokens" => json!({"input_tokens": 12}),
        "models" => json!({"object": "list", "data": [{"id": "sim-a"}]}),
        _ => {
            let mut answer = chat_answer(12, 3);
            if path.ends_with("/v1/completions") {
                answer["choices"] =
                    json!([{"index": 0, "text": "Hello.", "finish_reason": "stop"}]);
            }
            answer
        }
    };
    answer(200, &body)
}

/// A gateway before a provider that records.
async fn recorded(provider: &Provider, setup: impl FnOnce(Setup) -> Setup) -> World {
    let sim = Sim::start(Settings::default()).await.expect("a sim");
    World::around(sim, setup(Setup::new(provider.addr)).write()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nothing_must_change_passes_byte_for_byte() {
    let provider = Provider::start(any_answer).await;
    let world = recorded(&provider, |setup| {
        let openai = format!(
            "[[provider]]\nname = \"openai\"\nkind = \"openai\"\nbase_url = \"http://{}/v1\"\n",
            provider.addr
        );
        setup.limits(HIGH_LIMITS).more(&openai)
    })
    .await;
    let odd = r#""stop" :null,
  "x_unknown":{"a" : [1.0, -0, 1E400, 12345678901234567890123, true, null , {"b":"\u0041\ud83d\ude00\/"}]},"user":null, "tail":"caf\u00e9 – naïve 👋""#;
    let message = r#"[ {"role":"user","content":"Hello.","name":null,"x":[]} ]"#;
    let bodies = [
        (
            CHAT,
            format!(
                "{{ \"model\" : \"sim-a\" ,\"messages\":{message},\n{odd},\"max_tokens\":7 }} \r\n"
            ),
        ),
        (
            CHAT,
            format!(
                "{{\"stream_options\":null,\"messages\":{message},\"stream\":false,{odd},\"max_completion_tokens\":7,\"model\":\"gpt\\u002d4o\",\"metadata\":{{\"user_task_id\":\"t\",\"z\":\"1\"}}}}"
            ),
        ),
        (
            "/v1/messages",
            format!(
                "{{\"max_tokens\":7,{odd},\"messages\":{message},\"model\":\"sim-a\",\"metadata\":{{\"user_id\":\"u\"}}}}"
            ),
        ),
        (
            "/v1/messages/count_tokens",
            format!("{{{odd},\"messages\":{message},\"model\":\"sim-a\"}}"),
        ),
        (
            "/v1/responses",
            format!("{{\"model\":\"sim-a\",\"input\":{message},{odd},\"max_output_tokens\":17}}"),
        ),
        (
            "/v1/completions",
            format!("{{\"prompt\":\"x\",{odd},\"max_tokens\":7,\"model\":\"sim-a\"}}"),
        ),
        (
            "/v1/embeddings",
            format!("{{\"input\":[\"x\",\"y\"],{odd},\"model\":\"sim-a\"}}"),
        ),
    ];
    let query = "?beta=true&x=%20a%2Fb&empty=&flag";
    for (n, (path, body)) in bodies.into_iter().enumerate() {
        // Another call, another key.
        let key = format!("k-{n}");
        let reply = world
            .post_bytes(&format!("{path}{query}"), body.clone())
            .headers([
                ("anthropic-beta", "odd-2030-01-01,even"),
                ("anthropic-version", "2023-06-01"),
                ("openai-organization", "org-1"),
                ("idempotency-key", key.as_str()),
                ("x-stainless-retry-count", "0"),
                ("x-vendor", "a"),
                ("x-vendor", "b"),
                ("user-agent", "crew/1.0"),
                ("accept", "application/json, text/event-stream"),
            ])
            .send()
            .await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        let seen = provider.last();
        assert_eq!(
            seen.body,
            body,
            "{path}: {}",
            String::from_utf8_lossy(&seen.body)
        );
        assert_eq!(
            (seen.path, &seen.method),
            (format!("{path}{query}"), &Method::POST)
        );
        assert_eq!(seen.headers.get_all("x-vendor").iter().count(), 2);
        for (name, value) in [
            ("anthropic-beta", "odd-2030-01-01,even"),
            ("openai-organization", "org-1"),
            ("idempotency-key", key.as_str()),
            ("x-stainless-retry-count", "0"),
            ("user-agent", "crew/1.0"),
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
            ("accept-encoding", "identity"),
        ] {
            let came = seen.headers.get(name).map(http::HeaderValue::as_bytes);
            assert_eq!(came, Some(value.as_bytes()), "{path}: {name}");
        }
        let length = seen
            .headers
            .get("content-length")
            .and_then(|length| length.to_str().ok());
        assert_eq!(length, Some(body.len().to_string().as_str()), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_must_change_is_changed() {
    let provider = Provider::start(any_answer).await;
    let world = recorded(&provider, |setup| {
        setup.more(&format!(
            "[[provider]]\nname = \"near\"\nkind = \"openai\"\nbase_url = \"http://{}/v1\"\n",
            provider.addr
        ))
    })
    .await;
    let cases = [
        // A provider's name goes; the model keeps its slashes.
        (
            CHAT,
            r#"{"model":"near/a/b","messages":[], "x": 1}"#,
            r#"{"model":"a/b","messages":[], "x": 1}"#,
        ),
        (
            CHAT,
            r#"{"model":"meta-llama/x","messages":[], "x": 1}"#,
            r#"{"model":"meta-llama/x","messages":[], "x": 1}"#,
        ),
        // Ids of ours in a field that the target would refuse.
        (
            "/v1/messages",
            r#"{"model":"sim-a","max_tokens":5,"messages":[],"metadata":{"user_task_id":"t", "user_id":"u","agent_id":"a"},"x":null}"#,
            r#"{"model":"sim-a","max_tokens":5,"messages":[],"metadata":{"user_id":"u"},"x":null}"#,
        ),
        (
            "/v1/embeddings",
            r#"{"model":"sim-a","input":"x","metadata":{"user_task_id":"t"},"y":1}"#,
            r#"{"model":"sim-a","input":"x","y":1}"#,
        ),
        // Usage is asked for where the caller did not, and the rest stays.
        (
            CHAT,
            r#"{"model":"sim-a","messages":[],"stream":true,"z":0}"#,
            r#"{"stream_options":{"include_usage":true},"model":"sim-a","messages":[],"stream":true,"z":0}"#,
        ),
        (
            CHAT,
            r#"{"model":"sim-a","stream_options":{"x":1},"messages":[],"stream":true}"#,
            r#"{"model":"sim-a","stream_options":{"include_usage":true,"x":1},"messages":[],"stream":true}"#,
        ),
        (
            CHAT,
            r#"{"model":"sim-a","stream_options":{"include_usage":true},"messages":[],"stream":true}"#,
            r#"{"model":"sim-a","stream_options":{"include_usage":true},"messages":[],"stream":true}"#,
        ),
        (
            "/v1/responses",
            r#"{"model":"sim-a","input":"x","stream":true}"#,
            r#"{"model":"sim-a","input":"x","stream":true}"#,
        ),
    ];
    for (path, body, expected) in cases {
        world.post_bytes(path, body).send().await;
        let seen = provider.last();
        assert_eq!(String::from_utf8_lossy(&seen.body), expected);
    }
}

const USAGE_CHUNK: &str = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":3,\"total_tokens\":15}}\n\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_that_we_asked_for_is_not_passed_on() {
    let first = ": a comment\r\n\r\nevent: x\ndata: {\"id\":\"c\",\"object\":\"chat.completion.chunk\", \"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hé\"},\"finish_reason\":null}],\"usage\":null}\n\ndata:{\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"x\":1}\n\n";
    let last = "data: [DONE]\n\n";
    let whole = format!("{first}{USAGE_CHUNK}{last}");
    let provider = {
        let whole = whole.clone();
        Provider::start(move |_| {
            let answer = Response::builder()
                .header("content-type", "text/event-stream; charset=utf-8")
                .header("x-request-id", "r-1");
            answer.body(whole.clone().into()).expect("an answer")
        })
        .await
    };
    let world = recorded(&provider, |setup| setup.limits(HIGH_LIMITS)).await;
    let mut body = chat("sim-a");
    body["stream"] = json!(true);
    let quiet = world.post(CHAT, &body).send().await;
    assert_eq!(quiet.text(), format!("{first}{last}"), "all but the usage");
    assert_eq!(quiet.header("x-request-id").as_deref(), Some("r-1"));
    assert_eq!(
        quiet.header("content-type").as_deref(),
        Some("text/event-stream; charset=utf-8")
    );
    body["stream_options"] = json!({"include_usage": true});
    let asked = world.post(CHAT, &body).send().await;
    assert_eq!(asked.text(), whole, "all of it");
    // Both were metered.
    let journal = world.journal(2).await;
    for entry in journal {
        assert_eq!(
            (
                entry.ending.as_str(),
                entry.charged[bursar::units::Meter::Tokens]
            ),
            ("settle", 15)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_output_cap_is_told_in_the_field_that_is_heard() {
    let provider = Provider::start(any_answer).await;
    let world = recorded(&provider, |setup| {
        let addr = provider.addr;
        setup
            .limits("[[limit]]\nname = \"ceiling\"\nper = [\"task\"]\nusd = \"0.02\"\n")
            .more(&format!(
                "[[provider]]\nname = \"openai\"\nkind = \"openai\"\nbase_url = \"http://{addr}/v1\"\n\
                 [[provider]]\nname = \"anthropic\"\nkind = \"anthropic\"\nbase_url = \"http://{addr}\"\n\
                 [[provider]]\nname = \"vllm\"\nkind = \"openai\"\nbase_url = \"http://{addr}/v1\"\n\
                 output_cap_field = \"max_tokens\"\nceiling = {{ input = \"1\", output = \"20\" }}\n",
            ))
    })
    .await;
    let messages = json!([{"role": "user", "content": "x"}]);
    let chat = |model: &str, more: Value| {
        let mut body = json!({"model": model, "messages": messages.clone()});
        body.as_object_mut()
            .expect("a body")
            .extend(more.as_object().cloned().unwrap_or_default());
        body
    };
    let all = ["max_tokens", "max_completion_tokens", "max_output_tokens"];
    let cases: [(&str, Value, &[&str]); 11] = [
        (CHAT, chat("o3", json!({})), &["max_completion_tokens"]),
        (CHAT, chat("gpt-5", json!({})), &["max_completion_tokens"]),
        (
            CHAT,
            chat("gpt-5-mini", json!({"max_completion_tokens": 100_000})),
            &["max_completion_tokens"],
        ),
        (
            CHAT,
            chat("gpt-4o", json!({"max_completion_tokens": null})),
            &["max_tokens"],
        ),
        (
            CHAT,
            chat("gpt-4o", json!({"max_tokens": 16_000})),
            &["max_tokens"],
        ),
        (
            CHAT,
            chat(
                "gpt-4o",
                json!({"max_tokens": 16_000, "max_completion_tokens": 15_000}),
            ),
            &["max_tokens", "max_completion_tokens"],
        ),
        (CHAT, chat("vllm/some/model", json!({})), &["max_tokens"]),
        (
            CHAT,
            chat("vllm/some/model", json!({"max_completion_tokens": 50_000})),
            &["max_tokens", "max_completion_tokens"],
        ),
        (
            "/v1/messages",
            chat("claude-sonnet-4-5", json!({"max_tokens": 60_000})),
            &["max_tokens"],
        ),
        (
            "/v1/responses",
            json!({"model": "gpt-5", "input": "x"}),
            &["max_output_tokens"],
        ),
        (
            "/v1/completions",
            json!({"model": "sim-strong", "prompt": "x", "max_tokens": 90_000}),
            &["max_tokens"],
        ),
    ];
    for (number, (path, body, fields)) in cases.into_iter().enumerate() {
        let reply = world
            .post(path, &body)
            .header("x-bursar-task-id", &format!("t-{number}"))
            .send()
            .await;
        assert_eq!(reply.status, 200, "{body}: {}", reply.text());
        let told = reply
            .header("x-bursar-output-cap")
            .unwrap_or_else(|| panic!("{body}: no cap"));
        let told: u64 = told.parse().expect("tokens");
        assert!((256..16_000).contains(&told), "{body}: {told}");
        let left = provider.last().json();
        for field in all {
            match fields.contains(&field) {
                true => assert_eq!(left[field], told, "{body}: {left}"),
                false => assert!(left[field].is_null(), "{body}: {left}"),
            }
        }
    }
    // What fits is told by nobody but the caller.
    let body = chat("gpt-4o", json!({"max_tokens": 300}));
    let call = world.post(CHAT, &body).header("x-bursar-task-id", "fits");
    let reply = call.send().await;
    assert_eq!(
        (reply.status.as_u16(), reply.header("x-bursar-output-cap")),
        (200, None)
    );
    assert_eq!(provider.last().body, body.to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn azures_clients_name_the_model_in_the_path() {
    let provider = Provider::start(any_answer).await;
    let world = recorded(&provider, |setup| {
        setup.limits(HIGH_LIMITS).identity("crew", "house")
    })
    .await;
    let key = crate::common::setup::key_of("crew");
    let call = |path: &str, body: &str| {
        world
            .post_bytes(path, body.to_owned())
            .header("api-key", &key)
    };
    let cases = [
        (
            "chat/completions",
            r#"{"messages":[],"max_tokens":5}"#,
            r#"{"model":"sim-dep","messages":[],"max_tokens":5}"#,
        ),
        (
            "chat/completions",
            r#"{"model":"gpt-4o","messages":[],"max_tokens":5}"#,
            r#"{"model":"sim-dep","messages":[],"max_tokens":5}"#,
        ),
        (
            "chat/completions",
            r#"{"messages":[],"model":null,"max_tokens":5}"#,
            r#"{"messages":[],"model":"sim-dep","max_tokens":5}"#,
        ),
        (
            "embeddings",
            r#"{"input":"x"}"#,
            r#"{"model":"sim-dep","input":"x"}"#,
        ),
        (
            "completions",
            r#"{"prompt":"x","max_tokens":5}"#,
            r#"{"model":"sim-dep","prompt":"x","max_tokens":5}"#,
        ),
    ];
    for (verb, body, expected) in cases {
        for prefix in ["", "/task/t-az/agent/a-az"] {
            let path = format!("{prefix}/openai/deployments/sim-dep/{verb}?api-version=2026-01-01");
            let reply = call(&path, body).send().await;
            assert_eq!(reply.status, 200, "{path}: {}", reply.text());
            let seen = provider.last();
            assert_eq!(String::from_utf8_lossy(&seen.body), expected);
            assert_eq!(seen.path, format!("/v1/{verb}?api-version=2026-01-01"));
            assert!(seen.header("api-key").is_none());
            assert!(reply.cost().is_some(), "{path}");
        }
    }
    // The name in the path decides, and it must be one.
    let reply = call(
        "/openai/deployments/nobody/chat/completions",
        r#"{"model":"sim-a","messages":[]}"#,
    )
    .send()
    .await;
    assert_refused("deployment", &reply, Shape::Openai, 404, "model_not_found");
    let reply = call(
        "/openai/deployments/sim-dep/chat/completions",
        r#"{"messages":"#,
    )
    .send()
    .await;
    assert_refused("cut", &reply, Shape::Openai, 400, "invalid_request");
    let reply = world
        .post_bytes(
            "/openai/deployments/sim-dep/chat/completions",
            r#"{"messages":[]}"#,
        )
        .send()
        .await;
    assert_refused("key", &reply, Shape::Openai, 401, "unauthenticated");
    let reply = call("/openai/deployments/sim-dep/images/generations", "{}")
        .send()
        .await;
    assert_refused("images", &reply, Shape::Openai, 403, "unmetered_endpoint");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_providers_errors_pass_as_they_came() {
    let odd = "{\"error\":\n {\"message\" : \"No. é\", \"code\":null,\"x\":[1.0]} }\n";
    let provider = Provider::start(move |seen| {
        let status: u16 = seen.headers["x-want"]
            .to_str()
            .expect("ASCII")
            .parse()
            .expect("a status");
        Response::builder()
            .status(status)
            .header("content-type", "application/problem+json")
            .header("retry-after", "7")
            .header("retry-after-ms", "7000")
            .header("x-should-retry", "true")
            .header("x-ratelimit-remaining-requests", "0")
            .header("request-id", "r-9")
            .header("set-cookie", "a=1")
            .header("set-cookie", "b=2")
            .header("keep-alive", "timeout=5")
            .body(odd.into())
            .expect("an answer")
    })
    .await;
    let world = recorded(&provider, |setup| setup.limits(HIGH_LIMITS)).await;
    let statuses = [
        307, 400, 401, 402, 403, 404, 408, 409, 413, 418, 422, 429, 500, 501, 502, 503, 504, 520,
        529,
    ];
    let mut calls = 0;
    for status in statuses {
        for stream in [false, true] {
            for path in [CHAT, "/v1/messages", "/v1/responses"] {
                let mut body = chat("sim-a");
                body["stream"] = json!(stream);
                if path == "/v1/responses" {
                    body = json!({"model": "sim-a", "input": "x", "stream": stream});
                }
                let reply = world
                    .post(path, &body)
                    .header("x-want", &status.to_string())
                    .send()
                    .await;
                let case = format!("{status} {path}");
                assert_eq!(
                    (reply.status.as_u16(), reply.text().as_str()),
                    (status, odd),
                    "{case}"
                );
                for (name, value) in [
                    ("content-type", "application/problem+json"),
                    ("retry-after", "7"),
                    ("retry-after-ms", "7000"),
                    ("x-should-retry", "true"),
                    ("x-ratelimit-remaining-requests", "0"),
                    ("request-id", "r-9"),
                ] {
                    assert_eq!(reply.header(name).as_deref(), Some(value), "{case}");
                }
                assert_eq!(reply.headers.get_all("set-cookie").iter().count(), 2);
                assert!(reply.header("keep-alive").is_none(), "the connection's own");
                calls += 1;
            }
        }
    }
    for entry in world.journal(calls).await {
        let expected = ["void", "unreconciled"];
        assert!(expected.contains(&entry.ending.as_str()), "{entry:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packed_answers_are_metered() {
    let provider = Provider::start(|seen| {
        let stream = seen.json()["stream"] == true;
        let (kind, text) = match stream {
            true => ("text/event-stream", format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"Hello.\"}},\"finish_reason\":\"stop\"}}]}}\n\n{USAGE_CHUNK}data: [DONE]\n\n")),
            false => ("application/json", chat_answer(12, 3).to_string()),
        };
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed.write_all(text.as_bytes()).expect("memory");
        // Whatever was asked for: some servers do not care.
        Response::builder()
            .header("content-type", kind)
            .header("content-encoding", "gzip")
            .body(packed.finish().expect("memory").into())
            .expect("an answer")
    })
    .await;
    let world = recorded(&provider, |setup| setup.limits(HIGH_LIMITS)).await;
    let plain = world
        .post(CHAT, &chat("sim-a"))
        .header("accept-encoding", "gzip, br")
        .send()
        .await;
    assert_eq!(
        (plain.json(), plain.header("content-encoding")),
        (chat_answer(12, 3), None)
    );
    assert_eq!(provider.last().header("accept-encoding"), Some("identity"));
    assert!(plain.cost().is_some());
    let mut body = chat("sim-a");
    body["stream"] = json!(true);
    let stream = world.post(CHAT, &body).send().await;
    assert!(stream.text().contains("Hello.") && stream.text().ends_with("data: [DONE]\n\n"));
    for entry in world.journal(2).await {
        assert_eq!(
            (
                entry.ending.as_str(),
                entry.charged[bursar::units::Meter::Tokens]
            ),
            ("settle", 15)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models_and_counts_are_free() {
    let provider = Provider::start(|seen| match seen.path.split('?').next() {
        Some("/v1/models") => answer(
            200,
            &json!({"object": "list", "has_more": false, "data": [
            {"id": "a-1", "object": "model", "x": 1}, {"id": "b-1", "object": "model"},
            {"id": "claude-1", "type": "model"}]}),
        ),
        Some("/v1/messages/count_tokens") => answer(200, &json!({"input_tokens": 12})),
        _ => answer(200, &json!({"id": "one", "path": seen.path.as_str()})),
    })
    .await;
    let sim = Sim::start(Settings::default()).await.expect("a sim");
    let (here, there) = (provider.addr, sim.addr());
    let nobody = crate::common::fake::Fake::nobody().await;
    let setup = Setup::new(there)
        .identity("crew", "house")
        .identity_with("narrow", "house", "models = [\"a-*\", \"claude-*\"]\n")
        .limits("[[limit]]\nname = \"nothing\"\nper = [\"owner\"]\nwindow = { every = \"day\", timezone = \"UTC\" }\nusd = \"0\"\nturns = 0\n")
        .more(&format!(
            "[[provider]]\nname = \"near\"\nkind = \"openai\"\nbase_url = \"http://{here}/v1\"\nmodels = [\"a-*\", \"claude-*\"]\n\
             [[provider]]\nname = \"far\"\nkind = \"anthropic\"\nbase_url = \"http://{here}\"\nmodels = [\"claude-*\"]\n\
             [[provider]]\nname = \"gone\"\nkind = \"openai\"\nbase_url = \"http://{nobody}/v1\"\nmodels = [\"g-*\"]\n"
        ));
    let world = World::around(sim, setup.write()).await;
    let ids = |list: &Value| -> Vec<String> {
        let models = list["data"].as_array().expect("a list").iter();
        models
            .map(|model| model["id"].as_str().expect("an id").to_owned())
            .collect()
    };
    // Merged from every provider that speaks the dialect and can be reached, and filtered.
    let list = world
        .get("/v1/models?limit=9")
        .identity("crew")
        .send()
        .await;
    let found = ids(&list.json());
    for id in ["sim-strong", "sim-cheap", "a-1", "claude-1"] {
        assert!(found.contains(&id.to_owned()), "{found:?}");
    }
    assert!(
        !found.contains(&"b-1".to_owned()) && !found.contains(&"gpt-4o".to_owned()),
        "{found:?}"
    );
    assert_eq!(list.json()["object"], "list");
    assert_eq!(provider.last().path, "/v1/models?limit=9");
    let narrow = world.get("/v1/models").identity("narrow").send().await;
    assert_eq!(ids(&narrow.json()), ["a-1", "claude-1"]);
    let anthropic = world
        .get("/v1/models")
        .identity("narrow")
        .header("anthropic-version", "2023-06-01");
    let list = anthropic.send().await.json();
    assert_eq!(
        (ids(&list), &list["first_id"], &list["has_more"]),
        (
            vec!["claude-1".to_owned()],
            &json!("claude-1"),
            &json!(false)
        )
    );

    // One of them, whatever its name.
    for (path, expected) in [
        ("/v1/models/a-1", "/v1/models/a-1"),
        ("/v1/models/near/a%20b?x=1", "/v1/models/a%20b?x=1"),
        (
            "/v1/models/near/org/model%3Av1%3F",
            "/v1/models/org/model:v1%3F",
        ),
    ] {
        let reply = world.get(path).identity("crew").send().await;
        assert_eq!(
            (reply.status.as_u16(), &reply.json()["path"]),
            (200, &json!(expected))
        );
        assert!(provider.last().header("authorization").is_none());
    }
    let reply = world
        .get("/v1/models/unheard-of")
        .identity("crew")
        .send()
        .await;
    assert_refused("none", &reply, Shape::Openai, 404, "model_not_found");
    let reply = world.get("/v1/models/b-1").identity("narrow").send().await;
    assert_eq!(reply.status.as_u16(), 404, "{}", reply.text());

    // Anthropic's count of tokens costs nothing, so that no cap is in its way.
    let body = r#"{"model":"claude-1","messages":[ {"role":"user","content":"x"}],"x":null}"#;
    let reply = world
        .post_bytes("/v1/messages/count_tokens?beta=true", body)
        .identity("crew")
        .send()
        .await;
    assert_eq!(
        (reply.status.as_u16(), reply.json()),
        (200, json!({"input_tokens": 12}))
    );
    let seen = provider.last();
    assert_eq!(
        (seen.path.as_str(), seen.body),
        (
            "/v1/messages/count_tokens?beta=true",
            Bytes::from_static(body.as_bytes())
        )
    );
    let reply = world
        .post_bytes(
            "/v1/messages/count_tokens",
            "{\"model\":\"far/claude-1\",\"messages\":[]}",
        )
        .identity("crew")
        .send()
        .await;
    assert_eq!(
        (
            reply.status.as_u16(),
            provider.last().json()["model"].clone()
        ),
        (200, json!("claude-1"))
    );
    // The budget is what it was: nothing.
    let reply = world
        .post(CHAT, &chat("sim-a"))
        .identity("crew")
        .send()
        .await;
    assert_eq!(reply.status, 402, "{}", reply.text());
    assert_eq!(world.sim.bill().calls, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rest_passes_only_by_name() {
    let provider = Provider::start(|seen| {
        let mut answer = answer(
            201,
            &json!({"path": seen.path.as_str(), "method": seen.method.as_str()}),
        );
        answer
            .headers_mut()
            .insert("x-of-theirs", http::HeaderValue::from_static("1"));
        answer
    })
    .await;
    let world = recorded(&provider, |setup| {
        setup
            .identity("crew", "house")
            .provider("unmetered = [\"/v1/files\", \"/v1/files/*\", \"/v1/moderations\"]")
    })
    .await;
    for (method, path) in [
        (Method::POST, "/v1/moderations"),
        (Method::GET, "/v1/files?after=x%20y"),
        (Method::DELETE, "/v1/files/f-1"),
        (Method::GET, "/v1/files/f-1/content"),
        (Method::PUT, "/task/t/v1/files/caf%C3%A9"),
    ] {
        let reply = world
            .request(method.clone(), path)
            .identity("crew")
            .header("content-type", "multipart/form-data; boundary=b")
            .header("x-vendor", "1")
            .send()
            .await;
        assert_eq!(
            (
                reply.status.as_u16(),
                reply.header("x-of-theirs").as_deref()
            ),
            (201, Some("1")),
            "{path}"
        );
        let seen = provider.last();
        assert_eq!(
            (seen.method.clone(), seen.path.as_str()),
            (method, path.trim_start_matches("/task/t"))
        );
        assert!(seen.header("authorization").is_none() && seen.header("x-vendor").is_some());
        assert!(reply.header("x-bursar-request-id").is_some());
    }
    let before = provider.seen().len();
    for path in [
        "/v1/file",
        "/v1/filesx",
        "/v1/images/generations",
        "/v1/moderations/x",
        "/v1/batches",
        "/v1/files%2Fx",
        "/v1/fine_tuning/jobs",
    ] {
        let reply = world.post_bytes(path, "{}").identity("crew").send().await;
        let (status, code) = if path.contains('%') {
            (400, "invalid_request")
        } else {
            (403, "unmetered_endpoint")
        };
        assert_refused(path, &reply, Shape::Openai, status, code);
    }
    assert_eq!(provider.seen().len(), before);
}
