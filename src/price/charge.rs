//! What an answer cost: usage × card, one sum and one rounding up.

use super::card::{Card, Mode, Ratio};
use super::catalogue::Catalogue;
use super::rates::{Kind, Rates};
use crate::dialect::Usage;
use crate::units::{NanoUsd, UnixMs};
use std::sync::Arc;

/// What is known of the call beside its usage. What the *answer* says of tier, speed and place
/// goes before what was asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'a> {
    /// The call was part of a batch.
    pub batch: bool,
    /// The tier asked for.
    pub service_tier: Option<&'a str>,
    /// The speed asked for.
    pub speed: Option<&'a str>,
    /// The place asked for.
    pub inference_geo: Option<&'a str>,
    /// When it was admitted, for prices that depend on the day or the hour.
    pub at: Option<UnixMs>,
}

/// The price of one answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// Rounded up to a nano-dollar.
    pub nano: NanoUsd,
    /// The catalogue it was worked out with.
    pub version: Arc<str>,
    /// The provider's own statement, not the price list.
    pub stated: bool,
    /// Something in the answer has no price (an unlisted tier, place, tool or further model), and
    /// the plain rate stood in for it.
    pub estimated: bool,
}

/// A stated cost below this part of the list price is not believed: no discount is that deep, and
/// test servers and customers' own keys state such costs.
const STATED_AT_LEAST_ONE_IN: u64 = 10;

/// Money per million tokens is summed in parts of this: every [`Ratio`] divides it.
#[derive(Default)]
struct Sum {
    /// Nano-dollars × 10^6 × `per`.
    parts: u128,
    /// The common denominator of the ratios so far.
    per: u128,
    estimated: bool,
}

impl Catalogue {
    /// The price of `usage` at `card`, and of the further usage in it at the cards of the models
    /// that it names.
    #[must_use]
    pub fn charge(&self, card: &Card, usage: &Usage, context: &Context<'_>) -> Charge {
        let mut sum = Sum {
            per: 1,
            ..Sum::default()
        };
        sum.add(card, usage, &context.answered(usage));
        for (model, other) in &usage.others {
            let context = context.answered(usage).answered(other);
            let found = model.as_deref().filter(|model| **model != *card.name);
            match found.map(|model| self.find(&card.family, model)) {
                None => sum.add(card, other, &context),
                Some(Ok(other_card)) => sum.add(&other_card, other, &context),
                Some(Err(_)) => {
                    sum.estimated = true;
                    sum.add(card, other, &context);
                }
            }
        }
        let listed = sum.nano(card.per_call);
        let believed = usage
            .stated_cost
            .filter(|stated| stated.0.saturating_mul(STATED_AT_LEAST_ONE_IN) >= listed.0);
        Charge {
            nano: believed.unwrap_or(listed),
            version: Arc::clone(&card.version),
            stated: believed.is_some(),
            estimated: sum.estimated && believed.is_none(),
        }
    }
}

/// The price of one usage at one card; further usage in it is charged at the same card.
#[must_use]
pub fn charge(card: &Card, usage: &Usage, context: &Context<'_>) -> NanoUsd {
    let mut sum = Sum {
        per: 1,
        ..Sum::default()
    };
    sum.add(card, usage, &context.answered(usage));
    for (_, other) in &usage.others {
        sum.add(card, other, &context.answered(usage).answered(other));
    }
    sum.nano(card.per_call)
}

impl<'a> Context<'a> {
    /// With what the answer says in place of what was asked.
    fn answered(&self, usage: &'a Usage) -> Self {
        let tier = usage.service_tier.as_deref();
        Self {
            batch: self.batch || tier == Some("batch"),
            service_tier: tier.or(self.service_tier),
            speed: usage.speed.as_deref().or(self.speed),
            inference_geo: usage.inference_geo.as_deref().or(self.inference_geo),
            at: self.at,
        }
    }

    /// True if the mode is how this call was served.
    fn holds(&self, mode: &Mode) -> bool {
        let said = |wanted: &Option<Box<str>>, is: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| is == Some(wanted))
        };
        said(&mode.service_tier, self.service_tier)
            && said(&mode.speed, self.speed)
            && (!mode.batch || self.batch)
            && mode.holds_at(self.at)
    }
}

/// Names for being served plainly.
pub(super) fn is_plain_tier(tier: &str) -> bool {
    matches!(
        tier,
        "" | "default" | "auto" | "standard" | "standard_only" | "on_demand" | "batch"
    )
}

/// Names for being served at the usual speed.
pub(super) fn is_plain_speed(speed: &str) -> bool {
    matches!(speed, "" | "standard" | "default" | "normal")
}

/// Names for being served anywhere.
pub(super) fn is_plain_geo(geo: &str) -> bool {
    matches!(geo, "" | "global" | "not_available" | "default" | "auto")
}

impl Card {
    pub(super) fn knows_tier(&self, tier: &str) -> bool {
        is_plain_tier(tier)
            || self.modes.iter().any(|mode| mode.service_tier.as_deref() == Some(tier))
            // Anthropic's priority tier is capacity paid in advance, at the same list price.
            || (tier == "priority" && *self.family == *"anthropic")
    }

    pub(super) fn knows_speed(&self, speed: &str) -> bool {
        is_plain_speed(speed)
            || self
                .modes
                .iter()
                .any(|mode| mode.speed.as_deref() == Some(speed))
    }

    pub(super) fn knows_geo(&self, geo: &str) -> bool {
        is_plain_geo(geo) || self.geo(geo).is_some()
    }
}

impl Sum {
    fn add(&mut self, card: &Card, usage: &Usage, context: &Context<'_>) {
        self.estimated |= context
            .service_tier
            .is_some_and(|tier| !card.knows_tier(tier))
            || context.speed.is_some_and(|speed| !card.knows_speed(speed))
            || context
                .inference_geo
                .is_some_and(|geo| !card.knows_geo(geo));
        let own_input = usage.all_input()
            - usage
                .others
                .iter()
                .map(|(_, other)| other.all_input())
                .sum::<u64>();
        let (rates, factor) = card.rates(own_input, |mode| context.holds(mode));
        let geo = context.inference_geo.and_then(|geo| card.geo(geo));
        self.add_parts(tokens(&rates, usage), factor.and(geo.unwrap_or(Ratio::ONE)));
        for (name, uses) in &usage.fees {
            match card.fee(name) {
                Some(fee) => self.add_parts(
                    u128::from(fee.0)
                        .saturating_mul(u128::from(*uses))
                        .saturating_mul(1_000_000),
                    Ratio::ONE,
                ),
                None => self.estimated = true,
            }
        }
    }

    /// Adds `amount × ratio`, both sides brought to a common denominator.
    fn add_parts(&mut self, amount: u128, ratio: Ratio) {
        let per = u128::from(ratio.per);
        let common = self.per / gcd(self.per, per) * per;
        let scaled = amount
            .saturating_mul(u128::from(ratio.times))
            .saturating_mul(common / per);
        self.parts = self
            .parts
            .saturating_mul(common / self.per)
            .saturating_add(scaled);
        self.per = common;
    }

    fn nano(&self, per_call: NanoUsd) -> NanoUsd {
        let nano = self.parts.div_ceil(self.per.saturating_mul(1_000_000));
        NanoUsd(
            u64::try_from(nano)
                .unwrap_or(u64::MAX)
                .saturating_add(per_call.0),
        )
    }
}

/// Σ tokens × rate, in nano-dollars × 10^6.
fn tokens(rates: &Rates, usage: &Usage) -> u128 {
    let reasoning = match rates.own(Kind::Reasoning) {
        Some(_) => usage.reasoning.min(usage.output),
        None => 0,
    };
    [
        (usage.input, Kind::Input),
        (usage.cache_read, Kind::CachedInput),
        (usage.cache_write_5m, Kind::CacheWrite5m),
        (usage.cache_write_1h, Kind::CacheWrite1h),
        (usage.audio_input, Kind::AudioInput),
        (usage.audio_cache_read, Kind::CachedAudioInput),
        (usage.image_input, Kind::ImageInput),
        (usage.output - reasoning, Kind::Output),
        (reasoning, Kind::Reasoning),
        (usage.audio_output, Kind::AudioOutput),
        (usage.image_output, Kind::ImageOutput),
    ]
    .into_iter()
    .map(|(count, kind)| u128::from(count) * u128::from(rates.of(kind)))
    .fold(0, u128::saturating_add)
}

const fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests;
