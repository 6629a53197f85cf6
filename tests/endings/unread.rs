//! A complete answer whose usage is absent, null, zero, or less than what was visibly produced:
//! a bound on what it can have cost, in doubt.

use crate::common::calls::{Ask, Dialect};
use crate::common::fake::{self, Fake, Then};
use crate::common::gateway::Gateway;
use crate::common::setup::Setup;
use crate::{DIALECTS, ONE_DOLLAR, Scene, only_entry};
use bursar::units::Meter;

#[tokio::test]
async fn settles_at_a_bound() {
    let scene = Scene::new().await;
    let mut in_doubt = 0;
    for model in ["sim-no-usage", "sim-null-usage", "sim-zero-usage"] {
        for dialect in DIALECTS {
            let ask = Ask::chat(model).dialect(dialect).max_tokens(Some(3_000));
            for ask in [ask.clone(), ask.stream()] {
                let (reply, entry) = scene.call(&ask).await;
                assert!(reply.status.is_success());
                assert_eq!(reply.cost(), None, "nobody knows");
                assert_eq!(
                    (&*entry.ending, &*entry.reason),
                    ("unreconciled", "no_usage")
                );
                let billed = scene.billed(&entry);
                assert!(billed <= entry.usd(), "{model} {dialect:?}: {entry:?}");
                assert!(entry.usd() < entry.held(), "not all of it: {entry:?}");
                in_doubt += entry.usd();
            }
        }
    }
    let metrics = scene.gateway.quiet().await;
    assert_eq!(metrics.nano("bursar_in_doubt_usd"), in_doubt);
    assert_eq!(metrics.sum("bursar_cost_usd_total"), 0.0, "shown apart");
}

#[tokio::test]
async fn the_whole_hold_when_it_reasons_unseen() {
    let scene = Scene::new().await;
    for dialect in [Dialect::Chat, Dialect::Responses] {
        let ask = Ask::chat("sim-reasoning-no-usage").dialect(dialect);
        for ask in [ask.clone(), ask.stream()] {
            let (_, entry) = scene.call(&ask).await;
            entry.assert_in_doubt("no_usage");
            assert!(scene.billed(&entry) <= entry.usd());
        }
    }
}

/// 6,000 bytes of text, and the word of three tokens: 2,000 bytes a token are not plausible.
fn boast(stream: bool) -> String {
    let text = "purse ".repeat(1_000);
    let usage = r#"{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}"#;
    if stream {
        let chunk = |choices: &str, usage: &str| {
            format!(
                "data: {{\"id\":\"c-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"sim-x\",\
                 \"choices\":{choices},\"usage\":{usage}}}\n\n"
            )
        };
        let said =
            format!(r#"[{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":null}}]"#);
        let stop = r#"[{"index":0,"delta":{},"finish_reason":"stop"}]"#;
        let events = chunk(&said, "null") + &chunk(stop, "null") + &chunk("[]", usage);
        return fake::events(&(events + "data: [DONE]\n\n"));
    }
    fake::json(&format!(
        r#"{{"id":"c-1","object":"chat.completion","created":1,"model":"sim-x","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}"}},"finish_reason":"stop"}}],"usage":{usage}}}"#
    ))
}

#[tokio::test]
async fn usage_below_what_was_produced() {
    for stream in [false, true] {
        let fake = Fake::start(boast(stream), Then::Close).await;
        let gateway = Gateway::start(&Setup::new(fake.addr).limits(ONE_DOLLAR)).await;
        let mut ask = Ask::chat("sim-x").max_tokens(Some(9_000));
        ask.stream = stream;
        let reply = gateway.caller("t").call(&ask).await.expect("an answer");
        assert!(reply.status.is_success());
        assert_eq!(reply.cost(), None);
        let entry = only_entry(&gateway).await;
        assert_eq!(
            (&*entry.ending, &*entry.reason),
            ("unreconciled", "no_usage")
        );
        // A token for each byte.
        assert!(entry.charged[Meter::OutputTokens] >= 6_000, "{entry:?}");
        assert!(entry.usd() < entry.held());
    }
}
