//! Gemini's `usageMetadata`.
//!
//! Traps: cached tokens lie inside the prompt's count, thoughts outside the candidates', and what
//! its own tools put into the prompt outside the prompt's.

use super::count::{Count, or_zero};
use crate::dialect::Usage;
use serde::Deserialize;
use std::borrow::Cow;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Object<'a> {
    prompt_token_count: Option<Count>,
    candidates_token_count: Option<Count>,
    thoughts_token_count: Option<Count>,
    tool_use_prompt_token_count: Option<Count>,
    cached_content_token_count: Option<Count>,
    total_token_count: Option<Count>,
    #[serde(borrow)]
    prompt_tokens_details: Option<Vec<Modality<'a>>>,
    #[serde(borrow)]
    cache_tokens_details: Option<Vec<Modality<'a>>>,
    #[serde(borrow)]
    candidates_tokens_details: Option<Vec<Modality<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Modality<'a> {
    #[serde(borrow)]
    modality: Option<Cow<'a, str>>,
    token_count: Option<Count>,
}

fn of(kind: &str, details: Option<&Vec<Modality<'_>>>) -> u64 {
    details
        .into_iter()
        .flatten()
        .filter(|entry| entry.modality.as_deref() == Some(kind))
        .map(|entry| or_zero(entry.token_count))
        .fold(0, u64::saturating_add)
}

impl Object<'_> {
    pub fn normalise(self) -> Option<Usage> {
        if self.prompt_token_count.is_none()
            && self.candidates_token_count.is_none()
            && self.total_token_count.is_none()
        {
            return None;
        }
        let prompt = or_zero(self.prompt_token_count);
        let candidates = or_zero(self.candidates_token_count);
        let thoughts = or_zero(self.thoughts_token_count);
        let prompt_details = self.prompt_tokens_details.as_ref();
        let cached_audio = of("AUDIO", self.cache_tokens_details.as_ref());

        let mut left = prompt;
        let mut take = |count: u64| {
            let part = count.min(left);
            left -= part;
            part
        };
        let mut usage = Usage {
            audio_cache_read: take(cached_audio),
            ..Usage::default()
        };
        usage.cache_read =
            take(or_zero(self.cached_content_token_count).saturating_sub(cached_audio));
        usage.audio_input = take(of("AUDIO", prompt_details).saturating_sub(cached_audio));
        let cached_image = of("IMAGE", self.cache_tokens_details.as_ref());
        usage.image_input = take(of("IMAGE", prompt_details).saturating_sub(cached_image));
        usage.input = left.saturating_add(or_zero(self.tool_use_prompt_token_count));

        let details = self.candidates_tokens_details.as_ref();
        usage.audio_output = of("AUDIO", details).min(candidates);
        usage.image_output = of("IMAGE", details).min(candidates - usage.audio_output);
        let text = candidates - usage.audio_output - usage.image_output;
        usage.output = text.saturating_add(thoughts);
        usage.reasoning = thoughts;
        Some(usage)
    }
}
