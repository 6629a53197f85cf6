//! litellm's `model_prices_and_context_window.json`: one object per model name, dollars per token.

use super::Listed;
use crate::price::card::{Long, Mode};
use crate::price::decimal;
use crate::price::rates::{Kind, Rates};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Its provider, our family, and what it puts before the model's name.
const PROVIDERS: &[(&str, &str, &str)] = &[
    ("openai", "openai", ""),
    ("text-completion-openai", "openai", ""),
    ("anthropic", "anthropic", ""),
    ("gemini", "google", "gemini/"),
    ("mistral", "mistral", "mistral/"),
    ("groq", "groq", "groq/"),
    ("deepseek", "deepseek", "deepseek/"),
    ("xai", "x-ai", "xai/"),
    ("openrouter", "openrouter", "openrouter/"),
    ("azure", "azure", "azure/"),
    ("bedrock", "aws", ""),
    ("bedrock_converse", "aws", ""),
    ("perplexity", "perplexity", "perplexity/"),
    ("together_ai", "together", "together_ai/"),
    ("fireworks_ai", "fireworks", "fireworks_ai/"),
    ("cerebras", "cerebras", "cerebras/"),
    ("moonshot", "moonshotai", "moonshot/"),
    ("minimax", "minimax", "minimax/"),
    ("zai", "zai", "zai/"),
];

const KINDS: &[(&str, Kind)] = &[
    ("input_cost_per_token", Kind::Input),
    ("cache_read_input_token_cost", Kind::CachedInput),
    ("cache_creation_input_token_cost", Kind::CacheWrite5m),
    (
        "cache_creation_input_token_cost_above_1hr",
        Kind::CacheWrite1h,
    ),
    ("output_cost_per_token", Kind::Output),
    ("output_cost_per_reasoning_token", Kind::Reasoning),
    ("input_cost_per_audio_token", Kind::AudioInput),
    ("cache_read_input_audio_token_cost", Kind::CachedAudioInput),
    ("output_cost_per_audio_token", Kind::AudioOutput),
    ("input_cost_per_image_token", Kind::ImageInput),
    ("output_cost_per_image_token", Kind::ImageOutput),
];

type Fields<'a> = BTreeMap<&'a str, &'a RawValue>;

/// The list's token-priced models.
pub fn read(text: &str) -> Result<Vec<Listed>, String> {
    let unlike = |error| format!("neither genai-prices' nor litellm's price list: {error}");
    let models: BTreeMap<String, &RawValue> = serde_json::from_str(text).map_err(unlike)?;
    let mut listed = Vec::new();
    for (name, object) in models {
        // Names and fields without escapes only, so that they can be borrowed.
        let Ok(fields) = serde_json::from_str::<Fields<'_>>(object.get()) else {
            continue;
        };
        listed.extend(one(&name, &fields));
    }
    Ok(listed)
}

fn one(name: &str, fields: &Fields<'_>) -> Option<Listed> {
    let text = |key: &str| Some(fields.get(key)?.get().trim_matches('"'));
    let provider = text("litellm_provider")?;
    let (_, family, prefix) = PROVIDERS.iter().find(|(theirs, ..)| *theirs == provider)?;
    let bare = name.strip_prefix(prefix)?;
    if !matches!(
        text("mode")?,
        "chat" | "completion" | "responses" | "embedding"
    ) {
        return None;
    }
    let base = rates(fields, "", "");
    base.own(Kind::Input).filter(|price| *price > 0)?;
    let modes = [
        (
            "_flex",
            Mode {
                service_tier: Some("flex".into()),
                ..Mode::default()
            },
        ),
        (
            "_priority",
            Mode {
                service_tier: Some("priority".into()),
                ..Mode::default()
            },
        ),
        (
            "_batches",
            Mode {
                batch: true,
                ..Mode::default()
            },
        ),
    ];
    let modes = modes.into_iter().filter_map(|(suffix, mode)| {
        let rates = rates(fields, "", suffix);
        (!rates.is_empty()).then(|| Mode {
            rates,
            long: long(fields, suffix),
            ..mode
        })
    });
    let bound = |key: &str| text(key)?.parse().ok();
    Some(Listed {
        family,
        name: bare.to_ascii_lowercase(),
        base,
        long: long(fields, ""),
        modes: modes.collect(),
        context_window: bound("max_input_tokens"),
        max_output: bound("max_output_tokens"),
        ..Listed::default()
    })
}

/// `above` and `suffix` as they stand in the field's name, in that order.
fn rates(fields: &Fields<'_>, above: &str, suffix: &str) -> Rates {
    let mut rates = Rates::default();
    for (key, kind) in KINDS {
        let price = fields.get(format!("{key}{above}{suffix}").as_str());
        // Dollars per token, into nano-dollars per million tokens.
        rates.0[*kind as usize] = price.and_then(|price| decimal::scaled_up(price.get(), 15));
    }
    // A cache write for nothing means that there is no such price.
    for kind in [Kind::CachedInput, Kind::CacheWrite5m, Kind::CacheWrite1h] {
        let price = &mut rates.0[kind as usize];
        *price = price.filter(|price| *price > 0);
    }
    rates
}

fn long(fields: &Fields<'_>, suffix: &str) -> Vec<Long> {
    let thousands = |key: &str| -> Option<u64> {
        let rest = key.strip_prefix("input_cost_per_token_above_")?;
        rest.strip_suffix(suffix)?
            .strip_suffix("k_tokens")?
            .parse()
            .ok()
    };
    let mut tiers: Vec<Long> = fields
        .keys()
        .filter_map(|key| thousands(key))
        .map(|thousands| Long {
            over: thousands.saturating_mul(1000),
            rates: rates(fields, &format!("_above_{thousands}k_tokens"), suffix),
        })
        .collect();
    tiers.sort_by_key(|tier| tier.over);
    tiers
}
