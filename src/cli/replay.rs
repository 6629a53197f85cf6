//! `bursar replay`: recorded data through the very code that serves calls.

use super::{replay_costs, replay_streams};
use crate::price::Catalogue;
use std::path::PathBuf;
use std::process::ExitCode;

/// `bursar replay`
#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct ReplayArgs {
    /// A folder with `meta.jsonl` and `raw/*.sse`: is every stream passed on as it came, and its usage read?
    #[arg(long, value_name = "DIR")]
    streams: Option<PathBuf>,
    /// JSON lines with usage objects: what does each cost?
    #[arg(long, value_name = "FILE")]
    costs: Option<PathBuf>,
}

/// Runs it.
#[must_use]
pub fn run(args: &ReplayArgs) -> ExitCode {
    if let Some(file) = &args.costs {
        let args = replay_costs::Args { file: file.clone() };
        return replay_costs::run(&args, &Catalogue::builtin());
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
