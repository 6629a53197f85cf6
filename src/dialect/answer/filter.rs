//! Passes a stream on while reading it: whole events, each as it came.
//!
//! Events that lie whole in a chunk pass as the chunk's own bytes, without a copy. The beginning of
//! an event that is not over is held back until its rest arrives, so that a stream can be ended
//! between two events at any moment: a client whose parser meets half an event reports broken JSON
//! instead of the reason. Clients act on whole events only, so nothing is later for them. An event
//! longer than [`HELD_BYTES_MAX`] (inline images) passes in pieces; a cut inside it first ends it
//! with a blank line.

use super::{AnswerReader, Cut, Kind};
use crate::dialect::{Answer, Dialect};
use crate::sse::Boundary;
use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;

/// Longest beginning of an event that is held back from the client, in bytes.
pub const HELD_BYTES_MAX: usize = 64 * 1024;
/// Longest event that is read, in bytes. A longer one passes, and each of its bytes counts as produced.
pub const EVENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// One stream on its way from upstream to the client.
#[derive(Debug)]
pub struct StreamFilter {
    reader: AnswerReader,
    boundary: Boundary,
    hide_usage: bool,
    /// The beginning of an event that is not over.
    partial: BytesMut,
    /// Bytes of the current event that were too many to keep.
    unread_bytes: usize,
    /// That beginning has been passed on already.
    passing: bool,
    /// The last event was taken out; so must be the LF of its last line end, should it come late.
    hidden_before: bool,
    /// The client's stream is over; upstream's is read on for its usage.
    cut: bool,
    out: VecDeque<Bytes>,
}

impl StreamFilter {
    /// `hide_usage`: the client did not ask for usage and Bursar did, so the usage-only chunk is
    /// taken out of the stream.
    #[must_use]
    pub fn new(dialect: Dialect, hide_usage: bool) -> Self {
        Self {
            reader: AnswerReader::new(dialect),
            boundary: Boundary::default(),
            hide_usage,
            partial: BytesMut::new(),
            unread_bytes: 0,
            passing: false,
            hidden_before: false,
            cut: false,
            out: VecDeque::new(),
        }
    }

    /// The same, which also tells when the answer chants.
    #[must_use]
    pub fn listening(mut self) -> Self {
        self.reader.listen();
        self
    }

    /// The same, keeping what `keep` names of the answer.
    #[must_use]
    pub fn keeping(mut self, keep: super::Keep) -> Self {
        self.reader.keep(keep);
        self
    }

    /// What has been read so far.
    #[must_use]
    pub fn reader(&self) -> &AnswerReader {
        &self.reader
    }

    /// Takes what upstream sent; [`pop`](Self::pop) gives what goes to the client.
    pub fn push(&mut self, mut chunk: Bytes) {
        let mut at = 0;
        if self.boundary.stray_lf(&chunk) {
            if self.hidden_before {
                chunk.advance(1);
            } else {
                at = 1;
            }
        }
        if self.in_event() {
            let Some(end) = self.boundary.end_of_event(&chunk) else {
                self.keep(&chunk);
                return;
            };
            let rest = chunk.split_to(end);
            self.end_partial(rest);
        }
        self.whole_events(chunk, at);
    }

    /// The next piece for the client.
    pub fn pop(&mut self) -> Option<Bytes> {
        self.out.pop_front()
    }

    /// Upstream's body is over: what was held back is read and passed as it is.
    pub fn end(&mut self) {
        if self.in_event() {
            self.end_partial(Bytes::new());
        }
    }

    /// What the answer said in all; `clean` as in [`AnswerReader::finish`]. Call after [`end`](Self::end).
    #[must_use]
    pub fn finish(&mut self, clean: bool) -> Answer {
        self.reader.finish(clean)
    }

    /// Ends the client's stream here, in its dialect. Returns the last bytes for the client: what
    /// was not popped yet, and the ending. What upstream still sends is read, but goes nowhere. A
    /// second cut is empty.
    #[must_use]
    pub fn cut(&mut self, cut: Cut<'_>) -> Bytes {
        if self.cut {
            return Bytes::new();
        }
        let mut last = BytesMut::new();
        for piece in self.out.drain(..) {
            last.extend_from_slice(&piece);
        }
        if self.passing {
            last.extend_from_slice(b"\n\n");
        }
        last.extend_from_slice(self.reader.ending(cut).as_bytes());
        self.cut = true;
        last.freeze()
    }

    fn in_event(&self) -> bool {
        !self.partial.is_empty() || self.unread_bytes > 0
    }

    fn give(&mut self, bytes: Bytes) {
        if !bytes.is_empty() && !self.cut {
            self.out.push_back(bytes);
        }
    }

    /// Reads and passes the events that lie whole in this chunk; keeps the beginning of the next.
    /// The first `at` bytes have been accounted for and pass.
    fn whole_events(&mut self, chunk: Bytes, mut at: usize) {
        let mut from = 0;
        while let Some(bytes) = self.boundary.end_of_event(&chunk[at..]) {
            let end = at + bytes;
            let hide = self.read(&chunk[at..end]);
            if hide {
                self.give(chunk.slice(from..at));
                from = end;
            }
            at = end;
        }
        if from == 0 && at == chunk.len() {
            self.give(chunk);
        } else {
            self.give(chunk.slice(from..at));
            self.keep(&chunk.slice(at..));
        }
    }

    /// Reads one whole event; true if the client must not see it.
    fn read(&mut self, event: &[u8]) -> bool {
        let kind = self.reader.event(event);
        self.hidden_before = self.hide_usage && kind == Kind::UsageOnly;
        self.hidden_before
    }

    /// Keeps a piece of an event that is not over.
    fn keep(&mut self, piece: &Bytes) {
        if self.unread_bytes == 0 && self.partial.len() + piece.len() <= EVENT_BYTES_MAX {
            self.partial.extend_from_slice(piece);
            if self.passing {
                self.give(piece.clone());
            } else if self.partial.len() > HELD_BYTES_MAX {
                self.passing = true;
                self.give(Bytes::copy_from_slice(&self.partial));
            }
            return;
        }
        if !self.passing {
            self.passing = true;
            self.give(Bytes::copy_from_slice(&self.partial));
        }
        self.unread_bytes = self
            .unread_bytes
            .saturating_add(self.partial.len() + piece.len());
        self.partial = BytesMut::new();
        self.give(piece.clone());
    }

    /// The current event is over with these bytes.
    fn end_partial(&mut self, rest: Bytes) {
        let passing = std::mem::take(&mut self.passing);
        let unread_bytes = std::mem::take(&mut self.unread_bytes);
        if unread_bytes > 0 {
            self.reader
                .unreadable(unread_bytes.saturating_add(rest.len()));
            self.hidden_before = false;
            self.give(rest);
            return;
        }
        self.partial.extend_from_slice(&rest);
        let event = self.partial.split().freeze();
        let hide = self.read(&event);
        if passing {
            self.hidden_before = false;
            self.give(rest);
        } else if !hide {
            self.give(event);
        }
    }
}

#[cfg(test)]
mod tests;
