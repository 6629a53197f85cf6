//! Which version of HTTP a connection speaks, found out before hyper reads from it.
//!
//! hyper finds it out too, but reads the first bytes into a buffer of its own for that; the connection's
//! read buffer then begins half full and doubles, which costs 8 KiB for as long as the connection stands.

use hyper_util::rt::TokioExecutor;
use hyper_util::server::conn::auto;
use std::io;
use tokio::net::TcpStream;

/// How an HTTP/2 connection begins; no HTTP/1 request does.
const PREFACE: &[u8; 4] = b"PRI ";

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.
    One,
    /// HTTP/2.
    Two,
    /// Left to hyper to find out.
    Unknown,
}

impl Version {
    /// Waits for the first bytes, and leaves them where they are.
    ///
    /// # Errors
    /// The connection's.
    pub async fn of(stream: &TcpStream) -> io::Result<Self> {
        let mut first = [0; PREFACE.len()];
        let length = stream.peek(&mut first).await?;
        Ok(Self::told_by(&first[..length]))
    }

    fn told_by(first: &[u8]) -> Self {
        if first == PREFACE {
            Self::Two
        } else if !first.is_empty() && PREFACE.starts_with(first) {
            Self::Unknown
        } else {
            Self::One
        }
    }

    /// What TLS agreed on.
    pub fn agreed(alpn: Option<&[u8]>) -> Self {
        match alpn {
            Some(b"h2") => Self::Two,
            Some(b"http/1.1") => Self::One,
            _ => Self::Unknown,
        }
    }
}

/// The settings of all versions, ready for each.
pub struct Protocols {
    one: auto::Builder<TokioExecutor>,
    two: auto::Builder<TokioExecutor>,
    unknown: auto::Builder<TokioExecutor>,
}

impl Protocols {
    /// These settings, for each version.
    pub fn new(settings: &auto::Builder<TokioExecutor>) -> Self {
        Self {
            one: settings.clone().http1_only(),
            two: settings.clone().http2_only(),
            unknown: settings.clone(),
        }
    }

    /// The settings for a connection.
    pub const fn of(&self, version: Version) -> &auto::Builder<TokioExecutor> {
        match version {
            Version::One => &self.one,
            Version::Two => &self.two,
            Version::Unknown => &self.unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn the_first_bytes_tell() {
        let told = [
            (&b"PRI "[..], Version::Two),
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
