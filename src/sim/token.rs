//! Google's token endpoint as far as service accounts use it: a signed assertion for a bearer token, which
//! Vertex's paths ask for here too. The signature is not checked, for the keys of tests are nobody's.
//!
//! The account's name chooses how it behaves: `broken@…` is refused, `down@…` finds the endpoint out of order,
//! `short@…` gets tokens for two seconds.

use super::Shared;
use super::body::SimBody;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::json;
use std::collections::VecDeque;

/// Tokens that are known; older ones are forgotten.
const MOST_TOKENS: usize = 1_024;
/// How long a token holds, seconds.
const LIFETIME: i64 = 3_599;
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// The tokens given out, each with the second it ends in.
#[derive(Debug, Default)]
pub struct Tokens(Mutex<(u64, VecDeque<(String, i64)>)>);

#[derive(Deserialize)]
struct Header {
    alg: String,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    scope: String,
    aud: String,
    iat: i64,
    exp: i64,
}

impl Tokens {
    /// Tokens given out so far.
    pub fn given(&self) -> u64 {
        self.0.lock().0
    }

    fn give(&self, now: i64, lifetime: i64) -> String {
        let mut tokens = self.0.lock();
        tokens.0 += 1;
        let token = format!("ya29.simulated-{}", tokens.0);
        if tokens.1.len() >= MOST_TOKENS {
            tokens.1.pop_front();
        }
        tokens.1.push_back((token.clone(), now + lifetime));
        token
    }

    /// Whether the request carries a token that holds.
    pub fn admits(&self, headers: &HeaderMap) -> bool {
        let bearer = super::caller::text(headers, "authorization");
        let bearer = bearer.and_then(|bearer| bearer.strip_prefix("Bearer "));
        let now = crate::clock::now().0 / 1_000;
        let tokens = self.0.lock();
        let holds = |bearer: &str| {
            tokens
                .1
                .iter()
                .any(|(t, until)| t == bearer && *until > now)
        };
        bearer.is_some_and(holds)
    }
}

/// Answers one request for a token.
pub fn answer(shared: &Shared, body: &[u8]) -> Response<SimBody> {
    let now = crate::clock::now().0 / 1_000;
    let (status, body) = match claims(body, now) {
        Err(why) => (StatusCode::BAD_REQUEST, invalid(why)),
        Ok(claims) if claims.iss.starts_with("broken@") => {
            (StatusCode::BAD_REQUEST, invalid("Invalid JWT Signature."))
        }
        Ok(claims) if claims.iss.starts_with("down@") => (
            StatusCode::SERVICE_UNAVAILABLE,
            json!({"error": "internal_failure"}),
        ),
        Ok(claims) => {
            let is_short = claims.iss.starts_with("short@");
            let lifetime = if is_short { 2 } else { LIFETIME };
            let token = shared.tokens.give(now, lifetime);
            let body =
                json!({"access_token": token, "expires_in": lifetime, "token_type": "Bearer"});
            (StatusCode::OK, body)
        }
    };
    let mut response = super::answer::json(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    response
}

fn invalid(why: &str) -> serde_json::Value {
    json!({"error": "invalid_grant", "error_description": why})
}

fn claims(body: &[u8], now: i64) -> Result<Claims, &'static str> {
    let form = std::str::from_utf8(body).map_err(|_| "no form")?;
    let of = |name: &str| {
        let mut pairs = form.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let grant = of("grant_type").unwrap_or_default();
    if grant.replace("%3A", ":") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
        return Err("the grant type is not that of an assertion");
    }
    let parts: Vec<&str> = of("assertion").unwrap_or_default().split('.').collect();
    let [header, claims, signature] = parts.as_slice() else {
        return Err("no assertion of three parts");
    };
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| "no base64");
    let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| "no header")?;
    let claims: Claims = serde_json::from_slice(&decode(claims)?).map_err(|_| "no claims")?;
    let is_signed = header.alg == "RS256" && decode(signature)?.len() >= 256;
    if !is_signed {
        return Err("not signed by RS256");
    }
    let in_time = claims.iat <= now + 60 && claims.exp > now && claims.exp - claims.iat <= 3_600;
    if !in_time || !claims.scope.contains(SCOPE) || !claims.aud.ends_with("/token") {
        return Err("claims that do not hold");
    }
    Ok(claims)
}
