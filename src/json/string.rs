//! Where a string ends: quotes and backslashes of 64 bytes at a time, as bits. What is escaped is found by
//! arithmetic on the bits, so that a text full of escapes costs hardly more than prose.
//!
//! Gives up where anything is out of order, for the caller to find out byte by byte what it is. And
//! [`survey`]: what can be said of a whole text before it is walked.

use fearless_simd::prelude::*;
use fearless_simd::{Level, dispatch, u8x16, u8x64};

/// As many bytes are looked at together: one for each bit.
const BLOCK: usize = 64;
/// Every second bit, from the lowest.
const EVEN: u64 = 0x5555_5555_5555_5555;

/// The end of a string, and what stands in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// Where the closing quote stands, counted from the text's first byte.
    pub quote: usize,
    /// A backslash stands before it.
    pub escaped: bool,
}

/// Finds the end of the string that begins with `text`, its opening quote left out. `None` if there is none,
/// or if an escape before it is malformed.
#[inline]
pub(super) fn end(level: Level, text: &[u8]) -> Option<End> {
    short(text).or_else(|| long(level, text))
}

/// The end of any other. Apart, so that the way of most strings stays short.
#[inline(never)]
fn long(level: Level, text: &[u8]) -> Option<End> {
    let mut scan = Scan::default();
    let Some(first) = text.first_chunk() else {
        return dispatch!(Level::baseline(), simd => scan.rest(simd, text, 0));
    };
    // Most texts end here, which does not pay a call into code for wider vectors.
    let found = dispatch!(Level::baseline(), simd => scan.block(simd, first, text, 0));
    match found? {
        Some(quote) => Some(scan.ended(quote)),
        None => dispatch!(level, simd => scan.rest(simd, text, BLOCK)),
    }
}

/// The end of a string without escapes that ends at once, as most names do.
#[inline]
fn short(text: &[u8]) -> Option<End> {
    let first = text.first_chunk()?;
    let (quotes, backslashes) = dispatch!(Level::baseline(), simd => {
        let first = u8x16::load_array_ref(simd, first);
        let of = |byte: u8| first.simd_eq(byte).to_bitmask();
        (of(b'"'), of(b'\\'))
    });
    let before = (quotes & quotes.wrapping_neg()).wrapping_sub(1);
    let ends = quotes != 0 && backslashes & before == 0;
    ends.then(|| End {
        quote: quotes.trailing_zeros() as usize,
        escaped: false,
    })
}

/// Whether the bytes are all ASCII, and whether none is a control character.
pub(super) fn survey(level: Level, body: &[u8]) -> (bool, bool) {
    dispatch!(level, simd => surveyed(simd, body))
}

#[inline(always)]
fn surveyed<S: Simd>(simd: S, body: &[u8]) -> (bool, bool) {
    let mut bits = u8x64::splat(simd, 0);
    let mut least = u8x64::splat(simd, u8::MAX);
    let mut look = |block| {
        let block = u8x64::load_array_ref(simd, block);
        bits |= block;
        least = least.min(block);
    };
    let (blocks, rest) = body.as_chunks();
    blocks.iter().for_each(&mut look);
    // Spaces are neither the one nor the other.
    let mut last = [b' '; BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    look(&last);
    let (ascii, clean) = (bits.simd_lt(0x80), least.simd_ge(b' '));
    (ascii.all_true(), clean.all_true())
}

/// What is carried from block to block.
#[derive(Default)]
struct Scan {
    /// 1 if the next block's first byte is escaped.
    carry: u64,
    /// Not 0 once a backslash stood in the string.
    escapes: u64,
}

impl Scan {
    /// The end of the string in what stands from `at` on.
    #[inline(always)]
    fn rest<S: Simd>(mut self, simd: S, text: &[u8], mut at: usize) -> Option<End> {
        while let Some(block) = text.get(at..).and_then(<[u8]>::first_chunk) {
            if let Some(quote) = self.block(simd, block, text, at)? {
                return Some(self.ended(quote));
            }
            at += BLOCK;
        }
        // Zeros are neither quotes nor backslashes.
        let mut last = [0; BLOCK];
        let rest = text.get(at..)?;
        last.get_mut(..rest.len())?.copy_from_slice(rest);
        let quote = self.block(simd, &last, text, at)??;
        Some(self.ended(quote))
    }

    /// The closing quote, if it stands in the block at `at`; `None` outside if an escape is malformed.
    #[inline(always)]
    fn block<S: Simd>(
        &mut self,
        simd: S,
        block: &[u8; BLOCK],
        text: &[u8],
        at: usize,
    ) -> Option<Option<usize>> {
        let block = u8x64::load_array_ref(simd, block);
        // A bit for each byte, the first byte's the lowest.
        let quotes = block.simd_eq(b'"').to_bitmask();
        let backslashes = block.simd_eq(b'\\').to_bitmask();
        let mut closing = quotes;
        if backslashes | self.carry != 0 {
            let escaped = self.escaped_by(backslashes);
            closing &= !escaped;
            // What stands behind the closing quote is not the string's own.
            let own = closing ^ closing.wrapping_sub(1);
            self.escapes |= (backslashes | escaped) & own;
            let mut strange = escaped & own & !(quotes | backslashes);
            if strange != 0 {
                // Most are ends of lines.
                strange &= !block.simd_eq(b'n').to_bitmask();
            }
            while strange != 0 {
                is_escape(text.get(at + strange.trailing_zeros() as usize..)?)?;
                strange &= strange - 1;
            }
        }
        Some((closing != 0).then(|| at + closing.trailing_zeros() as usize))
    }

    /// Which bytes are escaped: each that follows an odd run of backslashes.
    #[inline(always)]
    fn escaped_by(&mut self, backslashes: u64) -> u64 {
        let backslashes = backslashes & !self.carry;
        let follows = backslashes << 1 | self.carry;
        if backslashes & follows == 0 {
            // Each stands alone, as most do.
            self.carry = backslashes >> 63;
            return follows;
        }
        let odd_starts = backslashes & !EVEN & !follows;
        let (even_runs, carry) = odd_starts.overflowing_add(backslashes);
        self.carry = u64::from(carry);
        (EVEN ^ (even_runs << 1)) & follows
    }

    #[inline(always)]
    const fn ended(&self, quote: usize) -> End {
        End {
            quote,
            escaped: self.escapes != 0,
        }
    }
}

/// Whether `text` goes on as an escape does behind its backslash.
fn is_escape(text: &[u8]) -> Option<()> {
    let is_one = match text {
        [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => true,
        [b'u', a, b, c, d, ..] => [a, b, c, d].into_iter().all(u8::is_ascii_hexdigit),
        _ => false,
    };
    is_one.then_some(())
}

/// As many bytes [`near`] looks at.
pub(crate) const NEAR: usize = 16;

/// Where the first byte stands that is one of those meant.
#[inline(always)]
pub(crate) fn near<const N: usize>(bytes: &[u8; NEAR], meant: [u8; N]) -> Option<usize> {
    let found = dispatch!(Level::baseline(), simd => {
        let bytes = u8x16::load_array_ref(simd, bytes);
        let mut found = 0;
        for byte in &meant {
            found |= bytes.simd_eq(*byte).to_bitmask();
        }
        found
    });
    (found != 0).then(|| found.trailing_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use super::{End, end, survey};
    use fearless_simd::Level;
    use proptest::prelude::*;

    /// Byte by byte.
    fn slowly(text: &[u8]) -> Option<End> {
        let (mut at, mut escaped) = (0, false);
        loop {
            match text.get(at)? {
                b'"' => return Some(End { quote: at, escaped }),
                b'\\' => {
                    escaped = true;
                    super::is_escape(&text[at + 1..])?;
                    at += 2;
                }
                _ => at += 1,
            }
        }
    }

    /// The least that this kind of machine has, and what this one has.
    fn levels() -> [Level; 2] {
        [Level::baseline(), Level::new()]
    }

    proptest! {
        #[test]
        fn ends_are_those_found_byte_by_byte(
            parts in prop::collection::vec(
                prop_oneof![
                    4 => "[a-z ]{0,70}",
                    4 => prop::sample::select(vec!["\\n", "\\\"", "\\\\", "\\t", "\\u00e9", "\\/"]).prop_map(str::to_owned),
                    1 => "\\\\{1,70}",
                    1 => prop::sample::select(vec!["\"", "\\q", "\\u12", "é", "\\"]).prop_map(str::to_owned),
                ],
                0..12,
            ),
        ) {
            let text = parts.concat();
            for level in levels() {
                prop_assert_eq!(end(level, text.as_bytes()), slowly(text.as_bytes()));
            }
        }

        #[test]
        fn a_survey_sees_every_byte(
            length in 0..300_usize,
            odd in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        ) {
            let mut body = vec![b'~'; length];
            for (at, byte) in odd.iter().filter(|_| length > 0) {
                body[at.index(length)] = *byte;
            }
            let clean = body.iter().all(|byte| *byte >= 0x20);
            for level in levels() {
                prop_assert_eq!(survey(level, &body), (body.is_ascii(), clean));
            }
        }
    }
}
