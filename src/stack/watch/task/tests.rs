use super::{Judged, Seen, TaskWatch};
use crate::dialect::{Call, Dialect, decode};
use crate::loops::{Action, Recording, Rule, Rules};
use crate::units::AgentId;
use serde_json::{Value, json};

/// A task whose calls are told one by one.
#[derive(Default)]
struct Told {
    watch: TaskWatch,
    requests: u128,
    decisions: u64,
}

impl Told {
    fn call(&mut self, agent: &str, messages: &[Value]) -> Option<Judged> {
        self.body(agent, None, Dialect::OpenaiChat, &chat(messages))
    }

    fn body(
        &mut self,
        agent: &str,
        parent: Option<&str>,
        dialect: Dialect,
        body: &Value,
    ) -> Option<Judged> {
        let call: Call = decode(dialect, body.to_string().into()).unwrap();
        self.requests += 1;
        let name = AgentId::from(agent);
        let seen = Seen {
            call: &call,
            agent,
            name: Some(&name),
            parent,
            request: self.requests,
            decisions: self.decisions,
            recorded: false,
        };
        self.watch
            .observe(&Rules::default(), &seen, &mut Recording::default())
    }

    fn rule(&mut self, agent: &str, messages: &[Value]) -> Option<Rule> {
        self.call(agent, messages).map(|judged| judged.verdict.rule)
    }
}

fn chat(messages: &[Value]) -> Value {
    json!({"model": "m", "messages": messages})
}

/// A conversation with nothing but its task.
fn begun() -> Vec<Value> {
    vec![
        json!({"role": "system", "content": "You are thorough."}),
        json!({"role": "user", "content": "Find out what a purse is."}),
    ]
}

/// One turn: a tool call and its result.
fn turn(messages: &mut Vec<Value>, arguments: &str, result: &str) {
    let id = format!("call_{}", messages.len());
    messages.push(json!({"role": "assistant", "content": null, "tool_calls": [
        {"id": id, "type": "function", "function": {"name": "search", "arguments": arguments}}]}));
    messages.push(json!({"role": "tool", "tool_call_id": id, "content": result}));
}

const SAME: (&str, &str) = (r#"{"q":"purse"}"#, "Nothing was found for that query.");

/// Tells calls, each a turn longer, until a rule fires; at which call, and which.
fn loops(told: &mut Told, agent: &str, messages: &mut Vec<Value>) -> (usize, Judged) {
    for at in 0..10 {
        if let Some(judged) = told.call(agent, messages) {
            return (at, judged);
        }
        turn(messages, SAME.0, SAME.1);
    }
    panic!("nothing fires");
}

#[test]
fn a_repeated_step_fires_on_the_call_that_brings_its_third_outcome() {
    let (mut told, mut messages) = (Told::default(), begun());
    let (at, judged) = loops(&mut told, "a", &mut messages);
    assert_eq!((at, judged.verdict.rule), (3, Rule::Repeat));
    assert_eq!(judged.verdict.action, Action::Deny);
    assert!(judged.now && judged.verdict.first);
    let refusal = judged.verdict.refusal();
    assert!(
        refusal.message().contains("rule `repeat`"),
        "{}",
        refusal.message()
    );
    // The answers that the third, second and first call had.
    let body = refusal.body(crate::dialect::refusal::Family::Openai);
    let body: Value = serde_json::from_str(&body).unwrap();
    let calls = [1, 2, 3].map(|n| format!("req_{n:032x}"));
    assert_eq!(body["error"]["bursar"]["calls"], json!(calls));
    assert_eq!(body["error"]["bursar"]["agent"], "a");
}

#[test]
fn what_was_refused_stays_refused_until_the_agent_or_a_person_does_something_else() {
    let (mut told, mut messages) = (Told::default(), begun());
    loops(&mut told, "a", &mut messages);
    // A retry.
    let again = told.call("a", &messages).unwrap();
    assert!(!again.now && again.verdict.rule == Rule::Repeat);
    // Machinery that says more: the words stand in the task already.
    messages.push(json!({"role": "user", "content": "Find out what a purse is."}));
    assert_eq!(told.rule("a", &messages), Some(Rule::Repeat));
    // A person.
    messages.push(json!({"role": "user", "content": "Leave the search be and ask Ann."}));
    assert_eq!(told.rule("a", &messages), None);
    turn(&mut messages, SAME.0, SAME.1);
    assert_eq!(told.rule("a", &messages), None);
}

#[test]
fn a_decision_lets_the_windows_begin_anew() {
    let (mut told, mut messages) = (Told::default(), begun());
    loops(&mut told, "a", &mut messages);
    told.decisions += 1;
    assert_eq!(told.rule("a", &messages), None);
    for _ in 0..2 {
        turn(&mut messages, SAME.0, SAME.1);
        assert_eq!(told.rule("a", &messages), None);
    }
    turn(&mut messages, SAME.0, SAME.1);
    assert_eq!(told.rule("a", &messages), Some(Rule::Repeat));
}

#[test]
fn retries_twins_and_replays_are_no_loops() {
    let (mut told, mut messages) = (Told::default(), begun());
    let mut before = Vec::new();
    for n in 0..8 {
        for _ in 0..4 {
            assert_eq!(told.rule("a", &messages), None, "{n}");
        }
        before.push(messages.clone());
        turn(&mut messages, &format!("{{\"q\":{n}}}"), SAME.1);
        turn(
            &mut messages,
            r#"{"q":"news"}"#,
            &format!("News {n} of the day."),
        );
    }
    // A workflow engine runs all of it again, twice, and goes on.
    for _ in 0..2 {
        for call in &before {
            assert_eq!(told.rule("a", call), None);
        }
    }
    assert_eq!(told.rule("a", &messages), None);
}

#[test]
fn conversations_that_part_are_looked_at_one_by_one() {
    let mut told = Told::default();
    let mut lines: Vec<Vec<Value>> = (0..6).map(|_| begun()).collect();
    for round in 0..3 {
        for (n, messages) in lines.iter_mut().enumerate() {
            assert_eq!(told.rule("a", messages), None, "{round} {n}");
            // All begin with the same step, then differ.
            let step = if round == 0 { 0 } else { n * 10 + round };
            turn(
                messages,
                &format!("{{\"q\":{step}}}"),
                &format!("Page {step}"),
            );
        }
    }
}

#[test]
fn a_reminder_at_the_end_of_each_call_hides_nothing() {
    let (mut told, mut messages) = (Told::default(), begun());
    for at in 0..5 {
        let mut sent = messages.clone();
        sent.push(json!({"role": "system", "content": format!("It is 12:0{at}.")}));
        let rule = told.rule("a", &sent);
        assert_eq!(rule.is_some(), at >= 3, "{at}");
        turn(&mut messages, SAME.0, SAME.1);
    }
}

#[test]
fn a_conversation_that_is_shortened_goes_on() {
    let (mut told, mut messages) = (Told::default(), begun());
    for at in 0..8 {
        let mut sent = messages.clone();
        // The oldest exchanges are left out.
        let surplus = (sent.len() - 2).saturating_sub(4);
        sent.drain(2..2 + surplus);
        let rule = told.rule("a", &sent);
        assert_eq!(rule.is_some(), at >= 3, "{at}");
        turn(&mut messages, SAME.0, SAME.1);
    }
}

#[test]
fn anthropic_messages_are_watched_alike() {
    let mut told = Told::default();
    let mut messages = vec![json!({"role": "user", "content": "Find out what a purse is."})];
    for at in 0..5 {
        let body = json!({"model": "m", "max_tokens": 9, "messages": messages});
        let judged = told.body("a", None, Dialect::AnthropicMessages, &body);
        assert_eq!(judged.is_some(), at >= 3, "{at}");
        let id = format!("toolu_{at}");
        messages.push(json!({"role": "assistant", "content": [
            {"type": "tool_use", "id": id, "name": "search", "input": {"q": "purse"}}]}));
        messages.push(json!({"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": id, "content": SAME.1}]}));
    }
}

#[test]
fn answers_that_are_only_named_are_remembered() {
    for long in [false, true] {
        let mut told = Told::default();
        let mut body = json!({"model": "m", "input": "Find out what a purse is."});
        for at in 0..5 {
            let judged = told.body("a", None, Dialect::OpenaiResponses, &body);
            assert_eq!(judged.is_some(), at >= 3, "{at}");
            // The same call again is a retry.
            let again = told.body("a", None, Dialect::OpenaiResponses, &body);
            assert_eq!(again.is_some(), at >= 3, "{at}");
            let (id, call) = (format!("resp_{at}"), format!("call_{at}"));
            let query = if long {
                "purse ".repeat(2_000)
            } else {
                "purse".to_owned()
            };
            let output = json!([{"type": "reasoning", "id": format!("rs_{at}"), "summary": []},
                {"type": "function_call", "id": format!("fc_{at}"), "call_id": call, "name": "search",
                 "arguments": json!({"q": query}).to_string()}]);
            told.watch
                .answered(told.requests, &id, output.to_string().as_bytes());
            body = json!({"model": "m", "previous_response_id": id, "input": [
                {"type": "function_call_output", "call_id": call, "output": SAME.1}]});
        }
    }
}

#[test]
fn an_agent_used_as_a_tool_is_handed_work() {
    let (mut told, mut boss) = (Told::default(), begun());
    for at in 0..6 {
        let rule = told.rule("boss", &boss);
        assert_eq!(rule, (at >= 3).then_some(Rule::Rounds), "{at}");
        // In other words each time, and with another answer.
        let ask = format!(
            "Please {} the report on purses for the board.",
            ["write", "compose", "draft", "prepare", "produce", "make"][at]
        );
        let helper = vec![
            json!({"role": "system", "content": "You write."}),
            json!({"role": "user", "content": format!("Your task:\n{ask}\nBegin.")}),
        ];
        assert_eq!(told.rule("writer", &helper), None);
        turn(
            &mut boss,
            &json!({"task": ask}).to_string(),
            "The report on purses is written.",
        );
    }
}

#[test]
fn a_named_parent_hands_work_over_too() {
    let mut told = Told::default();
    told.call("boss", &begun());
    let mut fired = Vec::new();
    for at in 0..4 {
        let body = chat(&[
            json!({"role": "system", "content": "You write."}),
            json!({"role": "user", "content": format!("Please write the report on purses for the board{}", ".".repeat(at))}),
        ]);
        let judged = told.body("writer", Some("boss"), Dialect::OpenaiChat, &body);
        fired.push(judged.map(|judged| {
            // Who hands over is the one that goes round.
            let (reason, _) = judged.verdict.question();
            assert!(reason.message.contains("`boss`"), "{}", reason.message);
            judged.verdict.rule
        }));
    }
    assert_eq!(fired, [None, None, Some(Rule::Rounds), Some(Rule::Rounds)]);
}

#[test]
fn a_handed_over_history_is_nobodys_steps() {
    let (mut told, mut messages) = (Told::default(), begun());
    for _ in 0..5 {
        turn(&mut messages, SAME.0, SAME.1);
    }
    messages[0] = json!({"role": "system", "content": "You are another."});
    assert_eq!(told.rule("b", &messages), None);
    turn(&mut messages, SAME.0, SAME.1);
    assert_eq!(told.rule("b", &messages), None);
}

#[test]
fn the_memory_of_a_task_is_bounded() {
    let mut told = Told::default();
    for agent in 0..60 {
        let mut messages = begun();
        for n in 0..40 {
            told.call(&format!("agent-{agent}"), &messages);
            let (q, page) = (
                format!("{{\"q\":\"{agent} {n}\"}}"),
                format!("Page {n} of {agent}."),
            );
            turn(&mut messages, &q, &page.repeat(20));
        }
    }
    let bytes = told.watch.bytes();
    assert!(
        bytes < crate::loops::MOST_TASK_BYTES + (64 << 10),
        "{bytes}"
    );
    let mut short = Told::default();
    let mut messages = begun();
    for n in 0..10 {
        short.call("a", &messages);
        turn(
            &mut messages,
            &format!("{{\"q\":{n}}}"),
            &format!("Page {n}."),
        );
    }
    let bytes = short.watch.bytes();
    assert!(bytes < 4 << 10, "{bytes}");
}

/// A conversation of about this many bytes.
fn long(bytes: usize) -> Vec<Value> {
    let mut messages = begun();
    let line =
        "On the third day the \"north\" survey found the cistern dry;\nthe ledger says otherwise. ";
    for n in 0..bytes / 4_096 {
        let page = format!("Page {n}. {}", line.repeat(4_096 / line.len()));
        turn(&mut messages, &format!("{{\"q\":\"page {n}\"}}"), &page);
    }
    messages
}

/// How long one takes of several, in nanoseconds.
fn each(times: u32, mut one: impl FnMut(u32)) -> f64 {
    let start = std::time::Instant::now();
    for n in 0..times {
        one(n);
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(times)
}

#[test]
#[ignore = "measures: run it alone, with --nocapture"]
fn watching_costs_little_beside_reading_the_body() {
    const TIMES: u32 = 2_000;
    let messages = long(64 << 10);
    let body = chat(&messages).to_string();
    let read = || decode(Dialect::OpenaiChat, body.clone().into()).unwrap();
    let decoding = each(TIMES, |_| drop(std::hint::black_box(read())));
    // Each call adds a step.
    let mut told = Told::default();
    told.call("a", &messages);
    let mut grown = messages.clone();
    let calls: Vec<Call> = (0..40)
        .map(|n| {
            turn(
                &mut grown,
                &format!("{{\"q\":\"more {n}\"}}"),
                &format!("Chapter {n} tells of {n} chests. ").repeat(30),
            );
            decode(Dialect::OpenaiChat, chat(&grown).to_string().into()).unwrap()
        })
        .collect();
    let observe = |watch: &mut TaskWatch, call: &Call, request: u128| {
        let seen = Seen {
            call,
            agent: "a",
            name: None,
            parent: None,
            request,
            decisions: 0,
            recorded: false,
        };
        watch
            .observe(&Rules::default(), &seen, &mut Recording::default())
            .is_some()
    };
    let stepping = each(40, |n| {
        let n = usize::try_from(n).unwrap();
        assert!(!observe(&mut told.watch, &calls[n], n as u128));
    });
    // The last message differs from call to call, as in the load of the benchmark.
    let mut asked: Vec<Call> = Vec::new();
    for n in 0..TIMES {
        let mut sent = messages.clone();
        sent.push(
            json!({"role": "user", "content": format!("Call {n}: what did the survey find?")}),
        );
        asked.push(decode(Dialect::OpenaiChat, chat(&sent).to_string().into()).unwrap());
    }
    let mut told = Told::default();
    let asking = each(TIMES, |n| {
        observe(
            &mut told.watch,
            &asked[usize::try_from(n).unwrap()],
            u128::from(n),
        );
    });
    let beginning = each(TIMES, |n| {
        let mut watch = TaskWatch::default();
        observe(
            &mut watch,
            &asked[usize::try_from(n).unwrap()],
            u128::from(n),
        );
    });
    eprintln!(
        "{} bytes: decoding {decoding:.0} ns; a step more {stepping:.0} ns; a question more {asking:.0} ns; a new conversation {beginning:.0} ns",
        body.len()
    );
    assert!(
        asking < decoding,
        "watching costs less than reading the body once"
    );
}

/// A supervisor's conversation with long results.
fn long_talk(told: &mut Told) -> Vec<Value> {
    let mut talk = begun();
    told.call("boss", &talk);
    for n in 0..5 {
        let page = format!("Page {n} of the ledger. ").repeat(900);
        turn(&mut talk, &format!("{{\"page\":{n}}}"), &page);
        assert!(told.call("boss", &talk).is_none());
    }
    talk
}

fn handed_over(talk: &[Value], system: &str) -> Vec<Value> {
    let mut handed = vec![json!({"role": "system", "content": system})];
    handed.extend_from_slice(&talk[1..]);
    handed.push(json!({"role": "assistant", "content": null, "tool_calls": [
        {"id": "over", "type": "function", "function": {"name": "transfer_to_writer", "arguments": "{}"}}]}));
    handed.push(
        json!({"role": "tool", "tool_call_id": "over", "content": "You are the writer now."}),
    );
    handed
}

#[test]
fn a_hand_off_of_the_whole_conversation_is_growth() {
    let mut told = Told::default();
    let talk = long_talk(&mut told);
    let handed = handed_over(&talk, "You write.");
    let judged = told.call("writer", &handed).unwrap();
    assert_eq!(judged.verdict.rule, Rule::Growth);
    assert_eq!(judged.verdict.action, Action::Warn);
    assert!(
        judged.verdict.row("o", "t").contains("inherited"),
        "{}",
        judged.verdict.row("o", "t")
    );
    // It is told once; what comes after is the writer's own.
    let mut later = handed;
    turn(&mut later, "{\"page\":9}", "The last page.");
    assert!(told.call("writer", &later).is_none());
}

#[test]
fn a_hand_off_as_it_should_be_inherits_little() {
    let mut told = Told::default();
    let talk = long_talk(&mut told);
    let sum = "The ledger names seven chests. ".repeat(2_500);
    let own = [
        json!({"role": "system", "content": "You write."}),
        json!({"role": "user", "content": sum}),
        talk[talk.len() - 1].clone(),
    ];
    assert!(told.call("writer", &own).is_none());
    // System text is nobody's inheritance, however long.
    let mut told = Told::default();
    let long = "Be thorough. ".repeat(8_000);
    let talk = handed_over(&begun(), &long);
    told.call(
        "boss",
        &[
            json!({"role": "system", "content": long}),
            begun()[1].clone(),
        ],
    );
    assert!(told.call("writer", &talk).is_none());
}

#[test]
fn agents_that_begin_with_the_same_words_inherit_nothing_from_one_another() {
    let mut told = Told::default();
    let document = "The ledger of the third day. ".repeat(4_000);
    for agent in ["one", "two", "three"] {
        let begins = [
            json!({"role": "system", "content": format!("You are {agent}.")}),
            json!({"role": "user", "content": document}),
        ];
        assert!(told.call(agent, &begins).is_none(), "{agent}");
    }
    // Unless one says that the other set it to work.
    let begins = json!({"model": "m", "messages": [{"role": "user", "content": document}]});
    let judged = told.body("four", Some("one"), Dialect::OpenaiChat, &begins);
    assert_eq!(judged.map(|judged| judged.verdict.rule), Some(Rule::Growth));
}
