use super::*;
use proptest::prelude::*;

/// The events of a stream: names where it has them, data as JSON.
pub(super) fn events(text: &[u8]) -> Vec<(String, Value)> {
    let text = std::str::from_utf8(text).expect("text");
    assert!(
        text.is_empty() || text.ends_with("\n\n"),
        "whole events: {text:?}"
    );
    let blocks = text
        .split("\n\n")
        .filter(|block| !block.is_empty() && !block.starts_with(':'));
    blocks
        .map(|block| {
            let event = crate::sse::Event::parse(block.as_bytes());
            let name = event
                .name
                .map_or("", |name| std::str::from_utf8(name).expect("a name"));
            let data = event.data.expect("data");
            let data = match &*data {
                b"[DONE]" => json!("[DONE]"),
                data => {
                    serde_json::from_slice(data).unwrap_or_else(|error| panic!("{error}: {block}"))
                }
            };
            (name.to_owned(), data)
        })
        .collect()
}

pub(super) fn translate(pair: Pair, stream: &str) -> Vec<(String, Value)> {
    let mut translating = back(pair).stream();
    let mut out = translating.push(stream.as_bytes()).to_vec();
    out.extend_from_slice(&translating.end());
    events(&out)
}

const MESSAGES: &str = concat!(
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-x\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":10,\"cache_read_input_tokens\":4,\"output_tokens\":1}}}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"hm\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"signature_delta\",\"signature\":\"s\"}}\n\n",
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
    "event: ping\ndata: {\"type\":\"ping\"}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"text_delta\",\"text\":\"One \\u00e9\\n\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"text_delta\",\"text\":\"two\"}}\n\n",
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":1}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":2,\"content_block\":{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"look\",\"input\":{}}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":2,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"at\\\":\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":2,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"1}\"}}\n\n",
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":2}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":3,\"content_block\":{\"type\":\"tool_use\",\"id\":\"toolu_2\",\"name\":\"stop\",\"input\":{}}}\n\n",
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":3}\n\n",
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":9}}\n\n",
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
);

const CHAT: &str = concat!(
    "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":5,\"model\":\"gpt-x\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null},\"finish_reason\":null}],\"usage\":null}\n\n",
    "data: {\"id\":\"chatcmpl-1\",\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"hm\"},\"finish_reason\":null}],\"usage\":null}\n\n",
    "data: {\"id\":\"chatcmpl-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"One \\u00e9\\n\"},\"finish_reason\":null}],\"usage\":null}\n\n",
    "data: {\"id\":\"chatcmpl-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"two\"},\"finish_reason\":null}],\"usage\":null}\n\n",
    "data: {\"id\":\"chatcmpl-1\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"call_1\",\"type\":\"function\",\"function\":{\"name\":\"look\",\"arguments\":\"\"}}]},\"finish_reason\":null}]}\n\n",
    "data: {\"id\":\"chatcmpl-1\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\\\"at\\\":1}\"}}]},\"finish_reason\":null}]}\n\n",
    "data: {\"id\":\"chatcmpl-1\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":1,\"id\":\"call_2\",\"type\":\"function\",\"function\":{\"name\":\"stop\",\"arguments\":\"{}\"}}]},\"finish_reason\":null}]}\n\n",
    "data: {\"id\":\"chatcmpl-1\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}],\"usage\":null}\n\n",
    "data: {\"id\":\"chatcmpl-1\",\"choices\":[],\"usage\":{\"prompt_tokens\":14,\"completion_tokens\":9,\"total_tokens\":23,\"prompt_tokens_details\":{\"cached_tokens\":4}}}\n\n",
    "data: [DONE]\n\n",
);

#[test]
fn a_messages_stream_becomes_chat_chunks() {
    let told = translate(Pair::ChatMessages, MESSAGES);
    assert!(told.iter().all(|(name, _)| name.is_empty()));
    assert_eq!(told.last().expect("an end").1, "[DONE]");
    let chunks: Vec<_> = told[..told.len() - 1]
        .iter()
        .map(|(_, data)| data)
        .collect();
    assert!(chunks.iter().all(|chunk| chunk["id"] == "msg_1"
        && chunk["model"] == "claude-x"
        && chunk["object"] == "chat.completion.chunk"
        && chunk["created"].is_u64()));
    let deltas: Vec<_> = chunks
        .iter()
        .map(|chunk| chunk["choices"][0]["delta"].clone())
        .collect();
    assert_eq!(
        deltas,
        [
            json!({"role": "assistant", "content": ""}),
            json!({"reasoning_content": "hm", "reasoning_details": [{"type": "reasoning.text", "text": "hm", "index": 0}]}),
            json!({"reasoning_details": [{"type": "reasoning.text", "signature": "s", "index": 0}]}),
            json!({"content": "One \u{e9}\n"}),
            json!({"content": "two"}),
            json!({"tool_calls": [{"index": 0, "id": "toolu_1", "type": "function", "function": {"name": "look", "arguments": ""}}]}),
            json!({"tool_calls": [{"index": 0, "function": {"arguments": "{\"at\":"}}]}),
            json!({"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]}),
            json!({"tool_calls": [{"index": 1, "id": "toolu_2", "type": "function", "function": {"name": "stop", "arguments": ""}}]}),
            json!({"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]}),
            json!({}),
            json!(null),
        ]
    );
    assert_eq!(chunks[10]["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(chunks[11]["choices"], json!([]));
    assert_eq!(chunks[11]["usage"]["prompt_tokens"], 14);
    assert_eq!(chunks[11]["usage"]["completion_tokens"], 9);
    assert_eq!(
        chunks[11]["usage"]["prompt_tokens_details"]["cached_tokens"],
        4
    );
}

#[test]
fn usage_that_nobody_asked_for_is_not_told() {
    let unasked = Back {
        include_usage: false,
        ..back(Pair::ChatMessages)
    };
    let out = unasked.stream().push(MESSAGES.as_bytes());
    assert!(!String::from_utf8_lossy(&out).contains("usage"));
}

#[test]
fn chat_chunks_become_a_messages_stream() {
    let told = translate(Pair::MessagesChat, CHAT);
    assert!(told.iter().all(|(name, data)| data["type"] == **name));
    let rest: Vec<_> = told.iter().map(|(_, data)| data.clone()).collect();
    let delta = |index: u64, kind: &str, member: &str, text: &str| json!({"type": "content_block_delta", "index": index, "delta": {"type": kind, member: text}});
    let stop = |index: u64| json!({"type": "content_block_stop", "index": index});
    let start = |index: u64, block: Value| json!({"type": "content_block_start", "index": index, "content_block": block});
    assert_eq!(
        rest,
        [
            json!({"type": "message_start", "message": {"id": "chatcmpl-1", "type": "message", "role": "assistant",
            "model": "gpt-x", "content": [], "stop_reason": null, "stop_sequence": null,
            "usage": {"input_tokens": 0, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 0}}}),
            start(
                0,
                json!({"type": "thinking", "thinking": "", "signature": ""})
            ),
            delta(0, "thinking_delta", "thinking", "hm"),
            stop(0),
            start(1, json!({"type": "text", "text": ""})),
            delta(1, "text_delta", "text", "One \u{e9}\n"),
            delta(1, "text_delta", "text", "two"),
            stop(1),
            start(
                2,
                json!({"type": "tool_use", "id": "call_1", "name": "look", "input": {}})
            ),
            delta(2, "input_json_delta", "partial_json", "{\"at\":1}"),
            stop(2),
            start(
                3,
                json!({"type": "tool_use", "id": "call_2", "name": "stop", "input": {}})
            ),
            delta(3, "input_json_delta", "partial_json", "{}"),
            stop(3),
            json!({"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": null},
            "usage": {"input_tokens": 10, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 4, "output_tokens": 9}}),
            json!({"type": "message_stop"}),
        ]
    );
}

#[test]
fn chat_chunks_become_a_responses_stream() {
    let told = translate(Pair::ResponsesChat, CHAT);
    assert!(told.iter().all(|(name, data)| data["type"] == **name));
    let numbers: Vec<_> = told
        .iter()
        .map(|(_, data)| data["sequence_number"].as_u64())
        .collect();
    assert!(
        numbers
            .iter()
            .enumerate()
            .all(|(at, number)| *number == Some(at as u64))
    );
    let kinds: Vec<_> = told
        .iter()
        .map(|(name, _)| name.trim_start_matches("response."))
        .collect();
    assert_eq!(
        kinds,
        [
            "created",
            "in_progress",
            "output_item.added",
            "reasoning_text.delta",
            "reasoning_text.done",
            "output_item.done",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
            "completed",
        ]
    );
    let response = &told.last().expect("an end").1["response"];
    assert_eq!(response["status"], "completed");
    assert_eq!(
        response["usage"]["input_tokens_details"]["cached_tokens"],
        4
    );
    let output = response["output"].as_array().expect("output");
    assert_eq!(output.len(), 4);
    assert_eq!(output[0]["content"][0]["text"], "hm");
    assert_eq!(output[1]["content"][0]["text"], "One \u{e9}\ntwo");
    assert_eq!(output[2]["arguments"], "{\"at\":1}");
    assert_eq!(output[3]["call_id"], "call_2");
    let done: Vec<_> = told
        .iter()
        .filter(|(name, _)| name == "response.output_item.done")
        .collect();
    for (item, (_, event)) in output.iter().zip(done) {
        assert_eq!(*item, event["item"], "the last event repeats what was told");
    }
}

#[test]
fn an_error_ends_a_stream_in_the_callers_dialect() {
    let overloaded = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
    let told = translate(Pair::ChatMessages, overloaded);
    assert_eq!(told.len(), 2);
    assert_eq!(told[0].1["error"]["type"], "server_error");
    assert_eq!(told[0].1["error"]["message"], "Overloaded");
    let cut = "data: {\"error\":{\"type\":\"insufficient_quota\",\"code\":\"turns_exceeded\",\"param\":null,\"message\":\"No.\",\"bursar\":{\"limit\":\"t\"}}}\n\ndata: [DONE]\n\n";
    let told = translate(Pair::MessagesChat, cut);
    assert_eq!(
        told,
        [(
            "error".to_owned(),
            json!({"type": "error", "error": {"type": "billing_error",
        "message": "No.", "code": "turns_exceeded", "bursar": {"limit": "t"}}})
        )]
    );
    let told = translate(Pair::ResponsesChat, cut);
    assert_eq!(told[0].0, "response.failed");
    assert_eq!(told[0].1["response"]["error"]["code"], "turns_exceeded");
}

#[test]
fn what_is_no_event_of_the_dialect_ends_the_stream_with_an_error() {
    for pair in Pair::ALL {
        let told = translate(pair, "data: {oops\n\ndata: [DONE]\n\n");
        let error = told[0].1.to_string();
        assert!(error.contains("upstream_error"), "{pair:?}: {error}");
    }
    let mixed = CHAT.replace(
        "\"index\":0,\"function\":{\"arguments\":\"{",
        "\"index\":7,\"function\":{\"arguments\":\"{",
    );
    let told = translate(Pair::MessagesChat, &mixed);
    assert_eq!(told.last().expect("an end").0, "error");
}

#[test]
fn a_stream_that_breaks_off_is_not_made_whole() {
    let half = &MESSAGES[..MESSAGES.find("event: message_delta").expect("a delta")];
    let told = translate(Pair::ChatMessages, half);
    assert!(
        told.iter()
            .all(|(_, data)| *data != "[DONE]" && data["choices"][0]["finish_reason"].is_null())
    );
    let half = &CHAT[..CHAT
        .find("\"finish_reason\":\"tool_calls\"")
        .expect("a finish")];
    let half = &half[..half.rfind("data: ").expect("an event")];
    let told = translate(Pair::MessagesChat, half);
    assert_ne!(told.last().expect("events").0, "message_stop");
}

#[test]
fn a_server_without_a_last_word_has_ended_all_the_same() {
    let undone = CHAT.strip_suffix("data: [DONE]\n\n").expect("an end");
    assert_eq!(
        translate(Pair::MessagesChat, undone),
        translate(Pair::MessagesChat, CHAT)
    );
    let told = translate(Pair::ResponsesChat, undone);
    assert_eq!(told.last().expect("an end").0, "response.completed");
}

#[test]
fn an_event_without_end_is_not_kept() {
    let mut stream = back(Pair::ChatMessages).stream();
    let chunk = vec![b'x'; 1024 * 1024];
    let mut out = stream.push(b"data: ").to_vec();
    for _ in 0..20 {
        out.extend_from_slice(&stream.push(&chunk));
    }
    assert!(stream.partial.is_empty());
    assert!(String::from_utf8_lossy(&out).contains("too long"));
}

proptest! {
    #[test]
    fn any_chunking_says_the_same(cuts in prop::collection::vec(1_usize..400, 1..40), lines in 0..3_usize, which in 0..3_usize) {
        let pair = Pair::ALL[which];
        let stream = if pair == Pair::ChatMessages { MESSAGES } else { CHAT };
        let stream = stream.replace('\n', ["\n", "\r\n", "\r"][lines]);
        let mut translating = back(pair).stream();
        let (mut rest, mut out) = (stream.as_bytes(), Vec::new());
        for cut in cuts.iter().cycle() {
            let (chunk, more) = rest.split_at(rest.len().min(*cut));
            out.extend_from_slice(&translating.push(chunk));
            rest = more;
            if rest.is_empty() {
                break;
            }
        }
        out.extend_from_slice(&translating.end());
        let mut whole = events(&out);
        let mut expected = translate(pair, &stream);
        for (_, data) in whole.iter_mut().chain(&mut expected) {
            if data.is_object() {
                data["created"] = Value::Null;
            }
        }
        prop_assert_eq!(whole, expected);
    }

    #[test]
    fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..400), which in 0..Pair::ALL.len()) {
        let mut stream = back(Pair::ALL[which]).stream();
        let mut text = b"data: ".to_vec();
        text.extend_from_slice(&bytes);
        text.extend_from_slice(b"\n\n");
        let mut out = stream.push(&text).to_vec();
        out.extend_from_slice(&stream.end());
        events(&out);
        let _ = back(Pair::ALL[which]).answer(&bytes);
        let _ = back(Pair::ALL[which]).error(StatusCode::BAD_GATEWAY, &bytes);
    }
}
