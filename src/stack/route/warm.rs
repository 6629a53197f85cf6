//! `max_switch_cost`: whether a conversation leaves a model whose prompt cache has it.
//!
//! Reckoned from prices and from what the provider counted of the conversation before; nothing is known of
//! the cache itself, so a pause longer than [`WARM_MS`] counts as a cold one.

use super::{Asked, Course, Routed, Stays};
use crate::attribution::Attribution;
use crate::clock;
use crate::dialect::Call;
use crate::gateway::Provider;
use crate::price::card::Mode;
use crate::price::{Card, Kind, Rates};
use crate::units::{ProviderName, UnixMs};
use foldhash::quality::FixedState;
use quick_cache::sync::Cache;
use std::hash::BuildHasher;
use std::sync::Arc;

/// How long prompt caches last without use, milliseconds: the shortest term of the large providers.
pub const WARM_MS: i64 = 300_000;
/// Conversations remembered, about 200 bytes each.
const MAX_WARM: usize = 50_000;
/// Output tokens that a switch is reckoned with, at most.
const OUTPUT_TOKENS: u64 = 1_000;
/// Bytes of text that make a token, about.
const BYTES_PER_TOKEN: usize = 4;
const SEED: u64 = 0x7761_726d;

/// Which model a conversation went to lately.
#[derive(Clone, Debug)]
struct Warm {
    /// The provider.
    provider: ProviderName,
    /// The model as the provider names it.
    model: Arc<str>,
    /// The model that the caller asked for.
    asked: Arc<str>,
    /// When.
    at: UnixMs,
}

/// Which models have answered which conversations lately.
#[derive(Debug)]
pub struct WarmCaches(Cache<u64, Warm>);

impl Default for WarmCaches {
    fn default() -> Self {
        Self(Cache::new(MAX_WARM))
    }
}

impl WarmCaches {
    /// A call leaves for a model. Whether it was answered, the counts of its conversation tell.
    pub fn left(&self, whose: &Attribution, call: &Call, routed: &Routed) {
        let asked = routed.course.as_ref().map(|course| &course.asked);
        let warm = Warm {
            provider: routed.provider.name.clone(),
            model: Arc::clone(&routed.model),
            asked: Arc::clone(asked.unwrap_or(&routed.model)),
            at: clock::now(),
        };
        self.0.insert(key(whose, call), warm);
    }

    fn of(&self, whose: &Attribution, call: &Call) -> Option<Warm> {
        let warm = self.0.get(&key(whose, call))?;
        let age_ms = clock::now().0.saturating_sub(warm.at.0);
        (age_ms <= WARM_MS).then_some(warm)
    }
}

/// A conversation: whose, and how it begins.
fn key(whose: &Attribution, call: &Call) -> u64 {
    let agent = whose.agent.as_ref().map(|agent| agent.value.as_str());
    let (owner, task) = (whose.owner.as_str(), whose.task.value.as_str());
    let first = call.chain.links.first().map(|link| link.digest);
    FixedState::with_seed(SEED).hash_one((owner, task, agent, call.chain.root, first))
}

impl Course {
    /// The model whose prompt cache has the conversation.
    pub(super) fn at_the_warm(&self) -> Option<Routed> {
        let (provider, model) = &**self.warm.as_ref()?;
        Some(Routed {
            provider: Arc::clone(provider),
            model: Arc::clone(model),
            course: Some(Self {
                stays: Some(Stays::Warm),
                at: 0,
                ..self.clone()
            }),
            shadow: None,
        })
    }
}

impl Asked<'_> {
    /// The same, or the model that answered the conversation before, if to leave it costs too much.
    pub(super) fn minding_caches(&self, routed: Routed) -> Routed {
        let stayed = || {
            let course = routed.course.as_ref()?;
            let most = course.route.rule.max_switch_cost?;
            let warm = self.gateway.warm.of(self.attribution, self.call)?;
            let is_there = warm.provider == routed.provider.name && warm.model == routed.model;
            if is_there || warm.asked != course.asked {
                return None;
            }
            let mut providers = self.live.providers.iter();
            let provider = providers.find(|known| known.name == warm.provider)?;
            if !provider.takes(course.dialect) || provider.lacks_key().is_some() {
                return None;
            }
            let [stay, switch] = self.costs(&warm, provider, &routed)?;
            if switch <= stay.saturating_add(u128::from(most.0) * 1_000_000) {
                return None;
            }
            let course = Course {
                warm: Some(Arc::new((Arc::clone(provider), warm.model))),
                ..course.clone()
            };
            course.at_the_warm()
        };
        stayed().unwrap_or(routed)
    }

    /// What the call would cost where it is and where it would go, in nano-dollars times a million.
    fn costs(&self, warm: &Warm, provider: &Provider, to: &Routed) -> Option<[u128; 2]> {
        let catalogue = &self.live.catalogue;
        let here = catalogue.find(provider.family(), &warm.model).ok()?;
        let there = catalogue.find(to.provider.family(), &to.model).ok()?;
        let prefix = self.gateway.known.seen(self.call, &warm.model).prefix?;
        let rest = self
            .call
            .places
            .messages_end
            .saturating_sub(prefix.rest_from)
            / BYTES_PER_TOKEN;
        let rest = u64::try_from(rest).unwrap_or(u64::MAX);
        let output = self.call.asked_output.unwrap_or(OUTPUT_TOKENS);
        let output = output.min(OUTPUT_TOKENS);
        let all = prefix.tokens.saturating_add(rest);
        let fresh = match self.call.selectors.cache_write_5m {
            true => Kind::CacheWrite5m,
            false => Kind::Input,
        };
        let stay = [
            (prefix.tokens, Kind::CachedInput),
            (rest, fresh),
            (output, Kind::Output),
        ];
        let switch = [(all, fresh), (output, Kind::Output)];
        let sum = |card: &Card, parts: &[(u64, Kind)]| -> u128 {
            let rates = rates(card, all);
            let parts = parts.iter();
            parts
                .map(|(tokens, kind)| u128::from(*tokens) * u128::from(rates.of(*kind)))
                .sum()
        };
        Some([sum(&here, &stay), sum(&there, &switch)])
    }
}

fn rates(card: &Card, input: u64) -> Rates {
    let now = clock::now();
    let plain = |mode: &Mode| mode.service_tier.is_none() && mode.speed.is_none() && !mode.batch;
    let (rates, _) = card.rates(input, |mode| plain(mode) && mode.holds_at(Some(now)));
    rates
}
