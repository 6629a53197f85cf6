//! `bursar escalation`: questions to people. `list` and `show` read the file; `approve` and `deny` go
//! through the running gateway, which holds the calls that wait.

use super::book::{self, BookError};
use super::client::{Client, OpsArgs, segment};
use super::task::{Meters, put};
use crate::escalation::State;
use crate::ops::show;
use crate::store::EscalationFilter;
use serde_json::{Map, Value};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// `bursar escalation`
#[derive(Clone, Debug, clap::Args)]
pub struct EscalationArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Verb {
    /// List questions, the newest first; those that wait unless asked otherwise
    List(ListArgs),
    /// Show a question: why, over which account, what was decided
    Show(ShowArgs),
    /// Let the task go on: as it is, with a higher cap, or for so many turns
    Approve(Box<ApproveArgs>),
    /// Leave the task suspended
    Deny(DenyArgs),
}

#[derive(Clone, Debug, clap::Args)]
struct ListArgs {
    /// waiting, approved, denied or expired
    #[arg(long, value_parser = state, conflicts_with = "all")]
    state: Option<State>,
    /// In any state
    #[arg(long)]
    all: bool,
    /// Of this task
    #[arg(long)]
    task: Option<String>,
    /// Its owner, where several have a task of this name
    #[arg(long, requires = "task")]
    owner: Option<String>,
    /// The newest so many
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// The store's file, instead of the configured one
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

fn state(word: &str) -> Result<State, String> {
    State::from_name(word).ok_or_else(|| "one of waiting, approved, denied, expired".to_owned())
}

#[derive(Clone, Debug, clap::Args)]
struct ShowArgs {
    /// The question's id
    id: String,
    /// The store's file, instead of the configured one
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug, clap::Args)]
struct ApproveArgs {
    /// The question's id
    id: String,
    #[command(flatten)]
    meters: Meters,
    /// Which caps to raise: `limit`, the account in the way (the default), or `task`, all that count
    /// the whole task
    #[arg(long, value_parser = ["limit", "task"], conflicts_with = "limit")]
    scope: Option<String>,
    /// Raise the account of this limit
    #[arg(long)]
    limit: Option<String>,
    /// Which agent's account, for a limit that counts per agent
    #[arg(long, requires = "limit")]
    agent: Option<String>,
    /// Which role's
    #[arg(long, requires = "limit")]
    role: Option<String>,
    /// Which identity's
    #[arg(long, requires = "limit")]
    identity: Option<String>,
    /// Which model's
    #[arg(long, requires = "limit")]
    model: Option<String>,
    /// Which provider's
    #[arg(long, requires = "limit")]
    provider: Option<String>,
    /// Which tool's
    #[arg(long, requires = "limit")]
    tool: Option<String>,
    /// Whose, where a limit counts per person acted for
    #[arg(long, requires = "limit")]
    on_behalf_of: Option<String>,
    /// When raised caps are as before again: a span (2h) or an instant
    #[arg(long, value_name = "WHEN")]
    expires: Option<String>,
    /// Ask again after so many turns of the task
    #[arg(long, value_name = "TURNS")]
    for_turns: Option<u64>,
    /// Why, for the journal
    #[arg(long)]
    why: Option<String>,
    #[command(flatten)]
    ops: OpsArgs,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug, clap::Args)]
struct DenyArgs {
    /// The question's id
    id: String,
    /// Why; agents are told
    #[arg(long)]
    why: Option<String>,
    /// Close the task for good
    #[arg(long)]
    close: bool,
    #[command(flatten)]
    ops: OpsArgs,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
#[must_use]
pub fn run(args: &EscalationArgs, config: &Path) -> ExitCode {
    book::print(|out| {
        match &args.verb {
            Verb::List(args) => list(args, config, out),
            Verb::Show(args) => show_one(args, config, out),
            Verb::Approve(args) => approve(args, config, out),
            Verb::Deny(args) => deny(args, config, out),
        }?;
        Ok(ExitCode::SUCCESS)
    })
}

type Out<'o> = &'o mut dyn Write;

fn list(args: &ListArgs, config: &Path, out: Out<'_>) -> Result<(), BookError> {
    let book = book::open(args.store.as_deref(), config)?;
    let task = match &args.task {
        Some(id) => Some(book.task(id, args.owner.as_deref())?.key),
        None => None,
    };
    let waiting = (!args.all).then_some(State::Waiting);
    let found = book.reader.escalations(&EscalationFilter {
        task,
        state: args.state.or(waiting),
        rows: Some(args.limit),
        ..EscalationFilter::default()
    })?;
    if args.json {
        let found: Vec<Value> = found.iter().map(show::escalation).collect();
        writeln!(out, "{}", Value::Array(found))?;
        return Ok(());
    }
    let head = ["ID", "STATE", "TASK", "AGENT", "OPENED", "WHY"];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    for question in &found {
        lines.push(vec![
            question.id.to_string(),
            question.state.name().to_owned(),
            question.task.task.to_string(),
            question.asker.agent.as_deref().unwrap_or("-").to_owned(),
            show::instant(question.opened),
            question.reason.message.to_string(),
        ]);
    }
    Ok(book::table(out, &lines, head.len())?)
}

fn show_one(args: &ShowArgs, config: &Path, out: Out<'_>) -> Result<(), BookError> {
    let book = book::open(args.store.as_deref(), config)?;
    let filter = EscalationFilter {
        id: Some(args.id.as_str().into()),
        ..EscalationFilter::default()
    };
    let found = book.reader.escalations(&filter)?.pop();
    let found =
        found.ok_or_else(|| BookError::Absent(format!("no such escalation: {}", args.id)))?;
    print(&show::escalation(&found), args.json, out)
}

fn approve(args: &ApproveArgs, config: &Path, out: Out<'_>) -> Result<(), BookError> {
    let mut body = Map::new();
    put(&mut body, "by", args.ops.by());
    put(&mut body, "why", args.why.as_ref());
    put(&mut body, "for_turns", args.for_turns);
    args.meters.put(&mut body);
    let fields = [
        ("scope", &args.scope),
        ("limit", &args.limit),
        ("expires", &args.expires),
        ("agent", &args.agent),
        ("role", &args.role),
        ("identity", &args.identity),
        ("model", &args.model),
        ("provider", &args.provider),
        ("tool", &args.tool),
        ("on_behalf_of", &args.on_behalf_of),
    ];
    for (name, value) in fields {
        put(&mut body, name, value.as_ref());
    }
    decide(&args.id, "approve", body, &args.ops, config, args.json, out)
}

fn deny(args: &DenyArgs, config: &Path, out: Out<'_>) -> Result<(), BookError> {
    let mut body = Map::new();
    put(&mut body, "by", args.ops.by());
    put(&mut body, "why", args.why.as_ref());
    put(&mut body, "close", args.close.then_some(true));
    decide(&args.id, "deny", body, &args.ops, config, args.json, out)
}

fn decide(
    id: &str,
    verb: &str,
    body: Map<String, Value>,
    ops: &OpsArgs,
    config: &Path,
    as_json: bool,
    out: Out<'_>,
) -> Result<(), BookError> {
    let path = format!("/api/escalations/{}/{verb}", segment(id));
    let said = Client::new(ops, config)?.post(&path, &body.into())?;
    if !as_json && said["applied"] == Value::Bool(false) {
        writeln!(out, "decided before; nothing was done")?;
    }
    print(&said, as_json, out)
}

/// Prints a question, as it is or for people.
fn print(said: &Value, as_json: bool, out: Out<'_>) -> Result<(), BookError> {
    if as_json {
        writeln!(out, "{said}")?;
        return Ok(());
    }
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let of = |name: &str| text(&said[name]);
    writeln!(
        out,
        "{} is {}: task {} of {}",
        of("id"),
        of("state"),
        of("task"),
        of("owner")
    )?;
    writeln!(out, "{}", of("message"))?;
    writeln!(
        out,
        "asked {} by agent {} ({}) as {}, model {}, call {}",
        of("opened"),
        of("agent"),
        of("role"),
        of("identity"),
        of("model"),
        of("request")
    )?;
    for seen in said["evidence"].as_array().into_iter().flatten() {
        let (what, request) = (text(&seen["what"]), text(&seen["request"]));
        writeln!(out, "  seen: {what}, call {request}")?;
    }
    let decision = &said["decision"];
    if decision.is_null() {
        return Ok(());
    }
    let (at, by) = (text(&decision["at"]), text(&decision["by"]));
    let why = decision["why"].as_str();
    let why = why.map_or_else(String::new, |why| format!(": {why}"));
    writeln!(out, "decided {at} by {by}{why}")?;
    for raised in decision["raised"].as_array().into_iter().flatten() {
        let more = super::task::cell(&raised["by"]);
        writeln!(out, "  raised `{}` by {more}", text(&raised["limit"]))?;
    }
    if let Some(ends) = decision["expires"].as_str() {
        writeln!(out, "  until {ends}")?;
    }
    if let Some(turns) = decision["turns"].as_u64() {
        writeln!(out, "  for {turns} turns, then a person is asked again")?;
    }
    Ok(())
}
