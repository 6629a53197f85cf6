//! What an exporter's `kind` stands for: where it takes spans, how it wants its key, whose names it
//! reads. Each row says where that is documented.

use super::Vocabulary;

/// Where a key goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPlace {
    /// There is none.
    None,
    /// `authorization: Bearer KEY`
    Bearer,
    /// `authorization: Basic …` of `USER:PASSWORD`, which the key is.
    Basic,
    /// A header of this name.
    Header(&'static str),
    /// `x-sentry-auth: sentry sentry_key=KEY`
    Sentry,
}

/// Where a project's name goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProjectPlace {
    /// There is none.
    None,
    /// A header of this name.
    Header(&'static str),
    /// An attribute of the resource.
    Resource(&'static str),
}

/// One kind of exporter.
#[derive(Debug, PartialEq, Eq)]
pub struct TracePreset {
    /// `kind` in configuration.
    pub name: &'static str,
    /// Where it is, if that is the same for everybody.
    pub endpoint: Option<&'static str>,
    /// Its path, where the address names none.
    pub path: &'static str,
    /// It takes gRPC too.
    pub grpc: bool,
    /// Where the key goes.
    pub key: KeyPlace,
    /// Where the project goes.
    pub project: ProjectPlace,
    /// Whose names it reads.
    pub vocabulary: Vocabulary,
    /// Headers that it wants.
    pub headers: &'static [(&'static str, &'static str)],
}

const PLAIN: TracePreset = TracePreset {
    name: "otlp",
    endpoint: None,
    path: super::TRACES_PATH,
    grpc: true,
    key: KeyPlace::Bearer,
    project: ProjectPlace::None,
    vocabulary: Vocabulary::GenAi,
    headers: &[],
};

/// All of them; the first is what anything is that speaks OTLP.
pub static TRACE_PRESETS: [TracePreset; 8] = [
    PLAIN,
    // https://langfuse.com/integrations/native/opentelemetry: HTTP alone; Basic of public and secret key.
    TracePreset {
        name: "langfuse",
        path: "/api/public/otel/v1/traces",
        grpc: false,
        key: KeyPlace::Basic,
        vocabulary: Vocabulary::Langfuse,
        headers: &[("x-langfuse-ingestion-version", "4")],
        ..PLAIN
    },
    // https://arize.com/docs/phoenix: the collector listens beside the web page, gRPC on 4317.
    TracePreset {
        name: "phoenix",
        endpoint: Some("http://127.0.0.1:6006"),
        project: ProjectPlace::Resource("openinference.project.name"),
        vocabulary: Vocabulary::OpenInference,
        ..PLAIN
    },
    // https://mlflow.org/docs/latest/genai/tracing/opentelemetry: HTTP alone; the experiment by its number.
    TracePreset {
        name: "mlflow",
        endpoint: Some("http://127.0.0.1:5000"),
        grpc: false,
        project: ProjectPlace::Header("x-mlflow-experiment-id"),
        ..PLAIN
    },
    // https://docs.langchain.com/langsmith/trace-with-opentelemetry
    TracePreset {
        name: "langsmith",
        endpoint: Some("https://api.smith.langchain.com"),
        path: "/otel/v1/traces",
        grpc: false,
        key: KeyPlace::Header("x-api-key"),
        project: ProjectPlace::Header("langsmith-project"),
        ..PLAIN
    },
    // https://docs.datadoghq.com/llm_observability/instrumentation/otel_instrumentation: without an agent; to
    // one, `kind = "otlp"` and its own address.
    TracePreset {
        name: "datadog",
        endpoint: Some("https://otlp.datadoghq.com"),
        grpc: false,
        key: KeyPlace::Header("dd-api-key"),
        headers: &[("dd-otlp-source", "llmobs")],
        ..PLAIN
    },
    // https://docs.sentry.io/concepts/otlp: the address has the organisation and the project in it.
    TracePreset {
        name: "sentry",
        grpc: false,
        key: KeyPlace::Sentry,
        ..PLAIN
    },
    // https://grafana.com/docs/tempo: at home on 4318 and 4317; Grafana Cloud wants Basic of instance and token.
    TracePreset {
        name: "tempo",
        endpoint: Some("http://127.0.0.1:4318"),
        key: KeyPlace::Basic,
        ..PLAIN
    },
];
