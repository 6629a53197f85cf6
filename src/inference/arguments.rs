//! String arguments of tool calls, and whether a text contains one: by digest, so that neither is kept.
//!
//! An argument is known by the digest of how it begins, its length and the digest of all of it. A text
//! is looked through for beginnings that are known, and only what begins so is digested as a whole.

use crate::conversation::keyed;
use serde_json::Value;

/// Shortest argument that says anything, in bytes.
pub const LEAST_BYTES: usize = 6;
/// As much of an argument is its beginning, in bytes, if it is as long; of a shorter one it is
/// [`LEAST_BYTES`].
const BEGINNING_BYTES: usize = 24;
/// Most arguments of one tool call that are kept.
pub const MOST_ARGUMENTS: usize = 8;
/// Longest text that is looked through, in bytes.
pub const MOST_TEXT_BYTES: usize = 256 << 10;
/// Most that is digested while a text is looked through, in bytes.
const MOST_DIGESTED_BYTES: usize = 4 << 20;
/// Deepest value in arguments that is looked at.
const MOST_DEPTH: usize = 8;

/// One string argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argument {
    /// The digest of its beginning.
    pub beginning: u64,
    /// Its length in bytes.
    pub bytes: u32,
    /// The digest of all of it.
    pub whole: u64,
}

impl Argument {
    /// Of a text; `None` if it is too short to tell anything by.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        let text = text.trim().as_bytes();
        let beginning = match text.len() {
            0..LEAST_BYTES => return None,
            LEAST_BYTES..BEGINNING_BYTES => &text[..LEAST_BYTES],
            _ => &text[..BEGINNING_BYTES],
        };
        Some(Self {
            beginning: keyed(beginning),
            bytes: u32::try_from(text.len()).ok()?,
            whole: keyed(text),
        })
    }
}

/// The string arguments of a tool call, from its arguments as JSON: the longest first.
#[must_use]
pub fn of_json(json: &[u8]) -> Vec<Argument> {
    let Ok(value) = serde_json::from_slice(json) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    strings(&value, 0, &mut |text| {
        if let Some(argument) = Argument::of(text).filter(|one| !found.contains(one)) {
            found.push(argument);
        }
    });
    found.sort_by_key(|argument| std::cmp::Reverse(argument.bytes));
    found.truncate(MOST_ARGUMENTS);
    found
}

fn strings(value: &Value, depth: usize, each: &mut impl FnMut(&str)) {
    if depth > MOST_DEPTH {
        return;
    }
    match value {
        Value::String(text) => each(text),
        Value::Array(list) => list.iter().for_each(|one| strings(one, depth + 1, each)),
        Value::Object(members) => {
            let values = members.values();
            values.for_each(|one| strings(one, depth + 1, each));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A text in which arguments are looked for.
pub struct Text<'a> {
    bytes: &'a [u8],
    budget: usize,
}

impl<'a> Text<'a> {
    /// Without the white space around it, and of a very long one only as much as is looked through.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        let bytes = text.trim().as_bytes();
        Self {
            bytes: &bytes[..bytes.len().min(MOST_TEXT_BYTES)],
            budget: MOST_DIGESTED_BYTES,
        }
    }

    /// Its length in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The places where an argument may begin: at the start of a word, with the digests of how a
    /// longer and a shorter argument would begin there.
    pub fn beginnings(&self) -> impl Iterator<Item = (usize, [Option<u64>; 2])> + use<'a> {
        let bytes = self.bytes;
        (0..bytes.len()).filter_map(move |at| {
            let inside = at > 0 && is_word(bytes[at - 1]) && is_word(bytes[at]);
            let short = (!inside)
                .then(|| bytes.get(at..at + LEAST_BYTES))
                .flatten()?;
            let long = bytes.get(at..at + BEGINNING_BYTES);
            Some((at, [long.map(keyed), Some(keyed(short))]))
        })
    }

    /// Whether `argument` stands at `at`, as a whole word.
    pub fn holds(&mut self, at: usize, argument: &Argument) -> bool {
        let Ok(bytes) = usize::try_from(argument.bytes) else {
            return false;
        };
        let end = at + bytes;
        let Some(found) = self.bytes.get(at..end) else {
            return false;
        };
        let inside = (self.bytes.get(end)).is_some_and(|next| is_word(*next))
            && found.last().is_some_and(|last| is_word(*last));
        if inside || self.budget < bytes {
            return false;
        }
        self.budget -= bytes;
        keyed(found) == argument.whole
    }
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80
}
