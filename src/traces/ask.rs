//! One ask of a call, as its record tells of it. A call that two targets are asked for at once (`hedge_after`)
//! is one span all the same: its tries say whose they are, and it is told once both asks are over.

use super::call::CallSpan;
use super::item::{Attempt, EndedAs, Lane, Said};
use super::tree::attempt_of;
use crate::gateway::Provider;
use http::StatusCode;
use std::sync::Arc;
use std::time::Instant;

/// Tries of one call that have a span, and of the ask beside it.
const MAX_ATTEMPTS: usize = 64;

/// One ask of a call.
#[derive(Clone)]
pub struct AskSpan {
    call: Arc<CallSpan>,
    lane: Lane,
}

impl AskSpan {
    /// Of this call.
    #[must_use]
    pub const fn new(call: Arc<CallSpan>, lane: Lane) -> Self {
        Self { call, lane }
    }

    /// Some exporter asks for what the call and its answer say.
    #[must_use]
    pub fn tells(&self) -> bool {
        self.call.tells()
    }

    /// A record ends it from here on.
    pub fn departs(&self) {
        let is_beside = self.lane == Lane::Second;
        self.call.tell(|data, traces| {
            data.departed = true;
            if is_beside {
                data.is_racing = true;
                if let Some(joined) = data.joined {
                    traces.tree.enter_aside(joined);
                }
            }
        });
    }

    /// The span of the next try: what the provider is told to stand below.
    #[must_use]
    pub fn next_attempt(&self) -> u64 {
        let mut span = 0;
        self.call
            .tell(|data, _| span = self.lane.next(&data.attempts, data.ids.span));
        span
    }

    /// A try is sent.
    pub fn sent(&self, at: Instant, provider: &Arc<Provider>, model: &Arc<str>) {
        self.call.tell(|data, traces| {
            if data.attempts.len() >= MAX_ATTEMPTS {
                return;
            }
            data.attempts.push(Attempt {
                span: self.lane.next(&data.attempts, data.ids.span),
                lane: self.lane,
                provider: Arc::clone(provider),
                model: Arc::clone(model),
                started: traces.at(at),
                first: None,
                ended: None,
                status: None,
                failed: None,
                cancelled: false,
            });
        });
    }

    /// The head of the answer has come.
    pub fn answered(&self, status: StatusCode) {
        self.of_try(|attempt, _| attempt.status = Some(status.as_u16()));
    }

    /// The first piece of a stream has come.
    pub fn first_piece(&self) {
        self.of_try(|attempt, now| {
            attempt.first.get_or_insert(now);
        });
    }

    /// The try is over, and why it came to nothing if it did.
    pub fn tried(&self, failed: Option<&'static str>) {
        self.of_try(|attempt, now| attempt.end(now, failed));
    }

    /// What it is told of its newest try.
    fn of_try(&self, told: impl FnOnce(&mut Attempt, u64)) {
        self.call.tell(|data, traces| {
            let mut own = data.attempts.iter_mut().rev();
            if let Some(attempt) = own.find(|attempt| attempt.lane == self.lane) {
                told(attempt, traces.at(Instant::now()));
            }
        });
    }

    /// Something happened to the call.
    pub fn note(&self, name: &'static str, more: &[(&'static str, Said)]) {
        self.call.note(name, more);
    }

    /// The answer goes round in circles; see [`CallSpan::looped`].
    pub fn looped(&self, rule: &str, action: &str) {
        self.call.looped(rule, action);
    }

    /// The call is over with it.
    pub fn end(&self, ended_as: EndedAs) {
        self.tried(ended_as.failed());
        self.call.end(ended_as);
    }

    /// It is over, and the call is not: another record goes on with it, or another target has answered
    /// (`lost`) or may yet.
    pub fn end_aside(&self, ended_as: EndedAs, lost: bool) {
        self.of_try(|attempt, now| {
            attempt.cancelled |= lost && attempt.ended.is_none();
            attempt.end(now, ended_as.failed().filter(|_| !lost));
        });
        self.call.end_aside(ended_as, self.lane != Lane::Alone);
    }
}

impl Lane {
    /// The span of its next try. Each lane counts its own, for both may send at once.
    fn next(self, attempts: &[Attempt], call: u64) -> u64 {
        let is_second = |lane: Self| lane == Self::Second;
        let own = attempts.iter();
        let own = own.filter(|attempt| is_second(attempt.lane) == is_second(self));
        let before = if is_second(self) { MAX_ATTEMPTS } else { 0 };
        attempt_of(call, before + own.count() + 1)
    }
}
