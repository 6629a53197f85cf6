//! Asking a person: the life of an escalation, from the question to the answer.
//!
//! A limit with `on_exceed = "escalate"`, or a rule that saw a loop, suspends a task and asks. While
//! the question waits, the task's calls are held open; a person approves (perhaps with a top-up, or
//! for so many more turns) or denies, or nobody answers and it expires. The store keeps it, the task
//! remembers which question it waits for, and people hear of it by webhook.
//!
//! **Invariant:** a question waits only while its task is suspended; a task waits for one question
//! at a time; a question is decided once.
//!
//! The parts: `desk` opens, joins and decides; `wait` is what a held call waits on; `notice` what
//! people are told; `courier` sees that they hear it.

pub mod courier;
mod desk;
pub mod notice;
mod wait;

pub use desk::{Escalations, Opened};
pub use wait::{Answered, Question};

use crate::ledger::{AccountKey, Denial};
use crate::units::{Amounts, EscalationId, Meter, TaskKey, UnixMs};
use std::sync::Arc;

/// Where a question stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Nobody has answered.
    Waiting,
    /// The task may go on.
    Approved,
    /// It may not: the task stays suspended (or was closed).
    Denied,
    /// Nobody answered in time: the task stays suspended.
    Expired,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Waiting, Self::Approved, Self::Denied, Self::Expired];

    /// The word in the store, in reports and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Expired => "expired",
        }
    }

    /// The state of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// Why a person is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// `limit`, or the name of the rule: `cycle`, `repeat`.
    pub rule: Arc<str>,
    /// One sentence for people. Never a prompt or a key.
    pub message: Arc<str>,
    /// The account in the way, if a limit asks.
    pub limit: Option<Reached>,
}

impl Reason {
    /// A rule's reason, no account being in the way.
    #[must_use]
    pub fn of_rule(rule: &str, message: &str) -> Self {
        Self {
            rule: rule.into(),
            message: message.into(),
            limit: None,
        }
    }
}

/// Where the account stood when the question was opened, in the meter's unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Which account; it names its limit.
    pub account: AccountKey,
    /// Which meter.
    pub meter: Meter,
    /// The cap with its top-ups.
    pub cap: u64,
    /// Spent for certain.
    pub settled: u64,
    /// Set aside for calls in flight.
    pub held: u64,
    /// Spent perhaps.
    pub in_doubt: u64,
    /// What the call may cost.
    pub needed: u64,
}

impl From<&Denial> for Reached {
    fn from(denial: &Denial) -> Self {
        Self {
            account: denial.key.clone(),
            meter: denial.meter,
            cap: denial.cap,
            settled: denial.settled,
            held: denial.held,
            in_doubt: denial.in_doubt,
            needed: denial.needed,
        }
    }
}

/// One piece of what a rule saw: digests and names, never texts of prompts or answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The call, by its `x-bursar-request-id`.
    pub request: Option<Arc<str>>,
    /// What was seen: `tool search`, `hand-off to writer`.
    pub what: Arc<str>,
    /// The digest of the state, hexadecimal.
    pub digest: Option<Arc<str>>,
}

/// The call that met the limit or tripped the rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asker {
    /// `x-bursar-request-id`.
    pub request: Option<Arc<str>>,
    /// Its identity.
    pub identity: Option<Arc<str>>,
    /// Its agent.
    pub agent: Option<Arc<str>>,
    /// Its role.
    pub role: Option<Arc<str>>,
    /// The model it asked for.
    pub model: Option<Arc<str>>,
}

/// One question to a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Escalation {
    /// Its id.
    pub id: EscalationId,
    /// The task that waits.
    pub task: TaskKey,
    /// When it was opened.
    pub opened: UnixMs,
    /// Where it stands.
    pub state: State,
    /// Why.
    pub reason: Reason,
    /// What a rule saw; empty for limits.
    pub evidence: Vec<Evidence>,
    /// Whose call.
    pub asker: Asker,
    /// What was decided, once it was.
    pub decision: Option<Decision>,
}

/// What was decided, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// When.
    pub at: UnixMs,
    /// Who: `ops:NAME`, or `gateway` where nobody answered.
    pub by: Arc<str>,
    /// Why, in words of theirs. Agents are told.
    pub why: Option<Arc<str>>,
    /// Accounts whose caps were raised, and by how much.
    pub raised: Vec<(AccountKey, Amounts)>,
    /// When the caps are as before again.
    pub ends: Option<UnixMs>,
    /// The task may make so many turns, then a person is asked again.
    pub turns: Option<u64>,
}

/// A question about to be opened.
#[derive(Clone, Debug)]
pub struct Opening {
    /// Its id, if it is a new one.
    pub id: EscalationId,
    /// The task.
    pub task: TaskKey,
    /// Why.
    pub reason: Reason,
    /// What was seen.
    pub evidence: Vec<Evidence>,
    /// Whose call.
    pub asker: Asker,
}

/// A decision about to be made.
#[derive(Clone, Debug)]
pub struct Deciding {
    /// About which question.
    pub id: EscalationId,
    /// What it becomes; never [`State::Waiting`].
    pub state: State,
    /// Who decides.
    pub by: Arc<str>,
    /// Why.
    pub why: Option<Arc<str>>,
    /// Caps to raise; only when approved.
    pub raises: Vec<(AccountKey, Amounts)>,
    /// When the caps are as before again; what was spent stays spent.
    pub ends: Option<UnixMs>,
    /// Turns until a person is asked again; only when approved.
    pub turns: Option<u64>,
}

/// The question a task waits for, or waited for when it was denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Which.
    pub id: EscalationId,
    /// Nobody has answered yet.
    pub waits: bool,
}

/// Turns that a person allowed before being asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// How many.
    pub turns: u64,
    /// Since when.
    pub since: UnixMs,
}

/// The limit that a person's "so many more turns" makes.
pub const ALLOWED_TURNS: &str = "turns allowed";

/// The account that counts the turns a person allowed; each approval has its own.
#[must_use]
pub fn allowed_account(key: &TaskKey, allowed: &Allowed) -> AccountKey {
    AccountKey {
        limit: ALLOWED_TURNS.into(),
        per: [("task", key.task.shared()), ("owner", key.owner.shared())].into(),
        window: Some(allowed.since),
    }
}

/// A new id.
#[must_use]
pub fn new_id() -> EscalationId {
    let mut random = [0_u8; 8];
    // Without randomness the clock tells ids apart; the store refuses a second of the same.
    if getrandom::fill(&mut random).is_err() {
        random = crate::clock::now().0.to_be_bytes();
    }
    let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    // A refusal names it, and no message of ours may hold what clients take for a reason to come again.
    EscalationId::from(format!("esc_{}", hex.replace("429", "42a")))
}

#[cfg(test)]
mod tests;
