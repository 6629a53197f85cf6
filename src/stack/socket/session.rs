//! One socket from its opening to its end: a frame comes, its call goes down the stack, each event of the
//! answer goes back as a frame, then the next. Whoever hangs up in mid-answer is read on for, and pays, as
//! over HTTP: the answer's body is dropped, and its end is seen to below.

use super::events::Events;
use super::{Arriving, CLOSE_TIME, frame};
use crate::config::Config;
use crate::stack::body::AnswerBody;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Extensions, HeaderMap, HeaderValue, Method, Request, Response, Uri, header};
use http_body_util::{BodyExt, Limited};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_util::sync::CancellationToken;
use tower::Service;

/// How long one socket may stand, calls in flight apart.
const SOCKET_TIME_MAX: Duration = Duration::from_secs(3_600);
/// Calls over one socket.
const CALLS_MAX: u32 = 10_000;
/// Of an error answer that is passed on, bytes.
const ERROR_BYTES_MAX: usize = 1 << 20;
/// Read buffer of a socket, bytes: the library's own is larger than a connection may cost.
const BUFFER_BYTES: usize = 8 << 10;

/// Bounds of one socket.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Of a frame that comes, bytes.
    frame_bytes: usize,
    /// Without a sign of the caller.
    idle: Duration,
    /// For a caller to take one frame.
    pub pause: Duration,
}

impl Bounds {
    pub const fn of(config: &Config) -> Self {
        Self {
            frame_bytes: config.bounds.max_body,
            idle: config.listen.idle_timeout,
            pause: config.listen.body_timeout,
        }
    }
}

/// What tells a socket to close.
#[derive(Debug)]
pub struct Ends {
    /// After the call in flight.
    pub stop: CancellationToken,
    /// At once.
    pub cut: CancellationToken,
}

/// The head of the request that opened the socket, as each of its calls has it.
pub struct Head {
    uri: Uri,
    headers: HeaderMap,
    extensions: Extensions,
}

impl Head {
    /// Without what belongs to the opening alone. A key for one call cannot stand for many.
    pub fn of<B>(request: &Request<B>) -> Self {
        let mut headers = request.headers().clone();
        for name in [
            header::CONNECTION,
            header::UPGRADE,
            header::SEC_WEBSOCKET_KEY,
            header::SEC_WEBSOCKET_VERSION,
            header::SEC_WEBSOCKET_EXTENSIONS,
            header::SEC_WEBSOCKET_PROTOCOL,
            header::CONTENT_LENGTH,
            header::CONTENT_ENCODING,
            header::TRANSFER_ENCODING,
            header::ACCEPT_ENCODING,
            crate::stack::headers::IDEMPOTENCY_KEY.clone(),
        ] {
            headers.remove(name);
        }
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        Self {
            uri: request.uri().clone(),
            headers,
            extensions: request.extensions().clone(),
        }
    }

    fn request(&self, body: Bytes) -> Request<Arriving> {
        let mut request = Request::new(Arriving::Frame(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        *request.extensions_mut() = self.extensions.clone();
        request
    }
}

/// The caller went, or was cut off.
#[derive(Clone, Copy, Debug)]
struct Gone;

/// One socket.
pub struct Session<S> {
    socket: WebSocketStream<TokioIo<Upgraded>>,
    inner: S,
    head: Head,
    bounds: Bounds,
    ends: Ends,
    /// A frame that came during the call before; no further one is read before its turn.
    next: Option<Utf8Bytes>,
}

impl<S> Session<S>
where
    S: Service<Request<Arriving>, Response = Response<AnswerBody>, Error = Infallible> + Send,
    S::Future: Send,
{
    pub async fn new(io: Upgraded, inner: S, head: Head, bounds: Bounds, ends: Ends) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(bounds.frame_bytes))
            .max_frame_size(Some(bounds.frame_bytes));
        let io = TokioIo::new(io);
        let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
        Self {
            socket,
            inner,
            head,
            bounds,
            ends,
            next: None,
        }
    }

    /// Serves it to its end.
    pub async fn run(mut self) {
        let until = Instant::now() + SOCKET_TIME_MAX;
        for _ in 0..CALLS_MAX {
            let Ok(text) = self.frame(until).await else {
                return;
            };
            if self.answer(&text).await.is_err() {
                // Told to whoever is only slow; nobody hears it otherwise.
                return self
                    .close(CloseCode::Away, "The connection was cut off.")
                    .await;
            }
        }
        let reason = "As many calls came over this connection as may; open another.";
        self.close(CloseCode::Policy, reason).await;
    }

    /// The next frame of text. Closes the socket if none is to be had.
    async fn frame(&mut self, until: Instant) -> Result<Utf8Bytes, Gone> {
        if self.ends.stop.is_cancelled() {
            self.next = None;
        }
        if let Some(text) = self.next.take() {
            return Ok(text);
        }
        loop {
            let message = tokio::select! {
                biased;
                () = self.ends.stop.cancelled() => {
                    self.close(CloseCode::Away, "The gateway is about to stop.").await;
                    return Err(Gone);
                }
                () = tokio::time::sleep_until(until) => {
                    self.close(CloseCode::Away, "The connection is too old; open another.").await;
                    return Err(Gone);
                }
                message = timeout(self.bounds.idle, self.socket.next()) => message,
            };
            match message {
                Ok(Some(Ok(Message::Text(text)))) => return Ok(text),
                Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {}
                Ok(Some(Ok(Message::Binary(_)))) => {
                    self.close(CloseCode::Unsupported, "Send text frames.")
                        .await;
                    return Err(Gone);
                }
                Ok(Some(Err(Error::Capacity(_)))) => return Err(self.too_large().await),
                Ok(Some(Ok(Message::Close(_) | Message::Frame(_)) | Err(_)) | None) => {
                    self.close(CloseCode::Normal, "").await;
                    return Err(Gone);
                }
                Err(_) => {
                    self.close(CloseCode::Away, "Nothing came for long.").await;
                    return Err(Gone);
                }
            }
        }
    }

    /// Makes one call and passes its answer on.
    async fn answer(&mut self, text: &Utf8Bytes) -> Result<(), Gone> {
        let body = match frame::call(text.as_bytes()) {
            Ok(body) => body,
            Err(why) => {
                let told = frame::error(400, "invalid_request", &why.to_string());
                return self.send(told).await;
            }
        };
        let answer = {
            let mut answering = pin!(self.inner.call(self.head.request(body)));
            tokio::select! {
                answer = &mut answering => match answer {
                    Ok(answer) => answer,
                    Err(never) => match never {},
                },
                gone = self.gone() => return Err(gone),
            }
        };
        let kind = answer.headers().get(header::CONTENT_TYPE);
        let streams = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        if answer.status().is_success() && streams {
            return self.pass(answer.into_body()).await;
        }
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), ERROR_BYTES_MAX).collect();
        let body = tokio::select! {
            body = body => body.map(http_body_util::Collected::to_bytes).unwrap_or_default(),
            gone = self.gone() => return Err(gone),
        };
        self.send(frame::answered(status, &body)).await
    }

    /// Passes a stream's events on. One that breaks off is told of: a socket has no other end to see.
    async fn pass(&mut self, mut body: AnswerBody) -> Result<(), Gone> {
        let mut events = Events::default();
        let mut is_over = false;
        loop {
            let piece = tokio::select! {
                piece = body.frame() => piece,
                gone = self.gone() => return Err(gone),
            };
            let Some(Ok(piece)) = piece else { break };
            // Trailers: nothing that a client reads.
            let Ok(data) = piece.into_data() else {
                continue;
            };
            events.push(data);
            loop {
                match events.next() {
                    Ok(Some(event)) => {
                        is_over = frame::is_last(event.as_bytes());
                        self.send(event).await?;
                    }
                    Ok(None) => break,
                    Err(_) => return self.broken().await,
                }
            }
        }
        if is_over { Ok(()) } else { self.broken().await }
    }

    async fn broken(&mut self) -> Result<(), Gone> {
        let told = frame::error(502, "upstream_error", "The answer broke off.");
        self.send(told).await
    }

    /// Reads on beside an answer; over once the caller is gone or the socket is to be cut off.
    async fn gone(&mut self) -> Gone {
        loop {
            if self.next.is_some() {
                self.ends.cut.cancelled().await;
                return Gone;
            }
            let message = tokio::select! {
                () = self.ends.cut.cancelled() => return Gone,
                message = self.socket.next() => message,
            };
            match message {
                Some(Ok(Message::Text(text))) => self.next = Some(text),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Err(Error::Capacity(_))) => return self.too_large().await,
                _ => return Gone,
            }
        }
    }

    async fn too_large(&mut self) -> Gone {
        let most = self.bounds.frame_bytes;
        let message = format!("The frame is larger than {most} bytes.");
        // Whoever is gone does not want to know.
        let _ = self
            .send(frame::error(413, "body_too_large", &message))
            .await;
        self.close(CloseCode::Size, "The frame is too large.").await;
        Gone
    }

    /// Sends one frame, within the time that its caller may take over it.
    async fn send(&mut self, text: String) -> Result<(), Gone> {
        let sending = self.socket.send(Message::text(text));
        tokio::select! {
            sent = timeout(self.bounds.pause, sending) => match sent {
                Ok(Ok(())) => Ok(()),
                _ => Err(Gone),
            },
            () = self.ends.cut.cancelled() => Err(Gone),
        }
    }

    /// Says why, and waits a little for the caller to say the same.
    async fn close(&mut self, code: CloseCode, reason: &'static str) {
        let told = CloseFrame {
            code,
            reason: reason.into(),
        };
        let closing = async {
            if self.socket.close(Some(told)).await.is_ok() {
                while let Some(Ok(_)) = self.socket.next().await {}
            }
        };
        // A caller that does not answer is left.
        let _ = timeout(CLOSE_TIME, closing).await;
    }
}
