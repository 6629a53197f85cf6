//! `policies/loops.toml`.

use super::super::{ConductRules, Facts, LoopPolicies};
use super::lines;
use crate::loops::{Action, Rules};
use crate::task::pulse::PulseRules;
use std::path::Path;

fn parse(text: &str) -> LoopPolicies {
    LoopPolicies::parse(text, Path::new("loops.toml")).unwrap()
}

fn faults(text: &str) -> Vec<String> {
    lines(LoopPolicies::parse(text, Path::new("loops.toml")).err())
}

fn facts(role: &str) -> Facts {
    Facts {
        owner: "o".into(),
        identity: "i".into(),
        task: "t".into(),
        on_behalf_of: None,
        agent: None,
        role: Some(role.into()),
        model: "m".into(),
        provider: "p".into(),
        dialect: "openai-chat",
        tool: None,
        agent_trusted: true,
        role_trusted: true,
        unattributed: false,
    }
}

#[test]
fn what_is_not_said_is_the_default() {
    assert_eq!(*parse("").base(), Rules::default());
    let policies =
        parse("[repeat]\nin_row = 4\n[growth]\naction = \"off\"\nleast_bytes = \"1MiB\"\n");
    let mut rules = Rules::default();
    rules.repeat.in_row = 4;
    rules.growth.action = Action::Off;
    rules.growth.least_bytes = 1 << 20;
    assert_eq!(*policies.base(), rules);
}

#[test]
fn the_shipped_file_says_the_defaults() {
    let text = include_str!("../../../policies/loops.toml");
    assert_eq!(parse(text), LoopPolicies::default());
}

#[test]
fn malformed_answers_and_failures_have_their_tables() {
    let text = "[malformed]\naction = \"escalate\"\n[[override]]\nmatch = { role = \"coder\" }\n\
                [override.malformed]\nin_row = 9\n[override.failures]\naction = \"off\"\n";
    let policies = parse(text);
    let coder = *policies.conduct(|| facts("coder"));
    let expected = ConductRules {
        malformed: Action::Escalate,
        malformed_in_row: 9,
        failures: Action::Off,
        ..ConductRules::default()
    };
    assert_eq!(coder, expected);
    assert_eq!(coder.thresholds().malformed, Some(9));
    assert_eq!(coder.thresholds().children, None);
    assert_eq!(policies.conduct(|| facts("writer")).malformed_in_row, 3);
    let found = faults("[malformed]\naction = \"nudge\"\n[failures]\nchildren = 99\nin_rows = 1\n");
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(
        found[0].contains("`nudge` is not known here"),
        "{}",
        found[0]
    );
    assert!(found[1].contains("between 1 and 15"), "{}", found[1]);
    assert!(found[2].contains("did you mean `in_row`?"), "{}", found[2]);
}

#[test]
fn an_override_starts_from_the_base() {
    let policies = parse(
        "[cycle]\ntimes = 2\n[[override]]\nmatch = { role = \"poller\" }\n[override.repeat]\naction = \"warn\"\n",
    );
    let poller = policies.of(&facts("poller"));
    assert_eq!(
        (poller.repeat.action, poller.cycle.times),
        (Action::Warn, 2)
    );
    assert_eq!(policies.of(&facts("writer")).repeat.action, Action::Deny);
}

#[test]
fn every_fault_is_told_with_its_line() {
    let found = faults(
        "[repeat]\nin_row = 1\nin_window = 12\naction = \"refuse\"\n[cicle]\n[[override]]\n[override.rounds]\nmots = 3\n",
    );
    assert_eq!(found.len(), 6, "{found:#?}");
    assert!(
        found[0].starts_with("2: `in_row`: 1 is not between 2 and 18"),
        "{}",
        found[0]
    );
    assert!(
        found[1].starts_with("3: `in_window`: 12 times do not fit"),
        "{}",
        found[1]
    );
    assert!(
        found[2].contains("`refuse` is not known here"),
        "{}",
        found[2]
    );
    assert!(found[3].contains("did you mean `cycle`?"), "{}", found[3]);
    assert!(found[4].contains("needs a `match`"), "{}", found[4]);
    assert!(found[5].contains("did you mean `most`?"), "{}", found[5]);
}

#[test]
fn signs_are_told_or_not() {
    let pulse = |text: &str| *parse(text).pulse();
    let default = PulseRules::default();
    assert_eq!(pulse(""), default);
    let said =
        pulse("[stalled]\nafter = \"90s\"\nshare_percent = 50\n[state_lost]\naction = \"off\"\n");
    assert_eq!((said.after_ms, said.share_percent), (90_000, 50));
    assert!(said.stalled && !said.state_lost);
    for wrong in [
        "[stalled]\naction = \"deny\"\n",
        "[stalled]\nafter = \"0s\"\n",
        "[stalled]\nshare_percent = 101\n",
        "[state_lost]\nafter = \"1m\"\n",
        "[[override]]\nmatch = { role = \"x\" }\n[override.stalled]\nafter = \"1m\"\n",
    ] {
        assert!(!faults(wrong).is_empty(), "{wrong}");
    }
}
