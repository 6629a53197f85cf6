//! What looks like a loop and is none.

use super::{Circumstance, Message, Observed, Play, Role, ToolCall, first, of, said};

#[test]
fn polling_paging_maps_and_edit_test_cycles_pass() {
    let mut poll = Play::new();
    assert_eq!(
        first(20, |i| poll.act(
            "a",
            "status",
            "{}",
            &format!("running, {}%", i * 5)
        )),
        None
    );
    let mut page = Play::new();
    assert_eq!(
        first(20, |i| page.act(
            "a",
            "list",
            &format!("{{\"page\":{i}}}"),
            &format!("rows from {i}0")
        )),
        None
    );
    let mut map = Play::new();
    assert_eq!(
        first(7, |i| map.act(
            "a",
            "translate",
            &format!("{{\"file\":\"{i}.md\"}}"),
            "done"
        )),
        None
    );
    let mut test = Play::new();
    let fired = first(16, |i| match i % 2 {
        0 => test.act("a", "edit", &format!("{{\"patch\":{i}}}"), "edited"),
        _ => test.act("a", "test", "{}", &format!("{} failed", 20 - i)),
    });
    assert_eq!(fired, None);
    let mut stubborn = Play::new();
    let fired = first(8, |i| match i % 2 {
        0 => stubborn.act("a", "edit", &format!("{{\"patch\":{i}}}"), "edited"),
        _ => stubborn.act("a", "test", "{}", "Error: 3 failed"),
    });
    assert_eq!(fired, None, "every edit was another one");
}

#[test]
fn a_supervisor_that_hands_over_again_and_again_passes() {
    let mut play = Play::new();
    let mut run = |answers: [&str; 4]| {
        first(4, |i| {
            let tools = [ToolCall {
                name: "transfer_to_writer",
                arguments: "{}",
            }];
            let own = Message {
                tools: &tools,
                name: Some("lead"),
                ..said(Role::Assistant, "")
            };
            let other = Message {
                name: Some("writer"),
                ..said(Role::Assistant, answers[i])
            };
            let turn = [
                own,
                said(Role::Tool, "transferred"),
                other,
                said(Role::Tool, "back"),
            ];
            let firing = play.see(of("lead", &turn));
            firing.map(|firing| firing.rule)
        })
    };
    assert_eq!(
        run(["One chapter.", "Two chapters.", "Three.", "The index."]),
        None
    );
    let stuck = "I cannot do that.";
    assert!(
        run([stuck; 4]).is_some(),
        "the writer says the same each time"
    );
}

#[test]
fn screenshots_that_differ_pass() {
    let mut play = Play::new();
    let fired = first(12, |i| {
        let tools = [ToolCall {
            name: "scroll",
            arguments: "{}",
        }];
        let answer = Message {
            tools: &tools,
            ..said(Role::Assistant, "")
        };
        let media = u64::try_from(i + 1).unwrap();
        let shot = Message {
            media,
            ..said(Role::Tool, "")
        };
        let firing = play.see(of("a", &[answer, shot]));
        firing.map(|firing| firing.rule)
    });
    assert_eq!(fired, None);
}

#[test]
fn conversations_of_one_agent_are_watched_apart() {
    let mut play = Play::new();
    let fired = first(9, |i| {
        let tools = [ToolCall {
            name: "list",
            arguments: "{}",
        }];
        let answer = Message {
            tools: &tools,
            ..said(Role::Assistant, "")
        };
        let turn = [answer, said(Role::Tool, "a, b, c")];
        let line = u64::try_from(i).unwrap();
        let firing = play.see(Observed {
            line,
            ..of("researcher", &turn)
        });
        firing.map(|firing| firing.rule)
    });
    assert_eq!(fired, None);
}

#[test]
fn retries_and_twins_pass() {
    for circumstance in [
        Circumstance::Retry,
        Circumstance::Twin,
        Circumstance::Failed,
    ] {
        let mut play = Play::new();
        let fired = first(9, |i| {
            let circumstance = if i == 0 {
                Circumstance::Fresh
            } else {
                circumstance
            };
            play.act_in(circumstance, None, "a", "stock", "{}", "4 left")
        });
        assert_eq!(fired, None, "{circumstance:?}");
    }
}

#[test]
fn a_replay_from_a_checkpoint_passes_and_a_third_run_does_not() {
    let mut play = Play::new();
    // A poll that did not change twice, then a crash, and the same two calls again.
    let run = |play: &mut Play| {
        first(2, |i| {
            let chain = Some(u64::try_from(i).unwrap());
            play.act_in(Circumstance::Fresh, chain, "a", "status", "{}", "queued")
        })
    };
    assert_eq!(run(&mut play), None);
    assert_eq!(run(&mut play), None);
    assert!(run(&mut play).is_some());
}

#[test]
fn a_persons_message_resets_the_window_and_nothing_else_does() {
    let stock = |play: &mut Play| {
        play.act(
            "a",
            "stock",
            r#"{"note":"Please look at the shelf again"}"#,
            "4 left",
        )
    };
    let twice = || {
        let mut play = Play::new();
        assert_eq!(stock(&mut play), None);
        assert_eq!(stock(&mut play), None);
        play
    };
    let mut play = twice();
    assert_eq!(play.person("a", "What about the other depot, then?"), None);
    assert_eq!(first(2, |_| stock(&mut play)), None);
    // The same words once more are machinery's; so is what stands in an argument or a result.
    assert_eq!(play.person("a", "What about the other depot, then?"), None);
    assert!(first(2, |_| stock(&mut play)).is_some());
    for words in ["Please look at the shelf again.", "4 left"] {
        let mut play = twice();
        play.person("a", words);
        assert!(first(2, |_| stock(&mut play)).is_some(), "{words}");
    }
    // Only the root agent is spoken to by a person.
    let mut play = twice();
    play.person("b", "Is this a person?");
    assert!(first(4, |_| stock(&mut play)).is_some());
}

#[test]
fn a_known_agents_message_is_no_persons() {
    let mut play = Play::new();
    play.act("lead", "start", "{}", "ok");
    play.act("worker", "start", "{}", "ok");
    let fired = first(5, |i| {
        let text = format!("This is answer number {i}");
        let message = Message {
            name: Some("worker"),
            ..said(Role::User, &text)
        };
        let tools = [ToolCall {
            name: "ask",
            arguments: "{}",
        }];
        let answer = Message {
            tools: &tools,
            ..said(Role::Assistant, "")
        };
        play.see(of("lead", &[answer, said(Role::Tool, "asked"), message]));
        play.act("lead", "stock", "{}", "4 left")
    });
    assert!(fired.is_some(), "no window was reset");
}
