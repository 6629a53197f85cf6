//! `[listen]`: where agents and operators reach the gateway, over what, and how much of a
//! connection one caller may take.

use super::read::Section;
use super::value;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use toml::de::DeValue;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A host (name or IP address, IPv6 without brackets) and a port; port 0 takes any free one.
    Tcp(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Address {
    /// True if only this machine can reach it. A Unix socket counts: its file's mode guards it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(host, _) => host
                .parse::<IpAddr>()
                .map_or(host == "localhost", |ip| ip.is_loopback()),
            Self::Unix(_) => true,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// `[listen.tls]`: PEM files for the `agents` listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificate chain, leaf first.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// `[listen]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Agents call here.
    pub agents: Address,
    /// Operators look here: probes, metrics, API, dashboard.
    pub ops: Address,
    /// TLS on `agents`; without it, plain HTTP.
    pub tls: Option<Tls>,
    /// Connections open at once on `agents`; further ones wait in the kernel.
    pub max_connections: usize,
    /// HTTP/2 streams open at once on one connection.
    pub max_streams: u32,
    /// WebSockets open at once; none are opened at 0.
    pub max_sockets: usize,
    /// Bytes of a request's head.
    pub max_header_bytes: usize,
    /// From the first byte of a request's head (or of the TLS handshake) to its last.
    pub header_timeout: Duration,
    /// How long a request's body may take to come, whole.
    pub body_timeout: Duration,
    /// How long a connection may stand idle between requests.
    pub idle_timeout: Duration,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            agents: Address::Tcp("127.0.0.1".to_owned(), 7070),
            ops: Address::Tcp("127.0.0.1".to_owned(), 7071),
            tls: None,
            max_connections: 10_000,
            max_streams: 200,
            max_sockets: 1_000,
            max_header_bytes: 64 << 10,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(120),
            idle_timeout: Duration::from_secs(300),
        }
    }
}

pub(super) fn read(parent: &Section<'_>, top_level: &[&str]) -> Listen {
    let usual = Listen::default();
    let Some(section) = parent.section("listen") else {
        return usual;
    };
    let address = |value: &DeValue<'_>| address(value, &section);
    let tls = section.section("tls").and_then(|tls| read_tls(&tls));
    let listen = Listen {
        agents: section.or("agents", usual.agents, address),
        ops: section.or("ops", usual.ops, address),
        tls,
        max_connections: section.or(
            "max_connections",
            usual.max_connections,
            value::size_in(1, 1_000_000),
        ),
        max_streams: section.or("max_streams", usual.max_streams, |value| {
            let number = value::count_in(1, 100_000)(value)?;
            u32::try_from(number).map_err(|error| error.to_string())
        }),
        max_sockets: section.or("max_sockets", usual.max_sockets, value::size_in(0, 100_000)),
        max_header_bytes: section.or("max_header_bytes", usual.max_header_bytes, |value| {
            match value::bytes(value)? {
                size if (8 << 10..=1 << 20).contains(&size) => Ok(size),
                _ => Err("this is between 8KiB and 1MiB".to_owned()),
            }
        }),
        header_timeout: section.or("header_timeout", usual.header_timeout, value::positive_span),
        body_timeout: section.or("body_timeout", usual.body_timeout, value::positive_span),
        idle_timeout: section.or("idle_timeout", usual.idle_timeout, value::positive_span),
    };
    let same = listen.agents == listen.ops && !matches!(listen.agents, Address::Tcp(_, 0));
    if same {
        section.fault_of("ops", "`ops` and `agents` cannot share one address");
    }
    if listen.tls.is_some() && matches!(listen.agents, Address::Unix(_)) {
        section.fault_of(
            "tls",
            "TLS has no use on a Unix socket; take one of the two away",
        );
    }
    section.close_with(top_level);
    listen
}

fn read_tls(section: &Section<'_>) -> Option<Tls> {
    let path = |value: &DeValue<'_>| value::text(value).map(|text| section.path(&text));
    let (cert, key) = (section.need("cert", path), section.need("key", path));
    section.close();
    Some(Tls {
        cert: cert?,
        key: key?,
    })
}

fn address(value: &DeValue<'_>, section: &Section<'_>) -> Result<Address, String> {
    let text = value::text(value)?;
    if let Some(path) = text.strip_prefix("unix:") {
        return match path.is_empty() || path.contains('\0') {
            true => Err("after `unix:` comes a path".to_owned()),
            false => Ok(Address::Unix(section.path(path))),
        };
    }
    let wrong = || format!("`{text}` is neither host:port nor unix:PATH");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port: u16 = port.parse().map_err(|_| wrong())?;
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let is_right = match bare {
        Some(ip) => ip.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && (host.bytes()).all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-')
        }
    };
    match is_right {
        true => Ok(Address::Tcp(bare.unwrap_or(host).to_owned(), port)),
        false => Err(wrong()),
    }
}
