//! Whose call it is, where nobody says so: joins a call to what came before it, within one owner and a
//! recent window.
//!
//! - **prefix**: its messages begin with those of a call seen before;
//! - **echo**: it carries the id of a tool call or of an answer that was handed out;
//! - **argument**: its first user messages hold a string argument of a tool call that is still open in
//!   another conversation: an agent that is used as a tool.
//!
//! An agent is known by its fingerprint: its system text and its tools. What is joined to nothing opens a
//! task, so many an hour. What is remembered is digests, ids of tasks and agents, and counts;
//! it is bounded, and what is evicted costs joins and nothing else: no account depends on it. No HTTP,
//! no clock of its own.
//!
//! **Invariant:** nothing is joined across owners: each has a book of its own.

mod arguments;
mod book;
mod find;
mod index;
mod join;
mod line;
mod portrait;
mod seen;
mod trail;

pub use book::MOST_LINES;
pub use line::{Handed, Open};
pub use portrait::{Fingerprint, Portrait, portrait};
pub use seen::{MOST_SEEN, Seen};
pub use trail::Stand;

use crate::attribution::{Source, Sourced};
use crate::conversation::keyed;
use crate::dialect::{Answer, Call, Dialect};
use crate::store::{CallBody, Text};
use crate::units::{AgentId, InvocationId, Owner, RequestId, TaskId, UnixMs};
use book::{Book, text_digest};
use join::join_in;
use line::Line;
use parking_lot::{Mutex, RwLock};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Owners whose conversations are remembered; the one longest silent makes room.
pub const MOST_OWNERS: usize = 1_000;
/// Conversations of all owners that are remembered, about 600 bytes each; beyond it the owner longest
/// silent is forgotten.
pub const MOST_LINES_IN_ALL: usize = 32_768;

/// What is known of a call before anything is inferred.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// Whose call it is.
    pub owner: &'a Owner,
    /// The call.
    pub call: &'a Call,
    /// Its own id: what it begins is named after it.
    pub request: &'a RequestId,
    /// The task, where something named it.
    pub task: Option<&'a TaskId>,
    /// The agent, where something named it.
    pub agent: Option<&'a AgentId>,
    /// Which agent it looks like.
    pub likeness: &'a Likeness,
    /// Its client says that it repeats a call.
    pub again: bool,
    /// When it came.
    pub now: UnixMs,
    /// How far back calls are joined, milliseconds.
    pub window_ms: i64,
    /// Tasks that may be opened for calls of this owner that name none, in an hour.
    pub tasks_per_hour: u64,
}

/// Which agent a call looks like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Likeness {
    /// Its fingerprint.
    pub print: Fingerprint,
    /// Its tools' names.
    pub tools: Vec<String>,
    /// What the configuration calls it.
    pub named: Option<AgentId>,
    /// It has neither system text nor tools.
    pub is_blank: bool,
}

/// What was inferred.
#[derive(Clone, Debug, Default)]
pub struct Inferred {
    /// The task; `None` if nothing tells, and no more may be opened.
    pub task: Option<Sourced<TaskId>>,
    /// The agent.
    pub agent: Option<Sourced<AgentId>>,
    /// Who called it.
    pub parent: Option<Sourced<AgentId>>,
    /// Which stay in the agent.
    pub invocation: Option<Sourced<InvocationId>>,
    /// Where its answer is taken in.
    pub joined: Option<Joined>,
    /// A conversation that turned out to belong to this call's task.
    pub hung: Option<Hung>,
}

/// Where a call was joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joined {
    line: u64,
    stand: Stand,
}

/// A conversation that had a task of its own and belongs to another: its next calls go there, what it
/// has cost stays where it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hung {
    /// The agent.
    pub agent: Option<AgentId>,
    /// Where its calls were until now.
    pub from: TaskId,
    /// Where the next ones go.
    pub to: TaskId,
    /// Who had called it.
    pub parent: Option<AgentId>,
}

/// An ended call as its journal row tells of it.
#[derive(Clone, Debug)]
pub struct Past {
    /// Whose.
    pub owner: Owner,
    /// Its task.
    pub task: TaskId,
    /// The call said its task.
    pub named: bool,
    /// What joined it to the task.
    pub by: Source,
    /// Its agent.
    pub agent: Option<AgentId>,
    /// Who called that.
    pub parent: Option<Sourced<AgentId>>,
    /// Which stay.
    pub invocation: InvocationId,
    /// When it ended.
    pub at: UnixMs,
}

/// What is remembered of all owners.
#[derive(Debug, Default)]
pub struct Inference {
    books: RwLock<HashMap<Owner, Arc<Shelf>, foldhash::quality::RandomState>>,
}

#[derive(Debug, Default)]
struct Shelf {
    book: Mutex<Book>,
    used: AtomicI64,
    lines: AtomicI64,
}

impl Inference {
    /// Joins a call to what came before it.
    #[must_use]
    pub fn join(&self, asking: &Asking<'_>) -> Inferred {
        let shelf = self.shelf(asking.owner, asking.now);
        let mut book = shelf.book.lock();
        book.sweep(asking.now, asking.window_ms, MOST_LINES - 1);
        let inferred = join_in(&mut book, asking);
        shelf.count(&book);
        inferred
    }

    /// An answer has come: what it handed out. Gives what the call's journal row keeps of it.
    pub fn heard(&self, owner: &Owner, joined: &Joined, handed: &Handed, now: UnixMs) -> Vec<u8> {
        if let Some(shelf) = self.known(owner) {
            shelf.book.lock().hear(joined.line, handed, now);
        }
        trail::write(&joined.stand, handed)
    }

    /// The call came to nothing: the same one again is no other.
    pub fn failed(&self, owner: &Owner, joined: &Joined) {
        if let Some(shelf) = self.known(owner) {
            shelf.book.lock().fail(joined.line, joined.stand.mark);
        }
    }

    /// Takes in what journal rows tell, the oldest first.
    pub fn restore(&self, rows: impl Iterator<Item = (Past, Vec<u8>)>, window_ms: i64) {
        let mut numbers: HashMap<Owner, HashMap<InvocationId, u64>> = HashMap::new();
        for (past, bytes) in rows {
            let Some(told) = trail::read(&bytes) else {
                continue;
            };
            let shelf = self.shelf(&past.owner, past.at);
            let mut book = shelf.book.lock();
            book.sweep(past.at, window_ms, MOST_LINES - 1);
            let numbers = numbers.entry(past.owner.clone()).or_default();
            book.restore(numbers, past.line(&told.0), &told);
            shelf.count(&book);
        }
    }

    /// The agents that were seen, by owner.
    #[must_use]
    pub fn agents(&self) -> Vec<(Owner, Fingerprint, Seen)> {
        let books: Vec<(Owner, Arc<Shelf>)> = {
            let books = self.books.read();
            books
                .iter()
                .map(|(owner, shelf)| (owner.clone(), Arc::clone(shelf)))
                .collect()
        };
        let mut agents = Vec::new();
        for (owner, shelf) in books {
            let book = shelf.book.lock();
            let seen = book.seen.iter();
            agents.extend(seen.map(|(print, seen)| (owner.clone(), *print, seen.clone())));
        }
        agents.sort_by(|a, b| (&a.0, b.2.last, a.1).cmp(&(&b.0, a.2.last, b.1)));
        agents
    }

    /// Conversations remembered, in number.
    #[must_use]
    pub fn lines(&self) -> usize {
        let books = self.books.read();
        let lines = books
            .values()
            .map(|shelf| shelf.lines.load(Ordering::Relaxed));
        usize::try_from(lines.sum::<i64>()).unwrap_or(0)
    }

    fn known(&self, owner: &Owner) -> Option<Arc<Shelf>> {
        self.books.read().get(owner).cloned()
    }

    fn shelf(&self, owner: &Owner, now: UnixMs) -> Arc<Shelf> {
        if let Some(shelf) = self.known(owner) {
            shelf.used.store(now.0, Ordering::Relaxed);
            return shelf;
        }
        let mut books = self.books.write();
        loop {
            let lines: i64 = books
                .values()
                .map(|shelf| shelf.lines.load(Ordering::Relaxed))
                .sum();
            let most = i64::try_from(MOST_LINES_IN_ALL - MOST_LINES).unwrap_or(i64::MAX);
            if books.len() < MOST_OWNERS && lines <= most {
                break;
            }
            let silent = books
                .iter()
                .min_by_key(|(_, shelf)| shelf.used.load(Ordering::Relaxed));
            let Some(silent) = silent.map(|(owner, _)| owner.clone()) else {
                break;
            };
            books.remove(&silent);
        }
        let shelf = books.entry(owner.clone()).or_default();
        shelf.used.store(now.0, Ordering::Relaxed);
        Arc::clone(shelf)
    }
}

impl Shelf {
    fn count(&self, book: &Book) {
        let lines = i64::try_from(book.len()).unwrap_or(i64::MAX);
        self.lines.store(lines, Ordering::Relaxed);
    }
}

impl Past {
    /// Of a journal row; `None` if it tells nothing of the kind.
    #[must_use]
    pub fn of(call: &CallBody<'_>) -> Option<Self> {
        let source = |from: Option<&Text<'_>>| {
            from.map_or(Some(Source::Header), |from| {
                Source::from_name(from.as_str())
            })
        };
        let parent = call.parent.as_ref().and_then(|parent| {
            Some(Sourced {
                value: parent.as_str().into(),
                source: source(call.parent_from.as_ref())?,
            })
        });
        Some(Self {
            owner: call.owner.as_str().into(),
            task: call.task.as_str().into(),
            named: !source(call.task_from.as_ref())?.is_inferred(),
            by: source(call.invocation_from.as_ref())?,
            agent: call.agent.as_ref().map(|agent| agent.as_str().into()),
            parent,
            invocation: call.invocation.as_ref()?.as_str().into(),
            at: UnixMs(call.ended),
        })
    }

    fn line(self, stand: &Stand) -> Line {
        let Self {
            owner: _,
            task,
            named,
            by,
            agent,
            parent,
            invocation,
            at,
        } = self;
        Line {
            task,
            agent,
            print: stand.print,
            invocation,
            parent,
            by,
            first: stand.first,
            marks: smallvec::SmallVec::new(),
            ids: smallvec::SmallVec::new(),
            open: Vec::new(),
            said: smallvec::SmallVec::new(),
            named,
            failed: false,
            begun: at,
            seen: at,
        }
    }
}

fn id_digest(id: &str) -> u64 {
    keyed(id.as_bytes())
}

/// What an answer handed out: ids, tool calls with their arguments, and its text.
#[must_use]
pub fn handed(dialect: Dialect, answer: &Answer) -> Handed {
    let ids = answer.tool_calls.iter().map(|(id, _)| id_digest(id));
    let own = answer
        .id
        .as_deref()
        .filter(|_| dialect == Dialect::OpenaiResponses);
    let given = answer.given.as_deref();
    let calls = given.map_or(&[][..], |given| given.calls());
    let open = calls.iter().take(line::MOST_OPEN).map(|call| Open {
        id: keyed(call.id()),
        hands_off: hands_off(call.name()),
        arguments: call
            .arguments()
            .map(|json| arguments::of_json(&json))
            .unwrap_or_default()
            .into(),
    });
    let mut texts = given.into_iter().flat_map(|given| given.texts()).flatten();
    let text = texts.next().filter(|_| texts.next().is_none());
    Handed {
        ids: ids.take(line::MOST_IDS).chain(own.map(id_digest)).collect(),
        open: open.collect(),
        said: text.map_or(0, |text| text_digest(&text)),
    }
}

/// Tools by which frameworks hand a conversation over: `transfer_to_x`, `handoff`, `Handoff-…`.
fn hands_off(tool: &str) -> bool {
    let tool = tool.to_ascii_lowercase();
    ["transfer", "handoff", "hand_off"]
        .iter()
        .any(|word| tool.contains(word))
}

#[cfg(test)]
mod tests;
