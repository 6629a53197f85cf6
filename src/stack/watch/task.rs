//! What is remembered of one task, and how a call is put to the rules: what is new in it, by whom, and
//! what was handed on.

use super::begun::{Begun, Handed};
use super::inherited::inherited;
use super::lines::{Keys, Line, MOST_LINES, MOST_UNANSWERED, Place};
use super::verdict::Verdict;
use crate::dialect::Call;
use crate::dialect::said::{Said, said, said_by_answer};
use crate::loops::{
    Action, Circumstance, Context, Firing, Handoff, Heading, Message, Observed, Recording, Role,
    Rules, ToolCall, Watch,
};
use crate::units::AgentId;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// As many calls are remembered by their ids, to name them as evidence.
const MOST_CALLS: usize = 64;
/// Of a conversation that is new here, the first so many messages are read …
const OPENING: usize = 4;
/// … and the last so many, back to the last answer.
const ENDING: usize = 8;
/// Most calls hold no more that is new, in messages.
const USUAL: usize = 4;
/// Longer ones are left out there, in bytes: nothing is remembered of them but how they begin.
const OPENING_BYTES: usize = 16 << 10;

/// A call as the watch sees it.
pub(super) struct Seen<'a> {
    pub call: &'a Call,
    /// The agent, or what stands for one that gives no name.
    pub agent: &'a str,
    /// The agent's name, if it gave one.
    pub name: Option<&'a AgentId>,
    /// Who called it, by its own word.
    pub parent: Option<&'a str>,
    pub request: u128,
    /// How often people have decided on the task.
    pub decisions: u64,
    /// What is new in it is recorded.
    pub recorded: bool,
}

/// What becomes of a call on which a rule fired.
pub(super) struct Judged {
    pub verdict: Arc<Verdict>,
    /// It fired now; false for a call that was met before, such as a retry.
    pub now: bool,
}

/// The memory of one task.
#[derive(Debug, Default)]
pub(super) struct TaskWatch {
    watch: Watch,
    /// The agent of the first call.
    root: Option<u64>,
    /// The conversations, the one that spoke last at the end.
    lines: VecDeque<Line>,
    begun: Begun,
    /// The numbers of the last requests, and how many came before them.
    calls: VecDeque<u128>,
    forgotten: u64,
    lines_met: u64,
    decisions: u64,
    /// Under which the calls since the first are recorded.
    life: u32,
}

/// What is new in a call.
struct New<'a> {
    said: Vec<Said<'a>>,
    /// The last answer's place in the call's chain.
    answer: Option<usize>,
    /// From which message on it is new; all of them are where the conversation is.
    from: usize,
    /// The conversation is new here.
    first: bool,
}

impl TaskWatch {
    /// How often everything has begun anew.
    pub(super) fn resets(&self) -> u32 {
        self.watch.resets()
    }

    /// Takes in a call, and tells what becomes of it.
    pub(super) fn observe(
        &mut self,
        rules: &Rules,
        seen: &Seen<'_>,
        recording: &mut Recording,
    ) -> Option<Judged> {
        self.hear_decisions(seen.decisions);
        let keys = Keys::of(seen.call);
        let agent = match seen.name {
            Some(name) => xxh3_64(name.as_str().as_bytes()),
            // A thread says its system text and tools once; the answer it names tells whose it is.
            None => keys
                .awaiting(&self.lines)
                .unwrap_or_else(|| xxh3_64(seen.agent.as_bytes())),
        };
        if self.root.is_none() {
            self.root = Some(agent);
            self.life = u32::try_from(seen.request >> 64 & 0xffff_ffff).unwrap_or(0);
        }
        let call = self.number(seen.request);
        if seen.recorded {
            let life = self.life;
            recording.begin(Heading { life, number: call });
        }
        let mut place = keys.find(&self.lines, agent);
        if let Place::New { known } = place {
            let shortened = keys.find_shortened(&self.lines, agent, known);
            place = shortened.unwrap_or(place);
        }
        let (line, from) = match place {
            Place::On { line, from } => (line, from),
            Place::New { known } => {
                let (line, new) = (self.begins(seen, agent), opening(seen.call, known));
                return self.judge(rules, seen, &keys, call, (line, &new), recording);
            }
            Place::Again { line, newest } => {
                let line = &mut self.lines[line];
                line.request = seen.request;
                let verdict = line.verdict.clone().filter(|_| newest)?;
                return Some(Judged {
                    verdict,
                    now: false,
                });
            }
        };
        let output = self.lines[line].take_answer();
        // Only what the call names and does not repeat.
        let named = seen.call.ids.previous_response.is_some();
        let mut told = said(seen.call, from..seen.call.chain.links.len());
        if named {
            told.splice(..0, said_by_answer(&output));
        }
        if self.lines[line].is_unanswered() && !told.iter().any(Said::is_answer) {
            // What is common was said to both, and answered to neither.
            let line = self.begins(seen, agent);
            let new = match told.len() {
                0..=OPENING if !named => New::begun(told, from),
                _ => opening(seen.call, from),
            };
            return self.judge(rules, seen, &keys, call, (line, &new), recording);
        }
        if self.root != Some(agent) {
            set_instructions_apart(&mut told);
        }
        let answer = told.iter().rfind(|said| said.is_answer());
        // What was only named stands in front of the call's own messages.
        let answer = answer.map(|said| if named { 0 } else { said.place });
        let new = New {
            answer,
            said: told,
            from,
            first: false,
        };
        let line = self.lines.remove(line)?;
        self.judge(rules, seen, &keys, call, (line, &new), recording)
    }

    /// A conversation that was not met before.
    fn begins(&mut self, seen: &Seen<'_>, agent: u64) -> Line {
        self.lines_met += 1;
        Line::new(agent, self.lines_met, seen.name.map(AgentId::shared))
    }

    /// What was decided by a person lets everything begin anew.
    fn hear_decisions(&mut self, decisions: u64) {
        if self.decisions != decisions {
            self.decisions = decisions;
            if !self.lines.is_empty() {
                self.watch.reset();
                self.acquit();
            }
        }
    }

    fn acquit(&mut self) {
        for line in &mut self.lines {
            line.verdict = None;
        }
    }

    /// The call's number within the task.
    fn number(&mut self, request: u128) -> u64 {
        if self.calls.len() >= MOST_CALLS {
            self.calls.pop_front();
            self.forgotten += 1;
        } else if self.calls.len() == self.calls.capacity() {
            self.calls.reserve_exact(8);
        }
        self.calls.push_back(request);
        self.forgotten + self.calls.len() as u64 - 1
    }

    fn request(&self, call: u64) -> Option<u128> {
        let at = call.checked_sub(self.forgotten)?;
        self.calls.get(usize::try_from(at).ok()?).copied()
    }

    fn judge(
        &mut self,
        rules: &Rules,
        seen: &Seen<'_>,
        keys: &Keys<'_>,
        call: u64,
        (mut line, new): (Line, &New<'_>),
        recording: &mut Recording,
    ) -> Option<Judged> {
        let tools: SmallVec<[Vec<ToolCall<'_>>; USUAL]> = new.said.iter().map(tools).collect();
        let messages = new.said.iter().zip(&tools);
        let messages: SmallVec<[Message<'_>; USUAL]> =
            messages.map(|(said, tools)| message(said, tools)).collect();
        let names = self.lines.iter().filter_map(|line| line.name.as_deref());
        let handoffs = self.begun.handoffs(line.agent, &new.said, names);
        let mut context = measure(&mut line, seen.call, new);
        if let Some(context) = context.as_mut().filter(|context| context.first) {
            let parent = seen.parent.map(|parent| xxh3_64(parent.as_bytes()));
            let lines = self.lines.iter();
            context.inherited_bytes = inherited(lines, line.agent, parent, seen.call);
            let found = (context.inherited_bytes, context.whole_bytes);
            recording.inherited = Some(found).filter(|(inherited, _)| *inherited > 0);
        }
        let resets = self.watch.resets();
        let observed = Observed {
            // What is new begins with the answer to the call before.
            call: if new.first { call } else { line.call },
            agent: seen.agent,
            line: line.id,
            messages: &messages,
            handoff: None,
            circumstance: Circumstance::Fresh,
            chain: None,
            context,
        };
        let handed_over = self.handed_over(&line, seen, new);
        let firing = self.put(
            rules,
            observed,
            (handed_over.as_ref(), &handoffs),
            recording,
        );
        let interrupted = resets != self.watch.resets();
        if interrupted {
            self.acquit();
            line.verdict = None;
        }
        let answered = new.said.iter().any(Said::is_answer);
        let before = line.verdict.take();
        line.verdict = match &firing {
            Some(firing) => {
                let calls = firing.calls.iter().filter_map(|call| self.request(*call));
                let calls = calls.collect();
                let is_own = firing.agent == seen.agent;
                let name = if is_own {
                    line.name.clone()
                } else {
                    // The caller handed over: it is the one that goes round, not the receiver.
                    Some(firing.agent.as_str().into())
                };
                Some(Arc::new(Verdict::new(firing, name, calls)))
            }
            // What was refused stays refused, for the agent has not done anything else since.
            None => before.filter(|verdict| !answered && verdict.action == Action::Deny),
        };
        let verdict = line.verdict.clone();
        line.extend(keys, new.from, new.answer);
        line.call = call;
        self.settle_down(line, seen, new);
        Some(Judged {
            now: firing.is_some(),
            verdict: verdict?,
        })
    }

    /// Puts a call to the rules, and with it what was handed on.
    fn put(
        &mut self,
        rules: &Rules,
        observed: Observed<'_>,
        (handed_over, handoffs): (Option<&HandedOver<'_>>, &[Handed<'_>]),
        recording: &mut Recording,
    ) -> Option<Firing> {
        let over = handed_over.map(|handoff| handoff.observed(observed.call));
        let mut firing = over.and_then(|over| self.watch.observe_into(rules, &over, recording));
        // An answer hands over once, as a rule; what is more is told beside it.
        let (last, others) = match handoffs.split_last() {
            Some((last, others)) => (Some(last), others),
            None => (None, handoffs),
        };
        for other in others {
            let alone = Observed {
                messages: &[],
                handoff: Some(other.handoff()),
                context: None,
                ..observed
            };
            firing = self.watch.observe_into(rules, &alone, recording).or(firing);
        }
        let handoff = last.map(Handed::handoff);
        let whole = Observed {
            handoff,
            ..observed
        };
        self.watch.observe_into(rules, &whole, recording).or(firing)
    }

    /// The first call of an agent whose caller is known by the agent's own word.
    fn handed_over<'a>(
        &self,
        line: &Line,
        seen: &Seen<'a>,
        new: &'a New<'_>,
    ) -> Option<HandedOver<'a>> {
        let from = seen.parent.filter(|_| new.first)?;
        let text = new.said.iter().rfind(|said| said.role == Role::User)?;
        let parent = xxh3_64(from.as_bytes());
        let known = self.lines.iter().rfind(|line| line.agent == parent);
        Some(HandedOver {
            from,
            line: known.map_or(line.id, |line| line.id),
            handoff: Handoff {
                to: seen.agent,
                text: &text.text,
            },
        })
    }

    /// Remembers where the conversation stands now.
    fn settle_down(&mut self, mut line: Line, seen: &Seen<'_>, new: &New<'_>) {
        line.request = seen.request;
        let is_other = |other: &Line| other.agent != line.agent;
        if seen.parent.is_none() && self.lines.iter().any(is_other) {
            self.begun.begin(line.agent, seen.agent, &new.said);
        }
        let waits = |other: &Line| other.is_unanswered() && other.agent == line.agent;
        let mut waiting = (0..).zip(&self.lines).filter(|(_, other)| waits(other));
        let oldest = waiting.next().map(|(place, _)| place);
        if line.is_unanswered() && waiting.count() + 1 >= MOST_UNANSWERED {
            oldest.and_then(|oldest| self.lines.remove(oldest));
        } else if self.lines.len() >= MOST_LINES {
            self.lines.pop_front();
        } else if self.lines.len() == self.lines.capacity() {
            self.lines.reserve_exact(1);
        }
        self.lines.push_back(line);
    }

    /// An answer came that the next call will only name: what it asked for.
    pub(super) fn answered(&mut self, request: u128, id: &str, output: &[u8]) {
        let mut lines = self.lines.iter_mut();
        let line = lines.rfind(|line| line.request == request);
        if let Some(line) = line {
            line.keep_answer(id, output);
        }
    }

    /// The memory this takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let lines: usize = self.lines.iter().map(Line::bytes_beside).sum();
        size_of::<Self>() - size_of::<Watch>()
            + self.watch.bytes()
            + self.lines.capacity() * size_of::<Line>()
            + lines
            + self.calls.capacity() * size_of::<u128>()
            + self.begun.bytes()
    }
}

/// A hand-over that the receiver tells of.
struct HandedOver<'a> {
    from: &'a str,
    line: u64,
    handoff: Handoff<'a>,
}

impl<'a> HandedOver<'a> {
    fn observed(&self, call: u64) -> Observed<'a> {
        Observed {
            call,
            agent: self.from,
            line: self.line,
            messages: &[],
            handoff: Some(self.handoff),
            circumstance: Circumstance::Fresh,
            chain: None,
            context: None,
        }
    }
}

/// What an agent is told after its tools' results is new work, and not what came of the work before; a
/// person speaks to the root agent only.
fn set_instructions_apart(told: &mut [Said<'_>]) {
    let mut has_results = false;
    for said in told {
        match said.role {
            Role::Assistant => has_results = false,
            Role::Tool => has_results = true,
            Role::User if has_results => said.role = Role::Other,
            Role::User | Role::Other => {}
        }
    }
}

impl<'a> New<'a> {
    /// A conversation that was not answered yet, and what it says behind what it shares with others.
    const fn begun(said: Vec<Said<'a>>, known: usize) -> Self {
        Self {
            said,
            answer: None,
            from: known,
            first: true,
        }
    }
}

/// Of a conversation that is new here, behind what it shares with others: how it begins, and what was said
/// since the last answer. What stands between was handed over, or was said before this gateway knew of it;
/// nobody's steps are counted from it.
fn opening(call: &Call, known: usize) -> New<'_> {
    let links = &call.chain.links;
    let fits = |place: &usize| links[*place].at.len() <= OPENING_BYTES;
    let mut told: Vec<Said<'_>> = Vec::new();
    let mut head = known;
    for place in (known..links.len().min(known + OPENING)).filter(fits) {
        let one = said(call, place..place + 1);
        if one.iter().any(Said::is_answer) {
            break;
        }
        told.extend(one);
        head = place + 1;
    }
    let mut from = links.len();
    let mut answer = None;
    let mut tail = Vec::new();
    for place in (head..links.len()).rev().take(ENDING) {
        if !fits(&place) {
            break;
        }
        let one = said(call, place..place + 1);
        from = place;
        if one.iter().any(Said::is_answer) {
            answer = Some(place);
            break;
        }
        tail.push(one);
    }
    told.extend(tail.into_iter().rev().flatten());
    New {
        said: told,
        answer,
        from: if answer.is_some() || head == known {
            from
        } else {
            known
        },
        first: true,
    }
}

/// How large the conversation has become; not where the provider keeps it.
fn measure(line: &mut Line, call: &Call, new: &New<'_>) -> Option<Context> {
    let links = &call.chain.links;
    if call.ids.previous_response.is_some() {
        return None;
    }
    let (start, last) = (links.first()?.at.start, links.last()?);
    let size = |from: usize| last.at.end.saturating_sub(from) as u64;
    let now = size(start).saturating_sub(last.media.payload_bytes);
    let added = links.get(new.from).map_or(0, |link| size(link.at.start));
    let text = new.said.iter().map(|said| {
        let tools = said.tools.iter();
        let tools = tools.map(|tool| tool.name.len() + tool.arguments.len());
        said.text.len() + tools.sum::<usize>()
    });
    let text = text.sum::<usize>() as u64;
    let bytes = line.measure(now, if new.first { now } else { added }, text);
    Some(Context {
        bytes,
        whole_bytes: now,
        first: new.first,
        inherited_bytes: 0,
    })
}

fn tools<'a>(said: &'a Said<'_>) -> Vec<ToolCall<'a>> {
    let tools = said.tools.iter();
    let tools = tools.map(|tool| ToolCall {
        name: &tool.name,
        arguments: &tool.arguments,
    });
    tools.collect()
}

fn message<'a>(said: &'a Said<'_>, tools: &'a [ToolCall<'a>]) -> Message<'a> {
    Message {
        role: said.role,
        text: &said.text,
        tools,
        name: said.name.as_deref(),
        media: said.media,
    }
}

#[cfg(test)]
mod tests;
