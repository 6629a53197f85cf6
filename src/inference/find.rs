//! What a call is joined to: prefix, echo, argument, in this order.

use super::arguments::Text;
use super::book::{Asked, Book, MOST_READ, Place, kin_of, text_digest};
use super::line::Line;
use crate::attribution::Source;
use crate::conversation::Chain;
use crate::dialect::said::Said;
use crate::loops::Role;
use std::cell::OnceCell;

/// Messages looked back over for a known prefix.
const LOOK_BACK: usize = 128;

impl Book {
    /// Where a call belongs.
    pub(super) fn find(&self, asked: &Asked<'_>) -> Place {
        let echoed = asked.echoes.iter().find_map(|id| {
            let mut lines = self.allowed(self.ids.get(id), asked);
            lines.next_back()
        });
        if let Some((number, _)) = self.prefix(asked, echoed.map(|(_, line)| line)) {
            return Place::On(number, Source::Prefix);
        }
        if let Some((number, line)) = echoed {
            return self.echo(asked, number, line);
        }
        if asked.names_previous || asked.messages() > MOST_READ {
            return Place::Orphan;
        }
        let read = OnceCell::new();
        let read = || -> &[Said<'_>] { read.get_or_init(|| asked.texts.first()) };
        self.argument(asked, read())
            .or_else(|| self.shared_beginning(asked, read()))
            .unwrap_or(Place::Orphan)
    }

    /// Those among `lines` that a call may be joined to, the oldest first.
    fn allowed<'b>(
        &'b self,
        lines: &'b [u64],
        asked: &'b Asked<'_>,
    ) -> impl DoubleEndedIterator<Item = (u64, &'b Line)> {
        let lines = lines.iter().filter_map(|number| {
            let line = self.lines.get(number)?;
            Some((*number, line))
        });
        lines.filter(|(_, line)| is_allowed(line, asked))
    }

    /// The conversation that this call's messages begin with. Of several, one where nothing followed
    /// yet; and where an id says which task it is, only one of that.
    fn prefix<'b>(
        &'b self,
        asked: &'b Asked<'_>,
        echoed: Option<&Line>,
    ) -> Option<(u64, &'b Line)> {
        if asked.names_previous {
            return None;
        }
        let Chain { links, heads, .. } = asked.chain;
        let places = (*heads..links.len()).rev().take(LOOK_BACK);
        for at in places {
            let mark = links[at].digest;
            let known = self.allowed(self.marks.get(&mark), asked);
            let known =
                known.filter(|(_, line)| echoed.is_none_or(|echoed| echoed.task == line.task));
            let known: Vec<(u64, &Line)> = known.collect();
            if known.is_empty() {
                continue;
            }
            let is_whole = at + 1 == links.len();
            let newest = |of: &[(u64, &'b Line)]| {
                let open = of.iter().rev().find(|(_, line)| line.ends_with(mark));
                open.or(of.last()).copied()
            };
            return match at - heads {
                // Equal text alone merges nothing: the same call again, if it was not answered.
                0 if is_whole => {
                    let says = asked.task.is_some();
                    let mut again = known.iter().rev().filter(|(_, line)| line.named == says);
                    again.find(|(_, line)| line.failed || asked.again).copied()
                }
                // What was answered tells conversations apart that began with the same words.
                0 if known.len() > 1 && echoed.is_none() => {
                    let said = asked.texts.at(at + 1);
                    let said = said.first().map_or(0, |said| text_digest(&said.text));
                    let heard = known.iter().filter(|(_, line)| line.said.contains(&said));
                    let heard: Vec<_> = heard.copied().collect();
                    match heard.is_empty() {
                        true => newest(&known).filter(|(_, line)| line.ends_with(mark)),
                        false => newest(&heard),
                    }
                }
                _ => newest(&known),
            };
        }
        None
    }

    /// It carries an id that was handed out in `line`.
    fn echo(&self, asked: &Asked<'_>, number: u64, line: &Line) -> Place {
        if asked.is_of(line) {
            return Place::On(number, Source::Echo);
        }
        // Handed back: something of its own stands in what it carries.
        let kin = self.allowed(self.kin.get(&kin_of(&line.task, asked.stand.print)), asked);
        let back = kin.rev().find(|(_, own)| {
            let mut ids = asked.echoes.iter();
            ids.any(|id| own.ids.contains(id))
        });
        match back {
            Some((own, _)) => Place::On(own, Source::Echo),
            None => Place::Below(number, Source::Echo),
        }
    }

    /// Its user messages hold arguments of a tool call that is open in another conversation: the call
    /// of which they hold the most, if no other task has one like it.
    fn argument(&self, asked: &Asked<'_>, read: &[Said<'_>]) -> Option<Place> {
        if read.iter().any(Said::is_answer) {
            return None;
        }
        let mut best: Vec<(u64, u64, u64)> = Vec::new();
        let mut most = 0;
        for said in read.iter().filter(|said| said.role == Role::User) {
            let mut text = Text::new(&said.text);
            for (line, call, bytes) in self.held(asked, &mut text) {
                if bytes > most {
                    (most, best) = (bytes, Vec::new());
                }
                if bytes == most {
                    best.push((line, call, bytes));
                }
            }
        }
        let (number, ..) = *best.first()?;
        let task = &self.lines.get(&number)?.task;
        let other = best.iter().any(|(line, ..)| {
            let line = self.lines.get(line);
            line.is_none_or(|line| line.task != *task)
        });
        (!other).then_some(Place::Below(number, Source::Argument))
    }

    /// The open calls of which `text` holds arguments: conversation, call and how many bytes of it.
    fn held(&self, asked: &Asked<'_>, text: &mut Text<'_>) -> Vec<(u64, u64, u64)> {
        let mut held: Vec<(u64, u64, u64)> = Vec::new();
        let mut counted: Vec<(u64, u64, u64)> = Vec::new();
        let opener = self.opens_tasks(asked);
        for (at, beginnings) in text.beginnings() {
            let found = beginnings.into_iter().flatten();
            for (beginning, number) in
                found.flat_map(|key| self.beginnings.get(&key).iter().map(move |n| (key, *n)))
            {
                let Some(line) = self
                    .lines
                    .get(&number)
                    .filter(|line| is_allowed(line, asked))
                else {
                    continue;
                };
                // An agent that people begin with is called by another only in so many words, and
                // not with those that the task itself began with.
                let own_words = line.first == asked.stand.first;
                if opener && own_words {
                    continue;
                }
                for open in &line.open {
                    for argument in &open.arguments {
                        if argument.beginning != beginning
                            || counted.contains(&(number, open.id, argument.whole))
                            || !text.holds(at, argument)
                            || (opener && usize::try_from(argument.bytes) != Ok(text.len()))
                        {
                            continue;
                        }
                        counted.push((number, open.id, argument.whole));
                        let bytes = u64::from(argument.bytes);
                        let same = held
                            .iter_mut()
                            .find(|one| one.0 == number && one.1 == open.id);
                        match same {
                            Some(one) => one.2 += bytes,
                            None => held.push((number, open.id, bytes)),
                        }
                    }
                }
            }
        }
        held
    }

    /// The agent opens tasks more often than it is called.
    fn opens_tasks(&self, asked: &Asked<'_>) -> bool {
        let seen = self.seen.get(&asked.stand.print);
        asked.task.is_none() && seen.is_some_and(|seen| seen.opened > seen.called)
    }

    /// Another agent's conversation began with the same message, and it was handing off, or what was
    /// answered there is heard here.
    fn shared_beginning(&self, asked: &Asked<'_>, read: &[Said<'_>]) -> Option<Place> {
        let known = self.allowed(self.firsts.get(&asked.stand.first), asked);
        let known: Vec<(u64, &Line)> = known.filter(|(_, line)| !asked.is_of(line)).collect();
        let only = |found: Vec<(u64, &Line)>| {
            let (number, newest) = found.last().copied()?;
            let one_task = found.iter().all(|(_, line)| line.task == newest.task);
            one_task.then_some(number)
        };
        let hands_off = |line: &Line| line.open.iter().any(|open| open.hands_off);
        let handing = known.iter().filter(|(_, line)| hands_off(line));
        if let Some(number) = only(handing.copied().collect()) {
            return Some(Place::Below(number, Source::Prefix));
        }
        let heard: Vec<u64> = read
            .iter()
            .skip(1)
            .map(|said| text_digest(&said.text))
            .collect();
        let hears = |line: &Line| {
            line.said
                .iter()
                .any(|said| *said != 0 && heard.contains(said))
        };
        let speaking = known.iter().filter(|(_, line)| hears(line));
        only(speaking.copied().collect()).map(|number| Place::Beside(number, Source::Prefix))
    }
}

/// A call may be joined to this conversation: it is of the task that was said, if one was, and recent.
fn is_allowed(line: &Line, asked: &Asked<'_>) -> bool {
    asked.task.is_none_or(|task| line.task == *task)
        && asked.now.0.saturating_sub(line.seen.0) <= asked.window_ms
}
