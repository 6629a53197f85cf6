//! `bursar prices show MODEL` and `bursar prices refresh FILE`.

use crate::config::Loaded;
use crate::price::card::Mode;
use crate::price::{Card, Catalogue, Kind, Rates, refresh};
use crate::units::NanoUsd;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// What to do with the price catalogue.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Show what a model costs, at every provider that sells it.
    Show {
        /// The model's name, as a request would say it.
        model: String,
        /// One JSON object per card instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Turn a downloaded price list (genai-prices' or litellm's JSON) into `policies/prices.toml`.
    ///
    /// Prints the models whose prices differ from the catalogue, in its own format, and a summary
    /// to standard error.
    Refresh {
        /// The downloaded file.
        file: PathBuf,
        /// Write here instead of to standard output.
        #[arg(long, short)]
        output: Option<PathBuf>,
        /// Only these provider families.
        #[arg(long)]
        family: Vec<String>,
    },
}

/// Runs the command. `show` tells what is in force at the configuration, `refresh` compares with the
/// catalogue alone, for what it writes takes the place of earlier overrides.
#[must_use]
pub fn run(args: &Args, config: &Path) -> ExitCode {
    match &args.command {
        Command::Show { model, json } => match in_force(config) {
            Ok(catalogue) => show(&catalogue, model, *json),
            Err(fault) => {
                eprintln!("bursar: {fault}");
                ExitCode::from(super::EX_CONFIG)
            }
        },
        Command::Refresh {
            file,
            output,
            family,
        } => match refreshed(&Catalogue::builtin(), file, output.as_deref(), family) {
            Ok(()) => ExitCode::SUCCESS,
            Err((code, message)) => {
                eprintln!("bursar: {}: {message}", file.display());
                ExitCode::from(code)
            }
        },
    }
}

/// The catalogue under the deployment's own prices; the catalogue alone where nothing is deployed.
fn in_force(config: &Path) -> Result<Catalogue, String> {
    if !config.exists() {
        return Ok(Catalogue::builtin());
    }
    let loaded = Loaded::from_path(config).map_err(|faults| faults.to_string())?;
    match &loaded.prices {
        None => Ok(Catalogue::builtin()),
        Some((path, text)) => {
            Catalogue::with_overrides(text, path).map_err(|error| error.to_string())
        }
    }
}

fn show(catalogue: &Catalogue, model: &str, json: bool) -> ExitCode {
    let cards = catalogue.find_everywhere(model);
    if cards.is_empty() {
        eprintln!("bursar: no price is known for the model `{model}`");
        return ExitCode::from(65);
    }
    super::book::print(|out| {
        for card in &cards {
            match json {
                true => writeln!(out, "{}", as_json(card))?,
                false => write!(out, "{}", as_table(card))?,
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn refreshed(
    catalogue: &Catalogue,
    file: &Path,
    output: Option<&Path>,
    families: &[String],
) -> Result<(), (u8, String)> {
    let text = std::fs::read_to_string(file).map_err(|error| (66, error.to_string()))?;
    let refreshed = refresh::from_json(catalogue, &text, families).map_err(|error| (65, error))?;
    for line in &refreshed.summary {
        eprintln!("{line}");
    }
    match output {
        Some(output) => std::fs::write(output, &refreshed.toml)
            .map_err(|error| (73, format!("{}: {error}", output.display()))),
        None => {
            print!("{}", refreshed.toml);
            Ok(())
        }
    }
}

fn named(rates: &Rates) -> impl Iterator<Item = (&'static str, NanoUsd)> + '_ {
    let own = |(kind, name): (Kind, &'static str)| Some((name, NanoUsd(rates.own(kind)?)));
    Kind::ALL.into_iter().filter_map(own)
}

fn condition(mode: &Mode) -> String {
    let mut said = Vec::new();
    said.extend(
        mode.service_tier
            .as_ref()
            .map(|tier| format!("service_tier {tier}")),
    );
    said.extend(mode.speed.as_ref().map(|speed| format!("speed {speed}")));
    said.extend(mode.batch.then(|| "batch".to_owned()));
    said.extend(mode.from.and_then(|from| {
        let day = jiff::Timestamp::from_millisecond(from.0).ok()?;
        Some(format!("from {}", day.strftime("%Y-%m-%d")))
    }));
    said.extend(mode.utc.map(|(start, end)| {
        format!(
            "{:02}:{:02}-{:02}:{:02} UTC",
            start / 60,
            start % 60,
            end / 60,
            end % 60
        )
    }));
    said.join(", ")
}

fn as_table(card: &Arc<Card>) -> String {
    let mut out = format!("{} ({})\n", card.name, card.family);
    let mut section = |title: &str, rates: &Rates| {
        for (index, (name, price)) in named(rates).enumerate() {
            let title = if index == 0 { title } else { "" };
            let _ = writeln!(out, "  {title:<28} {name:<20} ${price}");
        }
    };
    section("per million tokens", &card.base);
    for tier in &card.long {
        section(&format!("over {} input tokens", tier.over), &tier.rates);
    }
    for mode in &card.modes {
        let said = condition(mode);
        section(&said, &mode.rates);
        for tier in &mode.long {
            section(&format!("{said}, over {}", tier.over), &tier.rates);
        }
    }
    for mode in &card.modes {
        if let Some(factor) = mode.factor {
            let _ = writeln!(
                out,
                "  {:<28} all × {}/{}",
                condition(mode),
                factor.times,
                factor.per
            );
        }
    }
    for (place, ratio) in &card.geo {
        let _ = writeln!(
            out,
            "  {:<28} all × {}/{}",
            format!("served in {place}"),
            ratio.times,
            ratio.per
        );
    }
    if card.per_gpu_second != NanoUsd::ZERO {
        let price = card.per_gpu_second;
        let _ = writeln!(out, "  {:<28} {:<20} ${price}", "per second of GPU", "");
    }
    if card.per_call != NanoUsd::ZERO {
        let _ = writeln!(out, "  {:<28} {:<20} ${}", "per request", "", card.per_call);
    }
    for (name, fee) in &card.fees {
        let _ = writeln!(out, "  {:<28} {name:<20} ${fee}", "per use");
    }
    let shown = |bound: Option<u64>| bound.map_or_else(|| "unknown".to_owned(), |n| n.to_string());
    let _ = writeln!(
        out,
        "  window {}, output at most {}, tokenizer {}",
        shown(card.context_window),
        shown(card.max_output),
        card.tokenizer.name()
    );
    if let Some(deprecated) = &card.deprecated {
        let _ = writeln!(out, "  deprecated: {deprecated}");
    }
    if let Some(note) = &card.note {
        let _ = writeln!(out, "  note: {note}");
    }
    let _ = writeln!(
        out,
        "  as of {}, from {}; catalogue {}",
        card.date, card.source, card.version
    );
    out
}

fn as_json(card: &Arc<Card>) -> serde_json::Value {
    use serde_json::{Map, Value, json};
    let prices = |rates: &Rates| -> Map<String, Value> {
        named(rates)
            .map(|(name, price)| (name.to_owned(), Value::from(price.to_string())))
            .collect()
    };
    let long = |tiers: &[crate::price::card::Long]| -> Vec<Value> {
        tiers
            .iter()
            .map(|tier| json!({"over": tier.over, "prices": prices(&tier.rates)}))
            .collect()
    };
    let modes: Vec<Value> = card
        .modes
        .iter()
        .map(|mode| {
            let factor = mode.factor.map(|factor| format!("{}/{}", factor.times, factor.per));
            json!({"when": condition(mode), "prices": prices(&mode.rates), "long": long(&mode.long), "factor": factor})
        })
        .collect();
    let fees: Map<String, Value> = card
        .fees
        .iter()
        .map(|(name, fee)| (name.to_string(), Value::from(fee.to_string())))
        .collect();
    json!({
        "model": card.name, "family": card.family, "prices": prices(&card.base), "long": long(&card.long),
        "modes": modes, "per_call": card.per_call.to_string(),
        "per_gpu_second": card.per_gpu_second.to_string(), "fees": fees,
        "context_window": card.context_window, "max_output": card.max_output,
        "tokenizer": card.tokenizer.name(), "deprecated": card.deprecated, "note": card.note,
        "date": *card.date, "source": *card.source, "version": *card.version,
    })
}
