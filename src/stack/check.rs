//! After an answer: does it keep to the form that its request declared, and did the call fail? What
//! went wrong is counted with the task, for the admission of the agent's next call to look at.
//!
//! Used by `record`, once the hold has ended: the check runs beside the caller's answer, not before it.

use super::{Code, Refused};
use crate::attribution::Attribution;
use crate::conduct::{End, Finding, HandedOn, Kind, Who};
use crate::config::ConductRules;
use crate::dialect::Dialect;
use crate::dialect::answer::Given;
use crate::form::{Declared, Verdict};
use crate::gateway::Gateway;
use crate::log;
use crate::loops::Action;
use crate::store::{Ending, Entry, Mark};
use crate::task::{Checking, Task};
use crate::units::AgentId;
use std::fmt::Write as _;
use std::sync::Arc;

/// Which agent a call is counted for.
#[must_use]
pub fn who(attribution: &Attribution, root: u128) -> Who {
    match &attribution.agent {
        Some(agent) => Who::Named(agent.value.clone()),
        None => Who::Like(root),
    }
}

/// What is kept of a call, to see how it ended.
pub struct Watched {
    /// Its task.
    pub task: Arc<Task>,
    /// Its agent.
    pub who: Who,
    /// What its request declared.
    pub declared: Option<Arc<Declared>>,
    /// The rules for it.
    pub rules: ConductRules,
    /// It repeats, by its client's own word, a call that failed.
    pub is_retry: bool,
}

/// How a call ended.
pub struct Ended {
    /// How its hold did.
    pub ending: Ending,
    /// Why, if not well.
    pub reason: Option<&'static str>,
    /// The provider's status, if it answered.
    pub status: Option<u16>,
    /// What was kept of the answer.
    pub given: Option<Box<Given>>,
    /// Why the answer ended.
    pub finish: Option<String>,
}

impl Ended {
    /// Why the call failed, if it did by no doing of its caller.
    fn failure(&self) -> Option<&'static str> {
        let reason = self.reason?;
        match (self.ending, reason) {
            // Answered, only that nobody knows the cost.
            (Ending::Unreconciled, "no_usage" | "too_long") => None,
            (_, "client_gone" | "abandoned" | "stopped" | "not_sent") => None,
            // The provider asks to come again.
            (Ending::Void, _) if matches!(self.status, Some(429 | 503 | 529)) => None,
            (Ending::Unreconciled | Ending::Void, reason) => Some(reason),
            (Ending::Settle | Ending::Denied, _) => None,
        }
    }

    /// It was answered.
    fn is_answered(&self) -> bool {
        match self.ending {
            Ending::Settle => true,
            Ending::Unreconciled => matches!(self.reason, Some("no_usage")),
            Ending::Void | Ending::Denied => false,
        }
    }
}

/// Takes in how a call ended; checks its answer, if there is anything to check, in a task of its own.
pub fn ended(
    gateway: &Arc<Gateway>,
    attribution: &Arc<Attribution>,
    dialect: Dialect,
    request: &Arc<str>,
    watched: &Watched,
    ended: Ended,
) {
    if !dialect.generates() {
        return;
    }
    let Watched { task, who, .. } = watched;
    let counted = Counted {
        gateway: Arc::clone(gateway),
        attribution: Arc::clone(attribution),
        who: who.clone(),
        rules: watched.rules,
        request: Arc::clone(request),
    };
    if let Some(reason) = ended.failure() {
        if !watched.is_retry {
            counted.count(task, &End::Failed(reason.into()));
        }
        return;
    }
    if !ended.is_answered() {
        return;
    }
    let (Some(declared), Some(given)) = (&watched.declared, ended.given) else {
        counted.count(task, &End::Good);
        return;
    };
    if let Some(verdict) = declared.at_once(&given, ended.finish.as_deref()) {
        counted.judged(task, verdict, &given);
        return;
    }
    let (declared, checking) = (Arc::clone(declared), Checking::begin(task));
    gateway.finishing(log::inherited(async move {
        let verdict = declared.check(&given, ended.finish.as_deref());
        counted.judged(checking.task(), verdict, &given);
    }));
}

/// Counts, for its parent, an agent that we refused for good. What stops the whole task is no failure
/// of one agent, and held money comes free.
pub fn refused(task: &Task, who: &Who, parent: &AgentId, refused: &Refused, request: &Arc<str>) {
    let code = refused.refusal.code();
    let passing = [Code::BudgetHeld, Code::TaskSuspended, Code::TaskClosed];
    if code.is_final() && !passing.contains(&code) {
        let end = End::Refused(code.name().into());
        task.conducted.ended(who, Some(parent), &end, request);
    }
}

/// Whose end is counted.
struct Counted {
    gateway: Arc<Gateway>,
    attribution: Arc<Attribution>,
    who: Who,
    rules: ConductRules,
    request: Arc<str>,
}

impl Counted {
    fn judged(&self, task: &Task, verdict: Verdict, given: &Given) {
        let end = match verdict {
            Verdict::Good => End::Good,
            Verdict::Bad(fault) => End::Malformed {
                what: fault.to_string().into(),
                traces: given.traces().map(Into::into).collect(),
            },
            Verdict::Unknown => End::Answered,
        };
        self.count(task, &end);
    }

    fn count(&self, task: &Task, end: &End) {
        let conducted = &task.conducted;
        let is_answered = matches!(end, End::Good | End::Answered);
        if is_answered && conducted.is_quiet() {
            return;
        }
        let parent = self.attribution.parent.as_ref();
        let parent = parent.map(|parent| &parent.value);
        conducted.ended(&self.who, parent, end, &self.request);
        if is_answered {
            return;
        }
        // Told at once, though nothing is done before the agent's next call.
        let mut from = self.rules.thresholds();
        from.children = None;
        if let Some(found) = conducted.judge(&self.who, &from) {
            tell(&self.gateway, &self.attribution, &self.who, &found);
        }
    }
}

/// Notes a finding the first time: in the log, the metrics and the task's audit story. What a tripped
/// agent handed on is marked there for its parent.
pub fn tell(gateway: &Gateway, attribution: &Attribution, who: &Who, found: &Finding) {
    if !found.first {
        return;
    }
    let rule = found.kind.rule();
    gateway.metrics.loops.with_label_values(&[rule]).inc();
    let detail = sentence(who, found);
    tracing::warn!(
        rule,
        count = found.count,
        "an agent goes wrong again and again"
    );
    let received_by = match found.kind {
        Kind::Malformed | Kind::Failures => attribution.parent.as_ref(),
        Kind::Children => None,
    };
    let received_by = received_by.map(|parent| parent.value.shared());
    mark(
        gateway,
        attribution,
        rule,
        who,
        received_by,
        &detail,
        &found.calls,
    );
}

/// Marks in the audit story who else has what agents that went wrong had handed on.
pub fn tell_handed_on(gateway: &Gateway, attribution: &Attribution, task: &Task, request: &[u8]) {
    let Some(to) = &attribution.agent else {
        return;
    };
    for handed in task.conducted.handed_on(&to.value, request) {
        let HandedOn { from, what, calls } = handed;
        let rule = Kind::Malformed.rule();
        let detail = format!(
            "{} was handed what {from} had said, of which {what}",
            to.value
        );
        let to = Some(to.value.shared());
        mark(gateway, attribution, rule, &from, to, &detail, &calls);
    }
}

/// Writes a remark about an agent into the journal; left out while the journal is full.
fn mark(
    gateway: &Gateway,
    attribution: &Attribution,
    rule: &str,
    who: &Who,
    received_by: Option<Arc<str>>,
    detail: &str,
    calls: &[Arc<str>],
) {
    if let Ok(place) = gateway.purse.store().try_reserve() {
        place.post(Entry::Mark(Box::new(Mark {
            task: attribution.task_key(),
            rule: rule.into(),
            agent: who.name().map(crate::units::AgentId::shared),
            received_by,
            detail: detail.into(),
            calls: calls.to_vec(),
        })));
    }
}

/// What is done about a finding in this call's task.
#[must_use]
pub fn action(rules: &ConductRules, attribution: &Attribution, kind: Kind) -> Action {
    let action = match kind {
        Kind::Malformed => rules.malformed,
        Kind::Failures | Kind::Children => rules.failures,
    };
    // Calls that name no task share one by the day: who they are is not known well enough to stop them.
    match action {
        Action::Off => Action::Off,
        _ if attribution.is_unattributed() => Action::Warn,
        action => action,
    }
}

/// A finding in words, with its evidence.
#[must_use]
pub fn sentence(who: &Who, found: &Finding) -> String {
    let Finding {
        kind,
        count,
        what,
        calls,
        ..
    } = found;
    let mut text = match kind {
        Kind::Malformed => {
            format!("{count} malformed answers to {who} in a row, the newest because {what}")
        }
        Kind::Failures => format!("{count} failed calls of {who} in a row, the newest: {what}"),
        Kind::Children => format!("{count} children of {who} failed: {what}"),
    };
    let calls: Vec<&str> = calls.iter().map(|call| &**call).collect();
    if !calls.is_empty() {
        // Writing into a string cannot fail.
        let _ = write!(text, " (calls {})", calls.join(", "));
    }
    text
}
