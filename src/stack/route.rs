//! Where a call goes: to the targets of the first route that takes it, else where its model's name
//! says.
//!
//! Needs the call, its attribution and the identity. Adds [`Routed`]: the first target, and by its
//! [`Course`] those that are tried after it. Without a route a name `a/b` is split only if `a` is a
//! configured provider; a bare name goes to the first provider whose `models` match, else to the first
//! that speaks the dialect and lists none.

mod issuer;
mod looked;
mod warm;

pub use warm::WarmCaches;

use super::body::AnswerBody;
use super::gate::Passing;
use super::respond::Arrival;
use super::upstream::Outgoing;
use super::{Code, Refused, arrival, budget};
use crate::attribution::Attribution;
use crate::config::{Identity, TargetModel};
use crate::dialect::{Call, Dialect};
use crate::gateway::pins::TaskPins;
use crate::gateway::routes::{Left, Route, Target};
use crate::gateway::{Gateway, Live, Provider};
use crate::store::ModelPin;
use futures_util::future::Either;
use http::{Request, Response};
use issuer::Issuer;
use looked::Looked;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::{Layer, Service};

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

/// Where a call would have gone by a route with `shadow = true`.
pub struct Shadow {
    /// The route's name.
    pub route: Arc<str>,
    /// The target; `None`: the route has none for this call and would have refused it.
    pub target: Option<ShadowTarget>,
}

/// A target that a call did not go to.
pub struct ShadowTarget {
    /// As the file has it.
    pub text: Arc<str>,
    /// The provider.
    pub provider: Arc<Provider>,
    /// The model as the provider names it.
    pub model: Arc<str>,
}

impl Shadow {
    fn new(course: &Course) -> Self {
        let routed = course.from(0);
        let target = routed.and_then(|routed| {
            Some(ShadowTarget {
                text: Arc::clone(&routed.course?.target().text),
                provider: routed.provider,
                model: routed.model,
            })
        });
        Self {
            route: course.name(),
            target,
        }
    }
}

/// A call's way along the targets of a route.
#[derive(Clone)]
pub struct Course {
    /// The route.
    pub route: Arc<Route>,
    /// The model that the caller asked for.
    pub asked: Arc<str>,
    /// Where in it the model's own name begins.
    bare_from: usize,
    dialect: Dialect,
    /// It does not take the route's own way.
    pub stays: Option<Stays>,
    /// Where it is tried before all targets, for its prompt cache is there.
    warm: Option<Arc<(Arc<Provider>, Arc<str>)>>,
    /// The target that comes first; the others follow in the order of the file.
    first: usize,
    /// The cheaper target that little budget sends it to: no dearer one is tried.
    rung: Option<usize>,
    /// How many come before the present one.
    at: usize,
}

/// Why a call does not go to the target that its route would send it to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stays {
    /// Its task is held to a version: no other is tried.
    Pinned,
    /// It names what only this provider has: no other is tried.
    Issued,
    /// A prompt cache there is worth more than the switch saves; the route's targets come after it.
    Warm,
}

impl Course {
    /// The present target.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.route.targets[self.index(self.at)]
    }

    /// The route's name.
    #[must_use]
    pub fn name(&self) -> Arc<str> {
        Arc::clone(&self.route.rule.name)
    }

    /// How many targets come before the present one.
    #[must_use]
    pub const fn at(&self) -> usize {
        match self.stays {
            // It is at none of them.
            Some(_) => usize::MAX,
            None => self.at,
        }
    }

    /// There are others than the present one.
    #[must_use]
    pub fn has_others(&self) -> bool {
        match self.stays {
            Some(Stays::Pinned | Stays::Issued) => false,
            Some(Stays::Warm) => true,
            None => self.route.places(self.rung) > 1,
        }
    }

    fn index(&self, at: usize) -> usize {
        self.route.place(at, self.first, self.rung)
    }

    /// The target as metrics name it.
    #[must_use]
    pub fn label(&self) -> &str {
        match self.stays {
            Some(Stays::Pinned) => "pinned",
            Some(Stays::Issued) => "issuer",
            Some(Stays::Warm) => "warm",
            None => &self.target().text,
        }
    }

    /// What a pin of this route is kept under: a route that goes by the model asked for has one for each.
    #[must_use]
    pub fn pin_name(&self) -> Arc<str> {
        match self.target().model {
            TargetModel::Named(_) => self.name(),
            TargetModel::AsAsked => {
                format!("{} {}", self.name(), &self.asked[self.bare_from..]).into()
            }
        }
    }

    /// A pin of this route, under either name.
    fn is_pin(&self, what: &str) -> bool {
        let name = &*self.route.rule.name;
        let asked = || what.strip_prefix(name)?.strip_prefix(' ');
        what == name || asked() == Some(&self.asked[self.bare_from..])
    }

    /// The first target from the place `at` on that can take the call.
    fn from(&self, at: usize) -> Option<Routed> {
        let mut places = at..self.route.places(self.rung);
        let takes = |at: &usize| self.route.targets[self.index(*at)].takes(self.dialect);
        let at = places.find(takes)?;
        let course = Self {
            at,
            stays: None,
            ..self.clone()
        };
        let target = course.target();
        let model = match &target.model {
            TargetModel::Named(model) => Arc::clone(model),
            TargetModel::AsAsked => course.asked[course.bare_from..].into(),
        };
        Some(Routed {
            provider: Arc::clone(&target.provider),
            model,
            course: Some(course),
            shadow: None,
        })
    }
}

impl Routed {
    /// The next target of the route that can take the call, if there is one. Targets that do not speak
    /// its dialect, or whose provider's key is missing, are left out; nothing is said of budgets.
    #[must_use]
    pub fn next(&self) -> Option<Self> {
        let course = self.course.as_ref()?;
        let next = match course.stays {
            Some(Stays::Pinned | Stays::Issued) => None,
            Some(Stays::Warm) => course.from(0),
            None => course.from(course.at + 1),
        }?;
        Some(Self {
            shadow: self.shadow.clone(),
            ..next
        })
    }

    /// All that come after this one, in their order.
    pub fn rest(&self) -> impl Iterator<Item = Self> {
        std::iter::successors(self.next(), Self::next)
    }

    /// The first target again.
    #[must_use]
    pub fn start(&self) -> Self {
        let gone_on = |course: &&Course| course.stays.is_none();
        let start = self.course.as_ref().filter(gone_on);
        let start = start.and_then(|course| match &course.warm {
            Some(_) => course.at_the_warm(),
            None if course.at > 0 => course.from(0),
            None => None,
        });
        match start {
            None => self.clone(),
            Some(start) => Self {
                shadow: self.shadow.clone(),
                ..start
            },
        }
    }

    /// `provider/model`, as refusals name it.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.provider.name, self.model)
    }
}

/// The layer.
#[derive(Clone)]
pub struct RouteLayer(pub Arc<Gateway>);

impl<S> Layer<S> for RouteLayer {
    type Service = Routing<S>;

    fn layer(&self, inner: S) -> Routing<S> {
        Routing {
            gateway: Arc::clone(&self.0),
            inner,
        }
    }
}

/// The service.
#[derive(Clone)]
pub struct Routing<S> {
    gateway: Arc<Gateway>,
    inner: S,
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

/// Finds the provider of a model for an identity by the model's name.
///
/// # Errors
/// No provider has it, the identity may not use it, or the provider's key is missing.
pub fn resolve(
    live: &Live,
    identity: &Identity,
    model: &str,
    dialect: Dialect,
) -> Result<Routed, Refused> {
    let (provider, name) =
        find(live, model, dialect).ok_or_else(|| not_found(live, model, dialect))?;
    resolved(provider, name, identity, model)
}

/// The same among the providers that speak the dialect, for what is not translated.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_spoken(
    live: &Live,
    identity: &Identity,
    model: &str,
    dialect: Dialect,
) -> Result<Routed, Refused> {
    let found = find_among(live, model, |provider| provider.speaks(dialect));
    let (provider, name) = found.ok_or_else(|| not_found(live, model, dialect))?;
    resolved(provider, name, identity, model)
}

fn resolved(
    provider: &Arc<Provider>,
    name: &str,
    identity: &Identity,
    model: &str,
) -> Result<Routed, Refused> {
    if !identity.may_use(name) && !identity.may_use(model) {
        return Err(not_permitted(identity, model));
    }
    if let Some(kept) = provider.lacks_key() {
        return Err(keyless(provider, &kept));
    }
    Ok(Routed {
        provider: Arc::clone(provider),
        model: name.into(),
        course: None,
        shadow: None,
    })
}

/// Where a call of the gateway's own goes; `None` if nobody has the model, or its key is missing.
#[must_use]
pub fn resolve_own(live: &Live, model: &str, dialect: Dialect) -> Option<Routed> {
    let (provider, name) = find(live, model, dialect)?;
    provider.lacks_key().is_none().then(|| Routed {
        provider: Arc::clone(provider),
        model: name.into(),
        course: None,
        shadow: None,
    })
}

/// The provider that a model's name means to calls of a dialect, and the model's own name: one that
/// speaks it, or else one that such calls are translated for.
#[must_use]
pub fn find<'a>(
    live: &'a Live,
    model: &'a str,
    dialect: Dialect,
) -> Option<(&'a Arc<Provider>, &'a str)> {
    find_among(live, model, |provider| provider.speaks(dialect))
        .or_else(|| find_among(live, model, |provider| provider.takes(dialect)))
}

fn find_among<'a>(
    live: &'a Live,
    model: &'a str,
    fits: impl Fn(&Provider) -> bool,
) -> Option<(&'a Arc<Provider>, &'a str)> {
    if let Some((named, rest)) = split(live, model) {
        return fits(named).then_some((named, rest));
    }
    let fitting = || live.providers.iter().filter(|provider| fits(provider));
    let matching = fitting()
        .find(|provider| provider.config.models.matches(model))
        .or_else(|| fitting().find(|provider| provider.config.models.is_empty()));
    matching.map(|provider| (provider, model))
}

/// A provider's name before a model's own.
#[must_use]
pub fn split<'a>(live: &'a Live, model: &'a str) -> Option<(&'a Arc<Provider>, &'a str)> {
    let (prefix, rest) = model.split_once('/')?;
    let mut providers = live.providers.iter();
    let named = providers.find(|provider| provider.name.as_str() == prefix)?;
    Some((named, rest))
}

fn not_permitted(identity: &Identity, model: &str) -> Refused {
    let message = format!(
        "Identity `{}` may not use the model `{model}`.",
        identity.name
    );
    Refused::new(Code::NotPermitted, &message)
}

fn keyless(provider: &Provider, kept: &str) -> Refused {
    let message = format!(
        "Provider `{}` has no key: {kept} is not set where the gateway runs.",
        provider.name
    );
    Refused::new(Code::UpstreamError, &message)
}

fn no_target(route: &Route, dialect: Dialect) -> Refused {
    let speaking = (route.targets.iter()).find(|target| target.provider.takes(dialect));
    if let Some(target) = speaking
        && let Some(kept) = target.provider.lacks_key()
    {
        return keyless(&target.provider, &kept);
    }
    let message = format!(
        "Route `{}` takes this call, and none of its targets takes {}.",
        route.rule.name,
        dialect.name()
    );
    Refused::new(Code::ModelNotFound, &message)
}

fn not_found(live: &Live, model: &str, dialect: Dialect) -> Refused {
    let speaking: Vec<&str> = live
        .providers
        .iter()
        .filter(|provider| provider.speaks(dialect))
        .map(|provider| provider.name.as_str())
        .collect();
    let providers = match speaking.as_slice() {
        [] => format!("no configured provider speaks {}", dialect.name()),
        names => format!(
            "the providers that speak {} are {}",
            dialect.name(),
            names.join(", ")
        ),
    };
    let message = format!("No provider has the model `{model}`; {providers}.");
    Refused::new(Code::ModelNotFound, &message)
}
