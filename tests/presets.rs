//! Every kind of provider against answers of the form that its pages document: where the call goes, how the key
//! goes along, under which field the output cap is told, what is billed of answers, streams and errors.
//! One file for each under `tests/presets/`, with its sources.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may panic where it sets things up"
)]

#[path = "common/account.rs"]
mod account;
mod common;
#[path = "edges/rig.rs"]
#[allow(dead_code, reason = "shared with the tests of edges")]
mod rig;
#[path = "presets/seconds.rs"]
mod seconds;

use bursar::config::PRESETS;
use bursar::units::Meter;
use bytes::Bytes;
use common::books::{self, Entry};
use common::calls::Reply;
use common::gateway::Gateway;
use common::setup::Setup;
use http::Response;
use parking_lot::Mutex;
use rig::{Call, HIGH_LIMITS, Provider, World};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is known of one kind of provider.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixture {
    sources: Vec<String>,
    kind: String,
    model: String,
    base_url: String,
    /// The path of the base URL, where everybody has their own.
    #[serde(default)]
    base_path: String,
    /// Where the call must arrive.
    path: String,
    /// Where a stream must arrive, if that is elsewhere.
    stream_path: Option<String>,
    /// It is spoken to in a dialect that no caller has: errors come back in the caller's words.
    #[serde(default)]
    translated: bool,
    /// Further keys of its `[[provider]]`.
    #[serde(default)]
    more: String,
    /// Header and value of the key; empty: none.
    auth: Vec<String>,
    #[serde(default)]
    dialect: String,
    #[serde(default = "yes")]
    asks_usage: bool,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    max_price: Option<BTreeMap<String, f64>>,
    prices: Option<String>,
    #[serde(default)]
    answer: Vec<Answer>,
    #[serde(default)]
    error: Vec<Error>,
    #[serde(default)]
    cap: Vec<Cap>,
}

const fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    name: String,
    #[serde(default)]
    stream: bool,
    #[serde(default)]
    ending: Option<String>,
    #[serde(default)]
    input: u64,
    #[serde(default)]
    output: u64,
    #[serde(default)]
    usd_nano: u64,
    body: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Error {
    name: String,
    status: u16,
    billed: bool,
    body: String,
}

/// Output caps as the caller says them, and as they must leave.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cap {
    sent: String,
    leaves: String,
}

fn fixtures() -> Vec<Fixture> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/presets");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|file| file.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "toml"))
        .collect();
    files.sort();
    let read = |path: std::path::PathBuf| {
        let text = std::fs::read_to_string(&path).expect("text");
        let fixture: Result<Fixture, _> = toml::from_str(&text);
        fixture.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    files.into_iter().map(read).collect()
}

/// What the provider says next: status, kind of body, body.
type Next = Arc<Mutex<(u16, &'static str, String)>>;

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

/// A gateway in front of all kinds at once, each under its own name.
struct Bench {
    world: World,
    provider: Provider,
    next: Next,
}

impl Bench {
    async fn start(fixtures: &[Fixture]) -> Self {
        let next: Next = Arc::new(Mutex::new((200, JSON, String::new())));
        let says = Arc::clone(&next);
        let provider = Provider::start(move |seen| {
            if seen.path == "/token" {
                let token = json!({"access_token": "t-vertex", "expires_in": 3_599});
                return Response::new(Bytes::from(token.to_string()));
            }
            let (status, kind, body) = says.lock().clone();
            let answer = Response::builder()
                .status(status)
                .header("content-type", kind);
            answer.body(Bytes::from(body)).expect("an answer")
        })
        .await;
        let sim = bursar::sim::Sim::start(bursar::sim::Settings::default()).await;
        let sim = sim.expect("a sim");
        let mut setup = Setup::new(sim.addr()).limits(HIGH_LIMITS);
        let mut prices = String::new();
        for fixture in fixtures {
            let Fixture { kind, model, .. } = fixture;
            let base = fixture.path_of_base();
            let addr = provider.addr;
            let mut toml = format!(
                "[[provider]]\nname = \"{kind}\"\nkind = \"{kind}\"\nbase_url = \"http://{addr}{base}\"\n\
                 models = [\"never\"]\n"
            );
            toml.push_str(&format!("{}\n", fixture.more));
            if fixture.kind == "vertex" {
                let account = account::of("presets", provider.addr);
                setup = setup.env("SERVICE_ACCOUNT", &account);
                toml.push_str("credentials = \"env:SERVICE_ACCOUNT\"\n");
            } else if let [_, _] = fixture.auth.as_slice() {
                let name = kind.replace(['.', '-'], "_").to_uppercase();
                setup = setup.env(&format!("KEY_{name}"), &format!("k-{kind}"));
                toml.push_str(&format!("api_key = \"env:KEY_{name}\"\n"));
            }
            setup = setup.more(&toml);
            if let Some(rates) = &fixture.prices {
                prices.push_str(&format!(
                    "[[model]]\nname = \"{model}\"\nfamily = \"{kind}\"\n{rates}\n"
                ));
            }
        }
        let dir = setup.write();
        std::fs::write(dir.path().join("policies/prices.toml"), prices).expect("a file");
        let world = World::around(sim, dir).await;
        Self {
            world,
            provider,
            next,
        }
    }

    /// A call of this kind, with these members in its body.
    fn call(&self, fixture: &Fixture, more: Value, task: &str) -> Call {
        // As many words as any answer here counts: a bound must not rest on the words of a fixture.
        let words = "word ".repeat(2_400);
        let text = if task.ends_with("-short") {
            "word"
        } else {
            &words
        };
        let mut body = json!({
            "model": format!("{}/{}", fixture.kind, fixture.model),
            "messages": [{"role": "user", "content": text}],
        });
        let members = body.as_object_mut().expect("a body");
        members.extend(more.as_object().cloned().unwrap_or_default());
        let path = match fixture.dialect.as_str() {
            "messages" => {
                // The dearest kind of input that such a prompt can hold.
                let cache = json!({"type": "ephemeral"});
                let text = json!([{"type": "text", "text": words, "cache_control": cache}]);
                members.insert("system".into(), text);
                "/v1/messages"
            }
            _ => rig::CHAT,
        };
        let call = self.world.post(path, &body);
        call.header("x-bursar-task-id", task)
    }

    fn says(&self, status: u16, kind: &'static str, body: &str) {
        *self.next.lock() = (status, kind, body.to_owned());
    }

    async fn entry(&self, reply: &Reply) -> Entry {
        self.world.gateway.quiet().await;
        books::call(&self.world.gateway.store(), &reply.request_id())
    }
}

impl Fixture {
    fn path_of_base(&self) -> String {
        let rest = self.base_url.split_once("://").map_or("", |(_, rest)| rest);
        let path = rest.split_once('/').map(|(_, path)| format!("/{path}"));
        path.unwrap_or_else(|| self.base_path.clone())
    }
}

#[test]
fn every_kind_has_a_fixture_with_sources_and_its_documented_address() {
    let fixtures = fixtures();
    for preset in &PRESETS {
        let fixture = fixtures.iter().find(|fixture| fixture.kind == preset.name);
        let fixture = fixture.unwrap_or_else(|| panic!("no fixture of {}", preset.name));
        assert_eq!(preset.base_url.unwrap_or_default(), fixture.base_url);
        assert!(!fixture.sources.is_empty() && fixture.cap.len() + fixture.error.len() > 1);
        let streams = fixture.answer.iter().filter(|answer| answer.stream).count();
        assert!(
            streams > 0 && streams < fixture.answer.len(),
            "{}",
            preset.name
        );
        assert_eq!(preset.asks_usage, fixture.asks_usage, "{}", preset.name);
    }
    assert_eq!(fixtures.len(), PRESETS.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_billed_as_their_provider_bills_them() {
    let fixtures = fixtures();
    let bench = Bench::start(&fixtures).await;
    for fixture in &fixtures {
        for (number, answer) in fixture.answer.iter().enumerate() {
            let case = format!("{}: {}", fixture.kind, answer.name);
            let kind = if answer.stream { EVENTS } else { JSON };
            bench.says(200, kind, &answer.body);
            let more = json!({"stream": answer.stream, "max_tokens": 512});
            let task = format!("t-{}-{number}", fixture.kind);
            let reply = bench.call(fixture, more, &task).send().await;
            assert_eq!(reply.status, 200, "{case}: {}", reply.text());

            let seen = bench.provider.last();
            let elsewhere = fixture.stream_path.as_ref().filter(|_| answer.stream);
            assert_eq!(&seen.path, elsewhere.unwrap_or(&fixture.path), "{case}");
            for name in ["authorization", "x-api-key", "api-key", "x-goog-api-key"] {
                let expected = match fixture.auth.as_slice() {
                    [header, value] if header == name => Some(value.as_str()),
                    _ => None,
                };
                assert_eq!(seen.header(name), expected, "{case}: {name}");
            }
            for (name, value) in &fixture.headers {
                assert_eq!(seen.header(name), Some(value.as_str()), "{case}");
            }
            let left = seen.json();
            let asked = left["stream_options"]["include_usage"] == true;
            let asks = answer.stream && fixture.asks_usage && fixture.dialect.is_empty();
            assert_eq!(asked, asks, "{case}: {left}");
            let told = fixture.max_price.as_ref().map(|price| json!(price));
            assert_eq!(left["provider"]["max_price"], json!(told), "{case}");

            let entry = bench.entry(&reply).await;
            let ending = answer.ending.as_deref().unwrap_or("settle");
            assert_eq!(entry.ending, ending, "{case}: {entry:?}");
            let (quoted, charged) = (entry.quoted.usd().0, entry.charged.usd().0);
            assert!(quoted >= charged, "{case}: no bound: {entry:?}");
            if ending == "settle" {
                let tokens = (
                    entry.charged[Meter::InputTokens],
                    entry.charged[Meter::OutputTokens],
                );
                assert_eq!(tokens, (answer.input, answer.output), "{case}");
                assert_eq!(charged, answer.usd_nano, "{case}");
                assert_eq!(entry.overrun, 0, "{case}");
            } else {
                assert!(charged > 0 || fixture.kind == "ollama", "{case}: {entry:?}");
            }
        }
    }
    books::verify(&bench.world.gateway.store());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_pass_as_they_came_and_are_billed_where_the_provider_does() {
    let fixtures = fixtures();
    let bench = Bench::start(&fixtures).await;
    for fixture in &fixtures {
        for (number, error) in fixture.error.iter().enumerate() {
            for stream in [false, true] {
                let case = format!("{}: {} (stream: {stream})", fixture.kind, error.name);
                bench.says(error.status, JSON, &error.body);
                let more = json!({"stream": stream, "max_tokens": 64});
                let task = format!("t-{}-{number}", fixture.kind);
                let reply = bench.call(fixture, more, &task).send().await;
                assert_eq!(
                    reply.status.as_u16(),
                    error.status,
                    "{case}: {}",
                    reply.text()
                );
                if fixture.translated {
                    let theirs: Value = serde_json::from_str(&error.body).expect("JSON");
                    let (theirs, ours) = (&theirs["error"], &reply.json()["error"]);
                    assert_eq!(ours["message"], theirs["message"], "{case}");
                    assert_eq!(ours["code"], theirs["status"], "{case}");
                } else {
                    assert_eq!(reply.text(), error.body, "{case}");
                }
                let entry = bench.entry(&reply).await;
                let (ending, reason) = match error.billed {
                    true => ("unreconciled", "billed_error"),
                    false => ("void", "provider_refused"),
                };
                assert_eq!((&*entry.ending, &*entry.reason), (ending, reason), "{case}");
                let charged = entry.charged.usd().0;
                assert_eq!(charged > 0, error.billed, "{case}: {entry:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn output_caps_leave_under_the_name_that_is_heard() {
    const FIELDS: [&str; 4] = [
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "maxOutputTokens",
    ];
    let fixtures = fixtures();
    let bench = Bench::start(&fixtures).await;
    for fixture in &fixtures {
        let body = fixture.answer.iter().find(|answer| !answer.stream);
        bench.says(200, JSON, &body.expect("a plain answer").body);
        for (number, cap) in fixture.cap.iter().enumerate() {
            let case = format!("{}: {} leaves as {}", fixture.kind, cap.sent, cap.leaves);
            let json = |text: &str| -> Value { serde_json::from_str(text).expect("JSON") };
            let (sent, leaves) = (json(&cap.sent), json(&cap.leaves));
            let is_told = |field: &&str| leaves[*field] == "told";
            let told = FIELDS.iter().find(|field| is_told(field));
            let task = format!("c-{}-{number}-short", fixture.kind);
            let mut call = bench.call(fixture, sent, &task);
            if told.is_some() {
                call = call.header("x-bursar-task-usd", "0.005");
            }
            let reply = call.send().await;
            assert_eq!(reply.status, 200, "{case}: {}", reply.text());
            let mut left = bench.provider.last().json();
            if let Some(config) = left.get("generationConfig") {
                left = config.clone();
            }
            let by_us = reply.header("x-bursar-output-cap");
            for field in FIELDS {
                let expected = match told {
                    Some(named) if *named == field => json!(
                        by_us
                            .as_ref()
                            .map(|cap| { cap.parse::<u64>().expect("tokens") })
                    ),
                    _ => leaves[field].clone(),
                };
                assert_eq!(left[field], expected, "{case}: {field}");
            }
            assert_eq!(by_us.is_some(), told.is_some(), "{case}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_xai_fines_for_content_is_held_before_it_is_sent() {
    let fixtures = fixtures();
    let bench = Bench::start(&fixtures).await;
    let body = json!({"code": "The caller does not have permission to execute the specified operation",
        "error": "Content violates usage guidelines."});
    bench.says(403, JSON, &body.to_string());
    let ask = json!({"model": "xai/grok-3-mini", "input": "x", "max_output_tokens": 300});
    let call = || bench.world.post("/v1/responses", &ask);
    let reply = call().header("x-bursar-task-id", "t-fine").send().await;
    assert_eq!(reply.status, 403);
    let entry = bench.entry(&reply).await;
    assert_eq!(entry.ending, "unreconciled");
    assert!(entry.charged.usd().0 >= 50_000_000, "{entry:?}");
    // Less than the fine is left: the call does not leave.
    let poor = call().header("x-bursar-task-id", "t-poor");
    let reply = poor.header("x-bursar-task-usd", "0.04").send().await;
    assert_eq!(reply.status, 402, "{}", reply.text());
    assert_eq!(bench.provider.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn azures_versions_are_those_that_its_addresses_take() {
    let fixtures = fixtures();
    let bench = Bench::start(&fixtures).await;
    let azure = |kind: &str| fixtures.iter().find(|fixture| fixture.kind == kind);
    for (kind, query, path) in [
        (
            "azure",
            "?api-version=2024-10-21",
            "/openai/v1/chat/completions",
        ),
        (
            "azure",
            "?api-version=preview",
            "/openai/v1/chat/completions?api-version=preview",
        ),
        (
            "azure-deployments",
            "?api-version=2025-04-01-preview",
            "/openai/deployments/gpt-4o/chat/completions?api-version=2025-04-01-preview",
        ),
    ] {
        let fixture = azure(kind).expect("a fixture");
        bench.says(200, JSON, &fixture.answer[0].body);
        let body = json!({"model": format!("{kind}/gpt-4o"), "messages": [{"role": "user", "content": "x"}]});
        let path_in = format!("{}{query}", rig::CHAT);
        let reply = bench.world.post(&path_in, &body).send().await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(bench.provider.last().path, path);
    }
}

/// A gateway for one provider of this kind.
pub async fn one(provider: std::net::SocketAddr, toml: &str, prices: &str) -> Gateway {
    let sim = common::fake::Fake::nobody().await;
    let setup = Setup::new(sim).limits(HIGH_LIMITS).more(&format!(
        "[[provider]]\nname = \"own\"\nbase_url = \"http://{provider}/v1\"\n{toml}"
    ));
    let dir = setup.write();
    std::fs::write(dir.path().join("policies/prices.toml"), prices).expect("a file");
    Gateway::start_in(dir).await
}
