//! Who is calling: a gateway key, or `local` on loopback when no identities are configured.
//!
//! Needs the peer. Adds the [`Identity`](crate::config::Identity) and, where the provider wants the
//! caller's own key, leaves the headers alone: `upstream` decides what goes along.

use super::gate::Gate;
use super::{Code, Refused, live};
use crate::clock;
use crate::config::AuthError;
use crate::server::Peer;
use http::{HeaderMap, Request, header};

/// The stage.
#[derive(Clone, Copy, Debug)]
pub struct Authenticate;

impl<B> Gate<B> for Authenticate {
    fn pass(&self, request: &mut Request<B>) -> Result<(), Refused> {
        let live = live(request);
        let identities = &live.loaded.identities;
        if identities.is_local() {
            let peer = request.extensions().get::<Peer>().copied();
            let authority = request.uri().authority().map(http::uri::Authority::as_str);
            local_only(request.headers(), authority, peer)?;
        }
        let key = presented(request.headers()).unwrap_or_default();
        let identity = identities.authenticate(key, clock::now()).map_err(|error| match error {
            AuthError::Unknown if key.is_empty() => refuse(
                "No key was sent. Send the gateway key as `Authorization: Bearer`, `x-api-key` or `api-key`.",
            ),
            AuthError::Unknown => refuse("This key is not known here, or it was revoked."),
            AuthError::Expired => refuse("This key has expired."),
        })?;
        request.extensions_mut().insert(identity);
        Ok(())
    }
}

fn refuse(message: &str) -> Refused {
    Refused::new(Code::Unauthenticated, message)
}

/// The key, from whichever of the three headers carries one.
fn presented(headers: &HeaderMap) -> Option<&[u8]> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let value = value.as_bytes();
        let (scheme, key) = value.split_at_checked(7)?;
        return scheme
            .eq_ignore_ascii_case(b"bearer ")
            .then(|| key.trim_ascii());
    }
    let key = headers
        .get("x-api-key")
        .or_else(|| headers.get("api-key"))?;
    Some(key.as_bytes().trim_ascii())
}

/// Without identities whoever can reach the listener is trusted, so nothing may reach it on another's
/// behalf.
fn local_only(
    headers: &HeaderMap,
    authority: Option<&str>,
    peer: Option<Peer>,
) -> Result<(), Refused> {
    match foreign(headers, authority, peer) {
        Some(why) => Err(refuse(&format!("Without configured identities {why}."))),
        None => Ok(()),
    }
}

/// Why a request does not come from this machine on its own behalf, if it does not: it must come from
/// no browser page (`Origin`, a rebound `Host`), no proxy (`Forwarded`) and no other machine.
/// `authority`: the one of the request's URI, which takes the place of `Host` in HTTP/2.
#[must_use]
pub fn foreign(headers: &HeaderMap, authority: Option<&str>, peer: Option<Peer>) -> Option<String> {
    if !peer.is_some_and(Peer::is_local) {
        return Some("only callers on this machine are served".to_owned());
    }
    for name in ["origin", "forwarded", "x-forwarded-for"] {
        if headers.contains_key(name) {
            return Some(format!("a request with a `{name}` header is refused"));
        }
    }
    let host = headers
        .get(header::HOST)
        .map(|host| host.to_str().unwrap_or("?"));
    let is_foreign = |host: &str| !is_local_host(host);
    if host.is_some_and(is_foreign) || authority.is_some_and(is_foreign) {
        let why = "only `localhost` and loopback addresses are served: this `Host` is foreign";
        return Some(why.to_owned());
    }
    None
}

fn is_local_host(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.to_ascii_lowercase().ends_with(".localhost")
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
        || name.is_empty()
}

#[cfg(test)]
mod tests;
