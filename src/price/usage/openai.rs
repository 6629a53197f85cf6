//! The `usage` object of OpenAI's APIs and of everybody who imitates them.
//!
//! Traps: cached, written and audio tokens lie inside the prompt's count; reasoning lies inside
//! the completion's, except at xAI (and Gemini's imitation), where only `total_tokens` shows it.

use super::count::{Count, or_zero};
use crate::dialect::Usage;
use crate::price::decimal;
use crate::units::NanoUsd;
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
pub struct Object<'a> {
    prompt_tokens: Option<Count>,
    input_tokens: Option<Count>,
    completion_tokens: Option<Count>,
    output_tokens: Option<Count>,
    total_tokens: Option<Count>,
    prompt_tokens_details: Option<InputDetails>,
    input_tokens_details: Option<InputDetails>,
    completion_tokens_details: Option<OutputDetails>,
    output_tokens_details: Option<OutputDetails>,
    /// DeepSeek.
    prompt_cache_hit_tokens: Option<Count>,
    /// Moonshot, Together and others: beside the prompt's count, but still part of it.
    cached_tokens: Option<Count>,
    /// Mistral's.
    num_cached_tokens: Option<Count>,
    /// Dollars: a number (OpenRouter) or an object (Perplexity).
    #[serde(borrow)]
    cost: Option<&'a RawValue>,
    #[serde(borrow)]
    cost_details: Option<&'a RawValue>,
    is_byok: Option<bool>,
    /// xAI: units of 1e-10 dollars.
    #[serde(borrow)]
    cost_in_usd_ticks: Option<&'a RawValue>,
    /// xAI's live search.
    num_sources_used: Option<Count>,
    server_side_tool_usage_details: Option<XaiTools>,
    /// OpenRouter.
    server_tool_use_details: Option<RouterTools>,
    /// Perplexity.
    num_search_queries: Option<Count>,
    service_tier: Option<String>,
}

#[derive(Default, Deserialize)]
struct InputDetails {
    cached_tokens: Option<Count>,
    cache_write_tokens: Option<Count>,
    cache_creation_tokens: Option<Count>,
    audio_tokens: Option<Count>,
    image_tokens: Option<Count>,
    cached_tokens_details: Option<CachedDetails>,
}

#[derive(Default, Deserialize)]
struct CachedDetails {
    audio_tokens: Option<Count>,
    image_tokens: Option<Count>,
}

#[derive(Default, Deserialize)]
struct OutputDetails {
    reasoning_tokens: Option<Count>,
    audio_tokens: Option<Count>,
    image_tokens: Option<Count>,
}

#[derive(Deserialize)]
struct XaiTools {
    web_search_calls: Option<Count>,
    x_search_calls: Option<Count>,
    code_interpreter_calls: Option<Count>,
    file_search_calls: Option<Count>,
    mcp_calls: Option<Count>,
    document_search_calls: Option<Count>,
    image_generation_calls: Option<Count>,
}

#[derive(Deserialize)]
struct RouterTools {
    web_search_requests: Option<Count>,
}

#[derive(Deserialize)]
struct CostObject<'a> {
    #[serde(borrow)]
    total_cost: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct CostDetails<'a> {
    #[serde(borrow)]
    upstream_inference_cost: Option<&'a RawValue>,
}

impl Object<'_> {
    pub fn normalise(self) -> Option<Usage> {
        let stated_cost = self.stated_cost();
        let prompt = self.prompt_tokens.or(self.input_tokens);
        let completion = self.completion_tokens.or(self.output_tokens);
        if prompt.is_none() && completion.is_none() && stated_cost.is_none() {
            return None;
        }
        let (prompt, completion) = (or_zero(prompt), or_zero(completion));
        let mut usage = Usage {
            stated_cost,
            fees: self.fees(),
            ..Usage::default()
        };
        self.split_input(prompt, &mut usage);
        let beyond = or_zero(self.total_tokens).saturating_sub(prompt.saturating_add(completion));
        self.split_output(completion, beyond, &mut usage);
        usage.service_tier = self.service_tier;
        Some(usage)
    }

    fn split_input(&self, prompt: u64, usage: &mut Usage) {
        let none = InputDetails::default();
        let details = self
            .prompt_tokens_details
            .as_ref()
            .or(self.input_tokens_details.as_ref())
            .unwrap_or(&none);
        let cached = details
            .cached_tokens
            .or(self.prompt_cache_hit_tokens)
            .or(self.cached_tokens)
            .or(self.num_cached_tokens);
        let of_cached = details.cached_tokens_details.as_ref();
        let cached_audio = of_cached.map_or(0, |of| or_zero(of.audio_tokens));
        let cached_image = of_cached.map_or(0, |of| or_zero(of.image_tokens));

        // Each kind takes its part of what is left, so that the parts never exceed the prompt.
        let mut left = prompt;
        let mut take = |count: u64| {
            let part = count.min(left);
            left -= part;
            part
        };
        usage.audio_cache_read = take(cached_audio);
        usage.cache_read = take(or_zero(cached).saturating_sub(cached_audio));
        usage.cache_write_5m = take(or_zero(
            details.cache_write_tokens.or(details.cache_creation_tokens),
        ));
        usage.audio_input = take(or_zero(details.audio_tokens).saturating_sub(cached_audio));
        usage.image_input = take(or_zero(details.image_tokens).saturating_sub(cached_image));
        usage.input = left;
    }

    /// `beyond`: what `total_tokens` counts over prompt and completion, which is reasoning that the
    /// completion's count leaves out.
    fn split_output(&self, completion: u64, beyond: u64, usage: &mut Usage) {
        let none = OutputDetails::default();
        let details = self
            .completion_tokens_details
            .as_ref()
            .or(self.output_tokens_details.as_ref())
            .unwrap_or(&none);
        let mut left = completion;
        let mut take = |count: Option<Count>| {
            let part = or_zero(count).min(left);
            left -= part;
            part
        };
        usage.audio_output = take(details.audio_tokens);
        usage.image_output = take(details.image_tokens);
        usage.output = left.saturating_add(beyond);
        usage.reasoning = or_zero(details.reasoning_tokens)
            .max(beyond)
            .min(usage.output);
    }

    /// What the provider itself says it charges. With the customer's own key at the upstream
    /// (`is_byok`), the router's fee and the upstream's bill are both paid.
    fn stated_cost(&self) -> Option<NanoUsd> {
        if let Some(ticks) = self.cost_in_usd_ticks {
            return decimal::scaled_up(ticks.get(), -1).map(NanoUsd);
        }
        let cost = self.cost?;
        let own = decimal::scaled_up(cost.get(), 9).or_else(|| {
            let object: CostObject<'_> = serde_json::from_str(cost.get()).ok()?;
            decimal::scaled_up(object.total_cost?.get(), 9)
        })?;
        let upstream = if self.is_byok == Some(true) {
            self.cost_details
                .and_then(|details| serde_json::from_str::<CostDetails<'_>>(details.get()).ok())
                .and_then(|details| decimal::scaled_up(details.upstream_inference_cost?.get(), 9))
                .unwrap_or(0)
        } else {
            0
        };
        own.checked_add(upstream).map(NanoUsd)
    }

    fn fees(&self) -> Vec<(String, u64)> {
        let mut fees = Vec::new();
        let mut note = |name: &str, count: Option<Count>| {
            if let Some(Count(uses)) = count
                && uses > 0
            {
                fees.push((name.to_owned(), uses));
            }
        };
        if let Some(tools) = &self.server_side_tool_usage_details {
            note("web_search", tools.web_search_calls);
            note("x_search", tools.x_search_calls);
            note("code_interpreter", tools.code_interpreter_calls);
            note("file_search", tools.file_search_calls);
            note("mcp", tools.mcp_calls);
            note("document_search", tools.document_search_calls);
            note("image_generation", tools.image_generation_calls);
        }
        if let Some(tools) = &self.server_tool_use_details {
            note("web_search", tools.web_search_requests);
        }
        note("live_search_source", self.num_sources_used);
        note("web_search", self.num_search_queries);
        fees
    }
}
