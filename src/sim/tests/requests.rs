//! What is refused, and how prompts are counted.

use super::super::request;
use super::{chat, message, tools, world};
use crate::dialect::Dialect;
use http::StatusCode;
use proptest::prelude::*;
use serde_json::{Value, json};

#[tokio::test]
async fn bad_requests_are_refused_as_the_providers_refuse_them() {
    let world = world().await;
    let (chats, messages, responses) = ("/v1/chat/completions", "/v1/messages", "/v1/responses");
    let budget =
        json!({"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 1024});
    let cases = [
        (chats, json!({"messages": []}), "must provide a model"),
        (
            messages,
            json!({"messages": [], "max_tokens": 1}),
            "model: Field required",
        ),
        (
            chats,
            json!({"model": "sim"}),
            "Missing required parameter: 'messages'",
        ),
        (chats, chat("sim", json!({"messages": []})), "empty array"),
        (
            messages,
            chat("sim", json!({})),
            "max_tokens: Field required",
        ),
        (
            messages,
            message("sim", budget),
            "must be greater than `thinking.budget_tokens`",
        ),
        (
            chats,
            chat("o3", json!({"max_tokens": 5})),
            "Unsupported parameter: 'max_tokens'",
        ),
        (
            chats,
            chat(
                "gpt-5-mini",
                json!({"max_tokens": 5, "max_completion_tokens": 5}),
            ),
            "at the same time",
        ),
        (
            chats,
            chat("sim", json!({"max_tokens": 0})),
            "below minimum",
        ),
        (
            chats,
            chat("sim", json!({"max_tokens": -1})),
            "could not parse",
        ),
        (
            chats,
            chat("sim", json!({"max_tokens": 200_000})),
            "too large",
        ),
        (chats, chat("sim", json!({"n": 0})), "Invalid 'n'"),
        (
            chats,
            chat("sim", json!({"stream_options": {"include_usage": true}})),
            "only allowed when",
        ),
        (
            responses,
            json!({"model": "sim", "input": "x", "max_output_tokens": 15}),
            "below minimum",
        ),
        (
            responses,
            json!({"model": "sim"}),
            "Missing required parameter: 'input'",
        ),
        (
            "/v1/embeddings",
            json!({"model": "sim", "input": []}),
            "1 to 2048 inputs",
        ),
    ];
    for (path, body, why) in cases {
        let got = world.post(path, &body).await;
        assert_eq!(got.status, StatusCode::BAD_REQUEST, "{body}");
        assert!(
            got.text().contains(why),
            "{} is not about {why}",
            got.text()
        );
        assert_eq!(got.json()["type"] == "error", path == messages);
    }
    for broken in [
        "",
        "{",
        "[]",
        "{\"model\":\"a\",\"model\":\"b\"}",
        "\u{feff}{}",
    ] {
        let got = world
            .send(chats, &[], broken.into())
            .await
            .expect("an answer");
        assert_eq!(got.status, StatusCode::BAD_REQUEST);
    }
    let got = world
        .send(chats, &[], b"{\"model\":\"\xff\"}".to_vec())
        .await
        .expect("an answer");
    assert_eq!(got.status, StatusCode::BAD_REQUEST);
    let missing = world.post(chats, &chat("missing-model", json!({}))).await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert_eq!(missing.json()["error"]["code"], "model_not_found");
    assert_eq!(world.bill().calls, 0);
    assert_eq!(
        world.get("/v1/chat/completions").await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn nesting_and_length_are_bounded() {
    let world = world().await;
    let deep = format!(
        "{{\"model\":\"sim\",\"messages\":{}{}}}",
        "[".repeat(5_000),
        "]".repeat(5_000)
    );
    let got = world
        .send("/v1/chat/completions", &[], deep.into())
        .await
        .expect("an answer");
    assert_eq!(got.status, StatusCode::BAD_REQUEST);
    let long = json!({"messages": [{"role": "user", "content": "x".repeat(4 * 130_000)}]});
    let got = world
        .post("/v1/chat/completions", &chat("gpt-4o", long))
        .await;
    assert_eq!(got.json()["error"]["code"], "context_length_exceeded");
}

fn input_tokens(dialect: Dialect, body: &Value, dense: bool) -> u64 {
    let body = serde_json::to_vec(body).expect("JSON");
    request::read(dialect, false, None, &body)
        .expect("a request")
        .prompt
        .tokens(dense)
}

#[test]
fn ids_types_and_media_are_not_text() {
    let parts = json!([
        {"type": "text", "text": "abcd"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAAAAAA"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "file", "file": {"file_data": "AAAA"}}]);
    let body = chat(
        "sim",
        json!({"messages": [{"role": "user", "content": parts}]}),
    );
    assert_eq!(
        input_tokens(Dialect::OpenaiChat, &body, false),
        1 + 765 + 500 + 1_500 + 4 + 3
    );

    let turns = json!([
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "abcd",
            "input": {"type": "efgh", "id": "ijkl"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "mnop"}]}]);
    let body = message("sim", json!({"messages": turns}));
    // abcd, type, efgh, id, ijkl, mnop: 22 bytes; arguments are text, keys and all.
    assert_eq!(
        input_tokens(Dialect::AnthropicMessages, &body, true),
        22 + 8 + 3
    );

    let body = chat("sim", json!({"tools": tools()}));
    let bytes = tools().to_string().len() as u64;
    assert_eq!(
        input_tokens(Dialect::OpenaiChat, &body, true),
        5 + bytes + 8 + 4 + 3
    );
}

#[test]
fn explicit_nulls_are_absent_members() {
    let body = json!({"model": "sim", "input": "abcd", "metadata": null, "tools": null, "text": null,
        "stream": null, "max_output_tokens": null, "instructions": null, "tool_choice": null,
        "previous_response_id": null, "include": null, "user": null, "parallel_tool_calls": null});
    assert_eq!(input_tokens(Dialect::OpenaiResponses, &body, false), 8);
}

proptest! {
    /// The rule that the gateway's bound rests on: no token without a byte, but for the known overhead.
    #[test]
    fn text_never_has_more_tokens_than_bytes(texts in prop::collection::vec(".{0,60}", 1..6)) {
        let messages: Vec<_> =
            texts.iter().map(|text| json!({"role": "user", "content": text})).collect();
        let body = chat("sim", json!({"messages": messages}));
        let bytes: usize = texts.iter().map(String::len).sum();
        let overhead = 4 * texts.len() as u64 + 3;
        prop_assert_eq!(input_tokens(Dialect::OpenaiChat, &body, true), bytes as u64 + overhead);
        prop_assert_eq!(
            input_tokens(Dialect::OpenaiChat, &body, false),
            (bytes as u64).div_ceil(4) + overhead
        );
    }

    /// Nothing that is sent makes the reader panic.
    #[test]
    fn anything_is_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = request::read(Dialect::OpenaiChat, false, None, &body);
    }
}
