//! The most that a call can cost, before it leaves: the dearest rates that the request can select,
//! times the bounds on what goes in and comes out.
//!
//! **Invariant:** for a provider that honours the cap it is told, no charge for a call exceeds its
//! quote; the tests compare the two on random cards, requests and answers.

use super::card::{Card, Mode, Ratio};
use super::charge::{is_plain_geo, is_plain_speed, is_plain_tier};
use super::glob;
use super::rates::{Kind, Rates};
use crate::dialect::{Call, Prompt, Selectors};
use crate::ledger::Elastic;
use crate::units::{Amounts, Meter, NanoUsd, UnixMs};
use std::time::Duration;

/// What the deployment has set.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// Fewer output tokens than this are no use.
    pub min_output_tokens: u64,
    /// What to tell the provider when the caller names no cap and the model's maximum is too much.
    pub output_when_unasked: u64,
    /// The tier a provider serves at when none is asked for (a project's setting at OpenAI).
    pub tier_when_unasked: Option<&'a str>,
    /// Where a provider serves when no place is asked for (a workspace's setting at Anthropic).
    pub geo_when_unasked: Option<&'a str>,
    /// Input tokens of the call that its conversation has paid for before.
    pub known_prefix_tokens: u64,
    /// When the call is admitted.
    pub at: UnixMs,
    /// The longest that the call can take, for prices by the second.
    pub longest: Duration,
}

impl Default for Settings<'_> {
    fn default() -> Self {
        Self {
            min_output_tokens: 256,
            output_when_unasked: 8_192,
            tier_when_unasked: None,
            geo_when_unasked: None,
            known_prefix_tokens: 0,
            at: UnixMs(0),
            longest: Duration::ZERO,
        }
    }
}

/// Why a call cannot be priced, and so is refused under a dollar cap.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unpriceable {
    /// A tier that the catalogue does not price.
    #[error("no price is known for `service_tier` \"{0}\" of this model")]
    ServiceTier(String),
    /// A speed that the catalogue does not price.
    #[error("no price is known for `speed` \"{0}\" of this model")]
    Speed(String),
    /// A place that the catalogue does not price.
    #[error("no price is known for `inference_geo` \"{0}\" of this model")]
    Geo(String),
    /// A field that changes the price in a way the catalogue does not know.
    #[error("`{0}` changes the price, and no price is known for it")]
    Surcharge(String),
    /// A tool that runs at the provider, without a price.
    #[error("no price is known for the hosted tool `{0}`")]
    HostedTool(String),
    /// A tool that runs at the provider, without a bound.
    #[error("the hosted tool `{0}` needs a bound on its uses (`max_uses`, or `max_tool_calls`)")]
    HostedToolUnbounded(String),
    /// Several rounds over a context of unknown size.
    #[error(
        "the model's context window is not known, so that rounds at the provider have no bound"
    )]
    WindowUnknown,
}

/// The dearest that a request can select.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dearest {
    /// Nano-dollars per million tokens, the dearest kind of input it can hold.
    pub input_nano_per_million: u64,
    /// Nano-dollars per million tokens, the dearest kind of output it can ask for.
    pub output_nano_per_million: u64,
    /// Per-call fees and hosted tools' fees × the bound on their uses.
    pub fixed: NanoUsd,
    /// Input tokens of all rounds.
    pub input_tokens: u64,
    /// How often the model can be sampled.
    pub rounds: u64,
}

/// The part of an ask that does not depend on which accounts cover the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Input, fees, the turn; rounded up.
    pub fixed: Amounts,
    /// The output side, if it generates.
    pub elastic: Option<Elastic>,
}

/// The dearest rates, tokens and fees that the request can select.
///
/// `input_bound` is the bound on the prompt as it leaves, of one round.
///
/// # Errors
/// [`Unpriceable`] if the request selects something that has no price.
pub fn dearest(
    card: &Card,
    selectors: &Selectors,
    input_bound: u64,
    prompt: &Prompt,
    settings: &Settings<'_>,
) -> Result<Dearest, Unpriceable> {
    let (more_rounds, fees) = if selectors.surcharges.is_empty() && prompt.hosted_tools.is_empty() {
        (0, 0)
    } else {
        rounds_and_fees(card, selectors, prompt)?
    };
    let mut input_tokens = input_bound;
    if more_rounds > 0 {
        // Each further round may read all that fits: what the tools bring is not bounded otherwise.
        let window = card.context_window.ok_or(Unpriceable::WindowUnknown)?;
        input_tokens = input_bound
            .min(window)
            .saturating_add(window.saturating_mul(more_rounds));
    }
    let geo = geo_ratio(card, selectors, settings)?;
    let tier = selectable_tier(card, selectors, settings)?;
    let speed = selectable_speed(card, selectors)?;
    let inputs = input_kinds(card, selectors, prompt, more_rounds);
    let outputs = output_kinds(selectors);

    let mut dearest = Dearest {
        input_nano_per_million: 0,
        output_nano_per_million: 0,
        fixed: NanoUsd(
            fees.saturating_add(card.per_call.0)
                .saturating_add(card.time_price(settings.longest).0),
        ),
        input_tokens,
        rounds: more_rounds.saturating_add(1),
    };
    // Every threshold that the bound reaches is a length the prompt may turn out to have.
    let lengths = thresholds(card).filter(|over| *over < input_tokens);
    for length in lengths.map(|over| over.saturating_add(1)).chain([0]) {
        for at in instants(card, settings.at) {
            for tier in plain_or(tier) {
                for speed in plain_or(speed) {
                    let holds = |mode: &Mode| selects(mode, tier, speed, at);
                    let (rates, factor) = card.rates(length, holds);
                    let most = |kinds: &[Option<Kind>]| most_of(&rates, factor.and(geo), kinds);
                    dearest.input_nano_per_million =
                        dearest.input_nano_per_million.max(most(&inputs));
                    dearest.output_nano_per_million =
                        dearest.output_nano_per_million.max(most(&outputs));
                }
            }
        }
    }
    Ok(dearest)
}

/// What a call asks of the purse, but for the accounts.
///
/// `turn`: whether it counts as one (embeddings and token counts do not).
///
/// # Errors
/// [`Unpriceable`] if the request selects something that has no price.
pub fn quote(
    card: &Card,
    call: &Call,
    input_bound: u64,
    turn: bool,
    settings: &Settings<'_>,
) -> Result<Quote, Unpriceable> {
    // A provider refuses what exceeds the window; several prompts have a window each.
    let window = card
        .context_window
        .map(|window| window.saturating_mul(call.outputs.max(1)));
    let input_bound = window.map_or(input_bound, |window| input_bound.min(window));
    let dearest = dearest(card, &call.selectors, input_bound, &call.prompt, settings)?;
    let input = dearest.input_tokens;
    let outputs = call.outputs.max(1).saturating_mul(dearest.rounds);
    // Predicted output that the model rejects is billed beside what it writes.
    let predicted = call.predicted_bytes.saturating_mul(outputs);
    let of_input = u128::from(input) * u128::from(dearest.input_nano_per_million);
    let of_predicted = u128::from(predicted) * u128::from(dearest.output_nano_per_million);
    let usd = of_input.saturating_add(of_predicted).div_ceil(1_000_000);
    let usd = u64::try_from(usd)
        .unwrap_or(u64::MAX)
        .saturating_add(dearest.fixed.0);
    let fresh = input.saturating_sub(settings.known_prefix_tokens);
    let fixed = Amounts::ZERO
        .with(Meter::Usd, usd)
        .with(Meter::Tokens, input.saturating_add(predicted))
        .with(Meter::InputTokens, input)
        .with(Meter::OutputTokens, predicted)
        .with(Meter::FreshTokens, fresh.saturating_add(predicted))
        .with(Meter::Turns, u64::from(turn));
    let generates = call.dialect.generates() && !card.embedding;
    Ok(Quote {
        fixed,
        elastic: generates.then(|| elastic(card, call, &dearest, settings)),
    })
}

/// Stands for "no maximum is known": more than any model writes, and small enough to multiply.
pub const NO_MAXIMUM: u64 = 1 << 40;

fn elastic(card: &Card, call: &Call, dearest: &Dearest, settings: &Settings<'_>) -> Elastic {
    let known = [card.max_output, card.context_window];
    let most = known.into_iter().flatten().min().unwrap_or(NO_MAXIMUM);
    let want = call.asked_output.map_or(most, |asked| asked.min(most));
    // Anthropic wants at least one token beyond the thinking budget.
    let thinking = call
        .thinking_budget
        .map_or(0, |budget| budget.saturating_add(1));
    let least = settings.min_output_tokens.max(thinking).min(want);
    let free = call.asked_output.is_none() && !call.unclampable;
    Elastic {
        want,
        unasked: free.then(|| settings.output_when_unasked.max(thinking).min(want)),
        least: if call.unclampable { want } else { least },
        outputs: call.outputs.max(1).saturating_mul(dearest.rounds),
        nano_per_million: dearest.output_nano_per_million,
    }
}

/// How many further samplings, and nano-dollars of fees, the hosted tools and surcharges can cause.
#[cold]
fn rounds_and_fees(
    card: &Card,
    selectors: &Selectors,
    prompt: &Prompt,
) -> Result<(u64, u64), Unpriceable> {
    let (mut rounds, mut fees) = (0_u64, 0_u64);
    for name in &selectors.surcharges {
        let known = card
            .surcharges
            .iter()
            .find(|(known, _)| glob::matches(known, name));
        let (_, more) = known.ok_or_else(|| Unpriceable::Surcharge(name.clone()))?;
        rounds = rounds.saturating_add(*more);
    }
    for (name, uses) in &prompt.hosted_tools {
        let known = card
            .hosted
            .iter()
            .find(|hosted| glob::matches(&hosted.tool, name));
        let hosted = known.ok_or_else(|| Unpriceable::HostedTool(name.clone()))?;
        let fee = match &hosted.fee {
            Some(fee) => card
                .fee(fee)
                .ok_or_else(|| Unpriceable::HostedTool(name.clone()))?,
            None => NanoUsd::ZERO,
        };
        if !hosted.rounds && fee == NanoUsd::ZERO {
            continue;
        }
        let uses = uses.ok_or_else(|| Unpriceable::HostedToolUnbounded(name.clone()))?;
        fees = fees.saturating_add(fee.0.saturating_mul(uses));
        if hosted.rounds {
            rounds = rounds.saturating_add(uses);
        }
    }
    Ok((rounds, fees))
}

/// The surcharge of the place asked for; a discount is not counted on, for the answer may come from
/// elsewhere.
fn geo_ratio(
    card: &Card,
    selectors: &Selectors,
    settings: &Settings<'_>,
) -> Result<Ratio, Unpriceable> {
    let asked = selectors.inference_geo.as_deref();
    let Some(geo) = asked.or(settings.geo_when_unasked) else {
        return Ok(Ratio::ONE);
    };
    match card.geo(geo) {
        Some(ratio) if ratio.times > ratio.per => Ok(ratio),
        Some(_) => Ok(Ratio::ONE),
        None if is_plain_geo(geo) => Ok(Ratio::ONE),
        None => Err(Unpriceable::Geo(geo.to_owned())),
    }
}

/// What a provider may always fall back to, and what was selected beside it.
fn plain_or(selected: Option<&str>) -> impl Iterator<Item = Option<&str>> {
    std::iter::once(None).chain(selected.map(Some))
}

/// The tier at which the answer may be served, beside the plain one. `auto`, said aloud, lets the provider
/// choose the priority tier.
fn selectable_tier<'a>(
    card: &Card,
    selectors: &'a Selectors,
    settings: &Settings<'a>,
) -> Result<Option<&'a str>, Unpriceable> {
    let asked = selectors
        .service_tier
        .as_deref()
        .or(settings.tier_when_unasked);
    match asked {
        None => Ok(None),
        Some("auto") => Ok(Some("priority")),
        Some(tier) if is_plain_tier(tier) => Ok(None),
        Some(tier) if card.knows_tier(tier) => Ok(Some(tier)),
        Some(tier) => Err(Unpriceable::ServiceTier(tier.to_owned())),
    }
}

/// The speed at which the answer may be served, beside the plain one.
fn selectable_speed<'a>(
    card: &Card,
    selectors: &'a Selectors,
) -> Result<Option<&'a str>, Unpriceable> {
    match selectors.speed.as_deref() {
        None => Ok(None),
        Some(speed) if is_plain_speed(speed) => Ok(None),
        Some(speed) if card.knows_speed(speed) => Ok(Some(speed)),
        Some(speed) => Err(Unpriceable::Speed(speed.to_owned())),
    }
}

fn selects(mode: &Mode, tier: Option<&str>, speed: Option<&str>, at: UnixMs) -> bool {
    let said = |wanted: &Option<Box<str>>, is: Option<&str>| {
        wanted.as_deref().is_none_or(|wanted| is == Some(wanted))
    };
    !mode.batch
        && said(&mode.service_tier, tier)
        && said(&mode.speed, speed)
        && mode.holds_at(Some(at))
}

fn thresholds(card: &Card) -> impl Iterator<Item = u64> {
    let of_modes = card.modes.iter().flat_map(|mode| &mode.long);
    card.long.iter().chain(of_modes).map(|tier| tier.over)
}

const DAY_MS: i64 = 86_400_000;

/// Now, and every instant within a day at which a price may change: a call admitted in one hour may
/// be billed in the next.
fn instants(card: &Card, now: UnixMs) -> impl Iterator<Item = UnixMs> {
    let of_mode = move |mode: &Mode| {
        let from = mode.from.filter(|from| *from > now);
        let from = from.filter(|from| from.0 <= now.0.saturating_add(DAY_MS));
        let midnight = now.0 - now.0.rem_euclid(DAY_MS);
        let at = |minute: u32| UnixMs(midnight + i64::from(minute) * 60_000);
        let hours = mode.utc.map(|(start, end)| [at(start), at(end)]);
        from.into_iter().chain(hours.into_iter().flatten())
    };
    std::iter::once(now).chain(card.modes.iter().flat_map(of_mode))
}

/// The kinds of input that the request can hold.
fn input_kinds(
    card: &Card,
    selectors: &Selectors,
    prompt: &Prompt,
    more_rounds: u64,
) -> [Option<Kind>; 7] {
    let media = &prompt.media;
    let unknown = media.unknown > 0 || prompt.unseen || media.files > 0 || more_rounds > 0;
    let audio = media.audio > 0 || unknown;
    let image = media.images > 0 || unknown;
    let write = card.automatic_cache_writes || selectors.cache_write_5m || selectors.cache_write_1h;
    [
        Some(Kind::Input),
        Some(Kind::CachedInput),
        write.then_some(Kind::CacheWrite5m),
        selectors.cache_write_1h.then_some(Kind::CacheWrite1h),
        audio.then_some(Kind::AudioInput),
        audio.then_some(Kind::CachedAudioInput),
        image.then_some(Kind::ImageInput),
    ]
}

/// The kinds of output that the request can ask for. Models that draw do so unasked.
fn output_kinds(selectors: &Selectors) -> [Option<Kind>; 4] {
    [
        Some(Kind::Output),
        Some(Kind::Reasoning),
        selectors.audio_output.then_some(Kind::AudioOutput),
        Some(Kind::ImageOutput),
    ]
}

fn most_of(rates: &Rates, ratio: Ratio, kinds: &[Option<Kind>]) -> u64 {
    let rates = kinds.iter().flatten().map(|kind| ratio.of(rates.of(*kind)));
    rates.max().unwrap_or(0)
}

#[cfg(test)]
mod tests;
