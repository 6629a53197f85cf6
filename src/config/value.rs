//! Single values of the files: money, spans of time, sizes, words. Each parser says in its error
//! what to write instead.

use super::read::advice;
use crate::units::NanoUsd;
use std::time::Duration;
use toml::de::DeValue;

/// Longest span of time that can be configured, in seconds: a hundred years.
const MAX_SECONDS: u64 = 100 * 366 * 86_400;

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn wanted(what: &str, value: &DeValue<'_>) -> String {
    format!("this should be {what}, not {}", kind(value))
}

/// A string that is not empty.
pub(super) fn text(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) if text.is_empty() => Err("this is empty".to_owned()),
        DeValue::String(text) => Ok(text.clone().into_owned()),
        _ => Err(wanted("a string", value)),
    }
}

/// A name that can stand in headers, labels and refusals: 1 to 256 bytes, printable, no line breaks.
pub(super) fn name(value: &DeValue<'_>) -> Result<String, String> {
    let text = text(value)?;
    if text.len() > 256 {
        return Err("a name has at most 256 bytes".to_owned());
    }
    if text.chars().any(char::is_control) {
        return Err("a name has no control characters".to_owned());
    }
    Ok(text)
}

/// An id as callers send it: 1 to 256 bytes of visible ASCII.
pub(super) fn id(value: &DeValue<'_>) -> Result<String, String> {
    let text = name(value)?;
    match text.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(text),
        false => Err("an id is visible ASCII without spaces".to_owned()),
    }
}

/// `true` or `false`.
pub(super) fn flag(value: &DeValue<'_>) -> Result<bool, String> {
    match value {
        DeValue::Boolean(flag) => Ok(*flag),
        _ => Err(wanted("true or false", value)),
    }
}

/// A number of things, zero included.
pub(super) fn count(value: &DeValue<'_>) -> Result<u64, String> {
    match value {
        DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix())
            .map_err(|_| format!("{number} is not a number between 0 and {}", u64::MAX)),
        _ => Err(wanted("an integer", value)),
    }
}

/// A number of things within bounds, both included.
pub(super) fn count_in(
    least: u64,
    most: u64,
) -> impl Fn(&DeValue<'_>) -> Result<u64, String> + Copy {
    move |value| match count(value)? {
        number if (least..=most).contains(&number) => Ok(number),
        number => Err(format!("{number} is not between {least} and {most}")),
    }
}

/// A number of things within bounds, for use as a size in memory.
pub(super) fn size_in(
    least: u32,
    most: u32,
) -> impl Fn(&DeValue<'_>) -> Result<usize, String> + Copy {
    move |value| {
        let number = count_in(u64::from(least), u64::from(most))(value)?;
        usize::try_from(number).map_err(|_| format!("{number} is too large for this machine"))
    }
}

/// Dollars: a string or a whole number. A float is refused with the string to write instead.
pub(super) fn money(value: &DeValue<'_>) -> Result<NanoUsd, String> {
    match value {
        DeValue::String(text) => text.parse().map_err(|error| format!("{error}")),
        DeValue::Integer(_) => match count(value)? {
            usd if usd > u64::MAX / NanoUsd::PER_USD => {
                Err(format!("`{usd}` is more than 18 billion dollars"))
            }
            usd => Ok(NanoUsd::from_usd(usd)),
        },
        DeValue::Float(float) => Err(format!(
            "money is never a float, for floats cannot hold cents; write the string \"{}\"",
            exact(float.as_str())
        )),
        _ => Err(wanted("an amount in dollars such as \"2.00\"", value)),
    }
}

/// The string that stands for a float: its own digits where they are plain.
fn exact(float: &str) -> String {
    let plain = float.trim_start_matches('+').replace('_', "");
    if let Ok(amount) = plain.parse::<NanoUsd>() {
        return amount.to_string();
    }
    let parsed = plain.parse::<f64>().ok().filter(|usd| *usd >= 0.0);
    parsed
        .and_then(|usd| format!("{usd:.9}").parse::<NanoUsd>().ok())
        .map_or_else(|| "2.00".to_owned(), |amount| amount.to_string())
}

/// A span of time: `"250ms"`, `"30s"`, `"30m"`, `"1h"`, `"7d"`.
pub(super) fn span(value: &DeValue<'_>) -> Result<Duration, String> {
    match value {
        DeValue::String(text) => parse_span(text),
        DeValue::Integer(number) => Err(format!(
            "a span of time needs its unit; write \"{number}s\" if seconds are meant"
        )),
        _ => Err(wanted("a span of time such as \"30s\"", value)),
    }
}

/// A span of time that is not nothing.
pub(super) fn positive_span(value: &DeValue<'_>) -> Result<Duration, String> {
    match span(value)? {
        Duration::ZERO => Err("this must be more than nothing".to_owned()),
        span => Ok(span),
    }
}

/// Reads `"90d"` and the like.
pub(crate) fn parse_span(text: &str) -> Result<Duration, String> {
    let wrong = || {
        format!(
            "`{text}` is not a span of time such as \"250ms\", \"30s\", \"30m\", \"1h\" or \"7d\""
        )
    };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "ms" if number / 1000 <= MAX_SECONDS => return Ok(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    match number.checked_mul(seconds) {
        Some(seconds) if seconds <= MAX_SECONDS => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("`{text}` is more than a hundred years")),
    }
}

/// A size in bytes: `"32MiB"`, `"64KiB"`, `"10MB"`, or an integer of bytes. At least 1, at most 4 GiB.
pub(super) fn bytes(value: &DeValue<'_>) -> Result<usize, String> {
    let number = match value {
        DeValue::String(text) => parse_bytes(text)?,
        DeValue::Integer(_) => count(value)?,
        _ => return Err(wanted("a size such as \"32MiB\"", value)),
    };
    let fits = usize::try_from(number).ok();
    fits.filter(|size| (1..=4 << 30).contains(size))
        .ok_or_else(|| "a size is between 1 byte and 4GiB".to_owned())
}

fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a size such as \"64KiB\", \"32MiB\" or \"1GiB\"");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit: u64 = match unit {
        "B" => 1,
        "kB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit).ok_or_else(wrong)
}

/// A share of a cap above 0 and up to 1, as parts per million: nothing behind it sees a float.
pub(super) fn ratio(value: &DeValue<'_>) -> Result<u32, String> {
    let wrong = || "this should be a share above 0 and up to 1, such as 0.8".to_owned();
    let share = match value {
        DeValue::Float(float) => float.as_str().replace('_', "").parse::<f64>(),
        DeValue::Integer(number) => number.as_str().parse::<f64>(),
        _ => return Err(wanted("a share such as 0.8", value)),
    };
    let share = share.map_err(|_| wrong())?;
    if !(share > 0.0 && share <= 1.0) {
        return Err(wrong());
    }
    let digits = format!("{:.0}", share * 1_000_000.0);
    digits.parse().map_err(|_| wrong())
}

/// One of a few words.
pub(super) fn word<T: Copy>(
    words: &[(&'static str, T)],
) -> impl Fn(&DeValue<'_>) -> Result<T, String> {
    move |value| {
        let text = text(value)?;
        let found = words.iter().find(|(word, _)| *word == text);
        found.map(|(_, meaning)| *meaning).ok_or_else(|| {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            format!("`{text}` is not known here; {}", advice(&text, &known))
        })
    }
}
