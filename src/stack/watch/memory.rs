//! What is remembered of all tasks: within [`MOST_BYTES`], in shards, so that no call waits for another
//! task's. What does not fit is forgotten, the tasks longest silent first; so is a task that was silent for
//! an hour, and everything at a restart. A forgotten task is watched from its next call on.

use super::task::TaskWatch;
use crate::units::{TaskKey, UnixMs};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

/// The most memory that watching takes in all, in bytes: some 12,000 busy tasks of one agent, or 28,000
/// short ones. A task at rest takes some 1 KiB elsewhere, and 100,000 of them are to rest within 200 MB.
pub const MOST_BYTES: usize = 32 << 20;
/// How long a task is silent before it is forgotten, milliseconds. As long as the task itself is kept in
/// memory.
const IDLE_MS: i64 = 3_600_000;
/// A power of two.
const SHARDS: usize = 16;
/// What a task's place in the map takes, in bytes: its key with two short names, and the map's own.
const SLOT_BYTES: usize = 256;

type Hasher = foldhash::quality::RandomState;

/// The memory of the watch.
#[derive(Debug)]
pub struct Watching {
    shards: [Mutex<Shard>; SHARDS],
    hasher: Hasher,
    most_bytes: usize,
}

#[derive(Debug, Default)]
struct Shard {
    tasks: HashMap<TaskKey, Slot, Hasher>,
    bytes: usize,
}

/// One task, and what its slot was last told that it takes, in bytes.
#[derive(Debug, Default)]
struct Remembered {
    watch: TaskWatch,
    booked: usize,
}

#[derive(Debug)]
struct Slot {
    task: Arc<Mutex<Remembered>>,
    bytes: usize,
    used: UnixMs,
}

impl Default for Watching {
    fn default() -> Self {
        Self::within(MOST_BYTES)
    }
}

impl Watching {
    /// Empty, with a bound of its own, in bytes.
    #[must_use]
    pub fn within(most_bytes: usize) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: Hasher::default(),
            most_bytes,
        }
    }

    fn shard(&self, key: &TaskKey) -> &Mutex<Shard> {
        let hash = self.hasher.hash_one(key);
        &self.shards[usize::try_from(hash >> 48).unwrap_or(0) % SHARDS]
    }

    /// Looks at one task, and keeps the books on what it takes.
    pub(super) fn look<T>(
        &self,
        key: &TaskKey,
        now: UnixMs,
        look: impl FnOnce(&mut TaskWatch) -> T,
    ) -> T {
        let shard = self.shard(key);
        let task = shard.lock().task(key, now);
        // The task's own lock alone: reading a long message holds up no other task.
        let (seen, bytes) = {
            let mut task = task.lock();
            let seen = look(&mut task.watch);
            let bytes = task.watch.bytes() + SLOT_BYTES;
            let before = std::mem::replace(&mut task.booked, bytes);
            (seen, (bytes != before).then_some(bytes))
        };
        if let Some(bytes) = bytes {
            shard.lock().book(key, bytes, self.most_bytes / SHARDS);
        }
        seen
    }

    /// Looks at a task if it is known.
    pub(super) fn look_if_known(
        &self,
        key: &TaskKey,
        now: UnixMs,
        look: impl FnOnce(&mut TaskWatch),
    ) {
        let is_known = self.shard(key).lock().tasks.contains_key(key);
        if is_known {
            self.look(key, now, look);
        }
    }

    /// Forgets tasks that were silent for long.
    pub fn sweep(&self, now: UnixMs) {
        for shard in &self.shards {
            shard.lock().forget(|slot| now.0 - slot.used.0 >= IDLE_MS);
        }
    }

    /// What is remembered now, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().bytes).sum()
    }

    /// Tasks remembered.
    #[must_use]
    pub fn tasks(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.lock().tasks.len())
            .sum()
    }
}

impl Shard {
    fn task(&mut self, key: &TaskKey, now: UnixMs) -> Arc<Mutex<Remembered>> {
        if let Some(slot) = self.tasks.get_mut(key) {
            slot.used = now;
            return Arc::clone(&slot.task);
        }
        let slot = Slot {
            task: Arc::default(),
            bytes: 0,
            used: now,
        };
        let task = Arc::clone(&slot.task);
        self.tasks.insert(key.clone(), slot);
        task
    }

    fn book(&mut self, key: &TaskKey, bytes: usize, most_bytes: usize) {
        // It may have been forgotten meanwhile.
        let Some(slot) = self.tasks.get_mut(key) else {
            return;
        };
        self.bytes = self.bytes - slot.bytes + bytes;
        slot.bytes = bytes;
        if self.bytes > most_bytes {
            self.make_room(most_bytes);
        }
    }

    /// Forgets the eighth of the tasks that was silent longest, and more if that is not enough.
    fn make_room(&mut self, most_bytes: usize) {
        while self.bytes > most_bytes && !self.tasks.is_empty() {
            let mut times: Vec<UnixMs> = self.tasks.values().map(|slot| slot.used).collect();
            let eighth = times.len() / 8;
            let (_, until, _) = times.select_nth_unstable(eighth);
            let until = *until;
            // Of many silent equally long, as many as are needed.
            let mut surplus = self.bytes - most_bytes * 7 / 8;
            self.forget(|slot| {
                let goes = slot.used <= until && surplus > 0;
                if goes {
                    surplus = surplus.saturating_sub(slot.bytes.max(1));
                }
                goes
            });
        }
    }

    fn forget(&mut self, mut goes: impl FnMut(&Slot) -> bool) {
        let mut freed = 0;
        self.tasks.retain(|_, slot| {
            let goes = goes(slot);
            if goes {
                freed += slot.bytes;
            }
            !goes
        });
        self.bytes -= freed;
    }
}

#[cfg(test)]
mod tests;
