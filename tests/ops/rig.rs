//! An operator: requests to `ops`, and the command line.

use crate::common::bounded;
use crate::common::gateway::Gateway;
use crate::common::program::Ends as _;
use crate::common::setup::Setup;
use bursar::sim::{Settings, Sim};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

/// What the tests' tasks may spend by policy.
pub const LIMITS: &str = r#"
[[limit]]
name = "task"
per = ["task"]
usd = "2.00"
turns = 100
duration = "30m"

[[limit]]
name = "agent turns"
match = { agent = ["eager", "other", "writer"] }
per = ["task", "agent"]
turns = 2

[[limit]]
name = "owner per day"
per = ["owner"]
window = { every = "day", timezone = "UTC" }
usd = "50.00"
"#;

/// Providers whose `sim-slow` streams for seconds on end.
pub async fn sim() -> Sim {
    let settings = Settings {
        slow_delay: Duration::from_millis(20),
        output_tokens: 40..=60,
        ..Settings::default()
    };
    Sim::start(settings).await.expect("simulated providers")
}

/// A gateway in front of them, with [`LIMITS`].
pub async fn gateway(sim: &Sim) -> Gateway {
    Gateway::start(&Setup::new(sim.addr()).limits(LIMITS)).await
}

/// Who operates.
#[derive(Clone)]
pub struct Operator {
    base: String,
    headers: Vec<(&'static str, String)>,
}

impl Operator {
    pub fn of(gateway: &Gateway) -> Self {
        Self {
            base: gateway.ops.clone(),
            headers: vec![("content-type", "application/json".to_owned())],
        }
    }

    /// With a header, in place of the one of that name.
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.to_owned()));
        self
    }

    /// At another address.
    pub fn at(mut self, base: &str) -> Self {
        base.clone_into(&mut self.base);
        self
    }

    /// Without a header.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self
    }

    pub fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// The status and the JSON of an answer (a text as a string).
    pub async fn send(&self, method: &str, path: &str, body: &str) -> (StatusCode, Value) {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base));
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let request = request.body(Full::new(Bytes::from(body.to_owned())));
        let client = Client::builder(TokioExecutor::new()).build_http();
        let sent = client.request(request.expect("a request"));
        let answer = bounded("the head of an answer", sent).await;
        let (head, body) = answer.expect("an answer").into_parts();
        let body = bounded("the end of an answer", body.collect()).await;
        let body = body.expect("a body").to_bytes();
        let said = serde_json::from_slice(&body)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).into_owned()));
        (head.status, said)
    }

    pub async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.send("GET", path, "").await
    }

    pub async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        self.send("POST", path, &body.to_string()).await
    }

    /// A POST that must succeed.
    pub async fn does(&self, path: &str, body: Value) -> Value {
        let (status, said) = self.post(path, &body).await;
        assert!(status.is_success(), "{path} {body}: {status} {said}");
        said
    }

    /// A GET that must succeed.
    pub async fn sees(&self, path: &str) -> Value {
        let (status, said) = self.get(path).await;
        assert!(status.is_success(), "{path}: {status} {said}");
        said
    }

    /// A request that must fail: its status and code.
    pub async fn fails(&self, path: &str, body: Value) -> (u16, String) {
        let (status, said) = self.post(path, &body).await;
        assert!(!status.is_success(), "{path} {body}: {status} {said}");
        let code = said["error"]["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        (status.as_u16(), code)
    }
}

/// Dollars as text, in nano-dollars.
pub fn nano(usd: &Value) -> u64 {
    let usd: bursar::units::NanoUsd = usd.as_str().expect("dollars").parse().expect("dollars");
    usd.0
}

/// The account of a limit in what `/api/tasks/{id}` or a top-up says.
pub fn account<'a>(accounts: &'a Value, limit: &str) -> &'a Value {
    let accounts = accounts.as_array().expect("accounts");
    let found = accounts.iter().find(|account| account["limit"] == limit);
    found.unwrap_or_else(|| panic!("no account of `{limit}` in {accounts:?}"))
}

/// Runs the command line; the test's runtime goes on meanwhile.
pub async fn bursar(config: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bursar"));
    command
        .arg("--config")
        .arg(config)
        .args(args)
        .env_remove("BURSAR_OPS")
        .env_remove("BURSAR_OPS_TOKEN")
        .env("USER", "tester");
    let done = tokio::task::spawn_blocking(move || command.ended());
    done.await.expect("a thread")
}

/// Runs the command line, which must succeed, and returns what it prints.
pub async fn says(config: &Path, args: &[&str]) -> String {
    let output = bursar(config, args).await;
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {error}");
    String::from_utf8(output.stdout).expect("UTF-8")
}
