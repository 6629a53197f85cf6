//! Requests and tokens per minute of an identity: throughput, never budget.
//!
//! Needs the identity and, for tokens, the call. Adds nothing. It refuses with the one code that a
//! client should wait for.

use super::Refused;
use super::gate::Gate;
use crate::config::Identity;
use crate::dialect::Call;
use crate::dialect::refusal::Refusal;
use crate::units::IdentityName;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use http::Request;
use parking_lot::RwLock;
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a body that are taken for one token when tokens per minute are counted: throughput
/// needs no bound, only an estimate.
const BYTES_PER_TOKEN: usize = 4;

struct Rate {
    per_minute: u64,
    limiter: DefaultDirectRateLimiter,
}

impl Rate {
    fn new(per_minute: u64) -> Option<Self> {
        let cells = u32::try_from(per_minute).unwrap_or(u32::MAX);
        let quota = Quota::per_minute(NonZeroU32::new(cells)?);
        Some(Self {
            per_minute,
            limiter: RateLimiter::direct(quota),
        })
    }

    /// Takes `cells`, or says how long to wait. More than a whole minute's worth counts as that.
    fn take(&self, cells: u32) -> Result<(), Duration> {
        let most = u32::try_from(self.per_minute).unwrap_or(u32::MAX);
        let cells = cells.clamp(1, most);
        let Some(cells) = NonZeroU32::new(cells) else {
            return Ok(());
        };
        match self.limiter.check_n(cells) {
            Ok(Err(not_until)) => Err(not_until.wait_time_from(DefaultClock::default().now())),
            _ => Ok(()),
        }
    }
}

#[derive(Default)]
struct Rates {
    requests: Option<Rate>,
    tokens: Option<Rate>,
}

/// The rates of all identities; as many as there are configured.
#[derive(Clone, Default)]
pub struct Throttle(Arc<RwLock<HashMap<IdentityName, Arc<Rates>>>>);

impl Throttle {
    fn rates(&self, identity: &Identity) -> Arc<Rates> {
        let wanted = (identity.requests_per_minute, identity.tokens_per_minute);
        let fits = |rates: &Rates| {
            let of = |rate: &Option<Rate>| rate.as_ref().map(|rate| rate.per_minute);
            (of(&rates.requests), of(&rates.tokens)) == wanted
        };
        if let Some(rates) = self.0.read().get(&identity.name)
            && fits(rates)
        {
            return Arc::clone(rates);
        }
        let rates = Arc::new(Rates {
            requests: wanted.0.and_then(Rate::new),
            tokens: wanted.1.and_then(Rate::new),
        });
        self.0
            .write()
            .insert(identity.name.clone(), Arc::clone(&rates));
        rates
    }

    fn check(&self, identity: &Identity, call: Option<&Call>) -> Result<(), Refused> {
        if identity.requests_per_minute.is_none() && identity.tokens_per_minute.is_none() {
            return Ok(());
        }
        let rates = self.rates(identity);
        if let Some(requests) = &rates.requests {
            requests
                .take(1)
                .map_err(|wait| refuse(identity, "requests", requests, wait))?;
        }
        if let (Some(tokens), Some(call)) = (&rates.tokens, call) {
            let estimate = u32::try_from(call.body.len() / BYTES_PER_TOKEN).unwrap_or(u32::MAX);
            tokens
                .take(estimate)
                .map_err(|wait| refuse(identity, "tokens", tokens, wait))?;
        }
        Ok(())
    }
}

fn refuse(identity: &Identity, what: &str, rate: &Rate, wait: Duration) -> Refused {
    let seconds = wait.as_secs_f64().ceil().max(1.0);
    #[expect(clippy::cast_possible_truncation, reason = "between 1 and 60")]
    let seconds = seconds.min(60.0) as u32;
    let message = format!(
        "Identity `{}` may send {} {what} a minute; come again in {seconds} s.",
        identity.name, rate.per_minute
    );
    Refusal::rate_limited(&message, seconds).into()
}

impl<B> Gate<B> for Throttle {
    fn pass(&self, request: &mut Request<B>) -> Result<(), Refused> {
        let extensions = request.extensions();
        match extensions.get::<Arc<Identity>>() {
            Some(identity) => {
                self.check(identity, extensions.get::<Arc<Call>>().map(|call| &**call))
            }
            None => Err(Refused::internal("throttle stands behind authenticate")),
        }
    }
}
