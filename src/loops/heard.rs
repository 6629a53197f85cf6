//! Who spoke: a person, or the machinery? Frameworks put tool results, other agents' answers and
//! their own set phrases into user messages. A message is a person's only if none of it stands in
//! an answer, a tool argument or a result of the task, and if it was not sent before.

use super::window::Recent;
use serde_json::Value;

/// As many sentences are remembered for a task.
pub(super) const MOST_SENTENCES: usize = 128;
/// As many sentences of one message are remembered.
const MOST_OF_ONE: usize = 24;

/// Digests of sentences that were heard in the task.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard(Recent<u32, MOST_SENTENCES>);

impl Heard {
    /// Remembers a text.
    pub(super) fn hear(&mut self, said: &Sentences) {
        for sentence in said.iter() {
            if !self.0.contains(sentence) {
                self.0.push(*sentence);
            }
        }
    }

    /// Remembers the texts in a tool call's arguments.
    pub(super) fn hear_arguments(&mut self, arguments: &str) {
        let arguments = head(arguments);
        match serde_json::from_str::<Value>(arguments) {
            Ok(value) => self.hear_value(&value),
            Err(_) => self.hear(&Sentences::of(arguments)),
        }
    }

    fn hear_value(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.hear(&Sentences::of(text)),
            Value::Array(items) => items.iter().for_each(|item| self.hear_value(item)),
            Value::Object(members) => members.values().for_each(|member| self.hear_value(member)),
            _ => {}
        }
    }

    /// True if all of the text was heard before; an empty text is nobody's.
    pub(super) fn knows(&self, said: &Sentences) -> bool {
        said.iter().all(|sentence| self.0.contains(sentence))
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.bytes()
    }
}

/// Digests of the first sentences and lines of a text, letters and digits only.
#[derive(Debug)]
pub(super) struct Sentences {
    digests: [u32; MOST_OF_ONE],
    len: usize,
}

/// What a byte is to a sentence: 0 is nothing, [`END`] ends it, a letter or digit stands in lower case.
const SIGNS: [u8; 256] = {
    let mut signs = [0; 256];
    let mut byte = 0_u8;
    loop {
        if byte.is_ascii_alphanumeric() || byte >= 0x80 {
            signs[byte as usize] = byte.to_ascii_lowercase();
        }
        if matches!(byte, b'.' | b'!' | b'?' | b'\n' | b':' | b';') {
            signs[byte as usize] = END;
        }
        if byte == u8::MAX {
            break signs;
        }
        byte += 1;
    }
};
const END: u8 = 1;

impl Sentences {
    /// Reads the beginning of a text.
    pub(super) fn of(text: &str) -> Self {
        let mut found = Self {
            digests: [0; MOST_OF_ONE],
            len: 0,
        };
        let mut sentence = Mixed::default();
        for byte in head(text).bytes().chain([b'\n']) {
            match SIGNS[usize::from(byte)] {
                0 => {}
                END if sentence.bytes == 0 => {}
                END => {
                    found.digests[found.len] = std::mem::take(&mut sentence).finish();
                    found.len += 1;
                    if found.len == MOST_OF_ONE {
                        break;
                    }
                }
                letter => sentence.add(letter),
            }
        }
        found
    }

    fn iter(&self) -> impl Iterator<Item = &u32> {
        self.digests[..self.len].iter()
    }
}

/// A digest of letters that come one by one.
#[derive(Debug, Default)]
struct Mixed {
    state: u64,
    word: u64,
    bytes: u64,
}

impl Mixed {
    fn add(&mut self, letter: u8) {
        self.word = self.word << 8 | u64::from(letter);
        self.bytes += 1;
        if self.bytes.is_multiple_of(8) {
            self.mix();
        }
    }

    fn mix(&mut self) {
        /// A prime near the golden ratio's share of 64 bits.
        const PRIME: u64 = 0x9e37_79b1_85eb_ca87;
        let mixed = (self.state ^ self.word).wrapping_mul(PRIME);
        self.state = mixed ^ (mixed >> 32);
        self.word = 0;
    }

    fn finish(mut self) -> u32 {
        self.mix();
        self.word = self.bytes;
        self.mix();
        let [.., a, b, c, d] = self.state.to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }
}

/// As much of a text as is remembered to know a person's words by, in bytes.
const MOST_HEARD_BYTES: usize = 4 << 10;

/// The beginning of a text, as far as it is remembered.
fn head(text: &str) -> &str {
    &text[..text.floor_char_boundary(MOST_HEARD_BYTES)]
}
