//! What a walk hands out: the names of members, and values that were stepped over, as ranges into the body.

use super::{Cow, Kind, Range, text};

/// A value that has been stepped over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// Its kind.
    pub kind: Kind,
    /// Its bytes in the body, quotes and brackets included.
    pub at: Range<usize>,
}

/// The name of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its bytes, quotes included.
    pub at: Range<usize>,
    pub(super) escaped: bool,
}

// === impl Key ===

impl Key {
    /// Its text, escapes decoded. Broken surrogates decode to U+FFFD, which equals no name that
    /// anybody looks for.
    #[must_use]
    pub fn text<'a>(&self, body: &'a [u8]) -> Cow<'a, str> {
        text::decode(body, &self.at, self.escaped).unwrap_or(Cow::Borrowed("\u{fffd}"))
    }

    /// The bytes of its text: enough to compare it with names.
    #[must_use]
    #[inline]
    pub fn name<'a>(&self, body: &'a [u8]) -> Cow<'a, [u8]> {
        if self.escaped {
            return self.escaped_name(body);
        }
        let inside = body.get(self.at.start + 1..self.at.end - 1);
        Cow::Borrowed(inside.unwrap_or_default())
    }

    #[cold]
    fn escaped_name(&self, body: &[u8]) -> Cow<'static, [u8]> {
        Cow::Owned(self.text(body).into_owned().into_bytes())
    }

    /// False if the name certainly begins with another byte.
    #[must_use]
    pub fn may_begin_with(&self, body: &[u8], byte: u8) -> bool {
        self.escaped || body.get(self.at.start + 1) == Some(&byte)
    }
}

// === impl Value ===

impl Value {
    /// True for `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.kind == Kind::Null
    }

    /// The text of a string, escapes decoded; `None` for anything else and for broken surrogates.
    #[must_use]
    pub fn text<'a>(&self, body: &'a [u8]) -> Option<Cow<'a, str>> {
        match self.kind {
            Kind::String { escaped } => text::decode(body, &self.at, escaped),
            _ => None,
        }
    }

    /// A whole number that is written as one: digits only, no sign, point or exponent.
    #[must_use]
    pub fn u64(&self, body: &[u8]) -> Option<u64> {
        let digits = self.number_text(body)?;
        if digits.bytes().all(|b| b.is_ascii_digit()) {
            digits.parse().ok()
        } else {
            None
        }
    }

    /// A whole number with an optional minus.
    #[must_use]
    pub fn i64(&self, body: &[u8]) -> Option<i64> {
        self.number_text(body)?.parse().ok()
    }

    /// A number as it is written.
    #[must_use]
    pub fn number_text<'a>(&self, body: &'a [u8]) -> Option<&'a str> {
        if self.kind != Kind::Number {
            return None;
        }
        std::str::from_utf8(&body[self.at.clone()]).ok()
    }
}
