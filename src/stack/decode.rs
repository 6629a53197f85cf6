//! Reads a metered call's body, whole and within bounds, and finds what it says.
//!
//! Needs the endpoint. Adds the [`Call`]. A body of any other endpoint is not touched.

use super::body::BodyError;
use super::endpoint::{Endpoint, Target};
use super::upstream::Outgoing;
use super::{Code, Refused, live};
use crate::dialect::{Call, Dialect};
use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder};
use bytes::Bytes;
use futures_util::TryStreamExt;
use http::{Method, Request, header};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited, StreamBody};
use hyper::body::Incoming;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio_util::io::{ReaderStream, StreamReader};
use tower::{Layer, Service};

/// The layer.
#[derive(Clone, Copy, Debug)]
pub struct DecodeLayer;

impl<S> Layer<S> for DecodeLayer {
    type Service = Decode<S>;

    fn layer(&self, inner: S) -> Decode<S> {
        Decode { inner }
    }
}

/// The service.
#[derive(Clone)]
pub struct Decode<S> {
    inner: S,
}

impl<S> Service<Request<Incoming>> for Decode<S>
where
    S: Service<Request<Outgoing>, Error = Refused> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = S::Response;
    type Error = Refused;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, Refused>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let mut inner = self.inner.clone();
        Box::pin(async move {
            let request = read(request).await?;
            inner.call(request).await
        })
    }
}

async fn read(request: Request<Incoming>) -> Result<Request<Outgoing>, Refused> {
    let endpoint = request
        .extensions()
        .get::<Target>()
        .map(|target| target.endpoint.clone());
    let dialect = match endpoint {
        Some(Endpoint::Metered(dialect)) => dialect,
        Some(Endpoint::CountTokens) => Dialect::AnthropicMessages,
        _ => return Ok(request.map(Outgoing::Stream)),
    };
    if *request.method() != Method::POST {
        let message = format!("{} is not supported here; send a POST.", request.method());
        return Err(Refused::new(Code::InvalidRequest, &message).status(405));
    }
    if request.headers().contains_key(header::UPGRADE) {
        let message = "WebSockets are not supported here; send a POST.";
        return Err(Refused::new(Code::InvalidRequest, message));
    }
    let live = live(&request);
    let max_bytes = live.config().bounds.max_body;
    let body_time = live.config().listen.body_timeout;
    let (mut parts, body) = request.into_parts();
    let collected = tokio::time::timeout(body_time, collect(&mut parts.headers, body, max_bytes));
    let bytes = collected.await.map_err(|_| {
        let message = format!("The body did not come within {} s.", body_time.as_secs());
        Refused::new(Code::InvalidRequest, &message).status(408)
    })??;
    let target = parts.extensions.get::<Target>();
    let deployment = target.and_then(|target| target.ids.deployment.as_deref());
    let call = crate::dialect::decode_for(dialect, bytes.clone(), deployment)
        .map_err(|error| Refused::new(Code::InvalidRequest, &error.to_string()))?;
    parts.extensions.insert(Arc::new(call) as Arc<Call>);
    Ok(Request::from_parts(parts, Outgoing::Whole(bytes)))
}

async fn collect(
    headers: &mut http::HeaderMap,
    body: Incoming,
    max_bytes: usize,
) -> Result<Bytes, Refused> {
    let too_large = || {
        let message = format!("The body is larger than {max_bytes} bytes.");
        Refused::new(Code::BodyTooLarge, &message)
    };
    if body.size_hint().lower() > max_bytes as u64 {
        return Err(too_large());
    }
    let read = |error: Box<dyn std::error::Error + Send + Sync>| {
        if error.is::<LengthLimitError>() {
            return too_large();
        }
        Refused::new(
            Code::InvalidRequest,
            &format!("The body could not be read: {error}."),
        )
    };
    match headers.get(header::CONTENT_ENCODING) {
        None => {
            let collected = Limited::new(body, max_bytes)
                .collect()
                .await
                .map_err(read)?;
            Ok(collected.to_bytes())
        }
        Some(encoding) => {
            let Ok(body) = unpacked(encoding.as_bytes(), body) else {
                let message = "This content encoding is not supported: send gzip, deflate, br or zstd, or none.";
                return Err(Refused::new(Code::InvalidRequest, message).status(415));
            };
            let collected = Limited::new(body, max_bytes)
                .collect()
                .await
                .map_err(read)?;
            headers.remove(header::CONTENT_ENCODING);
            Ok(collected.to_bytes())
        }
    }
}

/// A compressed body, unpacked as it comes. Gives the body back if the encoding is not known.
///
/// # Errors
/// The body, untouched.
pub fn unpacked(
    encoding: &[u8],
    body: Incoming,
) -> Result<Pin<Box<dyn Body<Data = Bytes, Error = BodyError> + Send>>, Incoming> {
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

fn stream<R>(reader: R) -> Pin<Box<dyn Body<Data = Bytes, Error = BodyError> + Send>>
where
    R: tokio::io::AsyncRead + Send + 'static,
{
    let frames = ReaderStream::new(reader)
        .map_ok(http_body::Frame::data)
        .map_err(BodyError::from);
    Box::pin(StreamBody::new(frames))
}
