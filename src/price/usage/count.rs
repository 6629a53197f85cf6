//! One token count as providers write it: an integer, now and then `12.0`.

use crate::price::decimal;
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use std::fmt;

/// A count of tokens or uses, at most 2^53 (no answer is larger; sums of a few cannot overflow).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count(pub u64);

const MOST: u64 = 1 << 53;

/// The number, or zero where it is absent or null.
pub fn or_zero(count: Option<Count>) -> u64 {
    count.unwrap_or_default().0
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Count;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a count of tokens")
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<Count, E> {
                if value > MOST {
                    return Err(E::custom("a count beyond 2^53"));
                }
                Ok(Count(value))
            }
            fn visit_f64<E: Error>(self, value: f64) -> Result<Count, E> {
                let count = decimal::scaled_up(&value.to_string(), 0)
                    .ok_or_else(|| E::custom("not a count"))?;
                self.visit_u64(count)
            }
        }
        deserializer.deserialize_any(Reader)
    }
}
