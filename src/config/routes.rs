//! `policies/routes.toml`: which calls go where. The first route that matches wins; a call that none
//! matches goes where its model's name says.
//!
//! What a target names is looked up among the providers once, here, so that a call only walks a list.

mod read;

use super::facts::{Match, Side};
use super::fault::{Fault, Faults, Place};
use super::glob::Globs;
use super::provider::Provider;
use super::read::document;
use crate::dialect::Dialect;
use crate::units::{NanoUsd, ProviderName};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Most targets of one route.
pub const TARGETS_MAX: usize = 32;

/// What a call is for, as far as routes tell it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallKind {
    /// A model writes something.
    Generation,
    /// Texts become vectors.
    Embeddings,
}

impl CallKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Generation, Self::Embeddings];

    /// The name in configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Generation => "generation",
            Self::Embeddings => "embeddings",
        }
    }

    /// What calls of a dialect are for.
    #[must_use]
    pub const fn of(dialect: Dialect) -> Self {
        match dialect.generates() {
            true => Self::Generation,
            false => Self::Embeddings,
        }
    }
}

/// `{ over = …, under = … }`: above the one and up to the other, each where it is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Between {
    /// More than this.
    pub over: Option<u64>,
    /// At most this.
    pub under: Option<u64>,
}

impl Between {
    /// Whether a number lies there.
    #[must_use]
    pub fn holds(&self, number: u64) -> bool {
        self.over.is_none_or(|over| number > over) && self.under.is_none_or(|under| number <= under)
    }

    /// The smallest number that decides: up to it, less makes no difference.
    #[must_use]
    pub fn least(&self) -> u64 {
        let numbers = self.over.into_iter().chain(self.under);
        numbers.min().unwrap_or(0)
    }
}

/// What a call must be for a route to take it. What is not said does not matter, but for `kinds`.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteMatch {
    /// Whose call it is, the model's name as it was asked for, the dialect.
    pub sides: Match,
    /// What it is for; generation unless said otherwise.
    pub kinds: Vec<CallKind>,
    /// Tools are declared, or none are.
    pub tools: Option<bool>,
    /// Tokens of its input, by a public tokenizer.
    pub context_tokens: Option<Between>,
    /// The least share left of any budget that covers it, in parts per million.
    pub budget_left: Option<Between>,
}

/// The model that a target is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetModel {
    /// This one.
    Named(Arc<str>),
    /// The one that the caller asked for.
    AsAsked,
}

/// A call as routes look at it.
pub trait Looks {
    /// What stands on one side of it; the model as it was asked for.
    fn text(&self, side: Side) -> Option<&str>;
    /// The model's name without a provider before it.
    fn bare_model(&self) -> &str;
    /// What it is for.
    fn kind(&self) -> CallKind;
    /// It declares tools.
    fn has_tools(&self) -> bool;
    /// Tokens of its input; a number up to `least` need not be exact, so long as it is not too low.
    fn context_tokens(&self, least: u64) -> u64;
    /// The least share left of any budget that covers it, in parts per million; `None`: not known yet.
    fn budget_left(&self) -> Option<u64>;
}

/// Why a route does not take a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    /// Another value stands on this side, or none.
    Side(Side),
    /// The call is for something else.
    Kind,
    /// It declares tools, or none.
    Tools,
    /// Its input is of so many tokens.
    ContextTokens(u64),
    /// So much is left of its budget.
    BudgetLeft(u64),
    /// All else matches, and what is left of its budget is not known yet.
    BudgetUnknown,
}

impl RouteMatch {
    /// Whether a call matches.
    ///
    /// # Errors
    /// The first thing that does not.
    pub fn look(&self, call: &impl Looks) -> Result<(), Miss> {
        if !self.kinds.contains(&call.kind()) {
            return Err(Miss::Kind);
        }
        for (side, globs) in &self.sides.sides {
            let matches = |text: &str| globs.matches(text);
            let bare = || *side == Side::Model && matches(call.bare_model());
            if !call.text(*side).is_some_and(matches) && !bare() {
                return Err(Miss::Side(*side));
            }
        }
        if self.tools.is_some_and(|tools| tools != call.has_tools()) {
            return Err(Miss::Tools);
        }
        if let Some(between) = &self.context_tokens {
            let tokens = call.context_tokens(between.least());
            if !between.holds(tokens) {
                return Err(Miss::ContextTokens(tokens));
            }
        }
        if let Some(between) = &self.budget_left {
            let left = call.budget_left().ok_or(Miss::BudgetUnknown)?;
            if !between.holds(left) {
                return Err(Miss::BudgetLeft(left));
            }
        }
        Ok(())
    }
}

/// One entry of `to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetRule {
    /// As it is written.
    pub text: Arc<str>,
    /// Its share of the calls. Without one it is only tried when others did not fit.
    pub weight: Option<u64>,
}

impl TargetRule {
    /// Finds the provider that is meant, by its place in the file, and the model.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn find(&self, providers: &[Provider]) -> Result<(usize, TargetModel), String> {
        let text = &*self.text;
        if let Some((name, model)) = text.split_once('/')
            && let Some(at) = providers
                .iter()
                .position(|provider| provider.name.as_str() == name)
        {
            let model = match model {
                "" => return Err(format!("`{text}` names no model; write `{name}/MODEL`")),
                "*" => TargetModel::AsAsked,
                model if model.contains('*') => {
                    return Err(format!(
                        "`{text}`: a target is one model, or `{name}/*` for the one that was asked for"
                    ));
                }
                model => TargetModel::Named(model.into()),
            };
            return Ok((at, model));
        }
        let lists = |provider: &Provider| provider.models.matches(text);
        let found = providers.iter().position(lists);
        let only = (providers.len() == 1).then_some(0);
        match found.or(only) {
            Some(_) if text.contains('*') => Err(format!(
                "`{text}`: a target is one model, or `PROVIDER/*` for the one that was asked for"
            )),
            Some(at) => Ok((at, TargetModel::Named(text.into()))),
            None => {
                let names: Vec<&str> = providers.iter().map(|p| p.name.as_str()).collect();
                Err(format!(
                    "no provider's `models` has `{text}`; write `PROVIDER/{text}`, with PROVIDER one of {}",
                    names.join(", ")
                ))
            }
        }
    }
}

/// One entry of `downgrade`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rung {
    /// Where calls go then.
    pub target: TargetRule,
    /// From where on, of the least share left of any budget, in parts per million; `None`: only when a limit
    /// with `on_exceed = "downgrade"` is near its cap.
    pub under: Option<u64>,
}

/// One `[[route]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteRule {
    /// Its name, unique; `route N` by its place unless said otherwise.
    pub name: Arc<str>,
    /// Which calls it takes.
    pub matches: RouteMatch,
    /// Where they go, the first first.
    pub to: Vec<TargetRule>,
    /// It is only told what it would have done; the calls go on to the next route that matches.
    pub shadow: bool,
    /// Answers to its calls with an `Idempotency-Key` outlive the process.
    pub durable_answers: bool,
    /// A task stays with the model that answered it first.
    pub pins: bool,
    /// Cheaper targets for when little is left, dearer ones first.
    pub downgrade: Vec<Rung>,
    /// What the first call at another model may cost beyond what it would have cost at the one whose prompt
    /// cache has its conversation; `None`: nobody looks.
    pub max_switch_cost: Option<NanoUsd>,
    /// How long the first target is given before a second one is asked as well; `None`: nobody else is.
    pub hedge_after: Option<Duration>,
    /// Where it is written.
    pub place: Place,
}

/// All routes, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RoutePolicies {
    /// The routes; aliases come last, as routes for the calls that ask for their name.
    pub routes: Vec<RouteRule>,
    /// The names of aliases among them.
    pub aliases: Vec<Arc<str>>,
    /// What is done about agents of one task on different versions of a model.
    pub skew: OnSkew,
}

/// `[skew] action`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnSkew {
    /// Nobody looks.
    Off,
    /// An event, a count, a mark in the task's story.
    #[default]
    Warn,
    /// The same; and a call that would go to another version than its task has had is refused.
    Deny,
}

impl OnSkew {
    const ALL: [(&'static str, Self); 3] = [
        ("off", Self::Off),
        ("warn", Self::Warn),
        ("deny", Self::Deny),
    ];
}

impl RoutePolicies {
    /// Reads the text of a `routes.toml` that stands at `path`.
    ///
    /// # Errors
    /// Every fault, with its line.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Faults> {
        document(path, text, |section| {
            let (routes, aliases) = read::routes(section);
            Some(Self {
                routes,
                aliases,
                skew: read::skew(section),
            })
        })
    }

    /// Targets that mean no provider.
    pub(super) fn check(&self, providers: &[Provider], faults: &mut Vec<Fault>) {
        for route in &self.routes {
            for target in route.targets() {
                if let Err(why) = target.find(providers) {
                    faults.push(Fault::at(&route.place, format!("`to`: {why}")));
                }
            }
        }
    }

    /// What is allowed and probably not meant.
    pub(super) fn warn(&self, providers: &[Provider], found: &mut Vec<Fault>) {
        for (i, route) in self.routes.iter().enumerate() {
            let mut warn = |message| found.push(Fault::at(&route.place, message));
            let name = &route.name;
            for dialect in route.unreached(providers).filter(|_| !route.shadow) {
                let dialect = dialect.name();
                warn(format!(
                    "calls in the dialect {dialect} that come to `{name}` are refused: none of its targets takes \
                     it; add one, or a `dialect` to its `match`"
                ));
            }
            let above = self.routes[..i].iter();
            let takes_all = |above: &&RouteRule| !above.shadow && above.takes_all_of(route);
            if let Some(above) = above.into_iter().find(takes_all) {
                let above = &above.name;
                warn(format!(
                    "`{name}` never sees a call: `{above}` above takes them all"
                ));
            }
        }
    }
}

impl RouteRule {
    /// Every target: those of `to`, then those of `downgrade`.
    pub fn targets(&self) -> impl Iterator<Item = &TargetRule> {
        let rungs = self.downgrade.iter().map(|rung| &rung.target);
        self.to.iter().chain(rungs)
    }

    /// Dialects that some provider takes and this route takes, and that none of its targets takes.
    fn unreached(&self, providers: &[Provider]) -> impl Iterator<Item = Dialect> {
        let targets: Vec<&Provider> = self
            .to
            .iter()
            .filter_map(|target| providers.get(target.find(providers).ok()?.0))
            .collect();
        let takes = |dialect: &Dialect| {
            self.matches.kinds.contains(&CallKind::of(*dialect))
                && (self.matches.sides.on(Side::Dialect))
                    .is_none_or(|globs| globs.matches(dialect.name()))
        };
        let unreached = Dialect::ALL.into_iter().filter(|dialect| {
            if !dialect.comes() || !takes(dialect) {
                return false;
            }
            let takes = |provider: &Provider| provider.takes(*dialect);
            providers.iter().any(takes) && !targets.iter().any(|target| takes(target))
        });
        unreached.collect::<Vec<_>>().into_iter()
    }

    /// Whatever comes to `other` would have come here. Errs on the side of `false`.
    fn takes_all_of(&self, other: &Self) -> bool {
        let (own, its) = (&self.matches, &other.matches);
        let includes = |globs: &Globs, others: &Globs| {
            let mut others = others.iter();
            others.all(|other| globs.iter().any(|glob| glob.includes(other)))
        };
        let covers = |(side, globs): &(Side, Globs)| {
            let others = its.sides.on(*side);
            others.is_some_and(|others| includes(globs, others))
        };
        own.sides.sides.iter().all(covers)
            && its.kinds.iter().all(|kind| own.kinds.contains(kind))
            && own.tools.is_none_or(|tools| its.tools == Some(tools))
            && (own.context_tokens.is_none() || own.context_tokens == its.context_tokens)
            && (own.budget_left.is_none() || own.budget_left == its.budget_left)
    }

    /// The providers that its targets mean, in their order; those that mean none are left out.
    pub fn providers<'p>(
        &'p self,
        providers: &'p [Provider],
    ) -> impl Iterator<Item = &'p ProviderName> {
        let found = self.to.iter().filter_map(|target| {
            let (at, _) = target.find(providers).ok()?;
            providers.get(at)
        });
        found.map(|provider| &provider.name)
    }
}
