//! What enters the prompt: media told from text, and the chain.

use super::*;
use crate::units::NanoUsd;

const CHAT_IMAGE: &str = "data:image/png;base64,AAAABBBBCCCCDDDD";

#[test]
fn media_are_counted_apart_in_chat() {
    let call = read(
        Dialect::OpenaiChat,
        &json!({"model": "m", "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": CHAT_IMAGE, "detail": "low"}},
                {"image_url": {"url": "https://x/y.png"}, "type": "image_url"},
                {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "wav"}},
                {"type": "file", "file": {"file_data": "QUJDREVG", "filename": "f"}},
                {"type": "file", "file": {"file_id": "file-1"}},
                {"type": "hologram", "data": "x"}]},
            {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "t"}]},
        ]}),
    );
    let media = call.prompt.media;
    assert_eq!((media.images, media.remote_images), (2, 1));
    assert_eq!((media.audio, media.files, media.unknown), (1, 2, 1));
    let payloads = CHAT_IMAGE.len() + "QUJD".len() + "QUJDREVG".len() + 6;
    assert_eq!(media.payload_bytes, payloads as u64);
    assert_eq!(call.prompt.text_bytes, (call.body.len() - payloads) as u64);
    assert_eq!(call.answered_tools().collect::<Vec<_>>(), ["call_1"]);
}

#[test]
fn media_are_found_inside_tool_results() {
    let source = json!({"type": "base64", "media_type": "image/png", "data": "AAAA"});
    let call = read(
        Dialect::AnthropicMessages,
        &json!({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": [
                {"type": "image", "source": source},
                {"type": "document", "source": {"type": "text", "data": "plain words",
                    "media_type": "text/plain"}},
                {"type": "document", "source": {"type": "content", "content": [
                    {"type": "image", "source": {"type": "url", "url": "https://x/y"}}]}},
                {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
                {"type": "tool_reference", "tool_name": "f"}]},
            {"type": "web_fetch_tool_result", "tool_use_id": "srvtoolu_1", "content":
                {"type": "web_fetch_result", "url": "https://x", "content": {"type": "document",
                    "source": {"type": "base64", "media_type": "application/pdf", "data": "BBBB"}}}},
        ]}]}),
    );
    let media = call.prompt.media;
    assert_eq!((media.images, media.remote_images, media.files), (2, 1, 2));
    assert_eq!((media.unknown, media.tool_references), (0, 1));
    assert_eq!(media.payload_bytes, 2 * 6, "literal documents are text");
    let answered: Vec<_> = call.answered_tools().collect();
    assert_eq!(answered, ["toolu_1", "srvtoolu_1"]);
}

#[test]
fn media_are_found_in_response_items() {
    let call = read(
        Dialect::OpenaiResponses,
        &json!({"model": "m", "input": [
            {"role": "user", "content": [{"type": "input_image", "image_url": CHAT_IMAGE},
                {"type": "input_file", "file_url": "https://x/f.pdf"}]},
            {"type": "computer_call_output", "call_id": "c1",
                "output": {"type": "computer_screenshot", "image_url": CHAT_IMAGE}},
            {"type": "function_call_output", "call_id": "c2",
                "output": [{"type": "input_image", "file_id": "file_1"}]},
            {"type": "image_generation_call", "id": "ig_1", "result": "AAAA"},
            {"type": "additional_tools", "role": "developer", "tools": [{"type": "web_search"}]},
        ]}),
    );
    let media = call.prompt.media;
    assert_eq!((media.images, media.files, media.remote_files), (4, 1, 1));
    assert_eq!(media.payload_bytes, (2 * (CHAT_IMAGE.len() + 2) + 6) as u64);
    assert_eq!((media.tools, media.builtin_tools), (1, 1));
    assert_eq!(call.answered_tools().collect::<Vec<_>>(), ["c1", "c2"]);
    assert_eq!(call.prompt.messages, 5);
}

#[test]
fn payloads_hide_in_no_text() {
    let text = "x".repeat(1000);
    let call = read(
        Dialect::OpenaiChat,
        &json!({"model": "m", "messages": [{"role": "user", "content": [
            {"type": "text", "text": "t", "data": text, "image_url": format!("data:{text}")},
            {"type": "new_kind", "file_data": text}]}]}),
    );
    assert_eq!(call.prompt.media.payload_bytes, 0);
    assert_eq!(call.prompt.text_bytes, call.body.len() as u64);
}

#[test]
fn references_in_schemas_are_counted() {
    let schema = json!({"$defs": {"a": {"type": "object"}}, "properties":
        {"x": {"$ref": "#/$defs/a"}, "y": {"anyOf": [{"$ref": "#/$defs/a"}]}}});
    let call = read(
        Dialect::OpenaiChat,
        &json!({"model": "m", "messages": [], "tools": [
            {"type": "function", "function": {"name": "f", "parameters": schema}}],
            "response_format": {"type": "json_schema", "json_schema": {"schema": schema}}}),
    );
    assert_eq!(call.prompt.schema_refs, 4);
    assert!(call.prompt.structured);
    let plain = json!({"model": "m", "messages": [], "response_format": {"type": "text"}});
    assert!(!read(Dialect::OpenaiChat, &plain).prompt.structured);
    let call = read(
        Dialect::OpenaiResponses,
        &json!({"model": "m", "input": "x", "text": {"format": {"type": "json_schema",
            "schema": schema}}}),
    );
    assert_eq!((call.prompt.schema_refs, call.prompt.structured), (2, true));
}

fn root(dialect: Dialect, body: Json) -> u128 {
    read(dialect, &body).chain.root
}

#[test]
fn the_root_is_the_agent() {
    let tools = json!([{"name": "a", "input_schema": {}}, {"name": "b", "input_schema": {}}]);
    let marked = json!([{"name": "b", "input_schema": {}, "cache_control": {"type": "ephemeral"}},
        {"name": "a", "input_schema": {}}]);
    let base = json!({"model": "m", "messages": [{"role": "user", "content": "1"}],
        "system": [{"type": "text", "text": "You are A."}], "tools": tools});
    let same = json!({"model": "n", "messages": [], "tools": marked, "system": [
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=1.2.3; cch=1"},
        {"cache_control": {"type": "ephemeral", "ttl": "1h"}, "type": "text", "text": "You are A."}]});
    let other = json!({"model": "m", "messages": [], "tools": tools, "system": "You are B."});
    let dialect = Dialect::AnthropicMessages;
    assert_eq!(root(dialect, base.clone()), root(dialect, same.clone()));
    assert_ne!(root(dialect, base.clone()), root(dialect, other));
    let marks = read(dialect, &same).prompt.volatile_bytes;
    assert!(
        marks > 60,
        "what is not in the frame comes on top of a count"
    );
    let system = json!({"role": "system", "content": "You are A."});
    let ask = |text: &str| json!({"role": "user", "content": text});
    let one = json!({"model": "m", "messages": [system, ask("1")]});
    let two = json!({"model": "m", "messages": [system, ask("2"), ask("3")]});
    assert_eq!(
        root(Dialect::OpenaiChat, one),
        root(Dialect::OpenaiChat, two)
    );
}

#[test]
fn a_chain_extends_another_where_its_messages_do() {
    let ask = |text: &str, mark: bool| {
        let mut part = json!({"type": "text", "text": text});
        if mark {
            part["cache_control"] = json!({"type": "ephemeral"});
        }
        json!({"role": "user", "content": [part]})
    };
    let answer = json!({"role": "assistant", "content": "fine"});
    let digests = |messages: Json| -> Vec<u128> {
        let body = json!({"model": "m", "max_tokens": 5, "messages": messages});
        let call = read(Dialect::AnthropicMessages, &body);
        call.chain.links.iter().map(|link| link.digest).collect()
    };
    let short = digests(json!([ask("how?", true)]));
    let long = digests(json!([ask("how?", false), answer, ask("and?", true)]));
    assert_eq!(short[0], long[0], "moving cache marks change nothing");
    let longer = digests(json!([
        ask("how?", false),
        answer,
        ask("and?", false),
        answer
    ]));
    assert_eq!(long[2], longer[2]);
    let other = digests(json!([ask("why?", false), answer, ask("and?", false)]));
    assert_ne!(long[2], other[2], "a digest holds everything before it");
}

#[test]
fn the_frame_holds_every_field_that_enters_the_prompt() {
    let base = json!({"model": "m", "messages": []});
    let frame = |name: &str, value: Json| {
        let mut body = base.clone();
        body[name] = value;
        read(Dialect::OpenaiChat, &body).prompt.frame
    };
    let plain = frame("model", json!("m"));
    for aside in ["temperature", "seed", "max_tokens"] {
        assert_eq!(frame(aside, json!(1)), plain, "{aside}");
    }
    assert_eq!(frame("tools", json!(null)), plain);
    let mut seen = vec![plain];
    for (name, value) in [
        (
            "tools",
            json!([{"type": "function", "function": {"name": "f"}}]),
        ),
        (
            "tools",
            json!([{"type": "function", "function": {"name": "g"}}]),
        ),
        ("tool_choice", json!("required")),
        ("response_format", json!({"type": "json_object"})),
        ("reasoning_effort", json!("high")),
        ("never_heard_of", json!(1)),
    ] {
        let frame = frame(name, value);
        assert!(!seen.contains(&frame), "{name}");
        seen.push(frame);
    }
}

proptest! {
    /// Damage anywhere in a body gives an answer or an error, never a panic; and what is answered
    /// leaves again as it came.
    #[test]
    fn damaged_bodies_never_panic(
        which in 0_usize..5,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let body = json!({"model": "m", "max_tokens": 5, "stream": true, "input": [{"role": "user",
            "content": [{"type": "input_image", "image_url": "data:x"}]}, {"type": "reasoning",
            "id": "r"}], "prompt": ["a", [1, 2]], "messages": [{"role": "system", "content": "s"},
            {"role": "user", "content": [{"type": "document", "source": {"type": "base64",
            "data": "AA"}, "cache_control": {"type": "ephemeral"}}]}], "metadata": {"user_id":
            "u_session_1", "user_task_id": "t"}, "tools": [{"type": "web_search"}],
            "tool_choice": {"type": "auto"}, "stream_options": {}, "thinking": {"budget_tokens": 1}});
        let mut body = body.to_string().into_bytes();
        for (at, with) in damage {
            let at = at.index(body.len());
            body[at] = with;
        }
        let body = Bytes::from(body);
        if let Ok(call) = decode(DIALECTS[which], body.clone()) {
            prop_assert_eq!(rewrite(&call, &Edits::default()), body);
            let edits = Edits { model: Some("other".to_owned()), output_cap: Some(("max_tokens", 7)),
                include_usage: true, no_parallel_tools: true, strip_foreign: true, notice: Some("\"x\"".to_owned()), no_tools: which % 2 == 0,
                only_cap: (which % 2 == 1).then_some("max_tokens"), max_price: Some([NanoUsd(1), NanoUsd(2_500_000_000)]), task_budget: Some(7) };
            let out = rewrite(&call, &edits);
            prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&out).is_ok());
        }
    }
}
