//! Whose call this is: owner, identity, task, agent, role, parent agent, and where each came from.

use crate::inference::Joined;
use crate::units::{AgentId, IdentityName, InvocationId, Owner, Principal, Role, TaskId, TaskKey};

/// Where a field came from. `token` and `key` are trusted; the rest is claimed or inferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The gateway key is bound to it.
    Key,
    /// A Bursar header.
    Header,
    /// The path of the base URL.
    Path,
    /// W3C baggage.
    Baggage,
    /// A header that a framework or another gateway's client sends.
    Foreign,
    /// The body.
    Body,
    /// `previous_response_id` of an answer that this gateway passed on.
    PreviousResponse,
    /// What `[attribution] task_from` adds.
    Configured,
    /// The role configured for that agent.
    Policy,
    /// Inferred: the call's messages begin with those of one seen before, or it goes on in a
    /// conversation that is shared.
    Prefix,
    /// Inferred: the call carries an id that was handed out.
    Echo,
    /// Inferred: the call's message holds an argument of a tool call that is open.
    Argument,
    /// Inferred from the system text and the tools.
    Fingerprint,
    /// Inferred: nothing came before it, so it began a task.
    Orphan,
    /// Nothing said so: the owner's `unattributed` task.
    Unattributed,
}

impl Source {
    /// The word in the journal.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Header => "header",
            Self::Path => "path",
            Self::Baggage => "baggage",
            Self::Foreign => "foreign",
            Self::Body => "body",
            Self::PreviousResponse => "previous_response",
            Self::Configured => "configured",
            Self::Policy => "policy",
            Self::Prefix => "prefix",
            Self::Echo => "echo",
            Self::Argument => "argument",
            Self::Fingerprint => "fingerprint",
            Self::Orphan => "orphan",
            Self::Unattributed => "unattributed",
        }
    }

    /// Nobody said it: it was worked out from what the call holds.
    #[must_use]
    pub const fn is_inferred(self) -> bool {
        matches!(
            self,
            Self::Prefix | Self::Echo | Self::Argument | Self::Fingerprint | Self::Orphan
        )
    }

    /// The source that the journal calls so.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.name() == name)
    }

    const ALL: [Self; 15] = [
        Self::Key,
        Self::Header,
        Self::Path,
        Self::Baggage,
        Self::Foreign,
        Self::Body,
        Self::PreviousResponse,
        Self::Configured,
        Self::Policy,
        Self::Prefix,
        Self::Echo,
        Self::Argument,
        Self::Fingerprint,
        Self::Orphan,
        Self::Unattributed,
    ];
}

/// A value and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sourced<T> {
    /// The value.
    pub value: T,
    /// Its source.
    pub source: Source,
}

/// Whose call this is.
#[derive(Clone, Debug)]
pub struct Attribution {
    /// Whom the identity belongs to.
    pub owner: Owner,
    /// Who authenticated.
    pub identity: IdentityName,
    /// The task; never absent: `unattributed-…` when nothing said so.
    pub task: Sourced<TaskId>,
    /// The agent.
    pub agent: Option<Sourced<AgentId>>,
    /// Its role.
    pub role: Option<Sourced<Role>>,
    /// Which stay in that agent, where something tells its stays apart.
    pub invocation: Option<Sourced<InvocationId>>,
    /// Who called it.
    pub parent: Option<Sourced<AgentId>>,
    /// For whom the identity says it acts, or `user` of the body (recorded, not trusted).
    pub on_behalf_of: Option<Sourced<Principal>>,
    /// Where it was joined to what came before it, if anything was inferred.
    pub joined: Option<Joined>,
}

impl Attribution {
    /// The task within its owner.
    #[must_use]
    pub fn task_key(&self) -> TaskKey {
        TaskKey {
            owner: self.owner.clone(),
            task: self.task.value.clone(),
        }
    }

    /// True when no source named the task.
    #[must_use]
    pub fn is_unattributed(&self) -> bool {
        self.task.source == Source::Unattributed
    }
}
