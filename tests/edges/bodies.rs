//! Bodies that are no requests: each a typed 400 in the caller's dialect, and no call.

use crate::rig::{CHAT, HIGH_LIMITS, Shape, World, assert_refused};

/// Wrong in any dialect. `MODEL` and `REST` stand for a model and for what the dialect needs besides.
const WRONG: &[(&str, &[u8])] = &[
    ("empty", b""),
    ("blank", b" \r\n\t "),
    ("words", b"hello"),
    ("a list", b"[MODEL]"),
    ("a text", b"\"MODEL\""),
    ("null", b"null"),
    ("cut off", b"{\"model\":MODEL,REST"),
    ("cut off in a text", b"{\"model\":\"sim-a"),
    ("more behind it", b"{\"model\":MODEL,REST} {}"),
    ("a comma too many", b"{\"model\":MODEL,REST,}"),
    ("a comment", b"{\"model\":MODEL,REST /* hi */}"),
    ("byte-order mark", b"\xef\xbb\xbf{\"model\":MODEL,REST}"),
    (
        "bytes that are no UTF-8",
        b"{\"model\":MODEL,REST,\"x\":\"\xff\xfe\"}",
    ),
    (
        "a surrogate in UTF-8",
        b"{\"model\":MODEL,REST,\"x\":\"\xed\xa0\x80\"}",
    ),
    (
        "an overlong slash",
        b"{\"model\":MODEL,REST,\"x\":\"\xc0\xaf\"}",
    ),
    ("UTF-16", b"{\x00\"\x00m\x00\"\x00:\x001\x00}\x00"),
    (
        "a control character",
        b"{\"model\":MODEL,REST,\"x\":\"\x01\"}",
    ),
    (
        "a malformed escape",
        b"{\"model\":MODEL,REST,\"x\":\"\\q\"}",
    ),
    ("a malformed number", b"{\"model\":MODEL,REST,\"x\":01}"),
    ("no number", b"{\"model\":MODEL,REST,\"x\":NaN}"),
    ("single quotes", b"{'model':MODEL,REST}"),
    ("no model", b"{REST}"),
    ("the model is null", b"{\"model\":null,REST}"),
    ("the model is a number", b"{\"model\":4,REST}"),
    ("the model is a list", b"{\"model\":[MODEL],REST}"),
    ("the model is empty", b"{\"model\":\"\",REST}"),
    (
        "two models",
        b"{\"model\":MODEL,REST,\"model\":\"sim-cheap\"}",
    ),
    (
        "two models, one escaped",
        b"{\"model\":MODEL,REST,\"\\u006dodel\":\"sim-cheap\"}",
    ),
    (
        "a model in other letters",
        b"{\"model\":MODEL,REST,\"Model\":\"sim-cheap\"}",
    ),
];

/// Wrong values of fields that bound what a chat costs.
const WRONG_IN_CHAT: &[&str] = &[
    r#""max_tokens":-1"#,
    r#""max_tokens":1.5"#,
    r#""max_tokens":1e3"#,
    r#""max_tokens":"100""#,
    r#""max_tokens":true"#,
    r#""max_tokens":[1]"#,
    r#""max_tokens":99999999999999999999999999"#,
    r#""max_tokens":9223372036854775808"#,
    r#""max_completion_tokens":-5"#,
    r#""max_completion_tokens":{"a":1}"#,
    r#""max_tokens":5,"max_tokens":6"#,
    r#""max_tokens":5,"max\u005ftokens":6"#,
    r#""max_tokens":5,"Max_Tokens":6"#,
    r#""n":0"#,
    r#""n":-1"#,
    r#""n":1.0"#,
    r#""n":"2""#,
    r#""n":1000000000"#,
    r#""n":99999999999999999999999999"#,
    r#""n":1,"n":2"#,
    r#""stream":"yes""#,
    r#""stream":1"#,
    r#""stream":false,"stream":true"#,
    r#""stream_options":"usage""#,
    r#""stream_options":{"include_usage":1}"#,
    r#""tools":{}"#,
    r#""tools":["look_up"]"#,
    r#""metadata":"task""#,
    r#""metadata":{"user_task_id":7}"#,
    r#""metadata":{"user_task_id":"a b"}"#,
    r#""metadata":{"user_task_id":"a","user_task_id":"b"}"#,
    r#""metadata":{"agent_id":"\u00e9"}"#,
    r#""service_tier":5"#,
];

const DIALECTS: &[(&str, &str)] = &[
    (CHAT, r#""messages":[{"role":"user","content":"x"}]"#),
    (
        "/v1/messages",
        r#""max_tokens":9,"messages":[{"role":"user","content":"x"}]"#,
    ),
    ("/v1/responses", r#""input":"x""#),
    ("/v1/completions", r#""prompt":"x""#),
    ("/v1/embeddings", r#""input":"x""#),
    (
        "/v1/messages/count_tokens",
        r#""messages":[{"role":"user","content":"x"}]"#,
    ),
];

fn fill(pattern: &[u8], rest: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = pattern;
    while let Some(first) = at.first() {
        if let Some(after) = at.strip_prefix(b"MODEL") {
            out.extend_from_slice(b"\"sim-a\"");
            at = after;
        } else if let Some(after) = at.strip_prefix(b"REST") {
            out.extend_from_slice(rest.as_bytes());
            at = after;
        } else {
            out.push(*first);
            at = &at[1..];
        }
    }
    out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_request_is_a_typed_error_and_no_call() {
    let world = World::start(|setup| setup.limits(HIGH_LIMITS)).await;
    for (path, rest) in DIALECTS {
        let shape = Shape::of(path);
        for (case, pattern) in WRONG {
            let case = format!("{path}: {case}");
            let reply = world.post_bytes(path, fill(pattern, rest)).send().await;
            assert_refused(&case, &reply, shape, 400, "invalid_request");
        }
        let deep = ["[", "{\"a\":"].map(|open| {
            let deep = open.repeat(20_000);
            format!(r#"{{"model":"sim-a",{rest},"x":{deep}"#)
        });
        for body in deep {
            let reply = world.post_bytes(path, body).send().await;
            assert_refused("deep", &reply, shape, 400, "invalid_request");
        }
    }
    let (_, rest) = DIALECTS[0];
    for fields in WRONG_IN_CHAT {
        let body = format!(r#"{{"model":"sim-a",{rest},{fields}}}"#);
        let reply = world.post_bytes(CHAT, body).send().await;
        assert_refused(fields, &reply, Shape::Openai, 400, "invalid_request");
    }
    for body in [
        r#"{"model":"sim-a"}"#,
        r#"{"model":"sim-a","messages":"x"}"#,
        r#"{"model":"sim-a","messages":[7]}"#,
    ] {
        for path in [CHAT, "/v1/messages"] {
            let reply = world.post_bytes(path, body).send().await;
            assert_refused(body, &reply, Shape::of(path), 400, "invalid_request");
        }
    }
    // What nobody serves is a 404 in the same shape.
    for path in [CHAT, "/v1/messages"] {
        let body = fill(b"{\"model\":\"unheard-of\",REST}", DIALECTS[1].1);
        let reply = world.post_bytes(path, body).send().await;
        assert_refused("model", &reply, Shape::of(path), 404, "model_not_found");
    }
    assert_eq!(world.sim.bill().calls, 0, "nothing came through");
    assert_eq!(world.sim.bill().refused, 0, "nothing was even asked");
    world.is_well().await;
}
