//! What remains of a call: its journal entry and its metrics. Also of calls that were refused, and of
//! what is no call.

use super::super::admit::NUDGED;
use super::super::race::Runner;
use super::super::{Refused, admit, trace::Trace, watch::Steps};
use super::Record;
use crate::attribution::Attribution;
use crate::clock;
use crate::dialect::{Answer, Call};
use crate::gateway::Gateway;
use crate::purse::{self, Hold};
use crate::store::{CallEntry, Ending, Entry};
use crate::units::{Amounts, Meter, NanoUsd, RequestId, UnixMs};
use std::sync::Arc;

impl Record {
    pub(super) fn entry(
        &self,
        ending: Ending,
        reason: Option<&'static str>,
        (quoted, charged, told): (Amounts, Amounts, Option<u64>),
        answer: Option<&mut Answer>,
        accounts: Arc<[crate::ledger::AccountKey]>,
        overrun: NanoUsd,
    ) -> CallEntry {
        let flight = self.flight();
        let translated = self.facts.translation.as_deref();
        // Of a call that ended well, that it was not sent as it came is worth a word.
        let noticed = self.facts.notice.filter(|notice| *notice == NUDGED);
        let reason = reason.or(self.facts.aside.then_some("summary"));
        let reason = reason.or(self
            .facts
            .trimmed
            .map(|trimmed| match trimmed.summary_bytes {
                0 => "trimmed",
                _ => "summarised",
            }));
        let reason = reason.or(noticed.map(|_| "nudged"));
        let mut no_answer = Answer::default();
        let answer = answer.unwrap_or(&mut no_answer);
        let answered = answer.model.take().map(|model| {
            let same = *model == *self.facts.model;
            if same {
                Arc::clone(&self.facts.model)
            } else {
                model.into()
            }
        });
        CallEntry {
            request: self.facts.request.shared(),
            admitted: flight.admitted,
            ended: clock::now(),
            attribution: Arc::clone(&flight.attribution),
            trace: self.facts.trace.map(|trace| trace.ids),
            dialect: self.dialect().name(),
            translated: translated.map(|translation| translation.target().name()),
            hedge: self.facts.runner.as_ref().and_then(Runner::row),
            model: Arc::clone(&self.facts.model),
            provider: Some(self.provider.name.shared()),
            answered,
            answer_id: answer.id.take(),
            ending,
            reason: reason.map(Arc::from),
            limit: None,
            quoted,
            charged,
            told,
            overrun,
            price_version: Arc::clone(self.live.catalogue.version()),
            route: (self.facts.course.as_ref()).map(|course| course.name()),
            asked: (self.facts.course.as_ref()).map(|course| Arc::clone(&course.asked)),
            shadow: (self.facts.shadow.as_deref())
                .map(|shadow| Box::new(self.shadowed(shadow, ending, &charged, answer))),
            tools: count_tools(answer),
            status: self.progress.status.map(|status| status.as_u16()),
            steps: self.facts.steps.clone().map(|steps| steps.0),
            joins: None,
            accounts,
        }
    }

    pub(super) fn count(
        &self,
        charged: &Amounts,
        ending: Ending,
        tools: &[(Arc<str>, u64)],
        overrun: NanoUsd,
    ) {
        let metrics = &self.gateway.metrics;
        if ending == Ending::Settle {
            let labels = self.live.labels(
                &self.flight().attribution,
                &self.provider.name,
                &self.facts.model,
            );
            metrics.call(&labels).charge(charged);
        }
        if let Some(translation) = &self.facts.translation {
            metrics.translated(translation.caller().name(), translation.target().name());
        }
        for (name, count) in tools {
            metrics.tools(name, *count);
        }
        if overrun > NanoUsd::ZERO {
            metrics
                .overrun_usd
                .inc_by(crate::ops::metrics::dollars(overrun));
            tracing::error!(
                provider = self.provider.name.as_str(),
                model = &*self.facts.model,
                overrun_usd = %overrun,
                "a provider billed more than its bound"
            );
        }
        if let Some(sent) = self.progress.sent {
            metrics.upstream.observe(sent.elapsed().as_secs_f64());
        }
    }
}

/// Tool names with their counts, in the order of their first use.
pub(super) fn count_tools(answer: &Answer) -> Vec<(Arc<str>, u64)> {
    let mut counts: Vec<(Arc<str>, u64)> = Vec::new();
    for (_, name) in &answer.tool_calls {
        match counts.iter_mut().find(|(known, _)| **known == **name) {
            Some((_, count)) => *count += 1,
            None => counts.push((name.as_str().into(), 1)),
        }
    }
    counts
}

/// An entry with what every entry says; the caller fills in the rest.
pub(in crate::stack) fn journal_entry(
    attribution: &Arc<Attribution>,
    admitted: UnixMs,
    ending: Ending,
    charged: Amounts,
) -> CallEntry {
    CallEntry {
        request: "-".into(),
        admitted,
        ended: clock::now(),
        attribution: Arc::clone(attribution),
        trace: None,
        dialect: "-",
        translated: None,
        hedge: None,
        model: "-".into(),
        provider: None,
        answered: None,
        answer_id: None,
        ending,
        reason: None,
        limit: None,
        quoted: Amounts::ZERO,
        charged,
        told: None,
        overrun: NanoUsd::ZERO,
        price_version: "-".into(),
        route: None,
        asked: None,
        shadow: None,
        tools: Vec::new(),
        status: None,
        steps: None,
        joins: None,
        accounts: Arc::new([]),
    }
}

fn entry_of(admission: &admit::Admission, ending: Ending, charged: Amounts) -> CallEntry {
    let mut entry = journal_entry(&admission.attribution, admission.now, ending, charged);
    entry.request = admission.request.shared();
    entry.trace = admission.trace.map(|trace| trace.ids);
    entry
}

/// The journal entry of a call that was refused here. Under a flood of refusals that the journal
/// cannot keep up with, entries are left out and counted.
pub(in crate::stack) fn deny(admission: &admit::Admission, refused: &Refused) {
    let gateway = &admission.gateway;
    let Ok(place) = gateway.purse.store().try_reserve() else {
        gateway.metrics.unjournalled.inc();
        return;
    };
    let mut entry = entry_of(admission, Ending::Denied, Amounts::ZERO);
    entry.dialect = admission.dialect().name();
    entry.translated = admission.translated_into();
    entry.model = Arc::clone(&admission.routed.model);
    entry.provider = Some(admission.routed.provider.name.shared());
    if let Some(course) = &admission.routed.course {
        entry.route = Some(course.name());
        entry.asked = Some(Arc::clone(&course.asked));
    }
    entry.shadow = (admission.routed.shadow.as_deref()).map(|shadow| Box::new(shadow.entry()));
    entry.reason = Some(refused.refusal.code().name().into());
    entry.limit = refused.refusal.limit().map(Arc::from);
    entry.steps = admission.steps.clone().map(|steps| steps.0);
    place.post(Entry::Call(Box::new(entry)));
}

/// The row that says that an agent came into its task, and who called it.
pub(in crate::stack) fn agent_joined(admission: &admit::Admission) -> CallEntry {
    let mut entry = entry_of(admission, Ending::Settle, Amounts::ZERO);
    entry.dialect = "task";
    entry.reason = Some("agent_joined".into());
    entry
}

/// A call that is refused before it is known where it would go.
pub(in crate::stack) struct Refusing<'a> {
    pub attribution: &'a Arc<Attribution>,
    pub request: &'a RequestId,
    pub trace: Option<Trace>,
    pub call: &'a Call,
    pub steps: Option<Steps>,
}

/// The same as [`deny`], for such a call.
pub(in crate::stack) fn deny_early(gateway: &Gateway, refusing: &Refusing<'_>, refused: &Refused) {
    let Ok(place) = gateway.purse.store().try_reserve() else {
        gateway.metrics.unjournalled.inc();
        return;
    };
    let (attribution, now) = (refusing.attribution, clock::now());
    let mut entry = journal_entry(attribution, now, Ending::Denied, Amounts::ZERO);
    entry.request = refusing.request.shared();
    entry.trace = refusing.trace.map(|trace| trace.ids);
    entry.dialect = refusing.call.dialect.name();
    entry.model = refusing.call.model.as_str().into();
    entry.reason = Some(refused.refusal.code().name().into());
    entry.limit = refused.refusal.limit().map(Arc::from);
    entry.steps = refusing.steps.clone().map(|steps| steps.0);
    place.post(Entry::Call(Box::new(entry)));
}

/// Ends the hold of a task's opening: one task, on the accounts that count them.
pub(in crate::stack) fn settle_opening(hold: Hold, admission: &admit::Admission) {
    let charged = Amounts::ZERO.with(Meter::Tasks, 1);
    if hold.accounts.is_empty() {
        return hold.let_go();
    }
    let mut entry = entry_of(admission, Ending::Settle, charged);
    entry.dialect = "task";
    entry.reason = Some("task_opened".into());
    entry.quoted = charged;
    entry.accounts = Arc::clone(&hold.accounts);
    let outcome = purse::Outcome::Settle(charged);
    admission.gateway.end(hold, outcome, Box::new(entry));
}
