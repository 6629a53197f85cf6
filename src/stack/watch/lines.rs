//! The conversations of a task as far as they must be remembered: enough to find what is new in the next
//! call, and no text.
//!
//! A call goes on where a known conversation of its agent left off; or it is one that was met before (a
//! retry, a twin, a replay from a checkpoint), and holds nothing new; or it begins a conversation.

use super::verdict::Verdict;
use crate::conversation::Link;
use crate::dialect::Call;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// As many conversations of a task are remembered; the one longest silent makes room.
pub(super) const MOST_LINES: usize = 32;
/// As many of one agent's that nobody has answered: most of those end with their first answer, and what is
/// asked in one that does not is met again in it.
pub(super) const MOST_UNANSWERED: usize = 8;
/// As many prefixes of one conversation are remembered: some fifteen turns, to know a replay by.
const MOST_LINKS: usize = 48;
/// As many messages of one call are remembered as places where the next may go on.
const LINKS_OF_A_CALL: usize = 8;
/// As many messages are looked back over for a known prefix.
const LOOK_BACK: usize = 128;
/// As many of the last messages are looked at for where a shortened conversation goes on.
const LOOK_BACK_SHORTENED: usize = 24;
/// As much of an answer that will not be echoed is kept, in bytes.
pub(super) const ANSWER_BYTES: usize = 4 << 10;

/// One conversation of one agent.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Whose it is.
    pub agent: u64,
    /// Its number within the task.
    pub id: u64,
    /// The agent's name, if it gave one.
    pub name: Option<Arc<str>>,
    /// The newest call: its number within the task, and its request.
    pub call: u64,
    pub request: u128,
    /// What was decided on that call.
    pub verdict: Option<Arc<Verdict>>,
    /// The conversation's size then, in bytes.
    pub bytes: u64,
    /// The same, as far as what was added explains it: see [`Self::measure`].
    pub context_bytes: u64,
    /// The digest of the newest two messages; 0 if there are none.
    pub anchor: u64,
    /// The digest of the newest message alone; 0 if there is none.
    pub newest: u64,
    links: SmallVec<[Mark; 4]>,
    answers: u8,
    answered: bool,
    /// An answer that the next call will name and not repeat.
    answer: Option<Answer>,
}

/// A prefix of a conversation: the upper bits of its digest, and in the lowest byte how many answers
/// (modulo 256) the conversation held then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark(u64);

impl Mark {
    const ANSWERS: u64 = 0xff;

    fn new(key: u64, answers: u8) -> Self {
        Self((key & !Self::ANSWERS) | u64::from(answers))
    }

    const fn is(self, key: u64) -> bool {
        (self.0 ^ key) & !Self::ANSWERS == 0
    }

    const fn answers(self) -> u64 {
        self.0 & Self::ANSWERS
    }
}

/// What an answer asked for, as far as it is kept.
#[derive(Debug)]
struct Answer {
    id: u64,
    output: Box<[u8]>,
}

/// Where a call belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It was met before; `newest` if nothing came after it.
    Again { line: usize, newest: bool },
    /// It goes on; what is new begins at this message.
    On { line: usize, from: usize },
    /// It begins a conversation; so many of its first messages stand in others too.
    New { known: usize },
}

/// The keys under which a call's prefixes are known.
pub(super) struct Keys<'a> {
    links: &'a [Link],
    /// What a call goes on from without repeating it is part of its conversation.
    previous: Option<u64>,
}

impl<'a> Keys<'a> {
    pub(super) fn of(call: &'a Call) -> Self {
        let previous = call.ids.previous_response.as_deref();
        Self {
            links: &call.chain.links,
            previous: previous.map(|id| xxh3_64(id.as_bytes())),
        }
    }

    fn key(&self, link: &Link) -> u64 {
        half(link.digest) ^ self.previous.unwrap_or(0)
    }

    /// The agent of the conversation whose answer the call names.
    pub(super) fn awaiting(&self, lines: &VecDeque<Line>) -> Option<u64> {
        let previous = self.previous?;
        let line = lines.iter().find(|line| line.awaits(previous))?;
        Some(line.agent)
    }

    /// Where the call belongs among these conversations.
    pub(super) fn find(&self, lines: &VecDeque<Line>, agent: u64) -> Place {
        let (last, before) = match (self.links.split_last(), self.previous) {
            (Some((last, before)), _) => (self.key(last), before),
            // It only names what it goes on from.
            (None, Some(previous)) => (previous, self.links),
            (None, None) => return Place::New { known: 0 },
        };
        let own = || (0..).zip(lines).filter(|(_, line)| line.agent == agent);
        if let Some((line, newest)) = own().find_map(|(i, line)| Some((i, line.met(last)?))) {
            return Place::Again { line, newest };
        }
        if let Some(previous) = self.previous {
            let goes_on = own().find(|(_, line)| line.awaits(previous));
            return match goes_on {
                Some((line, _)) => Place::On { line, from: 0 },
                None => Place::New { known: 0 },
            };
        }
        for (from, link) in (1..=before.len())
            .rev()
            .zip(before.iter().rev())
            .take(LOOK_BACK)
        {
            let key = self.key(link);
            let found = own().find_map(|(i, line)| Some((i, line.goes_on(key)?)));
            match found {
                Some((line, true)) => return Place::On { line, from },
                // It parts from what that conversation has become.
                Some((_, false)) => return Place::New { known: from },
                None => {}
            }
        }
        Place::New { known: 0 }
    }

    /// Where a conversation goes on of which old messages were left out, or written anew: a client that does
    /// that still sends the newest as they were. What is known of it from its first message on is known
    /// better than by two messages.
    pub(super) fn find_shortened(
        &self,
        lines: &VecDeque<Line>,
        agent: u64,
        known: usize,
    ) -> Option<Place> {
        if self.previous.is_some() {
            return None;
        }
        let first = self.links.len().saturating_sub(LOOK_BACK_SHORTENED);
        let first = first.max(known.saturating_sub(1));
        // What is new ends with something new.
        let links = self.links.get(first..)?;
        let pairs = (first..first + links.len()).zip(links.windows(2));
        for (place, pair) in pairs.rev().skip(1) {
            let [before, last] = pair else { continue };
            let anchor = anchor(before, last);
            let is_here = |line: &Line| line.agent == agent && line.anchor == anchor;
            if let Some(line) = lines.iter().rposition(is_here) {
                return Some(Place::On {
                    line,
                    from: place + 2,
                });
            }
        }
        None
    }
}

impl Line {
    pub(super) fn new(agent: u64, id: u64, name: Option<Arc<str>>) -> Self {
        Self {
            agent,
            id,
            name,
            ..Self::default()
        }
    }

    /// Whether this prefix is known, and is the newest.
    fn met(&self, key: u64) -> Option<bool> {
        let at = self.links.iter().rposition(|mark| mark.is(key))?;
        Some(at + 1 == self.links.len())
    }

    /// Whether a call with this prefix goes on from here: no answer of this conversation is missing in it.
    /// Messages behind the last answer may be: some clients put a reminder at the end of each call.
    fn goes_on(&self, key: u64) -> Option<bool> {
        let mark = self.links.iter().rev().find(|mark| mark.is(key))?;
        Some(mark.answers() == u64::from(self.answers))
    }

    /// No answer stands in it so far.
    pub(super) const fn is_unanswered(&self) -> bool {
        !self.answered
    }

    fn awaits(&self, previous: u64) -> bool {
        self.answer
            .as_ref()
            .is_some_and(|answer| answer.id == previous)
    }

    /// Takes in the messages of a call from `from` on, the last answer among them standing at `answer`.
    pub(super) fn extend(&mut self, keys: &Keys<'_>, from: usize, answer: Option<usize>) {
        let before = self.answers;
        if answer.is_some() || keys.previous.is_some() {
            self.answers = before.wrapping_add(1);
            self.answered = true;
        }
        let from = from.max(keys.links.len().saturating_sub(LINKS_OF_A_CALL));
        for (place, link) in (from..).zip(&keys.links[from..]) {
            let is_before = answer.is_some_and(|answer| place < answer);
            let answers = if is_before { before } else { self.answers };
            self.mark(Mark::new(keys.key(link), answers));
        }
        if let (Some(previous), []) = (keys.previous, keys.links) {
            self.mark(Mark::new(previous, self.answers));
        }
        if let [.., before, last] = keys.links {
            self.anchor = anchor(before, last);
        }
        if let Some(last) = keys.links.last() {
            self.newest = half(last.message);
        }
        self.answer = None;
    }

    fn mark(&mut self, mark: Mark) {
        if self.links.len() >= MOST_LINKS {
            self.links.remove(0);
        } else if self.links.len() == self.links.capacity() {
            // Grown by little: most tasks are short, and many rest at once.
            self.links.reserve_exact(LINKS_OF_A_CALL);
        }
        self.links.push(mark);
    }

    /// The conversation's size as `growth` sees it, in bytes: what was added counts as text, and growth that
    /// nothing added explains (a history that was written anew) counts in full. A quote or a signature in the
    /// wire format is nobody's growth.
    pub(super) fn measure(&mut self, now: u64, new: u64, added: u64) -> u64 {
        self.context_bytes = if now < self.bytes {
            0
        } else {
            let unexplained = (now - self.bytes).saturating_sub(new);
            self.context_bytes
                .saturating_add(added)
                .saturating_add(unexplained)
        };
        self.bytes = now;
        self.context_bytes
    }

    /// Keeps an answer that the next call will name by `id`. One that is too long is kept as a digest: it is
    /// the same action if it comes again.
    pub(super) fn keep_answer(&mut self, id: &str, output: &[u8]) {
        let output = match output.len() {
            0..=ANSWER_BYTES => output.into(),
            _ => digest_of(output),
        };
        let id = xxh3_64(id.as_bytes());
        self.answer = Some(Answer { id, output });
    }

    /// What the answer before asked for: a JSON array of items; empty if it is not known.
    pub(super) fn take_answer(&mut self) -> Box<[u8]> {
        self.answer
            .take()
            .map(|answer| answer.output)
            .unwrap_or_default()
    }

    /// The memory this takes beside itself, in bytes.
    pub(super) fn bytes_beside(&self) -> usize {
        let answer = self.answer.as_ref().map_or(0, |answer| answer.output.len());
        let verdict = self.verdict.as_ref().map_or(0, |verdict| verdict.bytes());
        let links = match self.links.spilled() {
            true => self.links.capacity() * size_of::<Mark>(),
            false => 0,
        };
        links + answer + verdict
    }
}

/// The digest of two messages in a row.
fn anchor(before: &Link, last: &Link) -> u64 {
    let [before, last] = [before, last].map(|link| half(link.message));
    before.rotate_left(17) ^ last
}

/// Half of a digest that is keyed and mixed: either is as good as the other.
pub(super) fn half(digest: u128) -> u64 {
    let [half @ .., _, _, _, _, _, _, _, _] = digest.to_le_bytes();
    u64::from_le_bytes(half)
}

/// An answer of which only a digest is kept: a call of no tool in particular.
fn digest_of(output: &[u8]) -> Box<[u8]> {
    // Ids differ from answer to answer.
    let said = crate::dialect::said::said_by_answer(output);
    let tools = said.iter().flat_map(|said| &said.tools);
    let digest = tools.fold(0_u64, |all, tool| {
        let one = crate::loops::action(&tool.name, &tool.arguments);
        all.rotate_left(1) ^ one.0
    });
    let text = said.iter().map(|said| &*said.text);
    let text = text.fold(digest, |all, text| {
        all.rotate_left(1) ^ xxh3_64(text.as_bytes())
    });
    format!(r#"[{{"type":"function_call","name":"-","arguments":"{text:016x}"}}]"#)
        .into_bytes()
        .into()
}
