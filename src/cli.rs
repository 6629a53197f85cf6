//! The commands, each thin. Exit codes follow sysexits: 64 usage, 78 configuration.

pub mod agent;
pub mod audit;
mod book;
pub mod check;
pub mod client;
pub mod demo;
pub mod doubt;
pub mod escalation;
pub mod key;
pub mod prices;
pub mod replay;
pub mod replay_costs;
pub mod replay_journal;
pub mod replay_loops;
pub mod replay_streams;
pub mod report;
pub mod route;
pub mod serve;
pub mod sim;
pub mod task;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Wrong usage (sysexits: `EX_USAGE`).
pub const EX_USAGE: u8 = 64;
/// Something that was asked for is not there (sysexits: `EX_UNAVAILABLE`).
pub const EX_UNAVAILABLE: u8 = 69;
/// The configuration is at fault (sysexits: `EX_CONFIG`).
pub const EX_CONFIG: u8 = 78;

/// An LLM gateway that holds the purse for multi-agent systems.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Cli {
    /// The configuration
    #[arg(
        long,
        global = true,
        default_value = "config/bursar.toml",
        value_name = "FILE"
    )]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway
    Serve(serve::ServeArgs),
    /// A gateway, simulated providers and a company of agents, one of which runs away
    Demo(demo::DemoArgs),
    /// Check the configuration: every fault with its line
    Check(check::CheckArgs),
    /// Run the simulated providers alone; they keep their own bill at GET /bill
    Sim(sim::SimArgs),
    /// Open, list, show, top up, suspend, resume and close tasks
    Task(Box<task::TaskArgs>),
    /// Make, list and revoke gateway keys
    Key(key::KeyArgs),
    /// Show and refresh the price list
    Prices(prices::Args),
    /// Explain where a call would go
    Route(route::RouteArgs),
    /// List, show, approve and deny questions to people
    Escalation(escalation::EscalationArgs),
    /// List, release and reconcile money of which nobody knows whether it was spent
    Doubt(doubt::DoubtArgs),
    /// List the agents that were seen, with what gives them names
    Agent(agent::AgentArgs),
    /// Verify, trace and export the journal
    Audit(audit::AuditArgs),
    /// What was spent, by one dimension
    Report(report::ReportArgs),
    /// Measure against recorded data: one JSON line a case
    Replay(replay::ReplayArgs),
}

/// Runs the command line.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; a failed print leaves nobody to tell.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(EX_USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match &cli.command {
        Command::Serve(args) => serve::run(args, &cli.config),
        Command::Demo(args) => demo::run(args),
        Command::Check(args) => check::run(args, &cli.config),
        Command::Sim(args) => sim::run(args),
        Command::Task(args) => task::run(args, &cli.config),
        Command::Escalation(args) => escalation::run(args, &cli.config),
        Command::Doubt(args) => doubt::run(args, &cli.config),
        Command::Key(args) => key::run(args, &cli.config),
        Command::Route(args) => route::run(args, &cli.config),
        Command::Prices(args) => prices::run(args, &cli.config),
        Command::Agent(args) => agent::run(args, &cli.config),
        Command::Audit(args) => audit::run(args, &cli.config),
        Command::Report(args) => report::run(args, &cli.config),
        Command::Replay(args) => replay::run(args, &cli.config),
    }
}

/// A runtime for this machine: one thread needs no stealing.
///
/// # Errors
/// The system refuses a thread or its event queue.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut builder = match cores {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    builder.enable_all().build()
}
