//! Programs of agents, each call of which is inferred and compared with what the program knows.

use super::*;
use crate::dialect::answer::{AnswerReader, Keep};
use crate::dialect::decode;
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;

pub(super) const NOW: UnixMs = UnixMs(1_800_000_000_000);
pub(super) const HOUR_MS: i64 = 3_600_000;

/// One call: what the program knows of it, and what was inferred.
#[derive(Clone, Debug)]
pub(super) struct Met {
    pub program: &'static str,
    pub task: String,
    pub agent: String,
    pub parent: Option<String>,
    pub found: Inferred,
}

/// The inference and everything that was asked of it.
#[derive(Default)]
pub(super) struct World {
    pub inference: Inference,
    pub met: Mutex<Vec<Met>>,
    requests: AtomicU64,
    ids: AtomicU64,
}

/// An agent of a program.
#[derive(Clone, Debug)]
pub(super) struct Agent {
    pub name: &'static str,
    pub system: String,
    pub tools: Vec<&'static str>,
}

impl Agent {
    pub(super) fn new(name: &'static str, tools: &[&'static str]) -> Self {
        Self {
            name,
            system: format!("You are {name}. Do what is asked of you."),
            tools: tools.to_vec(),
        }
    }
}

/// A run of a program: one task.
#[derive(Clone)]
pub(super) struct Run<'w> {
    pub world: &'w World,
    pub program: &'static str,
    pub task: String,
    pub dialect: Dialect,
    pub owner: Owner,
}

/// A tool call that an answer asks for.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub id: String,
    pub name: String,
    pub arguments: Json,
}

/// What the model answers.
#[derive(Clone, Debug)]
pub(super) enum Say<'a> {
    Text(&'a str),
    Tools(&'a [Wish]),
}

/// Messages of a conversation, in no dialect yet.
#[derive(Clone, Debug)]
pub(super) enum Part {
    User(String),
    Text(&'static str, String),
    Calls(&'static str, Vec<Wish>),
    Result(String, String),
}

impl World {
    pub(super) fn run(&self, program: &'static str, task: &str, dialect: Dialect) -> Run<'_> {
        Run {
            world: self,
            program,
            task: format!("{program}/{task}"),
            dialect,
            owner: "o".into(),
        }
    }

    pub(super) fn wish(&self, name: &str, arguments: Json) -> Wish {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        Wish {
            id: format!("call_{id:024x}"),
            name: name.to_owned(),
            arguments,
        }
    }

    /// An id that no answer handed out.
    pub(super) fn foreign(&self, name: &str) -> Wish {
        let mut wish = self.wish(name, json!({}));
        wish.id = format!("own-{}", wish.id);
        wish
    }

    pub(super) fn ask(
        &self,
        owner: &Owner,
        call: &Call,
        said: (Option<&TaskId>, Option<&AgentId>),
        now: UnixMs,
    ) -> Inferred {
        let portrait = portrait(call);
        let likeness = Likeness {
            print: portrait.fingerprint(),
            is_blank: portrait.is_blank(),
            tools: portrait.tools,
            named: None,
        };
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        self.inference.join(&Asking {
            owner,
            call,
            request: &format!("req_{number:032x}").into(),
            task: said.0,
            agent: said.1,
            likeness: &likeness,
            again: false,
            now,
            window_ms: HOUR_MS,
            tasks_per_hour: 100_000,
        })
    }

    pub(super) fn hear(
        &self,
        owner: &Owner,
        dialect: Dialect,
        found: &Inferred,
        say: &Say<'_>,
        id: &str,
        now: UnixMs,
    ) {
        let Some(joined) = &found.joined else { return };
        let mut reader = AnswerReader::new(dialect);
        reader.keep(Keep {
            calls: true,
            text: true,
            beginning: false,
        });
        reader.body(answer_body(dialect, say, id).to_string().as_bytes());
        let handed = handed(dialect, &reader.finish(true));
        self.inference.heard(owner, joined, &handed, now);
    }

    /// For each program: calls, and how many have the right task, agent and parent; and tasks that
    /// were merged though they are two.
    pub(super) fn scores(&self) -> BTreeMap<&'static str, [usize; 4]> {
        let met = self.met.lock();
        let mut tasks: BTreeMap<&str, String> = BTreeMap::new();
        let mut names: BTreeMap<(&str, &str), BTreeMap<String, usize>> = BTreeMap::new();
        let task_of = |met: &Met| {
            met.found
                .task
                .as_ref()
                .map_or("-".into(), |task| task.value.to_string())
        };
        let agent_of = |met: &Met| {
            met.found
                .agent
                .as_ref()
                .map_or("-".into(), |agent| agent.value.to_string())
        };
        for met in met.iter() {
            tasks.entry(&met.task).or_insert_with(|| task_of(met));
            *names
                .entry((met.program, &met.agent))
                .or_default()
                .entry(agent_of(met))
                .or_default() += 1;
        }
        let name_of = |program: &'static str, agent: &str| {
            let seen = names.get(&(program, agent))?;
            seen.iter()
                .max_by_key(|(_, count)| **count)
                .map(|(name, _)| name.clone())
        };
        let mut scores: BTreeMap<&'static str, [usize; 4]> = BTreeMap::new();
        for met in met.iter() {
            let score = scores.entry(met.program).or_default();
            score[0] += 1;
            score[1] += usize::from(tasks[&*met.task] == task_of(met));
            score[2] += usize::from(name_of(met.program, &met.agent) == Some(agent_of(met)));
            let parent = met
                .parent
                .as_deref()
                .and_then(|parent| name_of(met.program, parent));
            let found = met
                .found
                .parent
                .as_ref()
                .map(|parent| parent.value.to_string());
            score[3] += usize::from(parent == found);
        }
        scores
    }

    /// Inferred tasks that hold calls of more than one.
    pub(super) fn merged(&self) -> Vec<(String, BTreeSet<String>)> {
        let mut tasks: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for met in self.met.lock().iter() {
            if let Some(task) = &met.found.task {
                tasks
                    .entry(task.value.to_string())
                    .or_default()
                    .insert(met.task.clone());
            }
        }
        tasks
            .into_iter()
            .filter(|(_, truths)| truths.len() > 1)
            .collect()
    }
}

impl Run<'_> {
    /// A call of `agent` with this history, answered so.
    pub(super) fn call(
        &self,
        agent: &Agent,
        parent: Option<&Agent>,
        history: &[Part],
        say: &Say<'_>,
    ) -> Inferred {
        let body = request_body(self.dialect, agent, history);
        self.send(agent, parent, &body, say, "resp_none")
    }

    pub(super) fn send(
        &self,
        agent: &Agent,
        parent: Option<&Agent>,
        body: &Json,
        say: &Say<'_>,
        id: &str,
    ) -> Inferred {
        std::thread::yield_now();
        let call = decode(self.dialect, body.to_string().into()).unwrap();
        let found = self.world.ask(&self.owner, &call, (None, None), NOW);
        self.world
            .hear(&self.owner, self.dialect, &found, say, id, NOW);
        self.world.met.lock().push(Met {
            program: self.program,
            task: self.task.clone(),
            agent: agent.name.to_owned(),
            parent: parent.map(|parent| parent.name.to_owned()),
            found: found.clone(),
        });
        std::thread::yield_now();
        found
    }
}

fn tool_json(dialect: Dialect, name: &str) -> Json {
    let schema = json!({"type": "object", "properties": {"q": {"type": "string"}}});
    match dialect {
        Dialect::OpenaiChat => {
            json!({"type": "function", "function": {"name": name, "parameters": schema}})
        }
        Dialect::OpenaiResponses => json!({"type": "function", "name": name, "parameters": schema}),
        _ => json!({"name": name, "input_schema": schema}),
    }
}

pub(super) fn request_body(dialect: Dialect, agent: &Agent, history: &[Part]) -> Json {
    let tools: Vec<Json> = agent
        .tools
        .iter()
        .map(|name| tool_json(dialect, name))
        .collect();
    let mut messages = Vec::new();
    if dialect == Dialect::OpenaiChat && !agent.system.is_empty() {
        messages.push(json!({"role": "system", "content": agent.system}));
    }
    for part in history {
        messages.extend(part_json(dialect, part));
    }
    let mut body = match dialect {
        Dialect::OpenaiChat => json!({"model": "m", "messages": messages}),
        Dialect::OpenaiResponses => {
            json!({"model": "m", "instructions": agent.system, "input": messages})
        }
        _ => json!({"model": "m", "max_tokens": 9, "system": agent.system, "messages": messages}),
    };
    if !tools.is_empty() {
        body["tools"] = Json::from(tools);
    }
    body
}

fn part_json(dialect: Dialect, part: &Part) -> Vec<Json> {
    match (dialect, part) {
        (_, Part::User(text)) => vec![json!({"role": "user", "content": text})],
        (Dialect::OpenaiChat, Part::Text(name, text)) => {
            vec![json!({"role": "assistant", "name": name, "content": text})]
        }
        (_, Part::Text(_, text)) => vec![json!({"role": "assistant", "content": text})],
        (Dialect::OpenaiChat, Part::Calls(name, wishes)) => {
            let calls: Vec<Json> = wishes.iter().map(chat_call).collect();
            vec![json!({"role": "assistant", "name": name, "content": null, "tool_calls": calls})]
        }
        (Dialect::OpenaiResponses, Part::Calls(_, wishes)) => {
            wishes.iter().map(response_call).collect()
        }
        (_, Part::Calls(_, wishes)) => {
            let calls: Vec<Json> = wishes.iter().map(message_call).collect();
            vec![json!({"role": "assistant", "content": calls})]
        }
        (Dialect::OpenaiChat, Part::Result(id, text)) => {
            vec![json!({"role": "tool", "tool_call_id": id, "content": text})]
        }
        (Dialect::OpenaiResponses, Part::Result(id, text)) => {
            vec![json!({"type": "function_call_output", "call_id": id, "output": text})]
        }
        (_, Part::Result(id, text)) => {
            vec![
                json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": text}]}),
            ]
        }
    }
}

fn chat_call(wish: &Wish) -> Json {
    json!({"id": wish.id, "type": "function", "function": {"name": wish.name, "arguments": wish.arguments.to_string()}})
}

fn response_call(wish: &Wish) -> Json {
    json!({"type": "function_call", "call_id": wish.id, "name": wish.name, "arguments": wish.arguments.to_string()})
}

fn message_call(wish: &Wish) -> Json {
    json!({"type": "tool_use", "id": wish.id, "name": wish.name, "input": wish.arguments})
}

fn answer_body(dialect: Dialect, say: &Say<'_>, id: &str) -> Json {
    let usage =
        json!({"prompt_tokens": 9, "completion_tokens": 9, "input_tokens": 9, "output_tokens": 9});
    match dialect {
        Dialect::OpenaiChat => {
            let message = match say {
                Say::Text(text) => json!({"role": "assistant", "content": text}),
                Say::Tools(wishes) => {
                    let calls: Vec<Json> = wishes.iter().map(chat_call).collect();
                    json!({"role": "assistant", "content": null, "tool_calls": calls})
                }
            };
            json!({"id": id, "object": "chat.completion", "model": "m", "usage": usage,
                "choices": [{"index": 0, "finish_reason": "stop", "message": message}]})
        }
        Dialect::OpenaiResponses => {
            let output: Vec<Json> = match say {
                Say::Text(text) => vec![
                    json!({"type": "message", "role": "assistant", "id": "msg_1", "status": "completed",
                    "content": [{"type": "output_text", "text": text}]}),
                ],
                Say::Tools(wishes) => wishes.iter().map(response_call).collect(),
            };
            json!({"id": id, "object": "response", "status": "completed", "model": "m", "usage": usage, "output": output})
        }
        _ => {
            let content: Vec<Json> = match say {
                Say::Text(text) => vec![json!({"type": "text", "text": text})],
                Say::Tools(wishes) => wishes.iter().map(message_call).collect(),
            };
            json!({"id": id, "type": "message", "role": "assistant", "model": "m", "usage": usage,
                "stop_reason": "end_turn", "content": content})
        }
    }
}
