//! A name that stands twice in one object. In a call that is not translated it is the provider who
//! takes the one or the other; a translation would have to choose in its stead, and what was quoted
//! might not be what is asked. So it is refused by name.
//!
//! What is carried over as it stands (schemas, tool inputs) is not looked into.

use crate::json::{Cursor, JsonError, Key};
use std::borrow::Cow;

/// Below the top: members whose values no translation opens.
const CARRIED: [&str; 4] = ["input", "input_schema", "parameters", "schema"];
/// Objects up to this many members are compared pair by pair.
const FEW: usize = 16;

/// A name that stands twice in one object of `body`, which is JSON.
pub(super) fn twice(body: &[u8]) -> Option<String> {
    let mut names = Names {
        body,
        open: Vec::new(),
        found: None,
    };
    let mut cursor = Cursor::new(body).ok()?;
    // What is wrong with it has been said by whoever decoded it.
    let _ = names.value(&mut cursor, 0);
    names.found
}

/// The names of the objects that are open, innermost last.
struct Names<'a> {
    body: &'a [u8],
    open: Vec<Cow<'a, str>>,
    found: Option<String>,
}

impl<'a> Names<'a> {
    fn value(&mut self, cursor: &mut Cursor<'a>, depth: usize) -> Result<(), JsonError> {
        match cursor.peek() {
            Some(b'{') => self.object(cursor, depth).map(drop),
            Some(b'[') => cursor
                .array(|cursor, _| self.value(cursor, depth + 1))
                .map(drop),
            _ => cursor.skip().map(drop),
        }
    }

    fn object(&mut self, cursor: &mut Cursor<'a>, depth: usize) -> Result<(), JsonError> {
        let first = self.open.len();
        cursor.object(|cursor, key: Key| {
            let name = key.text(self.body);
            let is_carried = depth > 0 && CARRIED.contains(&&*name);
            self.open.push(name);
            match is_carried {
                true => cursor.skip().map(drop),
                false => self.value(cursor, depth + 1),
            }
        })?;
        self.close(first);
        Ok(())
    }

    /// An object is over whose names stand from `first` on.
    fn close(&mut self, first: usize) {
        let names = &mut self.open[first..];
        let twice = match names.len() {
            ..=FEW => {
                let mut all = names.iter().enumerate();
                all.find(|(place, name)| names[..*place].contains(name))
                    .map(|(_, name)| name)
            }
            _ => {
                names.sort_unstable();
                let mut pairs = names.windows(2);
                pairs.find(|pair| pair[0] == pair[1]).map(|pair| &pair[0])
            }
        };
        if let (Some(name), None) = (twice, &self.found) {
            self.found = Some(name.chars().take(64).collect());
        }
        self.open.truncate(first);
    }
}
