//! Listeners: accept, TLS, HTTP/1 and HTTP/2, and a stop that lets calls in flight end.
//!
//! Needs a service; adds bounds: connections, header size, header time, concurrent streams.

mod patience;
pub mod reload;
pub mod run;
pub mod tls;
mod version;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use patience::{Activity, Patient};
use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use version::{Protocols, Version};

/// Bounds of one listener.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Connections open at once; further ones wait in the kernel's backlog.
    pub connections: usize,
    /// All request headers of one call, bytes.
    pub header_bytes: usize,
    /// From the first byte of a request's head to its last.
    pub header_time: Duration,
    /// Between two requests on one connection.
    pub idle_time: Duration,
    /// Concurrent streams of one HTTP/2 connection.
    pub h2_streams: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 16_384,
            header_bytes: 64 * 1024,
            header_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(300),
            h2_streams: 256,
        }
    }
}

/// Who is at the other end of a connection: an extension of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A TCP peer.
    Tcp(SocketAddr),
    /// Somebody who may open the Unix socket's file.
    Unix,
}

impl Peer {
    /// True for the Unix socket and for loopback addresses.
    #[must_use]
    pub fn is_local(self) -> bool {
        match self {
            Self::Unix => true,
            Self::Tcp(addr) => addr.ip().to_canonical().is_loopback(),
        }
    }
}

/// A bound socket.
pub enum Listener {
    /// Host and port.
    Tcp(TcpListener),
    /// A socket file, removed when the listener is dropped.
    Unix(UnixListener, SocketFile),
}

/// Removes the socket's file at the end.
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // A file that is already gone is what we want.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Listener {
    /// Binds `host:port`.
    ///
    /// # Errors
    /// The address is taken or not ours.
    pub async fn tcp(addr: &str) -> io::Result<Self> {
        Ok(Self::Tcp(TcpListener::bind(addr).await?))
    }

    /// Binds a Unix socket, readable and writable by its owner alone. A stale file that nobody
    /// listens on is replaced.
    ///
    /// # Errors
    /// Somebody listens there, or the folder is not writable.
    pub fn unix(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::{FileTypeExt, PermissionsExt};
        if let Ok(found) = std::fs::symlink_metadata(path) {
            if !found.file_type().is_socket() {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    format!("{} is there and is no socket", path.display()),
                ));
            }
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                return Err(io::Error::new(
                    io::ErrorKind::AddrInUse,
                    format!("{} is in use by another process", path.display()),
                ));
            }
            std::fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self::Unix(listener, SocketFile(path.to_owned())))
    }

    /// The address as a person would type it.
    #[must_use]
    pub fn address(&self) -> String {
        match self {
            Self::Tcp(listener) => listener
                .local_addr()
                .map_or_else(|_| "unknown".to_owned(), |addr| addr.to_string()),
            Self::Unix(_, file) => format!("unix:{}", file.0.display()),
        }
    }
}

/// Serves until `stop`, then waits at most `drain` for calls in flight.
/// Returns how many connections were still open at the end.
pub async fn serve<S, B>(
    listener: Listener,
    tls: Option<TlsAcceptor>,
    service: S,
    bounds: Bounds,
    stop: CancellationToken,
    drain: Duration,
) -> usize
where
    S: tower::Service<
            http::Request<Incoming>,
            Response = http::Response<B>,
            Error = std::convert::Infallible,
        > + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let open = TaskTracker::new();
    let places = Arc::new(Semaphore::new(bounds.connections));
    let http = Arc::new(Protocols::new(&bounds));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let (stream, peer, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: give those in use a moment to close.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let connection = Connection {
            http: Arc::clone(&http),
            service: service.clone(),
            stop: stop.clone(),
            peer,
            header_time: bounds.header_time,
            idle_time: bounds.idle_time,
            _counted: open.token(),
            _place: place,
        };
        match (stream, tls.clone()) {
            (Stream::Tcp(stream), None) => tokio::spawn(connection.run_tcp(stream)),
            (Stream::Tcp(stream), Some(tls)) => tokio::spawn(connection.run_tls(stream, tls)),
            (Stream::Unix(stream), _) => tokio::spawn(connection.run(stream, Version::Unknown)),
        };
    }
    // Whoever connects from here on is told so at once, and does not wait for nothing.
    drop(listener);
    open.close();
    match tokio::time::timeout(drain, open.wait()).await {
        Ok(()) => 0,
        Err(_) => open.len(),
    }
}

enum Stream {
    Tcp(TcpStream),
    Unix(tokio::net::UnixStream),
}

async fn accept(
    listener: &Listener,
    places: &Arc<Semaphore>,
) -> io::Result<(Stream, Peer, OwnedSemaphorePermit)> {
    let place = Arc::clone(places)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    match listener {
        Listener::Tcp(listener) => {
            let (stream, addr) = listener.accept().await?;
            // Small writes (one SSE event each) must not wait for one another.
            stream.set_nodelay(true)?;
            Ok((Stream::Tcp(stream), Peer::Tcp(addr), place))
        }
        Listener::Unix(listener, _) => {
            let (stream, _) = listener.accept().await?;
            Ok((Stream::Unix(stream), Peer::Unix, place))
        }
    }
}

/// One connection with what it needs; gives its place back when it ends.
struct Connection<S> {
    http: Arc<Protocols>,
    service: S,
    stop: CancellationToken,
    peer: Peer,
    header_time: Duration,
    idle_time: Duration,
    _counted: TaskTrackerToken,
    _place: OwnedSemaphorePermit,
}

impl<S, B> Connection<S>
where
    S: tower::Service<
            http::Request<Incoming>,
            Response = http::Response<B>,
            Error = std::convert::Infallible,
        > + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    async fn run<I>(self, io: I, version: Version)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let peer = self.peer;
        let service = self.service;
        let activity = Activity::default();
        let io = Patient::new(io, activity.clone(), self.header_time, self.idle_time);
        let service = hyper::service::service_fn(move |mut request: http::Request<Incoming>| {
            activity.begin();
            request.extensions_mut().insert(peer);
            // Every stage of the stack is always ready; it reserves nothing before it has a request.
            let answer = tower::Service::call(&mut service.clone(), request);
            let activity = activity.clone();
            async move {
                let answer = answer.await;
                // What becomes a socket has its own patience, and no heads any more.
                let status = answer.as_ref().map(http::Response::status);
                if status != Ok(http::StatusCode::SWITCHING_PROTOCOLS) {
                    activity.end();
                }
                answer
            }
        });
        let io = TokioIo::new(io);
        let (http, stop) = (&*self.http, &self.stop);
        // Boxed where it is large and seldom: HTTP/1 alone decides how much a connection takes.
        match version {
            Version::One => {
                let connection = pin!(http.one.serve_connection(io, service).with_upgrades());
                let shut = http1::UpgradeableConnection::graceful_shutdown;
                see_through(connection, shut, stop).await;
            }
            Version::Unknown => {
                let connection = http.unknown.serve_connection_with_upgrades(io, service);
                let shut = auto::UpgradeableConnection::graceful_shutdown;
                see_through(Box::pin(connection).as_mut(), shut, stop).await;
            }
        }
    }

    async fn run_tcp(self, stream: TcpStream) {
        let version = tokio::select! {
            version = tokio::time::timeout(self.idle_time, Version::of(&stream)) => version,
            // Nobody waits for an answer yet.
            () = self.stop.cancelled() => return,
        };
        match version {
            Ok(Ok(version)) => self.run(stream, version).await,
            Ok(Err(error)) => tracing::debug!(%error, "a connection failed"),
            Err(_) => tracing::debug!("nothing came on a connection"),
        }
    }

    async fn run_tls<I>(self, io: I, tls: TlsAcceptor)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        match tokio::time::timeout(self.header_time, tls.accept(io)).await {
            Ok(Ok(stream)) => {
                let version = Version::agreed(stream.get_ref().1.alpn_protocol());
                self.run(stream, version).await;
            }
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    }
}

/// Serves a connection to its end; told to stop, it ends after the calls in flight.
async fn see_through<C, E>(
    mut connection: Pin<&mut C>,
    shut: impl Fn(Pin<&mut C>),
    stop: &CancellationToken,
) where
    C: Future<Output = Result<(), E>>,
    E: Display,
{
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            shut(connection.as_mut());
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
