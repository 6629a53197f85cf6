//! Connections and endpoints of the simulated providers.

use super::Shared;
use super::answer;
use super::bedrock;
use super::body::{Dropped, SimBody};
use super::refusal::Refusal;
use super::responses::{self, Progress};
use super::{gemini, token};
use crate::dialect::Dialect;
use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The longest request body, in bytes.
const MOST_BODY_BYTES: usize = 128 * 1024 * 1024;
/// Connections at once; more wait to be accepted.
const MOST_CONNECTIONS: usize = 16_384;
/// Streams at once on one HTTP/2 connection.
const MOST_STREAMS: u32 = 1_024;
/// How long to wait after a failed accept (no file descriptors left).
const ACCEPT_AGAIN: Duration = Duration::from_millis(10);

/// How the simulated providers are told to end.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// No new connections and no new calls; calls in flight are answered.
    pub drain: CancellationToken,
    /// Every connection is dropped.
    pub abort: CancellationToken,
    /// The connections.
    pub open: TaskTracker,
}

/// Accepts connections until told to stop.
pub async fn accept(listener: TcpListener, shared: Arc<Shared>, stop: Stop) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let next = async {
            // The semaphore is never closed.
            let place = Arc::clone(&places).acquire_owned().await.ok();
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            next = next => next,
            () = stop.drain.cancelled() => return,
            () = stop.abort.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let (shared, ends) = (Arc::clone(&shared), stop.clone());
                stop.open.spawn(async move {
                    connection(stream, shared, ends).await;
                    drop(place);
                });
            }
            Err(_) => tokio::time::sleep(ACCEPT_AGAIN).await,
        }
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>, stop: Stop) {
    // Without it small events wait for acknowledgements; the connection works all the same.
    let _ = stream.set_nodelay(true);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http2().max_concurrent_streams(MOST_STREAMS);
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { endpoint(&shared, request).await }
    });
    let served = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(served);
    // An error here is a client that went, or a drop that was asked for.
    tokio::select! {
        _ = served.as_mut() => return,
        () = stop.abort.cancelled() => return,
        () = stop.drain.cancelled() => served.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ = served => {}
        () = stop.abort.cancelled() => {}
    }
}

async fn endpoint(
    shared: &Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<SimBody>, Dropped> {
    let (head, body) = request.into_parts();
    let route = route(&head);
    let is_call = matches!(
        route,
        Route::Call(..)
            | Route::Converse(_)
            | Route::CountTokens
            | Route::GeminiCount(_)
            | Route::Token
            | Route::Moderations
            | Route::Scenario
    );
    let body = if is_call {
        match Limited::new(body, MOST_BODY_BYTES).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                let refusal = Refusal {
                    status: StatusCode::PAYLOAD_TOO_LARGE,
                    ..Refusal::invalid("The request body is larger than 128 MiB.".into())
                };
                return Ok(answer::refused(shared, dialect_of(&route), &refusal));
            }
            // The client went while it was sending.
            Err(_) => return Err(Dropped),
        }
    } else {
        Bytes::new()
    };
    if route.is_vertex(&head) && !shared.tokens.admits(&head.headers) {
        let refusal = Refusal {
            status: StatusCode::UNAUTHORIZED,
            ..Refusal::invalid("Request had invalid authentication credentials.".into())
        };
        return Ok(answer::refused(shared, Dialect::Gemini, &refusal));
    }
    match route {
        Route::Call(dialect, deployment) => {
            answer::answer(shared, dialect, deployment, &head, &body).await
        }
        Route::Converse(model) => {
            let model = bedrock::decoded(model);
            answer::answer(shared, Dialect::Bedrock, Some(&model), &head, &body).await
        }
        other => Ok(simple(shared, other, &head, &body)),
    }
}

/// The endpoints that cost nothing.
fn simple(shared: &Shared, route: Route<'_>, head: &Parts, body: &[u8]) -> Response<SimBody> {
    match route {
        Route::CountTokens => answer::count_tokens(shared, body),
        Route::GeminiCount(model) => match gemini::count_tokens(model, body) {
            Ok(counted) => answer::json(counted.into()),
            Err(refusal) => answer::refused(shared, Dialect::Gemini, &refusal),
        },
        Route::Token => token::answer(shared, body),
        Route::Health => answer::json(Bytes::from_static(b"{\"status\":\"ok\"}")),
        Route::Bill => {
            let query = head.uri.query().unwrap_or("");
            let with_requests = query.split('&').any(|pair| pair == "requests=1");
            answer::json(serde_json::to_vec(&shared.books.bill(with_requests)).unwrap_or_default().into())
        }
        Route::ResetBill => {
            shared.books.reset();
            answer::json(Bytes::from_static(b"{\"reset\":true}"))
        }
        Route::Scenario => match shared.scenarios.tell(body) {
            Ok(()) => answer::json(Bytes::from_static(b"{\"told\":true}")),
            Err(why) => answer::refused(shared, Dialect::OpenaiChat, &Refusal::invalid(why.into())),
        },
        Route::Models => answer::json(models()),
        Route::Model(name) => answer::json(model(name).into()),
        Route::Response(id) => stored(shared, id),
        Route::Files => answer::json(Bytes::from_static(
            b"{\"object\":\"list\",\"data\":[],\"has_more\":false}",
        )),
        Route::Moderations => answer::json(Bytes::from_static(
            b"{\"id\":\"modr-simulated\",\"model\":\"omni-moderation-latest\",\"results\":[{\"flagged\":\
              false,\"categories\":{},\"category_scores\":{},\"category_applied_input_types\":{}}]}",
        )),
        Route::Call(..) | Route::Converse(_) | Route::Unknown => {
            let message = format!("Invalid URL ({} {})", head.method, head.uri.path());
            answer::refused(shared, Dialect::OpenaiChat, &Refusal::not_found(message))
        }
    }
}

fn stored(shared: &Shared, id: &str) -> Response<SimBody> {
    match id
        .strip_prefix("resp_")
        .and_then(|id| shared.memory.recall(id))
    {
        Some(found) => {
            let mut out = BytesMut::new();
            responses::plain(&found.plan, Progress::Done, &mut out);
            answer::json(out.freeze())
        }
        None => {
            let refusal = Refusal::not_found(format!("Response with id '{id}' not found."));
            answer::refused(shared, Dialect::OpenaiResponses, &refusal)
        }
    }
}

/// Models that `GET /v1/models` lists; any other name works too.
const LISTED: [&str; 8] = [
    "sim-strong",
    "sim-cheap",
    "sim-default",
    "sim-embed",
    "gpt-4o",
    "gpt-4o-mini",
    "claude-sonnet-4-5",
    "text-embedding-3-small",
];

fn models() -> Bytes {
    let listed: Vec<_> = LISTED.into_iter().map(model).collect();
    format!(
        "{{\"object\":\"list\",\"data\":[{}],\"has_more\":false,\"first_id\":null,\"last_id\":null}}",
        listed.join(",")
    )
    .into()
}

/// A model as both OpenAI and Anthropic clients read it.
fn model(name: &str) -> String {
    let mut id = BytesMut::new();
    super::refusal::quote(&mut id, name);
    let id = String::from_utf8_lossy(&id);
    format!(
        "{{\"id\":{id},\"object\":\"model\",\"created\":1767225600,\"owned_by\":\"simulated\",\
         \"type\":\"model\",\"display_name\":{id},\"created_at\":\"2026-01-01T00:00:00Z\"}}"
    )
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route<'p> {
    /// A metered call; the model's name if the path has it.
    Call(Dialect, Option<&'p str>),
    /// One of Bedrock's; the model's name, encoded.
    Converse(&'p str),
    CountTokens,
    /// Gemini's count, of this model.
    GeminiCount(&'p str),
    /// Google's token endpoint.
    Token,
    Models,
    Model(&'p str),
    Response(&'p str),
    Moderations,
    Files,
    Bill,
    ResetBill,
    Scenario,
    Health,
    Unknown,
}

impl Route<'_> {
    /// A model of Google's where Vertex has it.
    fn is_vertex(&self, head: &Parts) -> bool {
        let of_gemini = matches!(self, Self::Call(Dialect::Gemini, _) | Self::GeminiCount(_));
        of_gemini && head.uri.path().contains("/publishers/google/")
    }
}

fn dialect_of(route: &Route<'_>) -> Dialect {
    match route {
        Route::Call(dialect, _) => *dialect,
        Route::CountTokens => Dialect::AnthropicMessages,
        Route::GeminiCount(_) => Dialect::Gemini,
        Route::Converse(_) => Dialect::Bedrock,
        _ => Dialect::OpenaiChat,
    }
}

/// `/v1/…`, the same without `/v1`, Bedrock's `/model/{name}/converse`, and Azure's `/openai/deployments/{name}/…`.
fn route(head: &Parts) -> Route<'_> {
    let path = head.uri.path().trim_end_matches('/');
    if let (&Method::POST, Some(route)) = (&head.method, google(path)) {
        return route;
    }
    if let (&Method::POST, Some((model, _))) = (&head.method, bedrock::path(path)) {
        return Route::Converse(model);
    }
    let path = path.strip_prefix("/openai").unwrap_or(path);
    if let Some(rest) = path.strip_prefix("/deployments/") {
        return match rest.split_once('/') {
            Some((name, verb)) if head.method == Method::POST => match call(verb) {
                Some(dialect) => Route::Call(dialect, Some(name)),
                None => Route::Unknown,
            },
            _ => Route::Unknown,
        };
    }
    let path = path
        .strip_prefix("/v1")
        .unwrap_or(path)
        .trim_start_matches('/');
    match (&head.method, path) {
        (&Method::POST, "messages/count_tokens") => Route::CountTokens,
        (&Method::POST, "moderations") => Route::Moderations,
        (&Method::POST, "bill/reset") => Route::ResetBill,
        (&Method::POST, "scenario") => Route::Scenario,
        (&Method::POST, verb) => {
            call(verb).map_or(Route::Unknown, |dialect| Route::Call(dialect, None))
        }
        (&Method::GET, "models") => Route::Models,
        (&Method::GET, "files") => Route::Files,
        (&Method::GET, "bill") => Route::Bill,
        (&Method::GET, "healthz") => Route::Health,
        (&Method::GET, path) => match path.split_once('/') {
            Some(("models", name)) => Route::Model(name),
            Some(("responses", id)) => Route::Response(id),
            _ => Route::Unknown,
        },
        _ => Route::Unknown,
    }
}

/// `/v1beta/models/MODEL:VERB`, the same below `/v1/projects/…/locations/…/publishers/google`, and `/token`.
fn google(path: &str) -> Option<Route<'_>> {
    if path == "/token" {
        return Some(Route::Token);
    }
    let (before, last) = path.rsplit_once("/models/")?;
    let is_place = matches!(before, "/v1beta" | "/v1")
        || before.ends_with("/publishers/google") && before.contains("/locations/");
    let (model, verb) = last.rsplit_once(':')?;
    match verb {
        _ if !is_place || model.is_empty() => None,
        "generateContent" | "streamGenerateContent" => {
            Some(Route::Call(Dialect::Gemini, Some(model)))
        }
        "countTokens" => Some(Route::GeminiCount(model)),
        _ => None,
    }
}

fn call(verb: &str) -> Option<Dialect> {
    Some(match verb {
        "chat/completions" => Dialect::OpenaiChat,
        "responses" => Dialect::OpenaiResponses,
        "embeddings" => Dialect::OpenaiEmbeddings,
        "completions" => Dialect::OpenaiCompletions,
        "messages" => Dialect::AnthropicMessages,
        _ => return None,
    })
}
