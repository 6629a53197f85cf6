//! A call whose task waits for a person: it is held open until somebody decides, then it goes on,
//! or it is refused with the question's id.
//!
//! A plain call simply waits. A stream would be given up by its client, so after a moment its head is
//! sent and comments keep it alive ([`super::super::held`]). A client that leaves takes only its own
//! call along; the question stays.

use super::{Admission, NotYet, again, refusal};
use crate::dialect::Dialect;
use crate::escalation::{self, ALLOWED_TURNS, Answered, Evidence, Opened, Question, Reason, State};
use crate::ledger;
use crate::log;
use crate::purse::NoHold;
use crate::stack::body::AnswerBody;
use crate::stack::failed::NoAnswer;
use crate::stack::held;
use crate::stack::meter::Admitted;
use crate::stack::upstream::Outgoing;
use crate::stack::{Code, Refused};
use crate::store::EscalationFilter;
use crate::task::Task;
use crate::units::EscalationId;
use http::{Request, Response};
use std::sync::Arc;
use tokio::time::{Instant, timeout};
use tower::Service;

/// Waits for the answer, and does what it says.
///
/// # Errors
/// The refusal.
pub async fn wait<S>(
    admission: Box<Admission>,
    request: Request<Outgoing>,
    question: Question,
    inner: S,
) -> Result<Response<AnswerBody>, Refused>
where
    S: Service<Admitted, Response = Response<AnswerBody>, Error = NoAnswer> + Send + 'static,
    S::Future: Send,
{
    let (dialect, gateway) = (admission.dialect(), admission.gateway.clone());
    let streams = admission.call.stream && dialect != Dialect::OpenaiEmbeddings;
    let id = question.id.clone();
    let mut going = Box::pin(go_on(admission, request, question, inner));
    if !streams {
        return going.await;
    }
    // An answer that comes soon needs no head before its own.
    match timeout(held::BEAT, &mut going).await {
        Ok(answer) => answer,
        Err(_) => {
            let going = async move {
                let told = going.await;
                told.inspect_err(Refused::log)
            };
            // Polled as the answer's body, it is this call's still.
            let going = Box::pin(log::inherited(going));
            Ok(held::open(gateway, dialect, &id, going))
        }
    }
}

impl Admission {
    /// A limit is in the way: the call is refused, or a person is asked.
    pub(super) async fn not_held(&self, task: &Arc<Task>, decisions: u64, error: NoHold) -> NotYet {
        let escalates = match &error {
            NoHold::Refused(ledger::Refusal::Limit(denial)) => {
                !denial.only_held && !self.aside && self.escalates(&denial.key.limit)
            }
            _ => false,
        };
        let desk = &self.gateway.escalations;
        match &error {
            NoHold::Refused(ledger::Refusal::Limit(denial))
                if !denial.only_held && self.begins_last(task, denial) =>
            {
                return NotYet::LookAgain;
            }
            _ => {}
        }
        match error {
            NoHold::Refused(ledger::Refusal::Limit(denial)) if escalates => {
                let question = self.question(denial);
                match desk.open(task, decisions, question).await {
                    Ok(Opened::Asked(question)) => NotYet::Asked(question),
                    Ok(Opened::LookAgain) => NotYet::LookAgain,
                    Err(error) => error.into(),
                }
            }
            error => self.no_hold(error).into(),
        }
    }

    /// The limit asks a person rather than refuse.
    fn escalates(&self, limit: &str) -> bool {
        let found = self.live.loaded.policies.by_id(limit);
        limit == ALLOWED_TURNS || found.is_some_and(|limit| limit.escalate)
    }

    /// What a person is asked when a limit is in the way.
    fn question(&self, denial: ledger::Denial) -> (Reason, Vec<Evidence>, escalation::Asker) {
        let reached = escalation::Reached::from(&denial);
        let refused = refusal::no_hold(self, NoHold::Refused(ledger::Refusal::Limit(denial)));
        let reason = Reason {
            rule: "limit".into(),
            message: refused.refusal.message().into(),
            limit: Some(reached),
        };
        (reason, Vec::new(), self.asking())
    }

    /// The call as a person sees it who is asked because of it.
    pub(super) fn asking(&self) -> escalation::Asker {
        let whose = &self.attribution;
        escalation::Asker {
            request: Some(self.request.shared()),
            identity: Some(whose.identity.shared()),
            agent: whose.agent.as_ref().map(|agent| agent.value.shared()),
            role: whose.role.as_ref().map(|role| role.value.shared()),
            model: Some(Arc::clone(&self.routed.model)),
        }
    }
}

async fn go_on<S>(
    mut admission: Box<Admission>,
    request: Request<Outgoing>,
    mut question: Question,
    mut inner: S,
) -> Result<Response<AnswerBody>, Refused>
where
    S: Service<Admitted, Response = Response<AnswerBody>, Error = NoAnswer>,
{
    let config = admission.live.config();
    let (settings, max_bytes) = (&config.escalation, config.bounds.max_waiting_bytes);
    let until = Instant::now() + settings.wait;
    let desk = &admission.gateway.escalations;
    let place = desk.place(admission.call.body.len(), settings.max_waiting, max_bytes);
    let Some(place) = place else {
        let why = "and too many calls wait already";
        return Err(admission.denied(refusal::waiting(&admission.attribution, &question.id, why)));
    };
    loop {
        let asked = question.id.as_str().to_owned();
        admission.tell_span("escalation", "question", &asked);
        tracing::info!(escalation = &*asked, "a call waits for a person");
        match question.answered(until).await {
            Answered::Decided => {
                admission.tell_span("decided", "question", &asked);
                tracing::info!(escalation = &*asked, "a person has decided");
            }
            Answered::TimedOut => {
                let wait = crate::ops::show::span(
                    u64::try_from(admission.live.config().escalation.wait.as_millis())
                        .unwrap_or(u64::MAX),
                );
                let why = format!("and nobody has answered within {wait}");
                let (whose, id) = (&admission.attribution, &question.id);
                return Err(admission.denied(refusal::waiting(whose, id, &why)));
            }
            Answered::Draining => {
                let message = "The gateway is about to stop; its successor knows the question.";
                let refused = Refused::new(Code::Draining, message);
                return Err(admission.denied(refused));
            }
        }
        admission.renew();
        match admission.place(&request).await {
            Ok(placed) => {
                drop(place);
                if admission.has_a_way_on(&placed) {
                    return Box::pin(again::send(admission, request, placed, inner)).await;
                }
                let admitted = admission.depart(request, placed).await?;
                // Nothing of the admission outlives it: a stream may last, and the body is large.
                drop(admission);
                return inner.call(admitted).await.or_else(NoAnswer::told);
            }
            Err(NotYet::Asked(next)) => question = next,
            Err(NotYet::LookAgain) => {
                return Err(Refused::internal("a place looks again itself"));
            }
            Err(NotYet::Refused(refused)) => {
                return Err(refused);
            }
        }
    }
}

/// The refusal in the words of whoever said no: often an agent hears nothing else of why it is refused.
pub(super) async fn said_no(admission: &Admission, id: &EscalationId) -> Option<Refused> {
    let filter = EscalationFilter {
        id: Some(id.clone()),
        ..EscalationFilter::default()
    };
    let found = admission.gateway.purse.store().escalations(filter).await;
    let escalation = found.ok()?.pop()?;
    let decision = escalation
        .decision
        .filter(|_| escalation.state == State::Denied)?;
    let why = decision.why?;
    let whose = &admission.attribution;
    Some(refusal::declined(whose, id, Some(&why)))
}
