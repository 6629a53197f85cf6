//! Sends a call to its provider: connection pools, TLS roots, outbound proxy, and what of the
//! caller's headers goes along.
//!
//! Needs the body that leaves and the provider `route` chose. Adds nothing: it is the end of the
//! stack. Its errors say whether the provider can have seen the call, for that decides the hold.

use crate::config::Proxy;
use crate::gateway::Provider;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::{Client, Error as ClientError, ResponseFuture};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use smallvec::SmallVec;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tower::Service;

/// A body on its way out: whole where Bursar read it, streaming where it only passes.
pub enum Outgoing {
    /// Read and perhaps rewritten.
    Whole(Bytes),
    /// Passed through unread.
    Stream(Incoming),
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Stream(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(body) => body.size_hint(),
        }
    }
}

/// The end of the stack: sends what `admit` let leave.
#[derive(Clone, Copy, Debug)]
pub struct Send;

impl Service<(Arc<Provider>, http::Request<Outgoing>)> for Send {
    type Response = ResponseFuture;
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<ResponseFuture, std::convert::Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), std::convert::Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(
        &mut self,
        (provider, request): (Arc<Provider>, http::Request<Outgoing>),
    ) -> Self::Future {
        // The exchange itself is handed back as a future that outlives a caller who hangs up.
        std::future::ready(Ok(provider.pool.send(provider.signed(request))))
    }
}

/// Why a provider cannot be reached as configured.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// The CA file.
    #[error(transparent)]
    Ca(#[from] crate::server::tls::TlsError),
    /// A certificate in the CA file is unusable.
    #[error("a certificate of the CA file cannot be used: {0}")]
    Root(#[from] rustls::Error),
}

/// TLS towards others: the built-in roots, and the certificates in the file `ca`.
///
/// # Errors
/// The CA file cannot be read or used.
pub fn tls_roots(ca: Option<&Path>) -> Result<rustls::ClientConfig, PoolError> {
    let mut roots = rustls::RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    if let Some(path) = ca {
        for certificate in crate::server::tls::certificates(path)? {
            roots.add(certificate)?;
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// An outbound proxy.
#[derive(Clone, Debug)]
pub struct Via {
    /// Where it is.
    pub proxy: Uri,
    /// `Proxy-Authorization`, if it asks for any.
    pub auth: Option<HeaderValue>,
}

impl Via {
    /// The proxy that a configured way out leads through to this address; none if it leads straight there.
    #[must_use]
    pub fn of(way: &Proxy, to: &Uri) -> Option<Self> {
        match way {
            Proxy::Direct => None,
            Proxy::Through(uri) => Some(Self {
                proxy: uri.clone(),
                auth: None,
            }),
            Proxy::Env => Matcher::from_env().intercept(to).map(|found| Self {
                proxy: found.uri().clone(),
                auth: found.basic_auth().cloned(),
            }),
        }
    }
}

/// The connections to one provider, or to whoever else is sent bodies of kind `B`.
pub enum Pool<B = Outgoing> {
    /// Straight to it.
    Direct(Client<HttpsConnector<HttpConnector>, B>),
    /// Through an HTTP proxy's `CONNECT`.
    Proxied(Client<HttpsConnector<Tunnel<HttpConnector>>, B>),
}

// By hand: bodies need not be cloned for it.
impl<B> Clone for Pool<B> {
    fn clone(&self) -> Self {
        match self {
            Self::Direct(client) => Self::Direct(client.clone()),
            Self::Proxied(client) => Self::Proxied(client.clone()),
        }
    }
}

impl<B> Pool<B>
where
    B: http_body::Body<Data: std::marker::Send> + std::marker::Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + std::marker::Send + Sync>>,
{
    /// Builds an empty pool. `ca` adds certificates to the built-in roots; at most `max_idle` connections
    /// are kept without a call.
    ///
    /// # Errors
    /// The CA file cannot be read or used.
    pub fn new(
        ca: Option<&Path>,
        proxy: Option<Via>,
        connect: Duration,
        max_idle: usize,
    ) -> Result<Self, PoolError> {
        Self::speaking(ca, proxy, connect, max_idle, false)
    }

    /// [`Pool::new`], but of HTTP/2 alone, also where there is no TLS to agree on it: for gRPC.
    ///
    /// # Errors
    /// As [`Pool::new`].
    pub fn http2(
        ca: Option<&Path>,
        proxy: Option<Via>,
        connect: Duration,
        max_idle: usize,
    ) -> Result<Self, PoolError> {
        Self::speaking(ca, proxy, connect, max_idle, true)
    }

    fn speaking(
        ca: Option<&Path>,
        proxy: Option<Via>,
        connect: Duration,
        max_idle: usize,
        http2_only: bool,
    ) -> Result<Self, PoolError> {
        let tls = tls_roots(ca)?;
        let mut http = HttpConnector::new();
        http.set_nodelay(true);
        http.enforce_http(false);
        http.set_connect_timeout(Some(connect));
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(60))
            .pool_max_idle_per_host(max_idle)
            .http2_only(http2_only);
        let https = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http();
        let https = match http2_only {
            true => https.enable_http2(),
            false => https.enable_http1().enable_http2(),
        };
        Ok(match proxy {
            None => Self::Direct(builder.build(https.wrap_connector(http))),
            Some(Via { proxy, auth }) => {
                let tunnel = Tunnel::new(proxy, http);
                let tunnel = match auth {
                    None => tunnel,
                    Some(auth) => tunnel.with_auth(auth),
                };
                Self::Proxied(builder.build(https.wrap_connector(tunnel)))
            }
        })
    }

    /// Sends. The future may be moved to another task and finished there.
    pub fn send(&self, request: http::Request<B>) -> ResponseFuture {
        match self {
            Self::Direct(client) => client.request(request),
            Self::Proxied(client) => client.request(request),
        }
    }
}

/// Whether a provider can have seen a call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// No byte left, or the provider said that it did not look at it.
    Never,
    /// Perhaps: it may be billed.
    Perhaps,
}

/// Reads it off the client's error.
#[must_use]
pub fn reached(error: &ClientError) -> Reached {
    if error.is_connect() {
        return Reached::Never;
    }
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(hyper) = cause.downcast_ref::<hyper::Error>()
            && hyper.is_canceled()
        {
            return Reached::Never;
        }
        if let Some(h2) = cause.downcast_ref::<h2::Error>()
            && h2.is_remote()
            && h2.reason() == Some(h2::Reason::REFUSED_STREAM)
        {
            return Reached::Never;
        }
        source = cause.source();
    }
    Reached::Perhaps
}

/// Headers that speak of one connection, not of the call.
fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "proxy-connection"
    )
}

/// Takes headers out by name, in one look at each.
fn strip(headers: &mut HeaderMap, unwanted: impl Fn(&str) -> bool) {
    let mut found: SmallVec<[HeaderName; 8]> = SmallVec::new();
    for name in headers.keys() {
        if unwanted(name.as_str()) {
            found.push(name.clone());
        }
    }
    for name in &found {
        headers.remove(name);
    }
}

/// Takes out what speaks of the connection, and what a `Connection` header names.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    strip_named(headers);
    strip(headers, is_hop_by_hop);
}

/// Takes out what a `Connection` header names.
fn strip_named(headers: &mut HeaderMap) {
    if let Some(named) = headers.get(header::CONNECTION).cloned()
        && let Ok(named) = named.to_str()
    {
        for name in named.split(',').map(str::trim) {
            if !name.eq_ignore_ascii_case("close") && !name.eq_ignore_ascii_case("keep-alive") {
                headers.remove(name);
            }
        }
    }
}

/// What of a caller's headers a provider may see.
#[derive(Clone, Copy, Debug, Default)]
pub struct Passing {
    /// The caller's own key goes along.
    pub credentials: bool,
    /// `x-bursar-*` ids go along: for providers of one's own.
    pub attribution: bool,
}

/// Turns the caller's headers into the provider's: everything unknown passes.
pub fn outgoing_headers(headers: &mut HeaderMap, passing: Passing) {
    strip_named(headers);
    strip(headers, |name| match name {
        "host" | "content-length" | "expect" | "forwarded" | "baggage" => true,
        "authorization" | "x-api-key" | "x-goog-api-key" | "api-key" => !passing.credentials,
        _ => is_hop_by_hop(name) || (!passing.attribution && name.starts_with("x-bursar-")),
    });
    // Only what Bursar can read: compressed answers would have to be unpacked to be metered.
    headers.insert(
        header::ACCEPT_ENCODING,
        HeaderValue::from_static("identity"),
    );
}

#[cfg(test)]
mod tests;
