//! Where a string ends: quotes and backslashes of 64 bytes at a time, as bits. What is escaped is found by
//! arithmetic on the bits, so that a text full of escapes costs hardly more than prose.
//!
//! Gives up where anything is out of order, for the caller to find out byte by byte what it is.

use wide::u8x16;

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
pub(super) fn end(text: &[u8]) -> Option<End> {
    let mut scan = Scan::default();
    let mut at = 0;
    while let Some(block) = text.get(at..).and_then(<[u8]>::first_chunk) {
        if let Some(quote) = scan.block(Marks::of(block), text, at)? {
            return Some(scan.ended(quote));
        }
        at += BLOCK;
    }
    // Zeros are neither quotes nor backslashes.
    let mut last = [0; BLOCK];
    let rest = text.get(at..)?;
    last.get_mut(..rest.len())?.copy_from_slice(rest);
    let quote = scan.block(Marks::of(&last), text, at)??;
    Some(scan.ended(quote))
}

/// What is carried from block to block.
#[derive(Default)]
struct Scan {
    /// 1 if the next block's first byte is escaped.
    carry: u64,
    escaped: bool,
}

impl Scan {
    /// The closing quote, if it stands in the block at `at`; `None` outside if an escape is malformed.
    #[inline]
    fn block(&mut self, marks: Marks, text: &[u8], at: usize) -> Option<Option<usize>> {
        let Marks {
            quotes,
            backslashes,
        } = marks;
        let mut closing = quotes;
        if backslashes | self.carry != 0 {
            let escaped = self.escaped_by(backslashes);
            closing &= !escaped;
            // What stands behind the string is not its own.
            let own = match closing {
                0 => u64::MAX,
                _ => (1 << closing.trailing_zeros()) - 1,
            };
            self.escaped |= (backslashes & own) != 0 || (escaped & own) != 0;
            let mut strange = escaped & own & !(quotes | backslashes);
            while strange != 0 {
                is_escape(text.get(at + strange.trailing_zeros() as usize..)?)?;
                strange &= strange - 1;
            }
        }
        Some((closing != 0).then(|| at + closing.trailing_zeros() as usize))
    }

    /// Which bytes are escaped: each that follows an odd run of backslashes.
    #[inline]
    fn escaped_by(&mut self, backslashes: u64) -> u64 {
        let backslashes = backslashes & !self.carry;
        let follows = backslashes << 1 | self.carry;
        let odd_starts = backslashes & !EVEN & !follows;
        let (even_runs, carry) = odd_starts.overflowing_add(backslashes);
        self.carry = u64::from(carry);
        (EVEN ^ (even_runs << 1)) & follows
    }

    const fn ended(&self, quote: usize) -> End {
        End {
            quote,
            escaped: self.escaped,
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

/// The quotes and backslashes of a block: a bit for each byte, the first byte's the lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Marks {
    quotes: u64,
    backslashes: u64,
}

impl Marks {
    #[inline]
    fn of(block: &[u8; BLOCK]) -> Self {
        let (parts, _) = block.as_chunks();
        let bits = |wanted: u8| {
            let wanted = u8x16::splat(wanted);
            let parts = parts.iter().enumerate();
            parts.fold(0, |all, (i, part)| {
                let bits = u8x16::new(*part).simd_eq(wanted).to_bitmask();
                all | u64::from(bits) << (16 * i)
            })
        };
        Self {
            quotes: bits(b'"'),
            backslashes: bits(b'\\'),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BLOCK, End, Marks, end};
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
            prop_assert_eq!(end(text.as_bytes()), slowly(text.as_bytes()));
        }

        #[test]
        fn marks_are_those_found_byte_by_byte(block in prop::collection::vec(prop_oneof![Just(b'"'), Just(b'\\'), any::<u8>()], BLOCK)) {
            let block: &[u8; BLOCK] = block.first_chunk().unwrap();
            let plain = |wanted: u8| {
                (0_u32..).zip(block).fold(0_u64, |all, (i, byte)| all | u64::from(*byte == wanted) << i)
            };
            let marks = Marks { quotes: plain(b'"'), backslashes: plain(b'\\') };
            prop_assert_eq!(Marks::of(block), marks);
        }
    }
}
