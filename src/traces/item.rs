//! What is exported: spans as they are kept until they are written.

use super::content::{Content, ToolContent};
use crate::attribution::Attribution;
use crate::dialect::content::Answered;
use crate::dialect::{Dialect, Usage};
use crate::gateway::Provider;
use crate::store::Ending;
use crate::units::{Amounts, NanoUsd, RequestId, TraceIds};
use smallvec::SmallVec;
use std::sync::Arc;

/// Nanoseconds since the Unix epoch.
pub type UnixNs = u64;

/// Which trace a span belongs to, and whether that is exported: `None` where nobody outside has decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Belongs {
    /// The trace.
    pub trace: u128,
    /// The caller's decision.
    pub sampled: Option<bool>,
}

/// Something to be exported.
pub enum Item {
    /// A call and its attempts.
    Call(Box<CallData>),
    /// An agent's stay.
    Stay(Box<StaySpan>),
    /// A task.
    Task(Box<TaskSpan>),
    /// A tool at work.
    Tool(Box<ToolSpan>),
}

/// Something that happened at one moment.
#[derive(Debug)]
pub struct Event {
    /// When.
    pub at: UnixNs,
    /// What, below `bursar.`.
    pub name: &'static str,
    /// More of it.
    pub more: SmallVec<[(&'static str, Said); 3]>,
}

/// A value of an event.
#[derive(Clone, Debug)]
pub enum Said {
    /// A text.
    Text(Arc<str>),
    /// A number.
    Number(u64),
    /// Money.
    Usd(NanoUsd),
}

/// A call.
pub struct CallData {
    /// Its trace and its span.
    pub ids: TraceIds,
    /// Whether its trace is exported.
    pub sampled: Option<bool>,
    /// The span that it stands below.
    pub parent: Option<u64>,
    /// The root of its task, where that is in another trace.
    pub link: Option<(u128, u64)>,
    /// Whose it is.
    pub whose: Arc<Attribution>,
    /// `x-bursar-request-id`
    pub request: RequestId,
    /// What the caller calls its session.
    pub session: Option<Arc<str>>,
    /// What vendors keep of the trace.
    pub state: Option<Arc<str>>,
    /// The caller's dialect.
    pub dialect: Dialect,
    /// The model that was asked for.
    pub model: Arc<str>,
    /// A stream was asked for.
    pub stream: bool,
    /// The output cap that was asked for.
    pub max_tokens: Option<u64>,
    /// It is the gateway's own.
    pub aside: bool,
    /// When its head was read.
    pub started: UnixNs,
    /// When it was over.
    pub ended: UnixNs,
    /// The tries.
    pub attempts: SmallVec<[Attempt; 1]>,
    /// What happened.
    pub events: Vec<Event>,
    /// A record ends it.
    pub departed: bool,
    /// What it came to.
    pub ended_as: Option<EndedAs>,
    /// The refusal.
    pub refused: Option<RefusedAs>,
    /// Another target is asked beside the first one.
    pub is_racing: bool,
    /// Of asks that did not end it.
    pub beside: Beside,
    /// How the last ask ended that another was to follow: how the call ends if none does.
    pub last: Option<Box<EndedAs>>,
    /// Where it is counted.
    pub joined: Option<Joined>,
    /// What it says, where an exporter asks for that.
    pub content: Option<Box<Content>>,
}

/// A task that a call has joined.
#[derive(Clone, Copy, Debug)]
pub struct Joined {
    /// The task.
    pub task: u128,
    /// The span of the agent's stay.
    pub stay: Option<u64>,
    /// The span that tools of the call stand below; none where the caller traces them itself.
    pub tools: Option<u64>,
}

/// What asks of a call came to that did not end it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beside {
    /// Settled.
    pub cost: NanoUsd,
    /// In doubt.
    pub in_doubt: NanoUsd,
}

/// Which ask of a call a try belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// The only one.
    Alone,
    /// The one that another may be asked beside.
    First,
    /// The one beside it.
    Second,
}

/// A try at a provider.
pub struct Attempt {
    /// Its span.
    pub span: u64,
    /// Which ask it belongs to.
    pub lane: Lane,
    /// Where it went.
    pub provider: Arc<Provider>,
    /// The model as that provider names it.
    pub model: Arc<str>,
    /// When it was sent.
    pub started: UnixNs,
    /// When the first piece of a stream came.
    pub first: Option<UnixNs>,
    /// When it was over.
    pub ended: Option<UnixNs>,
    /// The status of its answer.
    pub status: Option<u16>,
    /// Why it came to nothing.
    pub failed: Option<&'static str>,
    /// Another target answered first.
    pub cancelled: bool,
}

impl Attempt {
    /// It is over, once.
    pub fn end(&mut self, now: UnixNs, failed: Option<&'static str>) {
        if self.ended.is_none() {
            self.ended = Some(now);
            self.failed = failed;
        }
    }
}

/// What a call came to.
#[derive(Debug)]
pub struct EndedAs {
    /// How its hold ended.
    pub ending: Ending,
    /// Why, if it is worth a word.
    pub reason: Option<&'static str>,
    /// What it was charged, or what is in doubt.
    pub charged: Amounts,
    /// The tokens that the answer reports.
    pub tokens: Option<Tokens>,
    /// The model that answered.
    pub answered: Option<Arc<str>>,
    /// The answer's id.
    pub answer_id: Option<Arc<str>>,
    /// Why it stopped.
    pub finish: Option<Arc<str>>,
    /// The tools that it asked for: id and name.
    pub tools: Vec<(String, String)>,
    /// The route that chose the target.
    pub route: Option<Arc<str>>,
    /// Dollars left on the tightest account.
    pub left_usd: Option<NanoUsd>,
    /// Turns left.
    pub left_turns: Option<u64>,
    /// Charged beyond the hold.
    pub overrun: NanoUsd,
    /// What the answer says, where an exporter asks for that.
    pub said: Option<Box<Answered>>,
}

impl EndedAs {
    /// Why it came to nothing, if it did.
    #[must_use]
    pub fn failed(&self) -> Option<&'static str> {
        self.reason.filter(|_| self.ending != Ending::Settle)
    }
}

/// Tokens as conventions count them: input and output are all of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tokens {
    /// All input.
    pub input: u64,
    /// Of that, read from a cache.
    pub cache_read: u64,
    /// Of that, written to a cache.
    pub cache_write: u64,
    /// All output.
    pub output: u64,
    /// Of that, reasoning.
    pub reasoning: u64,
}

impl From<&Usage> for Tokens {
    fn from(usage: &Usage) -> Self {
        Self {
            input: usage.all_input(),
            cache_read: usage.cache_read.saturating_add(usage.audio_cache_read),
            cache_write: usage.cache_write_5m.saturating_add(usage.cache_write_1h),
            output: usage.all_output(),
            reasoning: usage.reasoning,
        }
    }
}

/// A refusal of ours.
#[derive(Debug)]
pub struct RefusedAs {
    /// Its code.
    pub code: &'static str,
    /// Its status.
    pub status: u16,
    /// The limit or rule.
    pub limit: Option<Arc<str>>,
}

/// Whose a span is that stands for no single call.
#[derive(Clone, Debug)]
pub struct Tags {
    /// The owner.
    pub owner: Arc<str>,
    /// The task.
    pub task: Arc<str>,
    /// The agent.
    pub agent: Option<Arc<str>>,
    /// Its role.
    pub role: Option<Arc<str>>,
    /// Who called it.
    pub parent: Option<Arc<str>>,
    /// What the caller calls its session.
    pub session: Option<Arc<str>>,
}

/// One stay in an agent.
#[derive(Debug)]
pub struct StaySpan {
    /// Its trace.
    pub belongs: Belongs,
    /// Its span.
    pub span: u64,
    /// The caller's stay, or the task.
    pub parent: u64,
    /// Whose it is.
    pub tags: Tags,
    /// Which stay, where the caller says so.
    pub invocation: Option<Arc<str>>,
    /// From its first call …
    pub started: UnixNs,
    /// … to the end of its last.
    pub ended: UnixNs,
    /// Its calls.
    pub calls: u64,
}

/// A task, or what of it there was between two long rests.
#[derive(Debug)]
pub struct TaskSpan {
    /// Its trace.
    pub belongs: Belongs,
    /// Its span.
    pub span: u64,
    /// The first span of the task, if it is not that.
    pub parent: Option<u64>,
    /// Whose it is.
    pub tags: Tags,
    /// From its first call …
    pub started: UnixNs,
    /// … to the end of its last.
    pub ended: UnixNs,
    /// Its calls.
    pub calls: u64,
    /// Of these, refused ones.
    pub refused: u64,
    /// What they cost together.
    pub cost: NanoUsd,
    /// Their input tokens.
    pub input: u64,
    /// Their output tokens.
    pub output: u64,
    /// Calls of it in other traces.
    pub links: Vec<(u128, u64)>,
    /// What happened.
    pub events: Vec<Event>,
}

/// A tool between the answer that asked for it and the call that brings its result.
#[derive(Debug)]
pub struct ToolSpan {
    /// Its trace.
    pub belongs: Belongs,
    /// Its span.
    pub span: u64,
    /// The agent's stay, or the task.
    pub parent: u64,
    /// Whose it is.
    pub tags: Tags,
    /// Its name.
    pub name: Arc<str>,
    /// The id of the tool call.
    pub id: Arc<str>,
    /// When it was asked for.
    pub started: UnixNs,
    /// When its result came.
    pub ended: UnixNs,
    /// Its result came.
    pub answered: bool,
    /// What it was told and what it gave, where an exporter asks for that.
    pub content: Option<Box<ToolContent>>,
}

impl Item {
    /// Its trace.
    #[must_use]
    pub const fn belongs(&self) -> Belongs {
        match self {
            Self::Call(call) => Belongs {
                trace: call.ids.trace,
                sampled: call.sampled,
            },
            Self::Stay(stay) => stay.belongs,
            Self::Task(task) => task.belongs,
            Self::Tool(tool) => tool.belongs,
        }
    }

    /// How many spans it is.
    #[must_use]
    pub fn spans(&self) -> usize {
        match self {
            Self::Call(call) => 1 + call.attempts.len(),
            Self::Stay(_) | Self::Task(_) | Self::Tool(_) => 1,
        }
    }
}
