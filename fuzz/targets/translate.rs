//! Translation: what leaves is of the target's dialect and asks for what the caller asked for; what
//! comes back is JSON, and the same wherever the network cuts it.
//!
//! The input: a byte for the pair, one for what may be left out, the sizes of the pieces, and then,
//! with NULs between, the request, the plain answer and the stream.
#![no_main]

use bursar::dialect::answer::AnswerReader;
use bursar::dialect::translate::{Back, HINTS, Pair, To, request};
use bursar::dialect::{Dialect, decode, decode_for};
use bytes::Bytes;
use http::StatusCode;
use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;

/// How often a stream is translated anew because the clock's second, which its events tell, has passed.
const ANEW: usize = 3;

const fn cap_field(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::AnthropicMessages => "max_tokens",
        Dialect::Gemini => "maxOutputTokens",
        Dialect::Bedrock => "maxTokens",
        _ => "max_completion_tokens",
    }
}

/// What the setting leaves out.
fn dropped(choice: u8) -> Vec<String> {
    let names = [
        "seed",
        "top_k",
        "logprobs",
        "stop",
        "thinking",
        "n",
        "tools",
        "tool_choice",
    ];
    let chosen = names.iter().enumerate();
    let chosen = chosen.filter(|(bit, _)| choice & 1 << bit != 0);
    chosen.map(|(_, name)| (*name).to_owned()).collect()
}

/// The request as it leaves, checked; the way back of its answer.
fn leaves(pair: Pair, body: &[u8], drop: &[String]) -> Option<Back> {
    let body = Bytes::copy_from_slice(body);
    let call = decode(pair.caller(), body.clone()).ok()?;
    let to = To {
        model: "target \"1\"",
        output_cap_field: cap_field(pair.target()),
        output_when_unasked: 8_192,
        asks_usage: true,
        drop,
    };
    let translated = match request(pair, &body, &to) {
        Ok(translated) => translated,
        Err(unfit) => {
            assert!(!unfit.to_string().is_empty());
            return None;
        }
    };
    let in_path = pair.target().is_named_by_path();
    let named = in_path.then_some(to.model);
    let again = decode_for(pair.target(), translated.body.clone(), named);
    let again = again.unwrap_or_else(|error| panic!("{error}: {:?}", translated.body));
    assert_eq!(again.model, to.model);
    assert!(in_path || again.stream == call.stream);
    assert_eq!(
        again.asked_output,
        call.asked_output.or(translated.output_cap)
    );
    assert!(!again.stream || again.usage_asked, "its bill is known");
    assert!(
        again.outputs <= call.outputs,
        "no more answers than asked for"
    );
    for name in &translated.dropped {
        let is_hint = HINTS.contains(&&**name) || pair.hints().contains(&&**name);
        assert!(is_hint || drop.contains(name), "{name}");
    }
    Some(translated.back)
}

/// A way back where the request is none.
fn usual(pair: Pair) -> Back {
    let body: &[u8] = match pair.caller() {
        Dialect::OpenaiResponses => br#"{"model":"m","input":"a","stream":true}"#,
        _ => br#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"a"}],"stream":true}"#,
    };
    leaves(pair, body, &[]).expect("it can be carried")
}

/// Of JSON's grammar: half a surrogate pair goes through as it came.
fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(text).is_ok()
}

fn answers(back: &Back, body: &[u8]) {
    if let Ok(answer) = back.answer(body) {
        assert!(is_json(&answer), "{answer:?}");
        let mut reader = AnswerReader::new(back.pair().caller());
        reader.body(&answer);
        assert!(reader.finish(true).error.is_none());
    }
    for status in [400, 429, 529] {
        let status = StatusCode::from_u16(status).expect("a status");
        let (_, error) = back.error(status, body);
        assert!(is_json(&error), "{error:?}");
    }
}

/// What the caller gets of a stream that comes in pieces of these sizes.
fn pass(back: &Back, body: &[u8], sizes: &[usize]) -> Vec<u8> {
    let mut stream = back.stream();
    let mut out = Vec::new();
    let mut rest = body;
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() {
        let size = sizes.next().map_or(rest.len(), |size| *size);
        let (piece, after) = rest.split_at(size.clamp(1, rest.len()));
        rest = after;
        out.extend_from_slice(&stream.push(piece));
    }
    out.extend_from_slice(&stream.end());
    assert!(stream.end().is_empty(), "it ends once");
    out
}

fn streams(back: &Back, body: &[u8], sizes: &[usize]) {
    let mut tries = (0..ANEW).map(|_| {
        let whole = pass(back, body, &[body.len().max(1)]);
        (whole, pass(back, body, sizes))
    });
    let same = tries.find(|(whole, pieces)| whole == pieces);
    let (whole, _) = same.expect("the same, however it is cut");
    let text = std::str::from_utf8(&whole).expect("events are text");
    assert!(text.is_empty() || text.ends_with("\n\n"));
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(data) = line.strip_prefix("data: ") {
            assert!(data == "[DONE]" || is_json(data.as_bytes()), "{data}");
        } else {
            assert!(
                line.starts_with("event: ") || line.starts_with(':'),
                "{line}"
            );
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&[pair, choice, cuts @ ..], data)) = data.split_first_chunk::<6>() else {
        return;
    };
    let pair = Pair::ALL[usize::from(pair) % Pair::ALL.len()];
    let mut parts = data.split(|byte| *byte == 0);
    let mut part = || parts.next().unwrap_or_default();
    let back = leaves(pair, part(), &dropped(choice));
    let back = back.unwrap_or_else(|| usual(pair));
    answers(&back, part());
    streams(&back, part(), &cuts.map(usize::from));
});
