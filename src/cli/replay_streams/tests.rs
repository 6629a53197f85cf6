use super::*;

#[test]
fn own_recordings_pass_unchanged_and_give_their_usage() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, body: &str| std::fs::write(dir.path().join(name), body).unwrap();
    file(
        "a.sse",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\r\n\r\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\r\n\r\ndata: [DONE]\r\n\r\n",
    );
    file(
        "b.sse",
        "data: {\"usageMetadata\":{\"promptTokenCount\":1}}\n\ndata: {\"usageMetadata\":{\"promptTokenCount\":2}}",
    );
    file(
        "c.sse",
        ": nothing\n\nevent: ping\ndata: {\"type\":\"ping\"}\n\n",
    );
    file(
        "meta.jsonl",
        concat!(
            r#"{"file":"a.sse","api":"openai.chat","expected_usage":{"prompt_tokens":1}}"#,
            "\n",
            r#"{"file":"b.sse","api":"gemini.streamGenerateContent"}"#,
            "\n\n",
            r#"{"file":"c.sse","api":"anthropic.messages","expected_usage":null}"#,
            "\n",
        ),
    );
    let mut out = Vec::new();
    assert!(run(dir.path(), &mut out).unwrap());
    let expected = concat!(
        r#"{"id":"a","identical":true,"usage":{"prompt_tokens":1}}"#,
        "\n",
        r#"{"id":"b","identical":true,"usage":{"promptTokenCount":2}}"#,
        "\n",
        r#"{"id":"c","identical":true,"usage":null}"#,
        "\n",
    );
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn another_usage_than_expected_is_told() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.sse"), "data: {\"choices\":[]}\n\n").unwrap();
    let meta = r#"{"file":"a.sse","api":"openai.chat","expected_usage":{"prompt_tokens":1}}"#;
    std::fs::write(dir.path().join("meta.jsonl"), meta).unwrap();
    assert!(!run(dir.path(), &mut Vec::new()).unwrap());
}
