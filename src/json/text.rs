//! The texts inside strings: decoded, written, and found without walking the structure.

use super::{Cow, Range};

/// The text between the quotes at `at`. `None` if its escapes form a broken surrogate pair.
pub(super) fn decode<'a>(body: &'a [u8], at: &Range<usize>, escaped: bool) -> Option<Cow<'a, str>> {
    let quoted = &body[at.clone()];
    if escaped {
        return serde_json::from_slice(quoted).ok().map(Cow::Owned);
    }
    let plain = quoted.get(1..quoted.len().saturating_sub(1))?;
    std::str::from_utf8(plain).ok().map(Cow::Borrowed)
}

/// `text` as a JSON string, quotes included.
#[must_use]
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The ranges of all strings, keys and values, quotes included, in a part of a body that has been
/// walked before and begins outside a string.
#[must_use]
pub fn strings(body: &[u8], within: Range<usize>) -> Strings<'_> {
    Strings {
        body: &body[..within.end],
        at: within.start,
    }
}

/// See [`strings`].
#[derive(Debug)]
pub struct Strings<'a> {
    body: &'a [u8],
    at: usize,
}

impl Iterator for Strings<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.at + memchr::memchr(b'"', self.body.get(self.at..)?)?;
        let mut at = start + 1;
        loop {
            at += memchr::memchr2(b'"', b'\\', self.body.get(at..)?)?;
            if self.body[at] == b'"' {
                break;
            }
            at += 2;
        }
        self.at = at + 1;
        Some(start..self.at)
    }
}
