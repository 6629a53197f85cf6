use super::{Settings, Unpriceable, quote};
use crate::conversation::Media;
use crate::dialect::{BodyIds, Call, Dialect, Prompt, Selectors, Usage};
use crate::price::{Card, Catalogue, Context, charge};
use crate::units::{Meter, UnixMs};
use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;

fn call() -> Call {
    Call {
        dialect: Dialect::OpenaiChat,
        body: bytes::Bytes::new(),
        model: "m".to_owned(),
        model_at: 0..0,
        stream: false,
        usage_asked: false,
        asked_output: Some(1000),
        output_caps: Vec::new(),
        outputs: 1,
        thinking_budget: None,
        unclampable: false,
        predicted_bytes: 0,
        background: false,
        prompt: Prompt::default(),
        selectors: Selectors::default(),
        ids: BodyIds::default(),
        unlisted: Vec::new(),
        chain: crate::conversation::Chain::default(),
        places: crate::dialect::Places::default(),
    }
}

fn card(text: &str) -> Arc<Card> {
    let text = format!("[[model]]\nname = \"m\"\n{text}");
    let catalogue = Catalogue::with_overrides(&text, Path::new("p.toml")).unwrap();
    catalogue.find("any", "m").unwrap()
}

fn sim() -> Arc<Card> {
    Catalogue::builtin().find("any", "sim-fast").unwrap()
}

#[test]
fn input_and_turn_are_fixed_and_output_is_elastic() {
    let settings = Settings {
        known_prefix_tokens: 60,
        ..Settings::default()
    };
    let quote = quote(&sim(), &call(), 100, true, &settings).unwrap();
    assert_eq!(quote.fixed[Meter::Usd], 100_000);
    assert_eq!(quote.fixed[Meter::InputTokens], 100);
    assert_eq!(quote.fixed[Meter::FreshTokens], 40);
    assert_eq!(quote.fixed[Meter::Turns], 1);
    let elastic = quote.elastic.unwrap();
    assert_eq!(
        (elastic.want, elastic.unasked, elastic.least),
        (1000, None, 256)
    );
    assert_eq!(
        (elastic.outputs, elastic.nano_per_million),
        (1, 4_000_000_000)
    );
}

#[test]
fn embeddings_have_no_output() {
    let card = Catalogue::builtin().find("any", "sim-embed").unwrap();
    let call = Call {
        dialect: Dialect::OpenaiEmbeddings,
        asked_output: None,
        ..call()
    };
    let quote = quote(&card, &call, 10, false, &Settings::default()).unwrap();
    assert_eq!((quote.elastic, quote.fixed[Meter::Turns]), (None, 0));
}

#[test]
fn a_cap_nobody_named_is_the_models_most_and_can_be_set() {
    let call = Call {
        asked_output: None,
        ..call()
    };
    let elastic = quote(&sim(), &call, 1, true, &Settings::default())
        .unwrap()
        .elastic
        .unwrap();
    assert_eq!((elastic.want, elastic.unasked), (128_000, Some(8_192)));
    let unknown = card("input = \"1\"\noutput = \"1\"");
    let elastic = quote(&unknown, &call, 1, true, &Settings::default())
        .unwrap()
        .elastic
        .unwrap();
    assert!(elastic.want > 1_000_000_000);
    assert_eq!(elastic.unasked, Some(8_192));
}

#[test]
fn what_cannot_be_clamped_asks_for_all() {
    let predicted = Call {
        unclampable: true,
        asked_output: None,
        ..call()
    };
    let elastic = quote(&sim(), &predicted, 1, true, &Settings::default())
        .unwrap()
        .elastic
        .unwrap();
    assert_eq!(
        (elastic.want, elastic.unasked, elastic.least),
        (128_000, None, 128_000)
    );
    let thinking = Call {
        thinking_budget: Some(600),
        ..call()
    };
    let elastic = quote(&sim(), &thinking, 1, true, &Settings::default())
        .unwrap()
        .elastic
        .unwrap();
    assert_eq!(elastic.least, 601);
    let small = Call {
        asked_output: Some(5),
        ..call()
    };
    let elastic = quote(&sim(), &small, 1, true, &Settings::default())
        .unwrap()
        .elastic
        .unwrap();
    assert_eq!((elastic.want, elastic.least), (5, 5));
}

#[test]
fn predicted_output_is_held_beside_what_is_written() {
    let predicted = Call {
        unclampable: true,
        predicted_bytes: 50,
        outputs: 2,
        ..call()
    };
    let quote = quote(&sim(), &predicted, 100, true, &Settings::default()).unwrap();
    assert_eq!(quote.fixed[Meter::Usd], 100 * 1000 + 100 * 4000);
    assert_eq!(quote.fixed[Meter::OutputTokens], 100);
    assert_eq!(quote.fixed[Meter::Tokens], 200);
}

#[test]
fn a_bound_is_never_more_than_the_window() {
    let quote = quote(&sim(), &call(), 5_000_000, true, &Settings::default()).unwrap();
    assert_eq!(quote.fixed[Meter::InputTokens], 1_000_000);
}

const TIERS: &str = r#"
    input = "1"
    cache_write_5m = "1.25"
    cache_write_1h = "2"
    audio_input = "30"
    output = "4"
    audio_output = "60"
    context_window = 1000000
    long = [{ over = 1000, input = "2", output = "6" }]
    modes = [
      { service_tier = "priority", input = "3", output = "12" },
      { service_tier = "flex", factor = "1/2" },
      { speed = "fast", factor = "3/1" },
      { from = "2027-01-01", input = "7" },
      { batch = true, input = "100" },
    ]
    geo = { us = "11/10" }
"#;

/// (input, output) in whole dollars × 10 per million.
fn rates(selectors: Selectors, prompt: Prompt, bound: u64) -> Result<(u64, u64), Unpriceable> {
    let call = Call {
        selectors,
        prompt,
        ..call()
    };
    let quote = quote(&card(TIERS), &call, bound, true, &Settings::default())?;
    let tenths = |nano: u64| nano / 100_000_000;
    Ok((
        tenths(quote.fixed[Meter::Usd] * 1_000_000 / bound),
        tenths(quote.elastic.unwrap().nano_per_million),
    ))
}

#[test]
fn the_dearest_that_the_request_can_select() {
    let plain = Selectors::default;
    let tier = |tier: &str| Selectors {
        service_tier: Some(tier.to_owned()),
        ..plain()
    };
    let none = Prompt::default;
    assert_eq!(rates(plain(), none(), 1000), Ok((10, 40)));
    assert_eq!(rates(plain(), none(), 1001), Ok((20, 60)));
    assert_eq!(rates(tier("priority"), none(), 10), Ok((30, 120)));
    assert_eq!(rates(tier("auto"), none(), 10), Ok((30, 120)));
    assert_eq!(rates(tier("default"), none(), 10), Ok((10, 40)));
    // Flex may be answered at the plain tier.
    assert_eq!(rates(tier("flex"), none(), 10), Ok((10, 40)));
    let fast = Selectors {
        speed: Some("fast".to_owned()),
        ..plain()
    };
    assert_eq!(rates(fast, none(), 10), Ok((30, 120)));
    let written = Selectors {
        cache_write_5m: true,
        ..plain()
    };
    assert_eq!(rates(written, none(), 100), Ok((12, 40)));
    let written = Selectors {
        cache_write_1h: true,
        ..plain()
    };
    assert_eq!(rates(written, none(), 100), Ok((20, 40)));
    let here = Selectors {
        inference_geo: Some("us".to_owned()),
        ..plain()
    };
    assert_eq!(rates(here, none(), 100), Ok((11, 44)));
    let heard = Prompt {
        media: Media {
            audio: 1,
            ..Media::default()
        },
        ..none()
    };
    assert_eq!(rates(plain(), heard, 100), Ok((300, 40)));
    let spoken = Selectors {
        audio_output: true,
        ..plain()
    };
    assert_eq!(rates(spoken, none(), 100), Ok((10, 600)));
}

#[test]
fn a_price_that_changes_within_the_day_counts() {
    let eve: jiff::Timestamp = "2026-12-31T12:00:00Z".parse().unwrap();
    let settings = Settings {
        at: UnixMs(eve.as_millisecond()),
        ..Settings::default()
    };
    let quote = quote(&card(TIERS), &call(), 100, true, &settings).unwrap();
    assert_eq!(quote.fixed[Meter::Usd], 700_000);
}

#[test]
fn what_has_no_price_is_refused() {
    let plain = Selectors::default;
    let none = Prompt::default;
    let tier = Selectors {
        service_tier: Some("scale".to_owned()),
        ..plain()
    };
    assert!(matches!(
        rates(tier, none(), 1),
        Err(Unpriceable::ServiceTier(_))
    ));
    let speed = Selectors {
        speed: Some("warp".to_owned()),
        ..plain()
    };
    assert!(matches!(
        rates(speed, none(), 1),
        Err(Unpriceable::Speed(_))
    ));
    let geo = Selectors {
        inference_geo: Some("moon".to_owned()),
        ..plain()
    };
    assert!(matches!(rates(geo, none(), 1), Err(Unpriceable::Geo(_))));
    let advised = Selectors {
        surcharges: vec!["advisor".to_owned()],
        ..plain()
    };
    assert!(matches!(
        rates(advised, none(), 1),
        Err(Unpriceable::Surcharge(_))
    ));
    let hosted = Prompt {
        hosted_tools: vec![("web_search".to_owned(), Some(1))],
        ..none()
    };
    assert!(matches!(
        rates(plain(), hosted, 1),
        Err(Unpriceable::HostedTool(_))
    ));
}

#[test]
fn hosted_tools_need_a_bound_and_cost_a_window_a_round() {
    let searching = |uses| {
        let prompt = Prompt {
            hosted_tools: vec![("web_search_20250305".to_owned(), uses)],
            ..Prompt::default()
        };
        quote(
            &sim(),
            &Call { prompt, ..call() },
            100,
            true,
            &Settings::default(),
        )
    };
    assert!(matches!(
        searching(None),
        Err(Unpriceable::HostedToolUnbounded(_))
    ));
    let quote = searching(Some(2)).unwrap();
    assert_eq!(quote.fixed[Meter::InputTokens], 2_000_100);
    assert_eq!(quote.fixed[Meter::Usd], 2_000_100 * 1000 + 20_000_000);
    assert_eq!(quote.elastic.unwrap().outputs, 3);
}

#[test]
fn own_tools_of_the_provider_that_run_at_the_client_cost_nothing_more() {
    let card = Catalogue::builtin()
        .find("anthropic", "claude-sonnet-4-5")
        .unwrap();
    let prompt = Prompt {
        hosted_tools: vec![("text_editor_20250728".to_owned(), None)],
        ..Prompt::default()
    };
    let call = Call {
        dialect: Dialect::AnthropicMessages,
        prompt,
        ..call()
    };
    let quote = quote(&card, &call, 100, true, &Settings::default()).unwrap();
    assert_eq!(quote.fixed[Meter::InputTokens], 100);
}

fn dollars() -> impl Strategy<Value = String> {
    (0_u64..100, 0_u32..1_000_000).prop_map(|(whole, part)| format!("\"{whole}.{part:06}\""))
}

/// A table's prices: some of the kinds, input and output always if `base`.
fn prices(base: bool) -> impl Strategy<Value = Vec<String>> {
    let some = proptest::collection::vec(proptest::option::of(dollars()), 9);
    (some, dollars(), dollars()).prop_map(move |(some, input, output)| {
        let kinds = [
            "cached_input",
            "cache_write_5m",
            "cache_write_1h",
            "reasoning",
            "audio_input",
            "cached_audio_input",
            "audio_output",
            "image_input",
            "image_output",
        ];
        let mut lines: Vec<String> = kinds
            .iter()
            .zip(some)
            .filter_map(|(kind, price)| Some(format!("{kind} = {}", price?)))
            .collect();
        if base {
            lines.extend([format!("input = {input}"), format!("output = {output}")]);
        }
        lines
    })
}

fn any_card() -> impl Strategy<Value = Arc<Card>> {
    let long = (100_u64..2_000, prices(false));
    let modes = proptest::collection::vec(prices(true), 3);
    let flags = (any::<bool>(), 1_u32..=1000, 1_u32..=1000, 0_u64..5_000_000);
    (prices(true), long, modes, flags).prop_map(
        |(base, (over, long), modes, (automatic, times, per, call))| {
            let inline = |mut members: Vec<String>, first: &str| {
                members.insert(0, first.to_owned());
                format!("{{ {} }}", members.join(", "))
            };
            let conditions = [
                "service_tier = \"priority\"",
                "speed = \"fast\"",
                "utc = [\"08:00\", \"16:00\"]",
            ];
            let modes: Vec<String> = modes
                .into_iter()
                .zip(conditions)
                .map(|(prices, condition)| inline(prices, condition))
                .collect();
            let long = inline(long, &format!("over = {over}"));
            let lines = [
                base.join("\n"),
                format!("long = [{long}]"),
                format!(
                    "modes = [{}, {{ service_tier = \"flex\", factor = \"{times}/{per}\" }}]",
                    modes.join(", ")
                ),
                format!("geo = {{ us = \"{times}/{per}\" }}"),
                format!("automatic_cache_writes = {automatic}"),
                format!(
                    "per_call = \"{}.{:09}\"",
                    call / 1_000_000,
                    call % 1_000_000
                ),
            ];
            card(&lines.join("\n"))
        },
    )
}

fn any_selectors() -> impl Strategy<Value = Selectors> {
    let tier = prop_oneof![
        Just(None),
        Just(Some("priority")),
        Just(Some("flex")),
        Just(Some("auto"))
    ];
    (tier, any::<[bool; 5]>()).prop_map(|(tier, [fast, here, minutes, hour, spoken])| Selectors {
        service_tier: tier.map(str::to_owned),
        speed: fast.then(|| "fast".to_owned()),
        inference_geo: here.then(|| "us".to_owned()),
        cache_write_5m: minutes,
        cache_write_1h: hour,
        audio_output: spoken,
        ..Selectors::default()
    })
}

/// Splits `total` at the points, in parts.
fn split<const N: usize>(total: u64, points: &[u64]) -> [u64; N] {
    let mut left = total;
    std::array::from_fn(|index| {
        let part = match points.get(index) {
            Some(point) => point % (left + 1),
            None => left,
        };
        left -= part;
        part
    })
}

proptest! {
    /// The invariant of this module: whatever an honest provider answers costs no more than the quote.
    #[test]
    fn no_charge_exceeds_its_quote(
        card in any_card(), selectors in any_selectors(), media in any::<[bool; 2]>(),
        bound in 0_u64..4_000, told in 0_u64..2_000, outputs in 1_u64..4,
        parts in proptest::array::uniform8(any::<u64>()),
        served in any::<[bool; 3]>(), at in 0_i64..200_000_000, later in 0_i64..86_400_000,
    ) {
        let prompt = Prompt {
            media: Media {
                audio: u64::from(media[0]),
                images: u64::from(media[1]),
                ..Media::default()
            },
            ..Prompt::default()
        };
        let call = Call { selectors: selectors.clone(), prompt, asked_output: Some(told), outputs, ..call() };
        let settings = Settings { at: UnixMs(at), ..Settings::default() };
        let quote = quote(&card, &call, bound, true, &settings).unwrap();
        let elastic = quote.elastic.unwrap();
        let output = elastic.want * elastic.outputs;
        let most = u128::from(quote.fixed[Meter::Usd])
            + (u128::from(output) * u128::from(elastic.nano_per_million)).div_ceil(1_000_000);

        // An answer within the bounds: parts that the request cannot cause go to plain text.
        let [mut input, cached, mut minutes, mut hour, mut audio, mut cached_audio, mut image] =
            split::<7>(parts[0] % (bound + 1), &parts[1..7]);
        let writes = card.automatic_cache_writes || selectors.cache_write_5m || selectors.cache_write_1h;
        let mut plain = |part: &mut u64, possible: bool| {
            if !possible {
                input += std::mem::take(part);
            }
        };
        plain(&mut minutes, writes);
        plain(&mut hour, selectors.cache_write_1h);
        plain(&mut audio, media[0]);
        plain(&mut cached_audio, media[0]);
        plain(&mut image, media[1]);
        let [spoken, drawn, text] = split::<3>(parts[7] % (output + 1), &[parts[1], parts[2]]);
        let spoken_possible = if selectors.audio_output { spoken } else { 0 };
        let answered = |asked: &Option<String>, plainly: bool, plain: &str| {
            if plainly { Some(plain.to_owned()) } else { asked.clone() }
        };
        let usage = Usage {
            input, cache_read: cached, cache_write_5m: minutes, cache_write_1h: hour,
            audio_input: audio, audio_cache_read: cached_audio, image_input: image,
            output: text + (spoken - spoken_possible), reasoning: text / 2,
            audio_output: spoken_possible, image_output: drawn,
            service_tier: answered(&selectors.service_tier, served[0], "default"),
            speed: answered(&selectors.speed, served[1], "standard"),
            inference_geo: answered(&selectors.inference_geo, served[2], "global"),
            ..Usage::default()
        };
        let context = Context { at: Some(UnixMs(at + later)), ..Context::default() };
        let charged = charge::charge(&card, &usage, &context);
        prop_assert!(u128::from(charged.0) <= most, "{} > {most}: {usage:?}", charged.0);
    }
}
