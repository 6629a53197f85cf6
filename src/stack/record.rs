//! What is known of a call from its hold to its end, and what remains of it: the journal entry, the
//! metrics, the span's end.
//!
//! Opened by `admit`, ended by `meter`. It owns the hold, and its `Drop` is the last resort: a call
//! that nobody ended is in doubt if it was sent, void if not.

mod cost;
mod end;
mod entry;
mod head;
mod shadow;
mod spans;
mod time;
mod tries;
mod versions;

pub(super) use entry::{Refusing, agent_joined, deny, deny_early, journal_entry, settle_opening};
pub use head::Charged;

use super::Refused;
use super::admit::Translation;
use super::check::Watched;
use super::race::Runner;
use super::route::{Course, Shadow};
use super::trace::Trace;
use crate::conversation::Lane;
use crate::dialect::answer::AnswerReader;
use crate::dialect::translate::Back;
use crate::dialect::{Answer, Call, Dialect};
use crate::flights::{Boarded, Flight, Stop};
use crate::gateway::health::Health;
use crate::gateway::places::Place;
use crate::gateway::{Gateway, Live, Provider};
use crate::ledger::Elastic;
use crate::log::{self, CallContext};
use crate::loops::Chanting;
use crate::price::Card;
use crate::purse::Hold;
use crate::task::Task;
use crate::traces::AskSpan;
use crate::units::{Amounts, RequestId};
use http::{HeaderValue, StatusCode};
use std::sync::Arc;

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
    /// Why, in a word; none if it is settled.
    #[must_use]
    pub const fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Settle { .. } => None,
            Self::Bounded { reason, .. } | Self::Doubt(reason) | Self::Void(reason) => Some(reason),
        }
    }

    /// All of an answer came, and it was no error.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        match self {
            Self::Settle { answer, .. } | Self::Bounded { answer, .. } => answer.error.is_none(),
            Self::Doubt(_) | Self::Void(_) => false,
        }
    }
}

/// One call between its hold and its end. As long as a stream is open, this and its [`Call`] are kept, so
/// what few calls have is boxed.
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
    /// The span, if spans are exported.
    pub span: Option<AskSpan>,
    /// The model as the provider names it.
    pub model: Arc<str>,
    /// The route that chose it, and where on its way the call is.
    pub course: Option<Box<Course>>,
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
    pub warning: Option<Box<HeaderValue>>,
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
    /// A stream of it is ended if it chants, by the rules for the call as it came.
    pub ends_chants: bool,
    /// Another target may be asked beside this one.
    pub runner: Option<Runner>,
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
        if let Some(span) = &facts.span {
            span.departs();
        }
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

    /// What is logged in here is about this call, whoever goes on with it.
    pub fn logs<T>(&self, work: impl FnOnce() -> T) -> T {
        log::at(self.log_context(), work)
    }

    fn log_context(&self) -> Option<CallContext> {
        Some(CallContext {
            request: self.facts.request.clone(),
            ids: self.facts.trace?.ids,
            whose: Arc::clone(&self.flight().attribution),
        })
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

    /// What of the answer is to be kept for a check, and to be told.
    #[must_use]
    pub fn keep(&self) -> crate::dialect::answer::Keep {
        let declared = self.facts.watched.declared.as_ref();
        let checked = declared.map(|declared| declared.keep()).unwrap_or_default();
        let is_named_later = self.call.ids.is_thread || self.flight().attribution.joined.is_some();
        let is_told = self.facts.span.as_ref().is_some_and(|span| span.tells());
        crate::dialect::answer::Keep {
            calls: checked.calls || is_named_later,
            text: checked.text || is_named_later,
            beginning: is_told,
        }
    }

    /// Noted just before the first byte leaves.
    pub fn sent(&mut self) {
        (self.progress.is_out, self.progress.told) = (true, false);
        let now = std::time::Instant::now();
        self.progress.sent = Some(now);
        if let Some(span) = &self.facts.span {
            span.sent(now, &self.provider, &self.facts.model);
        }
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
        if let Some(span) = &self.facts.span {
            span.answered(status);
        }
        if status.is_success() {
            self.health.alive();
            if let Some(runner) = &self.facts.runner {
                runner.hears();
            }
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
            if let Some(span) = &self.facts.span {
                span.first_piece();
            }
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

    /// Why its end is in doubt if it is read on without a caller and does not come in time.
    #[must_use]
    pub fn unread(&self) -> &'static str {
        match &self.facts.runner {
            Some(runner) if runner.has_lost() => "hedged",
            _ => "client_gone",
        }
    }

    /// A stream of this call is ended if it chants.
    #[must_use]
    pub const fn listens(&self) -> bool {
        self.facts.ends_chants
    }

    /// It does: a count and an event.
    pub fn chants(&self, chanting: Chanting) {
        let attribution = &self.flight().attribution;
        self.logs(|| {
            super::watch::chants(&self.gateway, attribution, &self.facts.request, chanting);
        });
        if let Some(span) = &self.facts.span {
            span.looped("chant", "end");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Allocators give a kibibyte to each, and a quarter more to anything larger.
    #[test]
    fn what_an_open_stream_keeps_is_small() {
        assert!(size_of::<Record>() <= 1_024, "{}", size_of::<Record>());
        // Two counters stand before what is shared.
        assert!(size_of::<Call>() <= 1_024 - 16, "{}", size_of::<Call>());
    }
}
