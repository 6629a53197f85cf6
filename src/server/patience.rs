//! How long a caller may take over a request's head, told apart from how long its connection may
//! stand idle: hyper has one timer for both, and agents keep connections open for minutes between
//! calls.
//!
//! Between the first byte of a head and the call of the service at most `head` may pass, and at most
//! `idle` before the very first byte, for hyper's timer runs only once it knows the protocol. Nothing
//! is armed when a head comes in one piece, which is the usual case. HTTP/2 has its own keep-alive, once its
//! preface is there: that is bounded as a head is.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const BUSY: u8 = 2;

/// What the connection is doing, known to its bytes and to its service.
#[derive(Clone, Debug, Default)]
pub struct Activity(Arc<AtomicU8>);

impl Activity {
    /// A head is complete.
    pub fn begin(&self) {
        self.0.store(BUSY, Ordering::Relaxed);
    }

    /// A call is answered.
    pub fn end(&self) {
        self.0.store(IDLE, Ordering::Relaxed);
    }
}

/// A connection whose heads must come in time.
#[derive(Debug)]
pub struct Patient<I> {
    io: I,
    activity: Activity,
    head: Duration,
    idle: Duration,
    overdue: Option<Pin<Box<Sleep>>>,
    /// Nothing has been read yet.
    fresh: bool,
    /// So many bytes of HTTP/2's preface have been read; `None` once something else has.
    preface: Option<usize>,
}

/// How an HTTP/2 connection begins.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl<I> Patient<I> {
    /// Bounds each head to `head`, and the wait for the first to `idle`.
    pub fn new(io: I, activity: Activity, head: Duration, idle: Duration) -> Self {
        Self {
            io,
            activity,
            head,
            idle,
            overdue: None,
            fresh: true,
            preface: Some(0),
        }
    }

    fn is_http2(&self) -> bool {
        self.preface == Some(PREFACE.len())
    }

    /// Compares what comes with the preface, for as long as it may be one.
    fn begins(&mut self, bytes: &[u8]) {
        if let Some(read) = self.preface
            && let Some(left) = PREFACE.get(read..)
        {
            let met = left.len().min(bytes.len());
            self.preface = (left[..met] == bytes[..met]).then_some(read + met);
            if self.is_http2() {
                self.overdue = None;
            }
        }
    }

    /// In the middle of a head, or before any: fails once it is overdue.
    fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let limit = if self.fresh {
            self.idle
        } else if self.activity.0.load(Ordering::Relaxed) == HEAD {
            self.head
        } else {
            self.overdue = None;
            return Poll::Pending;
        };
        let overdue = self.overdue.get_or_insert_with(|| Box::pin(sleep(limit)));
        overdue
            .as_mut()
            .poll(cx)
            .map(|()| io::ErrorKind::TimedOut.into())
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Patient<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.is_http2()
            && let Poll::Ready(error) = self.poll_overdue(cx)
        {
            return Poll::Ready(Err(error));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if read.is_ready() && buf.filled().len() > before {
            if std::mem::take(&mut self.fresh) {
                self.overdue = None;
            }
            self.begins(&buf.filled()[before..]);
            // Only the first byte after an answer begins a head.
            let _ =
                self.activity
                    .0
                    .compare_exchange(IDLE, HEAD, Ordering::Relaxed, Ordering::Relaxed);
        }
        read
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Patient<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    #[tokio::test(start_paused = true)]
    async fn a_head_in_pieces_is_overdue_but_an_idle_connection_is_not() {
        let (mut caller, io) = duplex(64);
        let activity = Activity::default();
        let (head, idle) = (Duration::from_secs(10), Duration::from_secs(300));
        let mut patient = Patient::new(io, activity.clone(), head, idle);
        let mut buf = [0; 16];
        // Idle for long: nothing happens until bytes come.
        let idle = tokio::time::timeout(Duration::from_secs(200), patient.read(&mut buf)).await;
        assert!(idle.is_err());
        caller.write_all(b"POST").await.unwrap();
        assert_eq!(patient.read(&mut buf).await.unwrap(), 4);
        // The rest of the head never comes.
        let error = patient.read(&mut buf).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_never_says_anything_is_closed() {
        let (_caller, io) = duplex(64);
        let (head, idle) = (Duration::from_secs(10), Duration::from_secs(300));
        let mut patient = Patient::new(io, Activity::default(), head, idle);
        let error = patient.read(&mut [0; 16]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_preface_is_bounded_as_a_head_is_and_what_follows_it_is_not() {
        let (head, idle) = (Duration::from_secs(10), Duration::from_secs(300));
        let mut buf = [0; 64];
        let (mut caller, io) = duplex(64);
        let mut patient = Patient::new(io, Activity::default(), head, idle);
        caller.write_all(&PREFACE[..4]).await.unwrap();
        assert_eq!(patient.read(&mut buf).await.unwrap(), 4);
        let error = patient.read(&mut buf).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);

        let (mut caller, io) = duplex(64);
        let mut patient = Patient::new(io, Activity::default(), head, idle);
        for piece in [&PREFACE[..1], &PREFACE[1..20], &PREFACE[20..]] {
            caller.write_all(piece).await.unwrap();
            assert_eq!(patient.read(&mut buf).await.unwrap(), piece.len());
        }
        let waiting = tokio::time::timeout(Duration::from_secs(200), patient.read(&mut buf)).await;
        assert!(waiting.is_err(), "its own keep-alive looks after it");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_may_take_longer_than_a_head() {
        let (mut caller, io) = duplex(64);
        let activity = Activity::default();
        let (head, idle) = (Duration::from_secs(10), Duration::from_secs(300));
        let mut patient = Patient::new(io, activity.clone(), head, idle);
        let mut buf = [0; 16];
        caller.write_all(b"head").await.unwrap();
        assert_eq!(patient.read(&mut buf).await.unwrap(), 4);
        activity.begin();
        let body = tokio::time::timeout(Duration::from_secs(60), patient.read(&mut buf)).await;
        assert!(body.is_err(), "still waiting, not failed");
        activity.end();
    }
}
