//! The floor: a reverse proxy of hyper and nothing else. It knows no key, reads no usage and keeps no
//! books. With `--read` it holds each body in memory before it passes it on, as anything that looks
//! into bodies must.

use crate::Fault;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::io::Write as _;
use tokio::net::TcpListener;

type Body = Either<Incoming, Full<Bytes>>;

/// `floor UPSTREAM [--read]`: prints its address, then serves until it is killed.
pub fn main(mut words: impl Iterator<Item = String>) -> Result<bool, Fault> {
    let upstream = words.next().ok_or("floor: no upstream")?;
    let read = words.next().as_deref() == Some("--read");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(upstream, read))?;
    Ok(true)
}

async fn serve(upstream: String, read: bool) -> Result<(), Fault> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    std::io::stdout().flush()?;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Body> = Client::builder(TokioExecutor::new()).build(connector);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (client, upstream) = (client.clone(), upstream.clone());
        let service = hyper::service::service_fn(move |request| {
            forward(client.clone(), upstream.clone(), request, read)
        });
        tokio::spawn(
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service),
        );
    }
}

async fn forward(
    client: Client<HttpConnector, Body>,
    upstream: String,
    request: Request<Incoming>,
    read: bool,
) -> Result<Response<Body>, Fault> {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri = Uri::builder()
        .scheme("http")
        .authority(upstream.as_str())
        .path_and_query(path)
        .build()?;
    parts
        .headers
        .insert(header::HOST, HeaderValue::from_str(&upstream)?);
    let body = pass(body, read).await?;
    let (parts, body) = client
        .request(Request::from_parts(parts, body))
        .await?
        .into_parts();
    let stream = parts
        .headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    Ok(Response::from_parts(
        parts,
        pass(body, read && !stream).await?,
    ))
}

async fn pass(body: Incoming, read: bool) -> Result<Body, Fault> {
    Ok(match read {
        true => Either::Right(Full::new(body.collect().await?.to_bytes())),
        false => Either::Left(body),
    })
}
