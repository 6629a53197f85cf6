//! `GET /v1/budget`: what is left for the caller, its task and its agent, and how its sibling agents
//! fared.
//!
//! Needs the attribution. Reads the ledger and the store; changes nothing.

use super::body::AnswerBody;
use super::{Refused, elsewhere};
use crate::attribution::Attribution;
use crate::clock;
use crate::config::Facts;
use crate::gateway::routes::Left;
use crate::gateway::{Gateway, Live};
use crate::ledger::Cover;
use crate::ops::crew::Crew;
use crate::ops::standing::Standing;
use crate::store::{AccountFilter, Balance, DoubtFilter, TaskFilter, TaskRecord};
use crate::task::{allowed_cover, own_cover};
use crate::units::{Amounts, Meter};
use http::Response;
use serde_json::json;
use std::sync::Arc;

/// Calls of a task that its agents' figures are summed over, the newest.
const MAX_CALLS: usize = 10_000;

/// The answer.
///
/// # Errors
/// The store cannot be read.
pub async fn answer(
    gateway: &Arc<Gateway>,
    live: &Live,
    attribution: &Attribution,
) -> Result<Response<AnswerBody>, Refused> {
    let task = task(gateway, attribution).await?;
    let mut limits = Vec::new();
    for cover in covers(live, attribution, task.as_ref()) {
        let mut standing = standing(gateway, cover).await?;
        if let Some(task) = &task {
            let now = clock::now();
            standing.count_time(now, task.suspended_ms(now));
            if standing.caps_tree() {
                standing.tree = Some(gateway.tasks.reached(&task.key).await?);
            }
        }
        limits.push(standing.to_json());
    }
    let crew = crew(gateway, attribution).await?;
    let agent = attribution.agent.as_ref().map(|agent| agent.value.as_str());
    let asked = task.as_ref().and_then(|task| task.escalation.clone());
    Ok(elsewhere::json_answer(&json!({
        "owner": attribution.owner.as_str(),
        "identity": attribution.identity.as_str(),
        "task": attribution.task.value.as_str(),
        "state": task.map(|task| task.state.name()),
        "agent": agent,
        "escalation": asked.map(|asked| asked.id.to_string()),
        "limits": limits,
        "agents": crew.to_json(),
        "children": agent.map(|agent| crew.children_of(agent)),
    })))
}

async fn task(gateway: &Gateway, attribution: &Attribution) -> Result<Option<TaskRecord>, Refused> {
    let key = attribution.task_key();
    if let Some(known) = gateway.tasks.known(&key, clock::now()) {
        return Ok(Some(known.record()));
    }
    let filter = TaskFilter {
        owner: Some(key.owner),
        task: Some(key.task),
        ..TaskFilter::default()
    };
    Ok(gateway.purse.store().tasks(filter).await?.pop())
}

/// The accounts that would cover the caller's next call, as far as they do not depend on the call:
/// nobody has chosen a model yet.
fn covers(live: &Live, attribution: &Attribution, task: Option<&TaskRecord>) -> Vec<Cover> {
    let facts = Facts::new(attribution, "-".into(), "-".into(), "-");
    let mut found = Vec::new();
    let policies = &live.loaded.policies;
    policies.covers(&facts, clock::now(), &mut found);
    let by_call = |cover: &Cover| {
        let mut sides = cover.key.per.iter().map(|(side, _)| *side);
        sides.any(|side| matches!(side, "model" | "provider"))
    };
    let own = task.and_then(|task| own_cover(&task.key, task.caps));
    let allowed = task.and_then(|task| allowed_cover(&task.key, task.allowed.as_ref()));
    let found = found.into_iter().filter(|cover| !by_call(cover));
    found.chain(own).chain(allowed).collect()
}

async fn standing(gateway: &Gateway, cover: Cover) -> Result<Standing, Refused> {
    let Cover {
        key, caps, observe, ..
    } = cover;
    let mut standing = Standing {
        key,
        caps: Some(caps),
        observe,
        balance: Balance::default(),
        held: Some(Amounts::ZERO),
        waiting: 0,
        active_ms: None,
        tree: None,
    };
    if gateway.purse.look(|ledger| standing.overlay(ledger)) {
        return Ok(standing);
    }
    let filter = AccountFilter {
        key: Some(standing.key.clone()),
        ..AccountFilter::default()
    };
    if let Some(row) = gateway.purse.store().accounts(filter).await?.pop() {
        standing.balance = row.balance;
    }
    Ok(standing)
}

/// The share of a cap that is used near it, in parts per million, unless `warn_at` says otherwise.
const NEAR_AT: u32 = 800_000;

/// What budgets are counted in.
const BUDGETS: [Meter; 6] = [
    Meter::Usd,
    Meter::Tokens,
    Meter::InputTokens,
    Meter::OutputTokens,
    Meter::FreshTokens,
    Meter::Turns,
];

/// The least share left of any cap on money, tokens or turns that covers the caller's next call, in
/// parts per million, as far as that does not depend on the call. What is only held counts as left: it
/// comes and goes with every call in flight.
///
/// # Errors
/// The store cannot be read.
pub async fn left(
    gateway: &Gateway,
    live: &Live,
    attribution: &Attribution,
) -> Result<Left, Refused> {
    let task = task(gateway, attribution).await?;
    let (mut least, mut is_near) = (1_000_000, false);
    for cover in covers(live, attribution, task.as_ref()) {
        if cover.observe
            || !BUDGETS
                .iter()
                .any(|meter| cover.caps.0[*meter as usize].is_some())
        {
            continue;
        }
        let limit = live.loaded.policies.by_id(&cover.key.limit);
        let near_at = limit
            .filter(|limit| limit.downgrade)
            .map(|limit| 1_000_000 - u64::from(limit.warn_at.unwrap_or(NEAR_AT)));
        let Standing { caps, balance, .. } = standing(gateway, cover).await?;
        let caps = caps.unwrap_or_default();
        for meter in BUDGETS {
            if let Some(cap) = caps.0[meter as usize] {
                let cap = u128::from(cap.saturating_add(balance.topped_up[meter]));
                let spent = balance.settled[meter].saturating_add(balance.in_doubt[meter]);
                let left = cap.saturating_sub(u128::from(spent));
                let share = (left * 1_000_000).checked_div(cap).unwrap_or(0);
                let share = u64::try_from(share).unwrap_or(0);
                least = least.min(share);
                is_near |= near_at.is_some_and(|near_at| share <= near_at);
            }
        }
    }
    Ok(Left {
        share: least,
        is_near,
    })
}

/// The agents of the caller's task: what each has cost, where it stands, and how many calls it has in
/// flight.
async fn crew(gateway: &Gateway, attribution: &Attribution) -> Result<Crew, Refused> {
    let key = attribution.task_key();
    let store = gateway.purse.store();
    let calls = store.trace(key.clone(), MAX_CALLS).await?;
    let filter = DoubtFilter {
        task: Some(key.clone()),
        rows: Some(MAX_CALLS),
        ..DoubtFilter::default()
    };
    let open = store.doubts(filter).await?;
    let mut crew = Crew::of(&calls, &open.iter().map(|doubt| doubt.id).collect())?;
    if let Some(task) = gateway.tasks.known(&key, clock::now()) {
        for (agent, why) in task.conducted.failed() {
            crew.fail(agent.as_str(), why);
        }
    }
    let flights = gateway.tasks.flights.of_task(&key);
    crew.fly(flights.iter().map(|flight| flight.agent()));
    Ok(crew)
}
