//! A stream that chants: the same short chunk over and over, without end. Told from the text as it
//! passes, with a fixed amount of memory.

/// So much of the text is kept, in bytes.
const TAIL_BYTES: usize = 2048;
/// The longest chunk that is looked for, in bytes.
const MOST_PERIOD_BYTES: usize = 200;
/// A chant has gone on for at least this long, in bytes.
const LEAST_BYTES: usize = 1024;
/// And its chunk came at least this often.
const LEAST_TIMES: usize = 10;
/// The tail is looked at again after so much new text, in bytes: the cost stays a few steps a byte.
const STRIDE_BYTES: usize = 256;

/// Watches one stream of text.
#[derive(Clone, Debug, Default)]
pub struct Chant {
    tail: Vec<u8>,
    unseen_bytes: usize,
}

/// What a stream chants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chanting {
    /// The chunk's length, in bytes.
    pub period_bytes: usize,
    /// How often it came at least.
    pub times: usize,
}

impl Chant {
    /// Takes in text as it arrives; what is chanted, once it is.
    pub fn hear(&mut self, text: &str) -> Option<Chanting> {
        text.as_bytes().chunks(STRIDE_BYTES).find_map(|chunk| {
            let surplus = (self.tail.len() + chunk.len()).saturating_sub(TAIL_BYTES);
            self.tail.drain(..surplus);
            self.tail.extend_from_slice(chunk);
            self.unseen_bytes += chunk.len();
            if self.unseen_bytes < STRIDE_BYTES {
                return None;
            }
            self.unseen_bytes = 0;
            chanting(&self.tail)
        })
    }
}

/// The shortest period of the end of a text, if it goes on long enough.
fn chanting(tail: &[u8]) -> Option<Chanting> {
    // Rules and blank lines are drawn of one sign; only what says something is a chant.
    let says = |period: usize| {
        tail[tail.len() - period..]
            .iter()
            .any(u8::is_ascii_alphabetic)
    };
    (1..=MOST_PERIOD_BYTES).find_map(|period| {
        let pairs = tail.iter().rev().zip(tail.iter().rev().skip(period));
        let length = period + pairs.take_while(|(last, before)| last == before).count();
        let is_long = length >= LEAST_BYTES && length / period >= LEAST_TIMES;
        (is_long && says(period)).then(|| Chanting {
            period_bytes: period,
            times: length / period,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::{Chant, Chanting};

    fn heard(text: &str, piece: usize) -> Option<Chanting> {
        let mut chant = Chant::default();
        let pieces: Vec<char> = text.chars().collect();
        pieces
            .chunks(piece)
            .find_map(|piece| chant.hear(&piece.iter().collect::<String>()))
    }

    #[test]
    fn a_chunk_without_end_is_told() {
        for chunk in ["ha ", "The answer is 42. ", "Let me check that again.\n\n"] {
            for piece in [1, 7, 5000] {
                let told = heard(&format!("Well, then: {}", chunk.repeat(800)), piece);
                assert_eq!(
                    told.map(|told| told.period_bytes),
                    Some(chunk.len()),
                    "{chunk} {piece}"
                );
            }
        }
    }

    #[test]
    fn what_ends_or_moves_on_is_left_alone() {
        assert_eq!(heard(&"ha ".repeat(100), 3), None);
        assert_eq!(heard(&"-".repeat(4000), 9), None);
        let rows: String = (0..500).map(|i| format!("| row {i} | yes |\n")).collect();
        assert_eq!(heard(&rows, 11), None);
        let zeros = format!("[{}]", "0, ".repeat(900));
        assert_eq!(heard(&zeros, 11), None);
    }
}
