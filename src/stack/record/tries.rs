//! What a record knows of tries: its place at the provider, what came to nothing, how the target fares.

use super::{Outcome, Record};
use crate::clock;
use crate::dialect::refusal::Refusal;
use crate::gateway::places::Full;
use crate::ledger::End;
use crate::purse::Leaving;
use crate::stack::Refused;
use crate::store::Ending;
use crate::units::{Amounts, Meter, NanoUsd, UnixMs};
use http::StatusCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a client is told to wait when a provider has as many calls as it may, seconds.
const SHED_S: u32 = 2;

impl Record {
    /// A place among the calls that the provider is given at once.
    ///
    /// # Errors
    /// None is to be had. Nothing was sent.
    pub async fn take_place(&mut self) -> Result<(), Refused> {
        let places = &self.provider.places;
        let taken = match places.try_take() {
            Ok(place) => Ok(place),
            Err(_) => {
                let flight = Arc::clone(self.flight());
                tokio::select! {
                    taken = places.take() => taken,
                    stop = flight.stop() => return Err(self.stop_refusal(stop)),
                }
            }
        };
        match taken {
            Ok(place) => {
                self.place = Some(place);
                Ok(())
            }
            Err(full) => {
                self.progress.nothing = "shed";
                Err(self.shed(full))
            }
        }
    }

    fn shed(&self, Full { most }: Full) -> Refused {
        let counters = self.provider.counters(&self.gateway.metrics);
        counters.shed.inc();
        let message = format!(
            "Provider `{}` has {most} calls in flight, as many as it is given at once.",
            self.provider.name
        );
        Refusal::provider_unavailable(&message, SHED_S).into()
    }

    /// The try came to nothing, for certain. Until it is sent again, nothing is out, and no place is
    /// needed.
    pub fn came_to_nothing(&mut self, reason: &'static str) {
        self.progress.nothing = reason;
        if std::mem::take(&mut self.progress.is_out) && self.progress.status.is_some() {
            self.progress.refused += 1;
        }
        self.place = None;
        if let Some(span) = &self.facts.span {
            span.tried(Some(reason));
        }
    }

    /// Definite refusals so far.
    pub(super) fn attempts(&self) -> u64 {
        let this = self.progress.is_out && self.progress.status.is_some();
        self.progress.refused + u64::from(this)
    }

    /// Another record goes on with the call, so that its task does not hear of this one.
    pub fn goes_on(&mut self) {
        self.progress.goes_on = true;
    }

    /// A pause of this length ends within the call's time.
    #[must_use]
    pub fn has_time_for(&self, pause: Duration) -> bool {
        self.ends_by()
            .is_none_or(|end| Instant::now() + pause < end)
    }

    /// Each attempt is admitted by itself.
    #[must_use]
    pub fn counts_attempts(&self) -> bool {
        self.facts.counts_attempts
    }

    /// The target hears how the try ended, and so do the metrics.
    pub fn tell_health(&mut self, outcome: &Outcome) {
        let was_sent = self.progress.sent.is_some() && self.hold.is_some();
        if !was_sent || std::mem::replace(&mut self.progress.told, true) {
            return;
        }
        let counters = self.provider.counters(&self.gateway.metrics);
        let fails = match outcome {
            Outcome::Settle { .. } | Outcome::Bounded { .. } => {
                counters.answered.inc();
                Some(false)
            }
            Outcome::Void("unreachable") => {
                counters.unreachable.inc();
                Some(true)
            }
            Outcome::Void("provider_refused") => {
                counters.refused.inc();
                self.progress.status.and_then(|status| self.is_ill(status))
            }
            Outcome::Void(_) => None,
            Outcome::Doubt(reason) => {
                counters.in_doubt.inc();
                let its_own = !["client_gone", "hedged", "abandoned", "too_long"].contains(reason);
                its_own.then_some(true)
            }
        };
        let rules = &self.provider.config.resilience.breaker;
        match fails {
            None => self.health.unheard(clock::now()),
            Some(false) => self.health.well(clock::now(), rules),
            Some(true) => {
                if self.health.failed(clock::now(), rules) {
                    counters.opened.inc();
                    let (provider, model) = (&self.provider.name, &*self.facts.model);
                    tracing::warn!(%provider, model, "a target fails, and calls pass it over");
                }
            }
        }
    }

    /// Whether a definite refusal says that the target is ill; `None` if it says nothing of that, for it
    /// may be the call.
    fn is_ill(&self, status: StatusCode) -> Option<bool> {
        match status.as_u16() {
            401 | 402 if !self.provider.config.forward_credentials => Some(true),
            500.. => Some(true),
            _ => None,
        }
    }

    /// The provider asks to be left alone for so long.
    pub fn quiet(&self, pause: Duration) {
        let pause = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
        self.health.quiet(clock::now(), pause);
    }

    /// When the target may be called again; `None` if it may now.
    #[must_use]
    pub fn closed_until(&self) -> Option<UnixMs> {
        self.health.closed_until(clock::now())
    }

    /// Ends as void at the moment in which another hold begins. `None` if it has ended.
    pub fn leave(mut self: Box<Self>) -> Option<Leaving> {
        let reason = self.progress.nothing;
        self.goes_on();
        self.tell_health(&Outcome::Void(reason));
        let hold = self.hold.take()?;
        let charged = Amounts::ZERO.with(Meter::Attempts, self.attempts());
        let (quoted, told) = (hold.terms.quoted, hold.terms.told);
        let accounts = Arc::clone(&hold.accounts);
        let amounts = (quoted, charged, told);
        let overrun = NanoUsd::ZERO;
        let telling = self.tell_span(Ending::Void, Some(reason), &charged, None, overrun);
        let entry = self.entry(Ending::Void, Some(reason), amounts, None, accounts, overrun);
        let attempts = self.attempts();
        // The call leaves the list of those in flight with the record: once its end is posted.
        let then = Box::new(move |end: &End| {
            self.logs(|| self.closing().close(end, telling));
        });
        Some(Leaving::new(hold, attempts, Box::new(entry), then))
    }
}
