//! Single joins, and what must not be joined.

use super::world::*;
use super::*;
use crate::dialect::decode;
use proptest::prelude::*;
use serde_json::json;

fn user(text: &str) -> Part {
    Part::User(text.to_owned())
}

fn call(agent: &Agent, history: &[Part]) -> Call {
    let body = request_body(Dialect::OpenaiChat, agent, history);
    decode(Dialect::OpenaiChat, body.to_string().into()).unwrap()
}

fn owner(name: &str) -> Owner {
    name.into()
}

fn task(found: &Inferred) -> String {
    found
        .task
        .as_ref()
        .map_or("none".into(), |task| task.value.to_string())
}

fn by(found: &Inferred) -> Option<Source> {
    Some(found.task.as_ref()?.source)
}

#[test]
fn equal_text_alone_merges_nothing() {
    let world = World::default();
    let agent = Agent::new("a", &[]);
    let asked = call(&agent, &[user("What is the weather?")]);
    let first = world.ask(&owner("o"), &asked, (None, None), NOW);
    let second = world.ask(&owner("o"), &asked, (None, None), NOW);
    assert_ne!(task(&first), task(&second));
    assert_eq!(by(&second), Some(Source::Orphan));
    // What came to nothing is the same call again.
    world.inference.failed(&owner("o"), &second.joined.unwrap());
    let third = world.ask(&owner("o"), &asked, (None, None), NOW);
    assert_eq!(task(&second), task(&third));
    // But not of one that said its task: this one says none.
    let named = world.ask(
        &owner("o"),
        &call(&agent, &[user("And now?")]),
        (Some(&"t-1".into()), None),
        NOW,
    );
    world.inference.failed(&owner("o"), &named.joined.unwrap());
    let unsaid = world.ask(
        &owner("o"),
        &call(&agent, &[user("And now?")]),
        (None, None),
        NOW,
    );
    assert_ne!(task(&unsaid), "t-1");
    // What each was answered tells which one goes on.
    for (found, said) in [(&first, "It rains here."), (&third, "It snows there.")] {
        world.hear(
            &owner("o"),
            Dialect::OpenaiChat,
            found,
            &Say::Text(said),
            "x",
            NOW,
        );
    }
    for (found, said) in [(&first, "It rains here."), (&third, "It snows there.")] {
        let history = [
            user("What is the weather?"),
            Part::Text("a", said.into()),
            user("Why?"),
        ];
        let next = world.ask(&owner("o"), &call(&agent, &history), (None, None), NOW);
        assert_eq!(
            (task(&next), by(&next)),
            (task(found), Some(Source::Prefix))
        );
        assert_eq!(
            next.invocation.unwrap().value,
            found.invocation.clone().unwrap().value
        );
    }
}

#[test]
fn what_tells_nothing_opens_nothing() {
    let world = World::default();
    let blank = Agent {
        name: "blank",
        system: String::new(),
        tools: vec![],
    };
    let found = world.ask(
        &owner("o"),
        &call(&blank, &[user("hello there")]),
        (None, None),
        NOW,
    );
    assert!(found.task.is_none() && found.agent.is_none() && found.joined.is_none());
    let history = [
        user("hello there"),
        Part::Text("x", "hello".into()),
        user("more"),
    ];
    let found = world.ask(&owner("o"), &call(&blank, &history), (None, None), NOW);
    assert_eq!(by(&found), Some(Source::Orphan), "two messages tell enough");
}

#[test]
fn what_was_said_wins() {
    let world = World::default();
    let agent = Agent::new("a", &["search"]);
    let said = TaskId::from("mine");
    let wish = [world.wish("search", json!({"q": "a long enough question"}))];
    let first = world.ask(
        &owner("o"),
        &call(&agent, &[user("go")]),
        (Some(&said), None),
        NOW,
    );
    assert_eq!(task(&first), "mine");
    world.hear(
        &owner("o"),
        Dialect::OpenaiChat,
        &first,
        &Say::Tools(&wish),
        "x",
        NOW,
    );
    let next = [
        user("go"),
        Part::Calls("a", wish.to_vec()),
        Part::Result(wish[0].id.clone(), "r".into()),
    ];
    // Without the header it goes on where it was; with another one it goes there.
    let found = world.ask(&owner("o"), &call(&agent, &next), (None, None), NOW);
    assert_eq!(
        (task(&found), by(&found)),
        ("mine".into(), Some(Source::Prefix))
    );
    let other = TaskId::from("other");
    let found = world.ask(&owner("o"), &call(&agent, &next), (Some(&other), None), NOW);
    assert_eq!(
        (task(&found), by(&found)),
        ("other".into(), Some(Source::Orphan))
    );
}

#[test]
fn what_only_the_result_shows_is_hung_where_it_belongs() {
    let world = World::default();
    let (boss, child) = (
        Agent::new("boss", &["run_code"]),
        Agent::new("child", &["search"]),
    );
    let wish = [world.wish("run_code", json!({"code": "ask(child)"}))];
    let first = world.ask(
        &owner("o"),
        &call(&boss, &[user("begin with this")]),
        (None, None),
        NOW,
    );
    world.hear(
        &owner("o"),
        Dialect::OpenaiChat,
        &first,
        &Say::Tools(&wish),
        "x",
        NOW,
    );
    let stray = world.ask(
        &owner("o"),
        &call(&child, &[user("composed by code")]),
        (None, None),
        NOW,
    );
    assert_ne!(task(&first), task(&stray));
    world.hear(
        &owner("o"),
        Dialect::OpenaiChat,
        &stray,
        &Say::Text("what the child found"),
        "x",
        NOW,
    );
    let history = [
        user("begin with this"),
        Part::Calls("boss", wish.to_vec()),
        Part::Result(wish[0].id.clone(), "what the child found".into()),
    ];
    let found = world.ask(&owner("o"), &call(&boss, &history), (None, None), NOW);
    let hung = found.hung.clone().unwrap();
    assert_eq!(
        (hung.from.to_string(), hung.to.to_string()),
        (task(&stray), task(&first))
    );
    let goes_on = [
        user("composed by code"),
        Part::Text("child", "what the child found".into()),
        user("and?"),
    ];
    let next = world.ask(&owner("o"), &call(&child, &goes_on), (None, None), NOW);
    assert_eq!(task(&next), task(&first));
    assert_eq!(next.parent.unwrap().value, first.agent.unwrap().value);
}

#[test]
fn tasks_opened_are_bounded_by_the_hour() {
    let world = World::default();
    let agent = Agent::new("a", &[]);
    let ask = |number: usize, now: UnixMs| {
        let asked = call(&agent, &[user(&format!("question {number}"))]);
        let portrait = portrait(&asked);
        let likeness = Likeness {
            print: portrait.fingerprint(),
            ..Likeness::default()
        };
        let request = RequestId::from(format!("req_{number:032x}"));
        let asking = Asking {
            owner: &owner("o"),
            call: &asked,
            request: &request,
            task: None,
            agent: None,
            likeness: &likeness,
            again: false,
            now,
            window_ms: HOUR_MS,
            tasks_per_hour: 3,
        };
        world.inference.join(&asking).task.is_some()
    };
    let opened = (0..10).filter(|number| ask(*number, NOW)).count();
    assert_eq!(opened, 3);
    assert!(
        ask(11, UnixMs(NOW.0 + HOUR_MS)),
        "the next hour has tasks of its own"
    );
}

#[test]
fn what_is_remembered_is_bounded_and_forgotten_whole() {
    let world = World::default();
    let agent = Agent::new("a", &["search"]);
    for number in 0..MOST_LINES + 50 {
        let asked = call(&agent, &[user(&format!("question {number}"))]);
        let found = world.ask(
            &owner("o"),
            &asked,
            (None, None),
            UnixMs(NOW.0 + i64::try_from(number).unwrap()),
        );
        let wish = [world.wish(
            "search",
            json!({"q": format!("question {number} in other words")}),
        )];
        world.hear(
            &owner("o"),
            Dialect::OpenaiChat,
            &found,
            &Say::Tools(&wish),
            "x",
            NOW,
        );
    }
    assert_eq!(world.inference.lines(), MOST_LINES);
    let shelf = world.inference.known(&owner("o")).unwrap();
    let mut book = shelf.book.lock();
    book.sweep(UnixMs(NOW.0 + 10 * HOUR_MS), HOUR_MS, MOST_LINES);
    assert!(
        book.len() == 0 && book.is_bare(),
        "nothing is left in any index"
    );
}

#[test]
fn journal_rows_bring_it_all_back() {
    let world = World::default();
    let (boss, child) = (
        Agent::new("boss", &["ask_child"]),
        Agent::new("child", &["search"]),
    );
    let wish = [world.wish("ask_child", json!({"q": "What is behind all of this?"}))];
    let history = [user("begin here")];
    let first = world.ask(&owner("o"), &call(&boss, &history), (None, None), NOW);
    let mut reader = crate::dialect::answer::AnswerReader::new(Dialect::OpenaiChat);
    reader.keep(crate::dialect::answer::Keep {
        calls: true,
        text: true,
        beginning: false,
    });
    let body = json!({"id": "x", "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant",
        "tool_calls": [{"id": wish[0].id, "type": "function", "function": {"name": "ask_child", "arguments": wish[0].arguments.to_string()}}]}}]});
    reader.body(body.to_string().as_bytes());
    let handed = handed(Dialect::OpenaiChat, &reader.finish(true));
    let row = world
        .inference
        .heard(&owner("o"), &first.joined.unwrap(), &handed, NOW);
    assert!(
        !row.windows(6)
            .any(|window| b"behind".windows(6).any(|text| text == window)),
        "no text is kept"
    );
    let past = Past {
        owner: owner("o"),
        task: first.task.clone().unwrap().value,
        named: false,
        by: Source::Orphan,
        agent: first.agent.clone().map(|agent| agent.value),
        parent: None,
        invocation: first.invocation.clone().unwrap().value,
        at: NOW,
    };
    let after = World::default();
    after.inference.restore([(past, row)].into_iter(), HOUR_MS);
    let below = after.ask(
        &owner("o"),
        &call(&child, &[user("What is behind all of this?")]),
        (None, None),
        NOW,
    );
    assert_eq!(
        (task(&below), by(&below)),
        (task(&first), Some(Source::Argument))
    );
    assert_eq!(
        below.parent.unwrap().value,
        first.agent.clone().unwrap().value
    );
    let history = [
        user("begin here"),
        Part::Calls("boss", wish.to_vec()),
        Part::Result(wish[0].id.clone(), "much".into()),
    ];
    let next = after.ask(&owner("o"), &call(&boss, &history), (None, None), NOW);
    assert_eq!(
        (task(&next), next.invocation.unwrap().value),
        (task(&first), first.invocation.unwrap().value)
    );
}

#[test]
fn an_argument_is_found_as_whole_words_only() {
    let held = |argument: &str, text: &str| {
        let argument = arguments::Argument::of(argument).unwrap();
        let mut text = arguments::Text::new(text);
        text.beginnings()
            .any(|(at, keys)| keys.contains(&Some(argument.beginning)) && text.holds(at, &argument))
    };
    assert!(held(
        "research topic 1",
        "Current Task: research topic 1\nBegin!"
    ));
    assert!(!held(
        "research topic 1",
        "Current Task: research topic 17\nBegin!"
    ));
    assert!(!held("search topic 1", "Current Task: research topic 1"));
    assert!(held(
        "  Überall \"zwischen\" den Zeilen  ",
        "Bitte: Überall \"zwischen\" den Zeilen, ja?"
    ));
    assert!(
        arguments::Argument::of("do it").is_none(),
        "too short to tell anything by"
    );
    let long = "word ".repeat(60_000);
    assert!(held(&long, &format!("x {}", &long[..200_000])) || !held(&long, "word"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever one owner's calls hold, nothing of it is joined to another's.
    #[test]
    fn owners_are_never_joined(order in proptest::collection::vec((0..3_usize, 0..4_usize, 0..3_usize), 1..40)) {
        let world = World::default();
        let wishes: Vec<Wish> = (0..4).map(|n| world.wish("ask_agent", json!({"q": format!("the same question {n}")}))).collect();
        let agents = ["x", "y", "z"].map(|name| Agent::new(name, &["ask_agent"]));
        let mut seen: HashMap<String, usize> = HashMap::new();
        for (who, wish, step) in order {
            let asked = [wishes[wish].clone()];
            let words = format!("the same question {wish}");
            let history = match step {
                0 => vec![user(&words)],
                1 => vec![user(&words), Part::Calls("x", asked.to_vec()), Part::Result(asked[0].id.clone(), "result".into())],
                _ => vec![user(&words), Part::Text("x", "an answer".into()), user("go on")],
            };
            let name = format!("owner-{who}");
            let found = world.ask(&owner(&name), &call(&agents[wish % 3], &history), (None, None), NOW);
            world.hear(&owner(&name), Dialect::OpenaiChat, &found, &Say::Tools(&asked), "x", NOW);
            let whose = *seen.entry(task(&found)).or_insert(who);
            prop_assert_eq!(whose, who);
        }
    }

    /// Rows are read as they were written, and anything else is not.
    #[test]
    fn rows_are_read_as_written(first in any::<u128>(), said in any::<u64>(), ids in proptest::collection::vec(any::<u64>(), 0..9), cut in 0..200_usize) {
        let stand = Stand { print: Fingerprint(first ^ 7), first, mark: first ^ 1 };
        let open = ids.iter().map(|id| Open {
            id: *id, hands_off: id % 2 == 0,
            arguments: arguments::Argument::of(&format!("argument {id}")).into_iter().collect(),
        });
        let handed = Handed { open: open.collect(), ids, said };
        let written = trail::write(&stand, &handed);
        prop_assert_eq!(trail::read(&written), Some((stand, handed)));
        if cut < written.len() {
            prop_assert_eq!(trail::read(&written[..cut]), None);
        }
    }
}
