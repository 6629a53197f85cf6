//! Globs: `*` stands for any run of characters, `?` for one. The common shapes (a literal, a
//! prefix, everything) never reach the general matcher, for this runs on every call.

use std::fmt;
use wildmatch::WildMatch;

/// One pattern. Case matters.
#[derive(Clone, PartialEq)]
pub struct Glob {
    pattern: Box<str>,
    shape: Shape,
}

#[derive(Clone, PartialEq)]
enum Shape {
    Any,
    Literal,
    /// The pattern without its last character, a `*`.
    Prefix,
    General(WildMatch),
}

impl Glob {
    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.pattern
    }

    /// Whether the whole text matches.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        match &self.shape {
            Shape::Any => true,
            Shape::Literal => *self.pattern == *text,
            Shape::Prefix => text
                .as_bytes()
                .starts_with(&self.pattern.as_bytes()[..self.pattern.len() - 1]),
            Shape::General(matcher) => matcher.matches(text),
        }
    }

    /// True if whatever matches `other` also matches this. Errs on the side of `false`.
    #[must_use]
    pub fn includes(&self, other: &Self) -> bool {
        // A `*` of `other` can only be swallowed by a `*` of ours, for `?` takes exactly one
        // character; a pattern with `?` is therefore compared only by its text.
        match self.pattern.contains('?') {
            true => self.pattern == other.pattern,
            false => self.matches(&other.pattern),
        }
    }
}

impl From<&str> for Glob {
    fn from(pattern: &str) -> Self {
        let wild = pattern.find(['*', '?']);
        let shape = match wild {
            None => Shape::Literal,
            Some(_) if pattern == "*" => Shape::Any,
            Some(at) if at + 1 == pattern.len() && pattern.ends_with('*') => Shape::Prefix,
            Some(_) => Shape::General(WildMatch::new(pattern)),
        };
        Self {
            pattern: pattern.into(),
            shape,
        }
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.pattern, f)
    }
}

/// Several patterns, of which one must match.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Globs(Vec<Glob>);

impl Globs {
    /// Whether any pattern matches.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.0.iter().any(|glob| glob.matches(text))
    }

    /// True if there is no pattern at all. What that means is the owner's to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The patterns, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Glob> {
        self.0.iter()
    }
}

impl<S: AsRef<str>> FromIterator<S> for Globs {
    fn from_iter<I: IntoIterator<Item = S>>(patterns: I) -> Self {
        let globs = patterns.into_iter();
        Self(globs.map(|pattern| pattern.as_ref().into()).collect())
    }
}
