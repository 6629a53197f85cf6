//! Which accounts cover a call.

use super::*;
use crate::ledger::Cover;
use crate::units::{Meter, UnixMs};
use std::sync::Arc;

pub(super) fn facts() -> Facts {
    let text = |text: &str| -> Arc<str> { text.into() };
    Facts {
        owner: text("acme"),
        identity: text("crew"),
        task: text("t-1"),
        on_behalf_of: None,
        agent: Some(text("a-1")),
        role: Some(text("researcher")),
        model: text("gpt-4o-mini"),
        provider: text("openai"),
        dialect: "openai-chat",
        tool: None,
        agent_trusted: true,
        role_trusted: true,
        unattributed: false,
    }
}

fn policies(text: &str) -> Policies {
    Policies::parse(text, Path::new("limits.toml")).unwrap()
}

fn covers(policies: &Policies, facts: &Facts, now: UnixMs) -> Vec<Cover> {
    let mut out = Vec::new();
    policies.covers(facts, now, &mut out);
    out
}

/// The names of the covering limits with the values they count per.
fn named(policies: &Policies, facts: &Facts) -> Vec<String> {
    let name = |cover: &Cover| {
        let per: Vec<String> =
            (cover.key.per.iter().map(|(side, v)| format!("{side}={v}"))).collect();
        format!("{} {}", Limit::name_in(&cover.key.limit), per.join(" "))
    };
    covers(policies, facts, UnixMs(0))
        .iter()
        .map(name)
        .collect()
}

fn usd(cover: &Cover) -> Option<u64> {
    cover.caps.0[Meter::Usd as usize]
}

const LIMITS: &str = r#"
[[limit]]
name = "task"
per = ["task"]
usd = "2"
duration = "30m"

[[limit]]
name = "agent"
per = ["task", "agent"]
turns = 40

[[limit]]
name = "day"
per = ["owner"]
window = { every = "day" }
usd = "50"

[[limit]]
name = "minis"
per = "none"
window = { every = "hour", timezone = "UTC" }
match = { model = ["*-mini", "claude-*"], dialect = "openai-*" }
tokens = 1_000

[[limit]]
name = "person"
per = ["owner", "on_behalf_of"]
window = { every = "month" }
usd = "5"
on_exceed = "observe"
"#;

#[test]
fn every_limit_that_matches_covers() {
    let policies = policies(LIMITS);
    let found = named(&policies, &facts());
    let expected = [
        "task task=t-1 owner=acme",
        "agent task=t-1 agent=a-1 owner=acme",
        "day owner=acme",
        "minis ",
        "person owner=acme on_behalf_of=-",
    ];
    assert_eq!(found, expected);
    let mut other = facts();
    other.model = "gpt-4o".into();
    other.agent = None;
    let found = named(&policies, &other);
    assert_eq!(found[1], "agent task=t-1 agent=- owner=acme");
    assert!(!found.iter().any(|name| name.starts_with("minis")));
}

#[test]
fn accounts_know_their_window_and_mode() {
    let found = covers(&policies(LIMITS), &facts(), at("2026-06-01T12:34:56Z"));
    let windows: Vec<_> = found.iter().map(|cover| cover.key.window).collect();
    let expected = [
        None,
        None,
        Some(at("2026-06-01T00:00:00Z")),
        Some(at("2026-06-01T12:00:00Z")),
        Some(at("2026-06-01T00:00:00Z")),
    ];
    assert_eq!(windows, expected);
    assert!(found[4].observe && !found[0].observe);
}

#[test]
fn a_task_is_known_within_its_owner() {
    let policies = policies(LIMITS);
    let mut other = facts();
    other.owner = "rival".into();
    let (ours, theirs) = (
        covers(&policies, &facts(), UnixMs(0)),
        covers(&policies, &other, UnixMs(0)),
    );
    assert_ne!(ours[0].key, theirs[0].key);
}

#[test]
fn unattributed_tasks_have_no_deadline() {
    let policies = policies(LIMITS);
    let mut nameless = facts();
    nameless.unattributed = true;
    let duration =
        |facts: &Facts| covers(&policies, facts, UnixMs(0))[0].caps.0[Meter::Duration as usize];
    assert_eq!(duration(&facts()), Some(1_800_000));
    assert_eq!(duration(&nameless), None);
    assert_eq!(
        usd(&covers(&policies, &nameless, UnixMs(0))[0]),
        Some(2_000_000_000)
    );
}

#[test]
fn ceilings_per_call_combine_and_make_no_account() {
    let policies = policies(
        r#"
[[limit]]
name = "any"
per = ["call"]
usd = "1"
output_tokens = 100

[[limit]]
name = "minis"
per = ["call"]
match = { model = "*-mini" }
usd = "0.10"

[[limit]]
name = "watch"
per = ["call"]
usd = "0.01"
on_exceed = "observe"
"#,
    );
    let mut out = Vec::new();
    let ceilings = policies.covers(&facts(), UnixMs(0), &mut out);
    assert!(out.is_empty());
    let usd = Meter::Usd as usize;
    assert_eq!(ceilings.deny.caps.0[usd], Some(100_000_000));
    assert_eq!(ceilings.deny.of[usd], Some(LimitIndex(1)));
    assert_eq!(
        ceilings.deny.of[Meter::OutputTokens as usize],
        Some(LimitIndex(0))
    );
    assert_eq!(ceilings.observe.caps.0[usd], Some(10_000_000));
}

const ROLES: &str = r#"
[[limit]]
name = "supervisors"
match = { role = "supervisor" }
per = ["task", "role"]
usd = "5"

[[limit]]
name = "researchers"
match = { role = "researcher" }
per = ["task", "role"]
usd = "0.40"
turns = 10

[[limit]]
name = "rivals"
match = { role = "researcher", owner = "rival" }
per = ["task", "role"]
usd = "0.01"

[[limit]]
name = "per agent"
match = { role = "*" }
per = ["task", "agent"]
usd = "0.02"
"#;

#[test]
fn a_claimed_role_gets_the_tightest_caps() {
    let policies = policies(ROLES);
    let mut boss = facts();
    boss.role = Some("supervisor".into());
    let trusted = covers(&policies, &boss, UnixMs(0));
    assert_eq!(usd(&trusted[0]), Some(5_000_000_000));
    assert_eq!(trusted[0].caps.0[Meter::Turns as usize], None);
    boss.role_trusted = false;
    let claimed = covers(&policies, &boss, UnixMs(0));
    // The rival's limit is not this owner's, and the limit per agent counts something else.
    assert_eq!(usd(&claimed[0]), Some(400_000_000));
    assert_eq!(claimed[0].caps.0[Meter::Turns as usize], Some(10));
    assert_eq!(claimed[0].key, trusted[0].key, "the account stays the same");
    boss.owner = "rival".into();
    assert_eq!(
        usd(&covers(&policies, &boss, UnixMs(0))[0]),
        Some(10_000_000)
    );
}

#[test]
fn a_claimed_agent_tightens_only_what_matches_on_agents() {
    let policies = policies(ROLES);
    let mut boss = facts();
    boss.role = Some("supervisor".into());
    boss.agent_trusted = false;
    assert_eq!(
        usd(&covers(&policies, &boss, UnixMs(0))[0]),
        Some(5_000_000_000)
    );
}

#[test]
fn tools_have_accounts_of_their_own() {
    let policies = policies(
        r#"
[[limit]]
name = "search"
match = { tool = "web_*" }
per = ["task"]
tool_calls = 5

[[limit]]
name = "each tool"
per = ["task", "tool"]
usd = "1"

[[limit]]
name = "task"
per = ["task"]
usd = "2"

[[tool]]
name = "web_search"
usd = "0.01"

[[tool]]
name = "web_*"
usd = "0.05"
"#,
    );
    assert_eq!(named(&policies, &facts()), ["task task=t-1 owner=acme"]);
    let mut tool = facts();
    tool.tool = Some("web_fetch".into());
    let found = named(&policies, &tool);
    assert_eq!(
        found,
        [
            "search task=t-1 owner=acme",
            "each tool task=t-1 tool=web_fetch owner=acme"
        ]
    );
    assert_eq!(policies.tool_prices().of("web_search").0, 10_000_000);
    assert_eq!(policies.tool_prices().of("web_fetch").0, 50_000_000);
    assert_eq!(policies.tool_prices().of("shell").0, 0);
}

#[test]
fn the_id_follows_the_shape_and_not_the_caps() {
    let id = |text: &str| policies(text).limit(LimitIndex(0)).unwrap().id.clone();
    let limit = |rest: &str| format!("[[limit]]\nname = \"a b\"\nper = [\"task\"]\n{rest}");
    let plain = id(&limit("usd = \"1\"\n"));
    // Written out: an id that changed with a version would forget what was spent.
    assert_eq!(&*plain, "a b#6f6ef0de534a");
    assert_eq!(plain, id(&limit("usd = \"2\"\nturns = 3\nwarn_at = 0.5\n")));
    assert_ne!(plain, id(&limit("usd = \"1\"\nmatch = { role = \"x\" }\n")));
    assert_ne!(
        plain,
        id(&limit("usd = \"1\"\nwindow = { every = \"day\" }\n"))
    );
    let (one, two) = (
        "match = { role = [\"x\", \"y\"] }\n",
        "match = { role = [\"y\", \"x\"] }\n",
    );
    assert_eq!(
        id(&limit(&format!("usd = 1\n{one}"))),
        id(&limit(&format!("usd = 1\n{two}")))
    );
    assert_eq!(Limit::name_in(&plain), "a b");
}

#[test]
fn past_calls_are_counted_in_their_own_window() {
    let policies = policies(LIMITS);
    policies.not_before(at("2026-06-10T00:00:00Z"));
    let day = LimitIndex(2);
    let key = policies
        .account_of(day, &facts(), at("2026-06-01T12:00:00Z"))
        .unwrap();
    assert_eq!(key.window, Some(at("2026-06-01T00:00:00Z")));
    let mut other = facts();
    other.model = "gpt-4o".into();
    assert_eq!(policies.account_of(LimitIndex(3), &other, UnixMs(0)), None);
}

#[test]
fn refusals_have_the_code_of_what_was_counted() {
    let policies = policies(LIMITS);
    let code = |index: usize, meter| policies.limit(LimitIndex(index)).unwrap().code(meter);
    assert_eq!(code(0, Meter::Usd), "task_budget_exceeded");
    assert_eq!(code(0, Meter::Duration), "deadline_exceeded");
    assert_eq!(code(1, Meter::Turns), "turns_exceeded");
    assert_eq!(code(1, Meter::Tokens), "agent_budget_exceeded");
    assert_eq!(code(2, Meter::Usd), "budget_exceeded");
}
