//! What the simulated providers charge, and the one place where they multiply.
//!
//! This is deliberately not `crate::price`: the bill is the oracle that the gateway's own arithmetic is
//! measured against, so it shares neither code nor data with it. Prices are nano-dollars per million
//! tokens; a charge is one `u128` sum and one rounding up.
//!
//! | model | input | cached | write 5 m | write 1 h | output | window | longest answer |
//! | --- | --- | --- | --- | --- | --- | --- | --- |
//! | `sim-strong*` | $5.00 | $0.50 | $6.25 | $10.00 | $25.00 | 1,000,000 | 128,000 |
//! | `sim-cheap*` | $0.10 | $0.01 | $0.125 | $0.20 | $0.40 | 1,000,000 | 128,000 |
//! | `sim-embed*` | $0.10 | | | | | 1,000,000 | |
//! | `sim-*` and every unknown name | $1.00 | $0.10 | $1.25 | $2.00 | $4.00 | 1,000,000 | 128,000 |
//!
//! Well-known names have the providers' list prices.

use crate::units::NanoUsd;

/// Prices in nano-dollars per million tokens, and the model's bounds in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Card {
    /// Input that is neither cached nor written to a cache.
    pub input: u64,
    /// Input read from a cache.
    pub cache_read: u64,
    /// Input written to a cache for five minutes.
    pub cache_write_5m: u64,
    /// Input written to a cache for an hour.
    pub cache_write_1h: u64,
    /// Output, reasoning included.
    pub output: u64,
    /// The longest prompt, in tokens.
    pub window: u64,
    /// The longest answer, in tokens.
    pub longest: u64,
    /// An OpenAI reasoning model: unseen reasoning, and no `max_tokens` in chat.
    pub reasons: bool,
}

/// Token counts of one answer; no token stands in two fields but `reasoning`, which is part of `output`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Neither cached nor written.
    pub input: u64,
    /// Read from a cache.
    pub cache_read: u64,
    /// Written for five minutes.
    pub cache_write_5m: u64,
    /// Written for an hour.
    pub cache_write_1h: u64,
    /// Everything produced.
    pub output: u64,
    /// The part of `output` that nobody sees.
    pub reasoning: u64,
}

impl Tokens {
    /// All input, however it is priced.
    pub const fn all_input(&self) -> u64 {
        self.input + self.cache_read + self.cache_write_5m + self.cache_write_1h
    }
}

impl Card {
    /// Nano-dollars for these tokens: one sum, rounded up once.
    pub fn charge(&self, tokens: &Tokens) -> NanoUsd {
        let lines = [
            (tokens.input, self.input),
            (tokens.cache_read, self.cache_read),
            (tokens.cache_write_5m, self.cache_write_5m),
            (tokens.cache_write_1h, self.cache_write_1h),
            (tokens.output, self.output),
        ];
        let sum: u128 = lines
            .iter()
            .map(|(count, price)| u128::from(*count) * u128::from(*price))
            .sum();
        NanoUsd(u64::try_from(sum.div_ceil(1_000_000)).unwrap_or(u64::MAX))
    }

    /// The card of that model: the first prefix that fits, else the default.
    pub fn of(model: &str) -> &'static Self {
        CARDS
            .iter()
            .find(|(prefix, _)| model.starts_with(prefix))
            .map_or(&DEFAULT, |(_, card)| card)
    }
}

/// A card from prices in thousandths of a dollar per million tokens, with cache writes at the input price.
const fn card(input: u64, cache_read: u64, output: u64, window: u64, longest: u64) -> Card {
    Card {
        input: input * 1_000_000,
        cache_read: cache_read * 1_000_000,
        cache_write_5m: input * 1_000_000,
        cache_write_1h: input * 1_000_000,
        output: output * 1_000_000,
        window,
        longest,
        reasons: false,
    }
}

/// The same, for a model whose cache writes cost 1.25 (five minutes) and 2 times the input.
const fn writes(mut card: Card) -> Card {
    card.cache_write_5m = card.input / 4 * 5;
    card.cache_write_1h = card.input * 2;
    card
}

/// The same, for a model that reasons unseen.
const fn reasons(mut card: Card) -> Card {
    card.reasons = true;
    card
}

const DEFAULT: Card = writes(card(1_000, 100, 4_000, 1_000_000, 128_000));

/// More special prefixes stand first.
const CARDS: [(&str, Card); 35] = [
    (
        "global.anthropic.claude-sonnet-4-5",
        writes(card(3_000, 300, 15_000, 200_000, 64_000)),
    ),
    (
        "us.anthropic.claude-sonnet-4-5",
        writes(card(3_300, 330, 16_500, 200_000, 64_000)),
    ),
    (
        "eu.anthropic.claude-sonnet-4-5",
        writes(card(3_300, 330, 16_500, 200_000, 64_000)),
    ),
    ("amazon.nova-lite", card(60, 15, 240, 300_000, 10_000)),
    (
        "sim-strong",
        writes(card(5_000, 500, 25_000, 1_000_000, 128_000)),
    ),
    ("sim-cheap", writes(card(100, 10, 400, 1_000_000, 128_000))),
    ("sim-embed", card(100, 100, 0, 1_000_000, 0)),
    ("sim", DEFAULT),
    ("gpt-4o-mini", card(150, 75, 600, 128_000, 16_384)),
    ("gpt-4o", card(2_500, 1_250, 10_000, 128_000, 16_384)),
    ("gpt-4.1-nano", card(100, 25, 400, 1_047_576, 32_768)),
    ("gpt-4.1-mini", card(400, 100, 1_600, 1_047_576, 32_768)),
    ("gpt-4.1", card(2_000, 500, 8_000, 1_047_576, 32_768)),
    ("gpt-5-nano", reasons(card(50, 5, 400, 400_000, 128_000))),
    (
        "gpt-5-mini",
        reasons(card(250, 25, 2_000, 400_000, 128_000)),
    ),
    ("gpt-5", reasons(card(1_250, 125, 10_000, 400_000, 128_000))),
    (
        "gpt-3.5-turbo-instruct",
        card(1_500, 1_500, 2_000, 4_096, 4_096),
    ),
    ("gpt-3.5-turbo", card(500, 500, 1_500, 16_385, 4_096)),
    ("o1", reasons(card(15_000, 7_500, 60_000, 200_000, 100_000))),
    (
        "o3-mini",
        reasons(card(1_100, 550, 4_400, 200_000, 100_000)),
    ),
    ("o3", reasons(card(2_000, 500, 8_000, 200_000, 100_000))),
    (
        "o4-mini",
        reasons(card(1_100, 275, 4_400, 200_000, 100_000)),
    ),
    ("text-embedding-3-small", card(20, 20, 0, 300_000, 0)),
    ("text-embedding-3-large", card(130, 130, 0, 300_000, 0)),
    ("text-embedding-ada-002", card(100, 100, 0, 300_000, 0)),
    (
        "claude-opus-4-5",
        writes(card(5_000, 500, 25_000, 200_000, 64_000)),
    ),
    (
        "claude-opus-4",
        writes(card(15_000, 1_500, 75_000, 200_000, 32_000)),
    ),
    (
        "claude-sonnet-4",
        writes(card(3_000, 300, 15_000, 200_000, 64_000)),
    ),
    (
        "claude-3-7-sonnet",
        writes(card(3_000, 300, 15_000, 200_000, 64_000)),
    ),
    (
        "claude-haiku-4-5",
        writes(card(1_000, 100, 5_000, 200_000, 64_000)),
    ),
    (
        "claude-3-5-haiku",
        writes(card(800, 80, 4_000, 200_000, 8_192)),
    ),
    (
        "gemini-2.5-flash-lite",
        card(100, 10, 400, 1_048_576, 65_536),
    ),
    ("gemini-2.5-flash", card(300, 30, 2_500, 1_048_576, 65_536)),
    // Up to 200,000 tokens of input; the simulated window ends there.
    ("gemini-2.5-pro", card(1_250, 125, 10_000, 200_000, 65_536)),
    ("claude-", writes(card(3_000, 300, 15_000, 200_000, 64_000))),
];
