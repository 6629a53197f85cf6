//! The `usage` object of Amazon Bedrock's Converse.
//!
//! Traps: what was read from a cache and what was written to one lie outside `inputTokens`;
//! `cacheWriteInputTokens` is the whole of which `cacheDetails` gives the split by term.

use super::count::{Count, or_zero};
use crate::dialect::Usage;
use serde::Deserialize;
use std::borrow::Cow;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Object<'a> {
    input_tokens: Option<Count>,
    output_tokens: Option<Count>,
    cache_read_input_tokens: Option<Count>,
    cache_write_input_tokens: Option<Count>,
    #[serde(borrow)]
    cache_details: Option<Vec<Written<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    #[serde(borrow)]
    ttl: Option<Cow<'a, str>>,
    input_tokens: Option<Count>,
}

impl Object<'_> {
    pub fn normalise(self) -> Option<Usage> {
        if self.input_tokens.is_none() && self.output_tokens.is_none() {
            return None;
        }
        let details = self.cache_details.unwrap_or_default();
        let of = |is_short: bool| {
            let terms = details
                .iter()
                .filter(|part| (part.ttl.as_deref() == Some("5m")) == is_short);
            terms.fold(0, |sum: u64, part| {
                sum.saturating_add(or_zero(part.input_tokens))
            })
        };
        // A term that is not known to be short counts as long: long ones cost more.
        let (short, long) = (of(true), of(false));
        let written = or_zero(self.cache_write_input_tokens);
        Some(Usage {
            input: or_zero(self.input_tokens),
            output: or_zero(self.output_tokens),
            cache_read: or_zero(self.cache_read_input_tokens),
            // What the split leaves out was written at the default term.
            cache_write_5m: short.max(written.saturating_sub(long)),
            cache_write_1h: long,
            ..Usage::default()
        })
    }
}
