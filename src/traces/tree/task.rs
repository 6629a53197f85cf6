//! One task while its spans are open: the stays of its agents, the tools at work, and how they end.

use super::tools::Tool;
use super::{
    Caller, Charge, Entering, Leaving, MAX_EVENTS, MAX_LINKS, MAX_RESTED, MAX_STAYS, Map, Placed,
    SHARDS,
};
use crate::attribution::Attribution;
use crate::traces::item::{Belongs, Event, Item, Joined, StaySpan, Tags, TaskSpan, UnixNs};
use crate::traces::{half, number};
use crate::units::{NanoUsd, RequestId};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// What is remembered of a task at rest.
pub(super) struct Rested {
    belongs: Belongs,
    /// Its first span, of ours or of its first caller.
    first: u64,
    pub(super) at: UnixNs,
}

pub(super) struct OpenTask {
    pub(super) belongs: Belongs,
    /// The span that everything else hangs below: the task's own, or that of its first caller.
    anchor: u64,
    /// The first of all, to be remembered.
    first: u64,
    /// Its own span; none where its first caller brought one.
    own: Option<Own>,
    pub(super) tags: Tags,
    pub(super) in_flight: u32,
    pub(super) last: UnixNs,
    stays: Vec<Stay>,
    pub(super) tools: Vec<Tool>,
    links: Vec<(u128, u64)>,
    events: Vec<Event>,
    sums: Sums,
}

struct Own {
    parent: Option<u64>,
    started: UnixNs,
}

#[derive(Clone, Copy, Default)]
struct Sums {
    calls: u64,
    refused: u64,
    cost: u64,
    input: u64,
    output: u64,
}

struct Stay {
    span: u64,
    parent: u64,
    agent: Arc<str>,
    role: Option<Arc<str>>,
    caller: Option<Arc<str>>,
    invocation: Option<Arc<str>>,
    started: UnixNs,
    last: UnixNs,
    in_flight: u32,
    calls: u64,
    /// Its last answer asked for nothing: if its caller speaks next, it has handed back.
    answered: bool,
}

/// The trace of a task whose calls bring none.
fn trace_of(node: &str, whose: &Attribution) -> u128 {
    let mut hasher = Sha256::new();
    for part in ["bursar trace 1", node, whose.owner.as_str()] {
        hasher.update(part.as_bytes());
        hasher.update([0]);
    }
    hasher.update(whose.task.value.as_str().as_bytes());
    let digest: [u8; 32] = hasher.finalize().into();
    let (half, _) = digest.split_at(16);
    half.iter()
        .fold(0, |all, byte| all << 8 | u128::from(*byte))
        .max(1)
}

/// The id of a span that is made up: of this trace, for this, from this request on.
fn span_of(trace: u128, what: &str, request: &RequestId) -> u64 {
    let seed = half(trace ^ number(request));
    xxh3_64_with_seed(what.as_bytes(), seed).max(1)
}

impl OpenTask {
    pub(super) fn open(node: &str, entering: &Entering<'_>, rested: Option<&Rested>) -> Self {
        let Entering {
            whose,
            request,
            caller,
            session,
            at,
            ..
        } = entering;
        let belongs = match (rested, caller) {
            (Some(rested), _) => rested.belongs,
            (None, Some(caller)) => Belongs {
                trace: caller.trace,
                sampled: Some(caller.sampled),
            },
            (None, None) => Belongs {
                trace: trace_of(node, whose),
                sampled: None,
            },
        };
        let own_span = span_of(belongs.trace, "task", request);
        // Where callers bring spans of their own, the task has none; one that made one up goes on so.
        let callers = match rested {
            Some(rested) => rested.belongs.sampled.is_some(),
            None => caller.is_some(),
        };
        let first = match (rested, caller) {
            (Some(rested), _) => rested.first,
            (None, Some(caller)) => caller.span,
            (None, None) => own_span,
        };
        Self {
            belongs,
            anchor: if callers { first } else { own_span },
            first,
            own: (!callers).then(|| Own {
                parent: rested.map(|rested| rested.first),
                started: *at,
            }),
            tags: Tags {
                owner: whose.owner.shared(),
                task: whose.task.value.shared(),
                agent: None,
                role: None,
                parent: None,
                session: session.cloned(),
            },
            in_flight: 0,
            last: *at,
            stays: Vec::new(),
            tools: Vec::new(),
            links: Vec::new(),
            events: Vec::new(),
            sums: Sums::default(),
        }
    }

    pub(super) fn enter(
        &mut self,
        digest: u128,
        entering: &Entering<'_>,
        over: &mut Vec<Item>,
    ) -> Placed {
        self.in_flight += 1;
        self.last = self.last.max(entering.at);
        if !self.tools.is_empty() {
            self.end_tools(entering, over);
        }
        if let Some(caller) = entering.caller {
            return self.enter_traced(digest, entering, caller);
        }
        let stay = self.stay(entering, over);
        let parent = stay.unwrap_or(self.anchor);
        Placed {
            belongs: self.belongs,
            parent: Some(parent),
            link: None,
            joined: Some(Joined {
                task: digest,
                stay,
                tools: Some(parent),
            }),
        }
    }

    /// A call that its caller traces stays there, and is linked where that is another trace.
    fn enter_traced(&mut self, digest: u128, entering: &Entering<'_>, caller: Caller) -> Placed {
        let is_other = caller.trace != self.belongs.trace;
        if is_other && self.own.is_some() && self.links.len() < MAX_LINKS {
            self.links.push((caller.trace, entering.span));
        }
        Placed {
            belongs: Belongs {
                trace: caller.trace,
                sampled: Some(caller.sampled),
            },
            parent: Some(caller.span),
            link: is_other.then_some((self.belongs.trace, self.anchor)),
            joined: Some(Joined {
                task: digest,
                stay: None,
                tools: None,
            }),
        }
    }

    /// The stay that the call belongs to, opened if need be; none without an agent.
    fn stay(&mut self, entering: &Entering<'_>, over: &mut Vec<Item>) -> Option<u64> {
        let whose = entering.whose;
        let agent = whose.agent.as_ref()?;
        let invocation = whose.invocation.as_ref().map(|id| id.value.as_str());
        let caller = whose.parent.as_ref().map(|caller| caller.value.as_str());
        let caller = caller.filter(|caller| *caller != agent.value.as_str());
        let found = self.stays.iter().rposition(|stay| {
            *stay.agent == *agent.value.as_str()
                && stay.invocation.as_deref() == invocation
                && (caller.is_none() || stay.caller.is_none() || stay.caller.as_deref() == caller)
        });
        let at = match found {
            Some(at) => at,
            None if self.stays.len() >= MAX_STAYS => return None,
            None => {
                let parent = caller.and_then(|caller| self.caller(caller, entering));
                self.open_stay(agent.value.shared(), parent, entering)
            }
        };
        let span = self.stays[at].span;
        if self.stays[at].caller.is_none()
            && let Some(caller) = caller
        {
            // It was opened for what it called, before it spoke itself.
            let parent = self.caller(caller, entering);
            // Two that name one another cannot stand below one another.
            let parent = parent.filter(|parent| !self.is_within(*parent, span));
            let stay = self.stays.iter_mut().find(|stay| stay.span == span)?;
            stay.caller = Some(caller.into());
            stay.parent = parent.unwrap_or(stay.parent);
        }
        let stay = self.stays.iter_mut().find(|stay| stay.span == span)?;
        if stay.role.is_none() {
            stay.role = whose.role.as_ref().map(|role| role.value.shared());
        }
        if stay.invocation.is_none() {
            stay.invocation = whose.invocation.as_ref().map(|id| id.value.shared());
        }
        stay.in_flight += 1;
        stay.calls += 1;
        stay.answered = false;
        stay.last = stay.last.max(entering.at);
        // It speaks: what it had called and what was answered has handed back.
        self.hand_back(span, over);
        Some(span)
    }

    /// Whether a stay stands below another, or is it.
    fn is_within(&self, mut stay: u64, of: u64) -> bool {
        for _ in 0..=MAX_STAYS {
            if stay == of {
                return true;
            }
            match self.stays.iter().find(|known| known.span == stay) {
                Some(known) => stay = known.parent,
                None => return false,
            }
        }
        true
    }

    /// A call is in flight below it, or of its own.
    fn is_busy(&self, span: u64) -> bool {
        let mut flying = self.stays.iter().filter(|stay| stay.in_flight > 0);
        flying.any(|stay| self.is_within(stay.span, span))
    }

    /// The open stay of the agent that called, opened if it has not spoken yet.
    fn caller(&mut self, caller: &str, entering: &Entering<'_>) -> Option<u64> {
        let open = self.stays.iter().filter(|stay| *stay.agent == *caller);
        if let Some(stay) = open.max_by_key(|stay| stay.last) {
            return Some(stay.span);
        }
        if self.stays.len() + 1 >= MAX_STAYS {
            return None;
        }
        let at = self.open_stay(caller.into(), None, entering);
        let stay = &mut self.stays[at];
        (stay.role, stay.caller, stay.invocation) = (None, None, None);
        Some(stay.span)
    }

    fn open_stay(
        &mut self,
        agent: Arc<str>,
        parent: Option<u64>,
        entering: &Entering<'_>,
    ) -> usize {
        let whose = entering.whose;
        let at = self.stays.len();
        self.stays.push(Stay {
            span: span_of(self.belongs.trace, &agent, entering.request),
            parent: parent.unwrap_or(self.anchor),
            agent,
            role: whose.role.as_ref().map(|role| role.value.shared()),
            caller: whose.parent.as_ref().map(|caller| caller.value.shared()),
            invocation: whose.invocation.as_ref().map(|id| id.value.shared()),
            started: entering.at,
            last: entering.at,
            in_flight: 0,
            calls: 0,
            answered: false,
        });
        at
    }

    /// Ends the stays that this one had opened and that have nothing more to do.
    fn hand_back(&mut self, caller: u64, over: &mut Vec<Item>) {
        let back = |stay: &Stay| stay.parent == caller && stay.answered && stay.in_flight == 0;
        // None ends before what it has called.
        let ends =
            |task: &Self, at: usize| back(&task.stays[at]) && !task.is_busy(task.stays[at].span);
        while let Some(at) = (0..self.stays.len()).find(|at| ends(self, *at)) {
            self.end_stay(at, over);
        }
    }

    /// Ends a stay, and those within it.
    fn end_stay(&mut self, at: usize, over: &mut Vec<Item>) {
        let mut ending = vec![self.stays.remove(at)];
        while let Some(stay) = ending.pop() {
            let within = |other: &Stay| other.parent == stay.span && other.in_flight == 0;
            while let Some(at) = self.stays.iter().position(within) {
                ending.push(self.stays.remove(at));
            }
            over.push(self.stay_span(stay));
        }
    }

    fn stay_span(&self, stay: Stay) -> Item {
        Item::Stay(Box::new(StaySpan {
            belongs: self.belongs,
            span: stay.span,
            parent: stay.parent,
            tags: Tags {
                agent: Some(stay.agent),
                role: stay.role,
                parent: stay.caller,
                ..self.tags.clone()
            },
            invocation: stay.invocation,
            started: stay.started,
            ended: stay.last,
            calls: stay.calls,
        }))
    }

    /// Something that was in flight is over.
    pub(super) fn charge(&mut self, at: UnixNs, charged: &Charge) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.last = self.last.max(at);
        let sums = &mut self.sums;
        sums.cost = sums.cost.saturating_add(charged.cost.0);
        sums.input = sums.input.saturating_add(charged.tokens.0);
        sums.output = sums.output.saturating_add(charged.tokens.1);
    }

    pub(super) fn leave(&mut self, joined: Joined, leaving: &Leaving<'_>) {
        self.charge(leaving.at, &leaving.charged);
        self.sums.calls += 1;
        self.sums.refused += u64::from(leaving.refused);
        // What is within goes on as long as it does.
        let mut span = joined.stay;
        let mut asked = Some(leaving.answered && leaving.tools.is_empty());
        for _ in 0..MAX_STAYS {
            let Some(stay) = self.stays.iter_mut().find(|stay| Some(stay.span) == span) else {
                break;
            };
            stay.last = stay.last.max(leaving.at);
            if let Some(answered) = asked.take() {
                stay.in_flight = stay.in_flight.saturating_sub(1);
                stay.answered = answered;
            }
            span = Some(stay.parent);
        }
        if let Some(parent) = joined.tools {
            self.begin_tools(parent, leaving);
        }
    }

    /// Ends the stays that have rested, those within others first.
    pub(super) fn end_idle(&mut self, at: UnixNs, idle: u64, over: &mut Vec<Item>) {
        let stays = &self.stays;
        let rests = |stay: &Stay| {
            stay.in_flight == 0
                && at.saturating_sub(stay.last) >= idle
                && !stays.iter().any(|other| other.parent == stay.span)
        };
        let Some(first) = stays.iter().position(rests) else {
            return;
        };
        self.end_stay(first, over);
        self.end_idle(at, idle, over);
    }

    /// Something happened to it.
    pub(super) fn note(&mut self, event: Event) {
        if self.events.len() < MAX_EVENTS {
            self.events.push(event);
        }
    }

    /// Everything of it ends.
    pub(super) fn rest(
        mut self,
        digest: u128,
        at: UnixNs,
        rested: &mut Map<Rested>,
        over: &mut Vec<Item>,
    ) {
        while !self.stays.is_empty() {
            self.end_stay(0, over);
        }
        for tool in std::mem::take(&mut self.tools) {
            over.push(self.tool_span(tool, None));
        }
        if rested.len() < MAX_RESTED / SHARDS {
            rested.insert(
                digest,
                Rested {
                    belongs: self.belongs,
                    first: self.first,
                    at,
                },
            );
        }
        let Self {
            belongs,
            anchor,
            own,
            tags,
            last,
            links,
            events,
            sums,
            ..
        } = self;
        let Some(own) = own else { return };
        over.push(Item::Task(Box::new(TaskSpan {
            belongs,
            span: anchor,
            parent: own.parent,
            tags,
            started: own.started,
            ended: last,
            calls: sums.calls,
            refused: sums.refused,
            cost: NanoUsd(sums.cost),
            input: sums.input,
            output: sums.output,
            links,
            events,
        })));
    }
}
