//! What any answer tells, whatever its format: ids, usage, tool calls, and how much was produced.
//! Everything kept is bounded, for it comes from outside.

use super::given::{Given, Piece};
use super::scan::{Cursor, Scan, Text};
use crate::loops::{Chant, Chanting};

/// Longest id, name or reason that is kept, in bytes.
pub(super) const NAME_BYTES_MAX: usize = 512;
/// Most tool calls of one answer that are kept.
pub(super) const TOOL_CALLS_MAX: usize = 1024;
/// Longest `output` of a response that is kept, in bytes.
pub const OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// Longest usage object that is kept, in bytes.
const USAGE_BYTES_MAX: usize = 64 * 1024;

/// What has been read so far.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) usage: UsageText,
    pub(super) model: Option<String>,
    pub(super) id: Option<String>,
    pub(super) service_tier: Option<String>,
    pub(super) finish: Option<String>,
    pub(super) error: Option<String>,
    pub(super) visible_bytes: u64,
    /// Listens for a chant, if somebody wants to know.
    pub(super) chant: Option<Chant>,
    pub(super) chanting: Option<Chanting>,
    pub(super) tools: ToolCalls,
    pub(super) output: Option<Box<[u8]>>,
    /// The dialect's terminal event was seen, or the body was whole.
    pub(super) terminal: bool,
    /// The answer ended as far as its text is concerned, and only bookkeeping was to come.
    pub(super) finished: bool,
    /// What is kept for a check of its form; `None` where nobody checks.
    pub(super) given: Option<Box<Given>>,
}

impl Facts {
    pub(super) fn produced(&mut self, text: Text<'_>) {
        self.visible_bytes = self.visible_bytes.saturating_add(text.decoded_len());
        if let Some(chant) = &mut self.chant {
            let chanting = match text.plain() {
                Some(text) => chant.hear(text),
                None => chant.hear(&text.decoded(usize::MAX)),
            };
            self.chanting = chanting.or(self.chanting);
        }
    }

    /// What stands before the cursor, to be kept; nothing where nobody keeps it.
    pub(super) fn piece<'a>(&self, cursor: &Cursor<'a>) -> Scan<Piece<'a>> {
        if self.given.is_none() {
            return Ok(Piece::None);
        }
        Piece::of(cursor.clone())
    }

    /// Keeps more of the arguments of a call that is kept.
    pub(super) fn say_more(&mut self, place: (u64, u64), text: Text<'_>) {
        if let Some(given) = &mut self.given {
            given.more(place, text);
        }
    }

    /// Keeps a tool call, or more of it, if anything is kept.
    pub(super) fn say_call(
        &mut self,
        place: (u64, u64),
        id: Option<Text<'_>>,
        name: Option<Text<'_>>,
        piece: Piece<'_>,
    ) {
        if let Some(given) = &mut self.given {
            given.call(place, id, name, piece);
        }
    }

    /// Keeps the text of a message's parts, if anything is kept.
    pub(super) fn say_parts(&mut self, key: u64, cursor: &mut Cursor<'_>) -> Scan<()> {
        let mut is_whole = true;
        cursor.array(|cursor| {
            let (mut kind, mut text) = (None, None);
            cursor.object(|key, cursor| {
                match key {
                    b"type" => kind = cursor.text()?,
                    b"text" => text = cursor.text()?,
                    _ => drop(cursor.skip()?),
                }
                Ok(())
            })?;
            match (kind.map(|kind| kind.0), text) {
                (Some(b"refusal"), _) => self.decline(),
                (_, Some(text)) => {
                    self.say_text(key, text, is_whole);
                    is_whole = false;
                }
                _ => {}
            }
            Ok(())
        })
    }

    /// Keeps more of a text, if anything is kept.
    pub(super) fn say_text(&mut self, key: u64, text: Text<'_>, is_whole: bool) {
        if let Some(given) = &mut self.given {
            given.text(key, text, is_whole);
        }
    }

    /// The model declined to answer.
    pub(super) fn decline(&mut self) {
        if let Some(given) = &mut self.given {
            given.decline();
        }
    }

    /// Something that could not be read was passed on; each of its bytes may be a token.
    pub(super) fn unreadable(&mut self, bytes: usize) {
        if let Some(given) = &mut self.given {
            given.leave_out();
        }
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.visible_bytes = self.visible_bytes.saturating_add(bytes);
    }

    /// Notes an error object, or an error told as a plain string.
    pub(super) fn failed(&mut self, error: &[u8]) -> Scan<()> {
        let (mut code, mut kind, mut message) = (None, None, None);
        let mut cursor = Cursor::new(error);
        if error.first() == Some(&b'"') {
            message = cursor.text()?;
        } else {
            cursor.object(|key, cursor| {
                match key {
                    b"code" => code = cursor.text()?,
                    b"type" => kind = cursor.text()?,
                    b"message" => message = cursor.text()?,
                    _ => drop(cursor.skip()?),
                }
                Ok(())
            })?;
        }
        let told = code.or(kind).or(message);
        self.error =
            Some(told.map_or_else(|| "error".to_owned(), |text| text.decoded(NAME_BYTES_MAX)));
        Ok(())
    }
}

/// Keeps the first non-empty text that a member holds: Azure's first chunk says `"model": ""`.
pub(super) fn first(kept: &mut Option<String>, cursor: &mut Cursor<'_>) -> Scan<()> {
    if kept.is_some() {
        return cursor.skip().map(drop);
    }
    if let Some(text) = cursor.text()?.filter(|text| !text.is_empty()) {
        *kept = Some(text.decoded(NAME_BYTES_MAX));
    }
    Ok(())
}

/// Keeps the last non-empty text that a member holds.
pub(super) fn last(kept: &mut Option<String>, cursor: &mut Cursor<'_>) -> Scan<()> {
    if let Some(text) = cursor.text()?.filter(|text| !text.is_empty()) {
        *kept = Some(text.decoded(NAME_BYTES_MAX));
    }
    Ok(())
}

/// The usage object as the answer's final truth, in the provider's own field names.
#[derive(Debug, Default)]
pub(super) struct UsageText(Vec<u8>);

impl UsageText {
    /// The JSON object, if any was seen.
    pub(super) fn json(&self) -> Option<&[u8]> {
        (!self.0.is_empty()).then_some(&self.0[..])
    }

    /// A later object takes the place of an earlier one; anything but an object with members says nothing.
    pub(super) fn replace(&mut self, json: &[u8]) {
        if is_object_with_members(json) && json.len() <= USAGE_BYTES_MAX {
            self.0.clear();
            self.0.extend_from_slice(json);
        }
    }

    /// Members of a later object take the place of earlier ones, unless they are null. Nothing is
    /// ever added up: Anthropic's `message_delta` counts are cumulative.
    pub(super) fn merge(&mut self, json: &[u8]) -> Scan<()> {
        if self.0.is_empty() || !is_object_with_members(json) {
            self.replace(json);
            return Ok(());
        }
        let mut members: Vec<(&[u8], &[u8])> = Vec::new();
        for object in [&self.0[..], json] {
            Cursor::new(object).object(|key, cursor| {
                if let Some(value) = cursor.present()? {
                    match members.iter_mut().find(|(known, _)| *known == key) {
                        Some((_, kept)) => *kept = value,
                        None => members.push((key, value)),
                    }
                }
                Ok(())
            })?;
        }
        let mut merged = vec![b'{'];
        for (key, value) in members {
            if merged.len() > 1 {
                merged.push(b',');
            }
            for part in [b"\"", key, b"\":", value] {
                merged.extend_from_slice(part);
            }
        }
        merged.push(b'}');
        self.replace(&merged);
        Ok(())
    }

    /// A whole number at the top level of the object.
    pub(super) fn whole(&self, names: &[&[u8]]) -> Option<u64> {
        let mut found = None;
        let walked = Cursor::new(&self.0).object(|key, cursor| {
            let number = cursor.whole()?;
            if names.contains(&key) {
                found = number.or(found);
            }
            Ok(())
        });
        walked.ok().and(found)
    }
}

fn is_object_with_members(json: &[u8]) -> bool {
    json.first() == Some(&b'{') && json.contains(&b'"')
}

/// Tool calls asked for, each id once.
#[derive(Debug, Default)]
pub(super) struct ToolCalls(Vec<ToolCall>);

#[derive(Debug)]
struct ToolCall {
    /// Where in the answer it stands; tells calls apart that carry no id.
    place: (u64, u64),
    id: String,
    name: String,
}

impl ToolCalls {
    /// Notes a call, or what a later delta adds to one already known. True if its name is new, and
    /// so was produced now.
    pub(super) fn note(
        &mut self,
        place: (u64, u64),
        id: Option<Text<'_>>,
        name: Option<Text<'_>>,
    ) -> bool {
        let id = id.map_or_else(String::new, |id| id.decoded(NAME_BYTES_MAX));
        let known = self.0.iter_mut().find(|call| {
            if id.is_empty() || call.id.is_empty() {
                call.place == place
            } else {
                call.id == id
            }
        });
        let name = name.map_or_else(String::new, |name| name.decoded(NAME_BYTES_MAX));
        match known {
            Some(call) => {
                if call.id.is_empty() {
                    call.id = id;
                }
                let named = call.name.is_empty() && !name.is_empty();
                if named {
                    call.name = name;
                }
                named
            }
            None => {
                let named = !name.is_empty();
                if self.0.len() < TOOL_CALLS_MAX {
                    self.0.push(ToolCall { place, id, name });
                }
                named
            }
        }
    }

    pub(super) fn take(&mut self) -> Vec<(String, String)> {
        let calls = std::mem::take(&mut self.0);
        calls.into_iter().map(|call| (call.id, call.name)).collect()
    }
}
