//! Chat callers on Google's models: bodies of our own, and what survives the way there and back.

use super::*;
use proptest::prelude::*;

const PAIR: Pair = Pair::ChatGemini;

#[test]
fn a_conversation_with_everything_leaves_as_contents() {
    let body = json!({
        "model": "m", "max_tokens": 50, "max_completion_tokens": 40, "stream": true,
        "temperature": 1.5, "top_p": 0.9, "seed": 7, "stop": "END", "reasoning_effort": "low",
        "messages": [
            {"role": "system", "content": "Be \"brief\"."},
            {"role": "user", "content": [
                {"type": "text", "text": "What is\nthis?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            ]},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "call_a", "type": "function", "function": {"name": "look", "arguments": "{\"at\": 1}"},
                    "extra_content": {"google": {"thought_signature": "c2ln"}}},
                {"id": "gemini-77", "type": "function", "function": {"name": "stop", "arguments": ""}},
            ]},
            {"role": "tool", "tool_call_id": "call_a", "content": "a picture"},
            {"role": "tool", "tool_call_id": "gemini-77", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "developer", "content": "In French."},
            {"role": "user", "content": "And?"},
        ],
        "tools": [{"type": "function", "function": {"name": "look", "description": "Looks.", "strict": true,
            "parameters": {"type": "object", "properties": {"at": {"type": "integer"}}, "additionalProperties": false}}}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": true, "schema": {"type": "object"}}},
    });
    assert_eq!(
        leaves(PAIR, &body),
        json!({
            "contents": [
                {"role": "user", "parts": [{"text": "What is\nthis?"}, {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]},
                {"role": "model", "parts": [
                    {"functionCall": {"name": "look", "args": {"at": 1}}, "thoughtSignature": "c2ln"},
                    {"functionCall": {"id": "77", "name": "stop", "args": {}}},
                ]},
                {"role": "user", "parts": [
                    {"functionResponse": {"name": "look", "response": {"result": "a picture"}}},
                    {"functionResponse": {"id": "77", "name": "stop", "response": {"result": ["a", "b"]}}},
                ]},
                {"role": "user", "parts": [{"text": "And?"}]},
            ],
            "systemInstruction": {"parts": [{"text": "Be \"brief\"."}, {"text": "In French."}]},
            "tools": [{"functionDeclarations": [{"name": "look", "description": "Looks.", "parametersJsonSchema":
                {"type": "object", "properties": {"at": {"type": "integer"}}, "additionalProperties": false}}]}],
            "toolConfig": {"functionCallingConfig": {"mode": "VALIDATED"}},
            "generationConfig": {"maxOutputTokens": 40, "temperature": 1.5, "topP": 0.9, "seed": 7, "stopSequences": ["END"],
                "responseMimeType": "application/json", "responseJsonSchema": {"type": "object"},
                "thinkingConfig": {"thinkingLevel": "LOW"}},
        })
    );
}

#[test]
fn what_leaves_is_read_as_what_it_is() {
    let body = json!({"model": "m", "max_tokens": 50, "messages": [
        {"role": "user", "content": [
            {"type": "text", "text": "x"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            {"type": "input_audio", "input_audio": {"data": "AAAAAA", "format": "wav"}},
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA"}},
        ]}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"$ref": "#/$defs/a"}}}],
        "response_format": {"type": "json_object"}});
    let body = translated(PAIR, &body).body;
    let call = decode_for(Dialect::Gemini, body.clone(), Some("m")).expect("a call");
    assert_eq!(call.asked_output, Some(50));
    assert_eq!(call.tells("maxOutputTokens"), Some(50));
    let media = &call.prompt.media;
    assert_eq!((media.images, media.audio, media.files), (1, 1, 1));
    assert_eq!(media.payload_bytes, 6 + 8 + 4);
    assert_eq!((call.prompt.tools, call.prompt.schema_refs), (1, 1));
    assert!(call.prompt.structured && call.unlisted.is_empty());
    // A changed cap changes nothing else, and the prompt's digest least of all.
    let edits = |field, tokens| crate::dialect::Edits {
        output_cap: Some((field, tokens)),
        no_tools: true,
        notice: Some("Stop.".to_owned()),
        ..crate::dialect::Edits::default()
    };
    let changed = crate::dialect::rewrite(&call, &edits("maxOutputTokens", 7));
    let again = decode_for(Dialect::Gemini, changed.clone(), Some("m")).expect("a call");
    assert_eq!(again.asked_output, Some(7));
    assert_eq!(again.prompt.messages, 2);
    let changed: Value = serde_json::from_slice(&changed).expect("JSON");
    assert_eq!(
        changed["toolConfig"]["functionCallingConfig"]["mode"],
        "NONE"
    );
    assert_eq!(
        changed["contents"][1],
        json!({"role": "user", "parts": [{"text": "Stop."}]})
    );
    assert_eq!(changed.get("model"), None);
    // Nothing to change: the very same bytes.
    let none = crate::dialect::Edits::default();
    assert_eq!(crate::dialect::rewrite(&call, &none), body);
}

#[test]
fn a_cap_is_put_in_where_none_is() {
    for more in [json!({}), json!({"temperature": 0.5})] {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
        for (name, value) in more.as_object().expect("members") {
            body[name] = value.clone();
        }
        let body = translated(PAIR, &body).body;
        let call = decode_for(Dialect::Gemini, body, Some("m")).expect("a call");
        assert_eq!(call.asked_output, None);
        let edits = crate::dialect::Edits {
            output_cap: Some(("maxOutputTokens", 9)),
            model: Some("other".to_owned()),
            ..crate::dialect::Edits::default()
        };
        let changed: Value =
            serde_json::from_slice(&crate::dialect::rewrite(&call, &edits)).expect("JSON");
        assert_eq!(changed["generationConfig"]["maxOutputTokens"], 9);
        assert_eq!(
            changed["generationConfig"]["temperature"],
            more["temperature"]
        );
        assert_eq!(changed.get("model"), None);
    }
}

#[test]
fn thinking_is_told_as_the_model_takes_it() {
    let config = |model: &str, more: Value| {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
        for (name, value) in more.as_object().expect("members") {
            body[name] = value.clone();
        }
        let to = To {
            model,
            ..to(&[], "maxOutputTokens")
        };
        let translated = request(PAIR, body.to_string().as_bytes(), &to);
        translated.map(|translated| {
            let body: Value = serde_json::from_slice(&translated.body).expect("JSON");
            body["generationConfig"]["thinkingConfig"].clone()
        })
    };
    let effort = |effort: &str| json!({"reasoning_effort": effort});
    for (word, level, budget) in [
        ("none", "MINIMAL", 0),
        ("minimal", "MINIMAL", 1_024),
        ("low", "LOW", 1_024),
        ("medium", "MEDIUM", 8_192),
        ("high", "HIGH", 24_576),
        ("xhigh", "HIGH", 24_576),
    ] {
        let level = json!({"thinkingLevel": level});
        assert_eq!(config("gemini-3-pro-preview", effort(word)), Ok(level));
        let budget = json!({"thinkingBudget": budget});
        assert_eq!(config("gemini-2.5-flash", effort(word)), Ok(budget));
    }
    let own = json!({"thinking": {"type": "enabled", "budget_tokens": 2_000}});
    let shown = json!({"thinkingBudget": 2_000, "includeThoughts": true});
    assert_eq!(config("gemini-3-pro-preview", own.clone()), Ok(shown));
    let off = json!({"thinking": {"type": "disabled"}});
    assert_eq!(
        config("gemini-2.5-flash", off),
        Ok(json!({"thinkingBudget": 0}))
    );
    let mut both = own;
    both["reasoning_effort"] = "low".into();
    let refused = config("gemini-2.5-flash", both).expect_err("two budgets");
    assert!(
        refused.to_string().contains("`reasoning_effort`"),
        "{refused}"
    );
    assert_eq!(config("gemini-2.5-flash", json!({})), Ok(Value::Null));
}

#[test]
fn an_answer_becomes_a_chat_completion() {
    // Indented, as Google writes it.
    let answer = json!({
        "candidates": [{"content": {"role": "model", "parts": [
            {"text": "hm", "thought": true},
            {"text": "One \"and\" "}, {"text": "two.", "thoughtSignature": "dA=="},
            {"functionCall": {"name": "look", "args": {"at": "x y"}}, "thoughtSignature": "c2ln"},
            {"functionCall": {"id": "77", "name": "stop"}},
        ]}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 17, "cachedContentTokenCount": 5, "toolUsePromptTokenCount": 3,
            "candidatesTokenCount": 4, "thoughtsTokenCount": 3, "totalTokenCount": 27},
        "modelVersion": "gemini-x", "responseId": "r-1",
    });
    let pretty = serde_json::to_string_pretty(&answer).expect("JSON");
    let body = back(PAIR).answer(pretty.as_bytes()).expect("an answer");
    let mut given: Value = serde_json::from_slice(&body).expect("JSON");
    assert!(given["created"].take().is_u64());
    let signed = |signature: &str| json!({"google": {"thought_signature": signature}});
    assert_eq!(
        given,
        json!({
            "id": "r-1", "object": "chat.completion", "created": null, "model": "gemini-x",
            "choices": [{"index": 0, "logprobs": null, "finish_reason": "tool_calls", "message": {
                "role": "assistant", "content": "One \"and\" two.", "refusal": null,
                "tool_calls": [
                    {"id": "call_r-1_0", "type": "function", "function": {"name": "look", "arguments": "{\"at\":\"x y\"}"},
                        "extra_content": signed("c2ln")},
                    {"id": "gemini-77", "type": "function", "function": {"name": "stop", "arguments": "{}"}},
                ],
                "reasoning_content": "hm", "extra_content": signed("dA=="),
            }}],
            "usage": {"prompt_tokens": 20, "completion_tokens": 7, "total_tokens": 27,
                "prompt_tokens_details": {"cached_tokens": 5},
                "completion_tokens_details": {"reasoning_tokens": 3}},
        })
    );
    // The reader hears of the same calls under the same ids.
    let mut reader = crate::dialect::answer::AnswerReader::new(Dialect::Gemini);
    reader.body(pretty.as_bytes());
    let read = reader.finish(true);
    let call = |id: &str, name: &str| (id.to_owned(), name.to_owned());
    let calls = [call("call_r-1_0", "look"), call("gemini-77", "stop")];
    assert_eq!(read.tool_calls, calls);
    assert!(read.complete);
}

#[test]
fn reasons_for_stopping_are_told_in_chats_words() {
    for (theirs, ours) in [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("SPII", "content_filter"),
        ("MALFORMED_FUNCTION_CALL", "stop"),
    ] {
        let answer = json!({"candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": theirs}]});
        let reason = &answered(PAIR, &answer)["choices"][0]["finish_reason"];
        assert_eq!(reason, ours, "{theirs}");
    }
    let blocked = json!({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 4, "totalTokenCount": 4}});
    let answer = answered(PAIR, &blocked);
    assert_eq!(answer["choices"][0]["finish_reason"], "content_filter");
    assert_eq!(answer["choices"][0]["message"]["content"], Value::Null);
    assert_eq!(back(PAIR).answer(b"{}"), Err(Unreadable::Form));
}

const STREAM: &str = concat!(
    "data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"hm\",\"thought\": true}],\"role\": \"model\"},\"index\": 0}],\"usageMetadata\": {\"promptTokenCount\": 9,\"totalTokenCount\": 9},\"modelVersion\": \"gemini-x\",\"responseId\": \"r-1\"}\r\n\r\n",
    "data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"One \\u00e9\\n\"}],\"role\": \"model\"},\"index\": 0}],\"usageMetadata\": {\"promptTokenCount\": 9,\"totalTokenCount\": 9},\"modelVersion\": \"gemini-x\",\"responseId\": \"r-1\"}\r\n\r\n",
    "data: {\"candidates\": [{\"content\": {\"parts\": [{\"functionCall\": {\"name\": \"look\",\"args\": {\"at\": 1}},\"thoughtSignature\": \"c2ln\"},{\"functionCall\": {\"name\": \"stop\",\"args\": {}}}],\"role\": \"model\"},\"index\": 0}],\"usageMetadata\": {\"promptTokenCount\": 9,\"totalTokenCount\": 9},\"modelVersion\": \"gemini-x\",\"responseId\": \"r-1\"}\r\n\r\n",
    "data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"\"}],\"role\": \"model\"},\"finishReason\": \"STOP\",\"index\": 0}],\"usageMetadata\": {\"promptTokenCount\": 9,\"candidatesTokenCount\": 6,\"thoughtsTokenCount\": 2,\"totalTokenCount\": 17},\"modelVersion\": \"gemini-x\",\"responseId\": \"r-1\"}\r\n\r\n",
);

#[test]
fn a_stream_becomes_chunks_wherever_it_is_cut() {
    let pass = |sizes: usize| {
        let mut stream = back(PAIR).stream();
        let mut out = Vec::new();
        for piece in STREAM.as_bytes().chunks(sizes) {
            out.extend_from_slice(&stream.push(piece));
        }
        out.extend_from_slice(&stream.end());
        let text = String::from_utf8(out).expect("text");
        let (events, last) = text.rsplit_once("data: [DONE]\n\n").expect("an end");
        assert_eq!(last, "");
        let events = events.split("\n\n").filter(|event| !event.is_empty());
        let events = events.map(|event| {
            let json = event.strip_prefix("data: ").expect("data");
            let mut event: Value = serde_json::from_str(json).expect("JSON");
            assert!(event["created"].take().is_u64());
            assert_eq!(
                (&event["id"], &event["model"]),
                (&json!("r-1"), &json!("gemini-x"))
            );
            event
        });
        events.collect::<Vec<_>>()
    };
    let events = pass(STREAM.len());
    let deltas: Vec<_> = events
        .iter()
        .map(|event| event["choices"][0]["delta"].clone())
        .collect();
    let call = |index: u64, id: &str, name: &str, arguments: &str| json!({"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
    let mut first = call(0, "call_r-1_0", "look", "{\"at\":1}");
    first["extra_content"] = json!({"google": {"thought_signature": "c2ln"}});
    assert_eq!(
        deltas,
        [
            json!({"role": "assistant", "content": ""}),
            json!({"reasoning_content": "hm"}),
            json!({"content": "One é\n"}),
            json!({"tool_calls": [first]}),
            json!({"tool_calls": [call(1, "call_r-1_1", "stop", "{}")]}),
            json!({}),
            Value::Null,
        ]
    );
    assert_eq!(events[5]["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(events[6]["usage"]["completion_tokens"], 8);
    assert_eq!(
        events[6]["usage"]["completion_tokens_details"]["reasoning_tokens"],
        2
    );
    for size in [1, 7, 64] {
        assert_eq!(pass(size), events, "{size}");
    }
}

#[test]
fn errors_say_what_google_calls_them() {
    let limited = r#"{"error": {"code": 429, "message": "Slow down", "status": "RESOURCE_EXHAUSTED", "details": []}}"#;
    let told = json!({"error": {"type": "rate_limit_error", "code": "RESOURCE_EXHAUSTED", "param": null, "message": "Slow down"}});
    let (_, body) = back(PAIR).error(StatusCode::TOO_MANY_REQUESTS, limited.as_bytes());
    assert_eq!(serde_json::from_slice::<Value>(&body).expect("JSON"), told);
    let mut stream = back(PAIR).stream();
    let event = format!("data: {limited}\n\n");
    let out = stream.push(event.as_bytes());
    let out = String::from_utf8_lossy(&out).into_owned();
    let (error, rest) = out.split_once("\n\n").expect("an event");
    assert_eq!(rest, "data: [DONE]\n\n");
    let error = error.strip_prefix("data: ").expect("data");
    assert_eq!(serde_json::from_str::<Value>(error).expect("JSON"), told);
    assert_eq!(stream.end(), "");
}

/// What a request of Gemini's says, as chat says it: the way back that no caller needs.
fn as_chat(body: &Value) -> Value {
    let mut messages = Vec::new();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    for part in list(&body["systemInstruction"]["parts"]) {
        messages.push(json!({"role": "system", "content": part["text"]}));
    }
    for content in list(&body["contents"]) {
        let parts = list(&content["parts"]);
        if content["role"] == "model" {
            let mut message = json!({"role": "assistant"});
            let mut calls = Vec::new();
            for part in parts {
                match part.get("functionCall") {
                    Some(call) => calls
                        .push(json!({"name": call["name"], "arguments": call["args"],
                        "signature": part["thoughtSignature"]})),
                    None => message["content"] = part["text"].clone(),
                }
            }
            if !calls.is_empty() {
                message["tool_calls"] = calls.into();
            }
            messages.push(message);
        } else if parts[0].get("functionResponse").is_some() {
            for part in parts {
                let result = &part["functionResponse"];
                messages.push(json!({"role": "tool", "name": result["name"], "content": result["response"]["result"]}));
            }
        } else {
            let parts = parts.iter().map(|part| match part.get("inlineData") {
                Some(data) => json!({"image": format!("data:{};base64,{}",
                    data["mimeType"].as_str().expect("a type"), data["data"].as_str().expect("data"))}),
                None => part["text"].clone(),
            });
            messages.push(json!({"role": "user", "content": parts.collect::<Vec<_>>()}));
        }
    }
    messages.into()
}

/// A conversation in chat, and what of it both sides can say.
fn conversation() -> impl Strategy<Value = (Value, Value)> {
    let word = "[ -~é\n\t\"\\\\]{1,12}";
    let call = (
        "[a-z]{1,5}",
        prop::collection::btree_map("[a-z]{1,3}", word, 0..3),
        prop::bool::ANY,
        word,
    );
    let turn = (
        word,
        prop::bool::ANY,
        prop::option::of(word),
        prop::collection::vec(call, 0..3),
    );
    let system = prop::option::of(word);
    (system, prop::collection::vec(turn, 1..4)).prop_map(|(system, turns)| {
        let (mut said, mut kept) = (Vec::new(), Vec::new());
        if let Some(system) = system {
            said.push(json!({"role": "system", "content": system}));
            kept.push(said[0].clone());
        }
        let mut number = 0;
        for (user, image, text, calls) in turns {
            let url = "data:image/png;base64,AA+/";
            let mut parts = vec![json!({"type": "text", "text": user})];
            let mut plain = vec![json!(user)];
            if image {
                parts.push(json!({"type": "image_url", "image_url": {"url": url}}));
                plain.push(json!({"image": url}));
            }
            said.push(json!({"role": "user", "content": parts}));
            kept.push(json!({"role": "user", "content": plain}));
            if text.is_none() && calls.is_empty() {
                continue;
            }
            let (mut answer, mut meant) =
                (json!({"role": "assistant"}), json!({"role": "assistant"}));
            if let Some(text) = &text {
                answer["content"] = json!(text);
                meant["content"] = json!(text);
            }
            let (mut asked, mut wanted, mut results, mut given) = (vec![], vec![], vec![], vec![]);
            for (name, arguments, signed, result) in calls {
                number += 1;
                let id = format!("call_{number}");
                let mut one = json!({"id": id, "type": "function",
                    "function": {"name": name, "arguments": json!(arguments).to_string()}});
                let signature = signed.then(|| json!("c2ln"));
                if let Some(signature) = &signature {
                    one["extra_content"] = json!({"google": {"thought_signature": signature}});
                }
                asked.push(one);
                wanted.push(json!({"name": name, "arguments": arguments, "signature": signature}));
                results.push(json!({"role": "tool", "tool_call_id": id, "content": result}));
                given.push(json!({"role": "tool", "name": name, "content": result}));
            }
            if !asked.is_empty() {
                answer["tool_calls"] = asked.into();
                meant["tool_calls"] = wanted.into();
            }
            said.push(answer);
            kept.push(meant);
            said.append(&mut results);
            kept.append(&mut given);
        }
        (json!({"model": "m", "messages": said}), kept.into())
    })
}

proptest! {
    #[test]
    fn chat_to_gemini_and_back((body, kept) in conversation()) {
        let there = translated(PAIR, &body);
        prop_assert!(there.dropped.is_empty());
        let there: Value = serde_json::from_slice(&there.body).expect("JSON");
        prop_assert_eq!(as_chat(&there), kept);
    }

    /// An answer's tool calls go back as they came: the same names, arguments, ids and signatures.
    #[test]
    fn an_answer_given_back_is_the_answer(
        calls in prop::collection::vec(("[a-z]{1,5}", "[a-z]{1,8}", prop::option::of("[a-z0-9]{1,8}"), prop::option::of("[A-Za-z0-9+/]{4}")), 1..4),
    ) {
        let parts: Vec<Value> = calls.iter().map(|(name, value, id, signature)| {
            let mut part = json!({"functionCall": {"name": name, "args": {"a": value}}});
            if let Some(id) = id {
                part["functionCall"]["id"] = json!(id);
            }
            if let Some(signature) = signature {
                part["thoughtSignature"] = json!(signature);
            }
            part
        }).collect();
        let answer = json!({"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}], "responseId": "r"});
        let chat = answered(PAIR, &answer);
        let message = &chat["choices"][0]["message"];
        let ids = message["tool_calls"].as_array().expect("calls").iter().map(|call| call["id"].clone());
        let mut messages = vec![json!({"role": "user", "content": "x"}), message.clone()];
        messages.extend(ids.map(|id| json!({"role": "tool", "tool_call_id": id, "content": "y"})));
        let body = leaves(PAIR, &json!({"model": "m", "messages": messages}));
        prop_assert_eq!(&body["contents"][1]["parts"], &json!(parts));
        for (result, (name, _, id, _)) in body["contents"][2]["parts"].as_array().expect("results").iter().zip(&calls) {
            prop_assert_eq!(&result["functionResponse"]["name"], &json!(name));
            prop_assert_eq!(&result["functionResponse"]["id"], &json!(id));
        }
    }

    #[test]
    fn compacting_keeps_the_value(text in prop::collection::btree_map("[ -~é]{0,6}", "[ -~é\n\"\\\\]{0,12}", 0..4)) {
        let value = json!({"a": text, "b": [1, 2.5, null, true]});
        let pretty = serde_json::to_string_pretty(&value).expect("JSON");
        prop_assert_eq!(crate::dialect::gemini::compact(&pretty), value.to_string());
    }
}
