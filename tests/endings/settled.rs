//! A complete answer with plausible usage, or with the provider's stated cost: settled at that.

use crate::common::calls::{Ask, Dialect};
use crate::{DIALECTS, Scene};

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
