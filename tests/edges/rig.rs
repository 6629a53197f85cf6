//! A gateway with simulated providers behind it, any request one likes, and a provider that records
//! what it is sent.

use crate::common::calls::{Http, Reply};
use crate::common::gateway::Gateway;
use crate::common::setup::{Setup, key_of};
use crate::common::{books, until};
use bursar::sim::{Settings, Sim};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Limits of every kind of cap, so high that none is met: every call is quoted and held.
pub const HIGH_LIMITS: &str = r#"
[[limit]]
name = "task"
per = ["task"]
usd = "1000"
turns = 100000
"#;

/// Chat, where nothing else is said.
pub const CHAT: &str = "/v1/chat/completions";

/// A gateway and what stands behind it.
pub struct World {
    pub sim: Sim,
    pub gateway: Gateway,
    http: Http,
}

impl World {
    /// Simulated providers and a gateway with this setup.
    pub async fn start(setup: impl FnOnce(Setup) -> Setup) -> Self {
        let sim = Sim::start(Settings::default()).await.expect("a sim");
        let setup = setup(Setup::new(sim.addr()));
        let gateway = Gateway::start(&setup).await;
        let http = Http::new();
        Self { sim, gateway, http }
    }

    /// A gateway with the files of this directory in front of providers that are there already.
    pub async fn around(sim: Sim, dir: tempfile::TempDir) -> Self {
        let gateway = Gateway::start_in(dir).await;
        let http = Http::new();
        Self { sim, gateway, http }
    }

    /// A request to the gateway.
    pub fn request(&self, method: Method, path: &str) -> Call {
        let url = format!("{}{path}", self.gateway.agents);
        let request = Request::builder().method(method).uri(url);
        Call {
            http: self.http.clone(),
            request: request.body(Bytes::new()).expect("a request"),
        }
    }

    pub fn get(&self, path: &str) -> Call {
        self.request(Method::GET, path)
    }

    /// A POST of JSON.
    pub fn post(&self, path: &str, body: &Value) -> Call {
        self.post_bytes(path, body.to_string())
    }

    /// A POST of bytes that are said to be JSON.
    pub fn post_bytes(&self, path: &str, body: impl Into<Bytes>) -> Call {
        let mut call = self.request(Method::POST, path);
        *call.request.body_mut() = body.into();
        call.header("content-type", "application/json")
    }

    /// A GET from `ops`.
    pub async fn ops(&self, path: &str) -> Reply {
        let url = format!("{}{path}", self.gateway.ops);
        self.http.get(&url).await.expect("an answer of ops")
    }

    /// Writes these bytes on a connection of their own and reads until the other side closes it or
    /// nothing more comes for a while.
    pub async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        // The other side may close before everything is written: what it said counts.
        let _ = stream.write_all(bytes).await;
        read_text(&mut stream).await
    }

    /// A connection to the gateway.
    pub async fn connect(&self) -> TcpStream {
        let address = self.gateway.agents.strip_prefix("http://").expect("http");
        TcpStream::connect(address).await.expect("a connection")
    }

    /// After whatever was tried: a good call is answered, nothing is held, and the provider has
    /// billed exactly the calls that the journal has.
    pub async fn is_well(&self) {
        let reply = self.post(CHAT, &chat("sim-well")).send().await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let journal = self.journal(self.sim.bill().calls).await;
        books::compare(&self.sim.bill_by_request(), &journal);
    }

    /// The calls of the journal, once all is quiet and there are as many as this.
    pub async fn journal(&self, calls: u64) -> Vec<books::Entry> {
        self.gateway.quiet().await;
        let store = self.gateway.store();
        let what = format!("{calls} calls in the journal");
        until(&what, Duration::from_secs(10), || async {
            let journal = books::calls(&store);
            (journal.len() as u64 == calls).then_some(journal)
        })
        .await
    }
}

/// Reads until the end, or until nothing comes for a while.
pub async fn read_text(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut all = Vec::new();
    let mut buf = [0; 16 * 1024];
    while let Ok(Ok(read)) =
        tokio::time::timeout(Duration::from_secs(10), stream.read(&mut buf)).await
        && read > 0
    {
        all.extend_from_slice(&buf[..read]);
        let text = String::from_utf8_lossy(&all);
        if is_whole(&text) {
            break;
        }
    }
    String::from_utf8_lossy(&all).into_owned()
}

/// True if this is an HTTP/1 answer with all of the body that it names.
fn is_whole(text: &str) -> bool {
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let head = head.to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"));
    length.is_some_and(|length| length.trim().parse().is_ok_and(|n: usize| body.len() >= n))
}

/// A request on its way.
#[derive(Clone)]
pub struct Call {
    http: Http,
    request: Request<Bytes>,
}

impl Call {
    pub fn header(self, name: &str, value: &str) -> Self {
        self.header_bytes(name, value.as_bytes())
    }

    pub fn header_bytes(mut self, name: &str, value: &[u8]) -> Self {
        let name: HeaderName = name.parse().expect("a name");
        let value = HeaderValue::from_bytes(value).expect("a value");
        self.request.headers_mut().append(name, value);
        self
    }

    /// As this identity.
    pub fn identity(self, name: &str) -> Self {
        self.header("authorization", &format!("Bearer {}", key_of(name)))
    }

    pub fn headers<'a>(self, headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        headers
            .into_iter()
            .fold(self, |call, (name, value)| call.header(name, value))
    }

    /// Sends it and reads the answer to its end.
    pub async fn send(self) -> Reply {
        let answer = self.open().await;
        Reply::read(answer).await.expect("a whole answer")
    }

    /// Sends it, and returns with the head of the answer.
    pub async fn open(self) -> Response<hyper::body::Incoming> {
        let request = self.request.map(Full::new);
        self.http.send(request).await.expect("an answer")
    }
}

/// A small chat body.
pub fn chat(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Hello."}], "max_tokens": 400})
}

/// Whose shape an error must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Openai,
    Anthropic,
}

impl Shape {
    pub fn of(path: &str) -> Self {
        if path.contains("/messages") {
            Self::Anthropic
        } else {
            Self::Openai
        }
    }
}

/// A refusal of ours: typed, in the caller's dialect, with an id, and without words on which
/// clients try again.
pub fn assert_refused(case: &str, reply: &Reply, shape: Shape, status: u16, code: &str) {
    let text = reply.text();
    assert_eq!(reply.status.as_u16(), status, "{case}: {text}");
    assert!(
        reply.header("x-bursar-request-id").is_some(),
        "{case}: {text}"
    );
    let kind = reply.header("content-type");
    assert_eq!(kind.as_deref(), Some("application/json"), "{case}");
    let body = reply.json();
    let error = &body["error"];
    assert_eq!(error["code"], code, "{case}: {text}");
    assert!(
        error["type"].is_string() && error["bursar"].is_object(),
        "{case}: {text}"
    );
    assert_eq!(
        body["type"] == "error",
        shape == Shape::Anthropic,
        "{case}: {text}"
    );
    let message = error["message"].as_str().unwrap_or_default();
    assert!(!message.is_empty(), "{case}: {text}");
    let folded = message.to_ascii_lowercase();
    for word in ["429", "rate limit", "too many requests"] {
        assert!(!folded.contains(word), "{case}: {message}");
    }
    if code != "rate_limited" {
        assert!(reply.header("retry-after").is_none(), "{case}");
    }
}

/// What `sim-echo` says it was sent.
pub fn echo(reply: &Reply) -> Value {
    assert_eq!(reply.status, 200, "{}", reply.text());
    let body = reply.json();
    let places = [
        "/choices/0/message/content",
        "/choices/0/text",
        "/content/0/text",
        "/output/0/content/0/text",
    ];
    let text = places
        .iter()
        .find_map(|place| body.pointer(place)?.as_str());
    serde_json::from_str(text.unwrap_or_else(|| panic!("no echo: {body}"))).expect("an echo")
}

/// One request as a recording provider saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: Method,
    /// Path and query.
    pub path: String,
    pub version: Version,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .get(name)
            .map(|value| value.to_str().expect("ASCII"))
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

type Answer = Arc<dyn Fn(&Seen) -> Response<Bytes> + Send + Sync>;

/// A provider that records what it is sent and answers as it is told.
pub struct Provider {
    pub addr: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    accepting: tokio::task::AbortHandle,
}

impl Provider {
    pub async fn start(answer: impl Fn(&Seen) -> Response<Bytes> + Send + Sync + 'static) -> Self {
        Self::serve(None, Arc::new(answer)).await
    }

    /// The same behind TLS.
    pub async fn start_tls(
        tls: rustls::ServerConfig,
        answer: impl Fn(&Seen) -> Response<Bytes> + Send + Sync + 'static,
    ) -> Self {
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
        Self::serve(Some(acceptor), Arc::new(answer)).await
    }

    async fn serve(tls: Option<tokio_rustls::TlsAcceptor>, answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("bound");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&seen);
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, record) = (Arc::clone(&answer), Arc::clone(&record));
                match tls.clone() {
                    None => connections.spawn(converse(stream, answer, record)),
                    Some(tls) => connections.spawn(async move {
                        if let Ok(stream) = tls.accept(stream).await {
                            converse(stream, answer, record).await;
                        }
                    }),
                };
            }
        });
        let accepting = accepting.abort_handle();
        Self {
            addr,
            seen,
            accepting,
        }
    }

    /// What it was sent so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }

    /// The last of it.
    pub fn last(&self) -> Seen {
        self.seen.lock().last().cloned().expect("a request")
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn converse<S>(stream: S, answer: Answer, seen: Arc<Mutex<Vec<Seen>>>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let (answer, seen) = (Arc::clone(&answer), Arc::clone(&seen));
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map(|body| body.to_bytes());
            let one = Seen {
                method: head.method,
                path: head
                    .uri
                    .path_and_query()
                    .map_or("", |path| path.as_str())
                    .to_owned(),
                version: head.version,
                headers: head.headers,
                body: body.unwrap_or_default(),
            };
            let answer = answer(&one).map(Full::new);
            seen.lock().push(one);
            Ok::<_, Infallible>(answer)
        }
    });
    let _ = auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// A JSON answer.
pub fn answer(status: u16, body: &Value) -> Response<Bytes> {
    let answer = Response::builder()
        .status(status)
        .header("content-type", "application/json");
    answer.body(body.to_string().into()).expect("an answer")
}

/// A chat answer that cost this many tokens.
pub fn chat_answer(input: u64, output: u64) -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "sim-a",
        "choices": [{"index": 0, "finish_reason": "stop",
            "message": {"role": "assistant", "content": "Hello."}}],
        "usage": {"prompt_tokens": input, "completion_tokens": output,
            "total_tokens": input + output},
    })
}
