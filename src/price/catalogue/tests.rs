use super::{Catalogue, Unpriced};
use crate::price::Kind;
use std::path::Path;

fn with(text: &str) -> Catalogue {
    Catalogue::with_overrides(text, Path::new("policies/prices.toml")).unwrap()
}

fn input(catalogue: &Catalogue, family: &str, model: &str) -> u64 {
    catalogue.find(family, model).unwrap().base.of(Kind::Input)
}

#[test]
fn all_built_in_data_parses() {
    let models = Catalogue::builtin().parse_all().unwrap();
    assert!(models > 1_000, "{models}");
}

#[test]
fn snapshots_have_their_own_price_or_their_base_models() {
    let catalogue = Catalogue::builtin();
    assert_eq!(input(&catalogue, "openai", "gpt-4o"), 2_500_000_000);
    assert_eq!(
        input(&catalogue, "openai", "gpt-4o-2024-08-06"),
        2_500_000_000
    );
    assert_eq!(
        input(&catalogue, "openai", "gpt-4o-2024-05-13"),
        5_000_000_000
    );
    // A date that nobody announced is another model.
    assert!(catalogue.find("openai", "gpt-4o-2031-01-01").is_err());
    assert_eq!(
        input(&catalogue, "openai", "gpt-5.2-20251211"),
        input(&catalogue, "openai", "gpt-5.2-2025-12-11")
    );
}

#[test]
fn names_are_taken_in_any_case_and_patterns_by_weight() {
    let catalogue = Catalogue::builtin();
    assert_eq!(input(&catalogue, "openai", "GPT-4o"), 2_500_000_000);
    assert_eq!(
        input(&catalogue, "openai", "sim-strong-slow"),
        5_000_000_000
    );
    assert_eq!(input(&catalogue, "local", "sim-slow"), 1_000_000_000);
    assert!(catalogue.find("local", "sim-embed-1").unwrap().embedding);
}

#[test]
fn what_is_gone_or_unknown_is_an_error() {
    let catalogue = Catalogue::builtin();
    assert!(matches!(
        catalogue.find("anthropic", "claude-instant-1.2"),
        Err(Unpriced::Retired { .. })
    ));
    let Err(Unpriced::Unknown { nearest, .. }) = catalogue.find("openai", "gpt-4o-mnii") else {
        panic!("a price for a slip of the pen");
    };
    assert_eq!(nearest.as_deref(), Some("gpt-4o-mini"));
    assert!(catalogue.find("nobody", "gpt-4o").is_err());
}

#[test]
fn families_go_by_address_then_by_kind() {
    let family = Catalogue::family;
    assert_eq!(family("openai", "https://api.groq.com/openai/v1"), "groq");
    assert_eq!(
        family("openai", "https://x.openai.azure.com/openai"),
        "azure"
    );
    assert_eq!(family("openai", "http://127.0.0.1:8000/v1"), "openai");
    assert_eq!(
        family("anthropic", "https://api.anthropic.com"),
        "anthropic"
    );
    let catalogue = Catalogue::builtin();
    assert_eq!(input(&catalogue, "azure", "gpt-4o"), 2_500_000_000);
    assert!(catalogue.find("xai", "grok-4.5").is_ok());
}

#[test]
fn a_deployments_own_prices_go_first() {
    let catalogue = with(
        r#"
        [[model]]
        name = "my-deployment"
        family = "azure"
        like = "gpt-4o"
        tokenizer = "o200k"

        [[model]]
        name = "meta-llama/Llama-3.3-70B"
        globs = ["meta-llama/*"]
        input = "0.10"
        output = 1

        [[model]]
        name = "gpt-5"
        family = "openai"
        like = "gpt-5"
        input = "1"
        "#,
    );
    assert_eq!(input(&catalogue, "azure", "my-deployment"), 2_500_000_000);
    assert!(
        !catalogue
            .find("azure", "my-deployment")
            .unwrap()
            .modes
            .is_empty()
    );
    assert!(catalogue.find("openai", "my-deployment").is_err());
    assert_eq!(input(&catalogue, "openai", "meta-llama/other"), 100_000_000);
    let own = catalogue.find("openai", "gpt-5").unwrap();
    assert_eq!(own.base.of(Kind::Input), 1_000_000_000);
    assert!(
        own.modes.is_empty(),
        "tiers of the old rates went with them"
    );
    assert_ne!(catalogue.version(), Catalogue::builtin().version());
    assert_eq!(*own.version, **catalogue.version());
}

#[test]
fn faults_name_their_line() {
    for (text, line, says) in [
        (
            "\n[[model]]\nname = \"a\"\ninput = 0.1\noutput = \"1\"",
            4,
            "write \"0.1\"",
        ),
        ("[[model]]\nname = \"a\"\ninptu = \"1\"", 3, "inptu"),
        (
            "[[model]]\n\nname = \"a\"\noutput = \"1\"",
            3,
            "no price for input",
        ),
        (
            "[[model]]\nname = \"a\"\ninput = \"1\"",
            2,
            "no price for output",
        ),
        ("[[model]]\nname = \"a\"\nlike = \"b\"", 2, "is no model of"),
        (
            "[[model]]\nname = \"a\"\ninput = \"-1\"",
            3,
            "not an amount",
        ),
        (
            "[[model]]\nname = \"a\"\ninput = \"1e3\"",
            3,
            "not an amount",
        ),
        (
            "[[model]]\nname = \"a\"\ngeo = { us = \"11/0\" }",
            3,
            "ratio",
        ),
        (
            "[[model]]\nname = \"a\"\ntokenizer = \"x\"\ninput = \"1\"\noutput = \"1\"",
            2,
            "tokenizer class",
        ),
        ("x = ", 1, ""),
    ] {
        let error = Catalogue::with_overrides(text, Path::new("p.toml")).unwrap_err();
        assert_eq!(error.line, line, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
}
