//! Reads `[[route]]`.

use super::super::facts::{Match, Side};
use super::super::glob::Globs;
use super::super::read::{Section, advice};
use super::super::value;
use super::{Between, CallKind, OnSkew, RouteMatch, RouteRule, Rung, TARGETS_MAX, TargetRule};
use std::sync::Arc;
use toml::de::DeValue;

/// The largest weight of a target.
const WEIGHT_MAX: u64 = 1_000_000;
/// What is known of a call when it is routed.
const SIDES: [Side; 8] = [
    Side::Owner,
    Side::Identity,
    Side::OnBehalfOf,
    Side::Task,
    Side::Agent,
    Side::Role,
    Side::Model,
    Side::Dialect,
];

/// Every route and, behind them, every alias; then the aliases' names. Names are unique.
pub(super) fn routes(file: &Section<'_>) -> (Vec<RouteRule>, Vec<Arc<str>>) {
    let mut routes: Vec<RouteRule> = Vec::new();
    let mut aliases = Vec::new();
    let found = file.sections("route").into_iter().map(|one| (one, false));
    let found = found.chain(file.sections("alias").into_iter().map(|one| (one, true)));
    for (i, (section, is_alias)) in found.enumerate() {
        let route = match is_alias {
            true => alias(&section),
            false => route(&section, i),
        };
        section.close();
        let Some(route) = route else { continue };
        if let Some(first) = routes.iter().find(|other| other.name == route.name) {
            let (name, line) = (&route.name, first.place.line);
            section.fault_of("name", format!("line {line} is called `{name}` already"));
        }
        aliases.extend(is_alias.then(|| Arc::clone(&route.name)));
        routes.push(route);
    }
    (routes, aliases)
}

/// `[[alias]]`: a name that callers may ask for.
fn alias(section: &Section<'_>) -> Option<RouteRule> {
    let name = section.need("name", |value| match value::name(value)? {
        name if name.contains(['*', '?']) => {
            Err("an alias is one name, without `*` and `?`".into())
        }
        name => Ok(name),
    });
    let (pins, to) = (pins(section), targets(section));
    let (name, to) = (name?, to?);
    let named = [&name].into_iter().collect::<Globs>();
    let matches = RouteMatch {
        sides: Match {
            sides: vec![(Side::Model, named)],
        },
        kinds: CallKind::ALL.to_vec(),
        tools: None,
        context_tokens: None,
        budget_left: None,
    };
    Some(RouteRule {
        name: name.into(),
        matches,
        to,
        shadow: false,
        durable_answers: false,
        pins,
        downgrade: Vec::new(),
        max_switch_cost: None,
        hedge_after: None,
        place: section.place(),
    })
}

/// `pin = "task"`
fn pins(section: &Section<'_>) -> bool {
    section.or("pin", false, value::word(&[("task", true)]))
}

/// `[skew]`
pub(super) fn skew(file: &Section<'_>) -> OnSkew {
    let Some(section) = file.section("skew") else {
        return OnSkew::default();
    };
    let action = section.or("action", OnSkew::default(), value::word(&OnSkew::ALL));
    section.close();
    action
}

fn route(section: &Section<'_>, index: usize) -> Option<RouteRule> {
    let name = section.get("name", value::name);
    let matches = matches(section);
    let (pins, shadow) = (pins(section), section.or("shadow", false, value::flag));
    let durable_answers = section.or("durable_answers", false, value::flag);
    let downgrade = rungs(section);
    let max_switch_cost = section.get("max_switch_cost", value::money);
    let hedge_after = section.get("hedge_after", value::positive_span);
    let to = targets(section)?;
    if hedge_after.is_some() {
        if to.len() + downgrade.len() < 2 {
            section.fault_of("hedge_after", "`hedge_after` needs a second target to ask");
        }
        if pins {
            section.fault_of(
                "hedge_after",
                "`hedge_after`: a pinned task has no other target to ask; leave out `pin` or this",
            );
        }
    }
    Some(RouteRule {
        name: name.map_or_else(|| Arc::from(format!("route {}", index + 1)), Arc::from),
        matches,
        to,
        shadow,
        durable_answers,
        pins,
        downgrade,
        max_switch_cost,
        hedge_after,
        place: section.place(),
    })
}

/// `to`
fn targets(section: &Section<'_>) -> Option<Vec<TargetRule>> {
    if !section.has("to") {
        section.fault("a route needs `to`: the targets, such as `to = [\"openai/gpt-4o-mini\"]`");
    }
    let to = section.list("to", target)?;
    if to.is_empty() || to.len() > TARGETS_MAX {
        section.fault_of("to", format!("`to` has 1 to {TARGETS_MAX} targets"));
    }
    let weighs = |target: &TargetRule| target.weight.is_some();
    if to.iter().any(weighs) && !to.iter().any(|target| target.weight > Some(0)) {
        section.fault_of("to", "`to`: at least one weight is more than 0");
    }
    for (i, target) in to.iter().enumerate() {
        if to[..i].iter().any(|other| other.text == target.text) {
            section.fault_of("to", format!("`to` names `{}` twice", target.text));
        }
    }
    Some(to)
}

fn matches(parent: &Section<'_>) -> RouteMatch {
    let mut found = RouteMatch {
        sides: Match::default(),
        kinds: vec![CallKind::Generation],
        tools: None,
        context_tokens: None,
        budget_left: None,
    };
    let Some(section) = parent.section("match") else {
        return found;
    };
    for side in SIDES {
        let Some(patterns) = section.list(side.name(), value::name) else {
            continue;
        };
        if patterns.is_empty() {
            let name = side.name();
            section.fault_of(name, format!("`{name}`: an empty list matches nothing"));
        }
        let globs = patterns.into_iter().collect::<Globs>();
        found.sides.sides.push((side, globs));
    }
    for side in [Side::Provider, Side::Tool] {
        if section.has(side.name()) {
            let side = side.name();
            section.fault_of(
                side,
                format!("a route cannot `match` a {side}: it is not known yet"),
            );
        }
    }
    let kinds = CallKind::ALL.map(|kind| (kind.name(), kind));
    if let Some(kinds) = section.list("kind", value::word(&kinds)) {
        if kinds.is_empty() {
            section.fault_of("kind", "`kind`: an empty list matches nothing");
        }
        found.kinds = kinds;
    }
    found.tools = section.get("tools", value::flag);
    found.context_tokens = between(&section, "context_tokens", value::count);
    found.budget_left = between(&section, "budget_left", |value| {
        value::ratio(value).map(u64::from)
    });
    section.close();
    found
}

/// `{ over = …, under = … }`
fn between(
    parent: &Section<'_>,
    key: &'static str,
    parse: impl Fn(&DeValue<'_>) -> Result<u64, String> + Copy,
) -> Option<Between> {
    if !parent.has(key) {
        return None;
    }
    let section = parent.section(key)?;
    let between = Between {
        over: section.get("over", parse),
        under: section.get("under", parse),
    };
    match between {
        Between {
            over: None,
            under: None,
        } if !section.has("over") && !section.has("under") => {
            parent.fault_of(key, format!("`{key}` needs `over`, `under` or both"));
        }
        Between {
            over: Some(over),
            under: Some(under),
        } if over >= under => {
            parent.fault_of(
                key,
                format!("`{key}`: nothing is over one and under the other"),
            );
        }
        _ => {}
    }
    section.close();
    Some(between)
}

/// `downgrade`: targets, each from which share left on.
fn rungs(section: &Section<'_>) -> Vec<Rung> {
    let rungs = section.list("downgrade", rung).unwrap_or_default();
    if rungs.len() > TARGETS_MAX {
        section.fault_of(
            "downgrade",
            format!("`downgrade` has at most {TARGETS_MAX} targets"),
        );
    }
    let shares: Vec<u64> = rungs.iter().filter_map(|rung| rung.under).collect();
    if !shares.is_sorted_by(|before, next| before > next) {
        section.fault_of(
            "downgrade",
            "`downgrade`: each `under` is less than the one before it, for the cheapest target comes last",
        );
    }
    rungs
}

fn rung(value: &DeValue<'_>) -> Result<Rung, String> {
    let DeValue::Table(table) = value else {
        return Ok(Rung {
            target: target(value)?,
            under: None,
        });
    };
    let known = ["model", "under"];
    if let Some(key) = table
        .keys()
        .find(|key| !known.contains(&key.get_ref().as_ref()))
    {
        let key: &str = key.get_ref();
        return Err(format!("unknown key `{key}` here; {}", advice(key, &known)));
    }
    let model = table
        .get("model")
        .ok_or("this needs `model`, such as `{ model = \"openai/gpt-4o-mini\", under = 0.3 }`")?;
    let under = table.get("under");
    let under = under.map(|under| value::ratio(under.get_ref()).map(u64::from));
    Ok(Rung {
        target: target(model.get_ref())?,
        under: under.transpose()?,
    })
}

/// `"provider/model"`, or `{ model = …, weight = … }`.
fn target(value: &DeValue<'_>) -> Result<TargetRule, String> {
    let DeValue::Table(table) = value else {
        return Ok(TargetRule {
            text: value::name(value)?.into(),
            weight: None,
        });
    };
    let known = ["model", "weight"];
    if let Some(key) = table
        .keys()
        .find(|key| !known.contains(&key.get_ref().as_ref()))
    {
        let key: &str = key.get_ref();
        return Err(format!(
            "unknown key `{key}` in a target; {}",
            advice(key, &known)
        ));
    }
    let model = table
        .get("model")
        .ok_or("a target needs `model`, such as `{ model = \"openai/gpt-4o\", weight = 3 }`")?;
    let weight = table.get("weight");
    let weight = weight.map(|weight| value::count_in(0, WEIGHT_MAX)(weight.get_ref()));
    Ok(TargetRule {
        text: value::name(model.get_ref())?.into(),
        weight: weight.transpose()?,
    })
}
