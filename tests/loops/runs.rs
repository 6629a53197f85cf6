//! Runs in the neutral form of `bursar replay --loops`: loops of every kind, and what only looks like one.

use serde_json::{Value, json};

/// One call: what the agent did, and what came of it.
pub fn step(agent: &str, tool: &str, arguments: &str, result: &str) -> Value {
    json!({"agent": agent, "delta": [
        {"role": "assistant", "content": "", "tool_calls": [{"name": tool, "arguments": arguments}]},
        {"role": "tool", "content": result}]})
}

fn says(agent: &str, text: &str) -> Value {
    json!({"agent": agent, "delta": [{"role": "assistant", "content": text},
        {"role": "user", "content": "Please go on."}]})
}

/// A beginning in which all is well.
fn beginning() -> Vec<Value> {
    (0..3)
        .map(|n| {
            let page = format!(
                "Chapter {n} of the ledger tells of {} chests and who carried them away.",
                n + 7
            );
            step("a", "read", &format!("{{\"chapter\":{n}}}"), &page)
        })
        .collect()
}

fn run(name: &str, then: impl IntoIterator<Item = Value>) -> Value {
    let mut calls = beginning();
    calls.extend(then);
    json!({"id": name, "agent_calls": calls})
}

const NOTHING: &str = "The archive holds no document of that name in any of its rooms at present.";

/// Loops.
pub fn loops() -> Vec<Value> {
    let search = r#"{"q": "purse", "page": 1}"#;
    let steps = [search, r#"{"q":"chest"}"#, r#"{"q":"coin"}"#];
    let period =
        |length: usize| (0..14).map(move |n| step("a", "search", steps[n % length], NOTHING));
    let key_orders = [
        search,
        r#"{"page":1,"q":"purse"}"#,
        r#"{ "page" : 1.0, "q":"purse" }"#,
    ];
    vec![
        run("exact", (0..6).map(|_| step("a", "search", search, NOTHING))),
        run("key_order", (0..6).map(|n| step("a", "search", key_orders[n % 3], NOTHING))),
        run("volatile", (0..6).map(|n| {
            let text = format!("{NOTHING} Asked at 2026-03-0{}T10:0{n}:00Z, request 3f2b8c1d-0000-4000-8000-00000000000{n}.", n + 1);
            step("a", "search", search, &text)
        })),
        run("error_retry", (0..6).map(|_| step("a", "open", r#"{"door":"north"}"#, "Error: the door cannot be opened from here."))),
        run("period2", period(2)),
        run("period3", period(3)),
        run("monologue", (0..6).map(|_| json!({"agent": "a", "delta": [{"role": "assistant",
            "content": "I will now look at the ledger and tell you what stands there about the chests of the third day."}]}))),
        run("no_progress", (0..10).map(|n| step("a", "search", &format!("{{\"q\":\"purse {n}\"}}"), "Error: not found in the archive of the town."))),
        run("agents", (0..9).flat_map(|_| [
            step("a", "ask", r#"{"of":"b","what":"Is the chest there?"}"#, "b says that a has to look for it."),
            step("b", "ask", r#"{"of":"a","what":"Have you got the chest?"}"#, "a says that b has to look for it.")])),
    ]
}

/// What only looks like a loop.
pub fn harmless() -> Vec<Value> {
    let search = r#"{"q":"purse"}"#;
    let same = |group: &str| {
        let mut call = step("a", "search", search, NOTHING);
        call["parallel_group"] = group.into();
        call
    };
    let mut retries = Vec::new();
    for n in 0..4 {
        let mut call = step(
            "a",
            "look",
            &format!("{{\"room\":{n}}}"),
            &format!("Room {n} holds {n} tables, and nothing else of note."),
        );
        for _ in 0..3 {
            call["http_status"] = 503.into();
            retries.push(call.clone());
        }
        call["http_status"] = Value::Null;
        retries.push(call);
    }
    vec![
        run("polling", (0..8).map(|n| step("a", "status", r#"{"job":7}"#, &format!("The job is {} percent done, the next part is part {n}.", n * 12)))),
        run("paging", (0..8).map(|n| step("a", "list", &format!("{{\"page\":{n}}}"), &format!("Items {} to {} of the list: a cart, a chest.", n * 10, n * 10 + 9)))),
        run("map", (0..8).map(|n| step("a", "mail", &format!("{{\"to\":\"person {n}\"}}"), "sent"))),
        run("edit_test", (0..10).map(|n| match n % 2 {
            0 => step("a", "edit", &format!("{{\"line\":{n}}}"), "done"),
            _ => step("a", "test", "{}", &format!("{n} of 12 tests passed; the first to fail is the one on part {n} of the ledger.")),
        })),
        run("retries", retries),
        run("twins", (0..5).map(|_| same("one"))),
        run("talk", (0..5).map(|n| says("a", ["Which town?", "Which year was that?", "And who kept the books then?", "What did the ledger look like?", "Then it is the third chest."][n]))),
    ]
}
