//! Answers by idempotency key: those under way, which later calls of the same key wait for, and
//! those that are there.
//!
//! **Invariant:** of one key at most one call is under way. What is under way is in a map that nothing
//! evicts; it is in the cache before it leaves the map, and both are looked at under the map's lock, so
//! that no call slips in between.

use super::recording::{End, Recording};
use super::{Bounded, Print};
use crate::config::KeptBounds;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// An answer, and what it is the answer to.
pub struct Entry {
    /// The call's digest: another call under the same key is a mistake.
    pub print: Print,
    /// The answer.
    pub recording: Arc<Recording>,
}

/// All of them.
#[derive(Default)]
pub struct Keys {
    open: Arc<Mutex<HashMap<Print, Arc<Entry>>>>,
    kept: Bounded<Arc<Entry>>,
}

/// What a call with a key meets.
pub enum Found {
    /// Another call with this key came first.
    Before(Arc<Entry>),
    /// None did: whoever holds this sends it.
    New(Opened),
}

impl Keys {
    /// Looks a key up, or takes it.
    pub fn open(&self, bounds: &KeptBounds, key: Print, print: Print) -> Found {
        let kept = self.kept.of(bounds, |entry| entry.recording.bytes());
        let mut open = self.open.lock();
        if let Some(entry) = open.get(&key) {
            return Found::Before(Arc::clone(entry));
        }
        if let Some(entry) = kept.get(&key) {
            return Found::Before(entry);
        }
        let recording = Arc::new(Recording::default());
        let entry = Arc::new(Entry { print, recording });
        open.insert(key, Arc::clone(&entry));
        Found::New(Opened {
            key,
            entry,
            open: Arc::clone(&self.open),
            kept,
        })
    }
}

/// A key that was taken. Dropped, it is free again, and whoever waits for it looks anew.
pub struct Opened {
    key: Print,
    entry: Arc<Entry>,
    open: Arc<Mutex<HashMap<Print, Arc<Entry>>>>,
    kept: moka::sync::Cache<Print, Arc<Entry>>,
}

impl Opened {
    /// The answer to be.
    #[must_use]
    pub fn recording(&self) -> &Arc<Recording> {
        &self.entry.recording
    }

    /// The key's digest.
    #[must_use]
    pub const fn key(&self) -> Print {
        self.key
    }

    /// The call's digest.
    #[must_use]
    pub fn print(&self) -> Print {
        self.entry.print
    }

    /// The answer is too long to be kept: the next call with this key is sent.
    pub fn let_go(&self) {
        self.open.lock().remove(&self.key);
    }

    /// The answer is over.
    pub fn finish(self, end: End) {
        self.entry.recording.finish(end);
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        // Nobody said how it ended: it broke off.
        self.entry.recording.finish(End::Broken);
        if matches!(self.entry.recording.end(), Some(End::Whole(_))) {
            self.kept.insert(self.key, Arc::clone(&self.entry));
        }
        let mut open = self.open.lock();
        let is_ours = |entry: &Arc<Entry>| Arc::ptr_eq(entry, &self.entry);
        if open.get(&self.key).is_some_and(is_ours) {
            open.remove(&self.key);
        }
    }
}
