//! Gemini's `generateContent`, on Google's own host and on Vertex: what a request asks for. Fields that the
//! real one does not know are refused here too, and so are ids of tool calls on Vertex. Names may be written in
//! either way, as Google's own client does.

mod answer;

pub use answer::{GeminiVoice, plain};

use super::prices::Card;
use super::refusal::Refusal;
use super::request::{Ask, Text};
use super::tally::{self, Mark, Tally};
use super::wants::{Tool, ToolChoice};
use crate::dialect::Dialect;
use http::StatusCode;
use http::request::Parts;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// A message that contains this asks for a tool call.
const ASKS_FOR_TOOL: &str = "use a tool";

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Wire<'a> {
    #[serde(borrow)]
    contents: Option<Vec<Content<'a>>>,
    #[serde(borrow, alias = "system_instruction")]
    system_instruction: Option<Content<'a>>,
    #[serde(borrow)]
    tools: Option<Vec<Toolbox<'a>>>,
    #[serde(borrow, alias = "tool_config")]
    tool_config: Option<ToolConfig<'a>>,
    #[serde(borrow, alias = "generation_config")]
    generation_config: Option<GenerationConfig<'a>>,
    #[serde(borrow, rename = "safetySettings", alias = "safety_settings")]
    _safety_settings: Option<&'a RawValue>,
    #[serde(borrow, rename = "labels")]
    _labels: Option<&'a RawValue>,
    #[serde(borrow, rename = "serviceTier", alias = "service_tier")]
    _service_tier: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Content<'a> {
    #[serde(borrow)]
    role: Option<Text<'a>>,
    #[serde(borrow)]
    parts: Option<Vec<Part<'a>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Part<'a> {
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow, alias = "inline_data")]
    inline_data: Option<Blob<'a>>,
    #[serde(borrow, alias = "function_call")]
    function_call: Option<FunctionCall<'a>>,
    #[serde(borrow, alias = "function_response")]
    function_response: Option<FunctionResponse<'a>>,
    #[serde(borrow, alias = "thought_signature")]
    thought_signature: Option<Text<'a>>,
    #[serde(rename = "thought")]
    _thought: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Blob<'a> {
    #[serde(borrow, alias = "mime_type")]
    mime_type: Text<'a>,
    #[serde(borrow)]
    data: Text<'a>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FunctionCall<'a> {
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    args: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FunctionResponse<'a> {
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    response: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Toolbox<'a> {
    #[serde(borrow, alias = "function_declarations")]
    function_declarations: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Declaration<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow, rename = "description")]
    _description: Option<Text<'a>>,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
    #[serde(borrow, alias = "parameters_json_schema")]
    parameters_json_schema: Option<&'a RawValue>,
    #[serde(borrow, rename = "response")]
    _response: Option<&'a RawValue>,
    #[serde(borrow, rename = "responseJsonSchema", alias = "response_json_schema")]
    _response_json_schema: Option<&'a RawValue>,
    #[serde(borrow, rename = "behavior")]
    _behavior: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ToolConfig<'a> {
    #[serde(borrow, alias = "function_calling_config")]
    function_calling_config: Option<Calling<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Calling<'a> {
    #[serde(borrow)]
    mode: Option<Text<'a>>,
    #[serde(borrow, alias = "allowed_function_names")]
    allowed_function_names: Option<Vec<Text<'a>>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct GenerationConfig<'a> {
    #[serde(alias = "max_output_tokens")]
    max_output_tokens: Option<u64>,
    #[serde(alias = "candidate_count")]
    candidate_count: Option<u64>,
    #[serde(borrow, alias = "response_mime_type")]
    response_mime_type: Option<Text<'a>>,
    #[serde(borrow, alias = "response_schema")]
    response_schema: Option<&'a RawValue>,
    #[serde(borrow, alias = "response_json_schema")]
    response_json_schema: Option<&'a RawValue>,
    #[serde(borrow, alias = "thinking_config")]
    thinking_config: Option<ThinkingConfig<'a>>,
    temperature: Option<f64>,
    #[serde(rename = "topP", alias = "top_p")]
    _top_p: Option<f64>,
    #[serde(rename = "topK", alias = "top_k")]
    _top_k: Option<f64>,
    #[serde(rename = "seed")]
    _seed: Option<i64>,
    #[serde(rename = "frequencyPenalty", alias = "frequency_penalty")]
    _frequency_penalty: Option<f64>,
    #[serde(rename = "presencePenalty", alias = "presence_penalty")]
    _presence_penalty: Option<f64>,
    #[serde(borrow, alias = "stop_sequences")]
    stop_sequences: Option<Vec<Text<'a>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ThinkingConfig<'a> {
    #[serde(alias = "thinking_budget")]
    thinking_budget: Option<i64>,
    #[serde(borrow, alias = "thinking_level")]
    thinking_level: Option<Text<'a>>,
    #[serde(alias = "include_thoughts")]
    include_thoughts: Option<bool>,
}

/// A 400 as Google words it.
fn invalid(message: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::invalid(message.into())
}

/// Reads and checks a request; model and verb stand in the path.
pub fn read<'a>(head: &Parts, model: &'a str, body: &'a [u8]) -> Result<Ask<'a>, Refusal> {
    let path = head.uri.path();
    let is_vertex = path.contains("/publishers/google/");
    let stream = path.ends_with(":streamGenerateContent");
    let query = head.uri.query().unwrap_or_default();
    if stream && !query.split('&').any(|pair| pair == "alt=sse") {
        return Err(invalid(
            "The simulated provider streams with alt=sse alone.",
        ));
    }
    let wire: Wire<'a> = serde_json::from_slice(body)
        .map_err(|error| invalid(format!("Invalid JSON payload received. {error}")))?;
    if model.starts_with("missing-") {
        return Err(Refusal::missing_model(Dialect::Gemini, model));
    }
    let contents = wire.contents.unwrap_or_default();
    if contents.is_empty() {
        return Err(invalid(
            "* GenerateContentRequest.contents: contents is not specified",
        ));
    }
    check(&contents, model, is_vertex)?;
    let config = wire.generation_config.unwrap_or_default();
    let card = Card::of(model);
    check_config(&config, card)?;
    let declared = declared(wire.tools.as_deref().unwrap_or_default())?;
    let schema = config.response_json_schema.or(config.response_schema);
    let (frame, whole, marks) = tally(
        &contents,
        wire.system_instruction.as_ref(),
        &declared,
        schema,
    );
    let is_json = config
        .response_mime_type
        .is_some_and(|Text(kind)| kind == "application/json");
    let thinking = config.thinking_config.as_ref();
    let shown = thinking.is_some_and(|thinking| thinking.include_thoughts == Some(true));
    let budget = thinking.and_then(|thinking| u64::try_from(thinking.thinking_budget?).ok());
    let last = contents.last();
    Ok(Ask {
        dialect: Dialect::Gemini,
        model: Cow::Borrowed(model),
        card,
        stream,
        include_usage: true,
        cap: config.max_output_tokens,
        answers: 1,
        produced: 1,
        prompts: 1,
        frame,
        prompt: whole,
        marks,
        tools: declared.into_iter().map(|(tool, _)| tool).collect(),
        tool_choice: choice(wire.tool_config),
        parallel_tools: true,
        asks_for_tool: last.is_some_and(asks_for_tool),
        json: is_json.then_some(schema),
        thinking_budget: shown.then(|| budget.unwrap_or(1_024)),
        task: None,
        previous_response: None,
        is_thread: false,
        tools_json: None,
        background: false,
        store: false,
        base64: false,
        dimensions: None,
    })
}

/// Roles, parts, and that each result belongs to a call.
fn check(contents: &[Content<'_>], model: &str, is_vertex: bool) -> Result<(), Refusal> {
    let mut called: Vec<&str> = Vec::new();
    for (at, content) in contents.iter().enumerate() {
        let role = content.role.as_ref().map(|Text(role)| &**role);
        if !matches!(role, None | Some("user" | "model" | "function")) {
            return Err(invalid("Please use a valid role: user, model."));
        }
        let parts = content.parts.as_deref().unwrap_or_default();
        if parts.is_empty() {
            return Err(invalid(format!(
                "* GenerateContentRequest.contents[{at}].parts: contents.parts must not be empty."
            )));
        }
        let results: Vec<_> = parts
            .iter()
            .filter_map(|p| p.function_response.as_ref())
            .collect();
        if !results.is_empty() && results.len() != called.len() {
            return Err(invalid(
                "Please ensure that the number of function response parts is equal to the number of function call \
                 parts of the function call turn.",
            ));
        }
        for result in &results {
            if !result.response.get().starts_with('{') {
                return Err(invalid("function_response.response: must be an object"));
            }
            if !called.contains(&&*result.name.0) {
                return Err(invalid(
                    "A function response names no function that was called.",
                ));
            }
        }
        called.clear();
        for call in parts.iter().filter_map(|p| p.function_call.as_ref()) {
            called.push(&call.name.0);
        }
        let ids = parts.iter().any(|part| {
            let call = part
                .function_call
                .as_ref()
                .and_then(|call| call.id.as_ref());
            let result = part.function_response.as_ref();
            call.or(result.and_then(|result| result.id.as_ref()))
                .is_some()
        });
        if is_vertex && ids {
            return Err(invalid(format!(
                "Invalid JSON payload received. Unknown name \"id\" at 'contents[{at}].parts[0].function_call': \
                 Cannot find field."
            )));
        }
        let first = parts.iter().find(|part| part.function_call.is_some());
        if model.starts_with("gemini-3") && first.is_some_and(|p| p.thought_signature.is_none()) {
            return Err(invalid(
                "Function call is missing a thought_signature in functionCall parts.",
            ));
        }
    }
    Ok(())
}

fn check_config(config: &GenerationConfig<'_>, card: &Card) -> Result<(), Refusal> {
    if let Some(cap) = config.max_output_tokens
        && (cap == 0 || cap > card.longest)
    {
        let most = card.longest + 1;
        return Err(invalid(format!(
            "Unable to submit request because it has a maxOutputTokens value of {cap} but the supported range is \
             from 1 (inclusive) to {most} (exclusive)."
        )));
    }
    if config.candidate_count.is_some_and(|count| count != 1) {
        return Err(invalid("Multiple candidates is not enabled for this model"));
    }
    let temperature = config.temperature.unwrap_or(1.0);
    if !(0.0..=2.0).contains(&temperature) {
        return Err(invalid("temperature must be in the range [0.0, 2.0]."));
    }
    if config
        .stop_sequences
        .as_ref()
        .is_some_and(|all| all.len() > 5)
    {
        return Err(invalid("stop_sequences: at most 5 are allowed"));
    }
    if config.response_schema.is_some() && config.response_json_schema.is_some() {
        return Err(invalid(
            "Only one of response_schema and response_json_schema may be set.",
        ));
    }
    let kind = config.response_mime_type.as_ref();
    let is_json = kind.is_some_and(|Text(kind)| kind == "application/json");
    if !is_json && (config.response_schema.is_some() || config.response_json_schema.is_some()) {
        return Err(invalid(
            "Function calling with a response mime type: 'text/plain' is unsupported: a schema needs \
             application/json.",
        ));
    }
    let both = |thinking: &ThinkingConfig<'_>| {
        thinking.thinking_budget.is_some() && thinking.thinking_level.is_some()
    };
    if config.thinking_config.as_ref().is_some_and(both) {
        return Err(invalid(
            "You can only set only one of thinking budget and thinking level.",
        ));
    }
    Ok(())
}

/// The declared functions, each with its JSON.
fn declared<'a>(tools: &[Toolbox<'a>]) -> Result<Vec<(Tool<'a>, &'a str)>, Refusal> {
    let all = tools
        .iter()
        .flat_map(|tool| tool.function_declarations.iter().flatten());
    all.map(|json| {
        let function: Declaration<'a> = serde_json::from_str(json.get())
            .map_err(|error| invalid(format!("Invalid JSON payload received. {error}")))?;
        if function.parameters.is_some() && function.parameters_json_schema.is_some() {
            return Err(invalid(
                "Only one of parameters and parameters_json_schema may be set.",
            ));
        }
        let tool = Tool {
            name: function.name.0,
            schema: function.parameters_json_schema.or(function.parameters),
        };
        Ok((tool, json.get()))
    })
    .collect()
}

fn choice(config: Option<ToolConfig<'_>>) -> ToolChoice {
    let Some(calling) = config.and_then(|config| config.function_calling_config) else {
        return ToolChoice::Auto;
    };
    let only = calling.allowed_function_names.unwrap_or_default();
    match (
        calling.mode.as_ref().map(|Text(mode)| &**mode),
        only.first(),
    ) {
        (Some("NONE"), _) => ToolChoice::None,
        (Some("ANY"), Some(Text(name))) => ToolChoice::Named(name.to_string()),
        (Some("ANY"), None) => ToolChoice::Any,
        _ => ToolChoice::Auto,
    }
}

fn asks_for_tool(content: &Content<'_>) -> bool {
    let parts = content.parts.as_deref().unwrap_or_default();
    let text = |part: &Part<'_>| {
        part.text
            .as_ref()
            .is_some_and(|t| t.0.contains(ASKS_FOR_TOOL))
    };
    parts.iter().any(text) && !parts.iter().any(|part| part.function_response.is_some())
}

/// Counts the prompt in the order in which the model reads it.
fn tally(
    contents: &[Content<'_>],
    system: Option<&Content<'_>>,
    tools: &[(Tool<'_>, &str)],
    schema: Option<&RawValue>,
) -> (Tally, Tally, Vec<Mark>) {
    let mut so_far = Tally::default();
    for (_, json) in tools {
        so_far = so_far.then(&tally::of_json(json, 0));
    }
    if let Some(schema) = schema {
        so_far = so_far.then(&tally::of_json(schema.get(), 0));
    }
    for part in system
        .iter()
        .flat_map(|content| content.parts.iter().flatten())
    {
        count(part, &mut so_far);
    }
    let tools = tools.len() as u64;
    let frame = Tally { tools, ..so_far };
    let mut marks = Vec::with_capacity(contents.len());
    for content in contents {
        so_far.messages += 1;
        for part in content.parts.iter().flatten() {
            count(part, &mut so_far);
        }
        marks.push(Mark {
            before: so_far,
            write: None,
        });
    }
    // The tokens with which the answer itself begins.
    let token_ids = so_far.token_ids + 3;
    let whole = Tally {
        tools,
        token_ids,
        ..so_far
    };
    (frame, whole, marks)
}

fn count(part: &Part<'_>, tally: &mut Tally) {
    if let Some(Text(text)) = &part.text {
        tally.text(text);
    }
    if let Some(call) = &part.function_call {
        tally.text(&call.name.0);
        tally.text(call.args.map_or("{}", RawValue::get));
    }
    if let Some(result) = &part.function_response {
        tally.text(&result.name.0);
        tally.text(result.response.get());
    }
    if let Some(Blob { mime_type, data }) = &part.inline_data {
        let of = match mime_type.0.split('/').next() {
            Some("image") => &mut tally.images,
            Some("audio") => &mut tally.sounds,
            _ => &mut tally.files,
        };
        *of += 1;
        tally.digest ^= xxhash_rust::xxh3::xxh3_64(data.0.as_bytes());
    }
}

/// `countTokens`, which costs nothing.
pub fn count_tokens(model: &str, body: &[u8]) -> Result<String, Refusal> {
    let wire: Wire<'_> = serde_json::from_slice(body)
        .map_err(|error| invalid(format!("Invalid JSON payload received. {error}")))?;
    let contents = wire.contents.unwrap_or_default();
    let declared = declared(wire.tools.as_deref().unwrap_or_default())?;
    let system = wire.system_instruction.as_ref();
    let (_, whole, _) = tally(&contents, system, &declared, None);
    let tokens = whole.tokens(super::behaviour::Behaviour::of(model).dense);
    Ok(format!(
        "{{\"totalTokens\":{tokens},\"promptTokensDetails\":[{{\"modality\":\"TEXT\",\"tokenCount\":{tokens}}}]}}"
    ))
}

/// What Google calls an error of that status.
pub const fn status_word(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 | 413 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        500 => "INTERNAL",
        503 => "UNAVAILABLE",
        408 | 504 => "DEADLINE_EXCEEDED",
        _ => "UNKNOWN",
    }
}
