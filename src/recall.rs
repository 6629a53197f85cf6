//! Answers that are given again instead of being paid for again: to a call with the same idempotency
//! key, and to one that must come to the same.
//!
//! Nothing here decides who may have what: the stages (`stack::again`, `stack::cache`) make the
//! digests, and whatever must not be shared is in them. Nothing that a balance depends on is kept here.

mod durable;
mod keys;
mod recording;

pub use durable::{Durable, DurableError, Written};
pub use keys::{Entry, Found, Keys, Opened};
pub use recording::{End, Head, Reader, Recording};

use crate::config::KeptBounds;
use moka::sync::Cache;
use parking_lot::RwLock;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// A digest of all that an answer may be given again for.
pub type Print = [u8; 32];

/// What keeping an entry takes beyond its answer, bytes.
const OVERHEAD_BYTES: usize = 512;

/// Digests fields so that no two lists of them come to the same bytes.
pub struct Fields(Sha256);

impl Default for Fields {
    fn default() -> Self {
        Self(Sha256::new())
    }
}

impl Fields {
    /// Adds a field.
    pub fn add(&mut self, field: &[u8]) {
        self.0.update((field.len() as u64).to_le_bytes());
        self.0.update(field);
    }

    /// The digest of all of them.
    #[must_use]
    pub fn print(self) -> Print {
        self.0.finalize().into()
    }
}

/// A cache within bounds that a reload may change: it then begins anew.
struct Bounded<V>(RwLock<Option<(KeptBounds, Cache<Print, V>)>>);

impl<V> Default for Bounded<V> {
    fn default() -> Self {
        Self(RwLock::new(None))
    }
}

impl<V: Clone + Send + Sync + 'static> Bounded<V> {
    fn of(&self, bounds: &KeptBounds, weigh: fn(&V) -> usize) -> Cache<Print, V> {
        if let Some((known, cache)) = &*self.0.read()
            && known == bounds
        {
            return cache.clone();
        }
        let mut kept = self.0.write();
        if let Some((known, cache)) = &*kept
            && known == bounds
        {
            return cache.clone();
        }
        let cache = Cache::builder()
            .weigher(move |_, value: &V| {
                let bytes = weigh(value).saturating_add(OVERHEAD_BYTES);
                u32::try_from(bytes).unwrap_or(u32::MAX)
            })
            .max_capacity(bounds.max_bytes as u64)
            .time_to_live(bounds.ttl)
            .build();
        *kept = Some((*bounds, cache.clone()));
        cache
    }
}

/// All answers that are kept.
pub struct Recall {
    /// By idempotency key.
    pub keys: Keys,
    /// Those that outlive the process.
    pub durable: Durable,
    cached: Bounded<Arc<Recording>>,
}

impl Recall {
    /// Nothing is kept yet; what outlives the process is where `durable` says.
    #[must_use]
    pub fn new(durable: Durable) -> Self {
        Self {
            keys: Keys::default(),
            durable,
            cached: Bounded::default(),
        }
    }

    /// The answer to a call of this print.
    #[must_use]
    pub fn cached(&self, bounds: &KeptBounds, print: &Print) -> Option<Arc<Recording>> {
        self.cached.of(bounds, weigh).get(print)
    }

    /// Keeps the answer to calls of this print.
    pub fn cache(&self, bounds: &KeptBounds, print: Print, answer: Arc<Recording>) {
        self.cached.of(bounds, weigh).insert(print, answer);
    }
}

fn weigh(answer: &Arc<Recording>) -> usize {
    answer.bytes()
}

#[cfg(test)]
mod tests;
