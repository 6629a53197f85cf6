//! How spans get to their receivers: under a certificate authority of one's own, and through an outbound
//! proxy, over HTTP and gRPC.

use super::{Collector, Gateway, named};
use crate::common::calls::Ask;
use crate::common::proxy::ConnectProxy;
use crate::common::setup::Setup;
use crate::common::until;
use bursar::sim::{Settings, Sim};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const PROTOCOLS: [&str; 2] = ["http/protobuf", "grpc"];

/// A gateway with these exporters, one call through it, and the root span at each of the collectors.
async fn one_call(exporters: &str, collectors: &[&Collector], env: &[(&str, &str)]) -> Gateway {
    let sim = Sim::start(Settings::default()).await.unwrap();
    let setup = Setup::new(sim.addr()).more(&format!("[trace]\nidle = \"2s\"\n{exporters}"));
    let setup = env
        .iter()
        .fold(setup, |setup, (name, value)| setup.env(name, value));
    let gateway = Gateway::start(&setup).await;
    let caller = gateway.caller("t").agent("lead");
    let reply = caller.call(&Ask::chat("sim-cheap")).await.unwrap();
    assert!(reply.status.is_success(), "{}", reply.text());
    for collector in collectors {
        let is_all = |spans: &[super::Span]| !named(spans, "task t").is_empty();
        let spans = collector.until("the root", is_all).await;
        assert_eq!(spans.len(), 4, "{spans:?}");
    }
    gateway
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_travel_under_a_certificate_authority_of_ones_own() {
    let collectors = [Collector::secure().await, Collector::secure().await];
    let untrusted = Collector::secure().await;
    let mut exporters = String::new();
    for ((collector, protocol), name) in collectors.iter().zip(PROTOCOLS).zip(["http", "grpc"]) {
        let keys = format!("protocol = \"{protocol}\"\nname = \"{name}");
        let ca_file = collector.ca_file();
        exporters += &collector.exporter(&format!("{keys}\"\nca_file = {ca_file:?}"));
        exporters += &untrusted.exporter(&format!("{keys}-stranger\""));
    }
    let [http, grpc] = &collectors;
    let gateway = one_call(&exporters, &[http, grpc], &[]).await;
    assert_eq!(http.posts()[0].0, "/v1/traces");
    assert!(grpc.posts()[0].0.ends_with("TraceService/Export"));
    // A stranger's certificate is not trusted: nothing is told to it.
    for exporter in ["http-stranger", "grpc-stranger"] {
        let tried = format!("bursar_trace_posts_total{{exporter=\"{exporter}\",result=\"again\"}}");
        until("a try", PATIENCE, || async {
            (gateway.metrics().await.get(&tried) > 0.0).then_some(())
        })
        .await;
    }
    assert!(untrusted.posts().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_leave_through_a_proxy() {
    let proxy = ConnectProxy::start().await;
    let through = format!("proxy = \"http://{}\"", proxy.addr);
    let (plain, plain_grpc) = (Collector::start().await, Collector::start().await);
    let (secure, by_env) = (Collector::secure().await, Collector::secure().await);
    let direct = Collector::start().await;
    let ca_file = |collector: &Collector| format!("ca_file = {:?}", collector.ca_file());
    let exporters = [
        plain.exporter(&format!("name = \"plain\"\n{through}")),
        plain_grpc.exporter(&format!(
            "name = \"plain-grpc\"\nprotocol = \"grpc\"\n{through}"
        )),
        secure.exporter(&format!(
            "name = \"secure\"\n{through}\n{}",
            ca_file(&secure)
        )),
        by_env.exporter(&format!(
            "name = \"by-env\"\nprotocol = \"grpc\"\nproxy = \"env\"\n{}",
            ca_file(&by_env)
        )),
        direct.exporter("name = \"direct\""),
    ]
    .concat();
    let environment = format!("http://crew:s3cret@{}", proxy.addr);
    let env = [("HTTPS_PROXY", &*environment), ("NO_PROXY", "")];
    let all = [&plain, &plain_grpc, &secure, &by_env, &direct];
    let gateway = one_call(&exporters, &all, &env).await;
    let asked = proxy.asked.lock().clone();
    let of = |collector: &Collector| {
        let target = format!(":{} HTTP/1.1\r\n", collector.addr.port());
        let found = asked.iter().find(|head| head.contains(&target));
        found.map(|head| head.to_ascii_lowercase())
    };
    for collector in [&plain, &plain_grpc, &secure] {
        let head = of(collector).expect("through the proxy");
        assert!(!head.contains("proxy-authorization"), "{head}");
    }
    let head = of(&by_env).expect("through the proxy");
    assert!(head.contains("proxy-authorization: basic "), "{head}");
    assert!(of(&direct).is_none(), "the others go straight");
    assert!(!gateway.log().contains("s3cret"));
    for collector in all {
        let (_, headers, _) = &collector.posts()[0];
        assert!(!headers.contains_key("proxy-authorization"));
    }
}
