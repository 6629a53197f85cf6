//! A stream's events, cut out of its pieces: each one's data is a frame.

use crate::dialect::answer::EVENT_BYTES_MAX;
use crate::sse::{Boundary, Event};
use bytes::{Buf, Bytes, BytesMut};

/// An event is longer than any may be, or no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

/// What of a stream has not become a frame yet.
#[derive(Debug, Default)]
pub struct Events {
    boundary: Boundary,
    begun: BytesMut,
    rest: Bytes,
}

impl Events {
    /// Takes the next piece. All events of the piece before must have been taken out.
    pub fn push(&mut self, piece: Bytes) {
        self.rest = piece;
    }

    /// The data of the next event that is whole. Comments have none and are passed over.
    ///
    /// # Errors
    /// See [`Unreadable`].
    pub fn next(&mut self) -> Result<Option<String>, Unreadable> {
        loop {
            if self.boundary.stray_lf(&self.rest) {
                self.rest.advance(1);
            }
            if self.rest.is_empty() {
                return Ok(None);
            }
            let Some(end) = self.boundary.end_of_event(&self.rest) else {
                self.begun.extend_from_slice(&self.rest);
                self.rest.clear();
                if self.begun.len() > EVENT_BYTES_MAX {
                    return Err(Unreadable);
                }
                return Ok(None);
            };
            let end = self.rest.split_to(end);
            let block = if self.begun.is_empty() {
                end
            } else {
                self.begun.extend_from_slice(&end);
                self.begun.split().freeze()
            };
            if let Some(data) = Event::parse(&block).data
                && *data != *b"[DONE]"
            {
                let text = String::from_utf8(data.into_owned());
                return text.map(Some).map_err(|_| Unreadable);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_cut_gives_the_same_frames() {
        let stream =
            b": waiting\n\nevent: a\ndata: {\"a\":1}\n\ndata: {\"b\":2}\r\n\r\ndata: [DONE]\n\n";
        for size in 1..stream.len() {
            let mut events = Events::default();
            let mut found = Vec::new();
            for piece in stream.chunks(size) {
                events.push(Bytes::copy_from_slice(piece));
                while let Some(data) = events.next().unwrap() {
                    found.push(data);
                }
            }
            assert_eq!(found, [r#"{"a":1}"#, r#"{"b":2}"#], "pieces of {size}");
        }
    }
}
