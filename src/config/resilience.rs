//! What of a `[[provider]]` says how its failures are met: tries, the breaker, calls at once.

use super::read::Section;
use super::value;
use std::time::Duration;
use toml::de::DeValue;

/// Most further tries that can be configured.
const TRIES_MAX: u64 = 10;
/// Most calls at once, and most that wait for a place, that can be configured.
const CALLS_MAX: u32 = 1_000_000;

/// How the failures of one provider are met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resilience {
    /// `[provider.retry]`
    pub retry: Retry,
    /// `[provider.breaker]`
    pub breaker: Breaker,
    /// Calls in flight to it at once; none: no bound.
    pub max_concurrent: Option<usize>,
    /// Calls that wait for one of these places; what comes beyond is shed.
    pub max_queued: usize,
    /// How long such a call waits before it is shed.
    pub queue_wait: Duration,
    /// Connections kept open without a call.
    pub max_idle_connections: usize,
}

/// `[provider.retry]`: further tries of one call on the same target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// After a failure that is not billed: they stay inside the hold.
    pub max: u64,
    /// After a failure that may be billed: each has a hold of its own.
    pub max_in_doubt: u64,
    /// The first pause; the next ones double, and each is drawn between its half and its whole.
    pub backoff: Duration,
    /// The longest pause. A provider that asks for a longer one is not tried again.
    pub max_wait: Duration,
    /// After a failure that may be billed the next target of the route is tried.
    pub fall_back_in_doubt: bool,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            // SDKs try again themselves: what is tried at two places is tried their product of times.
            max: 0,
            max_in_doubt: 0,
            backoff: Duration::from_millis(250),
            max_wait: Duration::from_secs(10),
            fall_back_in_doubt: true,
        }
    }
}

/// What becomes of a call whose every target the breakers hold back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alone {
    /// It is sent all the same: a target that may fail is better than none.
    Try,
    /// It is refused at once.
    Refuse,
}

/// `[provider.breaker]`: when a target is passed over, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// Failures in a row that open it.
    pub failures: u32,
    /// Or this share of the window's calls, in percent,
    pub failure_percent: u32,
    /// of at least so many.
    pub min_calls: u32,
    /// The window.
    pub window: Duration,
    /// How long it stays open at first; each time that the next look fails, twice as long,
    pub open_for: Duration,
    /// but no longer than this.
    pub max_open: Duration,
    /// With no other target left.
    pub alone: Alone,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            failures: 5,
            failure_percent: 50,
            min_calls: 20,
            window: Duration::from_secs(30),
            open_for: Duration::from_secs(5),
            max_open: Duration::from_secs(300),
            alone: Alone::Try,
        }
    }
}

fn number(least: u64, most: u32) -> impl Fn(&DeValue<'_>) -> Result<u32, String> {
    move |value| {
        let number = value::count_in(least, most.into())(value)?;
        u32::try_from(number).map_err(|error| error.to_string())
    }
}

/// Reads the part of a provider.
pub(super) fn read(provider: &Section<'_>) -> Resilience {
    let places = value::size_in(1, CALLS_MAX);
    let max_concurrent = provider.get("max_concurrent", places);
    let max_queued = provider.get("max_queued", value::size_in(0, CALLS_MAX));
    let queue_wait = provider.get("queue_wait", value::positive_span);
    if max_concurrent.is_none() {
        for (key, is_there) in [
            ("max_queued", max_queued.is_some()),
            ("queue_wait", queue_wait.is_some()),
        ] {
            if is_there {
                provider.fault_of(key, "nothing waits for a place without `max_concurrent`");
            }
        }
    }
    Resilience {
        retry: retry(provider),
        breaker: breaker(provider),
        max_concurrent,
        max_queued: max_queued.unwrap_or(0),
        queue_wait: queue_wait.unwrap_or(Duration::from_secs(5)),
        max_idle_connections: provider.or("max_idle_connections", 1024, places),
    }
}

fn retry(provider: &Section<'_>) -> Retry {
    let usual = Retry::default();
    let Some(section) = provider.section("retry") else {
        return usual;
    };
    let tries = value::count_in(0, TRIES_MAX);
    let read = Retry {
        max: section.or("max", usual.max, tries),
        max_in_doubt: section.or("max_in_doubt", usual.max_in_doubt, tries),
        backoff: section.or("backoff", usual.backoff, value::positive_span),
        max_wait: section.or("max_wait", usual.max_wait, value::positive_span),
        fall_back_in_doubt: section.or("fall_back_in_doubt", usual.fall_back_in_doubt, value::flag),
    };
    if read.backoff > read.max_wait {
        section.fault_of("backoff", "this is longer than `max_wait`");
    }
    section.close();
    read
}

fn breaker(provider: &Section<'_>) -> Breaker {
    let usual = Breaker::default();
    let Some(section) = provider.section("breaker") else {
        return usual;
    };
    let read = Breaker {
        failures: section.or("failures", usual.failures, number(1, 10_000)),
        failure_percent: section.or("failure_percent", usual.failure_percent, number(1, 100)),
        min_calls: section.or("min_calls", usual.min_calls, number(1, 100_000)),
        window: section.or("window", usual.window, value::positive_span),
        open_for: section.or("open_for", usual.open_for, value::positive_span),
        max_open: section.or("max_open", usual.max_open, value::positive_span),
        alone: section.or(
            "alone",
            usual.alone,
            value::word(&[("try", Alone::Try), ("refuse", Alone::Refuse)]),
        ),
    };
    if read.open_for > read.max_open {
        section.fault_of("open_for", "this is longer than `max_open`");
    }
    section.close();
    read
}
