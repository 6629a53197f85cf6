//! What the head of an answer tells of its call: the model, what was done to it, its cost, what is left.

use super::Record;
use crate::stack::headers;
use crate::units::NanoUsd;
use http::{HeaderMap, HeaderValue};
use std::sync::Arc;

impl Record {
    /// What every answer's head tells.
    pub fn stamp(&self, head: &mut HeaderMap) {
        let told = self.hold.as_ref().and_then(|hold| hold.terms.told);
        if let Some(told) = told {
            head.insert(&headers::OUTPUT_CAP, told.into());
        }
        if let Some(warning) = &self.facts.warning {
            head.insert(&headers::WARNING, HeaderValue::clone(warning));
        }
        if let Some(notice) = self.facts.notice {
            head.insert(&headers::NOTICE, HeaderValue::from_static(notice));
        }
        if let Some(trimmed) = self.facts.trimmed.and_then(headers::number) {
            head.insert(&headers::TRIMMED, trimmed);
        }
        if let Ok(model) = HeaderValue::from_str(&self.facts.model) {
            head.insert(&headers::MODEL, model);
        }
        if let Some(translation) = &self.facts.translation {
            translation.stamp(head);
        }
    }

    /// What the head of a stream tells of what is left, while its cost is not known.
    pub fn stamp_remaining(&self, head: &mut HeaderMap) {
        if let Some(hold) = &self.hold {
            stamp_remaining(head, &hold.terms.remaining);
        }
    }
}

/// What a plain answer is told of its cost.
#[derive(Default)]
pub struct Charged {
    pub(super) cost: Option<NanoUsd>,
    /// The model that answered, if it is not the one asked for.
    pub(super) answered: Option<Arc<str>>,
    pub(super) remaining: crate::ledger::Remaining,
}

impl Charged {
    /// What it cost, if that is certain.
    #[must_use]
    pub const fn cost(&self) -> Option<NanoUsd> {
        self.cost
    }

    /// Puts the cost and what is left into a plain answer's head.
    pub fn stamp(&self, head: &mut HeaderMap) {
        if let Some(cost) = self.cost.and_then(headers::usd) {
            head.insert(&headers::COST_USD, cost);
        }
        let answered = self.answered.as_deref();
        if let Some(model) = answered.and_then(|model| HeaderValue::from_str(model).ok()) {
            head.insert(&headers::MODEL, model);
        }
        stamp_remaining(head, &self.remaining);
    }
}

fn stamp_remaining(head: &mut HeaderMap, remaining: &crate::ledger::Remaining) {
    if let Some(usd) = remaining.usd.and_then(headers::usd) {
        head.insert(&headers::REMAINING_USD, usd);
    }
    if let Some(turns) = remaining.turns {
        head.insert(&headers::REMAINING_TURNS, turns.into());
    }
}
