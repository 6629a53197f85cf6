//! Caps on the context of a single call: `context_tokens` and `handoff_tokens` of a `[[limit]]`.
//!
//! They are no meters: nothing is counted up, no account is kept, and they look at each call by itself
//! whatever the limit counts per.

use super::fault::Fault;
use super::limit::Per;
use super::read::Section;
use super::value;
use crate::ledger::Caps;
use crate::units::LimitName;
use std::sync::Arc;

/// What a limit says about the contexts of the calls that it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContextCaps {
    /// Most input tokens of any call.
    pub context: Option<u64>,
    /// Most input tokens of the first call of an invocation: what an agent may be handed.
    pub handoff: Option<u64>,
    /// What happens to a call beyond them.
    pub then: OnContext,
}

/// What happens to a call whose context is too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnContext {
    /// It is refused with `context_exceeded`.
    Deny,
    /// It is noted, and passes.
    Observe,
    /// Its oldest exchanges are left out.
    Trim,
    /// They are left out, and a model's summary of them stands in their place.
    Summarise,
    /// The model is told, once until the context is small again.
    Nudge,
}

impl OnContext {
    /// Only a context can be met in this way, and no other cap.
    #[must_use]
    pub const fn is_of_contexts(self) -> bool {
        matches!(self, Self::Trim | Self::Summarise | Self::Nudge)
    }

    /// The word in `on_exceed`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Observe => "observe",
            Self::Trim => "trim",
            Self::Summarise => "summarise",
            Self::Nudge => "nudge",
        }
    }
}

/// One cap that a call is under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextRule {
    /// Whose cap it is.
    pub limit: LimitName,
    /// The caps; the tightest of its peers where the call only claims to be whom it matches.
    pub caps: ContextCaps,
    /// Which model summarises.
    pub summarise_with: Option<Arc<str>>,
}

impl ContextCaps {
    /// The cap on a call, and which of the two it is. `enters`: it is the first of its invocation.
    #[must_use]
    pub fn on(&self, enters: bool) -> Option<(&'static str, u64)> {
        let context = self.context.map(|cap| ("context_tokens", cap));
        let handoff = self.handoff.filter(|_| enters);
        match (context, handoff.map(|cap| ("handoff_tokens", cap))) {
            (Some(context), Some(handoff)) if context.1 <= handoff.1 => Some(context),
            (context, handoff) => handoff.or(context),
        }
    }

    /// The least of both.
    #[must_use]
    pub fn least(&self, other: &Self) -> Self {
        let least = |one: Option<u64>, other: Option<u64>| match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Self {
            context: least(self.context, other.context),
            handoff: least(self.handoff, other.handoff),
            then: self.then,
        }
    }
}

/// The smallest cap: below it hardly a system prompt fits.
const LEAST_TOKENS: u64 = 1;

/// Reads the two caps, if there are any. `then` is what `on_exceed` says; `None` if it is nothing that
/// can be done about one call's context.
pub(super) fn read(section: &Section<'_>, then: Option<OnContext>) -> Option<ContextCaps> {
    let count = value::count_in(LEAST_TOKENS, u64::MAX);
    let (context, handoff) = (
        section.get("context_tokens", count),
        section.get("handoff_tokens", count),
    );
    let key = keys().find(|key| section.has(key))?;
    let Some(then) = then else {
        let message = format!(
            "`on_exceed`: `{key}` is about one call, whose cap nobody can raise; write \"deny\", \"trim\", \"summarise\", \"nudge\" or \"observe\""
        );
        section.fault_of("on_exceed", message);
        return None;
    };
    if let (Some(context), Some(handoff)) = (context, handoff)
        && handoff > context
    {
        let message = format!(
            "`handoff_tokens`: {handoff} is more than any call's `context_tokens`, {context}, so it never binds"
        );
        section.fault_of("handoff_tokens", message);
    }
    Some(ContextCaps {
        context,
        handoff,
        then,
    })
}

/// The keys of context caps.
pub(super) fn keys() -> impl Iterator<Item = &'static str> {
    ["context_tokens", "handoff_tokens"].into_iter()
}

/// A context can be trimmed, or the model told of it; nothing else can be met so.
pub(super) fn check_alone(
    section: &Section<'_>,
    caps: &Caps,
    context: Option<&ContextCaps>,
    then: Option<OnContext>,
) {
    let Some(then) = then.filter(|then| then.is_of_contexts()) else {
        return;
    };
    let word = then.name();
    if caps.0.iter().any(Option::is_some) {
        let message = format!(
            "`on_exceed`: \"{word}\" is for `context_tokens` and `handoff_tokens` alone; put the other caps into a limit of their own"
        );
        section.fault_of("on_exceed", message);
    } else if context.is_none() && !keys().any(|key| section.has(key)) {
        let message =
            format!("`on_exceed`: \"{word}\" goes with `context_tokens` or `handoff_tokens`");
        section.fault_of("on_exceed", message);
    }
}

/// Reads which model summarises.
pub(super) fn read_summariser(section: &Section<'_>, then: Option<OnContext>) -> Option<Arc<str>> {
    let model = section.get("summarise_with", value::name);
    match (then, section.has("summarise_with")) {
        (Some(OnContext::Summarise), false) => section.fault_of(
            "on_exceed",
            "`on_exceed`: \"summarise\" needs `summarise_with`, the model that does it, such as \"openai/gpt-4o-mini\"",
        ),
        (Some(OnContext::Summarise), true) | (_, false) => {}
        (_, true) => section.fault_of(
            "summarise_with",
            "`summarise_with` goes with `on_exceed = \"summarise\"`",
        ),
    }
    model.map(Into::into)
}

/// Every model that summarises must be some provider's.
pub(super) fn check_summarisers(
    providers: &[super::Provider],
    policies: &super::Policies,
    faults: &mut Vec<Fault>,
) {
    for limit in policies.limits() {
        let Some(model) = &limit.summarise_with else {
            continue;
        };
        let prefix = model.split_once('/').map(|(prefix, _)| prefix);
        let has = |provider: &super::Provider| {
            prefix == Some(provider.name.as_str())
                || provider.models.is_empty()
                || provider.models.matches(model)
        };
        if !providers.iter().any(has) {
            let message = format!("`summarise_with`: no provider has the model `{model}`");
            faults.push(Fault::at(&limit.place, message));
        }
    }
}

/// Tools are not known before the call.
pub(super) fn check_shape(section: &Section<'_>, of_tools: bool) {
    if let Some(key) = keys().find(|key| of_tools && section.has(key)) {
        section.fault_of(key, format!("`{key}`: a tool has no context"));
    }
}

/// Caps on contexts alone need neither `per` nor a window.
pub(super) fn is_alone(section: &Section<'_>, caps: &Caps) -> bool {
    let nothing_else = caps.0.iter().all(Option::is_none) && !section.has("review_every");
    nothing_else && keys().any(|key| section.has(key))
}

/// What such a limit counts per: a limit that says nothing is per call.
pub(super) fn per_of(per: Per, alone: bool) -> Per {
    match per {
        Per::Sides(sides) if sides.is_empty() && alone => Per::Call,
        per => per,
    }
}
