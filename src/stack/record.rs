//! What is known of a call from its hold to its end, and what remains of it: the journal entry, the
//! metrics, the span's end.
//!
//! Opened by `admit`, ended by `meter`. It owns the hold, and its `Drop` is the last resort: a call
//! that nobody ended is in doubt if it was sent, void if not.

mod cost;
mod entry;
mod shadow;
mod tries;
mod versions;

pub(super) use entry::{Refusing, agent_joined, deny, deny_early, journal_entry, settle_opening};

use super::admit::Translation;
use super::check::{self, Watched};
use super::route::{Course, Shadow};
use super::trace::Trace;
use super::{Refused, headers};
use crate::clock;
use crate::conversation::Lane;
use crate::dialect::answer::AnswerReader;
use crate::dialect::translate::Back;
use crate::dialect::{Answer, Call, Dialect};
use crate::flights::{Boarded, Flight, Stop};
use crate::gateway::health::Health;
use crate::gateway::places::Place;
use crate::gateway::{Gateway, Live, Provider};
use crate::ledger::{Deadline, Elastic};
use crate::loops::Chanting;
use crate::price::Card;
use crate::purse::{self, Hold};
use crate::store::{Ending, TaskState};
use crate::task::Task;
use crate::units::{Amounts, Meter, NanoUsd, RequestId};
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

impl Outcome {
    /// All of an answer came, and it was no error.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        match self {
            Self::Settle { answer, .. } | Self::Bounded { answer, .. } => answer.error.is_none(),
            Self::Doubt(_) | Self::Void(_) => false,
        }
    }
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
    health: Arc<Health>,
    place: Option<Place>,
}

/// What `admit` found out.
pub struct Facts {
    /// `x-bursar-request-id`
    pub request: RequestId,
    /// The caller's trace and our span.
    pub trace: Option<Trace>,
    /// The model as the provider names it.
    pub model: Arc<str>,
    /// The route that chose it, and where on its way the call is.
    pub course: Option<Course>,
    /// Where a route that only watches would have sent it.
    pub shadow: Option<Arc<Shadow>>,
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
    /// Some cap counts attempts, so each is admitted by itself.
    pub counts_attempts: bool,
    /// What a cap on its context left out of it.
    pub trimmed: Option<super::admit::Trimmed>,
    /// The provider speaks another dialect than the caller.
    pub translation: Option<Arc<Translation>>,
    /// What the watch found new in it.
    pub steps: Option<super::watch::Steps>,
    /// It is a call of the gateway's own: a summary.
    pub aside: bool,
}

#[derive(Default)]
struct Progress {
    /// When it was sent first: the whole call is counted from there.
    begun: Option<std::time::Instant>,
    /// When it was sent last.
    sent: Option<std::time::Instant>,
    /// It was sent, and nobody has heard yet that it came to nothing.
    is_out: bool,
    /// Definite refusals of tries before this one, in number.
    refused: u64,
    /// Why the last try came to nothing.
    nothing: &'static str,
    /// The target has heard how the try ended.
    told: bool,
    /// Another record goes on with the call.
    goes_on: bool,
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
        let health = provider.healths.of(&facts.model);
        Self {
            health,
            place: None,
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

    /// The way from the answer into the caller's dialect, if that is another.
    #[must_use]
    pub fn back(&self) -> Option<&Back> {
        let translation = self.facts.translation.as_ref();
        translation.map(|translation| &translation.back)
    }

    /// The dialect that the caller speaks.
    fn dialect(&self) -> Dialect {
        match &self.facts.translation {
            None => self.call.dialect,
            Some(translation) => translation.caller(),
        }
    }

    /// What of the answer is to be kept for a check.
    #[must_use]
    pub fn keep(&self) -> crate::dialect::answer::Keep {
        let declared = self.facts.watched.declared.as_ref();
        let checked = declared.map(|declared| declared.keep()).unwrap_or_default();
        let is_named_later = self.call.ids.is_thread;
        crate::dialect::answer::Keep {
            calls: checked.calls || is_named_later,
            text: checked.text || is_named_later,
        }
    }

    /// Noted just before the first byte leaves.
    pub fn sent(&mut self) {
        (self.progress.is_out, self.progress.told) = (true, false);
        let now = std::time::Instant::now();
        self.progress.sent = Some(now);
        if self.progress.begun.is_some() {
            self.progress.status = None;
            return;
        }
        self.progress.begun = Some(now);
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
        if status.is_success() {
            self.health.alive();
        }
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
            .begun
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
        let sent = self.progress.begun.map(Instant::from_std);
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

    pub(super) fn end_once(&mut self, outcome: Outcome) -> Charged {
        self.tell_health(&outcome);
        let doubted = match outcome {
            Outcome::Doubt(_) => self.timed(self.doubted()),
            _ => Amounts::ZERO,
        };
        let Some(hold) = self.hold.take() else {
            return Charged::default();
        };
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
            self.hear(answer.as_deref());
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
        if self.progress.goes_on {
            return Charged {
                remaining: end.remaining,
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
        if let Some(translation) = &self.facts.translation {
            translation.stamp(head);
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
            let outcome = match (self.progress.is_out, self.progress.sent) {
                (true, _) => Outcome::Doubt("abandoned"),
                (false, Some(_)) => Outcome::Void(self.progress.nothing),
                (false, None) => Outcome::Void("not_sent"),
            };
            self.end_once(outcome);
        }
    }
}

impl Charged {
    /// What it cost, if that is certain.
    #[must_use]
    pub const fn cost(&self) -> Option<NanoUsd> {
        self.cost
    }

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
