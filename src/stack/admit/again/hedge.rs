//! `hedge_after`: a call whose first target is slow to answer is asked of a second one as well, and the
//! caller gets the answer that comes first.
//!
//! Both may be billed, so both are held: the second ask is an admission of its own, quoted at its
//! target's price on its accounts, and leaves only if all of it fits at once beside the first. It waits
//! for nobody, is never cut short, asks no person, and is not journalled if it does not leave. The ask
//! that loses is dropped, which sees its exchange through to its usage for a bounded time; its hold ends
//! by the table of endings, like anybody's whose caller has gone.

use super::super::walk::Patience;
use super::super::{Admission, Placed, lineage};
use super::{Again, Tries, head_of, place};
use crate::clock;
use crate::stack::body::AnswerBody;
use crate::stack::failed::NoAnswer;
use crate::stack::meter::Admitted;
use crate::stack::race::{Runner, Side};
use crate::stack::route::Routed;
use crate::stack::upstream::Outgoing;
use crate::traces::CallSpan;
use futures_util::future::{Either, select};
use http::{Request, Response};
use parking_lot::Mutex;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tower::Service;

/// What came back.
type Answered = Result<Response<AnswerBody>, NoAnswer>;

impl Admission {
    /// How long the call's first target is given alone; `None`: for as long as it takes.
    pub(super) fn hedges_after(&mut self) -> Option<Duration> {
        let course = self.routed.course.as_ref()?;
        let after = course.route.rule.hedge_after?;
        // An answer in the background comes past the gateway, and a last call is the last one.
        if self.aside || self.call.background || self.is_last() || !course.has_others() {
            return None;
        }
        self.runner = Some(Runner::first());
        Some(after)
    }

    /// The same call, to be asked of another target.
    fn beside(&self, runner: Runner) -> Self {
        let again = Again {
            failed: vec![place(&self.routed)],
            ..Again::default()
        };
        Self {
            gateway: Arc::clone(&self.gateway),
            live: Arc::clone(&self.live),
            attribution: Arc::clone(&self.attribution),
            call: Arc::clone(&self.call),
            came: Arc::clone(&self.came),
            routed: self.routed.clone(),
            request: self.request.clone(),
            trace: self.trace,
            // It tells nothing before it leaves.
            span: None,
            arrived: std::time::Instant::now(),
            task_usd: None,
            now: clock::now(),
            steps: self.steps.clone(),
            words: Mutex::new(self.words.lock().clone()),
            fitted: self.fitted.clone(),
            translation: self.translation.clone(),
            put: self.put.clone(),
            again: Some(Box::new(again)),
            runner: Some(runner),
            tried: None,
            aside: self.aside,
            asides: None,
        }
    }

    /// Admits it; `None`: no other target is fit, or it does not fit at once there, whole.
    async fn admitted(
        &mut self,
        spare: &Request<Outgoing>,
        span: Option<Arc<CallSpan>>,
    ) -> Option<Admitted> {
        let placed = self.place_beside(spare).await?;
        self.span = span;
        self.depart(head_of(spare), placed).await.ok()
    }

    async fn place_beside(&mut self, spare: &Request<Outgoing>) -> Option<Placed> {
        if self.gateway.is_draining() {
            return None;
        }
        let gateway = Arc::clone(&self.gateway);
        let tasks = &gateway.tasks;
        let whose = Arc::clone(&self.attribution);
        let boarded = tasks.flights.board(whose, self.now);
        let task = tasks.known(&self.attribution.task_key(), self.now)?;
        if tasks.standstill(&task, &self.attribution).is_some() {
            return None;
        }
        let own = task.caps();
        let entered = lineage::enter(self, &task).await.ok()?;
        let stand = entered.as_ref().map(|entered| entered.stand);
        for routed in self.others_that_are_fit() {
            if self.turn_to(routed, spare).await.is_err() {
                continue;
            }
            let held = self.hold(&task, stand.unwrap_or_default(), Patience::Not);
            let Ok((bound, hold)) = held.await else {
                continue;
            };
            let uri = self.uri(spare);
            if let Ok(uri) = uri
                && self.is_covered(&task, &own, &boarded.flight, &hold)
            {
                return Some(Placed {
                    uri,
                    task,
                    boarded,
                    bound,
                    hold,
                    entered,
                });
            }
            hold.let_go();
            return None;
        }
        None
    }

    /// The route's other targets that are neither passed over nor full.
    fn others_that_are_fit(&self) -> Vec<Routed> {
        let now = clock::now();
        let failed = self.again.as_ref().map_or(&[][..], |again| &again.failed);
        let start = self.routed.start();
        let all = std::iter::once(start.clone()).chain(start.rest());
        let fit = all.filter(|routed| {
            let provider = &routed.provider;
            let health = provider.healths.of(&routed.model);
            !failed.contains(&place(routed))
                && health.closed_until(now).is_none()
                && !provider.places.is_full()
        });
        fit.collect()
    }

    fn counts_hedge(&self, result: &'static str) {
        if let Some(course) = &self.routed.course {
            let route = &course.route.rule.name;
            self.gateway.metrics.hedged(route, result);
        }
    }
}

/// Waits for the first ask, which is on its way, and after a while for a second one beside it. Gives back
/// the admission that the call goes on with if it failed.
pub(super) async fn race<S>(
    mut first: Box<Admission>,
    runner: Runner,
    after: Duration,
    (calling, inner): (S::Future, &mut S),
    (spare, tries): (&Request<Outgoing>, &mut Tries),
) -> (Box<Admission>, Answered)
where
    S: Service<Admitted, Response = Response<AnswerBody>, Error = NoAnswer>,
{
    let mut calling = pin!(calling);
    if let Either::Left((answered, _)) =
        select(calling.as_mut(), pin!(tokio::time::sleep(after))).await
    {
        return (first, answered);
    }
    if runner.is_heard() {
        return (first, calling.await);
    }
    let beside = runner.second();
    let mut second = Box::new(first.beside(beside.clone()));
    // The first may answer meanwhile.
    let admitting = second.admitted(spare, first.span.clone());
    let admitted = match select(calling.as_mut(), pin!(admitting)).await {
        Either::Left((answered, _)) => return (first, answered),
        Either::Right((admitted, _)) => admitted,
    };
    let Some(admitted) = admitted else {
        first.counts_hedge("no_room");
        return (first, calling.await);
    };
    beside.sets_out();
    let mut other = pin!(inner.call(admitted));
    let (side, ended) = match select(calling.as_mut(), other.as_mut()).await {
        Either::Left((ended, _)) => (Side::First, ended),
        Either::Right((ended, _)) => (Side::Second, ended),
    };
    let (side, answered) = match ended {
        Ok(answer) => (side, Ok(answer)),
        Err(lost) => match side {
            Side::First => (Side::Second, outlive(lost, other, tries).await),
            Side::Second => (Side::First, outlive(lost, calling, tries).await),
        },
    };
    let is_answered = answered.is_ok();
    let (winner, going_on) = match side {
        Side::First => {
            first.fails_at(place(&second.routed));
            (&runner, first)
        }
        Side::Second => (&beside, second),
    };
    if is_answered {
        // Before the other one is dropped, so that it knows.
        winner.wins();
        going_on.is_warm_now();
    }
    going_on.counts_hedge(if is_answered { side.name() } else { "none" });
    (going_on, answered)
}

/// One of two came to nothing; the other one's answer, or what the caller is told of both.
async fn outlive(
    lost: NoAnswer,
    other: impl Future<Output = Answered>,
    tries: &mut Tries,
) -> Answered {
    let refused = match lost {
        NoAnswer::Refused(refused) => Some(refused),
        NoAnswer::Failed(failed) => {
            tries.all += failed.tries;
            let failed = *failed;
            // What is void is free again at once; the other one has a hold of its own.
            failed.record.end(failed.outcome);
            None
        }
    };
    match (other.await, refused) {
        (Err(NoAnswer::Failed(failed)), Some(refused)) => {
            let failed = *failed;
            failed.record.end(failed.outcome);
            Err(NoAnswer::Refused(refused))
        }
        (answered, _) => answered,
    }
}
