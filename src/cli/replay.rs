//! `bursar replay`: recorded data through the very code that serves calls.

use super::{replay_costs, replay_loops, replay_streams};
use crate::config::LoopPolicies;
use crate::price::Catalogue;
use std::io::BufReader;
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
    /// JSON lines with recorded runs: at which call would which rule on loops have fired first?
    #[arg(long, value_name = "FILE")]
    loops: Option<PathBuf>,
    /// With `--loops`: a `loops.toml` with other rules than the defaults.
    #[arg(long, value_name = "FILE", requires = "loops")]
    rules: Option<PathBuf>,
    /// JSON lines, which is what is printed anyway.
    #[arg(long)]
    json: bool,
}

/// Runs it.
#[must_use]
pub fn run(args: &ReplayArgs) -> ExitCode {
    if let Some(file) = &args.costs {
        let args = replay_costs::Args { file: file.clone() };
        return replay_costs::run(&args, &Catalogue::builtin());
    }
    if let Some(file) = &args.loops {
        return loops(file, args.rules.as_deref());
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
