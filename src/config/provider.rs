//! `[[provider]]`: where calls go, with which credentials, for how long, and what its answers cost
//! when the catalogue cannot tell.

use super::aws::{self, AwsKeys};
use super::bounds::TOP_LEVEL;
use super::fault::Place;
use super::glob::Globs;
use super::preset::{PRESETS, Paths, Preset};
use super::read::Section;
use super::resilience::{self, Resilience};
use super::secret::{self, Kept, Secret};
use super::value;
use super::vertex::{self, Vertex};
use crate::dialect::Dialect;
use crate::dialect::translate::Pair;
use crate::units::{NanoUsd, ProviderName};
use http::{HeaderName, HeaderValue, Uri};
use std::path::PathBuf;
use std::time::Duration;
use toml::de::DeValue;

/// Paths that have a meter and never pass without it.
const METERED_PATHS: [&str; 5] = [
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/embeddings",
    "/v1/completions",
    "/v1/messages",
];

/// Which family of dialects a provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// OpenAI's, and of all that copy it.
    Openai,
    /// Anthropic's.
    Anthropic,
    /// Amazon Bedrock's.
    Bedrock,
    /// Google's own.
    Google,
}

impl Kind {
    /// The name in configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::Anthropic => "anthropic",
            Self::Bedrock => "bedrock",
            Self::Google => "google",
        }
    }
}

/// The field that tells a provider how much it may produce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputCapField {
    /// `max_tokens`: vLLM, Ollama, Anthropic, older OpenAI models.
    MaxTokens,
    /// `max_completion_tokens`: OpenAI's chat models of today.
    MaxCompletionTokens,
    /// `max_output_tokens`: the Responses API.
    MaxOutputTokens,
}

impl OutputCapField {
    /// The field's name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
            Self::MaxOutputTokens => "max_output_tokens",
        }
    }
}

/// The way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// Straight to the provider, whatever the environment says.
    Direct,
    /// As `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` say.
    Env,
    /// Through this proxy.
    Through(Uri),
}

/// How long each part of an upstream call may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// To a usable connection: name, TCP, TLS.
    pub connect: Duration,
    /// From the request's last byte to the answer's head.
    pub first_byte: Duration,
    /// Between two pieces of the answer.
    pub between_bytes: Duration,
    /// The whole call.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            // The SDKs' own default: a reasoning model may think that long before its first byte.
            first_byte: Duration::from_secs(600),
            between_bytes: Duration::from_secs(300),
            total: Duration::from_secs(3600),
        }
    }
}

/// What a model without a price is taken to cost at most, in nano-dollars per million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ceiling {
    /// Any input token.
    pub input: NanoUsd,
    /// Any output token.
    pub output: NanoUsd,
}

/// A header that every request to a provider carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderText {
    /// As written.
    Plain(HeaderValue),
    /// `env:` or `file:`.
    Secret(Secret),
}

/// One `[[provider]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Provider {
    /// Its name: `name/model` picks it.
    pub name: ProviderName,
    /// Whose dialects it speaks.
    pub kind: Kind,
    /// Those of them that it speaks, where that is not all.
    pub dialects: Option<Vec<Dialect>>,
    /// What `kind` stands for.
    pub preset: &'static Preset,
    /// As its SDK takes it: OpenAI's with `/v1`, Anthropic's without. No slash at the end.
    pub base_url: Uri,
    /// Its credentials; absent for those that need none or when callers bring their own.
    pub api_key: Option<Secret>,
    /// Bare model names it serves; empty: any that no other provider lists.
    pub models: Globs,
    /// The caller's own credentials go upstream.
    pub forward_credentials: bool,
    /// The `x-bursar-*` ids go upstream.
    pub forward_attribution: bool,
    /// Further headers.
    pub headers: Vec<(HeaderName, HeaderText)>,
    /// A PEM file of further certificate authorities.
    pub ca_file: Option<PathBuf>,
    /// The way out.
    pub proxy: Proxy,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// How its failures are met.
    pub resilience: Resilience,
    /// The output-cap field it honours, where the preset is wrong.
    pub output_cap_field: Option<OutputCapField>,
    /// The family in the catalogue whose prices hold; by default the one of its `kind`.
    pub catalogue: Option<String>,
    /// What a model without a price costs at most; without it such a model is refused under a `usd` cap.
    pub ceiling: Option<Ceiling>,
    /// What a translation leaves out that it cannot carry, by name.
    pub drop: Vec<String>,
    /// Paths that pass without a meter. None by default.
    pub unmetered: Globs,
    /// Statuses of error answers that this provider bills, in place of the preset's.
    pub billed_errors: Option<Vec<u16>>,
    /// What Vertex needs beside.
    pub vertex: Option<Vertex>,
    /// The `api-version` of Azure's deployments, where callers name none.
    pub api_version: Option<String>,
    /// What calls to AWS are signed with.
    pub aws: Option<AwsKeys>,
    /// Where it is written.
    pub place: Place,
}

impl Provider {
    /// Whether it speaks a dialect.
    #[must_use]
    pub fn speaks(&self, dialect: Dialect) -> bool {
        match &self.dialects {
            None => self.preset.speaks(dialect),
            Some(dialects) => dialects.contains(&dialect),
        }
    }

    /// Its own credentials.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        let signing = self.aws.iter().flat_map(AwsKeys::secrets);
        let account = self
            .vertex
            .iter()
            .filter_map(|vertex| vertex.credentials.as_ref());
        self.api_key.iter().chain(account).chain(signing)
    }

    /// Whether it takes calls of a dialect: it speaks it, or they are translated for it.
    #[must_use]
    pub fn takes(&self, dialect: Dialect) -> bool {
        self.speaks(dialect) || Pair::of(dialect, |target| self.speaks(target)).is_some()
    }
}

/// Reads all of them; names are unique.
pub(super) fn read(parent: &Section<'_>) -> Vec<Provider> {
    let mut providers: Vec<Provider> = Vec::new();
    for section in parent.sections("provider") {
        let provider = read_one(&section);
        section.close_with(&TOP_LEVEL);
        let Some(provider) = provider else { continue };
        if let Some(first) = providers.iter().find(|other| other.name == provider.name) {
            let (name, line) = (&provider.name, first.place.line);
            section.fault_of(
                "name",
                format!("line {line} has a provider `{name}` already"),
            );
        }
        providers.push(provider);
    }
    providers
}

fn read_one(section: &Section<'_>) -> Option<Provider> {
    let (name, preset) = (section.need("name", name), section.need("kind", preset));
    let is_vertex = preset.is_some_and(|preset| preset.paths == Paths::Vertex);
    let vertex = vertex::read(section, is_vertex);
    let of_place = vertex.as_ref().map(Vertex::base_url);
    let usual = of_place
        .as_deref()
        .or(preset.and_then(|preset| preset.base_url));
    let base_url = match usual {
        Some(usual) if !section.has("base_url") => uri(usual).ok(),
        // Its `location` is missing, which is told already.
        None if is_vertex && !section.has("base_url") => None,
        _ => match preset.and_then(|preset| aws::usual_url(section, preset)) {
            Some(usual) => uri(&usual).ok(),
            None => section.need("base_url", base_url),
        },
    };
    let file = |value: &DeValue<'_>| value::text(value).map(|text| section.path(&text));
    let api_key = section.get("api_key", |value| {
        secret::kept(value, |file| section.path(file))
    });
    let models = section.list("models", value::name).unwrap_or_default();
    let unmetered = section.list("unmetered", unmetered).unwrap_or_default();
    let drop = section.list("drop", value::name).unwrap_or_default();
    let fields = [
        OutputCapField::MaxTokens,
        OutputCapField::MaxCompletionTokens,
        OutputCapField::MaxOutputTokens,
    ];
    let provider = Provider {
        api_key: api_key.map(|kept| Secret::new(kept, section.place_of("api_key"))),
        models: models.into_iter().collect(),
        forward_credentials: section.or("forward_credentials", false, value::flag),
        forward_attribution: section.or("forward_attribution", false, value::flag),
        headers: section.pairs("headers", |name, value| header(section, name, value)),
        ca_file: section.get("ca_file", file),
        proxy: section.or("proxy", Proxy::Direct, proxy),
        timeouts: timeouts(section),
        resilience: resilience::read(section),
        output_cap_field: section.get(
            "output_cap_field",
            value::word(&fields.map(|field| (field.name(), field))),
        ),
        catalogue: section.get("catalogue", value::name),
        ceiling: ceiling(section),
        drop,
        unmetered: unmetered.into_iter().collect(),
        billed_errors: section.list("billed_errors", |value| {
            let status = value::count_in(400, 599)(value)?;
            u16::try_from(status).map_err(|error| error.to_string())
        }),
        vertex,
        api_version: section.get("api_version", api_version),
        aws: aws::read(section, preset),
        place: section.place(),
        name: name?.into(),
        dialects: section.list(
            "dialects",
            value::word(&Dialect::ALL.map(|one| (one.name(), one))),
        ),
        kind: preset?.kind,
        preset: preset?,
        base_url: base_url?,
    };
    let speaks = |dialect: &&Dialect| provider.preset.speaks(**dialect);
    let foreign = provider.dialects.iter().flatten();
    if let Some(foreign) = foreign.clone().find(|dialect| !speaks(dialect)) {
        let (kind, name) = (provider.preset.name, foreign.name());
        section.fault_of(
            "dialects",
            format!("the kind `{kind}` does not speak `{name}`"),
        );
    }
    if provider.kind == Kind::Google && section.has("unmetered") {
        let (kind, why) = (
            provider.preset.name,
            "and nothing below /v1/ is there to pass",
        );
        section.fault_of(
            "unmetered",
            format!("the kind `{kind}` is spoken to in translation alone, {why}"),
        );
    }
    if provider.api_version.is_some() && provider.preset.paths != Paths::AzureDeployments {
        section.fault_of(
            "api_version",
            "only `kind = \"azure-deployments\"` has dated versions",
        );
    }
    let own = provider.api_key.is_some() || provider.aws.is_some();
    if provider.forward_credentials && own {
        section.fault_of(
            "forward_credentials",
            "either the caller's credentials go upstream or the provider's own do; take one away",
        );
    }
    Some(provider)
}

fn name(value: &DeValue<'_>) -> Result<String, String> {
    match value::id(value)? {
        name if name.contains('/') => {
            Err("a provider's name has no `/`, for `name/model` picks it".to_owned())
        }
        name => Ok(name),
    }
}

fn preset(value: &DeValue<'_>) -> Result<&'static Preset, String> {
    value::word(&PRESETS.each_ref().map(|preset| (preset.name, preset)))(value)
}

fn api_version(value: &DeValue<'_>) -> Result<String, String> {
    let text = value::text(value)?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    match !text.is_empty() && text.bytes().all(is_plain) {
        true => Ok(text),
        false => Err(format!("`{text}` is no version, as `2024-10-21` is")),
    }
}

fn uri(text: &str) -> Result<Uri, String> {
    let wrong = || format!("`{text}` is not an http:// or https:// address");
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    let scheme = uri
        .scheme_str()
        .is_some_and(|s| s == "http" || s == "https");
    match scheme && uri.host().is_some_and(|host| !host.is_empty()) {
        true => Ok(uri),
        false => Err(wrong()),
    }
}

fn base_url(value: &DeValue<'_>) -> Result<Uri, String> {
    let text = value::text(value)?;
    let uri = uri(text.trim_end_matches('/'))?;
    if uri.query().is_some() {
        return Err("a base URL has no query".to_owned());
    }
    if uri.authority().is_some_and(|a| a.as_str().contains('@')) {
        return Err("credentials do not belong into the URL; use `api_key`".to_owned());
    }
    Ok(uri)
}

/// The way out.
pub(super) fn proxy(value: &DeValue<'_>) -> Result<Proxy, String> {
    match value::text(value)?.as_str() {
        "none" => Ok(Proxy::Direct),
        "env" => Ok(Proxy::Env),
        text => match uri(text) {
            Ok(uri) if uri.authority().is_some_and(|a| a.as_str().contains('@')) => Err(
                "a password does not belong into this file; set HTTPS_PROXY and write \"env\""
                    .to_owned(),
            ),
            Ok(uri) if uri.scheme_str() == Some("http") => Ok(Proxy::Through(uri)),
            _ => Err(format!(
                "`{text}` is neither an http:// address nor \"env\" nor \"none\""
            )),
        },
    }
}

fn unmetered(value: &DeValue<'_>) -> Result<String, String> {
    let path = value::text(value)?;
    let is_metered = METERED_PATHS.contains(&path.as_str());
    match path.as_str() {
        _ if is_metered => Err(format!("`{path}` is metered; it cannot pass unmetered")),
        "/v1/*" | "/*" | "*" => Err("this would let everything pass; name the paths".to_owned()),
        _ if path.starts_with("/v1/") => Ok(path),
        _ => Err(format!("`{path}` is no path below /v1/")),
    }
}

pub(super) fn header(
    section: &Section<'_>,
    name: &str,
    value: &DeValue<'_>,
) -> Result<(HeaderName, HeaderText), String> {
    let parsed: HeaderName = name
        .parse()
        .map_err(|_| "this is no header name".to_owned())?;
    let owned = [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "te",
        "upgrade",
    ];
    if owned.contains(&parsed.as_str()) {
        return Err("this header is the connection's own".to_owned());
    }
    let text = value::text(value)?;
    if text.starts_with("env:") || text.starts_with("file:") {
        let kept: Kept = secret::kept(value, |file| section.path(file))?;
        let secret = Secret::new(kept, section.place_of("headers"));
        return Ok((parsed, HeaderText::Secret(secret)));
    }
    if [
        "authorization",
        "x-api-key",
        "x-goog-api-key",
        "api-key",
        "proxy-authorization",
    ]
    .contains(&parsed.as_str())
    {
        return Err("this header holds a secret; write \"env:NAME\" or \"file:PATH\"".to_owned());
    }
    let text = HeaderValue::from_str(&text);
    let text = text.map_err(|_| "no header can carry this text".to_owned())?;
    Ok((parsed, HeaderText::Plain(text)))
}

fn timeouts(parent: &Section<'_>) -> Timeouts {
    let usual = Timeouts::default();
    let Some(section) = parent.section("timeouts") else {
        return usual;
    };
    let get = |key, usual| section.or(key, usual, value::positive_span);
    let timeouts = Timeouts {
        connect: get("connect", usual.connect),
        first_byte: get("first_byte", usual.first_byte),
        between_bytes: get("between_bytes", usual.between_bytes),
        total: get("total", usual.total),
    };
    section.close();
    timeouts
}

fn ceiling(parent: &Section<'_>) -> Option<Ceiling> {
    let section = parent.section("ceiling")?;
    let input = section.need("input", value::money);
    let output = section.need("output", value::money);
    section.close();
    Some(Ceiling {
        input: input?,
        output: output?,
    })
}
