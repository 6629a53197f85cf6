//! `openai-responses` answers.

use super::chat::content;
use super::facts::{Facts, NAME_BYTES_MAX, OUTPUT_BYTES_MAX, first, last};
use super::given::Piece;
use super::scan::{Cursor, Malformed, Scan, Text};

/// Most output items that are remembered for a clean ending.
const ITEMS_MAX: usize = 256;

/// Where a stream stands.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The last `sequence_number` seen.
    pub(super) sequence: Option<u64>,
    /// `created_at`, in seconds since the epoch.
    pub(super) created: Option<u64>,
    /// Output items in the order in which they were added: type and id.
    pub(super) items: Vec<(String, String)>,
    /// `response.created` was seen.
    pub(super) started: bool,
}

/// The members of an event, as they stand.
#[derive(Default)]
struct Members<'a> {
    kind: Option<Text<'a>>,
    sequence: Option<u64>,
    output_index: u64,
    delta: Option<Text<'a>>,
    item: Option<&'a [u8]>,
    response: Option<&'a [u8]>,
    error: Option<&'a [u8]>,
}

impl<'a> Members<'a> {
    fn of(data: &'a [u8]) -> Scan<Self> {
        let mut members = Self::default();
        let mut cursor = Cursor::new(data);
        if cursor.peek()? != b'{' {
            return Err(Malformed);
        }
        cursor.object(|key, cursor| {
            match key {
                b"type" => members.kind = cursor.text()?,
                b"delta" => members.delta = cursor.text()?,
                b"sequence_number" => members.sequence = cursor.whole()?,
                b"output_index" => members.output_index = cursor.whole()?.unwrap_or(0),
                b"item" => members.item = cursor.present()?,
                b"response" => members.response = cursor.present()?,
                b"error" => members.error = cursor.present()?,
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        Ok(members)
    }
}

impl Progress {
    pub(super) fn event(
        &mut self,
        facts: &mut Facts,
        name: Option<&[u8]>,
        data: &[u8],
    ) -> Scan<()> {
        if data == b"[DONE]" {
            return Ok(());
        }
        let members = Members::of(data)?;
        self.sequence = members.sequence.or(self.sequence);
        let kind = members.kind.map(|kind| kind.0).or(name).unwrap_or_default();
        if kind.ends_with(b".delta") {
            // Audio is base64, and not what a token count goes by; its transcript is.
            if let Some(delta) = members.delta.filter(|_| kind != b"response.audio.delta") {
                facts.produced(delta);
            }
            return Ok(());
        }
        match kind {
            b"response.created" | b"response.in_progress" | b"response.queued" => {
                self.started = true;
                response(facts, self, members.response.unwrap_or(b"{}"))?;
            }
            b"response.completed"
            | b"response.incomplete"
            | b"response.failed"
            | b"response.cancelled" => {
                facts.terminal = true;
                facts.finished = true;
                response(facts, self, members.response.unwrap_or(b"{}"))?;
            }
            b"response.output_item.added" | b"response.output_item.done" => {
                // Its text came, or will come, as deltas; the whole is in the terminal event again.
                let item = Item::read(&mut Cursor::new(members.item.unwrap_or(b"{}")))?;
                item.note(facts, members.output_index);
                if kind == b"response.output_item.done" {
                    item.say(facts, members.output_index)?;
                }
                if kind == b"response.output_item.added" && self.items.len() < ITEMS_MAX {
                    let (kind, id) = (item.kind.unwrap_or(Text(b"")), item.id.unwrap_or(Text(b"")));
                    self.items
                        .push((kind.decoded(NAME_BYTES_MAX), id.decoded(NAME_BYTES_MAX)));
                }
            }
            b"error" => facts.failed(members.error.unwrap_or(data))?,
            _ => {}
        }
        Ok(())
    }
}

/// Reads a whole plain answer. One that is still under way (`background`) is not complete.
pub(super) fn body(facts: &mut Facts, progress: &mut Progress, body: &[u8]) -> Scan<()> {
    if Cursor::new(body).peek()? != b'{' {
        return Err(Malformed);
    }
    facts.terminal = response(facts, progress, body)?;
    facts.finished = facts.terminal;
    Ok(())
}

/// A response object; true unless it says that it is still under way.
fn response(facts: &mut Facts, progress: &mut Progress, json: &[u8]) -> Scan<bool> {
    let (mut status, mut reason) = (None, None);
    let mut produced = 0_u64;
    Cursor::new(json).object(|key, cursor| {
        match key {
            b"id" => first(&mut facts.id, cursor)?,
            b"model" => first(&mut facts.model, cursor)?,
            b"service_tier" => last(&mut facts.service_tier, cursor)?,
            b"status" => status = cursor.text()?,
            b"created_at" => progress.created = cursor.whole()?.or(progress.created),
            b"usage" => {
                if let Some(usage) = cursor.present()? {
                    facts.usage.replace(usage);
                }
            }
            b"error" => {
                if let Some(error) = cursor.present()? {
                    facts.failed(error)?;
                }
            }
            b"incomplete_details" => cursor.object(|key, cursor| match key {
                b"reason" => last(&mut reason, cursor),
                _ => cursor.skip().map(drop),
            })?,
            b"output" => {
                let mut position = 0;
                let from = cursor.rest();
                cursor.array(|cursor| {
                    let item = Item::read(cursor)?;
                    item.note(facts, position);
                    item.say(facts, position)?;
                    produced = produced.saturating_add(item.produced);
                    position += 1;
                    Ok(())
                })?;
                let output = &from[..from.len() - cursor.rest().len()];
                let keeps = position > 0 && output.len() <= OUTPUT_BYTES_MAX;
                facts.output = keeps.then(|| output.into());
            }
            _ => drop(cursor.skip()?),
        }
        Ok(())
    })?;
    // The terminal event repeats what came as deltas, or brings what did not.
    facts.visible_bytes = facts.visible_bytes.max(produced);
    let under_way = status.is_some_and(|status| matches!(status.0, b"in_progress" | b"queued"));
    if !under_way {
        let status = status.map(|status| status.decoded(NAME_BYTES_MAX));
        facts.finish = reason.or(status).or(facts.finish.take());
    }
    Ok(!under_way)
}

/// One output item.
#[derive(Default)]
struct Item<'a> {
    kind: Option<Text<'a>>,
    id: Option<Text<'a>>,
    call_id: Option<Text<'a>>,
    name: Option<Text<'a>>,
    /// Before the arguments' value.
    arguments: Option<Cursor<'a>>,
    /// Before the content's value.
    content: Option<Cursor<'a>>,
    produced: u64,
}

impl<'a> Item<'a> {
    fn read(cursor: &mut Cursor<'a>) -> Scan<Self> {
        let mut item = Self::default();
        let mut text = Facts::default();
        cursor.object(|key, cursor| {
            match key {
                b"type" => item.kind = cursor.text()?,
                b"id" => item.id = cursor.text()?,
                b"call_id" => item.call_id = cursor.text()?,
                b"name" => item.name = cursor.text()?,
                b"arguments" | b"input" | b"code" | b"content" | b"summary" => {
                    match key {
                        b"arguments" => item.arguments = Some(cursor.clone()),
                        b"content" => item.content = Some(cursor.clone()),
                        _ => {}
                    }
                    content(&mut text, cursor, 0)?;
                }
                _ => drop(cursor.skip()?),
            }
            Ok(())
        })?;
        item.produced = text.visible_bytes;
        Ok(item)
    }

    /// Keeps what the client is to call, or the text, if anything is kept.
    fn say(&self, facts: &mut Facts, position: u64) -> Scan<()> {
        if facts.given.is_none() {
            return Ok(());
        }
        let (place, id) = ((position, 0), self.call_id.or(self.id));
        match self.kind.map(|kind| kind.0) {
            Some(b"function_call") => {
                let arguments = self.arguments.clone();
                let piece = arguments.map_or(Ok(Piece::None), Piece::of)?.whole();
                facts.say_call(place, id, self.name, piece);
            }
            Some(b"custom_tool_call") => facts.say_call(place, id, self.name, Piece::Free),
            Some(b"message") => {
                if let Some(mut content) = self.content.clone() {
                    facts.say_parts(position, &mut content)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Notes a call of whatever kind: `function_call`, `custom_tool_call`, `mcp_call`,
    /// `web_search_call` … Hosted kinds have no name but their type.
    fn note(&self, facts: &mut Facts, position: u64) {
        let Some(hosted) = self.kind.and_then(|kind| kind.0.strip_suffix(b"_call")) else {
            return;
        };
        let id = self.call_id.or(self.id);
        let name = self.name.unwrap_or(Text(hosted));
        if facts.tools.note((position, 0), id, Some(name)) && self.name.is_some() {
            facts.produced(name);
        }
    }
}
