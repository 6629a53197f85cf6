//! Is the task going round in circles? Puts what is new in each call to the rules of `policies/loops.toml`,
//! and does what they say: a warning, a notice to the model, a question to a person, a refusal.
//!
//! Needs the call and whose it is. Adds nothing, but may put a notice behind the call's last message, and
//! stamps answers with `x-bursar-warning`. What it remembers ([`Watching`]) is digests and counts, within a
//! bound; nothing that a balance depends on.

mod begun;
mod inherited;
mod lines;
mod memory;
mod notice;
mod task;
mod verdict;

pub use memory::{MOST_BYTES, Watching};

use super::body::AnswerBody;
use super::respond::Arrival;
use super::trace::Trace;
use super::upstream::Outgoing;
use super::{Refused, arrival, headers};
use crate::attribution::Attribution;
use crate::clock;
use crate::config::{Facts, LoopPolicies};
use crate::dialect::{Call, Dialect};
use crate::escalation::Asker;
use crate::gateway::{Gateway, Live};
use crate::loops::{Action, Chanting, Recording, Rules};
use crate::store::NoteKind;
use crate::task::Task;
use crate::traces::CallSpan;
use crate::units::{RequestId, TaskKey};
use http::{HeaderValue, Request, Response};
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use task::{Judged, Seen};
use tower::Service;
use verdict::Verdict;

/// The service.
#[derive(Clone)]
pub struct Watch<S> {
    gateway: Arc<Gateway>,
    inner: S,
}

impl<S> Watch<S> {
    pub(super) const fn new(gateway: Arc<Gateway>, inner: S) -> Self {
        Self { gateway, inner }
    }
}

impl<S> Service<Request<Outgoing>> for Watch<S>
where
    S: Service<Request<Outgoing>, Response = Response<AnswerBody>, Error = Refused>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    type Response = Response<AnswerBody>;
    type Error = Refused;
    type Future = Watched<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Outgoing>) -> Self::Future {
        let mut recording = Recording::default();
        let looked = Look::at(&self.gateway, &request, &mut recording);
        if let Some((bytes, of_bytes)) = recording.inherited {
            request
                .extensions_mut()
                .insert(Inherited { bytes, of_bytes });
        }
        if let Some(steps) = recording.finish() {
            request.extensions_mut().insert(Steps(steps.into()));
        }
        let looked = match looked {
            Ok(looked) => looked,
            Err(refused) => return Watched::refused(refused),
        };
        let Some((look, judged)) = looked else {
            return Watched::passing(self.inner.call(request), Marks::default());
        };
        look.tell(&judged);
        let verdict = judged.verdict;
        let mut marks = Marks {
            warning: verdict.warning(),
            noticed: false,
        };
        match verdict.action {
            Action::Off | Action::Warn => {}
            Action::Deny => {
                let steps = request.extensions_mut().remove();
                return Watched::refused(look.refuse(&verdict, steps));
            }
            Action::Nudge => {
                marks.noticed = verdict.first && look.nudge(&verdict, &mut request);
            }
            Action::Escalate => {
                if let Some(task) = look.task.clone() {
                    let mut inner = self.inner.clone();
                    return Watched::Asking {
                        future: Box::pin(async move {
                            look.ask(&task, &verdict).await?;
                            // Admission finds the task waiting, and holds the call open.
                            let mut answer = inner.call(request).await?;
                            marks.stamp(&mut answer);
                            Ok(answer)
                        }),
                    };
                }
            }
        }
        Watched::passing(self.inner.call(request), marks)
    }
}

/// A look at one call, and what is needed to act on it.
struct Look {
    gateway: Arc<Gateway>,
    attribution: Arc<Attribution>,
    call: Arc<Call>,
    request: RequestId,
    trace: Option<Trace>,
    span: Option<Arc<CallSpan>>,
    deployment: Option<String>,
    /// The task, once it has been opened, and how often people had decided on it.
    task: Option<Arc<Task>>,
    decisions: u64,
}

impl Look {
    /// Puts the call to the rules; `None` if it simply passes.
    fn at(
        gateway: &Arc<Gateway>,
        request: &Request<Outgoing>,
        recording: &mut Recording,
    ) -> Result<Option<(Self, Judged)>, Refused> {
        let extensions = request.extensions();
        let (Some(attribution), Some(call)) = (
            extensions.get::<Arc<Attribution>>(),
            extensions.get::<Arc<Call>>(),
        ) else {
            return Err(Refused::internal("watch stands behind attribute"));
        };
        if !is_watched(call.dialect) {
            return Ok(None);
        }
        let Arrival {
            id, live, target, ..
        } = arrival(extensions);
        let loops = &live.loaded.loops;
        let rules = rules(loops, call, attribution);
        if !rules.any_on() {
            return Ok(None);
        }
        let now = clock::now();
        let task = gateway.tasks.known(&attribution.task_key(), now);
        let key = memory_key(attribution, call);
        let decisions = task.as_ref().map_or(0, |task| task.decisions());
        let judged = gateway.watching.look(&key, now, |watch| {
            let resets = watch.resets();
            let recorded = live.config().journal.steps;
            let counts = (decisions, recorded);
            let mut digits = [0; 32];
            let seen = seen(attribution, call, id, counts, &mut digits);
            let judged = watch.observe(&rules, &seen, recording);
            // A person has spoken: what went wrong before is over too.
            if let Some(task) = task.as_ref().filter(|_| watch.resets() != resets) {
                task.conducted.forget();
            }
            judged
        });
        let Some(judged) = judged else {
            return Ok(None);
        };
        let look = Self {
            gateway: Arc::clone(gateway),
            attribution: Arc::clone(attribution),
            call: Arc::clone(call),
            request: id.clone(),
            trace: extensions.get::<Trace>().copied(),
            span: extensions.get::<Arc<CallSpan>>().cloned(),
            deployment: target.ids.deployment.clone(),
            task,
            decisions,
        };
        Ok(Some((look, judged)))
    }

    /// The event and the count, once an episode.
    fn tell(&self, judged: &Judged) {
        let verdict = &judged.verdict;
        if !judged.now || !verdict.first {
            return;
        }
        let rule = verdict.rule.name();
        self.gateway.metrics.loops.with_label_values(&[rule]).inc();
        let action = verdict.action.name();
        if let Some(span) = &self.span {
            span.looped(rule, action);
        }
        tracing::warn!(rule, action, "a loop was detected");
        let TaskKey { owner, task } = self.attribution.task_key();
        let row = verdict.row(owner.as_str(), task.as_str());
        self.gateway
            .journal(NoteKind::Alarm, &format!("loop {rule}"), &row);
    }

    fn refuse(&self, verdict: &Verdict, steps: Option<Steps>) -> Refused {
        let refused = Refused::from(verdict.refusal());
        let call = super::record::Refusing {
            attribution: &self.attribution,
            request: &self.request,
            trace: self.trace,
            call: &self.call,
            steps,
        };
        super::record::deny_early(&self.gateway, &call, &refused);
        refused
    }

    /// Puts the notice in; false if the call cannot take one.
    fn nudge(&self, verdict: &Verdict, request: &mut Request<Outgoing>) -> bool {
        let notice = verdict.notice();
        let noticed = notice::with_notice(&self.call, self.deployment.as_deref(), notice);
        let is_noticed = noticed.is_some();
        if let Some(call) = noticed {
            request.extensions_mut().insert(Arc::new(call));
        }
        is_noticed
    }

    async fn ask(&self, task: &Arc<Task>, verdict: &Verdict) -> Result<(), Refused> {
        let whose = &self.attribution;
        let asker = Asker {
            request: Some(self.request.shared()),
            identity: Some(whose.identity.shared()),
            agent: whose.agent.as_ref().map(|agent| agent.value.shared()),
            role: whose.role.as_ref().map(|role| role.value.shared()),
            model: Some(self.call.model.as_str().into()),
        };
        let (reason, evidence) = verdict.question();
        let desk = &self.gateway.escalations;
        desk.open(task, self.decisions, (reason, evidence, asker))
            .await?;
        Ok(())
    }
}

/// Under which task a call is remembered. What names no task is of the owner's day, with everybody else's:
/// there each agent is watched for itself, and a person may speak to any.
fn memory_key(attribution: &Attribution, call: &Call) -> TaskKey {
    let mut key = attribution.task_key();
    if attribution.is_unattributed() {
        let agent = attribution.agent.as_ref().map(|agent| &agent.value);
        key.task = match agent {
            Some(agent) => format!("{}/{agent}", key.task),
            None => format!("{}/{:032x}", key.task, call.chain.root),
        }
        .into();
    }
    key
}

/// An answer came that the next call may only name (`previous_response_id`): what it asked for.
pub(super) fn answered(
    gateway: &Gateway,
    (attribution, call): (&Attribution, &Call),
    request: &RequestId,
    (id, output): (&str, &[u8]),
) {
    let number = crate::units::request_number(request.as_str()).unwrap_or(0);
    let (key, now) = (memory_key(attribution, call), clock::now());
    gateway
        .watching
        .look_if_known(&key, now, |watch| watch.answered(number, id, output));
}

/// The rules for this call. The model is as the caller names it: where it goes is not known yet.
fn rules(loops: &LoopPolicies, call: &Call, attribution: &Attribution) -> Rules {
    if loops.is_uniform() {
        return *loops.base();
    }
    let model = call.model.as_str().into();
    let facts = Facts::new(attribution, model, "".into(), call.dialect.name());
    *loops.of(&facts)
}

/// Whether a stream of this call is ended if it chants.
pub(super) fn ends_chants(live: &Live, call: &Call, attribution: &Attribution) -> bool {
    rules(&live.loaded.loops, call, attribution).ends_chants
}

/// A stream chants, and is ended: a count and an event.
pub(super) fn chants(
    gateway: &Gateway,
    attribution: &Attribution,
    request: &RequestId,
    chanting: Chanting,
) {
    const KIND: &str = "chant";
    let TaskKey { owner, task } = attribution.task_key();
    let Chanting {
        period_bytes,
        times,
    } = chanting;
    gateway.metrics.loops.with_label_values(&[KIND]).inc();
    tracing::warn!(period_bytes, times, "a stream chanted and was ended");
    let row = format!(
        "end: task {task} of {owner}: the stream of {request} said the same {period_bytes} bytes {times} times"
    );
    gateway.journal(NoteKind::Alarm, "loop chant", &row);
}

/// Formats whose calls say who said what.
const fn is_watched(dialect: Dialect) -> bool {
    matches!(
        dialect,
        Dialect::OpenaiChat | Dialect::OpenaiResponses | Dialect::AnthropicMessages
    )
}

/// The call as the watch sees it. An agent that gives no name is known by its system text and tools;
/// `digits` holds what stands for its name.
fn seen<'a>(
    attribution: &'a Attribution,
    call: &'a Call,
    request: &RequestId,
    (decisions, recorded): (u64, bool),
    digits: &'a mut [u8; 32],
) -> Seen<'a> {
    super::trace::hex(call.chain.root, digits);
    let agent = attribution.agent.as_ref().map(|agent| &agent.value);
    Seen {
        call,
        agent: match agent {
            Some(agent) => agent.as_str(),
            None => std::str::from_utf8(digits).unwrap_or_default(),
        },
        name: agent,
        parent: attribution
            .parent
            .as_ref()
            .map(|parent| parent.value.as_str()),
        request: crate::units::request_number(request.as_str()).unwrap_or(0),
        decisions,
        recorded,
    }
}

/// What is new in a call, for the journal: see [`Recording`].
#[derive(Clone, Debug)]
pub struct Steps(pub Arc<[u8]>);

/// What an agent's first call was handed of another agent's conversation.
#[derive(Clone, Copy, Debug)]
pub struct Inherited {
    /// Bytes of its messages that stand there too.
    pub bytes: u64,
    /// Bytes of all its messages.
    pub of_bytes: u64,
}

impl Inherited {
    /// Its share, in percent.
    #[must_use]
    pub fn percent(&self) -> u64 {
        let share = u128::from(self.bytes) * 100 / u128::from(self.of_bytes.max(1));
        u64::try_from(share).unwrap_or(100).min(100)
    }
}

/// What an answer's head tells of a loop.
#[derive(Debug, Default)]
pub struct Marks {
    warning: Option<HeaderValue>,
    /// The model was told.
    noticed: bool,
}

impl Marks {
    fn stamp(&mut self, answer: &mut Response<AnswerBody>) {
        let head = answer.headers_mut();
        if let Some(warning) = self.warning.take() {
            head.insert(&headers::WARNING, warning);
        }
        if self.noticed {
            // A notice of admission's own is the later one, and stays.
            let notice = head.entry(&headers::NOTICE);
            notice.or_insert(HeaderValue::from_static("loop"));
        }
    }
}

/// A future that is boxed, for it is seldom needed.
type Asking = Pin<Box<dyn Future<Output = Result<Response<AnswerBody>, Refused>> + Send>>;

pin_project! {
    /// What becomes of the call.
    #[project = WatchedProj]
    pub enum Watched<F> {
        /// It passes, perhaps with a warning.
        Passing { #[pin] future: F, marks: Marks },
        /// A person is asked first.
        Asking { future: Asking },
        /// It is refused.
        Refused { refused: Option<Refused> },
    }
}

impl<F> Watched<F> {
    const fn passing(future: F, marks: Marks) -> Self {
        Self::Passing { future, marks }
    }

    const fn refused(refused: Refused) -> Self {
        let refused = Some(refused);
        Self::Refused { refused }
    }
}

impl<F> Future for Watched<F>
where
    F: Future<Output = Result<Response<AnswerBody>, Refused>>,
{
    type Output = Result<Response<AnswerBody>, Refused>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            WatchedProj::Passing { future, marks } => {
                let mut answer = ready!(future.poll(cx))?;
                marks.stamp(&mut answer);
                Poll::Ready(Ok(answer))
            }
            WatchedProj::Asking { future } => future.as_mut().poll(cx),
            WatchedProj::Refused { refused } => match refused.take() {
                Some(refused) => Poll::Ready(Err(refused)),
                // Polled again after its end: nothing more will come.
                None => Poll::Pending,
            },
        }
    }
}
