//! Quantities and ids. Money is an integer number of nano-dollars; every id is a cheap-to-clone
//! newtype, so that a task can never be passed where an agent is meant.

use std::fmt;
use std::ops::{Index, IndexMut};
use std::str::FromStr;
use std::sync::Arc;

/// Nano-dollars: 1e-9 USD. `u64` holds about 18 billion dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NanoUsd(pub u64);

/// Why a text is no amount of money.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not digits with at most one point.
    #[error("`{0}` is not an amount in dollars such as \"2.00\"")]
    Malformed(String),
    /// More than nine decimals: less than a nano-dollar.
    #[error("`{0}` has more than nine decimals; the least amount is a nano-dollar")]
    TooFine(String),
    /// More than `u64::MAX` nano-dollars.
    #[error("`{0}` is more than 18 billion dollars")]
    TooLarge(String),
}

impl NanoUsd {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// Nano-dollars in a dollar.
    pub const PER_USD: u64 = 1_000_000_000;

    /// Whole dollars; saturates.
    #[must_use]
    pub const fn from_usd(usd: u64) -> Self {
        Self(usd.saturating_mul(Self::PER_USD))
    }
}

impl FromStr for NanoUsd {
    type Err = MoneyError;

    /// Parses `"2"`, `"2.00"`, `"0.000000001"`. No sign, no exponent, no separators.
    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let malformed = || MoneyError::Malformed(text.to_owned());
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(fraction) {
            return Err(malformed());
        }
        let fraction = match fraction.get(9..) {
            Some(rest) if rest.bytes().any(|b| b != b'0') => {
                return Err(MoneyError::TooFine(text.to_owned()));
            }
            Some(_) => &fraction[..9],
            None => fraction,
        };
        let too_large = || MoneyError::TooLarge(text.to_owned());
        let whole: u64 = whole.parse().map_err(|_| too_large())?;
        let mut nano: u64 = fraction.parse().map_err(|_| malformed())?;
        for _ in fraction.len()..9 {
            nano *= 10;
        }
        whole
            .checked_mul(Self::PER_USD)
            .and_then(|whole| whole.checked_add(nano))
            .map(Self)
            .ok_or_else(too_large)
    }
}

impl NanoUsd {
    /// The longest amount as text, in bytes: eleven digits before the point and nine behind it.
    pub const TEXT_BYTES: usize = 21;

    /// The text of [`Display`](fmt::Display), in ASCII, written to the end of `room`: answers' heads need
    /// it for every call.
    pub fn text(self, room: &mut [u8; Self::TEXT_BYTES]) -> &[u8] {
        let (mut whole, mut fraction) = (self.0 / Self::PER_USD, self.0 % Self::PER_USD);
        let mut digits = 9;
        while digits > 2 && fraction.is_multiple_of(10) {
            fraction /= 10;
            digits -= 1;
        }
        let mut at = Self::TEXT_BYTES;
        let mut put = |byte| {
            at -= 1;
            room[at] = byte;
        };
        for _ in 0..digits {
            put(b'0' + u8::try_from(fraction % 10).unwrap_or(0));
            fraction /= 10;
        }
        put(b'.');
        loop {
            put(b'0' + u8::try_from(whole % 10).unwrap_or(0));
            whole /= 10;
            if whole == 0 {
                return &room[at..];
            }
        }
    }
}

impl fmt::Display for NanoUsd {
    /// Dollars with at least two decimals and no trailing zeros beyond them: `1.96`, `0.000123`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut room = [0; Self::TEXT_BYTES];
        let text = std::str::from_utf8(self.text(&mut room)).map_err(|_| fmt::Error)?;
        f.write_str(text)
    }
}

/// What is counted. The order is the order of [`Amounts`] and of the columns of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Meter {
    /// Nano-dollars.
    Usd,
    /// Input and output tokens together.
    Tokens,
    /// All input tokens, cached ones included.
    InputTokens,
    /// All output tokens, unseen reasoning included.
    OutputTokens,
    /// Input outside the known prefix, plus output.
    FreshTokens,
    /// Generation calls sent and not definitely refused.
    Turns,
    /// Calls definitely refused by a provider.
    Attempts,
    /// Distinct tool invocations asked for by answers. Counted, never held.
    ToolCalls,
    /// Tasks opened.
    Tasks,
    /// Milliseconds spent active since the first hold. A deadline, never held.
    Duration,
    /// How deep below its root an agent stands. A bound on the tree of agents, never held.
    Depth,
    /// Distinct children of one agent. A bound on the tree of agents, never held.
    FanOut,
}

impl Meter {
    /// How many meters there are.
    pub const COUNT: usize = 12;
    /// Every meter, in order.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Usd,
        Self::Tokens,
        Self::InputTokens,
        Self::OutputTokens,
        Self::FreshTokens,
        Self::Turns,
        Self::Attempts,
        Self::ToolCalls,
        Self::Tasks,
        Self::Duration,
        Self::Depth,
        Self::FanOut,
    ];

    /// The name in configuration, refusals and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Usd => "usd",
            Self::Tokens => "tokens",
            Self::InputTokens => "input_tokens",
            Self::OutputTokens => "output_tokens",
            Self::FreshTokens => "fresh_tokens",
            Self::Turns => "turns",
            Self::Attempts => "attempts",
            Self::ToolCalls => "tool_calls",
            Self::Tasks => "tasks",
            Self::Duration => "duration",
            Self::Depth => "depth",
            Self::FanOut => "fan_out",
        }
    }

    /// The meter of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|meter| meter.name() == name)
    }
}

/// One quantity per meter, each in the meter's own unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts(pub [u64; Meter::COUNT]);

impl Amounts {
    /// Nothing on any meter.
    pub const ZERO: Self = Self([0; Meter::COUNT]);

    /// This, with `quantity` on `meter`.
    #[must_use]
    pub fn with(mut self, meter: Meter, quantity: u64) -> Self {
        self[meter] = quantity;
        self
    }

    /// The dollars among them.
    #[must_use]
    pub fn usd(&self) -> NanoUsd {
        NanoUsd(self[Meter::Usd])
    }

    /// True if every quantity is zero.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.0.iter().all(|quantity| *quantity == 0)
    }

    /// Meter by meter; saturates.
    #[must_use]
    pub fn saturating_add(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|i| {
            self.0[i].saturating_add(other.0[i])
        }))
    }

    /// Meter by meter, never below zero.
    #[must_use]
    pub fn saturating_sub(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|i| {
            self.0[i].saturating_sub(other.0[i])
        }))
    }
}

impl Index<Meter> for Amounts {
    type Output = u64;
    fn index(&self, meter: Meter) -> &u64 {
        &self.0[meter as usize]
    }
}

impl IndexMut<Meter> for Amounts {
    fn index_mut(&mut self, meter: Meter) -> &mut u64 {
        &mut self.0[meter as usize]
    }
}

/// Milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMs(pub i64);

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);
        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
            /// The shared text.
            #[must_use]
            pub fn shared(&self) -> Arc<str> { Arc::clone(&self.0) }
        }
        impl From<&str> for $name { fn from(text: &str) -> Self { Self(text.into()) } }
        impl From<String> for $name { fn from(text: String) -> Self { Self(text.into()) } }
        impl From<Arc<str>> for $name { fn from(text: Arc<str>) -> Self { Self(text) } }
        impl AsRef<str> for $name { fn as_ref(&self) -> &str { &self.0 } }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }
    )*};
}

ids! {
    /// Who authenticated.
    IdentityName;
    /// Whom identities belong to; tasks are namespaced by it.
    Owner;
    /// One unit of user work.
    TaskId;
    /// One worker in a task.
    AgentId;
    /// One stay in an agent, from being entered to handing back.
    InvocationId;
    /// What kind of worker: `supervisor`, `researcher`.
    Role;
    /// A person or system that an identity says it acts for.
    Principal;
    /// A model as the provider names it.
    ModelName;
    /// A configured provider.
    ProviderName;
    /// A limit's name in `policies/`.
    LimitName;
    /// One call, as the caller sees it in `x-bursar-request-id`.
    RequestId;
    /// One question to a person: `esc_` and sixteen hexadecimal digits.
    EscalationId;
}

/// The number in a request's id, if it is written as Bursar writes them: `req_` and 32 hexadecimal digits.
#[must_use]
pub fn request_number(request: &str) -> Option<u128> {
    let digits = request.strip_prefix("req_")?.as_bytes();
    let (high, low) = digits.split_first_chunk()?;
    let (high, low) = (half(high)?, half(low.try_into().ok()?)?);
    Some(u128::from(high) << 64 | u128::from(low))
}

/// Half of such a number: arithmetic on all of it at once is slow.
fn half(digits: &[u8; 16]) -> Option<u64> {
    let mut half = 0;
    for digit in digits {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        half = half << 4 | u64::from(digit);
    }
    Some(half)
}

/// Where a call stands in its W3C trace; written as lower-case hex.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceIds {
    /// The trace.
    pub trace: u128,
    /// The call's own span.
    pub span: u64,
}

impl TraceIds {
    /// The trace as it is written.
    #[must_use]
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace)
    }
}

/// A task is known within its owner only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskKey {
    /// The namespace.
    pub owner: Owner,
    /// The task in it.
    pub task: TaskId,
}

#[cfg(test)]
mod tests;
