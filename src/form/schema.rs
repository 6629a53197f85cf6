//! One schema, compiled, and what a value breaks of it.

use super::cost;
use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{JsonType, PatternOptions, ValidationError, Validator};
use serde_json::Value;

/// Longest schema that is compiled, in bytes.
pub(super) const SCHEMA_BYTES_MAX: usize = 64 * 1024;
/// Most that one compiled pattern may take, in bytes.
const PATTERN_BYTES_MAX: usize = 1024 * 1024;
/// Faults looked at before an answer counts as malformed, in number.
const FAULTS_MAX: usize = 16;

/// A schema that values are checked against.
pub(super) struct Schema {
    source: Value,
    validator: Validator,
}

impl Schema {
    /// Compiles it; `None` if it is no schema, or one that is not checked.
    pub(super) fn compile(text: &str) -> Option<Self> {
        if text.len() > SCHEMA_BYTES_MAX {
            return None;
        }
        let mut source: Value = serde_json::from_str(text).ok()?;
        if let Value::Object(members) = &mut source {
            // A name for itself, which changes nothing where nothing else is named by it.
            members.remove("$id");
        }
        if !cost::is_bounded(&source) {
            return None;
        }
        // This engine takes time in proportion to the text, whatever the pattern.
        let patterns = PatternOptions::regex()
            .size_limit(PATTERN_BYTES_MAX)
            .dfa_size_limit(PATTERN_BYTES_MAX);
        let validator = jsonschema::options()
            .offline()
            .with_pattern_options(patterns)
            .should_validate_formats(false)
            .build(&source)
            .ok()?;
        Some(Self { source, validator })
    }

    /// The keyword that `value` breaks; `None` if it breaks none, or cannot be checked in time.
    pub(super) fn breaks(&self, value: &Value) -> Option<String> {
        if !cost::is_affordable(&self.source, value) || self.validator.is_valid(value) {
            return None;
        }
        let mut faults = self.validator.iter_errors(value);
        let mut looked = faults.by_ref().take(FAULTS_MAX);
        let found = looked.find(|fault| !is_excusable(fault));
        found
            .or_else(|| faults.next())
            .map(|fault| fault.kind().keyword().to_owned())
    }
}

/// What most tools take all the same: a number or a truth in quotes, or a number where text is wanted.
fn is_excusable(fault: &ValidationError<'_>) -> bool {
    match fault.kind() {
        ValidationErrorKind::Type { kind } => {
            let wants = |kinds: &[JsonType]| match kind {
                TypeKind::Single(one) => kinds.contains(one),
                TypeKind::Multiple(several) => kinds.iter().any(|one| several.contains(*one)),
            };
            match &**fault.instance() {
                Value::String(text) => {
                    let is = |kind: fn(&Value) -> bool| {
                        serde_json::from_str::<Value>(text.trim()).is_ok_and(|value| kind(&value))
                    };
                    (wants(&[JsonType::Integer]) && is(Value::is_i64))
                        || (wants(&[JsonType::Number]) && is(Value::is_number))
                        || (wants(&[JsonType::Boolean])
                            && matches!(&*text.to_ascii_lowercase(), "true" | "false"))
                }
                Value::Number(_) | Value::Bool(_) => wants(&[JsonType::String]),
                _ => false,
            }
        }
        ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } => {
            context
                .iter()
                .any(|branch| !branch.is_empty() && branch.iter().all(is_excusable))
        }
        _ => false,
    }
}
