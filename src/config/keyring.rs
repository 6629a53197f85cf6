//! Writes `policies/identities.toml`: a new key is appended, a revoked one marked, and every other
//! byte of the file stays. The file is replaced in one step, readable by its owner only.

use super::identities::{Identities, KeyDigest, digest};
use crate::units::UnixMs;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use toml::de::{DeTable, DeValue};

/// Random bytes of a key.
const KEY_BYTES: usize = 32;

/// Why the file was left as it was.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// It has faults already.
    #[error("{0}")]
    Faults(#[from] super::Faults),
    /// The new identity has faults.
    #[error("{0}")]
    Rejected(super::Faults),
    /// There is an identity of this name.
    #[error("there is an identity `{0}` already")]
    Taken(String),
    /// There is none.
    #[error("there is no identity `{0}`")]
    Absent(String),
    /// It is written in a way that cannot be changed in place.
    #[error("the identity `{0}` is not written as [[identity]]; add `revoked = true` by hand")]
    Unwritable(String),
    /// The disk said no.
    #[error("identities.toml cannot be written: {0}")]
    Io(#[from] io::Error),
    /// No randomness to be had.
    #[error("the operating system gave no random bytes")]
    Random,
}

/// What is said of a new identity.
#[derive(Clone, Debug, Default)]
pub struct NewKey {
    /// Its name.
    pub name: String,
    /// Whom it belongs to.
    pub owner: Option<String>,
    /// The agent bound to the key.
    pub agent: Option<String>,
    /// The role bound to the key.
    pub role: Option<String>,
    /// Models it may use; empty: any.
    pub models: Vec<String>,
    /// When it ends.
    pub expires: Option<UnixMs>,
    /// It may say for whom it acts.
    pub may_say_on_behalf_of: bool,
}

/// A fresh key: `bursar_` and 64 hex digits.
///
/// # Errors
/// If the operating system gives no randomness.
pub fn new_key() -> Result<String, KeyringError> {
    let mut bytes = [0; KEY_BYTES];
    getrandom::fill(&mut bytes).map_err(|_| KeyringError::Random)?;
    Ok(format!("bursar_{}", hex(&bytes)))
}

/// Appends an identity that presents `key`. Makes the file if it is not there.
///
/// # Errors
/// If the name is taken, the file has faults, or it cannot be written.
pub fn append(path: &Path, new: &NewKey, key: &str) -> Result<(), KeyringError> {
    let text = read(path)?;
    let before = Identities::parse(&text, path)?;
    let is_taken = |name: &str| before.iter().any(|who| who.name.as_str() == name);
    if before.is_configured() && is_taken(&new.name) {
        return Err(KeyringError::Taken(new.name.clone()));
    }
    let separator = match text.as_str() {
        "" => "",
        text if text.ends_with('\n') => "\n",
        _ => "\n\n",
    };
    let entry = entry(new, &digest(key.as_bytes()));
    let text = format!("{text}{separator}{entry}");
    Identities::parse(&text, path).map_err(KeyringError::Rejected)?;
    replace(path, &text)
}

/// Marks an identity as revoked. One that is already stays as it is.
///
/// # Errors
/// If there is none of that name, the file has faults, or it cannot be written.
pub fn revoke(path: &Path, name: &str) -> Result<(), KeyringError> {
    let text = read(path)?;
    let identities = Identities::parse(&text, path)?;
    let found = identities.iter().find(|who| who.name.as_str() == name);
    let found = found.filter(|_| identities.is_configured());
    if found
        .ok_or_else(|| KeyringError::Absent(name.to_owned()))?
        .revoked
    {
        return Ok(());
    }
    let unwritable = || KeyringError::Unwritable(name.to_owned());
    let text = marked(&text, name).ok_or_else(unwritable)?;
    // The change is proven before it is written: a wrong one would lock everybody out.
    let after = Identities::parse(&text, path).map_err(|_| unwritable())?;
    let is_revoked = after
        .iter()
        .any(|who| who.name.as_str() == name && who.revoked);
    match is_revoked && after.iter().len() == identities.iter().len() {
        true => replace(path, &text),
        false => Err(unwritable()),
    }
}

/// The text with `revoked = true` on the identity of that name.
fn marked(text: &str, name: &str) -> Option<String> {
    let document = DeTable::parse(text).ok()?;
    let DeValue::Array(identities) = document.get_ref().get("identity")?.get_ref() else {
        return None;
    };
    let mut tables = identities
        .iter()
        .filter_map(|item| item.get_ref().as_table());
    let table =
        tables.find(|table| table.get("name").and_then(|n| n.get_ref().as_str()) == Some(name))?;
    if let Some(revoked) = table.get("revoked") {
        let mut text = text.to_owned();
        text.replace_range(revoked.span(), "true");
        return Some(text);
    }
    let after = table.get("name")?.span().end;
    let line_end = text
        .get(after..)?
        .find('\n')
        .map_or(text.len(), |at| after + at);
    let (head, tail) = text.split_at(line_end);
    Some(format!("{head}\nrevoked = true{tail}"))
}

fn entry(new: &NewKey, digest: &KeyDigest) -> String {
    let mut entry = String::from("[[identity]]\n");
    let mut line = |key: &str, value: String| {
        let _ = writeln!(entry, "{key} = {value}");
    };
    line("name", quoted(&new.name));
    line("key_sha256", quoted(&hex(digest)));
    let NewKey {
        owner, agent, role, ..
    } = new;
    for (key, value) in [("owner", owner), ("agent", agent), ("role", role)] {
        if let Some(value) = value {
            line(key, quoted(value));
        }
    }
    if !new.models.is_empty() {
        let models: Vec<String> = new.models.iter().map(|model| quoted(model)).collect();
        line("models", format!("[{}]", models.join(", ")));
    }
    if let Some(instant) = new.expires {
        let instant = jiff::Timestamp::from_millisecond(instant.0);
        line(
            "expires",
            instant.map_or_else(|_| quoted("?"), |i| i.to_string()),
        );
    }
    if new.may_say_on_behalf_of {
        line("may_say_on_behalf_of", "true".to_owned());
    }
    entry
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn read(path: &Path) -> Result<String, KeyringError> {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        text => Ok(text?),
    }
}

/// Writes a neighbour, syncs it and renames it over the file: a reader sees the old or the new.
fn replace(path: &Path, text: &str) -> Result<(), KeyringError> {
    // Through a symbolic link the file behind it is replaced, not the link.
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let neighbour = path.with_extension(format!("toml.{}", std::process::id()));
    let written = write_new(&neighbour, text).and_then(|()| std::fs::rename(&neighbour, &path));
    if written.is_err() {
        let _ = std::fs::remove_file(&neighbour);
    }
    Ok(written?)
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
