//! `[cache]` and `[idempotency]`: answers that are given again instead of being paid for again.

use super::read::Section;
use super::value;
use std::time::Duration;

/// How much is kept of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptBounds {
    /// For how long an answer is given again.
    pub ttl: Duration,
    /// Of all of them, bytes; the least used make room.
    pub max_bytes: usize,
    /// Of one, bytes; a longer one is not kept.
    pub max_answer: usize,
}

/// `[idempotency]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdempotencySettings {
    /// `window`, `max_bytes`, `max_answer`. A window of nothing: the header passes without effect.
    pub kept: KeptBounds,
    /// Answers to calls with a key are written down too, and outlive the process.
    pub durable_answers: bool,
    /// Of all that is written down, bytes; the oldest make room.
    pub max_durable: usize,
}

impl Default for IdempotencySettings {
    fn default() -> Self {
        Self {
            kept: KeptBounds {
                ttl: Duration::from_secs(24 * 3_600),
                max_bytes: 64 << 20,
                max_answer: 4 << 20,
            },
            durable_answers: false,
            max_durable: 1 << 30,
        }
    }
}

pub(super) fn read_cache(parent: &Section<'_>, top_level: &[&str]) -> Option<KeptBounds> {
    let section = parent.section("cache")?;
    let cache = KeptBounds {
        ttl: section.or("ttl", Duration::from_secs(600), value::positive_span),
        max_bytes: section.or("max_bytes", 64 << 20, value::bytes),
        max_answer: section.or("max_answer", 1 << 20, value::bytes),
    };
    check(&section, &cache);
    section.close_with(top_level);
    Some(cache)
}

pub(super) fn read_idempotency(parent: &Section<'_>, top_level: &[&str]) -> IdempotencySettings {
    let usual = IdempotencySettings::default();
    let Some(section) = parent.section("idempotency") else {
        return usual;
    };
    let settings = IdempotencySettings {
        kept: KeptBounds {
            ttl: section.or("window", usual.kept.ttl, value::span),
            max_bytes: section.or("max_bytes", usual.kept.max_bytes, value::bytes),
            max_answer: section.or("max_answer", usual.kept.max_answer, value::bytes),
        },
        durable_answers: section.or("durable_answers", false, value::flag),
        max_durable: section.or("max_durable", usual.max_durable, value::bytes),
    };
    check(&section, &settings.kept);
    if settings.durable_answers && settings.kept.ttl.is_zero() {
        section.fault_of("durable_answers", "without a `window` no answer is kept");
    }
    section.close_with(top_level);
    settings
}

fn check(section: &Section<'_>, kept: &KeptBounds) {
    if kept.max_answer > kept.max_bytes {
        section.fault_of("max_answer", "one answer cannot be larger than `max_bytes`");
    }
}
