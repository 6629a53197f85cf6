use super::run;
use crate::loops::Rules;
use serde_json::{Value, json};

fn replay(runs: &[Value]) -> Vec<Value> {
    let text: String = runs.iter().map(|run| format!("{run}\n\n")).collect();
    let mut out = Vec::new();
    run(text.as_bytes(), &Rules::default(), &mut out).unwrap();
    let lines = String::from_utf8(out).unwrap();
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn call(arguments: &str, result: &str) -> Value {
    json!({"agent": "a", "delta": [
        {"role": "assistant", "content": null, "tool_calls": [{"name": "stock", "arguments": arguments}]},
        {"role": "tool", "content": result},
    ]})
}

fn with(mut call: Value, more: &Value) -> Value {
    let members = call.as_object_mut().unwrap();
    members.extend(more.as_object().unwrap().clone());
    call
}

#[test]
fn tells_where_a_rule_fires_first() {
    let circling = json!({"id": "circling", "agent_calls": [call("{}", "no"), call("{ }", "no"), call("{}", "no"), call("{}", "no")]});
    let working = json!({"id": "working", "agent_calls": [call("{}", "1%"), call("{}", "2%"), call("{}", "3%")]});
    let lines = replay(&[circling, working]);
    assert_eq!(
        lines[0],
        json!({"id": "circling", "fired": true, "at": 2, "rule": "repeat"})
    );
    assert_eq!(
        lines[1],
        json!({"id": "working", "fired": false, "at": null, "rule": null})
    );
}

#[test]
fn retries_and_twins_are_known() {
    let try_again = |status: u16, count: u32| {
        let facts = json!({"http_status": status, "x_stainless_retry_count": count});
        with(call("{}", "no"), &facts)
    };
    let retried = json!({"id": "retried", "agent_calls": [try_again(429, 0), try_again(429, 1), try_again(429, 2), try_again(200, 3)]});
    let twin = || with(call("{}", "no"), &json!({"parallel_group": "g"}));
    let twins = json!({"id": "twins", "agent_calls": [twin(), twin(), twin(), twin()]});
    for line in replay(&[retried, twins]) {
        assert_eq!(line["fired"], json!(false), "{line}");
    }
}

#[test]
fn what_was_recorded_beside_the_message_is_what_was_done() {
    let page = |page: u32| {
        with(
            call("{}", "rows"),
            &json!({"tool": "list", "args": format!("{{\"page\":{page}}}")}),
        )
    };
    let lines =
        replay(&[json!({"id": "pages", "agent_calls": [page(1), page(2), page(3), page(4)]})]);
    assert_eq!(lines[0]["fired"], json!(false));
}

#[test]
fn a_line_that_is_no_run_is_an_error() {
    let rules = Rules::default();
    assert!(run(&b"{\"id\": 1}\n"[..], &rules, &mut Vec::new()).is_err());
}
