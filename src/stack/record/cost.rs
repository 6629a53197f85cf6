//! What an answer comes to: what was charged, or the bound that stands for it.

use super::super::tools::Asked;
use super::entry::count_tools;
use super::{Outcome, Record};
use crate::dialect::{Answer, Usage};
use crate::ledger::Elastic;
use crate::price::{Card, Context};
use crate::units::{Amounts, Meter, NanoUsd};
use std::sync::Arc;
use std::time::Duration;

impl Record {
    /// So many bytes are more tokens than the provider was told, however long its tokens are.
    pub(super) fn is_more_than_told(&self, visible_bytes: u64) -> bool {
        let floor = self
            .facts
            .card
            .as_ref()
            .map_or(u64::MAX, |card| card.most_bytes_per_token);
        self.told()
            .is_some_and(|told| visible_bytes > told.saturating_mul(floor))
    }

    /// Output tokens that the provider may produce in all; `None` if the call generates nothing.
    pub(super) fn told(&self) -> Option<u64> {
        let (hold, elastic) = (self.hold.as_ref()?, self.facts.elastic.as_ref()?);
        let one = hold.terms.told.unwrap_or(elastic.want);
        Some(one.saturating_mul(elastic.outputs))
    }

    /// What an answer that is over comes to.
    #[must_use]
    pub fn outcome(&mut self, answer: Answer) -> Outcome {
        self.saw(answer.visible_bytes);
        if answer.error.is_some() && !answer.complete {
            return Outcome::Doubt("error_event");
        }
        if !answer.complete {
            return Outcome::Doubt("cut_short");
        }
        let answer = Box::new(answer);
        match answer
            .usage
            .as_ref()
            .filter(|usage| self.is_plausible(usage, &answer))
        {
            Some(usage) => {
                let charged = self.charge(usage, &answer);
                Outcome::Settle { charged, answer }
            }
            None => Outcome::Bounded {
                bound: self.timed(self.bound(&answer)),
                reason: "no_usage",
                answer,
            },
        }
    }

    /// Not zero, and not less than what was visibly produced.
    pub(super) fn is_plausible(&self, usage: &Usage, answer: &Answer) -> bool {
        if usage.stated_cost.is_some() {
            return true;
        }
        let floor = self
            .facts
            .card
            .as_ref()
            .map_or(u64::MAX, |card| card.most_bytes_per_token);
        usage.all_input() > 0 && usage.all_output().saturating_mul(floor) >= answer.visible_bytes
    }

    pub(super) fn charge(&self, usage: &Usage, answer: &Answer) -> Amounts {
        let usd = match &self.facts.card {
            Some(card) => {
                self.live
                    .catalogue
                    .charge(card, usage, &self.context())
                    .nano
            }
            None => usage.stated_cost.unwrap_or_default(),
        };
        let (input, output) = (usage.all_input(), usage.all_output());
        let known = if self.facts.known_input < input {
            self.facts.known_input
        } else {
            0
        };
        self.counted(answer)
            .with(
                Meter::Usd,
                usd.0
                    .saturating_add(self.time_price().0)
                    .saturating_add(self.tool_fees(answer).0),
            )
            .with(Meter::Tokens, input.saturating_add(output))
            .with(Meter::InputTokens, input)
            .with(Meter::OutputTokens, output)
            .with(Meter::FreshTokens, (input - known).saturating_add(output))
    }

    /// What the call's time came to, where time has a price: up to now, and no more than was held for it.
    fn time_price(&self) -> NanoUsd {
        match (&self.facts.card, self.progress.sent) {
            (Some(card), Some(sent)) if card.per_gpu_second != NanoUsd::ZERO => {
                card.time_price(sent.elapsed().min(self.provider.timeouts.total))
            }
            _ => NanoUsd::ZERO,
        }
    }

    /// A bound with the time that was taken in place of the longest possible: whatever else is not known
    /// of a call, that is.
    pub(super) fn timed(&self, bound: Amounts) -> Amounts {
        let Some(card) = &self.facts.card else {
            return bound;
        };
        let held = card.time_price(self.provider.timeouts.total).0;
        let usd = bound.usd().0.saturating_sub(held);
        bound.with(Meter::Usd, usd.saturating_add(self.time_price().0))
    }

    /// For how long an answer is read on without its caller: time that has a price ends where its hold does.
    #[must_use]
    pub fn reads_on_for(&self, usual: Duration) -> Duration {
        let is_timed = |card: &Arc<Card>| card.per_gpu_second != NanoUsd::ZERO;
        match self.progress.sent {
            Some(sent) if self.facts.card.as_ref().is_some_and(is_timed) => {
                let total = self.provider.timeouts.total;
                usual.min(total.saturating_sub(sent.elapsed()))
            }
            _ => usual,
        }
    }

    /// What of the request can select a price, where the answer does not say.
    pub(super) fn context(&self) -> Context<'_> {
        let selectors = &self.call.selectors;
        Context {
            batch: false,
            service_tier: selectors.service_tier.as_deref(),
            speed: selectors.speed.as_deref(),
            inference_geo: selectors.inference_geo.as_deref(),
            at: Some(self.flight().admitted),
        }
    }

    /// The turn, and the tools that the answer asks for.
    pub(super) fn counted(&self, answer: &Answer) -> Amounts {
        Amounts::ZERO
            .with(Meter::Turns, self.facts.fixed[Meter::Turns])
            .with(Meter::ToolCalls, answer.tool_calls.len() as u64)
    }

    /// Counts the answer's tools where limits count per tool.
    pub(super) fn count_tools(&self, answer: &Answer) {
        if answer.tool_calls.is_empty() || !self.live.loaded.policies.limits_tools() {
            return;
        }
        let attribution = &self.flight().attribution;
        let asked = Asked {
            gateway: Arc::clone(&self.gateway),
            live: Arc::clone(&self.live),
            attribution: Arc::clone(attribution),
            facts: crate::config::Facts::new(
                attribution,
                Arc::clone(&self.facts.model),
                self.provider.name.shared(),
                self.dialect().name(),
            ),
            admitted: self.flight().admitted,
            tools: count_tools(answer),
        };
        asked.count();
    }

    /// The next call may go on from this answer by its id alone.
    pub(super) fn keep_output(&self, answer: &Answer) {
        let Some(id) = &answer.id else { return };
        let given = answer.given.as_ref().filter(|_| self.call.ids.is_thread);
        let items = given.map(|given| given.items());
        if let Some(output) = answer.output.as_deref().or(items.as_deref()) {
            let whose = (&*self.flight().attribution, &*self.call);
            let request = &self.facts.request;
            crate::stack::watch::answered(&self.gateway, whose, request, (id, output));
        }
    }

    pub(super) fn tool_fees(&self, answer: &Answer) -> NanoUsd {
        let fees = answer
            .tool_calls
            .iter()
            .map(|(_, name)| self.live.loaded.policies.tool_prices().of(name).0);
        NanoUsd(fees.fold(0, u64::saturating_add))
    }

    /// The quoted input and one token per byte produced; the whole hold where output is unseen.
    pub(super) fn bound(&self, answer: &Answer) -> Amounts {
        let quoted = self.quoted();
        let Some(elastic) = &self.facts.elastic else {
            return quoted;
        };
        let unseen = self
            .facts
            .card
            .as_ref()
            .is_none_or(|card| card.reasons_unseen)
            || !self.call.prompt.hosted_tools.is_empty();
        if unseen {
            return quoted.saturating_add(&self.counted(answer).with(Meter::Turns, 0));
        }
        let produced = self.quote_of(elastic, answer.visible_bytes);
        let bound = if self.is_more_than_told(answer.visible_bytes) {
            // Who did not keep to what it was told bills beyond the hold: nothing smaller is a bound.
            produced
        } else {
            Amounts(std::array::from_fn(|i| produced.0[i].min(quoted.0[i])))
        };
        bound.with(Meter::ToolCalls, answer.tool_calls.len() as u64)
    }

    /// The quoted input, and one token per byte of output.
    pub(super) fn quote_of(&self, elastic: &Elastic, visible_bytes: u64) -> Amounts {
        let one = Elastic {
            outputs: 1,
            ..*elastic
        };
        one.quote(&self.facts.fixed, visible_bytes)
    }

    /// What an answer that broke off may cost: the whole hold; more, if more was seen than the
    /// provider was told.
    pub(super) fn doubted(&self) -> Amounts {
        let (quoted, seen) = (self.quoted(), self.progress.visible_bytes);
        match &self.facts.elastic {
            Some(elastic) if self.is_more_than_told(seen) => {
                let produced = self.quote_of(elastic, seen);
                Amounts(std::array::from_fn(|i| produced.0[i].max(quoted.0[i])))
            }
            _ => quoted,
        }
    }

    pub(super) fn quoted(&self) -> Amounts {
        self.hold
            .as_ref()
            .map_or(Amounts::ZERO, |hold| hold.terms.quoted)
    }
}
