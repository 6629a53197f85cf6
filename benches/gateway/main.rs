//! Bursar beside a bare reverse proxy, in one run, on two cores: the proxy under test alone on one,
//! the load and the provider on the other.
//!
//! `cargo bench --bench gateway [-- --quick | --judge | --floor-only | --bursar PATH]`. Prints a table
//! and, as the last line, one JSON object. Absolute figures are reported; only ratios are judged, and
//! only with `--judge`. All traffic stays on loopback and is bounded in count and time.

mod floor;
mod load;
mod measure;
mod provider;
mod report;
mod subject;
mod wire;

use measure::Plan;
use std::process::ExitCode;

/// What went wrong, for a person to read.
type Fault = Box<dyn std::error::Error + Send + Sync>;

/// What the command line asks for.
#[derive(Clone, Debug, Default)]
struct Options {
    /// Seconds instead of minutes: does it run at all?
    quick: bool,
    /// Leave with 1 when a ratio misses its target.
    judge: bool,
    /// Measure the bare proxy only (no gateway binary needed).
    floor_only: bool,
    /// Another gateway binary than the one built with this bench.
    bursar: Option<String>,
}

fn main() -> ExitCode {
    let outcome = match std::env::args().nth(1).as_deref() {
        Some("floor") => floor::main(std::env::args().skip(2)),
        _ => options().and_then(|options| bench(&options)),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(fault) => {
            eprintln!("bench: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Options, Fault> {
    let mut options = Options::default();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            // Cargo passes this to every bench.
            "--bench" => {}
            "--quick" => options.quick = true,
            "--judge" => options.judge = true,
            "--floor-only" => options.floor_only = true,
            "--bursar" => options.bursar = words.next(),
            other => return Err(format!("unknown word `{other}`").into()),
        }
    }
    Ok(options)
}

/// True when every judged ratio was met, or nothing was to be judged.
fn bench(options: &Options) -> Result<bool, Fault> {
    let pinned = subject::pin_self(1);
    // One thread for load and provider: with two, they would fight over their one core. Looking at
    // the sockets after every few tasks keeps latencies honest.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .event_interval(13)
        .build()?;
    let plan = if options.quick {
        Plan::quick()
    } else {
        Plan::full()
    };
    let figures = runtime.block_on(async {
        tokio::select! {
            figures = measure::all(options, &plan, pinned) => figures,
            // Ends by dropping, so that the subjects end too.
            () = told_to_stop() => Err("told to stop".into()),
        }
    })?;
    report::print(&figures);
    Ok(!options.judge || report::judged(&figures))
}

/// Ctrl-C or SIGTERM.
async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        }
        Err(_) => std::future::pending().await,
    }
}
