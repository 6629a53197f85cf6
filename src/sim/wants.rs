//! What shape of answer a request wants: tools to call, and JSON.

use super::refusal::Refusal;
use super::request::Text;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// A tool that the model may call.
#[derive(Debug)]
pub struct Tool<'a> {
    pub name: Cow<'a, str>,
    pub schema: Option<&'a RawValue>,
}

/// Which tools the caller wants called.
#[derive(Debug, PartialEq, Eq)]
pub enum ToolChoice {
    Auto,
    None,
    Any,
    Named(String),
}

/// Function tools; hosted ones (web search …) are not simulated.
pub fn tools(tools: Option<&RawValue>) -> Result<Vec<Tool<'_>>, Refusal> {
    #[derive(Deserialize)]
    struct Declared<'a> {
        #[serde(borrow)]
        function: Option<Function<'a>>,
        #[serde(borrow)]
        name: Option<Text<'a>>,
        #[serde(borrow)]
        parameters: Option<&'a RawValue>,
        #[serde(borrow)]
        input_schema: Option<&'a RawValue>,
        #[serde(borrow, rename = "toolSpec")]
        spec: Option<Spec<'a>>,
    }
    #[derive(Deserialize)]
    struct Spec<'a> {
        #[serde(borrow)]
        name: Text<'a>,
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
        #[serde(borrow)]
        name: Text<'a>,
        #[serde(borrow)]
        parameters: Option<&'a RawValue>,
    }
    let Some(tools) = tools else {
        return Ok(Vec::new());
    };
    let declared: Vec<Declared<'_>> = serde_json::from_str(tools.get())
        .map_err(|error| Refusal::about("tools", format!("Invalid 'tools': {error}")))?;
    // A function, so that the tool's lifetime is the declaration's.
    fn tool<'a>(tool: Declared<'a>) -> Tool<'a> {
        if let Some(Spec { name, schema }) = tool.spec {
            return Tool {
                name: name.0,
                schema: schema.and_then(|schema| schema.json),
            };
        }
        match (tool.function, tool.name) {
            (Some(Function { name, parameters }), _) => Tool {
                name: name.0,
                schema: parameters,
            },
            (None, name) => Tool {
                name: name.map_or(Cow::Borrowed(""), |Text(name)| name),
                schema: tool.parameters.or(tool.input_schema),
            },
        }
    }
    Ok(declared.into_iter().map(tool).collect())
}

/// The choice, and whether it rules out parallel calls.
pub fn tool_choice(choice: Option<&RawValue>) -> (ToolChoice, bool) {
    #[derive(Deserialize)]
    struct Choice<'a> {
        #[serde(borrow, rename = "type")]
        kind: Option<Text<'a>>,
        #[serde(borrow)]
        name: Option<Text<'a>>,
        #[serde(borrow)]
        function: Option<Named<'a>>,
        disable_parallel_tool_use: Option<bool>,
        any: Option<Anything>,
        #[serde(borrow)]
        tool: Option<Named<'a>>,
    }
    /// Bedrock's choices are objects by their names.
    #[derive(Deserialize)]
    struct Anything {}
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        name: Text<'a>,
    }
    let word = |kind: &str| match kind {
        "none" => ToolChoice::None,
        "required" | "any" => ToolChoice::Any,
        _ => ToolChoice::Auto,
    };
    let Some(json) = choice.map(RawValue::get) else {
        return (ToolChoice::Auto, false);
    };
    if let Ok(Text(kind)) = serde_json::from_str(json) {
        return (word(&kind), false);
    }
    let Ok(choice) = serde_json::from_str::<Choice<'_>>(json) else {
        return (ToolChoice::Auto, false);
    };
    let one = choice.disable_parallel_tool_use == Some(true);
    if choice.any.is_some() {
        return (ToolChoice::Any, one);
    }
    let named = choice.function.or(choice.tool).map(|named| named.name);
    match choice.name.or(named) {
        Some(Text(name)) => (ToolChoice::Named(name.into_owned()), one),
        None => (
            word(choice.kind.as_ref().map_or("", |Text(kind)| kind)),
            one,
        ),
    }
}

/// Whether any of these asks for JSON: `{"type": "json_schema", …}` or `{"format": {…}}`.
pub fn json(formats: [Option<&RawValue>; 4]) -> Option<Option<&RawValue>> {
    #[derive(Deserialize)]
    struct Outer<'a> {
        #[serde(borrow)]
        format: Option<Format<'a>>,
        #[serde(borrow, rename = "textFormat")]
        text_format: Option<TextFormat<'a>>,
    }
    #[derive(Deserialize)]
    struct TextFormat<'a> {
        #[serde(borrow)]
        structure: Option<Structure<'a>>,
    }
    #[derive(Deserialize)]
    struct Structure<'a> {
        #[serde(borrow, rename = "jsonSchema")]
        json_schema: Option<Inner<'a>>,
    }
    #[derive(Deserialize)]
    struct Format<'a> {
        #[serde(borrow, rename = "type")]
        kind: Option<Text<'a>>,
        #[serde(borrow)]
        schema: Option<&'a RawValue>,
        #[serde(borrow)]
        json_schema: Option<Inner<'a>>,
    }
    #[derive(Deserialize)]
    struct Inner<'a> {
        #[serde(borrow)]
        schema: Option<&'a RawValue>,
    }
    formats.into_iter().flatten().find_map(|raw| {
        let outer = serde_json::from_str::<Outer<'_>>(raw.get()).ok()?;
        if let Some(format) = outer.text_format {
            let form = format.structure?.json_schema?;
            return Some(form.schema);
        }
        let format = match outer.format {
            Some(format) => format,
            None => serde_json::from_str(raw.get()).ok()?,
        };
        let Text(kind) = format.kind?;
        let schema = format
            .schema
            .or(format.json_schema.and_then(|inner| inner.schema));
        matches!(&*kind, "json_schema" | "json_object").then_some(schema)
    })
}
