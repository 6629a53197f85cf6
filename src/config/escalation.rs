//! `[escalation]`: how long calls wait for a person, and who is told.

use super::fault::{Fault, Place};
use super::read::Section;
use super::secret::{self, Secret};
use super::value;
use http::Uri;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;
use toml::de::DeValue;

/// Longest wait that can be configured: no client waits longer.
const MAX_WAIT: Duration = Duration::from_secs(86_400);
/// Webhooks, in number.
const MAX_WEBHOOKS: usize = 16;

/// How a webhook is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookKind {
    /// Standard Webhooks: a signed event.
    Standard,
    /// `{"text": …}`, as Slack and its likes take it.
    Slack,
}

/// Where a webhook is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebhookUrl {
    /// As written.
    Plain(Uri),
    /// `env:` or `file:`: some receivers' addresses are secrets.
    Secret(Secret),
}

/// Somebody to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Its name in the outbox and the journal: as written, else a digest of its `url`.
    pub name: Arc<str>,
    /// How it is spoken to.
    pub kind: WebhookKind,
    /// Where.
    pub url: WebhookUrl,
    /// What signs its messages.
    pub secret: Option<Secret>,
    /// A PEM file of further certificate authorities.
    pub ca_file: Option<std::path::PathBuf>,
    /// Where it is written.
    pub place: Place,
}

impl Webhook {
    /// The address, once its secret was read.
    ///
    /// # Errors
    /// The secret holds no address.
    pub fn address(&self) -> Result<Uri, String> {
        match &self.url {
            WebhookUrl::Plain(uri) => Ok(uri.clone()),
            WebhookUrl::Secret(secret) => {
                let text = secret.expose().unwrap_or_default();
                // What it holds is not repeated.
                uri(text).map_err(|_| format!("{} holds no http(s) address", secret.kept))
            }
        }
    }
}

/// `[escalation]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EscalationSettings {
    /// How long a call is held open for a person.
    pub wait: Duration,
    /// How long a question waits for an answer at all.
    pub expire: Duration,
    /// Calls held open at once.
    pub max_waiting: usize,
    /// Who is told.
    pub webhooks: Vec<Webhook>,
}

impl Default for EscalationSettings {
    fn default() -> Self {
        Self {
            wait: Duration::from_secs(300),
            expire: Duration::from_secs(7 * 86_400),
            max_waiting: 1_000,
            webhooks: Vec::new(),
        }
    }
}

impl EscalationSettings {
    /// Every secret that must be there.
    pub(super) fn secrets(&mut self) -> impl Iterator<Item = &mut Secret> {
        self.webhooks.iter_mut().flat_map(|webhook| {
            let url = match &mut webhook.url {
                WebhookUrl::Secret(secret) => Some(secret),
                WebhookUrl::Plain(_) => None,
            };
            url.into_iter().chain(webhook.secret.as_mut())
        })
    }

    /// What the secrets turn out not to be.
    pub(super) fn check(&self, faults: &mut Vec<Fault>) {
        for webhook in &self.webhooks {
            let mut wrong = |why: String| faults.push(Fault::at(&webhook.place, why));
            let read = match &webhook.url {
                WebhookUrl::Secret(secret) => secret.expose().is_some(),
                WebhookUrl::Plain(_) => true,
            };
            if read && let Err(why) = webhook.address() {
                wrong(why);
            }
            let secret = webhook.secret.as_ref().and_then(Secret::expose);
            if let Some(secret) = secret
                && let Err(why) = crate::escalation::notice::signing_key(secret)
            {
                wrong(format!("`secret`: {why}"));
            }
        }
    }
}

pub(super) fn read(parent: &Section<'_>, top_level: &[&str]) -> EscalationSettings {
    let usual = EscalationSettings::default();
    let Some(section) = parent.section("escalation") else {
        return usual;
    };
    let wait = |value: &DeValue<'_>| match value::span(value)? {
        span if span > MAX_WAIT => Err("no call waits longer than 24h".to_owned()),
        span => Ok(span),
    };
    let settings = EscalationSettings {
        wait: section.or("wait", usual.wait, wait),
        expire: section.or("expire", usual.expire, value::positive_span),
        max_waiting: section.or(
            "max_waiting",
            usual.max_waiting,
            value::size_in(0, 1_000_000),
        ),
        webhooks: read_webhooks(&section),
    };
    section.close_with(top_level);
    settings
}

fn read_webhooks(parent: &Section<'_>) -> Vec<Webhook> {
    let mut webhooks: Vec<Webhook> = Vec::new();
    for section in parent.sections("webhook") {
        let webhook = read_webhook(&section);
        section.close();
        let Some(webhook) = webhook else { continue };
        if webhooks.iter().any(|other| other.name == webhook.name) {
            section.fault("this webhook is there already; give one of the two another `name`");
        }
        webhooks.push(webhook);
    }
    if webhooks.len() > MAX_WEBHOOKS {
        parent.fault_of(
            "webhook",
            format!("there are more than {MAX_WEBHOOKS} webhooks"),
        );
    }
    webhooks
}

fn read_webhook(section: &Section<'_>) -> Option<Webhook> {
    let kinds = [
        ("standard", WebhookKind::Standard),
        ("slack", WebhookKind::Slack),
    ];
    let kind = section.or("kind", WebhookKind::Standard, value::word(&kinds));
    let written = section.need("url", value::text);
    let url = section.get("url", |value| match value::text(value)? {
        text if text.starts_with("env:") || text.starts_with("file:") => {
            let kept = secret::kept(value, |file| section.path(file))?;
            Ok(WebhookUrl::Secret(Secret::new(
                kept,
                section.place_of("url"),
            )))
        }
        text => uri(&text).map(WebhookUrl::Plain),
    });
    let kept = section.get("secret", |value| {
        secret::kept(value, |file| section.path(file))
    });
    if kind == WebhookKind::Standard && !section.has("secret") {
        section.fault(
            "this webhook needs a `secret` that signs its messages, such as \"env:WEBHOOK_SECRET\"",
        );
    }
    if kind == WebhookKind::Slack && section.has("secret") {
        section.fault_of(
            "secret",
            "a `slack` webhook is not signed; its address is its secret",
        );
    }
    let name = section.get("name", value::id);
    let ca_file = section.get("ca_file", |value| {
        value::text(value).map(|text| section.path(&text))
    });
    Some(Webhook {
        name: match name {
            Some(name) => name.into(),
            None => digest_of(&written?),
        },
        kind,
        url: url?,
        secret: kept.map(|kept| Secret::new(kept, section.place_of("secret"))),
        ca_file,
        place: section.place(),
    })
}

/// Names a webhook by what is written, which may hold a secret.
fn digest_of(written: &str) -> Arc<str> {
    let digest = Sha256::digest(written.as_bytes());
    let hex: String = digest[..4]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("webhook-{hex}").into()
}

fn uri(text: &str) -> Result<Uri, String> {
    let wrong = || "this is not an http:// or https:// address".to_owned();
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
    let names_host = uri.host().is_some_and(|host| !host.is_empty());
    let has_user = uri.authority().is_some_and(|at| at.as_str().contains('@'));
    match is_web && names_host && !has_user {
        true => Ok(uri),
        false => Err(wrong()),
    }
}
