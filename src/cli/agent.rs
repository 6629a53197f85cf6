//! `bursar agent`: which agents the running gateway has seen in calls that do not say whose they are, and
//! what to write to give them names.

use super::book::{self, BookError};
use super::client::{Client, OpsArgs};
use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// `bursar agent`
#[derive(Clone, Debug, clap::Args)]
pub struct AgentArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Verb {
    /// List the agents seen since the gateway started, those without a name as `[[agent]]` to paste
    List(ListArgs),
}

#[derive(Clone, Debug, clap::Args)]
struct ListArgs {
    /// Of this owner
    #[arg(long)]
    owner: Option<String>,
    #[command(flatten)]
    ops: OpsArgs,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

/// Runs the command.
#[must_use]
pub fn run(args: &AgentArgs, config: &Path) -> ExitCode {
    book::print(|out| {
        let Verb::List(args) = &args.verb;
        list(args, config, out)?;
        Ok(ExitCode::SUCCESS)
    })
}

fn list(args: &ListArgs, config: &Path, out: &mut dyn Write) -> Result<(), BookError> {
    let mut found = Client::new(&args.ops, config)?.get("/api/agents")?;
    let agents = found.get_mut("agents").map(Value::take);
    let Some(Value::Array(mut agents)) = agents else {
        return Err(BookError::Usage("the gateway lists no agents".to_owned()));
    };
    let is_asked =
        |agent: &Value| args.owner.is_none() || agent["owner"].as_str() == args.owner.as_deref();
    agents.retain(is_asked);
    if args.json {
        writeln!(out, "{}", Value::Array(agents))?;
        return Ok(());
    }
    let head = [
        "OWNER", "AGENT", "ROLE", "TOOLS", "LAST", "CALLS", "STAYS", "TASKS",
    ];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    lines.extend(agents.iter().map(cells));
    book::table(out, &lines, 5)?;
    let nameless = agents
        .iter()
        .filter(|agent| agent["named"] != true && agent["agent"].is_string());
    for agent in nameless {
        writeln!(out, "\n{}", suggestion(agent))?;
    }
    Ok(())
}

fn text(agent: &Value, key: &str) -> String {
    match &agent[key] {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

fn tools(agent: &Value) -> String {
    let tools = agent["tools"].as_array().map_or(&[][..], Vec::as_slice);
    let names: Vec<&str> = tools.iter().filter_map(Value::as_str).collect();
    names.join(",")
}

fn cells(agent: &Value) -> Vec<String> {
    let names = tools(agent);
    let short: String = names.chars().take(40).collect();
    let names = match () {
        () if names.is_empty() => "-".to_owned(),
        () if short.len() < names.len() => format!("{short}…"),
        () => names,
    };
    let mut cells: Vec<String> = ["owner", "agent", "role"]
        .map(|key| text(agent, key))
        .into();
    cells.push(names);
    cells.extend(["last", "calls", "invocations", "tasks"].map(|key| text(agent, key)));
    cells
}

/// What to write into `bursar.toml`, with a name and a role of one's own.
fn suggestion(agent: &Value) -> String {
    let (id, tools) = (text(agent, "agent"), tools(agent));
    let prompt = text(agent, "prompt");
    let seen = match tools.is_empty() {
        true => "no tools".to_owned(),
        false => format!("tools {tools}"),
    };
    format!(
        "[[agent]]                          # {seen}\nid    = \"{id}\"\n# role  = \"researcher\"\nmatch = {{ prompt = \"{prompt}\" }}"
    )
}
