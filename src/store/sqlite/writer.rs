//! The one thread that writes. It gathers what was posted, commits it as a group, and answers the
//! verbs of the group after the commit.
//!
//! A posted entry lingers a few milliseconds for company; a verb (somebody waits for it) ends the
//! lingering at once. When a commit fails, the verbs of that group fail with its error (fail
//! closed) and the entries are kept and tried again; as the queue is no longer emptied, the places
//! run out and new calls are refused before they leave, so memory stays bounded.

mod job;

pub(in super::super) use job::Vitals;
use job::{Done, Work};
pub(super) use job::{Job, work};

use super::super::entry::{StartBody, StopBody};
use super::super::{Entry, Kind, StoreError};
use super::group::{Db, Group, Kept};
use super::retention::{self, Rotation};
use super::schema::{ChainHead, FileLock, Meta};
use super::{Loaded, Options, doubts, tasks};
use rusqlite::Connection;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, sleep_until};

/// Entries written in one transaction, at most.
const GROUP_ENTRIES: usize = 1_024;
/// Verbs answered by one transaction, at most.
const GROUP_JOBS: usize = 256;
/// Between two tries while the store cannot write, except that the first verb after it tries again.
const BACKOFF: Duration = Duration::from_millis(200);

/// Verbs to the writer (held weakly, for its own errands), and both queues' ends.
type Queues = (
    mpsc::WeakSender<Job>,
    mpsc::Receiver<Job>,
    mpsc::Receiver<Entry>,
);

/// The end is asked for, by a stop or because every handle is gone (then `done` is `None`, and the
/// places that are out are waited for without a deadline).
struct Stopping {
    deadline: Option<Instant>,
    done: Option<Done<bool>>,
}

/// Breaks only where a test plays `kill -9`.
type Flow = ControlFlow<Done<()>>;

/// The writer's state.
pub(super) struct Writer {
    conn: Connection,
    #[expect(dead_code, reason = "held until the writer ends")]
    lock: FileLock,
    meta: Meta,
    known: Kept,
    options: Options,
    errands: mpsc::WeakSender<Job>,
    jobs: mpsc::Receiver<Job>,
    posts: mpsc::Receiver<Entry>,
    /// False once every handle is gone.
    jobs_open: bool,
    /// False once every place is back and none can be reserved any more.
    posts_open: bool,
    /// Entries received and not yet committed, in order.
    kept: Vec<Entry>,
    /// When the queue was last found empty, Unix milliseconds.
    emptied_at: i64,
    vitals: Arc<Vitals>,
    retry_at: Option<Instant>,
    rotating: bool,
    stopping: Option<Stopping>,
}

impl Writer {
    pub(super) fn new(
        conn: Connection,
        lock: FileLock,
        meta: Meta,
        options: Options,
        queues: Queues,
        vitals: Arc<Vitals>,
    ) -> Self {
        let (errands, jobs, posts) = queues;
        Self {
            conn,
            lock,
            meta,
            known: Kept::default(),
            options,
            errands,
            jobs,
            posts,
            jobs_open: true,
            posts_open: true,
            kept: Vec::new(),
            emptied_at: 0,
            vitals,
            retry_at: None,
            rotating: false,
            stopping: None,
        }
    }

    /// Turns what a crash left unproven into doubt and journals the start. Before the thread runs.
    pub(super) fn load(&mut self) -> Result<Loaded, StoreError> {
        let after_crash = !self.meta.clean;
        let mut loaded = Loaded {
            epoch: self.meta.epoch,
            node: self.meta.node.clone(),
            after_crash,
            last_call_at: self.meta.head.last_call_at,
            switches: tasks::switches(&self.conn)?,
            seed: super::schema::seed(&self.conn)?,
            doubted: Vec::new(),
        };
        self.transact(|group| {
            let body = StartBody {
                epoch: group.epoch(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                after_crash,
            };
            group.append(Kind::Started, group.now(), None, &body)?;
            // After a clean stop nothing is outstanding, so this finds nothing then.
            loaded.doubted = doubts::raise_after_crash(group)?;
            Ok(())
        })?;
        Ok(loaded)
    }

    /// Runs one transaction, all or nothing.
    fn transact(&mut self, run: impl FnOnce(&mut Group<'_>) -> Db<()>) -> Result<(), StoreError> {
        let now = (self.options.clock)();
        let known = &mut self.known;
        let outcome = commit(&self.conn, known, self.meta.head, self.meta.epoch, now, run);
        match outcome {
            Ok(head) => {
                self.meta.head = head;
                Ok(())
            }
            Err(error) => {
                self.known = Kept::default();
                if !self.conn.is_autocommit() {
                    let _ = self.conn.execute_batch("ROLLBACK");
                }
                Err(self.successor().unwrap_or(error))
            }
        }
    }

    /// The epoch of a successor, as an error: its rows fail ours before ours are found to be late.
    fn successor(&self) -> Option<StoreError> {
        let ours = self.meta.epoch;
        let read = self
            .conn
            .query_row("SELECT epoch FROM meta", [], |row| row.get(0));
        let theirs = read.ok().filter(|theirs| *theirs != ours)?;
        Some(StoreError::Fenced { ours, theirs })
    }

    // === the loop ===

    async fn serve(mut self) {
        let mut tick = tokio::time::interval(self.options.tick);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !self.is_finished() {
            let mut works = Vec::new();
            if let ControlFlow::Break(done) = self.gather(&mut works, &mut tick).await {
                drop(self);
                let _ = done.send(Ok(()));
                return;
            }
            self.commit_group(works);
        }
        self.finish();
    }

    /// Waits for something to do, and a little for its company.
    async fn gather(&mut self, works: &mut Vec<Box<dyn Work>>, tick: &mut Interval) -> Flow {
        let wake_at = self.wake_at();
        let can_receive = self.posts_open && self.kept.len() < GROUP_ENTRIES;
        tokio::select! {
            biased;
            job = self.jobs.recv(), if self.jobs_open => self.take(job, works)?,
            entry = self.posts.recv(), if can_receive => match entry {
                Some(entry) => {
                    self.kept.push(entry);
                    self.linger(works).await?;
                }
                None => self.posts_open = false,
            },
            () = sleep_until(wake_at.unwrap_or_else(Instant::now)), if wake_at.is_some() => {}
            _ = tick.tick() => self.rotate(None),
        }
        while works.len() < GROUP_JOBS
            && let Ok(job) = self.jobs.try_recv()
        {
            self.take(Some(job), works)?;
        }
        // After the verbs: an entry posted before a verb was sent is then in the verb's group, or, if
        // they are many, in one before it.
        let mut behind = self.posts.len();
        loop {
            self.take_posts(&mut behind);
            if works.is_empty() || behind == 0 {
                break;
            }
            if let Err(error) = self.commit_kept() {
                for work in works.drain(..) {
                    work.answer(Err(error.clone()));
                }
                break;
            }
        }
        ControlFlow::Continue(())
    }

    /// Takes what is queued, up to a group's worth. `behind`: how many are known to stand there.
    fn take_posts(&mut self, behind: &mut usize) {
        let now = crate::clock::now().0;
        while self.kept.len() < GROUP_ENTRIES {
            let Ok(entry) = self.posts.try_recv() else {
                self.emptied_at = now;
                *behind = 0;
                return;
            };
            self.kept.push(entry);
            *behind = behind.saturating_sub(1);
        }
    }

    /// Commits the entries alone.
    fn commit_kept(&mut self) -> Result<(), StoreError> {
        let kept = std::mem::take(&mut self.kept);
        let outcome = self.transact(|group| kept.iter().try_for_each(|entry| group.post(entry)));
        self.kept = kept;
        match &outcome {
            Ok(()) => self.succeeded(),
            Err(error) => self.failed(error),
        }
        outcome
    }

    async fn linger(&mut self, works: &mut Vec<Box<dyn Work>>) -> Flow {
        let until = Instant::now() + self.options.linger;
        tokio::select! {
            biased;
            job = self.jobs.recv(), if self.jobs_open => self.take(job, works),
            () = sleep_until(until) => ControlFlow::Continue(()),
        }
    }

    /// When to act though nothing arrives: a retry, or the end of a stop's grace.
    fn wake_at(&self) -> Option<Instant> {
        let retry = if self.kept.is_empty() {
            None
        } else {
            self.retry_at
        };
        let grace = self
            .stopping
            .as_ref()
            .and_then(|stopping| stopping.deadline);
        match (retry, grace) {
            (Some(retry), Some(grace)) => Some(retry.min(grace)),
            (retry, grace) => retry.or(grace),
        }
    }

    fn take(&mut self, job: Option<Job>, works: &mut Vec<Box<dyn Work>>) -> Flow {
        match job {
            Some(Job::Work(work)) => works.push(work),
            Some(Job::Rotate(done)) => self.rotate(done),
            Some(Job::Archived(rotation)) => self.archived(rotation),
            Some(Job::Stop { grace, done }) => {
                self.posts.close();
                self.stopping = Some(Stopping {
                    deadline: Some(Instant::now() + grace),
                    done: Some(done),
                });
            }
            #[cfg(test)]
            Some(Job::PageLimit(more, done)) => {
                let pages: Result<i64, _> = self
                    .conn
                    .query_row("PRAGMA page_count", [], |row| row.get(0));
                let limit = more.map_or(1 << 30, |more| pages.unwrap_or(1) + more);
                let sql = format!("PRAGMA max_page_count = {limit}");
                let _: Result<i64, _> = self.conn.query_row(&sql, [], |row| row.get(0));
                let _ = done.send(Ok(()));
            }
            #[cfg(test)]
            Some(Job::ReadOnly(on, done)) => {
                let _ = self.conn.pragma_update(None, "query_only", on);
                let _ = done.send(Ok(()));
            }
            #[cfg(test)]
            Some(Job::Die(done)) => return ControlFlow::Break(done),
            None => {
                self.jobs_open = false;
                self.posts.close();
                self.stopping.get_or_insert(Stopping {
                    deadline: None,
                    done: None,
                });
            }
        }
        ControlFlow::Continue(())
    }

    /// One transaction for all that was gathered; the verbs are answered whatever happens.
    fn commit_group(&mut self, mut works: Vec<Box<dyn Work>>) {
        if works.is_empty() && self.kept.is_empty() {
            return;
        }
        if works.is_empty() && self.retry_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        let kept = std::mem::take(&mut self.kept);
        let outcome = self.transact(|group| {
            for entry in &kept {
                group.post(entry)?;
            }
            works.iter_mut().try_for_each(|work| work.run(group))
        });
        self.kept = kept;
        match &outcome {
            Ok(()) => self.succeeded(),
            Err(error) => self.failed(error),
        }
        for work in works {
            work.answer(outcome.clone());
        }
    }

    fn succeeded(&mut self) {
        self.vitals.wrote(self.kept.len(), self.emptied_at);
        self.kept.clear();
        if self.retry_at.take().is_some() {
            *self.vitals.fault.lock() = None;
            tracing::info!("the store can write again");
        }
    }

    fn failed(&mut self, error: &StoreError) {
        if self.retry_at.is_none() {
            tracing::error!(%error, kept_entries = self.kept.len(), "the store cannot write");
        }
        *self.vitals.fault.lock() = Some(error.clone());
        self.retry_at = Some(Instant::now() + BACKOFF);
    }

    // === retention ===

    /// Sees whether rows are due to leave the table, and has them archived beside the writer.
    fn rotate(&mut self, done: Option<Done<()>>) {
        let outcome = if self.rotating {
            Ok(())
        } else {
            self.start_rotation()
        };
        if let Err(error) = &outcome {
            tracing::error!(%error, "the journal could not be rotated");
        }
        if let Some(done) = done {
            let _ = done.send(outcome);
        }
    }

    fn start_rotation(&mut self) -> Result<(), StoreError> {
        let now = (self.options.clock)();
        let due = retention::due(&self.conn, &self.options.retention, now)?;
        let Some(through) = due else {
            return Ok(());
        };
        match self.options.retention.archive_dir.clone() {
            None => {
                let rotation = retention::without_archive(&self.conn, through)?;
                self.drop_rows(&rotation)?;
                // The next step is a job of its own, so that grants come between.
                if let Some(errands) = self.errands.upgrade() {
                    let _ = errands.try_send(Job::Rotate(None));
                }
                Ok(())
            }
            Some(directory) => {
                self.rotating = true;
                let errands = self.errands.clone();
                let path = self.conn.path().unwrap_or_default().to_owned();
                std::thread::Builder::new()
                    .name("bursar-archive".to_owned())
                    .spawn(move || {
                        let rotation = retention::archive(path.as_ref(), &directory, through);
                        if let Some(errands) = errands.upgrade() {
                            let _ = errands.blocking_send(Job::Archived(rotation));
                        }
                    })
                    .map(drop)
                    .map_err(|error| StoreError::Failed(format!("no thread: {error}")))
            }
        }
    }

    fn archived(&mut self, rotation: Result<Rotation, StoreError>) {
        self.rotating = false;
        let outcome = rotation.and_then(|rotation| self.drop_rows(&rotation));
        match outcome {
            Ok(()) => self.rotate(None),
            Err(error) => tracing::error!(%error, "the journal could not be rotated"),
        }
    }

    fn drop_rows(&mut self, rotation: &Rotation) -> Result<(), StoreError> {
        self.transact(|group| retention::drop_rows(group, rotation))
    }

    // === the end ===

    fn is_finished(&self) -> bool {
        let Some(stopping) = &self.stopping else {
            return false;
        };
        if !self.posts_open && self.kept.is_empty() {
            return true;
        }
        let cannot_write = self.retry_at.is_some();
        let all_written = self.kept.is_empty() && self.posts.is_empty();
        let too_late = stopping
            .deadline
            .is_some_and(|deadline| Instant::now() >= deadline);
        too_late && (cannot_write || all_written)
    }

    fn finish(mut self) {
        let clean = !self.posts_open && self.kept.is_empty();
        if !self.kept.is_empty() {
            let lost_entries = self.kept.len();
            tracing::error!(lost_entries, "entries could not be written before the end");
        }
        // Handles dropped without a stop leave the file as a crash would.
        let Some(done) = self.stopping.take().and_then(|stopping| stopping.done) else {
            return;
        };
        let outcome = self.close(clean).map(|()| clean);
        // The lock goes before the answer: who waited for the stop may open the file again.
        drop(self);
        let _ = done.send(outcome);
    }

    fn close(&mut self, clean: bool) -> Result<(), StoreError> {
        self.transact(|group| {
            if clean {
                doubts::give_all_back(group)?;
                group.conn.execute("UPDATE meta SET clean = 1", [])?;
            }
            let body = StopBody {
                epoch: group.epoch(),
                clean,
            };
            group
                .append(Kind::Stopped, group.now(), None, &body)
                .map(drop)
        })?;
        // Whatever still reads the file must not keep its log from being merged: a copy of the file
        // alone is then whole. If a reader is in the way, the next start merges it.
        let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
        let _: rusqlite::Result<i64> = self.conn.query_row(sql, [], |row| row.get(0));
        Ok(())
    }
}

fn commit(
    conn: &Connection,
    known: &mut Kept,
    head: ChainHead,
    epoch: i64,
    now: crate::units::UnixMs,
    run: impl FnOnce(&mut Group<'_>) -> Db<()>,
) -> Db<ChainHead> {
    let mut group = Group::begin(conn, known, head, epoch, now)?;
    run(&mut group)?;
    group.commit()
}

/// Runs the writer on a thread of its own.
pub(super) fn spawn(writer: Writer) -> Result<(), StoreError> {
    let failed = |error: std::io::Error| StoreError::Failed(format!("no writer thread: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(failed)?;
    std::thread::Builder::new()
        .name("bursar-store".to_owned())
        .spawn(move || runtime.block_on(writer.serve()))
        .map(drop)
        .map_err(failed)
}
