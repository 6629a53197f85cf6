//! The same call once more to the same target, inside the same hold: after a failure that is not billed
//! for certain, before the first byte, after a pause, within the call's time.
//!
//! Needs the record and the request that leaves. Where a provider is not to be tried again, nothing is
//! kept and nothing is copied.

use super::failed::{Failed, NoAnswer};
use super::record::Record;
use super::trace;
use super::upstream::Outgoing;
use crate::config::Retry;
use bytes::Bytes;
use http::Request;
use http::request::Parts;
use std::sync::Arc;
use std::time::Duration;

/// Most doublings of the first pause.
const DOUBLINGS_MAX: u32 = 16;

/// What is kept to send a call once more.
pub struct Again {
    head: Parts,
    body: Bytes,
    /// Tries so far.
    tries: u64,
}

impl Again {
    /// Kept only where the provider may be tried again inside a hold.
    #[must_use]
    pub fn of(record: &Record, request: &Request<Outgoing>) -> Option<Box<Self>> {
        if record.provider.config.resilience.retry.max == 0 || record.counts_attempts() {
            return None;
        }
        let Outgoing::Whole(body) = request.body() else {
            return None;
        };
        let (head, ()) = request_head(request).into_parts();
        Some(Box::new(Self {
            head,
            body: body.clone(),
            tries: 1,
        }))
    }

    /// The request and the record for the next try, after its pause.
    ///
    /// # Errors
    /// There is none: the failure, or the refusal of a call that was stopped meanwhile.
    pub async fn next(
        &mut self,
        mut failed: Box<Failed>,
    ) -> Result<(Request<Outgoing>, Box<Record>), NoAnswer> {
        failed.tries = self.tries;
        let rules = failed.record.provider.config.resilience.retry.clone();
        let may = failed.is_definite() && failed.cure.here && self.tries <= rules.max;
        let pause = may.then(|| pause(&rules, self.tries, failed.cure.after));
        let Some(pause) = pause.flatten() else {
            return Err(NoAnswer::Failed(failed));
        };
        if !failed.record.has_time_for(pause) {
            return Err(NoAnswer::Failed(failed));
        }
        let failed = wait(failed, pause).await?;
        let Failed {
            mut record,
            outcome,
            told,
            cure,
            tries,
        } = *failed;
        record.tell_health(&outcome);
        if record.take_place().await.is_err() {
            return Err(NoAnswer::Failed(Box::new(Failed {
                record,
                outcome,
                told,
                cure,
                tries,
            })));
        }
        let counters = record.provider.counters(&record.gateway().metrics);
        counters.retries.inc();
        self.tries += 1;
        record.renew_trace(&mut self.head.headers);
        let body = Outgoing::Whole(self.body.clone());
        Ok((Request::from_parts(self.head.clone(), body), record))
    }
}

/// A copy of the head alone.
pub fn request_head<B>(request: &Request<B>) -> Request<()> {
    let mut head = Request::new(());
    *head.method_mut() = request.method().clone();
    *head.uri_mut() = request.uri().clone();
    *head.version_mut() = request.version();
    *head.headers_mut() = request.headers().clone();
    *head.extensions_mut() = request.extensions().clone();
    head
}

/// Waits before a call is sent once more; nothing is out meanwhile.
///
/// # Errors
/// The call was stopped.
pub async fn wait(failed: Box<Failed>, pause: Duration) -> Result<Box<Failed>, NoAnswer> {
    let flight = Arc::clone(failed.record.flight());
    tokio::select! {
        () = tokio::time::sleep(pause) => Ok(failed),
        stop = flight.stop() => {
            let refused = failed.record.stop_refusal(stop);
            let Failed { record, outcome, .. } = *failed;
            record.end(outcome);
            Err(NoAnswer::Refused(refused))
        }
    }
}

/// The pause before the try after `tries`; `None` if the provider asks for a longer one than is waited.
#[must_use]
pub fn pause(rules: &Retry, tries: u64, asked: Option<Duration>) -> Option<Duration> {
    let doublings = u32::try_from(tries.saturating_sub(1)).unwrap_or(u32::MAX);
    let whole = rules
        .backoff
        .saturating_mul(1 << doublings.min(DOUBLINGS_MAX))
        .min(rules.max_wait);
    let half = whole / 2;
    let jitter = drawn(half);
    match asked {
        None => Some(half + jitter),
        Some(asked) if asked > rules.max_wait => None,
        // All who were told the same moment do not come back in the same moment.
        Some(asked) => Some((asked + drawn(rules.backoff)).max(half + jitter)),
    }
}

/// About this pause: all who wait do not come back in the same moment.
#[must_use]
pub fn jittered(pause: Duration) -> Duration {
    pause / 2 + drawn(pause)
}

/// Anything up to `most`.
fn drawn(most: Duration) -> Duration {
    let most = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
    let random = trace::random() & u128::from(u64::MAX);
    let nanos = (random * u128::from(most)) >> 64;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(most))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    proptest! {
        #[test]
        fn pauses_grow_to_a_bound(tries in 1_u64..1_000) {
            let rules = Retry { backoff: MS(100), max_wait: MS(5_000), ..Retry::default() };
            let pause = pause(&rules, tries, None).unwrap();
            let whole = MS(100 << (tries - 1).min(10)).min(MS(5_000));
            prop_assert!(pause >= whole / 2 && pause <= whole);
        }

        #[test]
        fn what_the_provider_asks_for_is_kept_to(asked in 0_u64..20_000) {
            let rules = Retry { backoff: MS(100), max_wait: MS(5_000), ..Retry::default() };
            match pause(&rules, 1, Some(MS(asked))) {
                None => prop_assert!(asked > 5_000),
                Some(pause) => prop_assert!(pause >= MS(asked) && pause <= MS(asked + 100)),
            }
        }
    }
}
