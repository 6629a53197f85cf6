//! One answer as it comes in, for whoever reads it meanwhile or afterwards.
//!
//! **Invariant:** what a reader has seen is a prefix of the answer, in order. As long as the answer is
//! within its bound, every reader sees all of it, whenever it comes; an answer that outgrows the bound
//! goes on for the readers there are, at the pace of the slowest, and nobody joins any more.

use crate::units::NanoUsd;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// The head of an answer.
#[derive(Clone, Debug)]
pub struct Head {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All of it is there, and it may be given again. What it cost, where that is known.
    Whole(Option<NanoUsd>),
    /// It is over and is not given again.
    Over,
    /// It broke off, or there never was any.
    Broken,
}

#[derive(Default)]
struct State {
    head: Option<Head>,
    pieces: VecDeque<Bytes>,
    /// Pieces let go before the first that is there.
    gone: usize,
    /// Of the pieces that are there.
    bytes: usize,
    end: Option<End>,
    outgrown: bool,
    /// The next piece of each reader, by its number.
    readers: Vec<(u64, usize)>,
    next_reader: u64,
    waiting: Vec<Waker>,
}

/// An answer that is read again.
#[derive(Default)]
pub struct Recording(Mutex<State>);

impl Recording {
    /// An answer that is there already.
    #[must_use]
    pub fn whole(head: Head, pieces: Vec<Bytes>, cost: Option<NanoUsd>) -> Arc<Self> {
        let bytes = pieces.iter().map(Bytes::len).sum::<usize>();
        Arc::new(Self(Mutex::new(State {
            head: Some(head),
            pieces: pieces.into(),
            bytes,
            end: Some(End::Whole(cost)),
            ..State::default()
        })))
    }

    /// Bytes that are held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let state = self.0.lock();
        state.bytes + state.head.as_ref().map_or(0, head_bytes)
    }

    /// Its head, once it has come.
    #[must_use]
    pub fn head(&self) -> Option<Head> {
        self.0.lock().head.clone()
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        self.0.lock().end
    }

    /// Head and body as far as they have come; `None` if it has outgrown its bound.
    #[must_use]
    pub fn content(&self) -> Option<(Head, Vec<Bytes>)> {
        let state = self.0.lock();
        let head = state.head.clone().filter(|_| !state.outgrown)?;
        Some((head, state.pieces.iter().cloned().collect()))
    }

    /// The head has come.
    pub fn begin(&self, head: Head) {
        let mut state = self.0.lock();
        state.head = Some(head);
        state.wake();
    }

    /// More has come. True if it has outgrown `most` bytes just now.
    pub fn push(&self, piece: Bytes, most: usize) -> bool {
        let mut state = self.0.lock();
        state.bytes += piece.len();
        state.pieces.push_back(piece);
        let outgrown = !state.outgrown && state.bytes > most;
        state.outgrown |= outgrown;
        state.trim();
        state.wake();
        outgrown
    }

    /// Nothing more comes.
    pub fn finish(&self, end: End) {
        let mut state = self.0.lock();
        if state.end.is_none() {
            let is_kept = state.head.is_some() && !state.outgrown;
            state.end = Some(match end {
                End::Whole(_) if !is_kept => End::Over,
                end => end,
            });
        }
        state.wake();
    }

    /// Waits until an outgrown answer has room for more. False if nobody reads it any more.
    pub async fn room(&self, most: usize) -> bool {
        poll_fn(|cx| {
            let mut state = self.0.lock();
            if !state.outgrown || (state.bytes <= most && !state.readers.is_empty()) {
                return Poll::Ready(true);
            }
            if state.readers.is_empty() {
                return Poll::Ready(false);
            }
            state.wait(cx);
            Poll::Pending
        })
        .await
    }

    /// Joins: the head, once it is there, and the body from its beginning. `None` if there will be none, or
    /// it has outgrown what is kept.
    pub async fn join(self: &Arc<Self>) -> Option<(Head, Reader)> {
        poll_fn(|cx| {
            let mut state = self.0.lock();
            if state.outgrown {
                return Poll::Ready(None);
            }
            let Some(head) = state.head.clone() else {
                if state.end.is_some() {
                    return Poll::Ready(None);
                }
                state.wait(cx);
                return Poll::Pending;
            };
            let number = state.next_reader;
            state.next_reader += 1;
            state.readers.push((number, 0));
            let recording = Arc::clone(self);
            Poll::Ready(Some((head, Reader { recording, number })))
        })
        .await
    }
}

impl State {
    fn wait(&mut self, cx: &Context<'_>) {
        if !self.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            self.waiting.push(cx.waker().clone());
        }
    }

    fn wake(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }

    /// Lets go of what every reader has seen of an answer that is not kept.
    fn trim(&mut self) {
        let Some(least) = self.readers.iter().map(|(_, at)| *at).min() else {
            return;
        };
        while self.outgrown && self.gone < least {
            if let Some(piece) = self.pieces.pop_front() {
                self.bytes = self.bytes.saturating_sub(piece.len());
            }
            self.gone += 1;
        }
    }
}

fn head_bytes(head: &Head) -> usize {
    let each = head.headers.iter();
    each.map(|(name, value)| name.as_str().len() + value.len() + 64)
        .sum()
}

/// The body of an answer, read from its beginning.
pub struct Reader {
    recording: Arc<Recording>,
    number: u64,
}

impl Reader {
    /// The next piece.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let mut state = self.recording.0.lock();
        let state = &mut *state;
        let Some((_, at)) = state
            .readers
            .iter_mut()
            .find(|(number, _)| *number == self.number)
        else {
            return Poll::Ready(None);
        };
        if let Some(piece) = state.pieces.get(*at - state.gone) {
            let piece = piece.clone();
            *at += 1;
            if state.outgrown {
                state.trim();
                state.wake();
            }
            return Poll::Ready(Some(Ok(piece)));
        }
        match state.end {
            None => {
                state.wait(cx);
                Poll::Pending
            }
            Some(End::Whole(_) | End::Over) => Poll::Ready(None),
            Some(End::Broken) => {
                let error =
                    io::Error::new(io::ErrorKind::ConnectionAborted, "the answer broke off");
                Poll::Ready(Some(Err(error)))
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.recording.0.lock();
        state.readers.retain(|(number, _)| *number != self.number);
        state.trim();
        state.wake();
    }
}
