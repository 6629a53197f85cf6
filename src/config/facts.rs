//! What limits look at: whose call it is and where it goes. Everything shared, so that an account's
//! key costs reference counts and one allocation.

use super::glob::Globs;
use crate::attribution::{Attribution, Source, Sourced};
use std::sync::Arc;

/// One side of a call that a limit can match or count per.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Whom the identity belongs to.
    Owner,
    /// Who authenticated.
    Identity,
    /// For whom it acts.
    OnBehalfOf,
    /// The unit of work, within its owner.
    Task,
    /// The worker.
    Agent,
    /// Its kind.
    Role,
    /// The model as the provider names it.
    Model,
    /// The provider it goes to.
    Provider,
    /// The wire format; matched, never counted per.
    Dialect,
    /// A tool that an answer asks for.
    Tool,
}

impl Side {
    /// Every side.
    pub const ALL: [Self; 10] = [
        Self::Owner,
        Self::Identity,
        Self::OnBehalfOf,
        Self::Task,
        Self::Agent,
        Self::Role,
        Self::Model,
        Self::Provider,
        Self::Dialect,
        Self::Tool,
    ];

    /// The name in configuration, in account keys and refusals.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Identity => "identity",
            Self::OnBehalfOf => "on_behalf_of",
            Self::Task => "task",
            Self::Agent => "agent",
            Self::Role => "role",
            Self::Model => "model",
            Self::Provider => "provider",
            Self::Dialect => "dialect",
            Self::Tool => "tool",
        }
    }

    /// The side of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|side| side.name() == name)
    }
}

/// One call as limits see it.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Whom the identity belongs to.
    pub owner: Arc<str>,
    /// Who authenticated.
    pub identity: Arc<str>,
    /// The task within the owner.
    pub task: Arc<str>,
    /// For whom the identity acts; only if it may say so.
    pub on_behalf_of: Option<Arc<str>>,
    /// The agent.
    pub agent: Option<Arc<str>>,
    /// Its role.
    pub role: Option<Arc<str>>,
    /// The model as the provider names it.
    pub model: Arc<str>,
    /// The provider.
    pub provider: Arc<str>,
    /// The wire format's name.
    pub dialect: &'static str,
    /// The tool, for the accounts of one tool call only.
    pub tool: Option<Arc<str>>,
    /// The agent comes from a token or key.
    pub agent_trusted: bool,
    /// The role comes from a token or key, or from the policy for an agent that does.
    pub role_trusted: bool,
    /// The task is the owner's `unattributed` one.
    pub unattributed: bool,
}

impl Facts {
    /// The facts of a call that goes to `model` at `provider`.
    #[must_use]
    pub fn new(
        attribution: &Attribution,
        model: Arc<str>,
        provider: Arc<str>,
        dialect: &'static str,
    ) -> Self {
        let trusted = |source: Source| source == Source::Key;
        let agent_trusted = (attribution.agent.as_ref()).is_some_and(|a| trusted(a.source));
        let role_trusted = (attribution.role.as_ref()).is_some_and(|role| {
            trusted(role.source) || (role.source == Source::Policy && agent_trusted)
        });
        // A `user` of the body is recorded, not trusted: whoever writes it could pick its account.
        let said = |said: &&Sourced<_>| said.source != Source::Body;
        let on_behalf_of = attribution.on_behalf_of.as_ref().filter(said);
        Self {
            owner: attribution.owner.shared(),
            identity: attribution.identity.shared(),
            task: attribution.task.value.shared(),
            on_behalf_of: on_behalf_of.map(|person| person.value.shared()),
            agent: attribution.agent.as_ref().map(|a| a.value.shared()),
            role: attribution.role.as_ref().map(|r| r.value.shared()),
            model,
            provider,
            dialect,
            tool: None,
            agent_trusted,
            role_trusted,
            unattributed: attribution.is_unattributed(),
        }
    }

    /// The text on one side, if the call has any there.
    #[must_use]
    pub fn text(&self, side: Side) -> Option<&str> {
        match side {
            Side::Dialect => Some(self.dialect),
            _ => self.shared(side).map(|text| &**text),
        }
    }

    pub(super) const fn shared(&self, side: Side) -> Option<&Arc<str>> {
        match side {
            Side::Owner => Some(&self.owner),
            Side::Identity => Some(&self.identity),
            Side::OnBehalfOf => self.on_behalf_of.as_ref(),
            Side::Task => Some(&self.task),
            Side::Agent => self.agent.as_ref(),
            Side::Role => self.role.as_ref(),
            Side::Model => Some(&self.model),
            Side::Provider => Some(&self.provider),
            Side::Dialect => None,
            Side::Tool => self.tool.as_ref(),
        }
    }

    /// True if the caller only claims what stands on this side.
    #[must_use]
    pub const fn is_claimed(&self, side: Side) -> bool {
        match side {
            Side::Agent => !self.agent_trusted,
            Side::Role => !self.role_trusted,
            _ => false,
        }
    }
}

/// `match = { role = ["a", "b*"], … }`: every side named must match one of its patterns. A side
/// that the call lacks matches nothing. Empty: every call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Match {
    /// The sides named, each once, in the order of [`Side`].
    pub sides: Vec<(Side, Globs)>,
}

impl Match {
    /// Whether the call matches.
    #[must_use]
    pub fn matches(&self, facts: &Facts) -> bool {
        self.sides
            .iter()
            .all(|(side, globs)| facts.text(*side).is_some_and(|text| globs.matches(text)))
    }

    /// Whether the call would match if what it merely claims were something else.
    pub(super) fn matches_unclaimed(&self, facts: &Facts) -> bool {
        self.sides.iter().all(|(side, globs)| {
            facts.is_claimed(*side) || facts.text(*side).is_some_and(|text| globs.matches(text))
        })
    }

    /// The patterns of one side.
    #[must_use]
    pub fn on(&self, side: Side) -> Option<&Globs> {
        let found = self.sides.iter().find(|(named, _)| *named == side);
        found.map(|(_, globs)| globs)
    }
}
