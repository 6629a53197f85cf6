//! A provider that says what it is told to say next, and remembers what it was asked last.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

/// The provider. Dropping it stops it.
pub struct Provider {
    pub addr: SocketAddr,
    script: Arc<Mutex<Script>>,
    accepting: AbortHandle,
}

#[derive(Default)]
struct Script {
    status: u16,
    answer: Vec<u8>,
    content_type: &'static str,
    asked: Vec<Bytes>,
}

impl Provider {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("bound");
        let script: Arc<Mutex<Script>> = Arc::default();
        let told = Arc::clone(&script);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let told = Arc::clone(&told);
                tokio::spawn(async move {
                    let service = service_fn(|request| answer(Arc::clone(&told), request));
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self {
            addr,
            script,
            accepting: accepting.abort_handle(),
        }
    }

    /// Answers with this from now on.
    pub fn say(&self, status: u16, answer: &Value) {
        let mut script = self.script.lock().unwrap();
        script.status = status;
        script.content_type = "application/json";
        script.answer = answer.to_string().into_bytes();
    }

    /// Answers with this stream from now on.
    pub fn stream(&self, events: &str) {
        let mut script = self.script.lock().unwrap();
        script.status = 200;
        script.content_type = "text/event-stream";
        script.answer = events.as_bytes().to_vec();
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.script.lock().unwrap().asked.len()
    }

    /// What it was asked last, byte for byte.
    pub fn asked_last(&self) -> Bytes {
        self.script
            .lock()
            .unwrap()
            .asked
            .last()
            .expect("a call")
            .clone()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn answer(
    told: Arc<Mutex<Script>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await;
    let body = body
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let mut script = told.lock().unwrap();
    script.asked.push(body);
    let answer = Full::new(Bytes::from(script.answer.clone()));
    let mut response = Response::new(answer);
    *response.status_mut() = StatusCode::from_u16(script.status).expect("a status");
    let kind = script.content_type.parse().expect("a type");
    response.headers_mut().insert("content-type", kind);
    Ok(response)
}
