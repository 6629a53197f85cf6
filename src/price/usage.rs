//! Token counts out of a provider's own `usage` object, normalised into [`Usage`]: no token stands
//! in two fields, whatever the provider's habit.
//!
//! The object is read once per call, borrowed, by typed fields; fields that are not listed here
//! are skipped. A count that is no count (negative, a string) makes the whole object unreadable,
//! which the caller settles as "usage absent": better a whole hold than a wrong number.

use crate::dialect::Usage;
use serde_json::from_str;

mod anthropic;
mod bedrock;
mod count;
mod gemini;
mod openai;

/// Whose habits the object follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Chat completions, completions and embeddings, of OpenAI and of all who imitate it (Groq,
    /// Mistral, DeepSeek, xAI, OpenRouter …: told apart by their fields).
    OpenaiChat,
    /// OpenAI's Responses API and its imitators.
    OpenaiResponses,
    /// Anthropic's Messages API.
    Anthropic,
    /// Amazon Bedrock's Converse.
    Bedrock,
    /// Gemini's `usageMetadata`.
    Gemini,
}

/// Reads the `usage` object of an answer.
///
/// `object` is the JSON of the object itself. `None` if it is `null`, unreadable, or holds no
/// count at all. Tier, speed and geography are set if the object holds them; where they stand
/// outside it (OpenAI's `service_tier`), the caller sets the fields.
#[must_use]
pub fn from_json(shape: Shape, object: &[u8]) -> Option<Usage> {
    // Once for all of it is cheaper than name by name.
    let object = std::str::from_utf8(object).ok()?;
    match shape {
        Shape::OpenaiChat | Shape::OpenaiResponses => {
            from_str::<openai::Object<'_>>(object).ok()?.normalise()
        }
        Shape::Anthropic => from_str::<anthropic::Object<'_>>(object).ok()?.normalise(),
        Shape::Bedrock => from_str::<bedrock::Object<'_>>(object).ok()?.normalise(),
        Shape::Gemini => from_str::<gemini::Object<'_>>(object).ok()?.normalise(),
    }
}

#[cfg(test)]
mod tests;
