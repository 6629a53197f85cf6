//! Server-sent events over any chunking: where an event ends ([`Boundary`]) and what it says
//! ([`Event`]). Neither copies: a chunk that holds whole events is scanned in place, and whoever
//! drives the two decides what to keep of an event that is not over yet.

use std::borrow::Cow;

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// Finds the blank lines that end events, across chunks. Understands LF, CRLF and CR, mixed too.
///
/// A blank line that ends in CR ends its event at once, without waiting to see whether an LF
/// follows; that LF is then found by [`Boundary::stray_lf`].
#[derive(Clone, Debug)]
pub struct Boundary {
    /// Nothing of the current line has been seen.
    at_line_start: bool,
    /// The last byte seen was a CR, so an LF that follows belongs to it.
    after_cr: bool,
    /// The last byte seen ended an event.
    between_events: bool,
}

impl Default for Boundary {
    fn default() -> Self {
        Self {
            at_line_start: true,
            after_cr: false,
            between_events: true,
        }
    }
}

impl Boundary {
    /// Takes the LF of a CRLF that was split after the event ended. True if `bytes` begins with it.
    pub fn stray_lf(&mut self, bytes: &[u8]) -> bool {
        let stray = self.between_events && self.after_cr && bytes.first() == Some(&b'\n');
        if stray {
            self.after_cr = false;
        }
        stray
    }

    /// How many of these bytes still belong to the current event, its blank line included; `None`
    /// if it is not over within them. Bytes must be given in order, each once.
    pub fn end_of_event(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        if !bytes.is_empty() {
            self.between_events = false;
            if std::mem::take(&mut self.after_cr) && bytes[0] == b'\n' {
                at = 1;
            }
        }
        while at < bytes.len() {
            let Some(found) = memchr::memchr2(b'\n', b'\r', &bytes[at..]) else {
                self.at_line_start = false;
                return None;
            };
            let blank = self.at_line_start && found == 0;
            let is_cr = bytes[at + found] == b'\r';
            at += found + 1;
            self.at_line_start = true;
            if is_cr {
                match bytes.get(at) {
                    Some(b'\n') => at += 1,
                    Some(_) => {}
                    None => self.after_cr = true,
                }
            }
            if blank {
                self.between_events = true;
                return Some(at);
            }
        }
        None
    }
}

/// What one event says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The `event:` field.
    pub name: Option<&'a [u8]>,
    /// The `data:` lines, joined with LF. Borrowed when there is only one.
    pub data: Option<Cow<'a, [u8]>>,
}

impl<'a> Event<'a> {
    /// Reads the lines of one event. Comments, other fields and blank lines are passed over.
    #[must_use]
    pub fn parse(block: &'a [u8]) -> Self {
        let mut event = Self {
            name: None,
            data: None,
        };
        let mut rest = block.strip_prefix(BOM).unwrap_or(block);
        while !rest.is_empty() {
            let end = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
            event.line(&rest[..end]);
            // A CRLF counts as a line end and an empty line, which says nothing either.
            rest = rest.get(end + 1..).unwrap_or_default();
        }
        event
    }

    fn line(&mut self, line: &'a [u8]) {
        if let Some(value) = field(line, b"data") {
            self.data = Some(match self.data.take() {
                None => Cow::Borrowed(value),
                Some(before) => {
                    let mut joined = before.into_owned();
                    joined.push(b'\n');
                    joined.extend_from_slice(value);
                    Cow::Owned(joined)
                }
            });
        } else if let Some(value) = field(line, b"event") {
            self.name = Some(value);
        }
    }
}

/// The value of a line that carries this field. One space after the colon is no part of it.
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let rest = line.strip_prefix(name)?;
    match rest.split_first() {
        None => Some(rest),
        Some((b':', value)) => Some(value.strip_prefix(b" ").unwrap_or(value)),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests;
