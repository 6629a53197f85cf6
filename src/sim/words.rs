//! What the simulated models say, and the only chance there is: a small seeded generator.
//!
//! A token is four bytes of text (a blank and a three-letter word; the first is a four-letter word),
//! so that the bytes an observer sees and the tokens on the bill fit together. Under the dense rule a
//! token is one byte.

use bytes::{BufMut, BytesMut};

const WORDS: [&[u8; 4]; 32] = [
    b" the", b" sum", b" set", b" two", b" one", b" run", b" way", b" now", b" new", b" key",
    b" map", b" row", b" log", b" job", b" net", b" end", b" top", b" low", b" mid", b" add",
    b" cut", b" put", b" get", b" and", b" for", b" per", b" any", b" all", b" not", b" yes",
    b" day", b" act",
];
const FIRST: [&[u8; 4]; 4] = [b"Here", b"This", b"Then", b"Both"];

/// A seeded generator (splitmix64): the same seed gives the same answers.
#[derive(Clone, Copy, Debug)]
pub struct Draw(u64);

impl Draw {
    /// From two numbers that together name what is drawn.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut draw = Self(seed ^ stream.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        draw.next();
        draw
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        let span = high.saturating_sub(low).saturating_add(1);
        low + self.next() % span.max(1)
    }

    /// True with this probability, `0.0..=1.0`.
    pub fn happens(&mut self, rate: f64) -> bool {
        // 53 bits are what an f64 holds exactly; no money depends on this.
        rate > 0.0 && ((self.next() >> 11) as f64) < rate * (1_u64 << 53) as f64
    }
}

/// A run of words still to be said.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    draw: Draw,
    /// What is left of the last draw: one serves twelve words of five bits each.
    bits: u64,
    words_in_bits: u8,
    left: u64,
    first: bool,
    dense: bool,
}

impl Words {
    /// `tokens` tokens, the same for the same seed.
    pub fn new(seed: u64, tokens: u64, dense: bool) -> Self {
        Self {
            draw: Draw::new(seed, 1),
            bits: 0,
            words_in_bits: 0,
            left: tokens,
            first: true,
            dense,
        }
    }

    /// Tokens still to be said.
    pub const fn left(&self) -> u64 {
        self.left
    }

    /// Says up to `tokens` more; plain ASCII without anything that JSON escapes.
    pub fn say(&mut self, tokens: u64, out: &mut BytesMut) {
        let tokens = tokens.min(self.left);
        self.left -= tokens;
        for _ in 0..tokens {
            if self.words_in_bits == 0 {
                (self.bits, self.words_in_bits) = (self.draw.next(), 12);
            }
            let [index, ..] = self.bits.to_le_bytes();
            self.bits >>= 5;
            self.words_in_bits -= 1;
            if self.dense {
                out.put_u8(b'a' + index % 26);
            } else if self.first {
                out.put_slice(FIRST[usize::from(index % 4)]);
            } else {
                out.put_slice(WORDS[usize::from(index % 32)]);
            }
            self.first = false;
        }
    }
}
