//! How Bursar says no: a code, a status, a message that says which limit and why, and the numbers
//! behind it. Pure data here; `render` puts it into the client's dialect.
//!
//! A message never contains "429", "rate limit" or "too many requests": some clients look for
//! these words and try again, whatever the status says.

mod code;
pub(crate) mod render;
mod wording;

pub use code::Code;
pub use render::Family;
pub(crate) use render::X_SHOULD_RETRY;

use crate::ledger::Dimension;
use crate::units::{Meter, UnixMs};
use std::sync::Arc;

/// Longest `Retry-After`, in seconds.
pub const RETRY_AFTER_S_MAX: u32 = 60;

/// Where the account that refused stands. Quantities are in the meter's own unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The limit's name in `policies/`.
    pub limit: Arc<str>,
    /// The values of the limit's `per`.
    pub account: Vec<Dimension>,
    /// What is counted.
    pub meter: Meter,
    /// The most that may be spent, top-ups included.
    pub cap: u64,
    /// Spent for certain.
    pub settled: u64,
    /// Set aside for calls in flight.
    pub held: u64,
    /// Spent perhaps.
    pub in_doubt: u64,
    /// The most that this call may take.
    pub needed: u64,
    /// When the account's window ends.
    pub resets_at: Option<UnixMs>,
}

/// What is told of a task that goes round in circles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Circle {
    /// The rule.
    pub rule: &'static str,
    /// Whose call it fired on, if the agent gave a name.
    pub agent: Option<Arc<str>>,
    /// The calls that make up the pattern by their `x-bursar-request-id`, the latest last.
    pub calls: Vec<String>,
    /// Digests of what came again, hexadecimal.
    pub digests: Vec<String>,
}

/// One refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    code: Code,
    status: u16,
    message: String,
    standing: Option<Box<Standing>>,
    circle: Option<Box<Circle>>,
    /// Bytes of what was handed on that are another agent's, and all of them.
    inherited: Option<(u64, u64)>,
    /// The cap's name, where it is no meter's.
    cap_name: Option<&'static str>,
    escalation: Option<Arc<str>>,
    retry_after_s: Option<u32>,
}

impl Refusal {
    /// A refusal that no account stands behind.
    #[must_use]
    pub fn new(code: Code, message: &str) -> Self {
        Self {
            code,
            status: code.status(),
            message: wording::without_retry_words(message),
            standing: None,
            circle: None,
            inherited: None,
            cap_name: None,
            escalation: None,
            retry_after_s: None,
        }
    }

    /// An account leaves too little for the call. The code follows from the meter and the `per`.
    #[must_use]
    pub fn exceeded(standing: Standing) -> Self {
        Self::standing(Code::exceeded(standing.meter, &standing.account), standing)
    }

    /// The task goes round in circles.
    #[must_use]
    pub fn circle(message: &str, circle: Circle) -> Self {
        Self {
            circle: Some(Box::new(circle)),
            ..Self::new(Code::LoopDetected, message)
        }
    }

    /// Only held money is in the way, and the wait for it is over.
    #[must_use]
    pub fn held(standing: Standing) -> Self {
        Self::standing(Code::BudgetHeld, standing)
    }

    /// A single call's context is beyond the cap of this name (`context_tokens`, `handoff_tokens`);
    /// `besides` is a sentence more, or nothing.
    #[must_use]
    pub fn context(cap_name: &'static str, standing: Standing, besides: &str) -> Self {
        let message = wording::context(cap_name, &standing, besides);
        Self {
            standing: Some(Box::new(standing)),
            cap_name: Some(cap_name),
            ..Self::new(Code::ContextExceeded, &message)
        }
    }

    fn standing(code: Code, standing: Standing) -> Self {
        let message = wording::message(code, &standing);
        Self {
            standing: Some(Box::new(standing)),
            ..Self::new(code, &message)
        }
    }

    /// A provider is not called for a moment; nothing was sent, and nothing is billed.
    #[must_use]
    pub fn provider_unavailable(message: &str, retry_after_s: u32) -> Self {
        Self {
            retry_after_s: Some(retry_after_s.clamp(1, RETRY_AFTER_S_MAX)),
            ..Self::new(Code::ProviderUnavailable, message)
        }
    }

    /// Throughput is exhausted for a moment: comes with a time to come back.
    #[must_use]
    pub fn rate_limited(message: &str, retry_after_s: u32) -> Self {
        Self {
            retry_after_s: Some(retry_after_s.clamp(1, RETRY_AFTER_S_MAX)),
            ..Self::new(Code::RateLimited, message)
        }
    }

    /// With a status of its own: 404 for a path that is none, 405, 408, 415.
    #[must_use]
    pub const fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// With another status in place of 402 (`refusal_status`); other statuses stay.
    #[must_use]
    pub fn with_refusal_status(mut self, status: u16) -> Self {
        if self.code.is_final() {
            self.status = status;
        }
        self
    }

    /// With one sentence more.
    #[must_use]
    pub fn with_sentence(mut self, sentence: &str) -> Self {
        self.message.push(' ');
        self.message
            .push_str(&wording::without_retry_words(sentence));
        self
    }

    /// With how many bytes of what was handed on stand in another agent's conversation, and how many it has.
    #[must_use]
    pub const fn with_inherited(mut self, bytes: u64, of_bytes: u64) -> Self {
        self.inherited = Some((bytes, of_bytes));
        self
    }

    /// With the id of the question that a person was asked about it.
    #[must_use]
    pub fn with_escalation(mut self, id: &str) -> Self {
        self.escalation = Some(id.into());
        self
    }

    /// What happened.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.code
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// What the client is told in words.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The limit or the rule that refused, if one did.
    #[must_use]
    pub fn limit(&self) -> Option<&str> {
        let limit = self.standing.as_deref().map(|standing| &*standing.limit);
        limit.or(self.circle.as_deref().map(|circle| circle.rule))
    }
}

#[cfg(test)]
mod tests;
