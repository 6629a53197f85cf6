//! What a call's span is told by its record. Where no spans are exported, nothing.

use super::Record;
use crate::dialect::{Answer, content};
use crate::gateway::Gateway;
use crate::ledger::{End, Reached};
use crate::log;
use crate::purse::Later;
use crate::stack::headers;
use crate::stack::race::Runner;
use crate::stack::trace::Trace;
use crate::store::Ending;
use crate::traces::{AskSpan, EndedAs, Said, Tokens};
use crate::units::{Amounts, NanoUsd};
use http::HeaderMap;
use std::sync::Arc;

impl Record {
    /// The provider is told the span of the next try.
    pub fn renew_trace(&self, head: &mut HeaderMap) {
        if let Some(span) = &self.facts.span
            && let Some(value) = Trace::departing(self.facts.trace, Some(span))
        {
            head.insert(&headers::TRACEPARENT, value);
        }
    }

    /// What the call came to, before its answer is taken apart.
    pub(super) fn tell_span(
        &self,
        ending: Ending,
        reason: Option<&'static str>,
        charged: &Amounts,
        answer: Option<&Answer>,
        overrun: NanoUsd,
    ) -> Option<Box<EndedAs>> {
        let text = |text: &Option<String>| text.as_deref().map(Arc::from);
        let span = self.facts.span.as_ref()?;
        let usage = answer.and_then(|answer| answer.usage.as_ref());
        Some(Box::new(EndedAs {
            ending,
            reason,
            charged: *charged,
            tokens: usage.map(Tokens::from),
            answered: answer.and_then(|answer| text(&answer.model)),
            answer_id: answer.and_then(|answer| text(&answer.id)),
            finish: answer.and_then(|answer| text(&answer.finish)),
            tools: answer.map_or_else(Vec::new, |answer| answer.tool_calls.clone()),
            route: self.facts.course.as_ref().map(|course| course.name()),
            left_usd: None,
            left_turns: None,
            overrun,
            said: answer.filter(|_| span.tells()).and_then(|answer| {
                let given = answer.given.as_deref()?;
                let finish = answer.finish.as_deref();
                Some(Box::new(content::answered(
                    self.call.dialect,
                    given,
                    finish,
                )))
            }),
        }))
    }

    /// Nobody can say what it cost.
    pub(super) fn log_doubt(&self, reason: Option<&'static str>, doubted: &Amounts) {
        tracing::info!(
            reason,
            in_doubt_usd = %doubted.usd(),
            provider = self.provider.name.as_str(),
            model = &*self.facts.model,
            "what a call cost is in doubt"
        );
    }

    /// Leads from the log to the trace and the journal.
    pub(super) fn log_end(&self) {
        tracing::debug!(
            provider = self.provider.name.as_str(),
            model = &*self.facts.model,
            status = self.progress.status.map(|status| status.as_u16()),
            "a call has ended"
        );
    }

    /// Who hears of the end of its hold.
    pub(super) fn closing(&self) -> Closing<'_> {
        let has_lost = || self.facts.runner.as_ref().is_some_and(Runner::has_lost);
        Closing {
            gateway: &self.gateway,
            span: self.facts.span.as_ref(),
            aside: self.progress.goes_on.then(has_lost),
        }
    }

    /// The same for an end that has to wait for the store.
    pub(super) fn closing_later(&self, told: Option<Box<EndedAs>>) -> Later {
        let context = self.log_context();
        let (gateway, span) = (Arc::clone(&self.gateway), self.facts.span.clone());
        let aside = self.closing().aside;
        Box::new(move |end| {
            let closing = Closing {
                gateway: &gateway,
                span: span.as_ref(),
                aside,
            };
            log::at(context, || closing.close(end, told));
        })
    }
}

/// Who hears of the end of a call's hold beside the journal: metrics, the log, the call's span.
pub(super) struct Closing<'a> {
    gateway: &'a Gateway,
    span: Option<&'a AskSpan>,
    /// Another record goes on with the call; true if it was another target that answered.
    aside: Option<bool>,
}

impl Closing<'_> {
    /// The hold has ended. Unless another record goes on with the call, its span has too.
    pub(super) fn close(&self, end: &End, told: Option<Box<EndedAs>>) {
        self.warn(&end.warned);
        let (Some(span), Some(mut told)) = (self.span, told) else {
            return;
        };
        if let Some(lost) = self.aside {
            span.end_aside(*told, lost);
            return;
        }
        (told.left_usd, told.left_turns) = (end.remaining.usd, end.remaining.turns);
        span.end(*told);
    }

    /// Accounts have crossed their `warn_at` with it.
    fn warn(&self, warned: &[Reached]) {
        for reached in warned {
            self.gateway.warn(reached);
            if let Some(span) = self.span {
                let limit = crate::config::Limit::name_in(&reached.key.limit);
                let more = [
                    ("limit", Said::Text(limit.into())),
                    ("meter", Said::Text(reached.meter.name().into())),
                    ("used", Said::Number(reached.used)),
                ];
                span.note("limit_warning", &more);
            }
        }
    }
}
