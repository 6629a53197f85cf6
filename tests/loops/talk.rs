//! Agents in conversation, in each dialect: a run in the neutral form becomes calls as a framework would
//! make them.

use crate::common::calls::{Http, Reply};
use crate::common::gateway::Gateway;
use crate::common::setup::Setup;
use crate::provider::Provider;
use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};
use std::collections::HashMap;

/// How a conversation is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Chat,
    Messages,
    /// `/v1/responses` with the whole input each time.
    Responses,
    /// `/v1/responses` with `previous_response_id`.
    Chained,
    /// `/v1/messages` in a thread that the provider keeps.
    Threaded,
}

impl Form {
    pub const ALL: [Self; 5] = [
        Self::Chat,
        Self::Messages,
        Self::Responses,
        Self::Chained,
        Self::Threaded,
    ];

    const fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Messages | Self::Threaded => "/v1/messages",
            Self::Responses | Self::Chained => "/v1/responses",
        }
    }
}

/// A gateway before a provider that is told what to say.
pub struct Scene {
    pub provider: Provider,
    pub gateway: Gateway,
    http: Http,
}

impl Scene {
    /// With this `loops.toml`.
    pub async fn new(loops: &str) -> Self {
        Self::with(loops, "").await
    }

    /// And with these further tables of `bursar.toml`.
    pub async fn with(loops: &str, more: &str) -> Self {
        let provider = Provider::start().await;
        let dir = Setup::new(provider.addr).more(more).write();
        std::fs::write(dir.path().join("policies/loops.toml"), loops).expect("written");
        Self {
            gateway: Gateway::start_in(dir).await,
            provider,
            http: Http::new(),
        }
    }

    /// Sends a body as this agent of this task.
    pub async fn send(&self, form: Form, (task, agent): (&str, &str), body: &Value) -> Reply {
        let request = Request::post(format!("{}{}", self.gateway.agents, form.path()))
            .header("content-type", "application/json")
            .header("x-bursar-task-id", task)
            .header("x-bursar-agent-id", agent)
            .body(Bytes::from(body.to_string()).into());
        let answer = self.http.send(request.expect("a request")).await;
        Reply::read(answer.expect("an answer"))
            .await
            .expect("a body")
    }

    /// Sends a body that says nothing of whose it is.
    pub async fn send_bare(&self, form: Form, body: &Value) -> Reply {
        let request = Request::post(format!("{}{}", self.gateway.agents, form.path()))
            .header("content-type", "application/json")
            .body(Bytes::from(body.to_string()).into());
        let answer = self.http.send(request.expect("a request")).await;
        Reply::read(answer.expect("an answer"))
            .await
            .expect("a body")
    }

    /// A POST on `ops`.
    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        let url = format!("{}{path}", self.gateway.ops);
        self.http.post(&url, body).await.expect("an answer")
    }

    /// A GET on `ops`.
    pub async fn get(&self, path: &str) -> Value {
        let reply = self.http.get(&format!("{}{path}", self.gateway.ops)).await;
        reply.expect("an answer").json()
    }
}

/// One agent's conversation.
#[derive(Clone, Debug)]
pub struct Talk {
    form: Form,
    agent: String,
    /// The messages of the next call.
    messages: Vec<Value>,
    previous: Option<String>,
    said: usize,
}

impl Talk {
    pub fn new(form: Form, agent: &str) -> Self {
        Self {
            form,
            agent: agent.to_owned(),
            messages: vec![json!({"role": "user", "content": format!("{agent}: begin.")})],
            previous: None,
            said: 0,
        }
    }

    /// The next call's body.
    pub fn body(&self) -> Value {
        let system = format!("You are {}.", self.agent);
        let mut body = json!({"model": "sim-cheap"});
        match self.form {
            Form::Chat => {
                let mut messages = vec![json!({"role": "system", "content": system})];
                messages.extend(self.messages.iter().cloned());
                body["messages"] = messages.into();
            }
            Form::Messages => {
                body["max_tokens"] = 64.into();
                body["system"] = system.into();
                body["messages"] = self.messages.clone().into();
            }
            Form::Threaded => {
                body["max_tokens"] = 64.into();
                body["messages"] = self.messages.clone().into();
                body["thread"] = match &self.previous {
                    Some(id) => json!({"type": "continue", "previous_message_id": id}),
                    None => {
                        body["system"] = system.into();
                        json!({"type": "create"})
                    }
                };
            }
            Form::Responses | Form::Chained => {
                body["instructions"] = system.into();
                body["input"] = self.messages.clone().into();
                if let Some(previous) = &self.previous {
                    body["previous_response_id"] = previous.as_str().into();
                }
            }
        }
        body
    }

    /// Somebody says this to the agent.
    pub fn told(&mut self, text: &str) {
        self.messages.push(json!({"role": "user", "content": text}));
    }

    /// The answer that the model gives now, in its dialect.
    pub fn answer(&mut self, delta: &[Value]) -> Value {
        let answer = delta.iter().find(|message| message["role"] == "assistant");
        let (text, tools) = answer.map_or((String::new(), Vec::new()), said);
        self.said += 1;
        let at = self.said;
        let id = |i: usize| format!("call_{at}_{i}");
        let usage = json!({"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18,
            "input_tokens": 9, "output_tokens": 900});
        match self.form {
            Form::Chat => {
                let calls: Vec<Value> = (0..)
                    .zip(&tools)
                    .map(|(i, (name, arguments))| {
                        json!({"id": id(i),
                    "type": "function", "function": {"name": name, "arguments": arguments}})
                    })
                    .collect();
                let mut message = json!({"role": "assistant", "content": text});
                if !calls.is_empty() {
                    message["tool_calls"] = calls.into();
                }
                json!({"id": format!("c{at}"), "object": "chat.completion", "model": "sim-cheap",
                    "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage})
            }
            Form::Messages | Form::Threaded => {
                let mut content = vec![json!({"type": "text", "text": text})];
                content.extend((0..).zip(&tools).map(|(i, (name, arguments))| {
                    let input: Value =
                        serde_json::from_str(arguments).unwrap_or(json!({"text": arguments}));
                    json!({"type": "tool_use", "id": id(i), "name": name, "input": input})
                }));
                json!({"id": format!("msg_{}_{at}", self.agent), "type": "message", "role": "assistant", "model": "sim-cheap",
                    "content": content, "stop_reason": "end_turn", "usage": usage})
            }
            Form::Responses | Form::Chained => {
                let mut output = vec![
                    json!({"type": "message", "id": format!("m{at}"), "role": "assistant",
                    "content": [{"type": "output_text", "text": text}]}),
                ];
                output.extend((0..).zip(&tools).map(|(i, (name, arguments))| json!({"type": "function_call",
                    "id": format!("fc_{at}_{i}"), "call_id": id(i), "name": name, "arguments": arguments})));
                json!({"id": format!("resp_{}_{at}", self.agent), "object": "response", "status": "completed",
                    "model": "sim-cheap", "output": output, "usage": usage})
            }
        }
    }

    /// The answer came, and this is what came of it.
    pub fn goes_on(&mut self, answer: &Value, delta: &[Value]) {
        let at = self.said;
        let id = |i: usize| format!("call_{at}_{i}");
        match self.form {
            Form::Chat => self.messages.push(answer["choices"][0]["message"].clone()),
            Form::Messages => self
                .messages
                .push(json!({"role": "assistant", "content": answer["content"]})),
            Form::Responses => {
                let output = answer["output"].as_array().cloned();
                self.messages.extend(output.unwrap_or_default());
            }
            Form::Chained | Form::Threaded => {
                self.messages.clear();
                self.previous = answer["id"].as_str().map(str::to_owned);
            }
        }
        let mut results = 0;
        for message in delta {
            let text = message["content"].as_str().unwrap_or_default();
            match message["role"].as_str() {
                Some("tool") => {
                    let id = id(results);
                    results += 1;
                    self.messages.push(match self.form {
                        Form::Chat => json!({"role": "tool", "tool_call_id": id, "content": text}),
                        Form::Messages | Form::Threaded => json!({"role": "user", "content": [
                            {"type": "tool_result", "tool_use_id": id, "content": text}]}),
                        Form::Responses | Form::Chained => {
                            json!({"type": "function_call_output", "call_id": id, "output": text})
                        }
                    });
                }
                Some("user") => self.told(text),
                _ => {}
            }
        }
    }
}

/// What a call did and what came of it. Where the tool and its arguments are recorded beside the message,
/// they are what was done.
fn done(call: &Value) -> Vec<Value> {
    let mut delta = call["delta"].as_array().expect("a delta").clone();
    if let (Some(tool), Some(arguments)) = (call["tool"].as_str(), call["args"].as_str()) {
        for message in &mut delta {
            if message["tool_calls"]
                .as_array()
                .is_some_and(|tools| tools.len() == 1)
            {
                message["tool_calls"] = json!([{"name": tool, "arguments": arguments}]);
            }
        }
    }
    delta
}

/// An answer's text and tool calls.
fn said(answer: &Value) -> (String, Vec<(String, String)>) {
    let text = answer["content"].as_str().unwrap_or_default().to_owned();
    let tools = answer["tool_calls"].as_array().cloned().unwrap_or_default();
    let text_of = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let tools = tools
        .iter()
        .map(|tool| (text_of(&tool["name"]), text_of(&tool["arguments"])));
    (text, tools.collect())
}

/// Makes the calls of a run; what the gateway warned of first: at which call, and by which rule.
pub async fn first_warning(
    scene: &Scene,
    form: Form,
    task: &str,
    run: &Value,
) -> Option<(usize, String)> {
    let mut talks: HashMap<String, Talk> = HashMap::new();
    let calls = run["agent_calls"].as_array().expect("calls");
    let mut group = Value::Null;
    let mut first = None;
    for (at, call) in calls.iter().enumerate() {
        let agent = call["agent"].as_str().expect("an agent");
        let talk = talks
            .entry(agent.to_owned())
            .or_insert_with(|| Talk::new(form, agent));
        let delta = done(call);
        let failed = call["http_status"]
            .as_u64()
            .is_some_and(|status| status >= 400);
        let is_twin = !group.is_null() && call["parallel_group"] == group;
        group = call["parallel_group"].clone();
        // A twin's body is that of the first of its group.
        if is_twin {
            continue;
        }
        let status = if failed { 500 } else { 200 };
        let answer = talk.answer(&delta);
        scene.provider.say(status, &answer);
        let reply = scene.send(form, (task, agent), &talk.body()).await;
        assert_eq!(reply.status, status, "{}", reply.text());
        first = first.or_else(|| Some((at, reply.header("x-bursar-warning")?)));
        if !failed {
            talk.goes_on(&answer, &delta);
            if let (Some(to), Some(text)) = (call["to"].as_str(), call["instruction"].as_str()) {
                let other = talks
                    .entry(to.to_owned())
                    .or_insert_with(|| Talk::new(form, to));
                other.told(text);
            }
        }
        if first.is_some() {
            break;
        }
    }
    if first.is_none() {
        // Each agent sends what came of its last call, in the order of those.
        let mut agents: Vec<(usize, &str)> = Vec::new();
        for agent in talks.keys() {
            let last = calls
                .iter()
                .rposition(|call| call["agent"] == agent.as_str());
            agents.extend(last.map(|last| (last, agent.as_str())));
        }
        agents.sort_unstable();
        for (_, agent) in agents {
            let reply = scene.send(form, (task, agent), &talks[agent].body()).await;
            let warning = reply.header("x-bursar-warning");
            first = first.or(warning.map(|warning| (calls.len(), warning)));
        }
    }
    first.map(|(at, warning)| (at, warning.trim_start_matches("loop=").to_owned()))
}
