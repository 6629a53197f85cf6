//! What `kind = "vertex"` needs beside: the place in Google's cloud, and the service account in whose name
//! calls are made.

use super::fault::Fault;
use super::read::Section;
use super::secret::{self, Secret, SecretError};
use super::value;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Uri;
use serde::Deserialize;
use std::fmt;
use std::sync::Arc;
use toml::de::DeValue;

/// Where calls to Vertex go, and as whom.
#[derive(Clone, Debug, PartialEq)]
pub struct Vertex {
    /// `us-central1`, `europe-west4`, `global` …
    pub location: String,
    /// The project; without it the service account's own.
    pub project: Option<String>,
    /// A service account's key file; absent where a header carries a token.
    pub credentials: Option<Secret>,
    /// The same, read.
    pub account: Option<Arc<ServiceAccount>>,
}

/// A service account, as its key file has it.
#[derive(PartialEq, Eq)]
pub struct ServiceAccount {
    /// Whom tokens are asked for.
    pub email: String,
    /// The project that it belongs to.
    pub project: Option<String>,
    /// Where tokens are to be had.
    pub token_uri: Uri,
    /// The name of the key, if it has one.
    pub key_id: Option<String>,
    /// The private key, PKCS #8 in DER.
    pub private_key: Vec<u8>,
}

impl fmt::Debug for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServiceAccount({})", self.email)
    }
}

#[derive(Deserialize)]
struct KeyFile {
    #[serde(rename = "type")]
    kind: String,
    client_email: Option<String>,
    private_key: Option<String>,
    private_key_id: Option<String>,
    project_id: Option<String>,
    token_uri: Option<String>,
}

/// Reads the keys, which belong to this kind alone.
pub(super) fn read(section: &Section<'_>, is_vertex: bool) -> Option<Vertex> {
    let keys = ["location", "project", "credentials"];
    if !is_vertex {
        for key in keys.into_iter().filter(|key| section.has(key)) {
            // It is read, so that it is no unknown key besides.
            let _ = section.get(key, value::text);
            section.fault_of(key, format!("only `kind = \"vertex\"` has a `{key}`"));
        }
        return None;
    }
    if section.has("api_key") {
        section.fault_of(
            "api_key",
            "`kind = \"vertex\"` takes `credentials`, a service account's key file",
        );
    }
    let location = section.need("location", word);
    let project = section.get("project", word);
    let kept = section.get("credentials", |value| {
        secret::kept(value, |file| section.path(file))
    });
    let credentials = kept.map(|kept| Secret::new(kept, section.place_of("credentials")));
    if project.is_none() && credentials.is_none() {
        section.fault("`kind = \"vertex\"` needs `credentials`, or a `project` and an `authorization` among `headers`");
    }
    Some(Vertex {
        location: location?,
        project,
        credentials,
        account: None,
    })
}

/// A name that stands in a host or a path.
fn word(value: &DeValue<'_>) -> Result<String, String> {
    let text = value::text(value)?;
    let at_home =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b':' | b'.');
    match !text.is_empty() && text.len() <= 128 && text.bytes().all(at_home) {
        true => Ok(text),
        false => Err(format!("`{text}` is no name of Google's cloud")),
    }
}

impl Vertex {
    /// The host that serves this location.
    pub(super) fn base_url(&self) -> String {
        match self.location.as_str() {
            "global" => "https://aiplatform.googleapis.com".to_owned(),
            place => format!("https://{place}-aiplatform.googleapis.com"),
        }
    }

    /// The project that calls are made in; `None` until the key file is read.
    #[must_use]
    pub fn project(&self) -> Option<&str> {
        let own = || self.account.as_ref()?.project.as_deref();
        self.project.as_deref().or_else(own)
    }

    /// Reads the key file. One that is not set is a warning, as for other keys.
    pub(super) fn resolve(
        &mut self,
        env: &dyn Fn(&str) -> Option<String>,
        (name, faults, warnings): (&str, &mut Vec<Fault>, &mut Vec<Fault>),
    ) {
        let Some(secret) = &mut self.credentials else {
            return;
        };
        match secret.resolve_document(env) {
            Err(error @ SecretError::Missing(_)) => warnings.push(Fault::at(
                &secret.place,
                format!("{error}; calls to provider `{name}` will be refused until it is"),
            )),
            Err(error) => faults.push(Fault::at(&secret.place, error.to_string())),
            Ok(()) => match ServiceAccount::parse(secret.expose().unwrap_or_default()) {
                Ok(account) if self.project.is_none() && account.project.is_none() => {
                    let why = "the key file names no project; set `project`";
                    faults.push(Fault::at(&secret.place, why));
                }
                Ok(account) => self.account = Some(Arc::new(account)),
                Err(why) => {
                    let message =
                        format!("{} is no service account's key file: {why}", secret.kept);
                    faults.push(Fault::at(&secret.place, message));
                }
            },
        }
    }
}

impl ServiceAccount {
    /// Reads a key file. What is wrong is told without repeating any of it.
    fn parse(text: &str) -> Result<Self, &'static str> {
        let file: KeyFile = serde_json::from_str(text).map_err(|_| "it is not of that form")?;
        if file.kind != "service_account" {
            return Err(
                "its `type` is not `service_account`, and other kinds of credentials are not supported",
            );
        }
        let (Some(email), Some(key)) = (file.client_email, file.private_key) else {
            return Err("`client_email` or `private_key` is missing");
        };
        let token_uri = file
            .token_uri
            .as_deref()
            .unwrap_or("https://oauth2.googleapis.com/token");
        let token_uri: Uri = token_uri.parse().map_err(|_| "`token_uri` is no address")?;
        let host = token_uri.host().unwrap_or_default();
        let is_here = super::Address::Tcp(host.to_owned(), 0).is_local();
        if token_uri.scheme_str() != Some("https") && !is_here {
            return Err("its `token_uri` is no https:// address");
        }
        let lines = key
            .lines()
            .map(str::trim)
            .filter(|line| !line.starts_with("-----"));
        let der = STANDARD.decode(lines.collect::<String>());
        let private_key = der.map_err(|_| "its `private_key` is no PEM")?;
        aws_lc_rs::signature::RsaKeyPair::from_pkcs8(&private_key)
            .map_err(|_| "its `private_key` is no RSA key")?;
        Ok(Self {
            email,
            project: file.project_id,
            token_uri,
            key_id: file.private_key_id,
            private_key,
        })
    }
}
