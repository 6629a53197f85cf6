use super::{Said, said, said_by_answer};
use crate::dialect::{Dialect, decode};
use crate::loops::Role;

fn shown(said: &[Said<'_>]) -> Vec<String> {
    let show = |said: &Said<'_>| {
        let role = match said.role {
            Role::Assistant => "assistant",
            Role::Tool => "tool",
            Role::User => "user",
            Role::Other => "other",
        };
        let tools: String = said
            .tools
            .iter()
            .map(|tool| format!(" {}{}", tool.name, tool.arguments))
            .collect();
        let media = if said.media == 0 { "" } else { " +media" };
        format!("{role}:{}{tools}{media}", said.text)
    };
    said.iter().map(show).collect()
}

fn read(dialect: Dialect, body: &str) -> Vec<String> {
    let call = decode(dialect, body.to_owned().into()).unwrap();
    shown(&said(&call, 0..call.chain.links.len()))
}

#[test]
fn chat_messages_are_read() {
    let body = r#"{"model":"m","messages":[
        {"role":"system","content":"Be brief."},
        {"role":"user","content":[{"type":"text","text":"Look \"this\" up"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]},
        {"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"find","arguments":"{\"q\": 1}"}},{"id":"c2","type":"custom","custom":{"name":"run","input":"ls"}}]},
        {"role":"tool","tool_call_id":"c1","content":"nothing"},
        {"role":"assistant","content":"Well.","function_call":{"name":"old","arguments":"{}"}},
        {"role":"function","name":"old","content":"x"}]}"#;
    assert_eq!(
        read(Dialect::OpenaiChat, body),
        [
            "other:Be brief.",
            "user:Look \"this\" up +media",
            "assistant: find{\"q\": 1} runls",
            "tool:nothing",
            "assistant:Well. old{}",
            "tool:x",
        ]
    );
}

#[test]
fn anthropic_results_stand_apart_from_the_text_beside_them() {
    let body = r#"{"model":"m","max_tokens":9,"system":"Be brief.","messages":[
        {"role":"user","content":"Look it up"},
        {"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"I will."},{"type":"tool_use","id":"t1","name":"find","input":{"q": 1}}]},
        {"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":[{"type":"text","text":"no"},{"type":"text","text":"thing"}]},
            {"type":"tool_result","tool_use_id":"t2","is_error":true,"content":"gone"},
            {"type":"text","text":"<system-reminder>Tidy up.</system-reminder>"},
            {"type":"text","text":"Hurry.","cache_control":{"type":"ephemeral"}}]}]}"#;
    assert_eq!(
        read(Dialect::AnthropicMessages, body),
        [
            "user:Look it up",
            "assistant:I will. find{\"q\": 1}",
            "tool:no\nthing",
            "tool:error: gone",
            "user:Hurry.",
        ]
    );
}

#[test]
fn the_items_of_a_response_are_one_answer() {
    let answer = r#"{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"hm"}]},
        {"type":"message","role":"assistant","content":[{"type":"output_text","text":"I will."}]},
        {"type":"function_call","call_id":"c1","name":"find","arguments":"{\"q\":1}"},
        {"type":"function_call","call_id":"c2","name":"find","arguments":"{\"q\":2}"}"#;
    let body = format!(
        r#"{{"model":"m","input":[{{"role":"user","content":"Look it up"}},{answer},
        {{"type":"function_call_output","call_id":"c1","output":"no"}},
        {{"type":"function_call_output","call_id":"c2","output":[{{"type":"input_text","text":"thing"}}]}}]}}"#
    );
    let read_in_request = read(Dialect::OpenaiResponses, &body);
    assert_eq!(
        read_in_request,
        [
            "user:Look it up",
            "assistant:I will. find{\"q\":1} find{\"q\":2}",
            "tool:no",
            "tool:thing",
        ]
    );
    let answer = format!("[{answer}]");
    assert_eq!(
        shown(&said_by_answer(answer.as_bytes())),
        read_in_request[1..2]
    );
    let text = r#"{"model":"m","input":"Look it up"}"#;
    assert_eq!(read(Dialect::OpenaiResponses, text), ["user:Look it up"]);
}

#[test]
fn an_answer_says_nothing_beside_its_call() {
    let body = r#"{"model":"m","input":[{"type":"message","id":"m1","role":"assistant","content":[{"type":"output_text","text":""}]},
        {"type":"function_call","id":"f1","call_id":"c1","name":"find","arguments":"{}"},
        {"type":"function_call_output","call_id":"c1","output":"no"}]}"#;
    let call = decode(Dialect::OpenaiResponses, body.into()).unwrap();
    let read = said(&call, 0..3);
    assert_eq!(shown(&read), ["assistant: find{}", "tool:no"]);
    assert_eq!([read[0].place, read[1].place], [1, 2]);
}
