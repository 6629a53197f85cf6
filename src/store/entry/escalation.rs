//! Escalations in the journal and in the store's table: the question and the decision as JSON.

use super::body::{KeyBody, Sums, Text};
use crate::escalation::{Asker, Decision, Evidence, Opening, Reached, Reason};
use crate::units::{Meter, UnixMs};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The body of [`super::Kind::EscalationOpened`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AskedBody {
    /// Its id.
    pub id: Arc<str>,
    /// The task's owner.
    pub owner: Arc<str>,
    /// The task.
    pub task: Arc<str>,
    /// The question.
    pub question: QuestionBody,
}

/// The body of [`super::Kind::EscalationEnded`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AnsweredBody {
    /// Its id.
    pub id: Arc<str>,
    /// The task's owner.
    pub owner: Arc<str>,
    /// The task.
    pub task: Arc<str>,
    /// `approved`, `denied`, `expired`.
    pub state: Arc<str>,
    /// What was decided.
    pub decision: DecisionBody,
}

/// Whose question a row is about, without reading the rest.
#[derive(Clone, Debug, Deserialize)]
pub struct WhoseBody<'a> {
    /// The question's id.
    #[serde(borrow)]
    pub id: Text<'a>,
    /// The task's owner.
    pub owner: Text<'a>,
    /// The task.
    pub task: Text<'a>,
}

/// Why a person was asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QuestionBody {
    /// `limit`, or the rule.
    pub rule: Arc<str>,
    /// One sentence.
    pub message: Arc<str>,
    /// The account in the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<ReachedBody>,
    /// What was seen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<EvidenceBody>,
    /// The call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Arc<str>>,
    /// Its identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Arc<str>>,
    /// Its agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Arc<str>>,
    /// Its role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Arc<str>>,
    /// The model it asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Arc<str>>,
}

/// Where the account stood; nano-dollars, milliseconds, counts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReachedBody {
    /// Which account.
    pub account: KeyBody,
    /// Which meter.
    pub meter: Arc<str>,
    /// Its cap.
    pub cap: u64,
    /// Settled.
    pub settled: u64,
    /// Held.
    pub held: u64,
    /// In doubt.
    pub in_doubt: u64,
    /// Needed by the call.
    pub needed: u64,
}

/// One piece of what was seen.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EvidenceBody {
    /// The call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Arc<str>>,
    /// What it did.
    pub what: Arc<str>,
    /// The digest of the state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Arc<str>>,
}

/// What was decided.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DecisionBody {
    /// Unix milliseconds.
    pub at: i64,
    /// Who.
    pub by: Arc<str>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Arc<str>>,
    /// Caps raised; each has a `top_up` row of its own as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub raised: Vec<(KeyBody, Sums)>,
    /// When the caps are as before again, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<i64>,
    /// Turns allowed before a person is asked again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turns: Option<u64>,
}

impl From<&Opening> for QuestionBody {
    fn from(opening: &Opening) -> Self {
        let Opening {
            reason,
            evidence,
            asker,
            ..
        } = opening;
        let limit = reason.limit.as_ref().map(|reached| ReachedBody {
            account: KeyBody(reached.account.clone()),
            meter: reached.meter.name().into(),
            cap: reached.cap,
            settled: reached.settled,
            held: reached.held,
            in_doubt: reached.in_doubt,
            needed: reached.needed,
        });
        let evidence = evidence.iter().map(|seen| EvidenceBody {
            request: seen.request.clone(),
            what: Arc::clone(&seen.what),
            digest: seen.digest.clone(),
        });
        Self {
            rule: Arc::clone(&reason.rule),
            message: Arc::clone(&reason.message),
            limit,
            evidence: evidence.collect(),
            request: asker.request.clone(),
            identity: asker.identity.clone(),
            agent: asker.agent.clone(),
            role: asker.role.clone(),
            model: asker.model.clone(),
        }
    }
}

impl QuestionBody {
    /// What it says; `None` if it names a meter that this version does not know.
    #[must_use]
    pub fn read(self) -> Option<(Reason, Vec<Evidence>, Asker)> {
        let limit = match self.limit {
            None => None,
            Some(body) => Some(Reached {
                account: body.account.0,
                meter: Meter::from_name(&body.meter)?,
                cap: body.cap,
                settled: body.settled,
                held: body.held,
                in_doubt: body.in_doubt,
                needed: body.needed,
            }),
        };
        let reason = Reason {
            rule: self.rule,
            message: self.message,
            limit,
        };
        let evidence = self.evidence.into_iter().map(|seen| Evidence {
            request: seen.request,
            what: seen.what,
            digest: seen.digest,
        });
        let asker = Asker {
            request: self.request,
            identity: self.identity,
            agent: self.agent,
            role: self.role,
            model: self.model,
        };
        Some((reason, evidence.collect(), asker))
    }
}

impl From<&Decision> for DecisionBody {
    fn from(decision: &Decision) -> Self {
        let raised = decision.raised.iter();
        Self {
            at: decision.at.0,
            by: Arc::clone(&decision.by),
            why: decision.why.clone(),
            raised: raised
                .map(|(key, amounts)| (KeyBody(key.clone()), Sums(*amounts)))
                .collect(),
            ends: decision.ends.map(|ends| ends.0),
            turns: decision.turns,
        }
    }
}

impl From<DecisionBody> for Decision {
    fn from(body: DecisionBody) -> Self {
        let raised = body.raised.into_iter();
        Self {
            at: UnixMs(body.at),
            by: body.by,
            why: body.why,
            raised: raised.map(|(key, sums)| (key.0, sums.0)).collect(),
            ends: body.ends.map(UnixMs),
            turns: body.turns,
        }
    }
}
