//! Who is calling: a gateway key, or `local` on loopback when no identities are configured.
//!
//! Needs the peer. Adds the [`Identity`] and takes the gateway key out of the headers; `upstream`
//! decides what becomes of a key that the caller has with the provider.

use super::gate::Gate;
use super::{Code, Refused, live};
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
            local_only(request.headers(), request.uri().host(), peer)?;
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
) -> Result<(Arc<Identity>, Option<HeaderName>), Refused> {
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
fn presented(headers: &HeaderMap) -> impl Iterator<Item = (HeaderName, &[u8])> {
    const BEARER: &[u8] = b"bearer ";
    let names = [
        header::AUTHORIZATION,
        HeaderName::from_static("x-api-key"),
        HeaderName::from_static("api-key"),
    ];
    names.into_iter().filter_map(|name| {
        let value = headers.get(&name)?.as_bytes();
        let key = match name == header::AUTHORIZATION {
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
/// behalf: no browser page (`Origin`, a rebound `Host`), no proxy (`Forwarded`), no other machine.
fn local_only(
    headers: &HeaderMap,
    authority: Option<&str>,
    peer: Option<Peer>,
) -> Result<(), Refused> {
    if !peer.is_some_and(Peer::is_local) {
        return Err(refuse(
            "Without configured identities only callers on this machine are served.",
        ));
    }
    for name in ["origin", "forwarded", "x-forwarded-for"] {
        if headers.contains_key(name) {
            return Err(refuse(&format!(
                "Without configured identities a call with a `{name}` header is refused: configure a key."
            )));
        }
    }
    // HTTP/2 has the host in the address, and so may HTTP/1.
    let host = headers.get(header::HOST).map(|host| host.to_str());
    let foreign = host.is_some_and(|host| !host.is_ok_and(is_local_host))
        || authority.is_some_and(|host| !is_local_host(host));
    if foreign {
        return Err(refuse(
            "Without configured identities only `localhost` and loopback addresses are served: this `Host` is foreign.",
        ));
    }
    Ok(())
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
