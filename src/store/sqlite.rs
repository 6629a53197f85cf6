//! The SQLite store: one file, one writer thread, commits in groups, readers beside it.
//!
//! Verbs travel as closures to the writer and are answered after their group is committed; call
//! entries travel through a bounded queue whose places are reserved before a call leaves. Queries
//! run on a read-only connection of their own and never wait for the writer.

mod doubts;
mod escalations;
mod grants;
mod group;
mod pins;
mod retention;
mod schema;
mod tasks;
mod writer;

pub(super) use doubts::CRASH;
pub(super) use escalations::{
    COLUMNS as ESCALATION_COLUMNS, DELIVERY_COLUMNS, read as read_escalation, read_delivery,
};
pub(super) use group::{BLOCK_ROWS, task_digest};
pub(super) use pins::pins as read_pins;
pub use retention::Retention;
pub(super) use schema::{Meta, check_version, read_meta, schema_of, unpack};
pub(super) use tasks::{COLUMNS as TASK_COLUMNS, read as read_task};

use super::read::{
    AccountFilter, AccountRow, CallRow, DoubtFilter, EscalationFilter, Reader, ReportQuery,
    ReportRow, TaskFilter,
};
use super::{
    Balance, DeliveryEnd, Doubt, Entry, EscalationEnded, EscalationOpened, Evidence, Grant, Health,
    ModelPin, Opened, Outbox, Pending, Place, Reconciled, Release, Store, StoreError, Switch,
    TaskOpening, TaskRecord, TaskState,
};
use crate::escalation::{Deciding, Escalation, Opening};
use crate::ledger::{AccountKey, Caps};
use crate::units::{AgentId, Amounts, TaskKey, UnixMs};
use grants::{Needed, OpenStep};
use group::{Db, Group};
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
pub(super) use writer::Vitals;
use writer::{Job, Writer};

/// Journal places unless configured otherwise, in calls: calls in flight and ends not yet written.
const PLACES: usize = 16_384;
/// Verbs waiting for the writer, in number; more wait outside.
const JOBS: usize = 1_024;
/// How long a posted entry waits for company unless configured otherwise.
const LINGER: Duration = Duration::from_millis(20);
/// How often the writer looks after retention.
const TICK: Duration = Duration::from_secs(60);

/// What a commit survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// `kill -9`, but a loss of power may cost the newest groups.
    #[default]
    Process,
    /// A loss of power: every group is synced.
    Power,
}

/// How to open the store.
#[derive(Clone, Debug)]
pub struct Options {
    /// The database file.
    pub path: PathBuf,
    /// What a commit survives.
    pub durability: Durability,
    /// Journal places, in calls.
    pub places: usize,
    /// How long a posted entry waits for company.
    pub linger: Duration,
    /// What leaves the journal table, and where it goes.
    pub retention: Retention,
    /// How often retention is looked after.
    pub tick: Duration,
    /// What time it is.
    pub clock: fn() -> UnixMs,
}

impl Options {
    /// The defaults, on this file.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            durability: Durability::default(),
            places: PLACES,
            linger: LINGER,
            retention: Retention::default(),
            tick: TICK,
            clock: crate::clock::now,
        }
    }
}

/// What digests of conversations are keyed with. Secret.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Seed(pub [u8; 32]);

impl std::fmt::Debug for Seed {
    /// Never the seed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seed")
    }
}

/// What was found at start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// This process's epoch.
    pub epoch: i64,
    /// Which store it is: drawn when its file was made.
    pub node: String,
    /// The process before it did not stop in good order.
    pub after_crash: bool,
    /// The newest call's time: no window opens before it, wherever the clock stands now.
    pub last_call_at: UnixMs,
    /// What it left unproven, now in doubt: account by account.
    pub doubted: Vec<(AccountKey, Amounts)>,
    /// The stop buttons that are pressed.
    pub switches: Vec<Switch>,
    /// What digests of conversations are keyed with.
    pub seed: Seed,
}

/// The SQLite store. Dropped without [`Store::stop`], it writes what was posted and leaves the
/// allotments as a crash would.
#[derive(Debug)]
pub struct SqliteStore {
    jobs: mpsc::Sender<Job>,
    posts: mpsc::Sender<Entry>,
    vitals: Arc<Vitals>,
    /// For what calls wait on: a task or an account by its key, a seed.
    reader: Arc<Mutex<Reader>>,
    /// For what people ask, which may walk the whole journal.
    books: Arc<Mutex<Reader>>,
}

impl SqliteStore {
    /// Opens the file, turns what a crash left unproven into doubt, and starts the writer. Blocks.
    ///
    /// # Errors
    /// [`StoreError`]: locked by another gateway, damaged, read-only, of a newer version.
    pub fn open(options: Options) -> Result<(Self, Loaded), StoreError> {
        let (conn, lock, meta) = schema::open(&options)?;
        let path = PathBuf::from(conn.path().unwrap_or_default());
        let vitals = Arc::new(Vitals::default());
        let (jobs, jobs_out) = mpsc::channel(JOBS);
        let (posts, posts_out) = mpsc::channel(options.places.max(1));
        let queues = (jobs.downgrade(), jobs_out, posts_out);
        let mut writer = Writer::new(conn, lock, meta, options, queues, Arc::clone(&vitals));
        let loaded = writer.load()?;
        let reader = Arc::new(Mutex::new(Reader::open(&path)?));
        let books = Arc::new(Mutex::new(Reader::open(&path)?));
        writer::spawn(writer)?;
        let store = Self {
            jobs,
            posts,
            vitals,
            reader,
            books,
        };
        Ok((store, loaded))
    }

    /// Looks after retention now rather than at the next tick.
    ///
    /// # Errors
    /// [`StoreError::Stopped`].
    pub async fn rotate(&self) -> Result<(), StoreError> {
        let (done, wait) = oneshot::channel();
        self.send(Job::Rotate(Some(done))).await?;
        wait.await.map_err(|_| StoreError::Stopped)?
    }

    /// Ends the writer at once, as `kill -9` would, but frees the file's lock.
    #[cfg(test)]
    pub(crate) async fn die(self) {
        let (done, wait) = oneshot::channel();
        if self.jobs.send(Job::Die(done)).await.is_ok() {
            let _ = wait.await;
        }
    }

    /// Makes the file as large as it may get (`Some`: it may grow by this many pages), so that the
    /// disk is full, or lifts that again.
    #[cfg(test)]
    pub(crate) async fn set_page_limit(&self, more_pages: Option<i64>) {
        let (done, wait) = oneshot::channel();
        if self.send(Job::PageLimit(more_pages, done)).await.is_ok() {
            let _ = wait.await;
        }
    }

    /// Makes every write fail as on a file that was turned read-only, or lifts that again.
    #[cfg(test)]
    pub(crate) async fn set_read_only(&self, on: bool) {
        let (done, wait) = oneshot::channel();
        if self.send(Job::ReadOnly(on, done)).await.is_ok() {
            let _ = wait.await;
        }
    }

    fn place(&self, permit: mpsc::OwnedPermit<Entry>) -> Place {
        Place {
            permit,
            vitals: Arc::clone(&self.vitals),
        }
    }

    async fn send(&self, job: Job) -> Result<(), StoreError> {
        self.jobs.send(job).await.map_err(|_| StoreError::Stopped)
    }

    /// Sends a verb to the writer and waits for its group's commit.
    async fn work<T: Send + 'static>(
        &self,
        run: impl FnOnce(&mut Group<'_>) -> Db<Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (work, wait) = writer::work(run);
        self.send(Job::Work(work)).await?;
        wait.await.map_err(|_| StoreError::Stopped)?
    }

    /// Runs a query beside the writer.
    async fn query<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        run_query(Arc::clone(&self.reader), query).await
    }

    /// Runs a query that may take its time.
    async fn long_query<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        run_query(Arc::clone(&self.books), query).await
    }

    /// Grants; seeds that turn out to be needed are counted beside the writer, then it is asked again.
    async fn open_accounts(
        &self,
        task: Option<TaskOpening>,
        grants: Vec<Grant>,
    ) -> Result<Opened, StoreError> {
        let grants = Arc::new(grants);
        let mut seeds = vec![None; grants.len()];
        loop {
            let (task, again, known) = (task.clone(), Arc::clone(&grants), seeds.clone());
            let step = self
                .work(move |group| grants::open(group, task.as_ref(), &again, &known))
                .await?;
            let needed = match step {
                OpenStep::Done(opened) => return Ok(*opened),
                OpenStep::NeedSeeds(needed) => needed,
            };
            for Needed {
                index,
                through,
                known,
            } in needed
            {
                let Some(query) = grants[index].seed.clone() else {
                    continue;
                };
                let counted = self
                    .query(move |reader| reader.seed(&query, through))
                    .await?;
                let beyond = |all: Amounts, known: &Amounts| all.saturating_sub(known);
                seeds[index] = Some((beyond(counted.0, &known.0), beyond(counted.1, &known.1)));
            }
        }
    }
}

async fn run_query<T: Send + 'static>(
    reader: Arc<Mutex<Reader>>,
    query: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(move || query(&reader.lock()))
        .await
        .map_err(|_| StoreError::Stopped)?
}

impl Store for SqliteStore {
    fn open(&self, task: Option<TaskOpening>, grants: Vec<Grant>) -> Pending<'_, Opened> {
        Box::pin(self.open_accounts(task, grants))
    }

    fn give_back(&self, levels: Vec<(AccountKey, Amounts)>) -> Pending<'_, ()> {
        Box::pin(self.work(move |group| grants::give_back(group, &levels)))
    }

    fn try_reserve(&self) -> Result<Place, StoreError> {
        let place = self.posts.clone().try_reserve_owned();
        place
            .map(|place| self.place(place))
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => StoreError::Full,
                mpsc::error::TrySendError::Closed(_) => StoreError::Stopped,
            })
    }

    fn reserve(&self) -> Pending<'_, Place> {
        Box::pin(async {
            let place = self.posts.clone().reserve_owned().await;
            place
                .map(|place| self.place(place))
                .map_err(|_| StoreError::Stopped)
        })
    }

    fn set_task_state(
        &self,
        key: TaskKey,
        state: TaskState,
        by: Arc<str>,
    ) -> Pending<'_, TaskRecord> {
        Box::pin(self.work(move |group| tasks::set_state(group, &key, state, &by)))
    }

    fn lower_task_caps(&self, key: TaskKey, caps: Caps, by: Arc<str>) -> Pending<'_, TaskRecord> {
        Box::pin(self.work(move |group| tasks::lower_caps(group, &key, &caps, &by)))
    }

    fn set_switch(&self, switch: Switch, on: bool, by: Arc<str>) -> Pending<'_, Vec<Switch>> {
        Box::pin(self.work(move |group| tasks::set_switch(group, &switch, on, &by)))
    }

    fn top_up(&self, key: AccountKey, amounts: Amounts, by: Arc<str>) -> Pending<'_, Balance> {
        Box::pin(self.work(move |group| grants::top_up(group, &key, &amounts, &by)))
    }

    fn release(&self, release: Release, by: Arc<str>) -> Pending<'_, Reconciled> {
        Box::pin(self.work(move |group| doubts::release(group, &release, &by)))
    }

    fn reconcile(&self, evidence: Vec<Evidence>, by: Arc<str>) -> Pending<'_, Reconciled> {
        Box::pin(self.work(move |group| doubts::reconcile(group, &evidence, &by)))
    }

    fn set_limits(&self, limits: Vec<Arc<str>>) -> Pending<'_, ()> {
        Box::pin(self.work(move |group| grants::set_limits(group, &limits)))
    }

    fn tasks(&self, filter: TaskFilter) -> Pending<'_, Vec<TaskRecord>> {
        Box::pin(async move {
            match filter.task {
                Some(_) => self.query(move |reader| reader.tasks(&filter)).await,
                None => self.long_query(move |reader| reader.tasks(&filter)).await,
            }
        })
    }

    fn accounts(&self, filter: AccountFilter) -> Pending<'_, Vec<AccountRow>> {
        Box::pin(async move {
            match filter.key {
                Some(_) => self.query(move |reader| reader.accounts(&filter)).await,
                None => {
                    self.long_query(move |reader| reader.accounts(&filter))
                        .await
                }
            }
        })
    }

    fn open_escalation(&self, opening: Opening) -> Pending<'_, EscalationOpened> {
        Box::pin(self.work(move |group| escalations::open(group, &opening)))
    }

    fn decide_escalation(&self, deciding: Deciding) -> Pending<'_, EscalationEnded> {
        Box::pin(self.work(move |group| escalations::decide(group, &deciding)))
    }

    fn lapse(&self) -> Pending<'_, Vec<(AccountKey, Balance)>> {
        Box::pin(self.work(grants::lapse))
    }

    fn escalations(&self, filter: EscalationFilter) -> Pending<'_, Vec<Escalation>> {
        Box::pin(async move {
            match filter.id {
                Some(_) => self.query(move |reader| reader.escalations(&filter)).await,
                None => {
                    self.long_query(move |reader| reader.escalations(&filter))
                        .await
                }
            }
        })
    }

    fn outbox(&self, now: UnixMs, rows: usize) -> Pending<'_, Outbox> {
        Box::pin(self.query(move |reader| reader.outbox(now, rows)))
    }

    fn address_delivery(&self, id: i64, targets: Vec<Arc<str>>) -> Pending<'_, ()> {
        Box::pin(self.work(move |group| escalations::address(group, id, &targets)))
    }

    fn end_delivery(&self, id: i64, ended: DeliveryEnd) -> Pending<'_, ()> {
        Box::pin(self.work(move |group| escalations::delivered(group, id, &ended)))
    }

    fn doubts(&self, filter: DoubtFilter) -> Pending<'_, Vec<Doubt>> {
        Box::pin(self.long_query(move |reader| reader.doubts(&filter)))
    }

    fn report(&self, query: ReportQuery) -> Pending<'_, Vec<ReportRow>> {
        Box::pin(self.long_query(move |reader| reader.report(&query)))
    }

    fn trace(&self, task: TaskKey, limit: usize) -> Pending<'_, Vec<CallRow>> {
        Box::pin(self.long_query(move |reader| reader.trace(&task, limit)))
    }

    fn agents(&self, task: TaskKey, most: usize) -> Pending<'_, Vec<(Option<AgentId>, AgentId)>> {
        Box::pin(self.long_query(move |reader| reader.agents(&task, most)))
    }

    fn joined(&self, since: UnixMs, most: usize) -> Pending<'_, Vec<CallRow>> {
        Box::pin(self.long_query(move |reader| reader.joined(since, most)))
    }

    fn pin(&self, task: TaskKey, pin: ModelPin) -> Pending<'_, ModelPin> {
        Box::pin(self.work(move |group| pins::pin(group, &task, &pin)))
    }

    fn pins(&self, task: TaskKey) -> Pending<'_, Vec<ModelPin>> {
        Box::pin(self.long_query(move |reader| reader.pins(&task)))
    }

    fn flush(&self) -> Pending<'_, ()> {
        Box::pin(self.work(|_| Ok(Ok(()))))
    }

    fn stop(&self, grace: Duration) -> Pending<'_, bool> {
        Box::pin(async move {
            let (done, wait) = oneshot::channel();
            self.send(Job::Stop { grace, done }).await?;
            wait.await.map_err(|_| StoreError::Stopped)?
        })
    }

    fn health(&self) -> Health {
        if self.jobs.is_closed() {
            return Health {
                fault: Some(StoreError::Stopped),
                lag: Duration::ZERO,
            };
        }
        self.vitals.read()
    }
}
