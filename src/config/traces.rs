//! `[trace]`: where spans of calls, agents and tasks are exported to, and in whose words.
//!
//! Without a `[[trace.exporter]]` there are no spans, and calls pay nothing for them.

mod preset;

pub use preset::{KeyPlace, ProjectPlace, TRACE_PRESETS, TracePreset};

use super::fault::Place;
use super::provider::{self, HeaderText, Proxy};
use super::read::{Section, advice};
use super::secret::{self, Secret};
use super::value;
use http::uri::PathAndQuery;
use http::{HeaderName, Uri};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use toml::de::DeValue;

/// Exporters, in number.
const MAX_EXPORTERS: usize = 8;
/// Attributes of an exporter's own resource, in number.
const MAX_RESOURCE: usize = 32;
/// Where OTLP over HTTP takes traces below a base address.
const TRACES_PATH: &str = "/v1/traces";
/// Where OTLP over gRPC takes them.
pub const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// Whose names the attributes have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vocabulary {
    /// OpenTelemetry's conventions for generative AI.
    GenAi,
    /// OpenInference's.
    OpenInference,
    /// OpenTelemetry's, and Langfuse's own beside them.
    Langfuse,
}

/// Which generation of OpenTelemetry's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conventions {
    /// The current ones, and the names that 1.36 had for what is called otherwise now.
    Both,
    /// The current ones alone (`OTEL_SEMCONV_STABILITY_OPT_IN=gen_ai_latest_experimental`).
    Latest,
}

/// How spans travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceProtocol {
    /// OTLP over HTTP, in protobuf.
    Http,
    /// OTLP over gRPC.
    Grpc,
}

/// `[trace]`.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceSettings {
    /// How long an agent or a task rests until its span ends.
    pub idle: Duration,
    /// Which generation of names; `None`: as the environment says.
    pub conventions: Option<Conventions>,
    /// `service.name` of every span.
    pub service: String,
    /// Who gets the spans.
    pub exporters: Vec<TraceExporter>,
}

impl Default for TraceSettings {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(60),
            conventions: None,
            service: "bursar".to_owned(),
            exporters: Vec::new(),
        }
    }
}

/// `[[trace.exporter]]`: somebody who gets the spans.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceExporter {
    /// Its name in metrics and the log.
    pub name: Arc<str>,
    /// What its `kind` stands for.
    pub preset: &'static TracePreset,
    /// Where spans are posted to.
    pub endpoint: Uri,
    /// How they travel.
    pub protocol: TraceProtocol,
    /// What goes along with every post.
    pub headers: Vec<(HeaderName, HeaderText)>,
    /// Its key.
    pub api_key: Option<Secret>,
    /// The project or experiment there.
    pub project: Option<String>,
    /// Further attributes of the resource.
    pub resource: Vec<(String, String)>,
    /// Whose names the attributes have.
    pub vocabulary: Vocabulary,
    /// It is told what calls, answers and tools say.
    pub content: bool,
    /// The share of traces that begin here and are exported, in parts per million.
    pub sample: u32,
    /// Spans that may wait, in number.
    pub queue: usize,
    /// Spans of one post, in number.
    pub batch: usize,
    /// How long spans are collected for a post.
    pub every: Duration,
    /// How long a post may take.
    pub timeout: Duration,
    /// A PEM file of further certificate authorities.
    pub ca_file: Option<PathBuf>,
    /// The way out.
    pub proxy: Proxy,
    /// Where it is written.
    pub place: Place,
}

impl TraceExporter {
    /// Every secret that must be there.
    pub(super) fn secrets(&mut self) -> impl Iterator<Item = &mut Secret> {
        let headers = self.headers.iter_mut().filter_map(|(_, text)| match text {
            HeaderText::Secret(secret) => Some(secret),
            HeaderText::Plain(_) => None,
        });
        self.api_key.iter_mut().chain(headers)
    }
}

impl TraceSettings {
    /// Which generation of names is used: the file's, else the environment's.
    #[must_use]
    pub fn conventions(&self, env: &dyn Fn(&str) -> Option<String>) -> Conventions {
        let opted = || {
            let said = env("OTEL_SEMCONV_STABILITY_OPT_IN").unwrap_or_default();
            let mut words = said.split(',').map(str::trim);
            match words.any(|word| word == "gen_ai_latest_experimental") {
                true => Conventions::Latest,
                false => Conventions::Both,
            }
        };
        self.conventions.unwrap_or_else(opted)
    }
}

pub(super) fn read(parent: &Section<'_>, top_level: &[&str]) -> TraceSettings {
    let usual = TraceSettings::default();
    let Some(section) = parent.section("trace") else {
        return usual;
    };
    let generations = [("latest", Conventions::Latest), ("both", Conventions::Both)];
    let settings = TraceSettings {
        idle: section.or("idle", usual.idle, value::positive_span),
        conventions: section.get("conventions", value::word(&generations)),
        service: section.or("service", usual.service, value::name),
        exporters: read_exporters(&section),
    };
    section.close_with(top_level);
    settings
}

fn read_exporters(parent: &Section<'_>) -> Vec<TraceExporter> {
    let mut exporters: Vec<TraceExporter> = Vec::new();
    for section in parent.sections("exporter") {
        let exporter = read_exporter(&section);
        section.close();
        let Some(exporter) = exporter else { continue };
        if exporters.iter().any(|other| other.name == exporter.name) {
            let name = &exporter.name;
            section.fault(format!(
                "there is an exporter `{name}` already; give one of the two another `name`"
            ));
        }
        exporters.push(exporter);
    }
    if exporters.len() > MAX_EXPORTERS {
        parent.fault_of(
            "exporter",
            format!("there are more than {MAX_EXPORTERS} exporters"),
        );
    }
    exporters
}

fn read_exporter(section: &Section<'_>) -> Option<TraceExporter> {
    let preset = section.or("kind", &TRACE_PRESETS[0], preset);
    let protocols = [
        ("http/protobuf", TraceProtocol::Http),
        ("grpc", TraceProtocol::Grpc),
    ];
    let protocol = section.or("protocol", TraceProtocol::Http, value::word(&protocols));
    if protocol == TraceProtocol::Grpc && !preset.grpc {
        let name = preset.name;
        section.fault_of("protocol", format!("`{name}` takes spans over HTTP alone"));
    }
    let endpoint = match preset.endpoint {
        Some(usual) if !section.has("endpoint") => endpoint(usual, preset, protocol).ok(),
        _ => section.need("endpoint", |value| {
            endpoint(&value::text(value)?, preset, protocol)
        }),
    };
    let api_key = section.get("api_key", |value| {
        secret::kept(value, |file| section.path(file))
    });
    if section.has("api_key") && preset.key == KeyPlace::None {
        section.fault_of(
            "api_key",
            format!(
                "`{}` takes no key; say what it takes in `headers`",
                preset.name
            ),
        );
    }
    if section.has("project") && preset.project == ProjectPlace::None {
        section.fault_of("project", format!("`{}` has no projects", preset.name));
    }
    let vocabularies = [
        ("gen_ai", Vocabulary::GenAi),
        ("openinference", Vocabulary::OpenInference),
        ("langfuse", Vocabulary::Langfuse),
    ];
    let resource = section.pairs("resource", |name, value| {
        Ok((name.to_owned(), value::name(value)?))
    });
    if resource.len() > MAX_RESOURCE {
        section.fault_of(
            "resource",
            format!("there are more than {MAX_RESOURCE} attributes"),
        );
    }
    let name = section.or("name", preset.name.to_owned(), value::id);
    let text_of = |value: &DeValue<'_>| value::text(value);
    Some(TraceExporter {
        name: name.into(),
        preset,
        protocol,
        headers: section.pairs("headers", |name, value| header(section, name, value)),
        api_key: api_key.map(|kept| Secret::new(kept, section.place_of("api_key"))),
        project: section.get("project", value::name),
        resource,
        vocabulary: section.or("vocabulary", preset.vocabulary, value::word(&vocabularies)),
        content: section.or("content", false, value::flag),
        sample: section.or("sample", 1_000_000, value::ratio),
        queue: section.or("queue", 8_192, value::size_in(1, 1_000_000)),
        batch: section.or("batch", 512, value::size_in(1, 10_000)),
        every: section.or("every", Duration::from_secs(1), value::positive_span),
        timeout: section.or("timeout", Duration::from_secs(10), value::positive_span),
        ca_file: section.get("ca_file", |value| {
            text_of(value).map(|text| section.path(&text))
        }),
        proxy: section.or("proxy", Proxy::Direct, provider::proxy),
        place: section.place(),
        endpoint: endpoint?,
    })
}

fn preset(value: &DeValue<'_>) -> Result<&'static TracePreset, String> {
    let text = value::text(value)?;
    let found = TRACE_PRESETS.iter().find(|preset| preset.name == text);
    found.ok_or_else(|| {
        let known: Vec<&str> = TRACE_PRESETS.iter().map(|preset| preset.name).collect();
        format!("`{text}` is not known here; {}", advice(&text, &known))
    })
}

/// The address that is posted to. One that ends as OTLP's does is taken as it is; below another,
/// spans go where the kind or OTLP has them.
fn endpoint(text: &str, preset: &TracePreset, protocol: TraceProtocol) -> Result<Uri, String> {
    let wrong = || "this is not an http:// or https:// address".to_owned();
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
    if !is_web || uri.host().is_none_or(str::is_empty) {
        return Err(wrong());
    }
    if uri.authority().is_some_and(|at| at.as_str().contains('@')) {
        return Err("credentials do not belong into the address; use `api_key`".to_owned());
    }
    if uri.query().is_some() {
        return Err("the address of an exporter has no query".to_owned());
    }
    let below = uri.path().trim_end_matches('/');
    let path = match protocol {
        TraceProtocol::Grpc if below.is_empty() => GRPC_PATH.to_owned(),
        TraceProtocol::Grpc => return Err("gRPC has an address without a path".to_owned()),
        TraceProtocol::Http if below.ends_with(TRACES_PATH) => below.to_owned(),
        TraceProtocol::Http if below.is_empty() => preset.path.to_owned(),
        TraceProtocol::Http => format!("{below}{TRACES_PATH}"),
    };
    let mut parts = uri.into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path).map_err(|_| wrong())?);
    Uri::from_parts(parts).map_err(|_| wrong())
}

fn header(
    section: &Section<'_>,
    name: &str,
    value: &DeValue<'_>,
) -> Result<(HeaderName, HeaderText), String> {
    let (name, text) = provider::header(section, name, value)?;
    let is_secret = ["auth", "key", "token", "secret"]
        .iter()
        .any(|word| name.as_str().contains(word));
    match text {
        HeaderText::Plain(_) if is_secret => {
            Err("this header holds a secret; write \"env:NAME\" or \"file:PATH\"".to_owned())
        }
        text => Ok((name, text)),
    }
}
