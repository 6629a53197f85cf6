//! Text as loop detection compares it: white space folded, and what differs from call to call by
//! itself (timestamps, ids, addresses, durations, counters, temporary paths) put behind a mark.
//! Two observations that say the same about the world come out as the same bytes.
//!
//! What stays matters as much: percentages, plain numbers, dates without a time, page numbers and
//! "3 failed, 10 passed" are how progress shows, so none of them is touched.
//!
//! **Invariant:** scrubbing scrubbed text changes nothing, and no input makes it panic.

mod shapes;

use shapes::{scratch, volatile};

/// Beyond this many bytes of one text the rest is taken as it stands: the bound on the work for
/// one message. 256 KiB.
pub const MOST_SCRUBBED_BYTES: usize = 256 << 10;

/// What a byte is to the scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// Of a word: a letter, an underscore, a digit.
    Word,
    Blank,
    /// A backslash, which may begin the escape of a blank: observations are often JSON texts in a
    /// JSON string.
    Escape,
    Slash,
    /// What may stand between a counter's name and its number: `attempt #3`, `"attempt": 3`, `pid=17`.
    Joint,
    Other,
}

static CLASSES: [Class; 256] = {
    let mut classes = [Class::Other; 256];
    let mut byte = 0_u8;
    loop {
        classes[byte as usize] = match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => Class::Word,
            b' ' | b'\t' | b'\n' | b'\r' | 0x0c => Class::Blank,
            b'\\' => Class::Escape,
            b'/' => Class::Slash,
            b':' | b'=' | b'#' | b'"' | b'\'' | b'(' | b'[' | b'.' | b'-' => Class::Joint,
            _ => Class::Other,
        };
        if byte == u8::MAX {
            break classes;
        }
        byte += 1;
    }
};

const fn class(byte: u8) -> Class {
    CLASSES[byte as usize]
}

/// Appends the canonical form of `text` to `out`.
pub fn scrub(text: &str, out: &mut Vec<u8>) {
    let cut = text.floor_char_boundary(MOST_SCRUBBED_BYTES);
    let (bytes, rest) = text.as_bytes().split_at(cut);
    let mut scan = Scan {
        bytes,
        out,
        copied: 0,
        spaced: true,
        name: None,
    };
    let mut at = 0;
    while at < bytes.len() {
        at = scan.step(at);
    }
    scan.copy(at);
    if scan.spaced && scan.out.last() == Some(&b' ') {
        scan.out.pop();
    }
    out.extend_from_slice(rest);
}

/// The scan over one text.
struct Scan<'a> {
    bytes: &'a [u8],
    out: &'a mut Vec<u8>,
    /// What stands before this is in `out`; what stands from here on up to the scan will be, as it is.
    copied: usize,
    /// A blank stands last, or nothing at all.
    spaced: bool,
    /// The word before, with nothing but joints and blanks since: the name of a number, perhaps.
    name: Option<&'a [u8]>,
}

impl Scan<'_> {
    /// Takes in what stands at `at`; where the scan goes on.
    fn step(&mut self, at: usize) -> usize {
        let byte = self.bytes[at];
        match class(byte) {
            Class::Word => return self.word(at),
            Class::Blank | Class::Escape => {
                if let Some(width) = blank(self.bytes, at) {
                    return self.blank(at, width);
                }
                self.name = None;
            }
            Class::Slash => {
                if let Some((width, mark)) = scratch(self.bytes, at) {
                    return self.replace(at, width, mark);
                }
                self.name = None;
            }
            Class::Joint => {}
            Class::Other => self.name = None,
        }
        self.spaced = false;
        at + 1
    }

    fn word(&mut self, at: usize) -> usize {
        let (end, has_digit) = word_end(self.bytes, at);
        match volatile(self.bytes, at, end, has_digit, self.name) {
            Some(found) => self.replace(at + found.kept, found.width - found.kept, found.mark),
            None => {
                self.spaced = false;
                self.name = Some(&self.bytes[at..end]);
                end
            }
        }
    }

    fn blank(&mut self, at: usize, width: usize) -> usize {
        if self.bytes[at] != b' ' || self.spaced {
            self.copy(at);
            if !self.spaced {
                self.out.push(b' ');
            }
            self.copied = at + width;
        }
        self.spaced = true;
        at + width
    }

    fn replace(&mut self, at: usize, width: usize, mark: &[u8]) -> usize {
        self.copy(at);
        self.out.extend_from_slice(mark);
        self.copied = at + width;
        self.spaced = false;
        self.name = None;
        self.copied
    }

    fn copy(&mut self, to: usize) {
        self.out.extend_from_slice(&self.bytes[self.copied..to]);
        self.copied = to;
    }
}

/// How many bytes of white space stand here.
fn blank(bytes: &[u8], at: usize) -> Option<usize> {
    match class(bytes[at]) {
        Class::Blank => Some(1),
        Class::Escape if matches!(bytes.get(at + 1), Some(b'n' | b'r' | b't')) => Some(2),
        _ => None,
    }
}

/// Where the word that starts here ends, and whether a digit is in it.
fn word_end(bytes: &[u8], at: usize) -> (usize, bool) {
    let mut has_digit = false;
    let mut end = at;
    while end < bytes.len() && class(bytes[end]) == Class::Word {
        has_digit |= bytes[end].is_ascii_digit();
        end += 1;
    }
    (end, has_digit)
}

#[cfg(test)]
mod tests;
