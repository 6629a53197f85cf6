//! Who is calling: a gateway key, or `local` on loopback when no identities are configured.
//!
//! Needs the peer. Adds the [`Identity`] and takes the gateway key out of the headers; `upstream`
//! decides what becomes of a key that the caller has with the provider.

use super::gate::Gate;
use super::{Code, Refused, headers, live};
use crate::clock;
use crate::config::{AuthError, Identities, Identity};
use crate::server::Peer;
use http::{HeaderMap, HeaderName, Request, header};
use std::sync::Arc;

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
        let (identity, by) = recognise(identities, request.headers())?;
        // A gateway key goes no further, whatever a provider's `forward_credentials` says of others.
        if let Some(header) = by {
            request.headers_mut().remove(header);
        }
        request.extensions_mut().insert(identity);
        Ok(())
    }
}

fn refuse(message: &str) -> Refused {
    Refused::new(Code::Unauthenticated, message)
}

/// Who it is, and the header that said so. Callers may send a provider's key beside ours
/// (`forward_credentials`), so the first header whose key is known here counts.
fn recognise(
    identities: &Identities,
    headers: &HeaderMap,
) -> Result<(Arc<Identity>, Option<&'static HeaderName>), Refused> {
    if identities.is_local() {
        return Ok((identities.local(), None));
    }
    let now = clock::now();
    let mut fault = None;
    for (name, key) in presented(headers) {
        match identities.authenticate(key, now) {
            Ok(identity) => return Ok((identity, Some(name))),
            Err(AuthError::Expired) => fault = Some(AuthError::Expired),
            Err(AuthError::Unknown) => fault = fault.or(Some(AuthError::Unknown)),
        }
    }
    Err(refuse(match fault {
        None => {
            "No key was sent. Send the gateway key as `Authorization: Bearer`, `x-api-key` or `api-key`."
        }
        Some(AuthError::Unknown) => "This key is not known here, or it was revoked.",
        Some(AuthError::Expired) => "This key has expired.",
    }))
}

/// The keys that the three headers carry.
fn presented(headers: &HeaderMap) -> impl Iterator<Item = (&'static HeaderName, &[u8])> {
    const BEARER: &[u8] = b"bearer ";
    let names = [
        &header::AUTHORIZATION,
        &headers::X_API_KEY,
        &headers::API_KEY,
    ];
    names.into_iter().filter_map(|name| {
        let value = headers.get(name)?.as_bytes();
        let key = match *name == header::AUTHORIZATION {
            false => value,
            true => {
                let (scheme, key) = value.split_at_checked(BEARER.len())?;
                scheme.eq_ignore_ascii_case(BEARER).then_some(key)?
            }
        };
        let key = key.trim_ascii();
        (!key.is_empty()).then_some((name, key))
    })
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
