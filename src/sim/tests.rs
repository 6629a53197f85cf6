//! Drives the simulated providers over real sockets, and checks their bill against sums done by hand.

mod faults;
mod money;
mod requests;
mod shapes;
mod streams;

use super::{Bill, Settings, Sim};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

/// Providers and a client for them.
struct World {
    sim: Sim,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// An answer; `whole` is false when the connection broke within the body.
struct Got {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
    whole: bool,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("an answer in JSON")
    }

    fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("UTF-8")
    }

    /// The `data:` of each event; `[DONE]` as a string.
    fn events(&self) -> Vec<Value> {
        let text = self.text();
        let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
        data.map(|data| serde_json::from_str(data).unwrap_or_else(|_| json!(data)))
            .collect()
    }
}

async fn world() -> World {
    world_with(Settings::default()).await
}

async fn world_with(settings: Settings) -> World {
    let sim = Sim::start(settings).await.expect("providers start");
    World {
        sim,
        client: Client::builder(TokioExecutor::new()).build_http(),
    }
}

impl World {
    fn request(&self, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Request<Full<Bytes>> {
        let mut request = Request::post(format!("http://{}{path}", self.sim.addr()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Full::new(body.into())).expect("a request")
    }

    /// Sends a call; an error is a connection that broke before the answer's head.
    async fn send(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Got, hyper_util::client::legacy::Error> {
        let response = self
            .client
            .request(self.request(path, headers, body))
            .await?;
        let (head, mut rest) = response.into_parts();
        let (mut body, mut whole) = (Vec::new(), true);
        while let Some(frame) = rest.frame().await {
            match frame {
                Ok(frame) => body.extend_from_slice(frame.data_ref().expect("data")),
                Err(_) => {
                    whole = false;
                    break;
                }
            }
        }
        Ok(Got {
            status: head.status,
            headers: head.headers,
            body,
            whole,
        })
    }

    async fn post(&self, path: &str, body: &Value) -> Got {
        self.post_with(path, &[], body).await
    }

    async fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Got {
        let body = serde_json::to_vec(body).expect("JSON");
        self.send(path, headers, body).await.expect("an answer")
    }

    async fn get(&self, path: &str) -> Got {
        let mut request = self.request(path, &[], Vec::new());
        *request.method_mut() = Method::GET;
        let response = self.client.request(request).await.expect("an answer");
        let (head, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes().to_vec();
        Got {
            status: head.status,
            headers: head.headers,
            body,
            whole: true,
        }
    }

    /// A plain chat call that must succeed.
    async fn chat(&self, model: &str, more: Value) -> Value {
        let got = self.post("/v1/chat/completions", &chat(model, more)).await;
        assert_eq!(got.status, StatusCode::OK, "{}", got.text());
        got.json()
    }

    fn bill(&self) -> Bill {
        self.sim.bill_by_request()
    }
}

/// A short chat request with more members.
fn chat(model: &str, more: Value) -> Value {
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": "hello"}]});
    merge(&mut body, more);
    body
}

/// A short messages request with more members.
fn message(model: &str, more: Value) -> Value {
    let mut body = chat(model, json!({"max_tokens": 1_000}));
    merge(&mut body, more);
    body
}

fn merge(body: &mut Value, more: Value) {
    for (name, value) in more.as_object().expect("an object") {
        body[name] = value.clone();
    }
}

fn tools() -> Value {
    let schema = json!({
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer", "minimum": 2, "maximum": 5},
            "unit": {"enum": ["c", "f"]}
        },
        "required": ["city", "days", "unit"]
    });
    json!([{"type": "function", "function": {"name": "weather", "parameters": schema}}])
}

#[tokio::test]
async fn settings_out_of_range_are_clear_errors() {
    let cases = [
        (
            Settings {
                fail_rate: 1.5,
                ..Settings::default()
            },
            "fail_rate is 1.5",
        ),
        (
            Settings {
                reset_rate: f64::NAN,
                ..Settings::default()
            },
            "reset_rate is NaN",
        ),
        (
            Settings {
                output_tokens: 0..=5,
                ..Settings::default()
            },
            "output_tokens is 0-5",
        ),
        (
            Settings {
                chunk_tokens: 0,
                ..Settings::default()
            },
            "chunk_tokens is 0",
        ),
    ];
    for (settings, why) in cases {
        let error = Sim::start(settings).await.expect_err("refused");
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        assert!(error.to_string().starts_with(why), "{error}");
    }
}

#[tokio::test]
async fn an_address_in_use_is_an_error() {
    let world = world().await;
    let settings = Settings {
        listen: world.sim.addr(),
        ..Settings::default()
    };
    let error = Sim::start(settings).await.expect_err("refused");
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn cleartext_http2_works() {
    let sim = Sim::start(Settings::default())
        .await
        .expect("providers start");
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http();
    let world = World { sim, client };
    let got = world
        .post(
            "/v1/chat/completions",
            &chat("sim-x", json!({"stream": true})),
        )
        .await;
    assert_eq!(got.events().last(), Some(&json!("[DONE]")));
    assert!(got.whole);
}

#[tokio::test]
async fn shutting_down_answers_what_is_in_flight() {
    let latency = std::time::Duration::from_millis(20);
    let world = world_with(Settings {
        latency,
        ..Settings::default()
    })
    .await;
    let addr = world.sim.addr();
    let request = world.request(
        "/v1/chat/completions",
        &[],
        chat("sim-x", json!({})).to_string().into(),
    );
    let client = world.client.clone();
    let call = tokio::spawn(async move { client.request(request).await });
    // The call is on the bill once it is being answered.
    let begun = std::time::Instant::now();
    while world.sim.bill().calls == 0 {
        assert!(begun.elapsed().as_secs() < 60, "it is never answered");
        tokio::task::yield_now().await;
    }
    world.sim.shutdown().await;
    assert_eq!(
        call.await.expect("joined").expect("answered").status(),
        StatusCode::OK
    );
    assert!(
        tokio::net::TcpStream::connect(addr).await.is_err(),
        "nothing listens any more"
    );
}
