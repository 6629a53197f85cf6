use super::with_notice;
use crate::dialect::{Call, Dialect, decode};

const NOTICE: &str = "[Notice] \"Stop\" that.";
const MESSAGE: &str = r#"{"role":"user","content":"[Notice] \"Stop\" that."}"#;

fn noticed(dialect: Dialect, body: &str) -> Option<String> {
    let call = decode(dialect, body.to_owned().into()).unwrap();
    let noticed: Call = with_notice(&call, None, NOTICE.to_owned())?;
    Some(String::from_utf8(noticed.body.to_vec()).unwrap())
}

#[test]
fn the_notice_stands_behind_the_last_message_and_nothing_else_changes() {
    for (dialect, list) in [
        (Dialect::OpenaiChat, "messages"),
        (Dialect::AnthropicMessages, "messages"),
        (Dialect::OpenaiResponses, "input"),
    ] {
        let body = |more: &str| {
            format!(
                r#"{{ "model":"m","max_tokens":9, "{list}": [ {{"role":"user","content":"Go."}}{more} ] , "stream":true }}"#
            )
        };
        let expected = body(&format!(",{MESSAGE}"));
        assert_eq!(noticed(dialect, &body("")), Some(expected));
        let begun = body(r#",{"role":"assistant","content":"I "}"#);
        assert_eq!(noticed(dialect, &begun), None, "{dialect:?}");
    }
    assert_eq!(
        noticed(Dialect::OpenaiResponses, r#"{"input":"Go.","model":"m"}"#),
        Some(format!(
            r#"{{"input":[{{"role":"user","content":"Go."}},{MESSAGE}],"model":"m"}}"#
        ))
    );
}
