//! `policies/identities.toml`: who may call, known by the SHA-256 of the key they present. Without
//! any, callers on this machine are one identity, `local`.

use super::fault::{Fault, Faults, Place};
use super::glob::Globs;
use super::read::{Section, document};
use super::value;
use crate::units::{AgentId, IdentityName, Owner, Role, UnixMs};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use subtle::ConstantTimeEq;
use toml::de::DeValue;

/// Longest key that is looked at, in bytes; a longer one is unknown.
const MAX_KEY_BYTES: usize = 4096;

/// SHA-256 of a key. A key is 32 random bytes, so a plain digest cannot be searched.
pub type KeyDigest = [u8; 32];

/// The digest under which a key is known.
#[must_use]
pub fn digest(key: &[u8]) -> KeyDigest {
    Sha256::digest(key).into()
}

/// One who may call.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// Its name, unique.
    pub name: IdentityName,
    /// Whom it belongs to; by default itself.
    pub owner: Owner,
    /// When its key ends.
    pub expires: Option<UnixMs>,
    /// Its key was withdrawn; the name stays for reports.
    pub revoked: bool,
    /// The agent bound to the key.
    pub agent: Option<AgentId>,
    /// The role bound to the key.
    pub role: Option<Role>,
    /// Models it may use; empty: any.
    pub models: Globs,
    /// It may say for whom it acts.
    pub may_say_on_behalf_of: bool,
    /// Throughput, not budget.
    pub requests_per_minute: Option<u64>,
    /// Throughput, not budget.
    pub tokens_per_minute: Option<u64>,
    /// Where it is written; empty for `local`.
    pub place: Place,
}

impl Identity {
    /// The one of a gateway without identities.
    fn local() -> Self {
        Self {
            name: "local".into(),
            owner: "local".into(),
            expires: None,
            revoked: false,
            agent: None,
            role: None,
            models: Globs::default(),
            may_say_on_behalf_of: true,
            requests_per_minute: None,
            tokens_per_minute: None,
            place: Place::default(),
        }
    }

    /// Whether it may use a model.
    #[must_use]
    pub fn may_use(&self, model: &str) -> bool {
        self.models.is_empty() || self.models.matches(model)
    }
}

/// Why a key is not accepted. Both are a 401; the caller learns no more than this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No identity has this key, or it was revoked.
    #[error("this key is not known here")]
    Unknown,
    /// Its time is over.
    #[error("this key has expired")]
    Expired,
}

/// Everyone who may call.
#[derive(Clone, Debug)]
pub struct Identities {
    all: Vec<Arc<Identity>>,
    by_key: HashMap<KeyDigest, Arc<Identity>, foldhash::quality::RandomState>,
    local: Arc<Identity>,
    configured: bool,
}

impl Identities {
    /// Reads the text of an `identities.toml` that stands at `path`. A file without identities, or
    /// none, leaves `local`.
    ///
    /// # Errors
    /// Every fault, with its line.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Faults> {
        document(path, text, |section| {
            let read = read(section);
            Some(Self::of(read))
        })
    }

    /// A gateway without identities. `key` is `BURSAR_KEY`, which makes `local` known by it.
    #[must_use]
    pub fn without(key: Option<&str>) -> Self {
        let local = Arc::new(Identity::local());
        let key = key.map(|key| (digest(key.as_bytes()), Arc::clone(&local)));
        Self {
            all: vec![Arc::clone(&local)],
            by_key: key.into_iter().collect(),
            local,
            configured: false,
        }
    }

    fn of(read: Vec<(Identity, KeyDigest)>) -> Self {
        if read.is_empty() {
            return Self::without(None);
        }
        let read = read.into_iter();
        let by_key: HashMap<_, _, _> = read.map(|(who, key)| (key, Arc::new(who))).collect();
        let mut all: Vec<_> = by_key.values().cloned().collect();
        all.sort_by_key(|identity| identity.place.line);
        Self {
            all,
            by_key,
            local: Arc::new(Identity::local()),
            configured: true,
        }
    }

    /// Who presents this key. On a `local` gateway any key will do, also an empty one.
    ///
    /// # Errors
    /// If the key is unknown, revoked or expired.
    pub fn authenticate(&self, key: &[u8], now: UnixMs) -> Result<Arc<Identity>, AuthError> {
        if self.is_local() {
            return Ok(self.local());
        }
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            return Err(AuthError::Unknown);
        }
        // What is looked up is a digest of what was sent: the time this takes tells nothing that
        // would help to find a key.
        let digest = digest(key);
        let found = self.by_key.get_key_value(&digest);
        let found = found.filter(|(own, _)| bool::from(own.ct_eq(&digest)));
        let identity = found
            .map(|(_, identity)| identity)
            .ok_or(AuthError::Unknown)?;
        if identity.revoked {
            return Err(AuthError::Unknown);
        }
        match identity.expires {
            Some(end) if end <= now => Err(AuthError::Expired),
            _ => Ok(Arc::clone(identity)),
        }
    }

    /// True if there are neither identities nor `BURSAR_KEY`: any caller on this machine is `local`,
    /// whatever key it sends, and requests that a browser or a proxy made must be refused.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.by_key.is_empty()
    }

    /// True if `identities.toml` names any.
    #[must_use]
    pub const fn is_configured(&self) -> bool {
        self.configured
    }

    /// The identity of a gateway without identities.
    #[must_use]
    pub fn local(&self) -> Arc<Identity> {
        Arc::clone(&self.local)
    }

    /// Everyone, in the order of the file.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Identity>> {
        self.all.iter()
    }

    /// What is wrong with who may call from where.
    pub(super) fn check_reach(&self, listen: &super::Listen, file: &Path) -> Option<Fault> {
        let open = self.is_local() && !listen.agents.is_local();
        open.then(|| {
            let message = format!(
                "`agents` listens on {}, beyond this machine, and no identities are configured: \
                 run `bursar key new --name NAME`, or set BURSAR_KEY",
                listen.agents
            );
            Fault::of(file, message)
        })
    }
}

fn read(parent: &Section<'_>) -> Vec<(Identity, KeyDigest)> {
    let mut read: Vec<(Identity, KeyDigest)> = Vec::new();
    for section in parent.sections("identity") {
        let found = read_one(&section);
        section.close();
        let Some((identity, key)) = found else {
            continue;
        };
        for (other, other_key) in &read {
            let line = other.place.line;
            if other.name == identity.name {
                let name = &identity.name;
                section.fault_of(
                    "name",
                    format!("line {line} has an identity `{name}` already"),
                );
            }
            if *other_key == key {
                let message = format!("the identity of line {line} has this key already");
                section.fault_of("key_sha256", message);
            }
        }
        read.push((identity, key));
    }
    read
}

fn read_one(section: &Section<'_>) -> Option<(Identity, KeyDigest)> {
    let name = section.need("name", value::id);
    let owner = section.get("owner", value::id);
    let key = section.need("key_sha256", key_digest);
    let models = section.list("models", value::name).unwrap_or_default();
    let per_minute = value::count_in(1, 1_000_000_000_000);
    let identity = Identity {
        expires: section.get("expires", instant),
        revoked: section.or("revoked", false, value::flag),
        agent: section.get("agent", value::id).map(AgentId::from),
        role: section.get("role", value::id).map(Role::from),
        models: models.into_iter().collect(),
        may_say_on_behalf_of: section.or("may_say_on_behalf_of", false, value::flag),
        requests_per_minute: section.get("requests_per_minute", per_minute),
        tokens_per_minute: section.get("tokens_per_minute", per_minute),
        place: section.place(),
        name: name.as_deref()?.into(),
        owner: owner.or(name)?.into(),
    };
    Some((identity, key?))
}

fn key_digest(value: &DeValue<'_>) -> Result<KeyDigest, String> {
    let text = value::text(value)?;
    let wrong = || "this is no SHA-256 in 64 hex digits; `bursar key new` writes it".to_owned();
    if text.starts_with("bursar_") {
        return Err("this is the key itself; only its SHA-256 belongs here. Revoke it".to_owned());
    }
    let bytes = text.as_bytes();
    if bytes.len() != 64 {
        return Err(wrong());
    }
    let mut digest = [0; 32];
    for (byte, pair) in digest.iter_mut().zip(bytes.chunks_exact(2)) {
        let pair = std::str::from_utf8(pair).map_err(|_| wrong())?;
        let is_hex = pair.bytes().all(|b| b.is_ascii_hexdigit());
        *byte = u8::from_str_radix(pair, 16)
            .ok()
            .filter(|_| is_hex)
            .ok_or_else(wrong)?;
    }
    Ok(digest)
}

/// An instant with its offset: a date alone ends somewhere else for everyone.
fn instant(value: &DeValue<'_>) -> Result<UnixMs, String> {
    let text = match value {
        DeValue::Datetime(date) => date.to_string(),
        DeValue::String(text) => text.clone().into_owned(),
        _ => return Err("write an instant such as 2027-01-01T00:00:00Z".to_owned()),
    };
    parse_instant(&text)
}

/// Reads an RFC 3339 instant.
pub(crate) fn parse_instant(text: &str) -> Result<UnixMs, String> {
    let instant: Result<jiff::Timestamp, _> = text.parse();
    instant
        .map(|instant| UnixMs(instant.as_millisecond()))
        .map_err(|_| {
            format!("`{text}` is no instant with its offset, such as 2027-01-01T00:00:00Z")
        })
}
