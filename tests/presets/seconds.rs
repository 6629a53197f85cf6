//! Machines of one's own, priced by the second: what a call's time cost is measured, and the longest that
//! it can take is held.

use crate::common::books;
use crate::common::calls::Ask;
use crate::common::fake::{Fake, Then, json};
use crate::common::gateway::Gateway;
use std::time::{Duration, Instant};

const ANSWER: &str = r#"{"id":"c-1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}"#;
/// A dollar a second, so that a nano-dollar is a nanosecond.
const PRICES: &str = "[[model]]\nname = \"m\"\nfamily = \"vllm\"\nper_gpu_second = \"1\"\n";
const SECOND: u64 = 1_000_000_000;

async fn gateway(provider: &Fake, total: &str) -> Gateway {
    let toml = format!("kind = \"vllm\"\ntimeouts = {{ total = \"{total}\" }}\n");
    crate::one(provider.addr, &toml, PRICES).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_that_a_call_took_is_its_price() {
    let answer = json(ANSWER);
    let (head, body) = answer.split_at(40);
    let rest: &'static str = Box::leak(body.to_owned().into_boxed_str());
    let provider = Fake::start(head.to_owned(), Then::Say(rest, Duration::from_millis(300))).await;
    let gateway = gateway(&provider, "20s").await;
    let begun = Instant::now();
    let reply = gateway
        .caller("t")
        .call(&Ask::chat("own/m"))
        .await
        .expect("an answer");
    let most = begun.elapsed();
    assert_eq!(reply.status, 200, "{}", reply.text());
    gateway.quiet().await;
    let entry = books::call(&gateway.store(), &reply.request_id());
    assert_eq!(entry.ending, "settle");
    assert_eq!(
        entry.quoted.usd().0,
        20 * SECOND,
        "the longest that it can take"
    );
    let charged = u128::from(entry.charged.usd().0);
    assert!(
        charged >= 300_000_000 && charged <= most.as_nanos(),
        "{entry:?}"
    );
    assert_eq!(reply.cost().expect("a cost").0, entry.charged.usd().0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_never_ends_costs_what_was_held_and_no_more() {
    let provider = Fake::start(String::new(), Then::Wait).await;
    let gateway = gateway(&provider, "1s").await;
    let caller = gateway.caller("t").header("x-bursar-task-usd", "2.5");
    for _ in 0..2 {
        let reply = caller.call(&Ask::chat("own/m")).await.expect("an answer");
        assert_eq!(reply.status, 504, "{}", reply.text());
        gateway.quiet().await;
        let entry = books::call(&gateway.store(), &reply.request_id());
        assert_eq!(
            (&*entry.ending, &*entry.reason),
            ("unreconciled", "timeout")
        );
        assert_eq!(entry.charged.usd().0, SECOND, "{entry:?}");
    }
    // Half a second is left, and a call may take one.
    let reply = caller.call(&Ask::chat("own/m")).await.expect("an answer");
    assert_eq!(reply.status, 402, "{}", reply.text());
    assert_eq!(provider.calls(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_free_says_so() {
    let provider = Fake::start(json(ANSWER), Then::Close).await;
    let gateway = gateway(&provider, "1s").await;
    let reply = gateway.caller("t").call(&Ask::chat("own/other")).await;
    let reply = reply.expect("an answer");
    assert_eq!(
        reply.refusal().as_deref(),
        Some("unpriced_model"),
        "{}",
        reply.text()
    );
    assert_eq!(provider.calls(), 0);
}
