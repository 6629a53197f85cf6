//! What a request's headers say of who pays, and what `sim-echo` says back.

use super::bill::Payer;
use http::HeaderMap;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION};
use http::request::Parts;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fmt::Write as _;

/// Keys that begin so are made up, and are shown as they are.
const MADE_UP: &str = "sk-sim";
/// Bytes of a digest that name a key.
const KEY_DIGEST_BYTES: usize = 6;

/// A header's text, if it is plain ASCII.
pub fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Whom a call is charged to; `task` is what its body says.
pub fn payer<'a>(headers: &'a HeaderMap, task: Option<&'a str>, key: Option<&'a str>) -> Payer<'a> {
    Payer {
        task: text(headers, "x-bursar-task-id")
            .or_else(|| text(headers, "x-sim-task"))
            .or(task),
        agent: text(headers, "x-bursar-agent-id"),
        owner: text(headers, "x-bursar-owner"),
        key,
        request: text(headers, "x-bursar-request-id"),
    }
}

/// The API key's name on the bill. Real keys never appear: somebody may point one here by mistake.
pub fn key(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    if let Some(signed) = text(headers, AUTHORIZATION.as_str())
        && let Some((_, credential)) = signed.split_once(" Credential=")
    {
        return credential.split('/').next().map(named);
    }
    let bearer = text(headers, AUTHORIZATION.as_str())
        .map(|value| value.strip_prefix("Bearer ").unwrap_or(value));
    let key = bearer
        .or_else(|| text(headers, "x-api-key"))
        .or_else(|| text(headers, "x-goog-api-key"))
        .or_else(|| text(headers, "api-key"))?;
    Some(named(key))
}

fn named(key: &str) -> Cow<'_, str> {
    if key.starts_with(MADE_UP) {
        return Cow::Borrowed(key);
    }
    Cow::Owned(format!(
        "sha256:{}",
        hex(&Sha256::digest(key)[..KEY_DIGEST_BYTES])
    ))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// No `accept-encoding` means that any encoding will do.
pub fn takes_gzip(headers: &HeaderMap) -> bool {
    text(headers, ACCEPT_ENCODING.as_str())
        .is_none_or(|accepted| accepted.contains("gzip") || accepted.contains('*'))
}

/// What was received, as JSON: request line, headers (keys by their name on the bill; repeated headers
/// joined by a comma), and the body's length and digest.
pub fn echo(head: &Parts, body: &[u8]) -> String {
    let mut headers = Map::new();
    for name in head.headers.keys() {
        let values = head.headers.get_all(name).iter();
        let values: Vec<_> = values
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        let value = match name.as_str() {
            "authorization" | "x-api-key" | "x-goog-api-key" | "api-key" => {
                let key = values.first().map_or("", |value| value);
                named(key.strip_prefix("Bearer ").unwrap_or(key)).into_owned()
            }
            _ => values.join(", "),
        };
        headers.insert(name.as_str().to_owned(), Value::String(value));
    }
    json!({
        "method": head.method.as_str(),
        "path": head.uri.path_and_query().map_or("/", |path| path.as_str()),
        "version": format!("{:?}", head.version),
        "headers": headers,
        "body_bytes": body.len(),
        "body_sha256": hex(&Sha256::digest(body)),
    })
    .to_string()
}
