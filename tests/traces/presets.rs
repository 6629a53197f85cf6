//! What each kind of exporter puts on the wire: path, headers, resource and vocabulary, as its vendor's
//! documentation has them.

use super::{Collector, Gateway, Span, named};
use crate::common::calls::Ask;
use crate::common::setup::Setup;
use bursar::sim::{Settings, Sim};
use http::HeaderMap;

/// Headers that hold a key somewhere.
const KEYS: [&str; 4] = ["authorization", "x-api-key", "dd-api-key", "x-sentry-auth"];
/// On the span of a call, by vocabulary.
const GEN_AI: [&str; 12] = [
    "gen_ai.operation.name",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "gen_ai.request.max_tokens",
    "gen_ai.response.model",
    "gen_ai.response.id",
    "gen_ai.response.finish_reasons",
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.conversation.id",
    "gen_ai.agent.name",
];
const OPENINFERENCE: [&str; 12] = [
    "openinference.span.kind",
    "llm.provider",
    "llm.system",
    "llm.model_name",
    "llm.token_count.prompt",
    "llm.token_count.completion",
    "llm.token_count.total",
    "llm.token_count.prompt_details.cache_read",
    "llm.cost.total",
    "agent.name",
    "graph.node.id",
    "session.id",
];
const LANGFUSE: [&str; 6] = [
    "langfuse.trace.name",
    "langfuse.observation.type",
    "langfuse.observation.cost_details",
    "langfuse.observation.usage_details",
    "langfuse.observation.model.name",
    "session.id",
];

/// A kind, and what is expected of it.
struct Kind {
    name: &'static str,
    /// Behind the collector's address, in `endpoint`.
    below: &'static str,
    keys: &'static str,
    path: &'static str,
    /// Each header that it wants; of those that hold a key there is no other.
    headers: &'static [(&'static str, &'static str)],
    resource: &'static [(&'static str, &'static str)],
    vocabulary: &'static [&'static [&'static str]],
}

const KINDS: [Kind; 8] = [
    Kind {
        name: "otlp",
        below: "",
        keys: "api_key = \"env:KEY\"",
        path: "/v1/traces",
        headers: &[("authorization", "Bearer a-user:a-key")],
        resource: &[],
        vocabulary: &[&GEN_AI],
    },
    Kind {
        name: "langfuse",
        below: "",
        keys: "api_key = \"env:KEY\"",
        path: "/api/public/otel/v1/traces",
        headers: &[
            ("authorization", "Basic YS11c2VyOmEta2V5"),
            ("x-langfuse-ingestion-version", "4"),
        ],
        resource: &[],
        vocabulary: &[&GEN_AI, &LANGFUSE],
    },
    Kind {
        name: "phoenix",
        below: "",
        keys: "api_key = \"env:KEY\"\nproject = \"crew\"",
        path: "/v1/traces",
        headers: &[("authorization", "Bearer a-user:a-key")],
        resource: &[("openinference.project.name", "crew")],
        vocabulary: &[&OPENINFERENCE],
    },
    Kind {
        name: "mlflow",
        below: "",
        keys: "project = \"7\"",
        path: "/v1/traces",
        headers: &[("x-mlflow-experiment-id", "7")],
        resource: &[],
        vocabulary: &[&GEN_AI],
    },
    Kind {
        name: "langsmith",
        below: "",
        keys: "api_key = \"env:KEY\"\nproject = \"crew\"",
        path: "/otel/v1/traces",
        headers: &[("x-api-key", "a-user:a-key"), ("langsmith-project", "crew")],
        resource: &[],
        vocabulary: &[&GEN_AI],
    },
    Kind {
        name: "datadog",
        below: "",
        keys: "api_key = \"env:KEY\"",
        path: "/v1/traces",
        headers: &[("dd-api-key", "a-user:a-key"), ("dd-otlp-source", "llmobs")],
        resource: &[],
        vocabulary: &[&GEN_AI],
    },
    Kind {
        name: "sentry",
        below: "/api/2/integration/otlp",
        keys: "api_key = \"env:KEY\"",
        path: "/api/2/integration/otlp/v1/traces",
        headers: &[("x-sentry-auth", "sentry sentry_key=a-user:a-key")],
        resource: &[],
        vocabulary: &[&GEN_AI],
    },
    Kind {
        name: "tempo",
        below: "/otlp",
        keys: "api_key = \"env:KEY\"",
        path: "/otlp/v1/traces",
        headers: &[("authorization", "Basic YS11c2VyOmEta2V5")],
        resource: &[],
        vocabulary: &[&GEN_AI],
    },
];

impl Kind {
    fn has(&self, headers: &HeaderMap) {
        let name = self.name;
        for (header, value) in self.headers {
            let told = headers.get(*header).map(|value| value.to_str().unwrap());
            assert_eq!(told, Some(*value), "{name}: {header}");
        }
        for header in KEYS {
            let wanted = self.headers.iter().any(|(wanted, _)| *wanted == header);
            assert_eq!(headers.contains_key(header), wanted, "{name}: {header}");
        }
        let agent = headers["user-agent"].to_str().unwrap();
        assert!(agent.starts_with("bursar/"), "{name}: {agent}");
    }

    fn has_spans(&self, spans: &[Span]) {
        let name = self.name;
        assert_eq!(spans.len(), 4, "{name}: {spans:?}");
        for span in spans {
            assert_eq!(span.resource["service.name"], "crew", "{name}");
            assert!(!span.resource["service.version"].is_empty(), "{name}");
            for (key, value) in self.resource {
                assert_eq!(span.resource[*key], *value, "{name}");
            }
        }
        let call = named(spans, "chat sim-cheap")[0];
        for key in self.vocabulary.iter().copied().flatten() {
            assert!(call.tags.contains_key(*key), "{name}: {key} in {call:?}");
        }
        // Nobody else's words.
        let others = ["gen_ai.", "llm.", "langfuse."];
        for words in others {
            let wanted = self.vocabulary.iter().copied().flatten();
            let wanted = wanted.into_iter().any(|key| key.starts_with(words));
            let told = call.tags.keys().any(|key| key.starts_with(words));
            assert_eq!(told, wanted, "{name}: {words} in {call:?}");
        }
        let stay = named(spans, "invoke_agent lead")[0];
        let sort = match name {
            "phoenix" => ("openinference.span.kind", "AGENT"),
            "langfuse" => ("langfuse.observation.type", "agent"),
            _ => ("gen_ai.operation.name", "invoke_agent"),
        };
        assert_eq!(stay.tag(sort.0), sort.1, "{name}");
        assert_eq!(named(spans, "attempt sim").len(), 1, "{name}");
    }
}

/// One call through a gateway with these exporters.
async fn one_call(exporters: &str) -> Gateway {
    let sim = Sim::start(Settings::default()).await.unwrap();
    let trace = "[trace]\nidle = \"2s\"\nservice = \"crew\"\n";
    let setup = Setup::new(sim.addr()).more(&format!("{trace}{exporters}"));
    let gateway = Gateway::start(&setup.env("KEY", "a-user:a-key")).await;
    let caller = gateway.caller("t").agent("lead");
    let reply = caller.call(&Ask::chat("sim-cheap")).await.unwrap();
    assert!(reply.status.is_success(), "{}", reply.text());
    gateway
}

fn is_all(spans: &[Span]) -> bool {
    !named(spans, "task t").is_empty()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_speaks_as_its_vendor_documents_it() {
    let mut collectors = Vec::new();
    let mut exporters = String::new();
    for kind in &KINDS {
        let collector = Collector::start().await;
        let (name, keys) = (kind.name, kind.keys);
        let endpoint = format!("http://{}{}", collector.addr, kind.below);
        exporters +=
            &format!("[[trace.exporter]]\nkind = \"{name}\"\nendpoint = \"{endpoint}\"\n{keys}\n");
        collectors.push(collector);
    }
    let gateway = one_call(&exporters).await;
    for (kind, collector) in KINDS.iter().zip(&collectors) {
        let spans = collector.until(kind.name, is_all).await;
        kind.has_spans(&spans);
        for (path, headers, bytes) in collector.posts() {
            assert_eq!(path, kind.path, "{}", kind.name);
            assert_eq!(headers["content-type"], "application/x-protobuf");
            assert_eq!(headers["content-length"], bytes.to_string());
            kind.has(&headers);
        }
    }
    let log = gateway.log();
    assert!(!log.contains("a-key") && !log.contains("YS11c2VyOmEta2V5"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kinds_that_take_grpc_speak_so_over_it_too() {
    let kinds = KINDS.iter();
    let kinds: Vec<&Kind> = kinds
        .filter(|kind| matches!(kind.name, "otlp" | "phoenix" | "tempo"))
        .collect();
    let mut collectors = Vec::new();
    let mut exporters = String::new();
    for kind in &kinds {
        let collector = Collector::start().await;
        let (name, keys) = (kind.name, kind.keys);
        exporters +=
            &collector.exporter(&format!("kind = \"{name}\"\nprotocol = \"grpc\"\n{keys}"));
        collectors.push(collector);
    }
    let _gateway = one_call(&exporters).await;
    for (kind, collector) in kinds.iter().zip(&collectors) {
        let spans = collector.until(kind.name, is_all).await;
        kind.has_spans(&spans);
        for (path, headers, _) in collector.posts() {
            assert_eq!(
                path, "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
                "{}",
                kind.name
            );
            assert_eq!(headers["content-type"], "application/grpc");
            assert_eq!(headers["te"], "trailers");
            kind.has(&headers);
        }
    }
}
