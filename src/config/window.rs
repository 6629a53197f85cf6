//! Calendar windows: when the one that holds an instant opened, in the limit's timezone.
//!
//! **Invariant:** as seen through a [`Clock`], windows only move forward. A wall clock that steps
//! back does not reopen a window that was left, for its money may be spent again in the next.

use crate::units::UnixMs;
use arc_swap::ArcSwap;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ToSpan, Zoned};
use std::sync::Arc;

/// How long a window is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Every {
    /// From `:00` seconds.
    Minute,
    /// From `:00:00`.
    Hour,
    /// From the first instant of the day, which is not midnight where the clocks skip it.
    Day,
    /// From Monday.
    Week,
    /// From the first of the month.
    Month,
}

impl Every {
    /// Every length, in order.
    pub const ALL: [Self; 5] = [Self::Minute, Self::Hour, Self::Day, Self::Week, Self::Month];

    /// The name in configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }
}

/// `window = { every, timezone }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// How long.
    pub every: Every,
    /// The zone's name, as written.
    pub timezone: Arc<str>,
    zone: TimeZone,
}

/// One window: from `opens` up to and without `closes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Its first millisecond.
    pub opens: UnixMs,
    /// The first millisecond after it.
    pub closes: UnixMs,
}

impl Opening {
    const fn holds(self, at: UnixMs) -> bool {
        self.opens.0 <= at.0 && at.0 < self.closes.0
    }
}

impl Window {
    /// A window in a timezone of the IANA database.
    ///
    /// # Errors
    /// If there is no such zone.
    pub fn new(every: Every, timezone: &str) -> Result<Self, jiff::Error> {
        let zone = match timezone {
            "UTC" => TimeZone::UTC,
            name => TimeZone::get(name)?,
        };
        Ok(Self {
            every,
            timezone: timezone.into(),
            zone,
        })
    }

    /// The window that holds `at`. Instants beyond the calendar (years -9999 to 9999) are in a
    /// window of their own millisecond.
    #[must_use]
    pub fn opening(&self, at: UnixMs) -> Opening {
        self.calendar(at)
            .filter(|o| o.holds(at))
            .unwrap_or(Opening {
                opens: at,
                closes: UnixMs(at.0.saturating_add(1)),
            })
    }

    fn calendar(&self, at: UnixMs) -> Option<Opening> {
        let instant = Timestamp::from_millisecond(at.0).ok()?;
        let local = instant.to_zoned(self.zone.clone());
        match self.every {
            Every::Minute => Some(clockwise(at, &local, 60_000)),
            Every::Hour => Some(clockwise(at, &local, 3_600_000)),
            Every::Day => self.between(local.date(), 1.day()),
            Every::Week => {
                let since = i64::from(local.weekday().to_monday_zero_offset());
                let monday = local.date().checked_sub(since.days()).ok()?;
                self.between(monday, 1.week())
            }
            Every::Month => self.between(local.date().first_of_month(), 1.month()),
        }
    }

    fn between(&self, first: Date, length: Span) -> Option<Opening> {
        let last = first.checked_add(length).ok()?;
        let start = |date: Date| {
            let midnight = date.to_zoned(self.zone.clone()).ok()?;
            let start = midnight.start_of_day().ok()?;
            Some(UnixMs(start.timestamp().as_millisecond()))
        };
        Some(Opening {
            opens: start(first)?,
            closes: start(last)?,
        })
    }
}

/// Windows shorter than a day are counted on the zone's clock face, `length` in milliseconds.
fn clockwise(at: UnixMs, local: &Zoned, length: i64) -> Opening {
    let offset = i64::from(local.offset().seconds()) * 1000;
    let opens = at.0 - (at.0 + offset).rem_euclid(length);
    Opening {
        opens: UnixMs(opens),
        closes: UnixMs(opens + length),
    }
}

/// The current window of one rule. The hot path reads it without any calendar arithmetic.
#[derive(Debug)]
pub(super) struct Clock {
    pub window: Window,
    current: ArcSwap<Opening>,
}

impl Clock {
    pub fn new(window: Window) -> Self {
        Self {
            window,
            current: ArcSwap::from_pointee(Opening {
                opens: UnixMs(i64::MIN),
                closes: UnixMs(i64::MIN),
            }),
        }
    }

    /// When the window of now opened: the one that holds `now`, or the last one given if `now` lies before it.
    pub fn opened(&self, now: UnixMs) -> UnixMs {
        let current = **self.current.load();
        if now < current.closes {
            return current.opens;
        }
        let next = self.window.opening(now);
        // Two calls may get here at once; whichever window is later stays.
        self.current.rcu(|held| match held.opens < next.opens {
            true => Arc::new(next),
            false => Arc::clone(held),
        });
        self.current.load().opens
    }

    /// When the window that was given last ends.
    pub fn closes(&self) -> UnixMs {
        self.current.load().closes
    }

    /// The last window given, if any was.
    pub fn reached(&self) -> Option<UnixMs> {
        let opens = self.current.load().opens;
        (opens.0 != i64::MIN).then_some(opens)
    }
}
