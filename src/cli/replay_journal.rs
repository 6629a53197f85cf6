//! `bursar replay --loops --journal`: what would have fired on the calls in the journal? Their digests
//! are put to the rules in force now, or to others; one JSON line a task.
//!
//! What was done about a loop then changed what came after it, so only the first call on which a rule
//! fires is told. Rows say nothing of texts, and of what was not kept nothing can be told: a line says
//! how many of its task's calls were looked at.

use super::book::BookError;
use crate::config::{Facts, LoopPolicies};
use crate::dialect::Dialect;
use crate::loops::{Firing, Heading, Rules, Watch, heading};
use crate::store::{CallBody, Kind, Reader, StoreError};
use crate::units::{TaskKey, UnixMs};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::sync::Arc;

/// Which calls.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// From then on.
    pub since: Option<UnixMs>,
    /// Of this task alone.
    pub task: Option<String>,
}

/// What a task gave.
#[derive(Debug, Serialize)]
struct Line<'a> {
    id: &'a str,
    owner: &'a str,
    fired: bool,
    /// The index of the call among the task's.
    at: Option<usize>,
    rule: Option<&'static str>,
    /// What that rule would have done.
    action: Option<&'static str>,
    agent: Option<&'a str>,
    request: Option<&'a str>,
    when: Option<String>,
    /// The calls that make up the pattern, as far as they are known.
    evidence: Vec<&'a str>,
    digests: Vec<String>,
    /// Calls of the task, and those of them whose rows have digests.
    calls: usize,
    recorded: usize,
}

/// One call of the journal.
#[derive(Debug)]
struct Call {
    at: UnixMs,
    admitted: i64,
    request: Box<str>,
    agent: Option<Arc<str>>,
    rules: Rules,
    steps: Option<(Heading, Box<[u8]>)>,
}

/// Replays the journal's calls, task by task, and writes a line for each.
///
/// # Errors
/// The journal cannot be read, a row was written by a later version, or `out` cannot be written.
pub fn run(
    reader: &Reader,
    policies: &LoopPolicies,
    asked: &Asked,
    out: &mut dyn Write,
) -> Result<(), BookError> {
    let mut tasks: BTreeMap<TaskKey, Vec<Call>> = BTreeMap::new();
    reader.rows_since(asked.since, |row| {
        if row.kind != Kind::Call.name() {
            return Ok(true);
        }
        let body = CallBody::read(row.at, row.entry)?;
        let is_asked = |task: &String| *task == body.task.as_str();
        if !asked.task.as_ref().is_none_or(is_asked) {
            return Ok(true);
        }
        if let Some(dialect) = watched(body.dialect.as_str()) {
            let call = read(&body, row.at, dialect, policies)?;
            let key = TaskKey {
                owner: body.owner.as_str().into(),
                task: body.task.as_str().into(),
            };
            tasks.entry(key).or_default().push(call);
        }
        Ok(true)
    })?;
    for (key, calls) in &mut tasks {
        // Rows are in the order in which calls ended.
        calls.sort_by_key(|call| call.admitted);
        let fired = first_firing(calls)?;
        let line = line(key, calls, fired.as_ref());
        serde_json::to_writer(&mut *out, &line).map_err(std::io::Error::from)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// Calls of other formats are not watched.
fn watched(dialect: &str) -> Option<&'static str> {
    let dialects = [
        Dialect::OpenaiChat,
        Dialect::OpenaiResponses,
        Dialect::OpenaiCompletions,
        Dialect::AnthropicMessages,
    ];
    let names = dialects.map(Dialect::name);
    names.into_iter().find(|name| *name == dialect)
}

fn read(
    body: &CallBody<'_>,
    at: UnixMs,
    dialect: &'static str,
    policies: &LoopPolicies,
) -> Result<Call, StoreError> {
    let steps = body.steps().map(|steps| {
        let heading = heading(&steps)
            .map_err(|error| StoreError::Corrupt(format!("{}: {error}", body.request.as_str())))?;
        Ok::<_, StoreError>((heading, steps.into_boxed_slice()))
    });
    Ok(Call {
        at,
        admitted: body.admitted,
        request: body.request.as_str().into(),
        agent: body.agent.as_ref().map(|agent| agent.as_str().into()),
        rules: rules(body, dialect, policies),
        steps: steps.transpose()?,
    })
}

fn rules(body: &CallBody<'_>, dialect: &'static str, policies: &LoopPolicies) -> Rules {
    if policies.is_uniform() {
        return *policies.base();
    }
    let text = |text: &Option<crate::store::Text<'_>>| -> Option<Arc<str>> {
        text.as_ref().map(|text| text.as_str().into())
    };
    let facts = Facts {
        owner: body.owner.as_str().into(),
        identity: body.identity.as_str().into(),
        task: body.task.as_str().into(),
        on_behalf_of: text(&body.on_behalf_of),
        agent: text(&body.agent),
        role: text(&body.role),
        model: body.model.as_str().into(),
        provider: "".into(),
        dialect,
        tool: None,
        agent_trusted: false,
        role_trusted: false,
        unattributed: false,
    };
    *policies.of(&facts)
}

/// The first call of a task on which a rule fires. What was watched apart (before and after a restart,
/// or agents that name no task) is replayed apart.
fn first_firing(calls: &[Call]) -> Result<Option<(usize, u32, Firing)>, BookError> {
    let mut lives: HashMap<u32, Vec<(u64, usize)>> = HashMap::new();
    for (at, call) in calls.iter().enumerate() {
        if let Some((heading, _)) = &call.steps {
            let life = lives.entry(heading.life).or_default();
            life.push((heading.number, at));
        }
    }
    let mut first: Option<(usize, u32, Firing)> = None;
    for (life, mut numbers) in lives {
        numbers.sort_unstable();
        let mut watch = Watch::default();
        for (_, at) in numbers {
            let Some((_, steps)) = &calls[at].steps else {
                continue;
            };
            let firing = watch
                .replay(&calls[at].rules, steps)
                .map_err(|error| StoreError::Corrupt(format!("{}: {error}", calls[at].request)))?;
            if let Some(firing) = firing {
                if first.as_ref().is_none_or(|(before, ..)| at < *before) {
                    first = Some((at, life, firing));
                }
                break;
            }
        }
    }
    Ok(first)
}

fn line<'a>(
    key: &'a TaskKey,
    calls: &'a [Call],
    fired: Option<&'a (usize, u32, Firing)>,
) -> Line<'a> {
    let call = fired.map(|(at, ..)| &calls[*at]);
    let request_of = |life: u32, number: u64| {
        let is_it = |call: &&Call| {
            let heading = call.steps.as_ref().map(|(heading, _)| *heading);
            heading == Some(Heading { life, number })
        };
        calls.iter().find(is_it).map(|call| &*call.request)
    };
    let evidence = fired.map(|(_, life, firing)| {
        let calls = firing.calls.iter();
        calls
            .filter_map(|number| request_of(*life, *number))
            .collect()
    });
    let digests =
        fired.map(|(.., firing)| firing.digests.iter().map(ToString::to_string).collect());
    Line {
        id: key.task.as_str(),
        owner: key.owner.as_str(),
        fired: fired.is_some(),
        at: fired.map(|(at, ..)| *at),
        rule: fired.map(|(.., firing)| firing.rule.name()),
        action: fired.map(|(.., firing)| firing.action.name()),
        agent: call.and_then(|call| call.agent.as_deref()),
        request: call.map(|call| &*call.request),
        when: call.map(|call| super::book::rfc3339(call.at.0)),
        evidence: evidence.unwrap_or_default(),
        digests: digests.unwrap_or_default(),
        calls: calls.len(),
        recorded: calls.iter().filter(|call| call.steps.is_some()).count(),
    }
}
