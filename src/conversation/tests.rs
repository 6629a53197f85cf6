//! What is learnt of a prefix, and when it may be used.

use super::*;
use crate::dialect::{Call, Dialect, decode};
use serde_json::{Value as Json, json};

fn read(dialect: Dialect, body: &Json) -> Call {
    decode(dialect, body.to_string().into()).unwrap()
}

fn chat(messages: &Json) -> Call {
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let body = json!({"model": "m", "messages": messages, "tools": tools});
    read(Dialect::OpenaiChat, &body)
}

fn ask(text: &str) -> Json {
    json!({"role": "user", "content": text})
}

#[test]
fn digests_are_keyed_and_parts_do_not_run_together() {
    let digest = |parts: &[&str]| {
        let mut digester = Digester::default();
        for part in parts {
            digester.add(part.as_bytes());
            digester.end();
        }
        digester.digest()
    };
    assert_eq!(digest(&["a", "b"]), digest(&["a", "b"]));
    assert_ne!(digest(&["ab"]), digest(&["a", "b"]));
    assert_ne!(digest(&["a"]), xxhash_rust::xxh3::xxh3_128(b"a\x1e"));
    let long = "x".repeat(10_000);
    assert_ne!(digest(&[&long]), digest(&[&long, ""]));
}

#[test]
fn cuts_are_left_out_wherever_they_stand() {
    let body = b"0123456789";
    let mut cut = Digester::default();
    cut.add_without(body, &(2..8), &[0..1, 3..4, 6..8, 9..10]);
    let mut plain = Digester::default();
    plain.add_without(b"245", &(0..3), &[]);
    assert_eq!(cut.digest(), plain.digest());
    for size in [6, 200, 241, 5_000] {
        let body: String = ('a'..='z').cycle().take(size).collect();
        let whole = body.replace("cde", "");
        let cuts: Vec<_> = body
            .match_indices("cde")
            .map(|(at, _)| at..at + 3)
            .collect();
        let cut = digest_without(body.as_bytes(), &(0..size), &cuts);
        assert_eq!(
            cut,
            digest_without(whole.as_bytes(), &(0..whole.len()), &[])
        );
    }
}

#[test]
fn a_count_is_found_for_the_longest_prefix() {
    let known = Known::new(100);
    let answer = json!({"role": "assistant", "content": "fine"});
    let first = chat(&json!([ask("one")]));
    let second = chat(&json!([ask("one"), answer, ask("two")]));
    let third = chat(&json!([
        ask("one"),
        answer,
        ask("two"),
        answer,
        ask("three"),
        ask("four")
    ]));
    assert_eq!(known.seen(&third, "m").prefix, None);
    known.learn(&first, known.seen(&first, "m").lane, 40);
    assert_eq!(known.seen(&third, "m").prefix.unwrap().rest_messages, 5);
    known.learn(&second, known.seen(&second, "m").lane, 60);
    let prefix = known.seen(&third, "m").prefix.unwrap();
    assert_eq!((prefix.tokens, prefix.rest_messages), (60, 3));
    assert_eq!(prefix.rest_from, third.chain.links[2].at.end);
    assert_eq!(known.seen(&second, "m").prefix.unwrap().rest_messages, 0);
    known.learn(&second, known.seen(&second, "m").lane, 55);
    assert_eq!(
        known.seen(&second, "m").prefix.unwrap().tokens,
        60,
        "both counts are bounded"
    );
}

#[test]
fn a_count_holds_for_its_model_dialect_and_frame_only() {
    let known = Known::new(100);
    let body =
        |effort: &str| json!({"model": "m", "messages": [ask("one")], "reasoning_effort": effort});
    let call = read(Dialect::OpenaiChat, &body("low"));
    known.learn(&call, known.seen(&call, "m-1").lane, 40);
    assert!(known.seen(&call, "m-1").prefix.is_some());
    assert_eq!(known.seen(&call, "m-2").prefix, None);
    assert_eq!(
        known
            .seen(&read(Dialect::OpenaiChat, &body("high")), "m-1")
            .prefix,
        None
    );
    let other = json!({"model": "m", "max_tokens": 1, "messages": [ask("one")]});
    assert_eq!(
        known
            .seen(&read(Dialect::AnthropicMessages, &other), "m-1")
            .prefix,
        None
    );
}

#[test]
fn nothing_is_learnt_of_what_the_provider_rewrites() {
    let known = Known::new(100);
    let call = read(
        Dialect::OpenaiResponses,
        &json!({"model": "m", "input": "hi", "truncation": "auto"}),
    );
    known.learn(&call, known.seen(&call, "m").lane, 40);
    assert_eq!(known.seen(&call, "m").prefix, None);
    let call = chat(&json!([ask("one")]));
    known.learn(&call, known.seen(&call, "m").lane, 0);
    assert_eq!(known.seen(&call, "m").prefix, None);
}

#[test]
fn what_is_stored_is_known_by_its_id() {
    let known = Known::new(100);
    let body = json!({"model": "m", "previous_response_id": "resp_1", "input": [
        {"type": "item_reference", "id": "msg_1"}, ask("go on")]});
    let call = read(Dialect::OpenaiResponses, &body);
    let seen = || known.seen(&call, "m").stored;
    assert_eq!(seen(), None);
    known.remember(Dialect::OpenaiResponses, "m", "resp_1", 1000);
    assert_eq!(seen(), None, "one of two");
    known.remember(Dialect::OpenaiResponses, "m", "msg_1", 30);
    assert_eq!(seen(), Some(1030));
    assert_eq!(known.seen(&call, "other").stored, None);
    known.learn(&call, known.seen(&call, "m").lane, 900);
    assert_eq!(seen(), Some(0), "the count holds it");
    assert_eq!(known.seen(&chat(&json!([])), "m").stored, Some(0));
}
