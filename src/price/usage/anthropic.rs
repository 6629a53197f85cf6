//! The `usage` object of Anthropic's Messages API.
//!
//! Traps: cached and written tokens lie outside `input_tokens`; `cache_creation_input_tokens` is
//! the whole of which `cache_creation` gives the split, now and then not all of it; a request that
//! samples several times (advisor, fallback, compaction) lists each sampling in `iterations`, of
//! which the top level counts only some.

use super::count::{Count, or_zero};
use crate::dialect::Usage;
use serde::Deserialize;

#[derive(Deserialize)]
pub struct Object<'a> {
    input_tokens: Option<Count>,
    output_tokens: Option<Count>,
    cache_read_input_tokens: Option<Count>,
    cache_creation_input_tokens: Option<Count>,
    cache_creation: Option<CacheCreation>,
    output_tokens_details: Option<OutputDetails>,
    server_tool_use: Option<ServerToolUse>,
    service_tier: Option<String>,
    speed: Option<String>,
    inference_geo: Option<String>,
    #[serde(borrow)]
    iterations: Option<Vec<Iteration<'a>>>,
}

#[derive(Clone, Copy, Deserialize)]
struct CacheCreation {
    ephemeral_5m_input_tokens: Option<Count>,
    ephemeral_1h_input_tokens: Option<Count>,
}

#[derive(Deserialize)]
struct OutputDetails {
    thinking_tokens: Option<Count>,
}

#[derive(Deserialize)]
struct ServerToolUse {
    web_search_requests: Option<Count>,
    web_fetch_requests: Option<Count>,
    code_execution_requests: Option<Count>,
    tool_search_requests: Option<Count>,
}

#[derive(Deserialize)]
struct Iteration<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<std::borrow::Cow<'a, str>>,
    model: Option<String>,
    input_tokens: Option<Count>,
    output_tokens: Option<Count>,
    cache_read_input_tokens: Option<Count>,
    cache_creation_input_tokens: Option<Count>,
    cache_creation: Option<CacheCreation>,
}

impl Object<'_> {
    pub fn normalise(self) -> Option<Usage> {
        if self.input_tokens.is_none() && self.output_tokens.is_none() {
            return None;
        }
        let mut usage = tokens(
            self.input_tokens,
            self.output_tokens,
            self.cache_read_input_tokens,
            self.cache_creation_input_tokens,
            self.cache_creation,
        );
        usage.reasoning = self
            .output_tokens_details
            .map_or(0, |details| or_zero(details.thinking_tokens))
            .min(usage.output);
        add_iterations(&mut usage, self.iterations.unwrap_or_default());
        usage.fees = self
            .server_tool_use
            .map_or_else(Vec::new, |tools| tools.fees());
        usage.service_tier = self.service_tier;
        usage.speed = self.speed;
        usage.inference_geo = self.inference_geo;
        Some(usage)
    }
}

/// If the iterations account for all that the top level counts, they are the usage: each is a
/// sampling of its own, at its own model's price. Else the top level stands for the plain messages,
/// and the others (advisor, fallback, compaction) come on top.
fn add_iterations(usage: &mut Usage, iterations: Vec<Iteration<'_>>) {
    let mut plain = Vec::new();
    let mut others = Vec::new();
    for iteration in iterations {
        let is_plain = iteration.kind.as_deref() == Some("message");
        let counted = tokens(
            iteration.input_tokens,
            iteration.output_tokens,
            iteration.cache_read_input_tokens,
            iteration.cache_creation_input_tokens,
            iteration.cache_creation,
        );
        let list = if is_plain { &mut plain } else { &mut others };
        list.push((iteration.model, counted));
    }
    let (top_input, top_output) = (usage.all_input(), usage.all_output());
    let listed = || plain.iter().chain(&others);
    let covers_input = listed().map(|(_, part)| part.all_input()).sum::<u64>() >= top_input;
    let covers_output = listed().map(|(_, part)| part.all_output()).sum::<u64>() >= top_output;
    if !plain.is_empty() && covers_input && covers_output {
        plain.append(&mut others);
        *usage = Usage {
            others: plain,
            ..Usage::default()
        };
    } else {
        usage.others = others;
    }
}

fn tokens(
    input: Option<Count>,
    output: Option<Count>,
    cache_read: Option<Count>,
    cache_creation: Option<Count>,
    split: Option<CacheCreation>,
) -> Usage {
    let split = split.unwrap_or(CacheCreation {
        ephemeral_5m_input_tokens: None,
        ephemeral_1h_input_tokens: None,
    });
    let hour = or_zero(split.ephemeral_1h_input_tokens);
    let minutes = or_zero(split.ephemeral_5m_input_tokens);
    Usage {
        input: or_zero(input),
        output: or_zero(output),
        cache_read: or_zero(cache_read),
        // What the split leaves out was written at the default term.
        cache_write_5m: minutes.max(or_zero(cache_creation).saturating_sub(hour)),
        cache_write_1h: hour,
        ..Usage::default()
    }
}

impl ServerToolUse {
    fn fees(&self) -> Vec<(String, u64)> {
        [
            ("web_search", self.web_search_requests),
            ("web_fetch", self.web_fetch_requests),
            ("code_execution", self.code_execution_requests),
            ("tool_search", self.tool_search_requests),
        ]
        .into_iter()
        .map(|(name, count)| (name.to_owned(), or_zero(count)))
        .filter(|(_, uses)| *uses > 0)
        .collect()
    }
}
