//! `bursar audit trace TASK`: who called whom, and what each call cost. Agents stand under the
//! agent that called them.

use super::super::book::{self, Book, BookError};
use crate::store::{AnsweredBody, AskedBody, CallBody, CallRow, Kind, MarkBody, StoryRow};
use crate::units::{Meter, NanoUsd};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::ExitCode;

/// Calls shown unless asked otherwise, in number.
const CALLS: usize = 1_000;

/// Agents are shown under one another so deep, in levels; deeper ones follow flat, for a caller can
/// claim any chain of parents.
const DEPTH: usize = 32;

/// `bursar audit trace`
#[derive(Clone, Debug, clap::Args)]
pub struct TraceArgs {
    /// The task
    task: String,
    /// Its owner, where several have a task of this name
    #[arg(long)]
    owner: Option<String>,
    /// Show the newest so many calls
    #[arg(long, default_value_t = CALLS)]
    limit: usize,
    /// Print a JSON object a call
    #[arg(long)]
    json: bool,
}

/// Prints the calls.
pub(super) fn run(
    args: &TraceArgs,
    book: &Book,
    out: &mut dyn Write,
) -> Result<ExitCode, BookError> {
    let key = book.task(&args.task, args.owner.as_deref())?.key;
    let rows = book.reader.trace(&key, args.limit)?;
    let story = book.reader.story(&key)?;
    if args.json {
        for CallRow { seq, at, entry } in &rows {
            writeln!(out, r#"{{"seq":{seq},"at":{},"call":{entry}}}"#, at.0)?;
        }
        for row in &story {
            let StoryRow {
                seq,
                at,
                kind,
                entry,
            } = row;
            let kind = kind.name();
            writeln!(out, r#"{{"seq":{seq},"at":{},"{kind}":{entry}}}"#, at.0)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let calls: Vec<CallBody<'_>> = rows.iter().map(CallRow::body).collect::<Result<_, _>>()?;
    let usd = sum(calls.iter());
    writeln!(
        out,
        "task {} of {}: {}, ${usd}",
        key.task,
        key.owner,
        calls_text(calls.len())
    )?;
    let mut tree = Tree::new(&calls);
    for row in story.iter().filter(|row| row.kind == Kind::Mark) {
        tree.mark(read(&row.entry)?);
    }
    tree.print(out)?;
    for row in &story {
        writeln!(out, "{}", told(row)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn read<'r, T: serde::Deserialize<'r>>(entry: &'r str) -> Result<T, BookError> {
    serde_json::from_str(entry).map_err(|error| BookError::Store(error.into()))
}

/// One line about a question that was asked or answered, or about an agent.
fn told(row: &StoryRow) -> Result<String, BookError> {
    let at = book::rfc3339(row.at.0);
    if row.kind == Kind::Mark {
        let body: MarkBody<'_> = read(&row.entry)?;
        let (rule, detail) = (body.rule.as_str(), body.detail.as_str());
        return Ok(format!("{at} {rule}: {detail}{}", handed_on(&body)));
    }
    if row.kind == Kind::EscalationOpened {
        let body: AskedBody = read(&row.entry)?;
        return Ok(format!(
            "{at} a person was asked ({}): {}",
            body.id, body.question.message
        ));
    }
    let body: AnsweredBody = read(&row.entry)?;
    let why = body.decision.why.as_deref();
    let why = why.map_or_else(String::new, |why| format!(": {why}"));
    Ok(format!(
        "{at} {} was {} by {}{why}",
        body.id, body.state, body.decision.by
    ))
}

/// Who has what the agent handed on.
fn handed_on(mark: &MarkBody<'_>) -> String {
    mark.received_by.as_ref().map_or_else(String::new, |by| {
        format!("; agent `{}` has what it handed on", by.as_str())
    })
}

fn sum<'c>(calls: impl Iterator<Item = &'c CallBody<'c>>) -> NanoUsd {
    NanoUsd(
        calls
            .map(|call| call.charged.0[Meter::Usd])
            .fold(0, u64::saturating_add),
    )
}

/// Calls by agent, agents by parent. The agent of no name is `""`.
struct Tree<'c> {
    calls: BTreeMap<&'c str, Vec<&'c CallBody<'c>>>,
    children: BTreeMap<&'c str, BTreeSet<&'c str>>,
    /// Who received what an agent that went wrong had handed on: that agent, and by which rule.
    received: BTreeMap<String, BTreeSet<(String, String)>>,
}

impl<'c> Tree<'c> {
    fn new(calls: &'c [CallBody<'c>]) -> Self {
        let mut tree = Self {
            calls: BTreeMap::new(),
            children: BTreeMap::new(),
            received: BTreeMap::new(),
        };
        for call in calls {
            let agent = call.agent.as_ref().map_or("", |agent| agent.as_str());
            tree.calls.entry(agent).or_default().push(call);
            if let Some(parent) = &call.parent {
                tree.children
                    .entry(parent.as_str())
                    .or_default()
                    .insert(agent);
            }
        }
        tree
    }

    fn mark(&mut self, mark: MarkBody<'_>) {
        if let Some(by) = &mark.received_by {
            let agent = mark.agent.as_ref().map_or("", |agent| agent.as_str());
            let received = self.received.entry(by.as_str().to_owned()).or_default();
            received.insert((agent.to_owned(), mark.rule.as_str().to_owned()));
        }
    }

    fn print(&self, out: &mut dyn Write) -> Result<(), BookError> {
        let below: BTreeSet<&str> = self.children.values().flatten().copied().collect();
        let received = self.received.keys().map(String::as_str);
        let named = self.calls.keys().chain(self.children.keys()).copied();
        let all: BTreeSet<&str> = named.chain(received).collect();
        let mut shown = BTreeSet::new();
        for root in all.iter().filter(|agent| !below.contains(*agent)) {
            self.agent(root, 0, &mut shown, out)?;
        }
        // Agents that call one another in a ring have no root; those too deep were left out above.
        for agent in &all {
            self.agent(agent, 0, &mut shown, out)?;
        }
        Ok(())
    }

    fn agent(
        &self,
        agent: &'c str,
        depth: usize,
        shown: &mut BTreeSet<&'c str>,
        out: &mut dyn Write,
    ) -> Result<(), BookError> {
        if !shown.insert(agent) {
            return Ok(());
        }
        let indent = "  ".repeat(depth);
        let calls = self.calls.get(agent).map_or(&[][..], Vec::as_slice);
        let name = if agent.is_empty() {
            "(no agent)"
        } else {
            agent
        };
        let role = calls.iter().find_map(|call| call.role.as_ref());
        let role = role.map_or_else(String::new, |role| format!(" ({})", role.as_str()));
        let usd = sum(calls.iter().copied());
        writeln!(
            out,
            "{indent}{name}{role}: {}, ${usd}",
            calls_text(calls.len())
        )?;
        for (from, rule) in self.received.get(agent).into_iter().flatten() {
            let from = match from.as_str() {
                "" => "an agent without a name",
                name => name,
            };
            writeln!(out, "{indent}  ! has what {from} handed on ({rule})")?;
        }
        for call in calls {
            writeln!(out, "{indent}  {}", line(call))?;
        }
        if depth == DEPTH {
            return Ok(());
        }
        for child in self.children.get(agent).into_iter().flatten() {
            self.agent(child, depth + 1, shown, out)?;
        }
        Ok(())
    }
}

fn calls_text(count: usize) -> String {
    match count {
        1 => "1 call".to_owned(),
        count => format!("{count} calls"),
    }
}

fn line(call: &CallBody<'_>) -> String {
    let charged = &call.charged.0;
    let mut line = format!(
        "{} {} {} ${} in {} out {}",
        book::rfc3339(call.ended),
        call.ending.as_str(),
        call.model.as_str(),
        NanoUsd(charged[Meter::Usd]),
        charged[Meter::InputTokens],
        charged[Meter::OutputTokens],
    );
    if let Some(route) = &call.route {
        let asked = call.asked.as_ref().unwrap_or(&call.model).as_str();
        line.push_str(&format!(" for {asked} by route {}", route.as_str()));
    }
    if let Some(reason) = &call.reason {
        line.push_str(&format!(" [{}]", reason.as_str()));
    }
    for (tool, count) in &call.tools {
        line.push_str(&format!(" {}×{count}", tool.as_str()));
    }
    line
}
