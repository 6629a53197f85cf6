//! Callers over a WebSocket: events to one and from one.

use super::gateway::Gateway;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

/// For one frame; this machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A socket of a caller.
pub struct Line(pub WebSocketStream<TcpStream>);

impl Line {
    /// Opens one.
    pub async fn open(gateway: &Gateway, headers: &[(&str, &str)]) -> Self {
        Self::try_open(gateway, "/v1/responses", headers)
            .await
            .expect("a socket")
    }

    /// The status if it is not opened.
    pub async fn try_open(
        gateway: &Gateway,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Self, u16> {
        let place = gateway.agents.strip_prefix("http://").expect("plain HTTP");
        let mut request = format!("ws://{place}{path}").into_client_request().unwrap();
        for (name, value) in headers {
            let name = http::HeaderName::try_from(*name).unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let stream = TcpStream::connect(place).await.expect("a connection");
        match tokio::time::timeout(PATIENCE, tokio_tungstenite::client_async(request, stream))
            .await
            .expect("in time")
        {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// Sends an event.
    pub async fn say(&mut self, event: &Value) {
        let text = Message::text(event.to_string());
        self.0.send(text).await.expect("it is sent");
    }

    /// What comes next.
    pub async fn next(&mut self) -> Option<Message> {
        let next = tokio::time::timeout(PATIENCE, self.0.next()).await;
        next.expect("in time").and_then(Result::ok)
    }

    /// The next event.
    pub async fn event(&mut self) -> Value {
        loop {
            match self.next().await {
                Some(Message::Text(text)) => return serde_json::from_str(&text).expect("JSON"),
                Some(Message::Ping(_) | Message::Pong(_)) => {}
                other => panic!("no event: {other:?}"),
            }
        }
    }

    /// One call to its last event.
    pub async fn call(&mut self, model: &str) -> Value {
        self.say(&create(model)).await;
        self.last().await
    }

    /// The last event of the call under way.
    pub async fn last(&mut self) -> Value {
        loop {
            let event = self.event().await;
            let kind = event["type"].as_str().expect("a type").to_owned();
            if ["response.completed", "response.failed", "error"].contains(&&*kind) {
                return event;
            }
        }
    }

    /// The code that it is closed with, after whatever comes before.
    pub async fn closed(&mut self) -> CloseCode {
        loop {
            match self.next().await {
                Some(Message::Close(Some(frame))) => return frame.code,
                Some(Message::Close(None)) | None => panic!("closed without a word"),
                Some(_) => {}
            }
        }
    }
}

/// A call of that model.
pub fn create(model: &str) -> Value {
    json!({"type": "response.create", "model": model, "max_output_tokens": 1_000,
           "input": [{"type": "message", "role": "user", "content": "Where is the purse?"}]})
}
