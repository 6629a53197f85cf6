//! Who may see and do what on `ops`.
//!
//! `/livez` and `/readyz` are for anybody; `/metrics` asks for `metrics_token` where one is
//! configured; everything else asks for `ops_token`. The configuration sees to it that `ops` has a
//! token wherever other machines reach it. Without one whoever is on this machine is trusted, so
//! nothing may come on another's behalf: no browser page (`Origin`, a rebound `Host`), no proxy,
//! no form that a page can post without asking.

use super::Ops;
use super::failure::Failure;
use crate::config::Secret;
use crate::server::Peer;
use crate::stack::authenticate::foreign;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Kinds of body that no page can send to another origin without asking first.
const BODY_KINDS: [&str; 5] = [
    "application/json",
    "application/jsonl",
    "application/x-ndjson",
    "application/x-jsonlines",
    "text/csv",
];

/// Lets a request pass, or answers why not.
pub async fn gate(State(ops): State<Ops>, request: Request, next: Next) -> Response {
    match check(&ops, &request) {
        Ok(()) => next.run(request).await,
        Err(failure) => failure.into_response(),
    }
}

fn check(ops: &Ops, request: &Request) -> Result<(), Failure> {
    let path = request.uri().path();
    if matches!(path, "/livez" | "/readyz") {
        return Ok(());
    }
    let live = ops.gateway.live();
    let bounds = &live.config().bounds;
    let tokens: &[&Option<Secret>] = match path {
        "/metrics" => &[&bounds.metrics_token, &bounds.ops_token],
        _ => &[&bounds.ops_token],
    };
    match tokens[0] {
        Some(_) => {
            let known = |token: &&Option<Secret>| is_token(request.headers(), token.as_ref());
            if !tokens.iter().any(known) {
                let name = if path == "/metrics" {
                    "metrics_token"
                } else {
                    "ops_token"
                };
                return Err(Failure::unauthenticated(format!(
                    "send the `{name}` of the configuration as `Authorization: Bearer`"
                )));
            }
        }
        // Other machines scrape metrics; only what does or tells more is for this machine alone.
        None if path == "/metrics" && !live.config().listen.ops.is_local() => {}
        None => {
            let peer = request.extensions().get::<Peer>().copied();
            let authority = request.uri().authority().map(http::uri::Authority::as_str);
            if let Some(why) = foreign(request.headers(), authority, peer) {
                return Err(Failure::forbidden(format!("without `ops_token` {why}")));
            }
        }
    }
    check_kind(request)
}

/// Also a request without a body must say that it is no form.
fn check_kind(request: &Request) -> Result<(), Failure> {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(());
    }
    let kind = request.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if BODY_KINDS
        .iter()
        .any(|known| kind.eq_ignore_ascii_case(known))
    {
        return Ok(());
    }
    Err(Failure::unsupported(
        "send `content-type: application/json`",
    ))
}

/// Whether the request carries this token. The comparison takes as long for a near miss as for a
/// far one, whatever the lengths.
fn is_token(headers: &HeaderMap, token: Option<&Secret>) -> bool {
    let Some(token) = token.and_then(Secret::expose) else {
        return false;
    };
    let sent = headers.get(header::AUTHORIZATION);
    let sent = sent.and_then(|value| value.as_bytes().split_at_checked(7));
    let Some((scheme, sent)) = sent else {
        return false;
    };
    let same = Sha256::digest(sent.trim_ascii()).ct_eq(&Sha256::digest(token.as_bytes()));
    scheme.eq_ignore_ascii_case(b"bearer ") && bool::from(same)
}
