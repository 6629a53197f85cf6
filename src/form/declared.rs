//! Reads declarations: which tools there are, with which schemas, and which form of answer is asked for.

use super::schema::Schema;
use crate::dialect::Dialect;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::sync::OnceLock;

/// Kinds of tools that are called in other ways than by their name in a tool call, or whose arguments
/// the provider describes itself. One that is not listed may bring further tools.
const CLOSED: [&str; 13] = [
    "apply_patch",
    "bash",
    "code_execution",
    "code_interpreter",
    "computer",
    "file_search",
    "image_generation",
    "local_shell",
    "memory",
    "shell",
    "text_editor",
    "web_fetch",
    "web_search",
];

/// What one value must keep to.
#[derive(Default)]
pub(super) enum Rule {
    /// Nothing at all.
    #[default]
    Anything,
    /// JSON of any form.
    Json,
    /// A JSON object of any form.
    Object,
    /// JSON by this schema, compiled when it is first needed; `None` if that cannot be.
    Schema(Box<RawValue>, OnceLock<Option<Schema>>),
}

impl Rule {
    fn schema(text: Option<&RawValue>) -> Self {
        match text {
            Some(text) if text.get().starts_with('{') => {
                Self::Schema(text.to_owned(), OnceLock::new())
            }
            _ => Self::Json,
        }
    }

    /// The keyword that `value` breaks.
    pub(super) fn breaks(&self, value: &Value) -> Option<String> {
        match self {
            Self::Anything | Self::Json => None,
            Self::Object if value.is_object() => None,
            Self::Object => Some("type".to_owned()),
            Self::Schema(text, compiled) => compiled
                .get_or_init(|| Schema::compile(text.get()))
                .as_ref()?
                .breaks(value),
        }
    }
}

/// Declarations, read.
pub(super) struct Parsed {
    /// The tools, by name.
    pub(super) tools: HashMap<String, Rule>,
    /// There may be others.
    pub(super) open: bool,
    /// The answer.
    pub(super) answer: Rule,
}

#[derive(Deserialize)]
struct Tool<'a> {
    #[serde(rename = "type")]
    kind: Option<String>,
    name: Option<String>,
    #[serde(borrow)]
    function: Option<Function<'a>>,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
    #[serde(borrow)]
    input_schema: Option<&'a RawValue>,
    #[serde(borrow)]
    custom: Option<Function<'a>>,
    #[serde(borrow, rename = "toolSpec")]
    spec: Option<Spec<'a>>,
}

/// Bedrock's.
#[derive(Deserialize)]
struct Spec<'a> {
    name: Option<String>,
    #[serde(borrow, rename = "inputSchema")]
    schema: Option<Inside<'a>>,
}

#[derive(Deserialize)]
struct Inside<'a> {
    #[serde(borrow)]
    json: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Function<'a> {
    name: Option<String>,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Toolbox<'a> {
    #[serde(borrow, rename = "functionDeclarations")]
    functions: Option<Vec<Declaration<'a>>>,
}

#[derive(Deserialize)]
struct Declaration<'a> {
    name: Option<String>,
    #[serde(borrow, rename = "parametersJsonSchema")]
    schema: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GenerationConfig<'a> {
    response_mime_type: Option<String>,
    #[serde(borrow)]
    response_json_schema: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Outer<'a> {
    #[serde(borrow)]
    format: Option<Format<'a>>,
}

#[derive(Deserialize)]
struct Format<'a> {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(borrow)]
    schema: Option<&'a RawValue>,
    #[serde(borrow)]
    json_schema: Option<Inner<'a>>,
    #[serde(borrow)]
    structure: Option<Structure<'a>>,
}

/// Bedrock's, whose schema is a text.
#[derive(Deserialize)]
struct Structure<'a> {
    #[serde(borrow, rename = "jsonSchema")]
    json_schema: Option<Inner<'a>>,
}

#[derive(Deserialize)]
struct Inner<'a> {
    #[serde(borrow)]
    schema: Option<&'a RawValue>,
}

impl Parsed {
    /// Reads the texts. What cannot be read allows anything.
    pub(super) fn of(dialect: Dialect, tools: &[u8], answer: &[u8]) -> Self {
        let mut parsed = Self {
            tools: HashMap::new(),
            open: false,
            answer: match dialect {
                Dialect::Gemini => form_of(answer),
                _ => self::answer(answer),
            },
        };
        match serde_json::from_slice::<Vec<&RawValue>>(tools) {
            Ok(tools) => tools
                .into_iter()
                .for_each(|tool| parsed.declare(dialect, tool)),
            Err(_) => parsed.open = true,
        }
        parsed
    }

    fn declare(&mut self, dialect: Dialect, tool: &RawValue) {
        if dialect == Dialect::Gemini {
            return self.declare_all(tool);
        }
        let Ok(tool) = serde_json::from_str::<Tool<'_>>(tool.get()) else {
            self.open = true;
            return;
        };
        if let Some(Spec { name, schema }) = tool.spec {
            let schema = schema.and_then(|schema| schema.json);
            return self.know(name, Rule::schema(schema));
        }
        let (name, rule) = match (tool.kind.as_deref(), tool.function) {
            (None | Some("function"), Some(function)) => {
                (function.name, Rule::schema(function.parameters))
            }
            // Anthropic's own word for tools with a schema, and OpenAI's for those without.
            (Some("custom"), _) if dialect != Dialect::AnthropicMessages => {
                let custom = tool.custom.and_then(|custom| custom.name);
                (custom.or(tool.name), Rule::Anything)
            }
            (None | Some("function" | "custom"), None) => {
                let schema = tool.input_schema.or(tool.parameters);
                (tool.name, Rule::schema(schema))
            }
            (kind, _) => {
                let kind = kind.unwrap_or_default();
                self.open |= !CLOSED.iter().any(|closed| kind.starts_with(closed));
                (tool.name, Rule::Anything)
            }
        };
        self.know(name, rule);
    }

    /// Gemini's functions stand in a list within the list.
    fn declare_all(&mut self, tools: &RawValue) {
        let functions = serde_json::from_str::<Toolbox<'_>>(tools.get());
        let Some(functions) = functions.ok().and_then(|tools| tools.functions) else {
            self.open = true;
            return;
        };
        for function in functions {
            self.know(function.name, Rule::schema(function.schema));
        }
    }

    fn know(&mut self, name: Option<String>, rule: Rule) {
        let Some(name) = name else {
            return;
        };
        // Of two with one name nobody knows which is called.
        let rule = match self.tools.contains_key(&name) {
            true => Rule::Anything,
            false => rule,
        };
        self.tools.insert(name, rule);
    }
}

/// The form that Gemini's `generationConfig` asks for.
fn form_of(config: &[u8]) -> Rule {
    match serde_json::from_slice::<GenerationConfig<'_>>(config) {
        Ok(config) if config.response_mime_type.as_deref() == Some("application/json") => {
            Rule::schema(config.response_json_schema)
        }
        _ => Rule::Anything,
    }
}

fn answer(text: &[u8]) -> Rule {
    let outer = serde_json::from_slice::<Outer<'_>>(text).ok();
    let format = outer
        .and_then(|outer| outer.format)
        .or_else(|| serde_json::from_slice(text).ok());
    let Some(format) = format else {
        return Rule::Anything;
    };
    match format.kind.as_deref() {
        Some("json_schema") if format.structure.is_some() => {
            let form = format.structure.and_then(|form| form.json_schema);
            let text = form.and_then(|form| form.schema);
            let text = text.and_then(|text| serde_json::from_str::<String>(text.get()).ok());
            let schema = text.and_then(|text| RawValue::from_string(text).ok());
            Rule::schema(schema.as_deref())
        }
        Some("json_schema") => {
            let inner = format.json_schema.and_then(|inner| inner.schema);
            Rule::schema(format.schema.or(inner))
        }
        Some("json_object") => Rule::Object,
        _ => Rule::Anything,
    }
}
