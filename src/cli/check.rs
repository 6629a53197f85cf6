//! `bursar check`: the same parse as at start. Every fault with file and line, and what is allowed
//! but probably not meant.

use crate::config::{Fault, Faults, Loaded};
use crate::gateway::Live;
use crate::price::Catalogue;
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
    let live = ready(config);
    let loaded = live.as_ref().map(|live| &live.loaded);
    if args.json {
        println!("{}", report(loaded));
    } else {
        print(loaded);
    }
    match live {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(EXIT_CONFIG),
    }
}

/// The files as a start would take them: prices and providers made ready too.
pub(super) fn ready(config: &Path) -> Result<Live, Faults> {
    let loaded = Loaded::from_path(config)?;
    if let Some((path, text)) = &loaded.prices
        && let Err(error) = Catalogue::with_overrides(text, path)
    {
        return Err(Faults::from(Fault {
            file: path.clone(),
            line: Some(error.line),
            message: error.message,
        }));
    }
    Live::new(loaded, None).map_err(|error| Fault::of(config, error.to_string()).into())
}

fn print(loaded: Result<&Loaded, &Faults>) {
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
            let routes = match loaded.routes.routes.len() {
                0 => String::new(),
                routes => format!("{routes} routes, "),
            };
            println!("ok: {providers} providers, {limits} limits, {routes}{who}");
        }
        Err(faults) => {
            eprintln!("{faults}");
            eprintln!("{} faults", faults.0.len());
        }
    }
}

fn report(loaded: Result<&Loaded, &Faults>) -> Value {
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
