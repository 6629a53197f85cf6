//! An account as it stands: what the policies allow, what the store knows, what the ledger holds.

use super::show::{instant, quantity};
use crate::config::{Limit, Policies};
use crate::ledger::{AccountKey, Caps, Ledger, Stand};
use crate::store::Balance;
use crate::task::TASKS_OWN;
use crate::units::{Amounts, Meter, UnixMs};
use serde_json::{Map, Value, json};

/// An account as it stands.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Which account.
    pub key: AccountKey,
    /// The caps in force, without top-ups; `None`: its limit is no longer in force.
    pub caps: Option<Caps>,
    /// `on_exceed = "observe"`.
    pub observe: bool,
    /// What is settled, in doubt and topped up.
    pub balance: Balance,
    /// Set aside for calls in flight; `None` where no gateway was asked.
    pub held: Option<Amounts>,
    /// Calls standing in its line.
    pub waiting: usize,
    /// Milliseconds spent active since the first hold, where a cap on `duration` counts them.
    pub active_ms: Option<u64>,
    /// How deep the tree of its task's agents is, and the most children that one has, if that was asked.
    pub tree: Option<Stand>,
}

impl Standing {
    /// An account by the store and the policies. `own`: the caps of the task it belongs to.
    #[must_use]
    pub fn new(key: AccountKey, balance: Balance, policies: &Policies, own: Option<&Caps>) -> Self {
        let limit = policies.by_id(&key.limit);
        let caps = match limit {
            Some(limit) => Some(limit.caps),
            None if *key.limit == *TASKS_OWN => own.copied(),
            None => None,
        };
        Self {
            caps,
            observe: limit.is_some_and(|limit| limit.observe),
            key,
            balance,
            held: None,
            waiting: 0,
            active_ms: None,
            tree: None,
        }
    }

    /// Puts what the ledger knows over what the store said; false if the account is not in memory.
    pub fn overlay(&mut self, ledger: &Ledger) -> bool {
        self.held = Some(Amounts::ZERO);
        let Some(view) = ledger.account(&self.key).filter(|view| view.loaded) else {
            return false;
        };
        self.held = Some(view.held);
        self.waiting = view.waiting;
        self.balance.settled = view.settled;
        self.balance.in_doubt = view.in_doubt;
        self.balance.topped_up = view.topped_up;
        self.balance.opened = view.opened.or(self.balance.opened);
        true
    }

    /// Counts the time of a task that was suspended for `paused_ms` in all.
    pub fn count_time(&mut self, now: UnixMs, paused_ms: u64) {
        let capped = self
            .caps
            .is_some_and(|caps| caps.0[Meter::Duration as usize].is_some());
        let Some(opened) = self.balance.opened.filter(|_| capped) else {
            return;
        };
        let open = u64::try_from(now.0.saturating_sub(opened.0)).unwrap_or(0);
        self.active_ms = Some(open.saturating_sub(paused_ms));
    }

    /// True if it caps the tree of its task's agents.
    #[must_use]
    pub fn caps_tree(&self) -> bool {
        let meters = [Meter::Depth, Meter::FanOut];
        let caps = self.caps.unwrap_or_default();
        meters.iter().any(|meter| caps.0[*meter as usize].is_some())
    }

    /// `limit`, `account` (what it counts per), `window`, and by meter `cap`, `topped_up`,
    /// `settled`, `held`, `in_doubt`, `remaining`. Meters without a cap and without use are left out.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let per = self.key.per.iter();
        let per: Map<String, Value> = per
            .map(|(side, value)| ((*side).to_owned(), json!(**value)))
            .collect();
        let meters = Meter::ALL
            .into_iter()
            .filter_map(|meter| Some((meter.name().to_owned(), self.meter(meter)?)));
        json!({
            "limit": Limit::name_in(&self.key.limit),
            "account": per,
            "window": self.key.window.map(instant),
            "in_force": self.caps.is_some(),
            "observe": self.observe,
            "waiting": self.waiting,
            "meters": Value::Object(meters.collect()),
        })
    }

    fn meter(&self, meter: Meter) -> Option<Value> {
        let cap = self.caps.and_then(|caps| caps.0[meter as usize]);
        let topped_up = self.balance.topped_up[meter];
        let cap = cap.map(|cap| cap.saturating_add(topped_up));
        let settled = match meter {
            Meter::Duration => self.active_ms?,
            Meter::Depth | Meter::FanOut => self.tree.filter(|_| cap.is_some())?.on(meter)?,
            _ => self.balance.settled[meter],
        };
        let (in_doubt, held) = (
            self.balance.in_doubt[meter],
            self.held.map(|held| held[meter]),
        );
        let used = [settled, in_doubt, held.unwrap_or(0)];
        if cap.is_none() && topped_up == 0 && used == [0; 3] {
            return None;
        }
        let shown = |number: u64| quantity(meter, number);
        let left = cap.map(|cap| used.into_iter().fold(cap, u64::saturating_sub));
        Some(json!({
            "cap": cap.map(shown),
            "topped_up": shown(topped_up),
            "settled": shown(settled),
            "held": held.map(shown),
            "in_doubt": shown(in_doubt),
            "remaining": left.map(shown),
        }))
    }
}
