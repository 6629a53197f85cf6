use super::*;
use crate::dialect::answer::StreamFilter;
use crate::dialect::refusal::{Code, Refusal};
use bytes::Bytes;
use insta::assert_snapshot;

fn cut(dialect: Dialect, seen: &[&str], cut: Cut<'_>) -> String {
    let mut filter = StreamFilter::new(dialect, false);
    let text: String = seen
        .iter()
        .map(|data| format!("data: {data}\n\n"))
        .collect();
    filter.push(Bytes::from(text));
    while filter.pop().is_some() {}
    String::from_utf8(filter.cut(cut).to_vec()).unwrap()
}

const STATED: Cut<'static> = Cut::Length(Some(Stated {
    input: 12,
    output: 34,
}));

fn closed() -> Refusal {
    Refusal::new(Code::TaskClosed, "The task was closed by its owner.")
}

const CHAT: [&str; 3] = [
    r#"{"id":"chatcmpl-1","created":1700000000,"model":"gpt-x","choices":[{"index":0,"delta":{"content":"a"}}]}"#,
    r#"{"id":"chatcmpl-1","choices":[{"index":1,"delta":{"content":"a"}}]}"#,
    r#"{"id":"chatcmpl-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
];

#[test]
fn a_chat_closes_the_choices_that_are_open() {
    assert_snapshot!(
        "chat_two_open",
        cut(Dialect::OpenaiChat, &CHAT[..2], STATED)
    );
    assert_snapshot!("chat_one_open", cut(Dialect::OpenaiChat, &CHAT, STATED));
    let text = r#"{"id":"cmpl-1","created":1700000000,"model":"gpt-x","choices":[{"index":0,"text":"a"}]}"#;
    assert_snapshot!(
        "completions",
        cut(Dialect::OpenaiCompletions, &[text], STATED)
    );
}

#[test]
fn what_has_ended_is_not_ended_again() {
    let done = "[DONE]";
    assert_eq!(cut(Dialect::OpenaiChat, &[CHAT[2], done], STATED), "");
    let usage = r#"{"choices":[],"usage":{"prompt_tokens":1}}"#;
    assert_eq!(
        cut(
            Dialect::OpenaiChat,
            &[CHAT[2], usage],
            Cut::Error(&closed())
        ),
        "data: [DONE]\n\n"
    );
    assert_eq!(
        cut(
            Dialect::AnthropicMessages,
            &[r#"{"type":"message_stop"}"#],
            STATED
        ),
        ""
    );
    let completed = r#"{"type":"response.completed","response":{}}"#;
    assert_eq!(cut(Dialect::OpenaiResponses, &[completed], STATED), "");
}

#[test]
fn a_chat_error_is_a_chunk() {
    assert_snapshot!(
        "chat_error",
        cut(Dialect::OpenaiChat, &CHAT, Cut::Error(&closed()))
    );
}

#[test]
fn messages_close_the_open_block_first() {
    let seen = [
        r#"{"type":"message_start","message":{"id":"msg_1","model":"claude-x","usage":{"input_tokens":5,"output_tokens":1}}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}"#,
    ];
    let messages = Dialect::AnthropicMessages;
    assert_snapshot!("messages_open", cut(messages, &seen, STATED));
    assert_snapshot!(
        "messages_closed",
        cut(messages, &seen[..3], Cut::Length(None))
    );
    assert_snapshot!("messages_unstarted", cut(messages, &[], STATED));
    let delta = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":9}}"#;
    assert_snapshot!("messages_told", cut(messages, &[seen[0], delta], STATED));
    assert_snapshot!(
        "messages_error",
        cut(messages, &seen, Cut::Error(&closed()))
    );
}

#[test]
fn responses_go_on_counting_their_events() {
    let seen = [
        r#"{"type":"response.created","sequence_number":0,"response":{"id":"resp_1","created_at":1700000000,"model":"gpt-x","status":"in_progress"}}"#,
        r#"{"type":"response.output_item.added","sequence_number":1,"output_index":0,"item":{"type":"reasoning","id":"rs_1"}}"#,
        r#"{"type":"response.output_item.added","sequence_number":2,"output_index":1,"item":{"type":"message","id":"msg_1"}}"#,
        r#"{"type":"response.output_text.delta","sequence_number":3,"delta":"a"}"#,
    ];
    let responses = Dialect::OpenaiResponses;
    assert_snapshot!("responses_incomplete", cut(responses, &seen, STATED));
    assert_snapshot!(
        "responses_failed",
        cut(responses, &seen, Cut::Error(&closed()))
    );
    let unstarted = cut(responses, &[], Cut::Length(None));
    assert!(unstarted.starts_with("event: response.created\n"));
    assert!(unstarted.contains("event: response.incomplete\n"));
}

#[test]
fn an_ending_is_read_back_as_one() {
    for (dialect, seen) in [
        (Dialect::OpenaiChat, CHAT[0]),
        (
            Dialect::OpenaiCompletions,
            r#"{"choices":[{"index":0,"text":"a"}]}"#,
        ),
        (
            Dialect::OpenaiResponses,
            r#"{"type":"response.created","response":{"id":"resp_1"}}"#,
        ),
        (
            Dialect::AnthropicMessages,
            r#"{"type":"message_start","message":{"id":"msg_1"}}"#,
        ),
    ] {
        for how in [STATED, Cut::Error(&closed())] {
            let ending = cut(dialect, &[seen], how);
            let mut client = StreamFilter::new(dialect, false);
            client.push(Bytes::from(format!("data: {seen}\n\n{ending}")));
            let answer = client.finish(true);
            let is_error = matches!(how, Cut::Error(_));
            assert_eq!(answer.error.is_some(), is_error, "{ending}");
            assert_eq!(answer.complete, !is_error, "{ending}");
        }
    }
}
