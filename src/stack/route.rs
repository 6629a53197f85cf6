//! Where a call goes: to the targets of the first route that takes it, else where its model's name
//! says.
//!
//! Needs the call, its attribution and the identity. Adds [`Routed`]: the first target, and by its
//! [`Course`] those that are tried after it. Without a route a name `a/b` is split only if `a` is a
//! configured provider; a bare name goes to the first provider whose `models` match, else to the first
//! that speaks the dialect and lists none.

mod by_name;
mod course;
mod issuer;
mod looked;
mod refusal;
mod warm;

pub use by_name::{find, resolve, resolve_own, resolve_spoken, split};
pub use course::{Course, Shadow, ShadowTarget, Stays};
pub use warm::WarmCaches;

use super::body::AnswerBody;
use super::gate::Passing;
use super::respond::Arrival;
use super::upstream::Outgoing;
use super::{Code, Refused, arrival, budget};
use crate::attribution::Attribution;
use crate::config::Identity;
use crate::dialect::Call;
use crate::gateway::pins::TaskPins;
use crate::gateway::routes::{Left, Route};
use crate::gateway::{Gateway, Live, Provider};
use crate::store::ModelPin;
use futures_util::future::Either;
use http::{Request, Response};
use issuer::Issuer;
use looked::Looked;
use refusal::{keyless, no_target, not_permitted};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::Service;

/// Where a call goes.
#[derive(Clone)]
pub struct Routed {
    /// The provider.
    pub provider: Arc<Provider>,
    /// The model as the provider names it.
    pub model: Arc<str>,
    /// The route that said so; `None`: the model's name did.
    pub course: Option<Course>,
    /// A route that only tells what it would have done, and what that is.
    pub shadow: Option<Arc<Shadow>>,
}

/// The service.
#[derive(Clone)]
pub struct Routing<S> {
    gateway: Arc<Gateway>,
    inner: S,
}

impl<S> Routing<S> {
    pub(super) const fn new(gateway: Arc<Gateway>, inner: S) -> Self {
        Self { gateway, inner }
    }
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<AnswerBody>, Refused>> + Send>>;

impl<S> Service<Request<Outgoing>> for Routing<S>
where
    S: Service<Request<Outgoing>, Response = Response<AnswerBody>, Error = Refused>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    type Response = Response<AnswerBody>;
    type Error = Refused;
    type Future = Either<Passing<S::Future>, Answering>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Outgoing>) -> Self::Future {
        let found = match asked(&self.gateway, &request) {
            Ok(asked) => asked.resolve(&Known::default()),
            Err(refused) => Err(refused),
        };
        match found {
            Ok(Found::To(routed)) => {
                request.extensions_mut().insert(routed);
                Either::Left(Passing::Inner {
                    future: self.inner.call(request),
                })
            }
            Err(refused) => Either::Left(Passing::Refused {
                refused: Some(refused),
            }),
            Ok(Found::NeedsBudget | Found::NeedsPins | Found::NeedsIssuer) => {
                let (gateway, mut inner) = (Arc::clone(&self.gateway), self.inner.clone());
                Either::Right(Box::pin(async move {
                    let routed = after_asking(&gateway, &request).await?;
                    request.extensions_mut().insert(routed);
                    inner.call(request).await
                }))
            }
        }
    }
}

/// What had to be asked about a call.
#[derive(Default)]
struct Known {
    /// What is left of its budgets.
    budget_left: Option<Left>,
    /// Who issued the ids that it names.
    issuer: Option<Issuer>,
    /// The models that its task is held to.
    pins: Option<Arc<TaskPins>>,
}

/// Where a call goes, or what must be known first.
enum Found {
    To(Routed),
    NeedsBudget,
    NeedsPins,
    NeedsIssuer,
}

/// What is asked for, by whom.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The gateway.
    pub gateway: &'a Gateway,
    /// The configuration that the call sees.
    pub live: &'a Live,
    /// Who asks.
    pub identity: &'a Identity,
    /// Whose call it is.
    pub attribution: &'a Attribution,
    /// What was sent.
    pub call: &'a Call,
    /// The model's name, which the path may have said.
    pub model: &'a str,
}

fn asked<'a>(gateway: &'a Gateway, request: &'a Request<Outgoing>) -> Result<Asked<'a>, Refused> {
    let extensions = request.extensions();
    let (Some(call), Some(identity), Some(attribution)) = (
        extensions.get::<Arc<Call>>(),
        extensions.get::<Arc<Identity>>(),
        extensions.get::<Arc<Attribution>>(),
    ) else {
        return Err(Refused::internal("route stands behind attribute"));
    };
    // Azure's clients name a deployment in the path; what stands in the body is ignored there.
    let Arrival { target, live, .. } = arrival(extensions);
    Ok(Asked {
        gateway,
        live,
        identity,
        attribution,
        call,
        model: target.ids.deployment.as_deref().unwrap_or(&call.model),
    })
}

/// The same once more, for a call of which more must be known.
async fn after_asking(
    gateway: &Arc<Gateway>,
    request: &Request<Outgoing>,
) -> Result<Routed, Refused> {
    asked(gateway, request)?.find().await
}

/// Whether the route that takes the call wants its answer to outlive the process.
pub async fn wants_durable_answers(gateway: &Arc<Gateway>, request: &Request<Outgoing>) -> bool {
    let routes = &arrival(request.extensions()).live.routes;
    if !routes.iter().any(|route| route.rule.durable_answers) {
        return false;
    }
    // Whatever is wrong with it is told by the stage itself.
    let routed = after_asking(gateway, request).await.ok();
    let course = routed.and_then(|routed| routed.course);
    course.is_some_and(|course| course.route.rule.durable_answers)
}

impl Asked<'_> {
    /// Where the call goes.
    ///
    /// # Errors
    /// As [`resolve`]; or the store cannot say what is left.
    pub async fn find(&self) -> Result<Routed, Refused> {
        let Self {
            gateway,
            live,
            attribution,
            ..
        } = *self;
        let mut known = Known::default();
        loop {
            match self.resolve(&known)? {
                Found::To(routed) => return Ok(routed),
                Found::NeedsBudget => {
                    known.budget_left = Some(budget::left(gateway, live, attribution).await?);
                }
                Found::NeedsIssuer => {
                    known.issuer = Some(issuer::from_journal(self).await?);
                }
                Found::NeedsPins => {
                    let (store, task) = (gateway.purse.store(), attribution.task_key());
                    known.pins = Some(gateway.pins.load(&**store, &task).await?);
                }
            }
        }
    }

    fn resolve(&self, known: &Known) -> Result<Found, Refused> {
        let routes = &self.live.routes;
        let (mut shadow, mut plain) = (None, None);
        if !routes.is_empty() {
            let issuer = match known.issuer.clone().or_else(|| issuer::of(self)) {
                Some(issuer) => issuer,
                None => return Ok(Found::NeedsIssuer),
            };
            let looked = Looked::new(self, known.budget_left.map(|left| left.share));
            for route in routes.iter() {
                match looked.at(route) {
                    looked::Look::Takes if route.rule.shadow => {
                        let first = || Shadow::new(&self.course(route, &looked));
                        shadow = shadow.or_else(|| Some(Arc::new(first())));
                    }
                    looked::Look::Takes => {
                        if route.downgrades() && known.budget_left.is_none() {
                            return Ok(Found::NeedsBudget);
                        }
                        let Some(routed) = self.along(route, &looked, known, &issuer)? else {
                            return Ok(Found::NeedsPins);
                        };
                        return Ok(Found::To(Routed { shadow, ..routed }));
                    }
                    looked::Look::NeedsBudget => return Ok(Found::NeedsBudget),
                    looked::Look::Passes => {}
                }
            }
            plain = Some(issuer);
        }
        let routed = resolve(self.live, self.identity, self.model, self.call.dialect)?;
        if let Some(issuer) = plain {
            let routed = self.stay_where_issued(routed, &issuer);
            return Ok(Found::To(Routed { shadow, ..routed }));
        }
        Ok(Found::To(Routed { shadow, ..routed }))
    }

    /// The first target of a route. A route is the operator's will: an identity needs leave for the
    /// name it asks for, not for the one it gets. `None`: the store must be asked for the task's pins.
    fn along(
        &self,
        route: &Arc<Route>,
        looked: &Looked<'_>,
        known: &Known,
        issuer: &Issuer,
    ) -> Result<Option<Routed>, Refused> {
        let Self {
            identity, model, ..
        } = self;
        if !identity.may_use(model) && !identity.may_use(looked.bare_model()) {
            return Err(not_permitted(identity, model));
        }
        let course = self.course(route, looked);
        let rung = known.budget_left.and_then(|left| route.rung(&left));
        let course = Course { rung, ..course };
        if route.rule.pins && !self.attribution.is_unattributed() {
            let pins = known.pins.clone();
            let pins = pins.or_else(|| self.gateway.pins.of(&self.attribution.task_key()));
            let Some(pins) = pins else { return Ok(None) };
            if let Some(pin) = pins.find(|what| course.is_pin(what)) {
                return self.pinned(course, pin).map(Some);
            }
        }
        if let Some(routed) = self.issued(&course, issuer)? {
            return Ok(Some(routed));
        }
        let found = course.from(0);
        let found = found.ok_or_else(|| no_target(route, self.call.dialect))?;
        Ok(Some(self.minding_caches(found)))
    }

    /// The model that the task is held to, or nothing.
    fn pinned(&self, course: Course, pin: ModelPin) -> Result<Routed, Refused> {
        let ModelPin {
            what: _,
            provider,
            model,
        } = pin;
        let mut providers = self.live.providers.iter();
        let Some(found) = providers.find(|known| known.name == provider) else {
            let message = format!(
                "Task `{}` is held to `{provider}/{model}` by route `{}`, and there is no provider `{provider}` any more.",
                self.attribution.task.value,
                course.name()
            );
            return Err(Refused::new(Code::ModelNotFound, &message));
        };
        if let Some(kept) = found.lacks_key() {
            return Err(keyless(found, &kept));
        }
        if !found.takes(course.dialect) {
            return Err(no_target(&course.route, course.dialect));
        }
        Ok(Routed {
            provider: Arc::clone(found),
            model,
            course: Some(Course {
                stays: Some(Stays::Pinned),
                ..course
            }),
            shadow: None,
        })
    }

    /// The way along a route's targets, before its first.
    fn course(&self, route: &Arc<Route>, looked: &Looked<'_>) -> Course {
        let first = match route.is_weighted() {
            true => route.first(looked.drawn(route)),
            false => 0,
        };
        Course {
            route: Arc::clone(route),
            asked: self.model.into(),
            bare_from: self.model.len() - looked.bare_model().len(),
            dialect: self.call.dialect,
            stays: None,
            warm: None,
            first,
            rung: None,
            at: 0,
        }
    }
}
