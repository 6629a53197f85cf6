//! What came of it: every account with a cap in dollars, as `GET /v1/budget` tells it, beside what
//! the simulated providers billed for the same calls.

use super::agent::{Agent, State};
use super::board::{Books, dollars};
use super::wire::{Wire, WireError};
use super::world::World;
use crate::sim::{Bill, Line};
use crate::units::{Meter, NanoUsd};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// One account beside the bill.
#[derive(Clone, Debug)]
pub struct Account {
    pub limit: String,
    /// The sides that it counts per, and their values.
    pub per: BTreeMap<String, String>,
    pub cap: NanoUsd,
    pub settled: NanoUsd,
    pub held: NanoUsd,
    pub in_doubt: NanoUsd,
    pub billed: NanoUsd,
}

impl Account {
    /// The bill is not above the cap.
    pub fn is_kept(&self) -> bool {
        self.billed <= self.cap
    }

    /// Bursar's figure is the bill's.
    pub fn is_equal(&self) -> bool {
        let agrees = match self.per.contains_key("task") {
            true => self.settled == self.billed,
            // The bill knows no windows, and one may have ended during the run.
            false => self.settled <= self.billed,
        };
        agrees && self.held == NanoUsd::ZERO && self.in_doubt == NanoUsd::ZERO
    }

    /// `site-audit`, `translation/reviewer`, `all tasks`.
    pub fn subject(&self) -> String {
        match (self.per.get("task"), self.per.get("agent")) {
            (Some(task), Some(agent)) => format!("{task}/{agent}"),
            (Some(task), None) => task.clone(),
            _ => "all tasks".to_owned(),
        }
    }
}

/// The figures of the whole run.
#[derive(Debug)]
pub struct Outcome {
    pub accounts: Vec<Account>,
    pub bill: Bill,
}

impl Outcome {
    /// Asks the gateway and the providers. Nothing may be in flight any more.
    ///
    /// # Errors
    /// The gateway does not answer, or says something else than a budget.
    pub async fn of(world: &World, wire: &Wire, agents: &[Agent]) -> Result<Self, WireError> {
        let bill = world.sim.bill();
        let mut accounts: BTreeMap<(String, String), Account> = BTreeMap::new();
        for agent in agents {
            let budget = wire.budget(agent.from()).await?;
            for limit in budget["limits"].as_array().into_iter().flatten() {
                if let Some(account) = account(limit, &bill)? {
                    accounts.insert((account.limit.clone(), account.subject()), account);
                }
            }
        }
        Ok(Self {
            accounts: accounts.into_values().collect(),
            bill,
        })
    }

    /// No bill is above its cap.
    pub fn is_never_above(&self) -> bool {
        !self.accounts.is_empty() && self.accounts.iter().all(Account::is_kept)
    }

    /// Bursar's books and the bill agree on every account.
    pub fn is_equal(&self) -> bool {
        self.accounts.iter().all(Account::is_equal)
    }

    /// The accounts beside the bill.
    pub fn table(&self) -> String {
        let mut rows = vec![
            [
                "limit",
                "for",
                "cap",
                "Bursar settled",
                "provider billed",
                "",
            ]
            .map(str::to_owned)
            .to_vec(),
        ];
        // The general cap per agent holds sixteen times; the JSON has them all.
        let shown = self
            .accounts
            .iter()
            .filter(|account| account.limit != "agent");
        rows.extend(shown.map(|account| {
            vec![
                account.limit.clone(),
                account.subject(),
                format!("${}", account.cap),
                format!("${}", Exact(account.settled)),
                format!("${}", Exact(account.billed)),
                share(account),
            ]
        }));
        let mut text = Vec::new();
        // Writing to memory cannot fail.
        let _ = crate::cli::book::table(&mut text, &rows, 2);
        String::from_utf8_lossy(&text).into_owned()
    }

    /// One sentence, out of the numbers.
    pub fn verdict(&self) -> String {
        let count = self.accounts.len();
        if !self.is_never_above() {
            let above = self.accounts.iter().filter(|account| !account.is_kept());
            let above: Vec<String> = above
                .map(|account| {
                    let Account {
                        limit, billed, cap, ..
                    } = account;
                    format!("{limit} for {}: ${billed} of ${cap}", account.subject())
                })
                .collect();
            return format!("ABOVE THE CAP: {}.", above.join("; "));
        }
        let equal = match self.is_equal() {
            true => "and what Bursar settled is the providers' bill to the nano-dollar",
            false => "but what Bursar settled is not the providers' bill everywhere",
        };
        let closest = self
            .accounts
            .iter()
            .max_by_key(|account| permille(account))
            .map(|account| {
                let (billed, cap) = (dollars(account.billed), account.cap);
                format!(
                    "; the closest is {} with {billed} of ${cap}",
                    account.subject()
                )
            });
        format!(
            "Never above: on none of {count} accounts is the providers' bill above the cap ({} for {} calls in all), {equal}{}.",
            dollars(self.bill.total()),
            self.bill.calls,
            closest.unwrap_or_default(),
        )
    }

    /// The summary that `--json` prints.
    pub fn json(&self, agents: &[Agent], books: &Books, seconds: f64) -> Value {
        let accounts = self.accounts.iter().map(|account| {
            json!({
                "limit": account.limit, "account": account.per,
                "cap_usd": account.cap.to_string(),
                "settled_usd": account.settled.to_string(),
                "held_usd": account.held.to_string(),
                "in_doubt_usd": account.in_doubt.to_string(),
                "billed_usd": account.billed.to_string(),
                "never_above": account.is_kept(), "equal": account.is_equal(),
            })
        });
        let crew = agents.iter().map(|agent| {
            let figures = books.agent(agent.task, agent.member.agent);
            let billed = self
                .bill
                .by_agent
                .get(&format!("{}/{}", agent.task, agent.member.agent));
            let (state, refusal) = match agent.state() {
                State::Stopped(refusal) => (
                    "stopped",
                    json!({"status": refusal.status, "body": refusal.body}),
                ),
                State::Done => ("done", Value::Null),
                State::Failed(why) => ("failed", json!({ "why": why })),
                State::Waiting | State::Thinking | State::Calling => ("unfinished", Value::Null),
            };
            json!({
                "task": agent.task, "agent": agent.member.agent, "model": agent.member.model,
                "turns": figures.settled[Meter::Turns],
                "tokens": figures.settled[Meter::Tokens],
                "settled_usd": figures.settled.usd().to_string(),
                "billed_usd": NanoUsd(billed.map_or(0, |line| line.nano_usd)).to_string(),
                "state": state, "refusal": refusal,
            })
        });
        json!({
            "seconds": seconds,
            "calls": self.bill.calls,
            "billed_usd": self.bill.total().to_string(),
            "never_above": self.is_never_above(),
            "equal": self.is_equal(),
            "accounts": accounts.collect::<Vec<_>>(),
            "agents": crew.collect::<Vec<_>>(),
        })
    }
}

/// One limit of `/v1/budget`, if it caps dollars.
fn account(limit: &Value, bill: &Bill) -> Result<Option<Account>, WireError> {
    let usd = &limit["meters"]["usd"];
    if usd["cap"].is_null() {
        return Ok(None);
    }
    let money = |name: &str| -> Result<NanoUsd, WireError> {
        let text = usd[name].as_str().ok_or("a budget lacks an amount")?;
        Ok(text.parse()?)
    };
    let per: BTreeMap<String, String> = serde_json::from_value(limit["account"].clone())?;
    Ok(Some(Account {
        limit: limit["limit"].as_str().unwrap_or_default().to_owned(),
        cap: money("cap")?,
        settled: money("settled")?,
        held: money("held")?,
        in_doubt: money("in_doubt")?,
        billed: billed(&per, bill),
        per,
    }))
}

/// What the providers charged for the calls that this account covers.
fn billed(per: &BTreeMap<String, String>, bill: &Bill) -> NanoUsd {
    let line = match (per.get("task"), per.get("agent")) {
        (Some(task), Some(agent)) => bill.by_agent.get(&format!("{task}/{agent}")),
        (Some(task), None) => bill.by_task.get(task),
        _ => return bill.total(),
    };
    NanoUsd(line.map_or(0, |line: &Line| line.nano_usd))
}

fn permille(account: &Account) -> u64 {
    account.billed.0.saturating_mul(1000) / account.cap.0.max(1)
}

fn share(account: &Account) -> String {
    let permille = permille(account);
    format!("{}.{} %", permille / 10, permille % 10)
}

/// Dollars with all nine decimals, so that columns line up.
struct Exact(NanoUsd);

impl std::fmt::Display for Exact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(NanoUsd(nano)) = self;
        write!(
            f,
            "{}.{:09}",
            nano / NanoUsd::PER_USD,
            nano % NanoUsd::PER_USD
        )
    }
}
