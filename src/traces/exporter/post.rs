//! One post of spans over HTTP or gRPC, tried again with growing pauses as long as that may help and not
//! for ever.

use crate::config::{TraceExporter, TraceProtocol};
use crate::ops::metrics::Metrics;
use crate::stack::upstream::{Pool, PoolError, Via};
use crate::traces::wire::{Field, fields};
use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Tries of one post.
const TRIES_MAX: u32 = 5;
/// The first pause; it doubles with each try.
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// The longest pause, also where the receiver asks for a longer one.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// How long a connection may take.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// As much of an answer is read, bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Idle connections that are kept.
const IDLE_MAX: usize = 2;

/// How a try went.
enum Tried {
    /// It arrived; so many spans were rejected.
    Arrived(u64),
    /// It may arrive later.
    Later(String, Option<Duration>),
    /// It will not.
    Never(String),
}

/// Where spans are posted to.
pub(super) struct Post {
    name: Arc<str>,
    pool: Pool<Full<Bytes>>,
    uri: Uri,
    headers: HeaderMap,
    protocol: TraceProtocol,
    timeout: Duration,
}

impl Post {
    pub(super) fn new(config: &TraceExporter, headers: HeaderMap) -> Result<Self, PoolError> {
        let new = match config.protocol {
            TraceProtocol::Http => Pool::new,
            TraceProtocol::Grpc => Pool::http2,
        };
        let way = Via::of(&config.proxy, &config.endpoint);
        let pool = new(config.ca_file.as_deref(), way, CONNECT_TIME, IDLE_MAX)?;
        Ok(Self {
            name: Arc::clone(&config.name),
            pool,
            uri: config.endpoint.clone(),
            headers,
            protocol: config.protocol,
            timeout: config.timeout,
        })
    }

    /// Posts, and says how many spans the receiver rejected.
    ///
    /// # Errors
    /// Why it was given up; no header and no address is in it.
    pub(super) async fn send(
        &self,
        message: Bytes,
        metrics: &Metrics,
        stop: &CancellationToken,
    ) -> Result<u64, String> {
        let body = self.framed(message);
        let mut pause = PAUSE_MIN;
        for tries in 1.. {
            let tried = match tokio::time::timeout(self.timeout, self.once(body.clone())).await {
                Ok(tried) => tried,
                Err(_) => Tried::Later(format!("no answer within {:?}", self.timeout), None),
            };
            let (why, asked) = match tried {
                Tried::Arrived(rejected) => {
                    metrics.traces.posted(&self.name, "ok");
                    return Ok(rejected);
                }
                Tried::Later(why, asked) if tries < TRIES_MAX && !stop.is_cancelled() => {
                    (why, asked)
                }
                Tried::Later(why, _) | Tried::Never(why) => {
                    metrics.traces.posted(&self.name, "failed");
                    return Err(why);
                }
            };
            metrics.traces.posted(&self.name, "again");
            let wait = asked.unwrap_or(pause).clamp(PAUSE_MIN, PAUSE_MAX);
            pause = pause.saturating_mul(2);
            tokio::select! {
                () = tokio::time::sleep(crate::stack::jittered(wait)) => {}
                // Once more, and no more.
                () = stop.cancelled() => {}
            }
            tracing::debug!(exporter = &*self.name, why, tries, "spans are posted again");
        }
        Err("given up".to_owned())
    }

    /// gRPC puts five bytes in front: not compressed, and the length.
    fn framed(&self, message: Bytes) -> Bytes {
        match self.protocol {
            TraceProtocol::Http => message,
            TraceProtocol::Grpc => {
                let mut framed = BytesMut::with_capacity(message.len() + 5);
                framed.put_u8(0);
                framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
                framed.put(message);
                framed.freeze()
            }
        }
    }

    async fn once(&self, body: Bytes) -> Tried {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        if self.protocol == TraceProtocol::Grpc {
            *request.version_mut() = http::Version::HTTP_2;
        }
        match self.pool.send(request).await {
            Err(error) => Tried::Later(cause(&error), None),
            Ok(answer) => match self.protocol {
                TraceProtocol::Http => heard_http(answer).await,
                TraceProtocol::Grpc => heard_grpc(answer).await,
            },
        }
    }
}

/// What went wrong, without the address.
fn cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

async fn heard_http(answer: Response<Incoming>) -> Tried {
    let status = answer.status();
    let asked = asked_pause(answer.headers());
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
        .collect()
        .await;
    if status.is_success() {
        let body = body.map(http_body_util::Collected::to_bytes);
        return Tried::Arrived(body.map_or(0, |body| rejected(&body)));
    }
    let why = format!("status {}", status.as_u16());
    match status {
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Tried::Later(why, asked),
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            Tried::Later(why, asked)
        }
        _ => Tried::Never(why),
    }
}

async fn heard_grpc(answer: Response<Incoming>) -> Tried {
    let (head, body) = answer.into_parts();
    if head.status != StatusCode::OK {
        let why = format!("status {}", head.status.as_u16());
        return match head.status.is_server_error() {
            true => Tried::Later(why, None),
            false => Tried::Never(why),
        };
    }
    let collected = match Limited::new(body, ANSWER_BYTES_MAX).collect().await {
        Ok(collected) => collected,
        Err(_) => return Tried::Later("the answer broke off".to_owned(), None),
    };
    let said = collected
        .trailers()
        .and_then(|trailers| trailers.get("grpc-status"));
    let said = said.or_else(|| head.headers.get("grpc-status"));
    let code = said.and_then(|said| said.to_str().ok()?.parse::<u32>().ok());
    match code {
        Some(0) => {
            let body = collected.to_bytes();
            Tried::Arrived(body.get(5..).map_or(0, rejected))
        }
        // Cancelled, deadline, exhausted, aborted, out of range, unavailable, data loss: OTLP says to try again.
        Some(code @ (1 | 4 | 8 | 10 | 11 | 14 | 15)) => {
            Tried::Later(format!("gRPC status {code}"), None)
        }
        Some(code) => Tried::Never(format!("gRPC status {code}")),
        None => Tried::Later("an answer without a gRPC status".to_owned(), None),
    }
}

/// `ExportTraceServiceResponse.partial_success.rejected_spans`.
fn rejected(answer: &[u8]) -> u64 {
    let partial = fields(answer).find_map(|field| match field {
        (1, Field::Bytes(partial)) => Some(partial),
        _ => None,
    });
    let rejected = partial.and_then(|partial| {
        fields(partial).find_map(|field| match field {
            (1, Field::Number(rejected)) => Some(rejected),
            _ => None,
        })
    });
    rejected.unwrap_or(0)
}

fn asked_pause(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}
