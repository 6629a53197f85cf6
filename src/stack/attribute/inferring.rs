//! What nobody said of a call, inferred ([`crate::inference`]): which of its fields are asked for, and by
//! which rules. A call that says its task and its agent passes without a look.

use crate::attribution::{Source, Sourced};
use crate::clock;
use crate::dialect::{Answer, Call, Dialect};
use crate::gateway::{Gateway, Live};
use crate::inference::{self, Asking, Hung, Inferred};
use crate::stack::endpoint::{Endpoint, Target};
use crate::stack::headers;
use crate::store::{Entry, Mark};
use crate::units::{AgentId, Owner, RequestId, TaskId, TaskKey};
use crate::{attribution::Attribution, config::Unattributed};
use http::HeaderMap;
use std::sync::Arc;

/// What was said of a call.
pub(super) struct Named<'a> {
    pub owner: &'a Owner,
    pub task: Option<&'a Sourced<TaskId>>,
    pub agent: Option<&'a Sourced<AgentId>>,
    pub parent: Option<&'a Sourced<AgentId>>,
}

impl Named<'_> {
    /// Something is missing that the call itself may tell. Whoever names task and agent in a way of
    /// Bursar's own names the parent so too; a framework's own headers often do not.
    fn lacks(&self) -> bool {
        let (Some(task), Some(agent)) = (self.task, self.agent) else {
            return true;
        };
        let by_framework = |source: Source| matches!(source, Source::Foreign | Source::Baggage);
        self.parent.is_none() && (by_framework(agent.source) || by_framework(task.source))
    }
}

/// Infers what is missing; `None` if nothing is, or nothing can be told.
pub(super) fn infer(
    gateway: &Gateway,
    live: &Live,
    (call, target, request): (Option<&Call>, &Target, &RequestId),
    headers: &HeaderMap,
    named: &Named<'_>,
) -> Option<Inferred> {
    let rules = &live.config().attribution;
    let call = call.filter(|_| rules.infer && named.lacks())?;
    let converses = matches!(
        call.dialect,
        Dialect::OpenaiChat | Dialect::OpenaiResponses | Dialect::AnthropicMessages
    );
    if !converses || !matches!(target.endpoint, Endpoint::Metered(_)) {
        return None;
    }
    let again = headers.get(&headers::RETRY_COUNT);
    let again = again.is_some_and(|count| count.as_bytes() != b"0");
    let refuses = rules.unattributed == Unattributed::Refuse;
    let likeness = live.likeness(call);
    let mut inferred = gateway.inference.join(&Asking {
        owner: named.owner,
        call,
        request,
        task: named.task.map(|task| &task.value),
        agent: named.agent.map(|agent| &agent.value),
        likeness: &likeness,
        again,
        now: clock::now(),
        window_ms: i64::try_from(rules.infer_window.as_millis()).unwrap_or(i64::MAX),
        // Where calls must name their task, one that is joined to none is refused.
        tasks_per_hour: if refuses {
            0
        } else {
            rules.inferred_tasks_per_hour
        },
    });
    if let Some(hung) = inferred.hung.take() {
        tell(gateway, named.owner, &hung, request);
    }
    Some(inferred)
}

/// An agent turned out to belong to another task than the one its calls opened.
fn tell(gateway: &Gateway, owner: &Owner, hung: &Hung, request: &RequestId) {
    let Hung {
        agent,
        from,
        to,
        parent,
    } = hung;
    let name = |agent: &Option<AgentId>| {
        let agent = agent.as_ref().map(|agent| agent.shared());
        agent.unwrap_or_else(|| "an agent without a name".into())
    };
    let detail = format!(
        "{} of task {from} was called by {}: its next calls belong here, what it has cost stays there",
        name(agent),
        name(parent)
    );
    if let Ok(place) = gateway.purse.store().try_reserve() {
        place.post(Entry::Mark(Box::new(Mark {
            task: TaskKey {
                owner: owner.clone(),
                task: to.clone(),
            },
            rule: "reparented".into(),
            agent: agent.as_ref().map(AgentId::shared),
            received_by: parent.as_ref().map(AgentId::shared),
            detail: detail.into(),
            calls: vec![request.shared()],
        })));
    }
}

/// An answer has come, or none: what later calls can be joined by. Gives what the journal keeps of it.
pub(in crate::stack) fn answered(
    gateway: &Gateway,
    attribution: &Attribution,
    dialect: Dialect,
    answer: Option<&Answer>,
) -> Option<Arc<[u8]>> {
    let joined = attribution.joined.as_ref()?;
    let owner = &attribution.owner;
    let Some(answer) = answer else {
        gateway.inference.failed(owner, joined);
        return None;
    };
    let handed = inference::handed(dialect, answer);
    let trail = gateway
        .inference
        .heard(owner, joined, &handed, clock::now());
    Some(trail.into())
}

/// The call was refused here.
pub(super) fn refused(gateway: &Gateway, attribution: &Attribution) {
    if let Some(joined) = &attribution.joined {
        gateway.inference.failed(&attribution.owner, joined);
    }
}
