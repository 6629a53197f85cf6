//! One turn of an agent, read into a [`Step`]: its answer, and what came of it.

use super::digest::{Digest, Tone, action, outcome, pair, together};
use super::heard::{Heard, Sentences};
use super::observed::Message;
use super::scrub::scrub;
use super::window::Step;
use xxhash_rust::xxh3::xxh3_64;

/// One turn while it is read.
#[derive(Debug, Default)]
pub(super) struct Reading {
    scratch: Vec<u8>,
    said: String,
    actions: Vec<Digest>,
    outcomes: Vec<Digest>,
    tone: Tone,
    spoke: bool,
}

impl Reading {
    pub(super) fn answer(&mut self, message: &Message<'_>, heard: &mut Heard) {
        self.spoke = true;
        for tool in message.tools {
            self.actions.push(action(tool.name, tool.arguments));
            heard.hear_arguments(tool.arguments);
        }
        heard.hear(&Sentences::of(message.text));
        if message.tools.is_empty() {
            self.scratch.clear();
            scrub(message.text, &mut self.scratch);
            self.said = String::from_utf8_lossy(&self.scratch).into_owned();
        }
    }

    /// Takes in an observation and gives it back scrubbed.
    pub(super) fn outcome(&mut self, message: &Message<'_>) -> &str {
        let (mut digest, mut tone) = outcome(message.text, &mut self.scratch);
        if message.media != 0 {
            digest = Digest(pair(digest.0, message.media));
            tone = Tone::Plain;
        }
        self.outcomes.push(digest);
        // Of several results, the one that says most counts.
        let says = |tone| match tone {
            Tone::Plain => 3,
            Tone::Error => 2,
            Tone::Empty => 1,
            Tone::Brief => 0,
        };
        if self.outcomes.len() == 1 || says(tone) > says(self.tone) {
            self.tone = tone;
        }
        std::str::from_utf8(&self.scratch).unwrap_or_default()
    }

    pub(super) fn said(&self) -> &str {
        &self.said
    }

    pub(super) fn step(&mut self, call: u64, before: &[Step]) -> Option<Step> {
        if !self.spoke {
            return None;
        }
        let acted = !self.actions.is_empty();
        let action = match acted {
            true => together(&mut self.actions),
            false => Digest(xxh3_64(self.said.as_bytes())),
        };
        let answered = !self.outcomes.is_empty();
        let outcome = together(&mut self.outcomes);
        let same = |step: &Step| step.answered && step.outcome == outcome;
        let known = |step: &Step| step.action == action && step.outcome == outcome;
        Some(Step {
            known: before.iter().any(known),
            call,
            action,
            outcome,
            tone: self.tone,
            answered,
            acted,
            stale: answered && before.iter().any(same),
        })
    }
}
