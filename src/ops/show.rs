//! How operators see things, as JSON: money as a string of dollars, spans of time as the
//! configuration writes them, everything else as a number. The API and the command line show the
//! same.

use crate::config::{Limit, Match, Per, Policies, Side};
use crate::ledger::{AccountKey, Caps};
use crate::store::{Balance, CallRow, Doubt, ReportRow, StoreError, Switch, TaskRecord};
use crate::units::{Amounts, Meter, NanoUsd, UnixMs};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// The limit that a task's own caps make.
pub use crate::stack::admit::TASKS_OWN;

/// An instant as RFC 3339.
#[must_use]
pub fn instant(at: UnixMs) -> String {
    jiff::Timestamp::from_millisecond(at.0).map_or_else(|_| at.0.to_string(), |at| at.to_string())
}

/// A span as the configuration writes it: `"30m"`, `"1500ms"`.
#[must_use]
pub fn span(ms: u64) -> String {
    const UNITS: [(u64, &str); 4] = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1_000, "s"),
    ];
    let unit = UNITS.iter().find(|(unit, _)| ms > 0 && ms % unit == 0);
    unit.map_or_else(
        || format!("{ms}ms"),
        |(unit, name)| format!("{}{name}", ms / unit),
    )
}

/// One quantity in its meter's unit.
#[must_use]
pub fn quantity(meter: Meter, quantity: u64) -> Value {
    match meter {
        Meter::Usd => NanoUsd(quantity).to_string().into(),
        Meter::Duration => span(quantity).into(),
        _ => quantity.into(),
    }
}

/// The meters that are not zero.
#[must_use]
pub fn amounts(amounts: &Amounts) -> Value {
    let shown = Meter::ALL.into_iter().filter(|meter| amounts[*meter] != 0);
    let shown = shown.map(|meter| (meter.name().to_owned(), quantity(meter, amounts[meter])));
    Value::Object(shown.collect())
}

/// The meters that have a cap.
#[must_use]
pub fn caps(caps: &Caps) -> Value {
    let shown = Meter::ALL.into_iter().filter_map(|meter| {
        let cap = caps.0[meter as usize]?;
        Some((meter.name().to_owned(), quantity(meter, cap)))
    });
    Value::Object(shown.collect())
}

/// A task: `task`, `owner`, `state`, `opened`, its own `caps`, since when it is suspended.
#[must_use]
pub fn task(record: &TaskRecord) -> Map<String, Value> {
    let TaskRecord {
        key,
        state,
        opened,
        caps: own,
        paused_ms,
        paused_since,
    } = record;
    let fields = [
        ("task", json!(key.task.as_str())),
        ("owner", json!(key.owner.as_str())),
        ("state", json!(state.name())),
        ("opened", json!(instant(*opened))),
        ("caps", caps(own)),
        ("suspended_since", json!(paused_since.map(instant))),
        ("suspended_for", json!(span(*paused_ms))),
    ];
    let fields = fields.into_iter();
    fields
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

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
        }
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

/// An open doubt.
#[must_use]
pub fn doubt(doubt: &Doubt) -> Value {
    let Doubt {
        id,
        at,
        reason,
        task,
        identity,
        request,
        answer_id,
        provider,
        model,
        amounts: doubted,
        accounts,
    } = doubt;
    let limits: Vec<&str> = accounts
        .iter()
        .map(|key| Limit::name_in(&key.limit))
        .collect();
    json!({
        "id": id,
        "at": instant(*at),
        "reason": **reason,
        "task": task.as_ref().map(|key| key.task.as_str()),
        "owner": task.as_ref().map(|key| key.owner.as_str()),
        "identity": identity.as_deref(),
        "request": request.as_deref(),
        "answer": answer_id.as_deref(),
        "provider": provider.as_deref(),
        "model": model.as_deref(),
        "usd": doubted.usd().to_string(),
        "amounts": amounts(doubted),
        "limits": limits,
    })
}

/// A line of a report.
#[must_use]
pub fn report_row(row: &ReportRow) -> Value {
    let ReportRow {
        key,
        owner,
        calls,
        denied,
        settled,
        in_doubt,
        overrun,
    } = row;
    let all = settled.saturating_add(in_doubt);
    json!({
        "key": key,
        "owner": owner,
        "usd": settled.usd().to_string(),
        "in_doubt_usd": in_doubt.usd().to_string(),
        "overrun_usd": overrun.to_string(),
        "calls": calls,
        "denied": denied,
        "turns": all[Meter::Turns],
        "attempts": all[Meter::Attempts],
        "input_tokens": all[Meter::InputTokens],
        "output_tokens": all[Meter::OutputTokens],
        "tokens": all[Meter::Tokens],
        "tool_calls": all[Meter::ToolCalls],
    })
}

/// A call of the journal, with its row's number. Inside, quantities are as the journal has them:
/// nano-dollars and milliseconds.
///
/// # Errors
/// The entry is no JSON.
pub fn call(row: &CallRow) -> Result<Value, StoreError> {
    let entry: &RawValue = serde_json::from_str(&row.entry)?;
    let entry: Value = serde_json::from_str(entry.get())?;
    Ok(json!({"seq": row.seq, "at": instant(row.at), "call": entry}))
}

/// A limit of the policies.
#[must_use]
pub fn limit(limit: &Limit) -> Value {
    let per: Vec<&str> = match &limit.per {
        Per::Call => vec!["call"],
        Per::Sides(sides) => sides.iter().map(|side| Side::name(*side)).collect(),
    };
    let window = limit.window.as_ref();
    let window =
        window.map(|window| json!({"every": window.every.name(), "timezone": *window.timezone}));
    json!({
        "name": limit.name.as_str(),
        "per": per,
        "match": matches(&limit.matches),
        "window": window,
        "caps": caps(&limit.caps),
        "warn_at_percent": limit.warn_at.map(|millionths| millionths / 10_000),
        "on_exceed": if limit.observe { "observe" } else { "deny" },
        "line": limit.place.line,
    })
}

fn matches(matches: &Match) -> Value {
    let sides = matches.sides.iter().map(|(side, globs)| {
        let globs: Vec<&str> = globs.iter().map(crate::config::Glob::as_str).collect();
        (side.name().to_owned(), json!(globs))
    });
    Value::Object(sides.collect())
}

/// The stop buttons that are pressed.
#[must_use]
pub fn switches(pressed: &[Switch]) -> Value {
    let identities: Vec<&str> = pressed
        .iter()
        .filter_map(|switch| match switch {
            Switch::All => None,
            Switch::Identity(name) => Some(name.as_str()),
        })
        .collect();
    json!({"all": pressed.contains(&Switch::All), "identities": identities})
}

#[cfg(test)]
mod tests;
