//! A receiver of spans, over HTTP and gRPC on one port: it reads them with the messages that OpenTelemetry
//! publishes, and keeps what it was told.

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span as Wire;
use prost::Message;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

const PATIENCE: Duration = Duration::from_secs(60);

/// A span as it arrived.
#[derive(Clone, Debug)]
pub struct Span {
    pub trace: String,
    pub id: String,
    pub parent: String,
    pub name: String,
    pub kind: i32,
    pub start: u64,
    pub end: u64,
    /// Attributes as text.
    pub tags: BTreeMap<String, String>,
    /// Trace and span of each link.
    pub links: Vec<(String, String)>,
    pub events: Vec<(String, BTreeMap<String, String>)>,
    /// 2 is an error.
    pub status: i32,
    pub state: String,
    pub resource: BTreeMap<String, String>,
}

impl Span {
    pub fn tag(&self, name: &str) -> &str {
        self.tags.get(name).map_or("", String::as_str)
    }
}

#[derive(Default)]
struct Heard {
    spans: Vec<Span>,
    posts: Vec<(String, HeaderMap, usize)>,
    /// Every body as it came.
    bytes: Vec<u8>,
}

/// The receiver. Dropping it ends it.
pub struct Collector {
    pub addr: SocketAddr,
    heard: Arc<Mutex<Heard>>,
    accepting: AbortHandle,
    /// Its certificate in PEM, if it speaks TLS.
    pub paper: Option<tempfile::NamedTempFile>,
}

impl Collector {
    pub async fn start() -> Self {
        Self::answering(200).await
    }

    /// One that answers with this status over HTTP.
    pub async fn answering(status: u16) -> Self {
        Self::listening(status, None).await
    }

    /// One that is reached by TLS, under a certificate of its own for this machine.
    pub async fn secure() -> Self {
        let names = vec!["localhost".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(made.cert.pem().as_bytes()).expect("written");
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let crypto = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(crypto)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .expect("a certificate");
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut collector = Self::listening(200, Some(TlsAcceptor::from(Arc::new(tls)))).await;
        collector.paper = Some(file);
        collector
    }

    async fn listening(status: u16, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("bound");
        let heard = Arc::new(Mutex::new(Heard::default()));
        let hearing = Arc::clone(&heard);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let heard = Arc::clone(&hearing);
                let service = hyper::service::service_fn(move |request| {
                    let heard = Arc::clone(&heard);
                    async move { Ok::<_, std::convert::Infallible>(hear(request, &heard, status).await) }
                });
                let tls = tls.clone();
                tokio::spawn(async move {
                    let http = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let Some(tls) = tls else {
                        let _ = http.serve_connection(TokioIo::new(stream), service).await;
                        return;
                    };
                    if let Ok(stream) = tls.accept(stream).await {
                        let _ = http.serve_connection(TokioIo::new(stream), service).await;
                    }
                });
            }
        });
        Self {
            addr,
            heard,
            accepting: accepting.abort_handle(),
            paper: None,
        }
    }

    /// `[[trace.exporter]]` with its address and these keys.
    pub fn exporter(&self, keys: &str) -> String {
        let endpoint = match self.paper {
            None => format!("http://{}", self.addr),
            Some(_) => format!("https://localhost:{}", self.addr.port()),
        };
        format!("[[trace.exporter]]\nendpoint = \"{endpoint}\"\n{keys}\n")
    }

    /// The file of its certificate.
    pub fn ca_file(&self) -> &std::path::Path {
        self.paper.as_ref().expect("it speaks TLS").path()
    }

    /// What arrived so far.
    pub fn spans(&self) -> Vec<Span> {
        self.heard.lock().expect("no panic").spans.clone()
    }

    /// Path, headers and length of each post.
    pub fn posts(&self) -> Vec<(String, HeaderMap, usize)> {
        self.heard.lock().expect("no panic").posts.clone()
    }

    /// Every byte that was posted.
    pub fn bytes(&self) -> Vec<u8> {
        self.heard.lock().expect("no panic").bytes.clone()
    }

    /// Waits until these spans are all here: `is` says so.
    pub async fn until(&self, what: &str, is: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        crate::common::until(what, PATIENCE, || async {
            let spans = self.spans();
            is(&spans).then_some(spans)
        })
        .await
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

type Answer = Response<http_body_util::combinators::BoxBody<Bytes, std::convert::Infallible>>;

async fn hear(request: Request<Incoming>, heard: &Mutex<Heard>, status: u16) -> Answer {
    let (head, body) = request.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    let kind = head.headers.get("content-type").cloned();
    let is_grpc = kind.is_some_and(|kind| kind == "application/grpc");
    let message = if is_grpc {
        body.slice(5..)
    } else {
        body.clone()
    };
    if is_grpc || status == 200 {
        let read = ExportTraceServiceRequest::decode(message).expect("OTLP");
        let mut heard = heard.lock().expect("no panic");
        heard.bytes.extend_from_slice(&body);
        heard
            .posts
            .push((head.uri.path().to_owned(), head.headers, body.len()));
        for of in read.resource_spans {
            let resource = of.resource.map(|resource| tags(&resource.attributes));
            let resource = resource.unwrap_or_default();
            for scope in of.scope_spans {
                assert_eq!(scope.scope.expect("a scope").name, "bursar");
                heard.spans.extend(
                    scope
                        .spans
                        .into_iter()
                        .map(|span| read_span(span, &resource)),
                );
            }
        }
    }
    if is_grpc {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().expect("a value"));
        let frames = [
            Ok(Frame::data(Bytes::from_static(&[0, 0, 0, 0, 0]))),
            Ok(Frame::trailers(trailers)),
        ];
        let body = StreamBody::new(futures_util::stream::iter(frames)).boxed();
        let answer = Response::builder().header("content-type", "application/grpc");
        return answer.body(body).expect("an answer");
    }
    let answer = Response::builder().status(status);
    answer
        .body(Full::new(Bytes::new()).boxed())
        .expect("an answer")
}

fn read_span(span: Wire, resource: &BTreeMap<String, String>) -> Span {
    let links = span.links.iter();
    let events = span.events.iter();
    assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
    Span {
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        links: links
            .map(|link| (hex(&link.trace_id), hex(&link.span_id)))
            .collect(),
        events: events
            .map(|event| (event.name.clone(), tags(&event.attributes)))
            .collect(),
        tags: tags(&span.attributes),
        name: span.name,
        kind: span.kind,
        start: span.start_time_unix_nano,
        end: span.end_time_unix_nano,
        status: span.status.map_or(0, |status| status.code),
        state: span.trace_state,
        resource: resource.clone(),
    }
}

fn tags(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let said = |pair: &KeyValue| {
        let value = pair.value.as_ref().and_then(|value| value.value.as_ref());
        let text = match value {
            Some(Value::StringValue(text)) => text.clone(),
            Some(Value::IntValue(number)) => number.to_string(),
            Some(Value::DoubleValue(number)) => number.to_string(),
            Some(Value::BoolValue(flag)) => flag.to_string(),
            other => format!("{other:?}"),
        };
        (pair.key.clone(), text)
    };
    let read: BTreeMap<_, _> = attributes.iter().map(said).collect();
    assert_eq!(read.len(), attributes.len(), "a name twice: {attributes:?}");
    read
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
