//! The text of a JSON string that is not quite one: a model may write half of a surrogate pair, and no
//! `String` holds that.

/// The text that stands in quotes so, with U+FFFD for whatever stands for no character.
pub(in crate::dialect) fn unescaped_lossy(inside: &[u8]) -> String {
    let mut text = String::with_capacity(inside.len());
    let mut rest = inside;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        text.push_str(&String::from_utf8_lossy(&rest[..at]));
        let (character, bytes) = escape(&rest[at..]);
        text.push(character);
        rest = rest.get(at + bytes..).unwrap_or_default();
    }
    text.push_str(&String::from_utf8_lossy(rest));
    text
}

/// What the escape stands for that `text` begins with, and how many bytes it has.
fn escape(text: &[u8]) -> (char, usize) {
    let character = match text.get(1) {
        Some(b'u') => return unicode(text),
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(byte @ (b'"' | b'\\' | b'/')) => char::from(*byte),
        _ => char::REPLACEMENT_CHARACTER,
    };
    (character, 2)
}

/// One `\uXXXX`, or two that are a pair.
fn unicode(text: &[u8]) -> (char, usize) {
    let unit = |text: &[u8]| {
        let digits = text.strip_prefix(b"\\u")?.get(..4)?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let second = text.get(6..).and_then(unit);
    let units = unit(text).map(|first| std::iter::once(first).chain(second));
    let character = units.and_then(|units| char::decode_utf16(units).next()?.ok());
    character.map_or((char::REPLACEMENT_CHARACTER, 6), |character| {
        (character, 6 * character.len_utf16())
    })
}
