//! Reads what the call cost out of the answer as it passes, and ends the hold: settle, void, or
//! doubt, by the table of endings.
//!
//! Needs the record that `admit` opened. Adds the cost to plain answers. Whatever becomes of the
//! caller, the exchange with the provider is seen through to its usage for a bounded time.

use super::body::{AnswerBody, Upstream};
use super::failed::{Cure, Failed, NoAnswer};
use super::record::{Outcome, Record};
use super::retry::Again;
use super::upstream::{Outgoing, Reached, reached};
use super::{Code, Refused};
use crate::dialect::answer::{BodyBuffer, Cut, Kept, StreamFilter};
use crate::dialect::translate::{Stream, Unreadable};
use crate::flights::Stop;
use crate::gateway::Provider;
use crate::units::NanoUsd;
use bytes::Bytes;
use futures_util::future::{Either, select};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body::Body;
use http_body_util::BodyExt;
use hyper_util::client::legacy::ResponseFuture;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until, timeout, timeout_at};
use tower::{Layer, Service};

/// Longest error answer that is collected, bytes; a longer one is in doubt like a broken one.
const ERROR_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The content type of a translated answer.
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The layer.
#[derive(Clone, Copy, Debug)]
pub struct MeterLayer;

impl<S> Layer<S> for MeterLayer {
    type Service = Meter<S>;

    fn layer(&self, inner: S) -> Meter<S> {
        Meter { inner }
    }
}

/// The service.
#[derive(Clone)]
pub struct Meter<S> {
    inner: S,
}

/// A call that may leave: its request and its open record.
pub struct Admitted {
    /// What goes to the provider.
    pub request: Request<Outgoing>,
    /// What is known of the call; owns the hold. Boxed, for it is handed on several times.
    pub record: Box<Record>,
}

impl<S> Service<Admitted> for Meter<S>
where
    S: Service<
            (Arc<Provider>, Request<Outgoing>),
            Response = ResponseFuture,
            Error = std::convert::Infallible,
        > + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<AnswerBody>;
    type Error = NoAnswer;
    type Future = Pin<Box<dyn Future<Output = Result<Response<AnswerBody>, NoAnswer>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), NoAnswer>> {
        self.inner.poll_ready(cx).map_err(|never| match never {})
    }

    fn call(&mut self, admitted: Admitted) -> Self::Future {
        let Admitted {
            mut request,
            mut record,
        } = admitted;
        let mut inner = self.inner.clone();
        Box::pin(async move {
            if let Err(refused) = record.take_place().await {
                return Err(shed(record, refused));
            }
            let mut again = Again::of(&record, &request);
            loop {
                record.sent();
                let sending = inner.call((Arc::clone(&record.provider), request));
                let Ok(future) = sending.await;
                record.forget_body();
                let underway = Underway {
                    part: Some(Part::Sent(future)),
                    record: Some(record),
                };
                match (underway.answer().await, &mut again) {
                    (Err(NoAnswer::Failed(failed)), Some(again)) => {
                        (request, record) = again.next(failed).await?;
                    }
                    (answer, _) => return answer,
                }
            }
        })
    }
}

/// No place at the provider: nothing was sent.
fn shed(record: Box<Record>, refused: Refused) -> NoAnswer {
    if refused.refusal.code() != Code::ProviderUnavailable {
        return refused.into();
    }
    let cure = Cure {
        elsewhere: true,
        ..Cure::default()
    };
    NoAnswer::Failed(Failed::new(
        record,
        Outcome::Void("shed"),
        Err(refused),
        cure,
    ))
}

/// How far an exchange has come.
enum Part {
    /// The request is on its way; no answer yet.
    Sent(ResponseFuture),
    /// A plain answer is being collected.
    Plain(Upstream, Box<BodyBuffer>),
    /// A stream passes.
    Stream(Upstream, Box<StreamFilter>),
}

/// An exchange with a provider that somebody must see through. Dropped half-way (the caller hung
/// up, the stream was cut), it goes on in a task of its own.
struct Underway {
    part: Option<Part>,
    record: Option<Box<Record>>,
}

impl Drop for Underway {
    fn drop(&mut self) {
        if let (Some(part), Some(record)) = (self.part.take(), self.record.take()) {
            see_through(part, record);
        }
    }
}

/// Why an exchange ended before its answer did.
enum Broken {
    Failed(String),
    TimedOut,
    Stopped(Stop),
}

impl Underway {
    async fn answer(mut self) -> Result<Response<AnswerBody>, NoAnswer> {
        let response = self.head().await?;
        let (mut parts, body) = response.into_parts();
        let body = unpack(&mut parts.headers, body);
        super::upstream::strip_hop_by_hop(&mut parts.headers);
        let Some(record) = &mut self.record else {
            return Err(Refused::internal("no record").into());
        };
        record.answered(parts.status);
        record.stamp(&mut parts.headers);
        if !parts.status.is_success() || is_page(&parts.headers) {
            return self.error_answer(parts, body).await;
        }
        if is_event_stream(&parts.headers) {
            parts.headers.remove(header::CONTENT_LENGTH);
            record.stamp_remaining(&mut parts.headers);
            let (dialect, keep) = (record.call.dialect, record.keep());
            let mut filter = StreamFilter::new(dialect, record.hide_usage).keeping(keep);
            if record.listens() {
                filter = filter.listening();
            }
            self.part = Some(Part::Stream(body, Box::new(filter)));
            let metered = Metered::new(self);
            return Ok(Response::from_parts(
                parts,
                AnswerBody::Metered(Box::new(metered)),
            ));
        }
        let length = body.size_hint().exact();
        self.part = Some(Part::Plain(
            body,
            Box::new(BodyBuffer::new(record.call.dialect, length).keeping(record.keep())),
        ));
        Ok(self.plain_answer(parts).await?)
    }

    /// Waits for the head of the answer.
    async fn head(&mut self) -> Result<Response<hyper::body::Incoming>, NoAnswer> {
        let (Some(Part::Sent(future)), Some(record)) = (&mut self.part, &self.record) else {
            return Err(Refused::internal("an exchange begins by being sent").into());
        };
        let flight = Arc::clone(record.flight());
        let (since, patience) = (Instant::now(), record.provider.timeouts.first_byte);
        let waited = loop {
            let by = record.until(patience).min(since + patience);
            let answer = pin!(timeout_at(by, &mut *future));
            match select(answer, pin!(flight.stop())).await {
                // The clock of a deadline may have stood still meanwhile.
                Either::Left((Err(_), _))
                    if !record.is_over() && !record.is_out_of_patience(since, patience) => {}
                Either::Left((answer, _)) => break Ok(answer),
                Either::Right((stop, _)) => break Err(stop),
            }
        };
        match waited {
            Ok(Ok(Ok(response))) => Ok(response),
            Ok(Ok(Err(error))) => {
                self.part = None;
                let Some(record) = self.record.take() else {
                    return Err(Refused::internal("no record").into());
                };
                Err(NoAnswer::Failed(unreached(record, &error)))
            }
            Ok(Err(_)) if record.is_over() => Err(record.deadline_refusal().into()),
            Ok(Err(_)) => {
                self.part = None;
                let Some(record) = self.record.take() else {
                    return Err(Refused::internal("no record").into());
                };
                let provider = &record.provider.name;
                let message = format!("Provider `{provider}` did not answer in time.");
                let told = Err(Refused::new(Code::UpstreamTimeout, &message));
                let outcome = Outcome::Doubt("timeout");
                let failed = Failed::new(record, outcome, told, Cure::ANY);
                Err(NoAnswer::Failed(failed))
            }
            // Dropping `self` sees the exchange through.
            Err(stop) => Err(record.stop_refusal(stop).into()),
        }
    }

    /// An error answer of the provider passes as it came, if nobody tries again. Void, if such answers
    /// are not billed.
    async fn error_answer(
        mut self,
        mut parts: http::response::Parts,
        body: Upstream,
    ) -> Result<Response<AnswerBody>, NoAnswer> {
        self.part = None;
        let Some(record) = self.record.take() else {
            return Err(Refused::internal("no record").into());
        };
        let limited = http_body_util::Limited::new(body, ERROR_BYTES_MAX);
        let by = record.until(record.provider.timeouts.between_bytes);
        let back = record.back().cloned();
        // If this future is dropped half-way, the record's own drop leaves the hold in doubt.
        let failed = match timeout_at(by, limited.collect()).await {
            Ok(Ok(body)) => {
                let mut body = body.to_bytes();
                let status = parts.status;
                let outcome = match status.is_success() {
                    // Some intermediary's page in the place of an answer.
                    true => Outcome::Doubt("no_answer"),
                    false if record.provider.bills(status, &body) => Outcome::Doubt("billed_error"),
                    false => Outcome::Void("provider_refused"),
                };
                let cure = match status.is_success() {
                    true => Cure::ANY,
                    false => Cure::of(status, &parts.headers, &body, crate::clock::now()),
                };
                if let Some(pause) = cure.after {
                    record.quiet(pause);
                }
                parts.headers.remove(header::CONTENT_LENGTH);
                let told = match back {
                    Some(_) if status.is_success() => Err(unreadable(Unreadable::Form)),
                    Some(back) => {
                        (parts.status, body) = back.error(status, &body);
                        parts.headers.insert(header::CONTENT_TYPE, JSON);
                        Ok(Response::from_parts(parts, AnswerBody::Whole(body)))
                    }
                    None => Ok(Response::from_parts(parts, AnswerBody::Whole(body))),
                };
                Failed::new(record, outcome, told, cure)
            }
            Ok(Err(_)) | Err(_) => {
                let provider = &record.provider.name;
                let message = format!("Provider `{provider}` broke its error answer off.");
                let told = Err(Refused::new(Code::UpstreamError, &message));
                Failed::new(record, Outcome::Doubt("broken_error"), told, Cure::ANY)
            }
        };
        Err(NoAnswer::Failed(failed))
    }

    /// Collects a plain answer, so that its cost stands in its headers.
    async fn plain_answer(
        mut self,
        mut parts: http::response::Parts,
    ) -> Result<Response<AnswerBody>, Refused> {
        let collected = self.collect().await;
        let Some(record) = self.record.as_ref() else {
            return Err(Refused::internal("no record"));
        };
        match collected {
            Ok(None) => {}
            // Too long to be read: it passes, and nobody can say what it cost.
            Ok(Some(through)) => {
                self.part = None;
                if let Some(record) = self.record.take() {
                    let is_translated = record.back().is_some();
                    let charged = record.end(Outcome::Doubt("too_long"));
                    charged.stamp(&mut parts.headers);
                    if is_translated {
                        return Err(unreadable(Unreadable::TooLong));
                    }
                }
                return Ok(Response::from_parts(parts, through));
            }
            // Dropping `self` sees the exchange through.
            Err(Broken::Stopped(stop)) => return Err(record.stop_refusal(stop)),
            Err(Broken::TimedOut) if record.is_over() => return Err(record.deadline_refusal()),
            Err(broken) => {
                let provider = record.provider.name.clone();
                self.part = None;
                if let Some(record) = self.record.take() {
                    record.end(Outcome::Doubt(broken.reason()));
                }
                return Err(broken.refusal(provider.as_str()));
            }
        }
        let (Some(Part::Plain(_, buffer)), Some(mut record)) =
            (self.part.take(), self.record.take())
        else {
            return Err(Refused::internal("a plain answer was collected"));
        };
        let (body, answer) = buffer.finish(true);
        parts.headers.remove(header::CONTENT_LENGTH);
        let outcome = record.outcome(answer);
        let translated = record.back().map(|back| back.answer(&body));
        let charged = record.end(outcome);
        charged.stamp(&mut parts.headers);
        let body = match translated {
            None => body,
            Some(translated) => {
                parts.headers.insert(header::CONTENT_TYPE, JSON);
                translated.map_err(unreadable)?
            }
        };
        Ok(Response::from_parts(parts, AnswerBody::Whole(body)))
    }

    async fn collect(&mut self) -> Result<Option<AnswerBody>, Broken> {
        let (Some(Part::Plain(body, buffer)), Some(record)) = (&mut self.part, &self.record) else {
            return Ok(None);
        };
        let flight = Arc::clone(record.flight());
        let mut stop = pin!(flight.stop());
        let patience = record.provider.timeouts.between_bytes;
        let mut since = Instant::now();
        loop {
            let by = record.until(patience).min(since + patience);
            let frame = match select(pin!(timeout_at(by, body.frame())), &mut stop).await {
                Either::Left((frame, _)) => frame,
                Either::Right((stop, _)) => return Err(Broken::Stopped(stop)),
            };
            if frame.is_ok() {
                since = Instant::now();
            }
            match frame {
                // The clock of a deadline may have stood still meanwhile.
                Err(_) if !record.is_over() && !record.is_out_of_patience(since, patience) => {}
                Err(_) => return Err(Broken::TimedOut),
                Ok(Some(Err(error))) => return Err(Broken::Failed(error.to_string())),
                Ok(None) => return Ok(None),
                Ok(Some(Ok(frame))) => {
                    let Ok(data) = frame.into_data() else {
                        continue;
                    };
                    if let Kept::Through(first) = buffer.push(data) {
                        let Some(Part::Plain(rest, _)) = self.part.take() else {
                            return Ok(None);
                        };
                        return Ok(Some(through(first, rest)));
                    }
                }
            }
        }
    }
}

/// An answer that was paid for, and that its caller's dialect cannot say.
fn unreadable(why: Unreadable) -> Refused {
    Refused::new(Code::UpstreamError, &why.to_string())
}

/// What was collected so far, then the rest.
fn through(first: Bytes, rest: Upstream) -> AnswerBody {
    let first = futures_util::stream::once(async move { Ok(http_body::Frame::data(first)) });
    let rest = http_body_util::BodyStream::new(rest);
    let both = futures_util::StreamExt::chain(first, rest);
    AnswerBody::Through(Upstream::Unpacked(Box::pin(
        http_body_util::StreamBody::new(both),
    )))
}

impl Broken {
    const fn reason(&self) -> &'static str {
        match self {
            Self::Failed(_) => "reset",
            Self::TimedOut => "timeout",
            Self::Stopped(_) => "stopped",
        }
    }

    fn refusal(&self, provider: &str) -> Refused {
        match self {
            Self::TimedOut => Refused::new(
                Code::UpstreamTimeout,
                &format!("Provider `{provider}` fell silent in the middle of its answer."),
            ),
            Self::Failed(error) => {
                tracing::info!(provider, error, "an answer broke off");
                Refused::new(
                    Code::UpstreamError,
                    &format!("Provider `{provider}` broke its answer off."),
                )
            }
            Self::Stopped(_) => Refused::internal("a stop has its own refusal"),
        }
    }
}

/// The provider was not reached, or perhaps it was.
fn unreached(record: Box<Record>, error: &hyper_util::client::legacy::Error) -> Box<Failed> {
    let provider = record.provider.name.clone();
    let cause = std::error::Error::source(error)
        .map(ToString::to_string)
        .unwrap_or_default();
    tracing::info!(%provider, %error, cause, "a provider could not be reached");
    let (outcome, message) = match reached(error) {
        Reached::Never => (
            Outcome::Void("unreachable"),
            format!("Provider `{provider}` cannot be reached."),
        ),
        Reached::Perhaps => (
            Outcome::Doubt("reset"),
            format!("Provider `{provider}` closed the connection without an answer."),
        ),
    };
    let told = Err(Refused::new(Code::UpstreamError, &message));
    Failed::new(record, outcome, told, Cure::ANY)
}

/// A page for people: no provider answers a call with that, but what stands before one may.
fn is_page(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE);
    value.is_some_and(|value| {
        let kind = value.as_bytes().get(..9);
        kind.is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/html"))
    })
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let value = headers
        .get(header::CONTENT_TYPE)
        .map(http::HeaderValue::as_bytes);
    value.is_some_and(|value| {
        value
            .get(..17)
            .is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/event-stream"))
    })
}

/// Unpacks a body that came compressed although nobody asked for it. An encoding that Bursar cannot
/// read passes as it came, and leaves the hold in doubt: no usage can be read.
fn unpack(headers: &mut HeaderMap, body: hyper::body::Incoming) -> Upstream {
    let Some(encoding) = headers.get(header::CONTENT_ENCODING) else {
        return Upstream::Plain(body);
    };
    match super::decode::unpacked(encoding.as_bytes(), body) {
        Ok(unpacked) => {
            headers.remove(header::CONTENT_ENCODING);
            headers.remove(header::CONTENT_LENGTH);
            Upstream::Unpacked(unpacked)
        }
        Err(body) => Upstream::Plain(body),
    }
}

/// A stream on its way to the caller.
pub struct Metered {
    underway: Underway,
    /// Fires when nothing has come for too long, or when the call's time is over.
    silence: Pin<Box<Sleep>>,
    last: Instant,
    between: Duration,
    /// Nothing more comes from upstream.
    over: bool,
    /// The caller speaks another dialect.
    translating: Option<Box<Stream>>,
    whole: Option<Whole>,
}

/// A stream that came to its end as its dialect has it.
#[derive(Clone, Copy, Debug)]
pub struct Whole {
    /// What it cost, if that is certain.
    pub cost: Option<NanoUsd>,
}

impl Metered {
    fn new(underway: Underway) -> Self {
        let between = underway.record.as_ref().map_or(Duration::ZERO, |record| {
            record.provider.timeouts.between_bytes
        });
        let translating = underway
            .record
            .as_ref()
            .and_then(|record| Some(Box::new(record.back()?.stream())));
        let last = Instant::now();
        let by = underway
            .record
            .as_ref()
            .map_or(last, |record| record.until(between));
        Self {
            underway,
            silence: Box::pin(sleep_until(by)),
            last,
            between,
            over: false,
            translating,
            whole: None,
        }
    }

    /// Nobody will send the call again: its body need not be kept.
    pub fn forget_body(&mut self) {
        if let Some(record) = &mut self.underway.record {
            record.forget_body();
        }
    }

    /// What became of it, once it is over.
    #[must_use]
    pub const fn whole(&self) -> Option<Whole> {
        self.whole
    }

    /// The next piece for the caller.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            let Some(Part::Stream(body, filter)) = &mut self.underway.part else {
                return Poll::Ready(None);
            };
            if let Some(data) = filter.pop() {
                let Some(stream) = &mut self.translating else {
                    return Poll::Ready(Some(data));
                };
                let data = stream.push(&data);
                if data.is_empty() {
                    continue;
                }
                return Poll::Ready(Some(data));
            }
            if self.over {
                self.underway.part = None;
                return Poll::Ready(self.goodbye());
            }
            if let Some(record) = &self.underway.record
                && let Poll::Ready(stop) = record.flight().poll_stop(cx)
            {
                let refusal = record.stop_refusal(stop);
                return Poll::Ready(self.cut(&Cut::Error(&refusal.refusal)));
            }
            match Pin::new(body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    let Ok(data) = frame.into_data() else {
                        continue;
                    };
                    self.last = Instant::now();
                    if let Some(record) = &mut self.underway.record {
                        record.first_byte();
                    }
                    filter.push(data);
                    if let Some(ending) = self.read_on() {
                        return Poll::Ready(Some(ending));
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    let broken = Broken::Failed(error.to_string());
                    return Poll::Ready(self.broken(&broken));
                }
                Poll::Ready(None) => {
                    filter.end();
                    self.over = true;
                    self.conclude(true);
                }
                Poll::Pending => match self.poll_silence(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(ending) => return Poll::Ready(ending),
                },
            }
        }
    }

    /// After a chunk was read: settle at the terminal event, so that the caller's next call finds
    /// it settled; cut what goes on beyond what it was told.
    fn read_on(&mut self) -> Option<Bytes> {
        let (Some(Part::Stream(_, filter)), Some(record)) =
            (&mut self.underway.part, &self.underway.record)
        else {
            return None;
        };
        if filter.reader().terminal_seen() {
            self.conclude(true);
            return None;
        }
        if record.is_beyond(filter.reader()) {
            return self.cut(&Cut::Length(None));
        }
        if let Some(chanting) = filter.reader().chanting() {
            record.chants(chanting);
            return self.cut(&Cut::Length(None));
        }
        None
    }

    fn conclude(&mut self, clean: bool) {
        let Some(Part::Stream(_, filter)) = &mut self.underway.part else {
            return;
        };
        let Some(mut record) = self.underway.record.take() else {
            return;
        };
        let answer = filter.finish(clean);
        let outcome = record.outcome(answer);
        let is_whole = outcome.is_whole();
        let charged = record.end(outcome);
        self.whole = is_whole.then(|| Whole {
            cost: charged.cost(),
        });
    }

    /// Ends the caller's stream; upstream's goes on behind it, for its usage.
    fn cut(&mut self, cut: &Cut<'_>) -> Option<Bytes> {
        let Some(Part::Stream(_, filter)) = &mut self.underway.part else {
            return None;
        };
        let ending = filter.cut(*cut);
        let ending = self.last(ending);
        if let (Some(part), Some(record)) = (self.underway.part.take(), self.underway.record.take())
        {
            see_through(part, record);
        }
        Some(ending)
    }

    /// What its dialect has at the end, where upstream's has nothing.
    fn goodbye(&mut self) -> Option<Bytes> {
        let mut stream = self.translating.take()?;
        Some(stream.end()).filter(|last| !last.is_empty())
    }

    /// The last bytes for the caller, in its dialect.
    fn last(&mut self, ending: Bytes) -> Bytes {
        let Some(mut stream) = self.translating.take() else {
            return ending;
        };
        let last = [stream.push(&ending), stream.end()];
        last.concat().into()
    }

    /// Upstream broke off: the hold is in doubt, and the caller is told in its dialect.
    fn broken(&mut self, broken: &Broken) -> Option<Bytes> {
        let Some(Part::Stream(_, filter)) = &mut self.underway.part else {
            return None;
        };
        let Some(mut record) = self.underway.record.take() else {
            // All was said and settled; only the connection ended badly.
            self.underway.part = None;
            return self.goodbye();
        };
        let refusal = broken.refusal(record.provider.name.as_str());
        record.saw(filter.reader().visible_bytes());
        let ending = filter.cut(Cut::Error(&refusal.refusal));
        let ending = self.last(ending);
        self.underway.part = None;
        record.end(Outcome::Doubt(broken.reason()));
        Some(ending)
    }

    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if self.silence.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let Some(record) = &self.underway.record else {
                // Settled already; a provider that does not close is let go.
                self.underway.part = None;
                return Poll::Ready(self.goodbye());
            };
            if record.is_over() {
                let refusal = record.deadline_refusal();
                return Poll::Ready(self.cut(&Cut::Error(&refusal.refusal)));
            }
            let by = (self.last + self.between).min(record.until(self.between));
            if by <= Instant::now() {
                return Poll::Ready(self.broken(&Broken::TimedOut));
            }
            self.silence.as_mut().reset(by);
        }
    }
}

/// Sees an exchange through to its usage in a task of its own, for a bounded time.
fn see_through(part: Part, record: Box<Record>) {
    let gateway = Arc::clone(record.gateway());
    let bounded = record.reads_on_for(gateway.live().config().bounds.finish_upstream);
    gateway.clone().finishing(async move {
        let mut record = record;
        if let Part::Stream(_, filter) = &part {
            record.saw(filter.reader().visible_bytes());
        }
        let outcome = match timeout(bounded, read_to_end(part, &mut record)).await {
            Ok(outcome) => outcome,
            Err(_) => Outcome::Doubt("client_gone"),
        };
        record.end(outcome);
    });
}

async fn read_to_end(part: Part, record: &mut Record) -> Outcome {
    let (body, mut reading) = match part {
        Part::Sent(future) => match future.await {
            Ok(response) => {
                let (mut parts, body) = response.into_parts();
                record.answered(parts.status);
                let body = unpack(&mut parts.headers, body);
                if !parts.status.is_success() {
                    let limited = http_body_util::Limited::new(body, ERROR_BYTES_MAX);
                    let Ok(body) = limited.collect().await else {
                        return Outcome::Doubt("billed_error");
                    };
                    return match record.provider.bills(parts.status, &body.to_bytes()) {
                        true => Outcome::Doubt("billed_error"),
                        false => Outcome::Void("provider_refused"),
                    };
                }
                let dialect = record.call.dialect;
                if is_event_stream(&parts.headers) {
                    let filter = Box::new(StreamFilter::new(dialect, false).keeping(record.keep()));
                    (body, Reading::Stream(filter))
                } else {
                    let length = body.size_hint().exact();
                    let buffer = Box::new(BodyBuffer::new(dialect, length).keeping(record.keep()));
                    (body, Reading::Plain(buffer))
                }
            }
            Err(error) if reached(&error) == Reached::Never => return Outcome::Void("unreachable"),
            Err(_) => return Outcome::Doubt("reset"),
        },
        Part::Plain(body, buffer) => (body, Reading::Plain(buffer)),
        Part::Stream(body, filter) => (body, Reading::Stream(filter)),
    };
    let mut body = body;
    loop {
        match body.frame().await {
            Some(Ok(frame)) => {
                let Ok(data) = frame.into_data() else {
                    continue;
                };
                if !reading.push(data) {
                    return Outcome::Doubt("too_long");
                }
                if let Reading::Stream(filter) = &reading {
                    record.saw(filter.reader().visible_bytes());
                }
                // A provider that does not close after its last word has said all the same.
                if reading.is_over() {
                    break;
                }
            }
            Some(Err(_)) => return Outcome::Doubt("reset"),
            None => break,
        }
    }
    let answer = match reading {
        Reading::Plain(buffer) => buffer.finish(true).1,
        Reading::Stream(mut filter) => {
            filter.end();
            filter.finish(true)
        }
    };
    record.outcome(answer)
}

/// An answer that is read for its usage alone.
enum Reading {
    Plain(Box<BodyBuffer>),
    Stream(Box<StreamFilter>),
}

impl Reading {
    /// The terminal event was read.
    fn is_over(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Stream(filter) => filter.reader().terminal_seen(),
        }
    }

    /// False if the answer is too long to be read.
    fn push(&mut self, data: Bytes) -> bool {
        match self {
            Self::Plain(buffer) => matches!(buffer.push(data), Kept::Waiting),
            Self::Stream(filter) => {
                filter.push(data);
                while filter.pop().is_some() {}
                true
            }
        }
    }
}
