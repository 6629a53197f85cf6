use super::*;
use crate::dialect::decode;
use proptest::prelude::*;
use serde_json::json;

/// One exchange: what a user says, the model's tool calls (how many at once, each time), and what it
/// says in the end, if anything.
#[derive(Clone, Debug)]
struct Exchange {
    system: bool,
    tools: Vec<usize>,
    answer: bool,
    /// Words of a person beside the results, in dialects that have that.
    words: bool,
}

fn exchange() -> impl Strategy<Value = Exchange> {
    let tools = prop::collection::vec(1_usize..4, 0..4);
    (prop::bool::weighted(0.1), tools, prop::bool::weighted(0.1)).prop_map(
        |(system, tools, words)| Exchange {
            system,
            tools,
            answer: true,
            words,
        },
    )
}

/// Conversations as providers take them: the last exchange may be under way.
fn conversation() -> impl Strategy<Value = Vec<Exchange>> {
    (prop::collection::vec(exchange(), 1..7), any::<bool>()).prop_map(|(mut all, answer)| {
        if let Some(last) = all.last_mut() {
            last.answer = answer;
        }
        all
    })
}

fn dialects() -> impl Strategy<Value = Dialect> {
    prop::sample::select(vec![
        Dialect::OpenaiChat,
        Dialect::AnthropicMessages,
        Dialect::OpenaiResponses,
    ])
}

fn build(dialect: Dialect, exchanges: &[Exchange]) -> Call {
    let mut messages = Vec::new();
    let mut ids = 0;
    for (at, exchange) in exchanges.iter().enumerate() {
        if exchange.system && dialect != Dialect::AnthropicMessages {
            messages.push(json!({"role": "system", "content": format!("rule {at}")}));
        }
        messages.push(json!({"role": "user", "content": format!("question {at}")}));
        for calls in &exchange.tools {
            let turn: Vec<String> = (0..*calls).map(|call| format!("c{}", ids + call)).collect();
            ids += calls;
            tool_turn(dialect, &turn, exchange.words, &mut messages);
        }
        if exchange.answer {
            if dialect == Dialect::OpenaiResponses && at % 2 == 0 {
                messages.push(
                    json!({"type": "reasoning", "id": format!("r{at}"), "summary": [],
                    "encrypted_content": "…"}),
                );
            }
            messages.push(json!({"role": "assistant", "content": format!("answer {at}")}));
        }
    }
    whole(dialect, &messages)
}

fn tool_turn(dialect: Dialect, ids: &[String], words: bool, messages: &mut Vec<Value>) {
    match dialect {
        Dialect::AnthropicMessages => {
            let uses = ids
                .iter()
                .map(|id| json!({"type": "tool_use", "id": id, "name": "f", "input": {}}));
            let results = ids
                .iter()
                .map(|id| json!({"type": "tool_result", "tool_use_id": id, "content": "1"}));
            let said = words.then(|| json!({"type": "text", "text": "and mind this"}));
            let results: Vec<Value> = results.chain(said).collect();
            messages.push(json!({"role": "assistant", "content": uses.collect::<Vec<_>>()}));
            messages.push(json!({"role": "user", "content": results}));
        }
        Dialect::OpenaiResponses => {
            messages.push(
                json!({"type": "reasoning", "id": format!("r{}", ids[0]), "summary": [],
                "encrypted_content": "…"}),
            );
            for id in ids {
                messages.push(json!({"type": "function_call", "call_id": id, "name": "f",
                    "arguments": "{}"}));
            }
            for id in ids {
                messages
                    .push(json!({"type": "function_call_output", "call_id": id, "output": "1"}));
            }
        }
        _ => {
            let calls = ids.iter().map(|id| {
                json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}})
            });
            messages.push(json!({"role": "assistant", "tool_calls": calls.collect::<Vec<_>>()}));
            for id in ids {
                messages.push(json!({"role": "tool", "tool_call_id": id, "content": "1"}));
            }
        }
    }
}

fn whole(dialect: Dialect, messages: &[Value]) -> Call {
    let list = match dialect {
        Dialect::OpenaiResponses => "input",
        _ => "messages",
    };
    // Spaces and further members, which stay as they are.
    let joined: Vec<String> = messages.iter().map(Value::to_string).collect();
    let body = format!(
        r#"{{"model": "m", "{list}": [ {} ], "max_tokens": 5}}"#,
        joined.join(" ,\n ")
    );
    decode(dialect, body.into()).unwrap()
}

fn texts(call: &Call) -> Vec<&[u8]> {
    let links = call.chain.links.iter();
    links.map(|link| &call.body[link.at.clone()]).collect()
}

fn parsed(call: &Call) -> Vec<Value> {
    let texts = texts(call).into_iter();
    texts
        .map(|text| serde_json::from_slice(text).unwrap())
        .collect()
}

/// What a provider would refuse.
fn fault(dialect: Dialect, messages: &[Value]) -> Option<String> {
    let mut open: Vec<String> = Vec::new();
    let mut role = "";
    for (at, message) in messages.iter().enumerate() {
        let read = read(dialect, message.to_string().as_bytes()).unwrap();
        let mut answers = read.answers.clone();
        answers.sort();
        for id in &answers {
            match open.iter().position(|open| open == id) {
                Some(at) => drop(open.remove(at)),
                None => return Some(format!("result {id} without its call")),
            }
        }
        let answers_all = read.kind == Kind::Result || read.kind == Kind::ResultAndWords;
        if !answers_all && !open.is_empty() && read.makes.is_empty() {
            return Some(format!("{open:?} without results before message {at}"));
        }
        open.extend(read.makes);
        if dialect == Dialect::AnthropicMessages {
            let said = message["role"].as_str().unwrap();
            if said == role || (at == 0 && said != "user") {
                return Some(format!("message {at} is of {said} again"));
            }
            role = if said == "user" { "user" } else { "assistant" };
        }
        let reasons = message["type"] == "reasoning";
        let goes_on = messages
            .get(at + 1)
            .is_some_and(|next| next["type"] == "function_call" || next["role"] == "assistant");
        if reasons && !goes_on {
            return Some(format!("reasoning {at} led to nothing"));
        }
    }
    (!open.is_empty()).then(|| format!("{open:?} without results"))
}

proptest! {
    #[test]
    fn a_trimmed_conversation_stays_one(
        dialect in dialects(),
        exchanges in conversation(),
        part in 0.0..=1.0_f64,
    ) {
        let call = build(dialect, &exchanges);
        prop_assert_eq!(fault(dialect, &parsed(&call)), None);
        let units = call.droppable();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss,
            reason = "a share of a few")]
        let most = (units.len() as f64 * part) as usize;
        let mut dropped: Vec<usize> = units[..most].concat();
        dropped.sort_unstable();
        let trimmed = call.without(&dropped).unwrap();
        let before = texts(&call);
        let kept: Vec<usize> = (0..before.len()).filter(|at| !dropped.contains(at)).collect();
        let expected: Vec<&[u8]> = kept.iter().map(|at| before[*at]).collect();
        prop_assert_eq!(&texts(&trimmed), &expected, "what stays keeps its bytes and its order");
        prop_assert_eq!(fault(dialect, &parsed(&trimmed)), None);
        // What must stay does.
        let all = parsed(&call);
        let of_user = |message: &Value| message["role"] == "user" && message["content"].is_string();
        for (at, message) in all.iter().enumerate() {
            let stays = message["role"] == "system" || at + 1 == all.len();
            prop_assert!(!stays || kept.contains(&at));
        }
        let users: Vec<usize> = (0..all.len()).filter(|at| of_user(&all[*at])).collect();
        for user in users.first().into_iter().chain(users.iter().rev().take(2)) {
            prop_assert!(kept.contains(user));
        }
        // The frame is untouched, and what may still go is what was left of the same order: a lower cap
        // leaves out more of the same, and an unchanged one nothing more.
        prop_assert_eq!(trimmed.prompt.frame, call.prompt.frame);
        prop_assert_eq!(trimmed.chain.root, call.chain.root);
        let again: Vec<Vec<usize>> = trimmed.droppable();
        let again: Vec<Vec<usize>> = again
            .iter()
            .map(|unit| unit.iter().map(|at| kept[*at]).collect())
            .collect();
        prop_assert_eq!(&again[..], &units[most..]);
    }

    #[test]
    fn whatever_comes_no_pair_is_parted_and_nothing_panics(
        dialect in dialects(),
        picks in prop::collection::vec((0_usize..9, 0_usize..4), 0..20),
    ) {
        let messages: Vec<Value> = picks.iter().map(|(kind, id)| odd(dialect, *kind, *id)).collect();
        let call = whole(dialect, &messages);
        let units = call.droppable();
        let mut seen = std::collections::HashSet::new();
        prop_assert!(units.iter().flatten().all(|at| seen.insert(*at)), "each goes once");
        let mut dropped = Vec::new();
        for unit in units {
            dropped.extend(unit);
            dropped.sort_unstable();
            let trimmed = call.without(&dropped).unwrap();
            let (before, after) = (parsed(&call), parsed(&trimmed));
            prop_assert_eq!(before.len() - dropped.len(), after.len());
            prop_assert!(parted(dialect, &after) <= parted(dialect, &before));
        }
    }
}

/// Calls without a result behind them, and results without a call before them.
fn parted(dialect: Dialect, messages: &[Value]) -> usize {
    let (mut open, mut orphans) = (Vec::new(), 0);
    for message in messages {
        let read = read(dialect, message.to_string().as_bytes()).unwrap();
        for id in read.answers {
            match open.iter().position(|open| *open == id) {
                Some(at) => drop(open.swap_remove(at)),
                None => orphans += 1,
            }
        }
        open.extend(read.makes);
    }
    open.len() + orphans
}

/// Messages in no order that makes sense. Each id is made and answered at most a few times.
fn odd(dialect: Dialect, kind: usize, id: usize) -> Value {
    let mut turn = Vec::new();
    tool_turn(dialect, &[format!("c{id}")], id == 3, &mut turn);
    let at = |at: usize| turn.get(at).cloned();
    match kind {
        0 => json!({"role": "user", "content": "u"}),
        1 => json!({"role": "assistant", "content": "a"}),
        2 => json!({"role": "system", "content": "s"}),
        3 | 4 => at(0).unwrap_or_default(),
        5 | 6 => at(1).unwrap_or_default(),
        7 => at(2).or_else(|| at(1)).unwrap_or_default(),
        _ => json!({"role": "assistant", "type": "mcp_call", "id": "m", "content": []}),
    }
}

fn going(dialect: Dialect, messages: &[Value]) -> Vec<Vec<usize>> {
    whole(dialect, messages).droppable()
}

#[test]
fn tool_exchanges_go_first_oldest_first_and_what_follows_the_last_word_of_a_user_goes_last() {
    let mut messages = vec![
        json!({"role": "system", "content": "s"}),
        json!({"role": "user", "content": "task"}),
        json!({"role": "assistant", "content": "plain"}),
    ];
    tool_turn(
        Dialect::OpenaiChat,
        &["a".into(), "b".into()],
        false,
        &mut messages,
    );
    for text in ["more", "the last but one", "last"] {
        messages.push(json!({"role": "user", "content": text}));
        messages.push(json!({"role": "assistant", "content": "plain"}));
    }
    tool_turn(Dialect::OpenaiChat, &["c".into()], false, &mut messages);
    tool_turn(Dialect::OpenaiChat, &["d".into()], false, &mut messages);
    let order = going(Dialect::OpenaiChat, &messages);
    let wanted: [&[usize]; 4] = [&[3, 4, 5], &[2], &[6, 7], &[12, 13]];
    assert_eq!(order, wanted);
}

#[test]
fn a_persons_words_beside_results_stay_with_their_exchange() {
    let mut messages = vec![json!({"role": "user", "content": "task"})];
    for (id, words) in [("a", false), ("b", true), ("c", false), ("d", false)] {
        tool_turn(
            Dialect::AnthropicMessages,
            &[id.into()],
            words,
            &mut messages,
        );
    }
    let order = going(Dialect::AnthropicMessages, &messages);
    assert_eq!(order, [[1, 2], [5, 6]]);
}

#[test]
fn what_lies_at_the_provider_is_not_trimmed() {
    let mut turn = vec![json!({"role": "user", "content": "task"})];
    for id in ["a", "b"] {
        tool_turn(Dialect::OpenaiResponses, &[id.into()], false, &mut turn);
    }
    let body = json!({"model": "m", "input": turn});
    let call = decode(Dialect::OpenaiResponses, body.to_string().into()).unwrap();
    assert_eq!(call.droppable(), [[1, 2, 3]]);
    let mut body = body;
    body["previous_response_id"] = "resp_1".into();
    let call = decode(Dialect::OpenaiResponses, body.to_string().into()).unwrap();
    assert!(call.droppable().is_empty());
    let body = json!({"model": "m", "input": "only a text"});
    let call = decode(Dialect::OpenaiResponses, body.to_string().into()).unwrap();
    assert!(call.droppable().is_empty());
}

#[test]
fn a_call_without_its_result_stays() {
    let mut messages = vec![json!({"role": "user", "content": "task"})];
    tool_turn(
        Dialect::OpenaiChat,
        &["a".into(), "b".into()],
        false,
        &mut messages,
    );
    messages.remove(2);
    tool_turn(Dialect::OpenaiChat, &["c".into()], false, &mut messages);
    messages.push(json!({"role": "user", "content": "go on"}));
    assert_eq!(going(Dialect::OpenaiChat, &messages), [[3, 4]]);
}

#[test]
fn messages_at_the_head_go_with_their_comma() {
    let messages = [
        json!({"role": "assistant", "content": "greeting"}),
        json!({"role": "user", "content": "task"}),
        json!({"role": "assistant", "content": "b"}),
        json!({"role": "user", "content": "last"}),
    ];
    let call = whole(Dialect::OpenaiChat, &messages);
    let order = call.droppable();
    assert_eq!(order, [[0], [2]]);
    let trimmed = call.without(&[0, 2]).unwrap();
    assert_eq!(parsed(&trimmed), [messages[1].clone(), messages[3].clone()]);
}

#[test]
fn the_largest_conversations_are_ordered_in_no_time_that_matters() {
    // Ten thousand plain exchanges, and as many results of one call: nothing here looks at each
    // message once for every other.
    let mut messages = vec![json!({"role": "user", "content": "task"})];
    let mut turn = Vec::new();
    tool_turn(Dialect::AnthropicMessages, &["a".into()], false, &mut turn);
    messages.push(turn[0].clone());
    messages.extend(vec![turn[1].clone(); 10_000]);
    for _ in 0..10_000 {
        messages.push(json!({"role": "assistant", "content": "a"}));
        messages.push(json!({"role": "user", "content": "u"}));
    }
    let order = going(Dialect::AnthropicMessages, &messages);
    assert_eq!(
        order.len(),
        9_998,
        "all but the last two, and the one whose call is answered anew"
    );
}
