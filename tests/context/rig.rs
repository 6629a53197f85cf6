//! A provider whose requests are written down on their way, and conversations that grow.

use crate::common::calls::{Dialect, Http, Reply};
use crate::common::gateway::Gateway;
use crate::common::setup::Setup;
use bursar::sim::{Settings, Sim};
use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

pub const DIALECTS: [Dialect; 3] = [Dialect::Chat, Dialect::Messages, Dialect::Responses];

/// A gateway before simulated providers whose requests are written down.
pub struct Rig {
    pub sim: Sim,
    pub gateway: Gateway,
    recorder: Recorder,
    http: Http,
}

impl Rig {
    pub async fn start(limits: &str) -> Self {
        let sim = Sim::start(Settings::default()).await.expect("a simulation");
        let recorder = Recorder::start(sim.addr()).await;
        let setup = Setup::new(recorder.addr).limits(limits);
        Self {
            gateway: Gateway::start(&setup).await,
            sim,
            recorder,
            http: Http::new(),
        }
    }

    /// Sends a conversation as this agent (`agent` or `agent:role`).
    pub async fn say(&self, who: &str, talk: &Talk) -> Reply {
        let (agent, role) = who.split_once(':').unwrap_or((who, ""));
        self.send(
            &[("x-bursar-agent-id", agent), ("x-bursar-agent-role", role)],
            talk,
        )
        .await
    }

    /// Sends a conversation with these headers, those that are empty left out.
    pub async fn send(&self, headers: &[(&str, &str)], talk: &Talk) -> Reply {
        let path = match talk.dialect {
            Dialect::Messages => "/v1/messages",
            Dialect::Responses => "/v1/responses",
            _ => "/v1/chat/completions",
        };
        let mut request = Request::post(format!("{}{path}", self.gateway.agents))
            .header("content-type", "application/json")
            .header("x-bursar-task-id", "t");
        for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
            request = request.header(*name, *value);
        }
        let body = Bytes::from(talk.body().to_string());
        let sent = self
            .http
            .send(request.body(body.into()).expect("a request"));
        let reply = Reply::read(sent.await.expect("sent")).await.expect("read");
        self.gateway.quiet().await;
        reply
    }

    /// What left for the provider, in order.
    pub fn left(&self) -> Vec<Value> {
        let bodies = self.recorder.bodies.lock().expect("no panic");
        let read = |body: &Bytes| serde_json::from_slice(body).expect("JSON");
        bodies.iter().map(read).collect()
    }

    /// The last body that left, as bytes.
    pub fn last_bytes(&self) -> Bytes {
        let bodies = self.recorder.bodies.lock().expect("no panic");
        bodies.last().expect("one left").clone()
    }
}

/// A conversation of one agent.
#[derive(Clone)]
pub struct Talk {
    pub dialect: Dialect,
    pub model: &'static str,
    pub messages: Vec<Value>,
    pub previous: Option<&'static str>,
    pub stream: bool,
    /// `output_config`
    pub output_config: Value,
    turns: usize,
}

impl Talk {
    /// A task statement, with a system text of that many bytes.
    pub fn new(dialect: Dialect) -> Self {
        let mut talk = Self {
            dialect,
            model: "sim-cheap",
            messages: Vec::new(),
            previous: None,
            stream: false,
            output_config: Value::Null,
            turns: 0,
        };
        if dialect == Dialect::Chat {
            let system = json!({"role": "system", "content": "You are a careful worker."});
            talk.messages.push(system);
        }
        talk.user("Find out how many purses there are.");
        talk
    }

    pub fn user(&mut self, text: &str) {
        self.messages.push(json!({"role": "user", "content": text}));
    }

    pub fn assistant(&mut self, text: &str) {
        self.messages
            .push(json!({"role": "assistant", "content": text}));
    }

    /// The model calls a tool, and it says so many bytes.
    pub fn tool_turn(&mut self, bytes: usize) {
        self.turns += 1;
        let (id, said) = (format!("call_{}", self.turns), words(self.turns, bytes));
        let arguments = format!("{{\"page\":{}}}", self.turns);
        match self.dialect {
            Dialect::Messages => {
                let input: Value = serde_json::from_str(&arguments).expect("JSON");
                self.messages.push(json!({"role": "assistant", "content": [
                    {"type": "tool_use", "id": id, "name": "look_up", "input": input}]}));
                self.messages.push(json!({"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": id, "content": said}]}));
            }
            Dialect::Responses => {
                self.messages
                    .push(json!({"type": "function_call", "call_id": id,
                    "name": "look_up", "arguments": arguments}));
                let output = json!({"type": "function_call_output", "call_id": id, "output": said});
                self.messages.push(output);
            }
            _ => {
                self.messages
                    .push(json!({"role": "assistant", "content": null, "tool_calls": [
                    {"id": id, "type": "function",
                     "function": {"name": "look_up", "arguments": arguments}}]}));
                let result = json!({"role": "tool", "tool_call_id": id, "content": said});
                self.messages.push(result);
            }
        }
    }

    pub fn body(&self) -> Value {
        let mut body = json!({"model": self.model});
        let (list, cap) = match self.dialect {
            Dialect::Messages => ("messages", "max_tokens"),
            Dialect::Responses => ("input", "max_output_tokens"),
            _ => ("messages", "max_tokens"),
        };
        if self.dialect == Dialect::Messages {
            body["system"] = "You are a careful worker.".into();
        }
        if let Some(previous) = self.previous {
            body["previous_response_id"] = previous.into();
        }
        if self.stream {
            body["stream"] = true.into();
        }
        if self.output_config.is_object() {
            body["output_config"] = self.output_config.clone();
        }
        body[list] = self.messages.clone().into();
        body[cap] = 50.into();
        body
    }
}

/// The messages of a body that left.
pub fn messages(body: &Value) -> Vec<Value> {
    let list = body.get("messages").unwrap_or(&body["input"]);
    list.as_array().expect("a list").clone()
}

/// Text of that many bytes that differs from turn to turn.
pub fn words(turn: usize, bytes: usize) -> String {
    let mut text = String::new();
    while text.len() < bytes {
        text.push_str(&format!("page {turn} line {} ", text.len()));
    }
    text.truncate(bytes);
    text
}

/// Passes everything on, and writes the bodies of requests down.
struct Recorder {
    addr: SocketAddr,
    bodies: Arc<Mutex<Vec<Bytes>>>,
    accepting: AbortHandle,
}

impl Recorder {
    async fn start(provider: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("bound");
        let bodies = Arc::<Mutex<Vec<Bytes>>>::default();
        let noted = Arc::clone(&bodies);
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((caller, _)) = listener.accept().await {
                let noted = Arc::clone(&noted);
                connections.spawn(async move {
                    let provider = TcpStream::connect(provider).await.expect("the simulation");
                    let (from_caller, mut to_caller) = caller.into_split();
                    let (mut from_provider, to_provider) = provider.into_split();
                    let back = tokio::io::copy(&mut from_provider, &mut to_caller);
                    let _ = tokio::join!(pass_on(from_caller, to_provider, &noted), back);
                });
            }
        });
        Self {
            addr,
            bodies,
            accepting: accepting.abort_handle(),
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn pass_on(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    noted: &Mutex<Vec<Bytes>>,
) -> std::io::Result<()> {
    let mut read = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if from.read_buf(&mut read).await? == 0 {
                return to.shutdown().await;
            }
        };
        let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"))
            .map_or(0, |length| length.trim().parse().expect("a length"));
        while read.len() < end + length {
            if from.read_buf(&mut read).await? == 0 {
                return to.shutdown().await;
            }
        }
        let rest = read.split_off(end + length);
        noted
            .lock()
            .expect("no panic")
            .push(Bytes::copy_from_slice(&read[end..]));
        to.write_all(&read).await?;
        read = rest;
    }
}
