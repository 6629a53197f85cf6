//! `bursar audit export`: rows as JSON lines (each verifiable by hand: see the chain's encoding) or
//! calls as CSV.

use super::super::book::{self, Book, BookError};
use crate::store::{CallBody, Kind, Row, StoreError};
use crate::units::{Meter, NanoUsd};
use std::io::{self, Write};
use std::process::ExitCode;

/// `bursar audit export`
#[derive(Clone, Debug, clap::Args)]
pub struct ExportArgs {
    /// From then on: an instant, a day, or how long ago (24h, 7d)
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// jsonl: every row as it is hashed; csv: the calls
    #[arg(long, value_enum, default_value = "jsonl")]
    format: Format,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    Jsonl,
    Csv,
}

const HEAD: [&str; 22] = [
    "seq",
    "ended",
    "owner",
    "identity",
    "task",
    "agent",
    "role",
    "parent",
    "on_behalf_of",
    "provider",
    "model",
    "answered",
    "ending",
    "reason",
    "limit",
    "usd",
    "input_tokens",
    "output_tokens",
    "turns",
    "tool_calls",
    "status",
    "request",
];

/// Prints the rows.
pub(super) fn run(
    args: &ExportArgs,
    book: &Book,
    out: &mut dyn Write,
) -> Result<ExitCode, BookError> {
    let now = crate::clock::now();
    let since = args
        .since
        .as_deref()
        .map(|text| book::instant(text, now))
        .transpose()?;
    if matches!(args.format, Format::Csv) {
        book::csv(out, &HEAD)?;
    }
    let mut failed: Option<io::Error> = None;
    book.reader.rows_since(since, |row| {
        let written = match args.format {
            Format::Jsonl => writeln!(out, "{}", row.to_json()),
            Format::Csv if row.kind == Kind::Call.name() => call(row, out)?,
            Format::Csv => Ok(()),
        };
        failed = written.err();
        Ok(failed.is_none())
    })?;
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(ExitCode::SUCCESS),
    }
}

fn call(row: &Row<'_>, out: &mut dyn Write) -> Result<io::Result<()>, StoreError> {
    let call = CallBody::read(row.at, row.entry)?;
    let text = |field: &Option<crate::store::Text<'_>>| {
        field
            .as_ref()
            .map_or_else(String::new, |text| text.as_str().to_owned())
    };
    let charged = &call.charged.0;
    let cells = [
        row.seq.to_string(),
        book::rfc3339(call.ended),
        call.owner.as_str().to_owned(),
        call.identity.as_str().to_owned(),
        call.task.as_str().to_owned(),
        text(&call.agent),
        text(&call.role),
        text(&call.parent),
        text(&call.on_behalf_of),
        text(&call.provider),
        call.model.as_str().to_owned(),
        text(&call.answered),
        call.ending.as_str().to_owned(),
        text(&call.reason),
        text(&call.limit),
        NanoUsd(charged[Meter::Usd]).to_string(),
        charged[Meter::InputTokens].to_string(),
        charged[Meter::OutputTokens].to_string(),
        charged[Meter::Turns].to_string(),
        charged[Meter::ToolCalls].to_string(),
        call.status
            .map_or_else(String::new, |status| status.to_string()),
        call.request.as_str().to_owned(),
    ];
    Ok(book::csv(out, &cells.each_ref().map(String::as_str)))
}
