//! Messages, input items and content parts: what enters the prompt, told apart by structure.
//!
//! One walk serves all dialects, for their parts differ in names and not in shape: an object with a
//! `type`, with text in it, or a payload, or further parts under `content` or `output`.

use super::{Cursor, DecodeError, Dialect, MESSAGES_MAX, Range, Reader, Value};

/// Answered tool-call ids that are kept, in ids.
const ANSWERED_MAX: usize = 4096;

/// What clients put into the system text anew for each session and sub-agent: it says nothing about
/// which agent this is.
const VOLATILE_BLOCK: &[u8] = b"x-anthropic-billing-header:";

/// The longest block that is taken for volatile; a longer one is system text like any other.
const VOLATILE_BYTES_MAX: usize = 512;

/// What a part is to the bound on input tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// Literal text, tool calls and results included: at most a token a byte.
    Text,
    Image,
    /// A file, unless its source is literal text or further parts.
    File,
    Audio,
    /// An item that the provider looks up by its id, unless it carries its content.
    Stored,
    /// The name of a tool whose declaration the provider puts in its place.
    ToolReference,
    Unknown,
}

/// What the walk of one object has gathered.
#[derive(Default)]
struct Part {
    class: Option<Class>,
    typed: bool,
    has_role: bool,
    is_system: bool,
    /// Carries media without saying its type.
    has_media: bool,
    /// Carries content that the provider would otherwise look up by the id.
    carries: bool,
    /// A result of a tool call, by its type.
    is_result: bool,
    id: Option<Value>,
    call_id: Option<Value>,
    source: Source,
}

/// Where a part's payload is.
#[derive(Default)]
struct Source {
    /// An inline payload.
    payload: Option<Range<usize>>,
    /// By URL.
    remote: bool,
    /// Literal text or further parts, which are counted as such.
    literal: bool,
}

/// Which members of a part are read. Everything else in it is text.
const NAMES: [&str; 24] = [
    "role",
    "content",
    "type",
    "tool_call_id",
    "tool_use_id",
    "call_id",
    "id",
    "output",
    "image_url",
    "source",
    "file",
    "file_data",
    "file_url",
    "file_id",
    "input_audio",
    "audio",
    "data",
    "result",
    "encrypted_content",
    "results",
    "outputs",
    "tools",
    "tool_references",
    "video_url",
];

impl<'a> Reader<'a> {
    /// `messages`, or the `input` of responses: a list of objects, or there one string.
    pub(super) fn messages(
        &mut self,
        cursor: &mut Cursor<'a>,
        name: &str,
    ) -> Result<(), DecodeError> {
        let start = cursor.offset();
        let responses = self.call.dialect == Dialect::OpenaiResponses;
        match cursor.peek() {
            Some(b'[') => {}
            Some(b'"') if responses => {
                cursor.skip()?;
                self.linked(start..cursor.offset());
                return Ok(());
            }
            _ => {
                if cursor.skip()?.is_null() {
                    return Ok(());
                }
                return Err(DecodeError::field(name, "must be an array"));
            }
        }
        self.prompt_met = true;
        self.call.chain.links.reserve(4);
        let mut head = true;
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
            let (at, is_system) = match self.call.dialect {
                Dialect::Bedrock => (self.turn(cursor)?, false),
                _ => self.part(cursor, true)?,
            };
            self.linked(at);
            head &= is_system;
            self.system_messages += usize::from(head);
            Ok(())
        })?;
        self.call.places.messages_end = at.end;
        Ok(())
    }

    /// Anthropic's `system`, or `instructions`.
    pub(super) fn system(&mut self, cursor: &mut Cursor<'a>) -> Result<(), DecodeError> {
        if cursor.peek() != Some(b'[') {
            let value = cursor.skip()?;
            if !value.is_null() {
                self.system.push(value.at);
            }
            return Ok(());
        }
        cursor.array(|cursor, _| {
            let start = cursor.offset();
            self.nested(cursor)?;
            let block = &self.body[start..cursor.offset()];
            if block.len() <= VOLATILE_BYTES_MAX
                && memchr::memmem::find(block, VOLATILE_BLOCK).is_some()
            {
                self.call.prompt.volatile_bytes += u64::try_from(block.len()).unwrap_or(u64::MAX);
            } else {
                self.system.push(start..cursor.offset());
            }
            Ok::<(), DecodeError>(())
        })?;
        Ok(())
    }

    /// `input` of embeddings or `prompt` of completions: a string, a list of token numbers, or a
    /// list of either.
    pub(super) fn prompts(
        &mut self,
        cursor: &mut Cursor<'a>,
        name: &str,
    ) -> Result<(), DecodeError> {
        match cursor.peek() {
            Some(b'"') => {
                cursor.skip()?;
                self.call.prompt.messages = 1;
            }
            Some(b'[') => {
                let (mut numbers, mut others) = (false, 0_u64);
                cursor.array(|cursor, _| {
                    match cursor.peek() {
                        Some(b'0'..=b'9') => {
                            cursor.skip()?;
                            numbers = true;
                        }
                        Some(b'"' | b'[' | b'{') => {
                            self.nested(cursor)?;
                            others += 1;
                        }
                        _ => {
                            cursor.skip()?;
                            let message = "must hold strings or token numbers";
                            return Err(DecodeError::field(name, message));
                        }
                    }
                    Ok(())
                })?;
                self.prompts = others + u64::from(numbers);
                self.call.prompt.messages = self.prompts;
            }
            _ => {
                if cursor.skip()?.is_null() {
                    return Ok(());
                }
                return Err(DecodeError::field(name, "must be a string or an array"));
            }
        }
        self.prompt_met = true;
        Ok(())
    }

    /// Whatever stands where text or parts may stand. True if it is an array or an object.
    pub(super) fn nested(&mut self, cursor: &mut Cursor<'a>) -> Result<bool, DecodeError> {
        match cursor.peek() {
            Some(b'[') => {
                cursor.array(|cursor, _| self.nested(cursor).map(drop))?;
                Ok(true)
            }
            Some(b'{') => {
                self.part(cursor, false)?;
                Ok(true)
            }
            _ => {
                cursor.skip()?;
                Ok(false)
            }
        }
    }

    /// One message, item or part. Gives its range, and whether its role is that of system text.
    fn part(
        &mut self,
        cursor: &mut Cursor<'a>,
        message: bool,
    ) -> Result<(Range<usize>, bool), DecodeError> {
        let mut part = Part::default();
        let at = self.object(cursor, &NAMES, |reader, cursor, name| {
            reader.part_member(cursor, name, &mut part)
        })?;
        let is_system = part.is_system;
        self.count(part, message)?;
        Ok((at, is_system))
    }

    fn part_member(
        &mut self,
        cursor: &mut Cursor<'a>,
        name: &str,
        part: &mut Part,
    ) -> Result<(), DecodeError> {
        match name {
            "role" => {
                let role = self.string(cursor, name)?;
                part.has_role = role.is_some();
                part.is_system = matches!(role.as_deref(), Some("system" | "developer"));
            }
            "type" => {
                let kind = self.string(cursor, name)?;
                part.typed = kind.is_some();
                part.class = kind.as_deref().map(class);
                part.is_result = kind
                    .is_some_and(|kind| kind.ends_with("_output") || kind.ends_with("tool_result"));
            }
            "content" | "output" | "tool_references" | "outputs" | "results" => {
                let start = cursor.offset();
                self.nested(cursor)?;
                let inside = &self.body[start..cursor.offset()];
                part.carries |= name != "output" && !matches!(inside, b"null" | b"[]" | b"{}");
            }
            "tool_call_id" | "tool_use_id" | "call_id" => {
                let value = cursor.skip()?;
                part.is_result |= name == "tool_call_id";
                part.call_id = Some(value);
            }
            "id" => part.id = Some(cursor.skip()?),
            "encrypted_content" => part.carries |= !cursor.skip()?.is_null(),
            "tools" if cursor.peek() == Some(b'[') => self.tools(cursor, name, false)?,
            "source" | "file" | "input_audio" if cursor.peek() == Some(b'{') => {
                self.source(cursor, &mut part.source)?;
                part.has_media = true;
            }
            "image_url" | "video_url" => {
                self.url(cursor, &mut part.source)?;
                part.has_media = true;
            }
            "file_data" | "data" | "result" => {
                let value = cursor.skip()?;
                part.source.payload = value.text(self.body).map(|_| value.at);
            }
            "file_url" => part.source.remote |= !cursor.skip()?.is_null(),
            // An assistant's spoken answer, by its id.
            "audio" if cursor.peek() == Some(b'{') => {
                cursor.skip()?;
                self.media.audio += 1;
            }
            _ => {
                cursor.skip()?;
            }
        }
        Ok(())
    }

    /// `source` of Anthropic's parts; `file` and `input_audio` of chat.
    fn source(&mut self, cursor: &mut Cursor<'a>, source: &mut Source) -> Result<(), DecodeError> {
        let names = ["type", "data", "file_data", "url", "content"];
        let mut kind = None;
        let mut data = None;
        self.object(cursor, &names, |reader, cursor, name| {
            match name {
                "type" => kind = reader.string(cursor, "source.type")?,
                "url" => reader.url(cursor, source)?,
                "content" => {
                    reader.nested(cursor)?;
                    source.literal = true;
                }
                _ => data = Some(cursor.skip()?),
            }
            Ok(())
        })?;
        if kind.as_deref() == Some("text") {
            source.literal = true;
        } else if let Some(value) = data.filter(|value| value.text(self.body).is_some()) {
            source.payload = Some(value.at);
        }
        Ok(())
    }

    /// A URL, or an object with one: a payload if it is a `data:` URL, else something remote.
    fn url(&mut self, cursor: &mut Cursor<'a>, source: &mut Source) -> Result<(), DecodeError> {
        if cursor.peek() == Some(b'{') {
            self.object(cursor, &["url"], |reader, cursor, _| {
                reader.url(cursor, source)
            })?;
            return Ok(());
        }
        let value = cursor.skip()?;
        let bytes = &self.body[value.at.clone()];
        if bytes.starts_with(b"\"data:") {
            source.payload = Some(value.at);
        } else if !value.is_null() {
            source.remote = true;
        }
        Ok(())
    }

    /// Counts a part once its type is known.
    fn count(&mut self, part: Part, message: bool) -> Result<(), DecodeError> {
        let class = match part.class {
            Some(class) => class,
            // An item of nothing but an id is a reference.
            None if message && !part.has_role => Class::Stored,
            None if part.has_media && !part.has_role => Class::Unknown,
            None => Class::Text,
        };
        let source = &part.source;
        let media = &mut self.media;
        match class {
            Class::Image => {
                media.images += 1;
                media.remote_images += u64::from(source.remote);
            }
            Class::File if !source.literal => {
                media.files += 1;
                media.remote_files += u64::from(source.remote);
            }
            Class::Audio => media.audio += 1,
            Class::ToolReference => media.tool_references += 1,
            Class::Unknown => media.unknown += 1,
            Class::Stored if !part.carries => {
                if let Some(id) = part.id.and_then(|id| id.text(self.body)) {
                    self.call.prompt.stored.push(id.into_owned());
                    self.media.stored += 1;
                }
            }
            Class::Text | Class::File | Class::Stored => {}
        }
        let is_media = matches!(class, Class::Image | Class::File | Class::Audio);
        if let (true, false, Some(payload)) = (is_media, source.literal, part.source.payload) {
            self.media.payload_bytes += u64::try_from(payload.len()).unwrap_or(u64::MAX);
            self.call.prompt.payloads.push(payload);
        }
        if part.is_result
            && let Some(call_id) = part.call_id
            && call_id.text(self.body).is_some()
        {
            self.answered(call_id.at);
        }
        Ok(())
    }

    /// Notes the id of a tool call whose result is here.
    pub(super) fn answered(&mut self, id: Range<usize>) {
        if self.call.ids.answered_tools.len() < ANSWERED_MAX {
            self.call.ids.answered_tools.push(id);
        }
    }
}

/// Every `type` that the five dialects' SDKs list for messages, items and parts.
fn class(kind: &str) -> Class {
    match kind {
        // Parts of chat, and of messages and responses.
        "text" | "input_text" | "output_text" | "refusal" | "summary_text" | "reasoning_text"
        | "message" | "function" | "custom" => Class::Text,
        "image_url" | "input_image" | "image" | "computer_screenshot" | "image_generation_call" => {
            Class::Image
        }
        "file" | "input_file" | "document" | "container_upload" => Class::File,
        "input_audio" | "output_audio" | "audio" => Class::Audio,
        // Anthropic
        "thinking"
        | "redacted_thinking"
        | "tool_use"
        | "tool_result"
        | "server_tool_use"
        | "search_result"
        | "web_search_tool_result"
        | "web_search_result"
        | "web_search_tool_result_error"
        | "web_fetch_tool_result"
        | "web_fetch_result"
        | "web_fetch_tool_result_error"
        | "code_execution_tool_result"
        | "code_execution_result"
        | "encrypted_code_execution_result"
        | "code_execution_output"
        | "code_execution_tool_result_error"
        | "bash_code_execution_tool_result"
        | "bash_code_execution_result"
        | "bash_code_execution_output"
        | "bash_code_execution_tool_result_error"
        | "text_editor_code_execution_tool_result"
        | "text_editor_code_execution_view_result"
        | "text_editor_code_execution_create_result"
        | "text_editor_code_execution_str_replace_result"
        | "text_editor_code_execution_tool_result_error"
        | "tool_search_tool_result"
        | "tool_search_tool_search_result"
        | "tool_search_tool_result_error"
        | "advisor_tool_result"
        | "advisor_result"
        | "advisor_redacted_result"
        | "advisor_tool_result_error"
        | "mcp_tool_use"
        | "mcp_tool_result"
        | "mcp_tool_listing"
        | "compaction"
        | "fallback"
        | "tool_addition"
        | "tool_removal"
        | "browser_state" => Class::Text,
        "tool_reference" => Class::ToolReference,
        // Responses
        "function_call"
        | "function_call_output"
        | "custom_tool_call"
        | "custom_tool_call_output"
        | "computer_call"
        | "computer_call_output"
        | "local_shell_call"
        | "local_shell_call_output"
        | "shell_call"
        | "shell_call_output"
        | "apply_patch_call"
        | "apply_patch_call_output"
        | "tool_search_call"
        | "tool_search_output"
        | "additional_tools"
        | "compaction_trigger"
        | "mcp_list_tools"
        | "mcp_approval_request"
        | "mcp_approval_response"
        | "mcp_call"
        | "program"
        | "program_output"
        | "logs"
        | "exit" => Class::Text,
        "item_reference"
        | "reasoning"
        | "web_search_call"
        | "file_search_call"
        | "code_interpreter_call" => Class::Stored,
        _ => Class::Unknown,
    }
}
