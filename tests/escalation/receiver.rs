//! A webhook receiver that keeps what it gets, and answers as it is told to.

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;

/// One message as it came.
#[derive(Clone, Debug)]
pub struct Message {
    pub path: String,
    pub headers: HeaderMap,
    pub body: String,
}

impl Message {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_else(|| panic!("no {name}"))
    }
}

#[derive(Default)]
struct Kept {
    messages: Vec<Message>,
    /// Statuses of the next answers; 204 after them.
    answers: VecDeque<u16>,
}

/// The receiver.
#[derive(Clone)]
pub struct Receiver {
    pub addr: SocketAddr,
    kept: Arc<Mutex<Kept>>,
}

impl Receiver {
    /// One that answers with these statuses, then with 204.
    pub async fn start(answers: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        Self::on(listener, answers)
    }

    pub fn on(listener: TcpListener, answers: &[u16]) -> Self {
        let kept = Arc::new(Mutex::new(Kept {
            messages: Vec::new(),
            answers: answers.iter().copied().collect(),
        }));
        let addr = listener.local_addr().expect("an address");
        let receiver = Self { addr, kept };
        let serving = receiver.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let receiver = serving.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request: http::Request<_>| {
                        let receiver = receiver.clone();
                        async move { Ok::<_, std::convert::Infallible>(receiver.take(request).await) }
                    });
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        receiver
    }

    async fn take(&self, request: http::Request<hyper::body::Incoming>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        let message = Message {
            path: parts.uri.path().to_owned(),
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).expect("text"),
        };
        let mut kept = self.kept.lock().expect("no panic");
        kept.messages.push(message);
        let status = kept.answers.pop_front().unwrap_or(204);
        let mut answer = Response::new(Full::default());
        *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
        if status == 302 {
            let elsewhere = format!("http://{}/elsewhere", self.addr);
            answer
                .headers_mut()
                .insert("location", elsewhere.parse().expect("a header"));
        }
        answer
    }

    /// What has come so far.
    pub fn messages(&self) -> Vec<Message> {
        self.kept.lock().expect("no panic").messages.clone()
    }
}

/// HMAC-SHA256 written out, so that the test does not sign with what it checks.
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = [0_u8; 64];
    block[..key.len()].copy_from_slice(key);
    let pad = |with: u8| {
        block
            .iter()
            .map(move |byte| byte ^ with)
            .collect::<Vec<u8>>()
    };
    let mut inner = Sha256::new();
    inner.update(pad(0x36));
    inner.update(message);
    let mut outer = Sha256::new();
    outer.update(pad(0x5c));
    outer.update(inner.finalize());
    outer.finalize().to_vec()
}
