use super::{Context, charge};
use crate::dialect::Usage;
use crate::price::Catalogue;
use crate::units::{NanoUsd, UnixMs};
use std::path::Path;

fn with(text: &str) -> Catalogue {
    Catalogue::with_overrides(text, Path::new("p.toml")).unwrap()
}

/// Charges at a card written in place, or at a known one.
fn nano(catalogue: &Catalogue, model: &str, usage: &Usage, context: &Context<'_>) -> u64 {
    let card = catalogue.find("anthropic", model).unwrap();
    catalogue.charge(&card, usage, context).nano.0
}

fn tokens(input: u64, output: u64) -> Usage {
    Usage {
        input,
        output,
        ..Usage::default()
    }
}

const TIERS: &str = r#"
    [[model]]
    name = "m"
    input = "1"
    cached_input = "0.1"
    output = "4"
    long = [{ over = 1000, input = "2", output = "6" }]
    modes = [
      { service_tier = "priority", input = "3", output = "12" },
      { service_tier = "flex", factor = "1/2" },
      { batch = true, factor = "1/2" },
      { speed = "fast", input = "10", output = "50" },
      { from = "2027-01-01", input = "7" },
      { utc = ["22:00", "02:00"], output = "5" },
    ]
    geo = { us = "11/10" }
    per_call = "0.000001"
    fees = { web_search = "0.01" }
"#;

#[test]
fn one_rounding_up_per_charge() {
    let catalogue = Catalogue::builtin();
    // 3 tokens at 0.10 dollars a million are 300 nano-dollars; one cached token at 0.01 is 10.
    assert_eq!(
        nano(&catalogue, "sim-cheap", &tokens(3, 0), &Context::default()),
        300
    );
    let cached = Usage {
        cache_read: 1,
        ..tokens(3, 0)
    };
    assert_eq!(
        nano(&catalogue, "sim-cheap", &cached, &Context::default()),
        310
    );
    let tiny = with("[[model]]\nname = \"t\"\ninput = \"0.000000001\"\noutput = \"0\"");
    assert_eq!(nano(&tiny, "t", &tokens(1, 1), &Context::default()), 1);
    assert_eq!(
        nano(&tiny, "t", &tokens(1_000_001, 0), &Context::default()),
        2
    );
    assert_eq!(nano(&tiny, "t", &tokens(0, 0), &Context::default()), 0);
}

#[test]
fn a_threshold_flips_the_whole_request() {
    let catalogue = with(TIERS);
    let at = |input| nano(&catalogue, "m", &tokens(input, 10), &Context::default());
    assert_eq!(at(1000), 1000 * 1000 + 10 * 4000 + 1000);
    assert_eq!(at(1001), 1001 * 2000 + 10 * 6000 + 1000);
    // Cached tokens count towards it, at their own rate.
    let cached = Usage {
        cache_read: 1000,
        ..tokens(1, 10)
    };
    assert_eq!(
        nano(&catalogue, "m", &cached, &Context::default()),
        2000 + 1000 * 100 + 60_000 + 1000
    );
}

#[test]
fn the_answers_tier_goes_before_the_one_asked_for() {
    let catalogue = with(TIERS);
    let priority = Context {
        service_tier: Some("priority"),
        ..Context::default()
    };
    let asked = tokens(10, 0);
    assert_eq!(nano(&catalogue, "m", &asked, &priority), 31_000);
    let served = Usage {
        service_tier: Some("default".to_owned()),
        ..tokens(10, 0)
    };
    assert_eq!(nano(&catalogue, "m", &served, &priority), 11_000);
    let flex = Usage {
        service_tier: Some("flex".to_owned()),
        ..tokens(10, 0)
    };
    assert_eq!(nano(&catalogue, "m", &flex, &Context::default()), 6_000);
    let fast = Usage {
        speed: Some("fast".to_owned()),
        ..tokens(10, 0)
    };
    assert_eq!(nano(&catalogue, "m", &fast, &Context::default()), 101_000);
    let batch = Context {
        batch: true,
        ..Context::default()
    };
    assert_eq!(nano(&catalogue, "m", &asked, &batch), 6_000);
    let batch = Usage {
        service_tier: Some("batch".to_owned()),
        ..tokens(10, 0)
    };
    assert_eq!(nano(&catalogue, "m", &batch, &Context::default()), 6_000);
}

#[test]
fn places_multiply_and_what_has_no_price_is_an_estimate() {
    let catalogue = with(TIERS);
    let card = catalogue.find("anthropic", "m").unwrap();
    let here = Usage {
        inference_geo: Some("us".to_owned()),
        ..tokens(10, 0)
    };
    let charge = catalogue.charge(&card, &here, &Context::default());
    assert_eq!((charge.nano.0, charge.estimated), (12_000, false));
    for odd in [
        Usage {
            inference_geo: Some("moon".to_owned()),
            ..tokens(10, 0)
        },
        Usage {
            service_tier: Some("scale".to_owned()),
            ..tokens(10, 0)
        },
        Usage {
            speed: Some("warp".to_owned()),
            ..tokens(10, 0)
        },
        Usage {
            fees: vec![("palm_reading".to_owned(), 1)],
            ..tokens(10, 0)
        },
        Usage {
            others: vec![(Some("nobody".to_owned()), tokens(0, 0))],
            ..tokens(10, 0)
        },
    ] {
        let charge = catalogue.charge(&card, &odd, &Context::default());
        assert_eq!((charge.nano.0, charge.estimated), (11_000, true), "{odd:?}");
    }
}

#[test]
fn fees_are_per_use_and_never_discounted() {
    let catalogue = with(TIERS);
    let searched = Usage {
        fees: vec![("web_search".to_owned(), 3)],
        ..tokens(0, 0)
    };
    let batch = Context {
        batch: true,
        ..Context::default()
    };
    assert_eq!(nano(&catalogue, "m", &searched, &batch), 30_000_000 + 1000);
}

#[test]
fn days_and_hours_have_their_prices() {
    let catalogue = with(TIERS);
    let at = |text: &str| {
        let at: jiff::Timestamp = text.parse().unwrap();
        let at = Some(UnixMs(at.as_millisecond()));
        nano(
            &catalogue,
            "m",
            &tokens(10, 10),
            &Context {
                at,
                ..Context::default()
            },
        )
    };
    assert_eq!(at("2026-12-31T21:59:59Z"), 10_000 + 40_000 + 1000);
    assert_eq!(at("2026-12-31T22:00:00Z"), 10_000 + 50_000 + 1000);
    assert_eq!(at("2027-01-01T01:59:59Z"), 70_000 + 50_000 + 1000);
    assert_eq!(at("2027-01-01T02:00:00Z"), 70_000 + 40_000 + 1000);
}

#[test]
fn further_usage_is_billed_at_its_own_model() {
    let catalogue = Catalogue::builtin();
    let usage = Usage {
        others: vec![
            (None, tokens(1000, 0)),
            (Some("claude-opus-4-8".to_owned()), tokens(1000, 0)),
        ],
        ..Usage::default()
    };
    let expected = 1000 * 2000 + 1000 * 5000;
    assert_eq!(
        nano(&catalogue, "claude-sonnet-5", &usage, &Context::default()),
        expected
    );
}

#[test]
fn a_stated_cost_wins_if_it_can_be_true() {
    let catalogue = Catalogue::builtin();
    let card = catalogue.find("any", "sim-fast").unwrap();
    let stated = |nano| {
        let usage = Usage {
            stated_cost: Some(NanoUsd(nano)),
            ..tokens(1000, 0)
        };
        let charge = catalogue.charge(&card, &usage, &Context::default());
        (charge.nano.0, charge.stated)
    };
    assert_eq!(stated(2_000_000), (2_000_000, true));
    assert_eq!(stated(100_000), (100_000, true));
    assert_eq!(stated(99_999), (1_000_000, false));
    assert_eq!(stated(0), (1_000_000, false));
}

#[test]
fn sums_saturate() {
    let catalogue = Catalogue::builtin();
    let card = catalogue.find("any", "sim-strong").unwrap();
    let most = 1 << 53;
    let usage = Usage {
        input: most,
        output: most,
        fees: vec![("web_search".to_owned(), u64::MAX)],
        ..Usage::default()
    };
    assert_eq!(
        charge(&card, &usage, &Context::default()),
        NanoUsd(u64::MAX)
    );
}
