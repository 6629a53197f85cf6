//! Before the money is spent: quotes the bytes that will leave and sets that much aside on every
//! account that covers the call, or refuses.
//!
//! Needs the route. Opens the call's [`Record`], which owns the hold from here on, and hands both
//! the request that leaves and the record to `meter`.

mod again;
mod asked;
mod bounds;
mod breaker;
mod context;
mod lineage;
mod pace;
mod refusal;
mod review;
mod skew;
mod translation;
mod walk;
mod wrap_up;

pub use context::Trimmed;
use context::{Aside, Asides};
pub use refusal::{TASKS_PER_HOUR, deadline_refusal, stop_refusal};
pub use translation::Translation;
pub use wrap_up::NUDGED;

use super::body::AnswerBody;
use super::check::{self, Watched};
use super::failed::NoAnswer;
use super::meter::Admitted;
use super::record::{Facts, Record};
use super::route::Routed;
use super::trace::Trace;
use super::upstream::Outgoing;
use super::watch::Steps;
use super::{Code, Refused, arrival, headers};
use crate::attribution::Attribution;
use crate::clock;
use crate::config::{CallCeilings, ConductRules, Policies};
use crate::dialect::{Call, Dialect, Edits};
use crate::escalation::Question;
use crate::flights::{Aboard, Boarded, Flight};
use crate::gateway::{Gateway, Live};
use crate::ledger::{Ask, Asker, Caps, Cover, Edition, Stand};
use crate::loops::Action;
use crate::purse::{Hold, NoHold};
use crate::stack::attribute::TaskUsd;
use crate::store::{NoteKind, TaskOpening};
use crate::task::pulse::Beat;
use crate::task::{Standstill, Task, own_usd};
use crate::units::{Amounts, Meter, RequestId, UnixMs};
use bounds::Bound;
use futures_util::future::{Either, select};
use http::{HeaderName, HeaderValue, Request, Response, Uri};
use lineage::Entered;
use parking_lot::Mutex;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::{Layer, Service};
use walk::{Miss, Patience};
use wrap_up::Words;

/// How often a call looks at its task again when somebody decides on it at that very moment.
const LOOKS_MAX: usize = 8;

/// The layer.
#[derive(Clone)]
pub struct AdmitLayer(pub Arc<Gateway>);

impl<S> Layer<S> for AdmitLayer {
    type Service = Admit<S>;

    fn layer(&self, inner: S) -> Admit<S> {
        Admit {
            gateway: Arc::clone(&self.0),
            inner,
        }
    }
}

/// The service.
#[derive(Clone)]
pub struct Admit<S> {
    gateway: Arc<Gateway>,
    inner: S,
}

impl<S> Service<Request<Outgoing>> for Admit<S>
where
    S: Service<Admitted, Response = Response<AnswerBody>, Error = NoAnswer>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    type Response = Response<AnswerBody>;
    type Error = Refused;
    type Future = Pin<Box<dyn Future<Output = Result<Response<AnswerBody>, Refused>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        // What is behind reserves nothing before it has a call.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Outgoing>) -> Self::Future {
        let gateway = Arc::clone(&self.gateway);
        let mut inner = self.inner.clone();
        Box::pin(async move {
            let mut admission = Admission::of(gateway, &request)?;
            if admission.live.loaded.policies.summarises() && !admission.aside {
                let own = Self {
                    gateway: Arc::clone(&admission.gateway),
                    inner: inner.clone(),
                };
                admission.asides = Some(own.asides());
            }
            let admitted = match admission.place(&request).await {
                Ok(placed) if admission.has_a_way_on(&placed) => {
                    let sending = again::send(admission, request, placed, inner);
                    return Box::pin(sending).await;
                }
                Ok(placed) => admission.depart(request, placed).await?,
                Err(NotYet::Refused(refused)) => return Err(refused),
                Err(NotYet::LookAgain) => {
                    return Err(Refused::internal("a place looks again itself"));
                }
                // What it is made for asks by itself.
                Err(NotYet::Asked(_)) if admission.aside => {
                    return Err(Refused::new(
                        Code::TaskSuspended,
                        "The task waits for a person.",
                    ));
                }
                Err(NotYet::Asked(question)) => {
                    let waiting = asked::wait(admission, request, question, inner);
                    return Box::pin(waiting).await;
                }
            };
            // Nothing of the admission outlives it: a stream may last, and the body is large.
            drop(admission);
            inner.call(admitted).await.or_else(NoAnswer::told)
        })
    }
}

impl<S> Admit<S>
where
    S: Service<Admitted, Response = Response<AnswerBody>, Error = NoAnswer>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    /// Makes calls of the gateway's own, admitted like any other.
    fn asides(self) -> Asides {
        let own = Mutex::new(self);
        Box::new(move |request| own.lock().clone().call(request))
    }
}

/// One call on its way to a hold.
pub(super) struct Admission {
    pub(super) gateway: Arc<Gateway>,
    pub(super) live: Arc<Live>,
    pub(super) attribution: Arc<Attribution>,
    /// As it leaves, but for what is spliced in last.
    pub(super) call: Arc<Call>,
    /// As it came.
    came: Arc<Call>,
    pub(super) routed: Routed,
    pub(super) request: RequestId,
    pub(super) trace: Option<Trace>,
    pub(super) arrived: std::time::Instant,
    pub(super) task_usd: Option<TaskUsd>,
    pub(super) now: UnixMs,
    /// What the watch found new in it.
    pub(super) steps: Option<Steps>,
    /// What is said to the model with it.
    words: Mutex<Words>,
    fitted: context::Fitted,
    /// The provider does not speak the caller's dialect: `call` is then in one that it speaks.
    translation: Option<Arc<Translation>>,
    /// The call as it was put, before anything of it was left out.
    put: Option<Arc<Call>>,
    /// What is known of earlier tries.
    again: Option<Box<again::Again>>,
    /// Targets of a route that it did not fit at, in words.
    tried: Option<String>,
    /// It is a call of the gateway's own.
    aside: bool,
    /// What makes such calls, where some limit asks for them.
    asides: Option<Asides>,
}

/// Why a call does not leave now.
enum NotYet {
    /// It does not leave at all.
    Refused(Refused),
    /// A person is asked first.
    Asked(Question),
    /// The task's state changed under it, or it is its agent's last call from here on.
    LookAgain,
}

impl<E: Into<Refused>> From<E> for NotYet {
    fn from(error: E) -> Self {
        Self::Refused(error.into())
    }
}

/// A call that may leave: where it goes, its place in flight, its bounds and its hold.
struct Placed {
    uri: Uri,
    task: Arc<Task>,
    boarded: Boarded,
    bound: Bound,
    hold: Hold,
    entered: Option<Entered>,
}

/// The accounts that cover a call.
struct Covers {
    covers: Vec<Cover>,
}

impl Covers {
    /// Some cap of this meter binds.
    fn bind(&self, meter: impl Fn(Meter) -> bool) -> bool {
        let caps = self
            .covers
            .iter()
            .filter(|cover| !cover.observe)
            .map(|cover| &cover.caps);
        let binds = |caps: &crate::ledger::Caps| {
            Meter::ALL
                .into_iter()
                .any(|m| meter(m) && caps.0[m as usize].is_some())
        };
        caps.into_iter().any(binds)
    }
}

impl Admission {
    fn of(gateway: Arc<Gateway>, request: &Request<Outgoing>) -> Result<Self, Refused> {
        let extensions = request.extensions();
        let (Some(attribution), Some(call), Some(routed)) = (
            extensions.get::<Arc<Attribution>>(),
            extensions.get::<Arc<Call>>(),
            extensions.get::<Routed>(),
        ) else {
            return Err(Refused::internal("admit stands behind route"));
        };
        let arrival = arrival(extensions);
        let mut admission = Self {
            live: Arc::clone(&arrival.live),
            attribution: Arc::clone(attribution),
            call: Arc::clone(call),
            came: Arc::clone(call),
            routed: routed.clone(),
            request: arrival.id.clone(),
            trace: extensions.get::<Trace>().copied(),
            arrived: arrival.at,
            task_usd: extensions.get::<TaskUsd>().cloned(),
            now: clock::now(),
            steps: extensions.get::<Steps>().cloned(),
            words: Mutex::default(),
            fitted: context::Fitted::default(),
            translation: None,
            put: None,
            again: None,
            tried: None,
            aside: extensions.get::<Aside>().is_some(),
            asides: None,
            gateway,
        };
        if !admission.routed.provider.speaks(admission.came.dialect)
            && let Err(refused) = admission.translate()
            // Along a route, the next target may have words for it.
            && admission.routed.course.is_none()
        {
            return Err(admission.denied(refused));
        }
        Ok(admission)
    }

    async fn place(&mut self, request: &Request<Outgoing>) -> Result<Placed, NotYet> {
        if self.live.loaded.policies.caps_context() && !self.aside {
            let sent = self.sent();
            Box::pin(context::fit(self, &sent, request)).await?;
        }
        for _ in 0..LOOKS_MAX {
            match self.look(request).await {
                Err(NotYet::LookAgain) => {}
                looked => return looked,
            }
        }
        let standstill = Standstill::Suspended;
        Err(self
            .denied(refusal::standstill(&self.attribution, &standstill))
            .into())
    }

    async fn look(&mut self, request: &Request<Outgoing>) -> Result<Placed, NotYet> {
        if self.gateway.is_draining() {
            let message = "The gateway is about to stop; its successor takes calls.";
            return Err(Refused::new(Code::Draining, message).into());
        }
        // Whatever can fail does so before anything is held.
        let mut uri = self.uri(request)?;
        // On the list of calls in flight first, then the look at the task's state: a stop in
        // between finds the call on the list.
        let attribution = Arc::clone(&self.attribution);
        let boarded = self.gateway.tasks.flights.board(attribution, self.now);
        let task = self.task().await?;
        // Before the look at its state: a decision in between is then noticed.
        let decisions = task.decisions();
        match self.gateway.tasks.standstill(&task, &self.attribution) {
            None => {}
            Some(Standstill::Asked(id)) => {
                let question = self.gateway.escalations.question(id, &task);
                return Err(NotYet::Asked(question));
            }
            Some(standstill) => {
                let refused = match &standstill {
                    Standstill::Declined(id) => Box::pin(asked::said_no(self, id)).await,
                    _ => None,
                };
                let refused =
                    refused.unwrap_or_else(|| refusal::standstill(&self.attribution, &standstill));
                return Err(self.denied(refused).into());
            }
        }
        if !task.conducted.is_clean() {
            Box::pin(breaker::check(self, &task, decisions)).await?;
        }
        if self.live.loaded.policies.reviews() && !self.aside {
            Box::pin(review::check(self, &task, decisions)).await?;
        }
        loop {
            let own = task.caps();
            let entered = lineage::enter(self, &task).await?;
            let stand = entered.as_ref().map(|entered| entered.stand);
            let held = {
                let holding = pin!(self.hold_along(&task, stand.unwrap_or_default(), request));
                let stop = pin!(boarded.flight.stop());
                match select(holding, stop).await {
                    Either::Left((held, _)) => Ok(held),
                    Either::Right((stop, _)) => Err(stop),
                }
            };
            let (bound, hold) = match held {
                Ok(Ok(held)) => held,
                Ok(Err(miss)) => return Err(self.missed(&task, decisions, miss).await),
                Err(stop) => {
                    return Err(self.denied(stop_refusal(&self.attribution, stop)).into());
                }
            };
            if self.went_on() {
                uri = match self.uri(request) {
                    Ok(uri) => uri,
                    Err(refused) => {
                        hold.let_go();
                        return Err(refused.into());
                    }
                };
            }
            if self.is_covered(&task, &own, &boarded.flight, &hold) {
                return Ok(Placed {
                    uri,
                    task,
                    boarded,
                    bound,
                    hold,
                    entered,
                });
            }
            // Other limits came into force since it was quoted.
            hold.let_go();
            boarded.flight.set_aboard(None);
            self.live = self.gateway.live();
        }
    }

    /// The rules on what goes wrong, for this call.
    fn rules(&self) -> ConductRules {
        *self.live.loaded.loops.conduct(|| self.facts())
    }

    /// What is kept of the call to see how it ends.
    fn watched(&self, task: Arc<Task>, headers: &http::HeaderMap) -> Watched {
        let rules = self.rules();
        let declares = rules.malformed != Action::Off || rules.failures != Action::Off;
        let declared = declares
            .then(|| self.gateway.forms.of(&self.call))
            .flatten();
        let count = headers.get(&headers::RETRY_COUNT);
        Watched {
            task,
            who: check::who(&self.attribution, self.call.chain.root),
            declared,
            rules,
            is_retry: count.is_some_and(|count| count.as_bytes() != b"0"),
        }
    }

    /// After a wait: what is in force now, at the time it is now.
    fn renew(&mut self) {
        self.live = self.gateway.live();
        self.now = clock::now();
        // People take their time; the gateway's own overhead does not count it.
        self.arrived = std::time::Instant::now();
    }

    /// Puts the hold on the list, where limits that come into force from now on find it. False if some
    /// already have, or caps were lowered, that it was not held under.
    fn is_covered(&self, task: &Task, own: &Caps, flight: &Flight, hold: &Hold) -> bool {
        flight.set_aboard(Some(Aboard {
            hold: hold.id(),
            model: Arc::clone(&self.routed.model),
            provider: self.routed.provider.name.shared(),
            dialect: self.dialect().name(),
        }));
        // In this order: what is announced comes into force before it is announced no longer.
        self.gateway.cover_by_what_comes(task, flight);
        if task.caps() != *own {
            return false;
        }
        self.gateway.is_in_force(&self.live) || {
            let covers = |live: &Live| self.covers_by(live, Some(task)).covers;
            let (before, now) = (covers(&self.live), covers(&self.gateway.live()));
            let says = |cover: &Cover| (cover.key.clone(), cover.caps, cover.observe);
            before.iter().map(says).eq(now.iter().map(says))
        }
    }

    /// Where the call goes.
    fn uri(&self, request: &Request<Outgoing>) -> Result<Uri, Refused> {
        let Routed {
            provider, model, ..
        } = &self.routed;
        let uri = match &self.translation {
            None => {
                let suffix = arrival(request.extensions()).target.suffix.as_str();
                provider.address(suffix, request.uri().query(), model)
            }
            Some(translation) => provider.address(translation.suffix(), None, model),
        };
        uri.map_err(|_| Refused::new(Code::InvalidRequest, "The query is too long."))
    }

    /// The task, opened if nobody has seen it, its own cap lowered if the caller says so.
    async fn task(&self) -> Result<Arc<Task>, Refused> {
        let tasks = &self.gateway.tasks;
        let key = self.attribution.task_key();
        let own = self.task_usd.as_ref().map(|usd| own_usd(usd.0));
        let task = match tasks.known(&key, self.now) {
            Some(task) => task,
            None => {
                let opening = TaskOpening {
                    key: key.clone(),
                    caps: own.unwrap_or_default(),
                    by: self.attribution.identity.shared(),
                };
                // Once a task: not in every call's future.
                Box::pin(tasks.open(opening, self.pay_for_task())).await?
            }
        };
        if let Some(own) = own {
            let usd = |caps: &crate::ledger::Caps| caps.0[Meter::Usd as usize].unwrap_or(u64::MAX);
            if usd(&own) < usd(&task.caps()) {
                let by = self.attribution.identity.shared();
                Box::pin(self.gateway.lower_caps(key, own, by)).await?;
            }
        }
        Ok(task)
    }

    /// A task that nobody has seen counts on the accounts that cap `tasks`.
    async fn pay_for_task(&self) -> Result<(), Refused> {
        let mut found = self.covers(None);
        found.covers.retain(|cover| !cover.key.is_per_call());
        let tasks = Meter::Tasks as usize;
        found.covers.retain(|cover| cover.caps.0[tasks].is_some());
        found.covers.extend(self.tasks_per_hour());
        let mut ask = Ask {
            covers: found.covers,
            fixed: Amounts::ZERO.with(Meter::Tasks, 1),
            elastic: None,
        };
        let asker = self.asker(0, None);
        let hold = self
            .gateway
            .purse
            .hold(&asker, &mut ask, self.now, |_| {})
            .await;
        let hold = hold.map_err(|error| self.no_hold(error))?;
        super::record::settle_opening(hold, self);
        Ok(())
    }

    /// The bound on tasks opened per owner and hour.
    fn tasks_per_hour(&self) -> Option<Cover> {
        if self.attribution.is_unattributed() {
            return None;
        }
        let most = self.live.config().attribution.tasks_per_hour;
        let key = crate::ledger::AccountKey {
            limit: refusal::TASKS_PER_HOUR.into(),
            per: [("owner", self.attribution.owner.shared())].into(),
            window: Some(UnixMs(self.now.0 - self.now.0.rem_euclid(3_600_000))),
        };
        let caps = crate::ledger::Caps::default().with(Meter::Tasks, most);
        Some(Cover {
            key,
            caps,
            observe: false,
            warn_permille: None,
            edition: Edition::Policy(self.live.loaded.policies.version()),
        })
    }

    /// Quotes and holds at the present target; again with other accounts if a window ends meanwhile.
    async fn hold(
        &self,
        task: &Arc<Task>,
        stand: Stand,
        patience: Patience,
    ) -> Result<(Bound, Hold), Miss> {
        if self.live.loaded.policies.limits_tools()
            && let Err(error) = Box::pin(super::tools::check(self, task)).await
        {
            return Err(Miss::NoHold(error));
        }
        if self.denies_skew() {
            Box::pin(self.check_skew(task)).await?;
        }
        loop {
            let covers = self.covers(Some(task));
            if self.live.loaded.policies.wraps_up() && !self.aside {
                self.choose_words(&covers.covers);
            }
            let bound = Bound::of(self, &covers).map_err(Miss::Unquoted)?;
            let mut ask = Ask {
                covers: covers.covers,
                fixed: bound.fixed,
                elastic: bound.elastic,
            };
            let asker = Asker {
                stand,
                ..self.asker(task.paused_ms(self.now), Some(self.call.body.len()))
            };
            if let Some(record) = self.again.as_deref().and_then(again::Again::leaving) {
                match Box::pin(self.gateway.purse.swap(|| record.leave(), &asker, &ask)).await {
                    Ok(Some(hold)) => return Ok((bound, hold)),
                    Ok(None) => {}
                    Err(NoHold::Rolled) => continue,
                    Err(error) => return Err(Miss::NoHold(error)),
                }
            }
            let mut tightened = None;
            let tighten = |ask: &mut Ask| {
                if let Some(tighter) = bound.tighter(self) {
                    (ask.fixed, ask.elastic) = (tighter.fixed, tighter.elastic);
                    tightened = Some(tighter);
                }
            };
            let purse = &self.gateway.purse;
            let hold = match patience {
                Patience::Until(deadline) => purse.hold(&asker, &mut ask, deadline, tighten).await,
                Patience::Not => Box::pin(purse.hold_at_once(&asker, &mut ask, tighten)).await,
            };
            match hold {
                Ok(hold) => return Ok((tightened.unwrap_or(bound), hold)),
                Err(NoHold::Rolled) => {}
                Err(error) => return Err(Miss::NoHold(error)),
            }
        }
    }

    pub(super) fn asker(&self, paused_ms: u64, bytes: Option<usize>) -> Asker {
        let attribution = &self.attribution;
        Asker {
            task: attribution.task_key(),
            agent: attribution.agent.as_ref().map(|agent| agent.value.clone()),
            parent: attribution
                .parent
                .as_ref()
                .map(|parent| parent.value.clone()),
            bytes: bytes.unwrap_or(0),
            paused_ms,
            stand: Stand::default(),
            windows_until: self.live.loaded.policies.next_roll(self.now),
        }
    }

    /// The call as limits see it.
    pub(super) fn facts(&self) -> crate::config::Facts {
        crate::config::Facts::new(
            &self.attribution,
            Arc::clone(&self.routed.model),
            self.routed.provider.name.shared(),
            self.dialect().name(),
        )
    }

    fn covers(&self, task: Option<&Task>) -> Covers {
        self.covers_by(&self.live, task)
    }

    fn covers_by(&self, live: &Live, task: Option<&Task>) -> Covers {
        let facts = self.facts();
        let mut found = Vec::with_capacity(6);
        let policies = &live.loaded.policies;
        let ceilings = policies.covers(&facts, clock::now(), &mut found);
        if task.is_some() && policies.wraps_up() {
            self.keep_reserve(policies, &mut found);
        }
        let mut covers: Vec<_> = found.into_iter().map(|(_, cover)| cover).collect();
        if let Some(task) = task {
            task.own_covers(&mut covers);
        }
        self.add_ceilings(policies, &ceilings, &mut covers);
        Covers { covers }
    }

    /// `per = ["call"]`: covers of this call alone, one for each limit that sets the lowest cap of
    /// some meter.
    fn add_ceilings(&self, policies: &Policies, ceilings: &CallCeilings, covers: &mut Vec<Cover>) {
        for (ceiling, observe) in [(&ceilings.deny, false), (&ceilings.observe, true)] {
            for meter in Meter::ALL {
                let at = meter as usize;
                let (Some(cap), Some(index)) = (ceiling.caps.0[at], ceiling.of[at]) else {
                    continue;
                };
                let Some(limit) = policies.limit(index) else {
                    continue;
                };
                let key = crate::ledger::AccountKey {
                    limit: Arc::clone(&limit.id),
                    per: [("call", self.request.shared())].into(),
                    window: None,
                };
                let caps = crate::ledger::Caps::default().with(meter, cap);
                covers.push(Cover {
                    key,
                    caps,
                    observe,
                    warn_permille: None,
                    edition: Edition::Policy(self.live.loaded.policies.version()),
                });
            }
        }
    }

    /// The request as it leaves, and the record that goes along.
    ///
    /// # Errors
    /// The agent is new to its task, and the store cannot write that down.
    async fn depart(
        &self,
        request: Request<Outgoing>,
        placed: Placed,
    ) -> Result<Admitted, Refused> {
        let Placed {
            uri,
            task,
            boarded,
            bound,
            hold,
            entered,
        } = placed;
        let call = &self.call;
        let (edits, hide_usage) = self.edits(&bound, &hold);
        self.note(&hold);
        if self.live.routes.minds_caches() {
            let warm = &self.gateway.warm;
            warm.left(&self.attribution, &self.call, &self.routed);
        }
        if let Some(course) = &self.routed.course {
            self.gateway
                .metrics
                .routed(&course.route.rule.name, course.label());
        }
        let warning = match self.again {
            None => {
                let came = request.extensions().get::<Arc<Call>>().unwrap_or(call);
                self.beat(&task, came, bound.fixed[Meter::Turns] > 0)
            }
            // It is the same call still.
            Some(_) => None,
        };
        let facts = Facts {
            request: self.request.clone(),
            trace: self.trace,
            model: Arc::clone(&self.routed.model),
            course: self.routed.course.clone(),
            shadow: self.routed.shadow.clone(),
            card: bound.card,
            fixed: bound.fixed,
            elastic: bound.elastic,
            known_input: bound.known_input,
            lane: bound.lane,
            arrived: self.arrived,
            notice: self.notice_name(),
            warning,
            task: (Arc::clone(&task), task.paused_ms(self.now)),
            watched: self.watched(task, request.headers()),
            counts_attempts: bound.counts_attempts,
            trimmed: self.fitted.trimmed,
            translation: self.translation.clone(),
            steps: self.steps.clone(),
            aside: self.aside,
        };
        self.fitted.left(&self.gateway, facts.notice);
        let joins = entered.is_some_and(Entered::admit);
        let record = Box::new(Record::open(
            Arc::clone(&self.gateway),
            Arc::clone(&self.live),
            hold,
            boarded,
            (
                Arc::clone(call),
                Arc::clone(&self.routed.provider),
                hide_usage,
            ),
            facts,
        ));
        // The record owns the hold by now, whoever hangs up meanwhile.
        if joins {
            Box::pin(lineage::join(self)).await?;
        }
        let (mut parts, _) = request.into_parts();
        parts.uri = uri;
        let provider = &self.routed.provider;
        if provider.config.forward_attribution {
            self.forward_attribution(&mut parts.headers);
        }
        if let Some(translation) = &self.translation {
            translation.dress(&mut parts.headers);
        }
        provider.dress(&mut parts.headers);
        if let Some(value) = self.trace.as_ref().and_then(Trace::traceparent) {
            parts.headers.insert(&headers::TRACEPARENT, value);
        }
        parts.version = http::Version::HTTP_11;
        parts.extensions.clear();
        let body = crate::dialect::rewrite(call, &edits);
        let request = Request::from_parts(parts, Outgoing::Whole(body));
        Ok(Admitted { request, record })
    }

    /// What the call, as it came, tells of its task's pulse; the answer's head says it too.
    fn beat(&self, task: &Task, call: &Call, turn: bool) -> Option<HeaderValue> {
        let whose = &self.attribution;
        // What the gateway asks is no part of the agent's conversation.
        if whose.is_unattributed() || self.aside {
            return None;
        }
        // Where the provider keeps the conversation, the call shows only its end.
        let is_whole = call.ids.previous_response.is_none();
        let beat = Beat {
            agent: whose.agent.as_ref().map(|agent| agent.value.as_str()),
            parent: whose.parent.as_ref().map(|parent| parent.value.as_str()),
            links: if is_whole { &call.chain.links } else { &[] },
            body: &call.body,
            turn,
            at: self.now,
        };
        let signs = task.beat(self.live.loaded.loops.pulse(), &beat);
        for sign in &signs {
            self.gateway.tell(&whose.task_key(), sign);
        }
        let first = signs.first()?;
        HeaderValue::from_str(&format!("loop={}", first.kind)).ok()
    }

    /// What an operator should see of a call that goes through all the same: observed limits that
    /// would have refused it, fields whose price nobody knows.
    fn note(&self, hold: &Hold) {
        let gateway = &self.gateway;
        for reached in &hold.terms.observed {
            let limit = crate::config::Limit::name_in(&reached.key.limit);
            gateway.metrics.denied("observed", limit);
            gateway.journal(
                NoteKind::Alarm,
                limit,
                &format!(
                    "observed: {} of {} would have refused {}",
                    reached.meter.name(),
                    limit,
                    self.request,
                ),
            );
        }
        for field in &self.call.unlisted {
            if gateway.unlisted.is_new(field) {
                let provider = self.routed.provider.name.as_str();
                gateway.journal(
                    NoteKind::FailOpen,
                    "unlisted_fields",
                    &format!(
                        "the field `{field}` passes to {provider}; what it may cost is not known"
                    ),
                );
            }
        }
    }

    /// What must be changed in the body, and whether usage was asked for on the caller's behalf.
    fn edits(&self, bound: &Bound, hold: &Hold) -> (Edits, bool) {
        let call = &self.call;
        let mut edits = Edits::default();
        if *call.model != *self.routed.model {
            edits.model = Some(self.routed.model.to_string());
        }
        if let Some(field) = bound.cap_field {
            // What was asked for under a name that the target ignores must be told under one it honours.
            let unheard = call.asked_output.filter(|_| call.tells(field).is_none());
            let told = hold
                .terms
                .told
                .or(unheard.and(bound.elastic.map(|elastic| elastic.want)))
                .or(bound
                    .elastic
                    .filter(|_| bound.is_last)
                    .map(|elastic| elastic.want));
            edits.output_cap = told.map(|tokens| (field, tokens));
        }
        let preset = self.routed.provider.config.preset;
        edits.max_price = bound.max_price(preset, call);
        edits.only_cap = bound.cap_field.filter(|_| preset.one_output_cap);
        let hide_usage = call.stream
            && !call.usage_asked
            && preset.asks_usage
            && matches!(
                call.dialect,
                Dialect::OpenaiChat | Dialect::OpenaiCompletions
            );
        edits.include_usage = hide_usage;
        edits.no_parallel_tools = hold.terms.remaining.tool_calls == Some(1);
        let terms = &hold.terms;
        edits.task_budget = pace::task_budget(
            call,
            &terms.remaining,
            &terms.quoted,
            bound.elastic.as_ref(),
        );
        edits.strip_foreign = !call.ids.foreign.is_empty();
        edits.no_tools = self.is_last();
        edits.notice = self.notice();
        (edits, hide_usage)
    }

    /// Servers of one's own may see whose call it is, wherever the caller had said it.
    fn forward_attribution(&self, headers: &mut http::HeaderMap) {
        let attribution = &self.attribution;
        let mut set = |name: &'static HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        set(&headers::REQUEST_ID, self.request.as_str());
        set(&headers::TASK_ID, attribution.task.value.as_str());
        if let Some(agent) = &attribution.agent {
            set(&headers::AGENT_ID, agent.value.as_str());
        }
        if let Some(role) = &attribution.role {
            set(&headers::AGENT_ROLE, role.value.as_str());
        }
        if let Some(parent) = &attribution.parent {
            set(&headers::PARENT_AGENT_ID, parent.value.as_str());
        }
    }

    /// Why the call leaves for none of its targets, and what is done about it.
    async fn missed(&self, task: &Arc<Task>, decisions: u64, miss: Miss) -> NotYet {
        match miss {
            Miss::Unquoted(refused) => self.denied(refused).into(),
            Miss::NoHold(error) => self.not_held(task, decisions, error).await,
        }
    }

    pub(super) fn no_hold(&self, error: NoHold) -> Refused {
        self.denied(refusal::no_hold(self, error))
    }

    /// Notes a refusal in the journal.
    fn denied(&self, refused: Refused) -> Refused {
        super::record::deny(self, &refused);
        if let Some(parent) = &self.attribution.parent
            && let Some(task) = self
                .gateway
                .tasks
                .known(&self.attribution.task_key(), self.now)
        {
            let who = check::who(&self.attribution, self.call.chain.root);
            check::refused(&task, &who, &parent.value, &refused, &self.request.shared());
        }
        refused
    }
}
