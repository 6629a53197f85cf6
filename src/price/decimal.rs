//! Exact decimals: money and counts out of JSON number texts, without a float on the way.

/// `text × 10^places`, rounded up to an integer.
///
/// Reads a JSON number such as `12`, `0.00012` or `1.2e-05`. `None` if it is no number, is
/// negative, or does not fit.
#[must_use]
pub fn scaled_up(text: &str, places: i32) -> Option<u64> {
    let (digits, exponent) = parts(text)?;
    let shift = exponent.checked_add(places)?;
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some(0);
    }
    if shift >= 0 {
        let factor = 10_u64.checked_pow(u32::try_from(shift).ok()?)?;
        return digits.parse::<u64>().ok()?.checked_mul(factor);
    }
    let dropped = usize::try_from(-i64::from(shift)).ok()?;
    let kept = digits.len().saturating_sub(dropped);
    let (whole, rest) = digits.split_at(kept);
    let whole: u64 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let rounds_up = rest.bytes().any(|digit| digit != b'0');
    whole.checked_add(u64::from(rounds_up))
}

/// `text × 10^places` if that is an integer: for prices, where a lost digit is a mistake.
#[must_use]
pub fn scaled_exactly(text: &str, places: i32) -> Option<u64> {
    let up = scaled_up(text, places)?;
    // A value with a remainder rounds up at `places`, and so differs from the same value cut there.
    let (digits, exponent) = parts(text)?;
    let shift = exponent.checked_add(places)?;
    let dropped = usize::try_from(-i64::from(shift)).unwrap_or(0);
    let tail = &digits.as_bytes()[digits.len().saturating_sub(dropped)..];
    tail.iter().all(|digit| *digit == b'0').then_some(up)
}

/// All digits without the point, and the power of ten they are multiplied by.
fn parts(text: &str) -> Option<(String, i32)> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    // `-0` and `-0.0` are zero to everybody; other negatives are no amounts.
    let whole = match whole.strip_prefix('-') {
        Some(rest) if rest.bytes().chain(fraction.bytes()).all(|b| b == b'0') => rest,
        Some(_) => return None,
        None => whole,
    };
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let places = i32::try_from(fraction.len()).ok()?;
    Some((format!("{whole}{fraction}"), exponent.checked_sub(places)?))
}

#[cfg(test)]
mod tests;
