use super::*;
use crate::dialect::Usage;
use bytes::Bytes;

/// A whole stream in one chunk; upstream ends cleanly.
fn stream(dialect: Dialect, text: &str) -> Answer {
    ended(dialect, text, true)
}

fn ended(dialect: Dialect, text: &str, clean: bool) -> Answer {
    let mut filter = StreamFilter::new(dialect, false);
    filter.push(Bytes::from(text.to_owned()));
    filter.end();
    filter.finish(clean)
}

fn plain(dialect: Dialect, body: &str) -> Answer {
    let mut reader = AnswerReader::new(dialect);
    reader.body(body.as_bytes());
    reader.finish(true)
}

fn events(data: &[&str]) -> String {
    data.iter()
        .map(|data| format!("data: {data}\n\n"))
        .collect()
}

fn tokens(answer: &Answer) -> Option<(u64, u64)> {
    let usage = answer.usage.as_ref()?;
    Some((usage.all_input(), usage.all_output()))
}

fn call(id: &str, name: &str) -> (String, String) {
    (id.to_owned(), name.to_owned())
}

const HI: &str = r#"{"id":"c-1","created":5,"model":"gpt-x","service_tier":"flex","choices":[{"index":0,"delta":{"role":"assistant","content":"h\u00e9\n"},"finish_reason":null}],"usage":null}"#;
const STOP: &str = r#"{"id":"c-1","model":"gpt-x","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}"#;
const USAGE: &str = r#"{"id":"c-1","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#;

#[test]
fn chat_usage_comes_after_the_finish_reason_and_before_done() {
    let answer = stream(Dialect::OpenaiChat, &events(&[HI, STOP, USAGE, "[DONE]"]));
    assert_eq!(tokens(&answer), Some((3, 2)));
    assert_eq!(answer.visible_bytes, 4);
    assert_eq!(answer.usage.unwrap().service_tier.as_deref(), Some("flex"));
    assert_eq!(answer.id.as_deref(), Some("c-1"));
    assert_eq!(answer.model.as_deref(), Some("gpt-x"));
    assert_eq!(answer.finish.as_deref(), Some("stop"));
    assert!(answer.complete);
}

#[test]
fn chat_without_done_is_complete_with_usage_or_with_a_clean_end() {
    let with_usage = events(&[HI, STOP, USAGE]);
    assert!(ended(Dialect::OpenaiChat, &with_usage, false).complete);
    let without = events(&[HI, STOP]);
    assert!(ended(Dialect::OpenaiChat, &without, true).complete);
    assert!(!ended(Dialect::OpenaiChat, &without, false).complete);
    assert!(!ended(Dialect::OpenaiChat, &events(&[HI]), true).complete);
}

#[test]
fn usage_of_a_chunk_with_choices_counts_and_the_last_one_wins() {
    let chunk = |tokens: u32, finish: &str| {
        format!(
            r#"{{"choices":[{{"index":0,"delta":{{"content":"a"}},"finish_reason":{finish}}}],"usage":{{"prompt_tokens":9,"completion_tokens":{tokens}}}}}"#
        )
    };
    let text = events(&[&chunk(1, "null"), &chunk(7, "\"stop\"")]);
    assert_eq!(tokens(&stream(Dialect::OpenaiChat, &text)), Some((9, 7)));
    let under_way = ended(Dialect::OpenaiChat, &events(&[&chunk(1, "null")]), false);
    assert!(!under_way.complete);
}

#[test]
fn groq_and_moonshot_put_usage_elsewhere() {
    let groq = r#"{"choices":[{"delta":{},"finish_reason":"stop"}],"x_groq":{"id":"r","usage":{"prompt_tokens":4,"completion_tokens":5}}}"#;
    assert_eq!(
        tokens(&stream(Dialect::OpenaiChat, &events(&[groq]))),
        Some((4, 5))
    );
    let moonshot = r#"{"choices":[{"delta":{},"finish_reason":"stop","usage":{"prompt_tokens":4,"completion_tokens":5}}]}"#;
    assert_eq!(
        tokens(&stream(Dialect::OpenaiChat, &events(&[moonshot]))),
        Some((4, 5))
    );
}

#[test]
fn an_error_in_a_200_is_an_error_and_not_complete() {
    let error = r#"{"error":{"message":"overloaded","type":"server_error","code":null}}"#;
    for text in [events(&[HI, error]), events(&[HI, error, "[DONE]"])] {
        let answer = stream(Dialect::OpenaiChat, &text);
        assert_eq!(answer.error.as_deref(), Some("server_error"));
        assert!(!answer.complete);
    }
    let answer = plain(Dialect::OpenaiChat, error);
    assert_eq!(
        (answer.error.as_deref(), answer.complete),
        (Some("server_error"), false)
    );
    let told = r#"{"choices":[{"delta":{},"finish_reason":"error"}],"error":{"message":"cut"},"usage":{"prompt_tokens":1,"completion_tokens":1}}"#;
    assert!(
        stream(Dialect::OpenaiChat, &events(&[told])).complete,
        "final usage came with it"
    );
}

#[test]
fn each_tool_call_of_a_chat_is_noted_once() {
    let delta = |calls: &str| {
        format!(r#"{{"choices":[{{"delta":{{"tool_calls":[{calls}]}},"index":0}}]}}"#)
    };
    let text = events(&[
        &delta(
            r#"{"index":0,"id":"call_a","type":"function","function":{"name":"look","arguments":""}}"#,
        ),
        &delta(r#"{"index":0,"function":{"arguments":"{\"q\":"}}"#),
        &delta(r#"{"index":0,"id":"call_a","function":{"name":"look","arguments":"1}"}}"#),
        &delta(r#"{"index":1,"id":"call_b","type":"custom","custom":{"name":"run","input":"ls"}}"#),
        &delta(
            r#"{"index":2,"function":{"name":"nameless","arguments":"{}"}},{"index":3,"function":{"name":"other","arguments":"{}"}}"#,
        ),
    ]);
    let answer = stream(Dialect::OpenaiChat, &text);
    let expected = [
        call("call_a", "look"),
        call("call_b", "run"),
        call("", "nameless"),
        call("", "other"),
    ];
    assert_eq!(answer.tool_calls, expected);
    assert_eq!(answer.visible_bytes, 4 + 7 + 3 + 2 + 8 + 2 + 5 + 2);
}

#[test]
fn reasoning_under_two_names_counts_once_and_parts_count_too() {
    let both = r#"{"choices":[{"delta":{"content":"","reasoning":"abcd","reasoning_details":[{"type":"reasoning.text","text":"abcd"}]}}]}"#;
    let parts = r#"{"choices":[{"delta":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"abc"}]},{"type":"text","text":"de"}],"refusal":"no"}}]}"#;
    assert_eq!(
        stream(Dialect::OpenaiChat, &events(&[both])).visible_bytes,
        4
    );
    assert_eq!(
        stream(Dialect::OpenaiChat, &events(&[parts])).visible_bytes,
        7
    );
}

#[test]
fn plain_chat_completions_and_embeddings_are_read_without_a_tree() {
    let chat = r#" {"id":"c","model":"m","service_tier":"default","choices":[{"index":0,"message":{"role":"assistant","content":"yes",
        "tool_calls":[{"id":"t1","type":"function","function":{"name":"f","arguments":"{}"}},{"id":"t2","type":"function","function":{"name":"f","arguments":"{}"}}]},
        "finish_reason":"tool_calls"}],"usage":{"prompt_tokens":1,"completion_tokens":2}} "#;
    let answer = plain(Dialect::OpenaiChat, chat);
    assert!(answer.complete);
    assert_eq!(
        (tokens(&answer), answer.visible_bytes),
        (Some((1, 2)), 3 + 2 * 3)
    );
    assert_eq!(answer.tool_calls, [call("t1", "f"), call("t2", "f")]);

    let text = r#"{"choices":[{"text":"four","index":0,"finish_reason":"length"}],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#;
    let answer = plain(Dialect::OpenaiCompletions, text);
    assert_eq!(
        (answer.visible_bytes, answer.finish.as_deref()),
        (4, Some("length"))
    );

    let vector = "0.0123,".repeat(100_000);
    let embedding = format!(
        r#"{{"data":[{{"embedding":[{vector}0],"index":0}}],"model":"e","usage":{{"prompt_tokens":8,"total_tokens":8}}}}"#
    );
    let answer = plain(Dialect::OpenaiEmbeddings, &embedding);
    assert_eq!(
        (tokens(&answer), answer.visible_bytes, answer.complete),
        (Some((8, 0)), 0, true)
    );
}

#[test]
fn a_truncated_or_foreign_body_is_not_complete_and_counts_in_full() {
    for body in [
        "",
        "<html>",
        r#"{"choices":[{"message":{"content":"ab"#,
        "[]",
        "null",
    ] {
        for dialect in [
            Dialect::OpenaiChat,
            Dialect::OpenaiResponses,
            Dialect::AnthropicMessages,
        ] {
            let answer = plain(dialect, body);
            assert!(!answer.complete, "{body}");
            assert_eq!(answer.usage, None);
            assert_eq!(answer.visible_bytes, body.len() as u64, "{body}");
        }
    }
}

#[test]
fn later_usage_of_messages_wins_member_by_member_and_is_never_added() {
    let text = events(&[
        r#"{"type":"message_start","message":{"id":"msg_1","model":"claude-x","content":[],"usage":{"input_tokens":10,"cache_read_input_tokens":5,"output_tokens":1,"service_tier":"standard"}}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"xxxxxxxx"}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"toolu_1","name":"look","input":{}}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{}"}}"#,
        r#"{"type":"content_block_stop","index":1}"#,
        r#"{"type":"content_block_start","index":2,"content_block":{"type":"server_tool_use","id":"srv_1","name":"web_search","input":{}}}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"input_tokens":12,"cache_read_input_tokens":null,"output_tokens":20}}"#,
        r#"{"type":"message_stop"}"#,
    ]);
    let answer = stream(Dialect::AnthropicMessages, &text);
    assert!(answer.complete);
    let expected = Usage {
        input: 12,
        cache_read: 5,
        output: 20,
        service_tier: Some("standard".to_owned()),
        ..Usage::default()
    };
    assert_eq!(answer.usage, Some(expected));
    assert_eq!(
        answer.tool_calls,
        [call("toolu_1", "look"), call("srv_1", "web_search")]
    );
    assert_eq!(answer.visible_bytes, 2 + 4 + 2 + 10);
    assert_eq!(answer.finish.as_deref(), Some("tool_use"));
}

#[test]
fn messages_tell_their_output_as_they_go_and_errors_are_not_complete() {
    let start =
        r#"{"type":"message_start","message":{"usage":{"input_tokens":10,"output_tokens":1}}}"#;
    let mut filter = StreamFilter::new(Dialect::AnthropicMessages, false);
    filter.push(Bytes::from(events(&[start])));
    assert_eq!(filter.reader().output_tokens_reported(), Some(1));
    let delta =
        r#"{"type":"message_delta","delta":{"stop_reason":null},"usage":{"output_tokens":9}}"#;
    filter.push(Bytes::from(events(&[delta])));
    assert_eq!(filter.reader().output_tokens_reported(), Some(9));
    assert!(!filter.reader().terminal_seen());
    let error = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    filter.push(Bytes::from(format!("event: error\ndata: {error}\n\n")));
    let answer = filter.finish(true);
    assert_eq!(
        (answer.error.as_deref(), answer.complete),
        (Some("overloaded_error"), false)
    );
}

#[test]
fn plain_messages_and_their_errors() {
    let body = r#"{"type":"message","id":"msg_1","model":"claude-x","content":[{"type":"text","text":"hello"},{"type":"tool_use","id":"t","name":"f","input":{"a":1}}],
        "stop_reason":"tool_use","usage":{"input_tokens":3,"output_tokens":4}}"#;
    let answer = plain(Dialect::AnthropicMessages, body);
    assert_eq!(
        (tokens(&answer), answer.visible_bytes, answer.complete),
        (Some((3, 4)), 5 + 1 + 7, true)
    );
    let error = r#"{"type":"error","error":{"type":"api_error","message":"x"}}"#;
    assert!(!plain(Dialect::AnthropicMessages, error).complete);
}

#[test]
fn responses_end_in_three_ways_and_count_what_came_once() {
    let item =
        r#"{"type":"function_call","id":"fc_1","call_id":"call_1","name":"look","arguments":"{}"}"#;
    let hosted = r#"{"type":"web_search_call","id":"ws_1","status":"completed"}"#;
    for (kind, status, finish) in [
        ("completed", r#""status":"completed""#, "completed"),
        (
            "incomplete",
            r#""status":"incomplete","incomplete_details":{"reason":"max_output_tokens"}"#,
            "max_output_tokens",
        ),
        (
            "failed",
            r#""status":"failed","error":{"code":"server_error","message":"x"}"#,
            "failed",
        ),
    ] {
        let text = events(&[
            r#"{"type":"response.created","sequence_number":0,"response":{"id":"resp_1","model":"gpt-x","status":"in_progress","usage":null}}"#,
            &format!(
                r#"{{"type":"response.output_item.added","sequence_number":1,"output_index":0,"item":{item}}}"#
            ),
            r#"{"type":"response.function_call_arguments.delta","sequence_number":2,"delta":"{}","obfuscation":"zzzz"}"#,
            &format!(
                r#"{{"type":"response.output_item.done","sequence_number":3,"output_index":0,"item":{item}}}"#
            ),
            &format!(
                r#"{{"type":"response.{kind}","sequence_number":4,"response":{{"id":"resp_1","service_tier":"priority",{status},"output":[{item},{hosted}],"usage":{{"input_tokens":6,"output_tokens":7}}}}}}"#
            ),
        ]);
        let answer = stream(Dialect::OpenaiResponses, &text);
        assert!(answer.complete, "{kind}");
        assert_eq!(tokens(&answer), Some((6, 7)));
        assert_eq!(answer.visible_bytes, 4 + 2);
        assert_eq!(answer.finish.as_deref(), Some(finish));
        assert_eq!(
            answer.tool_calls,
            [call("call_1", "look"), call("ws_1", "web_search")]
        );
        assert_eq!(answer.error.is_some(), kind == "failed");
        assert_eq!(
            answer.usage.unwrap().service_tier.as_deref(),
            Some("priority")
        );
    }
}

#[test]
fn responses_without_deltas_count_from_the_terminal_event() {
    let text = events(&[
        r#"{"type":"response.completed","response":{"status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"hello"}]}],"usage":null}}"#,
    ]);
    let answer = stream(Dialect::OpenaiResponses, &text);
    assert_eq!(
        (answer.visible_bytes, answer.usage, answer.complete),
        (5, None, true)
    );
}

#[test]
fn a_failed_response_without_usage_and_one_in_the_background_are_not_complete() {
    let failed = events(&[
        r#"{"type":"error","error":{"type":"x","code":"insufficient_quota","message":"m"}}"#,
        r#"{"type":"response.failed","response":{"status":"failed","error":{"code":"insufficient_quota","message":"m"},"usage":null}}"#,
    ]);
    let answer = stream(Dialect::OpenaiResponses, &failed);
    assert_eq!(
        (answer.error.as_deref(), answer.complete),
        (Some("insufficient_quota"), false)
    );
    let queued = r#"{"id":"resp_1","status":"queued","usage":null,"output":[]}"#;
    assert!(!plain(Dialect::OpenaiResponses, queued).complete);
    let done = r#"{"id":"resp_1","status":"completed","output":[],"usage":{"input_tokens":1,"output_tokens":1}}"#;
    assert!(plain(Dialect::OpenaiResponses, done).complete);
}

#[test]
fn what_a_rogue_answer_makes_us_keep_is_bounded() {
    let long = "x".repeat(100_000);
    let calls: String = (0..3000)
        .map(|i| format!(r#"{{"id":"{i}{long}","function":{{"name":"{long}"}}}},"#))
        .take(20)
        .collect();
    let many: String = (0..3000)
        .map(|i| format!(r#"{{"id":"c{i}","function":{{"name":"f"}}}},"#))
        .collect();
    let body = format!(
        r#"{{"id":"{long}","choices":[{{"message":{{"tool_calls":[{calls}{many}null]}}}}]}}"#
    );
    let answer = plain(Dialect::OpenaiChat, &body);
    assert_eq!(answer.id.unwrap().len(), facts::NAME_BYTES_MAX);
    assert_eq!(answer.tool_calls.len(), facts::TOOL_CALLS_MAX);
    assert!(
        answer
            .tool_calls
            .iter()
            .all(|(id, name)| id.len() <= 512 && name.len() <= 512)
    );
}

#[test]
fn deep_nesting_is_no_danger() {
    let deep = "[".repeat(200_000);
    for body in [
        format!(r#"{{"choices":{deep}"#),
        format!(r#"{{"choices":[{{"message":{{"content":{deep}"#),
    ] {
        assert!(!plain(Dialect::OpenaiChat, &body).complete);
    }
}
