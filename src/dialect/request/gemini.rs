//! Gemini's contents, tools and generation settings.
//!
//! Parts have no `type`: the member that is there says what a part is. Tools stand in lists of their own
//! within the list of tools. What shapes the prompt stands beside what does not in `generationConfig`,
//! so that its members enter the frame one by one.

use super::{Cursor, DecodeError, MESSAGES_MAX, OUTPUTS_MAX, Range, Reader, TOKENS_MAX, TOOLS_MAX};
use crate::conversation::Digester;
use crate::dialect::OutputCap;

const PART: [&str; 6] = [
    "text",
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "thoughtSignature",
];
const GENERATION: [&str; 9] = [
    "maxOutputTokens",
    "candidateCount",
    "responseMimeType",
    "responseSchema",
    "responseJsonSchema",
    "responseModalities",
    "thinkingConfig",
    "mediaResolution",
    "speechConfig",
];

impl<'a> Reader<'a> {
    /// `contents`: a list of objects.
    pub(super) fn contents(
        &mut self,
        cursor: &mut Cursor<'a>,
        name: &str,
    ) -> Result<(), DecodeError> {
        if cursor.peek() != Some(b'[') {
            if cursor.skip()?.is_null() {
                return Ok(());
            }
            return Err(DecodeError::field(name, "must be an array"));
        }
        self.prompt_met = true;
        let at = cursor.array(|cursor, index| {
            if cursor.peek() != Some(b'{') {
                cursor.skip()?;
                let param = format!("{name}[{index}]");
                return Err(DecodeError::field(&param, "must be an object"));
            }
            if index >= MESSAGES_MAX {
                let message = format!("must have at most {MESSAGES_MAX} elements");
                return Err(DecodeError::field(name, message));
            }
            let at = self.object(cursor, &["role", "parts"], |reader, cursor, name| {
                if name == "parts" && cursor.peek() == Some(b'[') {
                    cursor.array(|cursor, _| reader.content_part(cursor))?;
                } else {
                    cursor.skip()?;
                }
                Ok(())
            })?;
            self.linked(at);
            Ok(())
        })?;
        self.call.places.messages_end = at.end;
        Ok(())
    }

    fn content_part(&mut self, cursor: &mut Cursor<'a>) -> Result<(), DecodeError> {
        if cursor.peek() != Some(b'{') {
            cursor.skip()?;
            return Ok(());
        }
        self.object(cursor, &PART, |reader, cursor, name| match name {
            "inlineData" | "fileData" if cursor.peek() == Some(b'{') => {
                reader.blob(cursor, name == "fileData")
            }
            "functionResponse" if cursor.peek() == Some(b'{') => reader.function_response(cursor),
            _ => cursor.skip().map(drop).map_err(Into::into),
        })?;
        Ok(())
    }

    /// What is no text: its kind is told by its media type.
    fn blob(&mut self, cursor: &mut Cursor<'a>, remote: bool) -> Result<(), DecodeError> {
        let (mut kind, mut data) = (None, None);
        self.object(cursor, &["mimeType", "data"], |reader, cursor, name| {
            match name {
                "mimeType" => kind = reader.string(cursor, "inlineData.mimeType")?,
                _ => data = Some(cursor.skip()?),
            }
            Ok(())
        })?;
        let media = &mut self.media;
        let kind = kind.as_deref().unwrap_or_default();
        match kind.split('/').next().unwrap_or_default() {
            "image" => {
                media.images += 1;
                media.remote_images += u64::from(remote);
            }
            "audio" => media.audio += 1,
            "application" | "text" => {
                media.files += 1;
                media.remote_files += u64::from(remote);
            }
            _ => media.unknown += 1,
        }
        if let Some(data) = data.filter(|data| data.text(self.body).is_some()) {
            self.media.payload_bytes += u64::try_from(data.at.len()).unwrap_or(u64::MAX);
            self.call.prompt.payloads.push(data.at);
        }
        Ok(())
    }

    /// A tool's result; media of its own stand in `parts`.
    fn function_response(&mut self, cursor: &mut Cursor<'a>) -> Result<(), DecodeError> {
        self.object(cursor, &["parts"], |reader, cursor, _| {
            if cursor.peek() == Some(b'[') {
                cursor.array(|cursor, _| reader.content_part(cursor))?;
            } else {
                cursor.skip()?;
            }
            Ok(())
        })?;
        Ok(())
    }

    /// `tools`: lists of declarations, and what the provider runs itself.
    pub(super) fn toolboxes(&mut self, cursor: &mut Cursor<'a>) -> Result<(), DecodeError> {
        if cursor.peek() != Some(b'[') {
            if cursor.skip()?.is_null() {
                return Ok(());
            }
            return Err(DecodeError::field("tools", "must be an array"));
        }
        cursor.array(|cursor, _| {
            if cursor.peek() != Some(b'{') {
                cursor.skip()?;
                return Err(DecodeError::field("tools", "must hold objects"));
            }
            let at = self.toolbox(cursor)?;
            self.call.places.has_tools = true;
            let mut digester = Digester::default();
            digester.add(&self.body[at]);
            let digest = digester.digest();
            self.tools_digest = self.tools_digest.wrapping_add(digest);
            self.frame.add(&digest.to_le_bytes());
            Ok(())
        })?;
        Ok(())
    }

    fn toolbox(&mut self, cursor: &mut Cursor<'a>) -> Result<Range<usize>, DecodeError> {
        let at = cursor.object(|cursor, key| {
            let name = key.text(self.body);
            if name != "functionDeclarations" {
                let value = cursor.skip()?;
                if !self.is_nothing(&value) {
                    let prompt = &mut self.call.prompt;
                    prompt.tools += 1;
                    prompt.builtin_tools += 1;
                    let name = hosted(&name);
                    prompt.hosted_tools.push((name, None));
                }
                return Ok(());
            }
            if cursor.peek() != Some(b'[') {
                return cursor.skip().map(drop).map_err(DecodeError::from);
            }
            cursor.array(|cursor, _| {
                if self.call.prompt.tools >= TOOLS_MAX {
                    let message = format!("must have at most {TOOLS_MAX} elements");
                    return Err(DecodeError::field("tools", message));
                }
                let start = cursor.offset();
                self.schema(cursor)?;
                let bytes = u64::try_from(cursor.offset() - start).unwrap_or(u64::MAX);
                let prompt = &mut self.call.prompt;
                prompt.tools += 1;
                prompt.longest_tool_bytes = prompt.longest_tool_bytes.max(bytes);
                Ok(())
            })?;
            Ok::<(), DecodeError>(())
        })?;
        Ok(at)
    }

    /// `generationConfig`: the output cap, and what shapes the answer.
    pub(super) fn generation_config(&mut self, cursor: &mut Cursor<'a>) -> Result<(), DecodeError> {
        if !self.enter(cursor, "generationConfig")? {
            return Ok(());
        }
        let inside = cursor.offset() + 1;
        let at = self.object(cursor, &GENERATION, |reader, cursor, name| {
            let start = cursor.offset();
            match name {
                "maxOutputTokens" => {
                    let (value, tokens) = reader.whole(cursor, name, TOKENS_MAX)?;
                    reader.call.output_caps.push(OutputCap {
                        name: "maxOutputTokens",
                        at: value.at,
                        tokens,
                    });
                    return Ok(());
                }
                "candidateCount" => {
                    let (_, outputs) = reader.whole(cursor, name, OUTPUTS_MAX)?;
                    reader.asked_outputs = outputs.unwrap_or(1).max(1);
                    return Ok(());
                }
                "responseSchema" | "responseJsonSchema" => {
                    reader.schema(cursor)?;
                    reader.call.prompt.structured = true;
                }
                "responseMimeType" => {
                    let kind = reader.string(cursor, name)?;
                    reader.call.prompt.structured |= kind.is_some_and(|kind| kind != "text/plain");
                }
                "responseModalities" => reader.modes(cursor)?,
                _ => {
                    cursor.skip()?;
                }
            }
            reader.frame.add(name.as_bytes());
            reader.frame.end();
            reader.frame.add(&reader.body[start..cursor.offset()]);
            Ok(())
        })?;
        let empty = self.body[inside..at.end - 1].trim_ascii().is_empty();
        self.call.places.generation = Some((inside, empty));
        Ok(())
    }

    fn modes(&mut self, cursor: &mut Cursor<'a>) -> Result<(), DecodeError> {
        if cursor.peek() != Some(b'[') {
            cursor.skip()?;
            return Ok(());
        }
        cursor.array(|cursor, _| {
            let mode = self.string(cursor, "responseModalities")?;
            match mode.as_deref() {
                Some("AUDIO") => self.call.selectors.audio_output = true,
                Some("IMAGE") => self.call.selectors.image_output = true,
                _ => {}
            }
            Ok::<(), DecodeError>(())
        })?;
        Ok(())
    }
}

/// `googleSearch` as price lists write it: `google_search`.
fn hosted(name: &str) -> String {
    let mut words = String::new();
    for letter in name.chars().take(64) {
        if letter.is_ascii_uppercase() {
            words.push('_');
        }
        words.push(letter.to_ascii_lowercase());
    }
    words
}
