//! One provider, ready to be called: its address, its credentials, its connections.

mod azure;
mod signer;
mod tokens;

use super::health::Healths;
use super::places::Places;
use crate::aws::sigv4::push_encoded as push_encoded_to;
use crate::config::{self, Auth, HeaderText, OutputCapField, Paths};
use crate::dialect::Dialect;
use crate::dialect::translate::Pair;
use crate::ops::metrics::{Metrics, ProviderMetrics};
use crate::stack::upstream::{Outgoing, Passing, Pool, PoolError, Via, outgoing_headers};
use crate::units::{NanoUsd, ProviderName};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use signer::Signer;
use std::sync::OnceLock;
pub use tokens::NoToken;
use tokens::Tokens;

/// Why a provider cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// Its TLS roots.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The URL has no host.
    #[error("`{0}` is no absolute URL")]
    BaseUrl(Uri),
}

/// One provider.
pub struct Provider {
    /// As the file has it.
    pub config: config::Provider,
    /// Its name.
    pub name: ProviderName,
    /// How long it may take.
    pub timeouts: config::Timeouts,
    /// Its connections.
    pub pool: Pool,
    /// Which of its models are fit to be called.
    pub healths: Healths,
    /// How many calls it is given at once.
    pub places: Places,
    counters: OnceLock<ProviderMetrics>,
    scheme: Scheme,
    authority: Authority,
    prefix: String,
    /// The addresses of the metered endpoints, ready made.
    endpoints: Vec<(&'static str, Uri)>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// What its calls are signed with, where they are.
    signer: Option<Signer>,
    /// Where its key is good for tokens only.
    tokens: Option<Tokens>,
}

/// The metered endpoints below `/v1`.
const ENDPOINTS: [&str; 5] = [
    "/chat/completions",
    "/responses",
    "/messages",
    "/embeddings",
    "/completions",
];

impl Provider {
    /// Makes a provider ready; nothing is connected yet.
    ///
    /// # Errors
    /// See [`ProviderError`].
    pub fn new(config: config::Provider) -> Result<Self, ProviderError> {
        let pool = Pool::new(
            config.ca_file.as_deref(),
            Via::of(&config.proxy, &config.base_url),
            config.timeouts.connect,
            config.resilience.max_idle_connections,
        )?;
        let parts = config.base_url.clone().into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(ProviderError::BaseUrl(config.base_url));
        };
        let path = parts
            .path_and_query
            .map_or_else(String::new, |path| path.path().to_owned());
        // OpenAI's SDK takes its base URL with /v1, Anthropic's without.
        let version = match config.preset.paths {
            Paths::BelowV1 => "/v1".to_owned(),
            Paths::Gemini => "/v1beta".to_owned(),
            Paths::Vertex => below_project(&config),
            Paths::Plain | Paths::AzureV1 | Paths::AzureDeployments | Paths::Bedrock => {
                String::new()
            }
        };
        let prefix = format!("{}{version}", path.trim_end_matches('/'));
        let mut headers = own_headers(&config);
        if !headers.iter().any(|(name, _)| name == header::HOST) {
            headers.extend(own_host(&scheme, &authority));
        }
        let account = config
            .vertex
            .as_ref()
            .and_then(|vertex| vertex.account.clone());
        let mut provider = Self {
            name: config.name.clone(),
            timeouts: config.timeouts,
            pool,
            healths: Healths::default(),
            places: Places::new(&config.resilience),
            counters: OnceLock::new(),
            scheme,
            authority,
            prefix,
            endpoints: Vec::new(),
            headers,
            signer: Signer::of(&config),
            tokens: account.map(Tokens::new),
            config,
        };
        for endpoint in ENDPOINTS {
            // What cannot stand in a URI is said when it is called for.
            if let Ok(uri) = provider.uri(endpoint, None) {
                provider.endpoints.push((endpoint, uri));
            }
        }
        Ok(provider)
    }

    /// The address of an endpoint below `/v1`, with the caller's query. `suffix` is a decoded path:
    /// it is encoded again, so that a provider which decodes twice reads no other path than Bursar did.
    ///
    /// # Errors
    /// The path or query cannot stand in a URI.
    pub fn uri(&self, suffix: &str, query: Option<&str>) -> Result<Uri, http::Error> {
        let ready = self.endpoints.iter().find(|(known, _)| *known == suffix);
        if let (Some((_, uri)), None) = (ready, query) {
            return Ok(uri.clone());
        }
        let mut path = String::with_capacity(self.prefix.len() + suffix.len() + 32);
        path.push_str(&self.prefix);
        push_encoded(&mut path, suffix);
        if let Some(query) = query {
            path.push('?');
            path.push_str(query);
        }
        self.at(path)
    }

    /// The address with that path and query.
    fn at(&self, path: String) -> Result<Uri, http::Error> {
        let path = PathAndQuery::from_maybe_shared(bytes::Bytes::from(path))?;
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(path)
            .build()
    }

    /// The address of a metered endpoint for this model: as [`Self::uri`], but where the provider's
    /// paths differ.
    ///
    /// # Errors
    /// The path or query cannot stand in a URI.
    pub fn address(
        &self,
        suffix: &str,
        query: Option<&str>,
        model: &str,
    ) -> Result<Uri, http::Error> {
        match self.config.preset.paths {
            Paths::Plain | Paths::BelowV1 => self.uri(suffix, query),
            Paths::Gemini | Paths::Vertex => {
                // Encoded twice, so that no name reaches another path.
                let model = model.strip_prefix("models/").unwrap_or(model);
                let last = format!("/models/{}{suffix}", model.replace('/', "%2F"));
                let events = suffix.starts_with(":stream").then_some("alt=sse");
                self.uri(&last, events)
            }
            Paths::AzureV1 => self.uri(suffix, azure::v1_query(query).as_deref()),
            Paths::Bedrock => {
                let mut path = format!("{}/model/", self.prefix);
                // The name is one segment, whatever is in it.
                push_encoded_to(&mut path, model, b"-._~");
                path.push_str(suffix);
                self.at(path)
            }
            Paths::AzureDeployments => {
                let version = self.config.api_version.as_deref();
                let query = azure::dated_query(query, version);
                self.uri(&format!("/deployments/{model}{suffix}"), Some(&query))
            }
        }
    }

    /// The request as it leaves: signed, where that is what stands for a key.
    #[must_use]
    pub fn signed(&self, request: http::Request<Outgoing>) -> http::Request<Outgoing> {
        match &self.signer {
            None => request,
            Some(signer) => signer.sign(request),
        }
    }

    /// What is counted of it.
    pub fn counters(&self, metrics: &Metrics) -> &ProviderMetrics {
        self.counters
            .get_or_init(|| metrics.provider(self.name.as_str()))
    }

    /// Makes the caller's headers this provider's.
    pub fn dress(&self, headers: &mut HeaderMap) {
        let passing = Passing {
            credentials: self.config.forward_credentials,
            attribution: self.config.forward_attribution,
        };
        outgoing_headers(headers, passing);
        for (name, value) in self.config.preset.headers {
            let name = HeaderName::from_static(name);
            let usual = headers.entry(name);
            usual.or_insert(HeaderValue::from_static(value));
        }
        for (name, value) in &self.headers {
            headers.insert(name.clone(), value.clone());
        }
    }

    /// The token that a call needs, where the key itself does not go along.
    ///
    /// # Errors
    /// There is none.
    pub async fn authorize(&self, headers: &mut HeaderMap) -> Result<(), NoToken> {
        if let Some(tokens) = &self.tokens {
            let bearer = tokens.bearer(&self.pool).await?;
            headers.insert(header::AUTHORIZATION, bearer);
        }
        Ok(())
    }

    /// The provider did not take what a call was signed with.
    pub fn distrust(&self) {
        if let Some(tokens) = &self.tokens {
            tokens.distrust();
        }
    }

    /// A key is configured but was not to be had.
    #[must_use]
    pub fn lacks_key(&self) -> Option<String> {
        let mut missing = self.config.secrets().filter(|key| key.expose().is_none());
        missing.next().map(|secret| secret.kept.to_string())
    }

    /// Whether it speaks a dialect.
    #[must_use]
    pub fn speaks(&self, dialect: Dialect) -> bool {
        self.config.speaks(dialect)
    }

    /// The translation through which it takes a dialect that it does not speak, if there is one.
    #[must_use]
    pub fn translates(&self, dialect: Dialect) -> Option<Pair> {
        Pair::of(dialect, |target| self.speaks(target))
    }

    /// Whether it takes calls of a dialect: it speaks it, or they are translated for it.
    #[must_use]
    pub fn takes(&self, dialect: Dialect) -> bool {
        self.config.takes(dialect)
    }

    /// Whether it bills a complete error answer of this status and body.
    #[must_use]
    pub fn bills(&self, status: StatusCode, body: &[u8]) -> bool {
        let (preset, code) = (self.config.preset, status.as_u16());
        match &self.config.billed_errors {
            Some(billed) => billed.contains(&code),
            None if preset.unbilled_errors.contains(&code) => false,
            None => !is_unbilled(status) || preset.bills(code, body),
        }
    }

    /// Whose price list its models stand in.
    #[must_use]
    pub fn family(&self) -> &str {
        let configured = self.config.catalogue.as_deref();
        configured.unwrap_or(self.config.preset.catalogue)
    }

    /// The chat field under which it honours an output cap; `None`: the model's card says it.
    #[must_use]
    pub fn output_cap_field(&self) -> Option<OutputCapField> {
        let configured = self.config.output_cap_field;
        configured.or(self.config.preset.output_cap)
    }

    /// What a call in this dialect may cost although it is refused for its content.
    #[must_use]
    pub fn refusal_fee(&self, dialect: Dialect) -> NanoUsd {
        match self.config.preset.refusal_fee {
            Some((charged, fee)) if charged == dialect => fee,
            _ => NanoUsd::ZERO,
        }
    }
}

/// Percent-encodes what is not at home in a path; slashes stay.
fn push_encoded(out: &mut String, path: &str) {
    const AT_HOME: &[u8] = b"-._~!$&'()*+,;=:@/";
    let at_home = |byte: u8| byte.is_ascii_alphanumeric() || AT_HOME.contains(&byte);
    if path.bytes().all(at_home) {
        out.push_str(path);
        return;
    }
    for byte in path.bytes() {
        if at_home(byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

/// What stands before Vertex's models.
fn below_project(config: &config::Provider) -> String {
    let Some(vertex) = &config.vertex else {
        return String::new();
    };
    let (project, place) = (vertex.project().unwrap_or("-"), &vertex.location);
    format!("/v1/projects/{project}/locations/{place}/publishers/google")
}

fn own_headers(config: &config::Provider) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::new();
    if let Some(key) = config.api_key.as_ref().and_then(|key| key.expose()) {
        let (name, text) = match config.preset.auth {
            Auth::Bearer => (header::AUTHORIZATION, format!("Bearer {key}")),
            Auth::XApiKey => (HeaderName::from_static("x-api-key"), key.to_owned()),
            Auth::ApiKey => (HeaderName::from_static("api-key"), key.to_owned()),
            Auth::GoogApiKey => (HeaderName::from_static("x-goog-api-key"), key.to_owned()),
            // Refused where it is read.
            Auth::ServiceAccount => return Vec::new(),
        };
        headers.extend(sensitive(&text).map(|value| (name, value)));
    }
    for (name, text) in &config.headers {
        let value = match text {
            HeaderText::Plain(value) => Some(value.clone()),
            HeaderText::Secret(secret) => secret.expose().and_then(sensitive),
        };
        headers.extend(value.map(|value| (name.clone(), value)));
    }
    headers
}

/// The `host` of an address that names a port and is spoken to in HTTP/1, written once: the client would write
/// it anew for every call. Behind TLS that may be HTTP/2, which says it elsewhere.
fn own_host(scheme: &Scheme, authority: &Authority) -> Option<(HeaderName, HeaderValue)> {
    let port = authority.port_u16().filter(|port| *port != 80)?;
    let text = (*scheme == Scheme::HTTP).then(|| format!("{}:{port}", authority.host()))?;
    Some((header::HOST, HeaderValue::from_str(&text).ok()?))
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// True for statuses whose complete error answers providers do not bill.
fn is_unbilled(status: StatusCode) -> bool {
    match status.as_u16() {
        408 | 499 => false,
        300..=499 | 500 | 503 | 529 => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_host_is_written_where_the_client_would_write_it_so() {
        let host = |url: &str| {
            let parts = url.parse::<http::Uri>().unwrap().into_parts();
            let host = super::own_host(&parts.scheme.unwrap(), &parts.authority.unwrap());
            host.map(|(_, value)| value.to_str().unwrap().to_owned())
        };
        assert_eq!(
            host("http://me@vllm.local:8000/v1").as_deref(),
            Some("vllm.local:8000")
        );
        assert_eq!(host("http://[::1]:8000").as_deref(), Some("[::1]:8000"));
        for usual in [
            "http://vllm.local/v1",
            "http://vllm.local:80",
            "https://vllm.local:8443",
        ] {
            assert_eq!(host(usual), None);
        }
    }

    #[test]
    fn what_is_not_at_home_in_a_path_is_encoded() {
        let cases = [
            ("/chat/completions", "/chat/completions"),
            ("/models/a b?c#d", "/models/a%20b%3Fc%23d"),
            ("/files/%2e%2e/x", "/files/%252e%252e/x"),
            ("/models/mod\u{e8}le:1@x", "/models/mod%C3%A8le:1@x"),
        ];
        for (path, encoded) in cases {
            let mut out = String::new();
            super::push_encoded(&mut out, path);
            assert_eq!(out, encoded);
        }
    }
}
