//! The texts inside strings: decoded, written, and found without walking the structure.

use super::{Cow, Range};

/// The text between the quotes at `at`. `None` if its escapes form a broken surrogate pair.
pub(super) fn decode<'a>(body: &'a [u8], at: &Range<usize>, escaped: bool) -> Option<Cow<'a, str>> {
    let quoted = &body[at.clone()];
    let inside = quoted.get(1..quoted.len().saturating_sub(1))?;
    let text = std::str::from_utf8(inside).ok()?;
    match escaped {
        false => Some(Cow::Borrowed(text)),
        true => unescaped(text).map(Cow::Owned),
    }
}

/// What the inside of a string means.
fn unescaped(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        let (plain, escape) = rest.split_at(at);
        out.push_str(plain);
        let (letter, length) = match escape.as_bytes().get(1)? {
            b'n' => ('\n', 2),
            b't' => ('\t', 2),
            b'r' => ('\r', 2),
            b'b' => ('\u{8}', 2),
            b'f' => ('\u{c}', 2),
            b'u' => by_number(escape.as_bytes())?,
            byte @ (b'"' | b'\\' | b'/') => (char::from(*byte), 2),
            _ => return None,
        };
        out.push(letter);
        rest = escape.get(length..)?;
    }
    out.push_str(rest);
    Some(out)
}

/// The letter that one `\u` escape or a pair of them means, and the length of what means it, in bytes.
fn by_number(escape: &[u8]) -> Option<(char, usize)> {
    let first = unit(escape)?;
    if let Some(letter) = char::from_u32(u32::from(first)) {
        return Some((letter, 6));
    }
    let second = unit(escape.get(6..)?)?;
    let letter = char::decode_utf16([first, second]).next()?.ok()?;
    Some((letter, 12))
}

fn unit(escape: &[u8]) -> Option<u16> {
    let digits = escape.strip_prefix(b"\\u")?.first_chunk::<4>()?;
    digits.iter().try_fold(0, |unit, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(unit << 4 | u16::try_from(digit).ok()?)
    })
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
