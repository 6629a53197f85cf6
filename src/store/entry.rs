//! What the journal's rows say. Each kind has a body, written as JSON without spaces, its keys in
//! the order of the struct; that text is what the chain hashes and is never written again.
//!
//! **Invariant:** every change of `settled`, `in_doubt` and `topped_up` is in some row, so that the
//! balances can be rebuilt from the journal ([`super::read`] does so when it verifies).

mod body;
mod call;
mod escalation;

pub use body::{
    AccountBody, CapsBody, CheckpointBody, CrashBody, DoubtBody, KeyBody, MarkBody, NoteBody,
    StartBody, StopBody, Sums, SwitchBody, TaskBody, Text, TopUpBody,
};

pub use call::CallBody;
pub use escalation::{AnsweredBody, AskedBody, DecisionBody, QuestionBody, WhoseBody};

use super::CallEntry;
use crate::units::{Amounts, Meter, NanoUsd};
use std::sync::Arc;

/// What is posted to a reserved [`super::Place`].
#[derive(Clone, Debug)]
pub enum Entry {
    /// A call's end (or refusal).
    Call(Box<CallEntry>),
    /// Usage that arrived after a call ended in doubt.
    Evidence(Box<Evidence>),
    /// Something else that an auditor wants to see.
    Note(Box<Note>),
    /// A remark about an agent of a task.
    Mark(Box<Mark>),
}

/// A remark about an agent of a task: it stands in the task's audit story.
#[derive(Clone, Debug)]
pub struct Mark {
    /// The task.
    pub task: crate::units::TaskKey,
    /// The rule that made it: `malformed`, `failures`.
    pub rule: Arc<str>,
    /// The agent, if it has a name.
    pub agent: Option<Arc<str>>,
    /// Who received what that agent handed on.
    pub received_by: Option<Arc<str>>,
    /// More, in words. Never a secret or a prompt.
    pub detail: Arc<str>,
    /// The calls it is about, by `x-bursar-request-id`.
    pub calls: Vec<Arc<str>>,
}

/// A remark of the gateway itself.
#[derive(Clone, Debug)]
pub struct Note {
    /// What happened.
    pub what: NoteKind,
    /// Who did it: an identity, an operator, `gateway`.
    pub by: Arc<str>,
    /// To what: a key's name, a file, a setting.
    pub subject: Arc<str>,
    /// More, in words. Never a secret or a prompt.
    pub detail: Arc<str>,
}

/// A row of a task's story beside its calls, owned: a question, an answer, a remark about an agent.
#[derive(Clone, Debug)]
pub struct StoryRow {
    /// Its number.
    pub seq: i64,
    /// Its time.
    pub at: crate::units::UnixMs,
    /// Its kind.
    pub kind: Kind,
    /// Its entry.
    pub entry: String,
}

/// What a note is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteKind {
    /// The configuration was read again.
    Reload,
    /// A key was made, used after its end, or revoked.
    Key,
    /// An operator's act with no row of its own.
    Admin,
    /// A named fail-open setting was used.
    FailOpen,
    /// Something that wants a person's eye, such as an overrun.
    Alarm,
    /// A conversation was trimmed.
    Trim,
}

/// Which call evidence is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvidenceKey {
    /// By `x-bursar-request-id`.
    Request(Arc<str>),
    /// By the answer's own id.
    Answer(Arc<str>),
}

/// What a provider says about a call. What it does not say is settled as it was doubted.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// Which call.
    pub key: EvidenceKey,
    /// What it cost.
    pub usd: Option<NanoUsd>,
    /// Its input tokens.
    pub input_tokens: Option<u64>,
    /// Its output tokens.
    pub output_tokens: Option<u64>,
}

impl Evidence {
    /// What of `doubted` was spent, in this light.
    pub(super) fn actual(&self, doubted: &Amounts) -> Amounts {
        let mut actual = *doubted;
        if let Some(usd) = self.usd {
            actual[Meter::Usd] = usd.0;
        }
        if let Some(input) = self.input_tokens {
            actual[Meter::InputTokens] = input;
        }
        if let Some(output) = self.output_tokens {
            actual[Meter::OutputTokens] = output;
        }
        if self.input_tokens.is_some() || self.output_tokens.is_some() {
            actual[Meter::Tokens] =
                actual[Meter::InputTokens].saturating_add(actual[Meter::OutputTokens]);
            actual[Meter::FreshTokens] = actual[Meter::FreshTokens].min(actual[Meter::Tokens]);
        }
        actual
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal;)*) => {
        /// What a journal row is about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind { $($(#[$doc])* $kind,)* }

        impl Kind {
            /// The word in the row's `kind`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            /// The kind of that name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$kind),)* _ => None }
            }
        }
    };
}

kinds! {
    /// A call's end: [`CallBody`].
    Call = "call";
    /// A task was seen for the first time: [`TaskBody`].
    TaskOpened = "task_opened";
    /// A task's state or caps changed: [`TaskBody`].
    TaskChanged = "task_changed";
    /// A person is asked: [`AskedBody`].
    EscalationOpened = "escalation_opened";
    /// The question was answered, or nobody did: [`AnsweredBody`].
    EscalationEnded = "escalation_ended";
    /// A stop button: [`SwitchBody`].
    Switch = "switch";
    /// An account opened, perhaps with a seed: [`AccountBody`].
    Account = "account";
    /// An account seeded again, for its limit was away: [`AccountBody`].
    Seed = "seed";
    /// A cap raised: [`TopUpBody`].
    TopUp = "top_up";
    /// A top-up that had an end was taken back: [`TopUpBody`].
    TopUpEnded = "top_up_ended";
    /// The unproven part of an allotment after a crash: [`CrashBody`].
    Crash = "crash";
    /// Doubt released by a person: [`DoubtBody`].
    Release = "release";
    /// Doubt ended by evidence: [`DoubtBody`].
    Reconcile = "reconcile";
    /// The gateway started: [`StartBody`].
    Started = "started";
    /// It stopped in good order: [`StopBody`].
    Stopped = "stopped";
    /// Older rows left the table: [`CheckpointBody`].
    Checkpoint = "checkpoint";
    /// [`NoteKind::Reload`].
    Reload = "reload";
    /// [`NoteKind::Key`].
    Key = "key";
    /// [`NoteKind::Admin`].
    Admin = "admin";
    /// [`NoteKind::FailOpen`].
    FailOpen = "fail_open";
    /// [`NoteKind::Alarm`].
    Alarm = "alarm";
    /// A remark about an agent of a task: [`MarkBody`].
    Mark = "mark";
    /// [`NoteKind::Trim`].
    Trim = "trim";
}

impl NoteKind {
    /// The kind of its row.
    pub(super) const fn kind(self) -> Kind {
        match self {
            Self::Reload => Kind::Reload,
            Self::Key => Kind::Key,
            Self::Admin => Kind::Admin,
            Self::FailOpen => Kind::FailOpen,
            Self::Alarm => Kind::Alarm,
            Self::Trim => Kind::Trim,
        }
    }
}
