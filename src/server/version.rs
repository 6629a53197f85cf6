//! Which version of HTTP a connection speaks, found out before hyper reads from it.
//!
//! hyper finds it out too, but reads the first bytes into a buffer of its own for that; the connection's
//! read buffer then begins half full and doubles, which costs 8 KiB for as long as the connection stands.

use super::Bounds;
use super::patience::PREFACE;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto;
use std::io;
use std::time::Duration;
use tokio::net::TcpStream;

/// How often an HTTP/2 caller that says nothing is asked whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// So many bytes of HTTP/2's preface tell it from every HTTP/1 request.
const TELLING: usize = 4;

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.
    One,
    /// Left to hyper to find out: HTTP/2, most likely.
    Unknown,
}

impl Version {
    /// Waits for the first bytes, and leaves them where they are.
    ///
    /// # Errors
    /// The connection's.
    pub async fn of(stream: &TcpStream) -> io::Result<Self> {
        let mut first = [0; TELLING];
        let length = stream.peek(&mut first).await?;
        Ok(Self::told_by(&first[..length]))
    }

    fn told_by(first: &[u8]) -> Self {
        if !first.is_empty() && PREFACE.starts_with(first) {
            Self::Unknown
        } else {
            Self::One
        }
    }

    /// What TLS agreed on.
    pub fn agreed(alpn: Option<&[u8]>) -> Self {
        match alpn {
            Some(b"http/1.1") => Self::One,
            _ => Self::Unknown,
        }
    }
}

/// The settings of both.
pub struct Protocols {
    /// HTTP/1.
    pub one: http1::Builder,
    /// The others. A stop ends them even before they have said all of what they are.
    pub unknown: auto::Builder<TokioExecutor>,
}

impl Protocols {
    /// Within these bounds.
    pub fn new(bounds: &Bounds) -> Self {
        // hyper counts the idle time before a head too; `patience` bounds the head itself.
        let idle = bounds.idle_time;
        let buffer = bounds.header_bytes.max(16 * 1024);
        let head = u32::try_from(bounds.header_bytes).unwrap_or(u32::MAX);
        let mut one = http1::Builder::new();
        one.timer(TokioTimer::new())
            .header_read_timeout(idle)
            .max_buf_size(buffer)
            .pipeline_flush(true);
        let mut unknown = auto::Builder::new(TokioExecutor::new());
        unknown
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(idle)
            .max_buf_size(buffer)
            .pipeline_flush(true);
        unknown
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(bounds.h2_streams)
            .max_header_list_size(head)
            .keep_alive_interval(KEEP_ALIVE);
        Self { one, unknown }
    }
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn the_first_bytes_tell() {
        let told = [
            (&b"PRI "[..], Version::Unknown),
            (b"POST", Version::One),
            (b"PO", Version::One),
            (b"P", Version::Unknown),
            (b"PRI", Version::Unknown),
            (b"\x16\x03\x01\x02", Version::One),
            (b"", Version::One),
        ];
        for (first, version) in told {
            assert_eq!(Version::told_by(first), version, "{first:?}");
        }
    }
}
