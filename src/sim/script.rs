//! Tells a planned answer piece by piece: one walk over outputs and parts for every dialect, in which a
//! [`Voice`] writes that dialect's events.

use super::behaviour::Ending;
use super::plan::{Part, Plan, escape};
use super::words::Words;
use bytes::{Bytes, BytesMut};
use std::sync::Arc;

/// Memory that events are written into at a time, in bytes.
const BUFFER_BYTES: usize = 4_096;

/// Where in the plan the telling is: which output, and which of its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    pub output: usize,
    pub part: usize,
}

/// How one dialect tells a streamed answer. Each verb writes any number of events, none included.
pub trait Voice: Send {
    /// The answer begins.
    fn open(&mut self, plan: &Plan, out: &mut BytesMut);
    /// One of `n` answers begins.
    fn open_output(&mut self, _plan: &Plan, _output: usize, _out: &mut BytesMut) {}
    /// A part begins.
    fn open_part(&mut self, plan: &Plan, at: At, part: &Part, out: &mut BytesMut);
    /// More of a part: `text` is the inside of a JSON string.
    fn more(&mut self, plan: &Plan, at: At, part: &Part, text: &[u8], out: &mut BytesMut);
    /// A part ends.
    fn close_part(&mut self, plan: &Plan, at: At, part: &Part, out: &mut BytesMut);
    /// One of `n` answers ends.
    fn close_output(&mut self, _plan: &Plan, _output: usize, _out: &mut BytesMut) {}
    /// What it cost.
    fn usage(&mut self, plan: &Plan, out: &mut BytesMut);
    /// The answer ends.
    fn close(&mut self, _plan: &Plan, _out: &mut BytesMut) {}
    /// The answer fails.
    fn fail(&mut self, plan: &Plan, out: &mut BytesMut);
}

/// What to wait for before an event leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    None,
    /// The next chunk's turn.
    Chunk,
    /// Unseen reasoning.
    Reasoning,
    /// Usage that comes late.
    Usage,
}

/// The next thing to happen.
#[derive(Debug)]
pub enum Next {
    Event(Pause, Bytes),
    /// Everything was told.
    Over,
    /// Something was told, and this is how it breaks off.
    Broken(Ending),
}

#[derive(Clone, Copy, Debug)]
enum State {
    Open,
    OpenOutput(usize),
    OpenPart(At),
    More(At),
    ClosePart(At),
    CloseOutput(usize),
    Usage,
    Close,
    Over,
    /// An error event was told, and nothing follows.
    Failed,
}

/// What of the current part is still to be told.
enum Rest {
    Words(Words),
    /// From this byte of the part's text.
    Text(usize),
    Nothing,
}

/// A planned answer while it is told.
pub struct Script {
    plan: Arc<Plan>,
    voice: Box<dyn Voice>,
    state: State,
    rest: Rest,
    /// Tokens in one chunk.
    chunk_tokens: u64,
    /// Chunks told.
    told: u64,
    /// After so many chunks it breaks off, in this way.
    breaks: Option<(u64, Ending)>,
    usage_late: bool,
    scratch: BytesMut,
    out: BytesMut,
}

impl Script {
    /// `breaks`: after so many chunks the telling breaks off.
    pub fn new(
        plan: Arc<Plan>,
        voice: Box<dyn Voice>,
        chunk_tokens: u64,
        breaks: Option<(u64, Ending)>,
        usage_late: bool,
    ) -> Self {
        Self {
            plan,
            voice,
            state: State::Open,
            rest: Rest::Nothing,
            chunk_tokens,
            told: 0,
            breaks,
            usage_late,
            scratch: BytesMut::new(),
            out: BytesMut::with_capacity(BUFFER_BYTES),
        }
    }

    /// The next event.
    pub fn next(&mut self) -> Next {
        loop {
            let may_break = matches!(self.state, State::More(_) | State::Usage);
            match self.breaks {
                Some((after, how)) if may_break && self.told >= after => {
                    return self.break_off(how);
                }
                _ => {}
            }
            match self.state {
                State::Over => return Next::Over,
                State::Failed => return Next::Broken(Ending::ErrorEvent),
                _ => {}
            }
            let pause = self.step();
            if !self.out.is_empty() {
                return Next::Event(pause, self.out.split().freeze());
            }
        }
    }

    fn break_off(&mut self, how: Ending) -> Next {
        if how != Ending::ErrorEvent {
            return Next::Broken(how);
        }
        self.state = State::Failed;
        self.voice.fail(&self.plan, &mut self.out);
        Next::Event(Pause::None, self.out.split().freeze())
    }

    /// One step of the walk; it may write nothing.
    fn step(&mut self) -> Pause {
        let Self {
            plan, voice, out, ..
        } = self;
        if out.capacity() < 512 {
            out.reserve(BUFFER_BYTES);
        }
        let mut pause = Pause::None;
        self.state = match self.state {
            State::Open => {
                voice.open(plan, out);
                State::OpenOutput(0)
            }
            State::OpenOutput(output) if output < plan.outputs.len() => {
                voice.open_output(plan, output, out);
                State::OpenPart(At { output, part: 0 })
            }
            State::OpenOutput(_) => State::Usage,
            State::OpenPart(at) => match plan.outputs[at.output].parts.get(at.part) {
                None => State::CloseOutput(at.output),
                Some(part) => {
                    if matches!(part, Part::Unseen) {
                        pause = Pause::Reasoning;
                    }
                    voice.open_part(plan, at, part, out);
                    self.rest = match part {
                        Part::Words(words) | Part::Thinking(words) => Rest::Words(*words),
                        Part::Literal(_) | Part::Tool { .. } => Rest::Text(0),
                        Part::Unseen => Rest::Nothing,
                    };
                    State::More(at)
                }
            },
            State::More(at) => {
                let part = &plan.outputs[at.output].parts[at.part];
                self.scratch.clear();
                if self.rest.say(part, self.chunk_tokens, &mut self.scratch) {
                    voice.more(plan, at, part, &self.scratch, out);
                    self.told += 1;
                    pause = Pause::Chunk;
                    State::More(at)
                } else {
                    State::ClosePart(at)
                }
            }
            State::ClosePart(at) => {
                voice.close_part(plan, at, &plan.outputs[at.output].parts[at.part], out);
                State::OpenPart(At {
                    part: at.part + 1,
                    ..at
                })
            }
            State::CloseOutput(output) => {
                voice.close_output(plan, output, out);
                State::OpenOutput(output + 1)
            }
            State::Usage => {
                if self.usage_late {
                    pause = Pause::Usage;
                }
                voice.usage(plan, out);
                State::Close
            }
            State::Close => {
                voice.close(plan, out);
                State::Over
            }
            ended @ (State::Over | State::Failed) => ended,
        };
        pause
    }
}

impl Rest {
    /// Writes the next chunk; false when nothing is left.
    fn say(&mut self, part: &Part, tokens: u64, out: &mut BytesMut) -> bool {
        match (self, part) {
            (Self::Words(words), _) if words.left() > 0 => {
                words.say(tokens, out);
                true
            }
            (
                Self::Text(from),
                Part::Literal(text)
                | Part::Tool {
                    arguments: text, ..
                },
            ) if *from < text.len() => {
                let step = usize::try_from(tokens * 4).unwrap_or(usize::MAX);
                let to = text.ceil_char_boundary(from.saturating_add(step).min(text.len()));
                escape(&text[*from..to], out);
                *from = to;
                true
            }
            _ => false,
        }
    }
}
