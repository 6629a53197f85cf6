//! What providers say about calls in doubt: `request` (ours) or `answer` (the provider's own id),
//! with `usd`, `input_tokens`, `output_tokens`. Amounts are read from their digits, never through a
//! float; what is finer than a nano-dollar is rounded up.

use super::failure::Failure;
use super::fields::Fields;
use crate::store::{Evidence, EvidenceKey};
use crate::units::NanoUsd;
use serde_json::Value;

/// Pieces of evidence in one request, at most.
const MAX_PIECES: usize = 200_000;

const KNOWN: [&str; 5] = ["request", "answer", "usd", "input_tokens", "output_tokens"];

/// Reads a JSON array, or one JSON object a line.
///
/// # Errors
/// The first piece that cannot be read, by its number from 1.
pub fn of_json(body: &[u8]) -> Result<Vec<Evidence>, Failure> {
    let text = text(body)?;
    let pieces: Vec<Piece> = if text.trim_start().starts_with('[') {
        let pieces: Vec<Piece> = serde_json::from_str(text).map_err(|error| {
            Failure::invalid(format!("the body is no array of objects: {error}"))
        })?;
        pieces
    } else {
        let mut pieces = Vec::new();
        for piece in serde_json::Deserializer::from_str(text).into_iter() {
            let piece = piece.map_err(|error| {
                Failure::invalid(format!("the body is not one object a line: {error}"))
            })?;
            pieces.push(piece);
        }
        pieces
    };
    all(pieces.into_iter().map(|Piece(fields)| fields))
}

/// Reads CSV with a line of column names; columns beyond the known ones are passed over, for
/// exports have many.
///
/// # Errors
/// The first line that cannot be read.
pub fn of_csv(body: &[u8]) -> Result<Vec<Evidence>, Failure> {
    let mut records = records(text(body)?);
    let names = records.next().transpose()?.unwrap_or_default();
    let names: Vec<String> = names
        .into_iter()
        .map(|name| name.trim().to_owned())
        .collect();
    if !names
        .iter()
        .any(|name| name == "request" || name == "answer")
    {
        let message = "the first line names the columns; one of them is `request` or `answer`";
        return Err(Failure::invalid(message));
    }
    let mut pieces = Vec::new();
    for record in records {
        let record = record?;
        if record.iter().all(|cell| cell.trim().is_empty()) {
            continue;
        }
        let cells = names.iter().zip(record).filter_map(|(name, cell)| {
            let cell = cell.trim();
            let is_wanted = KNOWN.contains(&name.as_str()) && !cell.is_empty();
            is_wanted.then(|| (name.clone(), Value::String(cell.to_owned())))
        });
        pieces.push(cells.collect());
    }
    all(pieces.into_iter())
}

fn text(body: &[u8]) -> Result<&str, Failure> {
    let text = std::str::from_utf8(body);
    let text = text.map_err(|_| Failure::invalid("the body is no UTF-8"))?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

type Pairs = Vec<(String, Value)>;

fn all(pieces: impl ExactSizeIterator<Item = Pairs>) -> Result<Vec<Evidence>, Failure> {
    match pieces.len() {
        0 => return Err(Failure::invalid("there is no evidence in the body")),
        n if n > MAX_PIECES => {
            let message = format!("{n} pieces of evidence; send at most {MAX_PIECES} at a time");
            return Err(Failure::invalid(message));
        }
        _ => {}
    }
    let numbered = pieces.enumerate();
    let read = numbered.map(|(index, piece)| {
        one(piece).map_err(|failure| {
            Failure::invalid(format!("evidence {}: {}", index + 1, failure.message))
        })
    });
    read.collect()
}

fn one(pairs: Pairs) -> Result<Evidence, Failure> {
    let usd = pairs.iter().find(|(name, _)| name == "usd");
    let usd = usd.and_then(|(_, value)| usd_text(value));
    let usd = usd.map(|text| rounded_up(&text)).transpose()?;
    let mut fields = Fields::checked(pairs, &KNOWN)?;
    let key = match (fields.text("request")?, fields.text("answer")?) {
        (Some(request), None) => EvidenceKey::Request(request),
        (None, Some(answer)) => EvidenceKey::Answer(answer),
        _ => return Err(Failure::invalid("name either `request` or `answer`")),
    };
    let evidence = Evidence {
        key,
        usd,
        input_tokens: fields.count("input_tokens")?,
        output_tokens: fields.count("output_tokens")?,
    };
    let says = [
        evidence.usd.map(|usd| usd.0),
        evidence.input_tokens,
        evidence.output_tokens,
    ];
    match says.iter().any(Option::is_some) {
        true => Ok(evidence),
        false => Err(Failure::invalid("it says nothing: give `usd` or tokens")),
    }
}

fn usd_text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.trim().trim_start_matches('$').to_owned()),
        other => Some(other.to_string()),
    }
}

/// Dollars from digits; beyond nine decimals they are rounded up.
fn rounded_up(text: &str) -> Result<NanoUsd, Failure> {
    let wrong = |why: String| Failure::invalid(format!("`usd`: {why}"));
    let Some((whole, fraction)) = text.split_once('.').filter(|(_, f)| f.len() > 9) else {
        return text.parse().map_err(|error| wrong(format!("{error}")));
    };
    let (kept, rest) = fraction.split_at_checked(9).unwrap_or((fraction, ""));
    if !rest.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong(format!("`{text}` is not an amount in dollars")));
    }
    let down: NanoUsd = format!("{whole}.{kept}")
        .parse()
        .map_err(|error| wrong(format!("{error}")))?;
    let more = u64::from(rest.bytes().any(|byte| byte != b'0'));
    Ok(NanoUsd(down.0.saturating_add(more)))
}

/// An object whose numbers keep the digits that stand there.
struct Piece(Pairs);

impl<'de> serde::Deserialize<'de> for Piece {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> serde::de::Visitor<'de> for Read {
            type Value = Piece;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Piece, A::Error> {
                let mut fields = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    let raw: &serde_json::value::RawValue = map.next_value()?;
                    let is_number = raw
                        .get()
                        .starts_with(|c: char| c == '-' || c.is_ascii_digit());
                    let value = match is_number {
                        true => Value::String(raw.get().to_owned()),
                        false => {
                            serde_json::from_str(raw.get()).map_err(serde::de::Error::custom)?
                        }
                    };
                    fields.push((name, value));
                }
                Ok(Piece(fields))
            }
        }
        deserializer.deserialize_map(Read)
    }
}

// === CSV ===

/// The records of a CSV text: cells between commas, quoted where they hold one.
fn records(text: &str) -> impl Iterator<Item = Result<Vec<String>, Failure>> {
    let mut rest = text;
    let mut number = 0;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        number += 1;
        let record = record(&mut rest);
        Some(
            record
                .ok_or_else(|| Failure::invalid(format!("record {number}: a quote is left open"))),
        )
    })
}

fn record(rest: &mut &str) -> Option<Vec<String>> {
    let mut cells = Vec::new();
    loop {
        let (cell, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_cell(quoted)?,
            None => {
                let end = rest.find([',', '\n']).unwrap_or(rest.len());
                (rest[..end].trim_end_matches('\r').to_owned(), &rest[end..])
            }
        };
        cells.push(cell);
        let after = after.strip_prefix('\r').unwrap_or(after);
        match after.strip_prefix(',') {
            Some(next) => *rest = next,
            None => {
                *rest = after.strip_prefix('\n').unwrap_or(after);
                return Some(cells);
            }
        }
    }
}

/// A cell after its opening quote, and what follows its closing one.
fn quoted_cell(quoted: &str) -> Option<(String, &str)> {
    let mut cell = String::new();
    let mut rest = quoted;
    loop {
        let end = rest.find('"')?;
        cell.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(after) => {
                cell.push('"');
                rest = after;
            }
            None => {
                // Anything between the closing quote and the comma is no part of a cell.
                let next = rest.find([',', '\n']).unwrap_or(rest.len());
                return Some((cell, &rest[next..]));
            }
        }
    }
}

#[cfg(test)]
mod tests;
