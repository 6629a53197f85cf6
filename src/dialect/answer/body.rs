//! Collects a plain JSON answer, so that it can be read whole before its first byte is passed on
//! (its cost goes into a header).

use super::AnswerReader;
use crate::dialect::{Answer, Dialect};
use bytes::{Bytes, BytesMut};

/// Longest plain answer that is collected, in bytes. A longer one passes unread.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Most that is set aside on an upstream's word for its length, in bytes.
const HINT_BYTES_MAX: usize = 1024 * 1024;

/// What became of a chunk.
#[derive(Debug, PartialEq, Eq)]
pub enum Kept {
    /// It waits with the others.
    Waiting,
    /// The answer is too long to be read: pass these bytes on.
    Through(Bytes),
}

/// The body so far: one chunk as it came, or several joined.
#[derive(Debug)]
enum Held {
    One(Bytes),
    Joined(BytesMut),
    TooLong,
}

/// A plain answer as it comes in.
#[derive(Debug)]
pub struct BodyBuffer {
    reader: AnswerReader,
    length_hint: usize,
    held: Held,
    unread_bytes: usize,
}

impl BodyBuffer {
    /// An empty one. `length` is upstream's `content-length`, if it told any.
    #[must_use]
    pub fn new(dialect: Dialect, length: Option<u64>) -> Self {
        let length = length
            .and_then(|length| usize::try_from(length).ok())
            .unwrap_or(0);
        Self {
            reader: AnswerReader::new(dialect),
            length_hint: length.min(HINT_BYTES_MAX),
            held: Held::One(Bytes::new()),
            unread_bytes: 0,
        }
    }

    /// The same, keeping what `keep` names of the answer.
    #[must_use]
    pub fn keeping(mut self, keep: super::Keep) -> Self {
        self.reader.keep(keep);
        self
    }

    /// Takes the next chunk. A body that comes in one chunk is never copied.
    pub fn push(&mut self, chunk: Bytes) -> Kept {
        let held_bytes = match &self.held {
            Held::One(held) => held.len(),
            Held::Joined(held) => held.len(),
            Held::TooLong => {
                self.unread_bytes = self.unread_bytes.saturating_add(chunk.len());
                return Kept::Through(chunk);
            }
        };
        let bytes = held_bytes.saturating_add(chunk.len());
        if held_bytes == 0 {
            self.held = Held::One(chunk);
        } else {
            self.join(&chunk);
        }
        if bytes <= ANSWER_BYTES_MAX {
            return Kept::Waiting;
        }
        self.unread_bytes = bytes;
        Kept::Through(match std::mem::replace(&mut self.held, Held::TooLong) {
            Held::One(held) => held,
            Held::Joined(held) => held.freeze(),
            Held::TooLong => Bytes::new(),
        })
    }

    fn join(&mut self, chunk: &[u8]) {
        if let Held::One(first) = &self.held {
            let mut joined =
                BytesMut::with_capacity(self.length_hint.max(first.len() + chunk.len()));
            joined.extend_from_slice(first);
            self.held = Held::Joined(joined);
        }
        if let Held::Joined(joined) = &mut self.held {
            joined.extend_from_slice(chunk);
        }
    }

    /// The body that waits (empty if it already passed) and what it said. `clean`: upstream ended
    /// the body as HTTP has it.
    #[must_use]
    pub fn finish(self, clean: bool) -> (Bytes, Answer) {
        let Self {
            mut reader,
            length_hint: _,
            held,
            unread_bytes,
        } = self;
        let body = match held {
            Held::One(body) => body,
            Held::Joined(body) => body.freeze(),
            Held::TooLong => {
                reader.unreadable(unread_bytes);
                return (Bytes::new(), reader.finish(clean));
            }
        };
        reader.body(&body);
        let answer = reader.finish(clean);
        (body, answer)
    }
}

#[cfg(test)]
mod tests;
