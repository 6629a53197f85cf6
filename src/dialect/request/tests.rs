//! What a request says, dialect by dialect.

use super::*;
use crate::dialect::Edits;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

mod prompt;
mod rewriting;

const DIALECTS: [Dialect; 5] = [
    Dialect::OpenaiChat,
    Dialect::OpenaiResponses,
    Dialect::OpenaiEmbeddings,
    Dialect::OpenaiCompletions,
    Dialect::AnthropicMessages,
];

fn read(dialect: Dialect, body: &Json) -> Call {
    decode(dialect, body.to_string().into()).unwrap()
}

fn chat(body: &str) -> Call {
    decode(Dialect::OpenaiChat, Bytes::copy_from_slice(body.as_bytes())).unwrap()
}

/// The error for a chat body with these members besides model and messages.
fn refused(members: &str) -> DecodeError {
    let body = format!(r#"{{"model":"m","messages":[],{members}}}"#);
    decode(Dialect::OpenaiChat, body.into()).unwrap_err()
}

#[test]
fn reads_what_a_chat_call_asks() {
    let call = chat(
        r#"{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}],"stream":true,
        "max_tokens":100,"max_completion_tokens":50,"n":3,"service_tier":"flex","user":"u-1",
        "stream_options":{"include_usage":true},"seed":null,"metadata":{"user_task_id":"t-1",
        "agent_id":"a","agent_role":"r","else":"x"}}"#,
    );
    assert_eq!(call.model, "gpt-4o");
    assert_eq!(&call.body[call.model_at.clone()], b"\"gpt-4o\"");
    assert!(call.stream && call.usage_asked);
    assert_eq!(call.asked_output, Some(50));
    assert_eq!(
        call.tells("max_completion_tokens"),
        None,
        "the aliases disagree"
    );
    assert_eq!(call.outputs, 3);
    assert_eq!(call.selectors.service_tier.as_deref(), Some("flex"));
    assert_eq!(call.ids.user.as_deref(), Some("u-1"));
    assert_eq!(call.ids.task.as_deref(), Some("t-1"));
    assert_eq!(call.ids.agent.as_deref(), Some("a"));
    assert_eq!(call.ids.role.as_deref(), Some("r"));
    assert!(call.ids.foreign.is_empty());
    assert!(call.unlisted.is_empty());
    assert_eq!(call.prompt.messages, 1);
    assert_eq!(call.prompt.text_bytes, call.body.len() as u64);
    assert!(!call.prompt.unseen && call.prompt.steady);
}

#[test]
fn nulls_count_as_absent() {
    let call = chat(
        r#"{"model":"m","messages":[],"stream":null,"max_tokens":null,"n":null,"tools":null,
        "stream_options":null,"metadata":null,"user":null,"prediction":null,"tool_choice":null,
        "response_format":null,"service_tier":null,"functions":null,"web_search_options":null,
        "parallel_tool_calls":null,"modalities":null,"models":null,"thinking":null}"#,
    );
    assert!(!call.stream && !call.unclampable && !call.prompt.structured);
    assert_eq!((call.asked_output, call.outputs), (None, 1));
    assert_eq!(call.output_caps.len(), 1, "its place is known all the same");
    assert_eq!(call.prompt.tools, 0);
    assert!(call.prompt.hosted_tools.is_empty() && call.selectors.surcharges.is_empty());
}

#[test]
fn wrong_types_name_the_field() {
    let cases = [
        (r#""max_tokens":-1"#, "max_tokens"),
        (r#""max_tokens":1.5"#, "max_tokens"),
        (r#""max_tokens":1e3"#, "max_tokens"),
        (r#""max_tokens":"10""#, "max_tokens"),
        (r#""max_tokens":99999999999999999999999999"#, "max_tokens"),
        (r#""max_completion_tokens":true"#, "max_completion_tokens"),
        (r#""stream":"yes""#, "stream"),
        (r#""stream":1"#, "stream"),
        (r#""n":0"#, "n"),
        (r#""n":129"#, "n"),
        (r#""tools":{}"#, "tools"),
        (r#""tools":["x"]"#, "tools"),
        (r#""metadata":"x""#, "metadata"),
        (r#""metadata":{"user_task_id":7}"#, "metadata.user_task_id"),
        (
            r#""metadata":{"user_task_id":"a b"}"#,
            "metadata.user_task_id",
        ),
        (r#""metadata":{"agent_id":""}"#, "metadata.agent_id"),
        (r#""stream_options":true"#, "stream_options"),
        (r#""stream_options":{"include_usage":1}"#, "include_usage"),
        (r#""service_tier":1"#, "service_tier"),
        (r#""user":{}"#, "user"),
        (
            r#""thinking":{"budget_tokens":-5}"#,
            "thinking.budget_tokens",
        ),
        (r#""parallel_tool_calls":"no""#, "parallel_tool_calls"),
    ];
    for (members, param) in cases {
        let error = refused(members);
        assert_eq!(error.param.as_deref(), Some(param), "{members}");
        assert!(error.message.contains(param), "{}", error.message);
    }
    let long = format!(r#""metadata":{{"user_task_id":"{}"}}"#, "x".repeat(10_000));
    assert_eq!(
        refused(&long).param.as_deref(),
        Some("metadata.user_task_id")
    );
    let long = refused(&format!(r#""service_tier":"{}""#, "x".repeat(10_000)));
    assert!(
        long.message.len() < 200,
        "an error never echoes a long value"
    );
}

#[test]
fn a_body_without_its_essentials_is_no_call() {
    let param = |dialect, body: &'static str| {
        decode(dialect, Bytes::from_static(body.as_bytes()))
            .unwrap_err()
            .param
    };
    let named = |name: &str| Some(name.to_owned());
    assert_eq!(
        param(Dialect::OpenaiChat, r#"{"messages":[]}"#),
        named("model")
    );
    assert_eq!(
        param(Dialect::OpenaiChat, r#"{"model":"m"}"#),
        named("messages")
    );
    assert_eq!(
        param(Dialect::OpenaiChat, r#"{"model":7,"messages":[]}"#),
        named("model")
    );
    assert_eq!(
        param(Dialect::OpenaiChat, r#"{"model":"","messages":[]}"#),
        named("model")
    );
    assert_eq!(
        param(
            Dialect::AnthropicMessages,
            r#"{"model":"m","messages":"hi"}"#
        ),
        named("messages")
    );
    assert_eq!(
        param(Dialect::OpenaiChat, r#"{"model":"m","messages":[{},7]}"#),
        named("messages[1]")
    );
    assert_eq!(
        param(Dialect::OpenaiEmbeddings, r#"{"model":"m"}"#),
        named("input")
    );
    assert_eq!(
        param(Dialect::OpenaiEmbeddings, r#"{"model":"m","input":7}"#),
        named("input")
    );
    assert_eq!(param(Dialect::OpenaiChat, "[]"), None);
    assert_eq!(param(Dialect::OpenaiChat, ""), None);
    assert_eq!(
        param(Dialect::OpenaiChat, r#"{"model":"m","messages":[]} {}"#),
        None
    );
    assert!(decode(Dialect::OpenaiResponses, r#"{"model":"m"}"#.into()).is_ok());
    assert!(decode(Dialect::OpenaiCompletions, r#"{"model":"m"}"#.into()).is_ok());
}

#[test]
fn duplicates_of_what_is_read_are_errors_at_every_level() {
    for (dialect, body) in [
        (
            Dialect::OpenaiChat,
            r#"{"model":"m","messages":[],"mod\u0065l":"x"}"#,
        ),
        (
            Dialect::OpenaiChat,
            r#"{"model":"m","messages":[],"max_tokens":1,"max_tokens":2}"#,
        ),
        (
            Dialect::OpenaiChat,
            r#"{"model":"m","messages":[],"messages":[]}"#,
        ),
        (
            Dialect::OpenaiChat,
            r#"{"model":"m","messages":[{"content":"a","content":"b"}]}"#,
        ),
        (
            Dialect::OpenaiChat,
            r#"{"model":"m","messages":[],"stream_options":{"include_usage":true,"include_usage":false}}"#,
        ),
        (
            Dialect::OpenaiChat,
            r#"{"model":"m","messages":[],"metadata":{"agent_id":"a","agent_id":"b"}}"#,
        ),
        (
            Dialect::OpenaiChat,
            r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","type":"image_url"}]}]}"#,
        ),
        (
            Dialect::AnthropicMessages,
            r#"{"model":"m","messages":[],"metadata":{"user_id":"a","user_id":"b"}}"#,
        ),
        (
            Dialect::AnthropicMessages,
            r#"{"model":"m","messages":[],"thinking":{"budget_tokens":1,"budget_tokens":2}}"#,
        ),
    ] {
        let error = decode(dialect, body.into()).unwrap_err();
        assert!(error.message.contains("twice"), "{}", error.message);
    }
    let other = r#"{"model":"m","messages":[],"x_new":1,"x_new":2}"#;
    assert_eq!(chat(other).unlisted, ["x_new", "x_new"]);
}

#[test]
fn a_name_that_differs_in_case_only_is_an_error() {
    for name in [
        "Max_Tokens",
        "MODEL",
        "max_to\u{212a}ens",
        "me\u{17f}\u{17f}ages",
    ] {
        let error = refused(&format!(r#""{name}":7"#));
        assert!(error.message.contains("in case only"), "{}", error.message);
    }
}

#[test]
fn caps_that_only_some_servers_honour_are_not_told() {
    let call = chat(r#"{"model":"m","messages":[],"n_predict":10}"#);
    assert_eq!(call.asked_output, None);
    assert_eq!(call.tells("max_tokens"), None);
    let call = chat(r#"{"model":"m","messages":[],"max_completion_tokens":10}"#);
    assert_eq!(call.asked_output, Some(10));
    assert_eq!(call.tells("max_completion_tokens"), Some(10));
    assert_eq!(
        call.tells("max_tokens"),
        None,
        "some servers know that name only"
    );
    let call = chat(r#"{"model":"m","messages":[],"max_tokens":10}"#);
    assert_eq!(call.tells("max_completion_tokens"), Some(10));
}

#[test]
fn fields_that_cost_more_are_named() {
    let call = read(
        Dialect::AnthropicMessages,
        &json!({"model": "m", "max_tokens": 9, "messages": [], "speed": "fast",
            "inference_geo": "us", "fallbacks": [{"model": "x"}], "compaction": {"type": "x"},
            "context_management": {"edits": [{"type": "compact_20260112"}]},
            "tools": [{"type": "advisor_20260301", "name": "advisor", "model": "x"},
                {"type": "web_search_20250305", "name": "web_search", "max_uses": 3},
                {"type": "bash_20250124", "name": "bash"}, {"name": "f", "input_schema": {}}],
            "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
            "cache_control": {"type": "ephemeral", "ttl": "1h"}}),
    );
    assert_eq!(call.selectors.speed.as_deref(), Some("fast"));
    assert_eq!(call.selectors.inference_geo.as_deref(), Some("us"));
    let mut surcharges = call.selectors.surcharges.clone();
    surcharges.sort();
    assert_eq!(surcharges, ["advisor", "compaction", "fallbacks"]);
    assert!(call.selectors.cache_write_5m && call.selectors.cache_write_1h);
    assert!(!call.prompt.steady);
    assert_eq!(
        call.prompt.hosted_tools,
        [
            ("advisor".to_owned(), None),
            ("web_search".to_owned(), Some(3))
        ]
    );
    assert_eq!((call.prompt.tools, call.prompt.builtin_tools), (4, 3));
}

#[test]
fn clearing_old_results_keeps_counts_usable() {
    let call = read(
        Dialect::AnthropicMessages,
        &json!({"model": "m", "messages": [],
            "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}}),
    );
    assert!(call.prompt.steady && call.selectors.surcharges.is_empty());
}

#[test]
fn sessions_are_found_in_user_ids() {
    let session = |user_id: &str| {
        let body = json!({"model": "m", "messages": [], "metadata": {"user_id": user_id}});
        read(Dialect::AnthropicMessages, &body).ids.session
    };
    let found = Some("0b0f-1".to_owned());
    let object = r#"{"device_id":"d","account_uuid":"","session_id":"0b0f-1"}"#;
    assert_eq!(session(object), found);
    assert_eq!(session("user_ab12_account__session_0b0f-1"), found);
    assert_eq!(session("someone"), None);
    assert_eq!(session("{broken"), None);
    assert_eq!(session(r#"{"session_id":"a b"}"#), None);
}

#[test]
fn responses_say_what_cannot_be_seen() {
    let read = |members: Json| {
        let mut body = json!({"model": "m", "input": "hi"});
        let body = body.as_object_mut().unwrap();
        body.extend(members.as_object().unwrap().clone());
        super::tests::read(Dialect::OpenaiResponses, &Json::from(body.clone()))
    };
    let call = read(json!({"previous_response_id": "resp_1"}));
    assert_eq!(call.ids.previous_response.as_deref(), Some("resp_1"));
    assert!(call.prompt.unseen && !call.prompt.opaque);
    for members in [
        json!({"conversation": "conv_1"}),
        json!({"prompt": {"id": "pmpt_1"}}),
        json!({"tools": [{"type": "mcp", "server_label": "s", "server_url": "http://s"}]}),
    ] {
        let call = read(members);
        assert!(call.prompt.unseen && call.prompt.opaque);
    }
    let call = read(json!({"input": [{"type": "item_reference", "id": "msg_1"},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "gAAA"},
        {"role": "user", "content": "hi"}]}));
    assert_eq!(call.prompt.stored, ["msg_1", "rs_1"]);
    let call = read(json!({"truncation": "auto"}));
    assert!(!call.prompt.steady && !call.prompt.unseen);
    let call = read(json!({"background": true, "max_tool_calls": 5,
        "tools": [{"type": "web_search_preview_2025_03_11"}, {"type": "image_generation"},
            {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "f"}]}]}));
    assert!(call.background && call.selectors.image_output);
    assert_eq!(call.prompt.tools, 4);
    assert_eq!(
        call.prompt.hosted_tools,
        [
            ("web_search_preview".to_owned(), Some(5)),
            ("image_generation".to_owned(), Some(5))
        ]
    );
}

#[test]
fn prompts_are_counted() {
    let outputs = |prompt: Json| {
        let body = json!({"model": "m", "prompt": prompt, "n": 2, "best_of": 3});
        read(Dialect::OpenaiCompletions, &body).outputs
    };
    assert_eq!(outputs(json!("one")), 3);
    assert_eq!(outputs(json!(["one", "two"])), 6);
    assert_eq!(outputs(json!([1, 2, 3, 4])), 3);
    assert_eq!(outputs(json!([[1, 2], [3], [4]])), 9);
    let call = read(
        Dialect::OpenaiEmbeddings,
        &json!({"model": "m", "input": ["a", "b"]}),
    );
    assert_eq!(call.prompt.messages, 2);
}

#[test]
fn unlisted_fields_are_bounded() {
    let members: Vec<_> = (0..500)
        .map(|i| format!("\"{}{i}\":1", "x".repeat(200)))
        .collect();
    let call = chat(&format!(
        r#"{{"model":"m","messages":[],{}}}"#,
        members.join(",")
    ));
    assert_eq!(call.unlisted.len(), UNLISTED_MAX);
    assert!(call.unlisted.iter().all(|name| name.len() <= 64));
}

#[test]
fn lists_are_bounded() {
    let body = |messages: usize, tools: usize| {
        let list = |one: &str, many: usize| vec![one; many].join(",");
        let (messages, tools) = (list("{}", messages), list("{}", tools));
        format!(r#"{{"model":"m","messages":[{messages}],"tools":[{tools}]}}"#)
    };
    let read = |body: String| decode(Dialect::OpenaiChat, body.into());
    assert!(read(body(MESSAGES_MAX, 4096)).is_ok());
    let error = read(body(MESSAGES_MAX + 1, 0)).unwrap_err();
    assert_eq!(error.param.as_deref(), Some("messages"));
    assert_eq!(
        read(body(0, 4097)).unwrap_err().param.as_deref(),
        Some("tools")
    );
}

/// The stack holds at the deepest nesting that is read, in whatever place.
#[test]
fn deep_bodies_are_read_or_refused() {
    let wrap = |open: &str, close: &str, levels: usize| {
        [open.repeat(levels), "1".to_owned(), close.repeat(levels)].concat()
    };
    for levels in [30, 60, 126, 10_000] {
        for (name, open, close) in [
            ("messages", r#"[{"content":"#, "}]"),
            ("messages", r#"[{"output":"#, "}]"),
            ("tools", r#"[{"tools":"#, "}]"),
            ("tools", r#"[{"parameters":"#, "}]"),
            ("system", r#"[{"source":{"content":"#, "}}]"),
        ] {
            let messages = if name == "messages" {
                ""
            } else {
                r#""messages":[],"#
            };
            let nested = wrap(open, close, levels);
            let body = format!(r#"{{"model":"m",{messages}"{name}":{nested}}}"#);
            for dialect in DIALECTS {
                let result = decode(dialect, body.clone().into());
                assert!(levels < 100 || result.is_err(), "{name} {levels}");
            }
        }
    }
}

#[test]
fn an_empty_object_takes_every_default() {
    let call = chat(r#"{"model":"m","messages":[],"web_search_options":{},"models":[]}"#);
    assert_eq!(call.prompt.hosted_tools, [("web_search".to_owned(), None)]);
    assert!(call.selectors.surcharges.is_empty());
}

#[test]
fn tables_have_no_duplicates_and_fit_the_mask() {
    for dialect in DIALECTS {
        let table = fields::table(dialect);
        assert!(table.len() <= 128);
        let mut names: Vec<_> = table.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), table.len(), "{dialect:?}");
    }
}
