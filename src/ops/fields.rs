//! What an operator's request says, field by field: a JSON object or a query string. Unknown fields
//! and fields that stand there twice are refused; money is a string or a whole number of dollars.

use super::failure::Failure;
use crate::config::{advice, parse_span};
use crate::ledger::Caps;
use crate::stack::attribute::ids::is_id;
use crate::units::{Meter, NanoUsd};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use std::fmt;
use std::sync::Arc;

/// Longest text that is no id, bytes.
const MAX_TEXT_BYTES: usize = 256;

/// The fields of a request, each taken out once.
#[derive(Debug, Default)]
pub struct Fields(Vec<(String, Value)>);

impl Fields {
    /// The fields of a body; an empty one has none.
    ///
    /// # Errors
    /// No JSON object, a field unknown or named twice.
    pub fn of_body(body: &[u8], known: &[&str]) -> Result<Self, Failure> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        let object: Object = serde_json::from_slice(body)
            .map_err(|error| Failure::invalid(format!("the body is no JSON object: {error}")))?;
        Self::checked(object.0, known)
    }

    /// The fields of a query.
    ///
    /// # Errors
    /// A field unknown or named twice.
    pub fn of_query(pairs: Vec<(String, String)>, known: &[&str]) -> Result<Self, Failure> {
        let pairs = pairs.into_iter();
        Self::checked(
            pairs
                .map(|(name, text)| (name, Value::String(text)))
                .collect(),
            known,
        )
    }

    pub(super) fn checked(fields: Vec<(String, Value)>, known: &[&str]) -> Result<Self, Failure> {
        for (index, (name, _)) in fields.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                let shown = name.chars().take(MAX_TEXT_BYTES).collect::<String>();
                let advice = advice(name, known);
                return Err(Failure::invalid(format!(
                    "`{shown}` is not known here; {advice}"
                )));
            }
            if fields[..index].iter().any(|(other, _)| other == name) {
                return Err(Failure::invalid(format!("`{name}` stands there twice")));
            }
        }
        Ok(Self(fields))
    }

    /// Takes a field out; `null` is as good as absent.
    fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        match self.0.swap_remove(at).1 {
            Value::Null => None,
            value => Some(value),
        }
    }

    /// A text of at most 256 bytes, without control characters.
    ///
    /// # Errors
    /// Anything else.
    pub fn text(&mut self, name: &str) -> Result<Option<Arc<str>>, Failure> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        let text = value.as_str().filter(|text| {
            !text.is_empty() && text.len() <= MAX_TEXT_BYTES && !text.chars().any(char::is_control)
        });
        match text {
            Some(text) => Ok(Some(text.into())),
            None => Err(Failure::invalid(format!(
                "`{name}` is a text of at most {MAX_TEXT_BYTES} bytes without control characters"
            ))),
        }
    }

    /// An id: at most 256 bytes of visible ASCII.
    ///
    /// # Errors
    /// Anything else.
    pub fn id(&mut self, name: &str) -> Result<Option<Arc<str>>, Failure> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) if is_id(&text) => Ok(Some(text.into())),
            Some(_) => Err(Failure::invalid(format!(
                "`{name}` is an id: at most 256 bytes of visible ASCII"
            ))),
        }
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// Anything else.
    pub fn flag(&mut self, name: &str) -> Result<bool, Failure> {
        match self.take(name) {
            None | Some(Value::Bool(false)) => Ok(false),
            Some(Value::Bool(true)) => Ok(true),
            Some(Value::String(text)) if text == "true" => Ok(true),
            Some(Value::String(text)) if text == "false" => Ok(false),
            Some(_) => Err(Failure::invalid(format!("`{name}` is true or false"))),
        }
    }

    /// A whole number, zero included. A query says it in digits.
    ///
    /// # Errors
    /// Anything else.
    pub fn count(&mut self, name: &str) -> Result<Option<u64>, Failure> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        let count = match &value {
            Value::Number(number) => number.as_u64(),
            Value::String(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().ok()
            }
            _ => None,
        };
        count.map(Some).ok_or_else(|| {
            Failure::invalid(format!(
                "`{name}` is a whole number between 0 and {}",
                u64::MAX
            ))
        })
    }

    /// Dollars: a string or a whole number. A float is refused with the string to write instead.
    ///
    /// # Errors
    /// Anything else.
    pub fn money(&mut self, name: &str) -> Result<Option<NanoUsd>, Failure> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        money(&value)
            .map(Some)
            .map_err(|why| Failure::invalid(format!("`{name}`: {why}")))
    }

    /// A cap or an amount for every meter that is named.
    ///
    /// # Errors
    /// A value that does not fit its meter.
    pub fn meters(&mut self) -> Result<Caps, Failure> {
        let mut caps = Caps::default();
        for meter in METERS {
            let name = meter.name();
            caps.0[meter as usize] = match meter {
                Meter::Usd => self.money(name)?.map(|usd| usd.0),
                Meter::Duration => self.span_ms(name)?,
                _ => self.count(name)?,
            };
        }
        Ok(caps)
    }

    fn span_ms(&mut self, name: &str) -> Result<Option<u64>, Failure> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        let span = parse_span(&text).map_err(|why| Failure::invalid(format!("`{name}`: {why}")))?;
        Ok(Some(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// The meters that a task's own cap or a top-up may name: all but `tasks`, for a task opens none.
pub const METERS: [Meter; 11] = [
    Meter::Usd,
    Meter::Tokens,
    Meter::InputTokens,
    Meter::OutputTokens,
    Meter::FreshTokens,
    Meter::Turns,
    Meter::Attempts,
    Meter::ToolCalls,
    Meter::Duration,
    Meter::Depth,
    Meter::FanOut,
];

/// Reads an amount of dollars.
fn money(value: &Value) -> Result<NanoUsd, String> {
    match value {
        Value::String(text) => text.parse().map_err(|error| format!("{error}")),
        Value::Number(number) => match number.as_u64() {
            Some(usd) if usd <= u64::MAX / NanoUsd::PER_USD => Ok(NanoUsd::from_usd(usd)),
            Some(usd) => Err(format!("`{usd}` is more than 18 billion dollars")),
            None => {
                let plain = number.to_string().parse::<NanoUsd>();
                let plain = plain.map_or_else(|_| "2.00".to_owned(), |usd| usd.to_string());
                Err(format!(
                    "money is never a float, for floats cannot hold cents; write the string \"{plain}\""
                ))
            }
        },
        _ => Err("this should be an amount in dollars such as \"2.00\"".to_owned()),
    }
}

/// A JSON object with every field it has, also those that stand there twice.
pub(super) struct Object(pub(super) Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Object;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Object(fields))
            }
        }
        deserializer.deserialize_map(Read)
    }
}

#[cfg(test)]
mod tests;
