//! The bill against sums done by hand.

use super::super::prices::{Card, Tokens};
use super::{chat, message, world};
use crate::units::NanoUsd;
use http_body_util::BodyExt;
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";

#[test]
fn a_charge_is_one_sum_rounded_up_once() {
    let tokens = |input, cache_read, output| Tokens {
        input,
        cache_read,
        output,
        ..Tokens::default()
    };
    // 1,000 × $1.00 + 512 × $0.10 + 250 × $4.00 a million.
    assert_eq!(
        Card::of("sim-x").charge(&tokens(1_000, 512, 250)),
        NanoUsd(2_051_200)
    );
    assert_eq!(
        Card::of("sim-strong-slow").charge(&tokens(7, 0, 3)),
        NanoUsd(110_000)
    );
    assert_eq!(Card::of("sim-cheap").charge(&tokens(1, 1, 1)), NanoUsd(510));
    assert_eq!(
        Card::of("gpt-4o-mini-2024-07-18").charge(&tokens(1, 1, 1)),
        NanoUsd(825)
    );
    assert_eq!(
        Card::of("text-embedding-3-small").charge(&tokens(3, 0, 0)),
        NanoUsd(60)
    );
    assert_eq!(Card::of("somebody/unknown"), Card::of("sim-x"));
    assert_eq!(Card::of("claude-sonnet-4-5").cache_write_1h, 6_000_000_000);
    let odd = Card {
        input: 1,
        output: 1,
        ..*Card::of("sim-x")
    };
    assert_eq!(
        odd.charge(&tokens(1, 0, 1)),
        NanoUsd(1),
        "2 millionths of a nano-dollar"
    );
    assert_eq!(odd.charge(&tokens(0, 0, 0)), NanoUsd::ZERO);
}

#[tokio::test]
async fn the_bill_is_the_sum_of_what_answers_say() {
    let world = world().await;
    let mut expected = 0;
    for (model, input, output) in [
        ("sim-x", 1_000, 4_000),
        ("sim-strong", 5_000, 25_000),
        ("gpt-4o", 2_500, 10_000),
    ] {
        let answer = world.chat(model, json!({"max_tokens": 30})).await;
        let usage = &answer["usage"];
        expected += usage["prompt_tokens"].as_u64().expect("tokens") * input;
        expected += usage["completion_tokens"].as_u64().expect("tokens") * output;
    }
    let bill = world.bill();
    assert_eq!(bill.total_nano_usd, expected);
    assert_eq!((bill.calls, bill.turns), (3, 3));
    let shown = world.get("/bill").await.json();
    assert_eq!(shown["total_nano_usd"], expected);
    assert_eq!(shown.get("by_request"), None);
    world.post("/bill/reset", &json!({})).await;
    assert_eq!(world.bill().total_nano_usd, 0);
}

#[tokio::test]
async fn caps_are_honoured_in_every_dialect() {
    let world = world().await;
    for cap in [16, 17, 50, 399, 5_000] {
        let answer = world
            .chat("sim-greedy", json!({"max_completion_tokens": cap}))
            .await;
        assert_eq!(answer["usage"]["completion_tokens"], cap);
        let answer = world
            .chat("sim-reasoning", json!({"max_tokens": cap, "n": 2}))
            .await;
        assert!(
            answer["usage"]["completion_tokens"]
                .as_u64()
                .is_some_and(|n| n <= 2 * cap)
        );
        let body = message("sim-greedy", json!({"max_tokens": cap}));
        let answer = world.post("/v1/messages", &body).await.json();
        assert_eq!(
            (&answer["usage"]["output_tokens"], &answer["stop_reason"]),
            (&json!(cap), &json!("max_tokens"))
        );
        let body = json!({"model": "sim-greedy-reasoning", "input": "x", "max_output_tokens": cap});
        let answer = world.post("/v1/responses", &body).await.json();
        assert_eq!(
            (&answer["usage"]["output_tokens"], &answer["status"]),
            (&json!(cap), &json!("incomplete"))
        );
        let body = json!({"model": "sim-greedy", "prompt": "x", "max_tokens": cap});
        let answer = world.post("/v1/completions", &body).await.json();
        assert_eq!(answer["usage"]["completion_tokens"], cap);
    }
}

#[tokio::test]
async fn a_rogue_produces_and_bills_three_times_its_cap() {
    let world = world().await;
    let answer = world.chat("sim-rogue", json!({"max_tokens": 40})).await;
    assert_eq!(answer["usage"]["completion_tokens"], 120);
    assert_eq!(
        answer["choices"][0]["message"]["content"]
            .as_str()
            .map(str::len),
        Some(480)
    );
    assert_eq!(world.bill().total_nano_usd, 9 * 1_000 + 120 * 4_000);
}

#[tokio::test]
async fn unseen_reasoning_is_output() {
    let world = world().await;
    let answer = world.chat("sim-reasoning", json!({})).await;
    let reasoning = answer["usage"]["completion_tokens_details"]["reasoning_tokens"].as_u64();
    let shown = answer["choices"][0]["message"]["content"]
        .as_str()
        .map_or(0, str::len) as u64
        / 4;
    let reasoning = reasoning.expect("tokens");
    assert!(reasoning > 0);
    assert_eq!(answer["usage"]["completion_tokens"], reasoning + shown);
}

#[tokio::test]
async fn a_client_that_hangs_up_pays_for_the_whole_answer() {
    let world = world().await;
    world.chat("sim-x", json!({})).await;
    let whole = world.bill().total();
    world.sim.reset_bill();
    let body = chat("sim-x-slow", json!({"stream": true})).to_string();
    let request = world.request(CHAT, &[("x-bursar-request-id", "r1")], body.into());
    let mut answer = world
        .client
        .request(request)
        .await
        .expect("an answer")
        .into_body();
    answer.frame().await.expect("a frame").expect("data");
    drop(answer);
    let bill = world.bill();
    let line = bill.by_request.expect("requests")["r1"];
    assert!(!line.complete);
    assert_eq!(line.nano_usd, bill.total_nano_usd);
    // Another name draws another length; the same name gives the plain answer's price.
    let again = world
        .post(CHAT, &chat("sim-x", json!({"stream": true})))
        .await;
    assert!(again.whole);
    assert_eq!(world.bill().total_nano_usd - line.nano_usd, whole.0);
}

#[tokio::test]
async fn a_hidden_usage_is_billed_all_the_same() {
    let world = world().await;
    let absent = world.chat("sim-no-usage", json!({})).await;
    assert_eq!(absent.get("usage"), None);
    let null = world.chat("sim-null-usage", json!({})).await;
    assert_eq!(null.get("usage"), Some(&Value::Null));
    let zero = world.chat("sim-zero-usage", json!({})).await;
    assert_eq!(zero["usage"]["total_tokens"], 0);
    let line = world.bill().by_task["none"];
    assert_eq!((line.calls, line.input_tokens), (3, 27));
    let shown: usize = [absent, null, zero]
        .iter()
        .map(|answer| {
            answer["choices"][0]["message"]["content"]
                .as_str()
                .map_or(0, str::len)
        })
        .sum();
    assert_eq!(line.output_tokens, shown as u64 / 4);

    let options = json!({"stream": true, "stream_options": {"include_usage": true}});
    let none = world
        .post(CHAT, &chat("sim-no-usage", options.clone()))
        .await;
    assert!(!none.text().contains("prompt_tokens"));
    let null = world
        .post(CHAT, &chat("sim-null-usage", options))
        .await
        .events();
    assert_eq!(null[null.len() - 2]["usage"], Value::Null);
}

#[tokio::test]
async fn a_stated_cost_is_what_is_billed() {
    let world = world().await;
    let got = world
        .post(CHAT, &chat("sim-cost", json!({"max_tokens": 10})))
        .await;
    // 9 × $1.00 + 10 × $4.00 a million, less a tenth.
    assert_eq!(world.bill().total_nano_usd, 44_100);
    assert!(got.text().contains("\"cost\":0.0000441}"), "{}", got.text());
}

#[tokio::test]
async fn a_dense_model_counts_bytes() {
    let world = world().await;
    let prompt = json!([{"role": "user", "content": "h\u{e9}llo \"quoted\"\n"}]);
    let answer = world
        .chat("sim-dense", json!({"messages": prompt, "max_tokens": 10}))
        .await;
    assert_eq!(answer["usage"]["prompt_tokens"], 16 + 4 + 3);
    assert_eq!(
        answer["choices"][0]["message"]["content"]
            .as_str()
            .map(str::len),
        Some(10)
    );
}

#[tokio::test]
async fn a_prefix_seen_before_is_cached_in_steps_of_128() {
    let world = world().await;
    let system = "s".repeat(4 * 1_300);
    let ask = |question: &str| {
        json!({"max_tokens": 1, "messages": [
            {"role": "system", "content": system}, {"role": "user", "content": question}]})
    };
    let first = world.chat("gpt-4o", ask("abcd")).await;
    assert_eq!(first["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
    world.sim.reset_bill();
    let second = world.chat("gpt-4o", ask("efgh")).await;
    // The system message is 1,304 tokens: ten steps of 128.
    assert_eq!(second["usage"]["prompt_tokens"], 1_312);
    assert_eq!(
        second["usage"]["prompt_tokens_details"]["cached_tokens"],
        1_280
    );
    assert_eq!(
        world.bill().total_nano_usd,
        32 * 2_500 + 1_280 * 1_250 + 10_000
    );
    let other = world.chat("gpt-4o-mini", ask("efgh")).await;
    assert_eq!(
        other["usage"]["prompt_tokens_details"]["cached_tokens"], 0,
        "each model has its own"
    );
}

#[tokio::test]
async fn cache_control_writes_once_and_then_reads() {
    let world = world().await;
    let ask = |question: &str, ttl: &str| {
        let system = json!([{"type": "text", "text": "s".repeat(4 * 1_300),
            "cache_control": {"type": "ephemeral", "ttl": ttl}}]);
        let messages = json!([{"role": "user", "content": question}]);
        message(
            "sim-x",
            json!({"system": system, "messages": messages, "max_tokens": 1}),
        )
    };
    let first = world.post("/v1/messages", &ask("abcd", "5m")).await.json();
    let usage = &first["usage"];
    assert_eq!(usage["cache_creation_input_tokens"], 1_304);
    assert_eq!(usage["cache_creation"]["ephemeral_5m_input_tokens"], 1_304);
    assert_eq!(
        (&usage["cache_read_input_tokens"], &usage["input_tokens"]),
        (&json!(0), &json!(8))
    );
    assert_eq!(
        world.bill().total_nano_usd,
        8 * 1_000 + 1_304 * 1_250 + 4_000
    );
    world.sim.reset_bill();
    let second = world.post("/v1/messages", &ask("efgh", "5m")).await.json();
    assert_eq!(second["usage"]["cache_read_input_tokens"], 1_304);
    assert_eq!(world.bill().total_nano_usd, 8 * 1_000 + 1_304 * 100 + 4_000);

    let mut hour = ask("abcd", "1h");
    hour["model"] = json!("sim-y");
    let hour = world.post("/v1/messages", &hour).await.json();
    assert_eq!(
        hour["usage"]["cache_creation"]["ephemeral_1h_input_tokens"],
        1_304
    );
}

#[tokio::test]
async fn counting_tokens_is_free_and_right() {
    let world = world().await;
    let mut body = message("sim-x", json!({"system": "be brief"}));
    let paid = world.post("/v1/messages", &body).await.json();
    let before = world.bill();
    body.as_object_mut()
        .expect("an object")
        .remove("max_tokens");
    let counted = world.post("/v1/messages/count_tokens", &body).await.json();
    assert_eq!(counted["input_tokens"], paid["usage"]["input_tokens"]);
    assert_eq!(world.bill(), before);
}

#[tokio::test]
async fn the_bill_knows_who_called() {
    let world = world().await;
    let send = |headers: &'static [(&'static str, &'static str)], more: Value| {
        let body = chat("sim-x", more);
        let world = &world;
        async move { world.post_with(CHAT, headers, &body).await }
    };
    let named = &[
        ("x-bursar-task-id", "t1"),
        ("x-sim-task", "t2"),
        ("x-bursar-agent-id", "a1"),
        ("x-bursar-request-id", "r1"),
        ("authorization", "Bearer sk-sim-1"),
        ("x-bursar-owner", "o1"),
    ];
    send(named, json!({})).await;
    send(named, json!({})).await;
    send(
        &[("x-sim-task", "t2"), ("x-api-key", "a real one")],
        json!({"metadata": {"user_task_id": "t3"}}),
    )
    .await;
    send(&[], json!({"metadata": {"user_task_id": "t3"}})).await;
    send(&[], json!({})).await;
    let bill = world.bill();
    let tasks: Vec<_> = bill
        .by_task
        .iter()
        .map(|(task, line)| (task.as_str(), line.calls))
        .collect();
    assert_eq!(tasks, [("none", 1), ("t1", 2), ("t2", 1), ("t3", 1)]);
    assert_eq!(bill.by_agent["t1/a1"], bill.by_task["t1"]);
    assert_eq!(bill.by_owner["o1"].calls, 2);
    assert_eq!(bill.by_key["sk-sim-1"].calls, 2);
    assert!(bill.by_key.keys().all(|key| !key.contains("real")));
    let line = bill.by_request.expect("requests")["r1"];
    assert_eq!((line.calls, line.complete), (2, true));
    assert_eq!(line.nano_usd, bill.by_task["t1"].nano_usd);
    let sum: u64 = bill.by_task.values().map(|line| line.nano_usd).sum();
    assert_eq!(sum, bill.total_nano_usd);
}

#[tokio::test]
async fn the_same_seed_gives_the_same_answers() {
    let (one, two) = (world().await, world().await);
    for model in ["sim-x", "sim-reasoning", "gpt-5"] {
        let (first, second) = (
            one.chat(model, json!({})).await,
            two.chat(model, json!({})).await,
        );
        assert_eq!(first["choices"], second["choices"]);
        assert_ne!(first["id"], second["id"]);
    }
    assert_eq!(one.sim.bill(), two.sim.bill());
}
