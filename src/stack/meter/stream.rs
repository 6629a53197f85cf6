//! Streams: passed on as they are read, settled at their terminal event, cut where they go too far.

use super::error::Broken;
use super::finish::see_through;
use super::{Part, Underway};
use crate::dialect::answer::Cut;
use crate::dialect::translate::Stream;
use crate::stack::record::Outcome;
use crate::units::NanoUsd;
use bytes::Bytes;
use http_body::Body;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// A stream on its way to the caller.
pub struct Metered {
    underway: Underway,
    /// Fires when nothing has come for too long, or when the call's time is over.
    silence: Pin<Box<Sleep>>,
    last: Instant,
    between: Duration,
    /// Nothing more comes from upstream.
    over: bool,
    /// The caller speaks another dialect.
    translating: Option<Box<Stream>>,
    whole: Option<Whole>,
}

/// A stream that came to its end as its dialect has it.
#[derive(Clone, Copy, Debug)]
pub struct Whole {
    /// What it cost, if that is certain.
    pub cost: Option<NanoUsd>,
}

impl Metered {
    pub(super) fn new(underway: Underway) -> Self {
        let between = underway.record.as_ref().map_or(Duration::ZERO, |record| {
            record.provider.timeouts.between_bytes
        });
        let translating = underway
            .record
            .as_ref()
            .and_then(|record| Some(Box::new(record.back()?.stream())));
        let last = Instant::now();
        let by = underway
            .record
            .as_ref()
            .map_or(last, |record| record.until(last, between));
        Self {
            underway,
            silence: Box::pin(sleep_until(by)),
            last,
            between,
            over: false,
            translating,
            whole: None,
        }
    }

    /// Nobody will send the call again: its body need not be kept.
    pub fn forget_body(&mut self) {
        if let Some(record) = &mut self.underway.record {
            record.forget_body();
        }
    }

    /// What became of it, once it is over.
    #[must_use]
    pub const fn whole(&self) -> Option<Whole> {
        self.whole
    }

    /// The next piece for the caller.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            let Some(Part::Stream(body, filter)) = &mut self.underway.part else {
                return Poll::Ready(None);
            };
            if let Some(data) = filter.pop() {
                let Some(stream) = &mut self.translating else {
                    return Poll::Ready(Some(data));
                };
                let data = stream.push(&data);
                if data.is_empty() {
                    continue;
                }
                return Poll::Ready(Some(data));
            }
            if self.over {
                self.underway.part = None;
                return Poll::Ready(self.goodbye());
            }
            if let Some(record) = &self.underway.record
                && let Poll::Ready(stop) = record.flight().poll_stop(cx)
            {
                let refusal = record.stop_refusal(stop);
                return Poll::Ready(self.cut(&Cut::Error(&refusal.refusal)));
            }
            match Pin::new(body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    let Ok(data) = frame.into_data() else {
                        continue;
                    };
                    self.last = Instant::now();
                    if let Some(record) = &mut self.underway.record {
                        record.first_byte();
                    }
                    filter.push(data);
                    if let Some(ending) = self.read_on() {
                        return Poll::Ready(Some(ending));
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    let broken = Broken::Failed(error.to_string());
                    return Poll::Ready(self.broken(&broken));
                }
                Poll::Ready(None) => {
                    filter.end();
                    self.over = true;
                    self.conclude(true);
                }
                Poll::Pending => match self.poll_silence(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(ending) => return Poll::Ready(ending),
                },
            }
        }
    }

    /// After a chunk was read: settle at the terminal event, so that the caller's next call finds
    /// it settled; cut what goes on beyond what it was told.
    fn read_on(&mut self) -> Option<Bytes> {
        let (Some(Part::Stream(_, filter)), Some(record)) =
            (&mut self.underway.part, &self.underway.record)
        else {
            return None;
        };
        if filter.reader().terminal_seen() {
            self.conclude(true);
            return None;
        }
        if record.is_beyond(filter.reader()) {
            return self.cut(&Cut::Length(None));
        }
        if let Some(chanting) = filter.reader().chanting() {
            record.chants(chanting);
            return self.cut(&Cut::Length(None));
        }
        None
    }

    fn conclude(&mut self, clean: bool) {
        let Some(Part::Stream(_, filter)) = &mut self.underway.part else {
            return;
        };
        let Some(mut record) = self.underway.record.take() else {
            return;
        };
        let answer = filter.finish(clean);
        let outcome = record.outcome(answer);
        let is_whole = outcome.is_whole();
        let charged = record.end(outcome);
        self.whole = is_whole.then(|| Whole {
            cost: charged.cost(),
        });
    }

    /// Ends the caller's stream; upstream's goes on behind it, for its usage.
    fn cut(&mut self, cut: &Cut<'_>) -> Option<Bytes> {
        let Some(Part::Stream(_, filter)) = &mut self.underway.part else {
            return None;
        };
        let ending = filter.cut(*cut);
        let ending = self.last(ending);
        if let (Some(part), Some(record)) = (self.underway.part.take(), self.underway.record.take())
        {
            see_through(part, record);
        }
        Some(ending)
    }

    /// What its dialect has at the end, where upstream's has nothing.
    fn goodbye(&mut self) -> Option<Bytes> {
        let mut stream = self.translating.take()?;
        Some(stream.end()).filter(|last| !last.is_empty())
    }

    /// The last bytes for the caller, in its dialect.
    fn last(&mut self, ending: Bytes) -> Bytes {
        let Some(mut stream) = self.translating.take() else {
            return ending;
        };
        let last = [stream.push(&ending), stream.end()];
        last.concat().into()
    }

    /// Upstream broke off: the hold is in doubt, and the caller is told in its dialect.
    fn broken(&mut self, broken: &Broken) -> Option<Bytes> {
        let Some(Part::Stream(_, filter)) = &mut self.underway.part else {
            return None;
        };
        let Some(mut record) = self.underway.record.take() else {
            // All was said and settled; only the connection ended badly.
            self.underway.part = None;
            return self.goodbye();
        };
        let refusal = record.logs(|| broken.refusal(record.provider.name.as_str()));
        record.saw(filter.reader().visible_bytes());
        let ending = filter.cut(Cut::Error(&refusal.refusal));
        let ending = self.last(ending);
        self.underway.part = None;
        record.end(Outcome::Doubt(broken.reason()));
        Some(ending)
    }

    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if self.silence.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let Some(record) = &self.underway.record else {
                // Settled already; a provider that does not close is let go.
                self.underway.part = None;
                return Poll::Ready(self.goodbye());
            };
            if record.is_over() {
                let refusal = record.deadline_refusal();
                return Poll::Ready(self.cut(&Cut::Error(&refusal.refusal)));
            }
            let by = record.until(self.last, self.between);
            if by <= Instant::now() {
                return Poll::Ready(self.broken(&Broken::TimedOut));
            }
            self.silence.as_mut().reset(by);
        }
    }
}
