//! The span of a call while it is under way: everybody who has something to tell of the call tells it here.
//!
//! It is over once its record has ended it, or else when the last who holds it lets go: a call that was
//! refused, answered from what was kept, or given up by its caller.

use super::content::Content;
use super::item::{Beside, CallData, EndedAs, Event, Item, RefusedAs, Said};
use super::tree::{Caller, Charge, Entering, Leaving, Placed};
use super::{Exporting, Traces};
use crate::attribution::Attribution;
use crate::dialect::Call;
use crate::dialect::refusal::Refusal;
use crate::store::Ending;
use crate::units::{Amounts, NanoUsd, RequestId, TraceIds};
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::sync::Arc;
use std::time::Instant;

/// Events of one call that are told.
const MAX_EVENTS: usize = 32;
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
            is_racing: false,
            beside: Beside::default(),
            last: None,
            joined: placed.joined,
            content: content.filter(|_| exporting.tells(placed.belongs)),
        };
        if !exporting.takes(placed.belongs) {
            traces.leave(&data);
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

    fn below(&self, span: u64, request: &RequestId, call: &Call) -> Option<Arc<Self>> {
        let at = self.traces.at(Instant::now());
        let ids = TraceIds {
            trace: self.ids.trace,
            span,
        };
        // Read before the other span is held: a body may be long.
        let content = (self.tells).then(|| Content::of(call, &self.traces.room));
        let kept = self.data.lock();
        let of = kept.as_deref()?;
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
            is_racing: false,
            beside: Beside::default(),
            last: None,
            // It is counted in the task, and is nobody's stay.
            joined: of.joined.map(|joined| super::item::Joined {
                stay: None,
                tools: None,
                ..joined
            }),
            content,
        };
        drop(kept);
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

    pub(super) fn tell(&self, told: impl FnOnce(&mut CallData, &Traces)) {
        if let Some(data) = self.data.lock().as_deref_mut() {
            told(data, &self.traces);
        }
    }

    /// Some exporter asks for what the call and its answer say.
    #[must_use]
    pub const fn tells(&self) -> bool {
        self.tells
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

    /// It goes round in circles, by this rule, and what is done about that.
    pub fn looped(&self, rule: &str, action: &str) {
        let [rule, action] = [rule, action].map(|word| Said::Text(word.into()));
        self.note("loop", &[("rule", rule), ("action", action)]);
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

    /// It is over, but for an ask beside the one that ended it: then it is told once that is over too.
    pub(super) fn end(&self, mut ended_as: EndedAs) {
        let mut kept = self.data.lock();
        let Some(data) = kept.as_deref_mut() else {
            return;
        };
        data.ended = self.traces.at(Instant::now());
        if let (Some(content), Some(said)) = (&mut data.content, ended_as.said.take()) {
            content.answer(*said);
        }
        data.ended_as = Some(ended_as);
        self.traces.leave(data);
        if !data.is_racing
            && let Some(data) = kept.take()
        {
            drop(kept);
            self.traces.over(data);
        }
    }

    /// An ask of it is over, and it is not. What that cost belongs to the call all the same.
    pub(super) fn end_aside(&self, ended_as: EndedAs, of_race: bool) {
        let mut kept = self.data.lock();
        let Some(data) = kept.as_deref_mut() else {
            return;
        };
        let (beside, charged) = (&mut data.beside, ended_as.charged.usd());
        let sum = |one: NanoUsd, other: NanoUsd| NanoUsd(one.0.saturating_add(other.0));
        match ended_as.ending {
            Ending::Settle => beside.cost = sum(beside.cost, charged),
            Ending::Unreconciled => beside.in_doubt = sum(beside.in_doubt, charged),
            Ending::Void | Ending::Denied => {}
        }
        if !of_race {
            // The sums have it already.
            data.last = Some(Box::new(EndedAs {
                charged: Amounts::ZERO,
                ..ended_as
            }));
            return;
        }
        if !std::mem::take(&mut data.is_racing) {
            return;
        }
        self.traces.leave_aside(data, Some(&ended_as));
        if data.ended_as.is_some()
            && let Some(data) = kept.take()
        {
            drop(kept);
            self.traces.over(data);
        }
    }
}

impl Drop for CallSpan {
    fn drop(&mut self) {
        let Some(mut data) = self.data.get_mut().take() else {
            return;
        };
        if data.ended_as.is_none() {
            data.ended = self.traces.at(Instant::now());
            data.ended_as = data.last.take().map(|last| *last);
            self.traces.leave(&data);
        }
        if data.is_racing {
            self.traces.leave_aside(&data, None);
        }
        self.traces.over(data);
    }
}

impl Traces {
    /// The task hears that a call is over.
    fn leave(&self, data: &CallData) {
        let Some(joined) = data.joined else { return };
        let ended = data.ended_as.as_ref();
        let settled = ended.filter(|ended| ended.ending == Ending::Settle);
        let leaving = Leaving {
            whose: &data.whose,
            at: data.ended,
            refused: data.refused.is_some() && data.attempts.is_empty(),
            answered: settled.is_some() || data.refused.is_some(),
            charged: ended.map(Charge::of).unwrap_or_default(),
            tools: ended.map_or(&[], |ended| &ended.tools),
            content: data.content.as_deref(),
        };
        self.tree.leave(joined, &leaving);
    }

    /// The task hears that an ask beside a call is over.
    fn leave_aside(&self, data: &CallData, ended: Option<&EndedAs>) {
        if let Some(joined) = data.joined {
            let charged = ended.map(Charge::of).unwrap_or_default();
            let now = self.at(Instant::now());
            self.tree.leave_aside(joined, now, &charged);
        }
    }

    fn over(&self, mut data: Box<CallData>) {
        let ended = data.ended;
        for attempt in &mut data.attempts {
            attempt.ended.get_or_insert(ended);
        }
        self.push(Item::Call(data));
    }
}

impl Charge {
    /// What was settled; nothing else is known.
    fn of(ended: &EndedAs) -> Self {
        if ended.ending != Ending::Settle {
            return Self::default();
        }
        let tokens = ended.tokens.unwrap_or_default();
        Self {
            cost: ended.charged.usd(),
            tokens: (tokens.input, tokens.output),
        }
    }
}
