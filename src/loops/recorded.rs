//! What is kept of a call so that other rules can be put to it later: digests, sizes and marks, no text.
//!
//! What is recorded depends on no rule: what an agent did and what came of it, the gist of what was only
//! said, hand-offs by the digests of their words, a context that grew by more than was added. A call in
//! which nothing of that stands is not recorded.
//!
//! The form: [`VERSION`], the [`Heading`], and then marks, each with what follows it. Whole numbers of
//! fixed width come with the small end first, others as LEB128.

use super::asks::Asked;
use super::digest::{Digest, Tone};
use super::growth::Measured;
use super::rules::Rules;
use super::window::Step;
use super::{Firing, Founds, Growing, Rule, Watch};

/// The version of the form.
const VERSION: u8 = 1;

/// Marks: what comes next. Below [`PART`] it is a step, and the mark says what kind of one.
const PART: u8 = 0x80;
const PART_OF_NEW: u8 = 0x81;
const RESET: u8 = 0x82;
const GREW: u8 = 0x83;
const INHERITED: u8 = 0x84;
const HANDED: u8 = 0x85;

/// What a step's mark is made of; the lowest two bits are its tone.
const ANSWERED: u8 = 1 << 2;
const ACTED: u8 = 1 << 3;
const STALE: u8 = 1 << 4;
const KNOWN: u8 = 1 << 5;
const SHARED: u8 = 1 << 6;

/// A record of one step and what was measured beside it is no longer, in bytes.
const USUAL_BYTES: usize = 96;

/// As many words of one hand-off are read; none has more.
const MOST_WORDS: u64 = 256;

/// Which call of which task a record is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heading {
    /// From one beginning of the watch over a task to the next (a restart, a long silence) it stays.
    pub life: u32,
    /// The call's number within that life.
    pub number: u64,
}

/// The recording of one call, while it is observed. What nobody begins records nothing.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    heading: Option<Heading>,
    /// Of an agent's first call: its bytes that stand in another's conversation, and all of them. Kept of
    /// calls that are not recorded too.
    pub inherited: Option<(u64, u64)>,
    /// Of the part that nothing has been written of yet.
    part: Option<Part>,
    out: Vec<u8>,
}

/// One agent's part in a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    /// The agent in its conversation.
    pub id: u64,
    /// It was not known before.
    pub is_new: bool,
    /// The call whose answer is looked at.
    pub call: u64,
}

/// A step as the rules see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub step: Step,
    /// The task has several agents.
    pub shared: bool,
    /// The gist of what was said, where nothing else was done and nothing came of it.
    pub said: Option<u64>,
}

/// A record that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record of a call's steps cannot be read")]
pub struct Unreadable;

// === impl Recording ===

impl Recording {
    /// Begins it: what is observed from here on belongs under this heading.
    pub const fn begin(&mut self, heading: Heading) {
        self.heading = Some(heading);
    }

    /// Ends it: what was recorded; `None` if there was nothing to record.
    #[must_use]
    pub fn finish(self) -> Option<Vec<u8>> {
        (!self.out.is_empty()).then_some(self.out)
    }

    pub(super) fn part(&mut self, part: Part) {
        self.part = self.heading.map(|_| part);
    }

    /// Opens the part, if there is one; `resets` is how often the windows had begun anew.
    fn open(&mut self, resets: u32) -> bool {
        let Some(heading) = self.heading else {
            return false;
        };
        if self.out.is_empty() {
            self.out.reserve(USUAL_BYTES);
            self.out.push(VERSION);
            self.out.extend_from_slice(&heading.life.to_le_bytes());
            number(&mut self.out, heading.number);
        }
        if let Some(part) = self.part.take() {
            self.out.push(if part.is_new { PART_OF_NEW } else { PART });
            self.out.extend_from_slice(&part.id.to_le_bytes());
            number(&mut self.out, part.call);
            number(&mut self.out, u64::from(resets));
        }
        true
    }

    pub(super) fn step(&mut self, resets: u32, seen: &Seen) {
        if !self.open(resets) {
            return;
        }
        let Seen { step, shared, said } = seen;
        let tone = match step.tone {
            Tone::Plain => 0,
            Tone::Brief => 1,
            Tone::Empty => 2,
            Tone::Error => 3,
        };
        let marks = [
            (step.answered, ANSWERED),
            (step.acted, ACTED),
            (step.stale, STALE),
            (step.known, KNOWN),
            (*shared, SHARED),
        ];
        let mark = marks
            .iter()
            .filter(|(is, _)| *is)
            .fold(tone, |all, (_, mark)| all | mark);
        self.out.push(mark);
        self.out.extend_from_slice(&step.action.0.to_le_bytes());
        // Where nothing came of it there is no outcome.
        let other = said.unwrap_or(step.outcome.0);
        self.out.extend_from_slice(&other.to_le_bytes());
    }

    /// A person spoke. In front of everything else the part's own count says so.
    pub(super) fn reset(&mut self) {
        if self.heading.is_some() && self.part.is_none() {
            self.out.push(RESET);
        }
    }

    pub(super) fn measured(&mut self, resets: u32, measured: &Measured) {
        if !measured.may_explode() || !self.open(resets) {
            return;
        }
        let Growing {
            context_bytes,
            grown_bytes,
            added_bytes,
            inherited,
        } = measured.growing;
        self.out.push(if inherited { INHERITED } else { GREW });
        for size in [context_bytes, grown_bytes, added_bytes] {
            number(&mut self.out, size);
        }
    }

    pub(super) fn handed(&mut self, resets: u32, asked: &Asked) {
        if !self.open(resets) {
            return;
        }
        self.out.push(HANDED);
        self.out.extend_from_slice(&asked.from.to_le_bytes());
        self.out.extend_from_slice(&asked.to.to_le_bytes());
        let (count, percent) = asked.seen.sums();
        number(&mut self.out, u64::from(count));
        number(&mut self.out, u64::from(percent));
        number(&mut self.out, asked.words.len() as u64);
        for word in &asked.words {
            self.out.extend_from_slice(&word.to_le_bytes());
        }
    }
}

fn number(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or(0);
        number >>= 7;
        if number == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

// === impl Watch ===

impl Watch {
    /// Puts a recorded call to the rules, as it was when it was recorded. Records of one life come in the
    /// order of their numbers; of what fires, the agent is not named.
    ///
    /// # Errors
    /// What was recorded cannot be read, or only by a later version.
    pub fn replay(&mut self, rules: &Rules, record: &[u8]) -> Result<Option<Firing>, Unreadable> {
        let mut reader = Reader(record);
        reader.heading()?;
        let mut firing = None;
        let mut next = reader.next_byte();
        while let Some(mark) = next {
            if mark != PART && mark != PART_OF_NEW {
                return Err(Unreadable);
            }
            let (fired, after) = self.replay_part(rules, mark == PART_OF_NEW, &mut reader)?;
            firing = fired.or(firing);
            next = after;
        }
        Ok(firing)
    }

    /// One agent's part, and the mark that comes after it.
    fn replay_part(
        &mut self,
        rules: &Rules,
        is_new: bool,
        reader: &mut Reader<'_>,
    ) -> Result<(Option<Firing>, Option<u8>), Unreadable> {
        let id = reader.eight()?;
        let call = reader.number()?;
        let resets = reader.small()?;
        if self.resets != resets {
            self.reset();
            self.resets = resets;
        }
        if is_new {
            self.agents.retain(|agent| agent.id != id);
        }
        // Who it is would matter only to whom a person speaks, and that is recorded.
        let (place, _) = self.place_of(0, id);
        let mut again = Recording::default();
        let mut founds = Founds::into(&mut again);
        let mut growing = None;
        let after = loop {
            match reader.next_byte() {
                Some(mark) if mark < PART => {
                    let seen = reader.step(mark, call)?;
                    self.put_step(rules, place, &seen, &mut founds);
                }
                Some(RESET) => {
                    self.reset();
                    founds.first = None;
                }
                Some(mark @ (GREW | INHERITED)) => {
                    let measured = Measured {
                        growing: Growing {
                            context_bytes: reader.number()?,
                            grown_bytes: reader.number()?,
                            added_bytes: reader.number()?,
                            inherited: mark == INHERITED,
                        },
                    };
                    growing = measured.explodes(&rules.growth);
                }
                Some(HANDED) => {
                    let asked = reader.asked()?;
                    let rule = &rules.rounds;
                    founds.add(Rule::Rounds, rule.action, || {
                        self.asks.put(call, asked, rule)
                    });
                }
                after => break after,
            }
        };
        let growing = growing.filter(|_| rules.growth.action.is_on());
        let firing = self.firing(rules, place, (call, ""), founds.first, growing);
        Ok((firing, after))
    }
}

/// The heading of a record.
///
/// # Errors
/// It cannot be read, or only by a later version.
pub fn heading(record: &[u8]) -> Result<Heading, Unreadable> {
    Reader(record).heading()
}

/// What is left to be read.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn next_byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Unreadable)?;
        self.0 = rest;
        Ok(*bytes)
    }

    fn eight(&mut self) -> Result<u64, Unreadable> {
        self.fixed().map(u64::from_le_bytes)
    }

    fn number(&mut self) -> Result<u64, Unreadable> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.next_byte().ok_or(Unreadable)?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Unreadable)
    }

    fn small(&mut self) -> Result<u32, Unreadable> {
        u32::try_from(self.number()?).map_err(|_| Unreadable)
    }

    fn heading(&mut self) -> Result<Heading, Unreadable> {
        if self.next_byte() != Some(VERSION) {
            return Err(Unreadable);
        }
        Ok(Heading {
            life: u32::from_le_bytes(self.fixed()?),
            number: self.number()?,
        })
    }

    fn step(&mut self, mark: u8, call: u64) -> Result<Seen, Unreadable> {
        let is = |bit: u8| mark & bit != 0;
        let tone = match mark & 3 {
            0 => Tone::Plain,
            1 => Tone::Brief,
            2 => Tone::Empty,
            _ => Tone::Error,
        };
        let (action, other) = (self.eight()?, self.eight()?);
        let only_said = !is(ACTED) && !is(ANSWERED);
        Ok(Seen {
            step: Step {
                call,
                action: Digest(action),
                outcome: if only_said {
                    Digest::default()
                } else {
                    Digest(other)
                },
                tone,
                answered: is(ANSWERED),
                acted: is(ACTED),
                stale: is(STALE),
                known: is(KNOWN),
            },
            shared: is(SHARED),
            said: only_said.then_some(other),
        })
    }

    fn asked(&mut self) -> Result<Asked, Unreadable> {
        let (from, to) = (self.eight()?, self.eight()?);
        let sums = (self.small()?, self.small()?);
        let count = self.number()?;
        if count > MOST_WORDS {
            return Err(Unreadable);
        }
        let words = (0..count).map(|_| self.fixed().map(u32::from_le_bytes));
        Ok(Asked {
            from,
            to,
            words: words.collect::<Result<_, _>>()?,
            seen: sums.into(),
        })
    }
}

#[cfg(test)]
mod tests;
