//! JSON by byte range: one pass over a body, no tree, nothing copied.
//!
//! A [`Cursor`] is driven by whoever knows what the body should hold: it walks objects and arrays
//! member by member and steps over what is of no interest, checking the grammar either way. The
//! text is never re-serialised; what must change is cut out and put in by [`splice()`].
//!
//! Needs: the whole body in memory, already bounded in size by the caller.
//! Adds: structure, UTF-8 and depth checked; ranges into the body; [`JsonError`] with an offset.

use fearless_simd::Level;
use std::borrow::Cow;
use std::ops::Range;

mod splice;
mod string;
mod text;
mod value;

pub use splice::{Change, splice, without_members};
pub(crate) use string::{NEAR, near};
pub use text::{Strings, quoted, strings};
pub use value::{Key, Value};

/// Deepest nesting of arrays and objects that is read, in levels.
pub const DEPTH_MAX: usize = 128;

/// Why a text is not JSON that Bursar reads.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at byte {offset}")]
pub struct JsonError {
    /// Where in the body, in bytes.
    pub offset: usize,
    /// What is wrong; fit to be shown to the client.
    pub reason: Reason,
}

/// What is wrong with the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Nothing but white space.
    #[error("the body is empty")]
    Empty,
    /// A byte-order mark.
    #[error("the body begins with a byte-order mark")]
    ByteOrderMark,
    /// Not UTF-8.
    #[error("the body is not valid UTF-8")]
    Utf8,
    /// Text ends in the middle.
    #[error("the JSON ends too early")]
    Truncated,
    /// Something other than a value.
    #[error("expected a JSON value")]
    Value,
    /// No string where a key belongs.
    #[error("expected a member name in quotes")]
    Key,
    /// No colon after a key.
    #[error("expected a colon")]
    Colon,
    /// Neither a comma nor the end of the array or object.
    #[error("expected a comma or the end of the array or object")]
    Comma,
    /// No number of JSON's grammar.
    #[error("malformed number")]
    Number,
    /// An escape that JSON does not have.
    #[error("malformed escape in a string")]
    Escape,
    /// A control character in a string.
    #[error("unescaped control character in a string")]
    Control,
    /// More than [`DEPTH_MAX`] levels.
    #[error("nested more than {DEPTH_MAX} levels deep")]
    Depth,
    /// Something after the value.
    #[error("unexpected text after the JSON")]
    Trailing,
}

/// The kind of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number.
    Number,
    /// A string; `escaped` if its text differs from its bytes.
    String {
        /// True if it holds a backslash.
        escaped: bool,
    },
    /// An array.
    Array,
    /// An object.
    Object,
}

/// Walks a body once, front to back.
#[derive(Debug)]
pub struct Cursor<'a> {
    body: &'a [u8],
    at: usize,
    depth: usize,
    /// No control character anywhere, so that no string need be looked at for one.
    clean: bool,
    /// How wide the machine's vectors are.
    level: Level,
}

// === impl Cursor ===

impl<'a> Cursor<'a> {
    /// Stands before the first value of `body`.
    ///
    /// # Errors
    /// An empty body, a byte-order mark, or bytes that are not UTF-8.
    pub fn new(body: &'a [u8]) -> Result<Self, JsonError> {
        let fail = |offset, reason| Err(JsonError { offset, reason });
        if body.starts_with(b"\xef\xbb\xbf") {
            return fail(0, Reason::ByteOrderMark);
        }
        let level = Level::new();
        let (ascii, clean) = string::survey(level, body);
        if !ascii && let Err(error) = simdutf8::compat::from_utf8(body) {
            return fail(error.valid_up_to(), Reason::Utf8);
        }
        let mut cursor = Self {
            body,
            at: 0,
            depth: 0,
            clean,
            level,
        };
        cursor.space();
        if cursor.at == body.len() {
            return fail(0, Reason::Empty);
        }
        Ok(cursor)
    }

    /// The bytes that are walked.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// Where the next value begins.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.at
    }

    /// The byte that the next value begins with; its kind, short of checking it.
    #[must_use]
    pub fn peek(&self) -> Option<u8> {
        self.body.get(self.at).copied()
    }

    /// Only white space is left.
    ///
    /// # Errors
    /// Anything else.
    pub fn finish(mut self) -> Result<(), JsonError> {
        self.space();
        if self.at == self.body.len() {
            Ok(())
        } else {
            Err(self.fail(Reason::Trailing))
        }
    }

    /// Steps over the next value, checking it.
    ///
    /// # Errors
    /// Whatever is wrong with it.
    pub fn skip(&mut self) -> Result<Value, JsonError> {
        let start = self.at;
        let kind = match self.peek() {
            Some(b'"') => {
                let escaped = self.string()?;
                Kind::String { escaped }
            }
            Some(b'{') => {
                self.object(|cursor, _| cursor.skip().map(drop))?;
                Kind::Object
            }
            Some(b'[') => {
                self.array(|cursor, _| cursor.skip().map(drop))?;
                Kind::Array
            }
            Some(b't') => self.literal(b"true", Kind::Bool(true))?,
            Some(b'f') => self.literal(b"false", Kind::Bool(false))?,
            Some(b'n') => self.literal(b"null", Kind::Null)?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(_) => return Err(self.fail(Reason::Value)),
            None => return Err(self.fail(Reason::Truncated)),
        };
        Ok(Value {
            kind,
            at: start..self.at,
        })
    }

    /// Walks the object that stands next; `each` must step over exactly the member's value.
    /// Gives the object's range, braces included.
    ///
    /// # Errors
    /// Bad structure, or what `each` says.
    pub fn object<E: From<JsonError>>(
        &mut self,
        mut each: impl FnMut(&mut Self, Key) -> Result<(), E>,
    ) -> Result<Range<usize>, E> {
        let start = self.at;
        if !self.open(b'{', b'}')? {
            return Ok(start..self.at);
        }
        loop {
            let key = self.key()?;
            each(self, key)?;
            if !self.more(b'}')? {
                return Ok(start..self.at);
            }
        }
    }

    /// Walks the array that stands next; `each` gets the index and must step over exactly that
    /// element. Gives the array's range, brackets included.
    ///
    /// # Errors
    /// Bad structure, or what `each` says.
    pub fn array<E: From<JsonError>>(
        &mut self,
        mut each: impl FnMut(&mut Self, usize) -> Result<(), E>,
    ) -> Result<Range<usize>, E> {
        let start = self.at;
        if !self.open(b'[', b']')? {
            return Ok(start..self.at);
        }
        for index in 0.. {
            each(self, index)?;
            if !self.more(b']')? {
                break;
            }
        }
        Ok(start..self.at)
    }

    fn fail(&self, reason: Reason) -> JsonError {
        let reason = if self.at >= self.body.len() && reason != Reason::Depth {
            Reason::Truncated
        } else {
            reason
        };
        JsonError {
            offset: self.at,
            reason,
        }
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    /// Enters an array or object. False if it is empty, and then it has been left again.
    fn open(&mut self, open: u8, close: u8) -> Result<bool, JsonError> {
        if self.peek() != Some(open) {
            return Err(self.fail(Reason::Value));
        }
        if self.depth == DEPTH_MAX {
            return Err(self.fail(Reason::Depth));
        }
        self.at += 1;
        self.space();
        if self.peek() == Some(close) {
            self.at += 1;
            return Ok(false);
        }
        self.depth += 1;
        Ok(true)
    }

    /// After an element: true if another follows, false if the container has been left.
    fn more(&mut self, close: u8) -> Result<bool, JsonError> {
        self.space();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                self.space();
                Ok(true)
            }
            Some(byte) if byte == close => {
                self.at += 1;
                self.depth -= 1;
                Ok(false)
            }
            _ => Err(self.fail(Reason::Comma)),
        }
    }

    fn key(&mut self) -> Result<Key, JsonError> {
        let start = self.at;
        if self.peek() != Some(b'"') {
            return Err(self.fail(Reason::Key));
        }
        let escaped = self.string()?;
        let at = start..self.at;
        self.space();
        if self.peek() != Some(b':') {
            return Err(self.fail(Reason::Colon));
        }
        self.at += 1;
        self.space();
        Ok(Key { at, escaped })
    }

    fn literal(&mut self, word: &[u8], kind: Kind) -> Result<Kind, JsonError> {
        if self.body[self.at..].starts_with(word) {
            self.at += word.len();
            Ok(kind)
        } else {
            Err(self.fail(Reason::Value))
        }
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start {
            return Err(self.fail(Reason::Number));
        }
        Ok(())
    }

    fn number(&mut self) -> Result<Kind, JsonError> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        if let Some(b'0'..=b'9') = self.peek() {
            return Err(self.fail(Reason::Number));
        }
        Ok(Kind::Number)
    }

    /// Steps over the string that stands next. True if it holds escapes.
    fn string(&mut self) -> Result<bool, JsonError> {
        let start = self.at + 1;
        self.at = start;
        let escaped = match string::end(self.level, &self.body[start..]) {
            Some(end) => {
                self.at = start + end.quote;
                end.escaped
            }
            None => return Err(self.broken_string()),
        };
        if !self.clean
            && let Some(hit) = self.body[start..self.at].iter().position(|b| *b < 0x20)
        {
            self.at = start + hit;
            return Err(self.fail(Reason::Control));
        }
        self.at += 1;
        Ok(escaped)
    }

    /// What is wrong with the string that the cursor stands in.
    #[cold]
    fn broken_string(&mut self) -> JsonError {
        while let Some(byte) = self.peek() {
            if byte != b'\\' {
                self.at += 1;
            } else if let Err(error) = self.escape() {
                return error;
            }
        }
        self.fail(Reason::Truncated)
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        let after = self.body.get(self.at + 1..).unwrap_or_default();
        let length = match after.first() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
            Some(b'u') if after.len() >= 5 && after[1..5].iter().all(u8::is_ascii_hexdigit) => 6,
            _ => return Err(self.fail(Reason::Escape)),
        };
        self.at += length;
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
