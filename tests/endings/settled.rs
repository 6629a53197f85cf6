//! A complete answer with plausible usage, or with the provider's stated cost: settled at that.

use crate::common::calls::{Ask, Dialect};
use crate::common::fake::{Fake, Then};
use crate::common::gateway::Gateway;
use crate::common::setup::Setup;
use crate::{DIALECTS, Scene, entry_of};
use std::time::Duration;

#[tokio::test]
async fn at_what_the_provider_reported() {
    let scene = Scene::new().await;
    let models = [
        "sim-x",
        "sim-cheap",
        "sim-strong",
        "sim-dense",
        "sim-greedy",
        "sim-reasoning",
        "sim-usage-late",
        "sim-gzip",
        "sim-tools",
    ];
    for model in models {
        for dialect in DIALECTS {
            let mut ask = Ask::chat(model).dialect(dialect).max_tokens(Some(700));
            ask.tools = model == "sim-tools" && dialect != Dialect::Completions;
            let (reply, entry) = scene.call(&ask).await;
            assert!(reply.status.is_success(), "{model}: {}", reply.text());
            let billed = scene.billed(&entry);
            entry.assert_settled(billed);
            assert_eq!(reply.cost().map(|cost| cost.0), Some(billed));

            let (reply, entry) = scene.call(&ask.stream()).await;
            assert!(reply.status.is_success());
            assert_eq!(crate::ends_with_error(dialect, &reply), None);
            entry.assert_settled(scene.billed(&entry));
        }
    }
    let metrics = scene.gateway.quiet().await;
    assert_eq!(metrics.nano("bursar_in_doubt_usd"), 0);
    assert_eq!(metrics.get("bursar_overrun_usd_total"), 0.0);
}

#[tokio::test]
async fn the_stated_cost_wins() {
    let scene = Scene::new().await;
    for ask in [Ask::chat("sim-cost"), Ask::chat("sim-cost").stream()] {
        let (_, entry) = scene.call(&ask).await;
        entry.assert_settled(scene.billed(&entry));
    }
}

/// A connection that may stand idle for a while only may wait for an answer, and in the middle of one, for longer.
#[tokio::test]
async fn after_a_rest_in_mid_stream() {
    const FIRST: &str = concat!(
        "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"sim-x\",",
        "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"A purse.\"},\"finish_reason\":null}]}\n\n",
    );
    const REST: &str = concat!(
        "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"sim-x\",",
        "\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],",
        "\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":3,\"total_tokens\":12}}\n\n",
        "data: [DONE]\n\n",
    );
    let idle = "agents = \"127.0.0.1:0\"\nidle_timeout = \"300ms\"\nheader_timeout = \"300ms\"";
    let length = FIRST.len() + REST.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {length}\r\n\r\n{FIRST}"
    );
    let then = Then::Say(REST, Duration::from_millis(1_500));
    let provider = Fake::start(head, then).await;
    let gateway = Gateway::start(&Setup::new(provider.addr).listen(idle)).await;
    let reply = gateway.caller("t").call(&Ask::chat("sim-x").stream()).await;
    let reply = reply.expect("all of the answer");
    assert!(
        reply.text().ends_with("data: [DONE]\n\n"),
        "{}",
        reply.text()
    );
    let entry = entry_of(&gateway, &reply.request_id()).await;
    entry.assert_settled(9 * 1_000 + 3 * 4_000);
}
