//! One call: joined, taken in, and what follows for its fields.

use super::book::{Asked, Book, MOST_ECHOES, MOST_READ, Place, Texts, text_digest};
use super::line::Line;
use super::seen::{self, Seen};
use super::trail::Stand;
use super::{Asking, Hung, Inferred, Joined, Likeness, id_digest};
use crate::attribution::{Source, Sourced};
use crate::dialect::Call;
use crate::dialect::said::{self, Said};
use crate::units::{AgentId, RequestId, TaskId, UnixMs};

/// The messages of a call, read when somebody asks.
struct Messages<'a>(&'a Call);

impl Texts for Messages<'_> {
    fn first(&self) -> Vec<Said<'_>> {
        let heads = self.0.chain.heads;
        said::said(self.0, heads..heads + MOST_READ)
    }

    fn at(&self, place: usize) -> Vec<Said<'_>> {
        said::said(self.0, place..place + 1)
    }
}

pub(super) fn join_in(book: &mut Book, asking: &Asking<'_>) -> Inferred {
    let Asking {
        call,
        likeness,
        now,
        ..
    } = *asking;
    let chain = &call.chain;
    let print = likeness.print;
    let agent = asking.agent.cloned().or_else(|| likeness.named.clone());
    let messages = Messages(call);
    let previous = call.ids.previous_response.as_deref();
    let answered = call.answered_tools().rev().take(MOST_ECHOES);
    let asked = Asked {
        stand: Stand {
            print,
            first: chain.links.get(chain.heads).map_or(0, |link| link.message),
            mark: chain.links.last().map_or(chain.root, |link| link.digest),
        },
        echoes: previous
            .map(id_digest)
            .into_iter()
            .chain(answered.map(|id| id_digest(&id)))
            .collect(),
        names_previous: previous.is_some(),
        chain,
        task: asking.task,
        agent: agent.clone(),
        again: asking.again,
        texts: &messages,
        now,
        window_ms: asking.window_ms,
    };
    let agent = agent.or_else(|| (!likeness.is_blank).then(|| print.id().into()));
    let place = book.find(&asked);
    let Some((task, by)) = task_of(book, asking, place) else {
        return Inferred {
            task: None,
            agent: agent.map(|value| Sourced {
                value,
                source: Source::Fingerprint,
            }),
            parent: None,
            invocation: None,
            joined: None,
            hung: None,
        };
    };
    let hung = hang(book, &asked, &task, call);
    let parent = match place {
        Place::On(number, _) => book.line(number).and_then(|line| line.parent.clone()),
        Place::Below(number, by) => book.parent_below(&asked, number, by),
        Place::Beside(..) | Place::Orphan => None,
    };
    let number = book.enter(&asked, place, |_| Line {
        task: task.clone(),
        agent: agent.clone(),
        print,
        invocation: named_after("inv", asking.request).into(),
        parent: parent.clone(),
        by,
        first: asked.stand.first,
        marks: smallvec::SmallVec::new(),
        ids: smallvec::SmallVec::new(),
        open: Vec::new(),
        said: smallvec::SmallVec::new(),
        named: asking.task.is_some(),
        failed: false,
        begun: now,
        seen: now,
    });
    note(book, likeness, agent.as_ref(), &task, place, now);
    let invocation = book.line(number).map(|line| Sourced {
        value: line.invocation.clone(),
        source: by,
    });
    Inferred {
        task: Some(Sourced {
            value: task,
            source: by,
        }),
        agent: agent.map(|value| Sourced {
            value,
            source: Source::Fingerprint,
        }),
        parent,
        invocation,
        joined: Some(Joined {
            line: number,
            stand: asked.stand,
        }),
        hung,
    }
}

/// The task that the call belongs to, and what joined it; `None` if nothing did and it may open none.
fn task_of(book: &mut Book, asking: &Asking<'_>, place: Place) -> Option<(TaskId, Source)> {
    match place {
        Place::On(number, by) | Place::Below(number, by) | Place::Beside(number, by) => {
            let line = book.line(number)?;
            Some((line.task.clone(), by))
        }
        Place::Orphan => {
            if let Some(task) = asking.task {
                return Some((task.clone(), Source::Orphan));
            }
            // Something must tell it from any other call: two messages, or one to some agent.
            let chain = &asking.call.chain;
            let messages = chain.links.len().saturating_sub(chain.heads);
            let tells = messages > 1 || (messages == 1 && !asking.likeness.is_blank);
            (tells && book.may_open(asking.now, asking.tasks_per_hour))
                .then(|| (named_after("task", asking.request).into(), Source::Orphan))
        }
    }
}

/// The result of a tool call is what another conversation answered, and nothing had joined that to
/// anything: it was made below this call's agent.
fn hang(book: &mut Book, asked: &Asked<'_>, task: &TaskId, call: &Call) -> Option<Hung> {
    let newest = call.chain.links.len().checked_sub(1)?;
    if asked.echoes.is_empty() || newest < call.chain.heads {
        return None;
    }
    for said in said::said(call, newest..newest + 1) {
        let Some(id) = said.result_of.as_deref().map(id_digest) else {
            continue;
        };
        let digest = text_digest(&said.text);
        let Some((since, parent)) = book.awaits(id).filter(|_| digest != 0) else {
            continue;
        };
        if let Some(number) = book.strays(digest, task, since) {
            let agent = book.line(number).and_then(|line| line.agent.clone());
            let from = book.hang(number, task, parent.clone())?;
            return Some(Hung {
                agent,
                from,
                to: task.clone(),
                parent,
            });
        }
    }
    None
}

fn note(
    book: &mut Book,
    likeness: &Likeness,
    agent: Option<&AgentId>,
    task: &TaskId,
    place: Place,
    now: UnixMs,
) {
    if !book.seen.contains_key(&likeness.print) {
        seen::make_room(&mut book.seen);
    }
    let seen = book.seen.entry(likeness.print).or_insert_with(|| Seen {
        tools: likeness.tools.clone(),
        ..Seen::default()
    });
    seen.agent = agent.cloned();
    seen.calls += 1;
    seen.last = now;
    if seen.task.as_ref() != Some(task) {
        seen.task = Some(task.clone());
        seen.tasks += u64::from(!matches!(place, Place::On(..)));
    }
    match place {
        Place::On(..) => {}
        Place::Orphan => {
            seen.invocations += 1;
            seen.opened += 1;
        }
        Place::Below(..) | Place::Beside(..) => {
            seen.invocations += 1;
            seen.called += 1;
        }
    }
}

/// An id for something that a call began.
fn named_after(what: &str, request: &RequestId) -> String {
    let id = request.as_str();
    let digits = id.strip_prefix("req_").unwrap_or(id);
    format!("{what}-{}", &digits[digits.len().saturating_sub(16)..])
}
