//! `bursar check`: the same parse as at start. Every fault with file and line, and what is allowed
//! but probably not meant.

use crate::config::{Fault, Loaded};
use serde_json::{Value, json};
use std::path::Path;
use std::process::ExitCode;

/// The exit code for a faulty configuration (sysexits: `EX_CONFIG`).
pub const EXIT_CONFIG: u8 = 78;

/// `bursar check`
#[derive(Clone, Debug, clap::Args)]
pub struct CheckArgs {
    /// Print one JSON object instead of lines
    #[arg(long)]
    pub json: bool,
}

/// Checks the configuration at `config` and says what it found: faults on standard error, warnings
/// and the summary on standard output. 0, or 78 if there are faults.
#[must_use]
pub fn run(args: &CheckArgs, config: &Path) -> ExitCode {
    let loaded = Loaded::from_path(config);
    if args.json {
        println!("{}", report(&loaded));
    } else {
        print(&loaded);
    }
    match loaded {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(EXIT_CONFIG),
    }
}

fn print(loaded: &Result<Loaded, crate::config::Faults>) {
    match loaded {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                println!("warning: {warning}");
            }
            let limits = loaded.policies.limits().len();
            let providers = loaded.config.providers.len();
            let who = match loaded.identities.is_configured() {
                true => format!("{} identities", loaded.identities.iter().len()),
                false if loaded.identities.is_local() => {
                    "callers on this machine are `local`".to_owned()
                }
                false => "whoever has BURSAR_KEY is `local`".to_owned(),
            };
            println!("ok: {providers} providers, {limits} limits, {who}");
        }
        Err(faults) => {
            eprintln!("{faults}");
            eprintln!("{} faults", faults.0.len());
        }
    }
}

fn report(loaded: &Result<Loaded, crate::config::Faults>) -> Value {
    let list = |faults: &[Fault]| -> Vec<Value> { faults.iter().map(entry).collect() };
    match loaded {
        Ok(loaded) => json!({"ok": true, "faults": [], "warnings": list(&loaded.warnings)}),
        Err(faults) => json!({"ok": false, "faults": list(&faults.0), "warnings": []}),
    }
}

fn entry(fault: &Fault) -> Value {
    json!({
        "file": fault.file.display().to_string(),
        "line": fault.line,
        "message": fault.message,
    })
}
