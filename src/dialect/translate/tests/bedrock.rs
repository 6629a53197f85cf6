//! Chat callers on Amazon Bedrock: bodies as they leave and come back, and round trips.

use super::round::{arguments_as_values, chat, input, word};
use super::streams::translate;
use super::*;
use proptest::prelude::*;

const PAIR: Pair = Pair::ChatBedrock;
const IMAGE: &str = "data:image/png;base64,AAAA";
const SHORT: &str = r#"{"cachePoint":{"type":"default"}}"#;

fn point(ttl: Option<&str>) -> Value {
    let mut point: Value = serde_json::from_str(SHORT).expect("JSON");
    if let Some(ttl) = ttl {
        point["cachePoint"]["ttl"] = json!(ttl);
    }
    point
}

#[test]
fn a_chat_request_becomes_a_converse_request() {
    let schema = json!({"type": "object", "properties": {"at": {"type": "string"}}});
    let mark = json!({"type": "ephemeral"});
    let body = json!({
        "model": "m", "stream": true, "stream_options": {"include_usage": true},
        "max_completion_tokens": 500, "temperature": 0.3, "top_p": 0.9, "stop": "END",
        "user": "u-1", "thinking": {"type": "enabled", "budget_tokens": 1024}, "service_tier": "auto",
        "messages": [
            {"role": "developer", "content": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]},
            {"role": "user", "content": [
                {"type": "text", "text": "What is \"this\"?\n", "cache_control": mark},
                {"type": "image_url", "image_url": {"url": IMAGE, "detail": "auto"}},
                {"type": "file", "file": {"filename": "my  plan_v1.pdf", "file_data": "data:application/pdf;base64,BBBB"}},
            ]},
            {"role": "user", "content": "Well?"},
            {"role": "assistant", "content": "Looking.", "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{\"at\": 1.50}"}},
                {"id": "call_2", "type": "function", "function": {"name": "look", "arguments": ""}},
            ], "reasoning_details": [{"type": "reasoning.text", "text": "hm", "signature": "s"},
                {"type": "reasoning.encrypted", "data": "ZA=="}]},
            {"role": "tool", "tool_call_id": "call_1", "content": "a cat", "cache_control": mark},
            {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "a dog"},
                {"type": "image_url", "image_url": {"url": IMAGE}}]},
            {"role": "user", "content": "And?"},
        ],
        "tools": [{"type": "function", "function": {"name": "look", "description": "Looks.",
            "parameters": schema, "strict": true}},
            {"type": "function", "cache_control": mark, "function": {"name": "stop", "description": ""}}],
        "tool_choice": {"type": "function", "function": {"name": "look"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": true, "schema": schema}},
    });
    let told = translated(PAIR, &body);
    assert!(told.back.include_usage);
    assert_eq!((told.output_cap, told.dropped.len()), (None, 0));
    let text = String::from_utf8_lossy(&told.body);
    assert!(
        text.contains(r#""input":{"at": 1.50}"#),
        "as written: {text}"
    );
    let image = json!({"image": {"format": "png", "source": {"bytes": "AAAA"}}});
    let leaves: Value = serde_json::from_slice(&told.body).expect("JSON");
    let expected = json!({
        "system": [{"text": "Be brief."}, point(Some("1h"))],
        "messages": [
            {"role": "user", "content": [
                {"text": "What is \"this\"?\n"}, point(None), image,
                {"document": {"format": "pdf", "name": "my plan-v1-pdf", "source": {"bytes": "BBBB"}}},
                {"text": "Well?"},
            ]},
            {"role": "assistant", "content": [
                {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}},
                {"reasoningContent": {"redactedContent": "ZA=="}},
                {"text": "Looking."},
                {"toolUse": {"toolUseId": "call_1", "name": "look", "input": {"at": 1.5}}},
                {"toolUse": {"toolUseId": "call_2", "name": "look", "input": {}}},
            ]},
            {"role": "user", "content": [
                {"toolResult": {"toolUseId": "call_1", "content": [{"text": "a cat"}]}}, point(None),
                {"toolResult": {"toolUseId": "call_2", "content": [{"text": "a dog"}, image]}},
                {"text": "And?"},
            ]},
        ],
        "inferenceConfig": {"maxTokens": 500, "temperature": 0.3, "topP": 0.9, "stopSequences": ["END"]},
        "toolConfig": {
            "tools": [
                {"toolSpec": {"name": "look", "description": "Looks.", "strict": true, "inputSchema": {"json": schema}}},
                {"toolSpec": {"name": "stop", "inputSchema": {"json": {"type": "object", "properties": {}}}}},
                point(None),
            ],
            "toolChoice": {"tool": {"name": "look"}},
        },
        "outputConfig": {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {
            "schema": schema.to_string(), "name": "x"}}}},
        "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        "requestMetadata": {"user": "u-1"},
    });
    assert_eq!(leaves, expected);
}

#[test]
fn what_leaves_is_bounded_by_what_stands_in_it() {
    let body = json!({"model": "m", "tools": [{"type": "function", "function": {"name": "f"}}],
    "messages": [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": IMAGE}},
            {"type": "file", "file": {"file_data": "data:text/csv;base64,AAAA"}}]},
        {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
            {"type": "image_url", "image_url": {"url": IMAGE}}]},
    ]});
    let told = translated(PAIR, &body);
    assert_eq!(told.output_cap, Some(8_192), "an unnamed cap is told");
    let call = decode_for(Dialect::Bedrock, told.body.clone(), Some("m")).expect("it decodes");
    assert_eq!(
        (call.asked_output, call.tells("maxTokens")),
        (Some(8_192), Some(8_192))
    );
    let media = &call.prompt.media;
    assert_eq!((media.images, media.files, media.unknown), (2, 1, 0));
    assert_eq!((media.remote_images, media.payload_bytes), (0, 3 * 6));
    assert_eq!((call.prompt.tools, call.prompt.messages), (1, 3));
    assert!(call.selectors.cache_write_5m && call.selectors.cache_write_1h);
    assert!(call.prompt.hosted_tools.is_empty() && call.unlisted.is_empty());
    let answered: Vec<_> = call.answered_tools().collect();
    assert_eq!(answered, ["c"]);
    // A number told takes the place of the one that stands there, and what is said stands in the last turn.
    let edits = crate::dialect::Edits {
        output_cap: Some(("maxTokens", 300)),
        model: Some("other".to_owned()),
        notice: Some("Hand back.".to_owned()),
        no_parallel_tools: true,
        ..Default::default()
    };
    let left: Value =
        serde_json::from_slice(&crate::dialect::rewrite(&call, &edits)).expect("JSON");
    assert_eq!(left["inferenceConfig"]["maxTokens"], 300);
    assert_eq!(left["model"], Value::Null);
    let last = left["messages"][2]["content"].as_array().expect("blocks");
    assert_eq!(last.last(), Some(&json!({"text": "Hand back."})));
    assert_eq!(left["messages"].as_array().map(Vec::len), Some(3));
}

#[test]
fn a_cache_mark_that_moves_on_leaves_what_was_said_the_same() {
    let marked = |at: usize| {
        let mark = json!({"type": "ephemeral"});
        let said = |text: &str, here: usize| {
            let mut part = json!({"type": "text", "text": text});
            if here == at {
                part["cache_control"] = mark.clone();
            }
            json!({"role": "user", "content": [part]})
        };
        let body = json!({"model": "m", "max_tokens": 9, "messages": [said("one", 0),
            {"role": "assistant", "content": "two"}, said("three", 1)]});
        let told = translated(PAIR, &body).body;
        let call = decode_for(Dialect::Bedrock, told, Some("m")).expect("it decodes");
        assert!(call.selectors.cache_write_5m);
        let digests: Vec<_> = call.chain.links.iter().map(|link| link.digest).collect();
        digests
    };
    assert_eq!(marked(0), marked(1));
}

#[test]
fn tools_that_must_not_be_used_are_not_declared() {
    let body = json!({"model": "m", "max_tokens": 9, "tool_choice": "none",
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [{"type": "function", "function": {"name": "f"}}]});
    assert_eq!(leaves(PAIR, &body)["toolConfig"], Value::Null);
    let hot = json!({"model": "m", "max_tokens": 9, "temperature": 1.5,
        "messages": [{"role": "user", "content": "hi"}]});
    assert!(
        refused(PAIR, &hot).contains("`temperature` cannot be carried from openai-chat to bedrock")
    );
}

#[test]
fn a_converse_answer_becomes_a_chat_completion() {
    let body = json!({
        "output": {"message": {"role": "assistant", "content": [
            {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}},
            {"reasoningContent": {"redactedContent": "ZA=="}},
            {"text": "One \"and\" "}, {"text": "two."},
            {"toolUse": {"toolUseId": "tooluse_1", "name": "look", "input": {"at": "x"}}},
            {"toolUse": {"toolUseId": "tooluse_2", "name": "stop", "input": {}}},
        ]}},
        "stopReason": "tool_use", "metrics": {"latencyMs": 5},
        "usage": {"inputTokens": 10, "cacheReadInputTokens": 5, "cacheWriteInputTokens": 2, "outputTokens": 7, "totalTokens": 24},
    });
    let told = translated(
        PAIR,
        &json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]}),
    );
    let answer = told
        .back
        .answer(body.to_string().as_bytes())
        .expect("an answer");
    let mut answer: Value = serde_json::from_slice(&answer).expect("JSON");
    assert!(answer["created"].take().is_u64());
    let id = answer["id"].take();
    assert!(id.as_str().is_some_and(|id| id.starts_with("chatcmpl-")));
    assert_eq!(
        answer,
        json!({
            "id": null, "object": "chat.completion", "created": null, "model": "target-1",
            "choices": [{"index": 0, "logprobs": null, "finish_reason": "tool_calls", "message": {
                "role": "assistant", "content": "One \"and\" two.", "refusal": null,
                "tool_calls": [
                    {"id": "tooluse_1", "type": "function", "function": {"name": "look", "arguments": "{\"at\":\"x\"}"}},
                    {"id": "tooluse_2", "type": "function", "function": {"name": "stop", "arguments": "{}"}},
                ],
                "reasoning_content": "hm",
                "reasoning_details": [{"type": "reasoning.text", "text": "hm", "signature": "s"},
                    {"type": "reasoning.encrypted", "data": "ZA=="}],
            }}],
            "usage": {"prompt_tokens": 17, "completion_tokens": 7, "total_tokens": 24,
                "prompt_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 2},
                "completion_tokens_details": {"reasoning_tokens": 0}},
        })
    );
    for (theirs, ours) in [
        ("end_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("guardrail_intervened", "content_filter"),
        ("content_filtered", "content_filter"),
        ("malformed_tool_use", "stop"),
    ] {
        let mut body = body.clone();
        body["stopReason"] = json!(theirs);
        assert_eq!(answered(PAIR, &body)["choices"][0]["finish_reason"], ours);
    }
    assert!(back(PAIR).answer(b"{\"message\":\"oops\"}").is_err());
}

const STREAM: &str = concat!(
    "data: {\"messageStart\":{\"role\":\"assistant\",\"p\":\"ab\"}}\n\n",
    "data: {\"contentBlockDelta\":{\"contentBlockIndex\":0,\"delta\":{\"reasoningContent\":{\"text\":\"hm\"}}}}\n\n",
    "data: {\"contentBlockDelta\":{\"contentBlockIndex\":0,\"delta\":{\"reasoningContent\":{\"signature\":\"s\"}}}}\n\n",
    "data: {\"contentBlockStop\":{\"contentBlockIndex\":0}}\n\n",
    "data: {\"contentBlockDelta\":{\"contentBlockIndex\":1,\"delta\":{\"reasoningContent\":{\"redactedContent\":\"ZA==\"}}}}\n\n",
    "data: {\"contentBlockStop\":{\"contentBlockIndex\":1}}\n\n",
    "data: {\"contentBlockDelta\":{\"contentBlockIndex\":2,\"delta\":{\"text\":\"One \\u00e9\\n\"}}}\n\n",
    "data: {\"contentBlockDelta\":{\"contentBlockIndex\":2,\"delta\":{\"text\":\"two\"}}}\n\n",
    "data: {\"contentBlockStop\":{\"contentBlockIndex\":2}}\n\n",
    "data: {\"contentBlockStart\":{\"contentBlockIndex\":3,\"start\":{\"toolUse\":{\"toolUseId\":\"tooluse_1\",\"name\":\"look\"}}}}\n\n",
    "data: {\"contentBlockDelta\":{\"contentBlockIndex\":3,\"delta\":{\"toolUse\":{\"input\":\"{\\\"at\\\":\"}}}}\n\n",
    "data: {\"contentBlockDelta\":{\"contentBlockIndex\":3,\"delta\":{\"toolUse\":{\"input\":\"1}\"}}}}\n\n",
    "data: {\"contentBlockStop\":{\"contentBlockIndex\":3}}\n\n",
    "data: {\"contentBlockStart\":{\"contentBlockIndex\":4,\"start\":{\"toolUse\":{\"toolUseId\":\"tooluse_2\",\"name\":\"stop\"}}}}\n\n",
    "data: {\"contentBlockStop\":{\"contentBlockIndex\":4}}\n\n",
    "data: {\"messageStop\":{\"stopReason\":\"tool_use\"}}\n\n",
    "data: {\"metadata\":{\"usage\":{\"inputTokens\":10,\"outputTokens\":9,\"totalTokens\":23,\"cacheReadInputTokens\":4},\"metrics\":{\"latencyMs\":9}}}\n\n",
);

#[test]
fn a_converse_stream_becomes_chat_chunks() {
    let told = translate(PAIR, STREAM);
    let chunks: Vec<_> = told.iter().map(|(_, data)| data.clone()).collect();
    let deltas: Vec<_> = chunks[..12]
        .iter()
        .map(|chunk| chunk["choices"][0]["delta"].clone())
        .collect();
    let call = |at: u64, id: &str, name: &str| json!({"tool_calls": [{"index": at, "id": id, "type": "function", "function": {"name": name, "arguments": ""}}]});
    let more = |at: u64, text: &str| json!({"tool_calls": [{"index": at, "function": {"arguments": text}}]});
    assert_eq!(
        deltas,
        [
            json!({"role": "assistant", "content": ""}),
            json!({"reasoning_content": "hm", "reasoning_details": [{"type": "reasoning.text", "text": "hm", "index": 0}]}),
            json!({"reasoning_details": [{"type": "reasoning.text", "signature": "s", "index": 0}]}),
            json!({"reasoning_details": [{"type": "reasoning.encrypted", "data": "ZA==", "index": 1}]}),
            json!({"content": "One \u{e9}\n"}),
            json!({"content": "two"}),
            call(0, "tooluse_1", "look"),
            more(0, "{\"at\":"),
            more(0, "1}"),
            call(1, "tooluse_2", "stop"),
            more(1, "{}"),
            json!({}),
        ]
    );
    assert_eq!(chunks[11]["choices"][0]["finish_reason"], "tool_calls");
    let usage = &chunks[12]["usage"];
    assert_eq!(
        (&usage["prompt_tokens"], &usage["completion_tokens"]),
        (&json!(14), &json!(9))
    );
    assert_eq!(chunks[13], "[DONE]");
    assert_eq!(chunks.len(), 14);
}

#[test]
fn a_stream_without_its_last_event_is_not_made_whole() {
    let half = &STREAM[..STREAM.find("data: {\"messageStop").expect("an end")];
    let told = translate(PAIR, half);
    assert!(told.iter().all(|(_, data)| *data != "[DONE]"));
    let exception =
        "data: {\"error\":{\"type\":\"throttlingException\",\"message\":\"Too fast.\"}}\n\n";
    let told = translate(PAIR, &format!("{half}{exception}"));
    let (_, error) = &told[told.len() - 2];
    assert_eq!(error["error"]["type"], "rate_limit_error");
    assert_eq!(error["error"]["message"], "Too fast.");
    let error =
        |kind: &str| format!("data: {{\"error\":{{\"type\":\"{kind}\",\"message\":\"x\"}}}}\n\n");
    let told = translate(PAIR, &error("modelStreamErrorException"));
    assert_eq!(told[0].1["error"]["type"], "server_error");
}

#[test]
fn errors_of_the_service_for_openais_clients() {
    for (status, kind) in [
        (400, "invalid_request_error"),
        (403, "permission_error"),
        (404, "invalid_request_error"),
        (424, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "server_error"),
        (503, "server_error"),
    ] {
        let status = StatusCode::from_u16(status).expect("a status");
        let (told, body) = back(PAIR).error(status, b"{\"message\":\"The text field is blank.\"}");
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(told, status);
        assert_eq!(body["error"]["type"], kind);
        assert_eq!(body["error"]["message"], "The text field is blank.");
    }
}

/// What a Converse request says, as a chat request: the test's own reading, block by block.
fn read_back(there: &Value) -> Value {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |block: &Value| json!({"type": "text", "text": block["text"]});
    let said = |blocks: &[Value]| -> Value {
        if let [only] = blocks
            && only["text"].is_string()
        {
            return only["text"].clone();
        }
        let part = |block: &Value| match &block["image"] {
            Value::Null => text(block),
            image => {
                let (format, data) = (&image["format"], &image["source"]["bytes"]);
                let url = format!(
                    "data:image/{};base64,{}",
                    format.as_str().expect("a format"),
                    data.as_str().expect("bytes")
                );
                json!({"type": "image_url", "image_url": {"url": url}})
            }
        };
        blocks.iter().map(part).collect()
    };
    let mut messages = Vec::new();
    if let [only] = list(&there["system"]).as_slice() {
        messages.push(json!({"role": "system", "content": only["text"]}));
    }
    for message in list(&there["messages"]) {
        let blocks = list(&message["content"]);
        if message["role"] == "assistant" {
            let calls: Vec<Value> = blocks
                .iter()
                .filter(|block| block["toolUse"].is_object())
                .map(|block| {
                    let call = &block["toolUse"];
                    json!({"id": call["toolUseId"], "type": "function",
                    "function": {"name": call["name"], "arguments": call["input"].to_string()}})
                })
                .collect();
            let texts: Vec<&Value> = blocks
                .iter()
                .filter(|block| block["text"].is_string())
                .collect();
            let content = texts
                .first()
                .map_or(Value::Null, |block| block["text"].clone());
            let mut said = json!({"role": "assistant", "content": content});
            if !calls.is_empty() {
                said["tool_calls"] = calls.into();
            }
            messages.push(said);
            continue;
        }
        let (results, rest): (Vec<Value>, Vec<Value>) = blocks
            .into_iter()
            .partition(|block| block["toolResult"].is_object());
        for result in results {
            let result = &result["toolResult"];
            messages.push(json!({"role": "tool", "tool_call_id": result["toolUseId"],
                "content": said(&list(&result["content"]))}));
        }
        if !rest.is_empty() {
            messages.push(json!({"role": "user", "content": said(&rest)}));
        }
    }
    let inference = &there["inferenceConfig"];
    let mut back = json!({"max_completion_tokens": inference["maxTokens"], "messages": messages});
    let mut set = |name: &str, value: Value| {
        if !value.is_null() {
            back[name] = value;
        }
    };
    set("temperature", inference["temperature"].clone());
    set("stop", inference["stopSequences"].clone());
    set("user", there["requestMetadata"]["user"].clone());
    let tools = list(&there["toolConfig"]["tools"]).into_iter().map(|tool| {
        let spec = &tool["toolSpec"];
        let mut function = json!({"name": spec["name"], "description": spec["description"], "parameters": spec["inputSchema"]["json"]});
        if spec["strict"] == true {
            function["strict"] = true.into();
        }
        json!({"type": "function", "function": function})
    });
    let tools: Vec<Value> = tools.collect();
    if !tools.is_empty() {
        set("tools", tools.into());
    }
    let choice = &there["toolConfig"]["toolChoice"];
    let chosen = match choice.as_object().and_then(|choice| choice.keys().next()) {
        None => Value::Null,
        Some(word) if word == "any" => json!("required"),
        Some(word) if word == "tool" => {
            json!({"type": "function", "function": {"name": choice["tool"]["name"]}})
        }
        Some(word) => json!(word),
    };
    set("tool_choice", chosen);
    let form = &there["outputConfig"]["textFormat"]["structure"]["jsonSchema"];
    if let Some(schema) = form["schema"].as_str() {
        let schema: Value = serde_json::from_str(schema).expect("a schema");
        set(
            "response_format",
            json!({"type": "json_schema", "json_schema": {"name": form["name"], "schema": schema}}),
        );
    }
    back
}

/// What both can say of a chat request.
fn sayable(body: &mut Value) {
    let members = body.as_object_mut().expect("an object");
    for name in [
        "model",
        "stream",
        "stream_options",
        "parallel_tool_calls",
        "reasoning_effort",
    ] {
        members.remove(name);
    }
    if members.get("tool_choice") == Some(&json!("none")) {
        members.remove("tool_choice");
    }
    if let Some(form) = body["response_format"]["json_schema"].as_object_mut() {
        form.remove("strict");
    } else if let Some(members) = body.as_object_mut() {
        members.remove("response_format");
    }
    for message in body["messages"].as_array_mut().expect("messages") {
        let Some(parts) = message["content"].as_array_mut() else {
            continue;
        };
        parts.retain(|part| {
            let url = part["image_url"]["url"].as_str().unwrap_or("data:");
            url.starts_with("data:")
        });
        if let [only] = parts.as_slice()
            && only["type"] == "text"
        {
            message["content"] = only["text"].clone();
        }
    }
}

proptest! {
    #[test]
    fn chat_to_converse_and_back(mut body in chat()) {
        sayable(&mut body);
        body["model"] = "m".into();
        let there = translated(PAIR, &body);
        prop_assert!(there.dropped.is_empty());
        let there: Value = serde_json::from_slice(&there.body).expect("JSON");
        let turns = there["messages"].as_array().expect("messages");
        prop_assert!(turns.windows(2).all(|two| two[0]["role"] != two[1]["role"]), "turns alternate");
        let mut back = read_back(&there);
        back["model"] = "m".into();
        arguments_as_values(&mut body);
        arguments_as_values(&mut back);
        prop_assert_eq!(back, body);
    }

    #[test]
    fn an_answer_says_the_same_in_chat(
        text in prop::option::of(word()),
        calls in prop::collection::vec(("[a-z]{1,9}", "[a-z]{1,9}", input()), 0..3),
        counts in prop::collection::vec(0_u32..1_000_000, 4),
    ) {
        let mut content = Vec::new();
        content.extend(text.clone().map(|text| json!({"text": text})));
        content.extend(calls.iter().map(|(id, name, input)| json!({"toolUse": {"toolUseId": id, "name": name, "input": input}})));
        let answer = json!({"output": {"message": {"role": "assistant", "content": content}}, "stopReason": "end_turn",
            "usage": {"inputTokens": counts[0], "cacheReadInputTokens": counts[1], "cacheWriteInputTokens": counts[2], "outputTokens": counts[3]}});
        let chat = answered(PAIR, &answer);
        let message = &chat["choices"][0]["message"];
        prop_assert_eq!(message["content"].as_str(), text.as_deref());
        let told: Vec<_> = message["tool_calls"].as_array().into_iter().flatten().map(|call| {
            let arguments: Value = serde_json::from_str(call["function"]["arguments"].as_str().expect("a text")).expect("JSON");
            (call["id"].as_str().expect("an id").to_owned(), call["function"]["name"].as_str().expect("a name").to_owned(), arguments)
        }).collect();
        prop_assert_eq!(told, calls);
        let input: u64 = counts[..3].iter().map(|count| u64::from(*count)).sum();
        prop_assert_eq!(chat["usage"]["prompt_tokens"].as_u64(), Some(input));
        prop_assert_eq!(chat["usage"]["completion_tokens"].as_u64(), Some(u64::from(counts[3])));
    }

    #[test]
    fn any_chunking_says_the_same(cuts in prop::collection::vec(1_usize..400, 1..40)) {
        let mut translating = back(PAIR).stream();
        let (mut rest, mut out) = (STREAM.as_bytes(), Vec::new());
        for cut in cuts.iter().cycle() {
            let (chunk, more) = rest.split_at(rest.len().min(*cut));
            out.extend_from_slice(&translating.push(chunk));
            rest = more;
            if rest.is_empty() {
                break;
            }
        }
        out.extend_from_slice(&translating.end());
        let mut whole = super::streams::events(&out);
        let mut expected = translate(PAIR, STREAM);
        for (_, data) in whole.iter_mut().chain(&mut expected) {
            if data.is_object() {
                data["created"] = Value::Null;
            }
        }
        prop_assert_eq!(whole, expected);
    }
}
