//! One program, as frameworks run such: an editor asks two researchers as tools, each in a conversation of
//! its own, and then hands the whole conversation over to a writer.

use super::common::calls::{Http, Reply};
use http::Request;
use serde_json::{Value, json};
use std::net::SocketAddr;

/// The dialect, and whether answers are streamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    Chat,
    ChatStream,
    Responses,
    ResponsesStream,
    Messages,
    MessagesStream,
}

/// One call, as the program knows it.
#[derive(Clone, Debug)]
pub struct Met {
    pub request: String,
    pub agent: &'static str,
    pub parent: Option<&'static str>,
    pub how: String,
}

/// A tool call that was asked for.
#[derive(Clone, Debug)]
pub struct Wish {
    id: String,
    name: String,
    arguments: String,
}

/// One run.
#[derive(Debug)]
pub struct Run {
    pub wire: Wire,
    pub met: Vec<Met>,
    name: String,
    input: String,
    history: Vec<Value>,
    wishes: Vec<Wish>,
    open: Vec<(Vec<Value>, Vec<Wish>)>,
}

impl Wire {
    pub const ALL: [Self; 6] = [
        Self::Chat,
        Self::ChatStream,
        Self::Responses,
        Self::ResponsesStream,
        Self::Messages,
        Self::MessagesStream,
    ];

    fn streams(self) -> bool {
        matches!(
            self,
            Self::ChatStream | Self::ResponsesStream | Self::MessagesStream
        )
    }

    fn is_chat(self) -> bool {
        matches!(self, Self::Chat | Self::ChatStream)
    }

    fn is_responses(self) -> bool {
        matches!(self, Self::Responses | Self::ResponsesStream)
    }

    fn path(self) -> &'static str {
        match self {
            _ if self.is_chat() => "/v1/chat/completions",
            _ if self.is_responses() => "/v1/responses",
            _ => "/v1/messages",
        }
    }

    fn tool(self, name: &str) -> Value {
        let schema = json!({"type": "object"});
        match self {
            _ if self.is_chat() => {
                json!({"type": "function", "function": {"name": name, "parameters": schema}})
            }
            _ if self.is_responses() => {
                json!({"type": "function", "name": name, "parameters": schema})
            }
            _ => json!({"name": name, "input_schema": schema}),
        }
    }

    /// What the answer adds to the history: its text and its tool calls.
    fn asked(self, wishes: &[Wish]) -> Vec<Value> {
        let calls = wishes.iter().map(|Wish { id, name, arguments }| match self {
            _ if self.is_chat() => json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}),
            _ if self.is_responses() => json!({"type": "function_call", "call_id": id, "name": name, "arguments": arguments}),
            _ => json!({"type": "tool_use", "id": id, "name": name, "input": serde_json::from_str::<Value>(arguments).expect("JSON")}),
        });
        let calls: Vec<Value> = calls.collect();
        match self {
            _ if self.is_chat() => {
                vec![json!({"role": "assistant", "content": null, "tool_calls": calls})]
            }
            _ if self.is_responses() => calls,
            _ => vec![json!({"role": "assistant", "content": calls})],
        }
    }

    fn result(self, wish: &Wish, text: &str) -> Value {
        match self {
            _ if self.is_chat() => {
                json!({"role": "tool", "tool_call_id": wish.id, "content": text})
            }
            _ if self.is_responses() => {
                json!({"type": "function_call_output", "call_id": wish.id, "output": text})
            }
            _ => {
                json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": wish.id, "content": text}]})
            }
        }
    }

    /// The tool calls of an answer.
    fn wishes(self, reply: &Reply) -> Vec<Wish> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let of_response = |response: &Value| -> Vec<Wish> {
            let output = response["output"].as_array().cloned().unwrap_or_default();
            let calls = output.iter().filter(|item| item["type"] == "function_call");
            calls
                .map(|call| Wish {
                    id: text(&call["call_id"]),
                    name: text(&call["name"]),
                    arguments: text(&call["arguments"]),
                })
                .collect()
        };
        let events = || -> Vec<Value> {
            let events = reply.events();
            events
                .iter()
                .filter_map(|event| serde_json::from_str(event).ok())
                .collect()
        };
        match self {
            Self::Chat => {
                let calls = reply.json()["choices"][0]["message"]["tool_calls"]
                    .as_array()
                    .cloned()
                    .unwrap_or_default();
                let calls = calls.iter();
                calls
                    .map(|call| Wish {
                        id: text(&call["id"]),
                        name: text(&call["function"]["name"]),
                        arguments: text(&call["function"]["arguments"]),
                    })
                    .collect()
            }
            Self::ChatStream => {
                let mut wishes: Vec<Wish> = Vec::new();
                for event in events() {
                    let deltas = event["choices"][0]["delta"]["tool_calls"]
                        .as_array()
                        .cloned()
                        .unwrap_or_default();
                    for delta in deltas {
                        if delta["id"].is_string() {
                            wishes.push(Wish {
                                id: text(&delta["id"]),
                                name: text(&delta["function"]["name"]),
                                arguments: String::new(),
                            });
                        }
                        let last = wishes.last_mut().expect("a tool call");
                        last.arguments
                            .push_str(&text(&delta["function"]["arguments"]));
                    }
                }
                wishes
            }
            Self::Responses => of_response(&reply.json()),
            Self::ResponsesStream => {
                let events = events();
                let done = events
                    .iter()
                    .find(|event| event["type"] == "response.completed");
                of_response(&done.expect("a terminal event")["response"])
            }
            Self::Messages => {
                let blocks = reply.json()["content"]
                    .as_array()
                    .cloned()
                    .unwrap_or_default();
                let calls = blocks.iter().filter(|block| block["type"] == "tool_use");
                calls
                    .map(|call| Wish {
                        id: text(&call["id"]),
                        name: text(&call["name"]),
                        arguments: call["input"].to_string(),
                    })
                    .collect()
            }
            Self::MessagesStream => {
                let mut wishes: Vec<Wish> = Vec::new();
                for event in events() {
                    let block = &event["content_block"];
                    if block["type"] == "tool_use" {
                        wishes.push(Wish {
                            id: text(&block["id"]),
                            name: text(&block["name"]),
                            arguments: String::new(),
                        });
                    }
                    if event["delta"]["type"] == "input_json_delta" {
                        let last = wishes.last_mut().expect("a tool call");
                        last.arguments
                            .push_str(&text(&event["delta"]["partial_json"]));
                    }
                }
                wishes
            }
        }
    }
}

impl Run {
    pub fn new(wire: Wire, number: usize) -> Self {
        Self {
            wire,
            met: Vec::new(),
            name: format!("{wire:?}-{number}").to_lowercase(),
            input: format!("{wire:?}: an article on subject {number}"),
            history: Vec::new(),
            wishes: Vec::new(),
            open: Vec::new(),
        }
    }

    fn model(&self, agent: &str) -> String {
        format!("sim-cheap-{agent}-{}", self.name)
    }

    fn questions(&self) -> [String; 2] {
        ["causes", "effects"].map(|part| format!("Find the {part} for {}", self.input))
    }

    /// Tells the provider what each model says.
    pub async fn tell(&self, sim: SocketAddr) {
        let [first, second] = self.questions();
        let editor = json!([
            {"tool": "ask_researcher", "arguments": {"question": first, "style": "a short report"}},
            {"tool": "ask_researcher", "arguments": {"question": second, "style": "a short report"}},
            {"tool": "transfer_to_writer"},
            {"text": "All is well."},
        ]);
        let search = json!({"tool": "search", "arguments": {"query": "the same words"}});
        let found = json!({"text": format!("What was found for {}", self.name)});
        let researcher = json!([search, found, search, found]);
        let writer = json!([{"text": format!("The article of {}", self.name)}]);
        for (agent, steps) in [
            ("editor", editor),
            ("researcher", researcher),
            ("writer", writer),
        ] {
            let scenario = json!({"model": self.model(agent), "steps": steps});
            let url = format!("http://{sim}/scenario");
            let reply = Http::new().post(&url, &scenario).await.expect("an answer");
            assert!(reply.status.is_success(), "{}", reply.text());
        }
    }

    async fn call(
        &mut self,
        base: &str,
        (agent, parent): (&'static str, Option<&'static str>),
        tools: &[&str],
        history: &[Value],
    ) -> Vec<Wish> {
        let wire = self.wire;
        let system = format!("You are the {agent} of this house.");
        let mut messages = history.to_vec();
        let tools: Vec<Value> = tools.iter().map(|name| wire.tool(name)).collect();
        let mut body =
            json!({"model": self.model(agent), "tools": tools, "stream": wire.streams()});
        match wire {
            _ if wire.is_chat() => {
                messages.insert(0, json!({"role": "system", "content": system}));
                body["messages"] = messages.into();
            }
            _ if wire.is_responses() => {
                body["instructions"] = system.into();
                body["input"] = messages.into();
            }
            _ => {
                body["system"] = system.into();
                body["max_tokens"] = 500.into();
                body["messages"] = messages.into();
            }
        }
        let request = Request::post(format!("{base}{}", wire.path()))
            .header("content-type", "application/json")
            .body(body.to_string().into())
            .expect("a request");
        let response = Http::new().send(request).await.expect("an answer");
        let reply = Reply::read(response).await.expect("a whole answer");
        assert!(
            reply.status.is_success(),
            "{wire:?} {agent}: {}",
            reply.text()
        );
        self.met.push(Met {
            request: reply.request_id(),
            agent,
            parent,
            how: reply.header("x-bursar-attribution").unwrap_or_default(),
        });
        wire.wishes(&reply)
    }

    const EDITOR: (&'static str, Option<&'static str>) = ("editor", None);
    const EDITOR_TOOLS: [&'static str; 2] = ["ask_researcher", "transfer_to_writer"];
    const RESEARCHER: (&'static str, Option<&'static str>) = ("researcher", Some("editor"));

    fn user(text: &str) -> Value {
        json!({"role": "user", "content": text})
    }

    /// Until the first researcher waits for its tool.
    pub async fn begin(&mut self, base: &str) {
        self.history = vec![Self::user(&self.input)];
        self.wishes = self
            .call(
                base,
                Self::EDITOR,
                &Self::EDITOR_TOOLS,
                &self.history.clone(),
            )
            .await;
        assert_eq!(self.wishes.len(), 1, "{:?}", self.wire);
        let own = vec![Self::user(&self.questions()[0])];
        let asks = self.call(base, Self::RESEARCHER, &["search"], &own).await;
        self.open.push((own, asks));
    }

    /// From there to the end.
    pub async fn end(&mut self, base: &str) {
        let wire = self.wire;
        let found = format!("What was found for {}", self.name);
        let (mut own, asks) = self.open.remove(0);
        own.extend(wire.asked(&asks));
        own.push(wire.result(&asks[0], "a page"));
        self.call(base, Self::RESEARCHER, &["search"], &own).await;
        self.goes_on(&found);
        self.wishes = self
            .call(
                base,
                Self::EDITOR,
                &Self::EDITOR_TOOLS,
                &self.history.clone(),
            )
            .await;
        let mut own = vec![Self::user(&self.questions()[1])];
        let asks = self.call(base, Self::RESEARCHER, &["search"], &own).await;
        own.extend(wire.asked(&asks));
        own.push(wire.result(&asks[0], "a page"));
        self.call(base, Self::RESEARCHER, &["search"], &own).await;
        self.goes_on(&found);
        self.wishes = self
            .call(
                base,
                Self::EDITOR,
                &Self::EDITOR_TOOLS,
                &self.history.clone(),
            )
            .await;
        assert_eq!(self.wishes[0].name, "transfer_to_writer", "{wire:?}");
        self.goes_on("Transferred to writer.");
        self.call(
            base,
            ("writer", Some("editor")),
            &["draft"],
            &self.history.clone(),
        )
        .await;
        self.history
            .push(json!({"role": "assistant", "content": format!("The article of {}", self.name)}));
        self.history.push(Self::user("Thank you. Anything else?"));
        self.call(
            base,
            Self::EDITOR,
            &Self::EDITOR_TOOLS,
            &self.history.clone(),
        )
        .await;
    }

    fn goes_on(&mut self, result: &str) {
        self.history.extend(self.wire.asked(&self.wishes));
        let results = self
            .wishes
            .iter()
            .map(|wish| self.wire.result(wish, result));
        self.history.extend(results);
    }
}
