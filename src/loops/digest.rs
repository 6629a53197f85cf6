//! Digests of what an agent did and saw: an action (tool and canonical arguments), an outcome (the
//! observations without what changes by itself), and the gist of a text (a 64-bit SimHash).
//!
//! They are not keyed: two texts that were made to collide would only look like a repetition, and
//! whoever can write both can repeat one of them.

use super::scrub::{MOST_SCRUBBED_BYTES, scrub};
use memchr::memmem::Finder;
use serde_json::Value;
use std::sync::LazyLock;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// Arguments longer than this are compared as they stand, in bytes.
const MOST_ARGUMENT_BYTES: usize = 256 << 10;
/// A JSON text inside a JSON string is read, and one inside that; no further.
const MOST_NESTED: u8 = 2;

/// A 64-bit digest, as evidence shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub u64);

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What an outcome sounds like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// It says something.
    #[default]
    Plain,
    /// It says little, or nothing at all: `done`, or the silence of a command that went well.
    Brief,
    /// It says that there is nothing: an empty list, null.
    Empty,
    /// It reads like an error.
    Error,
}

/// The digest of one tool call: its name and its arguments, whatever the order of their keys, their
/// white space and the form of their numbers.
#[must_use]
pub fn action(name: &str, arguments: &str) -> Digest {
    let mut hash = Xxh3::new();
    hash.update(name.as_bytes());
    hash.update(&[0]);
    let mut canonical = Vec::with_capacity(arguments.len().min(MOST_ARGUMENT_BYTES));
    canonical_arguments(arguments, &mut canonical);
    hash.update(&canonical);
    Digest(hash.digest())
}

/// Appends the canonical form of a tool call's arguments; text that is no JSON has its white space
/// folded.
pub fn canonical_arguments(arguments: &str, out: &mut Vec<u8>) {
    if arguments.len() > MOST_ARGUMENT_BYTES {
        out.extend_from_slice(arguments.as_bytes());
        return;
    }
    match serde_json::from_str::<Value>(arguments) {
        Ok(value) => canonical_value(&value, 0, out),
        Err(_) => fold_blanks(arguments, out),
    }
}

fn fold_blanks(text: &str, out: &mut Vec<u8>) {
    for (i, word) in text.split_whitespace().enumerate() {
        if i > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(word.as_bytes());
    }
}

/// Objects come sorted by key already: `serde_json` keeps them so.
fn canonical_value(value: &Value, nested: u8, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => canonical_number(number, out),
        Value::String(text) => canonical_string(text, nested, out),
        Value::Array(items) => {
            out.push(b'[');
            for item in items {
                canonical_value(item, nested, out);
                out.push(b',');
            }
            out.push(b']');
        }
        Value::Object(members) => {
            out.push(b'{');
            for (key, member) in members {
                // The length stands for the quotes: no text can look like two members.
                out.extend_from_slice(&key.len().to_le_bytes());
                out.extend_from_slice(key.as_bytes());
                out.push(b':');
                canonical_value(member, nested, out);
                out.push(b',');
            }
            out.push(b'}');
        }
    }
}

fn canonical_string(text: &str, nested: u8, out: &mut Vec<u8>) {
    let looks_like_json = text.trim_start().starts_with(['{', '[']);
    if nested < MOST_NESTED
        && looks_like_json
        && let Ok(value) = serde_json::from_str::<Value>(text)
    {
        return canonical_value(&value, nested + 1, out);
    }
    out.push(b'"');
    out.extend_from_slice(&text.len().to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// `1`, `1.0` and `1e0` are one number.
fn canonical_number(number: &serde_json::Number, out: &mut Vec<u8>) {
    // Every whole number below this is exact as a float.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let text = match number.as_f64() {
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < EXACT => {
            // Adding zero makes -0.0 the same as 0.
            format!("{:.0}", float + 0.0)
        }
        _ => number.to_string(),
    };
    out.extend_from_slice(text.as_bytes());
}

/// An observation: its digest without what changes by itself, and its tone.
#[must_use]
pub fn outcome(text: &str, scratch: &mut Vec<u8>) -> (Digest, Tone) {
    scratch.clear();
    scrub(text, scratch);
    let tone = tone(&scratch[..scratch.len().min(MOST_SCRUBBED_BYTES)]);
    (Digest(xxh3_64(scratch)), tone)
}

/// Puts several digests, in any order, into one.
#[must_use]
pub fn together(digests: &mut [Digest]) -> Digest {
    match digests {
        [] => Digest::default(),
        [one] => *one,
        many => {
            many.sort_unstable();
            let mut hash = Xxh3::new();
            for digest in many.iter() {
                hash.update(&digest.0.to_le_bytes());
            }
            Digest(hash.digest())
        }
    }
}

/// How much of an observation's beginning is searched for words of error, in bytes.
const TONE_BYTES: usize = 400;
/// Below this an observation is taken for an acknowledgement, in bytes.
const BRIEF_BYTES: usize = 200;
/// What errors say, in lower case.
const ERROR_WORDS: [&str; 14] = [
    "error",
    "exception",
    "traceback",
    "not found",
    "no such",
    "denied",
    "failed",
    "invalid",
    "cannot",
    "unknown",
    "unexpected",
    "timed out",
    "timeout",
    "must ",
];

static ERROR_FINDERS: LazyLock<[Finder<'static>; 14]> =
    LazyLock::new(|| ERROR_WORDS.map(Finder::new));

fn tone(scrubbed: &[u8]) -> Tone {
    if matches!(
        scrubbed,
        b"[]" | b"{}" | b"null" | b"None" | b"()" | b"\"\""
    ) {
        return Tone::Empty;
    }
    let head = scrubbed[..scrubbed.len().min(TONE_BYTES)].to_ascii_lowercase();
    let has = |word: &Finder<'static>| word.find(&head).is_some();
    match ERROR_FINDERS.iter().any(has) {
        true => Tone::Error,
        false if scrubbed.len() < BRIEF_BYTES => Tone::Brief,
        false => Tone::Plain,
    }
}

/// The words of a text as digests, in order, the case of ASCII letters left out.
pub(super) fn words(text: &str) -> impl Iterator<Item = u64> + '_ {
    // A fast digest in one pass: the words of a large observation are many, and a collision only makes
    // two of them look alike.
    const SEED: u64 = 0xcbf2_9ce4_8422_2325;
    let in_word = |byte: u8| byte.is_ascii_alphanumeric() || byte >= 0x80;
    let mut bytes = text.bytes().chain([b' ']);
    std::iter::from_fn(move || {
        let mut digest = SEED;
        for byte in bytes.by_ref() {
            if in_word(byte) {
                let folded = u64::from(byte.to_ascii_lowercase());
                digest = (digest ^ folded).wrapping_mul(0x0000_0100_0000_01b3);
            } else if digest != SEED {
                return Some(mix(digest));
            }
        }
        None
    })
}

/// The digest of one word, its case left out.
pub(super) fn word(word: &str) -> u64 {
    xxh3_64(word.to_lowercase().as_bytes())
}

/// Spreads a digest over all its bits.
const fn mix(digest: u64) -> u64 {
    let mixed = (digest ^ digest >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 29
}

/// A 64-bit SimHash over the text's pairs of words: near-identical texts differ in few bits.
#[must_use]
pub fn gist(scrubbed: &str) -> u64 {
    let mut votes = [0_i32; 64];
    let mut vote = |digest: u64| {
        for (bit, vote) in votes.iter_mut().enumerate() {
            *vote += if digest >> bit & 1 == 1 { 1 } else { -1 };
        }
    };
    let mut last = None;
    for word in words(scrubbed) {
        vote(word);
        if let Some(last) = last {
            vote(pair(last, word));
        }
        last = Some(word);
    }
    let bits = votes.iter().enumerate();
    bits.fold(0, |gist, (bit, vote)| gist | u64::from(*vote > 0) << bit)
}

/// Two digests, in order, as one.
pub(super) const fn pair(first: u64, second: u64) -> u64 {
    let mixed = first.rotate_left(23) ^ second.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed.wrapping_mul(0xff51_afd7_ed55_8ccd) ^ mixed >> 29
}

#[cfg(test)]
mod tests;
