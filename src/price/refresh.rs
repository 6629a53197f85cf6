//! A downloaded price list (genai-prices' or litellm's JSON) into our own format, for
//! `policies/prices.toml`.
//!
//! Only models whose prices differ from the catalogue, or that it does not have, come out; what a
//! list does not say of a known model (its window, its tokenizer) stays as the catalogue has it.

use super::card::{Card, Long, Mode};
use super::catalogue::Catalogue;
use super::rates::{Kind, Rates};
use crate::units::NanoUsd;
use std::fmt::Write as _;

mod genai;
mod litellm;

/// What came of it.
#[derive(Debug)]
pub struct Refreshed {
    /// The models that differ, in the catalogue's format.
    pub toml: String,
    /// One line per model that differs, and one that counts them.
    pub summary: Vec<String>,
}

/// One model as a list has it.
#[derive(Debug, Default)]
struct Listed {
    family: &'static str,
    name: String,
    aliases: Vec<String>,
    globs: Vec<String>,
    base: Rates,
    long: Vec<Long>,
    modes: Vec<Mode>,
    fees: Vec<(&'static str, NanoUsd)>,
    context_window: Option<u64>,
    max_output: Option<u64>,
}

/// Reads either list, told apart by its shape, and compares it with the catalogue.
///
/// `families` restricts it; empty means all that the catalogue knows.
///
/// # Errors
/// A sentence, if the text is neither list.
pub fn from_json(
    catalogue: &Catalogue,
    text: &str,
    families: &[String],
) -> Result<Refreshed, String> {
    let (source, mut listed) = match genai::read(text)? {
        Some(listed) => ("genai-prices", listed),
        None => ("litellm", litellm::read(text)?),
    };
    listed.retain(|model| families.is_empty() || families.iter().any(|only| only == model.family));
    let now = jiff::Timestamp::from_millisecond(crate::clock::now().0).unwrap_or_default();
    let date = now.strftime("%Y-%m-%d").to_string();
    let mut toml = format!(
        "# Prices that differ from the built-in catalogue {}.\n",
        catalogue.version()
    );
    let mut summary = Vec::new();
    let (mut new, mut changed) = (0, 0);
    for model in &listed {
        let known = catalogue.find(model.family, &model.name).ok();
        let merged = merge(model, known.as_deref());
        match &known {
            Some(card) if same(card, &merged) => continue,
            Some(card) => {
                changed += 1;
                summary.push(format!(
                    "{} {}: {}",
                    model.family,
                    model.name,
                    difference(card, &merged)
                ));
            }
            None => {
                new += 1;
                summary.push(format!("{} {}: new", model.family, model.name));
            }
        }
        emit(&mut toml, model, &merged, known.as_deref(), source, &date);
    }
    let same = listed.len() - new - changed;
    summary.push(format!(
        "{changed} changed, {new} new, {same} the same, from {source}"
    ));
    Ok(Refreshed { toml, summary })
}

/// The prices after the list has been laid over what is known.
struct Merged {
    base: Rates,
    long: Vec<Long>,
    modes: Vec<Mode>,
}

fn merge(model: &Listed, known: Option<&Card>) -> Merged {
    let mut modes = model.modes.clone();
    let mut base = model.base;
    if let Some(card) = known {
        base = card.base.with(&model.base);
        let listed = |old: &Mode| modes.iter().any(|new| same_condition(new, old));
        let kept: Vec<Mode> = card
            .modes
            .iter()
            .filter(|old| !listed(old))
            .cloned()
            .collect();
        modes.splice(0..0, kept);
    }
    Merged {
        base,
        long: model.long.clone(),
        modes,
    }
}

fn same_condition(a: &Mode, b: &Mode) -> bool {
    let condition = |mode: &Mode| {
        (
            mode.service_tier.clone(),
            mode.speed.clone(),
            mode.batch,
            mode.from,
            mode.utc,
        )
    };
    condition(a) == condition(b)
}

fn same(card: &Card, merged: &Merged) -> bool {
    let has = |modes: &[Mode], mode: &Mode| modes.iter().any(|other| other == mode);
    card.base == merged.base
        && card.long == merged.long
        && card.modes.len() == merged.modes.len()
        && card.modes.iter().all(|mode| has(&merged.modes, mode))
}

fn difference(card: &Card, merged: &Merged) -> String {
    let shown =
        |rate: Option<u64>| rate.map_or_else(|| "none".to_owned(), |n| NanoUsd(n).to_string());
    let mut changes: Vec<String> = Kind::ALL
        .into_iter()
        .map(|(kind, name)| (name, card.base.own(kind), merged.base.own(kind)))
        .filter(|(_, old, new)| old != new)
        .map(|(name, old, new)| format!("{name} {} -> {}", shown(old), shown(new)))
        .collect();
    if card.long != merged.long {
        changes.push("long-context tiers".to_owned());
    }
    if changes.is_empty() {
        changes.push("service tiers, speeds or batch".to_owned());
    }
    changes.join(", ")
}

fn emit(
    out: &mut String,
    model: &Listed,
    merged: &Merged,
    known: Option<&Card>,
    source: &str,
    date: &str,
) {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let list = |names: &[String]| {
        let names: Vec<String> = names.iter().map(|name| quoted(name)).collect();
        format!("[{}]", names.join(", "))
    };
    let mut line = |key: &str, value: String| {
        let _ = writeln!(out, "{key} = {value}");
    };
    line("\n[[model]]\nname", quoted(&model.name));
    line("family", quoted(model.family));
    if let Some(card) = known {
        line("like", quoted(&card.name));
    }
    if !model.aliases.is_empty() {
        line("aliases", list(&model.aliases));
    }
    if !model.globs.is_empty() {
        line("globs", list(&model.globs));
    }
    for (name, price) in prices(&merged.base) {
        line(name, price);
    }
    if merged.base.own(Kind::Output).is_none() {
        line("kind", quoted("embedding"));
    }
    if !merged.long.is_empty() {
        line("long", tiers(&merged.long));
    }
    if !merged.modes.is_empty() {
        let modes: Vec<String> = merged
            .modes
            .iter()
            .map(|mode| format!("  {},\n", inline(mode)))
            .collect();
        line("modes", format!("[\n{}]", modes.concat()));
    }
    if !model.fees.is_empty() {
        let fees: Vec<String> = model
            .fees
            .iter()
            .map(|(name, fee)| format!("{name} = \"{fee}\""))
            .collect();
        line("fees", format!("{{ {} }}", fees.join(", ")));
    }
    for (name, bound) in [
        ("context_window", model.context_window),
        ("max_output", model.max_output),
    ] {
        if let Some(bound) = bound {
            line(name, bound.to_string());
        }
    }
    line("source", quoted(source));
    line("date", quoted(date));
}

fn prices(rates: &Rates) -> impl Iterator<Item = (&'static str, String)> + '_ {
    let own = |(kind, name)| Some((name, format!("\"{}\"", NanoUsd(rates.own(kind)?))));
    Kind::ALL.into_iter().filter_map(own)
}

fn tiers(long: &[Long]) -> String {
    let tiers: Vec<String> = long
        .iter()
        .map(|tier| {
            let mut members = vec![format!("over = {}", tier.over)];
            members.extend(prices(&tier.rates).map(|(name, price)| format!("{name} = {price}")));
            format!("{{ {} }}", members.join(", "))
        })
        .collect();
    format!("[{}]", tiers.join(", "))
}

fn inline(mode: &Mode) -> String {
    let mut members = Vec::new();
    members.extend(
        mode.service_tier
            .as_ref()
            .map(|tier| format!("service_tier = \"{tier}\"")),
    );
    members.extend(
        mode.speed
            .as_ref()
            .map(|speed| format!("speed = \"{speed}\"")),
    );
    members.extend(mode.batch.then(|| "batch = true".to_owned()));
    members.extend(mode.from.and_then(|from| {
        let day = jiff::Timestamp::from_millisecond(from.0).ok()?;
        Some(format!("from = \"{}\"", day.strftime("%Y-%m-%d")))
    }));
    let clock = |minute: u32| format!("\"{:02}:{:02}\"", minute / 60, minute % 60);
    members.extend(
        mode.utc
            .map(|(start, end)| format!("utc = [{}, {}]", clock(start), clock(end))),
    );
    members.extend(
        mode.factor
            .map(|factor| format!("factor = \"{}/{}\"", factor.times, factor.per)),
    );
    members.extend(prices(&mode.rates).map(|(name, price)| format!("{name} = {price}")));
    if !mode.long.is_empty() {
        members.push(format!("long = {}", tiers(&mode.long)));
    }
    format!("{{ {} }}", members.join(", "))
}

#[cfg(test)]
mod tests;
