//! A call's look at its task: whether that lets it spend, and a place in flight with a hold if it does.

use super::{
    Admission, NotYet, Placed, asked, breaker, context, lineage, refusal, review, stop_refusal,
};
use crate::stack::upstream::Outgoing;
use crate::stack::{Code, Refused};
use crate::task::{Standstill, Task};
use futures_util::future::{Either, select};
use http::Request;
use std::pin::pin;
use std::sync::Arc;

/// How often a call looks at its task again when somebody decides on it at that very moment.
const LOOKS_MAX: usize = 8;

impl Admission {
    pub(super) async fn place(&mut self, request: &Request<Outgoing>) -> Result<Placed, NotYet> {
        if self.live.loaded.policies.caps_context() && !self.aside {
            let sent = self.sent();
            Box::pin(context::fit(self, &sent, request)).await?;
        }
        for _ in 0..LOOKS_MAX {
            match self.look(request).await {
                Err(NotYet::LookAgain) => {}
                looked => return looked,
            }
        }
        let standstill = Standstill::Suspended;
        Err(self
            .denied(refusal::standstill(&self.attribution, &standstill))
            .into())
    }

    async fn look(&mut self, request: &Request<Outgoing>) -> Result<Placed, NotYet> {
        if self.gateway.is_draining() {
            return Err(draining().into());
        }
        // Whatever can fail does so before anything is held.
        let mut uri = self.uri(request)?;
        // On the list of calls in flight first, then the look at the task's state: a stop in
        // between finds the call on the list.
        let attribution = Arc::clone(&self.attribution);
        let boarded = self.gateway.tasks.flights.board(attribution, self.now);
        let task = self.task().await?;
        // Before the look at its state: a decision in between is then noticed.
        let decisions = task.decisions();
        if let Some(standstill) = self.gateway.tasks.standstill(&task, &self.attribution) {
            return Err(Box::pin(self.stands_still(&task, standstill)).await);
        }
        if !task.conducted.is_clean() {
            Box::pin(breaker::check(self, &task, decisions)).await?;
        }
        if self.live.loaded.policies.reviews() && !self.aside {
            Box::pin(review::check(self, &task, decisions)).await?;
        }
        loop {
            let own = task.caps();
            let entered = lineage::enter(self, &task).await?;
            let stand = entered.as_ref().map(|entered| entered.stand);
            let held = {
                let holding = pin!(self.hold_along(&task, stand.unwrap_or_default(), request));
                let stop = pin!(boarded.flight.stop());
                match select(holding, stop).await {
                    Either::Left((held, _)) => Ok(held),
                    Either::Right((stop, _)) => Err(stop),
                }
            };
            let (bound, hold) = match held {
                Ok(Ok(held)) => held,
                Ok(Err(miss)) => return Err(self.missed(&task, decisions, miss).await),
                Err(stop) => {
                    return Err(self.denied(stop_refusal(&self.attribution, stop)).into());
                }
            };
            if self.went_on() {
                uri = match self.uri(request) {
                    Ok(uri) => uri,
                    Err(refused) => {
                        hold.let_go();
                        return Err(refused.into());
                    }
                };
            }
            if self.is_covered(&task, &own, &boarded.flight, &hold) {
                return Ok(Placed {
                    uri,
                    task,
                    boarded,
                    bound,
                    hold,
                    entered,
                });
            }
            // Other limits came into force since it was quoted.
            hold.let_go();
            boarded.flight.set_aboard(None);
            self.live = self.gateway.live();
        }
    }

    /// What a call is told whose task must not spend now.
    async fn stands_still(&self, task: &Arc<Task>, standstill: Standstill) -> NotYet {
        let refused = match &standstill {
            Standstill::Asked(id) => {
                return NotYet::Asked(self.gateway.escalations.question(id.clone(), task));
            }
            Standstill::Declined(id) => asked::said_no(self, id).await,
            _ => None,
        };
        let refused =
            refused.unwrap_or_else(|| refusal::standstill(&self.attribution, &standstill));
        self.denied(refused).into()
    }
}

#[cold]
fn draining() -> Refused {
    let message = "The gateway is about to stop; its successor takes calls.";
    Refused::new(Code::Draining, message)
}
