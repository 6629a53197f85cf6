//! What only `kind = "bedrock"` has: a region, and keys that calls are signed with.

use super::preset::{Paths, Preset};
use super::read::Section;
use super::secret::{self, Secret};
use super::value;
use toml::de::DeValue;

/// The keys of `[[provider]]` that are read here.
const KEYS: [&str; 4] = [
    "region",
    "access_key_id",
    "secret_access_key",
    "session_token",
];

/// What calls are signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsKeys {
    /// `us-east-1`
    pub region: String,
    /// Names the key.
    pub access_key_id: Secret,
    /// Signs, and never leaves.
    pub secret_access_key: Secret,
    /// Goes along with keys that were lent for a while.
    pub session_token: Option<Secret>,
}

impl AwsKeys {
    /// All of them.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        [&self.access_key_id, &self.secret_access_key]
            .into_iter()
            .chain(&self.session_token)
    }

    /// All of them, to be read.
    pub(super) fn secrets_mut(&mut self) -> impl Iterator<Item = &mut Secret> {
        [&mut self.access_key_id, &mut self.secret_access_key]
            .into_iter()
            .chain(&mut self.session_token)
    }
}

fn is_bedrock(preset: &Preset) -> bool {
    preset.paths == Paths::Bedrock
}

/// The address in the region, where none is configured.
pub(super) fn usual_url(section: &Section<'_>, preset: &Preset) -> Option<String> {
    if !is_bedrock(preset) || section.has("base_url") || !section.has("region") {
        return None;
    }
    let region = section.get("region", region)?;
    let domain = match region.starts_with("cn-") {
        true => "amazonaws.com.cn",
        false => "amazonaws.com",
    };
    Some(format!("https://bedrock-runtime.{region}.{domain}"))
}

/// Reads them, and says what does not go together.
pub(super) fn read(section: &Section<'_>, preset: Option<&Preset>) -> Option<AwsKeys> {
    let region = section.get("region", region);
    let secret = |name: &'static str| {
        let kept = section.get(name, |value| secret::kept(value, |file| section.path(file)));
        kept.map(|kept| Secret::new(kept, section.place_of(name)))
    };
    let id = secret("access_key_id");
    let key = secret("secret_access_key");
    let session_token = secret("session_token");
    if !preset.is_some_and(is_bedrock) {
        if let Some(name) = KEYS.iter().find(|name| section.has(name)) {
            let message = "only `kind = \"bedrock\"` has a region and keys to sign with";
            section.fault_of(name, message);
        }
        return None;
    }
    let named = KEYS[1..].iter().find(|name| section.has(name))?;
    if section.has("api_key") {
        let message = "either calls are signed or `api_key` goes along; take one away";
        section.fault_of(named, message);
    }
    for needed in &KEYS[..3] {
        if !section.has(needed) {
            section.fault_of(named, format!("calls are not signed without `{needed}`"));
        }
    }
    Some(AwsKeys {
        region: region?,
        access_key_id: id?,
        secret_access_key: key?,
        session_token,
    })
}

/// `us-east-1`
fn region(value: &DeValue<'_>) -> Result<String, String> {
    let text = value::text(value)?;
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    match !text.is_empty() && text.len() <= 32 && text.bytes().all(is_plain) {
        true => Ok(text),
        false => Err(format!("`{text}` is no region, as `us-east-1` is")),
    }
}
