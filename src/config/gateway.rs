//! `config/bursar.toml` as a whole: how this deployment runs.

use super::attribution::{self, AttributionRules, KnownAgent};
use super::aws::AwsKeys;
use super::bounds::{self, Bounds, TOP_LEVEL};
use super::escalation::{self, EscalationSettings};
use super::fault::{Fault, Faults};
use super::keep::{self, JournalSettings, Log, StoreSettings};
use super::listen::{self, Listen};
use super::policies::Policies;
use super::provider::{self, HeaderText, Provider};
use super::read::{Section, document};
use super::recall::{self, IdempotencySettings, KeptBounds};
use super::secret::{Secret, SecretError};
use super::traces::{self, TraceSettings};
use super::value;
use std::path::{Path, PathBuf};

/// `config/bursar.toml`, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The folder of policies.
    pub policies: PathBuf,
    /// `[listen]`
    pub listen: Listen,
    /// `[store]`
    pub store: StoreSettings,
    /// `[journal]`
    pub journal: JournalSettings,
    /// `[[provider]]`, in the order of the file: that order decides who serves a bare model name.
    pub providers: Vec<Provider>,
    /// `[attribution]`
    pub attribution: AttributionRules,
    /// `[[agent]]`
    pub agents: Vec<KnownAgent>,
    /// The top-level settings.
    pub bounds: Bounds,
    /// `[escalation]`
    pub escalation: EscalationSettings,
    /// `[cache]`; `None`: nothing is cached.
    pub cache: Option<KeptBounds>,
    /// `[idempotency]`
    pub idempotency: IdempotencySettings,
    /// `[log]`
    pub log: Log,
    /// `[trace]`
    pub traces: TraceSettings,
}

impl Config {
    /// Reads the text of a configuration that stands at `path`. Touches neither the disk nor the
    /// environment: secrets are named, not read.
    ///
    /// # Errors
    /// Every fault, with its line.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Faults> {
        document(path, text, |section| Some(Self::read(section)))
    }

    /// Reads the file at `path` alone: neither the policies nor the secrets that it names.
    ///
    /// # Errors
    /// Every fault, with its line.
    pub fn from_path(path: &Path) -> Result<Self, Faults> {
        let text = super::need_file(path, "point --config at the file to use")?;
        Self::parse(&text, path)
    }

    /// Reads the limits that stand in its folder of policies.
    ///
    /// # Errors
    /// Every fault, with its line.
    pub fn limits(&self) -> Result<Policies, Faults> {
        super::read_limits(&self.policies.join("limits.toml"))
    }

    /// Reads the `ops_token` alone, for those who call `ops`.
    ///
    /// # Errors
    /// It is named and cannot be had.
    pub fn ops_token(
        &self,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<String>, SecretError> {
        let Some(mut secret) = self.bounds.ops_token.clone() else {
            return Ok(None);
        };
        secret.resolve(env)?;
        Ok(secret.expose().map(str::to_owned))
    }

    fn read(section: &Section<'_>) -> Self {
        let folder = |value: &toml::de::DeValue<'_>| value::text(value).map(|t| section.path(&t));
        let config = Self {
            agents: attribution::read_agents(section),
            policies: section.or("policies", section.path("../policies"), folder),
            listen: listen::read(section, &TOP_LEVEL),
            store: keep::read_store(section, &TOP_LEVEL),
            journal: keep::read_journal(section, &TOP_LEVEL),
            providers: provider::read(section),
            attribution: attribution::read(section, &TOP_LEVEL),
            bounds: bounds::read(section),
            escalation: escalation::read(section, &TOP_LEVEL),
            cache: recall::read_cache(section, &TOP_LEVEL),
            idempotency: recall::read_idempotency(section, &TOP_LEVEL),
            log: keep::read_log(section, &TOP_LEVEL),
            traces: traces::read(section, &TOP_LEVEL),
        };
        if config.providers.is_empty() && !section.has("provider") {
            section.fault("there is no [[provider]] to send calls to");
        }
        if !config.listen.ops.is_local() && config.bounds.ops_token.is_none() {
            section.fault(format!(
                "`ops` listens on {}, beyond this machine, and needs `ops_token`",
                config.listen.ops
            ));
        }
        config
    }

    /// Reads the secrets. A provider's key that its environment lacks is only a warning: whoever
    /// has one key shall be able to start with the providers of two.
    pub(super) fn resolve(
        &mut self,
        env: &dyn Fn(&str) -> Option<String>,
        faults: &mut Vec<Fault>,
        warnings: &mut Vec<Fault>,
    ) {
        for provider in &mut self.providers {
            let name = provider.name.clone();
            let signing = provider.aws.iter_mut().flat_map(AwsKeys::secrets_mut);
            for secret in provider.api_key.iter_mut().chain(signing) {
                match secret.resolve(env) {
                    Err(error @ SecretError::Missing(_)) => warnings.push(Fault::at(
                        &secret.place,
                        format!("{error}; calls to provider `{name}` will be refused until it is"),
                    )),
                    Err(error) => faults.push(Fault::at(&secret.place, error.to_string())),
                    Ok(()) => {}
                }
            }
            if let Some(vertex) = &mut provider.vertex {
                vertex.resolve(env, (name.as_str(), &mut *faults, &mut *warnings));
            }
            for (_, text) in &mut provider.headers {
                if let HeaderText::Secret(secret) = text {
                    resolve_needed(secret, env, faults);
                }
            }
        }
        for secret in self.escalation.secrets() {
            resolve_needed(secret, env, faults);
        }
        self.escalation.check(faults);
        for exporter in &mut self.traces.exporters {
            for secret in exporter.secrets() {
                resolve_needed(secret, env, faults);
            }
        }
        let Bounds {
            ops_token,
            metrics_token,
            ..
        } = &mut self.bounds;
        for secret in [ops_token, metrics_token].into_iter().flatten() {
            resolve_needed(secret, env, faults);
        }
    }

    /// Files that must be there before anything listens.
    pub(super) fn check_files(&self, faults: &mut Vec<Fault>) {
        let mut need = |path: &Path, file: &Fault| {
            if let Err(error) = std::fs::File::open(path) {
                let message = format!("{} cannot be read: {}", path.display(), error.kind());
                faults.push(Fault {
                    message,
                    ..file.clone()
                });
            }
        };
        for provider in &self.providers {
            if let Some(path) = &provider.ca_file {
                need(path, &Fault::at(&provider.place, ""));
            }
        }
        for webhook in &self.escalation.webhooks {
            if let Some(path) = &webhook.ca_file {
                need(path, &Fault::at(&webhook.place, ""));
            }
        }
        for exporter in &self.traces.exporters {
            if let Some(path) = &exporter.ca_file {
                need(path, &Fault::at(&exporter.place, ""));
            }
        }
        if let Some(tls) = &self.listen.tls {
            let file = Fault::of(&self.bounds.place.file, "");
            need(&tls.cert, &file);
            need(&tls.key, &file);
        }
    }
}

fn resolve_needed(
    secret: &mut Secret,
    env: &dyn Fn(&str) -> Option<String>,
    faults: &mut Vec<Fault>,
) {
    if let Err(error) = secret.resolve(env) {
        faults.push(Fault::at(&secret.place, error.to_string()));
    }
}
