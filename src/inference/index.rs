//! Which conversations a digest leads to: the newest ones, up to a bound.

use smallvec::SmallVec;
use std::collections::HashMap;
use std::hash::Hash;

/// Most conversations that one digest leads to; the oldest makes room.
pub(super) const MOST_PER_KEY: usize = 256;

/// Numbers of conversations by digest.
#[derive(Debug)]
pub(super) struct Index<K>(HashMap<K, SmallVec<[u64; 2]>, foldhash::quality::RandomState>);

impl<K> Default for Index<K> {
    fn default() -> Self {
        Self(HashMap::default())
    }
}

impl<K: Hash + Eq> Index<K> {
    pub(super) fn add(&mut self, key: K, line: u64) {
        let lines = self.0.entry(key).or_default();
        if lines.contains(&line) {
            return;
        }
        if lines.len() >= MOST_PER_KEY {
            lines.remove(0);
        }
        lines.push(line);
    }

    pub(super) fn remove(&mut self, key: &K, line: u64) {
        if let Some(lines) = self.0.get_mut(key) {
            lines.retain(|known| *known != line);
            if lines.is_empty() {
                self.0.remove(key);
            }
        }
    }

    /// The oldest first.
    pub(super) fn get(&self, key: &K) -> &[u64] {
        self.0.get(key).map_or(&[], |lines| lines)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
