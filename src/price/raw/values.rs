//! The catalogue's kinds of value: money, ratios, days and hours.

use crate::price::card::Ratio;
use crate::price::decimal;
use crate::units::UnixMs;
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use std::fmt;

/// Nano-dollars, out of a string of dollars or a whole number of them.
#[derive(Clone, Copy, Debug)]
pub struct Dollars(pub u64);

impl<'de> Deserialize<'de> for Dollars {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Dollars;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("dollars as a string, such as \"2.50\"")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Dollars, E> {
                let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
                decimal::scaled_exactly(text, 9)
                    .filter(|_| plain)
                    .map(Dollars)
                    .ok_or_else(|| E::custom(format!("`{text}` is not an amount in dollars such as \"2.50\", with at most nine decimals")))
            }
            fn visit_i64<E: Error>(self, whole: i64) -> Result<Dollars, E> {
                self.visit_str(&whole.to_string())
            }
            fn visit_f64<E: Error>(self, float: f64) -> Result<Dollars, E> {
                Err(E::custom(format!(
                    "money is never a float: write \"{float}\""
                )))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl<'de> Deserialize<'de> for Ratio {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bad = || {
            Error::custom(format!(
                "`{text}` is not a ratio such as \"11/10\", of parts up to 1000"
            ))
        };
        let (times, per) = text.split_once('/').ok_or_else(bad)?;
        let part = |part: &str| part.parse::<u32>().ok().filter(|part| *part <= 1000);
        match (part(times), part(per)) {
            (Some(times), Some(per)) if per > 0 => Ok(Self { times, per }),
            _ => Err(bad()),
        }
    }
}

/// `2027-01-01`: its first instant, UTC.
#[derive(Clone, Copy, Debug)]
pub struct Day(pub UnixMs);

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let day: jiff::civil::Date = text
            .parse()
            .map_err(|_| Error::custom(format!("`{text}` is not a date such as \"2027-01-01\"")))?;
        let start = day
            .to_zoned(jiff::tz::TimeZone::UTC)
            .map_err(Error::custom)?;
        Ok(Self(UnixMs(start.timestamp().as_millisecond())))
    }
}

/// `06:30`, as a minute of the day.
#[derive(Clone, Copy, Debug)]
pub struct Minute(pub u32);

impl<'de> Deserialize<'de> for Minute {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let parsed = text.split_once(':').and_then(|(hour, minute)| {
            let (hour, minute) = (hour.parse::<u32>().ok()?, minute.parse::<u32>().ok()?);
            (hour <= 24 && minute < 60).then_some(Self(hour * 60 + minute))
        });
        parsed.ok_or_else(|| Error::custom(format!("`{text}` is not a time such as \"06:30\"")))
    }
}
