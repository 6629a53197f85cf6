//! Bounds that are never too small, and tight where something is known.

use super::*;
use crate::conversation::Known;
use crate::conversation::Lane;
use crate::dialect::decode;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

const CARD: Overheads = Overheads {
    per_request: 3,
    per_message: 4,
    per_tool: 10,
    per_builtin_tool: 500,
    tool_prompt: 300,
    structured: 50,
    per_ref_schema: 1000,
    worst_image: 1500,
    worst_file: 20_000,
    worst_audio: 2_000,
    worst_unknown: 30_000,
    context_window: Some(100_000),
};

const NOTHING: Seen = Seen {
    prefix: None,
    stored: None,
    lane: Lane::NONE,
};

fn learn(known: &Known, call: &Call, model: &str, tokens: u64) {
    known.learn(call, known.seen(call, model).lane, tokens);
}

fn read(dialect: Dialect, body: &Json) -> Call {
    decode(dialect, body.to_string().into()).unwrap()
}

fn chat(messages: Json) -> Call {
    read(
        Dialect::OpenaiChat,
        &json!({"model": "m", "messages": messages}),
    )
}

fn ask(text: &str) -> Json {
    json!({"role": "user", "content": text})
}

#[test]
fn everything_counts() {
    let call = chat(json!([ask("hello"), ask("there")]));
    let bound = input_bound(&call, &CARD, &NOTHING);
    assert_eq!(bound.all, call.body.len() as u64 + 3 + 2 * 4);
    assert_eq!(bound.fresh, bound.all);
    let call = read(
        Dialect::OpenaiChat,
        &json!({"model": "m", "messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}],
            "tools": [{"type": "function", "function": {"name": "f",
                "parameters": {"$ref": "#"}}}, {"type": "web_search"}],
            "response_format": {"type": "json_object"}}),
    );
    let text = call.prompt.text_bytes;
    assert!(text < call.body.len() as u64);
    let wanted = text + 3 + 4 + 1500 + 2 * 10 + 500 + 300 + 1000 + 50;
    assert_eq!(input_bound(&call, &CARD, &NOTHING).all, wanted);
}

#[test]
fn no_bound_exceeds_the_window() {
    let call = chat(json!([ask(&"x".repeat(500_000))]));
    assert_eq!(input_bound(&call, &CARD, &NOTHING).all, 100_000);
    let inputs: Vec<_> = (0..10).map(|_| "x".repeat(50_000)).collect();
    let call = read(
        Dialect::OpenaiEmbeddings,
        &json!({"model": "m", "input": inputs}),
    );
    let all = input_bound(&call, &CARD, &NOTHING).all;
    assert!(all > 500_000, "each input has the window for itself");
}

#[test]
fn what_is_unseen_takes_the_window_unless_its_size_is_known() {
    let body = json!({"model": "m", "input": "go on", "previous_response_id": "resp_1"});
    let call = read(Dialect::OpenaiResponses, &body);
    let known = Known::new(10);
    let bound = |overheads: &Overheads| input_bound(&call, overheads, &known.seen(&call, "m")).all;
    assert_eq!(bound(&CARD), 100_000);
    let endless = Overheads {
        context_window: None,
        ..CARD
    };
    assert_eq!(bound(&endless), u64::MAX);
    known.remember(Dialect::OpenaiResponses, "m", "resp_1", 5_000);
    assert_eq!(bound(&CARD), call.body.len() as u64 + 3 + 4 + 5_000);
    let opaque = json!({"model": "m", "input": "go on", "conversation": "c"});
    let call = read(Dialect::OpenaiResponses, &opaque);
    assert_eq!(
        input_bound(&call, &CARD, &known.seen(&call, "m")).all,
        100_000
    );
}

#[test]
fn a_known_prefix_makes_the_bound_tight() {
    let known = Known::new(10);
    let long = "word ".repeat(5_000);
    learn(&known, &chat(json!([ask(&long)])), "m", 5_010);
    let answer = json!({"role": "assistant", "content": "fine"});
    let call = chat(json!([ask(&long), answer, ask("and?")]));
    let bound = input_bound(&call, &CARD, &known.seen(&call, "m"));
    let rest = format!(",{answer},{}]", ask("and?")).len() as u64;
    assert_eq!(bound.all, 5_010 + rest + 2 * 4);
    assert_eq!(bound.fresh, rest + 2 * 4);
}

#[test]
fn a_picture_behind_a_url_may_be_another_by_now() {
    let known = Known::new(10);
    let look = json!({"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "https://x/y.png"}}]});
    let call = chat(json!([look]));
    learn(&known, &call, "m", 100);
    let bound = input_bound(&call, &CARD, &known.seen(&call, "m"));
    assert_eq!(
        bound.all,
        100 + 1 + 1500,
        "the closing bracket is a byte of text"
    );
}

#[test]
fn payloads_outside_the_messages_shorten_no_rest() {
    let known = Known::new(10);
    let image = json!({"type": "image", "source": {"type": "base64", "data": "A".repeat(5_000)}});
    // Members by hand: the system text stands behind the messages.
    let body = |messages: Json| {
        let system = json!([image]);
        let text = format!(r#"{{"model":"m","messages":{messages},"system":{system}}}"#);
        decode(Dialect::AnthropicMessages, text.into()).unwrap()
    };
    learn(&known, &body(json!([ask("one")])), "m", 2_000);
    let call = body(json!([ask("one"), ask(&"x".repeat(1_000))]));
    let bound = input_bound(&call, &CARD, &known.seen(&call, "m"));
    assert!(bound.fresh > 1_000 && bound.fresh < 1_100, "{bound:?}");
}

#[test]
fn the_tokenizer_is_tighter_and_never_below_the_text() {
    let text = "The quick brown fox jumps over the lazy dog. ".repeat(200);
    let call = chat(json!([{"role": "system", "content": "Be brief."}, ask(&text)]));
    let cheap = input_bound(&call, &CARD, &NOTHING).all;
    let exact = exact_bound(Encoding::O200k, &call, &CARD, &NOTHING)
        .unwrap()
        .all;
    let real = bpe_openai::o200k_base().count(text.as_str()) as u64;
    assert!(exact > real && exact < real + 150, "{real} <= {exact}");
    assert!(exact * 3 < cheap);
    let known = Known::new(10);
    let brief = chat(json!([{"role": "system", "content": "Be brief."}]));
    learn(&known, &brief, "m", 9);
    let seen = known.seen(&call, "m");
    let tight = exact_bound(Encoding::Cl100k, &call, &CARD, &seen).unwrap();
    assert!(tight.fresh < tight.all && tight.all <= exact);
    let huge = chat(json!([ask(&"x".repeat(EXACT_BYTES_MAX + 1))]));
    assert_eq!(exact_bound(Encoding::O200k, &huge, &CARD, &NOTHING), None);
}

/// The rendered prompt as OpenAI describes it, counted for real.
fn rendered(messages: &[(String, String)]) -> u64 {
    let tokens = |text: &str| bpe_openai::o200k_base().count(text) as u64;
    let each = |(role, text): &(String, String)| 3 + tokens(role) + tokens(text);
    3 + messages.iter().map(each).sum::<u64>()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn both_bounds_hold_for_rendered_chats(
        messages in prop::collection::vec(("user|assistant|system", any::<String>()), 0..6),
    ) {
        let list: Vec<_> = messages
            .iter()
            .map(|(role, content)| json!({"role": role, "content": content}))
            .collect();
        let call = chat(json!(list));
        let real = rendered(&messages);
        let exact = exact_bound(Encoding::O200k, &call, &CARD, &NOTHING).unwrap().all;
        prop_assert!(real <= exact);
        prop_assert!(exact <= input_bound(&call, &CARD, &NOTHING).all);
    }
}

/// Not a benchmark: figures to look at, with `cargo test --release --lib -- --ignored --nocapture`.
#[test]
#[ignore = "prints timings"]
fn timings() {
    let time = |name: &str, rounds: u32, mut run: Box<dyn FnMut()>| {
        // The fastest of some batches: other work on the machine only ever adds.
        let batch = rounds.div_ceil(50);
        let nanos = (0..50).map(|_| {
            let start = std::time::Instant::now();
            (0..batch).for_each(|_| run());
            start.elapsed().as_nanos() / u128::from(batch)
        });
        let nanos = nanos.min().unwrap_or(0);
        println!("{name}: {nanos} ns");
    };
    let line = "    let total = lines.iter().map(|line| line.amount).sum::<u64>();\n";
    for (name, bytes, text) in [
        ("1 kB", 1_000, "plain words "),
        ("64 kB", 64_000, "plain words "),
        ("64 kB of code", 64_000, line),
        ("64 kB of German", 64_000, "Größe über Maß "),
    ] {
        let messages: Vec<_> = (0..4)
            .map(|_| ask(&text.repeat(bytes / text.len() / 4)))
            .collect();
        let body = json!({"model": "gpt-4o", "temperature": 0.2, "max_tokens": 500, "stream": true,
            "messages": messages, "tools": [{"type": "function", "function": {"name": "f"}}]});
        let body = bytes::Bytes::from(body.to_string());
        let call = decode(Dialect::OpenaiChat, body.clone()).unwrap();
        let known = Known::new(1000);
        learn(&known, &call, "gpt-4o", 1000);
        let scan = body.clone();
        time(
            &format!("{name}: scan"),
            20_000,
            Box::new(move || {
                let mut cursor = crate::json::Cursor::new(&scan).unwrap();
                std::hint::black_box(cursor.skip().unwrap());
            }),
        );
        time(
            &format!("{name}: decode"),
            20_000,
            Box::new(move || {
                std::hint::black_box(decode(Dialect::OpenaiChat, body.clone()).unwrap());
            }),
        );
        let edits = crate::dialect::Edits {
            include_usage: true,
            ..Default::default()
        };
        let one = call.clone();
        time(
            &format!("{name}: rewrite"),
            20_000,
            Box::new(move || {
                std::hint::black_box(crate::dialect::rewrite(&one, &edits));
            }),
        );
        let one = call.clone();
        time(
            &format!("{name}: bound"),
            20_000,
            Box::new(move || {
                let seen = known.seen(&one, "gpt-4o");
                std::hint::black_box(input_bound(&one, &CARD, &seen));
            }),
        );
        time(
            &format!("{name}: exact"),
            20,
            Box::new(move || {
                std::hint::black_box(exact_bound(Encoding::O200k, &call, &CARD, &NOTHING));
            }),
        );
    }
    for (name, text) in [
        ("spaces", " "),
        ("letters", "a"),
        ("newlines", "\n"),
        ("signs", "=-"),
    ] {
        let call = chat(json!([ask(&text.repeat(400_000 / text.len()))]));
        time(
            &format!("400 kB of {name}: exact"),
            1,
            Box::new(move || {
                std::hint::black_box(exact_bound(Encoding::O200k, &call, &CARD, &NOTHING));
            }),
        );
    }
}
