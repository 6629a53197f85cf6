//! A call as routes look at it. What takes work is worked out when some route asks, and once.

use super::{Asked, split};
use crate::attribution::Source;
use crate::config::{CallKind, Looks, Miss, Side};
use crate::gateway::routes::Route;
use crate::tokens;
use foldhash::quality::FixedState;
use std::cell::Cell;
use std::hash::BuildHasher;

/// So that whatever is drawn for a task is drawn again after a restart.
const SEED: u64 = 0x0070_7572_7365_7321;

/// One call before the routes.
pub(super) struct Looked<'a> {
    asked: &'a Asked<'a>,
    bare: &'a str,
    budget_left: Option<u64>,
    /// The size that was found, and from which number on it is exact.
    size: Cell<Option<(u64, u64)>>,
}

/// What a route does with a call.
pub(super) enum Look {
    /// It takes it.
    Takes,
    /// The next may.
    Passes,
    /// That depends on what is left of the call's budget.
    NeedsBudget,
}

impl<'a> Looked<'a> {
    pub(super) fn new(asked: &'a Asked<'a>, budget_left: Option<u64>) -> Self {
        let split = split(asked.live, asked.model);
        Self {
            bare: split.map_or(asked.model, |(_, model)| model),
            asked,
            budget_left,
            size: Cell::default(),
        }
    }

    pub(super) fn at(&self, route: &Route) -> Look {
        match route.rule.matches.look(self) {
            Ok(()) => Look::Takes,
            Err(Miss::BudgetUnknown) => Look::NeedsBudget,
            Err(_) => Look::Passes,
        }
    }

    /// The number that weights are drawn by: the same for all calls of a task, so that its agents stay
    /// on one model and its prompts in one cache; for calls of no task, the same for a conversation.
    pub(super) fn drawn(&self, route: &Route) -> u64 {
        let Asked {
            attribution, call, ..
        } = self.asked;
        let state = FixedState::with_seed(SEED);
        let name = &*route.rule.name;
        let owner = attribution.owner.as_str();
        match attribution.is_unattributed() {
            true => state.hash_one((name, owner, call.chain.root)),
            false => state.hash_one((name, owner, attribution.task.value.as_str())),
        }
    }

    pub(super) const fn bare_model(&self) -> &'a str {
        self.bare
    }
}

impl Looks for Looked<'_> {
    fn text(&self, side: Side) -> Option<&str> {
        let Asked {
            attribution: whose,
            call,
            model,
            ..
        } = self.asked;
        match side {
            Side::Owner => Some(whose.owner.as_str()),
            Side::Identity => Some(whose.identity.as_str()),
            // A `user` of the body is recorded, not trusted.
            Side::OnBehalfOf => (whose.on_behalf_of.as_ref())
                .filter(|person| person.source != Source::Body)
                .map(|person| person.value.as_str()),
            Side::Task => Some(whose.task.value.as_str()),
            Side::Agent => whose.agent.as_ref().map(|agent| agent.value.as_str()),
            Side::Role => whose.role.as_ref().map(|role| role.value.as_str()),
            Side::Model => Some(model),
            Side::Dialect => Some(call.dialect.name()),
            Side::Provider | Side::Tool => None,
        }
    }

    fn bare_model(&self) -> &str {
        self.bare
    }

    fn kind(&self) -> CallKind {
        CallKind::of(self.asked.call.dialect)
    }

    fn has_tools(&self) -> bool {
        let prompt = &self.asked.call.prompt;
        prompt.tools > 0 || prompt.builtin_tools > 0 || !prompt.hosted_tools.is_empty()
    }

    fn context_tokens(&self, least: u64) -> u64 {
        if let Some((size, exact_from)) = self.size.get()
            && exact_from <= least
        {
            return size;
        }
        let Asked {
            gateway,
            attribution,
            call,
            ..
        } = self.asked;
        // What a previous answer stands for is not in the body.
        let previous = call.ids.previous_response.as_deref();
        let previous = previous.and_then(|id| gateway.answers.find(&attribution.owner, id));
        let previous = previous.map_or(0, |handed| handed.tokens);
        let size = tokens::size(call, least.saturating_sub(previous)).saturating_add(previous);
        self.size.set(Some((size, least)));
        size
    }

    fn budget_left(&self) -> Option<u64> {
        self.budget_left
    }
}
