//! The routes of one version of the configuration, each target with its provider found.

use super::Provider;
use crate::config::{OnSkew, RoutePolicies, RouteRule, TargetModel};
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

/// One route.
pub struct Route {
    /// As the file has it.
    pub rule: RouteRule,
    /// Never empty.
    pub targets: Box<[Target]>,
    /// The sum of all weights; 0 where none is given and the order alone counts.
    weights: u64,
}

impl Route {
    fn new(
        rule: &RouteRule,
        providers: &[Arc<Provider>],
        configs: &[crate::config::Provider],
    ) -> Self {
        let targets = rule.to.iter().filter_map(|target| {
            let (at, model) = target.find(configs).ok()?;
            Some(Target {
                provider: Arc::clone(providers.get(at)?),
                model,
                text: Arc::clone(&target.text),
                weight: target.weight,
            })
        });
        let targets: Box<[Target]> = targets.collect();
        Self {
            rule: rule.clone(),
            weights: targets.iter().filter_map(|target| target.weight).sum(),
            targets,
        }
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
        }
    }

    /// There are none: every call goes where its model's name says.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.all.is_empty()
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
