//! Which versions of which models have answered a task's agents, and what of it wants a person's eye: a
//! provider that answers with another version than before, and agents of one task on different versions
//! or generations of one model.
//!
//! Kept in memory only, within a bound: a task that comes back after a restart begins anew, except where
//! skew is denied, for then its calls in the journal are asked.

use foldhash::quality::FixedState;
use parking_lot::Mutex;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Combinations of agent, provider and model remembered per task.
const MAX_MET: usize = 64;
/// Events told per task.
const MAX_TOLD: usize = 32;
const SEED: u64 = 0x7665_7273_696f_6e73;

/// A model's name, taken apart: `claude-sonnet-4-5-20250929` is of the line `claude-sonnet`, generation
/// `4-5`, version `20250929`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelName {
    /// The words and sizes: what stays the same from one generation to the next.
    pub line: String,
    /// Its numbers.
    pub generation: String,
    /// Its date; empty if the name has none.
    pub version: String,
}

impl ModelName {
    /// Takes a name apart. A provider or owner before a slash is left away.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let own = name.rsplit('/').next().unwrap_or(name);
        let own = own.to_ascii_lowercase();
        let tokens: Vec<&str> = own.split(['-', '_', '@', ':', ' ']).collect();
        let mut found = Self::default();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            at += 1;
            let dated = is_year(token)
                && tokens.get(at).is_some_and(|month| is_number(month, 2))
                && tokens.get(at + 1).is_some_and(|day| is_number(day, 2));
            if dated {
                at += 2;
                push(&mut found.version, &tokens[at - 3..at].join("-"));
            } else if is_number(token, 8) || is_number(token, 6) || is_number(token, 4) {
                push(&mut found.version, token);
            } else if *token != "latest" && !token.is_empty() {
                let digits = token.find(|c: char| c.is_ascii_digit());
                match digits {
                    None => push(&mut found.line, token),
                    Some(_) if is_size(token) => push(&mut found.line, token),
                    Some(0) => push(&mut found.generation, token),
                    Some(from) => {
                        push(&mut found.line, &token[..from]);
                        push(&mut found.generation, &token[from..]);
                    }
                }
            }
        }
        found
    }

    /// Another generation or version of the same model. A name without a date may be any version.
    #[must_use]
    pub fn differs(&self, other: &Self) -> bool {
        let dated = !self.version.is_empty() && !other.version.is_empty();
        self.line == other.line
            && (self.generation != other.generation || (dated && self.version != other.version))
    }
}

fn push(to: &mut String, part: &str) {
    if !to.is_empty() {
        to.push('-');
    }
    to.push_str(part);
}

fn is_number(token: &str, digits: usize) -> bool {
    token.len() == digits && token.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_year(token: &str) -> bool {
    is_number(token, 4) && token.starts_with("20")
}

/// `70b`, `1.5b`, `128k`, `8x7b`: of another size is another model.
fn is_size(token: &str) -> bool {
    let (number, unit) = token.split_at(token.len().saturating_sub(1));
    let digits = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'x');
    matches!(unit, "b" | "k" | "m") && !number.is_empty() && number.chars().all(digits)
}

/// An answer: whose, from where, and in which version.
#[derive(Clone, Copy, Debug, Hash)]
pub struct Heard<'a> {
    /// The agent, else its role, else `-`.
    pub who: &'a str,
    /// The provider.
    pub provider: &'a str,
    /// The model that it was asked for.
    pub model: &'a str,
    /// The model that it said it was.
    pub answered: &'a str,
}

/// An answer that was met. In one piece, for every task keeps one and many tasks rest at once.
#[derive(Clone, Debug)]
struct Met {
    /// Who, provider, model and answered, in this order.
    text: Box<str>,
    /// Where all but the last end.
    ends: [usize; 3],
}

impl Met {
    fn new(heard: &Heard<'_>) -> Self {
        let parts = [heard.who, heard.provider, heard.model, heard.answered];
        let mut end = 0;
        let ends = parts.map(|part| {
            end += part.len();
            end
        });
        let [who, provider, model, _] = ends;
        Self {
            text: parts.concat().into(),
            ends: [who, provider, model],
        }
    }

    fn who(&self) -> &str {
        &self.text[..self.ends[0]]
    }

    fn provider(&self) -> &str {
        &self.text[self.ends[0]..self.ends[1]]
    }

    fn model(&self) -> &str {
        &self.text[self.ends[1]..self.ends[2]]
    }

    fn answered(&self) -> &str {
        &self.text[self.ends[2]..]
    }
}

/// Something that wants a person's eye.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionEvent {
    /// `version` or `skew`.
    pub kind: &'static str,
    /// In words.
    pub detail: String,
}

/// What one task has heard.
#[derive(Debug, Default)]
pub struct Versions {
    /// A digest of the last answer: most are like the one before.
    last: AtomicU64,
    heard: Mutex<HeardAll>,
}

#[derive(Debug, Default)]
struct HeardAll {
    /// The journal was asked.
    is_whole: bool,
    met: Vec<Met>,
    told: Vec<u64>,
}

impl Versions {
    /// Takes an answer in; what it is a sign of, each once.
    pub fn hear(&self, heard: &Heard<'_>) -> Vec<VersionEvent> {
        let digest = FixedState::with_seed(SEED).hash_one(heard);
        if self.last.swap(digest, Ordering::Relaxed) == digest {
            return Vec::new();
        }
        self.heard.lock().hear(heard)
    }

    /// The journal was asked about earlier answers.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.heard.lock().is_whole
    }

    /// Takes in what the journal knows.
    pub fn recall<'a>(&self, earlier: impl Iterator<Item = Heard<'a>>) {
        let mut all = self.heard.lock();
        for heard in earlier {
            all.hear(&heard);
        }
        all.is_whole = true;
    }

    /// An answer that the task has had, of another version or generation of the model of that name.
    #[must_use]
    pub fn against(&self, name: &str) -> Option<Arc<str>> {
        let name = ModelName::of(name);
        let all = self.heard.lock();
        let mut other = all.met.iter().map(Met::answered);
        let other = other.find(|answered| name.differs(&ModelName::of(answered)));
        other.map(Arc::from)
    }
}

impl HeardAll {
    fn hear(&mut self, heard: &Heard<'_>) -> Vec<VersionEvent> {
        let Heard {
            who,
            provider,
            model,
            answered,
        } = *heard;
        let same = |met: &Met| met.provider() == provider && met.model() == model;
        let mine = self
            .met
            .iter()
            .position(|met| same(met) && met.who() == who);
        if let Some(mine) = mine
            && self.met[mine].answered() == answered
        {
            return Vec::new();
        }
        let name = ModelName::of(answered);
        let before = self
            .met
            .iter()
            .find(|met| same(met) && met.answered() != answered);
        let changed = before.map(|met| {
            format!(
                "{provider} answers {model} as {answered} now, and before as {}",
                met.answered()
            )
        });
        let differs = |met: &&Met| met.who() != who && name.differs(&ModelName::of(met.answered()));
        let skewed = self.met.iter().find(differs).map(|met| {
            let (other, theirs) = (met.who(), met.answered());
            format!("{who} is answered by {answered}, {other} by {theirs}")
        });
        match mine {
            Some(mine) => self.met[mine] = Met::new(heard),
            None if self.met.len() < MAX_MET => {
                self.met.reserve_exact(1);
                self.met.push(Met::new(heard));
            }
            None => {}
        }
        let events = [("version", changed), ("skew", skewed)];
        let events = events.into_iter().filter_map(|(kind, detail)| {
            let detail = detail?;
            let digest = FixedState::with_seed(SEED).hash_one((kind, model, answered));
            if self.told.contains(&digest) || self.told.len() >= MAX_TOLD {
                return None;
            }
            self.told.push(digest);
            Some(VersionEvent { kind, detail })
        });
        events.collect()
    }
}

#[cfg(test)]
mod tests;
