//! What is remembered of conversations for the caps on contexts: who has entered which task, who
//! was told that its context is large, where conversations were trimmed, and what was put there instead.
//!
//! Nothing that a balance depends on. A forgotten cut is made anew, perhaps at another place, which
//! costs a prompt cache once; an agent that was forgotten is judged as one that enters.

use crate::attribution::Attribution;
use crate::conversation::Digester;
use crate::dialect::Call;
use crate::units::TaskKey;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use std::sync::Arc;

/// Invocations remembered, by task and agent; about 60 bytes each.
const MAX_ENTERED: usize = 100_000;
/// Cuts remembered; about 100 bytes each, and eight for each message left out.
const MAX_CUTS: usize = 20_000;

/// Summaries remembered, in bytes.
const MAX_SUMMARY_BYTES: u64 = 16 << 20;
/// What one takes beside its text, in bytes.
const SUMMARY_BYTES: u64 = 96;

/// See the module.
#[derive(Debug)]
pub struct Contexts {
    entered: Cache<u128, ()>,
    cuts: Cache<u128, Arc<[usize]>>,
    summaries: Cache<u128, Summary, Bytes>,
}

/// What stands in place of the messages of a cut.
#[derive(Clone, Debug)]
struct Summary {
    /// How many messages it is of.
    messages: usize,
    text: Arc<str>,
}

#[derive(Clone, Debug)]
struct Bytes;

impl Weighter<u128, Summary> for Bytes {
    fn weight(&self, _: &u128, summary: &Summary) -> u64 {
        summary.text.len() as u64 + SUMMARY_BYTES
    }
}

impl Default for Contexts {
    fn default() -> Self {
        Self {
            entered: Cache::new(MAX_ENTERED),
            cuts: Cache::new(MAX_CUTS),
            summaries: Cache::with_weighter(MAX_CUTS / 8, MAX_SUMMARY_BYTES, Bytes),
        }
    }
}

/// What can be met in a task.
#[derive(Clone, Copy, Debug)]
pub enum Met<'a> {
    /// An agent, by its id.
    Agent(&'a str),
    /// An agent without an id, by the root of its conversation.
    Root(u128),
    /// The journal was asked which agents have been met.
    Journal,
    /// Calls of agents without an id that nobody here has seen.
    Nameless,
    /// A model was told of its context, in the conversation of this root.
    Told(u128),
}

impl Met<'_> {
    /// Where it is remembered.
    #[must_use]
    pub fn key(&self, task: &TaskKey) -> Entry {
        let mut digester = digester(b"met");
        digester.add(task.owner.as_str().as_bytes());
        digester.end();
        digester.add(task.task.as_str().as_bytes());
        digester.end();
        match self {
            Self::Agent(id) => digester.add(id.as_bytes()),
            Self::Root(root) => {
                digester.end();
                digester.add(&root.to_le_bytes());
            }
            Self::Told(root) => {
                digester.end();
                digester.add(b"told");
                digester.add(&root.to_le_bytes());
            }
            Self::Journal => digester.add(b"\0journal"),
            Self::Nameless => digester.add(b"\0nameless"),
        }
        Entry(digester.digest())
    }
}

/// Something met in a task, as a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry(u128);

/// Whose conversations are cut alike: an agent, or a role, of an owner.
#[derive(Clone, Copy, Debug)]
pub struct Trimmer(u128);

impl Trimmer {
    /// Of this call.
    #[must_use]
    pub fn of(attribution: &Attribution) -> Self {
        let mut digester = digester(b"cut");
        digester.add(attribution.owner.as_str().as_bytes());
        digester.end();
        if let Some(agent) = &attribution.agent {
            digester.add(agent.value.as_str().as_bytes());
        }
        digester.end();
        if let Some(role) = &attribution.role {
            digester.add(role.value.as_str().as_bytes());
        }
        Self(digester.digest())
    }
}

fn digester(about: &[u8]) -> Digester {
    let mut digester = Digester::default();
    digester.add(about);
    digester.end();
    digester
}

impl Contexts {
    /// It was met before.
    #[must_use]
    pub fn has_met(&self, entry: Entry) -> bool {
        self.entered.get(&entry.0).is_some()
    }

    /// It is met now.
    pub fn meet(&self, entry: Entry) {
        self.entered.insert(entry.0, ());
    }

    /// It is as if it had never been met.
    pub fn forget(&self, entry: Entry) {
        self.entered.remove(&entry.0);
    }

    /// Which messages were left out of this conversation when it was last too long. A cut is known by
    /// everything up to its last message, so it holds for every longer conversation that begins so.
    #[must_use]
    pub fn cut(&self, whose: Trimmer, call: &Call) -> Option<Arc<[usize]>> {
        let mut links = call.chain.links.iter().rev();
        links.find_map(|link| self.cuts.get(&(link.digest ^ whose.0)))
    }

    /// Remembers what was left out, in order of place.
    pub fn remember_cut(&self, whose: Trimmer, call: &Call, dropped: &[usize]) {
        let last = dropped.last().and_then(|last| call.chain.links.get(*last));
        if let Some(last) = last {
            self.cuts.insert(last.digest ^ whose.0, dropped.into());
        }
    }

    /// What stands in place of these messages, which were left out of this conversation.
    #[must_use]
    pub fn summary(&self, whose: Trimmer, call: &Call, dropped: &[usize]) -> Option<Arc<str>> {
        let last = call.chain.links.get(*dropped.last()?)?;
        let found = self.summaries.get(&(last.digest ^ whose.0))?;
        (found.messages == dropped.len()).then_some(found.text)
    }

    /// Remembers what stands in place of these messages.
    pub fn remember_summary(&self, whose: Trimmer, call: &Call, dropped: &[usize], text: Arc<str>) {
        let last = dropped.last().and_then(|last| call.chain.links.get(*last));
        if let Some(last) = last {
            let messages = dropped.len();
            let summary = Summary { messages, text };
            self.summaries.insert(last.digest ^ whose.0, summary);
        }
    }
}
