//! `GET /v1/budget`: what is left for the caller, its task and its agent.
//!
//! Needs the attribution. Reads the ledger and the store; changes nothing.

use super::body::AnswerBody;
use super::{Refused, elsewhere};
use crate::attribution::Attribution;
use crate::clock;
use crate::gateway::{Gateway, Live};
use crate::ledger::AccountKey;
use crate::store::{AccountFilter, Ending};
use crate::units::{Amounts, Meter, NanoUsd};
use http::Response;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The answer.
///
/// # Errors
/// The store cannot be read.
pub async fn answer(
    gateway: &Arc<Gateway>,
    live: &Live,
    attribution: &Attribution,
) -> Result<Response<AnswerBody>, Refused> {
    let facts = crate::config::Facts::new(attribution, "-".into(), "-".into(), "-");
    let mut covers = Vec::new();
    live.loaded
        .policies
        .covers(&facts, clock::now(), &mut covers);
    let mut limits = Vec::new();
    for (index, cover) in covers {
        // Limits per model or provider depend on the call, which nobody has made yet.
        if cover
            .key
            .per
            .iter()
            .any(|(side, _)| matches!(*side, "model" | "provider"))
        {
            continue;
        }
        let Some(limit) = live.loaded.policies.limit(index) else {
            continue;
        };
        let spent = spent(gateway, &cover.key).await?;
        let mut meters = Map::new();
        for meter in Meter::ALL {
            if let Some(cap) = cover.caps.0[meter as usize] {
                meters.insert(meter.name().to_owned(), spent.line(meter, cap));
            }
        }
        let account: Map<String, Value> = cover
            .key
            .per
            .iter()
            .map(|(side, value)| ((*side).to_owned(), json!(**value)))
            .collect();
        limits.push(json!({
            "limit": limit.name.as_str(),
            "account": account,
            "observe": cover.observe,
            "meters": meters,
        }));
    }
    let siblings = siblings(gateway, attribution).await?;
    Ok(elsewhere::json_answer(&json!({
        "owner": attribution.owner.as_str(),
        "identity": attribution.identity.as_str(),
        "task": attribution.task.value.as_str(),
        "agent": attribution.agent.as_ref().map(|agent| agent.value.as_str()),
        "limits": limits,
        "agents": siblings,
    })))
}

#[derive(Default)]
struct Spent {
    settled: Amounts,
    held: Amounts,
    in_doubt: Amounts,
    topped_up: Amounts,
}

impl Spent {
    fn line(&self, meter: Meter, cap: u64) -> Value {
        let cap = cap.saturating_add(self.topped_up[meter]);
        let used = [self.settled[meter], self.held[meter], self.in_doubt[meter]];
        let left = used.into_iter().fold(cap, u64::saturating_sub);
        let show = |quantity: u64| match meter {
            Meter::Usd => NanoUsd(quantity).to_string(),
            _ => quantity.to_string(),
        };
        json!({
            "cap": show(cap), "settled": show(used[0]), "held": show(used[1]),
            "in_doubt": show(used[2]), "remaining": show(left),
        })
    }
}

async fn spent(gateway: &Gateway, key: &AccountKey) -> Result<Spent, Refused> {
    let in_memory = gateway.purse.look(|ledger| {
        ledger
            .account(key)
            .filter(|account| account.loaded)
            .map(|account| Spent {
                settled: account.settled,
                held: account.held,
                in_doubt: account.in_doubt,
                topped_up: account.topped_up,
            })
    });
    if let Some(spent) = in_memory {
        return Ok(spent);
    }
    let filter = AccountFilter {
        limit: Some(Arc::clone(&key.limit)),
        value: key.per.first().map(|(_, value)| Arc::clone(value)),
        ..AccountFilter::default()
    };
    let rows = gateway.purse.store().accounts(filter).await?;
    Ok(rows
        .into_iter()
        .find(|row| row.key == *key)
        .map_or_else(Spent::default, |row| Spent {
            settled: row.balance.settled,
            held: Amounts::ZERO,
            in_doubt: row.balance.in_doubt,
            topped_up: row.balance.topped_up,
        }))
}

/// Calls of a task that its agents' figures are summed over.
const MAX_CALLS: usize = 10_000;

#[derive(Default)]
struct Agent {
    usd: u64,
    calls: u64,
    denied: u64,
    in_flight: u64,
}

/// The agents of the caller's task: what each has cost, and how many calls it has in flight.
async fn siblings(gateway: &Gateway, attribution: &Attribution) -> Result<Vec<Value>, Refused> {
    let key = attribution.task_key();
    let mut agents: BTreeMap<String, Agent> = BTreeMap::new();
    for row in gateway.purse.store().trace(key.clone(), MAX_CALLS).await? {
        let call = row.body()?;
        if call.provider.is_none() {
            continue;
        }
        let name = call.agent.as_ref().map_or("-", |agent| &*agent.0);
        let agent = agents.entry(name.to_owned()).or_default();
        if call.ending.0 == Ending::Denied.name() {
            agent.denied += 1;
        } else {
            agent.calls += 1;
            agent.usd += call.charged.0.usd().0;
        }
    }
    for flight in gateway.tasks.flights.of_task(&key) {
        let name = flight
            .attribution
            .agent
            .as_ref()
            .map_or("-", |agent| agent.value.as_str());
        agents.entry(name.to_owned()).or_default().in_flight += 1;
    }
    let line = |(name, agent): (String, Agent)| {
        json!({
            "agent": name,
            "usd": NanoUsd(agent.usd).to_string(),
            "calls": agent.calls,
            "denied": agent.denied,
            "in_flight": agent.in_flight,
        })
    };
    Ok(agents.into_iter().map(line).collect())
}
