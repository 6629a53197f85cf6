//! JSON by the piece: a value as it stands in its body, opened one level at a time. What is only
//! carried over is never decoded, so that it arrives as it was written.

use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// A JSON value as it stands, without white space around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Raw<'a>(&'a str);

/// The members of an object, in order; nulls and what is absent are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Members<'a>(Vec<(Cow<'a, str>, Raw<'a>)>);

impl<'a> Raw<'a> {
    /// The one value that `text` holds.
    pub(crate) fn parse(text: &'a [u8]) -> Option<Self> {
        let raw: &RawValue = serde_json::from_slice(text).ok()?;
        Some(Self(raw.get()))
    }

    /// The value as it stands.
    pub(crate) const fn json(self) -> &'a str {
        self.0
    }

    pub(crate) fn is_null(self) -> bool {
        self.0 == "null"
    }

    pub(crate) fn is_string(self) -> bool {
        self.0.starts_with('"')
    }

    pub(crate) fn is_array(self) -> bool {
        self.0.starts_with('[')
    }

    pub(crate) fn is_object(self) -> bool {
        self.0.starts_with('{')
    }

    /// Says nothing: null, or an empty text, list or object.
    pub(crate) fn is_nothing(self) -> bool {
        let inside = self.0.get(1..self.0.len().saturating_sub(1));
        match self.0.as_bytes().first() {
            Some(b'"') => inside == Some(""),
            Some(b'[' | b'{') => inside.is_some_and(|inside| inside.trim_ascii().is_empty()),
            _ => self.is_null(),
        }
    }

    /// A string between its quotes, escapes as they stand; `None` for anything else.
    pub(crate) fn inside(self) -> Option<&'a str> {
        self.0.strip_prefix('"')?.strip_suffix('"')
    }

    /// A string, escapes decoded.
    pub(crate) fn text(self) -> Option<Cow<'a, str>> {
        let inside = self.inside()?;
        if inside.contains('\\') {
            return serde_json::from_str(self.0).ok().map(Cow::Owned);
        }
        Some(Cow::Borrowed(inside))
    }

    pub(crate) fn flag(self) -> Option<bool> {
        match self.0 {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    pub(crate) fn whole(self) -> Option<u64> {
        self.0.parse().ok()
    }

    /// A number, for a comparison only.
    pub(crate) fn number(self) -> Option<f64> {
        self.0.parse().ok()
    }

    /// An object's members.
    pub(crate) fn members(self) -> Option<Members<'a>> {
        if !self.is_object() {
            return None;
        }
        serde_json::from_str(self.0).ok()
    }

    /// A list's elements.
    pub(crate) fn items(self) -> Option<Vec<Raw<'a>>> {
        struct Items<'a>(Vec<Raw<'a>>);
        impl<'de: 'a, 'a> Deserialize<'de> for Items<'a> {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                struct List;
                impl<'de> Visitor<'de> for List {
                    type Value = Items<'de>;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("a list")
                    }
                    fn visit_seq<A: SeqAccess<'de>>(
                        self,
                        mut list: A,
                    ) -> Result<Items<'de>, A::Error> {
                        let mut items = Vec::new();
                        while let Some(raw) = list.next_element::<&'de RawValue>()? {
                            items.push(Raw(raw.get()));
                        }
                        Ok(Items(items))
                    }
                }
                from.deserialize_seq(List)
            }
        }
        if !self.is_array() {
            return None;
        }
        serde_json::from_str::<Items<'a>>(self.0)
            .ok()
            .map(|items| items.0)
    }
}

impl<'a> Members<'a> {
    /// The member of this name, unless it is null.
    pub(crate) fn get(&self, name: &str) -> Option<Raw<'a>> {
        let mut found = self.0.iter().filter(|(known, _)| known == name);
        found
            .next()
            .map(|(_, value)| *value)
            .filter(|value| !value.is_null())
    }

    /// The text of this member.
    pub(crate) fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        self.get(name)?.text()
    }

    /// Keeps those of which `keeps` says so.
    pub(crate) fn retain(&mut self, mut keeps: impl FnMut(&str) -> bool) {
        self.0
            .retain(|(name, value)| value.is_null() || keeps(name));
    }

    /// Every member that says anything.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, Raw<'a>)> {
        let all = self.0.iter().map(|(name, value)| (&**name, *value));
        all.filter(|(_, value)| !value.is_null())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(Name(name)) = map.next_key::<Name<'de>>()? {
                    members.push((name, Raw(map.next_value::<&'de RawValue>()?.get())));
                }
                Ok(Members(members))
            }
        }
        from.deserialize_map(Object)
    }
}

/// A member's name, borrowed where it holds no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }
            fn visit_str<E: de::Error>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        from.deserialize_str(Text)
    }
}

/// The text of a tool call's arguments as the JSON object that it should be; an empty one stands for
/// an empty object. `None` if it is none, or nests deeper than bodies may.
pub(crate) fn object_in(text: &str) -> Option<&str> {
    let text = text.trim_ascii();
    if text.is_empty() {
        return Some("{}");
    }
    if !text.starts_with('{') {
        return None;
    }
    // The scanner bounds the depth, as it does for whole bodies.
    let mut cursor = crate::json::Cursor::new(text.as_bytes()).ok()?;
    cursor.skip().ok()?;
    cursor.finish().ok()?;
    Some(text)
}
