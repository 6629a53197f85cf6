//! What is asked of the writer, how it is answered, and how the writer does.

use super::super::super::{Health, StoreError};
use super::super::group::{Db, Group};
use super::super::retention::Rotation;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;

/// A verb on its way through the writer.
pub(in super::super) trait Work: Send {
    /// Does it, inside the transaction. Called once.
    fn run(&mut self, group: &mut Group<'_>) -> Db<()>;
    /// Answers it, after the commit or with what prevented it.
    fn answer(self: Box<Self>, outcome: Result<(), StoreError>);
}

struct Verb<T, F> {
    run: Option<F>,
    outcome: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Work for Verb<T, F>
where
    T: Send + 'static,
    F: FnOnce(&mut Group<'_>) -> Db<Result<T, StoreError>> + Send + 'static,
{
    fn run(&mut self, group: &mut Group<'_>) -> Db<()> {
        if let Some(run) = self.run.take() {
            self.outcome = Some(run(group)?);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Result<(), StoreError>) {
        let answer = match outcome {
            Ok(()) => self.outcome.unwrap_or(Err(StoreError::Stopped)),
            Err(error) => Err(error),
        };
        // Whoever asked may have gone; a grant nobody took is in the account and is given back with it.
        let _ = self.reply.send(answer);
    }
}

/// A verb and where its answer will be.
pub(in super::super) fn work<T: Send + 'static>(
    run: impl FnOnce(&mut Group<'_>) -> Db<Result<T, StoreError>> + Send + 'static,
) -> (Box<dyn Work>, oneshot::Receiver<Result<T, StoreError>>) {
    let (reply, wait) = oneshot::channel();
    let verb = Verb {
        run: Some(run),
        outcome: None,
        reply,
    };
    (Box::new(verb), wait)
}

pub(super) type Done<T> = oneshot::Sender<Result<T, StoreError>>;

/// What is asked of the writer.
pub(in super::super) enum Job {
    Work(Box<dyn Work>),
    /// Somebody may wait for it, or it is a further step.
    Rotate(Option<Done<()>>),
    Archived(Result<Rotation, StoreError>),
    Stop {
        grace: Duration,
        done: Done<bool>,
    },
    #[cfg(test)]
    PageLimit(Option<i64>, Done<()>),
    #[cfg(test)]
    ReadOnly(bool, Done<()>),
    #[cfg(test)]
    Die(Done<()>),
}

/// How the writer does, readable from outside.
#[derive(Debug, Default)]
pub(in super::super::super) struct Vitals {
    /// Entries that were posted: counted before they are in the queue.
    posted: AtomicU64,
    /// Entries that were committed.
    written: AtomicU64,
    /// When the oldest entry not yet written was posted at the earliest, Unix milliseconds; 0: nobody
    /// has noted it.
    waiting_since: AtomicI64,
    pub(super) fault: Mutex<Option<StoreError>>,
}

impl Vitals {
    /// An entry is about to be in the queue.
    pub(in super::super::super) fn posting(&self) {
        self.posted.fetch_add(1, Ordering::AcqRel);
        if self.waiting_since.load(Ordering::Acquire) == 0 {
            let now = crate::clock::now().0;
            // Whoever was first is the oldest.
            let _ =
                self.waiting_since
                    .compare_exchange(0, now, Ordering::AcqRel, Ordering::Acquire);
        }
    }

    /// So many entries are committed. Those that still wait were posted after `gathered`.
    pub(super) fn wrote(&self, entries: usize, gathered: i64) {
        let written = self.written.fetch_add(entries as u64, Ordering::AcqRel) + entries as u64;
        let all = written == self.posted.load(Ordering::Acquire);
        let since = if all { 0 } else { gathered };
        self.waiting_since.store(since, Ordering::Release);
    }

    pub(in super::super) fn read(&self) -> Health {
        let since = self.waiting_since.load(Ordering::Acquire);
        let waiting = self.posted.load(Ordering::Acquire) != self.written.load(Ordering::Acquire);
        let waited = match (waiting, since) {
            (false, _) => 0,
            // Posted just now.
            (true, 0) => 1,
            (true, since) => crate::clock::now().0.saturating_sub(since).max(1),
        };
        Health {
            fault: self.fault.lock().clone(),
            lag: Duration::from_millis(u64::try_from(waited).unwrap_or(1)),
        }
    }
}
