//! `policies/routes.toml`.

use super::super::{Between, CallKind, OnSkew, RoutePolicies, Side, TargetModel};
use super::{limit_faults, lines, parsed};
use std::path::Path;

fn parse(text: &str) -> RoutePolicies {
    RoutePolicies::parse(text, Path::new("routes.toml")).unwrap()
}

fn faults(text: &str) -> Vec<String> {
    lines(RoutePolicies::parse(text, Path::new("routes.toml")).err())
}

/// The providers `p` (OpenAI's dialects, no models listed), `q` (lists `q-*`) and `a` (Anthropic's).
fn providers() -> Vec<super::super::Provider> {
    let more = |name: &str, kind: &str, models: &str| {
        format!(
            "[[provider]]\nname = \"{name}\"\nkind = \"{kind}\"\nbase_url = \"http://127.0.0.1:1\"\n{models}\n"
        )
    };
    let rest = more("q", "openai", "models = [\"q-*\"]") + &more("a", "anthropic", "");
    parsed("", &rest).providers
}

#[test]
fn a_route_says_what_it_takes_and_where_it_goes() {
    let text = "[[route]]\nname = \"w\"\nmatch = { role = [\"worker\", \"sub*\"], kind = \"embeddings\", tools = false, \
                context_tokens = { over = 10 }, budget_left = { under = 0.25 } }\nto = [\"p/x\", { model = \"q-1\", weight = 2 }]\n\
                [[route]]\nto = \"p/*\"\n";
    let routes = parse(text).routes;
    let [first, second] = routes.as_slice() else {
        panic!("{routes:?}");
    };
    assert_eq!((&*first.name, &*second.name), ("w", "route 2"));
    assert!(first.matches.sides.on(Side::Role).unwrap().matches("subs"));
    assert_eq!(first.matches.kinds, [CallKind::Embeddings]);
    assert_eq!(first.matches.tools, Some(false));
    assert!(!first.matches.context_tokens.unwrap().holds(10));
    let quarter = Between {
        over: None,
        under: Some(250_000),
    };
    assert_eq!(first.matches.budget_left, Some(quarter));
    assert_eq!(second.matches.kinds, [CallKind::Generation]);
    let providers = providers();
    let found = [&first.to[0], &first.to[1], &second.to[0]].map(|to| to.find(&providers).unwrap());
    assert_eq!(found[0], (0, TargetModel::Named("x".into())));
    assert_eq!(found[1], (1, TargetModel::Named("q-1".into())));
    assert_eq!(found[2], (0, TargetModel::AsAsked));
    assert_eq!(first.to[1].weight, Some(2));
}

#[test]
fn every_fault_has_its_line_and_says_what_is_right() {
    let text = r#"[[route]]
name = "w"
match = { roles = "x", provider = "p", kind = "chat" }
to = ["p/x", "p/x"]
[[route]]
name = "w"
match = { context_tokens = { over = 9, under = 9 }, budget_left = {} }
to = [{ model = "p/x", wieght = 1 }]
[[route]]
to = []
[[route]]
match = { role = [] }
[[route]]
to = [{ model = "p/x", weight = 0 }]
[[routes]]
"#;
    let found = faults(text);
    let expected = [
        "3: `kind`: `chat` is not known here; known are embeddings, generation",
        "3: a route cannot `match` a provider: it is not known yet",
        "3: unknown key `roles` in [route.match]; did you mean `role`?",
        "4: `to` names `p/x` twice",
        "7: `budget_left` needs `over`, `under` or both",
        "7: `context_tokens`: nothing is over one and under the other",
        "8: `to`: unknown key `wieght` in a target; did you mean `weight`?",
        "10: `to` has 1 to 32 targets",
        "11: a route needs `to`: the targets, such as `to = [\"openai/gpt-4o-mini\"]`",
        "12: `role`: an empty list matches nothing",
        "14: `to`: at least one weight is more than 0",
        "15: unknown key `routes` in this file; did you mean `route`?",
    ];
    assert_eq!(found, expected);
}

#[test]
fn aliases_come_behind_the_routes_and_skew_has_its_action() {
    let text = "[[alias]]\nname = \"fast\"\nto = \"p/x\"\npin = \"task\"\n[skew]\naction = \"deny\"\n\
                [[route]]\nmatch = { model = \"slow\" }\nto = \"p/y\"\n";
    let policies = parse(text);
    let names: Vec<&str> = policies.routes.iter().map(|route| &*route.name).collect();
    assert_eq!(names, ["route 1", "fast"]);
    assert!(policies.routes[1].pins && !policies.routes[0].pins);
    assert_eq!(policies.aliases, ["fast".into()]);
    assert_eq!(policies.skew, OnSkew::Deny);
    let alias = &policies.routes[1].matches;
    assert!(alias.sides.on(Side::Model).unwrap().matches("fast"));
    assert_eq!(alias.kinds, CallKind::ALL);
    let text = "[[alias]]\nname = \"fast*\"\nto = \"p/x\"\n[[alias]]\nto = \"p/x\"\npin = \"call\"\n\
                [[route]]\nname = \"w\"\nto = \"p/x\"\n[[alias]]\nname = \"w\"\nto = \"p/x\"\n[skew]\naction = \"refuse\"\n";
    let expected = [
        "2: `name`: an alias is one name, without `*` and `?`",
        "4: [alias] needs `name`",
        "6: `pin`: `call` is not known here; known are task",
        "11: line 7 is called `w` already",
        "14: `action`: `refuse` is not known here; known are deny, off, warn",
    ];
    assert_eq!(faults(text), expected);
}

#[test]
fn targets_that_mean_nobody_are_faults() {
    let text = "[[route]]\nto = [\"nobody/x\", \"q-9\", \"z\", \"p/\", \"p/gpt-*\"]\n";
    let mut found = Vec::new();
    parse(text).check(&providers(), &mut found);
    let messages: Vec<&str> = found.iter().map(|fault| &*fault.message).collect();
    let expected = [
        "`to`: no provider's `models` has `nobody/x`; write `PROVIDER/nobody/x`, with PROVIDER one of p, q, a",
        "`to`: no provider's `models` has `z`; write `PROVIDER/z`, with PROVIDER one of p, q, a",
        "`to`: `p/` names no model; write `p/MODEL`",
        "`to`: `p/gpt-*`: a target is one model, or `p/*` for the one that was asked for",
    ];
    assert_eq!(messages, expected);
}

#[test]
fn what_is_probably_not_meant_is_warned_of() {
    let text = "[[route]]\nname = \"chat\"\nmatch = { role = \"w*\" }\nto = \"a/x\"\n\
                [[route]]\nname = \"never\"\nmatch = { role = [\"worker\"], dialect = \"openai-*\" }\nto = \"p/y\"\n\
                [[route]]\nname = \"both\"\nto = [\"p/y\", \"a/z\"]\n";
    let mut found = Vec::new();
    parse(text).warn(&providers(), &mut found);
    let messages: Vec<&str> = found.iter().map(|fault| &*fault.message).collect();
    let expected = [
        "calls in the dialect openai-responses that come to `chat` are refused: none of its targets takes it; \
         add one, or a `dialect` to its `match`",
        "calls in the dialect openai-completions that come to `chat` are refused: none of its targets takes it; \
         add one, or a `dialect` to its `match`",
        "`never` never sees a call: `chat` above takes them all",
    ];
    assert_eq!(messages, expected);
}

#[test]
fn the_shipped_file_has_no_route() {
    let text = include_str!("../../../policies/routes.toml");
    assert_eq!(parse(text), RoutePolicies::default());
}

#[test]
fn a_ladder_falls_and_a_budget_stands_behind_it() {
    let text = "[[route]]\nto = \"p/x\"\ndowngrade = [\"p/y\", { model = \"p/z\", under = 0.2 }]\nmax_switch_cost = \"0.01\"\n";
    let route = &parse(text).routes[0];
    let unders: Vec<Option<u64>> = route.downgrade.iter().map(|rung| rung.under).collect();
    assert_eq!(unders, [None, Some(200_000)]);
    assert_eq!(route.max_switch_cost, Some("0.01".parse().unwrap()));
    assert_eq!(route.targets().count(), 3);
    let text = "[[route]]\nto = \"p/x\"\nmax_switch_cost = 0.01\n\
                downgrade = [{ model = \"p/y\", under = 0.2 }, { model = \"p/z\", under = 0.3 }]\n\
                [[route]]\nto = \"p/x\"\ndowngrade = [{ under = 0.2 }, { model = \"p/z\", over = 0.3 }]\n";
    let expected = [
        "3: `max_switch_cost`: money is never a float, for floats cannot hold cents; write the string \"0.01\"",
        "4: `downgrade`: each `under` is less than the one before it, for the cheapest target comes last",
        "7: `downgrade`: this needs `model`, such as `{ model = \"openai/gpt-4o-mini\", under = 0.3 }`",
        "7: `downgrade`: unknown key `over` here; known are model, under",
    ];
    assert_eq!(faults(text), expected);
}

#[test]
fn a_hedge_needs_another_target() {
    let text = "[[route]]\nto = [\"p/x\", \"p/y\"]\nhedge_after = \"1500ms\"\n";
    let route = &parse(text).routes[0];
    assert_eq!(
        route.hedge_after,
        Some(std::time::Duration::from_millis(1_500))
    );
    let text = "[[route]]\nto = \"p/x\"\nhedge_after = \"1s\"\n\
                [[route]]\nto = [\"p/x\", \"p/y\"]\nhedge_after = \"0s\"\n\
                [[route]]\nto = [\"p/x\", \"p/y\"]\npin = \"task\"\nhedge_after = \"1s\"\n";
    let expected = [
        "3: `hedge_after` needs a second target to ask",
        "6: `hedge_after`: this must be more than nothing",
        "10: `hedge_after`: a pinned task has no other target to ask; leave out `pin` or this",
    ];
    assert_eq!(faults(text), expected);
}

#[test]
fn only_a_budget_that_does_not_look_at_the_model_downgrades() {
    let limit =
        |more: &str| format!("[[limit]]\nname = \"l\"\n{more}\non_exceed = \"downgrade\"\n");
    assert!(limit_faults(&limit("per = [\"task\"]\nturns = 9")).is_empty());
    let found = limit_faults(&limit("per = [\"task\", \"model\"]\ntool_calls = 9"));
    let expected = [
        "5: `on_exceed`: a limit that looks at the call, its model, provider, dialect or tool cannot downgrade, for \
         those are chosen by it; write \"deny\"",
        "5: `on_exceed`: only a cap on `usd`, tokens or `turns` can downgrade",
    ];
    assert_eq!(found, expected);
}
