//! `bursar task`: open, list, show, top up, suspend, resume, close. What writes goes through the
//! running gateway; what reads works on the file too.

mod shown;

pub(super) use shown::cell;

use super::book::{self, Book, BookError};
use super::client::{Client, OpsArgs, segment};
use crate::config::Config;
use crate::ops::crew::{Crew, MAX_CALLS};
use crate::ops::standing::Standing;
use crate::ops::{accounts, show};
use crate::store::{
    AccountFilter, DoubtFilter, EscalationFilter, TaskFilter, TaskRecord, TaskState,
};
use crate::task::tree::{MAX_PAIRS, Tree};
use crate::units::UnixMs;
use serde_json::{Map, Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// `bursar task`
#[derive(Clone, Debug, clap::Args)]
pub struct TaskArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Verb {
    /// Open a task with caps of its own, or lower those of an open one
    Open(OpenArgs),
    /// List tasks, the newest first
    List(ListArgs),
    /// Show a task: its accounts and its agents
    Show(ShowArgs),
    /// Raise what a task may spend
    TopUp(TopUpArgs),
    /// Refuse a task's calls and end those in flight, until it is resumed
    Suspend(StopArgs),
    /// Let a task go on
    Resume(StopArgs),
    /// End a task for good
    Close(OneArgs),
}

/// Quantities by meter.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Meters {
    /// Dollars, such as 2.00
    #[arg(long)]
    usd: Option<String>,
    /// Input and output tokens together
    #[arg(long)]
    tokens: Option<u64>,
    #[arg(long)]
    input_tokens: Option<u64>,
    #[arg(long)]
    output_tokens: Option<u64>,
    /// Input outside the known prefix, plus output
    #[arg(long)]
    fresh_tokens: Option<u64>,
    #[arg(long)]
    turns: Option<u64>,
    /// Calls that a provider refused
    #[arg(long)]
    attempts: Option<u64>,
    #[arg(long)]
    tool_calls: Option<u64>,
    /// Time spent active, such as 30m
    #[arg(long)]
    duration: Option<String>,
    /// How deep below its root an agent may stand
    #[arg(long)]
    depth: Option<u64>,
    /// Distinct children of one agent
    #[arg(long)]
    fan_out: Option<u64>,
}

impl Meters {
    pub(super) fn put(&self, body: &mut Map<String, Value>) {
        let Self {
            usd,
            tokens,
            input_tokens,
            output_tokens,
            fresh_tokens,
            turns,
            attempts,
            tool_calls,
            duration,
            depth,
            fan_out,
        } = self;
        put(body, "usd", usd.as_ref());
        put(body, "tokens", *tokens);
        put(body, "input_tokens", *input_tokens);
        put(body, "output_tokens", *output_tokens);
        put(body, "fresh_tokens", *fresh_tokens);
        put(body, "turns", *turns);
        put(body, "attempts", *attempts);
        put(body, "tool_calls", *tool_calls);
        put(body, "duration", duration.as_ref());
        put(body, "depth", *depth);
        put(body, "fan_out", *fan_out);
    }
}

/// Puts a field into a body, if there is one.
pub(super) fn put(body: &mut Map<String, Value>, name: &str, value: Option<impl serde::Serialize>) {
    if let Some(value) = value {
        body.insert(name.to_owned(), json!(value));
    }
}

#[derive(Clone, Debug, clap::Args)]
struct OpenArgs {
    /// The task's id
    id: String,
    /// Its owner, where there are several
    #[arg(long)]
    owner: Option<String>,
    #[command(flatten)]
    meters: Meters,
    #[command(flatten)]
    ops: OpsArgs,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug, clap::Args)]
struct ListArgs {
    /// Of this owner
    #[arg(long)]
    owner: Option<String>,
    /// active, suspended or closed
    #[arg(long, value_parser = state)]
    state: Option<TaskState>,
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

fn state(word: &str) -> Result<TaskState, String> {
    TaskState::from_name(word).ok_or_else(|| "one of active, suspended, closed".to_owned())
}

#[derive(Clone, Debug, clap::Args)]
struct ShowArgs {
    /// The task's id
    id: String,
    /// Its owner, where several have a task of this name
    #[arg(long)]
    owner: Option<String>,
    #[command(flatten)]
    ops: OpsArgs,
    /// Read this store's file and ask no gateway
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug, clap::Args)]
struct TopUpArgs {
    /// The task's id
    id: String,
    /// Its owner, where several have a task of this name
    #[arg(long)]
    owner: Option<String>,
    #[command(flatten)]
    meters: Meters,
    /// Raise the account of this limit, instead of those that count the whole task
    #[arg(long)]
    limit: Option<String>,
    /// Which agent's account, for a limit that counts per agent
    #[arg(long)]
    agent: Option<String>,
    /// Which role's
    #[arg(long)]
    role: Option<String>,
    /// Which identity's
    #[arg(long)]
    identity: Option<String>,
    /// Which model's
    #[arg(long)]
    model: Option<String>,
    /// Which provider's
    #[arg(long)]
    provider: Option<String>,
    /// Which tool's
    #[arg(long)]
    tool: Option<String>,
    /// Whose, where a limit counts per person acted for
    #[arg(long)]
    on_behalf_of: Option<String>,
    #[command(flatten)]
    ops: OpsArgs,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug, clap::Args)]
#[group(id = "whose", required = true, multiple = false, args = ["id", "identity", "all"])]
struct StopArgs {
    /// The task's id
    id: Option<String>,
    /// Every call of this identity
    #[arg(long)]
    identity: Option<String>,
    /// Everything
    #[arg(long)]
    all: bool,
    /// The task's owner, where several have a task of this name
    #[arg(long, requires = "id")]
    owner: Option<String>,
    #[command(flatten)]
    ops: OpsArgs,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug, clap::Args)]
struct OneArgs {
    /// The task's id
    id: String,
    /// Its owner, where several have a task of this name
    #[arg(long)]
    owner: Option<String>,
    #[command(flatten)]
    ops: OpsArgs,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
#[must_use]
pub fn run(args: &TaskArgs, config: &Path) -> ExitCode {
    book::print(|out| {
        match &args.verb {
            Verb::Open(args) => open(args, config, out),
            Verb::List(args) => list(args, config, out),
            Verb::Show(args) => show_one(args, config, out),
            Verb::TopUp(args) => top_up(args, config, out),
            Verb::Suspend(args) => stop(args, "suspend", config, out),
            Verb::Resume(args) => stop(args, "resume", config, out),
            Verb::Close(args) => close(args, config, out),
        }?;
        Ok(ExitCode::SUCCESS)
    })
}

fn body(owner: Option<&String>, ops: &OpsArgs) -> Map<String, Value> {
    let mut body = Map::new();
    put(&mut body, "owner", owner);
    put(&mut body, "by", ops.by());
    body
}

type Out<'o> = &'o mut dyn Write;

fn open(args: &OpenArgs, config: &Path, out: Out<'_>) -> Result<(), BookError> {
    let mut body = body(args.owner.as_ref(), &args.ops);
    put(&mut body, "id", Some(&args.id));
    args.meters.put(&mut body);
    let said = Client::new(&args.ops, config)?.post("/api/tasks", &body.into())?;
    shown::answer(&said, args.json, out, shown::task)
}

fn list(args: &ListArgs, config: &Path, out: Out<'_>) -> Result<(), BookError> {
    let book = book::open(args.store.as_deref(), config)?;
    let tasks = book.reader.tasks(&TaskFilter {
        owner: args.owner.as_deref().map(Into::into),
        state: args.state,
        limit: Some(args.limit),
        ..TaskFilter::default()
    })?;
    let tasks: Vec<Value> = tasks
        .iter()
        .map(|task| Value::Object(show::task(task)))
        .collect();
    shown::answer(&Value::Array(tasks), args.json, out, shown::tasks)
}

fn show_one(args: &ShowArgs, config: &Path, out: Out<'_>) -> Result<(), BookError> {
    let asked = match &args.store {
        Some(_) => None,
        None => asked(args, config)?,
    };
    let task = match asked {
        Some(task) => task,
        None => read(args, config)?,
    };
    shown::answer(&task, args.json, out, shown::one)
}

/// What the gateway says, if one runs.
fn asked(args: &ShowArgs, config: &Path) -> Result<Option<Value>, BookError> {
    let client = match Client::new(&args.ops, config) {
        // An `ops` on any free port cannot be found, nor a token that is not in this environment;
        // the file can be read. What is wrong with the configuration comes up there again.
        Err(_) if args.ops.ops.is_none() => return Ok(None),
        client => client?,
    };
    let owner = args.owner.as_deref();
    let owner = owner.map_or_else(String::new, |owner| format!("?owner={}", segment(owner)));
    match client.get(&format!("/api/tasks/{}{owner}", segment(&args.id))) {
        // What cannot be asked can be read.
        Err(BookError::Unavailable(_) | BookError::Denied(_)) if args.ops.ops.is_none() => Ok(None),
        said => said.map(Some),
    }
}

/// What the file says: nothing of what is held or in flight.
fn read(args: &ShowArgs, config: &Path) -> Result<Value, BookError> {
    let book = book::open(args.store.as_deref(), config)?;
    let record = book.task(&args.id, args.owner.as_deref())?;
    let policies = match Config::from_path(config) {
        Ok(read) => read.limits(),
        Err(_) if args.store.is_some() => Ok(crate::config::Policies::default()),
        Err(faults) => Err(faults),
    };
    let policies = policies.map_err(|faults| BookError::Config(faults.to_string()))?;
    let calls = book.reader.trace(&record.key, MAX_CALLS)?;
    let open = book.reader.doubts(&DoubtFilter {
        task: Some(record.key.clone()),
        rows: Some(MAX_CALLS),
        ..DoubtFilter::default()
    })?;
    let crew = Crew::of(&calls, &open.iter().map(|doubt| doubt.id).collect())?;
    let mut task = show::task(&record);
    if let Some(asked) = &record.escalation {
        let filter = EscalationFilter {
            id: Some(asked.id.clone()),
            ..EscalationFilter::default()
        };
        let question = book.reader.escalations(&filter)?.pop();
        let question = question.as_ref().map(show::escalation);
        task.insert("question".to_owned(), json!(question));
    }
    task.insert("accounts".to_owned(), standings(&book, &record, &policies)?);
    task.insert("agents".to_owned(), crew.to_json());
    Ok(Value::Object(task))
}

fn standings(
    book: &Book,
    record: &TaskRecord,
    policies: &crate::config::Policies,
) -> Result<Value, BookError> {
    let rows = book.reader.accounts(&AccountFilter {
        value: Some(record.key.task.shared()),
        ..AccountFilter::default()
    })?;
    let now: UnixMs = crate::clock::now();
    let pairs = book.reader.agents(&record.key, MAX_PAIRS)?;
    let reached = Tree::of(&pairs).reached();
    let rows = rows
        .into_iter()
        .filter(|row| accounts::is_of(record, &row.key.per));
    let standings = rows.map(|row| {
        let own = Some(&record.caps);
        let mut standing = Standing::new(row.key, row.balance, policies, own);
        standing.count_time(now, record.suspended_ms(now));
        standing.tree = Some(reached);
        standing.to_json()
    });
    Ok(standings.collect())
}

fn top_up(args: &TopUpArgs, config: &Path, out: Out<'_>) -> Result<(), BookError> {
    let mut body = body(args.owner.as_ref(), &args.ops);
    args.meters.put(&mut body);
    let fields = [
        ("limit", &args.limit),
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
    let path = format!("/api/tasks/{}/top-up", segment(&args.id));
    let said = Client::new(&args.ops, config)?.post(&path, &body.into())?;
    shown::answer(&said, args.json, out, |said, out| {
        shown::accounts(&said["raised"], out)
    })
}

fn stop(args: &StopArgs, verb: &str, config: &Path, out: Out<'_>) -> Result<(), BookError> {
    let mut body = body(args.owner.as_ref(), &args.ops);
    let client = Client::new(&args.ops, config)?;
    let said = match &args.id {
        Some(id) => client.post(&format!("/api/tasks/{}/{verb}", segment(id)), &body.into())?,
        None => {
            put(&mut body, "identity", args.identity.as_ref());
            put(&mut body, "all", args.all.then_some(true));
            client.post(&format!("/api/{verb}"), &body.into())?
        }
    };
    let print = if args.id.is_some() {
        shown::task
    } else {
        shown::switches
    };
    shown::answer(&said, args.json, out, print)
}

fn close(args: &OneArgs, config: &Path, out: Out<'_>) -> Result<(), BookError> {
    let body = body(args.owner.as_ref(), &args.ops);
    let path = format!("/api/tasks/{}/close", segment(&args.id));
    let said = Client::new(&args.ops, config)?.post(&path, &body.into())?;
    shown::answer(&said, args.json, out, shown::task)
}
