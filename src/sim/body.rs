//! The body of an answer: whole, broken off, or told event by event at the model's pace.

use super::Shared;
use super::behaviour::Ending;
use super::script::{Next, Pause, Script};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body::{Body, Frame, SizeHint};
use std::fmt;
use std::io::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// What was written before a drop is given this long to leave, so that a drop in mid-answer is one.
const FLUSH: Duration = Duration::from_millis(5);

/// The simulated provider drops the connection.
#[derive(Debug)]
pub struct Dropped;

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the simulated provider drops the connection")
    }
}

impl std::error::Error for Dropped {}

/// Tells the bill that an answer left in full.
pub struct Receipt {
    pub shared: Arc<Shared>,
    pub request: Box<str>,
}

/// How long to wait before which event.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub chunk: Duration,
    pub reasoning: Duration,
    pub usage: Duration,
}

impl Pace {
    const fn of(&self, pause: Pause) -> Duration {
        match pause {
            Pause::None => Duration::ZERO,
            Pause::Chunk => self.chunk,
            Pause::Reasoning => self.reasoning,
            Pause::Usage => self.usage,
        }
    }
}

/// An answer told event by event.
pub struct Told {
    script: Script,
    pace: Pace,
    /// When the event before this one was due: delays add up exactly, whatever the timer's grain.
    due: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
    held: Option<Bytes>,
    gzip: Option<GzEncoder<Vec<u8>>>,
    receipt: Option<Receipt>,
}

/// The beginning of an answer that never ends well.
pub struct Fragment {
    beginning: Option<Bytes>,
    ending: Ending,
    sleep: Option<Pin<Box<Sleep>>>,
}

/// The body of an answer.
pub enum SimBody {
    /// All of it at once.
    Whole(Option<Bytes>, Option<Receipt>),
    /// A part of it, and then a drop or nothing.
    Fragment(Fragment),
    /// Event by event.
    Told(Box<Told>),
}

impl SimBody {
    /// All of it at once.
    pub const fn whole(bytes: Bytes, receipt: Option<Receipt>) -> Self {
        Self::Whole(Some(bytes), receipt)
    }

    /// These bytes, and then a drop or nothing.
    pub const fn fragment(beginning: Bytes, ending: Ending) -> Self {
        Self::Fragment(Fragment {
            beginning: Some(beginning),
            ending,
            sleep: None,
        })
    }

    /// Event by event.
    pub fn told(script: Script, pace: Pace, gzip: bool, receipt: Option<Receipt>) -> Self {
        Self::Told(Box::new(Told {
            script,
            pace,
            due: None,
            sleep: None,
            held: None,
            gzip: gzip.then(|| GzEncoder::new(Vec::new(), Compression::fast())),
            receipt,
        }))
    }
}

impl Receipt {
    fn complete(self) {
        self.shared.books.completed(&self.request);
    }
}

impl Body for SimBody {
    type Data = Bytes;
    type Error = Dropped;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Dropped>>> {
        match self.get_mut() {
            Self::Whole(bytes, receipt) => {
                if let Some(receipt) = receipt.take() {
                    receipt.complete();
                }
                Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))))
            }
            Self::Fragment(fragment) => fragment.poll(cx),
            Self::Told(told) => told.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None, _))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes, _) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Fragment(_) | Self::Told(_) => SizeHint::default(),
        }
    }
}

type Polled = Poll<Option<Result<Frame<Bytes>, Dropped>>>;

impl Fragment {
    fn poll(&mut self, cx: &mut Context<'_>) -> Polled {
        match self.beginning.take() {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None => break_off(self.ending, &mut self.sleep, cx),
        }
    }
}

/// A drop, after what was written has left; or nothing at all, until the client goes.
fn break_off(ending: Ending, sleep: &mut Option<Pin<Box<Sleep>>>, cx: &mut Context<'_>) -> Polled {
    if ending == Ending::ErrorEvent {
        return Poll::Ready(None);
    }
    if ending == Ending::Stall {
        return Poll::Pending;
    }
    let sleep = sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(FLUSH)));
    ready!(sleep.as_mut().poll(cx));
    Poll::Ready(Some(Err(Dropped)))
}

impl Told {
    fn poll(&mut self, cx: &mut Context<'_>) -> Polled {
        loop {
            if let Some(held) = &self.held {
                if let Some(sleep) = &mut self.sleep {
                    ready!(sleep.as_mut().poll(cx));
                }
                let event = held.clone();
                self.held = None;
                return Poll::Ready(Some(Ok(Frame::data(self.encode(event)))));
            }
            match self.script.next() {
                Next::Event(pause, bytes) => {
                    self.wait(self.pace.of(pause));
                    self.held = Some(bytes);
                }
                Next::Broken(ending) => {
                    // The timer of the last event is over; this one is for the drop.
                    if self.due.take().is_some() {
                        self.sleep = None;
                    }
                    return break_off(ending, &mut self.sleep, cx);
                }
                Next::Over => {
                    if let Some(receipt) = self.receipt.take() {
                        receipt.complete();
                    }
                    let rest = self.gzip.take().and_then(|gzip| gzip.finish().ok());
                    let rest = rest.filter(|rest| !rest.is_empty());
                    return Poll::Ready(rest.map(|rest| Ok(Frame::data(rest.into()))));
                }
            }
        }
    }

    fn wait(&mut self, pause: Duration) {
        if pause.is_zero() {
            return;
        }
        let due = self.due.unwrap_or_else(Instant::now) + pause;
        self.due = Some(due);
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(due),
            None => self.sleep = Some(Box::pin(tokio::time::sleep_until(due))),
        }
    }

    /// Each event is flushed, so that a client can decode it when it comes.
    fn encode(&mut self, event: Bytes) -> Bytes {
        let Some(gzip) = &mut self.gzip else {
            return event;
        };
        // Writing into memory cannot fail.
        let _ = gzip.write_all(&event).and_then(|()| gzip.flush());
        std::mem::take(gzip.get_mut()).into()
    }
}
