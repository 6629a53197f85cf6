//! What an answer says that a form was declared for: the arguments of the tool calls that the client
//! is to make, and the text where a form of answer was asked for. Kept only where somebody wants to
//! check it, up to a bound, and as it was written: it is unescaped when it is looked at.

use super::facts::NAME_BYTES_MAX;
use super::scan::{Cursor, Scan, Text};
use crate::dialect::content::{OUTPUT_BYTES_MAX, unescaped_lossy};
use serde_json::{Value, json};
use std::borrow::Cow;

/// Most that is kept of one answer, in bytes; of a longer one nothing is, unless its beginning is asked for.
pub const GIVEN_BYTES_MAX: usize = 256 * 1024;
/// Most that is kept of one answer that is only told, in bytes: what is told of it, with room for escapes.
const TOLD_BYTES_MAX: usize = 2 * OUTPUT_BYTES_MAX;
/// Shortest and longest piece of an answer that it is known by elsewhere, in bytes.
const TRACE_BYTES: std::ops::RangeInclusive<usize> = 32..=64;
/// Shortest id of a tool call that it is known by, in bytes.
const ID_BYTES_MIN: usize = 8;
/// Most calls and texts of one answer that are kept, each.
const PARTS_MAX: usize = 256;

/// What of an answer is to be kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Names and arguments of tool calls.
    pub calls: bool,
    /// The text.
    pub text: bool,
    /// The beginnings of both, to be told: also of an answer that is too long, and of completions, which no
    /// form is declared for.
    pub beginning: bool,
}

impl Keep {
    /// Anything at all.
    #[must_use]
    pub const fn any(self) -> bool {
        self.calls || self.text || self.beginning
    }

    const fn bytes_max(self) -> usize {
        if self.calls || self.text {
            GIVEN_BYTES_MAX
        } else {
            TOLD_BYTES_MAX
        }
    }
}

/// What was kept of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    keep: Keep,
    calls: Vec<GivenCall>,
    texts: Vec<(u64, Vec<u8>)>,
    bytes: usize,
    is_partial: bool,
    is_completion: bool,
    declined: bool,
}

/// One tool call that the client is to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenCall {
    place: (u64, u64),
    id: Vec<u8>,
    name: String,
    arguments: Vec<u8>,
    form: Form,
}

/// How arguments were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// The inside of a JSON string that holds JSON.
    Quoted,
    /// JSON as it is.
    Bare,
    /// Free text: nothing can be said against it.
    Free,
}

/// A piece of a tool call's arguments.
#[derive(Clone, Copy, Debug)]
pub(super) enum Piece<'a> {
    /// None yet.
    None,
    /// More of a quoted text.
    More(Text<'a>),
    /// All of it, whatever came before.
    Whole(Text<'a>),
    /// All of it, not quoted.
    Bare(&'a [u8]),
    /// A free text, which is not kept.
    Free,
}

impl<'a> Piece<'a> {
    /// The value before which the cursor stands: more of a text, or JSON as it is.
    pub(super) fn of(mut cursor: Cursor<'a>) -> Scan<Self> {
        if cursor.peek()? == b'"' {
            return Ok(cursor.text()?.map_or(Self::None, Self::More));
        }
        Ok(cursor.present()?.map_or(Self::None, Self::Bare))
    }

    /// The same as the whole of it.
    pub(super) const fn whole(self) -> Self {
        match self {
            Self::More(text) => Self::Whole(text),
            other => other,
        }
    }
}

impl GivenCall {
    /// Its id as it was written; empty if it has none.
    #[must_use]
    pub fn id(&self) -> &[u8] {
        &self.id
    }

    /// The tool's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The arguments as JSON text; `None` if they are free text, or were not written as a string is.
    #[must_use]
    pub fn arguments(&self) -> Option<Cow<'_, [u8]>> {
        match self.form {
            Form::Free => None,
            Form::Bare => Some(Cow::Borrowed(&self.arguments)),
            Form::Quoted => unquoted(&self.arguments).map(|text| Cow::Owned(text.into_bytes())),
        }
    }

    /// As much of the arguments as was kept; nothing of a free text.
    #[must_use]
    pub fn beginning(&self) -> Cow<'_, [u8]> {
        match self.form {
            Form::Free => Cow::default(),
            Form::Bare => Cow::Borrowed(&self.arguments),
            Form::Quoted => Cow::Owned(beginning(&self.arguments).into_bytes()),
        }
    }

    /// The choice or block that it stands in.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.place.0
    }

    /// The arguments are free text.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.form == Form::Free
    }
}

impl Given {
    /// Nothing yet.
    #[must_use]
    pub(super) fn new(keep: Keep) -> Self {
        Self {
            keep,
            ..Self::default()
        }
    }

    /// The tool calls, in the order of their beginnings; none that are kept only to be told.
    #[must_use]
    pub fn calls(&self) -> &[GivenCall] {
        if self.is_partial || !self.keep.calls {
            &[]
        } else {
            &self.calls
        }
    }

    /// The texts by choice or block, in their order, unescaped; none that are kept only to be told.
    pub fn texts(&self) -> impl Iterator<Item = Option<String>> {
        self.raw_texts().map(unquoted)
    }

    fn raw_texts(&self) -> impl Iterator<Item = &[u8]> {
        let texts = if self.is_partial || self.is_completion || !self.keep.text {
            &[]
        } else {
            &self.texts[..]
        };
        texts.iter().map(|(_, text)| &**text)
    }

    /// The beginnings of the texts with the number of their choice or block, also where not all was kept.
    pub fn beginnings(&self) -> impl Iterator<Item = (u64, String)> {
        self.texts
            .iter()
            .map(|(place, text)| (*place, beginning(text)))
    }

    /// The tool calls as far as they were kept.
    #[must_use]
    pub fn calls_begun(&self) -> &[GivenCall] {
        &self.calls
    }

    /// All of it as a response's `output`: a JSON array of items.
    #[must_use]
    pub fn items(&self) -> Box<[u8]> {
        let texts = self.texts().flatten();
        let texts =
            texts.map(|text| json!({"type": "message", "role": "assistant", "content": text}));
        let calls = self.calls().iter().map(|call| {
            let arguments = call.arguments().unwrap_or_default();
            json!({
                "type": "function_call",
                "call_id": String::from_utf8_lossy(&call.id),
                "name": call.name,
                "arguments": String::from_utf8_lossy(&arguments),
            })
        });
        let items: Vec<Value> = texts.chain(calls).collect();
        Value::from(items).to_string().into_bytes().into()
    }

    /// Something was left out, for there was too much of it or it could not be read.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.is_partial
    }

    /// The model declined to answer, which no form binds.
    #[must_use]
    pub fn declined(&self) -> bool {
        self.declined
    }

    /// Pieces by which the answer is known where it is handed on: ids of its tool calls, and the longest
    /// stretch of each text that looks the same however often it is put in quotes.
    pub fn traces(&self) -> impl Iterator<Item = &[u8]> {
        let calls = self.calls().iter();
        let ids = calls.clone().map(|call| &*call.id);
        let ids = ids.filter(|id| id.len() >= ID_BYTES_MIN);
        let arguments = calls.map(|call| &*call.arguments);
        ids.chain(arguments.chain(self.raw_texts()).filter_map(stretch))
    }

    pub(super) fn leave_out(&mut self) {
        self.is_partial = true;
        if !self.keep.beginning {
            (self.calls, self.texts) = (Vec::new(), Vec::new());
        }
    }

    /// The text of a completion.
    pub(super) fn completion(&mut self, choice: u64, text: Text<'_>) {
        if self.keep.beginning {
            self.is_completion = true;
            self.text(choice, text, false);
        }
    }

    pub(super) fn decline(&mut self) {
        self.declined = true;
    }

    /// Keeps a call, or what a later piece adds to one already known.
    pub(super) fn call(
        &mut self,
        place: (u64, u64),
        id: Option<Text<'_>>,
        name: Option<Text<'_>>,
        piece: Piece<'_>,
    ) {
        if !(self.keep.calls || self.keep.beginning) || self.is_partial {
            return;
        }
        let id = id.map_or(&b""[..], |id| id.0);
        let known = self.calls.iter().position(|call| {
            if id.is_empty() || call.id.is_empty() {
                call.place == place
            } else {
                call.id == id
            }
        });
        let index = match known {
            Some(index) => index,
            None if self.calls.len() == PARTS_MAX => return self.leave_out(),
            None => {
                self.calls.push(GivenCall {
                    place,
                    id: id.iter().copied().take(NAME_BYTES_MAX).collect(),
                    name: String::new(),
                    arguments: Vec::new(),
                    form: Form::Quoted,
                });
                self.calls.len() - 1
            }
        };
        let call = &mut self.calls[index];
        if let Some(name) = name.filter(|name| call.name.is_empty() && !name.is_empty()) {
            call.name = name.decoded(NAME_BYTES_MAX);
        }
        let before = call.arguments.len();
        let room = room(self.keep, self.bytes.saturating_sub(before));
        match piece {
            Piece::None => {}
            Piece::More(text) => {
                if call.form == Form::Bare {
                    call.arguments.clear();
                }
                call.form = Form::Quoted;
                extend(&mut call.arguments, text.0, room);
            }
            Piece::Whole(text) => {
                call.form = Form::Quoted;
                call.arguments.clear();
                extend(&mut call.arguments, text.0, room);
            }
            Piece::Bare(json) => {
                call.form = Form::Bare;
                call.arguments.clear();
                extend(&mut call.arguments, json, room);
            }
            Piece::Free => call.form = Form::Free,
        }
        let now = call.arguments.len();
        self.grown(before, now);
    }

    /// Keeps more of the arguments of the call at `place`, if it is kept.
    pub(super) fn more(&mut self, place: (u64, u64), text: Text<'_>) {
        if self.calls.iter().any(|call| call.place == place) {
            self.call(place, None, None, Piece::More(text));
        }
    }

    /// Keeps more of the text at `key`, or all of it.
    pub(super) fn text(&mut self, key: u64, text: Text<'_>, is_whole: bool) {
        if !(self.keep.text || self.keep.beginning) || self.is_partial {
            return;
        }
        let known = self.texts.iter().position(|(known, _)| *known == key);
        let index = match known {
            Some(index) => index,
            None if self.texts.len() == PARTS_MAX => return self.leave_out(),
            None => {
                self.texts.push((key, Vec::new()));
                self.texts.len() - 1
            }
        };
        let kept = &mut self.texts[index].1;
        let before = kept.len();
        let room = room(self.keep, self.bytes.saturating_sub(before));
        if is_whole {
            kept.clear();
        }
        extend(kept, text.0, room);
        let now = kept.len();
        self.grown(before, now);
    }

    fn grown(&mut self, before: usize, now: usize) {
        self.bytes = (self.bytes + now).saturating_sub(before);
        if self.bytes > self.keep.bytes_max() {
            self.leave_out();
        }
    }
}

/// Room for one part beside the `others`, in bytes: one more than fits, so that too much is seen to be.
const fn room(keep: Keep, others: usize) -> usize {
    (keep.bytes_max() + 1).saturating_sub(others)
}

/// Appends what finds room.
fn extend(kept: &mut Vec<u8>, more: &[u8], room: usize) {
    let room = room.saturating_sub(kept.len());
    kept.extend_from_slice(&more[..more.len().min(room)]);
}

/// The longest stretch without anything that is escaped, if it is long enough to tell texts apart.
fn stretch(text: &[u8]) -> Option<&[u8]> {
    let plain =
        |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\') || *byte == b' ';
    let longest = text
        .split(|byte| !plain(byte))
        .max_by_key(|stretch| stretch.len())?;
    let longest = &longest[..longest.len().min(*TRACE_BYTES.end())];
    (longest.len() >= *TRACE_BYTES.start()).then_some(longest)
}

/// The text that stands in quotes so, without its last character where that is cut, and with U+FFFD for what
/// is no character.
fn beginning(inside: &[u8]) -> String {
    // The longest character is two escapes of six bytes.
    let cut = (0..=12.min(inside.len())).find_map(|cut| unquoted(&inside[..inside.len() - cut]));
    cut.unwrap_or_else(|| unescaped_lossy(inside))
}

/// The text that stands in quotes so, if it is one.
fn unquoted(inside: &[u8]) -> Option<String> {
    let quoted = [b"\"", inside, b"\""].concat();
    serde_json::from_slice(&quoted).ok()
}
