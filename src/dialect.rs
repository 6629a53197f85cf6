//! The wire formats: what a request says ([`Call`]), what an answer cost ([`Usage`], [`Answer`]),
//! and how to say no in the caller's own dialect. One file per format in `dialect/`.

pub mod answer;
pub mod content;
mod gemini;
pub mod refusal;
pub mod translate;

use crate::conversation::Media;
use bytes::Bytes;
use std::ops::Range;

pub mod request;
pub mod said;

pub use request::{DecodeError, decode, decode_for, rewrite, takes_notice};

/// One wire format of a metered endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// `POST /v1/chat/completions`
    OpenaiChat,
    /// `POST /v1/responses`
    OpenaiResponses,
    /// `POST /v1/embeddings`
    OpenaiEmbeddings,
    /// `POST /v1/completions`
    OpenaiCompletions,
    /// `POST /v1/messages`
    AnthropicMessages,
    /// `POST /v1beta/models/MODEL:generateContent`: of targets only. Model and stream stand in the path.
    Gemini,
    /// `POST /model/MODEL/converse` of Amazon Bedrock: of targets only. Model and stream stand in the path.
    Bedrock,
}

impl Dialect {
    /// Every dialect.
    pub const ALL: [Self; 7] = [
        Self::OpenaiChat,
        Self::OpenaiResponses,
        Self::OpenaiEmbeddings,
        Self::OpenaiCompletions,
        Self::AnthropicMessages,
        Self::Gemini,
        Self::Bedrock,
    ];

    /// The name in configuration, the journal and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenaiChat => "openai-chat",
            Self::OpenaiResponses => "openai-responses",
            Self::OpenaiEmbeddings => "openai-embeddings",
            Self::OpenaiCompletions => "openai-completions",
            Self::AnthropicMessages => "anthropic-messages",
            Self::Gemini => "gemini",
            Self::Bedrock => "bedrock",
        }
    }

    /// Callers may speak it to the gateway; the others are spoken to providers alone.
    #[must_use]
    pub const fn comes(self) -> bool {
        !matches!(self, Self::Gemini | Self::Bedrock)
    }

    /// The body says neither the model nor whether the answer is streamed: the path does.
    #[must_use]
    pub const fn is_named_by_path(self) -> bool {
        matches!(self, Self::Gemini | Self::Bedrock)
    }

    /// Embeddings are no turns; everything else is a generation.
    #[must_use]
    pub const fn generates(self) -> bool {
        !matches!(self, Self::OpenaiEmbeddings)
    }
}

/// What a request says, found by byte range in a body that is not copied.
#[derive(Clone, Debug)]
pub struct Call {
    /// The format it is in.
    pub dialect: Dialect,
    /// The body as it came (decoded from any content encoding).
    pub body: Bytes,
    /// The model's name, unescaped.
    pub model: String,
    /// The byte range of the model's JSON string, quotes included. Where the path names the model it
    /// may be empty, or that of a null.
    pub model_at: Range<usize>,
    /// `"stream": true`.
    pub stream: bool,
    /// The caller itself asked for usage in the stream (always true where the dialect always sends it).
    pub usage_asked: bool,
    /// The output cap the caller named: the smallest of its aliases. Whether the target is told so
    /// by the body as it stands is another question: see [`Call::tells`].
    pub asked_output: Option<u64>,
    /// Every output-cap field present, nulls included.
    pub output_caps: Vec<OutputCap>,
    /// max(`n`, `best_of`) × number of prompts: how many outputs are produced.
    pub outputs: u64,
    /// Anthropic's `thinking.budget_tokens`.
    pub thinking_budget: Option<u64>,
    /// The output cannot be clamped (predicted outputs).
    pub unclampable: bool,
    /// Bytes of predicted output: rejected ones are billed as output on top, at most a token a byte.
    pub predicted_bytes: u64,
    /// `background: true`.
    pub background: bool,
    /// What enters the prompt, for the bound on input tokens.
    pub prompt: Prompt,
    /// Fields that select a price.
    pub selectors: Selectors,
    /// Ids found in the body.
    pub ids: BodyIds,
    /// Top-level fields that this dialect's table does not list; at most
    /// [`request::UNLISTED_MAX`] of them.
    pub unlisted: Vec<String>,
    /// The conversation's digests: `d0`, then one per message.
    pub chain: crate::conversation::Chain,
    /// Where [`rewrite`] finds what it changes.
    pub places: Places,
}

/// One output-cap field of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputCap {
    /// The field.
    pub name: &'static str,
    /// The range of its value.
    pub at: Range<usize>,
    /// Its value; `None` for null.
    pub tokens: Option<u64>,
}

/// Byte ranges of what may have to be changed.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Just behind the body's opening brace: where members are put in.
    pub members: usize,
    /// The last byte of the messages (the array's bracket) or of the only message, exclusive.
    pub messages_end: usize,
    /// The value of `stream_options`, null included.
    pub stream_options: Option<Range<usize>>,
    /// The value of `stream_options.include_usage`.
    pub include_usage: Option<Range<usize>>,
    /// The value of `parallel_tool_calls`.
    pub parallel_tool_calls: Option<Range<usize>>,
    /// The value of `tool_choice`, null included.
    pub tool_choice: Option<Range<usize>>,
    /// The value of Anthropic's `tool_choice.disable_parallel_tool_use`.
    pub disable_parallel: Option<Range<usize>>,
    /// `tool_choice` names a kind that knows of parallel calls (not `none`).
    pub tool_choice_open: bool,
    /// Just behind the opening brace of Gemini's `generationConfig`, where its output cap is put in,
    /// and whether nothing else stands in it.
    pub generation: Option<(usize, bool)>,
    /// `tools` is there and not empty: without it, servers refuse fields about parallel calls.
    pub has_tools: bool,
    /// The value of `tools`, or of the older `functions`; empty if there is neither.
    pub tools: Range<usize>,
    /// `tools` and `functions` are both there.
    pub tools_twice: bool,
    /// The value of the field that asks for a form of answer: `response_format`, `text`,
    /// `output_config` or `output_format`; empty if there is none.
    pub answer_form: Range<usize>,
    /// Anthropic's `output_config.task_budget`.
    pub task_budget: Option<Box<TaskBudget>>,
}

/// A budget of tokens that the caller tells the model of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskBudget {
    /// The object.
    pub at: Range<usize>,
    /// The value of its `remaining`, null included.
    pub remaining: Option<Range<usize>>,
    /// What it says is left: `remaining`, or else `total`.
    pub tokens: u64,
}

/// What enters the prompt.
#[derive(Clone, Debug, Default)]
pub struct Prompt {
    /// Bytes of literal text: the body's length but for media payloads, so an upper bound.
    pub text_bytes: u64,
    /// Messages or input items.
    pub messages: u64,
    /// Tool declarations (functions and hosted ones).
    pub tools: u64,
    /// The longest tool declaration, in bytes.
    pub longest_tool_bytes: u64,
    /// Tools among them that the request only names and the provider describes to the model itself.
    pub builtin_tools: u64,
    /// What of other than literal text there is.
    pub media: Media,
    /// Inline payloads of images, files and audio, quotes included.
    pub payloads: Vec<Range<usize>>,
    /// `$ref`s in tool or answer schemas: such a schema can grow when it is rendered.
    pub schema_refs: u64,
    /// Something enters the prompt that cannot be seen from here: what `stored` and
    /// `previous_response` name, or something `opaque`.
    pub unseen: bool,
    /// Ids of items that the provider has stored and will put into the prompt. A bound exists if
    /// Bursar recorded the size of each, and of `previous_response`.
    pub stored: Vec<String>,
    /// Something enters the prompt that not even an id of ours bounds (prompt templates,
    /// conversations, MCP servers, skills).
    pub opaque: bool,
    /// The same messages take the same tokens again, so that a count of a prefix holds for longer
    /// ones. Not so where the provider rewrites the context (compaction, automatic truncation).
    pub steady: bool,
    /// A response format or schema is asked for.
    pub structured: bool,
    /// Hosted tools (web search, code interpreter …): name and the bound on uses, if one was given.
    pub hosted_tools: Vec<(String, Option<u64>)>,
    /// Bytes of system blocks that differ from call to call of one conversation (a client's own
    /// version mark): not in `frame`, so they come on top of a known count.
    pub volatile_bytes: u64,
    /// A keyed digest of every prompt-entering field outside the messages.
    pub frame: u128,
}

/// Fields of the request that can change the price.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selectors {
    /// `service_tier`, as asked.
    pub service_tier: Option<String>,
    /// Anthropic's `speed` (`fast`).
    pub speed: Option<String>,
    /// Anthropic's `inference_geo`.
    pub inference_geo: Option<String>,
    /// Some `cache_control` asks for a five-minute write (also the automatic kind), or some cache
    /// option of OpenAI's for its short term.
    pub cache_write_5m: bool,
    /// Some `cache_control` asks for a one-hour write, or some cache option of OpenAI's for its
    /// long term.
    pub cache_write_1h: bool,
    /// Audio output is asked for (`modalities`).
    pub audio_output: bool,
    /// Image output is asked for.
    pub image_output: bool,
    /// Other price-changing fields that were found and must be priced or refused (`context_management`
    /// compaction, fallback models, advisor tools …), by name.
    pub surcharges: Vec<String>,
}

/// Ids that frameworks put into bodies, with the ranges of those that the target would reject.
#[derive(Clone, Debug, Default)]
pub struct BodyIds {
    /// `metadata.user_task_id`
    pub task: Option<String>,
    /// The session inside Anthropic's `metadata.user_id`.
    pub session: Option<String>,
    /// `metadata.agent_id`
    pub agent: Option<String>,
    /// `metadata.agent_role`
    pub role: Option<String>,
    /// `user` or `safety_identifier`: recorded, not trusted.
    pub user: Option<String>,
    /// `previous_response_id`, or the `previous_message_id` of a `thread`.
    pub previous_response: Option<String>,
    /// `thread`: the provider keeps the conversation, and the next call goes on by this answer's id.
    pub is_thread: bool,
    /// Ranges (member with its comma) of metadata members to splice out for targets that reject them.
    pub foreign: Vec<Range<usize>>,
    /// Tool-call ids whose results are in this request, as ranges of JSON strings, oldest first:
    /// see [`Call::answered_tools`].
    pub answered_tools: Vec<Range<usize>>,
}

/// What to change in a body before it leaves. Nothing set: the very same bytes leave.
#[derive(Clone, Debug, Default)]
pub struct Edits {
    /// The target's own model name.
    pub model: Option<String>,
    /// Set every output cap present, or add the field named, to this number.
    pub output_cap: Option<(&'static str, u64)>,
    /// The target hears this output-cap field alone: another one takes its name.
    pub only_cap: Option<&'static str>,
    /// Tell a router the dearest input and output that it may choose, in nano-dollars per million tokens.
    pub max_price: Option<[crate::units::NanoUsd; 2]>,
    /// Ask for usage in the stream.
    pub include_usage: bool,
    /// Switch parallel tool calls off where the dialect can.
    pub no_parallel_tools: bool,
    /// Take the foreign metadata out.
    pub strip_foreign: bool,
    /// Say this to the model, behind the last message: what stands before it stays as it is, so that
    /// prompt caches hold. See [`request::takes_notice`].
    pub notice: Option<String>,
    /// Tools are declared and must not be used.
    pub no_tools: bool,
    /// The model's task budget has so many tokens left.
    pub task_budget: Option<u64>,
}

/// Token counts of one answer, normalised so that no token stands in two fields.
///
/// Sources differ: OpenAI's cached tokens lie inside `prompt_tokens`, Anthropic's outside
/// `input_tokens`; Gemini's thoughts lie outside candidates, xAI's reasoning outside completion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Text input, neither cached nor written to a cache.
    pub input: u64,
    /// Read from a cache.
    pub cache_read: u64,
    /// Written for five minutes (or for the provider's only term).
    pub cache_write_5m: u64,
    /// Written for an hour.
    pub cache_write_1h: u64,
    /// Audio input, uncached.
    pub audio_input: u64,
    /// Audio input read from a cache.
    pub audio_cache_read: u64,
    /// Image input where it is priced apart.
    pub image_input: u64,
    /// Text output, reasoning included.
    pub output: u64,
    /// The part of `output` that was reasoning (information; priced apart only where the card says so).
    pub reasoning: u64,
    /// Audio output.
    pub audio_output: u64,
    /// Image output.
    pub image_output: u64,
    /// Hosted-tool uses that have a fee, by name: `web_search` …
    pub fees: Vec<(String, u64)>,
    /// The tier that the answer says it was served at.
    pub service_tier: Option<String>,
    /// The speed the answer says it was served at.
    pub speed: Option<String>,
    /// Where the answer says it was served (`us` has a surcharge at some).
    pub inference_geo: Option<String>,
    /// The cost in nano-dollars that the provider itself states. It wins over any price list.
    pub stated_cost: Option<crate::units::NanoUsd>,
    /// Further usage billed at other models' prices (`usage.iterations` and the like): model and usage.
    pub others: Vec<(Option<String>, Usage)>,
}

impl Usage {
    /// All input tokens.
    #[must_use]
    pub fn all_input(&self) -> u64 {
        let own = self.input
            + self.cache_read
            + self.cache_write_5m
            + self.cache_write_1h
            + self.audio_input
            + self.audio_cache_read
            + self.image_input;
        own + self
            .others
            .iter()
            .map(|(_, usage)| usage.all_input())
            .sum::<u64>()
    }

    /// All output tokens.
    #[must_use]
    pub fn all_output(&self) -> u64 {
        let own = self.output + self.audio_output + self.image_output;
        own + self
            .others
            .iter()
            .map(|(_, usage)| usage.all_output())
            .sum::<u64>()
    }
}

/// What an answer said, once it is over.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The usage it reported, if any was plausible to read.
    pub usage: Option<Usage>,
    /// A complete answer, or the dialect's terminal event was seen.
    pub complete: bool,
    /// An error event in a 200.
    pub error: Option<String>,
    /// Bytes of visible output: text, tool arguments, refusals, visible reasoning.
    pub visible_bytes: u64,
    /// Tool calls asked for: id and name, each id once.
    pub tool_calls: Vec<(String, String)>,
    /// The model that the answer names.
    pub model: Option<String>,
    /// The answer's own id (`resp_…`, `msg_…`, `chatcmpl-…`).
    pub id: Option<String>,
    /// Why it stopped, as the dialect says it.
    pub finish: Option<String>,
    /// The `output` of an `openai-responses` answer as it stands: the next call may name it by the answer's
    /// id rather than repeat it. `None` if it is longer than [`answer::OUTPUT_BYTES_MAX`].
    pub output: Option<Box<[u8]>>,
    /// What was kept of it for a check of its form.
    pub given: Option<Box<answer::Given>>,
}
