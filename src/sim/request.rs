//! What a request asks for: one lean parse for every dialect, then the checks that the real providers make.

use super::prices::Card;
use super::refusal::Refusal;
use super::tally::{self, CacheControl, Mark, Section, Tally, Term};
use super::wants::{self, Tool, ToolChoice};
use crate::dialect::Dialect;
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// Answers asked for in one call: `n`, `best_of`, and prompts, each.
const MOST_ANSWERS: u64 = 128;
const MOST_PROMPTS: u64 = 2_048;
/// Anthropic's least thinking budget, in tokens.
const LEAST_THINKING: u64 = 1_024;
/// OpenAI's least `max_output_tokens`.
const LEAST_RESPONSE: u64 = 16;
/// The longest embedding, in dimensions.
const MOST_DIMENSIONS: u64 = 4_096;

/// A string, borrowed where it holds no escapes.
#[derive(Debug)]
pub struct Text<'a>(pub Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Borrowing;
        impl<'de> Visitor<'de> for Borrowing {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        from.deserialize_str(Borrowing)
    }
}

/// The members that the sim reads, of every dialect; all others are ignored.
#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    model: Option<Text<'a>>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    max_output_tokens: Option<u64>,
    n: Option<u64>,
    best_of: Option<u64>,
    messages: Option<Section>,
    input: Option<Section>,
    prompt: Option<Section>,
    system: Option<Section>,
    instructions: Option<Section>,
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_choice: Option<&'a RawValue>,
    parallel_tool_calls: Option<bool>,
    #[serde(borrow)]
    response_format: Option<&'a RawValue>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    output_config: Option<&'a RawValue>,
    #[serde(borrow)]
    output_format: Option<&'a RawValue>,
    thinking: Option<Thinking<'a>>,
    cache_control: Option<CacheControl>,
    metadata: Option<Metadata<'a>>,
    #[serde(borrow)]
    previous_response_id: Option<Text<'a>>,
    #[serde(borrow)]
    thread: Option<Thread<'a>>,
    background: Option<bool>,
    store: Option<bool>,
    #[serde(borrow)]
    encoding_format: Option<Text<'a>>,
    dimensions: Option<u64>,
    #[serde(rename = "inferenceConfig")]
    inference: Option<Inference>,
    #[serde(borrow, rename = "toolConfig")]
    tool_config: Option<ToolConfig<'a>>,
    #[serde(borrow, rename = "outputConfig")]
    form: Option<&'a RawValue>,
    #[serde(borrow, rename = "additionalModelRequestFields")]
    model_fields: Option<ModelFields<'a>>,
}

/// Bedrock's `inferenceConfig`.
#[derive(Deserialize)]
struct Inference {
    #[serde(rename = "maxTokens")]
    max_tokens: Option<u64>,
}

/// Bedrock's `toolConfig`.
#[derive(Deserialize)]
struct ToolConfig<'a> {
    #[serde(borrow)]
    tools: &'a RawValue,
    #[serde(borrow, rename = "toolChoice")]
    tool_choice: Option<&'a RawValue>,
}

/// Bedrock's `additionalModelRequestFields`.
#[derive(Deserialize)]
struct ModelFields<'a> {
    #[serde(borrow)]
    thinking: Option<Thinking<'a>>,
}

impl Wire<'_> {
    /// What Bedrock has one level down, where the others have it.
    fn level(self) -> Self {
        let config = self.tool_config.as_ref();
        Self {
            max_tokens: self.inference.as_ref().and_then(|said| said.max_tokens),
            tools: config.map(|config| config.tools),
            tool_choice: config.and_then(|config| config.tool_choice),
            output_config: self.form,
            thinking: self.model_fields.and_then(|fields| fields.thinking),
            tool_config: None,
            model_fields: None,
            ..self
        }
    }
}

#[derive(Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

#[derive(Deserialize)]
struct Thinking<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    budget_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Thread<'a> {
    #[serde(borrow)]
    previous_message_id: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(borrow)]
    user_task_id: Option<Text<'a>>,
}

/// A checked request.
#[derive(Debug)]
pub struct Ask<'a> {
    pub dialect: Dialect,
    pub model: Cow<'a, str>,
    pub card: &'static Card,
    pub stream: bool,
    pub include_usage: bool,
    /// The output cap, in tokens of one answer.
    pub cap: Option<u64>,
    /// Answers returned for each prompt.
    pub answers: u64,
    /// Answers produced, and billed, for each prompt.
    pub produced: u64,
    pub prompts: u64,
    /// Tools and system text: what stands before the messages.
    pub frame: Tally,
    /// Everything that can be seen of the prompt.
    pub prompt: Tally,
    /// Ends of messages and cached parts, each counted from the prompt's beginning.
    pub marks: Vec<Mark>,
    pub tools: Vec<Tool<'a>>,
    pub tool_choice: ToolChoice,
    pub parallel_tools: bool,
    pub asks_for_tool: bool,
    /// A JSON answer is wanted; with its schema if there is one.
    pub json: Option<Option<&'a RawValue>>,
    pub thinking_budget: Option<u64>,
    pub task: Option<Cow<'a, str>>,
    /// The answer that this call goes on from: `previous_response_id`, or a thread's message.
    pub previous_response: Option<Cow<'a, str>>,
    /// The conversation is kept, for calls that go on from this answer (Anthropic's threads).
    pub is_thread: bool,
    /// The declared tools as they stand.
    pub tools_json: Option<&'a RawValue>,
    pub background: bool,
    pub store: bool,
    pub base64: bool,
    pub dimensions: Option<u64>,
}

impl<'a> Ask<'a> {
    /// The same call with the tools that its thread was begun with.
    pub fn with_tools<'b>(self, tools: &'b str) -> Ask<'b>
    where
        'a: 'b,
    {
        let declared = serde_json::from_str(tools).ok();
        let tools = wants::tools(declared).unwrap_or_default();
        Ask { tools, ..self }
    }
}

/// Reads and checks a request. `deployment` is the model's name if the path has it; `counting` is true
/// for Anthropic's token count, which needs no output cap.
pub fn read<'a>(
    dialect: Dialect,
    counting: bool,
    deployment: Option<&'a str>,
    body: &'a [u8],
) -> Result<Ask<'a>, Refusal> {
    let wire: Wire<'a> = serde_json::from_slice(body).map_err(|error| {
        Refusal::invalid(
            format!("We could not parse the JSON body of your request: {error}").into(),
        )
    })?;
    let model = match (deployment, wire.model) {
        (Some(name), _) => Cow::Borrowed(name),
        (None, Some(Text(name))) if !name.is_empty() => name,
        _ if dialect == Dialect::AnthropicMessages => {
            return Err(Refusal::invalid("model: Field required".into()));
        }
        _ => {
            return Err(Refusal::invalid(
                "you must provide a model parameter".into(),
            ));
        }
    };
    if model.starts_with("missing-") {
        return Err(Refusal::missing_model(dialect, &model));
    }
    let card = Card::of(&model);
    let wire = Wire {
        model: None,
        ..wire
    };
    let wire = match dialect {
        Dialect::Bedrock => wire.level(),
        _ => wire,
    };
    let cap = output_cap(dialect, card, &wire)?;
    if cap.is_none() && dialect == Dialect::AnthropicMessages && !counting {
        return Err(Refusal::required(dialect, "max_tokens"));
    }
    let thinking_budget = thinking(&wire, cap)?;
    if wire.stream_options.is_some() && wire.stream != Some(true) {
        let text = "The 'stream_options' parameter is only allowed when 'stream' is enabled.";
        return Err(Refusal::about("stream_options", text.into()));
    }
    let (prompts, answers, produced) = answers(dialect, &wire)?;
    let prompt = prompt(dialect, &wire)?;
    let tools = wants::tools(wire.tools)?;
    let frame = Tally {
        tools: tools.len() as u64,
        ..prompt.frame
    };
    let whole = Tally {
        tools: tools.len() as u64,
        ..prompt.whole
    };
    let (tool_choice, one_tool) = wants::tool_choice(wire.tool_choice);
    Ok(Ask {
        dialect,
        model,
        card,
        stream: wire.stream == Some(true),
        include_usage: wire.stream_options.and_then(|o| o.include_usage) == Some(true),
        cap,
        answers,
        produced,
        prompts,
        frame,
        prompt: whole,
        marks: prompt.marks,
        tools,
        tool_choice,
        parallel_tools: wire.parallel_tool_calls != Some(false) && !one_tool,
        asks_for_tool: prompt.asks_for_tool,
        json: wants::json([
            wire.response_format,
            wire.text,
            wire.output_config,
            wire.output_format,
        ]),
        thinking_budget,
        task: wire
            .metadata
            .and_then(|m| m.user_task_id)
            .map(|Text(id)| id),
        is_thread: wire.thread.is_some(),
        previous_response: wire
            .thread
            .and_then(|thread| thread.previous_message_id)
            .or(wire.previous_response_id)
            .map(|Text(id)| id),
        tools_json: wire.tools,
        background: wire.background == Some(true),
        store: wire.store != Some(false),
        base64: wire
            .encoding_format
            .is_some_and(|Text(name)| name == "base64"),
        dimensions: dimensions(wire.dimensions)?,
    })
}

fn dimensions(asked: Option<u64>) -> Result<Option<u64>, Refusal> {
    match asked {
        Some(n) if n == 0 || n > MOST_DIMENSIONS => Err(Refusal::about(
            "dimensions",
            format!("'dimensions' must be 1 to {MOST_DIMENSIONS}."),
        )),
        asked => Ok(asked),
    }
}

/// The output cap under the name that the dialect reads, with the providers' own complaints.
fn output_cap(dialect: Dialect, card: &Card, wire: &Wire<'_>) -> Result<Option<u64>, Refusal> {
    let (name, cap) = match dialect {
        Dialect::OpenaiChat => {
            if card.reasons && wire.max_tokens.is_some() {
                return Err(Refusal::unsupported_max_tokens(
                    wire.max_completion_tokens.is_some(),
                ));
            }
            match (wire.max_completion_tokens, wire.max_tokens) {
                (Some(cap), Some(older)) => ("max_completion_tokens", Some(cap.min(older))),
                (Some(cap), None) => ("max_completion_tokens", Some(cap)),
                (None, older) => ("max_tokens", older),
            }
        }
        Dialect::OpenaiResponses => ("max_output_tokens", wire.max_output_tokens),
        Dialect::OpenaiCompletions => ("max_tokens", wire.max_tokens),
        Dialect::AnthropicMessages => ("max_tokens", wire.max_tokens),
        Dialect::Bedrock => ("maxTokens", wire.max_tokens),
        // Gemini's requests have a reader of their own.
        Dialect::OpenaiEmbeddings | Dialect::Gemini => return Ok(None),
    };
    let least = if dialect == Dialect::OpenaiResponses {
        LEAST_RESPONSE
    } else {
        1
    };
    match cap {
        Some(cap) if cap < least => Err(Refusal::below_minimum(dialect, name, least, cap)),
        Some(cap) if cap > card.longest => Err(Refusal::about(
            name,
            format!(
                "{name} is too large: {cap}. This model supports at most {} completion tokens.",
                card.longest
            ),
        )),
        cap => Ok(cap),
    }
}

fn thinking(wire: &Wire<'_>, cap: Option<u64>) -> Result<Option<u64>, Refusal> {
    let Some(thinking) = &wire.thinking else {
        return Ok(None);
    };
    if thinking
        .kind
        .as_ref()
        .is_none_or(|Text(kind)| kind != "enabled")
    {
        return Ok(None);
    }
    match (thinking.budget_tokens, cap) {
        (None, _) => Err(Refusal::invalid(
            "thinking.enabled.budget_tokens: Field required".into(),
        )),
        (Some(budget), _) if budget < LEAST_THINKING => Err(Refusal::invalid(
            "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024".into(),
        )),
        (Some(budget), Some(cap)) if budget >= cap => Err(Refusal::invalid(
            "`max_tokens` must be greater than `thinking.budget_tokens`. Please consult our \
             documentation on extended thinking."
                .into(),
        )),
        (budget, _) => Ok(budget),
    }
}

/// Prompts, answers returned and answers produced for each.
fn answers(dialect: Dialect, wire: &Wire<'_>) -> Result<(u64, u64, u64), Refusal> {
    let prompts = match dialect {
        Dialect::OpenaiCompletions => wire.prompt.as_ref().map_or(1, prompts_in),
        Dialect::OpenaiEmbeddings => wire.input.as_ref().map_or(0, prompts_in),
        _ => 1,
    };
    let many = matches!(dialect, Dialect::OpenaiChat | Dialect::OpenaiCompletions);
    let answers = if many { wire.n.unwrap_or(1) } else { 1 };
    let produced = match dialect {
        Dialect::OpenaiCompletions => wire.best_of.unwrap_or(1).max(answers),
        _ => answers,
    };
    if prompts == 0 || prompts > MOST_PROMPTS {
        return Err(Refusal::about(
            "input",
            format!("Expected 1 to {MOST_PROMPTS} inputs."),
        ));
    }
    if answers == 0 || produced > MOST_ANSWERS {
        let text = format!("Invalid 'n': expected a value from 1 to {MOST_ANSWERS}.");
        return Err(Refusal::about("n", text));
    }
    Ok((prompts, answers, produced))
}

const fn prompts_in(section: &Section) -> u64 {
    if section.bare_ids {
        1
    } else {
        section.elements
    }
}

struct Counted {
    frame: Tally,
    whole: Tally,
    marks: Vec<Mark>,
    asks_for_tool: bool,
}

/// Adds up the sections in the order in which the model reads them.
fn prompt(dialect: Dialect, wire: &Wire<'_>) -> Result<Counted, Refusal> {
    let (name, body) = match dialect {
        Dialect::OpenaiChat | Dialect::AnthropicMessages | Dialect::Bedrock => {
            ("messages", &wire.messages)
        }
        Dialect::OpenaiResponses | Dialect::OpenaiEmbeddings => ("input", &wire.input),
        Dialect::OpenaiCompletions | Dialect::Gemini => ("prompt", &wire.prompt),
    };
    let Some(body) = body else {
        return Err(Refusal::required(dialect, name));
    };
    if body.elements == 0 && dialect != Dialect::OpenaiCompletions {
        let text =
            format!("Invalid '{name}': empty array. Expected an array with minimum length 1.");
        return Err(Refusal::about(name, text));
    }
    let mut marks = Vec::with_capacity(body.marks.len() + 2);
    let mut so_far = Tally::default();
    if let Some(tools) = wire.tools {
        so_far = so_far.then(&tally::of_json(tools.get(), 0));
        if memchr::memmem::find(tools.get().as_bytes(), b"\"cache_control\"").is_some()
            || memchr::memmem::find(tools.get().as_bytes(), b"\"cachePoint\"").is_some()
        {
            marks.push(Mark {
                before: so_far,
                write: Some(Term::FiveMinutes),
            });
        }
    }
    let formats = [
        wire.response_format,
        wire.text,
        wire.output_config,
        wire.output_format,
    ];
    for format in formats.into_iter().flatten() {
        so_far = so_far.then(&tally::of_json(format.get(), 0));
    }
    for system in [&wire.system, &wire.instructions].into_iter().flatten() {
        marks.extend(system.marks.iter().map(|mark| after(&so_far, mark)));
        so_far = so_far.then(&system.total);
    }
    let frame = so_far;
    marks.extend(body.marks.iter().map(|mark| after(&frame, mark)));
    let mut whole = frame.then(&body.total);
    let has_messages = !matches!(
        dialect,
        Dialect::OpenaiCompletions | Dialect::OpenaiEmbeddings
    );
    if has_messages {
        // The tokens with which the answer itself begins.
        whole.token_ids += 3;
    } else {
        whole.messages = 0;
    }
    if let (Some(CacheControl(term)), Some(last)) = (wire.cache_control, marks.last_mut()) {
        last.write = Some(term);
    }
    Ok(Counted {
        frame,
        whole,
        marks,
        asks_for_tool: body.asks_for_tool,
    })
}

fn after(before: &Tally, mark: &Mark) -> Mark {
    Mark {
        before: before.then(&mark.before),
        write: mark.write,
    }
}
