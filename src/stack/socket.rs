//! The outermost door: `GET /v1/responses` may become a WebSocket, over which calls come one after the
//! other. Every other request passes.
//!
//! Needs nothing. Each frame of a socket becomes a call of its own that goes down the whole stack as a
//! `POST` would, with the head of the request that opened the socket: who calls is looked up again, and
//! the configuration is the one in force by then.

mod events;
mod frame;
mod session;

use super::body::AnswerBody;
use super::endpoint::Endpoint;
use super::{Code, Refused, arrival};
use crate::dialect::Dialect;
use crate::dialect::refusal::Refusal;
use crate::gateway::Gateway;
use bytes::Bytes;
use futures_util::future::Either;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use session::{Head, Session};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

/// How long sockets may take to close once they are told to.
const CLOSE_TIME: Duration = Duration::from_secs(3);
/// When a caller that found no place may come again, seconds.
const RETRY_AFTER_S: u32 = 5;

/// A request's body, as it comes to the stack.
pub enum Arriving {
    /// From a connection.
    Wire(Incoming),
    /// A frame of a socket, whole.
    Frame(Bytes),
}

/// All sockets.
#[derive(Debug, Default)]
pub struct Sockets {
    open: TaskTracker,
    taken: Arc<AtomicUsize>,
    /// Idle ones are to close, the others after their call.
    stop: CancellationToken,
    /// All are to close.
    cut: CancellationToken,
}

impl Sockets {
    /// From now on sockets close as soon as no call is in flight on them.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until all are closed, and cuts off those that are not within `drain`. Returns how many.
    pub async fn closed(&self, drain: Duration) -> usize {
        self.stop();
        self.open.close();
        if tokio::time::timeout(drain, self.open.wait()).await.is_ok() {
            return 0;
        }
        let open = self.open.len();
        self.cut.cancel();
        // What is in flight on them is seen through by itself.
        let _ = tokio::time::timeout(CLOSE_TIME, self.open.wait()).await;
        open
    }

    /// A place for one socket more, given back when it is dropped.
    fn seat(&self, most: usize) -> Option<Seat> {
        let more = |taken| (taken < most).then_some(taken + 1);
        let update = self
            .taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        update.is_ok().then(|| Seat(Arc::clone(&self.taken)))
    }
}

/// One socket's place.
#[derive(Debug)]
struct Seat(Arc<AtomicUsize>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An extension of a request that asks for a socket: whether there is a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct HasPlace(bool);

/// The service.
#[derive(Clone)]
pub struct Socket<S> {
    gateway: Arc<Gateway>,
    inner: S,
}

impl<S> Socket<S> {
    pub(super) const fn new(gateway: Arc<Gateway>, inner: S) -> Self {
        Self { gateway, inner }
    }
}

type Opening = Pin<Box<dyn Future<Output = Result<Response<AnswerBody>, Infallible>> + Send>>;

impl<S> Service<Request<Incoming>> for Socket<S>
where
    S: Service<Request<Arriving>, Response = Response<AnswerBody>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Either<S::Future, Opening>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        if *request.method() != Method::GET || !is_asked_for(request.headers()) {
            return Either::Left(self.inner.call(request.map(Arriving::Wire)));
        }
        let (gateway, inner) = (Arc::clone(&self.gateway), self.inner.clone());
        Either::Right(Box::pin(open(gateway, inner, request)))
    }
}

/// Sends the request down the stack as it is; if that says yes, the connection becomes a socket.
async fn open<S>(
    gateway: Arc<Gateway>,
    mut inner: S,
    mut request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Infallible>
where
    S: Service<Request<Arriving>, Response = Response<AnswerBody>, Error = Infallible>
        + Send
        + 'static,
    S::Future: Send + 'static,
{
    let upgrade = hyper::upgrade::on(&mut request);
    let live = gateway.live();
    let seat = gateway.sockets.seat(live.config().listen.max_sockets);
    let head = Head::of(&request);
    request
        .extensions_mut()
        .insert(HasPlace(seat.is_some() && !gateway.is_draining()));
    let answer = inner.call(request.map(Arriving::Wire)).await?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS
        && let Some(seat) = seat
    {
        let sockets = &gateway.sockets;
        let ends = session::Ends {
            stop: sockets.stop.clone(),
            cut: sockets.cut.clone(),
        };
        let bounds = session::Bounds::of(live.config());
        sockets.open.spawn(async move {
            let _seat = seat;
            match tokio::time::timeout(bounds.pause, upgrade).await {
                Ok(Ok(io)) => {
                    Session::new(io, inner, head, bounds, ends)
                        .await
                        .run()
                        .await
                }
                Ok(Err(error)) => tracing::debug!(%error, "a socket could not be opened"),
                Err(_) => tracing::debug!("a socket was not opened in time"),
            }
        });
    }
    Ok(answer)
}

/// The answer to a request that asks for a WebSocket, `None` if it does not.
///
/// # Errors
/// There is none to be had here: the path, the version, no place.
pub(super) fn accepted(
    request: &Request<Arriving>,
) -> Result<Option<Response<AnswerBody>>, Refused> {
    let Some(HasPlace(has_place)) = request.extensions().get() else {
        return Ok(None);
    };
    let dialect = match arrival(request.extensions()).target.endpoint {
        Endpoint::Metered(dialect) => dialect,
        Endpoint::CountTokens => Dialect::AnthropicMessages,
        _ => return Ok(None),
    };
    let headers = request.headers();
    let key = headers.get(header::SEC_WEBSOCKET_KEY);
    let version = headers.get(header::SEC_WEBSOCKET_VERSION);
    let is_13 = version.is_some_and(|version| version.as_bytes() == b"13");
    let (Dialect::OpenaiResponses, Some(key), true) = (dialect, key, is_13) else {
        let message = "Only /v1/responses may be a WebSocket (version 13) here; send a POST.";
        return Err(Refused::new(Code::InvalidRequest, message).status(426));
    };
    if !has_place {
        let message = "As many WebSockets are open here as may be (`max_sockets`); send a POST.";
        return Err(Refusal::rate_limited(message, RETRY_AFTER_S).into());
    }
    let Ok(accept) = HeaderValue::try_from(derive_accept_key(key.as_bytes())) else {
        return Err(Refused::internal("a digest is no header"));
    };
    let mut answer = Response::new(AnswerBody::Whole(Bytes::new()));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let told = answer.headers_mut();
    told.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    told.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    told.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    Ok(Some(answer))
}

/// Other upgrades (`h2c`, which some clients offer with every call) may be left unanswered.
fn is_asked_for(headers: &HeaderMap) -> bool {
    let upgrades = headers.get_all(header::UPGRADE).into_iter();
    let mut offers = upgrades.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    offers.any(|offer| offer.trim_ascii().eq_ignore_ascii_case(b"websocket"))
}
