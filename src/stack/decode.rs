//! Reads a metered call's body, whole and within bounds, and finds what it says.
//!
//! Needs the endpoint. Adds the [`Call`](crate::dialect::Call). A body of any other endpoint is not touched.

use super::body::{AnswerBody, BodyError};
use super::endpoint::Endpoint;
use super::gate::boxed;
use super::socket::{self, Arriving};
use super::upstream::Outgoing;
use super::{Code, Refused, arrival};
use crate::dialect::Dialect;
use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder};
use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, TryStreamExt};
use http::{HeaderValue, Method, Request, Response, header};
use http_body::Body;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use tokio_util::io::{ReaderStream, StreamReader};
use tower::Service;

/// How long a body may take as a whole, in times of the longest pause between two pieces.
const PAUSES_MAX: u32 = 10;
/// How much of a body that is refused is let in, in times of the largest body.
const DISCARD_FACTOR: usize = 8;
/// For how long.
const DISCARD_TIME: Duration = Duration::from_secs(5);

/// Most that is set aside on a caller's word for its body's length, bytes.
const HINT_BYTES_MAX: usize = 1024 * 1024;

/// The service.
#[derive(Clone)]
pub struct Decode<S> {
    pub(super) inner: S,
}

impl<S> Service<Request<Arriving>> for Decode<S>
where
    S: Service<Request<Outgoing>, Response = Response<AnswerBody>, Error = Refused>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    type Response = S::Response;
    type Error = Refused;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, Refused>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Arriving>) -> Self::Future {
        let mut inner = self.inner.clone();
        boxed(move || async move {
            // No call yet: a socket over which calls will come.
            if *request.method() == Method::GET
                && let Some(answer) = socket::accepted(&request)?
            {
                return Ok(answer);
            }
            let request = read(request).await?;
            inner.call(request).await
        })
    }
}

async fn read(mut request: Request<Arriving>) -> Result<Request<Outgoing>, Refused> {
    let dialect = match arrival(request.extensions()).target.endpoint {
        Endpoint::Metered(dialect) => dialect,
        Endpoint::CountTokens => Dialect::AnthropicMessages,
        _ => {
            return Ok(request.map(|body| match body {
                Arriving::Wire(body) => Outgoing::Stream(body),
                Arriving::Frame(bytes) => Outgoing::Whole(bytes),
            }));
        }
    };
    if *request.method() != Method::POST {
        let message = format!("{} is not supported here; send a POST.", request.method());
        let mut refused = Refused::new(Code::InvalidRequest, &message).status(405);
        let post = HeaderValue::from_static("POST");
        refused.headers.insert(header::ALLOW, post);
        return Err(refused);
    }
    let config = arrival(request.extensions()).live.config();
    let max_bytes = config.bounds.max_body;
    let time = BodyTime::new(config.listen.body_timeout);
    let body = std::mem::replace(request.body_mut(), Arriving::Frame(Bytes::new()));
    let bytes = match body {
        Arriving::Wire(body) => collect(request.headers_mut(), body, max_bytes, time).await?,
        Arriving::Frame(bytes) => bytes,
    };
    let target = &arrival(request.extensions()).target;
    let deployment = target.ids.deployment.as_deref();
    let call = match crate::dialect::decode_for(dialect, bytes.clone(), deployment) {
        Ok(call) => Arc::new(call),
        Err(error) => return Err(Refused::new(Code::InvalidRequest, &error.to_string())),
    };
    request.extensions_mut().insert(call);
    Ok(request.map(|_| Outgoing::Whole(bytes)))
}

async fn collect(
    headers: &mut http::HeaderMap,
    mut body: Incoming,
    max_bytes: usize,
    time: BodyTime,
) -> Result<Bytes, Refused> {
    if body.size_hint().lower() > max_bytes as u64 {
        // Whoever asked first has sent nothing yet.
        if !headers.contains_key(header::EXPECT) {
            discard(&mut body, max_bytes).await;
        }
        return Err(too_large(max_bytes));
    }
    let read = match headers.get(header::CONTENT_ENCODING) {
        None => whole(&mut body, max_bytes, time).await,
        Some(encoding) => match unpacked(encoding.as_bytes(), &mut body) {
            Ok(mut unpacked) => {
                let read = whole(&mut unpacked, max_bytes, time).await;
                if read.is_ok() {
                    headers.remove(header::CONTENT_ENCODING);
                }
                read
            }
            Err(_) => {
                let message = "This content encoding is not supported: send gzip, deflate, br or zstd, or none.";
                Err(Refused::new(Code::InvalidRequest, message).status(415))
            }
        },
    };
    if let Err(refused) = &read
        && refused.refusal.status() != 408
    {
        discard(&mut body, max_bytes).await;
    }
    read
}

/// How long a body is waited for.
#[derive(Clone, Copy)]
struct BodyTime {
    /// Between two pieces.
    pause: Duration,
    /// When all of it must be there.
    until: Instant,
}

impl BodyTime {
    fn new(pause: Duration) -> Self {
        let until = Instant::now() + pause.saturating_mul(PAUSES_MAX);
        Self { pause, until }
    }

    /// When the next piece must be there.
    fn next(self) -> Instant {
        self.until.min(Instant::now() + self.pause)
    }
}

/// Reads a body to its end: at most `max_bytes`.
async fn whole<B>(body: &mut B, max_bytes: usize, time: BodyTime) -> Result<Bytes, Refused>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BodyError>,
{
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    loop {
        // Most bodies have come with their heads, and need no timer.
        let next = match body.frame().now_or_never() {
            Some(next) => next,
            None => {
                let next = timeout_at(time.next(), body.frame()).await;
                next.map_err(|_| too_slow())?
            }
        };
        let frame = match next {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                let message = format!("The body could not be read: {}.", error.into());
                return Err(Refused::new(Code::InvalidRequest, &message));
            }
            None if all.is_empty() => return Ok(first),
            None => return Ok(all.freeze()),
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if first.len().max(all.len()) + data.len() > max_bytes {
            return Err(too_large(max_bytes));
        }
        // Most bodies come in one piece, which needs no copy.
        if first.is_empty() {
            first = data;
        } else {
            if all.is_empty() {
                let more = usize::try_from(body.size_hint().lower()).unwrap_or(0);
                all.reserve(first.len() + data.len() + more.min(HINT_BYTES_MAX));
                all.extend_from_slice(&first);
            }
            all.extend_from_slice(&data);
        }
    }
}

/// Lets the rest of a body that is refused come in, and drops it: most clients write everything before they
/// read, and would find a closed connection in place of the refusal.
async fn discard(body: &mut Incoming, max_bytes: usize) {
    let mut left = max_bytes.saturating_mul(DISCARD_FACTOR);
    let discarding = async {
        while let Some(Ok(frame)) = body.frame().await {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            left = match left.checked_sub(bytes) {
                Some(left) => left,
                None => return,
            };
        }
    };
    // What comes later meets a closed connection.
    let _ = tokio::time::timeout(DISCARD_TIME, discarding).await;
}

fn too_large(max_bytes: usize) -> Refused {
    let message = format!("The body is larger than {max_bytes} bytes.");
    Refused::new(Code::BodyTooLarge, &message)
}

fn too_slow() -> Refused {
    let message = "The body did not come in time.";
    Refused::new(Code::InvalidRequest, message).status(408)
}

/// A body that is unpacked as it comes.
pub type Unpacked<'b> = Pin<Box<dyn Body<Data = Bytes, Error = BodyError> + Send + 'b>>;

/// A compressed body, unpacked as it comes. Gives the body back if the encoding is not known.
///
/// # Errors
/// The body, untouched.
pub fn unpacked<'b, B>(encoding: &[u8], body: B) -> Result<Unpacked<'b>, B>
where
    B: Body<Data = Bytes, Error = hyper::Error> + Send + Unpin + 'b,
{
    let packed = |body| {
        StreamReader::new(http_body_util::BodyDataStream::new(body).map_err(io::Error::other))
    };
    match encoding.trim_ascii().to_ascii_lowercase().as_slice() {
        b"identity" => Ok(Box::pin(body.map_err(BodyError::from))),
        b"gzip" | b"x-gzip" => Ok(stream(GzipDecoder::new(packed(body)))),
        b"deflate" => Ok(stream(ZlibDecoder::new(packed(body)))),
        b"br" => Ok(stream(BrotliDecoder::new(packed(body)))),
        b"zstd" => Ok(stream(ZstdDecoder::new(packed(body)))),
        _ => Err(body),
    }
}

fn stream<'b, R>(reader: R) -> Unpacked<'b>
where
    R: tokio::io::AsyncRead + Send + 'b,
{
    let frames = ReaderStream::new(reader)
        .map_ok(http_body::Frame::data)
        .map_err(BodyError::from);
    Box::pin(StreamBody::new(frames))
}
