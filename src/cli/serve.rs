//! `bursar serve`: runs the gateway until it is told to stop.

use super::EX_CONFIG;
use crate::config::{Loaded, Log, LogFormat};
use crate::log::InContext;
use crate::server::run::{self, StartError};
use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::JsonFields;

/// `bursar serve`
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct ServeArgs {}

/// Runs the gateway with the configuration at `config`.
#[must_use]
pub fn run(_: &ServeArgs, config: &Path) -> ExitCode {
    let loaded = match Loaded::from_path(config) {
        Ok(loaded) => loaded,
        Err(faults) => {
            eprintln!("{faults}");
            return ExitCode::from(EX_CONFIG);
        }
    };
    start_log(&loaded.config.log);
    for warning in &loaded.warnings {
        tracing::warn!(%warning, "the configuration is doubtful");
    }
    let runtime = match super::runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("bursar: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run::run(loaded, config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bursar: {error}");
            match error {
                StartError::Live(_) | StartError::Tls(_) => ExitCode::from(EX_CONFIG),
                _ => ExitCode::from(super::EX_UNAVAILABLE),
            }
        }
    }
}

/// Log lines go to standard error. `RUST_LOG` refines what the configuration asks for.
fn start_log(log: &Log) {
    let filter = EnvFilter::builder()
        .with_default_directive(tracing::level_filters::LevelFilter::WARN.into())
        .parse_lossy(
            std::env::var("RUST_LOG")
                .unwrap_or_else(|_| format!("warn,bursar={}", log.level.name())),
        );
    // Colours are for people: a file gets none.
    let colours = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        // A line that cannot be written (the log's disk is full) is lost; to complain of it on the same
        // standard error would end the call that logged it in a panic.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    let lines = tracing_subscriber::fmt::format();
    // A second subscriber in one process (tests) is no fault.
    let _ = match log.format {
        LogFormat::Json => builder
            .fmt_fields(JsonFields::new())
            .event_format(InContext::json(lines.json()))
            .try_init(),
        LogFormat::Text => builder
            .event_format(InContext::text(lines.with_ansi(colours)))
            .try_init(),
    };
}
