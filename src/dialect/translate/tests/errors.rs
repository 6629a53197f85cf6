use super::*;

fn error(pair: Pair, status: u16, body: &str) -> (u16, Value) {
    let status = StatusCode::from_u16(status).expect("a status");
    let (status, body) = back(pair).error(status, body.as_bytes());
    (
        status.as_u16(),
        serde_json::from_slice(&body).expect("JSON"),
    )
}

#[test]
fn anthropics_errors_for_openais_clients() {
    let overloaded =
        r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    assert_eq!(
        error(Pair::ChatMessages, 529, overloaded),
        (
            503,
            json!({"error": {"type": "server_error", "code": null, "param": null, "message": "Overloaded"}})
        )
    );
    let wrong = r#"{"type":"error","error":{"type":"invalid_request_error","message":"max_tokens: \"x\""},"request_id":"r"}"#;
    assert_eq!(
        error(Pair::ChatMessages, 400, wrong),
        (
            400,
            json!({"error": {"type": "invalid_request_error", "code": null, "param": null, "message": "max_tokens: \"x\""}})
        )
    );
}

#[test]
fn openais_errors_for_anthropics_clients() {
    let limited = r#"{"error":{"message":"Slow down","type":"tokens","param":null,"code":"rate_limit_exceeded"}}"#;
    assert_eq!(
        error(Pair::MessagesChat, 429, limited),
        (
            429,
            json!({"type": "error", "error": {"type": "rate_limit_error", "message": "Slow down", "code": "rate_limit_exceeded"}})
        )
    );
    let own = r#"{"object":"error","message":"no such model","type":"NotFoundError","code":404}"#;
    assert_eq!(
        error(Pair::MessagesChat, 404, own),
        (
            404,
            json!({"type": "error", "error": {"type": "not_found_error", "message": "no such model", "code": 404}})
        )
    );
    assert_eq!(
        error(Pair::MessagesChat, 502, "<html>bad gateway</html>"),
        (
            502,
            json!({"type": "error", "error": {"type": "api_error", "message": "<html>bad gateway</html>"}})
        )
    );
    assert_eq!(
        error(Pair::MessagesChat, 500, "").1["error"]["message"],
        "no message"
    );
}
