//! Reading a request: from a body in one of the dialects to a [`Call`], in one pass and by
//! byte range; and [`rewrite()`], which changes it at those ranges.
//!
//! Needs: the whole body, decoded from any content encoding and bounded in size.
//! Adds: everything that later stages ask of the body. They never look into it themselves.
//!
//! Explicit nulls count as absent. A wrong type in a field that is read here, and a duplicate of a
//! listed field at any level that is read, is an error: a provider that took the other reading
//! would not do what was quoted.

use crate::conversation::{Chain, Digester, Link, Media};
use crate::dialect::{BodyIds, Call, Dialect, Places, Prompt, Selectors};
use crate::json::{Cursor, JsonError, Key, Kind, Value};
use bytes::Bytes;
use std::borrow::Cow;
use std::ops::Range;

mod bedrock;
mod fields;
mod gemini;
mod ids;
mod knobs;
mod parts;
mod rewrite;
mod tools;
pub mod trim;
mod values;

pub use rewrite::{rewrite, takes_notice};

/// Names of unlisted fields that are kept, in fields.
pub const UNLISTED_MAX: usize = 64;
/// Most outputs that one call may ask for by `n` or `best_of`.
pub const OUTPUTS_MAX: u64 = 128;
/// The largest number taken for a cap on tokens; more is a mistake, and no provider takes it.
pub const TOKENS_MAX: u64 = i32::MAX as u64;
/// Most messages or input items in one call: Anthropic's own limit, and the bound on what is kept
/// for each of them.
pub const MESSAGES_MAX: usize = 100_000;
/// Most tool declarations in one call.
pub const TOOLS_MAX: u64 = 4096;
/// The longest model name, in bytes.
pub const MODEL_BYTES_MAX: usize = 256;

/// Why a body is no request: a 400 `invalid_request`, fit to be shown to the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DecodeError {
    /// The field at fault.
    pub param: Option<String>,
    /// What is wrong.
    pub message: String,
}

impl From<JsonError> for DecodeError {
    fn from(error: JsonError) -> Self {
        Self {
            param: None,
            message: format!("The request body is not valid JSON: {error}."),
        }
    }
}

impl DecodeError {
    #[cold]
    fn field(param: &str, message: impl std::fmt::Display) -> Self {
        Self {
            param: Some(param.to_owned()),
            message: format!("`{param}` {message}."),
        }
    }
}

/// What a top-level field means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    /// Neither enters the prompt nor changes a price.
    Aside,
    /// Enters the prompt or shapes it.
    Frame,
    Model,
    Stream,
    StreamOptions,
    /// An output cap, by its name.
    Cap(&'static str),
    /// `n`, `best_of`
    Outputs,
    /// `messages`, or `input` of responses
    Messages,
    /// Gemini's `contents`
    Contents,
    /// Gemini's `generationConfig`
    GenerationConfig,
    /// Bedrock's `inferenceConfig`
    InferenceConfig,
    /// Bedrock's `toolConfig`
    ToolConfig,
    /// Bedrock's `additionalModelRequestFields`
    ModelFields,
    /// Bedrock's `outputConfig`
    Form,
    /// `input` of embeddings
    Inputs,
    /// `prompt` of completions
    Prompts,
    System,
    Tools,
    ToolChoice,
    Parallel,
    MaxToolCalls,
    /// An answer format.
    Structured,
    /// `text` of responses, with a format inside.
    Text,
    OutputConfig,
    Thinking,
    Prediction,
    Modalities,
    Metadata,
    User,
    ServiceTier,
    Speed,
    InferenceGeo,
    CacheControl,
    CacheOptions,
    PreviousResponse,
    Thread,
    Background,
    Truncation,
    ContextManagement,
    Container,
    McpServers,
    /// Brings something unseen into the prompt.
    Opaque,
    /// Makes the provider shorten the prompt in its own way.
    Unsteady,
    /// A hosted tool, by its name.
    Hosted(&'static str),
    /// Changes the price, by the name that the catalogue knows.
    Surcharge(&'static str),
}

/// Reads a request.
///
/// # Errors
/// Malformed JSON, a wrong type in a field that Bursar reads, a duplicate among those, or a missing
/// field without which there is no call.
pub fn decode(dialect: Dialect, body: Bytes) -> Result<Call, DecodeError> {
    decode_for(dialect, body, None)
}

/// [`decode`] where the path names the model (Azure's `deployment`), so that the body need not.
///
/// # Errors
/// As [`decode`].
pub fn decode_for(
    dialect: Dialect,
    body: Bytes,
    deployment: Option<&str>,
) -> Result<Call, DecodeError> {
    let text = body.clone();
    let mut cursor = Cursor::new(&text)?;
    if cursor.peek() != Some(b'{') {
        cursor.skip()?;
        return Err(DecodeError {
            param: None,
            message: "The request body must be a JSON object.".to_owned(),
        });
    }
    let mut call = unread(dialect, body);
    call.places.members = cursor.offset() + 1;
    let mut reader = Reader::new(&mut call, &text);
    cursor.object(|cursor, key| reader.member(cursor, &key))?;
    cursor.finish()?;
    if let (true, Some(deployment)) = (reader.call.model.is_empty(), deployment) {
        deployment.clone_into(&mut reader.call.model);
    }
    reader.finish()?;
    Ok(call)
}

/// A call of whose body nothing has been read.
fn unread(dialect: Dialect, body: Bytes) -> Call {
    Call {
        dialect,
        body,
        model: String::new(),
        model_at: 0..0,
        stream: false,
        usage_asked: !matches!(dialect, Dialect::OpenaiChat | Dialect::OpenaiCompletions),
        asked_output: None,
        output_caps: Vec::new(),
        outputs: 1,
        thinking_budget: None,
        unclampable: false,
        predicted_bytes: 0,
        background: false,
        prompt: Prompt {
            steady: true,
            ..Prompt::default()
        },
        selectors: Selectors::default(),
        ids: BodyIds::default(),
        unlisted: Vec::new(),
        chain: Chain::default(),
        places: Places::default(),
    }
}

/// A request being read.
struct Reader<'a> {
    body: &'a [u8],
    table: fields::Table,
    /// What has been read so far.
    call: &'a mut Call,
    /// Listed fields met so far, by their place in the table.
    met: u128,
    /// Where the last top-level member ended.
    last_end: usize,
    /// Running counts; each link takes a copy.
    media: Media,
    /// Cache marks with a comma each, in order of place: they never enter the prompt and move from
    /// call to call, so they are left out of digests.
    cuts: Vec<Range<usize>>,
    /// Blocks of the system text that say which agent this is.
    system: Vec<Range<usize>>,
    /// Messages at the head of the list that are system text too.
    system_messages: usize,
    /// Digests of the tools, added up: the same in any order.
    tools_digest: u128,
    frame: Digester,
    max_tool_calls: Option<u64>,
    /// The larger of `n` and `best_of`.
    asked_outputs: u64,
    /// Prompts in one request; each has its own outputs.
    prompts: u64,
    prompt_met: bool,
}

impl<'a> Reader<'a> {
    fn new(call: &'a mut Call, text: &'a [u8]) -> Self {
        Self {
            body: text,
            table: fields::table(call.dialect),
            call,
            met: 0,
            last_end: 0,
            media: Media::default(),
            cuts: Vec::new(),
            system: Vec::new(),
            system_messages: 0,
            tools_digest: 0,
            frame: Digester::default(),
            max_tool_calls: None,
            asked_outputs: 1,
            prompts: 1,
            prompt_met: false,
        }
    }

    /// One top-level member.
    fn member(&mut self, cursor: &mut Cursor<'a>, key: &Key) -> Result<(), DecodeError> {
        let start = cursor.offset();
        let bytes = key.name(self.body);
        let mut table = self.table.iter();
        let listed = table.position(|(listed, _)| listed.as_bytes() == &*bytes);
        let unlisted;
        let (name, field) = if let Some(index) = listed {
            let (name, field) = self.table[index];
            if self.met & (1 << index) != 0 {
                return Err(DecodeError::field(name, "stands in the body twice"));
            }
            self.met |= 1 << index;
            (name, field)
        } else {
            unlisted = key.text(self.body);
            self.unlisted(&unlisted)?;
            (&*unlisted, Field::Frame)
        };
        self.field(cursor, field, name, key)?;
        let at = start..cursor.offset();
        self.note_form(field, name, &at);
        if field.enters_prompt() && !self.body[at.clone()].starts_with(b"null") {
            self.frame.add(name.as_bytes());
            self.frame.end();
            match field {
                // Each tool's digest is in the frame already.
                Field::Tools => {}
                Field::System => {
                    for block in &self.system {
                        self.frame.add_without(self.body, block, &self.cuts);
                    }
                }
                _ => self.frame.add_without(self.body, &at, &self.cuts),
            }
        }
        self.last_end = cursor.offset();
        Ok(())
    }

    /// Notes where the forms stand that the answer must have.
    fn note_form(&mut self, field: Field, name: &str, at: &Range<usize>) {
        let places = &mut self.call.places;
        match field {
            Field::Tools => {
                places.tools_twice = !places.tools.is_empty();
                places.tools = at.clone();
            }
            Field::Text | Field::OutputConfig | Field::GenerationConfig => {
                places.answer_form = at.clone();
            }
            Field::Structured if matches!(name, "response_format" | "output_format") => {
                places.answer_form = at.clone();
            }
            _ => {}
        }
    }

    /// A field that no table lists. One that differs from a listed field in case alone is an error:
    /// some servers match names without regard to case, and would read it.
    #[cold]
    fn unlisted(&mut self, name: &str) -> Result<(), DecodeError> {
        // Up and down again, for letters such as U+017F whose other case is an ASCII letter.
        let folded = name.to_uppercase().to_lowercase();
        if let Some((listed, _)) = self.table.iter().find(|(listed, _)| *listed == folded) {
            let message = format!("differs from `{listed}` in case only");
            return Err(DecodeError::field(name, message));
        }
        if self.call.unlisted.len() < UNLISTED_MAX {
            self.call.unlisted.push(name.chars().take(64).collect());
        }
        Ok(())
    }

    fn field(
        &mut self,
        cursor: &mut Cursor<'a>,
        field: Field,
        name: &str,
        key: &Key,
    ) -> Result<(), DecodeError> {
        match field {
            Field::Aside | Field::Frame => cursor.skip().map(drop)?,
            Field::Messages => self.messages(cursor, name)?,
            Field::Contents => self.contents(cursor, name)?,
            Field::GenerationConfig => self.generation_config(cursor)?,
            Field::Inputs | Field::Prompts => self.prompts(cursor, name)?,
            Field::System => self.system(cursor)?,
            Field::Tools if self.call.dialect == Dialect::Gemini => self.toolboxes(cursor)?,
            Field::InferenceConfig | Field::ToolConfig | Field::ModelFields | Field::Form => {
                self.bedrock(cursor, field)?;
            }
            Field::Tools => self.tools(cursor, name, true)?,
            Field::Metadata => self.metadata(cursor, key)?,
            _ => self.knob(cursor, field, name)?,
        }
        Ok(())
    }

    /// Everything has been read: check what must be there, and take the digests.
    fn finish(&mut self) -> Result<(), DecodeError> {
        if self.call.model.is_empty() {
            return Err(DecodeError::field("model", "is required"));
        }
        let required = match self.call.dialect {
            Dialect::OpenaiChat | Dialect::AnthropicMessages | Dialect::Bedrock => Some("messages"),
            Dialect::Gemini => Some("contents"),
            Dialect::OpenaiEmbeddings => Some("input"),
            Dialect::OpenaiResponses | Dialect::OpenaiCompletions => None,
        };
        if let (Some(field), false) = (required, self.prompt_met) {
            return Err(DecodeError::field(field, "is required"));
        }
        for (_, uses) in &mut self.call.prompt.hosted_tools {
            *uses = uses.or(self.max_tool_calls);
        }
        if self.call.dialect == Dialect::Bedrock {
            self.cache_points();
        }
        let body_bytes = u64::try_from(self.body.len()).unwrap_or(u64::MAX);
        let prompt = &mut self.call.prompt;
        prompt.text_bytes = body_bytes.saturating_sub(self.media.payload_bytes);
        prompt.media = self.media;
        let names_stored = !prompt.stored.is_empty() || self.call.ids.previous_response.is_some();
        prompt.unseen = prompt.opaque || names_stored;
        prompt.frame = self.frame.digest();
        self.call.outputs = self.asked_outputs.saturating_mul(self.prompts.max(1));
        self.call.asked_output = self
            .call
            .output_caps
            .iter()
            .filter(|cap| rewrite::is_standard(self.call.dialect, cap.name))
            .filter_map(|cap| cap.tokens)
            .min();
        self.link();
        Ok(())
    }

    /// Takes the digests of the chain.
    fn link(&mut self) {
        let mut digester = Digester::default();
        for block in &self.system {
            digester.add_without(self.body, block, &self.cuts);
        }
        for link in &self.call.chain.links[..self.system_messages] {
            digester.add_without(self.body, &link.at, &self.cuts);
        }
        digester.add(&self.tools_digest.to_le_bytes());
        self.call.chain.root = digester.digest();
        self.call.chain.heads = self.system_messages;
        let mut before = self.call.chain.root;
        for link in &mut self.call.chain.links {
            link.join(before, self.body, &self.cuts);
            before = link.digest;
        }
    }

    /// One more message, ending where the cursor stands.
    fn linked(&mut self, at: Range<usize>) {
        self.call.prompt.messages += 1;
        self.call.places.messages_end = at.end;
        self.call.chain.links.push(Link {
            digest: 0,
            message: 0,
            at,
            media: self.media,
        });
    }
}

impl Field {
    /// True if the field enters the prompt or shapes it, outside the messages.
    const fn enters_prompt(self) -> bool {
        matches!(
            self,
            Self::Frame
                | Self::System
                | Self::Tools
                | Self::ToolConfig
                | Self::ModelFields
                | Self::Form
                | Self::ToolChoice
                | Self::Parallel
                | Self::Structured
                | Self::Text
                | Self::OutputConfig
                | Self::Thinking
                | Self::Modalities
                | Self::PreviousResponse
                | Self::Thread
                | Self::Truncation
                | Self::ContextManagement
                | Self::Container
                | Self::McpServers
                | Self::Opaque
                | Self::Unsteady
                | Self::Hosted(_)
        )
    }
}

impl Call {
    /// The output cap that the body as it stands tells a target which honours `field`; `None` if
    /// it is told none, or aliases disagree, so that [`rewrite()`] must say it.
    #[must_use]
    pub fn tells(&self, field: &str) -> Option<u64> {
        let mut told = self.output_caps.iter().filter_map(|cap| cap.tokens);
        let first = told.next()?;
        let agreed = told.all(|tokens| tokens == first);
        (agreed && rewrite::is_told(self, field)).then_some(first)
    }

    /// Ids of the tool calls whose results are in this request, oldest first.
    pub fn answered_tools(&self) -> impl DoubleEndedIterator<Item = Cow<'_, str>> {
        self.ids.answered_tools.iter().filter_map(|at| {
            let escaped = self.body[at.clone()].contains(&b'\\');
            let kind = Kind::String { escaped };
            let at = at.clone();
            Value { kind, at }.text(&self.body)
        })
    }
}

#[cfg(test)]
mod tests;
