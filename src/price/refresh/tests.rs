use super::from_json;
use crate::price::{Catalogue, Context, Kind};
use crate::units::NanoUsd;
use std::path::Path;

const GENAI: &str = r#"[{"id":"openai","name":"OpenAI","models":[
    {"id":"gpt-4o","match":{"or":[{"equals":"gpt-4o"},{"equals":"gpt-4o-2024-08-06"}]},
     "prices":{"input_mtok":2.25,"cache_read_mtok":1.25,"output_mtok":10},
     "price_variants":[{"when":{"service_tier":"default"},"prices":{}},
                       {"when":{"service_tier":"flex"},"prices":{"input_mtok":1.1}}]},
    {"id":"gpt-99","match":{"or":[{"equals":"gpt-99"},{"regex":"^gpt-99-\\d{4}-\\d{2}-\\d{2}$"}]},
     "context_window":7,
     "prices":[{"prices":{"input_mtok":1,"output_mtok":2}},
               {"constraint":{"start_date":"2020-01-01"},
                "prices":{"input_mtok":{"base":0.1,"tiers":[{"start":100,"price":0.2}]},"output_mtok":0.4,"web_searches_kcount":10}},
               {"constraint":{"start_date":"2999-01-01"},"prices":{"input_mtok":9}},
               {"constraint":{"start_time":"01:00:00Z","end_time":"04:00:00Z"},"prices":{"input_mtok":5}}]},
    {"id":"whisper-9","match":{"equals":"whisper-9"},"prices":{"audio_hours":1}}]},
  {"id":"nobody","name":"Nobody","models":[{"id":"x","prices":{"input_mtok":1}}]}]"#;

const LITELLM: &str = r#"{"sample_spec":{"litellm_provider":"one of many","max_tokens":"x"},
    "gpt-99":{"litellm_provider":"openai","mode":"chat","input_cost_per_token":2.5e-07,"output_cost_per_token":1e-06,
        "input_cost_per_token_above_200k_tokens":5e-07,"input_cost_per_token_priority":1e-06,
        "cache_creation_input_token_cost":0.0,"max_input_tokens":400000,"max_output_tokens":128000},
    "gemini/gemini-99":{"litellm_provider":"gemini","mode":"chat","input_cost_per_token":1e-06,"output_cost_per_token":2e-06},
    "tts-99":{"litellm_provider":"openai","mode":"audio_speech","input_cost_per_token":1e-06}}"#;

fn read_back(toml: &str) -> Catalogue {
    Catalogue::with_overrides(toml, Path::new("prices.toml")).unwrap()
}

#[test]
fn a_list_of_providers_becomes_overrides() {
    let refreshed = from_json(&Catalogue::builtin(), GENAI, &[]).unwrap();
    assert_eq!(refreshed.summary.len(), 3, "{:?}", refreshed.summary);
    assert!(
        refreshed.summary[0].contains("input 2.50 -> 2.25"),
        "{:?}",
        refreshed.summary
    );
    assert_eq!(
        refreshed.summary[2],
        "1 changed, 1 new, 0 the same, from genai-prices"
    );

    let catalogue = read_back(&refreshed.toml);
    let known = catalogue.find("openai", "gpt-4o-2024-08-06").unwrap();
    assert_eq!(known.base.of(Kind::Input), 2_250_000_000);
    assert_eq!(
        known.context_window,
        Some(128_000),
        "kept from the catalogue"
    );
    let tiers: Vec<_> = known
        .modes
        .iter()
        .filter_map(|mode| mode.service_tier.as_deref())
        .collect();
    assert!(
        tiers.contains(&"flex") && tiers.contains(&"priority"),
        "{tiers:?}"
    );

    let new = catalogue.find("openai", "gpt-99-2026-01-01").unwrap();
    assert_eq!(new.base.of(Kind::Input), 100_000_000);
    assert_eq!(
        (new.long[0].over, new.modes.len(), new.context_window),
        (100, 2, Some(7))
    );
    assert_eq!(new.fee("web_search"), Some(NanoUsd(10_000_000)));
    assert_eq!(*new.source, *"genai-prices");
    assert!(catalogue.find("openai", "whisper-9").is_err());
}

#[test]
fn a_map_of_models_becomes_overrides() {
    let refreshed = from_json(&Catalogue::builtin(), LITELLM, &["openai".to_owned()]).unwrap();
    let catalogue = read_back(&refreshed.toml);
    let card = catalogue.find("openai", "gpt-99").unwrap();
    assert_eq!(card.base.of(Kind::Input), 250_000_000);
    assert_eq!(card.base.own(Kind::CacheWrite5m), None);
    assert_eq!(
        (card.long[0].over, card.long[0].rates.of(Kind::Input)),
        (200_000, 500_000_000)
    );
    assert_eq!(card.max_output, Some(128_000));
    let priority = Context {
        service_tier: Some("priority"),
        ..Context::default()
    };
    let usage = crate::dialect::Usage {
        input: 1000,
        ..Default::default()
    };
    assert_eq!(catalogue.charge(&card, &usage, &priority).nano.0, 1_000_000);
    assert!(
        catalogue.find("google", "gemini-99").is_err(),
        "not asked for"
    );
    assert!(catalogue.find("openai", "tts-99").is_err());
}

#[test]
fn what_is_neither_list_says_so() {
    for text in ["", "[1]", "\"x\"", "{\"a\":"] {
        assert!(
            from_json(&Catalogue::builtin(), text, &[]).is_err(),
            "{text}"
        );
    }
}

#[test]
fn an_unchanged_list_changes_nothing() {
    let refreshed = from_json(&Catalogue::builtin(), GENAI, &[]).unwrap();
    let again = from_json(&read_back(&refreshed.toml), GENAI, &[]).unwrap();
    assert_eq!(
        again.summary,
        ["0 changed, 0 new, 2 the same, from genai-prices"]
    );
}
