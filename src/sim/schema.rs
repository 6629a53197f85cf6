//! Makes a JSON value that a JSON schema accepts, for structured answers and tool arguments.
//!
//! Simple on purpose: types, `enum`, `const`, `properties`, `required`, `items`, bounds of numbers and
//! lengths, `anyOf`/`oneOf`/`allOf` (the first), and references within the schema.

use super::words::Draw;
use serde_json::{Map, Value, json};

/// Nesting followed before `null` is said.
const DEEPEST: usize = 16;
/// Elements or optional members made at most.
const MOST_ELEMENTS: usize = 16;
/// Letters made at most for a `minLength`.
const LONGEST: usize = 4_096;

/// A value for the schema in `json`, or a small object when that is no schema.
pub fn value_for(json: Option<&str>, draw: &mut Draw) -> Value {
    let root: Value = json
        .and_then(|json| serde_json::from_str(json).ok())
        .unwrap_or_default();
    // Some dialects have the schema as a text.
    let root = match root {
        Value::String(text) => serde_json::from_str(&text).unwrap_or_default(),
        root => root,
    };
    if root.is_object() {
        Maker { root: &root, draw }.make(&root, 0)
    } else {
        json!({"answer": "yes"})
    }
}

struct Maker<'a> {
    root: &'a Value,
    draw: &'a mut Draw,
}

impl<'a> Maker<'a> {
    fn make(&mut self, schema: &'a Value, depth: usize) -> Value {
        if depth > DEEPEST {
            return Value::Null;
        }
        if let Some(target) = schema["$ref"].as_str().and_then(|to| to.strip_prefix('#')) {
            let root = self.root;
            return root
                .pointer(target)
                .map_or(Value::Null, |found| self.make(found, depth + 1));
        }
        if let Some(value) = schema.get("const").or_else(|| schema.get("default")) {
            return value.clone();
        }
        if let Some(choices) = schema["enum"]
            .as_array()
            .filter(|choices| !choices.is_empty())
        {
            let last = choices.len() as u64 - 1;
            let at = usize::try_from(self.draw.between(0, last)).unwrap_or(0);
            return choices[at].clone();
        }
        for several in ["anyOf", "oneOf", "allOf"] {
            if let Some(first) = schema[several].get(0) {
                return self.make(first, depth + 1);
            }
        }
        let kind = schema["type"]
            .as_str()
            .or_else(|| schema["type"][0].as_str())
            // Gemini's own schemas shout.
            .map(str::to_ascii_lowercase);
        match kind.as_deref() {
            Some("object") => self.object(schema, depth),
            Some("array") => self.array(schema, depth),
            Some("string") => self.string(schema),
            Some("integer") => json!(self.integer(schema)),
            Some("number") => json!(self.integer(schema)),
            Some("boolean") => Value::Bool(self.draw.next().is_multiple_of(2)),
            None if schema["properties"].is_object() => self.object(schema, depth),
            _ => Value::Null,
        }
    }

    fn object(&mut self, schema: &'a Value, depth: usize) -> Value {
        let mut made = Map::new();
        let required = schema["required"].as_array();
        let is_wanted = |name: &str| required.is_none_or(|names| names.iter().any(|n| n == name));
        for (name, member) in schema["properties"].as_object().into_iter().flatten() {
            // Without `required` all members are optional; a few make a fuller answer.
            if is_wanted(name) && (required.is_some() || made.len() < MOST_ELEMENTS) {
                made.insert(name.clone(), self.make(member, depth + 1));
            }
        }
        Value::Object(made)
    }

    fn array(&mut self, schema: &'a Value, depth: usize) -> Value {
        let least = schema["minItems"].as_u64().unwrap_or(1);
        let count = usize::try_from(least)
            .unwrap_or(MOST_ELEMENTS)
            .min(MOST_ELEMENTS);
        Value::Array(
            (0..count)
                .map(|_| self.make(&schema["items"], depth + 1))
                .collect(),
        )
    }

    fn string(&mut self, schema: &Value) -> Value {
        let mut text = match schema["format"].as_str() {
            Some("date") => "2026-01-02".to_owned(),
            Some("date-time") => "2026-01-02T03:04:05Z".to_owned(),
            Some("email") => "someone@example.com".to_owned(),
            Some("uri" | "url") => "https://example.com/".to_owned(),
            _ => format!("word-{}", self.draw.between(1, 9_999)),
        };
        let length = |name: &str| schema[name].as_u64().and_then(|n| usize::try_from(n).ok());
        if let Some(least) = length("minLength") {
            while text.len() < least.min(LONGEST) {
                text.push('x');
            }
        }
        if let Some(most) = length("maxLength") {
            text.truncate(most);
        }
        Value::String(text)
    }

    fn integer(&mut self, schema: &Value) -> i64 {
        let bound = |name: &str| schema[name].as_i64();
        let low = bound("minimum").or(bound("exclusiveMinimum").map(|n| n.saturating_add(1)));
        let high = bound("maximum").or(bound("exclusiveMaximum").map(|n| n.saturating_sub(1)));
        let low = low.or(high.map(|high| high.min(1))).unwrap_or(1);
        let high = high.unwrap_or(low.saturating_add(99)).max(low);
        let span = self.draw.between(0, low.abs_diff(high).min(99));
        low.saturating_add_unsigned(span)
    }
}
