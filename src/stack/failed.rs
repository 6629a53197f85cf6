//! A try that came to no answer: what the caller is told if nobody tries again, how its hold ends, and
//! what may help.
//!
//! Only tries of which nothing has been passed on: from the first byte on there is no second try. The
//! table of endings says which of them are void, so that a further one stays inside the hold, and which
//! may be billed.

use super::Refused;
use super::body::AnswerBody;
use super::record::{Outcome, Record};
use crate::dialect::refusal::X_SHOULD_RETRY;
use crate::units::UnixMs;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use memchr::memmem;
use std::time::Duration;

/// How far into an error answer its kind is looked for, bytes.
const LOOK_BYTES_MAX: usize = 16 * 1024;
/// The longest time that a provider's word is believed: a day.
pub const PAUSE_MAX: Duration = Duration::from_secs(86_400);

/// Why there is no answer.
pub enum NoAnswer {
    /// A refusal of ours: nothing is tried after it.
    Refused(Refused),
    /// A failure of the provider's.
    Failed(Box<Failed>),
}

impl From<Refused> for NoAnswer {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl NoAnswer {
    /// What the caller is told when nobody tries again.
    ///
    /// # Errors
    /// It is a refusal.
    pub fn told(self) -> Result<Response<AnswerBody>, Refused> {
        match self {
            Self::Refused(refused) => Err(refused),
            Self::Failed(failed) => failed.give_up(),
        }
    }
}

/// What is told.
pub type Told = Result<Response<AnswerBody>, Refused>;

/// The failure.
pub struct Failed {
    /// The call, its hold still open.
    pub record: Box<Record>,
    /// How that ends if nothing comes of the call.
    pub outcome: Outcome,
    /// What the caller is told then.
    pub told: Told,
    /// What may help.
    pub cure: Cure,
    /// Tries so far, this one included.
    pub tries: u64,
}

/// What may help after a failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cure {
    /// The same call to the same target, later.
    pub here: bool,
    /// Another target.
    pub elsewhere: bool,
    /// The provider named the pause.
    pub after: Option<Duration>,
}

impl Cure {
    /// Whatever it was, it may be over, and another target has nothing to do with it.
    pub const ANY: Self = Self {
        here: true,
        elsewhere: true,
        after: None,
    };

    /// What an error answer lets hope for.
    #[must_use]
    pub fn of(status: StatusCode, headers: &HeaderMap, body: &[u8], now: UnixMs) -> Self {
        let after = asked_pause(headers, now);
        let (here, elsewhere) = match status.as_u16() {
            // Spent is spent, however long one waits.
            429 if is_spent(body) => (false, true),
            408 | 409 | 425 | 429 | 499.. => (true, true),
            // The target's key, its account, its models: another may have what this one lacks.
            401..=404 => (false, true),
            _ => (false, false),
        };
        let said = headers.get(&X_SHOULD_RETRY).map(HeaderValue::as_bytes);
        let here = match said {
            Some(b"true") => true,
            Some(b"false") => false,
            _ => here,
        };
        Self {
            here,
            elsewhere,
            after,
        }
    }
}

impl Failed {
    /// A try that came to nothing for certain, or perhaps not.
    pub fn new(mut record: Box<Record>, outcome: Outcome, told: Told, cure: Cure) -> Box<Self> {
        if let Outcome::Void(reason) = outcome {
            record.came_to_nothing(reason);
        }
        Box::new(Self {
            record,
            outcome,
            told,
            cure,
            tries: 1,
        })
    }

    /// It is not billed, for certain: the hold is whole.
    #[must_use]
    pub const fn is_definite(&self) -> bool {
        matches!(self.outcome, Outcome::Void(_))
    }

    /// Nobody tries again.
    ///
    /// # Errors
    /// What the caller is told is a refusal.
    pub fn give_up(self) -> Told {
        let Self {
            record,
            outcome,
            mut told,
            tries,
            ..
        } = self;
        let charged = record.end(outcome);
        if let Ok(answer) = &mut told {
            charged.stamp(answer.headers_mut());
        }
        if tries > 1 {
            tell_not_to_retry(&mut told);
        }
        told
    }
}

/// The gateway has tried again already: SDKs that honour it do not multiply that.
pub fn tell_not_to_retry(told: &mut Told) {
    let headers = match told {
        Ok(answer) => answer.headers_mut(),
        Err(refused) => &mut refused.headers,
    };
    headers.insert(&X_SHOULD_RETRY, HeaderValue::from_static("false"));
}

/// A quota that is used up comes as a 429 too.
fn is_spent(body: &[u8]) -> bool {
    let looked_at = &body[..body.len().min(LOOK_BYTES_MAX)];
    memmem::find(looked_at, b"insufficient_quota").is_some()
        || memmem::find(looked_at, b"billing_").is_some()
}

/// What a provider asks its callers to wait: `retry-after-ms`, or `Retry-After` in seconds or as a date.
#[must_use]
pub fn asked_pause(headers: &HeaderMap, now: UnixMs) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let seconds = |number: f64| {
        let known = number.is_finite() && number >= 0.0;
        known.then(|| Duration::from_secs_f64(number.min(PAUSE_MAX.as_secs_f64())))
    };
    if let Some(ms) = text("retry-after-ms").and_then(|text| text.parse::<f64>().ok()) {
        return seconds(ms / 1_000.0);
    }
    let after = text(header::RETRY_AFTER.as_str())?;
    if let Ok(number) = after.parse::<f64>() {
        return seconds(number);
    }
    let at = jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(after)
        .ok()?;
    let ms = at.as_millisecond().saturating_sub(now.0).max(0);
    Some(Duration::from_millis(ms.unsigned_abs()).min(PAUSE_MAX))
}

#[cfg(test)]
mod tests;
