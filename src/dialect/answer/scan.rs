//! A forward scan over JSON bytes that builds nothing: it finds members and jumps over what nobody
//! asked for. It does not validate what it jumps over; a value of another type than the one asked
//! for is skipped and reported as absent.

use crate::json::{NEAR, near};

/// The bytes are not JSON, or not all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

pub(crate) type Scan<T> = Result<T, Malformed>;

/// A place in JSON bytes. Every method expects to stand before a value and leaves behind it.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// What has not been walked.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// The next byte that is not white space: it tells what kind of value comes.
    pub(crate) fn peek(&mut self) -> Scan<u8> {
        loop {
            match self.bytes.get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                Some(byte) => return Ok(*byte),
                None => return Err(Malformed),
            }
        }
    }

    fn take(&mut self, byte: u8) -> Scan<()> {
        if self.peek()? != byte {
            return Err(Malformed);
        }
        self.at += 1;
        Ok(())
    }

    /// Calls `member` with each key (as written, without quotes) before its value, which `member`
    /// must consume.
    pub(crate) fn object(
        &mut self,
        mut member: impl FnMut(&'a [u8], &mut Self) -> Scan<()>,
    ) -> Scan<()> {
        if self.peek()? != b'{' {
            self.skip()?;
            return Ok(());
        }
        self.at += 1;
        if self.peek()? == b'}' {
            self.at += 1;
            return Ok(());
        }
        loop {
            let Text(key) = self.quoted()?;
            self.take(b':')?;
            member(key, self)?;
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(Malformed),
            }
        }
    }

    /// Calls `element` before each element, which it must consume.
    pub(crate) fn array(&mut self, mut element: impl FnMut(&mut Self) -> Scan<()>) -> Scan<()> {
        if self.peek()? != b'[' {
            self.skip()?;
            return Ok(());
        }
        self.at += 1;
        if self.peek()? == b']' {
            self.at += 1;
            return Ok(());
        }
        loop {
            element(self)?;
            match self.peek()? {
                b',' => self.at += 1,
                b']' => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(Malformed),
            }
        }
    }

    /// A string; `None` if the value is something else.
    pub(crate) fn text(&mut self) -> Scan<Option<Text<'a>>> {
        if self.peek()? == b'"' {
            return self.quoted().map(Some);
        }
        self.skip()?;
        Ok(None)
    }

    /// A whole number; `None` if the value is something else.
    pub(crate) fn whole(&mut self) -> Scan<Option<u64>> {
        let raw = self.skip()?;
        Ok(std::str::from_utf8(raw)
            .ok()
            .and_then(|raw| raw.parse().ok()))
    }

    /// The bytes of the value, unless it is `null`.
    pub(crate) fn present(&mut self) -> Scan<Option<&'a [u8]>> {
        let raw = self.skip()?;
        Ok((raw != b"null").then_some(raw))
    }

    /// The bytes of the value.
    pub(crate) fn skip(&mut self) -> Scan<&'a [u8]> {
        let first = self.peek()?;
        let from = self.at;
        match first {
            b'"' => {
                self.quoted()?;
            }
            b'{' => self.balanced(b'{', b'}')?,
            b'[' => self.balanced(b'[', b']')?,
            b',' | b':' | b'}' | b']' => return Err(Malformed),
            _ => {
                let ends =
                    |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t');
                let rest = &self.bytes[from..];
                self.at += rest.iter().position(ends).unwrap_or(rest.len());
            }
        }
        Ok(&self.bytes[from..self.at])
    }

    /// Jumps behind the bracket that closes this one. Brackets of the other kind balance by
    /// themselves in JSON, so looking for one kind is enough, and arrays of numbers fly by.
    fn balanced(&mut self, open: u8, close: u8) -> Scan<()> {
        let mut depth = 0_usize;
        loop {
            let rest = &self.bytes[self.at..];
            let found = first(rest, [b'"', open, close], |far| {
                memchr::memchr3(b'"', open, close, far)
            });
            let found = found.ok_or(Malformed)?;
            self.at += found;
            let byte = rest[found];
            if byte == b'"' {
                self.quoted()?;
                continue;
            }
            self.at += 1;
            depth = if byte == open { depth + 1 } else { depth - 1 };
            if depth == 0 {
                return Ok(());
            }
        }
    }

    /// A string, standing before its quote.
    fn quoted(&mut self) -> Scan<Text<'a>> {
        self.take(b'"')?;
        let from = self.at;
        loop {
            let rest = self.bytes.get(self.at..).ok_or(Malformed)?;
            let found = first(rest, [b'"', b'\\'], |far| memchr::memchr2(b'"', b'\\', far));
            let found = found.ok_or(Malformed)?;
            self.at += found;
            if rest[found] == b'"' {
                let text = Text(&self.bytes[from..self.at]);
                self.at += 1;
                return Ok(text);
            }
            // The backslash and the byte it escapes.
            self.at += 2;
        }
    }
}

/// Where the first byte stands that is one of those meant. Most stand near, for keys and numbers are short: there
/// a call of what `far` uses costs more than it saves.
#[inline(always)]
fn first<const N: usize>(
    bytes: &[u8],
    meant: [u8; N],
    far: impl Fn(&[u8]) -> Option<usize>,
) -> Option<usize> {
    const BLOCKS: usize = 4;
    let mut at = 0;
    let (blocks, _) = bytes.as_chunks::<NEAR>();
    for block in blocks.iter().take(BLOCKS) {
        if let Some(found) = near(block, meant) {
            return Some(at + found);
        }
        at += NEAR;
    }
    let rest = &bytes[at..];
    let found = if rest.len() < NEAR {
        rest.iter().position(|byte| meant.contains(byte))
    } else {
        far(rest)
    };
    found.map(|found| at + found)
}

/// The inside of a JSON string, as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Text<'a>(pub(crate) &'a [u8]);

impl<'a> Text<'a> {
    pub(crate) const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// Length in bytes of UTF-8 once unescaped.
    pub(crate) fn decoded_len(self) -> u64 {
        let mut len = self.0.len();
        let mut rest = self.0;
        while let Some(at) = backslash(rest) {
            let (written, meant) = match rest.get(at + 1) {
                Some(b'u') => (6, escaped_len(rest.get(at + 2..at + 6))),
                _ => (2, 1),
            };
            len = len.saturating_sub(written - meant);
            rest = rest.get(at + written..).unwrap_or_default();
        }
        u64::try_from(len).unwrap_or(u64::MAX)
    }

    /// The text as it stands, if that is what it means.
    pub(crate) fn plain(self) -> Option<&'a str> {
        let is_plain = backslash(self.0).is_none();
        is_plain.then(|| std::str::from_utf8(self.0).ok())?
    }

    /// Unescaped; the raw text, made valid, where that fails. At most `bytes_max` bytes are kept.
    pub(crate) fn decoded(self, bytes_max: usize) -> String {
        let mut text = match self.plain() {
            Some(text) => text.to_owned(),
            None => self.unescaped(),
        };
        if text.len() > bytes_max {
            text.truncate(text.floor_char_boundary(bytes_max));
        }
        text
    }

    fn unescaped(self) -> String {
        let quoted = [b"\"", self.0, b"\""].concat();
        match serde_json::from_slice(&quoted) {
            Ok(text) => text,
            Err(_) => String::from_utf8_lossy(self.0).into_owned(),
        }
    }
}

fn backslash(text: &[u8]) -> Option<usize> {
    first(text, [b'\\'], |far| memchr::memchr(b'\\', far))
}

/// UTF-8 bytes of one `\uXXXX`; each half of a surrogate pair counts for half of its four.
fn escaped_len(digits: Option<&[u8]>) -> usize {
    let code = digits
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .and_then(|digits| u32::from_str_radix(digits, 16).ok());
    match code {
        Some(0..0x80) => 1,
        Some(0x80..0x800 | 0xD800..0xE000) => 2,
        _ => 3,
    }
}

#[cfg(test)]
mod tests;
