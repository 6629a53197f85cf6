//! Answers given again to calls that must come to the same: exact, for deterministic calls, within one
//! identity and under the same limits. Off unless configured.
//!
//! Needs the route. Stands behind `watch`, so that an agent that goes round in circles is noticed though it
//! costs nothing, and before `admit`: what is not sent is not paid for, and is no turn.

use super::again;
use super::body::AnswerBody;
use super::meter::Metered;
use super::route::Routed;
use super::upstream::Outgoing;
use super::{Refused, arrival, headers};
use crate::attribution::Attribution;
use crate::clock;
use crate::config::{Facts, KeptBounds};
use crate::dialect::{Call, Dialect};
use crate::gateway::{Gateway, Live};
use crate::json::{Cursor, JsonError, Kind};
use crate::recall::{Fields, Head, Print, Recording};
use crate::units::NanoUsd;
use bytes::Bytes;
use futures_util::future::Either;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::Service;

/// The service.
#[derive(Clone)]
pub struct Cache<S> {
    gateway: Arc<Gateway>,
    inner: S,
}

impl<S> Cache<S> {
    pub(super) const fn new(gateway: Arc<Gateway>, inner: S) -> Self {
        Self { gateway, inner }
    }
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<AnswerBody>, Refused>> + Send>>;

impl<S> Service<Request<Outgoing>> for Cache<S>
where
    S: Service<Request<Outgoing>, Response = Response<AnswerBody>, Error = Refused>,
    S::Future: Send + 'static,
{
    type Response = Response<AnswerBody>;
    type Error = Refused;
    type Future = Either<S::Future, Answering>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Outgoing>) -> Self::Future {
        let live = &arrival(request.extensions()).live;
        let Some(bounds) = live.config().cache else {
            return Either::Left(self.inner.call(request));
        };
        let Some(print) = print(live, &request) else {
            return Either::Left(self.inner.call(request));
        };
        let gateway = Arc::clone(&self.gateway);
        let may_read = !says(request.headers(), b"no-cache") && may_pass(&gateway, &request);
        if may_read && let Some(kept) = gateway.recall.cached(&bounds, &print) {
            return Either::Right(Box::pin(async move {
                let Some((head, reader)) = kept.join().await else {
                    return Err(Refused::internal("what is cached is whole"));
                };
                Ok(again::replay(&gateway, head, reader, kept.end(), "cache"))
            }));
        }
        let going = self.inner.call(request);
        Either::Right(Box::pin(async move {
            let mut answer = going.await?;
            gateway.metrics.cache_missed();
            let miss = HeaderValue::from_static("miss");
            answer.headers_mut().insert(&headers::CACHE, miss);
            Ok(keep(gateway, bounds, print, answer))
        }))
    }
}

/// Calls that must stand still, and agents that were tripped, get no answer from anywhere.
fn may_pass(gateway: &Gateway, request: &Request<Outgoing>) -> bool {
    let Some(attribution) = request.extensions().get::<Arc<Attribution>>() else {
        return false;
    };
    let key = attribution.task_key();
    // A task that nobody has seen is opened by a call that is admitted.
    let Some(task) = gateway.tasks.known(&key, clock::now()) else {
        return false;
    };
    !gateway.is_draining()
        && gateway.tasks.standstill(&task, attribution).is_none()
        && task.conducted.is_clean()
}

/// `cache-control` of the request.
fn says(headers: &HeaderMap, directive: &[u8]) -> bool {
    let values = headers.get_all(header::CACHE_CONTROL).into_iter();
    let mut said = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    said.any(|said| said.trim_ascii().eq_ignore_ascii_case(directive))
}

/// All that an answer depends on, or may be given by; `None` if the call is not one to keep answers of.
fn print(live: &Live, request: &Request<Outgoing>) -> Option<Print> {
    let extensions = request.extensions();
    let call = extensions.get::<Arc<Call>>()?;
    let routed = extensions.get::<Routed>()?;
    let attribution = extensions.get::<Arc<Attribution>>()?;
    if says(request.headers(), b"no-store") || !is_repeatable(call) {
        return None;
    }
    let mut fields = Fields::default();
    let mut add = |text: &str| fields.add(text.as_bytes());
    add(attribution.owner.as_str());
    add(attribution.identity.as_str());
    let person = attribution.on_behalf_of.as_ref();
    add(person.map_or("", |person| person.value.as_str()));
    add(routed.provider.name.as_str());
    add(&routed.model);
    add(call.dialect.name());
    add(&arrival(extensions).target.suffix);
    add(request.uri().query().unwrap_or(""));
    let policies = &live.loaded.policies;
    add(&policies.version().to_string());
    for limit in limits(live, attribution, call, routed) {
        add(&limit);
    }
    for (name, value) in told(request.headers()) {
        fields.add(name.as_bytes());
        fields.add(value);
    }
    fields.add(&call.body);
    Some(fields.print())
}

/// The task's policy: the limits that cover the call.
fn limits(live: &Live, attribution: &Attribution, call: &Call, routed: &Routed) -> Vec<Arc<str>> {
    let facts = Facts::new(
        attribution,
        Arc::clone(&routed.model),
        routed.provider.name.shared(),
        call.dialect.name(),
    );
    let policies = &live.loaded.policies;
    let mut covers = Vec::new();
    let ceilings = policies.covers(&facts, clock::now(), &mut covers);
    let of_calls = [&ceilings.deny, &ceilings.observe].map(|ceiling| ceiling.of);
    let of_calls = of_calls.iter().flatten().flatten();
    let of_calls = of_calls.filter_map(|index| policies.limit(*index));
    let mut ids: Vec<_> = covers.into_iter().map(|cover| cover.key.limit).collect();
    ids.extend(of_calls.map(|limit| Arc::clone(&limit.id)));
    ids
}

/// Headers that a provider may act on, by name: not those that speak of the connection, of who calls, or of
/// one call alone.
fn told(headers: &HeaderMap) -> Vec<(&str, &[u8])> {
    const ASIDE: [&str; 19] = [
        "host",
        "content-length",
        "content-type",
        "connection",
        "keep-alive",
        "te",
        "user-agent",
        "accept",
        "accept-encoding",
        "accept-language",
        "authorization",
        "x-api-key",
        "api-key",
        "cache-control",
        "traceparent",
        "tracestate",
        "baggage",
        "x-request-id",
        "idempotency-key",
    ];
    let is_aside = |name: &str| {
        ASIDE.contains(&name) || name.starts_with("x-bursar-") || name.starts_with("x-stainless-")
    };
    let named = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()));
    let mut told: Vec<_> = named.filter(|(name, _)| !is_aside(name)).collect();
    told.sort_unstable();
    told
}

/// The caller asks for the same answer to the same call (temperature 0, or a seed; vectors are always the
/// same), and nothing but the body decides on it.
fn is_repeatable(call: &Call) -> bool {
    let prompt = &call.prompt;
    if call.background || prompt.unseen || prompt.opaque || !prompt.hosted_tools.is_empty() {
        return false;
    }
    if call.dialect == Dialect::OpenaiEmbeddings {
        return true;
    }
    let (mut fixed, mut stored) = (false, call.dialect == Dialect::OpenaiResponses);
    let body = &*call.body;
    let walked = Cursor::new(body).and_then(|mut cursor| {
        cursor.object::<JsonError>(|cursor, key| {
            let value = cursor.skip()?;
            match &*key.text(body) {
                "temperature" => fixed |= value.number_text(body).is_some_and(is_zero),
                "seed" => fixed |= value.number_text(body).is_some(),
                // What the provider keeps can be built on once, by whoever asked for it.
                "store" => stored = value.kind != Kind::Bool(false),
                _ => {}
            }
            Ok(())
        })
    });
    walked.is_ok() && fixed && !stored
}

/// `0`, `0.0`, `-0e5`: no digit before the exponent is anything else.
fn is_zero(number: &str) -> bool {
    let digits = number.split(['e', 'E']).next().unwrap_or_default();
    digits
        .bytes()
        .all(|byte| matches!(byte, b'0' | b'.' | b'-'))
}

/// A translation left out what made the answer the same each time.
fn is_loosened(headers: &HeaderMap) -> bool {
    let dropped = headers.get(&headers::DROPPED).map(HeaderValue::as_bytes);
    let mut names = dropped.unwrap_or_default().split(|byte| *byte == b',');
    names.any(|name| matches!(name, b"seed" | b"temperature"))
}

/// Keeps a good answer, at once or when its stream is over.
fn keep(
    gateway: Arc<Gateway>,
    bounds: KeptBounds,
    print: Print,
    answer: Response<AnswerBody>,
) -> Response<AnswerBody> {
    let headers = answer.headers();
    // What was asked for is not what was sent: another time it may be.
    let was_changed = [&headers::OUTPUT_CAP, &headers::NOTICE, &headers::TRIMMED]
        .into_iter()
        .any(|name| headers.contains_key(name))
        || is_loosened(headers);
    if answer.status() != StatusCode::OK || was_changed {
        return answer;
    }
    let (parts, body) = answer.into_parts();
    let head = || Head {
        status: parts.status,
        headers: parts.headers.clone(),
    };
    let keeping = |head| Keeping {
        gateway,
        bounds,
        print,
        head: Some(head),
        pieces: Vec::new(),
        bytes: 0,
    };
    let body = match body {
        AnswerBody::Whole(bytes) => {
            // Without a cost nobody knows whether the answer is a good one.
            if let Some(cost) = again::cost_in(&parts.headers) {
                let mut keeping = keeping(head());
                keeping.push(&bytes);
                keeping.finish(cost);
            }
            AnswerBody::Whole(bytes)
        }
        AnswerBody::Metered(stream) => {
            let keeping = keeping(head());
            AnswerBody::Kept(Box::new(Kept { stream, keeping }))
        }
        other => other,
    };
    Response::from_parts(parts, body)
}

/// An answer on its way into the cache.
struct Keeping {
    gateway: Arc<Gateway>,
    bounds: KeptBounds,
    print: Print,
    /// `None`: it is not kept.
    head: Option<Head>,
    pieces: Vec<Bytes>,
    bytes: usize,
}

impl Keeping {
    fn push(&mut self, piece: &Bytes) {
        self.bytes += piece.len();
        if self.bytes > self.bounds.max_answer {
            (self.head, self.pieces) = (None, Vec::new());
        } else if self.head.is_some() {
            self.pieces.push(piece.clone());
        }
    }

    fn finish(&mut self, cost: NanoUsd) {
        if let Some(head) = self.head.take() {
            let pieces = std::mem::take(&mut self.pieces);
            let answer = Recording::whole(head, pieces, Some(cost));
            self.gateway.recall.cache(&self.bounds, self.print, answer);
        }
    }
}

/// A stream that is kept as it passes.
pub struct Kept {
    stream: Box<Metered>,
    keeping: Keeping,
}

impl Kept {
    /// The next piece for the caller.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let data = std::task::ready!(self.stream.poll_data(cx));
        match (&data, self.stream.whole()) {
            (Some(piece), _) => self.keeping.push(piece),
            (None, Some(whole)) => {
                if let Some(cost) = whole.cost {
                    self.keeping.finish(cost);
                }
            }
            (None, None) => {}
        }
        Poll::Ready(data)
    }

    /// What became of it, once it is over.
    #[must_use]
    pub fn whole(&self) -> Option<super::meter::Whole> {
        self.stream.whole()
    }
}

#[cfg(test)]
mod tests;
