//! What leaves is what came, but for what was asked to be changed.

use super::*;
use crate::json::tests::any_json;

fn edited(dialect: Dialect, body: &str, edits: &Edits) -> String {
    let call = decode(dialect, Bytes::copy_from_slice(body.as_bytes())).unwrap();
    String::from_utf8(rewrite(&call, edits).to_vec()).unwrap()
}

fn capped(body: &str, field: &'static str, tokens: u64) -> String {
    let edits = Edits {
        output_cap: Some((field, tokens)),
        ..Edits::default()
    };
    edited(Dialect::OpenaiChat, body, &edits)
}

#[test]
fn no_edit_no_copy() {
    let body = Bytes::from_static(br#"{"model":"m", "messages":[]}"#);
    let call = decode(Dialect::OpenaiChat, body.clone()).unwrap();
    assert_eq!(rewrite(&call, &Edits::default()).as_ptr(), body.as_ptr());
}

#[test]
fn a_model_that_the_path_names_is_put_in() {
    let edits = |model: Option<&str>, cap| Edits {
        model: model.map(str::to_owned),
        output_cap: cap,
        strip_foreign: true,
        ..Edits::default()
    };
    let cap = Some(("max_tokens", 7));
    let cases = [
        (
            r#"{"prompt":"x"}"#,
            edits(None, None),
            r#"{"model":"dep","prompt":"x"}"#,
        ),
        (
            r#"{"prompt":"x"}"#,
            edits(Some("m"), None),
            r#"{"model":"m","prompt":"x"}"#,
        ),
        ("{}", edits(None, None), r#"{"model":"dep"}"#),
        (
            "{ }",
            edits(None, cap),
            r#"{"model":"dep","max_tokens":7 }"#,
        ),
        (
            r#"{"metadata":{"user_task_id":"t"}}"#,
            edits(None, cap),
            r#"{"model":"dep","max_tokens":7}"#,
        ),
        (
            r#"{"model":"own"}"#,
            edits(Some("dep"), None),
            r#"{"model":"dep"}"#,
        ),
        (r#"{"model":null}"#, edits(None, None), r#"{"model":"dep"}"#),
    ];
    for (body, edits, expected) in cases {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let call = decode_for(Dialect::OpenaiCompletions, body, Some("dep")).unwrap();
        assert_eq!(rewrite(&call, &edits), expected.as_bytes());
    }
}

#[test]
fn every_cap_present_is_set() {
    let cases = [
        // Nothing there: the field named is added.
        (
            r#"{"model":"m","messages":[]}"#,
            "max_tokens",
            r#"{"max_tokens":7,"model":"m","messages":[]}"#,
        ),
        // Both aliases, disagreeing.
        (
            r#"{"max_tokens": 9, "model":"m","messages":[],"max_completion_tokens":100}"#,
            "max_completion_tokens",
            r#"{"max_tokens": 7, "model":"m","messages":[],"max_completion_tokens":7}"#,
        ),
        // A target that takes the old name for the new one would refuse both.
        (
            r#"{"max_tokens":9,"model":"m","messages":[]}"#,
            "max_completion_tokens",
            r#"{"max_tokens":7,"model":"m","messages":[]}"#,
        ),
        // A target that knows the old name only is told by it.
        (
            r#"{"max_completion_tokens":9,"model":"m","messages":[]}"#,
            "max_tokens",
            r#"{"max_tokens":7,"max_completion_tokens":7,"model":"m","messages":[]}"#,
        ),
        // Null in its place is replaced, not doubled; other nulls stay.
        (
            r#"{"max_tokens":null,"model":"m","messages":[],"max_completion_tokens":null}"#,
            "max_tokens",
            r#"{"max_tokens":7,"model":"m","messages":[],"max_completion_tokens":null}"#,
        ),
        // What only some servers honour is set, and never enough.
        (
            r#"{"n_predict":9,"model":"m","messages":[]}"#,
            "max_tokens",
            r#"{"max_tokens":7,"n_predict":7,"model":"m","messages":[]}"#,
        ),
    ];
    for (body, field, wanted) in cases {
        assert_eq!(capped(body, field, 7), wanted);
    }
}

#[test]
fn usage_is_asked_for() {
    let edits = Edits {
        include_usage: true,
        ..Edits::default()
    };
    let with = |options: &str| {
        let body = format!(r#"{{"stream":true,"model":"m","messages":[]{options}}}"#);
        edited(Dialect::OpenaiChat, &body, &edits)
    };
    let front = r#"{"stream":true,"model":"m","messages":[]"#;
    assert_eq!(
        with(""),
        r#"{"stream_options":{"include_usage":true},"stream":true,"model":"m","messages":[]}"#
    );
    for (options, wanted) in [
        (
            r#","stream_options":null"#,
            r#","stream_options":{"include_usage":true}"#,
        ),
        (
            r#","stream_options":{ }"#,
            r#","stream_options":{"include_usage":true }"#,
        ),
        (
            r#","stream_options":{"include_obfuscation":false}"#,
            r#","stream_options":{"include_usage":true,"include_obfuscation":false}"#,
        ),
        (
            r#","stream_options":{"include_usage":false,"x":1}"#,
            r#","stream_options":{"include_usage":true,"x":1}"#,
        ),
        (
            r#","stream_options":{"include_usage":null}"#,
            r#","stream_options":{"include_usage":true}"#,
        ),
        (
            r#","stream_options":{"include_usage":true}"#,
            r#","stream_options":{"include_usage":true}"#,
        ),
    ] {
        assert_eq!(with(options), format!("{front}{wanted}}}"));
    }
    let plain = r#"{"model":"m","messages":[]}"#;
    assert_eq!(
        edited(Dialect::OpenaiChat, plain, &edits),
        plain,
        "no stream, no option"
    );
}

#[test]
fn parallel_tools_are_switched_off_where_that_is_possible() {
    let edits = Edits {
        no_parallel_tools: true,
        ..Edits::default()
    };
    let messages = |members: &str| {
        let body = format!(r#"{{"model":"m","messages":[]{members}}}"#);
        edited(Dialect::AnthropicMessages, &body, &edits)
    };
    let tools = r#","tools":[{"name":"f"}]"#;
    assert_eq!(messages(""), r#"{"model":"m","messages":[]}"#);
    assert_eq!(
        messages(tools),
        format!(
            r#"{{"tool_choice":{{"type":"auto","disable_parallel_tool_use":true}},"model":"m","messages":[]{tools}}}"#
        )
    );
    for (choice, wanted) in [
        (
            r#"{"type":"any"}"#,
            r#"{"disable_parallel_tool_use":true,"type":"any"}"#,
        ),
        (
            r#"{"type":"tool","name":"f","disable_parallel_tool_use":false}"#,
            r#"{"type":"tool","name":"f","disable_parallel_tool_use":true}"#,
        ),
        (r#"{"type":"none"}"#, r#"{"type":"none"}"#),
        (
            "null",
            r#"{"type":"auto","disable_parallel_tool_use":true}"#,
        ),
    ] {
        let out = messages(&format!(r#"{tools},"tool_choice":{choice}"#));
        let wanted = format!(r#"{{"model":"m","messages":[]{tools},"tool_choice":{wanted}}}"#);
        assert_eq!(out, wanted);
    }
    let chat = |body: &str| edited(Dialect::OpenaiChat, body, &edits);
    assert_eq!(
        chat(r#"{"model":"m","messages":[],"tools":[{}]}"#),
        r#"{"parallel_tool_calls":false,"model":"m","messages":[],"tools":[{}]}"#
    );
    assert_eq!(
        chat(r#"{"model":"m","messages":[],"tools":[{}],"parallel_tool_calls":true}"#),
        r#"{"model":"m","messages":[],"tools":[{}],"parallel_tool_calls":false}"#
    );
    let legacy = r#"{"model":"m","messages":[],"functions":[{"name":"f"}]}"#;
    assert_eq!(chat(legacy), legacy);
}

#[test]
fn foreign_metadata_is_taken_out() {
    let edits = Edits {
        strip_foreign: true,
        ..Edits::default()
    };
    for (members, wanted) in [
        (
            r#"{"user_task_id":"t","user_id":"u"}"#,
            r#"{"user_id":"u"}"#,
        ),
        (
            r#"{"user_id":"u", "agent_id":"a" ,"x":1}"#,
            r#"{"user_id":"u"}"#,
        ),
        (r#"{ "user_task_id":"t" }"#, "{  }"),
        ("{}", "{}"),
    ] {
        let body =
            |metadata: &str| format!(r#"{{"model":"m","messages":[],"metadata":{metadata}}}"#);
        let out = edited(Dialect::AnthropicMessages, &body(members), &edits);
        assert_eq!(out, body(wanted));
        assert_eq!(
            edited(Dialect::OpenaiChat, &body(members), &edits),
            body(members)
        );
    }
    let embeddings = |body: &str| edited(Dialect::OpenaiEmbeddings, body, &edits);
    let ours = r#""metadata":{"user_task_id":"t"}"#;
    let plain = r#"{"model":"m","input":"x"}"#;
    assert_eq!(
        embeddings(&format!(r#"{{{ours},"model":"m","input":"x"}}"#)),
        plain
    );
    assert_eq!(
        embeddings(&format!(r#"{{"model":"m",{ours},"input":"x"}}"#)),
        plain
    );
    assert_eq!(
        embeddings(&format!(r#"{{"model":"m","input":"x",{ours}}}"#)),
        plain
    );
}

#[test]
fn a_model_name_is_escaped() {
    let edits = Edits {
        model: Some("a\"b\\c\n".to_owned()),
        ..Edits::default()
    };
    let out = edited(
        Dialect::OpenaiChat,
        r#"{"messages":[],"mod\u0065l":"m"}"#,
        &edits,
    );
    assert_eq!(out, r#"{"messages":[],"mod\u0065l":"a\"b\\c\n"}"#);
}

/// Optional members that edits touch, each absent, null or of some value.
fn members() -> impl Strategy<Value = Vec<(&'static str, Json)>> {
    let one = |name: &'static str, values: Vec<Json>| {
        prop::option::of(prop::sample::select(values)).prop_map(move |value| Some((name, value?)))
    };
    (
        one("max_tokens", vec![json!(null), json!(5), json!(7)]),
        one(
            "max_completion_tokens",
            vec![json!(null), json!(5), json!(7)],
        ),
        one("n_predict", vec![json!(null), json!(3)]),
        one(
            "stream_options",
            vec![
                json!(null),
                json!({}),
                json!({"include_usage": false, "a": 1}),
                json!({"a": [1]}),
                json!({"include_usage": true}),
            ],
        ),
        one(
            "tools",
            vec![json!(null), json!([]), json!([{"name": "f"}])],
        ),
        one(
            "parallel_tool_calls",
            vec![json!(null), json!(true), json!(false)],
        ),
        one("stream", vec![json!(true), json!(false)]),
    )
        .prop_map(|(a, b, c, d, e, f, g)| [a, b, c, d, e, f, g].into_iter().flatten().collect())
}

/// The same edits on a tree.
fn expected(mut body: Json, named: &'static str, tokens: u64) -> Json {
    let caps = ["max_tokens", "max_completion_tokens", "n_predict"];
    let set: Vec<_> = caps.into_iter().filter(|cap| body[*cap].is_u64()).collect();
    for cap in &set {
        body[*cap] = json!(tokens);
    }
    let told =
        set.contains(&named) || (named == "max_completion_tokens" && set.contains(&"max_tokens"));
    if !told {
        body[named] = json!(tokens);
    }
    if body["stream"] == json!(true) {
        if !body["stream_options"].is_object() {
            body["stream_options"] = json!({});
        }
        body["stream_options"]["include_usage"] = json!(true);
    }
    if body["tools"]
        .as_array()
        .is_some_and(|tools| !tools.is_empty())
    {
        body["parallel_tool_calls"] = json!(false);
    }
    body["model"] = json!("other");
    body
}

proptest! {
    #[test]
    fn edits_change_what_they_say_and_nothing_else(
        members in members(),
        extra in prop::collection::vec(("x_[a-z]{1,8}", any_json()), 0..4),
        order in any::<prop::sample::Index>(),
        named in prop::sample::select(vec!["max_tokens", "max_completion_tokens"]),
        pretty: bool,
    ) {
        let mut all: Vec<(String, Json)> = vec![
            ("model".to_owned(), json!("m")),
            ("messages".to_owned(), json!([{"role": "user", "content": "\"hi\"\\"}])),
        ];
        all.extend(members.into_iter().map(|(name, value)| (name.to_owned(), value)));
        for (name, value) in extra {
            if !all.iter().any(|(other, _)| *other == name) {
                all.push((name, value));
            }
        }
        let turn = order.index(all.len());
        all.rotate_left(turn);
        // Written by hand: a tree would sort the members.
        let space = if pretty { "\n  " } else { "" };
        let written: Vec<String> = all
            .iter()
            .map(|(name, value)| format!("{space}{}:{space}{value}{space}", json!(name)))
            .collect();
        let body = format!("{{{}}}", written.join(","));
        let call = decode(Dialect::OpenaiChat, body.clone().into()).unwrap();
        let edits = Edits {
            model: Some("other".to_owned()),
            output_cap: Some((named, 7)),
            include_usage: true,
            no_parallel_tools: true,
            strip_foreign: true,
            ..Edits::default()
        };
        let out = rewrite(&call, &edits);
        let tree: Json = serde_json::from_str(&body).unwrap();
        let told: Json = serde_json::from_slice(&out).unwrap();
        prop_assert_eq!(&told, &expected(tree, named, 7));
        let out = std::str::from_utf8(&out).unwrap();
        for (name, value) in &all {
            if name.starts_with("x_") || name == "messages" {
                let member = format!("{}:{space}{value}{space}", json!(name));
                prop_assert!(out.contains(&member), "{} is not as it was", name);
            }
        }
        // What leaves says what was meant to be said, to whoever reads it next.
        let again = decode(Dialect::OpenaiChat, out.to_owned().into()).unwrap();
        prop_assert_eq!(again.tells(named), Some(7));
        prop_assert_eq!(again.usage_asked || !again.stream, true);
    }
}

fn noticed(dialect: Dialect, body: &str) -> String {
    let edits = Edits {
        notice: Some("the \"purse\" is empty".to_owned()),
        no_tools: true,
        ..Edits::default()
    };
    edited(dialect, body, &edits)
}

#[test]
fn a_notice_stands_behind_the_last_message_and_tools_are_off() {
    const SAID: &str = r#"{"role":"user","content":"the \"purse\" is empty"}"#;
    let tools = r#""tools":[{"type":"function","function":{"name":"f"}}]"#;
    let chat = format!(
        r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}},{{"role":"tool","tool_call_id":"c","content":"42"}} ],{tools}}}"#
    );
    let expected = format!(
        r#"{{"tool_choice":"none","model":"m","messages":[{{"role":"user","content":"hi"}},{{"role":"tool","tool_call_id":"c","content":"42"}},{SAID} ],{tools}}}"#
    );
    assert_eq!(noticed(Dialect::OpenaiChat, &chat), expected);
    let messages = r#"{"model":"m","max_tokens":9,"tool_choice":{"type":"auto"},"tools":[{"name":"f","input_schema":{}}],"messages":[{"role":"user","content":"hi"}]}"#;
    let expected = messages
        .replace(r#"{"type":"auto"}"#, r#"{"type":"none"}"#)
        .replace(r#""hi"}]"#, &format!(r#""hi"}},{SAID}]"#));
    assert_eq!(noticed(Dialect::AnthropicMessages, messages), expected);
    let items =
        r#"{"model":"m","input":[{"type":"function_call_output","call_id":"c","output":"42"}]}"#;
    let expected = items.replace(r#""42"}]"#, &format!(r#""42"}},{SAID}]"#));
    assert_eq!(noticed(Dialect::OpenaiResponses, items), expected);
    let text = r#"{"model":"m","input": "hi" }"#;
    let expected =
        format!(r#"{{"model":"m","input": [{{"role":"user","content":"hi"}},{SAID}] }}"#);
    assert_eq!(noticed(Dialect::OpenaiResponses, text), expected);
}

#[test]
fn a_prefilled_answer_and_a_bare_prompt_take_no_notice() {
    for (dialect, body) in [
        (
            Dialect::AnthropicMessages,
            r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"{"}]}"#,
        ),
        (Dialect::OpenaiCompletions, r#"{"model":"m","prompt":"hi"}"#),
        (Dialect::OpenaiChat, r#"{"model":"m","messages":[]}"#),
    ] {
        assert_eq!(noticed(dialect, body), body);
    }
}

#[test]
fn the_one_output_cap_that_is_heard_takes_the_others_place() {
    let only = |field, output_cap| Edits {
        only_cap: Some(field),
        output_cap,
        ..Edits::default()
    };
    let cases = [
        (
            r#"{"model":"m","max_completion_tokens" : 64 ,"messages":[]}"#,
            only("max_tokens", None),
            r#"{"model":"m","max_tokens":64 ,"messages":[]}"#,
        ),
        (
            r#"{"max_tokens":64,"model":"m","messages":[]}"#,
            only("max_completion_tokens", Some(("max_completion_tokens", 7))),
            r#"{"max_completion_tokens":7,"model":"m","messages":[]}"#,
        ),
        // The right name already, a null that says nothing, and two that contradict each other.
        (
            r#"{"max_tokens":64,"model":"m","messages":[]}"#,
            only("max_tokens", Some(("max_tokens", 7))),
            r#"{"max_tokens":7,"model":"m","messages":[]}"#,
        ),
        (
            r#"{"max_completion_tokens":null,"model":"m","messages":[]}"#,
            only("max_tokens", None),
            r#"{"max_completion_tokens":null,"model":"m","messages":[]}"#,
        ),
        (
            r#"{"max_tokens":64,"max_completion_tokens":65,"model":"m","messages":[]}"#,
            only("max_tokens", Some(("max_tokens", 7))),
            r#"{"max_tokens":7,"max_completion_tokens":7,"model":"m","messages":[]}"#,
        ),
    ];
    for (body, edits, expected) in cases {
        let call = decode(Dialect::OpenaiChat, Bytes::from_static(body.as_bytes())).unwrap();
        assert_eq!(rewrite(&call, &edits), expected, "{body}");
    }
}

#[test]
fn a_router_is_told_the_dearest_price_in_dollars_per_million() {
    let nano = crate::units::NanoUsd;
    let edits = Edits {
        max_price: Some([nano(150_000_000), nano(2_000_000_000)]),
        ..Edits::default()
    };
    let body = Bytes::from_static(br#"{"model":"m","messages":[]}"#);
    let call = decode(Dialect::OpenaiChat, body).unwrap();
    let told =
        r#"{"provider":{"max_price":{"prompt":0.15,"completion":2.00}},"model":"m","messages":[]}"#;
    assert_eq!(rewrite(&call, &edits), told);
}
