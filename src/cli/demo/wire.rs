//! What an agent's SDK would do: one HTTP call to the gateway, its answer read plain or as a stream.

use super::company::Speaks;
use crate::sse::{Boundary, Event};
use bytes::{Buf, Bytes};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 4 << 20;

/// Whom a call is for.
#[derive(Clone, Copy, Debug)]
pub struct From {
    pub task: &'static str,
    pub agent: &'static str,
    pub parent: Option<&'static str>,
}

/// What came of a call.
#[derive(Debug)]
pub enum Answer {
    /// What the model said.
    Said(String),
    /// An error answer: its status and body.
    Refused(u16, Value),
}

/// Calls to one gateway. Cloning it shares the connections.
#[derive(Clone)]
pub struct Wire {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
}

/// Why a call has no answer.
pub type WireError = Box<dyn std::error::Error + Send + Sync>;

impl Wire {
    /// To the gateway at `HOST:PORT`.
    pub fn new(gateway: &str) -> Self {
        let mut http = HttpConnector::new();
        http.set_nodelay(true);
        Self {
            client: Client::builder(TokioExecutor::new()).build(http),
            base: format!("http://{gateway}"),
        }
    }

    /// `GET /v1/budget` for an agent of a task.
    ///
    /// # Errors
    /// The gateway does not answer, or not with 200.
    pub async fn budget(&self, from: From) -> Result<Value, WireError> {
        let request = self.request("GET", "/v1/budget", from);
        let response = self.client.request(request.body(Full::default())?).await?;
        let status = response.status();
        let body = whole(response.into_body()).await?;
        match status {
            StatusCode::OK => Ok(serde_json::from_slice(&body)?),
            status => Err(format!("/v1/budget answers {status}").into()),
        }
    }

    /// One generation call.
    ///
    /// # Errors
    /// The gateway cannot be reached, or what it sends cannot be read.
    pub async fn generate(
        &self,
        speaks: Speaks,
        from: From,
        body: &Value,
    ) -> Result<Answer, WireError> {
        let path = match speaks {
            Speaks::Chat => "/v1/chat/completions",
            Speaks::Messages => "/v1/messages",
        };
        let request = self
            .request("POST", path, from)
            .header("content-type", "application/json")
            .body(Full::from(serde_json::to_vec(body)?))?;
        let response = self.client.request(request).await?;
        let status = response.status();
        if status != StatusCode::OK {
            let body = whole(response.into_body()).await?;
            return Ok(Answer::Refused(
                status.as_u16(),
                serde_json::from_slice(&body)?,
            ));
        }
        if body["stream"] == true {
            return streamed(response.into_body()).await;
        }
        let answer: Value = serde_json::from_slice(&whole(response.into_body()).await?)?;
        let said = match speaks {
            Speaks::Chat => &answer["choices"][0]["message"]["content"],
            Speaks::Messages => &answer["content"][0]["text"],
        };
        Ok(Answer::Said(said.as_str().unwrap_or_default().to_owned()))
    }

    fn request(&self, method: &str, path: &str, from: From) -> http::request::Builder {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("x-bursar-task-id", from.task)
            .header("x-bursar-agent-id", from.agent)
            .header("x-bursar-agent-role", from.agent);
        if let Some(parent) = from.parent {
            request = request.header("x-bursar-parent-agent-id", parent);
        }
        request
    }
}

async fn whole(body: Incoming) -> Result<Bytes, WireError> {
    Ok(http_body_util::Limited::new(body, MAX_ANSWER)
        .collect()
        .await?
        .to_bytes())
}

/// Reads a stream of either dialect to its end.
async fn streamed(body: Incoming) -> Result<Answer, WireError> {
    let mut body = http_body_util::Limited::new(body, MAX_ANSWER);
    let (mut boundary, mut event, mut said) = (Boundary::default(), Vec::new(), String::new());
    while let Some(frame) = body.frame().await {
        let Ok(mut data) = frame?.into_data() else {
            continue;
        };
        if boundary.stray_lf(&data) {
            data.advance(1);
        }
        while let Some(end) = boundary.end_of_event(&data) {
            event.extend_from_slice(&data[..end]);
            data.advance(end);
            if let Some(refused) = heard(&event, &mut said) {
                return Ok(refused);
            }
            event.clear();
        }
        event.extend_from_slice(&data);
    }
    Ok(Answer::Said(said))
}

/// Takes one event's words; an error in mid-stream ends it.
fn heard(event: &[u8], said: &mut String) -> Option<Answer> {
    let data = Event::parse(event).data?;
    let value: Value = serde_json::from_slice(&data).ok()?;
    if value.get("error").is_some() {
        return Some(Answer::Refused(200, value));
    }
    let words = value["choices"][0]["delta"]["content"]
        .as_str()
        .or_else(|| value["delta"]["text"].as_str());
    said.push_str(words.unwrap_or_default());
    None
}
