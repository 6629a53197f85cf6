//! Caps on the context of one call: `context_tokens`, and `handoff_tokens` for the first call of an
//! invocation. Judged before anything is held; a call that is trimmed is quoted as it leaves.
//!
//! The first call of an invocation is one without any answer of a model in it, or the first that an
//! agent makes in a task: by its id, or else by the root of its conversation. Which agents a task has
//! seen is asked of the journal once, so that a restart makes nobody a newcomer who was named; of those
//! without an id nothing can be known over a restart, and they are taken for old.

mod summary;
mod trimming;

use super::wrap_up::NUDGED;
use super::{Admission, bounds};
use crate::config::{ContextRule, OnContext};
use crate::dialect::refusal::{Refusal, Standing};
use crate::dialect::{Call, takes_notice};
use crate::gateway::Gateway;
use crate::gateway::contexts::{Entry, Met};
use crate::stack::Refused;
use crate::stack::upstream::Outgoing;
use crate::stack::watch::Inherited;
use crate::store::{Ending, NoteKind};
use crate::units::{LimitName, Meter};
use http::Request;
use std::sync::Arc;
pub use summary::{Aside, Asides};
pub use trimming::Trimmed;

/// Calls of the journal that are looked at for agents, the newest.
const MAX_CALLS: usize = 10_000;

/// What the caps on contexts made of a call.
#[derive(Clone, Default)]
pub(super) struct Fitted {
    /// Whom the task will have met once the call leaves.
    pub entering: Option<Entry>,
    /// What was left out.
    pub trimmed: Option<Trimmed>,
    /// What the model is told of its context, and where it is remembered that it was.
    pub nudge: Option<(String, Entry)>,
    /// What of a first call stands in another agent's conversation.
    pub inherited: Option<Inherited>,
}

impl Fitted {
    /// The call leaves, with a notice of this kind.
    pub(super) fn left(&self, gateway: &Gateway, notice: Option<&str>) {
        let nudged = self.nudge.as_ref().filter(|_| notice == Some(NUDGED));
        let told = nudged.map(|(_, told)| *told);
        for met in self.entering.into_iter().chain(told) {
            gateway.contexts.meet(met);
        }
    }
}

/// The cap on a call: the least of those that say the same about what happens then.
#[derive(Clone, Debug)]
struct Cap {
    name: &'static str,
    tokens: u64,
    limit: LimitName,
    /// Which model sums up what is left out.
    summarise_with: Option<Arc<str>>,
}

/// Makes the call fit: as it came, trimmed, or not at all. `sent` is the call as it came in `request`.
///
/// # Errors
/// `context_exceeded`, or the store's fault.
pub(super) async fn fit(
    admission: &mut Admission,
    sent: &Arc<Call>,
    request: &Request<Outgoing>,
) -> Result<(), Refused> {
    admission.call = Arc::clone(sent);
    admission.fitted = Fitted {
        inherited: request.extensions().get::<Inherited>().copied(),
        ..Fitted::default()
    };
    let policies = &admission.live.loaded.policies;
    if !policies.caps_context() || !sent.dialect.generates() {
        return Ok(());
    }
    let rules = policies.context(&admission.facts());
    let mut enters = false;
    if rules.iter().any(|rule| rule.caps.handoff.is_some()) {
        let entry = entry_of(admission);
        enters = is_first(admission, entry).await.map_err(Refused::from)?;
        admission.fitted.entering = Some(entry);
    }
    let cap = |then| least(&rules, then, enters);
    if let Some(observed) = cap(OnContext::Observe) {
        observe(admission, &observed);
    }
    let mut size = u64::MAX;
    let trims =
        |rule: &ContextRule| matches!(rule.caps.then, OnContext::Trim | OnContext::Summarise);
    if rules.iter().any(trims) {
        let window = bounds::window(admission).unwrap_or(u64::MAX);
        let binds = |then| cap(then).filter(|cap| cap.tokens < window);
        let (trim, summarise) = (binds(OnContext::Trim), binds(OnContext::Summarise));
        if let Some(cap) = &summarise {
            Box::pin(summary::prepare(admission, cap, request)).await?;
        }
        let within = trim.into_iter().chain(summarise);
        let within = within.min_by_key(|cap| cap.tokens);
        let fitted = trimming::trim(admission, within.as_ref());
        let fitted = fitted.map_err(|refused| admission.denied(refused))?;
        size = fitted.tokens.unwrap_or(u64::MAX);
        if let Some((call, trimmed)) = fitted.trimmed {
            admission.call = call;
            admission.fitted.trimmed = Some(trimmed);
        }
    }
    if let Some(cap) = cap(OnContext::Deny) {
        if size > cap.tokens {
            size = size.min(judged(admission, &admission.call, cap.tokens));
        }
        if size > cap.tokens {
            return Err(admission.denied(exceeded(admission, &cap, size, "")));
        }
    }
    if let Some(cap) = cap(OnContext::Nudge) {
        admission.fitted.nudge = nudge(admission, &cap);
    }
    Ok(())
}

/// What the model is told of its context: once, until that is small again.
fn nudge(admission: &Admission, cap: &Cap) -> Option<(String, Entry)> {
    let (call, contexts) = (&admission.call, &admission.gateway.contexts);
    let told = Met::Told(call.chain.root).key(&admission.attribution.task_key());
    let size = judged(admission, call, cap.tokens);
    if size <= cap.tokens {
        contexts.forget(told);
        return None;
    }
    if contexts.has_met(told) || !takes_notice(call) {
        return None;
    }
    let limit = &cap.limit;
    let inherited = share_of(admission, cap).map(|share| format!(" ({share})"));
    let inherited = inherited.unwrap_or_default();
    let large = match cap.name {
        "handoff_tokens" => "what you were handed",
        _ => "your context",
    };
    let text = format!(
        "Note from the gateway, not from the user: {large}{inherited} is at up to {size} of {} tokens (limit \"{limit}\"). Keep to what you still \
         need: sum up what you know, and do not fetch again what you have.",
        cap.tokens
    );
    Some((text, told))
}

/// The size by which a call is judged.
fn judged(admission: &Admission, call: &Call, fits: u64) -> u64 {
    let size = bounds::input(admission, call, fits);
    bounds::window(admission).map_or(size, |window| size.min(window))
}

fn least(rules: &[ContextRule], then: OnContext, enters: bool) -> Option<Cap> {
    let rules = rules.iter().filter(|rule| rule.caps.then == then);
    let caps = rules.filter_map(|rule| {
        let (name, tokens) = rule.caps.on(enters)?;
        Some(Cap {
            name,
            tokens,
            limit: rule.limit.clone(),
            summarise_with: rule.summarise_with.clone(),
        })
    });
    caps.min_by_key(|cap| cap.tokens)
}

fn exceeded(admission: &Admission, cap: &Cap, size: u64, besides: &str) -> Refused {
    let standing = Standing {
        limit: cap.limit.shared(),
        account: vec![("call", admission.request.shared())],
        meter: Meter::InputTokens,
        cap: cap.tokens,
        settled: 0,
        held: 0,
        in_doubt: 0,
        // Nothing is larger than the window, however little is known of it.
        needed: size.min(bounds::window(admission).unwrap_or(u64::MAX)),
        resets_at: None,
    };
    let share = share_of(admission, cap);
    let refusal = Refusal::context(cap.name, standing, besides);
    let Some(Inherited { bytes, of_bytes }) =
        admission.fitted.inherited.filter(|_| share.is_some())
    else {
        return refusal.into();
    };
    let sentence = format!("{}.", share.unwrap_or_default());
    refusal
        .with_inherited(bytes, of_bytes)
        .with_sentence(&sentence)
        .into()
}

/// How much of what was handed on is somebody else's, in words.
fn share_of(admission: &Admission, cap: &Cap) -> Option<String> {
    let inherited = admission.fitted.inherited.as_ref();
    let inherited = inherited.filter(|_| cap.name == "handoff_tokens")?;
    let percent = inherited.percent();
    Some(format!(
        "{percent} % of it stands in the conversation of another agent of the task"
    ))
}

/// Notes what a cap would have done.
fn observe(admission: &Admission, cap: &Cap) {
    let size = judged(admission, &admission.call, cap.tokens);
    if size <= cap.tokens {
        return;
    }
    let gateway = &admission.gateway;
    let limit = cap.limit.as_str();
    gateway.metrics.denied("observed", limit);
    let detail = format!(
        "observed: {} of {limit} would have met {}: up to {size} tokens, and the cap is {}{}",
        cap.name,
        admission.request,
        cap.tokens,
        share_of(admission, cap).map_or_else(String::new, |share| format!("; {share}"))
    );
    gateway.journal(NoteKind::Alarm, limit, &detail);
}

/// Who makes the call, as the task remembers it.
fn entry_of(admission: &Admission) -> Entry {
    let agent = admission.attribution.agent.as_ref();
    let met = match agent {
        Some(agent) => Met::Agent(agent.value.as_str()),
        None => Met::Root(admission.call.chain.root),
    };
    met.key(&admission.attribution.task_key())
}

/// It is the first call of its invocation.
async fn is_first(admission: &Admission, entry: Entry) -> Result<bool, crate::store::StoreError> {
    let contexts = &admission.gateway.contexts;
    let task = admission.attribution.task_key();
    if !contexts.has_met(Met::Journal.key(&task)) {
        Box::pin(ask_journal(admission)).await?;
    }
    let is_nameless = admission.attribution.agent.is_none();
    let is_old =
        contexts.has_met(entry) || (is_nameless && contexts.has_met(Met::Nameless.key(&task)));
    Ok(!is_old || !admission.call.has_answer())
}

async fn ask_journal(admission: &Admission) -> Result<(), crate::store::StoreError> {
    let contexts = &admission.gateway.contexts;
    let task = admission.attribution.task_key();
    let rows = admission
        .gateway
        .purse
        .store()
        .trace(task.clone(), MAX_CALLS);
    for row in rows.await? {
        let call = row.body()?;
        let left = Ending::from_name(call.ending.as_str()) != Some(Ending::Denied);
        if !left || matches!(call.dialect.as_str(), "task" | "tool") {
            continue;
        }
        let met = match &call.agent {
            Some(agent) => Met::Agent(agent.as_str()),
            None => Met::Nameless,
        };
        contexts.meet(met.key(&task));
    }
    contexts.meet(Met::Journal.key(&task));
    Ok(())
}
