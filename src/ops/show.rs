//! How operators see things, as JSON: money as a string of dollars, spans of time as the
//! configuration writes them, everything else as a number. The API and the command line show the
//! same.

use crate::config::{Limit, Match, Per, Side};
use crate::escalation::{Decision, Escalation, Reached};
use crate::ledger::{AccountKey, Caps};
use crate::store::{CallRow, Doubt, ReportRow, StoreError, Switch, TaskRecord};
use crate::task::pulse::Sign;
use crate::units::{Amounts, Meter, NanoUsd, UnixMs};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

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
    let unit = UNITS
        .iter()
        .find(|(unit, _)| ms > 0 && ms.is_multiple_of(*unit));
    unit.map_or_else(
        || format!("{ms}ms"),
        |(unit, name)| format!("{}{name}", ms / unit),
    )
}

/// A model that a task is held to.
#[must_use]
pub fn pin(pin: &crate::store::ModelPin) -> Value {
    let crate::store::ModelPin {
        what,
        provider,
        model,
    } = pin;
    json!({"route": **what, "provider": provider.as_str(), "model": **model})
}

/// A sign that a task does not go on as it should: `kind`, `at`, `detail`.
#[must_use]
pub fn sign(sign: &Sign) -> Value {
    let Sign { kind, at, detail } = sign;
    json!({"kind": kind, "at": instant(*at), "detail": detail})
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
        escalation,
        allowed,
    } = record;
    let asked = escalation.as_ref().map(|asked| asked.id.as_str());
    let fields = [
        ("task", json!(key.task.as_str())),
        ("owner", json!(key.owner.as_str())),
        ("state", json!(state.name())),
        ("opened", json!(instant(*opened))),
        ("caps", caps(own)),
        ("suspended_since", json!(paused_since.map(instant))),
        ("suspended_for", json!(span(*paused_ms))),
        ("escalation", json!(asked)),
        ("turns_allowed", json!(allowed.map(|allowed| allowed.turns))),
    ];
    let fields = fields.into_iter();
    fields
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// A question to a person. Quantities in its meter's unit, as elsewhere.
#[must_use]
pub fn escalation(escalation: &Escalation) -> Value {
    let Escalation {
        id,
        task,
        opened,
        state,
        reason,
        evidence,
        asker,
        decision,
    } = escalation;
    let limit = reason.limit.as_ref().map(reached);
    let seen = evidence.iter().map(|seen| {
        json!({
            "request": seen.request.as_deref(),
            "what": *seen.what,
            "digest": seen.digest.as_deref(),
        })
    });
    json!({
        "id": id.as_str(),
        "task": task.task.as_str(),
        "owner": task.owner.as_str(),
        "state": state.name(),
        "opened": instant(*opened),
        "rule": *reason.rule,
        "message": *reason.message,
        "limit": limit,
        "evidence": seen.collect::<Value>(),
        "request": asker.request.as_deref(),
        "identity": asker.identity.as_deref(),
        "agent": asker.agent.as_deref(),
        "role": asker.role.as_deref(),
        "model": asker.model.as_deref(),
        "decision": decision.as_ref().map(decided),
    })
}

fn reached(reached: &Reached) -> Value {
    let Reached {
        account,
        meter,
        cap,
        settled,
        held,
        in_doubt,
        needed,
    } = reached;
    let shown = |number: &u64| quantity(*meter, *number);
    json!({
        "name": Limit::name_in(&account.limit),
        "account": sides(account),
        "window": account.window.map(instant),
        "meter": meter.name(),
        "cap": shown(cap),
        "settled": shown(settled),
        "held": shown(held),
        "in_doubt": shown(in_doubt),
        "needed": shown(needed),
    })
}

fn decided(decision: &Decision) -> Value {
    let raised = decision.raised.iter().map(|(key, more)| {
        json!({
            "limit": Limit::name_in(&key.limit),
            "account": sides(key),
            "by": amounts(more),
        })
    });
    json!({
        "at": instant(decision.at),
        "by": *decision.by,
        "why": decision.why.as_deref(),
        "raised": raised.collect::<Value>(),
        "expires": decision.ends.map(instant),
        "turns": decision.turns,
    })
}

fn sides(key: &AccountKey) -> Value {
    let sides = key.per.iter();
    Value::Object(
        sides
            .map(|(side, value)| ((*side).to_owned(), json!(**value)))
            .collect(),
    )
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
        "on_exceed": limit.on_exceed(),
        "reserve_percent": limit.reserve.map(|millionths| millionths / 10_000),
        "review_every": limit.review_every,
        "context_tokens": limit.context.and_then(|caps| caps.context),
        "handoff_tokens": limit.context.and_then(|caps| caps.handoff),
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
