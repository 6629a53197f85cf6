//! genai-prices' `data.json`: an array of providers, or an object that holds one.

use super::Listed;
use crate::price::card::{Long, Mode};
use crate::price::catalogue::{SIM, families};
use crate::price::decimal;
use crate::price::rates::{Kind, Rates};
use crate::units::{NanoUsd, UnixMs};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    providers: Vec<Provider<'a>>,
}

#[derive(Deserialize)]
struct Provider<'a> {
    id: String,
    #[serde(borrow, default)]
    models: Vec<Model<'a>>,
}

#[derive(Deserialize)]
struct Model<'a> {
    id: String,
    #[serde(rename = "match")]
    clause: Option<Clause>,
    context_window: Option<u64>,
    #[serde(borrow)]
    prices: &'a RawValue,
    #[serde(borrow, default)]
    price_variants: Option<Vec<Variant<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Clause {
    Or(Vec<Clause>),
    And(Vec<Clause>),
    Equals(String),
    StartsWith(String),
    EndsWith(String),
    Contains(String),
    Regex(String),
}

#[derive(Deserialize)]
struct Conditional<'a> {
    constraint: Option<Constraint>,
    #[serde(borrow)]
    prices: Prices<'a>,
}

#[derive(Clone, Deserialize)]
struct Constraint {
    start_date: Option<String>,
    start_time: Option<String>,
    end_time: Option<String>,
}

#[derive(Deserialize)]
struct Variant<'a> {
    when: BTreeMap<String, String>,
    constraint: Option<Constraint>,
    #[serde(borrow)]
    prices: Prices<'a>,
}

type Prices<'a> = BTreeMap<String, Option<&'a RawValue>>;

#[derive(Deserialize)]
struct Tiered<'a> {
    #[serde(borrow)]
    base: &'a RawValue,
    #[serde(borrow)]
    tiers: Vec<Tier<'a>>,
}

#[derive(Deserialize)]
struct Tier<'a> {
    start: u64,
    #[serde(borrow)]
    price: &'a RawValue,
}

const KINDS: &[(&str, Kind)] = &[
    ("input_mtok", Kind::Input),
    ("cache_read_mtok", Kind::CachedInput),
    ("cache_write_mtok", Kind::CacheWrite5m),
    ("cache_write_5m_mtok", Kind::CacheWrite5m),
    ("cache_write_1h_mtok", Kind::CacheWrite1h),
    ("output_mtok", Kind::Output),
    ("output_reasoning_mtok", Kind::Reasoning),
    ("input_audio_mtok", Kind::AudioInput),
    ("cache_audio_read_mtok", Kind::CachedAudioInput),
    ("output_audio_mtok", Kind::AudioOutput),
    ("input_image_mtok", Kind::ImageInput),
    ("output_image_mtok", Kind::ImageOutput),
];

/// The list's models, or `None` if it is no such list.
pub fn read(text: &str) -> Result<Option<Vec<Listed>>, String> {
    let providers = if text.trim_start().starts_with('[') {
        serde_json::from_str(text).map_err(|error| error.to_string())?
    } else {
        match serde_json::from_str::<Envelope<'_>>(text) {
            Ok(envelope) => envelope.providers,
            Err(_) => return Ok(None),
        }
    };
    let now = crate::clock::now();
    let mut listed = Vec::new();
    for provider in providers {
        let family = families().find(|family| *family == provider.id);
        // No list speaks of the simulated one.
        let Some(family) = family.filter(|family| *family != SIM) else {
            continue;
        };
        for model in &provider.models {
            listed.extend(one(family, model, now)?);
        }
    }
    Ok(Some(listed))
}

/// A model that is not priced by the token is left out.
fn one(family: &'static str, model: &Model<'_>, now: UnixMs) -> Result<Option<Listed>, String> {
    let mut listed = Listed {
        family,
        name: model.id.to_ascii_lowercase(),
        context_window: model.context_window,
        ..Listed::default()
    };
    if let Some(clause) = &model.clause {
        names(clause, &mut listed);
    }
    let own = listed.name.clone();
    listed.aliases.retain(|alias| *alias != own);
    let malformed = |error: String| format!("{family} {}: {error}", model.id);
    let text = model.prices.get();
    if text.starts_with('[') {
        let dated: Vec<Conditional<'_>> =
            serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
        for entry in &dated {
            add(
                &mut listed,
                &BTreeMap::new(),
                entry.constraint.as_ref(),
                &entry.prices,
                now,
            )
            .map_err(malformed)?;
        }
    } else {
        let prices: Prices<'_> =
            serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
        add(&mut listed, &BTreeMap::new(), None, &prices, now).map_err(malformed)?;
    }
    // There the first that holds wins, here the last.
    for variant in model.price_variants.iter().flatten().rev() {
        add(
            &mut listed,
            &variant.when,
            variant.constraint.as_ref(),
            &variant.prices,
            now,
        )
        .map_err(malformed)?;
    }
    Ok(listed.base.own(Kind::Input).is_some().then_some(listed))
}

/// Adds one table of prices under its conditions. A table that holds by now replaces the one before.
fn add(
    listed: &mut Listed,
    when: &BTreeMap<String, String>,
    constraint: Option<&Constraint>,
    prices: &Prices<'_>,
    now: UnixMs,
) -> Result<(), String> {
    let (rates, long) = table(prices)?;
    let mut mode = Mode {
        rates,
        long,
        ..Mode::default()
    };
    for (key, value) in when {
        match (key.as_str(), value.as_str()) {
            ("service_tier", "default") => return Ok(()),
            ("service_tier", tier) => mode.service_tier = Some(tier.into()),
            ("speed", speed) => mode.speed = Some(speed.into()),
            ("processing", "batch") => mode.batch = true,
            // A condition that no request or answer tells us.
            _ => return Ok(()),
        }
    }
    if let Some(constraint) = constraint {
        let from = constraint.start_date.as_deref().map(day).transpose()?;
        mode.from = from.filter(|from| *from > now);
        if let (Some(start), Some(end)) = (&constraint.start_time, &constraint.end_time) {
            mode.utc = Some((minute(start)?, minute(end)?));
        }
    }
    if when.is_empty() && mode.from.is_none() && mode.utc.is_none() {
        listed.base = mode.rates;
        listed.long = mode.long;
        for (key, name) in [
            ("web_searches_kcount", "web_search"),
            ("storage_searches_kcount", "file_search"),
        ] {
            if let Some(Some(price)) = prices.get(key) {
                let fee = decimal::scaled_up(price.get(), 6).ok_or("a fee that is no amount")?;
                listed.fees.retain(|(known, _)| *known != name);
                listed.fees.push((name, NanoUsd(fee)));
            }
        }
        return Ok(());
    }
    listed
        .modes
        .retain(|old| !super::same_condition(old, &mode));
    listed.modes.push(mode);
    Ok(())
}

fn table(prices: &Prices<'_>) -> Result<(Rates, Vec<Long>), String> {
    let mut rates = Rates::default();
    let mut long: BTreeMap<u64, Rates> = BTreeMap::new();
    let dollars = |price: &RawValue| {
        decimal::scaled_up(price.get(), 9).ok_or_else(|| format!("`{price}` is no price"))
    };
    for (key, kind) in KINDS {
        let Some(Some(price)) = prices.get(*key) else {
            continue;
        };
        if price.get().starts_with('{') {
            let tiered: Tiered<'_> =
                serde_json::from_str(price.get()).map_err(|error| error.to_string())?;
            rates.0[*kind as usize] = Some(dollars(tiered.base)?);
            for tier in tiered.tiers {
                long.entry(tier.start).or_default().0[*kind as usize] = Some(dollars(tier.price)?);
            }
        } else {
            rates.0[*kind as usize] = Some(dollars(price)?);
        }
    }
    let long = long.into_iter().map(|(over, rates)| Long { over, rates });
    Ok((rates, long.collect()))
}

fn names(clause: &Clause, listed: &mut Listed) {
    let lower = |text: &str| text.to_ascii_lowercase();
    match clause {
        Clause::Or(clauses) => clauses.iter().for_each(|clause| names(clause, listed)),
        // What the first takes, less what the others exclude; those have models of their own.
        Clause::And(clauses) => clauses
            .iter()
            .take(1)
            .for_each(|clause| names(clause, listed)),
        Clause::Equals(name) => listed.aliases.push(lower(name)),
        Clause::StartsWith(start) => listed.globs.push(format!("{}*", lower(start))),
        Clause::EndsWith(end) => listed.globs.push(format!("*{}", lower(end))),
        Clause::Contains(part) => listed.globs.push(format!("*{}*", lower(part))),
        Clause::Regex(regex) => listed.globs.extend(dated_glob(regex)),
    }
}

/// The pattern of a dated snapshot; other expressions have no glob.
fn dated_glob(regex: &str) -> Option<String> {
    let body = regex.strip_prefix('^')?.strip_suffix('$')?;
    let digits = |count: usize| "#".repeat(count);
    let glob = body
        .replace("\\d{8}", &digits(8))
        .replace("\\d{4}", &digits(4))
        .replace("\\d{2}", &digits(2))
        .replace("\\.", ".")
        .replace("[-@]", "-");
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/@#".contains(c);
    glob.chars().all(plain).then_some(glob)
}

fn day(text: &str) -> Result<UnixMs, String> {
    let day: jiff::civil::Date = text.parse().map_err(|_| format!("`{text}` is no date"))?;
    let start = day
        .to_zoned(jiff::tz::TimeZone::UTC)
        .map_err(|error| error.to_string())?;
    Ok(UnixMs(start.timestamp().as_millisecond()))
}

/// `06:30:00Z`, as a minute of the day.
fn minute(text: &str) -> Result<u32, String> {
    let utc = text.ends_with('Z') || text.ends_with("+00:00") || text.len() <= 8;
    let clock = text.get(..5).and_then(|clock| {
        let (hour, minute) = clock.split_once(':')?;
        Some(hour.parse::<u32>().ok()? * 60 + minute.parse::<u32>().ok()?)
    });
    clock
        .filter(|_| utc)
        .ok_or_else(|| format!("`{text}` is no time of the UTC day"))
}
