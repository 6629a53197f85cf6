//! `bursar key new|list|revoke`: the keys in `policies/identities.toml`. They edit the file; a
//! running gateway sees it change and reloads.

use super::check::EXIT_CONFIG;
use crate::config::{
    Config, Fault, Faults, Identities, Identity, KeyringError, NewKey, append, new_key,
    parse_instant, parse_span, revoke,
};
use crate::units::UnixMs;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// The exit code for words that cannot be meant (sysexits: `EX_USAGE`).
const EXIT_USAGE: u8 = 64;
/// The exit code for a file that cannot be written (sysexits: `EX_CANTCREAT`).
const EXIT_WRITE: u8 = 73;

/// `bursar key`
#[derive(Clone, Debug, clap::Args)]
pub struct KeyArgs {
    /// What to do
    #[command(subcommand)]
    pub verb: KeyVerb,
}

/// What to do with keys.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum KeyVerb {
    /// Make an identity and print its key, once
    New(NewArgs),
    /// List the identities
    List {
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Withdraw an identity's key; its name stays for reports
    Revoke {
        /// The identity
        name: String,
    },
}

/// `bursar key new`
#[derive(Clone, Debug, clap::Args)]
pub struct NewArgs {
    /// The identity's name
    #[arg(long)]
    pub name: String,
    /// Whom it belongs to (default: itself)
    #[arg(long)]
    pub owner: Option<String>,
    /// The agent bound to the key
    #[arg(long)]
    pub agent: Option<String>,
    /// The role bound to the key
    #[arg(long)]
    pub role: Option<String>,
    /// Models it may use, as globs (default: any)
    #[arg(long, value_delimiter = ',')]
    pub models: Vec<String>,
    /// When the key ends: an instant (2027-01-01T00:00:00Z) or a span from now (90d)
    #[arg(long)]
    pub expires: Option<String>,
    /// It may say for whom it acts
    #[arg(long)]
    pub may_say_on_behalf_of: bool,
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
enum KeyError {
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Faults(#[from] Faults),
    #[error("{0}")]
    Keyring(#[from] KeyringError),
}

impl KeyError {
    const fn code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Keyring(KeyringError::Taken(_) | KeyringError::Absent(_)) => {
                EXIT_USAGE
            }
            Self::Faults(_) | Self::Keyring(KeyringError::Faults(_)) => EXIT_CONFIG,
            Self::Keyring(_) => EXIT_WRITE,
        }
    }
}

/// Does what `args` say to the identities of the configuration at `config`. 0; 64 for a name that
/// is taken or unknown; 73 if the file cannot be written; 78 if it has faults.
#[must_use]
pub fn run(args: &KeyArgs, config: &Path) -> ExitCode {
    let now = crate::clock::now();
    let done = identities_path(config).and_then(|path| match &args.verb {
        KeyVerb::New(new) => add(new, &path, now),
        KeyVerb::List { json } => list(&path, now, *json),
        KeyVerb::Revoke { name } => Ok(revoke(&path, name)?),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(error.code())
        }
    }
}

/// Where the identities of a configuration stand. Faults of its other parts do not matter here, but
/// a file that does not parse says nothing about where its policies are.
fn identities_path(config: &Path) -> Result<PathBuf, KeyError> {
    let text = std::fs::read_to_string(config);
    let text = text.map_err(|error| {
        let message = format!("this file cannot be read: {}", error.kind());
        Faults::from(Fault::of(config, message))
    })?;
    let folder = Config::parse(&text, config)?.policies;
    Ok(folder.join("identities.toml"))
}

fn add(args: &NewArgs, path: &Path, now: UnixMs) -> Result<(), KeyError> {
    let expires = args.expires.as_deref().map(|text| expiry(text, now));
    let new = NewKey {
        name: args.name.clone(),
        owner: args.owner.clone(),
        agent: args.agent.clone(),
        role: args.role.clone(),
        models: args.models.clone(),
        expires: expires.transpose().map_err(KeyError::Usage)?,
        may_say_on_behalf_of: args.may_say_on_behalf_of,
    };
    let key = new_key()?;
    append(path, &new, &key).map_err(|error| match error {
        // What was wrong came from the command line, not from the file.
        KeyringError::Rejected(faults) => {
            let messages = faults.0.into_iter().map(|fault| fault.message);
            KeyError::Usage(messages.collect::<Vec<_>>().join("\n"))
        }
        error => error.into(),
    })?;
    if args.json {
        println!("{}", json!({"name": new.name, "key": key}));
    } else {
        println!("{key}");
        eprintln!(
            "This key is shown once; {} keeps only its SHA-256.",
            path.display()
        );
    }
    Ok(())
}

/// An instant, or a span from now.
fn expiry(text: &str, now: UnixMs) -> Result<UnixMs, String> {
    let from_now = parse_span(text).ok();
    let from_now = from_now.and_then(|span| i64::try_from(span.as_millis()).ok());
    let instant = match from_now {
        Some(ms) => UnixMs(now.0.saturating_add(ms)),
        None => parse_instant(text)
            .map_err(|error| format!("--expires: {error}, nor a span of time such as 90d"))?,
    };
    match instant > now {
        true => Ok(instant),
        false => Err(format!("--expires: `{text}` is over already")),
    }
}

fn list(path: &Path, now: UnixMs, as_json: bool) -> Result<(), KeyError> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        text => text.map_err(KeyringError::from)?,
    };
    let identities = Identities::parse(&text, path)?;
    let shown = || identities.iter().filter(|_| identities.is_configured());
    if as_json {
        let entries: Vec<Value> = shown().map(|who| entry(who, now)).collect();
        println!("{}", Value::from(entries));
        return Ok(());
    }
    println!(
        "{:<24} {:<20} {:<16} {:<16} {:<8} EXPIRES",
        "NAME", "OWNER", "AGENT", "ROLE", "STATE"
    );
    for who in shown() {
        let text = |text: Option<&str>| text.unwrap_or("-").to_owned();
        println!(
            "{:<24} {:<20} {:<16} {:<16} {:<8} {}",
            who.name.as_str(),
            who.owner.as_str(),
            text(who.agent.as_ref().map(AsRef::as_ref)),
            text(who.role.as_ref().map(AsRef::as_ref)),
            state(who, now),
            text(expires(who).as_deref()),
        );
    }
    Ok(())
}

fn entry(who: &Arc<Identity>, now: UnixMs) -> Value {
    let models: Vec<&str> = who.models.iter().map(crate::config::Glob::as_str).collect();
    json!({
        "name": who.name.as_str(),
        "owner": who.owner.as_str(),
        "agent": who.agent.as_ref().map(AsRef::<str>::as_ref),
        "role": who.role.as_ref().map(AsRef::<str>::as_ref),
        "models": models,
        "state": state(who, now),
        "expires": expires(who),
        "may_say_on_behalf_of": who.may_say_on_behalf_of,
        "requests_per_minute": who.requests_per_minute,
        "tokens_per_minute": who.tokens_per_minute,
    })
}

fn state(who: &Identity, now: UnixMs) -> &'static str {
    match who.expires {
        _ if who.revoked => "revoked",
        Some(end) if end <= now => "expired",
        _ => "valid",
    }
}

fn expires(who: &Identity) -> Option<String> {
    let instant = jiff::Timestamp::from_millisecond(who.expires?.0).ok()?;
    Some(instant.to_string())
}
