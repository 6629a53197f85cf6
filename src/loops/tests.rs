mod harmless;

use super::{
    Action, Circumstance, Context, Digest, Firing, Handoff, MOST_AGENTS, MOST_TASK_BYTES, Message,
    Observed, Role, Rule, Rules, ToolCall, USUAL_TASK_BYTES, Watch,
};
use proptest::prelude::*;

/// Feeds one task, call after call.
#[derive(Default)]
struct Play {
    watch: Watch,
    rules: Rules,
    call: u64,
}

impl Play {
    fn new() -> Self {
        Self::default()
    }

    fn see(&mut self, seen: Observed<'_>) -> Option<Firing> {
        let call = self.call;
        self.call += 1;
        self.watch.observe(&self.rules, &Observed { call, ..seen })
    }

    fn act(&mut self, agent: &str, tool: &str, arguments: &str, result: &str) -> Option<Rule> {
        self.act_in(Circumstance::Fresh, None, agent, tool, arguments, result)
    }

    fn act_in(
        &mut self,
        circumstance: Circumstance,
        chain: Option<u64>,
        agent: &str,
        name: &str,
        arguments: &str,
        result: &str,
    ) -> Option<Rule> {
        let tools = [ToolCall { name, arguments }];
        let answer = Message {
            tools: &tools,
            ..said(Role::Assistant, "")
        };
        let firing = self.see(Observed {
            circumstance,
            chain,
            ..of(agent, &[answer, said(Role::Tool, result)])
        });
        firing.map(|firing| firing.rule)
    }

    fn say(&mut self, agent: &str, text: &str) -> Option<Rule> {
        let firing = self.see(of(agent, &[said(Role::Assistant, text)]));
        firing.map(|firing| firing.rule)
    }

    fn person(&mut self, agent: &str, text: &str) -> Option<Rule> {
        let firing = self.see(of(
            agent,
            &[said(Role::Assistant, "Yes?"), said(Role::User, text)],
        ));
        firing.map(|firing| firing.rule)
    }

    fn hand(&mut self, from: &str, to: &str, text: &str) -> Option<Rule> {
        let handoff = Some(Handoff { to, text });
        let answer = [said(Role::Assistant, text)];
        let firing = self.see(Observed {
            handoff,
            ..of(from, &answer)
        });
        firing.map(|firing| firing.rule)
    }
}

fn said(role: Role, text: &str) -> Message<'_> {
    Message {
        role,
        text,
        tools: &[],
        name: None,
        media: 0,
    }
}

fn of<'a>(agent: &'a str, messages: &'a [Message<'a>]) -> Observed<'a> {
    Observed {
        call: 0,
        agent,
        line: 0,
        messages,
        handoff: None,
        circumstance: Circumstance::Fresh,
        chain: None,
        context: None,
    }
}

/// Plays `step` until it fires: at which of `most` steps, and by which rule?
fn first(most: usize, mut step: impl FnMut(usize) -> Option<Rule>) -> Option<(usize, Rule)> {
    (0..most).find_map(|i| Some((i, step(i)?)))
}

const COUNTS: [&str; 6] = ["one", "two", "three", "four", "five", "six"];

// --- loops

#[test]
fn the_same_state_three_times_in_a_row() {
    let mut play = Play::new();
    let fired = first(6, |_| play.act("a", "stock", r#"{"sku":7}"#, "4 left"));
    assert_eq!(fired, Some((2, Rule::Repeat)));
}

#[test]
fn key_order_prefixes_and_volatile_parts_hide_nothing() {
    let mut play = Play::new();
    let fired = first(6, |i| {
        let arguments = match i % 2 {
            0 => r#"{"sku": 7, "depot": "north"}"#,
            _ => "{\n\"depot\":\"north\",\"sku\":7.0}",
        };
        let tools = [ToolCall {
            name: "stock",
            arguments,
        }];
        let lead = ["Let me try again.", "Once more:", "Hm."][i % 3];
        let result = format!("[2031-01-02T03:04:0{i}Z req_{i}f09ab12cd] 4 left");
        let answer = Message {
            tools: &tools,
            ..said(Role::Assistant, lead)
        };
        let firing = play.see(of("a", &[answer, said(Role::Tool, &result)]));
        firing.map(|firing| firing.rule)
    });
    assert_eq!(fired, Some((2, Rule::Repeat)));
}

#[test]
fn three_of_the_last_ten_with_nothing_learnt() {
    let mut play = Play::new();
    let other = |play: &mut Play| play.act("a", "look", r#"{"at":"door"}"#, "closed");
    assert_eq!(play.act("a", "push", "{}", "stuck"), None);
    assert_eq!(other(&mut play), None);
    assert_eq!(other(&mut play), None);
    assert_eq!(play.act("a", "push", "{}", "stuck"), None);
    assert_eq!(play.act("a", "push", "{}", "stuck"), Some(Rule::Repeat));
}

#[test]
fn who_learns_something_in_between_may_come_back() {
    let mut play = Play::new();
    let fired = first(6, |i| {
        let fired = play.act("a", "list", "{}", "a, b, c");
        assert_eq!(play.act("a", "read", COUNTS[i], COUNTS[i]), None);
        fired
    });
    assert_eq!(fired, Some((4, Rule::Repeat)));
}

#[test]
fn cycles_within_an_agent() {
    for period in 2..=6 {
        let mut play = Play::new();
        let fired = first(40, |i| {
            play.act("a", "do", COUNTS[i % period], COUNTS[i % period])
        });
        assert_eq!(fired, Some((period * 3 - 1, Rule::Cycle)), "{period}");
    }
}

#[test]
fn cycles_across_agents_block_the_cycle() {
    let mut play = Play::new();
    assert_eq!(play.act("root", "start", "{}", "ok"), None);
    let fired = first(12, |i| match i % 2 {
        0 => play.say("planner", "Have this looked at again."),
        _ => play.act("worker", "stock", "{}", "4 left"),
    });
    assert_eq!(fired, Some((5, Rule::Cycle)));
}

#[test]
fn the_evidence_names_calls_and_digests() {
    let mut play = Play::new();
    let tools = [ToolCall {
        name: "stock",
        arguments: "{}",
    }];
    let answer = Message {
        tools: &tools,
        ..said(Role::Assistant, "")
    };
    let turn = [answer, said(Role::Tool, "4 left")];
    let firings: Vec<_> = (0..4).map(|_| play.see(of("a", &turn))).collect();
    let firing = firings[2].as_ref().unwrap();
    assert_eq!(firing.calls, [0, 1, 2]);
    assert_eq!(firing.digests.len(), 1);
    assert_ne!(firing.digests[0], Digest::default());
    assert_eq!(
        (firing.action, firing.agent.as_str(), firing.first),
        (Action::Deny, "a", true)
    );
    assert!(!firings[3].as_ref().unwrap().first, "the same episode");
}

#[test]
fn the_same_error_again() {
    let mut play = Play::new();
    let fired = first(6, |_| {
        play.act("a", "pay", r#"{"usd":9}"#, "Error: card declined")
    });
    assert_eq!(fired, Some((2, Rule::ErrorRetry)));
}

#[test]
fn near_identical_text_with_nothing_in_between() {
    let mut play = Play::new();
    let fired = first(6, |_| {
        play.say("a", "I shall now think about the next step of the task.")
    });
    assert_eq!(fired, Some((2, Rule::Monologue)));
    let mut play = Play::new();
    let fired = first(6, |i| {
        play.say(
            "a",
            &format!(
                "Chapter {}: quite another matter than {}",
                COUNTS[i],
                i * 17
            ),
        )
    });
    assert_eq!(fired, None);
}

#[test]
fn other_actions_and_the_same_error() {
    let mut play = Play::new();
    let fired = first(9, |i| {
        play.act("a", "query", COUNTS[i % 6], "Error: no such table")
    });
    assert_eq!(fired, Some((4, Rule::NoProgress)));
}

#[test]
fn the_same_work_handed_over_again_in_other_words() {
    let asks = [
        "Please find out what the annual pass of the museum costs.",
        "Please go and find out what the annual pass of the museum costs for adults.",
        "Find out, on the website, what the annual pass of the museum costs, please.",
    ];
    let mut play = Play::new();
    let fired = first(3, |i| {
        let fired = play.hand("lead", "worker", asks[i]);
        play.act(
            "worker",
            "click",
            COUNTS[i],
            "the same long page about the museum as before, with nothing on passes",
        );
        fired
    });
    assert_eq!(fired, Some((2, Rule::Rounds)));
}

#[test]
fn contexts_that_explode() {
    let mut play = Play::new();
    let mut see = |bytes, first, inherited_bytes| {
        let context = Some(Context {
            bytes,
            first,
            whole_bytes: bytes,
            inherited_bytes,
        });
        let text = format!("{bytes} of {}", "x".repeat(1000));
        let turn = [said(Role::Assistant, "ok"), said(Role::Tool, &text)];
        play.see(Observed {
            context,
            ..of("a", &turn)
        })
    };
    assert_eq!(see(1_000, true, 0), None);
    assert_eq!(see(40_000, false, 0), None, "not worth a word");
    let firing = see(90_000, false, 0).unwrap();
    assert_eq!(firing.rule, Rule::Growth);
    assert_eq!(firing.growth.unwrap().grown_bytes, 89_000);
    assert_eq!(see(50_000, true, 10_000), None, "began anew, of its own");
    assert_eq!(see(200_000, true, 190_000).unwrap().rule, Rule::Growth);
}

// --- switches

#[test]
fn every_rule_can_be_switched_off() {
    let mut play = Play::new();
    play.rules.repeat.action = Action::Off;
    assert_eq!(first(7, |_| play.act("a", "stock", "{}", "4 left")), None);
    let mut play = Play::new();
    play.rules.error_retry.action = Action::Off;
    let fired = first(7, |_| play.act("a", "pay", "{}", "Error: declined"));
    assert_eq!(fired, Some((2, Rule::Repeat)));
}

// --- anything at all

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,60}",
        prop::sample::select(vec![
            "",
            "ok",
            "'a' \"b\" ‘c’",
            "Error: no",
            "It’s 12 ms, é"
        ])
        .prop_map(str::to_owned),
    ]
}

proptest! {
    #[test]
    fn nothing_that_is_said_makes_it_panic(
        calls in prop::collection::vec((0..3_usize, prop::collection::vec((0..4_usize, any_text()), 0..5), any_text()), 0..40),
    ) {
        let mut play = Play::new();
        let agents = ["a", "b", ""];
        for (agent, said_texts, ask) in &calls {
            let roles = [Role::Assistant, Role::Tool, Role::User, Role::Other];
            let tools = [ToolCall { name: ask, arguments: ask }];
            let messages: Vec<_> = said_texts
                .iter()
                .map(|(role, text)| Message {
                    tools: if text.len() % 2 == 0 { &tools } else { &[] },
                    name: (text.len() % 3 == 0).then_some(ask),
                    ..said(roles[*role], text)
                })
                .collect();
            let handoff = (ask.len() % 2 == 0).then_some(Handoff { to: "b", text: ask });
            let firing = play.see(Observed { handoff, ..of(agents[*agent], &messages) });
            if let Some(firing) = firing {
                prop_assert!(!firing.calls.is_empty() && firing.calls.len() <= Firing::MOST_CALLS);
                prop_assert!(firing.calls.is_sorted());
            }
        }
    }
}

// --- memory

#[test]
fn a_tasks_memory_is_bounded() {
    let mut usual = Play::new();
    for i in 0..500 {
        let result = format!("{i}. and {}. or {}", i * 3, i * 7);
        usual.act_in(Circumstance::Fresh, Some(i), "a", "do", &result, &result);
        usual.say("a", &result);
    }
    assert!(
        usual.watch.bytes() <= USUAL_TASK_BYTES,
        "{}",
        usual.watch.bytes()
    );

    let mut wild = Play::new();
    for i in 0..1_500_u64 {
        let agent = format!("agent {}", i % 97);
        let to = format!("agent {}", i % 61);
        let text: String = (0..150).map(|n| format!("w{} ", i * 150 + n)).collect();
        wild.hand(&agent, &to, &text);
        wild.act_in(Circumstance::Fresh, Some(i), &agent, "do", &text, &text);
    }
    assert!(wild.watch.agents.len() <= MOST_AGENTS);
    assert!(
        wild.watch.bytes() <= MOST_TASK_BYTES,
        "{}",
        wild.watch.bytes()
    );
}
