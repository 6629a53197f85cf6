use super::*;
use crate::dialect::decode;

fn repeatable(dialect: Dialect, body: &'static str) -> bool {
    let call = decode(dialect, Bytes::from_static(body.as_bytes())).unwrap();
    is_repeatable(&call)
}

#[test]
fn a_call_is_repeatable_if_it_says_so() {
    let chat = |more: &str| -> bool {
        let body = format!(r#"{{"model":"m","messages":[]{more}}}"#);
        let call = decode(Dialect::OpenaiChat, body.into()).unwrap();
        is_repeatable(&call)
    };
    for more in [
        r#","temperature":0"#,
        r#","temperature":0.0"#,
        r#","temperature":-0e5"#,
        r#","temperature":1,"seed":7"#,
        r#","temperature":0,"stream":true"#,
    ] {
        assert!(chat(more), "{more}");
    }
    for more in [
        "",
        r#","temperature":0.1"#,
        r#","temperature":null"#,
        r#","temperature":"0""#,
        r#","seed":null"#,
        r#","metadata":{"seed":1,"temperature":0}"#,
        r#","temperature":0,"web_search_options":{}"#,
    ] {
        assert!(!chat(more), "{more}");
    }
}

#[test]
fn what_the_provider_keeps_is_not_given_twice() {
    let body = r#"{"model":"m","input":"x","temperature":0}"#;
    assert!(!repeatable(Dialect::OpenaiResponses, body));
    let body = r#"{"model":"m","input":"x","temperature":0,"store":false}"#;
    assert!(repeatable(Dialect::OpenaiResponses, body));
    let body = r#"{"model":"m","input":"x","temperature":0,"store":false,"previous_response_id":"resp_1"}"#;
    assert!(!repeatable(Dialect::OpenaiResponses, body));
}

#[test]
fn vectors_are_always_the_same() {
    assert!(repeatable(
        Dialect::OpenaiEmbeddings,
        r#"{"model":"m","input":"x"}"#
    ));
}

#[test]
fn a_provider_may_act_on_headers_that_are_not_the_connections() {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("user-agent", "x"),
        ("x-stainless-os", "Linux"),
        ("x-bursar-task-id", "t"),
        ("anthropic-beta", "b"),
        ("authorization", "secret"),
        ("anthropic-version", "2023-06-01"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let told = told(&headers);
    let expected: [(&str, &[u8]); 2] = [
        ("anthropic-beta", b"b"),
        ("anthropic-version", b"2023-06-01"),
    ];
    assert_eq!(told, expected);
}
