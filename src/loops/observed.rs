//! What the detection is told: one call at a time, with what is new in it.
//!
//! Where an answer is not echoed by the next request (`previous_response_id`), whoever tells must put
//! the answer in front of its results: a turn begins with what the model said.

/// One call of an agent, with what is new in it since the agent's call before.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// The number, within the task, of the call whose answer the new messages begin with; evidence
    /// names it.
    pub call: u64,
    /// Whose call it is.
    pub agent: &'a str,
    /// Which of the agent's conversations it belongs to, by any number that stays the same while the
    /// conversation goes on. Five researchers at once may all begin with the same search.
    pub line: u64,
    /// The new messages, in order: the agent's own answer, what came of it, what was said since.
    pub messages: &'a [Message<'a>],
    /// The work that this agent handed to another, if it did.
    pub handoff: Option<Handoff<'a>>,
    /// What traffic says about why the call was made.
    pub circumstance: Circumstance,
    /// A digest of the whole conversation up to and with the new messages: a replay is known by it.
    pub chain: Option<u64>,
    /// How large the conversation has become.
    pub context: Option<Context>,
}

/// One new message.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Who wrote it.
    pub role: Role,
    /// Its text; empty if it has none.
    pub text: &'a str,
    /// The tools it asks for.
    pub tools: &'a [ToolCall<'a>],
    /// The message's `name`. In a history that agents share, an answer under another name than the
    /// agent's own is something that the agent was told.
    pub name: Option<&'a str>,
    /// A digest of what is no text (a screenshot, a file); 0 if there is none.
    pub media: u64,
}

/// Who wrote a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The model.
    Assistant,
    /// A tool.
    Tool,
    /// A person, or machinery that writes user messages.
    User,
    /// The framework: system and developer messages.
    Other,
}

/// One tool call that an answer asked for.
#[derive(Clone, Copy, Debug)]
pub struct ToolCall<'a> {
    /// The tool.
    pub name: &'a str,
    /// The arguments as the model wrote them: JSON, as a rule.
    pub arguments: &'a str,
}

/// Work that goes from the calling agent to another.
#[derive(Clone, Copy, Debug)]
pub struct Handoff<'a> {
    /// Who gets it.
    pub to: &'a str,
    /// What is asked.
    pub text: &'a str,
}

/// What traffic says about why a call was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Circumstance {
    /// Nothing out of the ordinary.
    #[default]
    Fresh,
    /// The same request again after an answer that failed, or marked as a retry by the SDK.
    Retry,
    /// The same request as another that is in flight: self-consistency, best of N.
    Twin,
    /// It had no answer: nothing was done.
    Failed,
}

/// How large a conversation is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// The conversation, in bytes, as far as what was added explains it.
    pub bytes: u64,
    /// The whole of the call's messages, in bytes.
    pub whole_bytes: u64,
    /// It is the first call of an invocation.
    pub first: bool,
    /// Of these, those that stand in the parent's conversation, in bytes.
    pub inherited_bytes: u64,
}
