//! Secrets are named in the files, never written there: `env:NAME` or `file:PATH`. They are read
//! when the configuration is loaded and appear in no `Debug`, log or error.

use super::fault::Place;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use toml::de::DeValue;

/// Longest secret, in bytes: a bearer token with a certificate chain still fits.
const MAX_BYTES: usize = 64 << 10;

/// Where a secret is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// In this environment variable.
    Env(String),
    /// In this file; white space around it is cut off.
    File(PathBuf),
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "the environment variable {name}"),
            Self::File(path) => write!(f, "the file {}", path.display()),
        }
    }
}

/// Why a secret cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The environment has no such variable, or it is empty.
    #[error("{0} is not set")]
    Missing(Kept),
    /// The file cannot be read.
    #[error("{0} cannot be read: {1}")]
    Unreadable(Kept, String),
    /// Empty, too long, or with characters that no header can carry.
    #[error("{0} holds no usable secret: {1}")]
    Unusable(Kept, &'static str),
}

/// A named secret; its text once it was read.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// Where it is kept.
    pub kept: Kept,
    /// Where it is named.
    pub place: Place,
    text: Option<Arc<str>>,
}

impl Secret {
    /// A secret that was not read yet.
    pub(super) const fn new(kept: Kept, place: Place) -> Self {
        Self {
            kept,
            place,
            text: None,
        }
    }

    /// The text; `None` if it could not be had (allowed for providers' keys only).
    #[must_use]
    pub fn expose(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// Reads the text. `env` answers for the environment.
    ///
    /// # Errors
    /// If it is missing, unreadable or cannot stand in a header.
    pub(super) fn resolve(
        &mut self,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(), SecretError> {
        let is_plain = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
        self.resolve_where(env, is_plain)
    }

    /// The same for a secret that goes into no header and may have lines: a key file.
    ///
    /// # Errors
    /// If it is missing or unreadable.
    pub(super) fn resolve_document(
        &mut self,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(), SecretError> {
        self.resolve_where(env, |_| true)
    }

    fn resolve_where(
        &mut self,
        env: &dyn Fn(&str) -> Option<String>,
        takes: impl Fn(u8) -> bool,
    ) -> Result<(), SecretError> {
        let text = match &self.kept {
            Kept::Env(name) => env(name).filter(|text| !text.trim().is_empty()),
            Kept::File(path) => Some(std::fs::read_to_string(path).map_err(|error| {
                SecretError::Unreadable(self.kept.clone(), error.kind().to_string())
            })?),
        };
        let text = text.ok_or_else(|| SecretError::Missing(self.kept.clone()))?;
        let text = text.trim();
        let unusable = |why| Err(SecretError::Unusable(self.kept.clone(), why));
        if text.is_empty() {
            return unusable("it is empty");
        }
        if text.len() > MAX_BYTES {
            return unusable("it is longer than 64 KiB");
        }
        if !text.bytes().all(takes) {
            return unusable("it has characters that no header can carry");
        }
        self.text = Some(text.into());
        Ok(())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.text.is_some() {
            "read"
        } else {
            "unread"
        };
        write!(f, "Secret({}, {state})", self.kept)
    }
}

/// `env:NAME` or `file:PATH`; `path` makes a path of the file absolute. A literal is refused, and not repeated.
pub(super) fn kept(value: &DeValue<'_>, path: impl Fn(&str) -> PathBuf) -> Result<Kept, String> {
    let text = super::value::text(value)?;
    if let Some(name) = text.strip_prefix("env:") {
        let mut bytes = name.bytes();
        let first = bytes
            .next()
            .is_some_and(|b| b == b'_' || b.is_ascii_alphabetic());
        if first && bytes.all(|b| b == b'_' || b.is_ascii_alphanumeric()) {
            return Ok(Kept::Env(name.to_owned()));
        }
        return Err("after `env:` comes the name of an environment variable".to_owned());
    }
    match text.strip_prefix("file:") {
        Some(file) if !file.is_empty() && !file.contains('\0') => Ok(Kept::File(path(file))),
        Some(_) => Err("after `file:` comes a path".to_owned()),
        None => Err("a secret is never written here; put it into an environment variable and write \"env:NAME\", \
                     or into a file and write \"file:PATH\""
            .to_owned()),
    }
}
