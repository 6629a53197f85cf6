//! What is remembered of one owner's conversations, and what a call is joined to by it.
//!
//! A call goes on in a conversation, begins one below another (a hand-off, an agent used as a tool), or
//! is joined to nothing. What is evicted costs joins and nothing else.

use super::arguments;
use super::index::Index;
use super::line::{Handed, Line, MOST_IDS, MOST_MARKS, MOST_OPEN, MOST_SAID};
use super::portrait::Fingerprint;
use super::seen::Seen;
use super::trail::Stand;
use crate::attribution::{Source, Sourced};
use crate::conversation::{Chain, keyed};
use crate::dialect::said::Said;
use crate::units::{AgentId, InvocationId, TaskId, UnixMs};
use std::collections::{BTreeSet, HashMap};

/// Conversations of one owner that are remembered, about 600 bytes each and 4 KiB at most; the one
/// longest silent makes room.
pub const MOST_LINES: usize = 4_096;
/// Tool results looked at for an id that was handed out, the newest.
pub(super) const MOST_ECHOES: usize = 64;
/// Messages of a fresh conversation that are read.
pub(super) const MOST_READ: usize = 8;

/// What is asked of a call.
pub(super) struct Asked<'a> {
    pub chain: &'a Chain,
    pub stand: Stand,
    /// Digests of the ids that it carries, the newest first.
    pub echoes: Vec<u64>,
    /// It names the answer that it goes on from instead of repeating it.
    pub names_previous: bool,
    /// The task and agent that something else named.
    pub task: Option<&'a TaskId>,
    pub agent: Option<AgentId>,
    /// Its client says that it repeats a call.
    pub again: bool,
    pub texts: &'a dyn Texts,
    pub now: UnixMs,
    pub window_ms: i64,
}

/// What the first messages behind the system text say, and what new results of tools do.
pub(super) trait Texts {
    fn first(&self) -> Vec<Said<'_>>;
    fn at(&self, place: usize) -> Vec<Said<'_>>;
}

/// Where a call belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It goes on here.
    On(u64, Source),
    /// It begins a conversation in the task of this one, called by its agent.
    Below(u64, Source),
    /// It begins a conversation in the task of this one, called by nobody known.
    Beside(u64, Source),
    /// Nothing is known of it.
    Orphan,
}

/// One owner's conversations.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) lines: HashMap<u64, Line, foldhash::quality::RandomState>,
    next: u64,
    by_age: BTreeSet<(UnixMs, u64)>,
    pub(super) marks: Index<u128>,
    pub(super) firsts: Index<u128>,
    pub(super) ids: Index<u64>,
    pub(super) beginnings: Index<u64>,
    said: Index<u64>,
    pub(super) kin: Index<u64>,
    /// Tasks opened in this hour.
    opened: (i64, u64),
    pub(super) seen: HashMap<Fingerprint, Seen>,
}

impl Asked<'_> {
    /// Messages behind the system text.
    pub(super) fn messages(&self) -> usize {
        self.chain.links.len().saturating_sub(self.chain.heads)
    }

    pub(super) fn is_of(&self, line: &Line) -> bool {
        line.print == self.stand.print || (self.agent.is_some() && line.agent == self.agent)
    }
}

impl Book {
    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    pub(super) fn line(&self, number: u64) -> Option<&Line> {
        self.lines.get(&number)
    }

    /// Takes the call in; gives the number of its conversation. `new` says what a new one is, if it
    /// is one.
    pub(super) fn enter(
        &mut self,
        asked: &Asked<'_>,
        place: Place,
        new: impl FnOnce(&Self) -> Line,
    ) -> u64 {
        self.close(asked);
        let number = match place {
            Place::On(number, _) => number,
            _ => {
                let line = new(self);
                self.add(line)
            }
        };
        self.mark(number, asked.stand.mark, asked.now);
        number
    }

    fn add(&mut self, line: Line) -> u64 {
        let number = self.next;
        self.next += 1;
        self.firsts.add(line.first, number);
        self.kin.add(kin_of(&line.task, line.print), number);
        self.by_age.insert((line.seen, number));
        self.lines.insert(number, line);
        number
    }

    fn mark(&mut self, number: u64, mark: u128, now: UnixMs) {
        let Some(line) = self.lines.get_mut(&number) else {
            return;
        };
        self.by_age.remove(&(line.seen, number));
        line.seen = line.seen.max(now);
        self.by_age.insert((line.seen, number));
        line.failed = false;
        if let Some(known) = line.marks.iter().position(|known| *known == mark) {
            line.marks.remove(known);
        }
        if line.marks.len() >= MOST_MARKS {
            let oldest = line.marks.remove(0);
            self.marks.remove(&oldest, number);
        }
        line.marks.push(mark);
        self.marks.add(mark, number);
    }

    /// The results of tool calls have come: those are open no more.
    fn close(&mut self, asked: &Asked<'_>) {
        for id in &asked.echoes {
            let Some(number) = self.ids.get(id).last().copied() else {
                continue;
            };
            self.drop_open(number, |open| open != *id);
        }
    }

    fn drop_open(&mut self, number: u64, stays: impl Fn(u64) -> bool) {
        let Some(line) = self.lines.get_mut(&number) else {
            return;
        };
        if line.open.iter().all(|open| stays(open.id)) {
            return;
        }
        let (stay, gone) = std::mem::take(&mut line.open)
            .into_iter()
            .partition(|open| stays(open.id));
        line.open = stay;
        let still: Vec<u64> = beginnings(&line.open).collect();
        let gone: Vec<super::line::Open> = gone;
        for beginning in beginnings(&gone).filter(|one| !still.contains(one)) {
            self.beginnings.remove(&beginning, number);
        }
    }

    /// What an answer in a conversation handed out.
    pub(super) fn hear(&mut self, number: u64, handed: &Handed, now: UnixMs) {
        let Some(line) = self.lines.get_mut(&number) else {
            return;
        };
        self.by_age.remove(&(line.seen, number));
        line.seen = line.seen.max(now);
        self.by_age.insert((line.seen, number));
        for id in &handed.ids {
            if line.ids.len() >= MOST_IDS {
                let oldest = line.ids.remove(0);
                self.ids.remove(&oldest, number);
            }
            line.ids.push(*id);
            self.ids.add(*id, number);
        }
        if handed.said != 0 {
            if line.said.len() >= MOST_SAID {
                let oldest = line.said.remove(0);
                self.said.remove(&oldest, number);
            }
            line.said.push(handed.said);
            self.said.add(handed.said, number);
        }
        for open in &handed.open {
            if line.open.len() >= MOST_OPEN {
                break;
            }
            line.open.push(open.clone());
            for argument in &open.arguments {
                self.beginnings.add(argument.beginning, number);
            }
        }
    }

    /// The newest call of a conversation came to nothing.
    pub(super) fn fail(&mut self, number: u64, mark: u128) {
        if let Some(line) = self.lines.get_mut(&number)
            && line.ends_with(mark)
        {
            line.failed = true;
        }
    }

    /// The tool call with this id is open: since when its conversation goes on, and its agent.
    pub(super) fn awaits(&self, id: u64) -> Option<(UnixMs, Option<AgentId>)> {
        let line = self.lines.get(self.ids.get(&id).last()?)?;
        let open = line.open.iter().any(|open| open.id == id);
        open.then(|| (line.begun, line.agent.clone()))
    }

    /// A conversation of another task whose last answer is this text: it ran while the tool call was
    /// open whose result the text is, and nothing had joined it to anything.
    pub(super) fn strays(&self, said: u64, task: &TaskId, since: UnixMs) -> Option<u64> {
        let mut lines = self.said.get(&said).iter().filter(|number| {
            let line = self.lines.get(number);
            line.is_some_and(|line| {
                line.task != *task && line.by == Source::Orphan && line.begun >= since
            })
        });
        let found = lines.next().copied();
        found.filter(|_| lines.next().is_none())
    }

    /// Hangs a conversation below `parent` in `task`; gives where it was.
    pub(super) fn hang(
        &mut self,
        number: u64,
        task: &TaskId,
        parent: Option<AgentId>,
    ) -> Option<TaskId> {
        let line = self.lines.get_mut(&number)?;
        self.kin.remove(&kin_of(&line.task, line.print), number);
        let was = std::mem::replace(&mut line.task, task.clone());
        line.by = Source::Echo;
        line.parent = parent.map(|value| Sourced {
            value,
            source: Source::Echo,
        });
        self.kin.add(kin_of(&line.task, line.print), number);
        Some(was)
    }

    /// Who called the agent of a conversation that began below `number`. One that is there already is
    /// not its own caller's child because it was handed something back.
    pub(super) fn parent_below(
        &self,
        asked: &Asked<'_>,
        number: u64,
        by: Source,
    ) -> Option<Sourced<AgentId>> {
        let line = self.lines.get(&number)?;
        if by != Source::Argument {
            let kin = self.kin.get(&kin_of(&line.task, asked.stand.print));
            let own = kin.iter().filter_map(|number| self.lines.get(number));
            if let Some(own) = own.into_iter().find(|own| own.by != Source::Argument) {
                return own.parent.clone();
            }
        }
        let value = line.agent.clone()?;
        Some(Sourced { value, source: by })
    }

    /// Whether another task may be opened in this hour; counts it.
    pub(super) fn may_open(&mut self, now: UnixMs, most: u64) -> bool {
        let hour = now.0.div_euclid(3_600_000);
        if self.opened.0 != hour {
            self.opened = (hour, 0);
        }
        let may = self.opened.1 < most;
        self.opened.1 += u64::from(may);
        may
    }

    /// A conversation as a journal row tells of it; `of` finds it again by its invocation.
    pub(super) fn restore(
        &mut self,
        of: &mut HashMap<InvocationId, u64>,
        line: Line,
        (stand, handed): &(Stand, Handed),
    ) {
        let now = line.seen;
        let number = match of.get(&line.invocation) {
            Some(number) => *number,
            None => {
                if line.by == Source::Orphan {
                    self.may_open(now, u64::MAX);
                }
                let invocation = line.invocation.clone();
                let number = self.add(line);
                of.insert(invocation, number);
                number
            }
        };
        self.mark(number, stand.mark, now);
        self.drop_open(number, |_| false);
        self.hear(number, handed, now);
    }

    /// Lets go of what is too old, and of what is longest silent where there is too much.
    pub(super) fn sweep(&mut self, now: UnixMs, window_ms: i64, most: usize) {
        while let Some((seen, number)) = self.by_age.first().copied() {
            if self.lines.len() <= most && now.0.saturating_sub(seen.0) <= window_ms {
                return;
            }
            self.by_age.remove(&(seen, number));
            self.forget(number);
        }
    }

    fn forget(&mut self, number: u64) {
        let Some(line) = self.lines.remove(&number) else {
            return;
        };
        self.firsts.remove(&line.first, number);
        self.kin.remove(&kin_of(&line.task, line.print), number);
        line.marks
            .iter()
            .for_each(|mark| self.marks.remove(mark, number));
        line.ids.iter().for_each(|id| self.ids.remove(id, number));
        line.said
            .iter()
            .for_each(|said| self.said.remove(said, number));
        beginnings(&line.open).for_each(|one| self.beginnings.remove(&one, number));
    }

    #[cfg(test)]
    pub(super) fn is_bare(&self) -> bool {
        self.marks.is_empty()
            && self.firsts.is_empty()
            && self.ids.is_empty()
            && self.beginnings.is_empty()
            && self.said.is_empty()
            && self.kin.is_empty()
            && self.by_age.is_empty()
    }
}

fn beginnings(open: &[super::line::Open]) -> impl Iterator<Item = u64> {
    let arguments = open.iter().flat_map(|open| &open.arguments);
    arguments.map(|argument| argument.beginning)
}

pub(super) fn kin_of(task: &TaskId, print: Fingerprint) -> u64 {
    let mut bytes = task.as_str().as_bytes().to_vec();
    bytes.extend(print.0.to_le_bytes());
    keyed(&bytes)
}

/// The digest of a text by which it is known again; 0 if it is too short for that.
pub(super) fn text_digest(text: &str) -> u64 {
    let text = text.trim().as_bytes();
    match text.len() {
        0..arguments::LEAST_BYTES => 0,
        _ => keyed(text),
    }
}
