//! The accounts that cover a call, and whether those it was held under still cover it when it leaves.

use super::Admission;
use crate::clock;
use crate::config::{CallCeilings, Policies};
use crate::flights::{Aboard, Flight};
use crate::gateway::Live;
use crate::ledger::{Caps, Cover, Edition};
use crate::purse::Hold;
use crate::task::Task;
use crate::units::Meter;
use std::sync::Arc;

/// The accounts that cover a call.
pub(super) struct Covers {
    pub(super) covers: Vec<Cover>,
}

impl Covers {
    /// Some cap of this meter binds.
    pub(super) fn bind(&self, meter: impl Fn(Meter) -> bool) -> bool {
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
    pub(super) fn covers(&self, task: Option<&Task>) -> Covers {
        self.covers_by(&self.live, task)
    }

    fn covers_by(&self, live: &Live, task: Option<&Task>) -> Covers {
        let facts = self.facts();
        let mut covers = Vec::with_capacity(6);
        let policies = &live.loaded.policies;
        let ceilings = policies.covers(&facts, clock::now(), &mut covers);
        if task.is_some() && policies.wraps_up() {
            self.keep_reserve(policies, &mut covers);
        }
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

    /// Puts the hold on the list, where limits that come into force from now on find it. False if some
    /// already have, or caps were lowered, that it was not held under.
    pub(super) fn is_covered(&self, task: &Task, own: &Caps, flight: &Flight, hold: &Hold) -> bool {
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
}
