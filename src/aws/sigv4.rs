//! Signature Version 4: proves that a request comes from the holder of a secret key, and that path, named
//! headers and body are those that were signed.
//!
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>. A path is
//! encoded once more than it stands in the request, as every service but S3 wants it.

use crate::units::UnixMs;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use std::fmt::Write as _;

/// The only algorithm.
pub const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// What is signed of a request.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// `POST`
    pub method: &'a str,
    /// The path as it stands in the request line.
    pub path: &'a str,
    /// The query as it stands there; empty if there is none.
    pub query: &'a str,
    /// Names in lower case, sorted, and values.
    pub headers: &'a [(&'a str, &'a str)],
    /// The digest of the body, in hexadecimal digits: see [`hex_digest`].
    pub body_digest: &'a str,
}

/// What a signature is good for.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// `20260101T000000Z`: see [`instant`].
    pub instant: &'a str,
    /// `us-east-1`
    pub region: &'a str,
    /// `bedrock`
    pub service: &'a str,
}

impl Scope<'_> {
    /// `20260101/us-east-1/bedrock/aws4_request`
    #[must_use]
    pub fn text(&self) -> String {
        let day = self.instant.get(..8).unwrap_or(self.instant);
        format!("{day}/{}/{}/aws4_request", self.region, self.service)
    }
}

/// A time as signatures tell it; the epoch for times that no calendar has.
#[must_use]
pub fn instant(at: UnixMs) -> String {
    let at = jiff::Timestamp::from_millisecond(at.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    at.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// SHA-256 in hexadecimal digits.
#[must_use]
pub fn hex_digest(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

/// The names of the signed headers, as `SignedHeaders` has them.
#[must_use]
pub fn signed_names(headers: &[(&str, &str)]) -> String {
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    names.join(";")
}

/// The value of `Authorization`.
#[must_use]
pub fn authorization(
    message: &Message<'_>,
    scope: &Scope<'_>,
    key_id: &str,
    secret: &str,
) -> String {
    let signature = signature(message, scope, secret);
    let (scope, names) = (scope.text(), signed_names(message.headers));
    format!("{ALGORITHM} Credential={key_id}/{scope}, SignedHeaders={names}, Signature={signature}")
}

/// The signature, in hexadecimal digits.
#[must_use]
pub fn signature(message: &Message<'_>, scope: &Scope<'_>, secret: &str) -> String {
    let whole = scope.text();
    let to_sign = format!(
        "{ALGORITHM}\n{}\n{whole}\n{}",
        scope.instant,
        hex_digest(canonical(message).as_bytes())
    );
    let mac = |key: &[u8], text: &str| sign(&Key::new(HMAC_SHA256, key), text.as_bytes());
    // Day, region, service, and the end word: each is signed with the one before as its key.
    let first = format!("AWS4{secret}").into_bytes();
    let key = whole
        .split('/')
        .fold(first, |key, part| mac(&key, part).as_ref().to_vec());
    hex(mac(&key, &to_sign).as_ref())
}

/// The request in the one form that both sides sign.
fn canonical(message: &Message<'_>) -> String {
    let mut text = format!("{}\n", message.method);
    push_encoded(&mut text, message.path, b"-._~/");
    if message.path.is_empty() {
        text.push('/');
    }
    text.push('\n');
    let mut pairs: Vec<(&str, &str)> = message
        .query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .collect();
    pairs.sort_unstable();
    for (at, (name, value)) in pairs.into_iter().enumerate() {
        let and = if at == 0 { "" } else { "&" };
        // Writing to a string cannot fail.
        let _ = write!(text, "{and}{name}={value}");
    }
    text.push('\n');
    for (name, value) in message.headers {
        let words: Vec<&str> = value.split_ascii_whitespace().collect();
        let _ = writeln!(text, "{name}:{}", words.join(" "));
    }
    let _ = write!(
        text,
        "\n{}\n{}",
        signed_names(message.headers),
        message.body_digest
    );
    text
}

/// Percent-encodes every byte that is neither a letter, a digit nor among `at_home`.
pub fn push_encoded(out: &mut String, text: &str, at_home: &[u8]) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || at_home.contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests;
