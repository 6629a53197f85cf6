//! Reading single values of the types that they must have, and objects by the names that matter.

use super::{Cow, Cursor, DecodeError, Key, Kind, Range, Reader, Value};

/// Members of an object as it is walked: finds duplicates and cuts cache marks out.
#[derive(Default)]
struct Members {
    met: u64,
    kept: bool,
    last_end: usize,
    /// A mark that stands first, so that it takes the comma behind it along.
    open_cut: Option<usize>,
}

/// Which bits of [`Members::met`] stand for cache marks: those from here on.
const MARKS_FROM: usize = 62;

/// Names of cache marks: understood on any object inside the prompt.
const CACHE_MARKS: [&str; 2] = ["cache_control", "prompt_cache_breakpoint"];

impl<'a> Reader<'a> {
    /// Walks an object, giving `each` the names among `names`; everything else is stepped over.
    /// Duplicates among `names` are errors; cache marks are noted.
    pub(super) fn object(
        &mut self,
        cursor: &mut Cursor<'a>,
        names: &[&'static str],
        mut each: impl FnMut(&mut Self, &mut Cursor<'a>, &'static str) -> Result<(), DecodeError>,
    ) -> Result<Range<usize>, DecodeError> {
        debug_assert!(names.len() < MARKS_FROM);
        let mut members = Members::default();
        let at = cursor.object(|cursor, key| {
            if let Some(name) = self.member_of(cursor, &key, names, &mut members)? {
                each(self, cursor, name)?;
            }
            members.last_end = cursor.offset();
            Ok::<(), DecodeError>(())
        })?;
        if let Some(start) = members.open_cut {
            self.cuts.push(start..members.last_end);
        }
        Ok(at)
    }

    /// The name of the member that stands next, if it is among `names`; any other is stepped over.
    fn member_of(
        &mut self,
        cursor: &mut Cursor<'a>,
        key: &Key,
        names: &[&'static str],
        members: &mut Members,
    ) -> Result<Option<&'static str>, DecodeError> {
        let text = key.name(self.body);
        let place = |names: &[&str]| names.iter().position(|name| name.as_bytes() == &*text);
        let known = place(names);
        let mark = match known {
            None => place(&CACHE_MARKS),
            Some(_) => None,
        };
        if let Some(bit) = known.or(mark.map(|mark| MARKS_FROM + mark)) {
            if members.met & (1 << bit) != 0 {
                return Err(duplicate(&key.text(self.body), key.at.start));
            }
            members.met |= 1 << bit;
        }
        if let Some(start) = members.open_cut.take() {
            self.cuts.push(start..key.at.start);
        }
        if mark.is_some() {
            self.cache_mark(cursor)?;
            if members.kept {
                self.cuts.push(members.last_end..cursor.offset());
            } else {
                members.open_cut = Some(key.at.start);
            }
            return Ok(None);
        }
        members.kept = true;
        if known.is_none() {
            cursor.skip()?;
        }
        Ok(known.map(|known| names[known]))
    }

    /// A string that must be one: `None` for null.
    pub(super) fn string(
        &self,
        cursor: &mut Cursor<'a>,
        param: &str,
    ) -> Result<Option<Cow<'a, str>>, DecodeError> {
        let value = cursor.skip()?;
        if value.is_null() {
            return Ok(None);
        }
        match value.text(self.body) {
            Some(text) => Ok(Some(text)),
            None => Err(DecodeError::field(param, "must be a string")),
        }
    }

    /// A true or false that must be one: `None` for null.
    pub(super) fn boolean(
        &self,
        cursor: &mut Cursor<'a>,
        param: &str,
    ) -> Result<Option<bool>, DecodeError> {
        match cursor.skip()?.kind {
            Kind::Null => Ok(None),
            Kind::Bool(value) => Ok(Some(value)),
            _ => Err(DecodeError::field(param, "must be true or false")),
        }
    }

    /// A whole number up to `most`: `None` for null.
    pub(super) fn whole(
        &self,
        cursor: &mut Cursor<'a>,
        param: &str,
        most: u64,
    ) -> Result<(Value, Option<u64>), DecodeError> {
        let value = cursor.skip()?;
        if value.is_null() {
            return Ok((value, None));
        }
        match value.u64(self.body) {
            Some(number) if number <= most => Ok((value, Some(number))),
            _ => {
                let message = format!("must be a whole number from 0 to {most}");
                Err(DecodeError::field(param, message))
            }
        }
    }

    /// True if an object stands next; false, stepping over it, for null; an error for anything else.
    pub(super) fn enter(&self, cursor: &mut Cursor<'a>, param: &str) -> Result<bool, DecodeError> {
        if cursor.peek() == Some(b'{') {
            return Ok(true);
        }
        if cursor.skip()?.is_null() {
            return Ok(false);
        }
        Err(DecodeError::field(param, "must be an object"))
    }

    /// Null, `false`, or an empty array. An empty object is something: it takes every default.
    pub(super) fn is_nothing(&self, value: &Value) -> bool {
        match value.kind {
            Kind::Null | Kind::Bool(false) => true,
            Kind::Array => {
                let inside = &self.body[value.at.start + 1..value.at.end - 1];
                inside.iter().all(u8::is_ascii_whitespace)
            }
            _ => false,
        }
    }
}

#[cold]
pub(super) fn duplicate(name: &str, offset: usize) -> DecodeError {
    DecodeError {
        param: Some(name.to_owned()),
        message: format!("`{name}` stands twice in one object (at byte {offset})."),
    }
}
