use super::*;

#[test]
fn a_message_becomes_a_chat_completion() {
    let mut answer = answered(
        Pair::ChatMessages,
        &json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "redacted_thinking", "data": "d"},
                {"type": "text", "text": "One \"and\" "}, {"type": "text", "text": "two."},
                {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": "x"}},
                {"type": "tool_use", "id": "toolu_2", "name": "stop", "input": {}},
            ],
            "stop_reason": "tool_use", "stop_sequence": null,
            "usage": {"input_tokens": 10, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 2,
                "output_tokens": 7, "output_tokens_details": {"thinking_tokens": 3}},
        }),
    );
    assert!(answer["created"].take().is_u64());
    assert_eq!(
        answer,
        json!({
            "id": "msg_1", "object": "chat.completion", "created": null, "model": "claude-x",
            "choices": [{"index": 0, "logprobs": null, "finish_reason": "tool_calls", "message": {
                "role": "assistant", "content": "One \"and\" two.", "refusal": null,
                "tool_calls": [
                    {"id": "toolu_1", "type": "function", "function": {"name": "look", "arguments": "{\"at\":\"x\"}"}},
                    {"id": "toolu_2", "type": "function", "function": {"name": "stop", "arguments": "{}"}},
                ],
                "reasoning_content": "hm",
                "reasoning_details": [{"type": "reasoning.text", "text": "hm", "signature": "s"},
                    {"type": "reasoning.encrypted", "data": "d"}],
            }}],
            "usage": {"prompt_tokens": 17, "completion_tokens": 7, "total_tokens": 24,
                "prompt_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 2},
                "completion_tokens_details": {"reasoning_tokens": 3}},
        })
    );
}

#[test]
fn a_chat_completion_becomes_a_message() {
    let answer = answered(
        Pair::MessagesChat,
        &json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-x",
            "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {
                "role": "assistant", "content": "One.", "reasoning_content": "hm",
                "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{\"at\": 1.0}"}},
                    {"id": "call_2", "type": "function", "function": {"name": "stop", "arguments": ""}}]}}],
            "usage": {"prompt_tokens": 17, "completion_tokens": 7, "total_tokens": 24,
                "prompt_tokens_details": {"cached_tokens": 5}, "completion_tokens_details": {"reasoning_tokens": 3}},
        }),
    );
    assert_eq!(
        answer,
        json!({
            "id": "chatcmpl-1", "type": "message", "role": "assistant", "model": "gpt-x",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": ""},
                {"type": "text", "text": "One."},
                {"type": "tool_use", "id": "call_1", "name": "look", "input": {"at": 1.0}},
                {"type": "tool_use", "id": "call_2", "name": "stop", "input": {}},
            ],
            "stop_reason": "tool_use", "stop_sequence": null,
            "usage": {"input_tokens": 12, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 0,
                "output_tokens": 7, "output_tokens_details": {"thinking_tokens": 3}},
        })
    );
}

#[test]
fn a_chat_completion_becomes_a_response() {
    let answer = answered(
        Pair::ResponsesChat,
        &json!({
            "id": "chatcmpl-abc1", "object": "chat.completion", "created": 5, "model": "m",
            "choices": [{"index": 0, "finish_reason": "length", "message": {
                "role": "assistant", "content": "One.", "reasoning": "hm",
                "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{\"at\":1}"}}]}}],
            "usage": {"prompt_tokens": 17, "completion_tokens": 7, "total_tokens": 24,
                "prompt_tokens_details": {"cached_tokens": 5}, "completion_tokens_details": {"reasoning_tokens": 3}},
        }),
    );
    assert_eq!(
        answer,
        json!({
            "id": "resp_abc1", "object": "response", "created_at": 5, "model": "m", "previous_response_id": null,
            "store": false, "error": null, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"},
            "output": [
                {"id": "rs_abc1", "type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
                {"id": "msg_abc1", "type": "message", "status": "incomplete", "role": "assistant",
                 "content": [{"type": "output_text", "text": "One.", "annotations": [], "logprobs": []}]},
                {"id": "fc_1", "type": "function_call", "status": "incomplete", "call_id": "call_1", "name": "look",
                 "arguments": "{\"at\":1}"},
            ],
            "tools": [], "tool_choice": "auto",
            "usage": {"input_tokens": 17, "input_tokens_details": {"cached_tokens": 5}, "output_tokens": 7,
                "output_tokens_details": {"reasoning_tokens": 3}, "total_tokens": 24},
        })
    );
}

#[test]
fn every_reason_to_stop_has_a_word_on_the_other_side() {
    let message = |stop: &str| json!({"id": "m", "content": [], "stop_reason": stop});
    for (theirs, ours) in [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
    ] {
        let answer = answered(Pair::ChatMessages, &message(theirs));
        assert_eq!(answer["choices"][0]["finish_reason"], ours);
    }
    let chat = |finish: &str| json!({"id": "c", "choices": [{"message": {"content": "x"}, "finish_reason": finish}]});
    for (theirs, ours) in [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("tool_calls", "tool_use"),
        ("content_filter", "refusal"),
    ] {
        let answer = answered(Pair::MessagesChat, &chat(theirs));
        assert_eq!(answer["stop_reason"], ours);
    }
}

#[test]
fn a_model_that_declines_says_so_on_either_side() {
    let declined = json!({"id": "c", "choices": [{"finish_reason": "stop",
        "message": {"role": "assistant", "content": null, "refusal": "No."}}]});
    let message = answered(Pair::MessagesChat, &declined);
    assert_eq!(message["stop_reason"], "refusal");
    assert_eq!(message["content"], json!([{"type": "text", "text": "No."}]));
    let response = answered(Pair::ResponsesChat, &declined);
    assert_eq!(
        response["output"][0]["content"],
        json!([{"type": "refusal", "refusal": "No."}])
    );
}

#[test]
fn what_cannot_be_read_is_said_to_be_so() {
    for pair in Pair::ALL {
        for body in [
            "",
            "[]",
            "{",
            "{}",
            "<html>",
            r#"{"choices":[]}"#,
            r#"{"content":3}"#,
        ] {
            let unreadable = back(pair).answer(body.as_bytes());
            assert_eq!(unreadable, Err(Unreadable::Form), "{pair:?} {body}");
        }
    }
    let bad = json!({"id": "c", "choices": [{"finish_reason": "tool_calls", "message": {"tool_calls": [
        {"id": "c", "function": {"name": "f", "arguments": "oops"}}]}}]});
    let unreadable = back(Pair::MessagesChat).answer(bad.to_string().as_bytes());
    assert_eq!(unreadable, Err(Unreadable::Arguments));
}
