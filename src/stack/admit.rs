//! Before the money is spent: quotes the bytes that will leave and sets that much aside on every
//! account that covers the call, or refuses.
//!
//! Needs the route. Opens the call's [`Record`](super::record::Record), which owns the hold from here on, and hands both
//! the request that leaves and the record to `meter`.

mod again;
mod asked;
mod bounds;
mod breaker;
mod context;
mod covers;
mod depart;
mod hold;
mod lineage;
mod look;
mod opening;
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
pub use translation::{Translation, put_into};
pub use wrap_up::NUDGED;

use super::body::AnswerBody;
use super::failed::NoAnswer;
use super::gate::boxed;
use super::meter::Admitted;
use super::race::Runner;
use super::route::Routed;
use super::trace::Trace;
use super::upstream::Outgoing;
use super::watch::Steps;
use super::{Code, Refused, arrival};
use crate::attribution::Attribution;
use crate::clock;
use crate::config::ConductRules;
use crate::dialect::Call;
use crate::escalation::Question;
use crate::flights::Boarded;
use crate::gateway::{Gateway, Live};
use crate::purse::Hold;
use crate::stack::attribute::TaskUsd;
use crate::task::Task;
use crate::traces::{CallSpan, Said};
use crate::units::{RequestId, UnixMs};
use bounds::Bound;
use http::{Request, Response, Uri};
use lineage::Entered;
use parking_lot::Mutex;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::Service;
use walk::Miss;
use wrap_up::Words;

/// The service.
#[derive(Clone)]
pub struct Admit<S> {
    gateway: Arc<Gateway>,
    inner: S,
}

impl<S> Admit<S> {
    pub(super) const fn new(gateway: Arc<Gateway>, inner: S) -> Self {
        Self { gateway, inner }
    }
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
        boxed(move || async move {
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
                Ok(placed) => {
                    let (admitted, joins) = admission.ready(request, placed);
                    if joins {
                        Box::pin(lineage::join(&admission)).await?;
                    }
                    admitted
                }
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

/// One call on its way to a hold. In a box as a rule: it is large, and goes from hand to hand.
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
    /// Its span, if spans are exported.
    pub(super) span: Option<Arc<CallSpan>>,
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
    /// Another target may be asked beside this one.
    runner: Option<Runner>,
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

impl Admission {
    fn of(gateway: Arc<Gateway>, request: &Request<Outgoing>) -> Result<Box<Self>, Refused> {
        let extensions = request.extensions();
        let (Some(attribution), Some(call), Some(routed)) = (
            extensions.get::<Arc<Attribution>>(),
            extensions.get::<Arc<Call>>(),
            extensions.get::<Routed>(),
        ) else {
            return Err(Refused::internal("admit stands behind route"));
        };
        let arrival = arrival(extensions);
        let mut admission = Box::new(Self {
            live: Arc::clone(&arrival.live),
            attribution: Arc::clone(attribution),
            call: Arc::clone(call),
            came: Arc::clone(call),
            routed: routed.clone(),
            request: arrival.id.clone(),
            trace: extensions.get::<Trace>().copied(),
            span: extensions.get::<Arc<CallSpan>>().cloned(),
            arrived: arrival.at,
            task_usd: extensions.get::<TaskUsd>().cloned(),
            now: clock::now(),
            steps: extensions.get::<Steps>().cloned(),
            words: Mutex::default(),
            fitted: context::Fitted::default(),
            translation: None,
            put: None,
            again: None,
            runner: None,
            tried: None,
            aside: extensions.get::<Aside>().is_some(),
            asides: None,
            gateway,
        });
        if admission.aside
            && let Some(span) = admission.span.take()
        {
            admission.span = span.aside(&admission.request, &admission.call);
        }
        if !admission.routed.provider.speaks(admission.came.dialect)
            && let Err(refused) = admission.translate()
            // Along a route, the next target may have words for it.
            && admission.routed.course.is_none()
        {
            return Err(admission.denied(refused));
        }
        Ok(admission)
    }

    /// The rules on what goes wrong, for this call.
    fn rules(&self) -> ConductRules {
        *self.live.loaded.loops.conduct(|| self.facts())
    }

    /// Something happened to the call: its span tells it, if it has one.
    fn tell_span(&self, event: &'static str, what: &'static str, text: &str) {
        if let Some(span) = &self.span {
            span.note(event, &[(what, Said::Text(text.into()))]);
        }
    }

    /// After a wait: what is in force now, at the time it is now.
    fn renew(&mut self) {
        self.live = self.gateway.live();
        self.now = clock::now();
        // People take their time; the gateway's own overhead does not count it.
        self.arrived = std::time::Instant::now();
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
            Some(translation) => {
                let suffix = translation.suffix(self.call.stream);
                provider.address(suffix, None, model)
            }
        };
        uri.map_err(|_| Refused::new(Code::InvalidRequest, "The query is too long."))
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
}
