use super::*;
use crate::dialect::answer::{AnswerReader, StreamFilter};
use crate::dialect::{decode, decode_for};
use bytes::Bytes;
use serde_json::{Value, json};

fn search_schema() -> Value {
    json!({"type": "object", "properties": {"query": {"type": "string"}, "count": {"type": "integer"}},
        "required": ["query"], "additionalProperties": false})
}

fn declare(dialect: Dialect, body: Value) -> Option<Arc<Declared>> {
    let call = decode_for(dialect, Bytes::from(body.to_string()), Some("m")).unwrap();
    Forms::default().of(&call)
}

/// A chat request with these tools.
fn chat(tools: Value) -> Option<Arc<Declared>> {
    let body = json!({"model": "m", "messages": [], "tools": tools});
    declare(Dialect::OpenaiChat, body)
}

fn function(name: &str, schema: &Value) -> Value {
    json!({"type": "function", "function": {"name": name, "parameters": schema}})
}

/// A plain chat answer that makes one tool call.
fn called(declared: &Declared, name: &str, arguments: &str) -> Verdict {
    let call =
        json!({"id": "c1", "type": "function", "function": {"name": name, "arguments": arguments}});
    let choice = json!({"index": 0, "finish_reason": "tool_calls",
        "message": {"content": null, "tool_calls": [call]}});
    read(declared, Dialect::OpenaiChat, &json!({"choices": [choice]}))
}

fn read(declared: &Declared, dialect: Dialect, body: &Value) -> Verdict {
    let mut reader = AnswerReader::new(dialect);
    reader.keep(declared.keep());
    reader.body(body.to_string().as_bytes());
    let answer = reader.finish(true);
    declared.check(&answer.given.unwrap(), answer.finish.as_deref())
}

fn streamed(declared: &Declared, dialect: Dialect, events: &[Value]) -> Verdict {
    let mut filter = StreamFilter::new(dialect, false).keeping(declared.keep());
    for event in events {
        let name = event["type"].as_str().unwrap_or("message");
        filter.push(Bytes::from(format!("event: {name}\ndata: {event}\n\n")));
    }
    filter.end();
    let answer = filter.finish(true);
    declared.check(&answer.given.unwrap(), answer.finish.as_deref())
}

fn breaks(tool: &str, keyword: &str) -> Verdict {
    Verdict::Bad(Fault::Breaks(Some(tool.to_owned()), keyword.to_owned()))
}

#[test]
fn arguments_are_checked_against_their_schema() {
    let declared = chat(json!([function("search", &search_schema())])).unwrap();
    let check = |arguments| called(&declared, "search", arguments);
    assert_eq!(check(r#"{"query":"a \"b\" é","count":2}"#), Verdict::Good);
    assert_eq!(check(r#"{"count":2}"#), breaks("search", "required"));
    assert_eq!(check(""), breaks("search", "required"));
    assert_eq!(check(r#"{"query":["a"]}"#), breaks("search", "type"));
    let more = r#"{"query":"a","nonsense":1}"#;
    assert_eq!(check(more), breaks("search", "additionalProperties"));
    let torn = Verdict::Bad(Fault::NotJson(Some("search".to_owned())));
    assert_eq!(check(r#"{"query":"a"#), torn);
    let undeclared = Verdict::Bad(Fault::Undeclared("seek".to_owned()));
    assert_eq!(called(&declared, "seek", "{}"), undeclared);
}

#[test]
fn what_most_tools_take_is_not_malformed() {
    let optional = json!({"type": "object", "properties":
        {"n": {"anyOf": [{"type": "integer"}, {"type": "null"}]}, "s": {"type": "string"}, "b": {"type": ["boolean", "null"]}}});
    let declared = chat(json!([function("f", &optional)])).unwrap();
    for fine in [
        r#"{"n":"5"}"#,
        r#"{"n":null}"#,
        r#"{"s":5}"#,
        r#"{"b":"True"}"#,
        "{}",
    ] {
        assert_eq!(called(&declared, "f", fine), Verdict::Good, "{fine}");
    }
    assert_eq!(
        called(&declared, "f", r#"{"n":"five"}"#),
        breaks("f", "anyOf")
    );
    assert_eq!(
        called(&declared, "f", r#"{"b":"maybe"}"#),
        breaks("f", "type")
    );
}

#[test]
fn an_answer_cut_short_is_not_judged() {
    let declared = chat(json!([function("search", &search_schema())])).unwrap();
    let call = json!({"function": {"name": "search", "arguments": "{\"que"}});
    let body = json!({"choices": [{"finish_reason": "length", "message": {"tool_calls": [call]}}]});
    assert_eq!(
        read(&declared, Dialect::OpenaiChat, &body),
        Verdict::Unknown
    );
}

#[test]
fn a_request_without_forms_declares_nothing() {
    let plain =
        json!({"model": "m", "messages": [], "response_format": {"type": "text"}, "tools": []});
    assert!(declare(Dialect::OpenaiChat, plain).is_none());
    let text = json!({"model": "m", "input": "x", "text": {"verbosity": "low"}});
    assert!(declare(Dialect::OpenaiResponses, text).is_none());
    let both = json!({"model": "m", "messages": [], "tools": [function("f", &json!({}))],
        "functions": [{"name": "g"}]});
    assert!(declare(Dialect::OpenaiChat, both).is_none());
}

#[test]
fn the_same_declaration_is_shared() {
    let forms = Forms::default();
    let call = |text: &str| {
        let body = json!({"model": "m", "messages": [{"role": "user", "content": text}],
            "tools": [function("f", &search_schema())]});
        decode(Dialect::OpenaiChat, Bytes::from(body.to_string())).unwrap()
    };
    let (one, other) = (forms.of(&call("a")).unwrap(), forms.of(&call("b")).unwrap());
    assert!(Arc::ptr_eq(&one, &other));
}

#[test]
fn memory_is_bounded() {
    let forms = Forms::default();
    for number in 0..2_000 {
        let filler = "x".repeat(20_000);
        let body = json!({"model": "m", "messages": [],
            "tools": [function(&format!("f{number}"), &json!({"description": filler}))]});
        let call = decode(Dialect::OpenaiChat, Bytes::from(body.to_string())).unwrap();
        assert!(forms.of(&call).is_some());
    }
    assert!(forms.0.weight() <= REMEMBERED_BYTES_MAX);
    let large = json!({"description": "x".repeat(DECLARED_BYTES_MAX)});
    assert!(chat(json!([function("f", &large)])).is_none());
}

#[test]
fn schemas_that_name_others_elsewhere_are_not_checked() {
    for schema in [
        json!({"$ref": "https://example.com/schema.json"}),
        json!({"properties": {"a": {"$ref": "other.json#/x"}}, "required": ["a"]}),
        json!({"$id": "https://example.com/a", "properties": {"a": {"$id": "b", "type": "string"}}, "required": ["b"]}),
        json!({"type": "object", "properties": {"a": {"type": "string", "nullable": true}}, "required": ["b"]}),
        json!({"type": 7}),
    ] {
        let declared = chat(json!([function("f", &schema)])).unwrap();
        assert_eq!(
            called(&declared, "f", r#"{"a":5}"#),
            Verdict::Good,
            "{schema}"
        );
    }
}

#[test]
fn references_within_a_schema_are_followed() {
    let schema = json!({"type": "object", "properties": {"node": {"$ref": "#/$defs/Node"}}, "required": ["node"],
        "$defs": {"Node": {"type": "object", "properties": {"name": {"type": "string"},
            "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}}}, "required": ["name"]}}});
    let declared = chat(json!([function("f", &schema)])).unwrap();
    let fine = r#"{"node":{"name":"a","children":[{"name":"b"}]}}"#;
    assert_eq!(called(&declared, "f", fine), Verdict::Good);
    let bad = r#"{"node":{"name":"a","children":[{"name":"b","children":[{}]}]}}"#;
    assert_eq!(called(&declared, "f", bad), breaks("f", "required"));
}

#[test]
fn schemas_that_would_take_too_long_are_not_checked() {
    // Each level of the value is met twice by each branch.
    let twice = json!({"$ref": "#/$defs/T", "$defs": {"T": {"anyOf": [
        {"type": "array", "items": {"$ref": "#/$defs/T"}, "maxItems": 0},
        {"type": "array", "items": {"$ref": "#/$defs/T"}, "minItems": 9}]}}});
    let declared = chat(json!([function("f", &twice)])).unwrap();
    let deep = format!("{}{}", "[".repeat(60), "]".repeat(60));
    assert_eq!(called(&declared, "f", &deep), Verdict::Good);
    assert_eq!(called(&declared, "f", "[[]]"), breaks("f", "anyOf"));
    // Two to the power of forty schemas.
    let mut defs = serde_json::Map::new();
    for n in 0..40 {
        let next = json!({"$ref": format!("#/$defs/D{}", n + 1)});
        defs.insert(format!("D{n}"), json!({"allOf": [next, next]}));
    }
    defs.insert("D40".to_owned(), json!({"type": "string"}));
    let wide = json!({"$ref": "#/$defs/D0", "$defs": defs});
    let declared = chat(json!([function("f", &wide)])).unwrap();
    assert_eq!(called(&declared, "f", "5"), Verdict::Good);
    // A pattern that other engines take years for.
    let slow =
        json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}});
    let declared = chat(json!([function("f", &slow)])).unwrap();
    let long = format!("{{\"a\":\"{}!\"}}", "a".repeat(50_000));
    assert_eq!(called(&declared, "f", &long), breaks("f", "pattern"));
}

#[test]
fn chat_streams_come_in_pieces() {
    let declared = chat(json!([function("search", &search_schema())])).unwrap();
    let delta = |call: Value| json!({"choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": null}]});
    let stream = |pieces: &[&str]| {
        let mut events = vec![
            delta(json!({"index": 0, "id": "c1", "function": {"name": "search", "arguments": ""}})),
            delta(
                json!({"index": 1, "id": "c2", "function": {"name": "search", "arguments": "{\"query\":\"b\"}"}}),
            ),
        ];
        events.extend(
            pieces
                .iter()
                .map(|piece| delta(json!({"index": 0, "function": {"arguments": piece}}))),
        );
        events.push(json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}));
        streamed(&declared, Dialect::OpenaiChat, &events)
    };
    assert_eq!(
        stream(&["{\"que", "ry\":\"é\\", "ud83d\\ude00\"", "}"]),
        Verdict::Good
    );
    assert_eq!(stream(&["{\"count", "\":1}"]), breaks("search", "required"));
}

#[test]
fn messages_plain_and_streamed() {
    let tools = json!([
        {"name": "search", "input_schema": search_schema()},
        {"type": "bash_20250124", "name": "bash"}, {"type": "web_search_20250305", "name": "web_search"}]);
    let body = json!({"model": "m", "max_tokens": 9, "messages": [], "tools": tools});
    let declared = declare(Dialect::AnthropicMessages, body).unwrap();
    let plain = |name: &str, input: Value| {
        let body = json!({"type": "message", "stop_reason": "tool_use", "content": [
            {"type": "text", "text": "well"},
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"q": 1}},
            {"type": "tool_use", "id": "t", "name": name, "input": input}]});
        read(&declared, Dialect::AnthropicMessages, &body)
    };
    assert_eq!(plain("search", json!({"query": "a"})), Verdict::Good);
    assert_eq!(plain("bash", json!({"anything": 1})), Verdict::Good);
    assert_eq!(plain("search", json!({})), breaks("search", "required"));
    assert!(matches!(
        plain("grep", json!({})),
        Verdict::Bad(Fault::Undeclared(_))
    ));
    let stream = |pieces: &[&str]| {
        let mut events = vec![
            json!({"type": "message_start", "message": {"id": "m", "content": []}}),
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}}),
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": "nonsense"}}),
            json!({"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "t", "name": "search", "input": {}}}),
        ];
        events.extend(pieces.iter().map(|piece| {
            json!({"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": piece}})
        }));
        events.push(json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}}));
        events.push(json!({"type": "message_stop"}));
        streamed(&declared, Dialect::AnthropicMessages, &events)
    };
    assert_eq!(stream(&["", "{\"query\":", "\"a\"}"]), Verdict::Good);
    assert_eq!(stream(&["{\"count\":", "1}"]), breaks("search", "required"));
    assert_eq!(stream(&[]), breaks("search", "required"));
}

#[test]
fn responses_plain_and_streamed() {
    let tools = json!([{"type": "function", "name": "search", "parameters": search_schema()},
        {"type": "custom", "name": "patch"}, {"type": "web_search"}]);
    let body = json!({"model": "m", "input": "x", "tools": tools});
    let declared = declare(Dialect::OpenaiResponses, body).unwrap();
    let item = |name: &str, arguments: &str| json!({"type": "function_call", "id": "fc", "call_id": "c", "name": name, "arguments": arguments});
    let whole = |items: Value| json!({"id": "r", "status": "completed", "output": items});
    let plain = |items: Value| read(&declared, Dialect::OpenaiResponses, &whole(items));
    let free =
        json!({"type": "custom_tool_call", "call_id": "d", "name": "patch", "input": "free"});
    let hosted = json!({"type": "web_search_call", "id": "w"});
    let fine = item("search", "{\"query\":\"a\"}");
    assert_eq!(plain(json!([fine, free, hosted])), Verdict::Good);
    assert_eq!(
        plain(json!([item("search", "{}")])),
        breaks("search", "required")
    );
    assert!(matches!(
        plain(json!([item("seek", "{}")])),
        Verdict::Bad(Fault::Undeclared(_))
    ));
    // Some imitators leave the output of the last event empty; the official ones say it all again.
    for last in [json!([item("search", "{}")]), json!([])] {
        let events = [
            json!({"type": "response.created", "response": {"id": "r", "status": "in_progress", "output": []}}),
            json!({"type": "response.output_item.added", "output_index": 0, "item": item("search", "")}),
            json!({"type": "response.function_call_arguments.delta", "output_index": 0, "delta": "{}"}),
            json!({"type": "response.output_item.done", "output_index": 0, "item": item("search", "{}")}),
            json!({"type": "response.completed", "response": whole(last)}),
        ];
        let verdict = streamed(&declared, Dialect::OpenaiResponses, &events);
        assert_eq!(verdict, breaks("search", "required"));
    }
}

#[test]
fn tools_that_cannot_be_seen_may_be_called() {
    let body = json!({"model": "m", "input": "x", "tools": [{"type": "tool_search"},
        {"type": "function", "name": "f", "parameters": search_schema()}]});
    let declared = declare(Dialect::OpenaiResponses, body).unwrap();
    let call = json!({"type": "function_call", "name": "found", "arguments": "{}"});
    let body = json!({"status": "completed", "output": [call]});
    assert_eq!(
        read(&declared, Dialect::OpenaiResponses, &body),
        Verdict::Good
    );
}

#[test]
fn structured_answers_in_each_dialect() {
    let schema =
        json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
    let chat = json!({"model": "m", "messages": [],
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}});
    let responses = json!({"model": "m", "input": "x", "text": {"format": {"type": "json_schema", "name": "x", "schema": schema}}});
    let messages = json!({"model": "m", "max_tokens": 9, "messages": [],
        "output_config": {"format": {"type": "json_schema", "schema": schema}}});
    let older = json!({"model": "m", "max_tokens": 9, "messages": [],
        "output_format": {"type": "json_schema", "schema": schema}});
    type Case = (Dialect, Value, fn(&str) -> Value);
    let gemini = json!({"contents": [], "generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": schema}});
    let cases: [Case; 5] = [
        (
            Dialect::Gemini,
            gemini,
            |text| json!({"candidates": [{"finishReason": "STOP", "content": {"parts": [{"text": "hm", "thought": true}, {"text": text}]}}]}),
        ),
        (
            Dialect::OpenaiChat,
            chat,
            |text| json!({"choices": [{"finish_reason": "stop", "message": {"content": text, "refusal": null}}]}),
        ),
        (Dialect::OpenaiResponses, responses, |text| {
            json!({"status": "completed", "output": [{"type": "reasoning", "summary": []},
                {"type": "message", "content": [{"type": "output_text", "text": text}]}]})
        }),
        (
            Dialect::AnthropicMessages,
            messages,
            |text| json!({"stop_reason": "end_turn", "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": text}]}),
        ),
        (
            Dialect::AnthropicMessages,
            older,
            |text| json!({"stop_reason": "end_turn", "content": [{"type": "text", "text": text}]}),
        ),
    ];
    for (dialect, request, answer) in cases {
        let declared = declare(dialect, request).unwrap();
        let check = |text| read(&declared, dialect, &answer(text));
        assert_eq!(check("{\"n\": 1}\n"), Verdict::Good, "{dialect:?}");
        let missing = Verdict::Bad(Fault::Breaks(None, "required".to_owned()));
        assert_eq!(check("{}"), missing, "{dialect:?}");
        assert_eq!(
            check("It is 1."),
            Verdict::Bad(Fault::NotJson(None)),
            "{dialect:?}"
        );
    }
}

#[test]
fn who_declines_to_answer_is_bound_by_no_form() {
    let request = json!({"model": "m", "messages": [], "response_format": {"type": "json_object"}});
    let declared = declare(Dialect::OpenaiChat, request).unwrap();
    let answer =
        |message: Value| json!({"choices": [{"finish_reason": "stop", "message": message}]});
    let declined = answer(json!({"content": null, "refusal": "no"}));
    assert_eq!(
        read(&declared, Dialect::OpenaiChat, &declined),
        Verdict::Good
    );
    let array = answer(json!({"content": "[1]"}));
    assert!(matches!(
        read(&declared, Dialect::OpenaiChat, &array),
        Verdict::Bad(_)
    ));
}

#[test]
fn too_much_to_keep_is_not_judged() {
    let declared = chat(json!([function("search", &search_schema())])).unwrap();
    let long = format!("{{\"count\":\"{}\"}}", "x".repeat(300_000));
    assert_eq!(called(&declared, "search", &long), Verdict::Unknown);
}

#[test]
fn geminis_functions_stand_in_a_list_within_the_list() {
    let function = json!({"name": "search", "parametersJsonSchema": search_schema()});
    let tools = json!([{"functionDeclarations": [function, {"name": "stop"}]}]);
    let body = json!({"contents": [], "tools": tools});
    let declared = declare(Dialect::Gemini, body).unwrap();
    let called = |name: &str, args: Value| {
        let part = json!({"functionCall": {"name": name, "args": args}});
        let candidate = json!({"finishReason": "STOP", "content": {"parts": [part]}});
        read(
            &declared,
            Dialect::Gemini,
            &json!({"candidates": [candidate]}),
        )
    };
    assert_eq!(called("search", json!({"query": "x"})), Verdict::Good);
    assert_eq!(called("stop", json!({})), Verdict::Good);
    let missing = Verdict::Bad(Fault::Breaks(
        Some("search".to_owned()),
        "required".to_owned(),
    ));
    assert_eq!(called("search", json!({"count": 1})), missing);
    let undeclared = Verdict::Bad(Fault::Undeclared("look".to_owned()));
    assert_eq!(called("look", json!({})), undeclared);
}
