//! The way along a route's targets: which comes next, and why a call may stay where it is. Also of routes
//! that only tell where a call would have gone.

use super::Routed;
use crate::config::TargetModel;
use crate::dialect::Dialect;
use crate::gateway::Provider;
use crate::gateway::routes::{Route, Target};
use std::sync::Arc;

/// A call's way along the targets of a route.
#[derive(Clone)]
pub struct Course {
    /// The route.
    pub route: Arc<Route>,
    /// The model that the caller asked for.
    pub asked: Arc<str>,
    /// Where in it the model's own name begins.
    pub(super) bare_from: usize,
    pub(super) dialect: Dialect,
    /// It does not take the route's own way.
    pub stays: Option<Stays>,
    /// Where it is tried before all targets, for its prompt cache is there.
    pub(super) warm: Option<Arc<(Arc<Provider>, Arc<str>)>>,
    /// The target that comes first; the others follow in the order of the file.
    pub(super) first: usize,
    /// The cheaper target that little budget sends it to: no dearer one is tried.
    pub(super) rung: Option<usize>,
    /// How many come before the present one.
    pub(super) at: usize,
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
    pub(super) fn is_pin(&self, what: &str) -> bool {
        let name = &*self.route.rule.name;
        let asked = || what.strip_prefix(name)?.strip_prefix(' ');
        what == name || asked() == Some(&self.asked[self.bare_from..])
    }

    /// The first target from the place `at` on that can take the call.
    pub(super) fn from(&self, at: usize) -> Option<Routed> {
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
    pub(super) fn new(course: &Course) -> Self {
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
