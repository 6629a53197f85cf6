//! The end of a call, once: its hold settled, void or in doubt, its entry posted, its task and the watch
//! told, and what later calls can know from it.

use super::{Charged, Outcome, Record};
use crate::dialect::{Answer, Dialect};
use crate::log;
use crate::purse;
use crate::stack::attribute::inferring;
use crate::stack::check;
use crate::store::Ending;
use crate::units::{Amounts, Meter, NanoUsd};
use std::sync::Arc;

impl Record {
    /// Ends the hold, writes the journal entry, counts the metrics.
    pub fn end(mut self: Box<Self>, outcome: Outcome) -> Charged {
        self.end_once(outcome)
    }

    /// The task's pulse hears that the call is over.
    fn end_beat(&self, outcome: &Outcome) {
        let flight = self.flight();
        if self.progress.goes_on || flight.attribution.is_unattributed() {
            return;
        }
        let asked = match outcome {
            Outcome::Settle { answer, .. } | Outcome::Bounded { answer, .. } => {
                !answer.tool_calls.is_empty()
            }
            Outcome::Doubt(_) | Outcome::Void(_) => false,
        };
        self.facts.task.0.ended(flight.agent(), asked);
    }

    pub(in crate::stack) fn end_once(&mut self, outcome: Outcome) -> Charged {
        // Answers end where their bodies are read, which is behind the stack.
        log::at(self.log_context(), || self.end_now(outcome))
    }

    fn end_now(&mut self, outcome: Outcome) -> Charged {
        self.tell_health(&outcome);
        let doubted = match outcome {
            Outcome::Doubt(_) => self.timed(self.doubted()),
            _ => Amounts::ZERO,
        };
        let Some(hold) = self.hold.take() else {
            return Charged::default();
        };
        if let Some(runner) = &self.facts.runner {
            self.progress.goes_on |= runner.ends(outcome.is_whole());
        }
        let quoted = hold.terms.quoted;
        let told = hold.terms.told;
        self.end_beat(&outcome);
        let accounts = Arc::clone(&hold.accounts);
        let refused = self.attempts();
        let (ending, reason, charged, mut answer) = match outcome {
            Outcome::Settle { charged, answer } => (Ending::Settle, None, charged, Some(answer)),
            Outcome::Bounded {
                bound,
                reason,
                answer,
            } => (Ending::Unreconciled, Some(reason), bound, Some(answer)),
            Outcome::Doubt(reason) => (Ending::Unreconciled, Some(reason), doubted, None),
            Outcome::Void(reason) => {
                let charged = Amounts::ZERO.with(Meter::Attempts, refused);
                (Ending::Void, Some(reason), charged, None)
            }
        };
        let charged = match ending {
            Ending::Settle | Ending::Unreconciled if self.progress.refused > 0 => {
                charged.with(Meter::Attempts, self.progress.refused)
            }
            _ => charged,
        };
        // Fees for tools are ours, not the provider's; they could not be quoted.
        let fees = answer
            .as_deref()
            .map_or(NanoUsd::ZERO, |answer| self.tool_fees(answer));
        let beyond = charged.usd().0.saturating_sub(quoted.usd().0);
        let overrun = NanoUsd(beyond.saturating_sub(fees.0));
        if let Some(answer) = answer.as_deref() {
            self.count_tools(answer);
            self.keep_output(answer);
        }
        if ending == Ending::Settle {
            self.learn(answer.as_deref(), &quoted, &charged, told);
            if !self.progress.goes_on {
                self.hear(answer.as_deref());
            }
        }
        let joins = match self.progress.goes_on || self.facts.aside {
            true => None,
            false => inferring::answered(
                &self.gateway,
                &self.flight().attribution,
                self.dialect(),
                answer.as_deref(),
            ),
        };
        let mut telling = self.tell_span(ending, reason, &charged, answer.as_deref(), overrun);
        let ended = check::Ended {
            ending,
            reason,
            status: self.progress.status.map(|status| status.as_u16()),
            given: answer.as_mut().and_then(|answer| answer.given.take()),
            finish: answer.as_mut().and_then(|answer| answer.finish.take()),
        };
        let mut entry = self.entry(
            ending,
            reason,
            (quoted, charged, told),
            answer.as_deref_mut(),
            accounts,
            overrun,
        );
        entry.joins = joins;
        let answered = entry.answered.as_ref();
        let answered = answered
            .filter(|model| **model != self.facts.model)
            .cloned();
        self.count(&charged, ending, &entry.tools, overrun);
        let request = Arc::clone(&entry.request);
        let outcome = match ending {
            Ending::Settle => purse::Outcome::Settle(charged),
            Ending::Unreconciled => purse::Outcome::Doubt(charged),
            Ending::Void | Ending::Denied => purse::Outcome::Void(charged[Meter::Attempts]),
        };
        if ending == Ending::Unreconciled {
            self.log_doubt(reason, &charged);
        }
        self.log_end();
        // Where the end waits for the store, what is left then is not known yet.
        let mut remaining = hold.terms.remaining;
        let later = || self.closing_later(telling.take());
        if let Some(end) = hold.end(outcome, Some(Box::new(entry)), later) {
            self.closing().close(&end, telling);
            remaining = end.remaining;
        }
        if self.progress.goes_on {
            return Charged {
                remaining,
                ..Charged::default()
            };
        }
        check::ended(
            &self.gateway,
            &self.boarded.flight.attribution,
            self.call.dialect,
            &request,
            &self.facts.watched,
            ended,
        );
        Charged {
            cost: (ending == Ending::Settle).then(|| charged.usd()),
            answered,
            remaining,
        }
    }

    /// What later calls can know from this one.
    fn learn(
        &self,
        answer: Option<&Answer>,
        quoted: &Amounts,
        charged: &Amounts,
        told: Option<u64>,
    ) {
        let Some(answer) = answer else { return };
        let prompt = &self.call.prompt;
        let input = charged[Meter::InputTokens];
        // With a notice the provider counted more than the caller's conversation.
        let as_sent = self.facts.notice.is_none();
        if as_sent && !prompt.opaque && prompt.hosted_tools.is_empty() && input > 0 {
            self.gateway.known.learn(&self.call, self.facts.lane, input);
        }
        // Only such calls are gone on from by the answer's id.
        if let Some(id) = &answer.id
            && (self.call.dialect == Dialect::OpenaiResponses || self.call.ids.is_thread)
        {
            let (dialect, model) = (self.call.dialect, &*self.facts.model);
            self.gateway
                .known
                .remember(dialect, model, id, charged[Meter::Tokens]);
            let attribution = &self.flight().attribution;
            self.gateway.answers.remember(
                attribution,
                id,
                charged[Meter::Tokens],
                (&self.provider.name, &self.facts.model),
            );
        }
        let told = told.or(self.facts.elastic.map(|elastic| elastic.want));
        let produced = charged[Meter::OutputTokens];
        if let (Some(told), Some(elastic)) = (told, self.facts.elastic)
            && charged.usd() > quoted.usd()
        {
            let told = told.saturating_mul(elastic.outputs);
            self.gateway
                .scales
                .learn(&self.provider.name, &self.facts.model, produced, told);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.hold.is_some() {
            let outcome = match (self.progress.is_out, self.progress.sent) {
                (true, _) => Outcome::Doubt("abandoned"),
                (false, Some(_)) => Outcome::Void(self.progress.nothing),
                (false, None) => Outcome::Void("not_sent"),
            };
            self.end_once(outcome);
        }
    }
}
