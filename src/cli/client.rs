//! How verbs that write reach the running gateway: its `ops` listener, over TCP or a Unix socket,
//! with the token that the configuration names.

use super::book::BookError;
use crate::config::{Address, Config};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// How long a connection may take.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// How long an answer may take: a report reads the whole journal.
const ANSWER_TIME: Duration = Duration::from_secs(600);
/// The longest answer, bytes.
const ANSWER_BYTES: usize = 256 << 20;

/// Where the gateway is, on the command line.
#[derive(Clone, Debug, clap::Args)]
pub struct OpsArgs {
    /// The gateway's `ops` listener (http://HOST:PORT or unix:PATH), instead of the configured one
    #[arg(long, value_name = "URL", env = "BURSAR_OPS")]
    pub ops: Option<String>,
    /// Who does it, for the journal (default: the user's name)
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
}

impl OpsArgs {
    /// Who does it.
    #[must_use]
    pub fn by(&self) -> Option<String> {
        let user = || std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
        let by = self.by.clone().or_else(|| user().ok());
        by.filter(|by| !by.is_empty())
    }
}

/// The gateway's `ops` listener.
pub struct Client {
    address: Address,
    token: Option<String>,
}

impl Client {
    /// The listener that `args` or the configuration names. The token is `BURSAR_OPS_TOKEN`, or what
    /// the configuration names.
    ///
    /// # Errors
    /// The configuration is at fault, or the address is none.
    pub fn new(args: &OpsArgs, config: &Path) -> Result<Self, BookError> {
        let env = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let read = Config::from_path(config);
        let read = match (&args.ops, read) {
            // The gateway may run elsewhere, and its files with it.
            (Some(_), Err(_)) if !config.exists() => None,
            (_, Ok(read)) => Some(read),
            (_, Err(faults)) => return Err(BookError::Config(faults.to_string())),
        };
        let token = match (env("BURSAR_OPS_TOKEN"), &read) {
            (Some(token), _) => Some(token),
            (None, Some(read)) => read
                .ops_token(&env)
                .map_err(|error| BookError::Config(format!("`ops_token`: {error}")))?,
            (None, None) => None,
        };
        let address = match (&args.ops, read) {
            (Some(url), _) => address(url)?,
            (None, Some(read)) => reachable(read.listen.ops)?,
            (None, None) => return Err(BookError::Usage("say --ops".to_owned())),
        };
        Ok(Self { address, token })
    }

    /// A GET.
    ///
    /// # Errors
    /// Nothing listens, or the gateway refuses.
    pub fn get(&self, path: &str) -> Result<Value, BookError> {
        self.ask(Method::GET, path, "application/json", Bytes::new())
    }

    /// A POST of JSON.
    ///
    /// # Errors
    /// Nothing listens, or the gateway refuses.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value, BookError> {
        let body = body.to_string().into();
        self.ask(Method::POST, path, "application/json", body)
    }

    /// A request with a body of that kind.
    ///
    /// # Errors
    /// Nothing listens, or the gateway refuses.
    pub fn ask(
        &self,
        method: Method,
        path: &str,
        kind: &'static str,
        body: Bytes,
    ) -> Result<Value, BookError> {
        let request = self.request(method, path, kind, body)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(BookError::Output)?;
        let (status, body) = runtime.block_on(self.exchange(request))?;
        let said: Option<Value> = serde_json::from_slice(&body).ok();
        match said {
            Some(said) if status.is_success() => Ok(said),
            said => Err(self.refused(status, said.as_ref())),
        }
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        kind: &'static str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, BookError> {
        let host = match &self.address {
            Address::Tcp(..) => self.address.to_string(),
            Address::Unix(_) => "localhost".to_owned(),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, host)
            .header(header::CONTENT_TYPE, kind);
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        request
            .body(Full::new(body))
            .map_err(|error| BookError::Usage(error.to_string()))
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes), BookError> {
        let unreachable = |error: &dyn std::fmt::Display| {
            let address = &self.address;
            BookError::Unavailable(format!(
                "no gateway answers at {address}: {error}. Is `bursar serve` running? --ops says where"
            ))
        };
        let connected = async {
            Ok::<Box<dyn Stream>, std::io::Error>(match &self.address {
                Address::Tcp(host, port) => {
                    Box::new(TcpStream::connect((host.as_str(), *port)).await?)
                }
                Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
            })
        };
        let stream = tokio::time::timeout(CONNECT_TIME, connected)
            .await
            .map_err(|_| unreachable(&"it took too long to connect"))?
            .map_err(|error| unreachable(&error))?;
        let answered = async {
            let (mut send, connection) = http1::handshake(TokioIo::new(stream)).await?;
            // It ends with the runtime.
            tokio::spawn(connection);
            send.send_request(request).await
        };
        let answer = tokio::time::timeout(ANSWER_TIME, answered)
            .await
            .map_err(|_| unreachable(&"it took too long to answer"))?
            .map_err(|error| unreachable(&error))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_BYTES).collect();
        let body = body.await.map_err(|error| unreachable(&error))?;
        Ok((head.status, body.to_bytes()))
    }

    fn refused(&self, status: StatusCode, said: Option<&Value>) -> BookError {
        let error = said.and_then(|said| said.get("error"));
        let message = error.and_then(|error| error.get("message")?.as_str());
        let Some(message) = message.map(str::to_owned) else {
            let address = &self.address;
            return BookError::Unavailable(format!(
                "{address} answers {status}, which is not how Bursar's `ops` answers"
            ));
        };
        match status.as_u16() {
            400 | 413 | 415 => BookError::Usage(message),
            401 | 403 => BookError::Denied(message),
            404 => BookError::Absent(message),
            503 => BookError::Unavailable(message),
            500.. => BookError::Broken(message),
            _ => BookError::Data(message),
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Reads `http://HOST:PORT`, `HOST:PORT` or `unix:PATH`.
fn address(url: &str) -> Result<Address, BookError> {
    let wrong = || {
        BookError::Usage(format!(
            "--ops: `{url}` is neither http://HOST:PORT nor unix:PATH"
        ))
    };
    if let Some(path) = url.strip_prefix("unix:") {
        return Ok(Address::Unix(PathBuf::from(path)));
    }
    if url.starts_with("https://") {
        let message =
            "--ops: `ops` speaks plain HTTP; reach it on its own machine, or through a tunnel";
        return Err(BookError::Usage(message.to_owned()));
    }
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let (host, port) = rest
        .trim_end_matches('/')
        .rsplit_once(':')
        .ok_or_else(wrong)?;
    let port = port.parse().map_err(|_| wrong())?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    reachable(Address::Tcp(host.to_owned(), port))
}

/// Where a listener is reached from its own machine.
fn reachable(address: Address) -> Result<Address, BookError> {
    Ok(match address {
        Address::Tcp(_, 0) => {
            let message = "`ops` listens on any free port; say which with --ops http://HOST:PORT";
            return Err(BookError::Usage(message.to_owned()));
        }
        Address::Tcp(host, port) if host == "0.0.0.0" => Address::Tcp("127.0.0.1".to_owned(), port),
        Address::Tcp(host, port) if host == "::" => Address::Tcp("::1".to_owned(), port),
        address => address,
    })
}

/// An id as one segment of a path.
#[must_use]
pub fn segment(id: &str) -> String {
    let mut segment = String::with_capacity(id.len());
    for byte in id.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => {
                segment.push(char::from(byte))
            }
            // A dot too: `..` as a segment means another path to some.
            byte => segment.push_str(&format!("%{byte:02X}")),
        }
    }
    segment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_three_ways() {
        let shown = |url| address(url).map(|address| address.to_string());
        assert_eq!(shown("http://127.0.0.1:7071/").unwrap(), "127.0.0.1:7071");
        assert_eq!(shown("0.0.0.0:9").unwrap(), "127.0.0.1:9");
        assert_eq!(shown("http://[::]:9").unwrap(), "[::1]:9");
        assert_eq!(shown("unix:/run/b.sock").unwrap(), "unix:/run/b.sock");
        for wrong in ["https://h:1", "h", "h:port", "127.0.0.1:0"] {
            assert!(matches!(shown(wrong), Err(BookError::Usage(_))), "{wrong}");
        }
    }

    #[test]
    fn an_id_is_one_segment_whatever_it_holds() {
        assert_eq!(segment("t-17_~"), "t-17_~");
        assert_eq!(segment("a/b?c#.."), "a%2Fb%3Fc%23%2E%2E");
    }
}
