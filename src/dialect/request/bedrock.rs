//! What differs in requests of Amazon Bedrock's Converse: content blocks are known by the name of their only
//! member, the output cap and the tools stand one level down, and cache marks are blocks of their own.

use super::{Cursor, DecodeError, Field, Range, Reader, TOKENS_MAX};
use crate::dialect::{Call, Dialect, OutputCap};

/// A block that marks the end of what is to be cached.
const CACHE_POINT: &[u8] = b"\"cachePoint\"";

impl<'a> Reader<'a> {
    /// A field that only this dialect has.
    pub(super) fn bedrock(
        &mut self,
        cursor: &mut Cursor<'a>,
        field: Field,
    ) -> Result<(), DecodeError> {
        let names: &[&'static str] = match field {
            Field::InferenceConfig => &["maxTokens"],
            Field::ToolConfig => &["tools", "toolChoice"],
            Field::ModelFields => &["thinking"],
            _ => &["textFormat"],
        };
        if !self.enter(cursor, "inferenceConfig, toolConfig, outputConfig")? {
            return Ok(());
        }
        self.object(cursor, names, |reader, cursor, name| {
            let start = cursor.offset();
            match name {
                "maxTokens" => {
                    let (value, tokens) = reader.whole(cursor, name, TOKENS_MAX)?;
                    reader.call.output_caps.push(OutputCap {
                        name: "maxTokens",
                        at: value.at,
                        tokens,
                    });
                }
                "tools" => {
                    reader.tools(cursor, name, true)?;
                    reader.call.places.tools = start..cursor.offset();
                }
                "thinking" => return reader.knob(cursor, Field::Thinking, name),
                "textFormat" => {
                    let format = cursor.skip()?;
                    reader.call.places.answer_form = format.at.clone();
                    reader.call.prompt.structured |= !reader.is_nothing(&format);
                }
                _ => {
                    cursor.skip()?;
                }
            }
            Ok(())
        })?;
        Ok(())
    }

    /// One message. Gives its range.
    pub(super) fn turn(&mut self, cursor: &mut Cursor<'a>) -> Result<Range<usize>, DecodeError> {
        self.object(cursor, &["content"], |reader, cursor, _| {
            reader.blocks(cursor)
        })
    }

    fn blocks(&mut self, cursor: &mut Cursor<'a>) -> Result<(), DecodeError> {
        if cursor.peek() != Some(b'[') {
            cursor.skip()?;
            return Err(DecodeError::field("messages.content", "must be an array"));
        }
        let mut last_end = None;
        cursor.array(|cursor, _| {
            if cursor.peek() != Some(b'{') {
                cursor.skip()?;
                let message = "must hold objects";
                return Err(DecodeError::field("messages.content", message));
            }
            let at = self.block(cursor)?;
            let inside = self.body[at.clone()].get(1..).unwrap_or_default();
            // Marks move from call to call and never enter the prompt: they are left out of digests, comma and all.
            if let Some(end) = last_end.filter(|_| inside.starts_with(CACHE_POINT)) {
                self.cuts.push(end..at.end);
            }
            last_end = Some(at.end);
            Ok(())
        })?;
        Ok(())
    }

    fn block(&mut self, cursor: &mut Cursor<'a>) -> Result<Range<usize>, DecodeError> {
        const NAMES: [&str; 6] = [
            "image",
            "document",
            "video",
            "audio",
            "toolResult",
            "toolUse",
        ];
        self.object(cursor, &NAMES, |reader, cursor, name| {
            if cursor.peek() != Some(b'{') {
                return cursor.skip().map(drop).map_err(Into::into);
            }
            match name {
                "image" => reader.media.images += 1,
                "document" => reader.media.files += 1,
                "audio" => reader.media.audio += 1,
                "video" => reader.media.unknown += 1,
                "toolResult" => return reader.result(cursor),
                _ => return cursor.skip().map(drop).map_err(Into::into),
            }
            reader.object(cursor, &["source"], |reader, cursor, _| {
                reader.payload(cursor, name)
            })?;
            Ok(())
        })
    }

    fn result(&mut self, cursor: &mut Cursor<'a>) -> Result<(), DecodeError> {
        let names = ["toolUseId", "content"];
        self.object(cursor, &names, |reader, cursor, name| match name {
            "content" => reader.blocks(cursor),
            _ => {
                let id = cursor.skip()?;
                if id.text(reader.body).is_some() {
                    reader.answered(id.at);
                }
                Ok(())
            }
        })?;
        Ok(())
    }

    /// Where an image or a document comes from: the bytes themselves, or a place.
    fn payload(&mut self, cursor: &mut Cursor<'a>, kind: &str) -> Result<(), DecodeError> {
        if cursor.peek() != Some(b'{') {
            return cursor.skip().map(drop).map_err(Into::into);
        }
        let names = ["bytes", "s3Location"];
        self.object(cursor, &names, |reader, cursor, name| {
            let value = cursor.skip()?;
            if name == "bytes" {
                let length = u64::try_from(value.at.len()).unwrap_or(u64::MAX);
                reader.media.payload_bytes += length;
                reader.call.prompt.payloads.push(value.at);
            } else if kind == "image" {
                reader.media.remote_images += 1;
            } else {
                reader.media.remote_files += 1;
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Whether anything is to be written to a cache, and for how long at most. Looked for in the whole text:
    /// what only looks like a mark makes a bound wider.
    pub(super) fn cache_points(&mut self) {
        if memchr::memmem::find(self.body, CACHE_POINT).is_some() {
            let selectors = &mut self.call.selectors;
            selectors.cache_write_5m = true;
            selectors.cache_write_1h |= memchr::memmem::find(self.body, b"\"1h\"").is_some();
        }
    }
}

/// Where a block may be put behind the last one of the last message, if that is a user's: turns must alternate.
pub(super) fn room_behind(call: &Call) -> Option<usize> {
    if call.dialect != Dialect::Bedrock {
        return None;
    }
    let last = call.chain.links.last()?;
    let text = &call.body[last.at.clone()];
    let is_users = text.starts_with(b"{\"role\":\"user\",\"content\":[{") && text.ends_with(b"}]}");
    is_users.then_some(last.at.end - 2)
}
