//! Streamed answers in each dialect.

use super::{Got, chat, message, tools, world};
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";

fn said(events: &[Value], pointer: &str) -> String {
    events
        .iter()
        .filter_map(|event| event.pointer(pointer)?.as_str())
        .collect()
}

fn kinds(got: &Got) -> Vec<String> {
    got.text()
        .lines()
        .filter_map(|line| line.strip_prefix("event: "))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn a_chat_stream_says_what_the_plain_answer_says() {
    let world = world().await;
    let plain = world.chat("sim-x", json!({})).await;
    let options = json!({"stream": true, "stream_options": {"include_usage": true}});
    let got = world.post(CHAT, &chat("sim-x", options)).await;
    assert!(
        got.headers["content-type"]
            .to_str()
            .is_ok_and(|kind| kind.starts_with("text/event-stream"))
    );
    let events = got.events();
    let [first, .., finish, usage, done] = events.as_slice() else {
        panic!("{events:?}")
    };
    assert_eq!(
        first["choices"][0]["delta"],
        json!({"role": "assistant", "content": "", "refusal": null})
    );
    let content = said(&events, "/choices/0/delta/content");
    assert_eq!(json!(content), plain["choices"][0]["message"]["content"]);
    assert_eq!(finish["choices"][0]["finish_reason"], "stop");
    assert_eq!(finish["choices"][0]["delta"], json!({}));
    assert_eq!(
        (&usage["choices"], &usage["usage"]),
        (&json!([]), &plain["usage"])
    );
    assert_eq!(done, "[DONE]");
    for chunk in &events[..events.len() - 2] {
        assert_eq!(chunk.get("usage"), Some(&Value::Null), "null until the end");
        assert_eq!(chunk["object"], "chat.completion.chunk");
    }

    let unasked = world
        .post(CHAT, &chat("sim-x", json!({"stream": true})))
        .await
        .events();
    assert!(
        unasked.iter().all(|chunk| chunk.get("usage").is_none()),
        "nobody asked"
    );
}

#[tokio::test]
async fn every_answer_of_n_is_streamed() {
    let world = world().await;
    let body = chat("sim-x", json!({"stream": true, "n": 3, "max_tokens": 6}));
    let events = world.post(CHAT, &body).await.events();
    for index in 0..3 {
        let mine: Vec<_> = events
            .iter()
            .filter(|event| event["choices"][0]["index"] == index)
            .cloned()
            .collect();
        assert_eq!(said(&mine, "/choices/0/delta/content").len(), 24);
        assert_eq!(said(&mine, "/choices/0/finish_reason"), "length");
    }
}

#[tokio::test]
async fn tool_arguments_come_in_pieces() {
    let world = world().await;
    let body = chat(
        "sim-tools",
        json!({"stream": true, "tools": tools(), "parallel_tool_calls": false}),
    );
    let events = world.post(CHAT, &body).await.events();
    let arguments = said(&events, "/choices/0/delta/tool_calls/0/function/arguments");
    assert!(serde_json::from_str::<Value>(&arguments).is_ok_and(|value| value["city"].is_string()));
    assert_eq!(
        said(&events, "/choices/0/delta/tool_calls/0/function/name"),
        "weather"
    );
    assert_eq!(said(&events, "/choices/0/finish_reason"), "tool_calls");
    assert!(events.len() > 5, "in pieces");

    let declared =
        json!([{"name": "weather", "input_schema": tools()[0]["function"]["parameters"]}]);
    let body = message(
        "sim-tools",
        json!({"stream": true, "tools": declared,
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": true}}),
    );
    let events = world.post("/v1/messages", &body).await.events();
    let arguments = said(&events, "/delta/partial_json");
    assert!(serde_json::from_str::<Value>(&arguments).is_ok_and(|value| value["city"].is_string()));
    assert_eq!(said(&events, "/delta/stop_reason"), "tool_use");
}

#[tokio::test]
async fn a_messages_stream_has_its_events_in_order() {
    let world = world().await;
    let plain = world
        .post("/v1/messages", &message("sim-x", json!({})))
        .await
        .json();
    let got = world
        .post("/v1/messages", &message("sim-x", json!({"stream": true})))
        .await;
    let mut order = kinds(&got);
    order.dedup();
    assert_eq!(
        order,
        [
            "message_start",
            "ping",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]
    );
    let events = got.events();
    assert_eq!(
        json!(said(&events, "/delta/text")),
        plain["content"][0]["text"]
    );
    assert_eq!(events[0]["message"]["usage"]["output_tokens"], 1);
    assert_eq!(
        events[0]["message"]["usage"]["input_tokens"],
        plain["usage"]["input_tokens"]
    );
    let delta = events
        .iter()
        .find(|event| event["type"] == "message_delta")
        .expect("a delta");
    assert_eq!(delta["usage"], plain["usage"]);
}

#[tokio::test]
async fn a_response_stream_ends_with_the_whole_response() {
    let world = world().await;
    let body = json!({"model": "sim-x", "input": "hello", "stream": true, "max_output_tokens": 16});
    let got = world.post("/v1/responses", &body).await;
    let mut order = kinds(&got);
    order.dedup();
    assert_eq!(
        order,
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.incomplete",
        ]
    );
    let events = got.events();
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
    }
    let last = &events[events.len() - 1]["response"];
    assert_eq!(
        json!(said(&events, "/delta")),
        last["output"][0]["content"][0]["text"]
    );
    assert_eq!(last["usage"]["output_tokens"], 16);
    assert_eq!(events[0]["response"]["usage"], Value::Null);
}

#[tokio::test]
async fn a_completions_stream_works() {
    let world = world().await;
    let body = json!({"model": "sim-x", "prompt": "hello", "stream": true, "max_tokens": 9,
        "stream_options": {"include_usage": true}});
    let events = world.post("/v1/completions", &body).await.events();
    assert_eq!(said(&events, "/choices/0/text").len(), 36);
    assert_eq!(said(&events, "/choices/0/finish_reason"), "length");
    assert_eq!(events[events.len() - 2]["usage"]["completion_tokens"], 9);
}

#[tokio::test]
async fn a_gzip_stream_decodes_to_the_same_events() {
    use std::io::Read as _;
    let world = world().await;
    for more in [json!({"stream": true}), json!({})] {
        let got = world.post(CHAT, &chat("sim-gzip", more.clone())).await;
        assert_eq!(got.headers["content-encoding"], "gzip");
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(got.body.as_slice())
            .read_to_end(&mut plain)
            .expect("gzip");
        let refused = [("accept-encoding", "identity")];
        let other = world
            .post_with(CHAT, &refused, &chat("sim-gzip", more))
            .await;
        assert!(!other.headers.contains_key("content-encoding"));
        // Only ids differ, and those are of one length.
        assert_eq!(plain.len(), other.body.len());
    }
}
