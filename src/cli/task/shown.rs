//! How tasks and accounts look in a terminal, from the JSON that the API answers.

use super::super::book::{self, BookError};
use serde_json::Value;
use std::io::Write;

/// Prints an answer, as it is or as `print` puts it.
pub fn answer<'o>(
    said: &Value,
    as_json: bool,
    out: &'o mut dyn Write,
    print: impl FnOnce(&Value, &'o mut dyn Write) -> Result<(), BookError>,
) -> Result<(), BookError> {
    if as_json {
        writeln!(out, "{said}")?;
        return Ok(());
    }
    print(said, out)
}

/// A value in a cell: texts without their quotes, nothing as `-`.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Object(fields) if fields.is_empty() => "-".to_owned(),
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(name, value)| format!("{name} {}", cell(value)));
            fields.collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn columns(rows: &[Value], names: &[&str]) -> Vec<Vec<String>> {
    let head = names
        .iter()
        .map(|name| name.to_uppercase().replace('_', " "));
    let mut lines = vec![head.collect()];
    let line = |row: &Value| names.iter().map(|name| cell(&row[*name])).collect();
    lines.extend(rows.iter().map(line));
    lines
}

/// One line about a task.
pub fn task(task: &Value, out: &mut dyn Write) -> Result<(), BookError> {
    let of = |name: &str| cell(&task[name]);
    write!(
        out,
        "task {} of {}: {}",
        of("task"),
        of("owner"),
        of("state")
    )?;
    if task["caps"]
        .as_object()
        .is_some_and(|caps| !caps.is_empty())
    {
        write!(out, "; own caps: {}", of("caps"))?;
    }
    if task["calls_ended"].as_u64().is_some_and(|ended| ended > 0) {
        write!(out, "; calls ended: {}", of("calls_ended"))?;
    }
    writeln!(out)?;
    Ok(())
}

/// A table of tasks.
pub fn tasks(tasks: &Value, out: &mut dyn Write) -> Result<(), BookError> {
    let names = ["task", "owner", "state", "opened", "caps"];
    Ok(book::table(
        out,
        &columns(items(tasks), &names),
        names.len(),
    )?)
}

/// A task with its accounts and agents.
pub fn one(shown: &Value, out: &mut dyn Write) -> Result<(), BookError> {
    task(shown, out)?;
    writeln!(out, "opened {}", cell(&shown["opened"]))?;
    if !shown["suspended_since"].is_null() {
        writeln!(out, "suspended since {}", cell(&shown["suspended_since"]))?;
    }
    if !shown["question"].is_null() {
        let of = |name: &str| cell(&shown["question"][name]);
        writeln!(out, "{} is {}: {}", of("id"), of("state"), of("message"))?;
    }
    if !shown["turns_allowed"].is_null() {
        let turns = cell(&shown["turns_allowed"]);
        writeln!(out, "a person is asked again after {turns} turns")?;
    }
    for sign in items(&shown["signs"]) {
        let of = |name: &str| cell(&sign[name]);
        writeln!(out, "{} at {}: {}", of("kind"), of("at"), of("detail"))?;
    }
    for pin in items(&shown["pins"]) {
        let of = |name: &str| cell(&pin[name]);
        writeln!(
            out,
            "held to {}/{} by route {}",
            of("provider"),
            of("model"),
            of("route")
        )?;
    }
    writeln!(out)?;
    accounts(&shown["accounts"], out)?;
    writeln!(out)?;
    let models = items(&shown["models"]);
    if !models.is_empty() {
        let names = ["role", "provider", "model", "answered", "skew", "calls"];
        book::table(out, &columns(models, &names), 5)?;
        writeln!(out)?;
    }
    let names = [
        "agent",
        "role",
        "usd",
        "in_doubt_usd",
        "calls",
        "turns",
        "tokens",
        "denied",
        "in_flight",
    ];
    Ok(book::table(
        out,
        &columns(items(&shown["agents"]), &names),
        2,
    )?)
}

/// A table of accounts, one line a meter.
pub fn accounts(accounts: &Value, out: &mut dyn Write) -> Result<(), BookError> {
    let names = ["cap", "settled", "held", "in_doubt", "remaining"];
    let mut head = vec!["LIMIT".to_owned(), "METER".to_owned()];
    head.extend(names.map(|name| name.to_uppercase().replace('_', " ")));
    let mut lines = vec![head];
    for account in items(accounts) {
        let label = label(account);
        for (meter, sums) in account["meters"].as_object().into_iter().flatten() {
            let mut line = vec![label.clone(), meter.clone()];
            line.extend(names.map(|name| cell(&sums[name])));
            lines.push(line);
        }
    }
    Ok(book::table(out, &lines, 2)?)
}

/// The limit, and what it counts per beside the task.
fn label(account: &Value) -> String {
    let mut label = cell(&account["limit"]);
    for (side, value) in account["account"].as_object().into_iter().flatten() {
        if !matches!(side.as_str(), "task" | "owner") {
            label.push_str(&format!(" {side}={}", cell(value)));
        }
    }
    if let Some(window) = account["window"].as_str() {
        label.push_str(&format!(" since {window}"));
    }
    if account["in_force"] == Value::Bool(false) {
        label.push_str(" (no longer in force)");
    }
    label
}

/// The stop buttons.
pub fn switches(said: &Value, out: &mut dyn Write) -> Result<(), BookError> {
    let suspended = &said["suspended"];
    let mut pressed: Vec<String> = items(&suspended["identities"]).iter().map(cell).collect();
    if suspended["all"] == Value::Bool(true) {
        pressed.insert(0, "everything".to_owned());
    }
    match pressed.is_empty() {
        true => write!(out, "nothing is suspended")?,
        false => write!(out, "suspended: {}", pressed.join(", "))?,
    }
    match said["calls_ended"].as_u64() {
        Some(ended) if ended > 0 => writeln!(out, "; calls ended: {ended}")?,
        _ => writeln!(out)?,
    }
    Ok(())
}
