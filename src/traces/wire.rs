//! Writes protobuf, as much of it as OTLP's spans need: straight from borrowed values into one buffer, for
//! a span has thirty attributes and most calls are over in a millisecond.
//!
//! Field numbers: `opentelemetry/proto/trace/v1/trace.proto` and its neighbours, 1.x: they do not change.

/// A message that is being written.
#[derive(Debug, Default)]
pub struct Wire(pub Vec<u8>);

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const LENGTH: u32 = 2;
const FIXED32: u32 = 5;

impl Wire {
    fn key(&mut self, field: u32, kind: u32) {
        self.varint(u64::from(field << 3 | kind));
    }

    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.0.push(number.to_le_bytes()[0]);
    }

    /// A number; zero is left out, as it is what an absent one means.
    pub fn number(&mut self, field: u32, number: u64) {
        if number > 0 {
            self.key(field, VARINT);
            self.varint(number);
        }
    }

    /// Eight bytes.
    pub fn fixed64(&mut self, field: u32, number: u64) {
        self.key(field, FIXED64);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    /// Four bytes.
    pub fn fixed32(&mut self, field: u32, number: u32) {
        self.key(field, FIXED32);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    /// Bytes or text.
    pub fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.key(field, LENGTH);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// A message within the message.
    pub fn message(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        self.key(field, LENGTH);
        // Most are shorter than 128 bytes, and the length of those takes one.
        let at = self.0.len();
        self.0.push(0);
        write(self);
        let length = (self.0.len() - at - 1) as u64;
        let mut rest = length;
        let mut extra = 0;
        while rest >= 0x80 {
            rest >>= 7;
            extra += 1;
        }
        if extra > 0 {
            let end = self.0.len();
            self.0.resize(end + extra, 0);
            self.0.copy_within(at + 1..end, at + 1 + extra);
        }
        let mut number = length;
        for byte in &mut self.0[at..=at + extra] {
            *byte = number.to_le_bytes()[0] & 0x7f | 0x80;
            number >>= 7;
        }
        self.0[at + extra] &= 0x7f;
    }

    /// What another has written.
    pub fn append(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    /// An attribute with a text.
    pub fn text(&mut self, field: u32, name: &str, text: &str) {
        let length = text.len() as u64;
        self.attribute(field, name, 1 + varint_bytes(length) + length);
        self.bytes(1, text.as_bytes());
    }

    /// An attribute that is true or false.
    pub fn flag(&mut self, field: u32, name: &str, flag: bool) {
        self.attribute(field, name, 2);
        // False is said too: in a choice of kinds nothing goes without saying.
        self.key(2, VARINT);
        self.varint(u64::from(flag));
    }

    /// An attribute with a whole number.
    pub fn whole(&mut self, field: u32, name: &str, number: u64) {
        let number = number.min(i64::MAX.unsigned_abs());
        self.attribute(field, name, 1 + varint_bytes(number));
        self.key(3, VARINT);
        self.varint(number);
    }

    /// An attribute with a fraction.
    pub fn fraction(&mut self, field: u32, name: &str, number: f64) {
        self.attribute(field, name, 9);
        self.fixed64(4, number.to_bits());
    }

    /// An attribute with a list of texts.
    pub fn texts(&mut self, field: u32, name: &str, texts: &[&str]) {
        self.message(field, |pair| {
            pair.bytes(1, name.as_bytes());
            pair.message(2, |value| {
                value.message(5, |list| {
                    for text in texts {
                        list.message(1, |value| value.bytes(1, text.as_bytes()));
                    }
                });
            });
        });
    }

    /// All of an attribute but its value, which is to follow in `value` bytes. A span has thirty: their
    /// lengths are worked out before, not moved into place afterwards.
    fn attribute(&mut self, field: u32, name: &str, value: u64) {
        let named = name.len() as u64;
        let pair = 1 + varint_bytes(named) + named + 1 + varint_bytes(value) + value;
        self.key(field, LENGTH);
        self.varint(pair);
        self.bytes(1, name.as_bytes());
        self.key(2, LENGTH);
        self.varint(value);
    }
}

/// How many bytes a number takes.
const fn varint_bytes(number: u64) -> u64 {
    ((number | 1).ilog2() / 7 + 1) as u64
}

/// The numbers of a protobuf message's fields with their values, for answers: bytes, or a number in
/// eight of them.
pub fn fields(mut message: &[u8]) -> impl Iterator<Item = (u64, Field<'_>)> {
    std::iter::from_fn(move || {
        let key = take_varint(&mut message)?;
        let field = match key & 7 {
            0 => Field::Number(take_varint(&mut message)?),
            1 => Field::Bytes(message.split_off(..8)?),
            2 => {
                let length = usize::try_from(take_varint(&mut message)?).ok()?;
                Field::Bytes(message.split_off(..length)?)
            }
            5 => Field::Bytes(message.split_off(..4)?),
            _ => return None,
        };
        Some((key >> 3, field))
    })
}

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field<'a> {
    /// A number.
    Number(u64),
    /// Anything else.
    Bytes(&'a [u8]),
}

fn take_varint(message: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for place in 0..10 {
        let byte = *message.split_off_first()?;
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_can_be_read(number in 1_u64.., text in ".{0,400}", fixed in any::<u64>()) {
            let mut wire = Wire::default();
            wire.number(1, number);
            wire.message(2, |inner| {
                inner.message(3, |inner| inner.bytes(1, text.as_bytes()));
                inner.fixed64(4, fixed);
            });
            wire.fixed32(16, 7);
            let read: Vec<_> = fields(&wire.0).collect();
            prop_assert_eq!(read[0], (1, Field::Number(number)));
            prop_assert_eq!(read[2], (16, Field::Bytes(&[7, 0, 0, 0])));
            let (2, Field::Bytes(inner)) = read[1] else { panic!("{read:?}") };
            let inner: Vec<_> = fields(inner).collect();
            prop_assert_eq!(inner[1], (4, Field::Bytes(&fixed.to_le_bytes())));
            let (3, Field::Bytes(inner)) = inner[0] else { panic!("{inner:?}") };
            let inner: Vec<_> = fields(inner).collect();
            prop_assert_eq!(inner, vec![(1, Field::Bytes(text.as_bytes()))]);
        }

        #[test]
        fn attributes_know_their_lengths(name in ".{0,200}", text in ".{0,400}", number in any::<u64>(), flag in any::<bool>()) {
            fn spelt(name: &str, value: impl FnOnce(&mut Wire)) -> Wire {
                let mut wire = Wire::default();
                wire.message(9, |pair| {
                    pair.bytes(1, name.as_bytes());
                    pair.message(2, value);
                });
                wire
            }
            let said = |say: &dyn Fn(&mut Wire)| {
                let mut wire = Wire::default();
                say(&mut wire);
                wire.0
            };
            let whole = number.min(i64::MAX.unsigned_abs());
            let fraction = f64::from_bits(number);
            prop_assert_eq!(said(&|wire| wire.text(9, &name, &text)), spelt(&name, |value| value.bytes(1, text.as_bytes())).0);
            prop_assert_eq!(said(&|wire| wire.fraction(9, &name, fraction)), spelt(&name, |value| value.fixed64(4, number)).0);
            prop_assert_eq!(said(&|wire| wire.whole(9, &name, number)), spelt(&name, |value| {
                value.key(3, VARINT);
                value.varint(whole);
            }).0);
            prop_assert_eq!(said(&|wire| wire.flag(9, &name, flag)), spelt(&name, |value| {
                value.key(2, VARINT);
                value.varint(flag.into());
            }).0);
        }

        #[test]
        fn nothing_that_is_read_goes_wrong(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            for _ in fields(&bytes) {}
        }
    }
}
