//! The arithmetic of a quote: what a call may cost for a given number of output tokens, and how
//! many output tokens fit into a given room. Exact in `u128`; each side is rounded up once, so the
//! sum is never below a later charge, which is rounded up once as a whole.

use super::Elastic;
use crate::units::{Amounts, Meter};

/// Meters that are set aside when a call is admitted.
pub(super) const HELD: Meters = Meters::of(&[
    Meter::Usd,
    Meter::Tokens,
    Meter::InputTokens,
    Meter::OutputTokens,
    Meter::FreshTokens,
    Meter::Turns,
    Meter::Tasks,
]);
/// Meters that are only known afterwards: a call is refused once they are used up.
pub(super) const COUNTED: Meters = Meters::of(&[Meter::Attempts, Meter::ToolCalls]);
/// Meters that a bound on the input moves, so that a better bound could make a call fit.
pub(super) const BOUNDED: Meters = Meters::of(&[
    Meter::Usd,
    Meter::Tokens,
    Meter::InputTokens,
    Meter::FreshTokens,
]);
/// Meters of which the caller hears what remains.
pub(super) const SHOWN: Meters = Meters::of(&[
    Meter::Usd,
    Meter::Tokens,
    Meter::OutputTokens,
    Meter::FreshTokens,
    Meter::Turns,
    Meter::ToolCalls,
]);
/// Meters that grow with the output.
pub(super) const GROWING: Meters = Meters::of(&[
    Meter::Usd,
    Meter::Tokens,
    Meter::OutputTokens,
    Meter::FreshTokens,
]);

const MILLION: u64 = 1_000_000;

/// A set of meters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Meters(u16);

impl Meters {
    const fn of(meters: &[Meter]) -> Self {
        let (mut bits, mut i) = (0, 0);
        while i < meters.len() {
            bits |= 1 << meters[i] as u16;
            i += 1;
        }
        Self(bits)
    }

    pub(super) fn each(self) -> EachMeter {
        self.into_iter()
    }

    pub(super) const fn with(self, meter: Meter) -> Self {
        Self(self.0 | 1 << meter as u16)
    }

    pub(super) fn with_if(self, meter: Meter, has: bool) -> Self {
        Self(self.0 | u16::from(has) << meter as u16)
    }

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) const fn has(self, meter: Meter) -> bool {
        self.0 & (1 << meter as u16) != 0
    }
}

impl IntoIterator for Meters {
    type Item = Meter;
    type IntoIter = EachMeter;
    fn into_iter(self) -> EachMeter {
        EachMeter(self.0)
    }
}

/// The meters of a set, in their order.
#[derive(Debug)]
pub(super) struct EachMeter(u16);

impl Iterator for EachMeter {
    type Item = Meter;
    fn next(&mut self) -> Option<Meter> {
        let meter = *Meter::ALL.get(self.0.trailing_zeros() as usize)?;
        self.0 &= self.0 - 1;
        Some(meter)
    }
}

/// What a call may cost: `fixed + n × outputs × rate`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quote {
    pub(super) fixed: Amounts,
    pub(super) elastic: Option<Elastic>,
}

impl Quote {
    /// Output tokens wanted for one output; 0 if it produces none.
    pub(super) fn want(&self) -> u64 {
        self.elastic.map_or(0, |elastic| elastic.want)
    }

    /// The fewest output tokens that are of use.
    pub(super) fn least(&self) -> u64 {
        self.elastic
            .map_or(0, |elastic| elastic.least.min(elastic.want))
    }

    /// What `n` output tokens per output may cost in all. A quantity beyond `u64` becomes
    /// `u64::MAX`, which fits under no cap.
    pub(super) fn at(&self, n: u64) -> Amounts {
        let Some(elastic) = &self.elastic else {
            return self.fixed;
        };
        let tokens = u128::from(n) * u128::from(elastic.outputs);
        let nano = ceil_of_million(tokens.saturating_mul(u128::from(elastic.nano_per_million)));
        let tokens = narrow(tokens);
        let mut amounts = self.fixed;
        for meter in GROWING {
            let more = if meter == Meter::Usd { nano } else { tokens };
            amounts[meter] = amounts[meter].saturating_add(more);
        }
        amounts
    }

    /// The most output tokens per output whose quote on `meter` is within `room`; `None` if even
    /// the fixed part is not. `u64::MAX` where output does not count.
    pub(super) fn most_within(&self, meter: Meter, room: u64) -> Option<u64> {
        let rest = u128::from(room.checked_sub(self.fixed[meter])?);
        let Some(elastic) = self.elastic.filter(|_| GROWING.has(meter)) else {
            return Some(u64::MAX);
        };
        let outputs = u128::from(elastic.outputs);
        let (rest, each) = match meter {
            Meter::Usd => (
                rest * u128::from(MILLION),
                outputs * u128::from(elastic.nano_per_million),
            ),
            _ => (rest, outputs),
        };
        Some(rest.checked_div(each).map_or(u64::MAX, narrow))
    }
}

fn ceil_of_million(product: u128) -> u64 {
    // The short division is the usual one, and several times as fast.
    match u64::try_from(product) {
        Ok(product) => product.div_ceil(MILLION),
        Err(_) => narrow(product.div_ceil(u128::from(MILLION))),
    }
}

fn narrow(wide: u128) -> u64 {
    u64::try_from(wide).unwrap_or(u64::MAX)
}
