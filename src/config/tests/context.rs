//! `context_tokens` and `handoff_tokens`.

use super::*;
use crate::units::LimitName;

fn facts(role: &str, trusted: bool) -> Facts {
    Facts {
        owner: "o".into(),
        identity: "i".into(),
        task: "t".into(),
        on_behalf_of: None,
        agent: Some("a".into()),
        role: Some(role.into()),
        model: "m".into(),
        provider: "p".into(),
        dialect: "openai-chat",
        tool: None,
        agent_trusted: trusted,
        role_trusted: trusted,
        unattributed: false,
    }
}

fn policies(text: &str) -> Policies {
    Policies::parse(text, Path::new("limits.toml")).unwrap()
}

const TWO: &str = r#"
[[limit]]
name = "workers"
match = { role = "worker" }
context_tokens = 40_000
handoff_tokens = 10_000
on_exceed = "trim"

[[limit]]
name = "chiefs"
match = { role = "chief" }
context_tokens = 90_000

[[limit]]
name = "task"
per = ["task"]
usd = "2.00"
context_tokens = 100_000
"#;

#[test]
fn a_context_is_capped_by_role_and_counts_nothing() {
    let policies = policies(TWO);
    assert!(policies.caps_context());
    let rules = policies.context(&facts("worker", true));
    let names: Vec<&str> = rules.iter().map(|rule| rule.limit.as_str()).collect();
    assert_eq!(names, ["workers", "task"]);
    assert_eq!(rules[0].caps.then, OnContext::Trim);
    assert_eq!(rules[0].caps.on(true), Some(("handoff_tokens", 10_000)));
    assert_eq!(rules[0].caps.on(false), Some(("context_tokens", 40_000)));
    assert_eq!(rules[1].caps.on(true), Some(("context_tokens", 100_000)));
    let mut covers = Vec::new();
    let now = at("2026-11-21T00:00:00Z");
    let ceilings = policies.covers(&facts("worker", true), now, &mut covers);
    assert_eq!(covers.len(), 1, "the dollars of the task");
    assert_eq!(ceilings, CallCeilings::default());
    let limits: Vec<_> = policies.limits().collect();
    assert_eq!(limits[0].per, Per::Call);
    assert_eq!(limits[0].on_exceed(), "trim");
    assert_eq!(limits[1].on_exceed(), "deny");
}

#[test]
fn whoever_only_claims_its_role_is_under_the_least_such_cap() {
    let policies = policies(TWO);
    let least = |trusted| {
        let rules = policies.context(&facts("chief", trusted));
        let chiefs = rules
            .into_iter()
            .find(|rule| rule.limit == LimitName::from("chiefs"));
        chiefs.unwrap().caps
    };
    assert_eq!(least(true).on(true), Some(("context_tokens", 90_000)));
    assert_eq!(least(false).on(true), Some(("handoff_tokens", 10_000)));
    assert_eq!(least(false).on(false), Some(("context_tokens", 40_000)));
    assert_eq!(least(false).then, OnContext::Deny);
}

#[test]
fn what_cannot_be_is_a_fault() {
    let faults: Vec<String> = [
        "context_tokens = 0",
        "context_tokens = 10\nhandoff_tokens = 11",
        "context_tokens = 10\non_exceed = \"escalate\"",
        "context_tokens = 10\nper = \"tool\"\nwindow = { every = \"day\" }",
        "per = \"call\"\nusd = 1\non_exceed = \"trim\"",
        "per = \"call\"\nusd = 1\ncontext_tokens = 10\non_exceed = \"nudge\"",
        "context_tokens = 10\non_exceed = \"summarise\"",
        "context_tokens = 10\non_exceed = \"trim\"\nsummarise_with = \"m\"",
        "context_tokens = 10\nper = \"owner\"\nusd = 1",
        "context_token = 10",
    ]
    .iter()
    .flat_map(|keys| limit_faults(&format!("[[limit]]\nname = \"x\"\n{keys}\n")))
    .collect();
    insta::assert_snapshot!(faults.join("\n"), @r###"
    3: `context_tokens`: 0 is not between 1 and 18446744073709551615
    4: `handoff_tokens`: 11 is more than any call's `context_tokens`, 10, so it never binds
    4: `on_exceed`: `context_tokens` is about one call, whose cap nobody can raise; write "deny", "trim", "summarise", "nudge" or "observe"
    3: `context_tokens`: a tool has no context
    5: `on_exceed`: "trim" is for `context_tokens` and `handoff_tokens` alone; put the other caps into a limit of their own
    6: `on_exceed`: "nudge" is for `context_tokens` and `handoff_tokens` alone; put the other caps into a limit of their own
    4: `on_exceed`: "summarise" needs `summarise_with`, the model that does it, such as "openai/gpt-4o-mini"
    5: `summarise_with` goes with `on_exceed = "summarise"`
    1: this limit needs a window such as `window = { every = "day", timezone = "UTC" }`: only limits per task or per call do without
    1: this limit caps nothing; give it `usd`, `turns`, `tokens` or the like
    1: this limit needs a window such as `window = { every = "day", timezone = "UTC" }`: only limits per task or per call do without
    3: unknown key `context_token` in [limit]; did you mean `context_tokens`?
    "###);
}
