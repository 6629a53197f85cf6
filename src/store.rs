//! What outlives the process: balances, allotments, tasks, and the hash-chained journal that is
//! ledger, audit log and source of every report at once.
//!
//! [`Store`] has few verbs, so that another database can stand behind it. Grants are durable
//! before they are answered; journal entries are posted to a [`Place`] reserved beforehand and are
//! written behind the call, in groups.

mod call;
mod chain;
mod doubt;
mod entry;
mod error;
mod read;
mod sqlite;
mod stake;
mod task;

pub use call::{CallEntry, Ending, ShadowEntry};
pub use chain::{Head, ParseHeadError};
pub use doubt::{Doubt, Reconciled, Release, Shift};
pub use entry::{
    AccountBody, AnsweredBody, AskedBody, CallBody, CheckpointBody, CrashBody, DecisionBody,
    DoubtBody, Entry, Evidence, EvidenceKey, Kind, Mark, MarkBody, Note, NoteBody, NoteKind,
    StartBody, StopBody, StoryRow, Sums, SwitchBody, TaskBody, Text, TopUpBody,
};
pub use error::StoreError;
pub use read::{
    AccountFilter, AccountRow, By, CallRow, DoubtFilter, EscalationFilter, FirstBad, Reader,
    ReportQuery, ReportRow, Row, TaskFilter, Verdict, VerifyOptions,
};
pub use sqlite::{Durability, Loaded, Options, Retention, SqliteStore};
pub use stake::Stake;
pub use task::{ModelPin, TaskOpening, TaskRecord, TaskState};

use crate::escalation::{self, Deciding, Escalation, Opening};
use crate::ledger::{AccountKey, Caps};
use crate::units::{AgentId, Amounts, EscalationId, IdentityName, TaskKey, UnixMs};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// What the store knows of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// Spent for certain.
    pub settled: Amounts,
    /// Spent perhaps: shown apart, counted against the cap, released by evidence or a person.
    pub in_doubt: Amounts,
    /// What this node may spend in all, durably: never below settled + in_doubt + held.
    pub granted: Amounts,
    /// Raised on top of the policy's caps by top-ups.
    pub topped_up: Amounts,
    /// Taken back in all from top-ups that had an end. With it two answers of the store can be put in
    /// order: both this and `topped_up` with it only rise.
    pub lapsed: Amounts,
    /// First hold, for `duration`, less what its task had been suspended by then; `None` before it.
    pub opened: Option<UnixMs>,
}

/// Raise one account's allotment, creating the account if it is new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Which account.
    pub key: AccountKey,
    /// Raise `granted` to at least this, meter by meter (cumulative: settled and in doubt
    /// included). On an account opened from a seed it comes on top of the seed.
    pub upto: Amounts,
    /// Which earlier calls the account would have counted. Looked at only if the limit is younger
    /// than the account's window or task; `None`: the account opens empty.
    pub seed: Option<Arc<SeedQuery>>,
}

/// A field of a call that a limit matches on or counts per.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The owner.
    Owner,
    /// The identity.
    Identity,
    /// On whose behalf.
    OnBehalfOf,
    /// The task.
    Task,
    /// The agent.
    Agent,
    /// The role.
    Role,
    /// The model asked for.
    Model,
    /// The provider it went to.
    Provider,
    /// The wire format.
    Dialect,
    /// A tool: only its tool calls are counted.
    Tool,
}

/// From where a seed counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SeedFrom {
    /// Calls admitted since a calendar window opened.
    Window(UnixMs),
    /// Calls of one task.
    Task(TaskKey),
}

/// Which calls of the journal an account would have counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedQuery {
    /// The account's window or task.
    pub from: SeedFrom,
    /// The limit's `match`: each field must match one of its globs.
    pub matching: Vec<(Field, Vec<Arc<str>>)>,
    /// The account's `per`: each field must be this; `""` stands for absent.
    pub per: Vec<(Field, Arc<str>)>,
    /// Look whenever the account is new, however old its limit: a task's own caps may come in the
    /// middle of the task.
    pub whenever_new: bool,
}

/// The answer to [`Store::open`].
#[derive(Clone, Debug)]
pub struct Opened {
    /// The task, if one was named.
    pub task: Option<TaskRecord>,
    /// The task was unknown until now.
    pub newly_opened: bool,
    /// The accounts, in the order of the grants.
    pub balances: Vec<(AccountKey, Balance)>,
}

/// A stop button.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Switch {
    /// Everybody.
    All,
    /// One identity.
    Identity(IdentityName),
}

/// A question that was opened, or joined.
#[derive(Clone, Debug)]
pub struct EscalationOpened {
    /// The task, suspended.
    pub task: TaskRecord,
    /// The question; `None` if the task stands still for another reason.
    pub escalation: Option<Escalation>,
    /// It was not there before.
    pub newly: bool,
}

/// A question that was decided, now or before.
#[derive(Clone, Debug)]
pub struct EscalationEnded {
    /// The question as it stands.
    pub escalation: Escalation,
    /// Its task as it stands.
    pub task: TaskRecord,
    /// The accounts whose caps were raised now.
    pub balances: Vec<(AccountKey, Balance)>,
    /// Decided now; false: it had been decided before, and nothing was done.
    pub applied: bool,
}

/// A message to a person, on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Its id.
    pub id: i64,
    /// About which question.
    pub escalation: EscalationId,
    /// What became of it.
    pub event: escalation::State,
    /// To which webhook; `None`: to all there are.
    pub target: Option<Arc<str>>,
    /// Since when it waits.
    pub created: UnixMs,
    /// How often it was tried.
    pub attempts: u32,
}

/// What people are to be told.
#[derive(Clone, Debug, Default)]
pub struct Outbox {
    /// Messages that are due, oldest first.
    pub due: Vec<Delivery>,
    /// When the first of those that are not due yet will be.
    pub next: Option<UnixMs>,
    /// Questions that wait, in number.
    pub waiting: u64,
    /// When the first top-up that has an end is to be taken back.
    pub lapses: Option<UnixMs>,
}

/// How a try to deliver ended.
#[derive(Clone, Debug)]
pub enum DeliveryEnd {
    /// It arrived.
    Done,
    /// To be tried again then.
    Again(UnixMs),
    /// It will not be tried again; the note goes to the journal.
    GivenUp(Box<Note>),
}

/// How well the store does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Why it cannot write, while it cannot.
    pub fault: Option<StoreError>,
    /// How long the oldest entry posted has waited to be written; zero if all are written.
    pub lag: Duration,
}

impl Health {
    /// True while writes succeed.
    #[must_use]
    pub const fn is_healthy(&self) -> bool {
        self.fault.is_none()
    }
}

/// What a verb returns: a future that ends when the change is committed.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A place in the journal's queue, reserved before a call leaves, so that its end can always be posted.
#[derive(Debug)]
pub struct Place {
    permit: mpsc::OwnedPermit<Entry>,
    vitals: Arc<sqlite::Vitals>,
}

impl Place {
    /// Posts the entry. Never blocks and never fails: it is written with the next group, or as soon
    /// as the store can write again.
    pub fn post(self, entry: Entry) {
        // Counted first, so that nobody finds the journal at rest in between.
        self.vitals.posting();
        drop(self.permit.send(entry));
    }
}

/// What outlives the process.
pub trait Store: Send + Sync + 'static {
    /// One durable step: the task's row, if it is new, and every grant, all or none.
    fn open(&self, task: Option<TaskOpening>, grants: Vec<Grant>) -> Pending<'_, Opened>;

    /// Lowers `granted` to these levels, but never below settled + in doubt. Unknown accounts are ignored.
    fn give_back(&self, levels: Vec<(AccountKey, Amounts)>) -> Pending<'_, ()>;

    /// Reserves a journal place at once.
    ///
    /// # Errors
    /// [`StoreError::Full`] if every place is taken (the store lags), [`StoreError::Stopped`] after a stop.
    fn try_reserve(&self) -> Result<Place, StoreError>;

    /// Reserves a journal place, waiting for one.
    fn reserve(&self) -> Pending<'_, Place>;

    /// Sets a task's state. A closed task stays closed.
    fn set_task_state(
        &self,
        key: TaskKey,
        state: TaskState,
        by: Arc<str>,
    ) -> Pending<'_, TaskRecord>;

    /// Lowers a task's own caps, meter by meter; a higher cap than the present one is ignored.
    fn lower_task_caps(&self, key: TaskKey, caps: Caps, by: Arc<str>) -> Pending<'_, TaskRecord>;

    /// Presses or lifts a stop button. The answer is every button that is pressed.
    fn set_switch(&self, switch: Switch, on: bool, by: Arc<str>) -> Pending<'_, Vec<Switch>>;

    /// Raises one account's cap by these amounts.
    fn top_up(&self, key: AccountKey, amounts: Amounts, by: Arc<str>) -> Pending<'_, Balance>;

    /// A person takes money out of doubt as not spent.
    fn release(&self, release: Release, by: Arc<str>) -> Pending<'_, Reconciled>;

    /// Evidence takes money out of doubt: what it says was spent is settled.
    fn reconcile(&self, evidence: Vec<Evidence>, by: Arc<str>) -> Pending<'_, Reconciled>;

    /// Says which limits are in force, at start and after each reload. A limit that was absent
    /// counts as new when it returns, so that its accounts open with what calls cost meanwhile.
    fn set_limits(&self, limits: Vec<Arc<str>>) -> Pending<'_, ()>;

    /// The tasks, newest first.
    fn tasks(&self, filter: TaskFilter) -> Pending<'_, Vec<TaskRecord>>;

    /// The accounts.
    fn accounts(&self, filter: AccountFilter) -> Pending<'_, Vec<AccountRow>>;

    /// Opens a question and suspends its task, or joins the one it waits for.
    fn open_escalation(&self, opening: Opening) -> Pending<'_, EscalationOpened>;

    /// Decides a question: its state, the caps it raises and its task's state in one step, once.
    fn decide_escalation(&self, deciding: Deciding) -> Pending<'_, EscalationEnded>;

    /// Takes back top-ups whose end has come.
    fn lapse(&self) -> Pending<'_, Vec<(AccountKey, Balance)>>;

    /// The questions, newest first.
    fn escalations(&self, filter: EscalationFilter) -> Pending<'_, Vec<Escalation>>;

    /// What people are to be told: the messages that are due, oldest first, at most so many.
    fn outbox(&self, now: UnixMs, rows: usize) -> Pending<'_, Outbox>;

    /// Makes of a message to all one for each of these webhooks.
    fn address_delivery(&self, id: i64, targets: Vec<Arc<str>>) -> Pending<'_, ()>;

    /// Says how a try to deliver ended.
    fn end_delivery(&self, id: i64, ended: DeliveryEnd) -> Pending<'_, ()>;

    /// The open doubts, oldest first.
    fn doubts(&self, filter: DoubtFilter) -> Pending<'_, Vec<Doubt>>;

    /// Costs by one dimension.
    fn report(&self, query: ReportQuery) -> Pending<'_, Vec<ReportRow>>;

    /// The calls of one task, oldest first, at most `limit` of the newest.
    fn trace(&self, task: TaskKey, limit: usize) -> Pending<'_, Vec<CallRow>>;

    /// Who called whom in a task: pairs of an agent and its parent, in the order in which they first
    /// came, at most so many.
    fn agents(&self, task: TaskKey, most: usize) -> Pending<'_, Vec<(Option<AgentId>, AgentId)>>;

    /// Calls since then that later ones can be joined to, oldest first, at most so many of the newest.
    fn joined(&self, since: UnixMs, most: usize) -> Pending<'_, Vec<CallRow>>;

    /// Holds a task to a model, unless it is held to one already; the answer is what is in force.
    fn pin(&self, task: TaskKey, pin: ModelPin) -> Pending<'_, ModelPin>;

    /// The models that a task is held to.
    fn pins(&self, task: TaskKey) -> Pending<'_, Vec<ModelPin>>;

    /// Waits until everything posted before is committed.
    fn flush(&self) -> Pending<'_, ()>;

    /// Stops: no more places; waits up to `grace` for the places that are out; then gives every
    /// allotment back and closes the file. The answer is false if places were still out: their
    /// holds become doubts at the next start.
    fn stop(&self, grace: Duration) -> Pending<'_, bool>;

    /// How well it does.
    fn health(&self) -> Health;
}

#[cfg(test)]
mod tests;
