//! Fields outside the prompt's content: the model, caps, streaming, and what selects a price.

use super::TOKENS_MAX;
use super::{Cursor, DecodeError, Dialect, Field, MODEL_BYTES_MAX, OUTPUTS_MAX, Reader};
use crate::dialect::OutputCap;

impl<'a> Reader<'a> {
    pub(super) fn knob(
        &mut self,
        cursor: &mut Cursor<'a>,
        field: Field,
        name: &str,
    ) -> Result<(), DecodeError> {
        match field {
            Field::Model => self.model(cursor)?,
            Field::Stream => self.call.stream = self.boolean(cursor, name)?.unwrap_or(false),
            Field::StreamOptions => self.stream_options(cursor)?,
            Field::Cap(alias) => {
                let (value, tokens) = self.whole(cursor, name, TOKENS_MAX)?;
                self.call.output_caps.push(OutputCap {
                    name: alias,
                    at: value.at,
                    tokens,
                });
            }
            Field::Outputs => self.outputs(cursor, name)?,
            Field::ToolChoice => self.tool_choice(cursor)?,
            Field::Parallel => {
                let start = cursor.offset();
                self.boolean(cursor, name)?;
                self.call.places.parallel_tool_calls = Some(start..cursor.offset());
            }
            Field::MaxToolCalls => {
                (_, self.max_tool_calls) = self.whole(cursor, name, TOKENS_MAX)?;
            }
            Field::Prediction => self.prediction(cursor)?,
            Field::Modalities => self.modalities(cursor)?,
            Field::User => self.user(cursor, name)?,
            Field::ServiceTier => self.call.selectors.service_tier = self.word(cursor, name)?,
            Field::Speed => self.call.selectors.speed = self.word(cursor, name)?,
            Field::InferenceGeo => self.call.selectors.inference_geo = self.word(cursor, name)?,
            Field::CacheControl | Field::CacheOptions => self.cache_mark(cursor)?,
            Field::Background => {
                self.call.background = self.boolean(cursor, name)?.unwrap_or(false);
            }
            Field::Structured | Field::Text | Field::OutputConfig => {
                self.structured(cursor, field)?;
            }
            Field::Thinking => self.thinking(cursor)?,
            _ => self.unseen_knob(cursor, field, name)?,
        }
        Ok(())
    }

    /// Fields that bring something unseen into the prompt, or make the provider do more than one
    /// plain generation.
    fn unseen_knob(
        &mut self,
        cursor: &mut Cursor<'a>,
        field: Field,
        name: &str,
    ) -> Result<(), DecodeError> {
        match field {
            Field::PreviousResponse => {
                if let Some(id) = self.string(cursor, name)? {
                    self.call.ids.previous_response = Some(id.into_owned());
                }
                return Ok(());
            }
            Field::Thread => return self.thread(cursor),
            Field::ContextManagement => return self.context_management(cursor),
            Field::Container => return self.container(cursor),
            Field::Truncation => {
                if self
                    .string(cursor, name)?
                    .is_some_and(|way| way != "disabled")
                {
                    self.call.prompt.steady = false;
                }
                return Ok(());
            }
            _ => {}
        }
        let value = cursor.skip()?;
        if self.is_nothing(&value) {
            return Ok(());
        }
        let prompt = &mut self.call.prompt;
        match field {
            Field::Opaque | Field::McpServers => {
                prompt.opaque = true;
                prompt.steady = false;
            }
            Field::Unsteady => prompt.steady = false,
            Field::Hosted(tool) => {
                prompt.hosted_tools.push((tool.to_owned(), None));
                prompt.builtin_tools += 1;
            }
            Field::Surcharge(surcharge) => self.surcharge(surcharge),
            other => debug_assert!(false, "{other:?} has a reader of its own"),
        }
        Ok(())
    }

    /// Something that must be priced or refused.
    pub(super) fn surcharge(&mut self, name: &str) {
        let surcharges = &mut self.call.selectors.surcharges;
        if !surcharges.iter().any(|other| other == name) {
            surcharges.push(name.to_owned());
        }
    }

    fn model(&mut self, cursor: &mut Cursor<'a>) -> Result<(), DecodeError> {
        let start = cursor.offset();
        let Some(model) = self.string(cursor, "model")? else {
            self.call.model_at = start..cursor.offset();
            return Ok(());
        };
        if model.is_empty() || model.len() > MODEL_BYTES_MAX {
            let message = format!("must have 1 to {MODEL_BYTES_MAX} bytes");
            return Err(DecodeError::field("model", message));
        }
        self.call.model = model.into_owned();
        self.call.model_at = start..cursor.offset();
        Ok(())
    }

    fn stream_options(&mut self, cursor: &mut Cursor<'a>) -> Result<(), DecodeError> {
        let start = cursor.offset();
        if !self.enter(cursor, "stream_options")? {
            self.call.places.stream_options = Some(start..cursor.offset());
            return Ok(());
        }
        let at = self.object(cursor, &["include_usage"], |reader, cursor, name| {
            let start = cursor.offset();
            let asked = reader.boolean(cursor, name)?;
            reader.call.usage_asked |= asked.unwrap_or(false);
            reader.call.places.include_usage = Some(start..cursor.offset());
            Ok(())
        })?;
        self.call.places.stream_options = Some(at);
        Ok(())
    }

    fn outputs(&mut self, cursor: &mut Cursor<'a>, name: &str) -> Result<(), DecodeError> {
        let (_, outputs) = self.whole(cursor, name, OUTPUTS_MAX)?;
        if outputs == Some(0) {
            let message = format!("must be from 1 to {OUTPUTS_MAX}");
            return Err(DecodeError::field(name, message));
        }
        self.asked_outputs = self.asked_outputs.max(outputs.unwrap_or(1));
        Ok(())
    }

    fn tool_choice(&mut self, cursor: &mut Cursor<'a>) -> Result<(), DecodeError> {
        let start = cursor.offset();
        if self.call.dialect == Dialect::AnthropicMessages && cursor.peek() == Some(b'{') {
            let names = ["type", "disable_parallel_tool_use"];
            self.object(cursor, &names, |reader, cursor, name| {
                if name == "type" {
                    let kind = reader.string(cursor, "tool_choice.type")?;
                    reader.call.places.tool_choice_open = kind.is_some_and(|kind| kind != "none");
                    return Ok(());
                }
                let start = cursor.offset();
                reader.boolean(cursor, "tool_choice.disable_parallel_tool_use")?;
                reader.call.places.disable_parallel = Some(start..cursor.offset());
                Ok(())
            })?;
        } else {
            cursor.skip()?;
        }
        self.call.places.tool_choice = Some(start..cursor.offset());
        Ok(())
    }

    /// Predicted output: what of it is rejected is billed as output, and no cap holds it.
    fn prediction(&mut self, cursor: &mut Cursor<'a>) -> Result<(), DecodeError> {
        let value = cursor.skip()?;
        if !value.is_null() {
            self.call.unclampable = true;
            self.call.predicted_bytes = u64::try_from(value.at.len()).unwrap_or(u64::MAX);
        }
        Ok(())
    }

    fn modalities(&mut self, cursor: &mut Cursor<'a>) -> Result<(), DecodeError> {
        if cursor.peek() != Some(b'[') {
            cursor.skip()?;
            return Ok(());
        }
        cursor.array(|cursor, _| {
            match self.string(cursor, "modalities")?.as_deref() {
                Some("audio") => self.call.selectors.audio_output = true,
                Some("image") => self.call.selectors.image_output = true,
                _ => {}
            }
            Ok::<(), DecodeError>(())
        })?;
        Ok(())
    }

    /// A short word that selects a price.
    fn word(&self, cursor: &mut Cursor<'a>, name: &str) -> Result<Option<String>, DecodeError> {
        let Some(word) = self.string(cursor, name)? else {
            return Ok(None);
        };
        if word.len() > 64 {
            return Err(DecodeError::field(name, "must have at most 64 bytes"));
        }
        Ok(Some(word.into_owned()))
    }

    /// `cache_control` or `prompt_cache_breakpoint`, wherever it stands.
    pub(super) fn cache_mark(&mut self, cursor: &mut Cursor<'a>) -> Result<(), DecodeError> {
        let start = cursor.offset();
        let mut long = false;
        if cursor.peek() == Some(b'{') {
            cursor.object(|cursor, key| {
                let is_ttl = *key.name(self.body) == *b"ttl";
                let value = cursor.skip()?;
                if is_ttl {
                    // A term that is not known to be short counts as long: long ones cost more.
                    let term = value.text(self.body);
                    long |= !matches!(term.as_deref(), None | Some("5m" | "30m"));
                }
                Ok::<(), DecodeError>(())
            })?;
        } else {
            cursor.skip()?;
        }
        if self.body[start..].starts_with(b"null") {
            return Ok(());
        }
        let selectors = &mut self.call.selectors;
        selectors.cache_write_1h |= long;
        selectors.cache_write_5m |= !long;
        Ok(())
    }

    fn thinking(&mut self, cursor: &mut Cursor<'a>) -> Result<(), DecodeError> {
        if cursor.peek() != Some(b'{') {
            cursor.skip()?;
            return Ok(());
        }
        self.object(cursor, &["budget_tokens"], |reader, cursor, _| {
            let param = "thinking.budget_tokens";
            (_, reader.call.thinking_budget) = reader.whole(cursor, param, TOKENS_MAX)?;
            Ok(())
        })?;
        Ok(())
    }

    /// `{"type": "continue", "previous_message_id": …}`: the provider holds the messages before.
    fn thread(&mut self, cursor: &mut Cursor<'a>) -> Result<(), DecodeError> {
        if !self.enter(cursor, "thread")? {
            return Ok(());
        }
        self.call.ids.is_thread = true;
        self.object(cursor, &["previous_message_id"], |reader, cursor, _| {
            if let Some(id) = reader.string(cursor, "thread.previous_message_id")? {
                reader.call.ids.previous_response = Some(id.into_owned());
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Clearing old tool results or thinking only ever shortens a longer prompt further; whatever
    /// else is listed (compaction) is another generation.
    fn context_management(&mut self, cursor: &mut Cursor<'a>) -> Result<(), DecodeError> {
        match cursor.peek() {
            Some(b'[') => {
                cursor.array(|cursor, _| self.edit(cursor))?;
            }
            Some(b'{') => {
                self.object(cursor, &["edits"], |reader, cursor, _| {
                    if cursor.peek() == Some(b'[') {
                        cursor.array(|cursor, _| reader.edit(cursor))?;
                    } else {
                        cursor.skip()?;
                    }
                    Ok(())
                })?;
            }
            _ => {
                cursor.skip()?;
            }
        }
        Ok(())
    }

    fn edit(&mut self, cursor: &mut Cursor<'a>) -> Result<(), DecodeError> {
        let mut clears = false;
        if cursor.peek() == Some(b'{') {
            self.object(cursor, &["type"], |reader, cursor, _| {
                let kind = reader.string(cursor, "context_management type")?;
                clears = kind.is_some_and(|kind| kind.starts_with("clear_"));
                Ok(())
            })?;
        } else {
            cursor.skip()?;
        }
        if !clears {
            self.call.prompt.steady = false;
            self.surcharge("compaction");
        }
        Ok(())
    }

    /// A container with skills, whose descriptions enter the prompt.
    fn container(&mut self, cursor: &mut Cursor<'a>) -> Result<(), DecodeError> {
        if cursor.peek() != Some(b'{') {
            cursor.skip()?;
            return Ok(());
        }
        self.object(cursor, &["skills"], |reader, cursor, _| {
            let skills = cursor.skip()?;
            if !reader.is_nothing(&skills) {
                reader.call.prompt.opaque = true;
            }
            Ok(())
        })?;
        Ok(())
    }
}
