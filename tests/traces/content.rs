//! Who is told what calls, answers and tools say: those who ask for it, in their own words and within a
//! bound; and nobody else, in not one byte.

use super::{Collector, Gateway, Span, named};
use crate::common::calls::Ask;
use crate::common::calls::{Dialect, Http, Reply};
use crate::common::setup::Setup;
use bursar::sim::{Settings, Sim};
use serde_json::{Value, json};

const PROMPT: &str = "Quetzalcoatlus-4711";
const SYSTEM: &str = "Be as brief as Themistocles-0815.";

/// A gateway with one exporter for each vocabulary that is told what is said, and one that is not.
struct Rig {
    gateway: Gateway,
    gen_ai: Collector,
    openinference: Collector,
    langfuse: Collector,
    silent: Collector,
    _sim: Sim,
}

impl Rig {
    async fn start() -> Self {
        let sim = Sim::start(Settings::default()).await.unwrap();
        let [gen_ai, openinference, langfuse, silent] = [
            Collector::start().await,
            Collector::start().await,
            Collector::start().await,
            Collector::start().await,
        ];
        let told = |vocabulary: &str| {
            let name = format!("name = \"{vocabulary}\"\nvocabulary = \"{vocabulary}\"");
            format!("{name}\ncontent = true")
        };
        let exporters = [
            "[trace]\nidle = \"2s\"\n".to_owned(),
            gen_ai.exporter(&told("gen_ai")),
            openinference.exporter(&told("openinference")),
            langfuse.exporter(&told("langfuse")),
            silent.exporter("name = \"silent\""),
        ]
        .concat();
        let setup = Setup::new(sim.addr()).more(&exporters);
        let setup = setup.more("[log]\nlevel = \"trace\"");
        Self {
            gateway: Gateway::start(&setup).await,
            gen_ai,
            openinference,
            langfuse,
            silent,
            _sim: sim,
        }
    }

    async fn call(&self, task: &str, ask: &Ask) -> Reply {
        let caller = self.gateway.caller(task).agent("lead");
        let reply = caller.call(ask).await.unwrap();
        assert!(reply.status.is_success(), "{}", reply.text());
        reply
    }

    /// The spans of this task at each of them, in the order of the fields, when it is over.
    async fn spans(&self, task: &str) -> [Vec<Span>; 4] {
        let root = format!("task {task}");
        let is_all = |spans: &[Span]| !named(spans, &root).is_empty();
        let of = |spans: Vec<Span>| -> Vec<Span> {
            let mut spans = spans;
            spans.retain(|span| span.tag("user_task_id") == task);
            spans
        };
        [
            of(self.gen_ai.until(task, is_all).await),
            of(self.openinference.until(task, is_all).await),
            of(self.langfuse.until(task, is_all).await),
            of(self.silent.until(task, is_all).await),
        ]
    }

    /// Nobody else was told any of these.
    async fn is_silent_on(&self, texts: &[&str]) {
        let metrics = format!("{}/metrics", self.gateway.ops);
        let metrics = Http::new().get(&metrics).await.unwrap().text();
        let (bytes, log) = (self.silent.bytes(), self.gateway.log());
        for text in texts {
            assert!(text.len() > 4, "{text:?} could stand anywhere");
            let found = memchr::memmem::find(&bytes, text.as_bytes());
            assert_eq!(found, None, "{text}");
            assert!(!log.contains(text), "{text} in the log");
            assert!(!metrics.contains(text), "{text} in the metrics");
        }
    }
}

/// The call's span: the one with a provider's try below it.
fn call_of(spans: &[Span]) -> &Span {
    let calls = spans.iter().filter(|span| {
        ["chat ", "text_completion ", "embeddings "]
            .iter()
            .any(|kind| span.name.starts_with(kind))
    });
    let calls: Vec<&Span> = calls.collect();
    assert_eq!(calls.len(), 1, "{spans:?}");
    calls[0]
}

fn json_of(span: &Span, name: &str) -> Value {
    serde_json::from_str(span.tag(name)).unwrap_or_else(|_| panic!("{name} of {span:?}"))
}

/// What the answer says, as its caller read it.
fn said(dialect: Dialect, reply: &Reply, stream: bool) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if !stream {
        let body = reply.json();
        return text(match dialect {
            Dialect::Chat => &body["choices"][0]["message"]["content"],
            Dialect::Messages => &body["content"][0]["text"],
            Dialect::Responses => &body["output"][0]["content"][0]["text"],
            Dialect::Completions => &body["choices"][0]["text"],
        });
    }
    let events = reply.events();
    let events = events.iter().filter(|event| *event != "[DONE]");
    let pieces = events.map(|event| {
        let event: Value = serde_json::from_str(event).unwrap();
        text(match dialect {
            Dialect::Chat => &event["choices"][0]["delta"]["content"],
            Dialect::Messages => &event["delta"]["text"],
            Dialect::Responses if event["type"] == "response.output_text.delta" => &event["delta"],
            Dialect::Responses => &Value::Null,
            Dialect::Completions => &event["choices"][0]["text"],
        })
    });
    pieces.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_is_told_what_is_said_in_its_own_words_and_nobody_else_is() {
    let rig = Rig::start().await;
    let dialects = [
        Dialect::Chat,
        Dialect::Messages,
        Dialect::Responses,
        Dialect::Completions,
    ];
    let mut answers = Vec::new();
    for (number, (dialect, stream)) in dialects
        .into_iter()
        .flat_map(|dialect| [(dialect, false), (dialect, true)])
        .enumerate()
    {
        let task = format!("task-{number}");
        let mut ask = Ask::chat("sim-cheap").dialect(dialect);
        (ask.stream, ask.text) = (stream, PROMPT.to_owned());
        ask.system = Some(SYSTEM.to_owned());
        let reply = rig.call(&task, &ask).await;
        let answer = said(dialect, &reply, stream);
        let [gen_ai, openinference, langfuse, silent] = rig.spans(&task).await;
        let what = format!("{dialect:?}, stream: {stream}");

        let call = call_of(&gen_ai);
        let input = json_of(call, "gen_ai.input.messages");
        let asked = json!({"role": "user", "parts": [{"type": "text", "content": PROMPT}]});
        assert_eq!(input.as_array().unwrap().last(), Some(&asked), "{what}");
        let output = json_of(call, "gen_ai.output.messages");
        let parts = json!([{"type": "text", "content": answer}]);
        assert_eq!(output[0]["parts"], parts, "{what}");
        assert_eq!(output[0]["role"], "assistant");
        assert!(output[0]["finish_reason"].is_string(), "{what}: {output}");
        let system = json!([{"type": "text", "content": SYSTEM}]);
        match dialect {
            Dialect::Chat => {
                let first = json!({"role": "system", "parts": system});
                assert_eq!(input[0], first, "part of the conversation");
            }
            Dialect::Messages => {
                assert_eq!(json_of(call, "gen_ai.system_instructions"), system);
            }
            Dialect::Responses | Dialect::Completions => {}
        }
        assert!(!call.tags.contains_key("bursar.content_truncated"));

        let call = call_of(&openinference);
        let input: Value = json_of(call, "input.value");
        let number = input.as_array().unwrap().len() - 1;
        assert_eq!(input[number], json!({"role": "user", "content": PROMPT}));
        let under = format!("llm.input_messages.{number}.message");
        assert_eq!(call.tag(&format!("{under}.role")), "user");
        assert_eq!(call.tag(&format!("{under}.content")), PROMPT);
        assert_eq!(
            call.tag("llm.output_messages.0.message.content"),
            answer,
            "{what}"
        );
        assert_eq!(json_of(call, "output.value")[0]["content"], *answer);
        assert_eq!(call.tag("input.mime_type"), "application/json");

        let call = call_of(&langfuse);
        let input = json_of(call, "langfuse.observation.input");
        let asked = json!({"role": "user", "content": PROMPT});
        assert_eq!(input.as_array().unwrap().last(), Some(&asked), "{what}");
        let output = json_of(call, "langfuse.observation.output");
        assert_eq!(output[0]["content"], *answer, "{what}");

        let told = ["messages", "value", "observation.input", "instructions"];
        for name in call_of(&silent).tags.keys() {
            assert!(!told.iter().any(|told| name.contains(told)), "{name}");
        }
        answers.push(answer);
    }
    let mut texts: Vec<&str> = answers.iter().map(String::as_str).collect();
    texts.extend([PROMPT, "Themistocles-0815"]);
    rig.is_silent_on(&texts).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_put_into_another_dialect_is_told_as_its_caller_said_it() {
    let rig = Rig::start().await;
    for (task, stream) in [("plain", false), ("streamed", true)] {
        let mut ask = Ask::chat("sim-anthropic/sim-cheap");
        (ask.stream, ask.text) = (stream, PROMPT.to_owned());
        ask.system = Some(SYSTEM.to_owned());
        let reply = rig.call(task, &ask).await;
        let answer = said(Dialect::Chat, &reply, stream);
        let [gen_ai, ..] = rig.spans(task).await;
        let call = call_of(&gen_ai);
        assert_eq!(call.tag("gen_ai.provider.name"), "anthropic");
        let input = json_of(call, "gen_ai.input.messages");
        assert_eq!(input[0]["role"], "system");
        assert_eq!(input[1]["parts"][0]["content"], PROMPT);
        let output = json_of(call, "gen_ai.output.messages");
        assert_eq!(output[0]["parts"][0]["content"], *answer, "{task}");
        rig.is_silent_on(&[PROMPT, &answer]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_to_embed_are_told_and_their_vectors_are_not() {
    let rig = Rig::start().await;
    let url = format!("{}/task/t/agent/lead/v1/embeddings", rig.gateway.agents);
    let body = json!({"model": "sim-embed", "input": [PROMPT, "another text"]});
    let reply = Http::new().post(&url, &body).await.unwrap();
    assert!(reply.status.is_success(), "{}", reply.text());
    let [gen_ai, openinference, langfuse, _] = rig.spans("t").await;
    let call = call_of(&gen_ai);
    let input = json_of(call, "gen_ai.input.messages");
    assert_eq!(input[1]["parts"][0]["content"], "another text");
    assert!(!call.tags.contains_key("gen_ai.output.messages"));
    let call = call_of(&openinference);
    let text = call.tag("embedding.embeddings.0.embedding.text");
    assert_eq!(text, PROMPT);
    let input = json_of(call_of(&langfuse), "langfuse.observation.input");
    assert_eq!(input[0]["content"], PROMPT);
    rig.is_silent_on(&[PROMPT, "another text"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tools_arguments_and_result_are_told_to_who_asks() {
    let rig = Rig::start().await;
    for (task, dialect) in [
        ("chat", Dialect::Chat),
        ("messages", Dialect::Messages),
        ("responses", Dialect::Responses),
    ] {
        let mut ask = Ask::chat("sim-tools").dialect(dialect);
        (ask.tools, ask.text) = (true, PROMPT.to_owned());
        let reply = rig.call(task, &ask).await;
        ask.history = ask.answered(&reply);
        ask.model = "sim-cheap".to_owned();
        rig.call(task, &ask).await;
        let [gen_ai, openinference, langfuse, silent] = rig.spans(task).await;
        let tool = |spans: &[Span]| -> Span {
            let mut tools = spans.iter().filter(|span| {
                span.name.starts_with("execute_tool") && span.tag("bursar.tool_answered") == "true"
            });
            tools.next().cloned().expect("a tool")
        };
        let [first, second, third, fourth] =
            [&gen_ai, &openinference, &langfuse, &silent].map(|spans| tool(spans));
        let arguments = json_of(&first, "gen_ai.tool.call.arguments");
        let query = arguments["query"].as_str().expect("a query").to_owned();
        assert_eq!(first.tag("gen_ai.tool.call.result"), "42");
        assert_eq!(json_of(&second, "input.value"), arguments);
        assert_eq!(second.tag("input.mime_type"), "application/json");
        assert_eq!(second.tag("output.value"), "42");
        assert_eq!(json_of(&third, "langfuse.observation.input"), arguments);
        assert_eq!(third.tag("langfuse.observation.output"), "42");
        assert!(fourth.tags.keys().all(|name| !name.contains("arguments")));
        // The calls tell of them too.
        let asked = named(&gen_ai, "chat sim-tools")[0];
        let parts = json_of(asked, "gen_ai.output.messages")[0]["parts"].clone();
        let parts = parts.as_array().unwrap().clone();
        let call = parts
            .iter()
            .find(|part| part["type"] == "tool_call" && part["arguments"] == arguments);
        let call = call.expect("the tool call");
        assert_eq!(call["name"], "look_up");
        assert!(call["id"].is_string());
        let tools = json_of(asked, "gen_ai.tool.definitions");
        assert_eq!(tools[0]["name"], "look_up");
        assert_eq!(tools[0]["parameters"]["required"], json!(["query"]));
        let brought = named(&gen_ai, "chat sim-cheap")[0];
        let input = brought.tag("gen_ai.input.messages");
        assert!(input.contains("tool_call_response"), "{dialect:?}: {input}");
        let asked = named(&openinference, "chat sim-tools")[0];
        let call = "llm.output_messages.0.message.tool_calls.0.tool_call";
        let name = asked.tag(&format!("{call}.function.name"));
        assert_eq!(name, "look_up", "{asked:?}");
        let arguments = json_of(asked, &format!("{call}.function.arguments"));
        assert!(arguments["query"].is_string(), "{asked:?}");
        rig.is_silent_on(&[PROMPT, &query]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_long_is_cut_with_a_mark_and_images_are_left_out() {
    let rig = Rig::start().await;
    let mut ask = Ask::chat("sim-cheap");
    ask.text = format!("{PROMPT} {}", "long ".repeat(100_000));
    ask.image = true;
    rig.call("long", &ask).await;
    let [gen_ai, openinference, langfuse, _] = rig.spans("long").await;
    for (spans, name) in [
        (&gen_ai, "gen_ai.input.messages"),
        (&openinference, "input.value"),
        (&langfuse, "langfuse.observation.input"),
    ] {
        let call = call_of(spans);
        let input = call.tag(name);
        assert!(input.contains(PROMPT), "{name}");
        assert!(input.contains("… [cut: 500020 bytes in all]"), "{name}");
        assert!((60_000..70_000).contains(&input.len()), "{}", input.len());
        assert_eq!(call.tag("bursar.content_truncated"), "true");
    }
    let mut ask = Ask::chat("sim-cheap");
    (ask.image, ask.text) = (true, PROMPT.to_owned());
    rig.call("image", &ask).await;
    let [gen_ai, ..] = rig.spans("image").await;
    let call = call_of(&gen_ai);
    let input = json_of(call, "gen_ai.input.messages");
    assert_eq!(input[0]["parts"][1]["content"], "[image_url left out]");
    for told in [&rig.gen_ai, &rig.openinference, &rig.langfuse] {
        let bytes = told.bytes();
        assert_eq!(memchr::memmem::find(&bytes, b"iVBORw0KGgo"), None);
    }
    rig.is_silent_on(&[PROMPT, "long long"]).await;
}
