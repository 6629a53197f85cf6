//! Callers: one request each, in any dialect, read to its end or left half-way.

use bursar::units::NanoUsd;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

/// The dialects that generate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Chat,
    Messages,
    Responses,
    Completions,
}

/// One request to be made.
#[derive(Clone, Debug)]
pub struct Ask {
    pub dialect: Dialect,
    pub model: String,
    pub stream: bool,
    pub max_tokens: Option<u64>,
    pub n: Option<u64>,
    pub tools: bool,
    /// A structured answer is wanted.
    pub structured: bool,
    /// A system prompt, marked for the provider's cache where the dialect asks for that.
    pub system: Option<String>,
    /// What was said before, in the dialect's own form.
    pub history: Vec<Value>,
    /// The answer that this one builds on, by its id.
    pub previous: Option<String>,
    pub image: bool,
    pub text: String,
}

impl Ask {
    /// A plain chat call.
    pub fn chat(model: &str) -> Self {
        Self {
            dialect: Dialect::Chat,
            model: model.to_owned(),
            stream: false,
            max_tokens: Some(300),
            n: None,
            tools: false,
            structured: false,
            system: None,
            history: Vec::new(),
            previous: None,
            image: false,
            text: "What is a purse?".to_owned(),
        }
    }

    /// The same in another dialect.
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        self.dialect = dialect;
        self
    }

    /// The same as a stream.
    pub fn stream(mut self) -> Self {
        self.stream = true;
        self
    }

    /// The same with another output cap.
    pub fn max_tokens(mut self, most: Option<u64>) -> Self {
        self.max_tokens = most;
        self
    }

    fn path(&self) -> &'static str {
        match self.dialect {
            Dialect::Chat => "/v1/chat/completions",
            Dialect::Messages => "/v1/messages",
            Dialect::Responses => "/v1/responses",
            Dialect::Completions => "/v1/completions",
        }
    }

    fn body(&self) -> Value {
        let mut body = json!({"model": self.model});
        let (input, cap) = match self.dialect {
            Dialect::Chat => ("messages", "max_completion_tokens"),
            Dialect::Messages => ("messages", "max_tokens"),
            Dialect::Responses => ("input", "max_output_tokens"),
            Dialect::Completions => ("prompt", "max_tokens"),
        };
        body[input] = match self.dialect {
            Dialect::Completions => json!(self.text),
            _ => self.messages(),
        };
        if let (Some(system), Dialect::Messages) = (&self.system, self.dialect) {
            let mark = json!({"type": "ephemeral"});
            body["system"] = json!([{"type": "text", "text": system, "cache_control": mark}]);
        }
        if let Some(previous) = &self.previous {
            body["previous_response_id"] = json!(previous);
        }
        if self.stream {
            body["stream"] = true.into();
        }
        if let Some(most) = self.max_tokens {
            body[cap] = most.into();
        }
        if let Some(n) = self.n {
            body["n"] = n.into();
        }
        if self.tools {
            body["tools"] = self.declared_tools();
        }
        if self.structured {
            let schema = json!({"type": "object", "properties": {"title": {"type": "string"},
                "pages": {"type": "integer"}}, "required": ["title", "pages"]});
            let format = json!({"type": "json_schema", "name": "book", "schema": schema});
            match self.dialect {
                Dialect::Messages => body["output_config"] = json!({"format": format}),
                Dialect::Responses => body["text"] = json!({"format": format}),
                _ => {
                    body["response_format"] = json!({"type": "json_schema", "json_schema": format})
                }
            }
        }
        body
    }

    fn messages(&self) -> Value {
        let mut messages = Vec::new();
        if let (Some(system), Dialect::Chat) = (&self.system, self.dialect) {
            messages.push(json!({"role": "system", "content": system}));
        }
        messages.extend(self.history.iter().cloned());
        messages.push(self.said());
        messages.into()
    }

    /// What is said now.
    pub fn said(&self) -> Value {
        const IMAGE: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk";
        let text = &self.text;
        let content = match (self.dialect, self.image) {
            (_, false) | (Dialect::Completions, true) => json!(text),
            (Dialect::Chat, true) => json!([{"type": "text", "text": text},
                {"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{IMAGE}")}}]),
            (Dialect::Messages, true) => json!([{"type": "text", "text": text}, {"type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": IMAGE}}]),
            (Dialect::Responses, true) => json!([{"type": "input_text", "text": text},
                {"type": "input_image", "image_url": format!("data:image/png;base64,{IMAGE}")}]),
        };
        json!({"role": "user", "content": content})
    }

    /// The conversation with this plain answer in it, and the results of the tools it asked for.
    pub fn answered(&self, reply: &Reply) -> Vec<Value> {
        let body = reply.json();
        let mut history = self.history.clone();
        history.push(self.said());
        match self.dialect {
            Dialect::Chat => {
                let message = body["choices"][0]["message"].clone();
                let results = message["tool_calls"]
                    .as_array()
                    .cloned()
                    .unwrap_or_default();
                history.push(message);
                history.extend(results.iter().map(
                    |call| json!({"role": "tool", "tool_call_id": call["id"], "content": "42"}),
                ));
            }
            Dialect::Messages => {
                let content = body["content"].clone();
                let blocks = content.as_array().cloned().unwrap_or_default();
                history.push(json!({"role": "assistant", "content": content}));
                let calls = blocks.iter().filter(|block| block["type"] == "tool_use");
                let results: Vec<Value> = calls
                    .map(|call| json!({"type": "tool_result", "tool_use_id": call["id"], "content": "42"}))
                    .collect();
                if !results.is_empty() {
                    history.push(json!({"role": "user", "content": results}));
                }
            }
            Dialect::Responses => {
                let items = body["output"].as_array().cloned().unwrap_or_default();
                let calls = items.iter().filter(|item| item["type"] == "function_call");
                let results: Vec<Value> = calls
                    .map(|call| json!({"type": "function_call_output", "call_id": call["call_id"], "output": "42"}))
                    .collect();
                history.extend(items);
                history.extend(results);
            }
            Dialect::Completions => {}
        }
        history
    }

    fn declared_tools(&self) -> Value {
        let schema = json!({"type": "object", "properties": {"query": {"type": "string"}},
            "required": ["query"]});
        match self.dialect {
            Dialect::Messages => json!([{"name": "look_up", "input_schema": schema}]),
            Dialect::Responses => {
                json!([{"type": "function", "name": "look_up", "parameters": schema}])
            }
            _ => json!([{"type": "function",
                "function": {"name": "look_up", "parameters": schema}}]),
        }
    }
}

/// A pool of connections.
#[derive(Clone)]
pub struct Http(Client<HttpConnector, Full<Bytes>>);

impl Http {
    /// An empty pool.
    pub fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self(Client::builder(TokioExecutor::new()).build(connector))
    }

    /// A GET, read whole.
    pub async fn get(&self, url: &str) -> Result<Reply, String> {
        let request = Request::get(url).body(Full::default());
        let response = self.send(request.expect("a request")).await?;
        Reply::read(response).await
    }

    /// A POST of JSON, read whole.
    pub async fn post(&self, url: &str, body: &Value) -> Result<Reply, String> {
        let request = Request::post(url)
            .header("content-type", "application/json")
            .body(body.to_string().into());
        let response = self.send(request.expect("a request")).await?;
        Reply::read(response).await
    }

    /// Any request; returns as soon as the head of the answer is there.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, String> {
        let sent = super::bounded("the head of an answer", self.0.request(request)).await;
        sent.map_err(|error| format!("{error}: {:?}", std::error::Error::source(&error)))
    }
}

/// Who calls.
#[derive(Clone)]
pub struct Caller {
    http: Http,
    base: String,
    headers: HeaderMap,
}

impl Caller {
    /// A caller of this task.
    pub fn new(http: &Http, base: &str, task: &str) -> Self {
        let caller = Self {
            http: http.clone(),
            base: base.to_owned(),
            headers: HeaderMap::new(),
        };
        caller.header("x-bursar-task-id", task)
    }

    /// A caller who names no task.
    pub fn of_nobody(http: &Http, base: &str) -> Self {
        Self {
            http: http.clone(),
            base: base.to_owned(),
            headers: HeaderMap::new(),
        }
    }

    /// A GET.
    pub async fn get(&self, path: &str) -> Result<Reply, String> {
        let mut request = Request::get(format!("{}{path}", self.base));
        if let Some(headers) = request.headers_mut() {
            headers.extend(self.headers.clone());
        }
        let request = request.body(Full::default()).expect("a request");
        Reply::read(self.http.send(request).await?).await
    }

    /// With one more header.
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(name, value.parse().expect("a header"));
        self
    }

    /// As this agent.
    pub fn agent(self, agent: &str) -> Self {
        self.header("x-bursar-agent-id", agent)
    }

    /// As this identity.
    pub fn identity(self, name: &str) -> Self {
        let key = super::setup::key_of(name);
        self.header("authorization", &format!("Bearer {key}"))
    }

    /// At another address: the gateway was started again.
    pub fn at(mut self, base: &str) -> Self {
        base.clone_into(&mut self.base);
        self
    }

    /// Sends, and returns as soon as the head of the answer is there.
    pub async fn open(&self, ask: &Ask) -> Result<Response<Incoming>, String> {
        let mut request = Request::post(format!("{}{}", self.base, ask.path()))
            .header("content-type", "application/json");
        if let Some(headers) = request.headers_mut() {
            headers.extend(self.headers.clone());
        }
        let body = Bytes::from(ask.body().to_string());
        self.http
            .send(request.body(body.into()).expect("a request"))
            .await
    }

    /// Sends, and reads the answer to its end. An answer that breaks off is an error.
    pub async fn call(&self, ask: &Ask) -> Result<Reply, String> {
        Reply::read(self.open(ask).await?).await
    }

    /// Sends, and hangs up after so many pieces of the body; the request's id, if the head came.
    pub async fn hang_up(&self, ask: &Ask, after: u64) -> Result<Option<String>, String> {
        let response = self.open(ask).await?;
        let id = text_of(response.headers(), "x-bursar-request-id");
        let mut body = response.into_body();
        for _ in 0..after {
            if super::bounded("a piece", body.frame()).await.is_none() {
                break;
            }
        }
        Ok(id)
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    /// Reads an answer to its end.
    pub async fn read(response: Response<Incoming>) -> Result<Self, String> {
        let (parts, body) = response.into_parts();
        let body = super::bounded("the end of an answer", body.collect()).await;
        let body = body.map_err(|error| error.to_string())?;
        Ok(Self {
            status: parts.status,
            headers: parts.headers,
            body: body.to_bytes(),
        })
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    /// A header.
    pub fn header(&self, name: &str) -> Option<String> {
        text_of(&self.headers, name)
    }

    /// The request's id, on every answer.
    pub fn request_id(&self) -> String {
        self.header("x-bursar-request-id").expect("an id")
    }

    /// What a plain answer says that it cost.
    pub fn cost(&self) -> Option<NanoUsd> {
        let text = self.header("x-bursar-cost-usd")?;
        Some(text.parse().expect("an amount"))
    }

    /// The code of a refusal of ours; `None` if it is none.
    pub fn refusal(&self) -> Option<String> {
        if self.status.is_success() {
            return None;
        }
        let body: Value = serde_json::from_slice(&self.body).ok()?;
        Some(body["error"]["code"].as_str()?.to_owned())
    }

    /// The `data:` of each event, in order.
    pub fn events(&self) -> Vec<String> {
        let text = self.text();
        let lines = text.lines();
        lines
            .filter_map(|line| line.strip_prefix("data:"))
            .map(|data| data.trim().to_owned())
            .collect()
    }

    /// The `data:` of the last event but `[DONE]`, as JSON.
    pub fn last_event(&self) -> Value {
        let mut events = self.events();
        if events.last().is_some_and(|last| last == "[DONE]") {
            events.pop();
        }
        let last = events.pop().expect("an event");
        serde_json::from_str(&last).expect("JSON")
    }
}

fn text_of(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}
