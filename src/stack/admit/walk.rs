//! The way along a route's targets: the first that the call fits at takes it.
//!
//! A target with others behind it is not waited for and is not asked for less: as long as the whole
//! call fits somewhere at once, it goes there. Only if it fits nowhere like that does it wait for held
//! money and let itself be cut short, target by target, all waits together no longer than one call's.

use super::{Admission, Bound};
use crate::clock;
use crate::ledger::{Refusal, Stand};
use crate::purse::{Hold, NoHold};
use crate::stack::Refused;
use crate::stack::route::Routed;
use crate::stack::upstream::Outgoing;
use crate::task::Task;
use crate::units::{Meter, NanoUsd, UnixMs};
use http::Request;
use std::sync::Arc;

/// Whether a call waits for held money.
#[derive(Clone, Copy, Debug)]
pub(super) enum Patience {
    /// It must fit whole and at once.
    Not,
    /// As long as calls do, and in no case longer than this.
    Until(UnixMs),
}

/// Why a target does not take a call.
#[derive(Debug)]
pub(super) enum Miss {
    /// Nobody can say what it costs there.
    Unquoted(Refused),
    /// Its quote does not fit.
    NoHold(NoHold),
}

impl Miss {
    /// Another target may take the call.
    const fn is_of_target(&self) -> bool {
        match self {
            Self::Unquoted(_) | Self::NoHold(NoHold::Short) => true,
            Self::NoHold(NoHold::Refused(refusal)) => {
                matches!(refusal, Refusal::Limit(_) | Refusal::LineFull(_))
            }
            Self::NoHold(NoHold::Store(_) | NoHold::Rolled) => false,
        }
    }

    /// What was in the way, behind the target's name.
    fn told(&self) -> String {
        match self {
            Self::NoHold(NoHold::Refused(Refusal::Limit(denial) | Refusal::LineFull(denial))) => {
                match denial.meter {
                    Meter::Usd => format!(" (up to ${})", NanoUsd(denial.needed)),
                    meter => format!(" ({})", meter.name()),
                }
            }
            Self::Unquoted(refused) => format!(" ({})", refused.refusal.code().name()),
            Self::NoHold(_) => String::new(),
        }
    }
}

impl Admission {
    /// Quotes and holds at the first target that the call fits at.
    pub(super) async fn hold_along(
        &mut self,
        task: &Arc<Task>,
        stand: Stand,
        request: &Request<Outgoing>,
    ) -> Result<(Bound, Hold), Miss> {
        let forever = Patience::Until(UnixMs(i64::MAX));
        if self.routed.course.is_some() || self.again.is_some() || self.fails_fast() {
            self.tried = None;
            let mut targets = self.candidates().map_err(Miss::Unquoted)?;
            if targets.len() > 1 {
                return Box::pin(self.walk(targets, task, stand, request)).await;
            }
            if let Some(only) = targets.pop() {
                self.turn_to(only, request).await?;
            }
        }
        self.hold(task, stand, forever).await
    }

    /// The call may have gone on from the target that it was routed to.
    pub(super) fn went_on(&self) -> bool {
        self.routed.course.is_some()
    }

    async fn walk(
        &mut self,
        targets: Vec<Routed>,
        task: &Arc<Task>,
        stand: Stand,
        request: &Request<Outgoing>,
    ) -> Result<(Bound, Hold), Miss> {
        for routed in &targets {
            let held = match self.turn_to(routed.clone(), request).await {
                Ok(()) => self.hold(task, stand, Patience::Not).await,
                Err(miss) => Err(miss),
            };
            match held {
                Err(miss) if miss.is_of_target() => {}
                held => return held,
            }
        }
        let wait = self.live.config().bounds.wait_for_holds;
        let wait_ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        let until = UnixMs(clock::now().0.saturating_add(wait_ms));
        let mut tried: Vec<String> = Vec::new();
        let mut last: Option<(Routed, Miss)> = None;
        for routed in targets {
            let held = match self.turn_to(routed, request).await {
                Ok(()) => self.hold(task, stand, Patience::Until(until)).await,
                Err(miss) => Err(miss),
            };
            match held {
                Err(miss) if miss.is_of_target() => {
                    tried.push(format!("{}{}", self.routed.name(), miss.told()));
                    // A budget in the way says more than a price that nobody knows.
                    if last.is_none() || matches!(miss, Miss::NoHold(_)) {
                        last = Some((self.routed.clone(), miss));
                    }
                }
                held => return held,
            }
        }
        let Some((routed, miss)) = last else {
            return Err(Miss::Unquoted(Refused::internal("a walk has a target")));
        };
        self.routed = routed;
        self.tried = Some(format!("Tried: {}.", tried.join(", ")));
        Err(miss)
    }
}
