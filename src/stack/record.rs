//! What is known of a call from its hold to its end, and what remains of it: the journal entry, the
//! metrics, the span's end.
//!
//! Opened by `admit`, ended by `meter`. It owns the hold, and its `Drop` is the last resort: a call
//! that nobody ended is in doubt if it was sent, void if not.

use super::admit::NUDGED;
use super::check::{self, Watched};
use super::tools::Asked;
use super::trace::Trace;
use super::{Refused, headers};
use crate::attribution::Attribution;
use crate::clock;
use crate::conversation::Lane;
use crate::dialect::answer::AnswerReader;
use crate::dialect::{Answer, Call, Dialect, Usage};
use crate::flights::{Boarded, Flight, Stop};
use crate::gateway::{Gateway, Live, Provider};
use crate::ledger::{Deadline, Elastic};
use crate::loops::Chanting;
use crate::price::{Card, Context};
use crate::purse::{self, Hold};
use crate::store::{CallEntry, Ending, Entry, TaskState};
use crate::task::Task;
use crate::units::{Amounts, Meter, NanoUsd, RequestId, UnixMs};
use http::{HeaderMap, HeaderValue, StatusCode};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How soon a call looks again at a task that is suspended, milliseconds.
const LOOK_AGAIN_MS: i64 = 1_000;

/// How a call ends, by the table of endings.
pub enum Outcome {
    /// At what the provider reported.
    Settle {
        /// What it comes to.
        charged: Amounts,
        /// The answer.
        answer: Box<Answer>,
    },
    /// Answered, but nobody can say at what cost: a bound, in doubt.
    Bounded {
        /// The bound.
        bound: Amounts,
        /// Why.
        reason: &'static str,
        /// The answer.
        answer: Box<Answer>,
    },
    /// The whole hold is in doubt.
    Doubt(&'static str),
    /// Not billed.
    Void(&'static str),
}

/// One call between its hold and its end.
pub struct Record {
    gateway: Arc<Gateway>,
    live: Arc<Live>,
    hold: Option<Hold>,
    boarded: Boarded,
    /// What the caller sent.
    pub call: Arc<Call>,
    /// Where it goes.
    pub provider: Arc<Provider>,
    /// The caller did not ask for usage in its stream, Bursar did.
    pub hide_usage: bool,
    facts: Facts,
    progress: Progress,
}

/// What `admit` found out.
pub struct Facts {
    /// `x-bursar-request-id`
    pub request: RequestId,
    /// The caller's trace and our span.
    pub trace: Option<Trace>,
    /// The model as the provider names it.
    pub model: Arc<str>,
    /// Its card; `None` where no cap in dollars covers an unpriced model.
    pub card: Option<Arc<Card>>,
    /// What was asked for beside the output.
    pub fixed: Amounts,
    /// The output side.
    pub elastic: Option<Elastic>,
    /// Input tokens known from earlier answers.
    pub known_input: u64,
    /// Where this answer's count will be kept.
    pub lane: Lane,
    /// When the head of the call was read.
    pub arrived: std::time::Instant,
    /// What kind of notice the model was given.
    pub notice: Option<&'static str>,
    /// What the call is a sign of.
    pub warning: Option<HeaderValue>,
    /// Its task, and for how long that had been suspended when the call was admitted, milliseconds.
    pub task: (Arc<Task>, u64),
    /// What is kept to see how it ends.
    pub watched: Watched,
    /// What a cap on its context left out of it.
    pub trimmed: Option<super::admit::Trimmed>,
}

#[derive(Default)]
struct Progress {
    sent: Option<std::time::Instant>,
    first_byte_seen: bool,
    status: Option<StatusCode>,
    /// Bytes of output that were seen.
    visible_bytes: u64,
}

/// What a plain answer is told of its cost.
#[derive(Default)]
pub struct Charged {
    cost: Option<NanoUsd>,
    /// The model that answered, if it is not the one asked for.
    answered: Option<Arc<str>>,
    remaining: crate::ledger::Remaining,
}

impl Record {
    /// Opens the record of a call that holds money.
    #[must_use]
    pub fn open(
        gateway: Arc<Gateway>,
        live: Arc<Live>,
        hold: Hold,
        boarded: Boarded,
        (call, provider, hide_usage): (Arc<Call>, Arc<Provider>, bool),
        facts: Facts,
    ) -> Self {
        let progress = Progress::default();
        Self {
            gateway,
            live,
            hold: Some(hold),
            boarded,
            call,
            provider,
            hide_usage,
            facts,
            progress,
        }
    }

    /// The gateway it passes.
    #[must_use]
    pub fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }

    /// The call on the list of those in flight.
    #[must_use]
    pub fn flight(&self) -> &Arc<Flight> {
        &self.boarded.flight
    }

    /// What of the answer is to be kept for a check.
    #[must_use]
    pub fn keep(&self) -> crate::dialect::answer::Keep {
        let declared = self.facts.watched.declared.as_ref();
        declared.map(|declared| declared.keep()).unwrap_or_default()
    }

    /// Noted just before the first byte leaves.
    pub fn sent(&mut self) {
        let now = std::time::Instant::now();
        self.progress.sent = Some(now);
        let overhead = now.duration_since(self.facts.arrived);
        self.gateway
            .metrics
            .overhead
            .observe(overhead.as_secs_f64());
    }

    /// The body is on its way: of the call only what was found in it is kept.
    pub fn forget_body(&mut self) {
        if let Some(call) = Arc::get_mut(&mut self.call) {
            call.body = bytes::Bytes::new();
            // Of the conversation only its end, which a count is learnt for.
            let links = &mut call.chain.links;
            links.drain(..links.len().saturating_sub(1));
            links.shrink_to_fit();
        }
    }

    /// The head of the answer has come.
    pub fn answered(&mut self, status: StatusCode) {
        self.progress.status = Some(status);
    }

    /// The first piece of a stream's body has come.
    pub fn first_byte(&mut self) {
        if !std::mem::replace(&mut self.progress.first_byte_seen, true)
            && let Some(sent) = self.progress.sent
        {
            self.gateway
                .metrics
                .first_token
                .observe(sent.elapsed().as_secs_f64());
        }
    }

    /// The moment by which something must come: `patience` from now, but within the call's time.
    #[must_use]
    pub fn until(&self, patience: Duration) -> Instant {
        let by = Instant::now() + patience;
        self.ends_by().map_or(by, |end| by.min(end))
    }

    /// The end of the call's time: the provider's total, or a `duration` cap.
    fn ends_by(&self) -> Option<Instant> {
        let total = self
            .progress
            .sent
            .map(|sent| sent + self.provider.timeouts.total);
        let deadline = self.left_ms().map(|left| {
            std::time::Instant::now() + Duration::from_millis(left.max(0).unsigned_abs())
        });
        let end = match (total, deadline) {
            (Some(total), Some(deadline)) => total.min(deadline),
            (one, other) => one.or(other)?,
        };
        Some(Instant::from_std(end))
    }

    fn deadline(&self) -> Option<&Deadline> {
        self.hold.as_ref()?.terms.deadline.as_ref()
    }

    /// What is left until a `duration` cap runs out, milliseconds; the clock stands still while the
    /// task is suspended, and then it is looked at again soon.
    fn left_ms(&self) -> Option<i64> {
        let at = self.deadline()?.at;
        let now = clock::now();
        let (task, paused_before) = &self.facts.task;
        let paused = task.paused_ms(now).saturating_sub(*paused_before);
        let left = at.0.saturating_add_unsigned(paused).saturating_sub(now.0);
        let stands_still = task.state() == TaskState::Suspended;
        Some(if stands_still {
            left.max(LOOK_AGAIN_MS)
        } else {
            left
        })
    }

    /// A `duration` cap has run out.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.left_ms().is_some_and(|left| left <= 0)
    }

    /// The provider has been waited for long enough: for `patience` since then, or for its total.
    #[must_use]
    pub fn is_out_of_patience(&self, since: Instant, patience: Duration) -> bool {
        let total = self.provider.timeouts.total;
        let sent = self.progress.sent.map(Instant::from_std);
        let now = Instant::now();
        now >= since + patience || sent.is_some_and(|sent| now >= sent + total)
    }

    /// What the caller is told when a `duration` cap has run out.
    #[must_use]
    pub fn deadline_refusal(&self) -> Refused {
        match self.deadline() {
            Some(deadline) => super::admit::deadline_refusal(&self.live, deadline),
            None => Refused::internal("what has no deadline is not over"),
        }
    }

    /// What the caller is told when somebody stopped its call.
    #[must_use]
    pub fn stop_refusal(&self, stop: Stop) -> Refused {
        super::admit::stop_refusal(&self.flight().attribution, stop)
    }

    /// So much output was seen up to now, in bytes.
    pub fn saw(&mut self, visible_bytes: u64) {
        self.progress.visible_bytes = visible_bytes;
    }

    /// The answer goes on although more was produced than the provider was told.
    #[must_use]
    pub fn is_beyond(&self, reader: &AnswerReader) -> bool {
        let reported = reader.output_tokens_reported();
        let told = self.told();
        reported.is_some_and(|reported| told.is_some_and(|told| reported > told))
            || self.is_more_than_told(reader.visible_bytes())
    }

    /// A stream of this call is ended if it chants.
    #[must_use]
    pub fn listens(&self) -> bool {
        super::watch::ends_chants(&self.live, &self.call, &self.flight().attribution)
    }

    /// It does: a count and an event.
    pub fn chants(&self, chanting: Chanting) {
        let attribution = &self.flight().attribution;
        super::watch::chants(&self.gateway, attribution, &self.facts.request, chanting);
    }

    /// So many bytes are more tokens than the provider was told, however long its tokens are.
    fn is_more_than_told(&self, visible_bytes: u64) -> bool {
        let floor = self
            .facts
            .card
            .as_ref()
            .map_or(u64::MAX, |card| card.most_bytes_per_token);
        self.told()
            .is_some_and(|told| visible_bytes > told.saturating_mul(floor))
    }

    /// Output tokens that the provider may produce in all; `None` if the call generates nothing.
    fn told(&self) -> Option<u64> {
        let (hold, elastic) = (self.hold.as_ref()?, self.facts.elastic.as_ref()?);
        let one = hold.terms.told.unwrap_or(elastic.want);
        Some(one.saturating_mul(elastic.outputs))
    }

    /// What an answer that is over comes to.
    #[must_use]
    pub fn outcome(&mut self, answer: Answer) -> Outcome {
        self.saw(answer.visible_bytes);
        if answer.error.is_some() && !answer.complete {
            return Outcome::Doubt("error_event");
        }
        if !answer.complete {
            return Outcome::Doubt("cut_short");
        }
        let answer = Box::new(answer);
        match answer
            .usage
            .as_ref()
            .filter(|usage| self.is_plausible(usage, &answer))
        {
            Some(usage) => {
                let charged = self.charge(usage, &answer);
                Outcome::Settle { charged, answer }
            }
            None => Outcome::Bounded {
                bound: self.bound(&answer),
                reason: "no_usage",
                answer,
            },
        }
    }

    /// Not zero, and not less than what was visibly produced.
    fn is_plausible(&self, usage: &Usage, answer: &Answer) -> bool {
        if usage.stated_cost.is_some() {
            return true;
        }
        let floor = self
            .facts
            .card
            .as_ref()
            .map_or(u64::MAX, |card| card.most_bytes_per_token);
        usage.all_input() > 0 && usage.all_output().saturating_mul(floor) >= answer.visible_bytes
    }

    fn charge(&self, usage: &Usage, answer: &Answer) -> Amounts {
        let usd = match &self.facts.card {
            Some(card) => {
                self.live
                    .catalogue
                    .charge(card, usage, &self.context())
                    .nano
            }
            None => usage.stated_cost.unwrap_or_default(),
        };
        let (input, output) = (usage.all_input(), usage.all_output());
        let known = if self.facts.known_input < input {
            self.facts.known_input
        } else {
            0
        };
        self.counted(answer)
            .with(Meter::Usd, usd.0.saturating_add(self.tool_fees(answer).0))
            .with(Meter::Tokens, input.saturating_add(output))
            .with(Meter::InputTokens, input)
            .with(Meter::OutputTokens, output)
            .with(Meter::FreshTokens, (input - known).saturating_add(output))
    }

    /// What of the request can select a price, where the answer does not say.
    fn context(&self) -> Context<'_> {
        let selectors = &self.call.selectors;
        Context {
            batch: false,
            service_tier: selectors.service_tier.as_deref(),
            speed: selectors.speed.as_deref(),
            inference_geo: selectors.inference_geo.as_deref(),
            at: Some(self.flight().admitted),
        }
    }

    /// The turn, and the tools that the answer asks for.
    fn counted(&self, answer: &Answer) -> Amounts {
        Amounts::ZERO
            .with(Meter::Turns, self.facts.fixed[Meter::Turns])
            .with(Meter::ToolCalls, answer.tool_calls.len() as u64)
    }

    /// Counts the answer's tools where limits count per tool.
    fn count_tools(&self, answer: &Answer) {
        if answer.tool_calls.is_empty() || !self.live.loaded.policies.limits_tools() {
            return;
        }
        let attribution = &self.flight().attribution;
        let asked = Asked {
            gateway: Arc::clone(&self.gateway),
            live: Arc::clone(&self.live),
            attribution: Arc::clone(attribution),
            facts: crate::config::Facts::new(
                attribution,
                Arc::clone(&self.facts.model),
                self.provider.name.shared(),
                self.call.dialect.name(),
            ),
            admitted: self.flight().admitted,
            tools: count_tools(answer),
        };
        asked.count();
    }

    /// The next call may go on from this answer by its id alone.
    fn keep_output(&self, answer: &Answer) {
        if let (Some(id), Some(output)) = (&answer.id, &answer.output) {
            let whose = (&*self.flight().attribution, &*self.call);
            let request = &self.facts.request;
            super::watch::answered(&self.gateway, whose, request, (id, output));
        }
    }

    fn tool_fees(&self, answer: &Answer) -> NanoUsd {
        let fees = answer
            .tool_calls
            .iter()
            .map(|(_, name)| self.live.loaded.policies.tool_prices().of(name).0);
        NanoUsd(fees.fold(0, u64::saturating_add))
    }

    /// The quoted input and one token per byte produced; the whole hold where output is unseen.
    fn bound(&self, answer: &Answer) -> Amounts {
        let quoted = self.quoted();
        let Some(elastic) = &self.facts.elastic else {
            return quoted;
        };
        let unseen = self
            .facts
            .card
            .as_ref()
            .is_none_or(|card| card.reasons_unseen)
            || !self.call.prompt.hosted_tools.is_empty();
        if unseen {
            return quoted.saturating_add(&self.counted(answer).with(Meter::Turns, 0));
        }
        let produced = self.quote_of(elastic, answer.visible_bytes);
        let bound = if self.is_more_than_told(answer.visible_bytes) {
            // Who did not keep to what it was told bills beyond the hold: nothing smaller is a bound.
            produced
        } else {
            Amounts(std::array::from_fn(|i| produced.0[i].min(quoted.0[i])))
        };
        bound.with(Meter::ToolCalls, answer.tool_calls.len() as u64)
    }

    /// The quoted input, and one token per byte of output.
    fn quote_of(&self, elastic: &Elastic, visible_bytes: u64) -> Amounts {
        let one = Elastic {
            outputs: 1,
            ..*elastic
        };
        one.quote(&self.facts.fixed, visible_bytes)
    }

    /// What an answer that broke off may cost: the whole hold; more, if more was seen than the
    /// provider was told.
    fn doubted(&self) -> Amounts {
        let (quoted, seen) = (self.quoted(), self.progress.visible_bytes);
        match &self.facts.elastic {
            Some(elastic) if self.is_more_than_told(seen) => {
                let produced = self.quote_of(elastic, seen);
                Amounts(std::array::from_fn(|i| produced.0[i].max(quoted.0[i])))
            }
            _ => quoted,
        }
    }

    fn quoted(&self) -> Amounts {
        self.hold
            .as_ref()
            .map_or(Amounts::ZERO, |hold| hold.terms.quoted)
    }

    /// Ends the hold, writes the journal entry, counts the metrics.
    pub fn end(mut self: Box<Self>, outcome: Outcome) -> Charged {
        self.end_once(outcome)
    }

    /// The task's pulse hears that the call is over.
    fn end_beat(&self, outcome: &Outcome) {
        let flight = self.flight();
        if flight.attribution.is_unattributed() {
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

    fn end_once(&mut self, outcome: Outcome) -> Charged {
        let doubted = match outcome {
            Outcome::Doubt(_) => self.doubted(),
            _ => Amounts::ZERO,
        };
        let Some(hold) = self.hold.take() else {
            return Charged::default();
        };
        let quoted = hold.terms.quoted;
        let told = hold.terms.told;
        self.end_beat(&outcome);
        let accounts = Arc::clone(&hold.accounts);
        let refused_upstream = self.progress.status.is_some();
        let (ending, reason, charged, mut answer) = match outcome {
            Outcome::Settle { charged, answer } => (Ending::Settle, None, charged, Some(answer)),
            Outcome::Bounded {
                bound,
                reason,
                answer,
            } => (Ending::Unreconciled, Some(reason), bound, Some(answer)),
            Outcome::Doubt(reason) => (Ending::Unreconciled, Some(reason), doubted, None),
            Outcome::Void(reason) => {
                let attempts = u64::from(refused_upstream);
                let charged = Amounts::ZERO.with(Meter::Attempts, attempts);
                (Ending::Void, Some(reason), charged, None)
            }
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
        }
        let ended = check::Ended {
            ending,
            reason,
            status: self.progress.status.map(|status| status.as_u16()),
            given: answer.as_mut().and_then(|answer| answer.given.take()),
            finish: answer.as_mut().and_then(|answer| answer.finish.take()),
        };
        let entry = self.entry(
            ending,
            reason,
            (quoted, charged, told),
            answer.as_deref_mut(),
            accounts,
            overrun,
        );
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
        let end = hold.end(outcome, Some(Box::new(entry)));
        for reached in &end.warned {
            self.gateway.warn(reached);
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
            remaining: end.remaining,
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
        // Only this dialect's calls go on from an answer by its id.
        if let Some(id) = &answer.id
            && self.call.dialect == Dialect::OpenaiResponses
        {
            let (dialect, model) = (self.call.dialect, &*self.facts.model);
            self.gateway
                .known
                .remember(dialect, model, id, charged[Meter::Tokens]);
            let attribution = &self.flight().attribution;
            self.gateway
                .answers
                .remember(attribution, id, charged[Meter::Tokens]);
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

    fn entry(
        &self,
        ending: Ending,
        reason: Option<&'static str>,
        (quoted, charged, told): (Amounts, Amounts, Option<u64>),
        answer: Option<&mut Answer>,
        accounts: Arc<[crate::ledger::AccountKey]>,
        overrun: NanoUsd,
    ) -> CallEntry {
        let flight = self.flight();
        // Of a call that ended well, that it was not sent as it came is worth a word.
        let noticed = self.facts.notice.filter(|notice| *notice == NUDGED);
        let reason = reason.or(self.facts.trimmed.map(|_| "trimmed"));
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
            dialect: self.call.dialect.name(),
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
            tools: count_tools(answer),
            status: self.progress.status.map(|status| status.as_u16()),
            accounts,
        }
    }

    fn count(
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
        for (name, count) in tools {
            metrics.tools(name, *count);
        }
        if overrun > NanoUsd::ZERO {
            metrics
                .overrun_usd
                .inc_by(crate::ops::metrics::dollars(overrun));
            tracing::error!(
                request = self.facts.request.as_str(),
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

    /// What every answer's head tells.
    pub fn stamp(&self, head: &mut HeaderMap) {
        let told = self.hold.as_ref().and_then(|hold| hold.terms.told);
        if let Some(told) = told.and_then(headers::number) {
            head.insert(&headers::OUTPUT_CAP, told);
        }
        if let Some(warning) = &self.facts.warning {
            head.insert(&headers::WARNING, warning.clone());
        }
        if let Some(notice) = self.facts.notice {
            head.insert(&headers::NOTICE, HeaderValue::from_static(notice));
        }
        if let Some(trimmed) = self.facts.trimmed.and_then(headers::number) {
            head.insert(&headers::TRIMMED, trimmed);
        }
        if let Ok(model) = HeaderValue::from_str(&self.facts.model) {
            head.insert(&headers::MODEL, model);
        }
    }

    /// What the head of a stream tells of what is left, while its cost is not known.
    pub fn stamp_remaining(&self, head: &mut HeaderMap) {
        if let Some(hold) = &self.hold {
            stamp_remaining(head, &hold.terms.remaining);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.hold.is_some() {
            let outcome = match self.progress.sent {
                Some(_) => Outcome::Doubt("abandoned"),
                None => Outcome::Void("not_sent"),
            };
            self.end_once(outcome);
        }
    }
}

impl Charged {
    /// Puts the cost and what is left into a plain answer's head.
    pub fn stamp(&self, head: &mut HeaderMap) {
        if let Some(cost) = self.cost.and_then(headers::number) {
            head.insert(&headers::COST_USD, cost);
        }
        let answered = self.answered.as_deref();
        if let Some(model) = answered.and_then(|model| HeaderValue::from_str(model).ok()) {
            head.insert(&headers::MODEL, model);
        }
        stamp_remaining(head, &self.remaining);
    }
}

fn stamp_remaining(head: &mut HeaderMap, remaining: &crate::ledger::Remaining) {
    if let Some(usd) = remaining.usd.and_then(headers::number) {
        head.insert(&headers::REMAINING_USD, usd);
    }
    if let Some(turns) = remaining.turns.and_then(headers::number) {
        head.insert(&headers::REMAINING_TURNS, turns);
    }
}

/// Tool names with their counts, in the order of their first use.
fn count_tools(answer: &Answer) -> Vec<(Arc<str>, u64)> {
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
pub(super) fn journal_entry(
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
        tools: Vec::new(),
        status: None,
        accounts: Arc::new([]),
    }
}

fn entry_of(admission: &super::admit::Admission, ending: Ending, charged: Amounts) -> CallEntry {
    let mut entry = journal_entry(&admission.attribution, admission.now, ending, charged);
    entry.request = admission.request.shared();
    entry.trace = admission.trace.map(|trace| trace.ids);
    entry
}

/// The journal entry of a call that was refused here. Under a flood of refusals that the journal
/// cannot keep up with, entries are left out and counted.
pub(super) fn deny(admission: &super::admit::Admission, refused: &Refused) {
    let gateway = &admission.gateway;
    let Ok(place) = gateway.purse.store().try_reserve() else {
        gateway.metrics.unjournalled.inc();
        return;
    };
    let mut entry = entry_of(admission, Ending::Denied, Amounts::ZERO);
    entry.dialect = admission.call.dialect.name();
    entry.model = Arc::clone(&admission.routed.model);
    entry.provider = Some(admission.routed.provider.name.shared());
    entry.reason = Some(refused.refusal.code().name().into());
    entry.limit = refused.refusal.limit().map(Arc::from);
    place.post(Entry::Call(Box::new(entry)));
}

/// The row that says that an agent came into its task, and who called it.
pub(super) fn agent_joined(admission: &super::admit::Admission) -> CallEntry {
    let mut entry = entry_of(admission, Ending::Settle, Amounts::ZERO);
    entry.dialect = "task";
    entry.reason = Some("agent_joined".into());
    entry
}

/// A call that is refused before it is known where it would go.
pub(super) struct Refusing<'a> {
    pub attribution: &'a Arc<Attribution>,
    pub request: &'a RequestId,
    pub trace: Option<Trace>,
    pub call: &'a Call,
}

/// The same as [`deny`], for such a call.
pub(super) fn deny_early(gateway: &Gateway, refusing: &Refusing<'_>, refused: &Refused) {
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
    place.post(Entry::Call(Box::new(entry)));
}

/// Ends the hold of a task's opening: one task, on the accounts that count them.
pub(super) fn settle_opening(hold: Hold, admission: &super::admit::Admission) {
    let charged = Amounts::ZERO.with(Meter::Tasks, 1);
    if hold.accounts.is_empty() {
        return hold.let_go();
    }
    let mut entry = entry_of(admission, Ending::Settle, charged);
    entry.dialect = "task";
    entry.reason = Some("task_opened".into());
    entry.quoted = charged;
    entry.accounts = Arc::clone(&hold.accounts);
    drop(hold.end(purse::Outcome::Settle(charged), Some(Box::new(entry))));
}
