//! A call that nobody made, for `bursar route explain`.

use super::ExplainArgs;
use crate::config::{CallKind, Identity, Looks, Side};
use crate::dialect::Dialect;
use crate::gateway::Live;
use crate::gateway::routes::Left;
use crate::stack::route::split;
use crate::units::AgentId;
use std::sync::Arc;

/// Parts per million in one.
const ONE: u64 = 1_000_000;

/// A supposed call.
pub(super) struct Supposed {
    pub(super) identity: Arc<Identity>,
    pub(super) dialect: Dialect,
    pub(super) model: String,
    bare_from: usize,
    owner: String,
    task: String,
    on_behalf_of: Option<String>,
    agent: Option<String>,
    role: Option<String>,
    tools: bool,
    pub(super) context_tokens: u64,
    budget_left: u64,
    near_cap: bool,
}

impl Supposed {
    /// What the arguments say, and what the configuration says of whom they name.
    ///
    /// # Errors
    /// What cannot be supposed, in words.
    pub(super) fn new(args: &ExplainArgs, live: &Live) -> Result<Self, String> {
        let identity = identity(args, live)?;
        let dialects = Dialect::ALL.map(Dialect::name);
        let dialect = Dialect::ALL
            .into_iter()
            .find(|one| one.name() == args.dialect);
        let dialect = dialect.ok_or_else(|| {
            let names = dialects.join(", ");
            format!("`{}` is no dialect; they are {names}", args.dialect)
        })?;
        let own = |text: Option<&str>| text.map(ToOwned::to_owned);
        // What is bound to the key wins, as it does in a call.
        let agent = own(identity.agent.as_ref().map(|agent| agent.as_str()));
        let agent = agent.or_else(|| args.agent.clone());
        let role = own(identity.role.as_ref().map(|role| role.as_str()));
        let role = role.or_else(|| args.role.clone()).or_else(|| {
            let agent = AgentId::from(agent.clone()?);
            own(live.role_of(&agent).map(|role| role.as_str()))
        });
        let bare = split(live, &args.model).map_or(args.model.as_str(), |(_, bare)| bare);
        Ok(Self {
            bare_from: args.model.len() - bare.len(),
            model: args.model.clone(),
            owner: args
                .owner
                .clone()
                .unwrap_or_else(|| identity.owner.as_str().to_owned()),
            task: args.task.clone().unwrap_or_else(|| "-".to_owned()),
            on_behalf_of: args.on_behalf_of.clone(),
            agent,
            role,
            tools: args.tools,
            context_tokens: args.context_tokens,
            near_cap: args.near_cap,
            budget_left: share(args.budget_left.as_deref().unwrap_or("1"))?,
            identity,
            dialect,
        })
    }
}

impl Supposed {
    /// What is left of its budgets.
    pub(super) const fn left(&self) -> Left {
        Left {
            share: self.budget_left,
            is_near: self.near_cap,
        }
    }
}

fn identity(args: &ExplainArgs, live: &Live) -> Result<Arc<Identity>, String> {
    let known = &live.loaded.identities;
    let Some(name) = &args.identity else {
        let mut all = known.iter();
        return match (all.next(), all.next()) {
            (Some(only), None) => Ok(Arc::clone(only)),
            _ => Ok(known.local()),
        };
    };
    let found = known.iter().find(|identity| identity.name.as_str() == name);
    found
        .cloned()
        .ok_or_else(|| format!("there is no identity `{name}`"))
}

/// A share of one, in parts per million.
fn share(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no share of a budget such as 0.2");
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = format!("{whole}{part:0<6}");
    if part.len() > 6 || whole.is_empty() {
        return Err(wrong());
    }
    let share: u64 = digits.parse().map_err(|_| wrong())?;
    (share <= ONE).then_some(share).ok_or_else(wrong)
}

impl Looks for Supposed {
    fn text(&self, side: Side) -> Option<&str> {
        match side {
            Side::Owner => Some(&self.owner),
            Side::Identity => Some(self.identity.name.as_str()),
            Side::OnBehalfOf => self.on_behalf_of.as_deref(),
            Side::Task => Some(&self.task),
            Side::Agent => self.agent.as_deref(),
            Side::Role => self.role.as_deref(),
            Side::Model => Some(&self.model),
            Side::Dialect => Some(self.dialect.name()),
            Side::Provider | Side::Tool => None,
        }
    }

    fn bare_model(&self) -> &str {
        &self.model[self.bare_from..]
    }

    fn kind(&self) -> CallKind {
        CallKind::of(self.dialect)
    }

    fn has_tools(&self) -> bool {
        self.tools
    }

    fn context_tokens(&self, _: u64) -> u64 {
        self.context_tokens
    }

    fn budget_left(&self) -> Option<u64> {
        Some(self.budget_left)
    }
}
