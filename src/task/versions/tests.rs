//! Names taken apart, and what a task is told of.

use super::*;

fn parts(name: &str) -> [String; 3] {
    let ModelName {
        line,
        generation,
        version,
    } = ModelName::of(name);
    [line, generation, version]
}

#[test]
fn names_are_taken_apart() {
    let cases = [
        ("gpt-4o-mini-2024-07-18", ["gpt-mini", "4o", "2024-07-18"]),
        ("gpt-4.1-mini", ["gpt-mini", "4.1", ""]),
        ("gpt-4-0613", ["gpt", "4", "0613"]),
        ("o3-mini", ["o-mini", "3", ""]),
        (
            "claude-sonnet-4-5-20250929",
            ["claude-sonnet", "4-5", "20250929"],
        ),
        (
            "claude-3-5-sonnet@20241022",
            ["claude-sonnet", "3-5", "20241022"],
        ),
        ("claude-3-5-sonnet-latest", ["claude-sonnet", "3-5", ""]),
        ("meta-llama/Llama-3.1-70B", ["llama-70b", "3.1", ""]),
        ("mixtral-8x7b-v0.1", ["mixtral-8x7b-v", "0.1", ""]),
        ("mistral-large-2411", ["mistral-large", "", "2411"]),
        ("", ["", "", ""]),
    ];
    for (name, expected) in cases {
        assert_eq!(parts(name), expected, "{name}");
    }
}

#[test]
fn another_version_of_one_model_differs_and_another_model_does_not() {
    let differs = |one: &str, other: &str| ModelName::of(one).differs(&ModelName::of(other));
    assert!(differs("gpt-4o-2024-08-06", "gpt-4o-2024-11-20"));
    assert!(differs("claude-3-5-sonnet", "claude-sonnet-4-5-20250929"));
    assert!(!differs("gpt-4o-2024-08-06", "gpt-4o"));
    assert!(!differs("gpt-4o", "gpt-4o-mini"));
    assert!(!differs("llama-3.1-8b", "llama-3.1-70b"));
}

#[test]
fn a_task_is_told_of_each_version_once() {
    let versions = Versions::default();
    let hear = |who, answered| {
        let heard = Heard {
            who,
            provider: "p",
            model: "m-1",
            answered,
        };
        let events = versions.hear(&heard);
        events.iter().map(|event| event.kind).collect::<Vec<_>>()
    };
    let (old, new) = ("m-1-2026-01-01", "m-1-2026-02-02");
    assert!(hear("a", old).is_empty());
    assert!(hear("b", old).is_empty());
    // Its own change, and it parts from the other.
    assert_eq!(hear("a", new), ["version", "skew"]);
    assert!(hear("a", new).is_empty());
    assert_eq!(hear("b", old), Vec::<&str>::new());
    assert!(hear("b", new).is_empty());
    assert_eq!(versions.against("m-1-2026-03-03").as_deref(), Some(new));
    assert_eq!(versions.against("m-1"), None);
}

#[test]
fn what_is_kept_of_a_task_is_bounded() {
    let versions = Versions::default();
    let mut events = 0;
    for i in 0..1_000 {
        let answered = format!("m-1-{:08}", 20_260_000 + i);
        let who = format!("a{i}");
        let heard = Heard {
            who: &who,
            provider: "p",
            model: "m",
            answered: &answered,
        };
        events += versions.hear(&heard).len();
    }
    assert_eq!(events, MAX_TOLD);
    assert_eq!(versions.heard.lock().met.len(), MAX_MET);
}
