//! `bursar report`: what was spent, by one dimension. Reads the file, beside a running gateway too.

use super::book::{self, BookError};
use crate::ops::show;
use crate::store::{By, ReportQuery, ReportRow};
use crate::units::Meter;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// `bursar report`
#[derive(Clone, Debug, clap::Args)]
pub struct ReportArgs {
    /// The dimension
    #[arg(long, value_enum, default_value = "task")]
    by: Dimension,
    /// From then on: an instant, a day, or how long ago (24h, 7d)
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Until then
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// Comma-separated values
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// A JSON array
    #[arg(long)]
    json: bool,
    /// The journal's file, instead of the configured one
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Dimension {
    Agent,
    Role,
    Identity,
    Owner,
    Model,
    Provider,
    Task,
    Tool,
}

impl Dimension {
    const fn by(self) -> By {
        match self {
            Self::Agent => By::Agent,
            Self::Role => By::Role,
            Self::Identity => By::Identity,
            Self::Owner => By::Owner,
            Self::Model => By::Model,
            Self::Provider => By::Provider,
            Self::Task => By::Task,
            Self::Tool => By::Tool,
        }
    }
}

/// Prints the report.
#[must_use]
pub fn run(args: &ReportArgs, config: &Path) -> ExitCode {
    book::print(|out| report(args, config, out))
}

pub(super) fn report(
    args: &ReportArgs,
    config: &Path,
    out: &mut dyn Write,
) -> Result<ExitCode, BookError> {
    let now = crate::clock::now();
    let when = |text: &Option<String>| {
        text.as_deref()
            .map(|text| book::instant(text, now))
            .transpose()
    };
    let query = ReportQuery {
        by: args.by.by(),
        since: when(&args.since)?,
        until: when(&args.until)?,
    };
    let book = book::open(args.store.as_deref(), config)?;
    let rows = book.reader.report(&query)?;
    if args.json {
        let rows: Vec<_> = rows.iter().map(show::report_row).collect();
        writeln!(out, "{}", serde_json::Value::from(rows))?;
        return Ok(ExitCode::SUCCESS);
    }
    let name = clap::ValueEnum::to_possible_value(&args.by)
        .map_or_else(String::new, |value| value.get_name().to_owned());
    let head = [
        name.as_str(),
        "owner",
        "usd",
        "in_doubt_usd",
        "overrun_usd",
        "calls",
        "denied",
        "turns",
        "input_tokens",
        "output_tokens",
        "tool_calls",
    ];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    lines.extend(rows.iter().map(|row| cells(row, args.csv)));
    // The owner tells tasks of the same name apart; elsewhere it would be an empty column.
    if !matches!(args.by, Dimension::Task) {
        lines.iter_mut().for_each(|line| drop(line.remove(1)));
    }
    if args.csv {
        for line in &lines {
            let line: Vec<&str> = line.iter().map(String::as_str).collect();
            book::csv(out, &line)?;
        }
    } else {
        book::table(
            out,
            &lines,
            if matches!(args.by, Dimension::Task) {
                2
            } else {
                1
            },
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

fn cells(row: &ReportRow, csv: bool) -> Vec<String> {
    let key = match row.key.as_str() {
        "" if !csv => "(none)".to_owned(),
        key => key.to_owned(),
    };
    let all = row.settled.saturating_add(&row.in_doubt);
    vec![
        key,
        row.owner.clone().unwrap_or_default(),
        row.settled.usd().to_string(),
        row.in_doubt.usd().to_string(),
        row.overrun.to_string(),
        row.calls.to_string(),
        row.denied.to_string(),
        all[Meter::Turns].to_string(),
        all[Meter::InputTokens].to_string(),
        all[Meter::OutputTokens].to_string(),
        all[Meter::ToolCalls].to_string(),
    ]
}
