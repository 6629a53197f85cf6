//! Who spoke: a person, or the machinery? Frameworks put tool results, other agents' answers and
//! their own set phrases into user messages. A message is a person's only if none of it stands in
//! an answer, a tool argument or a result of the task, and if it was not sent before.

use super::window::Recent;
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

/// As many sentences are remembered for a task.
pub(super) const MOST_SENTENCES: usize = 128;
/// As many sentences of one message are remembered.
const MOST_OF_ONE: usize = 24;

/// Digests of sentences that were heard in the task.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard(Recent<u32, MOST_SENTENCES>);

impl Heard {
    /// Remembers a text.
    pub(super) fn hear(&mut self, text: &str) {
        for sentence in sentences(text).take(MOST_OF_ONE) {
            if !self.0.contains(&sentence) {
                self.0.push(sentence);
            }
        }
    }

    /// Remembers the texts in a tool call's arguments.
    pub(super) fn hear_arguments(&mut self, arguments: &str) {
        match serde_json::from_str::<Value>(arguments) {
            Ok(value) => self.hear_value(&value),
            Err(_) => self.hear(arguments),
        }
    }

    fn hear_value(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.hear(text),
            Value::Array(items) => items.iter().for_each(|item| self.hear_value(item)),
            Value::Object(members) => members.values().for_each(|member| self.hear_value(member)),
            _ => {}
        }
    }

    /// True if all of the text was heard before; an empty text is nobody's.
    pub(super) fn knows(&self, text: &str) -> bool {
        sentences(text)
            .take(MOST_OF_ONE)
            .all(|sentence| self.0.contains(&sentence))
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.bytes()
    }
}

/// Digests of the sentences and lines of a text, letters and digits only.
fn sentences(text: &str) -> impl Iterator<Item = u32> + '_ {
    let mut bytes = text.bytes().chain([b'\n']);
    let mut letters = Vec::new();
    std::iter::from_fn(move || {
        letters.clear();
        for byte in bytes.by_ref() {
            if byte.is_ascii_alphanumeric() || byte >= 0x80 {
                letters.push(byte.to_ascii_lowercase());
            } else if matches!(byte, b'.' | b'!' | b'?' | b'\n' | b':' | b';')
                && !letters.is_empty()
            {
                let digest = xxh3_64(&letters) >> 32;
                return Some(u32::try_from(digest).unwrap_or(0));
            }
        }
        None
    })
}

/// As much of a text as is remembered to know a person's words by, in bytes.
const MOST_HEARD_BYTES: usize = 4 << 10;

/// The beginning of a text, as far as it is remembered.
pub(super) fn head(text: &str) -> &str {
    &text[..text.floor_char_boundary(MOST_HEARD_BYTES)]
}
