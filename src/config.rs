//! Configuration: text of TOML files -> checked values, one file per concern. `gateway` says how
//! this deployment runs, `policies` and `identities` what agents may do.
//!
//! Nothing here listens, connects or keeps state; a load can be run again at any time, and the
//! caller puts the new [`Loaded`] in the old one's place.

mod attribution;
mod aws;
mod bounds;
mod context;
mod escalation;
mod facts;
mod fault;
mod gateway;
mod glob;
mod identities;
mod keep;
mod keyring;
mod limit;
mod listen;
mod loops;
mod policies;
mod preset;
mod provider;
mod read;
mod recall;
mod resilience;
mod routes;
mod secret;
mod traces;
mod value;
mod vertex;
mod warn;
mod window;

pub use attribution::{AgentMatch, AttributionRules, KnownAgent, TaskSource, Unattributed};
pub use aws::AwsKeys;
pub use bounds::{Bounds, OutputWhenUnasked, UnlistedFields};
pub use context::{ContextCaps, ContextRule, OnContext};
pub use escalation::{EscalationSettings, Webhook, WebhookKind, WebhookUrl};
pub use facts::{Facts, Match, Side};
pub use fault::{Fault, Faults, Place};
pub use gateway::Config;
pub use glob::{Glob, Globs};
pub use identities::{AuthError, Identities, Identity, KeyDigest, digest};
pub use keep::{Durability, JournalSettings, Log, LogFormat, LogLevel, StoreSettings};
pub use keyring::{KeyringError, NewKey, append, new_key, revoke};
pub use limit::{Limit, Per, ToolPrices};
pub use listen::{Address, Listen, Tls};
pub use loops::{ConductRules, LoopPolicies};
pub use policies::{CallCeiling, CallCeilings, LimitIndex, Policies};
pub use preset::{Auth, BilledError, PRESETS, Paths, Preset};
pub use provider::{Ceiling, HeaderText, Kind, OutputCapField, Provider, Proxy, Timeouts};
pub use recall::{IdempotencySettings, KeptBounds};
pub use resilience::{Alone, Breaker, Resilience, Retry};
pub use routes::{
    Between, CallKind, Looks, Miss, OnSkew, RouteMatch, RoutePolicies, RouteRule, Rung,
    TargetModel, TargetRule,
};
pub use secret::{Kept, Secret, SecretError};
pub use traces::{
    Conventions, GRPC_PATH, KeyPlace, ProjectPlace, TRACE_PRESETS, TraceExporter, TracePreset,
    TraceProtocol, TraceSettings, Vocabulary,
};
pub use vertex::{ServiceAccount, Vertex};
pub use window::{Every, Opening, Window};

pub(crate) use identities::parse_instant;
pub(crate) use read::advice;
pub(crate) use value::parse_span;

use std::path::{Path, PathBuf};

/// Largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// All files of a deployment, read and checked together.
#[derive(Debug)]
pub struct Loaded {
    /// `config/bursar.toml`
    pub config: Config,
    /// `policies/limits.toml`
    pub policies: Policies,
    /// `policies/identities.toml`
    pub identities: Identities,
    /// `policies/loops.toml`; the defaults if there is none.
    pub loops: LoopPolicies,
    /// `policies/routes.toml`; none if there is no such file.
    pub routes: RoutePolicies,
    /// `policies/prices.toml`, if there is one: its path and text. The price list reads it.
    pub prices: Option<(PathBuf, String)>,
    /// What is allowed and doubtful.
    pub warnings: Vec<Fault>,
    /// Files whose change calls for a new load, whether they exist or not.
    pub watched: Vec<PathBuf>,
}

impl Loaded {
    /// Reads a configuration, what it names, and the environment's secrets.
    ///
    /// # Errors
    /// Every fault of every file.
    pub fn from_path(path: &Path) -> Result<Self, Faults> {
        Self::load(path, &|name| std::env::var(name).ok())
    }

    /// [`Self::from_path`] with another environment.
    ///
    /// # Errors
    /// Every fault of every file.
    pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, Faults> {
        let mut faults = Vec::new();
        let text = need_file(path, "point --config at the file to use")?;
        let config = Config::parse(&text, path).map_err(|found| faults.extend(found.0));
        // Where the configuration is broken, its usual neighbours are read all the same, so that
        // their faults are told in the same run.
        let folder = match &config {
            Ok(config) => tidy(&config.policies),
            Err(()) => tidy(&path.parent().unwrap_or(Path::new("")).join("../policies")),
        };
        let in_folder = |name: &str| folder.join(name);
        let is_usable = config.is_ok() || folder.is_dir();
        let mut keep = |found: Faults| {
            if is_usable {
                faults.extend(found.0);
            }
        };
        let policies = read_limits(&in_folder("limits.toml")).map_err(&mut keep);
        let identities = read_identities(&in_folder("identities.toml"), env).map_err(&mut keep);
        let loops = read_loops(&in_folder("loops.toml")).map_err(&mut keep);
        let routes = read_routes(&in_folder("routes.toml")).map_err(&mut keep);
        let prices = read_prices(&in_folder("prices.toml")).map_err(&mut keep);
        let (Ok(mut config), Ok(policies), Ok(identities), Ok(loops), Ok(routes), Ok(prices)) =
            (config, policies, identities, loops, routes, prices)
        else {
            return Err(Faults(faults));
        };
        let mut warnings = Vec::new();
        config.resolve(env, &mut faults, &mut warnings);
        config.check_files(&mut faults);
        routes.check(&config.providers, &mut faults);
        context::check_summarisers(&config.providers, &policies, &mut faults);
        faults.extend(identities.check_reach(&config.listen, path));
        if !faults.is_empty() {
            return Err(Faults(faults));
        }
        let mut loaded = Self {
            watched: watched(path, &folder, &config),
            config,
            policies,
            identities,
            loops,
            routes,
            prices,
            warnings,
        };
        loaded.config.policies = folder;
        let found = warn::warnings(&loaded, env);
        loaded.warnings.extend(found);
        Ok(loaded)
    }
}

fn read_limits(path: &Path) -> Result<Policies, Faults> {
    // A gateway without limits would hold nothing: that must be said, by an empty file.
    let text = need_file(
        path,
        "without limits nothing is capped; if that is meant, make it an empty file",
    )?;
    Policies::parse(&text, path)
}

fn read_identities(
    path: &Path,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Identities, Faults> {
    let identities = match read_file(path)? {
        Some(text) => Identities::parse(&text, path)?,
        None => Identities::without(None),
    };
    let key = env("BURSAR_KEY").filter(|key| !key.is_empty());
    match identities.is_configured() {
        true => Ok(identities),
        false => Ok(Identities::without(key.as_deref())),
    }
}

impl LoopPolicies {
    /// The rules that a deployment's files say, without its secrets.
    ///
    /// # Errors
    /// Every fault of the configuration and of its `loops.toml`.
    pub fn in_force(config: &Path) -> Result<Self, Faults> {
        let config = Config::from_path(config)?;
        read_loops(&tidy(&config.policies).join("loops.toml"))
    }
}

fn read_loops(path: &Path) -> Result<LoopPolicies, Faults> {
    match read_file(path)? {
        Some(text) => LoopPolicies::parse(&text, path),
        None => Ok(LoopPolicies::default()),
    }
}

fn read_routes(path: &Path) -> Result<RoutePolicies, Faults> {
    match read_file(path)? {
        Some(text) => RoutePolicies::parse(&text, path),
        None => Ok(RoutePolicies::default()),
    }
}

fn read_prices(path: &Path) -> Result<Option<(PathBuf, String)>, Faults> {
    Ok(read_file(path)?.map(|text| (path.to_owned(), text)))
}

fn need_file(path: &Path, advice: &str) -> Result<String, Faults> {
    let missing = || Fault::of(path, format!("there is no such file; {advice}"));
    Ok(read_file(path)?.ok_or_else(missing)?)
}

fn read_file(path: &Path) -> Result<Option<String>, Faults> {
    let fault = |message: String| Faults::from(Fault::of(path, message));
    match std::fs::metadata(path) {
        Ok(about) if about.len() > MAX_FILE_BYTES => {
            return Err(fault("this file is larger than 16 MiB".to_owned()));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        _ => {}
    }
    let text = std::fs::read_to_string(path);
    text.map(Some)
        .map_err(|error| fault(format!("this file cannot be read: {}", error.kind())))
}

/// `config/../policies` as `policies`, unless a symbolic link makes that another place.
fn tidy(path: &Path) -> PathBuf {
    let mut tidied = PathBuf::new();
    for part in path.components() {
        let is_below = tidied.file_name().is_some();
        match part {
            std::path::Component::ParentDir if is_below => {
                tidied.pop();
            }
            part => tidied.push(part),
        }
    }
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    match (real(&tidied), real(path)) {
        (Some(short), Some(long)) if short == long => tidied,
        _ => path.to_owned(),
    }
}

fn watched(path: &Path, folder: &Path, config: &Config) -> Vec<PathBuf> {
    let mut watched = vec![path.to_owned()];
    let policies = [
        "limits.toml",
        "identities.toml",
        "loops.toml",
        "routes.toml",
        "prices.toml",
    ];
    watched.extend(policies.map(|name| folder.join(name)));
    let keys = config.providers.iter().flat_map(Provider::secrets);
    watched.extend(keys.filter_map(|secret| match &secret.kept {
        Kept::File(path) => Some(path.clone()),
        Kept::Env(_) => None,
    }));
    for webhook in &config.escalation.webhooks {
        let url = match &webhook.url {
            WebhookUrl::Secret(secret) => Some(secret),
            WebhookUrl::Plain(_) => None,
        };
        let kept = url.into_iter().chain(&webhook.secret);
        watched.extend(kept.filter_map(|secret| match &secret.kept {
            Kept::File(path) => Some(path.clone()),
            Kept::Env(_) => None,
        }));
    }
    for exporter in &config.traces.exporters {
        let headers = exporter.headers.iter().filter_map(|(_, text)| match text {
            HeaderText::Secret(secret) => Some(secret),
            HeaderText::Plain(_) => None,
        });
        let kept = exporter.api_key.iter().chain(headers);
        watched.extend(kept.filter_map(|secret| match &secret.kept {
            Kept::File(path) => Some(path.clone()),
            Kept::Env(_) => None,
        }));
    }
    if let Some(tls) = &config.listen.tls {
        watched.extend([tls.cert.clone(), tls.key.clone()]);
    }
    watched
}

#[cfg(test)]
mod tests;
