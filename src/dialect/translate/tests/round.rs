//! There and back again: what both dialects can say is said the same afterwards.

use super::*;
use proptest::prelude::*;

fn word() -> impl Strategy<Value = String> + Clone {
    prop_oneof![
        "[a-z]{1,12}",
        Just("\"quoted\" \\ \n\ttext \u{1F600}\u{e9}".to_owned()),
        any::<String>().prop_filter("empty texts say nothing", |text| !text.is_empty()),
    ]
}

fn input() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<i32>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
        word().prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,5}", inner, 0..4)
                .prop_map(|members| members.into_iter().collect()),
        ]
    });
    prop::collection::btree_map("[a-z]{1,5}", value, 0..4)
        .prop_map(|members| members.into_iter().collect())
}

fn image() -> impl Strategy<Value = Value> {
    let url = prop_oneof![
        "data:image/(png|jpeg);base64,[A-Za-z0-9+/]{4,20}",
        "https://example\\.com/[a-z]{1,8}\\.png",
    ];
    url.prop_map(|url| json!({"type": "image_url", "image_url": {"url": url}}))
}

fn user() -> impl Strategy<Value = Value> {
    let text = word().prop_map(|text| json!({"type": "text", "text": text}));
    let parts = (
        text.clone(),
        prop::collection::vec(prop_oneof![text, image()], 1..4),
    );
    prop_oneof![
        word().prop_map(|text| json!({"role": "user", "content": text})),
        parts.prop_map(|(first, mut rest)| {
            rest.insert(0, first);
            json!({"role": "user", "content": rest})
        }),
    ]
}

/// An assistant's turn, with the results of what it asked for.
fn turn() -> impl Strategy<Value = Vec<Value>> {
    let calls = prop::collection::vec(
        ("[a-zA-Z0-9_-]{1,20}", "[a-z_]{1,10}", input(), word()),
        0..4,
    );
    (word(), any::<bool>(), calls).prop_map(|(text, silent, calls)| {
        let mut message = json!({"role": "assistant", "content": text});
        let mut turn = Vec::new();
        if !calls.is_empty() {
            if silent {
                message["content"] = Value::Null;
            }
            message["tool_calls"] = calls
                .iter()
                .map(|(id, name, input, _)| {
                    json!({"id": id, "type": "function",
                        "function": {"name": name, "arguments": input.to_string()}})
                })
                .collect();
        }
        turn.push(message);
        turn.extend(calls.iter().map(
            |(id, _, _, result)| json!({"role": "tool", "tool_call_id": id, "content": result}),
        ));
        turn
    })
}

fn chat() -> impl Strategy<Value = Value> {
    let tool = ("[a-z_]{1,10}", word(), input(), any::<bool>()).prop_map(
        |(name, description, schema, strict)| {
            let mut function =
                json!({"name": name, "description": description, "parameters": schema});
            if strict {
                function["strict"] = true.into();
            }
            json!({"type": "function", "function": function})
        },
    );
    let choice = prop_oneof![
        Just(Value::Null),
        Just(json!("auto")),
        Just(json!("none")),
        Just(json!("required")),
        Just(json!({"type": "function", "function": {"name": "look"}})),
    ];
    let knobs = (
        prop::option::of(0_u8..=10),
        prop::option::of(prop::collection::vec(word(), 1..4)),
        prop::option::of("[a-z0-9]{1,12}"),
        prop::option::of(prop_oneof![Just("low"), Just("medium"), Just("high")]),
        prop::option::of(input()),
        any::<bool>(),
    );
    let said = prop::collection::vec((user(), turn()), 1..4);
    (
        prop::option::of(word()),
        said,
        prop::collection::vec(tool, 0..3),
        choice,
        any::<bool>(),
        knobs,
    )
        .prop_map(|(system, said, tools, choice, one, knobs)| {
            let mut messages = Vec::new();
            messages.extend(system.map(|text| json!({"role": "system", "content": text})));
            for (user, turn) in said {
                messages.push(user);
                messages.extend(turn);
            }
            let mut body = json!({"model": "target-1", "max_completion_tokens": 77, "messages": messages});
            let (temperature, stop, user, effort, schema, stream) = knobs;
            let mut set = |name: &str, value: Option<Value>| {
                if let Some(value) = value {
                    body[name] = value;
                }
            };
            set("temperature", temperature.map(|tenths| json!(f64::from(tenths) / 10.0)));
            set("stop", stop.map(Value::from));
            set("user", user.map(Value::from));
            set("reasoning_effort", effort.map(Value::from));
            set("response_format", schema.map(|schema| {
                json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": true}})
            }));
            if stream {
                set("stream", Some(true.into()));
                set("stream_options", Some(json!({"include_usage": true})));
            }
            if !tools.is_empty() {
                let can_be_one = choice.as_str() != Some("none");
                if one && can_be_one {
                    set("parallel_tool_calls", Some(false.into()));
                    set("tool_choice", Some(json!("auto")));
                }
                set("tools", Some(tools.into()));
                set("tool_choice", Some(choice).filter(|choice| !choice.is_null()));
            }
            body
        })
}

/// The same text, whatever escapes it is written with.
fn arguments_as_values(body: &mut Value) {
    for message in body["messages"].as_array_mut().into_iter().flatten() {
        for call in message["tool_calls"].as_array_mut().into_iter().flatten() {
            let arguments = &mut call["function"]["arguments"];
            let text = arguments.as_str().expect("a text").to_owned();
            *arguments = serde_json::from_str(&text).expect("JSON");
        }
        if message["tool_calls"].is_null() {
            message
                .as_object_mut()
                .expect("a message")
                .remove("tool_calls");
        }
    }
}

proptest! {
    #[test]
    fn chat_to_messages_and_back(mut body in chat()) {
        let there = translated(Pair::ChatMessages, &body);
        prop_assert!(there.dropped.is_empty());
        let there: Value = serde_json::from_slice(&there.body).expect("JSON");
        let back = translated(Pair::MessagesChat, &there);
        prop_assert!(back.dropped.is_empty());
        let mut back: Value = serde_json::from_slice(&back.body).expect("JSON");
        arguments_as_values(&mut body);
        arguments_as_values(&mut back);
        prop_assert_eq!(back, body);
    }

    #[test]
    fn a_message_to_chat_and_back(
        text in prop::option::of(word()),
        calls in prop::collection::vec(("[a-z]{1,9}", "[a-z]{1,9}", input()), 0..3),
        counts in prop::collection::vec(0_u32..1_000_000, 5),
    ) {
        let mut content = Vec::new();
        content.extend(text.map(|text| json!({"type": "text", "text": text})));
        content.extend(calls.iter().map(
            |(id, name, input)| json!({"type": "tool_use", "id": id, "name": name, "input": input}),
        ));
        let stop = if calls.is_empty() { "end_turn" } else { "tool_use" };
        let mut message = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m",
            "content": content, "stop_reason": stop, "stop_sequence": null,
            "usage": {"input_tokens": counts[0], "cache_read_input_tokens": counts[1],
                "cache_creation_input_tokens": counts[2], "output_tokens": counts[3]}});
        let thinking = counts[4].min(counts[3]);
        if thinking > 0 {
            message["usage"]["output_tokens_details"] = json!({"thinking_tokens": thinking});
        }
        let chat = answered(Pair::ChatMessages, &message);
        let usage = &chat["usage"];
        prop_assert_eq!(usage["prompt_tokens"].as_u64(), Some(u64::from(counts[0]) + u64::from(counts[1]) + u64::from(counts[2])));
        prop_assert_eq!(answered(Pair::MessagesChat, &chat), message);
    }

    #[test]
    fn no_body_breaks_a_translation(body in input(), which in 0..Pair::ALL.len()) {
        let mut body = body;
        body["model"] = "m".into();
        let drop = names(&["a", "b"]);
        let pair = Pair::ALL[which];
        let _ = request(pair, body.to_string().as_bytes(), &to(&drop, field(pair)));
        let said = ["messages", "input"][usize::from(pair == Pair::ResponsesChat)];
        let mut nested = json!({"model": "m"});
        nested[said] = json!([body]);
        let _ = request(pair, nested.to_string().as_bytes(), &to(&drop, field(pair)));
    }
}
