//! The chain of prefix digests over a call's messages: `d0 = H(system, tools)`,
//! `dn = H(dn-1, H(message n))`; and what is known of prefixes seen before.
//!
//! Digests are 128-bit XXH3 keyed with a secret. The key matters: a digest stands for
//! a prefix whose token count is known, so whoever could make two prefixes collide could have a long
//! one pass for a short one and make a quote too small. The store keeps the secret, so that calls are
//! joined over a restart ([`crate::inference`]); without a store it is drawn at start. Nothing outside
//! sees it. Journal rows of calls whose task was inferred hold digests.

use sha2::{Digest as _, Sha256};
use std::ops::Range;
use std::sync::{LazyLock, OnceLock};
use twox_hash::XxHash3_128;
use xxhash_rust::xxh3::{Xxh3, Xxh3Builder, xxh3_64_with_secret, xxh3_128_with_secret};

mod known;

pub use known::{Known, Lane, Prefix, Seen};

/// Bytes of XXH3's secret.
const SECRET_BYTES: usize = 192;

/// From here on looking for wider vectors pays, bytes.
const LONG_BYTES: usize = 512;

/// Stands between hashed parts that do not end by themselves.
const SEPARATOR: u8 = 0x1e;

/// The digests of one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Which agent this is likely to be: system text and tools (in any order), without cache marks
    /// and without the volatile blocks that some clients put in front.
    pub root: u128,
    /// One for each message, in order.
    pub links: Vec<Link>,
    /// So many of them, from the first on, are system text, which `root` holds too.
    pub heads: usize,
}

/// One message in the chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// The digest of everything up to and with this message, cache marks left out.
    pub digest: u128,
    /// The digest of the message alone, cache marks left out.
    pub message: u128,
    /// The message's bytes in the body.
    pub at: Range<usize>,
    /// What of other than text the messages up to and with this one hold.
    pub media: Media,
}

/// What of other than literal text stands in a prompt. Counts, but for the bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Media {
    /// Bytes of inline payloads (base64), which are no text.
    pub payload_bytes: u64,
    /// Images, inline or referred to.
    pub images: u64,
    /// Images fetched from a URL, whose content may change between two calls. Also in `images`.
    pub remote_images: u64,
    /// Documents and files.
    pub files: u64,
    /// Files fetched from a URL. Also in `files`.
    pub remote_files: u64,
    /// Audio inputs.
    pub audio: u64,
    /// Parts of a kind that no table lists.
    pub unknown: u64,
    /// References to tools that the provider replaces by the tool's declaration.
    pub tool_references: u64,
    /// Tools declared in messages rather than beside them.
    pub tools: u64,
    /// Those among them that the provider describes itself.
    pub builtin_tools: u64,
    /// `$ref`s in their schemas.
    pub schema_refs: u64,
    /// Items that the provider has stored and puts in: entries of
    /// [`stored`](crate::dialect::Prompt::stored).
    pub stored: u64,
}

impl Media {
    /// What stands here and not in the prefix `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            payload_bytes: self.payload_bytes.saturating_sub(before.payload_bytes),
            images: self.images.saturating_sub(before.images),
            remote_images: self.remote_images.saturating_sub(before.remote_images),
            files: self.files.saturating_sub(before.files),
            remote_files: self.remote_files.saturating_sub(before.remote_files),
            audio: self.audio.saturating_sub(before.audio),
            unknown: self.unknown.saturating_sub(before.unknown),
            tool_references: self.tool_references.saturating_sub(before.tool_references),
            tools: self.tools.saturating_sub(before.tools),
            builtin_tools: self.builtin_tools.saturating_sub(before.builtin_tools),
            schema_refs: self.schema_refs.saturating_sub(before.schema_refs),
            stored: self.stored.saturating_sub(before.stored),
        }
    }
}

/// A keyed digest in the making.
#[derive(Clone)]
pub struct Digester(Xxh3);

impl std::fmt::Debug for Digester {
    /// Never the state: it holds the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digester")
    }
}

impl Default for Digester {
    fn default() -> Self {
        Self(KEY.start.clone())
    }
}

impl Digester {
    /// Adds bytes. Texts that do not end by themselves (all but JSON values) must be followed by
    /// [`Self::end`].
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Ends a part, so that `ab` + `c` differs from `a` + `bc`.
    pub fn end(&mut self) {
        self.0.update(&[SEPARATOR]);
    }

    /// Adds the bytes of a range without those of `cuts`, which are sorted by place and do not
    /// overlap, and ends the part.
    pub fn add_without(&mut self, body: &[u8], at: &Range<usize>, cuts: &[Range<usize>]) {
        let first = cuts.partition_point(|cut| cut.start < at.start);
        self.add_cut(body, at, &cuts[first..]);
        self.end();
    }

    /// Adds the bytes of a range without those of `cuts`, of which none begins before it.
    fn add_cut(&mut self, body: &[u8], at: &Range<usize>, cuts: &[Range<usize>]) {
        let mut from = at.start;
        for cut in cuts.iter().take_while(|cut| cut.end <= at.end) {
            self.add(&body[from..cut.start]);
            from = cut.end;
        }
        self.add(&body[from..at.end]);
    }

    /// The digest of everything added.
    #[must_use]
    pub fn digest(&self) -> u128 {
        self.0.digest128()
    }
}

impl Link {
    /// Takes the digests of the message, behind a conversation that has the digest `before`.
    pub fn join(&mut self, before: u128, body: &[u8], cuts: &[Range<usize>]) {
        self.message = digest_without(body, &self.at, cuts);
        let mut both = [0; 32];
        both[..16].copy_from_slice(&before.to_le_bytes());
        both[16..].copy_from_slice(&self.message.to_le_bytes());
        self.digest = xxh3_128_with_secret(&both, &KEY.secret);
    }
}

/// The digest of a range without the bytes of `cuts`.
fn digest_without(body: &[u8], at: &Range<usize>, cuts: &[Range<usize>]) -> u128 {
    let first = cuts.partition_point(|cut| cut.start < at.start);
    if cuts.get(first).is_none_or(|cut| cut.end > at.end) {
        return digest_of(&body[at.clone()]);
    }
    let mut digester = Digester::default();
    digester.add_cut(body, at, &cuts[first..]);
    digester.digest()
}

/// The digest of one piece. Long ones go through the widest vectors that the machine has.
fn digest_of(bytes: &[u8]) -> u128 {
    let wide = |bytes| XxHash3_128::oneshot_with_secret(&KEY.secret, bytes).ok();
    let long = (bytes.len() >= LONG_BYTES).then_some(bytes);
    long.and_then(wide)
        .unwrap_or_else(|| xxh3_128_with_secret(bytes, &KEY.secret))
}

/// What every digest depends on.
struct Key {
    secret: [u8; SECRET_BYTES],
    start: Xxh3,
}

/// What [`use_seed`] was given.
static SEED: OnceLock<[u8; SECRET_BYTES]> = OnceLock::new();

/// Has all digests of this process depend on `seed`, which is secret. Without effect once a digest
/// was taken.
pub fn use_seed(seed: &[u8; 32]) {
    let mut secret = [0; SECRET_BYTES];
    for (part, slot) in (0_u8..).zip(secret.chunks_exact_mut(32)) {
        let digest = Sha256::new().chain_update(seed).chain_update([part]);
        slot.copy_from_slice(&digest.finalize());
    }
    // A second gateway in one process keeps to the first one's.
    let _ = SEED.set(secret);
}

/// A digest of bytes by themselves.
#[must_use]
pub fn keyed(bytes: &[u8]) -> u64 {
    xxh3_64_with_secret(bytes, &KEY.secret)
}

/// Fixed once.
static KEY: LazyLock<Key> = LazyLock::new(|| {
    let secret = SEED.get().copied().unwrap_or_else(|| {
        let mut secret = [0; SECRET_BYTES];
        #[expect(
            clippy::expect_used,
            reason = "without randomness from the system nothing here is safe to run"
        )]
        getrandom::fill(&mut secret).expect("the system gives random bytes");
        secret
    });
    let start = Xxh3Builder::new().with_secret(secret).build();
    Key { secret, start }
});

#[cfg(test)]
mod tests;
