//! An agent whose last answers were malformed, or whose calls or children failed again and again, does
//! not go on by itself: by `[malformed]` and `[failures]` of `policies/loops.toml` its next call is
//! refused, a person is asked, or it is only noted. A person's decision lets it begin anew.

use super::{Admission, NotYet};
use crate::dialect::refusal::{Circle, Refusal};
use crate::escalation::{Evidence, Opened, Reason};
use crate::loops::Action;
use crate::stack::Refused;
use crate::stack::check::{action, sentence, tell, tell_handed_on, who};
use crate::task::Task;
use std::sync::Arc;

/// Looks at how the agent's last calls went.
///
/// # Errors
/// The call is refused, or waits, or the store's fault.
pub(super) async fn check(
    admission: &Admission,
    task: &Arc<Task>,
    decisions: u64,
) -> Result<(), NotYet> {
    if !admission.call.dialect.generates() {
        return Ok(());
    }
    task.conducted.settled().await;
    let whose = &admission.attribution;
    let who = who(whose, admission.call.chain.root);
    tell_handed_on(&admission.gateway, whose, task, &admission.call.body);
    let rules = admission.rules();
    let Some(found) = task.conducted.judge(&who, &rules.thresholds()) else {
        return Ok(());
    };
    tell(&admission.gateway, whose, &who, &found);
    let message = sentence(&who, &found);
    let action = action(&rules, whose, found.kind);
    if let Some(span) = &admission.span {
        span.looped(found.kind.rule(), action.name());
    }
    match action {
        Action::Off | Action::Warn | Action::Nudge => Ok(()),
        Action::Deny => {
            let message = format!("Task `{}`: {message}.", whose.task.value);
            let circle = Circle {
                rule: found.kind.rule(),
                agent: who.name().map(|name| name.shared()),
                calls: found.calls.iter().map(|call| call.to_string()).collect(),
                digests: found.digests.iter().map(|digest| hex(*digest)).collect(),
            };
            let refused = Refused::from(Refusal::circle(&message, circle));
            Err(admission.denied(refused).into())
        }
        Action::Escalate => {
            let calls = found.calls.iter().zip(&found.digests);
            let evidence = calls.map(|(call, digest)| Evidence {
                request: Some(Arc::clone(call)),
                what: Arc::clone(&found.what),
                digest: Some(hex(*digest).into()),
            });
            let reason = Reason::of_rule(found.kind.rule(), &message);
            let question = (reason, evidence.collect(), admission.asking());
            let desk = &admission.gateway.escalations;
            match desk.open(task, decisions, question).await {
                Ok(Opened::Asked(question)) => Err(NotYet::Asked(question)),
                Ok(Opened::LookAgain) => Err(NotYet::LookAgain),
                Err(error) => Err(error.into()),
            }
        }
    }
}

fn hex(digest: u64) -> String {
    format!("{digest:016x}")
}
