//! The provider's own input counts of prefixes seen before, and the sizes of what it stores.
//!
//! A count may be forgotten at any time (the caches are bounded); then a bound is wider, never
//! smaller. It is used only for the same prefix, target model, dialect and frame.

use super::{Digester, Media};
use crate::dialect::{Call, Dialect};
use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle};
use std::hash::{BuildHasherDefault, Hasher};

/// Messages that are looked back over for a known prefix. A turn adds one or two messages, or one
/// for each of its parallel tool results.
const LOOK_BACK_MESSAGES: usize = 128;

/// Ids of things stored at a provider that one call may refer to and still be bounded by them.
const STORED_IDS_MAX: usize = 256;

/// Token counts by keyed digest. Read and written by every call.
type Counts = Cache<u128, u64, UnitWeighter, BuildHasherDefault<AsItIs>>;

/// What providers have counted before. Shared by all calls.
#[derive(Debug)]
pub struct Known {
    /// Input tokens of a prefix.
    counts: Counts,
    /// Tokens of what a provider stores, by its id there.
    stored: Counts,
}

/// A prefix of a call whose input tokens the provider has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// Its own count, tools and frame included.
    pub tokens: u64,
    /// Where the rest begins in the body, in bytes: the end of the prefix's last message.
    pub rest_from: usize,
    /// Messages after it.
    pub rest_messages: u64,
    /// What of other than text stands in the prefix.
    pub media: Media,
}

/// What is known of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Its longest counted prefix.
    pub prefix: Option<Prefix>,
    /// Tokens of everything stored at the provider that the call refers to and that the prefix's
    /// count does not hold already; `None` unless all of it is known. Zero when there is nothing.
    pub stored: Option<u64>,
    /// Where counts of this call for this model are kept; for [`Known::learn`].
    pub lane: Lane,
}

/// What a count depends on besides the messages: target model, dialect, and every prompt-entering
/// field outside them, as a keyed digest. Combined with a link's digest by exclusive or: both are
/// keyed, and of different things.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lane(u128);

impl Lane {
    /// For calls of which nothing is known.
    #[cfg(test)]
    pub(crate) const NONE: Self = Self(0);
}

impl Known {
    /// Remembers at most `entries` prefixes and as many stored ids (about 100 bytes each).
    #[must_use]
    pub fn new(entries: u64) -> Self {
        let cache = || {
            let items = usize::try_from(entries).unwrap_or(usize::MAX);
            let (hasher, lifecycle) = (BuildHasherDefault::default(), DefaultLifecycle::default());
            Cache::with(items, entries, UnitWeighter, hasher, lifecycle)
        };
        Self {
            counts: cache(),
            stored: cache(),
        }
    }

    /// The provider counted `input_tokens` (all of them, cached ones included) for this call, sent
    /// to the model that `lane` stands for.
    pub fn learn(&self, call: &Call, lane: Lane, input_tokens: u64) {
        if input_tokens == 0 || !call.prompt.steady {
            return;
        }
        if let Some(last) = call.chain.links.last() {
            let key = last.digest ^ lane.0;
            // The larger of two counts of one prefix: a bound must hold for both.
            let tokens = self.counts.get(&key).unwrap_or(0).max(input_tokens);
            self.counts.insert(key, tokens);
        }
    }

    /// The longest prefix of `call` that was counted in this lane.
    fn tight(&self, call: &Call, lane: Lane) -> Option<Prefix> {
        if !call.prompt.steady || call.chain.links.is_empty() {
            return None;
        }
        let back = call.chain.links.iter().rev().take(LOOK_BACK_MESSAGES);
        (0..).zip(back).find_map(|(rest_messages, link)| {
            let tokens = self.counts.get(&(link.digest ^ lane.0))?;
            Some(Prefix {
                tokens,
                rest_from: link.at.end,
                rest_messages,
                media: link.media,
            })
        })
    }

    /// For each message of `call` the provider's count of everything up to and with it, where a call
    /// ended there; nothing for calls whose counts do not add up.
    #[must_use]
    pub fn counts(&self, call: &Call, model: &str) -> Vec<Option<u64>> {
        let lane = lane(call, model);
        let count = |link: &super::Link| self.counts.get(&(link.digest ^ lane.0));
        let links = call.chain.links.iter().filter(|_| call.prompt.steady);
        links.map(count).collect()
    }

    /// What a later call draws in by naming `id` has at most this many tokens: for an answer's id
    /// (`previous_response_id`) its input and output, for an item's id its output.
    pub fn remember(&self, dialect: Dialect, model: &str, id: &str, tokens: u64) {
        self.stored.insert(stored_key(dialect, model, id), tokens);
    }

    /// Everything known that bounds this call's input when sent to `model`.
    #[must_use]
    pub fn seen(&self, call: &Call, model: &str) -> Seen {
        let lane = lane(call, model);
        let prefix = self.tight(call, lane);
        Seen {
            lane,
            prefix,
            stored: self.stored(call, model, prefix.as_ref()),
        }
    }

    /// Items behind the prefix; or, without one, all of them and the previous answer. What a counted
    /// prefix drew in is in its count.
    fn stored(&self, call: &Call, model: &str, prefix: Option<&Prefix>) -> Option<u64> {
        let counted = prefix.map_or(0, |prefix| prefix.media.stored);
        let items = call.prompt.stored.get(usize::try_from(counted).ok()?..)?;
        let previous = call.ids.previous_response.as_ref();
        let previous = previous.filter(|_| prefix.is_none());
        if items.len() > STORED_IDS_MAX {
            return None;
        }
        previous
            .into_iter()
            .chain(items)
            .try_fold(0_u64, |sum, id| {
                let tokens = self.stored.get(&stored_key(call.dialect, model, id))?;
                Some(sum.saturating_add(tokens))
            })
    }
}

fn lane(call: &Call, model: &str) -> Lane {
    let mut digester = Digester::default();
    digester.add(&call.prompt.frame.to_le_bytes());
    digester.add(call.dialect.name().as_bytes());
    digester.end();
    digester.add(model.as_bytes());
    Lane(digester.digest())
}

fn stored_key(dialect: Dialect, model: &str, id: &str) -> u128 {
    let mut digester = Digester::default();
    digester.add(dialect.name().as_bytes());
    digester.end();
    digester.add(model.as_bytes());
    digester.end();
    digester.add(id.as_bytes());
    digester.digest()
}

/// The keys are keyed digests already: their low half is as good a hash as any.
#[derive(Debug, Default)]
pub struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 = self.0.rotate_left(5) ^ u64::from_le_bytes(word);
        }
    }
}
