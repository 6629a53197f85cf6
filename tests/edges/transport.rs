//! How bytes travel: TLS and HTTP/2 on `agents`, its Unix socket, TLS and proxies towards providers,
//! and the trace that goes along.

use crate::common::gateway::Gateway;
use crate::common::proxy::ConnectProxy;
use crate::common::setup::Setup;
use crate::common::{bounded, until};
use crate::rig::{
    CHAT, HIGH_LIMITS, Provider, Shape, World, answer, assert_refused, chat, chat_answer, echo,
};
use bursar::sim::{Settings, Sim};
use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// A certificate for this machine, and what it takes to serve and to trust it.
struct Paper {
    cert: CertificateDer<'static>,
    cert_pem: String,
    key_pem: String,
    key: PrivateKeyDer<'static>,
}

impl Paper {
    fn new() -> Self {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        Self {
            cert: made.cert.der().clone(),
            cert_pem: made.cert.pem(),
            key_pem: made.signing_key.serialize_pem(),
            key: PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key"),
        }
    }

    fn server(&self, protocols: &[&str]) -> rustls::ServerConfig {
        let mut config = rustls::ServerConfig::builder_with_provider(crypto())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![self.cert.clone()], self.key.clone_key())
            .expect("a pair");
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        config
    }

    fn client(&self) -> rustls::ClientConfig {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.cert.clone()).expect("a root");
        rustls::ClientConfig::builder_with_provider(crypto())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth()
    }
}

fn crypto() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn post(url: &str, body: &serde_json::Value) -> Request<Full<Bytes>> {
    let request = Request::post(url).header("content-type", "application/json");
    request.body(body.to_string().into()).expect("a request")
}

async fn text(answer: Response<hyper::body::Incoming>) -> String {
    let body = bounded("a body", answer.into_body().collect()).await;
    let body = body.expect("a body");
    String::from_utf8(body.to_bytes().to_vec()).expect("UTF-8")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_speaks_both_versions_by_alpn() {
    let paper = Paper::new();
    let sim = Sim::start(Settings::default()).await.expect("a sim");
    let listen = "agents = \"127.0.0.1:0\"\nheader_timeout = \"500ms\"\ntls = { cert = \"cert.pem\", key = \"key.pem\" }";
    let dir = Setup::new(sim.addr())
        .limits(HIGH_LIMITS)
        .listen(listen)
        .write();
    std::fs::write(dir.path().join("config/cert.pem"), &paper.cert_pem).expect("a file");
    std::fs::write(dir.path().join("config/key.pem"), &paper.key_pem).expect("a file");
    let mut gateway = Gateway::start_in(dir).await;
    let port = gateway
        .agents
        .rsplit_once(':')
        .expect("a port")
        .1
        .to_owned();
    assert!(gateway.agents.starts_with("https://"));
    let url = format!("https://localhost:{port}{CHAT}");
    for (http1, expected) in [(true, Version::HTTP_11), (false, Version::HTTP_2)] {
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(paper.client())
            .https_only();
        let connector = match http1 {
            true => https.enable_http1().build(),
            false => https.enable_all_versions().build(),
        };
        let client = Client::builder(TokioExecutor::new()).build(connector);
        let reply = client
            .request(post(&url, &chat("sim-a")))
            .await
            .expect("an answer");
        assert_eq!((reply.status().as_u16(), reply.version()), (200, expected));
        let mut body = chat("sim-a");
        body["stream"] = json!(true);
        let reply = client.request(post(&url, &body)).await.expect("an answer");
        assert!(text(reply).await.ends_with("data: [DONE]\n\n"));
        let reply = client
            .request(post(&url, &json!({"model": 1})))
            .await
            .expect("an answer");
        assert_eq!(reply.status(), 400);
    }
    // A stranger's certificate is not trusted, and plain HTTP is not spoken here.
    let https = HttpsConnectorBuilder::new().with_tls_config(Paper::new().client());
    let stranger: Client<_, Full<Bytes>> =
        Client::builder(TokioExecutor::new()).build(https.https_only().enable_http1().build());
    stranger
        .request(post(&url, &chat("sim-a")))
        .await
        .expect_err("a stranger");
    let mut plain = TcpStream::connect(format!("127.0.0.1:{port}"))
        .await
        .expect("a connection");
    plain
        .write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .expect("bytes");
    let mut said = Vec::new();
    let _ = bounded("the end", plain.read_to_end(&mut said)).await;
    assert!(!said.starts_with(b"HTTP/"), "{said:?}");
    // Nor does anybody hold a place by never finishing a handshake.
    let mut slow = TcpStream::connect(format!("127.0.0.1:{port}"))
        .await
        .expect("a connection");
    let closed = tokio::time::timeout(Duration::from_secs(10), slow.read(&mut [0; 1])).await;
    assert!(matches!(closed, Ok(Ok(0) | Err(_))), "{closed:?}");
    // A new certificate is served without a restart.
    let renewed = Paper::new();
    let folder = gateway.dir().join("config");
    std::fs::write(folder.join("key.pem"), &renewed.key_pem).expect("a file");
    std::fs::write(folder.join("cert.pem"), &renewed.cert_pem).expect("a file");
    until("the new certificate", Duration::from_secs(20), || async {
        let https = HttpsConnectorBuilder::new().with_tls_config(renewed.client());
        let client =
            Client::builder(TokioExecutor::new()).build(https.https_only().enable_http1().build());
        client.request(post(&url, &json!([]))).await.ok()
    })
    .await;
    gateway.quiet().await;
    assert_eq!(sim.bill().calls, 4);
    assert!(gateway.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_needs_no_tls() {
    let world = World::start(|setup| setup.limits(HIGH_LIMITS)).await;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build(connector);
    let url = format!("{}{CHAT}", world.gateway.agents);
    // Many at once on one connection, streams among them.
    let mut crew = tokio::task::JoinSet::new();
    for number in 0..40 {
        let (client, url) = (client.clone(), url.clone());
        crew.spawn(async move {
            let mut body = chat("sim-a");
            body["stream"] = json!(number % 2 == 0);
            let reply = client.request(post(&url, &body)).await.expect("an answer");
            assert_eq!(
                (reply.status().as_u16(), reply.version()),
                (200, Version::HTTP_2)
            );
            assert!(text(reply).await.len() > 50);
        });
    }
    crew.join_all().await;
    let mut big = post(&url, &chat("sim-a"));
    let value = "x".repeat(80_000).parse().expect("a value");
    big.headers_mut().insert("x-big", value);
    match client.request(big).await {
        Ok(reply) => assert_eq!(reply.status(), 431),
        Err(error) => assert!(!error.is_connect(), "{error}"),
    }
    let reply = client
        .request(post(&url, &json!([])))
        .await
        .expect("an answer");
    assert_eq!(
        reply.status(),
        400,
        "the connection lives on, or another does"
    );
    assert_eq!(world.sim.bill().calls, 40);
    world.is_well().await;
}

/// A stop sees through what is under way and waits for nothing else, whatever the connections speak.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_at_rest_do_not_hold_up_a_stop() {
    let mut world = World::start(|setup| setup.limits(HIGH_LIMITS).top("drain = \"10m\"")).await;
    let url = format!("{}{CHAT}", world.gateway.agents);
    let client = |two: bool| {
        let mut builder = Client::builder(TokioExecutor::new());
        builder.http2_only(two).build(HttpConnector::new())
    };
    let mut clients = Vec::new();
    let mut streams = Vec::new();
    for two in [false, true] {
        // One connection stays idle in its pool, the other carries a stream.
        let (idle, busy) = (client(two), client(two));
        let reply = idle.request(post(&url, &chat("sim-a"))).await;
        assert!(text(reply.expect("an answer")).await.len() > 50);
        let mut body = chat("sim-slow");
        body["stream"] = json!(true);
        streams.push(busy.request(post(&url, &body)).await.expect("a stream"));
        clients.extend([idle, busy]);
    }
    // These say nothing, or not all of what they are.
    let mut silent = Vec::new();
    for said in [&b""[..], b"P", b"PRI "] {
        let mut stream = world.connect().await;
        stream.write_all(said).await.expect("a connection");
        silent.push(stream);
    }
    world.gateway.signal("TERM");
    for stream in streams {
        assert_eq!(stream.status(), 200);
        assert!(
            bounded("its end", text(stream))
                .await
                .ends_with("data: [DONE]\n\n")
        );
    }
    assert!(world.gateway.ended().await.success());
    assert_eq!(world.sim.bill().calls, 4);
}

async fn over_socket(path: &Path, body: &serde_json::Value) -> (u16, String) {
    let stream = UnixStream::connect(path).await.expect("a connection");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .expect("a handshake");
    tokio::spawn(connection);
    let mut request = post(CHAT, body);
    request
        .headers_mut()
        .insert("host", "localhost".parse().expect("a host"));
    let reply = sender.send_request(request).await.expect("an answer");
    (reply.status().as_u16(), text(reply).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unix_socket_is_its_owners_alone() {
    let sim = Sim::start(Settings::default()).await.expect("a sim");
    let setup = Setup::new(sim.addr())
        .limits(HIGH_LIMITS)
        .listen("agents = \"unix:agents.sock\"");
    let dir = setup.write();
    let path = dir.path().join("config/agents.sock");
    // One that a killed gateway left behind is replaced.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
    assert!(path.exists());
    let mut gateway = Gateway::start_in(dir).await;
    assert!(gateway.agents.starts_with("unix:"), "{}", gateway.agents);
    let mode = std::fs::metadata(&path)
        .expect("a socket")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let (status, body) = over_socket(&path, &chat("sim-a")).await;
    assert_eq!(status, 200, "{body}");
    let mut stream = chat("sim-a");
    stream["stream"] = json!(true);
    assert!(
        over_socket(&path, &stream)
            .await
            .1
            .ends_with("data: [DONE]\n\n")
    );
    assert_eq!(over_socket(&path, &json!(7)).await.0, 400);
    gateway.quiet().await;
    assert_eq!(sim.bill().calls, 2);

    // Somebody listens there: a second one does not take it away.
    let other = setup
        .clone()
        .listen(&format!("agents = \"unix:{}\"", path.display()))
        .write();
    let refused = crate::faults::refuses_to_start(&other);
    assert!(refused.contains("in use"), "{refused}");
    assert_eq!(over_socket(&path, &chat("sim-a")).await.0, 200);
    assert!(gateway.stop().await.success());
    assert!(!path.exists(), "it goes with its gateway");

    // What is no socket is nobody's to remove.
    let file = other.path().join("config/precious.db");
    std::fs::write(&file, "precious").expect("a file");
    let third = setup
        .listen(&format!("agents = \"unix:{}\"", file.display()))
        .write();
    let refused = crate::faults::refuses_to_start(&third);
    assert!(refused.contains("no socket"), "{refused}");
    assert_eq!(std::fs::read_to_string(&file).expect("a file"), "precious");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn providers_are_reached_over_tls_with_a_ca_of_ones_own() {
    let paper = Paper::new();
    let mut providers = Vec::new();
    for protocols in [&["h2", "http/1.1"][..], &["http/1.1"], &[]] {
        let provider =
            Provider::start_tls(paper.server(protocols), |_| answer(200, &chat_answer(9, 2)));
        providers.push(provider.await);
    }
    let sim = Sim::start(Settings::default()).await.expect("a sim");
    let names = ["both", "first", "none"];
    let setup = names.iter().zip(&providers).fold(
        Setup::new(sim.addr()).limits(HIGH_LIMITS),
        |setup, (name, provider)| {
            let port = provider.addr.port();
            setup
                .more(&format!("[[provider]]\nname = \"{name}\"\nkind = \"openai\"\nbase_url = \"https://localhost:{port}/v1\"\nca_file = \"ca.pem\"\n"))
                .more(&format!("[[provider]]\nname = \"{name}-untrusted\"\nkind = \"openai\"\nbase_url = \"https://localhost:{port}/v1\"\n"))
        },
    );
    let dir = setup.write();
    std::fs::write(dir.path().join("config/ca.pem"), &paper.cert_pem).expect("a file");
    let world = World::around(sim, dir).await;
    let versions = [Version::HTTP_2, Version::HTTP_11, Version::HTTP_11];
    for ((name, provider), version) in names.iter().zip(&providers).zip(versions) {
        for _ in 0..2 {
            let reply = world
                .post(CHAT, &chat(&format!("{name}/sim-a")))
                .send()
                .await;
            assert_eq!(reply.status, 200, "{name}: {}", reply.text());
        }
        assert_eq!(provider.last().version, version, "{name}");
        let reply = world
            .post(CHAT, &chat(&format!("{name}-untrusted/sim-a")))
            .send()
            .await;
        assert_refused(name, &reply, Shape::Openai, 502, "upstream_error");
        assert!(
            !reply.text().contains("ertificate"),
            "internals stay inside: {}",
            reply.text()
        );
        assert_eq!(provider.seen().len(), 2, "{name}");
    }
    // Nobody saw the three: they cost nothing.
    let journal = world.journal(9).await;
    let void = journal
        .iter()
        .filter(|entry| entry.ending == "void")
        .count();
    assert_eq!(void, 3, "{journal:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn providers_are_reached_through_a_proxy() {
    let paper = Paper::new();
    let proxy = ConnectProxy::start().await;
    let secure = Provider::start_tls(paper.server(&["h2", "http/1.1"]), |_| {
        answer(200, &chat_answer(9, 2))
    })
    .await;
    let plain = Provider::start(|_| answer(200, &chat_answer(9, 2))).await;
    let sim = Sim::start(Settings::default()).await.expect("a sim");
    let through = format!("proxy = \"http://{}\"\n", proxy.addr);
    let provider = |name: &str, url: &str, more: &str| {
        format!("[[provider]]\nname = \"{name}\"\nkind = \"openai\"\nbase_url = \"{url}\"\n{more}")
    };
    let (secure_url, plain_url) = (
        format!("https://localhost:{}/v1", secure.addr.port()),
        format!("http://{}/v1", plain.addr),
    );
    let setup = Setup::new(sim.addr())
        .limits(HIGH_LIMITS)
        .more(&provider(
            "secure",
            &secure_url,
            &format!("{through}ca_file = \"ca.pem\"\n"),
        ))
        .more(&provider("plain", &plain_url, &through))
        .more(&provider(
            "forbidden",
            "https://forbidden.example/v1",
            &through,
        ))
        .more(&provider(
            "by-env",
            &secure_url,
            "proxy = \"env\"\nca_file = \"ca.pem\"\n",
        ))
        .env("HTTPS_PROXY", &format!("http://crew:s3cret@{}", proxy.addr))
        .env("NO_PROXY", "");
    let dir = setup.write();
    std::fs::write(dir.path().join("config/ca.pem"), &paper.cert_pem).expect("a file");
    let world = World::around(sim, dir).await;
    for (name, provider, port) in [
        ("secure", &secure, secure.addr.port()),
        ("plain", &plain, plain.addr.port()),
        ("by-env", &secure, secure.addr.port()),
    ] {
        let before = provider.seen().len();
        let reply = world
            .post(CHAT, &chat(&format!("{name}/sim-a")))
            .send()
            .await;
        assert_eq!(reply.status, 200, "{name}: {}", reply.text());
        assert_eq!(provider.seen().len(), before + 1);
        let asked = proxy.asked.lock().last().cloned().expect("it was asked");
        assert!(
            asked.contains(&format!(":{port} HTTP/1.1\r\n")),
            "{name}: {asked}"
        );
        let auth = asked
            .to_ascii_lowercase()
            .contains("proxy-authorization: basic ");
        assert_eq!(auth, name == "by-env", "{name}: {asked}");
        assert!(provider.last().header("proxy-authorization").is_none());
    }
    let reply = world.post(CHAT, &chat("forbidden/sim-a")).send().await;
    assert_refused("forbidden", &reply, Shape::Openai, 502, "upstream_error");
    let asked = proxy.asked.lock().len();
    let reply = world.post(CHAT, &chat("sim-a")).send().await;
    assert_eq!(
        (reply.status.as_u16(), proxy.asked.lock().len()),
        (200, asked),
        "the others go straight"
    );
    assert!(!world.gateway.log().contains("s3cret"));
    let journal = world.journal(5).await;
    let void = journal
        .iter()
        .filter(|entry| entry.ending == "void")
        .count();
    assert_eq!(void, 1, "{journal:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_trace_goes_along() {
    let world = World::start(|setup| setup).await;
    let id = "0af7651916cd43dd8448eb211c80319c";
    let parent = "b7ad6b7169203331";
    let call = |headers: &[(&'static str, &str)]| {
        let mut body = chat("sim-echo");
        body["max_tokens"] = json!(8_000);
        let call = world.post(CHAT, &body);
        let call = call.headers(headers.iter().copied());
        async move {
            let reply = call.send().await;
            (echo(&reply)["headers"].clone(), reply.request_id())
        }
    };
    for (sent, flags) in [
        (format!("00-{id}-{parent}-01"), "01"),
        (format!("00-{id}-{parent}-00"), "00"),
        (format!("00-{id}-{parent}-03"), "03"),
        (format!("cc-{id}-{parent}-01-what-is-to-come"), "01"),
    ] {
        let state = "vendor=1,other=a%20b";
        let (headers, request) = call(&[("traceparent", &sent), ("tracestate", state)]).await;
        let left = headers["traceparent"]
            .as_str()
            .expect("a parent")
            .to_owned();
        let parts: Vec<&str> = left.split('-').collect();
        assert_eq!(
            (parts.len(), parts[0], parts[1], parts[3]),
            (4, "00", id, flags),
            "{sent}: {left}"
        );
        assert!(
            parts[2].len() == 16 && parts[2] != parent,
            "our span is the parent there: {left}"
        );
        assert_eq!(headers["tracestate"], state);
        // The journal knows both.
        let store = world.gateway.store();
        let span = parts[2].to_owned();
        until(
            "the span in the journal",
            Duration::from_secs(10),
            || async {
                let reader = bursar::store::Reader::open(&store).expect("a store");
                let mut found = None;
                let rows = reader.rows(0, |row| {
                    let entry: serde_json::Value = serde_json::from_str(row.entry)?;
                    // A row leaves out a trace that is the request's own number, and a span that is the
                    // lower half of it.
                    let own = request.trim_start_matches("req_");
                    if entry["request"] == request.as_str()
                        && entry["span"].as_str().unwrap_or(&own[16..]) == span
                        && entry["trace"].as_str().unwrap_or(own) == id
                    {
                        found = Some(());
                    }
                    Ok(true)
                });
                rows.expect("a journal");
                found
            },
        )
        .await;
    }
    for sent in [
        "",
        "hello",
        &format!("00-{id}-{parent}"),
        &format!("00-{id}-{parent}-0"),
        &format!("00-{id}-{parent}-01-x"),
        &format!("ff-{id}-{parent}-01"),
        &format!("00-{}-{parent}-01", id.to_uppercase()),
        &format!("00-{}-{parent}-01", "0".repeat(32)),
        &format!("00-{id}-{}-01", "0".repeat(16)),
        &format!("00-{}-{parent}-01", "g".repeat(32)),
        &format!("0-{id}-{parent}-01"),
    ] {
        let (headers, _) = call(&[("traceparent", sent), ("tracestate", "vendor=1")]).await;
        let left = headers["traceparent"]
            .as_str()
            .expect("a parent")
            .to_owned();
        assert!(
            left.len() == 55 && left.ends_with("-01") && !left.contains(id),
            "{sent}: {left}"
        );
        assert!(
            headers["tracestate"].is_null(),
            "{sent}: the state of another trace"
        );
    }
    let (none, _) = call(&[]).await;
    let (again, _) = call(&[]).await;
    assert!(none["traceparent"].is_string() && none["traceparent"] != again["traceparent"]);
}
