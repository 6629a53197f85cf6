use super::*;

fn weather(name: &str) -> Value {
    json!({"type": "object", "properties": {name: {"type": "string"}}, "required": [name]})
}

#[test]
fn a_chat_request_becomes_a_messages_request() {
    let body = json!({
        "model": "claude-x", "stream": true, "stream_options": {"include_usage": true},
        "max_completion_tokens": 500, "temperature": 0.3, "top_p": 0.9, "stop": "END",
        "user": "u-1", "reasoning_effort": "medium", "parallel_tool_calls": false,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [
                {"type": "text", "text": "What is \"this\"?\n", "cache_control": {"type": "ephemeral"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "auto"}},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,BBBB"}},
            ]},
            {"role": "assistant", "content": "Looking.", "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{\"at\": 1.50}"}},
                {"id": "call_2", "type": "function", "function": {"name": "look", "arguments": ""}},
            ]},
            {"role": "tool", "tool_call_id": "call_1", "content": "a cat"},
            {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "a dog"}]},
            {"role": "user", "content": "And?"},
        ],
        "tools": [{"type": "function", "function": {"name": "look", "description": "Looks.",
            "parameters": weather("at"), "strict": true}}, {"type": "function", "function": {"name": "stop"}}],
        "tool_choice": {"type": "function", "function": {"name": "look"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": true, "schema": weather("a")}},
    });
    let told = translated(Pair::ChatMessages, &body);
    assert!(told.back.include_usage);
    assert_eq!((told.output_cap, told.dropped.len()), (None, 0));
    assert!(
        String::from_utf8_lossy(&told.body).contains(r#""input":{"at": 1.50}"#),
        "arguments stay as they were written"
    );
    let leaves: Value = serde_json::from_slice(&told.body).expect("JSON");
    assert_eq!(
        leaves,
        json!({
            "model": "target-1", "stream": true, "max_tokens": 500, "temperature": 0.3, "top_p": 0.9,
            "stop_sequences": ["END"], "metadata": {"user_id": "u-1"},
            "system": "Be brief.",
            "messages": [
                {"role": "user", "content": [
                    {"type": "text", "text": "What is \"this\"?\n", "cache_control": {"type": "ephemeral"}},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                    {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
                    {"type": "document", "title": "a.pdf",
                     "source": {"type": "base64", "media_type": "application/pdf", "data": "BBBB"}},
                ]},
                {"role": "assistant", "content": [
                    {"type": "text", "text": "Looking."},
                    {"type": "tool_use", "id": "call_1", "name": "look", "input": {"at": 1.5}},
                    {"type": "tool_use", "id": "call_2", "name": "look", "input": {}},
                ]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "call_1", "content": "a cat"},
                    {"type": "tool_result", "tool_use_id": "call_2", "content": [{"type": "text", "text": "a dog"}]},
                ]},
                {"role": "user", "content": "And?"},
            ],
            "tools": [
                {"name": "look", "description": "Looks.", "input_schema": weather("at"), "strict": true},
                {"name": "stop", "input_schema": {"type": "object", "properties": {}}},
            ],
            "tool_choice": {"type": "tool", "name": "look", "disable_parallel_tool_use": true},
            "output_config": {"effort": "medium", "format": {"type": "json_schema", "schema": weather("a")}},
        })
    );
}

#[test]
fn a_messages_target_is_always_told_an_output_cap() {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    let told = translated(Pair::ChatMessages, &body);
    assert_eq!(told.output_cap, Some(8_192));
    let mut body = body;
    body["thinking"] = json!({"type": "enabled", "budget_tokens": 10_000});
    assert_eq!(
        translated(Pair::ChatMessages, &body).output_cap,
        Some(14_096)
    );
    let leaves = leaves(Pair::ChatMessages, &body);
    assert_eq!(leaves["max_tokens"], 14_096);
    assert_eq!(leaves["thinking"], body["thinking"]);
}

#[test]
fn later_system_messages_join_the_prompt() {
    let body = json!({"model": "m", "messages": [
        {"role": "developer", "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]},
        {"role": "user", "content": "hi"}, {"role": "system", "content": "b"}, {"role": "system", "content": ""},
    ]});
    let leaves = leaves(Pair::ChatMessages, &body);
    assert_eq!(
        leaves["system"],
        json!([
            {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "b"},
        ])
    );
    assert_eq!(
        leaves["messages"],
        json!([{"role": "user", "content": "hi"}])
    );
}

#[test]
fn reasoning_goes_back_with_its_signature_or_not_at_all() {
    let body = json!({"model": "m", "messages": [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "yes", "reasoning_content": "hm", "reasoning_details": [
            {"type": "reasoning.text", "text": "hm", "signature": "s"}, {"type": "reasoning.encrypted", "data": "d"}]},
        {"role": "assistant", "content": "no", "reasoning_content": "hm"},
    ]});
    let told = translated(Pair::ChatMessages, &body);
    assert_eq!(told.dropped, ["thinking_blocks"]);
    let leaves: Value = serde_json::from_slice(&told.body).expect("JSON");
    assert_eq!(
        leaves["messages"][1]["content"],
        json!([
            {"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "redacted_thinking", "data": "d"},
            {"type": "text", "text": "yes"},
        ])
    );
    assert_eq!(leaves["messages"][2]["content"], "no");
}

#[test]
fn a_messages_request_becomes_a_chat_request() {
    let body = json!({
        "model": "gpt-x", "max_tokens": 300, "stream": true, "temperature": 1, "stop_sequences": ["a", "b"],
        "metadata": {"user_id": "u-1"}, "service_tier": "auto",
        "thinking": {"type": "enabled", "budget_tokens": 9_000},
        "output_config": {"format": {"type": "json_schema", "schema": weather("a")}},
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "What?"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA/A"}},
                {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
                {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "BBBB"}},
            ]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "text", "text": "Looking."},
                {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": "\"x\""}},
                {"type": "tool_use", "id": "toolu_2", "name": "look", "input": {}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "a cat"},
                {"type": "tool_result", "tool_use_id": "toolu_2", "is_error": true, "content": [
                    {"type": "text", "text": "gone"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "CC"}},
                ]},
                {"type": "text", "text": "And?"},
            ]},
        ],
        "tools": [{"name": "look", "description": "Looks.", "input_schema": weather("at")}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": true},
    });
    let told = translated(Pair::MessagesChat, &body);
    assert_eq!(told.dropped, ["cache_control", "thinking_blocks"]);
    let leaves: Value = serde_json::from_slice(&told.body).expect("JSON");
    assert_eq!(
        leaves,
        json!({
            "model": "target-1", "max_completion_tokens": 300, "stream": true, "temperature": 1, "stop": ["a", "b"],
            "stream_options": {"include_usage": true}, "user": "u-1", "service_tier": "auto",
            "reasoning_effort": "medium", "parallel_tool_calls": false, "tool_choice": "required",
            "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "strict": true, "schema": weather("a")}},
            "tools": [{"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": weather("at")}}],
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [
                    {"type": "text", "text": "What?"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA/A"}},
                    {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                    {"type": "file", "file": {"filename": "document.pdf", "file_data": "data:application/pdf;base64,BBBB"}},
                ]},
                {"role": "assistant", "content": "Looking.", "tool_calls": [
                    {"id": "toolu_1", "type": "function", "function": {"name": "look", "arguments": "{\"at\":\"\\\"x\\\"\"}"}},
                    {"id": "toolu_2", "type": "function", "function": {"name": "look", "arguments": "{}"}},
                ]},
                {"role": "tool", "tool_call_id": "toolu_1", "content": "a cat"},
                {"role": "tool", "tool_call_id": "toolu_2", "content": "Error: gone"},
                {"role": "user", "content": [
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,CC"}},
                    {"type": "text", "text": "And?"},
                ]},
            ],
        })
    );
}

#[test]
fn a_responses_request_becomes_a_chat_request() {
    let body = json!({
        "model": "m", "instructions": "Be brief.", "max_output_tokens": 300, "stream": true, "store": false,
        "reasoning": {"effort": "low"}, "parallel_tool_calls": true, "truncation": "disabled",
        "include": ["reasoning.encrypted_content"], "metadata": {"user_task_id": "t"},
        "text": {"verbosity": "low", "format": {"type": "json_schema", "name": "x", "schema": weather("a"), "strict": true}},
        "tools": [{"type": "function", "name": "look", "parameters": weather("at"), "strict": true}],
        "tool_choice": {"type": "function", "name": "look"},
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "What?"},
                {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "low"}]},
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "message", "role": "assistant", "id": "msg_1", "content": [{"type": "output_text", "text": "Looking."}]},
            {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{\"at\":1}"},
            {"type": "function_call", "call_id": "call_2", "name": "look", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_1", "output": "a cat"},
            {"type": "function_call_output", "call_id": "call_2", "output": [{"type": "input_text", "text": "a dog"}]},
            {"role": "developer", "content": "Go on."},
        ],
    });
    let told = translated(Pair::ResponsesChat, &body);
    assert_eq!(told.dropped, ["include", "reasoning_items"]);
    let leaves: Value = serde_json::from_slice(&told.body).expect("JSON");
    assert_eq!(
        leaves,
        json!({
            "model": "target-1", "max_completion_tokens": 300, "stream": true, "stream_options": {"include_usage": true},
            "reasoning_effort": "low", "verbosity": "low", "parallel_tool_calls": true,
            "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": weather("a"), "strict": true}},
            "tools": [{"type": "function", "function": {"name": "look", "parameters": weather("at"), "strict": true}}],
            "tool_choice": {"type": "function", "function": {"name": "look"}},
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "What?"},
                    {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}}]},
                {"role": "assistant", "content": "Looking.", "tool_calls": [
                    {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{\"at\":1}"}},
                    {"id": "call_2", "type": "function", "function": {"name": "look", "arguments": "{}"}},
                ]},
                {"role": "tool", "tool_call_id": "call_1", "content": "a cat"},
                {"role": "tool", "tool_call_id": "call_2", "content": "a dog"},
                {"role": "system", "content": "Go on."},
            ],
        })
    );
}

#[test]
fn what_goes_without_saying_is_no_reason_to_refuse() {
    let body = json!({"model": "m", "max_tokens": 9, "n": 1, "logprobs": false, "store": false,
        "frequency_penalty": 0, "presence_penalty": 0.0, "logit_bias": {}, "seed": null, "modalities": ["text"],
        "tools": [], "tool_choice": "auto", "parallel_tool_calls": true, "response_format": {"type": "text"},
        "messages": [{"role": "assistant", "content": "x", "tool_calls": [], "refusal": null, "annotations": []}]});
    let told = translated(Pair::ChatMessages, &body);
    assert!(told.dropped.is_empty(), "{:?}", told.dropped);
    let leaves: Value = serde_json::from_slice(&told.body).expect("JSON");
    assert_eq!(
        leaves,
        json!({"model": "target-1", "max_tokens": 9,
        "messages": [{"role": "assistant", "content": "x"}]})
    );
}

#[test]
fn what_cannot_be_left_out_is_refused_whatever_is_set() {
    let chat = |message: Value| json!({"model": "m", "messages": [message]});
    let call = |arguments: &str| {
        chat(json!({"role": "assistant", "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}]}))
    };
    for (body, name) in [
        (call("not JSON"), "tool_calls.function.arguments"),
        (call("[1]"), "tool_calls.function.arguments"),
        (call("{} {}"), "tool_calls.function.arguments"),
        (
            chat(json!({"role": "function", "name": "f", "content": "x"})),
            "messages.function",
        ),
        (
            chat(json!({"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]})),
            "file.file_id",
        ),
    ] {
        let error = translated_with(Pair::ChatMessages, &body, &[name]).expect_err("refused");
        assert!(
            matches!(&error, Unfit::Needed { name: told, .. } if told == name),
            "{error}"
        );
        assert!(!error.to_string().contains("drop"), "{error}");
    }
}

#[test]
fn ids_that_the_target_refuses_are_made_to_fit_in_both_places() {
    let body = json!({"model": "m", "messages": [
        {"role": "assistant", "tool_calls": [
            {"id": "functions.look:0", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "functions.look:0", "content": "x"}]});
    let leaves = leaves(Pair::ChatMessages, &body);
    assert_eq!(
        leaves["messages"][0]["content"][0]["id"],
        "functions_look_0"
    );
    assert_eq!(
        leaves["messages"][1]["content"][0]["tool_use_id"],
        "functions_look_0"
    );
}

#[test]
fn a_refusal_names_what_and_the_way_out() {
    let body = json!({"model": "m", "seed": 1, "messages": [{"role": "user", "content": "x"}]});
    let told = refused(Pair::ChatMessages, &body);
    assert_eq!(
        told,
        "`seed` cannot be carried from openai-chat to anthropic-messages. The provider's `drop` setting leaves out what it names."
    );
    let told = translated_with(Pair::ChatMessages, &body, &["seed"]).expect("dropped");
    assert_eq!(told.dropped, ["seed"]);
}

/// What a body as written is told.
fn told(pair: Pair, body: &str) -> Option<String> {
    let unfit = request(pair, body.as_bytes(), &to(&[], field(pair))).err();
    unfit.map(|unfit| unfit.to_string())
}

#[test]
fn what_stands_twice_deep_inside_is_refused_by_name() {
    let twice = |name: &str| {
        Some(format!(
            "`{name}` stands twice in one object, and a call that is translated cannot say which is meant."
        ))
    };
    let url = r#"{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://a/","url":"https://b/"}}]}]}"#;
    assert_eq!(told(Pair::ChatMessages, url), twice("url"));
    let function = r#"{"model":"m","messages":[{"role":"user","content":"x"}],"tools":[{"type":"function","function":{"name":"a","description":"x","description":"y"}}]}"#;
    assert_eq!(told(Pair::ChatMessages, function), twice("description"));
    let format = r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"}],"output_config":{"format":{"type":"json_schema","schema":{},"schema":{}}}}"#;
    assert_eq!(told(Pair::MessagesChat, format), twice("schema"));
    // Written otherwise, it is the same name still.
    let effort = r#"{"model":"m","input":"x","text":{"verbosity":"low","\u0076erbosity":"high"}}"#;
    assert_eq!(told(Pair::ResponsesChat, effort), twice("verbosity"));
}

#[test]
fn what_is_carried_as_it_stands_may_say_things_twice() {
    let input = r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"},{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"look","input":{"at":1,"at":2}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":"y"}]}]}"#;
    assert_eq!(told(Pair::MessagesChat, input), None);
    let schema = r#"{"model":"m","messages":[{"role":"user","content":"x"}],"tools":[{"type":"function","function":{"name":"a","parameters":{"type":"object","type":"object"}}}]}"#;
    assert_eq!(told(Pair::ChatMessages, schema), None);
}

#[test]
fn a_name_among_many_is_found() {
    let members: Vec<String> = (0..5_000).map(|n| format!("\"k{n}\":\"\"")).collect();
    let body = |members: &str| {
        format!(
            r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}],"metadata":{{{members}}}}}"#
        )
    };
    let once = body(&members.join(","));
    assert_eq!(super::super::twice::twice(once.as_bytes()), None);
    let again = body(&format!("{},\"k17\":\"\"", members.join(",")));
    let found = super::super::twice::twice(again.as_bytes());
    assert_eq!(found.as_deref(), Some("k17"));
}
