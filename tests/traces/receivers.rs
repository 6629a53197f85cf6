//! Who gets the spans, how, and in whose words; and what becomes of them where nobody does.

use super::{Collector, Rig, named};
use crate::common::calls::Ask;
use crate::common::fake::Fake;
use crate::common::gateway::Gateway;
use crate::common::setup::Setup;
use crate::common::until;
use bursar::sim::{Settings, Sim};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_arrive_over_grpc_as_over_http() {
    let rig = Rig::start(
        "protocol = \"grpc\"\napi_key = \"env:COLLECTOR_KEY\"",
        |setup| setup.env("COLLECTOR_KEY", "key-of-the-collector"),
    )
    .await;
    rig.call(("t", "lead", ""), &Ask::chat("sim-cheap")).await;
    let spans = rig
        .collector
        .until("the root", |spans| !named(spans, "task t").is_empty())
        .await;
    assert_eq!(spans.len(), 4, "{spans:?}");
    let (path, headers, _) = &rig.collector.posts()[0];
    assert_eq!(
        path,
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
    );
    assert_eq!(headers["te"], "trailers");
    assert_eq!(headers["authorization"], "Bearer key-of-the-collector");
    // Counted once the collector has said that they arrived.
    let exported = until("they are counted", PATIENCE, || async {
        let metrics = rig.gateway.metrics().await;
        let exported = metrics.get("bursar_trace_spans_exported_total{exporter=\"otlp\"}");
        (exported > 3.5).then_some(exported)
    })
    .await;
    assert!((exported - 4.0).abs() < 0.5, "{exported}");
    assert!(!rig.gateway.log().contains("key-of-the-collector"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_exporter_has_its_own_words_headers_and_share() {
    let sim = Sim::start(Settings::default()).await.unwrap();
    let [phoenix, langfuse, none] = [
        Collector::start().await,
        Collector::start().await,
        Collector::start().await,
    ];
    let more = [
        "[trace]\nidle = \"2s\"\nservice = \"crew\"\nconventions = \"latest\"\n".to_owned(),
        phoenix.exporter("kind = \"phoenix\"\nproject = \"crew\"\nresource = { \"deployment.environment.name\" = \"test\" }"),
        langfuse.exporter("kind = \"langfuse\"\napi_key = \"env:LANGFUSE\"\nheaders = { x-team = \"blue\" }"),
        none.exporter("sample = 0.000001"),
    ]
    .concat();
    let setup = Setup::new(sim.addr()).env("LANGFUSE", "pk-lf-1:sk-lf-2");
    let gateway = Gateway::start(&setup.more(&more)).await;
    let caller = gateway.caller("t").agent("lead");
    assert!(
        caller
            .call(&Ask::chat("sim-cheap").stream())
            .await
            .unwrap()
            .status
            .is_success()
    );
    let is_all = |spans: &[super::Span]| !named(spans, "task t").is_empty();
    let spans = phoenix.until("phoenix's", is_all).await;
    let call = named(&spans, "chat sim-cheap")[0];
    assert_eq!(call.resource["openinference.project.name"], "crew");
    assert_eq!(call.resource["service.name"], "crew");
    assert_eq!(call.resource["deployment.environment.name"], "test");
    assert_eq!(call.tag("openinference.span.kind"), "LLM");
    assert!(call.tag("llm.token_count.total").parse::<u64>().unwrap() > 0);
    assert_eq!(call.tag("llm.cost.total"), call.tag("bursar.cost_usd"));
    assert!(
        call.tags.keys().all(|key| !key.starts_with("gen_ai.")),
        "{call:?}"
    );
    assert_eq!(
        named(&spans, "invoke_agent lead")[0].tag("openinference.span.kind"),
        "AGENT"
    );
    assert_eq!(phoenix.posts()[0].0, "/v1/traces");
    let spans = langfuse.until("langfuse's", is_all).await;
    let call = named(&spans, "chat sim-cheap")[0];
    assert_eq!(call.tag("langfuse.observation.type"), "generation");
    assert!(
        call.tag("langfuse.observation.cost_details")
            .contains("total")
    );
    assert!(
        call.tags
            .contains_key("gen_ai.response.time_to_first_chunk"),
        "{call:?}"
    );
    assert!(
        !call.tags.contains_key("gen_ai.system"),
        "current names alone"
    );
    let (path, headers, _) = &langfuse.posts()[0];
    assert_eq!(path, "/api/public/otel/v1/traces");
    assert_eq!(headers["authorization"], "Basic cGstbGYtMTpzay1sZi0y");
    assert_eq!(headers["x-team"], "blue");
    assert!(none.spans().is_empty());
    let log = gateway.log();
    assert!(!log.contains("sk-lf-2") && !log.contains("cGstbGYtMTpzay1sZi0y"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_gone_costs_callers_nothing_and_drops_are_counted() {
    let sim = Sim::start(Settings::default()).await.unwrap();
    let nobody = Fake::nobody().await;
    let refusing = Collector::answering(400).await;
    let more = format!(
        "[trace]\nidle = \"2s\"\n[[trace.exporter]]\nname = \"gone\"\nendpoint = \"http://{nobody}\"\nqueue = 10\n{}",
        refusing.exporter("name = \"refusing\"")
    );
    let gateway = Gateway::start(&Setup::new(sim.addr()).more(&more)).await;
    for call in 0..40 {
        let caller = gateway.caller(&format!("t{call}"));
        assert!(
            caller
                .call(&Ask::chat("sim-cheap"))
                .await
                .unwrap()
                .status
                .is_success()
        );
    }
    let dropped = |exporter: &str, reason: &str| {
        format!("bursar_trace_spans_dropped_total{{exporter=\"{exporter}\",reason=\"{reason}\"}}")
    };
    until("drops", PATIENCE, || async {
        let metrics = gateway.metrics().await;
        let all = metrics.get(&dropped("gone", "queue")) > 60.0
            && metrics.get(&dropped("refusing", "failed")) >= 120.0;
        all.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_open_is_exported_when_the_gateway_stops() {
    let mut rig = Rig::start("every = \"30s\"", |setup| setup).await;
    rig.call(("t", "lead", ""), &Ask::chat("sim-cheap")).await;
    assert!(rig.gateway.stop().await.success());
    let spans = rig.collector.spans();
    assert_eq!(named(&spans, "task t").len(), 1, "{spans:?}");
    assert_eq!(spans.len(), 4);
}
