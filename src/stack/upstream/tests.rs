use super::*;

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| {
            (
                name.parse::<HeaderName>().unwrap(),
                HeaderValue::from_str(value).unwrap(),
            )
        })
        .collect()
}

#[test]
fn keys_ids_and_baggage_stay_here_and_the_unknown_passes() {
    let mut sent = headers(&[
        ("authorization", "Bearer secret"),
        ("x-api-key", "secret"),
        ("api-key", "secret"),
        ("baggage", "user_task_id=t"),
        ("x-bursar-task-id", "t"),
        ("connection", "keep-alive, x-hop"),
        ("x-hop", "1"),
        ("te", "trailers"),
        ("accept-encoding", "zstd"),
        ("anthropic-beta", "a"),
        ("x-new-thing", "b"),
    ]);
    outgoing_headers(&mut sent, Passing::default());
    let expected = headers(&[
        ("accept-encoding", "identity"),
        ("anthropic-beta", "a"),
        ("x-new-thing", "b"),
    ]);
    assert_eq!(sent, expected);
}

#[test]
fn named_settings_let_keys_and_ids_through() {
    let mut sent = headers(&[("authorization", "Bearer k"), ("x-bursar-task-id", "t")]);
    outgoing_headers(
        &mut sent,
        Passing {
            credentials: true,
            attribution: true,
        },
    );
    assert!(sent.contains_key("authorization") && sent.contains_key("x-bursar-task-id"));
}
