//! The hash chain: each journal row's hash covers the hash before it, the row's number, its time,
//! its kind and its entry, byte for byte.
//!
//! `hash(n) = SHA-256(hash(n-1) ‖ n ‖ at ‖ kind ‖ 0x0A ‖ entry)`, with `n` and `at` as eight bytes,
//! big end first, and `kind` and `entry` as the text stored. `hash(0) = SHA-256("bursar journal 1\n" ‖ node)`.
//! The encoding is a promise: archives of any age stay verifiable.

use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

/// SHA-256 of a row.
pub(super) type Hash = [u8; 32];

/// The newest row of a chain: `seq:hash` in text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The row's number; 0 before the first.
    pub seq: i64,
    /// The row's hash.
    pub hash: [u8; 32],
}

/// What comes before the first row.
pub(super) fn genesis(node: &str) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(b"bursar journal 1\n");
    hasher.update(node.as_bytes());
    hasher.finalize().into()
}

/// The hash of one row.
pub(super) fn link(previous: &Hash, seq: i64, at: i64, kind: &str, entry: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(previous);
    hasher.update(seq.to_be_bytes());
    hasher.update(at.to_be_bytes());
    hasher.update(kind.as_bytes());
    hasher.update(b"\n");
    hasher.update(entry);
    hasher.finalize().into()
}

/// Lower-case hex.
pub(super) fn hex(hash: &Hash) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    hash.iter()
        .flat_map(|byte| {
            [
                DIGITS[usize::from(byte >> 4)],
                DIGITS[usize::from(byte & 15)],
            ]
        })
        .map(char::from)
        .collect()
}

/// The hash that hex stands for.
pub(super) fn unhex(text: &str) -> Option<Hash> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut hash = Hash::default();
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high << 4 | low).ok()?;
    }
    Some(hash)
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, hex(&self.hash))
    }
}

/// A head is written `seq:hash`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no journal head such as 1042:9f86…: a row number, a colon and 64 hex digits")]
pub struct ParseHeadError(String);

impl FromStr for Head {
    type Err = ParseHeadError;

    fn from_str(text: &str) -> Result<Self, ParseHeadError> {
        text.split_once(':')
            .and_then(|(seq, hash)| {
                Some(Self {
                    seq: seq.parse().ok()?,
                    hash: unhex(hash)?,
                })
            })
            .ok_or_else(|| ParseHeadError(text.to_owned()))
    }
}
