//! `bursar doubt`: money of which nobody knows whether it was spent. `list` reads the file; `release`
//! and `reconcile` go through the running gateway, whose ledger must know.

use super::book::{self, BookError};
use super::client::{Client, OpsArgs, segment};
use super::task::put;
use crate::ops::show;
use crate::store::DoubtFilter;
use http::Method;
use serde_json::{Map, Value};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// `bursar doubt`
#[derive(Clone, Debug, clap::Args)]
pub struct DoubtArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Verb {
    /// List open doubts, the oldest first
    List(ListArgs),
    /// Say that money in doubt was not spent
    Release(ReleaseArgs),
    /// Settle doubts by what a provider's usage export says
    Reconcile(ReconcileArgs),
}

#[derive(Clone, Debug, clap::Args)]
struct ListArgs {
    /// Of this task
    #[arg(long)]
    task: Option<String>,
    /// Its owner, where several have a task of this name
    #[arg(long, requires = "task")]
    owner: Option<String>,
    /// The oldest so many
    #[arg(long, default_value_t = 1_000)]
    limit: usize,
    /// The store's file, instead of the configured one
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug, clap::Args)]
#[group(id = "which", required = true, multiple = false, args = ["ids", "task", "request", "before", "all"])]
struct ReleaseArgs {
    /// Doubts by their ids
    ids: Vec<u64>,
    /// Those of a task
    #[arg(long)]
    task: Option<String>,
    /// Those of a call
    #[arg(long)]
    request: Option<String>,
    /// Those raised before an instant, a day, or longer ago than a span (24h, 7d)
    #[arg(long, value_name = "WHEN")]
    before: Option<String>,
    /// All of them
    #[arg(long)]
    all: bool,
    /// The task's owner, where several have a task of this name
    #[arg(long, requires = "task")]
    owner: Option<String>,
    #[command(flatten)]
    ops: OpsArgs,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug, clap::Args)]
struct ReconcileArgs {
    /// JSON lines, a JSON array or CSV with `request` or `answer`, and `usd`, `input_tokens`,
    /// `output_tokens`; `-` reads standard input
    file: PathBuf,
    #[command(flatten)]
    ops: OpsArgs,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
#[must_use]
pub fn run(args: &DoubtArgs, config: &Path) -> ExitCode {
    book::print(|out| {
        match &args.verb {
            Verb::List(args) => list(args, config, out),
            Verb::Release(args) => release(args, config, out),
            Verb::Reconcile(args) => reconcile(args, config, out),
        }?;
        Ok(ExitCode::SUCCESS)
    })
}

fn list(args: &ListArgs, config: &Path, out: &mut dyn Write) -> Result<(), BookError> {
    let book = book::open(args.store.as_deref(), config)?;
    let task = match &args.task {
        Some(id) => Some(book.task(id, args.owner.as_deref())?.key),
        None => None,
    };
    let doubts = book.reader.doubts(&DoubtFilter {
        task,
        after: None,
        rows: Some(args.limit),
    })?;
    if args.json {
        let doubts: Vec<Value> = doubts.iter().map(show::doubt).collect();
        writeln!(out, "{}", Value::Array(doubts))?;
        return Ok(());
    }
    let head = [
        "ID", "RAISED", "REASON", "TASK", "REQUEST", "ANSWER", "USD", "TOKENS",
    ];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    for doubt in &doubts {
        let text = |text: Option<&str>| text.unwrap_or("-").to_owned();
        lines.push(vec![
            doubt.id.to_string(),
            show::instant(doubt.at),
            reason(doubt),
            text(doubt.task.as_ref().map(|key| key.task.as_str())),
            text(doubt.request.as_deref()),
            text(doubt.answer_id.as_deref()),
            doubt.amounts.usd().to_string(),
            doubt.amounts[crate::units::Meter::Tokens].to_string(),
        ]);
    }
    book::table(out, &lines, 6)?;
    if doubts.iter().any(|doubt| doubt.request.is_none()) {
        let note = "After a crash each account shows what it had been granted and did not prove. A call in flight is in \
                    every account that covered it, so these do not add up; `bursar_in_doubt_usd` counts them once.";
        writeln!(out, "{note}")?;
    }
    Ok(())
}

/// Why, and after a crash which limit's account.
fn reason(doubt: &crate::store::Doubt) -> String {
    match doubt.accounts.first() {
        Some(key) if doubt.request.is_none() => {
            format!(
                "{}: {}",
                doubt.reason,
                crate::config::Limit::name_in(&key.limit)
            )
        }
        _ => doubt.reason.to_string(),
    }
}

fn release(args: &ReleaseArgs, config: &Path, out: &mut dyn Write) -> Result<(), BookError> {
    let client = Client::new(&args.ops, config)?;
    let mut body = Map::new();
    put(&mut body, "by", args.ops.by());
    put(&mut body, "task", args.task.as_ref());
    put(&mut body, "owner", args.owner.as_ref());
    put(&mut body, "request", args.request.as_ref());
    if let Some(before) = &args.before {
        let before = book::instant(before, crate::clock::now())?;
        put(&mut body, "before", Some(show::instant(before)));
    }
    put(&mut body, "all", args.all.then_some(true));
    if args.ids.is_empty() {
        let said = client.post("/api/doubts/release", &body.into())?;
        return print(&said, args.json, out);
    }
    for id in &args.ids {
        put(&mut body, "id", Some(id));
        let said = client.post("/api/doubts/release", &Value::Object(body.clone()))?;
        print(&said, args.json, out)?;
    }
    Ok(())
}

fn reconcile(args: &ReconcileArgs, config: &Path, out: &mut dyn Write) -> Result<(), BookError> {
    let absent =
        |error: std::io::Error| BookError::Absent(format!("{}: {error}", args.file.display()));
    let body = if args.file.as_os_str() == "-" {
        let mut body = Vec::new();
        std::io::stdin().read_to_end(&mut body).map_err(absent)?;
        body
    } else {
        std::fs::read(&args.file).map_err(absent)?
    };
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    let kind = match first {
        Some(b'{' | b'[') => "application/json",
        _ => "text/csv",
    };
    let by = args.ops.by();
    let by = by.map_or_else(String::new, |by| format!("?by={}", segment(&by)));
    let client = Client::new(&args.ops, config)?;
    let path = format!("/api/doubts/reconcile{by}");
    let said = client.ask(Method::POST, &path, kind, body.into());
    let said = said.map_err(|error| match error {
        // What is wrong stands in the file, not on the command line.
        BookError::Usage(message) => BookError::Data(message),
        error => error,
    })?;
    print(&said, args.json, out)
}

fn print(said: &Value, as_json: bool, out: &mut dyn Write) -> Result<(), BookError> {
    if as_json {
        writeln!(out, "{said}")?;
        return Ok(());
    }
    let text = |name: &str| said[name].as_str().unwrap_or("?").to_owned();
    let doubts = said["doubts"].as_u64().unwrap_or(0);
    writeln!(
        out,
        "doubts ended: {doubts}; ${} was in doubt, ${} of it spent",
        text("cleared_usd"),
        text("spent_usd")
    )?;
    let unmatched = said["unmatched"].as_array().map_or(0, Vec::len);
    if unmatched > 0 {
        writeln!(out, "about calls that are not in doubt: {unmatched}")?;
    }
    Ok(())
}
