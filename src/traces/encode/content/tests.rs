use super::*;

#[test]
fn json_is_told_as_it_was_written() {
    let schema = r#"{"z":18446744073709551616,"a":1.00}"#;
    let call = |arguments: &str| Part::Call {
        id: Some("c1".to_owned()),
        name: "find".to_owned(),
        arguments: arguments.to_owned(),
    };
    let told = |arguments: &str| written(&part(&call(arguments)));
    let around = |arguments: &str| {
        format!(r#"{{"type":"tool_call","id":"c1","name":"find","arguments":{arguments}}}"#)
    };
    assert_eq!(told(schema), around(schema));
    assert_eq!(told(""), around("{}"));
    assert_eq!(told(r#"{"cut"#), around(r#""{\"cut""#));
    let tool = Tool {
        kind: "function".to_owned(),
        name: "find".to_owned(),
        description: None,
        parameters: Some(schema.to_owned()),
    };
    assert_eq!(
        written(&described(&tool, Some(&tool.kind))),
        format!(r#"{{"type":"function","name":"find","parameters":{schema}}}"#)
    );
    let said = Message {
        role: "assistant",
        parts: vec![
            Part::Text("hm".to_owned()),
            Part::Result {
                id: None,
                text: "42".to_owned(),
            },
        ],
        finish: None,
    };
    let parts = r#"[{"type":"text","content":"hm"},{"type":"tool_call_response","id":null,"response":"42"}]"#;
    let is_answer = |is_answer| written(&message(&said, is_answer));
    assert_eq!(
        is_answer(false),
        format!(r#"{{"role":"assistant","parts":{parts}}}"#)
    );
    assert_eq!(
        is_answer(true),
        format!(r#"{{"role":"assistant","parts":{parts},"finish_reason":"stop"}}"#)
    );
}
