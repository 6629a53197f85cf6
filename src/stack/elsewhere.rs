//! What is not metered: models, what is left, the provider's free token count, and endpoints that a
//! provider's `unmetered` setting names. Everything else below `/v1` is refused, so that no spend
//! finds a way round the purse.
//!
//! Needs the identity and attribution. Metered calls go on to the inner service.

use super::body::{AnswerBody, Upstream};
use super::endpoint::Endpoint;
use super::upstream::Outgoing;
use super::{Code, Refused, arrival, estimate, headers, live, route};
use crate::attribution::Attribution;
use crate::config::Identity;
use crate::dialect::{Call, Dialect};
use crate::gateway::{Gateway, Live, Provider};
use bytes::Bytes;
use futures_util::future::{Either, join_all};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use serde_json::{Value, json};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tower::Service;

/// How long a provider may take to list its models.
const MODELS_TIME: Duration = Duration::from_secs(10);
/// The longest list of one provider, bytes.
const MODELS_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The service.
#[derive(Clone)]
pub struct Elsewhere<S> {
    gateway: Arc<Gateway>,
    inner: S,
}

impl<S> Elsewhere<S> {
    pub(super) const fn new(gateway: Arc<Gateway>, inner: S) -> Self {
        Self { gateway, inner }
    }
}

type Answering<E> = Pin<Box<dyn Future<Output = Result<Response<AnswerBody>, E>> + Send>>;

impl<S> Service<Request<Outgoing>> for Elsewhere<S>
where
    S: Service<Request<Outgoing>, Response = Response<AnswerBody>, Error = Refused>,
    S::Future: Send + 'static,
{
    type Response = Response<AnswerBody>;
    type Error = Refused;
    type Future = Either<S::Future, Answering<Refused>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Outgoing>) -> Self::Future {
        match &arrival(request.extensions()).target.endpoint {
            Endpoint::Metered(_) => Either::Left(self.inner.call(request)),
            endpoint => {
                let (gateway, endpoint) = (Arc::clone(&self.gateway), endpoint.clone());
                Either::Right(Box::pin(async move {
                    answer(&gateway, endpoint, request).await
                }))
            }
        }
    }
}

async fn answer(
    gateway: &Arc<Gateway>,
    endpoint: Endpoint,
    request: Request<Outgoing>,
) -> Result<Response<AnswerBody>, Refused> {
    let live = live(&request);
    let extensions = request.extensions();
    let (Some(identity), Some(attribution)) = (
        extensions.get::<Arc<Identity>>().cloned(),
        extensions.get::<Arc<Attribution>>().cloned(),
    ) else {
        return Err(Refused::internal("elsewhere stands behind attribute"));
    };
    match endpoint {
        Endpoint::Budget if !matches!(*request.method(), Method::GET | Method::HEAD) => {
            let message = format!("{} is not supported here; send a GET.", request.method());
            Err(Refused::new(Code::InvalidRequest, &message).status(405))
        }
        Endpoint::Budget => super::budget::answer(gateway, &live, &attribution).await,
        Endpoint::Models(None) => models(&live, &identity, &request).await,
        Endpoint::Models(Some(model)) => {
            let dialect = dialect_of(&request);
            let routed = route::resolve_spoken(&live, &identity, &model, dialect)?;
            let suffix = format!("/models/{}", routed.model);
            pass(request, &routed.provider, &suffix).await
        }
        Endpoint::CountTokens => {
            let whose = (&*identity, &*attribution);
            count_tokens(gateway, &live, whose, request).await
        }
        Endpoint::Other => other(&live, request).await,
        Endpoint::Metered(_) | Endpoint::Unknown => Err(Refused::internal("metered elsewhere")),
    }
}

/// Anthropic's clients say which version of its API they speak.
fn dialect_of<B>(request: &Request<B>) -> Dialect {
    if request.headers().contains_key(&headers::ANTHROPIC_VERSION) {
        Dialect::AnthropicMessages
    } else {
        Dialect::OpenaiChat
    }
}

/// Asks every provider that speaks the caller's dialect, and lists what the identity may use.
async fn models(
    live: &Live,
    identity: &Identity,
    request: &Request<Outgoing>,
) -> Result<Response<AnswerBody>, Refused> {
    let dialect = dialect_of(request);
    let providers: Vec<_> = live
        .providers
        .iter()
        .filter(|provider| provider.speaks(dialect))
        .collect();
    let lists = providers.iter().map(|provider| list_of(provider, request));
    let lists = join_all(lists).await;
    let mut data = Vec::new();
    let mut reached = false;
    for (provider, list) in providers.iter().zip(lists) {
        let Some(list) = list else { continue };
        reached = true;
        let served = |model: &&Value| {
            let id = model.get("id").and_then(Value::as_str).unwrap_or_default();
            let globs = &provider.config.models;
            (globs.is_empty() || globs.matches(id)) && identity.may_use(id)
        };
        data.extend(list.iter().filter(served).cloned());
    }
    let own = live.loaded.routes.aliases.iter();
    data.extend(own.filter(|name| identity.may_use(name)).map(|name| {
        json!({
            "id": **name, "object": "model", "created": 0, "owned_by": "bursar",
            "type": "model", "display_name": **name, "created_at": "1970-01-01T00:00:00Z",
        })
    }));
    if !reached && !providers.is_empty() {
        let message = "No provider could be asked for its models.";
        return Err(Refused::new(Code::UpstreamError, message));
    }
    let list = match dialect {
        Dialect::AnthropicMessages => json!({
            "data": data, "has_more": false,
            "first_id": data.first().and_then(|model| model.get("id")),
            "last_id": data.last().and_then(|model| model.get("id")),
        }),
        _ => json!({"object": "list", "data": data}),
    };
    Ok(json_answer(&list))
}

async fn list_of(provider: &Arc<Provider>, asked: &Request<Outgoing>) -> Option<Vec<Value>> {
    let mut request = Request::new(Outgoing::Whole(Bytes::new()));
    *request.headers_mut() = asked.headers().clone();
    request.headers_mut().remove(header::CONTENT_TYPE);
    provider.dress(request.headers_mut());
    *request.uri_mut() = provider.uri("/models", asked.uri().query()).ok()?;
    let listed = tokio::time::timeout(MODELS_TIME, async {
        let answer = provider.pool.send(request).await.ok()?;
        if answer.status() != StatusCode::OK {
            return None;
        }
        Limited::new(answer.into_body(), MODELS_BYTES_MAX)
            .collect()
            .await
            .ok()
    });
    let body = listed.await.ok()??.to_bytes();
    let mut list: Value = serde_json::from_slice(&body).ok()?;
    match list.get_mut("data").map(Value::take) {
        Some(Value::Array(models)) => Some(models),
        _ => None,
    }
}

/// Anthropic's token count: free, and asked with the caller's own body; an estimate where the call would
/// be translated.
async fn count_tokens(
    gateway: &Gateway,
    live: &Live,
    (identity, attribution): (&Identity, &Attribution),
    request: Request<Outgoing>,
) -> Result<Response<AnswerBody>, Refused> {
    let Some(call) = request.extensions().get::<Arc<Call>>().cloned() else {
        return Err(Refused::internal("count_tokens stands behind decode"));
    };
    let asked = route::Asked {
        gateway,
        live,
        identity,
        attribution,
        call: &call,
        model: &call.model,
    };
    // At the target that the call itself would be tried at first.
    let mut targets = std::iter::successors(Some(asked.find().await?), route::Routed::next);
    let taken = targets.find(|routed| routed.provider.takes(call.dialect));
    let routed = taken.ok_or_else(|| estimate::none(&call))?;
    if !routed.provider.speaks(call.dialect) {
        return estimate::count(gateway, live, (&call, &routed));
    }
    let edits = crate::dialect::Edits {
        model: (*call.model != *routed.model).then(|| routed.model.to_string()),
        strip_foreign: !call.ids.foreign.is_empty(),
        ..crate::dialect::Edits::default()
    };
    let body = crate::dialect::rewrite(&call, &edits);
    let request = request.map(|_| Outgoing::Whole(body));
    pass(request, &routed.provider, "/messages/count_tokens").await
}

/// Passthrough, only where a provider's `unmetered` names the path.
async fn other(live: &Live, request: Request<Outgoing>) -> Result<Response<AnswerBody>, Refused> {
    let suffix = arrival(request.extensions()).target.suffix.clone();
    let path = format!("/v1{suffix}");
    let allowed = live
        .providers
        .iter()
        .find(|provider| provider.config.unmetered.matches(&path));
    let Some(provider) = allowed else {
        let message = format!(
            "`{path}` is not metered, so it is refused. If its cost is known to be covered, name it in a provider's `unmetered`."
        );
        return Err(Refused::new(Code::UnmeteredEndpoint, &message));
    };
    if let Some(kept) = provider.lacks_key() {
        let message = format!(
            "Provider `{}` has no key: {kept} is not set.",
            provider.name
        );
        return Err(Refused::new(Code::UpstreamError, &message));
    }
    let provider = Arc::clone(provider);
    pass(request, &provider, &suffix).await
}

/// Sends a request as it came and passes the answer.
async fn pass(
    request: Request<Outgoing>,
    provider: &Arc<Provider>,
    suffix: &str,
) -> Result<Response<AnswerBody>, Refused> {
    let (mut parts, body) = request.into_parts();
    parts.uri = provider
        .uri(suffix, parts.uri.query())
        .map_err(|_| Refused::new(Code::InvalidRequest, "The path is malformed."))?;
    provider.dress(&mut parts.headers);
    if parts.method == Method::GET {
        parts.headers.remove(header::CONTENT_TYPE);
    }
    if let Some(trace) = parts.extensions.get::<super::trace::Trace>()
        && let Some(value) = trace.traceparent()
    {
        parts.headers.insert(&headers::TRACEPARENT, value);
    }
    parts.version = http::Version::HTTP_11;
    parts.extensions.clear();
    let sending = provider.pool.send(Request::from_parts(parts, body));
    let answer = match tokio::time::timeout(provider.timeouts.first_byte, sending).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            tracing::info!(provider = %provider.name, %error, "a provider could not be reached");
            let message = format!("Provider `{}` cannot be reached.", provider.name);
            return Err(Refused::new(Code::UpstreamError, &message));
        }
        Err(_) => {
            let message = format!("Provider `{}` did not answer in time.", provider.name);
            return Err(Refused::new(Code::UpstreamTimeout, &message));
        }
    };
    let (mut parts, body) = answer.into_parts();
    super::upstream::strip_hop_by_hop(&mut parts.headers);
    Ok(Response::from_parts(
        parts,
        AnswerBody::Through(Upstream::Plain(body)),
    ))
}

/// A JSON answer of our own.
pub fn json_answer(value: &Value) -> Response<AnswerBody> {
    let body = Bytes::from(value.to_string());
    let mut answer = Response::new(AnswerBody::Whole(body));
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(header::CONTENT_TYPE, json);
    answer
}
