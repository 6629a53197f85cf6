//! `bursar audit verify | trace | export`. Reads the file, beside a running gateway too.
//!
//! `verify` ends with 0 if the chain holds and 65 (data error) if it does not, so that a scheduled
//! job notices.

mod export;
mod trace;

use super::book::{self, BookError, EX_DATAERR};
use crate::store::{Head, Verdict, VerifyOptions};
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// `bursar audit`
#[derive(Clone, Debug, clap::Args)]
pub struct AuditArgs {
    #[command(subcommand)]
    verb: Verb,
    /// The journal's file, instead of the configured one
    #[arg(long, value_name = "FILE", global = true)]
    store: Option<PathBuf>,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Verb {
    /// Walk the hash chain, and compare balances with it; 65 if anything is wrong
    Verify(VerifyArgs),
    /// The calls of one task, by agent
    Trace(trace::TraceArgs),
    /// The journal's rows, oldest first
    Export(export::ExportArgs),
}

#[derive(Clone, Debug, clap::Args)]
struct VerifyArgs {
    /// Where archived rows are, instead of the configured folder
    #[arg(long, value_name = "DIR")]
    archive: Option<PathBuf>,
    /// A head printed by an earlier verification, which the chain must still contain
    #[arg(long, value_name = "SEQ:HASH")]
    head: Option<Head>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
#[must_use]
pub fn run(args: &AuditArgs, config: &Path) -> ExitCode {
    book::print(|out| command(args, args.store.as_deref(), config, out))
}

fn command(
    args: &AuditArgs,
    store: Option<&Path>,
    config: &Path,
    out: &mut dyn Write,
) -> Result<ExitCode, BookError> {
    match &args.verb {
        Verb::Verify(args) => verify(args, store, config, out),
        Verb::Trace(args) => trace::run(args, &book::open(store, config)?, out),
        Verb::Export(args) => export::run(args, &book::open(store, config)?, out),
    }
}

fn verify(
    args: &VerifyArgs,
    store: Option<&Path>,
    config: &Path,
    out: &mut dyn Write,
) -> Result<ExitCode, BookError> {
    let book = book::open(store, config)?;
    // A configured folder comes into being with the first archive.
    let configured = book.archives.clone().filter(|folder| folder.is_dir());
    let options = VerifyOptions {
        archive_dir: args.archive.clone().or(configured),
        head: args.head,
    };
    let verdict = book.reader.verify(&options)?;
    if args.json {
        writeln!(out, "{}", as_json(&verdict))?;
    } else {
        print(&verdict, out)?;
    }
    Ok(match verdict.is_ok() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(EX_DATAERR),
    })
}

fn print(verdict: &Verdict, out: &mut dyn Write) -> Result<(), BookError> {
    if let Some(bad) = &verdict.first_bad {
        let archive = bad.archive.as_deref();
        let place = archive.map_or_else(String::new, |name| format!(" of {name}"));
        writeln!(out, "bad: row {}{place}: {}", bad.seq, bad.why)?;
    }
    for finding in &verdict.bad_balances {
        writeln!(out, "bad: {finding}")?;
    }
    if verdict.is_ok() {
        let balances = match verdict.balances_compared {
            true => "balances agree",
            false => "balances not compared, for older rows are not at hand",
        };
        let Verdict {
            rows,
            archived_rows,
            ..
        } = verdict;
        writeln!(
            out,
            "ok: {rows} rows and {archived_rows} archived ones; {balances}"
        )?;
    }
    writeln!(out, "head: {}", verdict.head)?;
    Ok(())
}

fn as_json(verdict: &Verdict) -> serde_json::Value {
    let bad = verdict.first_bad.as_ref();
    json!({
        "ok": verdict.is_ok(),
        "rows": verdict.rows,
        "archived_rows": verdict.archived_rows,
        "first_bad": bad.map(|bad| json!({"seq": bad.seq, "archive": bad.archive, "why": bad.why})),
        "balances_compared": verdict.balances_compared,
        "bad_balances": verdict.bad_balances,
        "head": verdict.head.to_string(),
    })
}

#[cfg(test)]
mod tests;
