//! Signs what leaves for AWS: the very bytes, at the moment they leave, so that a call that is tried again is signed
//! anew. Headers that anybody on the way may change are left out of the signature.

use crate::aws::sigv4::{self, Message, Scope};
use crate::config::{self, Secret};
use crate::stack::upstream::Outgoing;
use http::{HeaderName, HeaderValue, Request, Uri, header};

/// What Bedrock is called in signatures.
const SERVICE: &str = "bedrock";
const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// One provider's keys. Its `Debug` shows none of them.
pub struct Signer {
    region: Box<str>,
    key_id: Box<str>,
    secret: Secret,
    token: Option<HeaderValue>,
}

impl Signer {
    /// `None` if calls are not signed, or a key is missing (they are refused then).
    pub fn of(config: &config::Provider) -> Option<Self> {
        let keys = config.aws.as_ref()?;
        let token = match &keys.session_token {
            None => None,
            Some(token) => {
                let mut value = HeaderValue::from_str(token.expose()?).ok()?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        keys.secret_access_key.expose()?;
        Some(Self {
            region: keys.region.as_str().into(),
            key_id: keys.access_key_id.expose()?.into(),
            secret: keys.secret_access_key.clone(),
            token,
        })
    }

    /// The request with its signature. One whose body streams through is left as it is: nobody knows what to sign.
    pub fn sign(&self, request: Request<Outgoing>) -> Request<Outgoing> {
        let (mut parts, body) = request.into_parts();
        let Outgoing::Whole(bytes) = &body else {
            return Request::from_parts(parts, body);
        };
        let instant = sigv4::instant(crate::clock::now());
        if let Ok(date) = HeaderValue::from_str(&instant) {
            parts.headers.insert(DATE, date);
        }
        if let Some(token) = &self.token {
            parts.headers.insert(TOKEN, token.clone());
        }
        let (host, body_digest) = (host_of(&parts.uri), sigv4::hex_digest(bytes));
        let value = |name: HeaderName| {
            let value = parts
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok());
            value.unwrap_or_default()
        };
        let mut headers = vec![
            ("content-type", value(header::CONTENT_TYPE)),
            ("host", &*host),
            ("x-amz-date", &*instant),
        ];
        if self.token.is_some() {
            headers.push(("x-amz-security-token", value(TOKEN)));
        }
        let message = Message {
            method: parts.method.as_str(),
            path: parts.uri.path(),
            query: parts.uri.query().unwrap_or(""),
            headers: &headers,
            body_digest: &body_digest,
        };
        let scope = Scope {
            instant: &instant,
            region: &self.region,
            service: SERVICE,
        };
        let secret = self.secret.expose().unwrap_or_default();
        let signed = sigv4::authorization(&message, &scope, &self.key_id, secret);
        if let Ok(mut value) = HeaderValue::from_str(&signed) {
            value.set_sensitive(true);
            parts.headers.insert(header::AUTHORIZATION, value);
        }
        Request::from_parts(parts, body)
    }
}

/// The `Host` that the connection says: without a port that goes without saying.
fn host_of(uri: &Uri) -> String {
    let host = uri.host().unwrap_or_default();
    let usual = if uri.scheme_str() == Some("https") {
        443
    } else {
        80
    };
    match uri.port_u16().filter(|port| *port != usual) {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_the_one_that_the_connection_says() {
        let cases = [
            ("https://a.example/x", "a.example"),
            ("https://a.example:443/x", "a.example"),
            ("https://a.example:8443/x", "a.example:8443"),
            ("http://a.example:80/x", "a.example"),
            ("http://127.0.0.1:7080/x", "127.0.0.1:7080"),
        ];
        for (uri, host) in cases {
            assert_eq!(host_of(&uri.parse().unwrap()), host);
        }
    }
}
