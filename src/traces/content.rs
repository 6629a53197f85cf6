//! What calls and tools say, while their spans wait to be written. Kept only where an exporter asks for it
//! (`content = true`), for each call within the bounds of [`content`](crate::dialect::content), and for all
//! together within [`MAX_CONTENT_BYTES`]: what finds no room is left out, and the span says so.

use crate::dialect::Call;
use crate::dialect::content::{Answered, Asked, asked};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Content of calls under way, of tools at work and of spans that are not written yet, in bytes.
pub const MAX_CONTENT_BYTES: usize = 32 << 20;

/// The room for content.
#[derive(Clone, Default)]
pub struct Room(Arc<AtomicUsize>);

/// A share of the room, given back when it is dropped.
struct Held {
    room: Room,
    bytes: usize,
}

/// What a call says, and its answer.
pub struct Content {
    /// The call.
    pub asked: Asked,
    /// The answer.
    pub answered: Answered,
    held: Held,
}

/// What a tool was told, and what it gave.
pub struct ToolContent {
    /// Its arguments.
    pub arguments: String,
    /// Its result, if one came.
    pub result: Option<String>,
    /// Something found no room.
    pub is_cut: bool,
    held: Held,
}

// === impl Room ===

impl Room {
    /// Bytes that are taken.
    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    const fn hold(self) -> Held {
        Held {
            room: self,
            bytes: 0,
        }
    }
}

// === impl Held ===

impl Held {
    /// Takes more, if there is as much.
    fn take(&mut self, bytes: usize) -> bool {
        let before = self.room.0.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.saturating_add(bytes) <= MAX_CONTENT_BYTES;
        if fits {
            self.bytes += bytes;
        } else {
            self.room.0.fetch_sub(bytes, Ordering::Relaxed);
        }
        fits
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.room.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

// === impl Content ===

impl Content {
    /// Reads a call.
    pub(super) fn of(call: &Call, room: &Room) -> Box<Self> {
        let mut content = Self {
            asked: asked(call),
            answered: Answered::default(),
            held: room.clone().hold(),
        };
        if !content.held.take(content.asked.bytes()) {
            content.asked = Asked {
                is_cut: true,
                ..Asked::default()
            };
        }
        Box::new(content)
    }

    /// Adds its answer.
    pub(super) fn answer(&mut self, answered: Answered) {
        if self.held.take(answered.bytes()) {
            self.answered = answered;
        } else {
            self.answered.is_cut = true;
        }
    }

    /// What a tool is told that the answer asks for.
    pub(super) fn tool(&self, call: &str) -> Box<ToolContent> {
        let mut tool = ToolContent {
            arguments: String::new(),
            result: None,
            is_cut: false,
            held: self.held.room.clone().hold(),
        };
        if let Some(arguments) = self.answered.arguments_of(call) {
            tool.is_cut = !tool.held.take(arguments.len());
            if !tool.is_cut {
                arguments.clone_into(&mut tool.arguments);
            }
        }
        Box::new(tool)
    }

    /// Something of it was left out.
    #[must_use]
    pub const fn is_cut(&self) -> bool {
        self.asked.is_cut || self.answered.is_cut
    }
}

// === impl ToolContent ===

impl ToolContent {
    /// Adds what it gave.
    pub(super) fn answer(&mut self, result: &str) {
        if self.held.take(result.len()) {
            self.result = Some(result.to_owned());
        } else {
            self.is_cut = true;
        }
    }
}

// What was said is shown to nobody by mistake.

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({} bytes)", self.held.bytes)
    }
}

impl fmt::Debug for ToolContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ToolContent({} bytes)", self.held.bytes)
    }
}

#[cfg(test)]
mod tests;
