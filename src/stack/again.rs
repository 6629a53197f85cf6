//! The same call once more, by its `Idempotency-Key`: within the window the same key and body get the
//! same answer, and nothing is sent or paid again. Calls of a key that is under way wait for its answer.
//!
//! Needs the call and its attribution. Stands before `watch`, for a call sent again is no step of its
//! task, and before `route`, for its answer does not depend on where it would go now. A call that was sent
//! with a key is seen through whoever hangs up: the answer is for whoever asks again.

use super::body::AnswerBody;
use super::upstream::Outgoing;
use super::{Code, Refused, arrival, headers, route};
use crate::attribution::Attribution;
use crate::clock;
use crate::config::IdempotencySettings;
use crate::dialect::Call;
use crate::gateway::Gateway;
use crate::log;
use crate::price::decimal;
use crate::recall::{End, Fields, Found, Head, Opened, Print, Reader, Recording, Written};
use crate::units::{NanoUsd, UnixMs};
use bytes::{Bytes, BytesMut};
use futures_util::future::Either;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::BodyExt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::oneshot;
use tower::Service;

/// Longest key, bytes.
const KEY_BYTES_MAX: usize = 255;

/// The service.
#[derive(Clone)]
pub struct Again<S> {
    gateway: Arc<Gateway>,
    inner: S,
}

impl<S> Again<S> {
    pub(super) const fn new(gateway: Arc<Gateway>, inner: S) -> Self {
        Self { gateway, inner }
    }
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<AnswerBody>, Refused>> + Send>>;

impl<S> Service<Request<Outgoing>> for Again<S>
where
    S: Service<Request<Outgoing>, Response = Response<AnswerBody>, Error = Refused>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    type Response = Response<AnswerBody>;
    type Error = Refused;
    type Future = Either<S::Future, Answering>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Outgoing>) -> Self::Future {
        if !request.headers().contains_key(&headers::IDEMPOTENCY_KEY) {
            return Either::Left(self.inner.call(request));
        }
        let settings = arrival(request.extensions()).live.config().idempotency;
        if settings.kept.ttl.is_zero() {
            return Either::Left(self.inner.call(request));
        }
        let (gateway, inner) = (Arc::clone(&self.gateway), self.inner.clone());
        Either::Right(Box::pin(once(gateway, inner, request, settings)))
    }
}

async fn once<S>(
    gateway: Arc<Gateway>,
    inner: S,
    request: Request<Outgoing>,
    settings: IdempotencySettings,
) -> Result<Response<AnswerBody>, Refused>
where
    S: Service<Request<Outgoing>, Response = Response<AnswerBody>, Error = Refused>
        + Send
        + 'static,
    S::Future: Send,
{
    let (key, print) = prints(&request)?;
    loop {
        let entry = match gateway.recall.keys.open(&settings.kept, key, print) {
            Found::New(opened) => {
                let durable = is_durable(&gateway, &request, &settings).await;
                return first(gateway, inner, request, (settings, durable), opened).await;
            }
            Found::Before(entry) => entry,
        };
        if entry.print != print {
            return Err(another_call());
        }
        // None: it came to nothing, and the next of those who wait is the first.
        if let Some((head, reader)) = entry.recording.join().await {
            return Ok(replay(
                &gateway,
                head,
                reader,
                entry.recording.end(),
                "idempotency_key",
            ));
        }
    }
}

/// What tells the key and the call from others. Keys are an identity's own.
fn prints(request: &Request<Outgoing>) -> Result<(Print, Print), Refused> {
    let extensions = request.extensions();
    let (Some(attribution), Some(call)) = (
        extensions.get::<Arc<Attribution>>(),
        extensions.get::<Arc<Call>>(),
    ) else {
        return Err(Refused::internal("again stands behind attribute"));
    };
    let mut given = request.headers().get_all(&headers::IDEMPOTENCY_KEY).iter();
    let key = given.next().map(HeaderValue::as_bytes).unwrap_or_default();
    let is_fit = (1..=KEY_BYTES_MAX).contains(&key.len())
        && key.iter().all(|byte| (0x20..0x7f).contains(byte))
        && given.next().is_none();
    if !is_fit {
        let message = "`Idempotency-Key` is one text of 1 to 255 visible ASCII characters.";
        return Err(Refused::new(Code::InvalidRequest, message));
    }
    let mut whose = Fields::default();
    whose.add(attribution.owner.as_str().as_bytes());
    whose.add(attribution.identity.as_str().as_bytes());
    whose.add(key);
    let mut what = Fields::default();
    let target = &arrival(extensions).target;
    what.add(target.suffix.as_bytes());
    what.add(target.ids.deployment.as_deref().unwrap_or("").as_bytes());
    what.add(&call.body);
    Ok((whose.print(), what.print()))
}

async fn is_durable(
    gateway: &Arc<Gateway>,
    request: &Request<Outgoing>,
    settings: &IdempotencySettings,
) -> bool {
    settings.durable_answers || route::wants_durable_answers(gateway, request).await
}

/// Sends the call in a task of its own, and reads its answer like everybody else.
async fn first<S>(
    gateway: Arc<Gateway>,
    mut inner: S,
    request: Request<Outgoing>,
    (settings, durable): (IdempotencySettings, bool),
    opened: Opened,
) -> Result<Response<AnswerBody>, Refused>
where
    S: Service<Request<Outgoing>, Response = Response<AnswerBody>, Error = Refused>
        + Send
        + 'static,
    S::Future: Send,
{
    if durable {
        match written(&gateway, &settings, &opened).await {
            Ok(None) => {}
            Ok(Some(found)) if found.print != opened.print() => return Err(another_call()),
            Ok(Some(found)) => {
                let recording = Arc::clone(opened.recording());
                recording.begin(found.head);
                recording.push(found.body, usize::MAX);
                opened.finish(End::Whole(found.cost));
                let joined = recording.join().await;
                let (head, reader) = joined.ok_or_else(out_of_order)?;
                return Ok(replay(&gateway, head, reader, recording.end(), "store"));
            }
            // Perhaps it was answered before: nobody pays twice for want of a look.
            Err(error) => {
                tracing::error!(%error, "answers that were written down cannot be read");
                let message = "Answers that were written down cannot be read, so that this call could be paid for twice.";
                return Err(Refused::new(Code::StoreUnavailable, message));
            }
        }
    }
    let (tell, told) = oneshot::channel();
    let going = inner.call(request);
    let of_call = Arc::clone(&gateway);
    gateway.finishing(log::inherited(async move {
        match going.await {
            Err(refused) => drop(tell.send(Err(refused))),
            Ok(answer) => {
                let (parts, body) = answer.into_parts();
                let head = Head {
                    status: parts.status,
                    headers: parts.headers,
                };
                opened.recording().begin(head);
                if let Some(joined) = opened.recording().join().await {
                    let _ = tell.send(Ok(joined));
                }
                let durable = durable.then_some(settings);
                record(&of_call, body, opened, &settings, durable).await;
            }
        }
    }));
    let (head, reader) = told.await.map_err(|_| out_of_order())??;
    let mut answer = Response::new(AnswerBody::Recalled(Box::new(reader)));
    *answer.status_mut() = head.status;
    *answer.headers_mut() = head.headers;
    Ok(answer)
}

fn out_of_order() -> Refused {
    Refused::internal("a call with a key came to nothing")
}

fn another_call() -> Refused {
    let message =
        "This `Idempotency-Key` came with another body before. Use a new key for a new call.";
    Refused::new(Code::InvalidRequest, message).status(422)
}

/// Writes an answer into its recording as it comes, to its end.
async fn record(
    gateway: &Gateway,
    mut body: AnswerBody,
    opened: Opened,
    settings: &IdempotencySettings,
    durable: Option<IdempotencySettings>,
) {
    let recording = Arc::clone(opened.recording());
    let most = settings.kept.max_answer;
    let is_plain = matches!(body, AnswerBody::Whole(_));
    loop {
        if !recording.room(most).await {
            // Nobody reads it, and it is too long to be kept: dropping it sees the exchange through.
            opened.finish(End::Over);
            return;
        }
        match body.frame().await {
            Some(Ok(frame)) => {
                let Ok(data) = frame.into_data() else {
                    continue;
                };
                if recording.push(data, most) {
                    opened.let_go();
                }
            }
            Some(Err(error)) => {
                tracing::info!(%error, "an answer broke off");
                opened.finish(End::Broken);
                return;
            }
            None => break,
        }
    }
    let end = end_of(&recording, &body, is_plain);
    if let (Some(settings), End::Whole(cost)) = (durable, end) {
        write_down(gateway, &opened, &settings, cost).await;
    }
    opened.finish(end);
}

/// Good answers are given again, whatever is known of their cost; others are tried anew.
fn end_of(recording: &Recording, body: &AnswerBody, is_plain: bool) -> End {
    let Some(head) = recording.head().filter(|head| head.status.is_success()) else {
        return End::Over;
    };
    match body.whole() {
        Some(whole) => End::Whole(whole.cost),
        None if is_plain => End::Whole(cost_in(&head.headers)),
        None => End::Over,
    }
}

/// What a plain answer's head says of its cost.
pub fn cost_in(headers: &HeaderMap) -> Option<NanoUsd> {
    let cost = headers.get(&headers::COST_USD)?.to_str().ok()?;
    decimal::scaled_up(cost, 9).map(NanoUsd)
}

fn since(now: UnixMs, settings: &IdempotencySettings) -> UnixMs {
    let window = i64::try_from(settings.kept.ttl.as_millis()).unwrap_or(i64::MAX);
    UnixMs(now.0.saturating_sub(window))
}

async fn written(
    gateway: &Gateway,
    settings: &IdempotencySettings,
    opened: &Opened,
) -> Result<Option<Written>, crate::recall::DurableError> {
    let since = since(clock::now(), settings);
    gateway.recall.durable.find(opened.key(), since).await
}

async fn write_down(
    gateway: &Gateway,
    opened: &Opened,
    settings: &IdempotencySettings,
    cost: Option<NanoUsd>,
) {
    // What is kept is the answer's head and body; neither the call nor whose it was is written.
    let Some((head, pieces)) = opened.recording().content() else {
        return;
    };
    let mut body = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
    pieces
        .iter()
        .for_each(|piece| body.extend_from_slice(piece));
    let written = Written {
        print: opened.print(),
        head,
        body: body.freeze(),
        cost,
    };
    let now = clock::now();
    let times = (now, since(now, settings));
    let keeping = gateway
        .recall
        .durable
        .keep(opened.key(), written, times, settings.max_durable);
    if let Err(error) = keeping.await {
        tracing::error!(%error, "an answer could not be written down; sent again after a restart, its call is paid again");
    }
}

/// An answer that was paid for before.
pub fn replay(
    gateway: &Gateway,
    head: Head,
    reader: Reader,
    end: Option<End>,
    from: &'static str,
) -> Response<AnswerBody> {
    let saved = match end {
        Some(End::Whole(cost)) => cost,
        _ => None,
    };
    gateway.metrics.replayed(from, saved.unwrap_or_default());
    let mut answer = Response::new(AnswerBody::Recalled(Box::new(reader)));
    *answer.status_mut() = head.status;
    let mut kept = head.headers;
    // What is left, and warnings, were of then.
    for stale in [
        &headers::REMAINING_USD,
        &headers::REMAINING_TURNS,
        &headers::WARNING,
    ] {
        kept.remove(stale);
    }
    kept.remove(header::DATE);
    if let Some(cost) = headers::usd(NanoUsd::ZERO) {
        kept.insert(&headers::COST_USD, cost);
    }
    if let Some(saved) = saved.and_then(headers::usd) {
        kept.insert(&headers::SAVED_USD, saved);
    }
    let name = match from {
        "cache" => &headers::CACHE,
        _ => &headers::IDEMPOTENT_REPLAYED,
    };
    let value = match from {
        "cache" => "hit",
        _ => "true",
    };
    kept.insert(name, HeaderValue::from_static(value));
    *answer.headers_mut() = kept;
    answer
}
