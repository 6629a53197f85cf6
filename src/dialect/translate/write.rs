//! Writing JSON front to back, without a tree: commas are put where they belong.

use super::read::Raw;
use std::fmt::Write as _;

/// A JSON text being written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Writer {
    text: String,
}

impl Writer {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self {
            text: String::with_capacity(bytes),
        }
    }

    /// What has been written.
    pub(crate) fn finish(self) -> String {
        self.text
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// A comma, if something stands before that is over.
    fn separate(&mut self) {
        if !matches!(self.text.as_bytes().last(), None | Some(b'{' | b'[' | b':')) {
            self.text.push(',');
        }
    }

    /// A member's name; its value comes next.
    pub(crate) fn key(&mut self, name: &str) -> &mut Self {
        self.separate();
        self.quote(name);
        self.text.push(':');
        self
    }

    fn quote(&mut self, text: &str) {
        let plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
        if text.bytes().all(plain) {
            self.text.push('"');
            self.text.push_str(text);
            self.text.push('"');
        } else {
            self.text.push_str(&crate::json::quoted(text));
        }
    }

    /// A string.
    pub(crate) fn string(&mut self, text: &str) {
        self.separate();
        self.quote(text);
    }

    /// A value as it stands elsewhere.
    pub(crate) fn raw(&mut self, value: Raw<'_>) {
        self.json(value.json());
    }

    /// A value that is JSON already.
    pub(crate) fn json(&mut self, json: &str) {
        self.separate();
        self.text.push_str(json);
    }

    /// A whole number.
    pub(crate) fn number(&mut self, number: u64) {
        self.separate();
        // Writing to a string cannot fail.
        let _ = write!(self.text, "{number}");
    }

    /// A string out of the insides of others: their escapes stay as they are.
    pub(crate) fn joined<'a>(&mut self, insides: impl Iterator<Item = &'a str>) {
        self.separate();
        self.text.push('"');
        for inside in insides {
            self.text.push_str(inside);
        }
        self.text.push('"');
    }

    /// An object.
    pub(crate) fn object<E>(
        &mut self,
        members: impl FnOnce(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.enclosed(('{', '}'), members)
    }

    /// A list.
    pub(crate) fn array<E>(
        &mut self,
        items: impl FnOnce(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.enclosed(('[', ']'), items)
    }

    fn enclosed<E>(
        &mut self,
        (open, close): (char, char),
        inside: impl FnOnce(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.open(open);
        inside(self)?;
        self.close(close);
        Ok(())
    }

    /// Begins an object or a list.
    pub(crate) fn open(&mut self, bracket: char) {
        self.separate();
        self.text.push(bracket);
    }

    /// Ends it.
    pub(crate) fn close(&mut self, bracket: char) {
        self.text.push(bracket);
    }
}
