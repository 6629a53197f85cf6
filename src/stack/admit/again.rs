//! Another admission for a call that failed before its first byte: the same target once more, where that
//! needs a hold of its own, or the next target of its route, at its own price on its own accounts.
//!
//! After a definite failure the hold is swapped in one step; after one that may be billed the old hold
//! stays in doubt, and the new one comes on top. What is kept for it is kept only where there is such a
//! way on.

mod hedge;

use super::{Admission, NotYet, Placed};
use crate::clock;
use crate::config::Alone;
use crate::dialect::refusal::Refusal;
use crate::gateway::health::Fitness;
use crate::stack::body::AnswerBody;
use crate::stack::failed::{Failed, NoAnswer, Told, tell_not_to_retry};
use crate::stack::meter::Admitted;
use crate::stack::record::Record;
use crate::stack::retry::{pause, request_head, wait};
use crate::stack::route::Routed;
use crate::stack::upstream::Outgoing;
use crate::stack::{Code, Refused};
use crate::units::UnixMs;
use bytes::Bytes;
use http::{Request, Response};
use parking_lot::Mutex;
use std::time::Duration;
use tokio::time::Instant;
use tower::Service;

/// Most tries of one call in all.
const TRIES_MAX: u64 = 32;

/// What is known of a call's earlier admissions.
#[derive(Default)]
pub(super) struct Again {
    /// Places in the route of targets that failed it.
    failed: Vec<usize>,
    /// It stays where it is.
    stays: bool,
    /// The record whose hold the next one takes the stead of.
    leaving: Mutex<Option<Box<Record>>>,
}

impl Again {
    /// The record whose hold the next one takes the stead of.
    pub(super) fn leaving(&self) -> Option<Box<Record>> {
        self.leaving.lock().take()
    }
}

/// Where a call goes on.
enum Way {
    /// To the same target, after a pause.
    Here(Duration),
    /// To another target.
    Elsewhere,
}

/// How often a call was tried.
struct Tries {
    began: Instant,
    /// Up to when it may go on.
    most: Duration,
    all: u64,
    /// At the present target.
    here: u64,
    /// Of these, failures that may be billed.
    in_doubt: u64,
}

/// Sends a call that has a way on if it fails, and goes that way.
///
/// # Errors
/// What the caller is told is a refusal.
pub(super) async fn send<S>(
    mut admission: Box<Admission>,
    request: Request<Outgoing>,
    placed: Placed,
    mut inner: S,
) -> Told
where
    S: Service<Admitted, Response = Response<AnswerBody>, Error = NoAnswer>,
{
    let spare = head_of(&request);
    let mut hedge = admission.hedges_after();
    let mut tries = Tries {
        began: Instant::now(),
        most: admission.routed.provider.timeouts.total,
        all: 0,
        here: 0,
        in_doubt: 0,
    };
    let mut admitted = admission.depart(request, placed).await?;
    loop {
        let calling = inner.call(admitted);
        let answered = match (hedge.take(), admission.runner.clone()) {
            (Some(after), Some(runner)) => {
                let way = (&spare, &mut tries);
                let race = hedge::race(admission, runner, after, (calling, &mut inner), way);
                let answered;
                (admission, answered) = Box::pin(race).await;
                answered
            }
            _ => calling.await,
        };
        // Of the tries after it, each is alone.
        admission.runner = None;
        let failed = match answered {
            Ok(mut answer) => {
                drop(admission);
                // A stream may last, and the body is large.
                if let AnswerBody::Metered(body) = answer.body_mut() {
                    body.forget_body();
                }
                return Ok(answer);
            }
            Err(NoAnswer::Refused(refused)) => return Err(refused),
            Err(NoAnswer::Failed(failed)) => failed,
        };
        tries.count(&failed);
        admitted = match admission.go_on(&spare, &mut tries, failed).await {
            Ok(admitted) => *admitted,
            Err(told) => return *told,
        };
    }
}

fn head_of(request: &Request<Outgoing>) -> Request<Outgoing> {
    request_head(request).map(|()| Outgoing::Whole(Bytes::new()))
}

impl Tries {
    fn count(&mut self, failed: &Failed) {
        self.all += failed.tries;
        self.here += failed.tries;
        if !failed.is_definite() {
            self.in_doubt += 1;
        }
    }
}

impl Admission {
    /// The call has another way to go if it fails, for which things are kept.
    pub(super) fn has_a_way_on(&self, placed: &Placed) -> bool {
        let retry = &self.routed.provider.config.resilience.retry;
        let course = self.routed.course.as_ref();
        retry.max_in_doubt > 0
            || course.is_some_and(super::super::route::Course::has_others)
            || (retry.max > 0 && placed.bound.counts_attempts)
    }

    /// A call is refused rather than sent to a target that is passed over.
    pub(super) fn fails_fast(&self) -> bool {
        self.routed.provider.config.resilience.breaker.alone == Alone::Refuse
    }

    /// The targets that the call may go to, in their order: those that are fit, else all the same those
    /// that are not.
    ///
    /// # Errors
    /// None is fit, and one of them says that it is not to be tried then.
    pub(super) fn candidates(&self) -> Result<Vec<Routed>, Refused> {
        let now = clock::now();
        let again = self.again.as_ref();
        if again.is_some_and(|again| again.stays) {
            return Ok(vec![self.routed.clone()]);
        }
        let failed = again.map_or(&[][..], |again| &again.failed);
        let start = self.routed.start();
        let all = std::iter::once(start.clone()).chain(start.rest());
        let all = all.filter(|routed| !failed.contains(&place(routed)));
        let (mut fit, mut unfit) = (Vec::new(), Vec::new());
        for routed in all {
            let provider = &routed.provider;
            let health = provider.healths.of(&routed.model);
            let until = match fit.is_empty() {
                // The first is the one that is called: if it is to be looked at, by this call.
                true => match health.fitness(now, &provider.config.resilience.breaker) {
                    Fitness::Fit | Fitness::Look => None,
                    Fitness::Unfit(until) => Some(until),
                },
                false => health.closed_until(now),
            };
            match until {
                None if !provider.places.is_full() => fit.push(routed),
                until => unfit.push((routed, until)),
            }
        }
        if !fit.is_empty() {
            return Ok(fit);
        }
        let mut refusing = unfit.iter().filter_map(|(routed, until)| {
            let fails_fast = routed.provider.config.resilience.breaker.alone == Alone::Refuse;
            Some((routed, (*until)?)).filter(|_| fails_fast)
        });
        if let Some((routed, until)) = refusing.next() {
            return Err(passed_over(routed, until, now));
        }
        Ok(unfit.into_iter().map(|(routed, _)| routed).collect())
    }

    /// The call once more, admitted anew.
    ///
    /// # Errors
    /// It goes nowhere: what the caller is told.
    async fn go_on(
        &mut self,
        spare: &Request<Outgoing>,
        tries: &mut Tries,
        failed: Box<Failed>,
    ) -> Result<Box<Admitted>, Box<Told>> {
        let Some(way) = self.way(tries, &failed) else {
            let failed = Failed {
                tries: tries.all,
                ..*failed
            };
            return Err(Box::new(failed.give_up()));
        };
        let counters = self.routed.provider.counters(&self.gateway.metrics);
        let failed = match way {
            Way::Elsewhere => {
                counters.fallbacks.inc();
                let from = self.routed.name();
                self.tell_span("fallback", "from", &from);
                let reason = failed.outcome.reason();
                tracing::info!(from = &*from, reason, "a call goes on at another target");
                (tries.here, tries.in_doubt) = (0, 0);
                failed
            }
            Way::Here(pause) => {
                counters.retries.inc();
                let reason = failed.outcome.reason();
                tracing::debug!(reason, "a call is sent once more");
                let waited = wait(failed, pause).await;
                waited.map_err(|no_answer| Box::new(no_answer.told()))?
            }
        };
        self.begin_again(matches!(way, Way::Here(_)));
        let is_definite = failed.is_definite();
        let Failed {
            mut record,
            outcome,
            mut told,
            ..
        } = *failed;
        record.goes_on();
        if is_definite {
            if let Some(again) = &self.again {
                *again.leaving.lock() = Some(record);
            }
        } else {
            let charged = record.end(outcome);
            if let Ok(answer) = &mut told {
                charged.stamp(answer.headers_mut());
            }
        }
        let placed = match self.place(spare).await {
            Ok(placed) => placed,
            Err(not_yet) => return Err(Box::new(self.cannot_go_on(told, not_yet))),
        };
        match self.depart(head_of(spare), placed).await {
            Ok(admitted) => Ok(Box::new(admitted)),
            Err(refused) => Err(Box::new(Err(refused))),
        }
    }

    /// Where the call goes after this failure; `None`: nowhere.
    fn way(&self, tries: &Tries, failed: &Failed) -> Option<Way> {
        if tries.all >= TRIES_MAX || tries.began.elapsed() >= tries.most {
            return None;
        }
        let retry = &self.routed.provider.config.resilience.retry;
        let may_here = match failed.is_definite() {
            // Else they were tried inside the hold already.
            true => failed.record.counts_attempts() && tries.here <= retry.max,
            false => tries.in_doubt <= retry.max_in_doubt,
        };
        if may_here
            && failed.cure.here
            && let Some(pause) = pause(retry, tries.here, failed.cure.after)
            && failed.record.has_time_for(pause)
        {
            return Some(Way::Here(pause));
        }
        let may_elsewhere = failed.is_definite() || retry.fall_back_in_doubt;
        let goes = may_elsewhere
            && failed.cure.elsewhere
            && failed.record.has_time_for(Duration::ZERO)
            && self.has_another();
        goes.then_some(Way::Elsewhere)
    }

    /// Some target of the route has not failed the call yet.
    fn has_another(&self) -> bool {
        let failed = self.again.as_ref().map_or(&[][..], |again| &again.failed);
        let start = self.routed.start();
        let mut all = std::iter::once(start.clone()).chain(start.rest());
        let here = place(&self.routed);
        self.routed.course.is_some()
            && all.any(|routed| place(&routed) != here && !failed.contains(&place(&routed)))
    }

    /// Another target of the route has failed the call.
    fn fails_at(&mut self, place: usize) {
        self.again.get_or_insert_default().failed.push(place);
    }

    /// The provider's prompt cache has the conversation now.
    pub(super) fn is_warm_now(&self) {
        if self.live.routes.minds_caches() {
            let warm = &self.gateway.warm;
            warm.left(&self.attribution, &self.call, &self.routed);
        }
    }

    fn begin_again(&mut self, stays: bool) {
        let here = place(&self.routed);
        let again = self.again.get_or_insert_default();
        again.stays = stays;
        if !stays {
            again.failed.push(here);
        }
        self.now = clock::now();
        // The gateway's own overhead does not count what was waited for.
        self.arrived = std::time::Instant::now();
    }

    /// There was a way on, and something stands in it: the caller is told of the failure that led
    /// there, unless its task was stopped meanwhile.
    fn cannot_go_on(&self, mut told: Told, not_yet: NotYet) -> Told {
        // What nobody took the stead of ends as void.
        drop(self.again.as_deref().and_then(Again::leaving));
        if !self.attribution.is_unattributed()
            && let Some(task) = (self.gateway.tasks).known(&self.attribution.task_key(), self.now)
        {
            let agent = self.attribution.agent.as_ref();
            task.ended(agent.map(|agent| agent.value.as_str()), false);
        }
        if let NotYet::Refused(refused) = not_yet
            && matches!(
                refused.refusal.code(),
                Code::TaskSuspended | Code::TaskClosed | Code::Draining
            )
        {
            return Err(refused);
        }
        tell_not_to_retry(&mut told);
        told
    }
}

fn place(routed: &Routed) -> usize {
    routed.course.as_ref().map_or(0, |course| course.at())
}

fn passed_over(routed: &Routed, until: UnixMs, now: UnixMs) -> Refused {
    let seconds = until.0.saturating_sub(now.0).max(0).unsigned_abs();
    let seconds = u32::try_from(seconds.div_ceil(1_000)).unwrap_or(u32::MAX);
    let message = format!(
        "Provider `{}` fails, and `{}` is not called there for another {seconds} s.",
        routed.provider.name, routed.model
    );
    Refusal::provider_unavailable(&message, seconds).into()
}
