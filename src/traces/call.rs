//! The span of a call while it is under way: everybody who has something to tell of the call tells it here.
//!
//! It is over once its record has ended it, or else when the last who holds it lets go: a call that was
//! refused, answered from what was kept, or given up by its caller.

use super::content::Content;
use super::item::{Attempt, CallData, EndedAs, Event, Item, RefusedAs, Said, UnixNs};
use super::tree::{Caller, Entering, Leaving, Placed, attempt_of};
use super::{Exporting, Traces};
use crate::attribution::Attribution;
use crate::dialect::Call;
use crate::dialect::refusal::Refusal;
use crate::gateway::Provider;
use crate::store::Ending;
use crate::units::{NanoUsd, RequestId, TraceIds};
use http::StatusCode;
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::sync::Arc;
use std::time::Instant;

/// Events of one call that are told.
const MAX_EVENTS: usize = 32;
/// Tries of one call that have a span.
const MAX_ATTEMPTS: usize = 64;
/// Of the tool results that a call brings, the newest are looked at.
const MAX_ANSWERED: usize = 64;

/// A call's span.
pub struct CallSpan {
    traces: Arc<Traces>,
    ids: TraceIds,
    /// Some exporter asks for what it says.
    tells: bool,
    data: Mutex<Option<Box<CallData>>>,
}

/// What a span begins with.
pub struct Beginning<'a> {
    /// Whose the call is.
    pub whose: &'a Arc<Attribution>,
    /// Its request.
    pub request: &'a RequestId,
    /// The call.
    pub call: &'a Call,
    /// Its span, and the trace that it has if no task gives it one.
    pub ids: TraceIds,
    /// The caller's span.
    pub caller: Option<Caller>,
    /// What vendors keep of the caller's trace.
    pub state: Option<Arc<str>>,
    /// What the caller calls its session.
    pub session: Option<Arc<str>>,
    /// When its head was read.
    pub at: Instant,
}

impl CallSpan {
    /// Begins the span, unless nobody would get it. The trace is told in either case.
    #[must_use]
    pub fn begin(
        traces: &Arc<Traces>,
        exporting: &Exporting,
        beginning: Beginning<'_>,
    ) -> (u128, Option<Arc<Self>>) {
        let at = traces.at(beginning.at);
        let Beginning {
            whose,
            request,
            call,
            ids,
            caller,
            state,
            session,
            ..
        } = beginning;
        let answered = || {
            let newest = call.answered_tools().rev();
            newest.take(MAX_ANSWERED).collect::<Vec<_>>()
        };
        let is_told = exporting.asks_content() && caller.is_none_or(|caller| caller.sampled);
        let content = is_told.then(|| Content::of(call, &traces.room));
        let placed = if whose.is_unattributed() || caller.is_some_and(|caller| !caller.sampled) {
            // A day of calls without a task is no tree.
            Placed::outside(ids.trace, caller)
        } else {
            let mut over = Vec::new();
            let entering = Entering {
                whose,
                request,
                span: ids.span,
                caller,
                session: session.as_ref(),
                at,
                answered: &answered,
                content: content.as_deref(),
            };
            let placed = traces.tree.enter(traces.node(), &entering, &mut over);
            traces.push_all(over);
            placed
        };
        let trace = placed.belongs.trace;
        let data = CallData {
            ids: TraceIds {
                trace,
                span: ids.span,
            },
            sampled: placed.belongs.sampled,
            parent: placed.parent,
            link: placed.link,
            whose: Arc::clone(whose),
            request: request.clone(),
            session,
            state,
            dialect: call.dialect,
            model: call.model.as_str().into(),
            stream: call.stream,
            max_tokens: call.asked_output,
            aside: false,
            started: at,
            ended: at,
            attempts: SmallVec::new(),
            events: Vec::new(),
            departed: false,
            ended_as: None,
            refused: None,
            joined: placed.joined,
            content: content.filter(|_| exporting.tells(placed.belongs)),
        };
        if !exporting.takes(placed.belongs) {
            traces.leave(&data, at);
            return (trace, None);
        }
        let span = Self {
            traces: Arc::clone(traces),
            ids: data.ids,
            tells: data.content.is_some(),
            data: Mutex::new(Some(Box::new(data))),
        };
        (trace, Some(Arc::new(span)))
    }

    /// A call that the gateway itself makes for this one.
    #[must_use]
    pub fn aside(&self, request: &RequestId, call: &Call) -> Option<Arc<Self>> {
        let span = super::half(super::number(request)).max(1);
        self.below(span, request, call)
    }

    /// This call, asked of another target at the same time.
    #[must_use]
    pub fn beside(&self, request: &RequestId, call: &Call) -> Option<Arc<Self>> {
        // Tries are counted from one.
        self.below(attempt_of(self.ids.span, 0), request, call)
    }

    fn below(&self, span: u64, request: &RequestId, call: &Call) -> Option<Arc<Self>> {
        let at = self.traces.at(Instant::now());
        let ids = TraceIds {
            trace: self.ids.trace,
            span,
        };
        let data = self.data.lock();
        let of = data.as_deref()?;
        let data = CallData {
            ids,
            parent: Some(self.ids.span),
            link: None,
            whose: Arc::clone(&of.whose),
            session: of.session.clone(),
            state: of.state.clone(),
            sampled: of.sampled,
            request: request.clone(),
            dialect: call.dialect,
            model: call.model.as_str().into(),
            stream: call.stream,
            max_tokens: call.asked_output,
            aside: true,
            started: at,
            ended: at,
            attempts: SmallVec::new(),
            events: Vec::new(),
            departed: false,
            ended_as: None,
            refused: None,
            // It is counted in the task, and is nobody's stay.
            joined: of.joined.map(|joined| super::item::Joined {
                stay: None,
                tools: None,
                ..joined
            }),
            content: (of.content.as_ref()).map(|_| Content::of(call, &self.traces.room)),
        };
        let joined = data.joined;
        let span = Self {
            traces: Arc::clone(&self.traces),
            ids,
            tells: data.content.is_some(),
            data: Mutex::new(Some(Box::new(data))),
        };
        if let Some(joined) = joined {
            self.traces.tree.enter_aside(joined);
        }
        Some(Arc::new(span))
    }

    fn tell(&self, told: impl FnOnce(&mut CallData, &Traces)) {
        if let Some(data) = self.data.lock().as_deref_mut() {
            told(data, &self.traces);
        }
    }

    /// The span of the next try: what the provider is told to stand below.
    #[must_use]
    pub fn next_attempt(&self) -> u64 {
        let data = self.data.lock();
        let tries = data.as_deref().map_or(0, |data| data.attempts.len());
        attempt_of(self.ids.span, tries + 1)
    }

    /// Some exporter asks for what the call and its answer say.
    #[must_use]
    pub const fn tells(&self) -> bool {
        self.tells
    }

    /// A record ends it from here on.
    pub fn departs(&self) {
        self.tell(|data, _| data.departed = true);
    }

    /// A try is sent.
    pub fn sent(&self, at: Instant, provider: &Arc<Provider>, model: &Arc<str>) {
        self.tell(|data, traces| {
            let number = data.attempts.len() + 1;
            if number > MAX_ATTEMPTS {
                return;
            }
            data.attempts.push(Attempt {
                span: attempt_of(data.ids.span, number),
                provider: Arc::clone(provider),
                model: Arc::clone(model),
                started: traces.at(at),
                first: None,
                ended: None,
                status: None,
                failed: None,
            });
        });
    }

    /// The head of the answer has come.
    pub fn answered(&self, status: StatusCode) {
        self.tell(|data, _| {
            if let Some(attempt) = data.attempts.last_mut() {
                attempt.status = Some(status.as_u16());
            }
        });
    }

    /// The first piece of a stream has come.
    pub fn first_piece(&self) {
        self.tell(|data, traces| {
            let now = traces.at(Instant::now());
            if let Some(attempt) = data.attempts.last_mut() {
                attempt.first.get_or_insert(now);
            }
        });
    }

    /// The try is over, and why it came to nothing if it did.
    pub fn tried(&self, failed: Option<&'static str>) {
        self.tell(|data, traces| {
            let now = traces.at(Instant::now());
            if let Some(attempt) = data.attempts.last_mut()
                && attempt.ended.is_none()
            {
                attempt.ended = Some(now);
                attempt.failed = failed;
            }
        });
    }

    /// Something happened to it.
    pub fn note(&self, name: &'static str, more: &[(&'static str, Said)]) {
        self.tell(|data, traces| {
            if data.events.len() < MAX_EVENTS {
                let at = traces.at(Instant::now());
                let more = more.iter().cloned().collect();
                data.events.push(Event { at, name, more });
            }
        });
    }

    /// It was refused; told once.
    pub fn refused(&self, refusal: &Refusal) {
        self.tell(|data, traces| {
            if data.refused.is_some() {
                return;
            }
            let limit: Option<Arc<str>> = refusal.limit().map(Arc::from);
            let code = refusal.code().name();
            let mut more = smallvec::smallvec![("code", Said::Text(code.into()))];
            if let Some(limit) = &limit {
                more.push(("limit", Said::Text(Arc::clone(limit))));
            }
            data.events.push(Event {
                at: traces.at(Instant::now()),
                name: "refused",
                more,
            });
            data.refused = Some(RefusedAs {
                code,
                status: refusal.status(),
                limit,
            });
        });
    }

    /// It is over.
    pub fn end(&self, mut ended_as: EndedAs) {
        self.tried(
            ended_as
                .reason
                .filter(|_| ended_as.ending != Ending::Settle),
        );
        let data = self.data.lock().take();
        if let Some(mut data) = data {
            if let (Some(content), Some(said)) = (&mut data.content, ended_as.said.take()) {
                content.answer(*said);
            }
            data.ended_as = Some(ended_as);
            self.over(data);
        }
    }

    fn over(&self, mut data: Box<CallData>) {
        let now: UnixNs = self.traces.at(Instant::now());
        data.ended = now;
        for attempt in &mut data.attempts {
            attempt.ended.get_or_insert(now);
        }
        self.traces.leave(&data, now);
        self.traces.push(Item::Call(data));
    }
}

impl Drop for CallSpan {
    fn drop(&mut self) {
        if let Some(data) = self.data.get_mut().take() {
            self.over(data);
        }
    }
}

impl Traces {
    /// The task hears that a call is over.
    fn leave(&self, data: &CallData, at: UnixNs) {
        let Some(joined) = data.joined else { return };
        let ended = data.ended_as.as_ref();
        let settled = ended.filter(|ended| ended.ending == Ending::Settle);
        let tokens = settled.and_then(|ended| ended.tokens).unwrap_or_default();
        let leaving = Leaving {
            whose: &data.whose,
            at,
            refused: data.refused.is_some() && data.attempts.is_empty(),
            answered: settled.is_some() || data.refused.is_some(),
            cost: settled.map_or(NanoUsd::ZERO, |ended| ended.charged.usd()),
            tokens: (tokens.input, tokens.output),
            tools: ended.map_or(&[], |ended| &ended.tools),
            content: data.content.as_deref(),
        };
        self.tree.leave(joined, &leaving);
    }
}
