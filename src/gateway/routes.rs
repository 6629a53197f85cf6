//! The routes of one version of the configuration, each target with its provider found.

use super::Provider;
use crate::config::{OnSkew, RoutePolicies, RouteRule, Rung, TargetModel, TargetRule};
use crate::dialect::Dialect;
use std::sync::Arc;

/// Where calls may go that a route takes.
pub struct Target {
    /// The provider.
    pub provider: Arc<Provider>,
    /// The model as the provider names it.
    pub model: TargetModel,
    /// As the file has it: bounded in number, so fit for a label.
    pub text: Arc<str>,
    /// Its share of the calls.
    pub weight: Option<u64>,
}

impl Target {
    /// Whether a call of this dialect can go there at all.
    #[must_use]
    pub fn takes(&self, dialect: Dialect) -> bool {
        self.provider.takes(dialect) && self.provider.lacks_key().is_none()
    }
}

/// What is left of the budgets that cover a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// The least share of any, in parts per million.
    pub share: u64,
    /// One with `on_exceed = "downgrade"` is near its cap.
    pub is_near: bool,
}

/// One route.
pub struct Route {
    /// As the file has it.
    pub rule: RouteRule,
    /// Never empty.
    pub targets: Box<[Target]>,
    /// How many of them are those of `to`; the rest are `downgrade`'s.
    dearer: usize,
    /// The sum of all weights; 0 where none is given and the order alone counts.
    weights: u64,
}

impl Route {
    fn new(
        rule: &RouteRule,
        providers: &[Arc<Provider>],
        configs: &[crate::config::Provider],
    ) -> Self {
        let find = |target: &TargetRule| {
            let (at, model) = target.find(configs).ok()?;
            Some(Target {
                provider: Arc::clone(providers.get(at)?),
                model,
                text: Arc::clone(&target.text),
                weight: target.weight,
            })
        };
        let mut targets: Vec<Target> = rule.to.iter().filter_map(find).collect();
        let dearer = targets.len();
        let rungs = rule.downgrade.iter();
        targets.extend(rungs.filter_map(|rung| find(&rung.target)));
        let targets: Box<[Target]> = targets.into();
        Self {
            rule: rule.clone(),
            weights: targets.iter().filter_map(|target| target.weight).sum(),
            targets,
            dearer,
        }
    }

    /// It has cheaper targets for when little is left.
    #[must_use]
    pub const fn downgrades(&self) -> bool {
        self.dearer < self.targets.len()
    }

    /// The target among the cheaper ones that calls go to at present; `None`: enough is left.
    #[must_use]
    pub fn rung(&self, left: &Left) -> Option<usize> {
        let under = |rung: &Rung| rung.under.is_some_and(|under| left.share <= under);
        let lowest = self.rule.downgrade.iter().rposition(under);
        lowest.or((left.is_near && self.downgrades()).then_some(0))
    }

    /// The targets in the order in which they are tried: from a rung down; or `first`, the others of `to`,
    /// and then all rungs.
    #[must_use]
    pub fn place(&self, at: usize, first: usize, rung: Option<usize>) -> usize {
        match (rung, at) {
            (Some(rung), at) => self.dearer + rung + at,
            (None, 0) => first,
            (None, at) if at <= first => at - 1,
            (None, at) => at,
        }
    }

    /// How many places there are.
    #[must_use]
    pub fn places(&self, rung: Option<usize>) -> usize {
        self.targets.len() - rung.map_or(0, |rung| self.dearer + rung)
    }

    /// The target that a call begins with, by a number that is drawn once for whatever shall stay
    /// together.
    #[must_use]
    pub fn first(&self, drawn: u64) -> usize {
        if self.weights == 0 {
            return 0;
        }
        let mut at = drawn % self.weights;
        for (i, target) in self.targets.iter().enumerate() {
            let weight = target.weight.unwrap_or(0);
            if at < weight {
                return i;
            }
            at -= weight;
        }
        0
    }

    /// Some targets have weights, so that a number must be drawn.
    #[must_use]
    pub const fn is_weighted(&self) -> bool {
        self.weights > 0
    }
}

/// All routes, in the order of the file.
#[derive(Default)]
pub struct Routes {
    all: Box<[Arc<Route>]>,
    skew: OnSkew,
    minds_caches: bool,
}

impl Routes {
    /// Finds the targets' providers. `configs` are those of `providers`, in the same order.
    #[must_use]
    pub fn new(
        policies: &RoutePolicies,
        providers: &[Arc<Provider>],
        configs: &[crate::config::Provider],
    ) -> Self {
        let routes = policies.routes.iter();
        let routes = routes.map(|rule| Arc::new(Route::new(rule, providers, configs)));
        Self {
            all: routes.filter(|route| !route.targets.is_empty()).collect(),
            skew: policies.skew,
            minds_caches: (policies.routes.iter()).any(|route| route.max_switch_cost.is_some()),
        }
    }

    /// There are none: every call goes where its model's name says.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Some route minds prompt caches.
    #[must_use]
    pub const fn minds_caches(&self) -> bool {
        self.minds_caches
    }

    /// What is done about agents of one task on different versions of a model.
    #[must_use]
    pub const fn skew(&self) -> OnSkew {
        self.skew
    }

    /// In the order of the file.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Route>> {
        self.all.iter()
    }
}
