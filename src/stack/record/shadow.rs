//! What a route with `shadow = true` would have done with a call that is over: for the journal and the
//! metrics.

use super::super::route::Shadow;
use super::Record;
use crate::dialect::Answer;
use crate::price;
use crate::store::{Ending, ShadowEntry};
use crate::units::{Amounts, NanoUsd};

impl Shadow {
    /// Its entry, without a price.
    pub(in crate::stack) fn entry(&self) -> ShadowEntry {
        let to = self.target.as_ref();
        ShadowEntry {
            route: self.route.clone(),
            to: to.map(|to| format!("{}/{}", to.provider.name, to.model).into()),
            usd: None,
        }
    }
}

impl Record {
    /// What would have become of the call, at the tokens that it really took.
    pub(super) fn shadowed(
        &self,
        shadow: &Shadow,
        ending: Ending,
        charged: &Amounts,
        answer: &Answer,
    ) -> ShadowEntry {
        let text = shadow.target.as_ref().map_or("-", |target| &*target.text);
        let usd = self.would_cost(shadow, answer);
        let metrics = &self.gateway.metrics;
        let both = usd.filter(|_| ending == Ending::Settle);
        let both = both.map(|would| [charged.usd(), would]);
        metrics.shadowed((&*shadow.route, text), both);
        ShadowEntry {
            usd,
            ..shadow.entry()
        }
    }

    fn would_cost(&self, shadow: &Shadow, answer: &Answer) -> Option<NanoUsd> {
        let (target, usage) = (shadow.target.as_ref()?, answer.usage.as_ref()?);
        let card = self
            .live
            .catalogue
            .find(target.provider.family(), &target.model);
        Some(price::charge::charge(&*card.ok()?, usage, &self.context()))
    }
}
