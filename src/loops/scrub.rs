//! Text as loop detection compares it: white space folded, and what differs from call to call by
//! itself (timestamps, ids, addresses, durations, counters, temporary paths) put behind a mark.
//! Two observations that say the same about the world come out as the same bytes.
//!
//! What stays matters as much: percentages, plain numbers, dates without a time, page numbers and
//! "3 failed, 10 passed" are how progress shows, so none of them is touched.
//!
//! **Invariant:** scrubbing scrubbed text changes nothing, and no input makes it panic.

mod shapes;

use shapes::{Context, volatile};

/// Beyond this many bytes of one text the rest is taken as it stands: the bound on the work for
/// one message. 256 KiB.
pub const MOST_SCRUBBED_BYTES: usize = 256 << 10;

/// What stands between a counter's name and its number: `attempt #3`, `"attempt": 3`, `pid=17`.
const JOINTS: &[u8] = b" :=#\"'([.-";

/// Appends the canonical form of `text` to `out`.
pub fn scrub(text: &str, out: &mut Vec<u8>) {
    let from = out.len();
    let cut = text.floor_char_boundary(MOST_SCRUBBED_BYTES);
    let bytes = &text.as_bytes()[..cut];
    let mut context = Context::default();
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        if let Some(width) = blank(bytes, at) {
            if out.len() > from && out.last() != Some(&b' ') {
                out.push(b' ');
            }
            at += width;
        } else if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'/' {
            let end = word_end(bytes, at);
            if let Some(found) = volatile(bytes, at, end, context) {
                out.extend_from_slice(&bytes[at..at + found.kept]);
                out.extend_from_slice(found.mark);
                context = Context::default();
                at += found.width;
            } else {
                out.extend_from_slice(&bytes[at..end]);
                context = match byte {
                    b'/' => Context::default(),
                    _ => Context::after(&bytes[at..end]),
                };
                at = end;
            }
        } else {
            if !JOINTS.contains(&byte) {
                context = Context::default();
            }
            out.push(byte);
            at += 1;
        }
    }
    if out.len() > from && out.last() == Some(&b' ') {
        out.pop();
    }
    out.extend_from_slice(&text.as_bytes()[cut..]);
}

/// How many bytes of white space stand here: a blank or, since observations are often JSON texts in
/// a JSON string, the escape of one.
fn blank(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes[at] {
        byte if byte.is_ascii_whitespace() => Some(1),
        b'\\' if matches!(bytes.get(at + 1), Some(b'n' | b'r' | b't')) => Some(2),
        _ => None,
    }
}

/// Where the word that starts here ends; a slash is a word by itself.
fn word_end(bytes: &[u8], at: usize) -> usize {
    if bytes[at] == b'/' {
        return at + 1;
    }
    let rest = &bytes[at..];
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    at + rest
        .iter()
        .position(|byte| !is_word(byte))
        .unwrap_or(rest.len())
}

#[cfg(test)]
mod tests;
