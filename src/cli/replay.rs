//! `bursar replay`: recorded data through the very code that serves calls.

use super::book::{self, BookError};
use super::{replay_costs, replay_journal, replay_loops, replay_streams};
use crate::config::LoopPolicies;
use crate::price::Catalogue;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// `bursar replay`
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["streams", "costs", "loops"])))]
pub struct ReplayArgs {
    /// A folder with `meta.jsonl` and `raw/*.sse`: is every stream passed on as it came, and its usage read?
    #[arg(long, value_name = "DIR")]
    streams: Option<PathBuf>,
    /// JSON lines with usage objects: what does each cost?
    #[arg(long, value_name = "FILE")]
    costs: Option<PathBuf>,
    /// JSON lines with recorded runs: at which call would which rule on loops have fired first? With
    /// `--journal` instead of a file: on the calls in the journal
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
    loops: Option<Option<PathBuf>>,
    /// With `--loops`: a `loops.toml` with other rules. A file is replayed by the defaults otherwise, the
    /// journal by the rules in force
    #[arg(long, value_name = "FILE", requires = "loops")]
    rules: Option<PathBuf>,
    /// With `--loops`: the journal's calls, by the digests in their rows
    #[arg(long, requires = "loops")]
    journal: bool,
    #[command(flatten)]
    which: Which,
    /// JSON lines, which is what is printed anyway.
    #[arg(long)]
    json: bool,
}

/// Which of the journal's calls.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
struct Which {
    /// With `--journal`: since this instant, or for so long
    #[arg(long, value_name = "WHEN", default_value = "7d")]
    since: String,
    /// With `--journal`: of this task alone
    #[arg(long, value_name = "ID", requires = "journal")]
    task: Option<String>,
    /// With `--journal`: its file, instead of the configured one
    #[arg(long, value_name = "FILE", requires = "journal")]
    store: Option<PathBuf>,
}

/// Runs it.
#[must_use]
pub fn run(args: &ReplayArgs, config: &Path) -> ExitCode {
    if let Some(file) = &args.costs {
        let args = replay_costs::Args { file: file.clone() };
        return replay_costs::run(&args, &Catalogue::builtin());
    }
    match (&args.loops, args.journal) {
        (Some(Some(file)), false) => return loops(file, args.rules.as_deref()),
        (Some(None), true) => return book::print(|out| journal(args, config, out)),
        (Some(_), _) => {
            eprintln!("bursar: `--loops` takes a file or `--journal`, one of the two");
            return ExitCode::from(super::EX_USAGE);
        }
        (None, _) => {}
    }
    let Some(dir) = &args.streams else {
        return ExitCode::from(super::EX_USAGE);
    };
    match replay_streams::run(dir, &mut std::io::stdout().lock()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{}: {error}", dir.display());
            ExitCode::from(super::EX_UNAVAILABLE)
        }
    }
}

fn journal(args: &ReplayArgs, config: &Path, out: &mut dyn Write) -> Result<ExitCode, BookError> {
    let Which { since, task, store } = &args.which;
    let asked = replay_journal::Asked {
        since: Some(book::instant(since, crate::clock::now())?),
        task: task.clone(),
    };
    let rules = match &args.rules {
        Some(file) => LoopPolicies::from_path(file),
        None => LoopPolicies::in_force(config),
    };
    let rules = rules.map_err(|faults| BookError::Config(faults.to_string()))?;
    let book = book::open(store.as_deref(), config)?;
    replay_journal::run(&book.reader, &rules, &asked, out)?;
    Ok(ExitCode::SUCCESS)
}

fn loops(file: &Path, rules: Option<&Path>) -> ExitCode {
    let rules = match rules.map(LoopPolicies::from_path).transpose() {
        Ok(policies) => policies.unwrap_or_default(),
        Err(faults) => {
            eprintln!("{faults}");
            return ExitCode::from(super::check::EXIT_CONFIG);
        }
    };
    let runs = match std::fs::File::open(file) {
        Ok(runs) => BufReader::new(runs),
        Err(error) => {
            eprintln!("bursar: {}: {error}", file.display());
            return ExitCode::from(66);
        }
    };
    match replay_loops::run(runs, rules.base(), std::io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bursar: {}: {error}", file.display());
            ExitCode::from(74)
        }
    }
}
