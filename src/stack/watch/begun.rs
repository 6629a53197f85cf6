//! Who was set to work with which words: an agent used as a tool begins with a text that stood in an
//! argument of the call that asked for it, or in the answer itself where agents just talk.
//!
//! The receiver speaks before the giver's answer is seen (it stands in the giver's next call), so what
//! receivers began with is remembered, and a giver's arguments are looked for among it.

use crate::dialect::said::Said;
use crate::json::strings;
use crate::loops::{Handoff, Role};
use std::borrow::Cow;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// As many beginnings are remembered; the oldest makes room.
const MOST_BEGUN: usize = 16;
/// As many of a message's lines are remembered: some frameworks set the words they hand on between
/// headings of their own.
const MOST_TEXTS: usize = 8;
/// Shorter texts are anybody's, in bytes.
const LEAST_BYTES: usize = 8;
/// As many strings of one tool call's arguments are looked for.
const MOST_ARGUMENTS: usize = 16;
/// How tools are named that hand the whole conversation to another agent.
const TRANSFER: [&str; 2] = ["transfer_to_", "handoff_to_"];

/// The beginnings of a task's agents.
#[derive(Debug, Default)]
pub(super) struct Begun(Vec<Beginning>);

#[derive(Debug)]
struct Beginning {
    agent: u64,
    name: Arc<str>,
    texts: Vec<u64>,
}

/// Work that was handed to another agent.
#[derive(Debug)]
pub(super) struct Handed<'a> {
    to: Arc<str>,
    text: Cow<'a, str>,
}

impl Handed<'_> {
    fn into_owned<'b>(self) -> Handed<'b> {
        Handed {
            to: self.to,
            text: Cow::Owned(self.text.into_owned()),
        }
    }

    pub(super) fn handoff(&self) -> Handoff<'_> {
        Handoff {
            to: &self.to,
            text: &self.text,
        }
    }
}

impl Begun {
    /// An agent was told this.
    pub(super) fn begin(&mut self, agent: u64, name: &str, said: &[Said<'_>]) {
        let told = said.iter().filter(|said| said.role == Role::User);
        let mut texts: Vec<u64> = Vec::new();
        for said in told {
            let whole = std::iter::once(&*said.text);
            for text in whole.chain(said.text.lines()).filter_map(digest) {
                if texts.len() < MOST_TEXTS && !texts.contains(&text) {
                    texts.push(text);
                }
            }
        }
        if texts.is_empty() {
            return;
        }
        if self.0.len() >= MOST_BEGUN {
            self.0.remove(0);
        }
        let name = match self.0.iter().find(|known| known.agent == agent) {
            Some(known) => Arc::clone(&known.name),
            None => name.into(),
        };
        self.0.push(Beginning { agent, name, texts });
    }

    /// What this agent handed to others, by what is new of it.
    pub(super) fn handoffs<'a, 'b>(
        &mut self,
        agent: u64,
        said: &'a [Said<'_>],
        agents: impl Iterator<Item = &'b str> + Clone,
    ) -> Vec<Handed<'a>> {
        let mut handed = Vec::new();
        for answer in said.iter().filter(|said| said.is_answer()) {
            for tool in &answer.tools {
                let transfer = transfer(&tool.name).and_then(|to| {
                    let to = agents.clone().find(|agent| is_named(agent, to))?;
                    Some(Handed {
                        to: to.into(),
                        text: Cow::Borrowed(&tool.arguments),
                    })
                });
                handed.extend(transfer.or_else(|| self.among_strings(agent, &tool.arguments)));
            }
            // Where agents talk to one another without tools, what one says the other is told.
            if answer.tools.is_empty() && self.has_others(agent) {
                let told = self.take(agent, &answer.text);
                let told =
                    told.or_else(|| answer.text.lines().find_map(|line| self.take(agent, line)));
                handed.extend(told.or_else(|| self.among_strings(agent, &answer.text)));
            }
        }
        handed
    }

    fn has_others(&self, agent: u64) -> bool {
        self.0.iter().any(|begun| begun.agent != agent)
    }

    /// The first JSON string in a text that another agent began with.
    fn among_strings<'a>(&mut self, agent: u64, json: &str) -> Option<Handed<'a>> {
        if !self.has_others(agent) {
            return None;
        }
        let body = json.as_bytes();
        let texts = strings(body, 0..body.len()).take(MOST_ARGUMENTS);
        let mut texts = texts.filter_map(|at| serde_json::from_slice::<String>(&body[at]).ok());
        texts.find_map(|text| self.take(agent, &text).map(Handed::into_owned))
    }

    /// The agent that began with this text; it is remembered no longer.
    fn take<'a>(&mut self, agent: u64, text: &'a str) -> Option<Handed<'a>> {
        let digest = digest(text)?;
        let is_it = |begun: &Beginning| begun.agent != agent && begun.texts.contains(&digest);
        let place = self.0.iter().position(is_it)?;
        Some(Handed {
            to: self.0.remove(place).name,
            text: Cow::Borrowed(text),
        })
    }

    /// The memory this takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let texts = self.0.iter();
        let texts = texts.map(|begun| begun.texts.capacity() * size_of::<u64>() + begun.name.len());
        self.0.capacity() * size_of::<Beginning>() + texts.sum::<usize>()
    }
}

/// To whom a tool of this name hands the conversation.
fn transfer(tool: &str) -> Option<&str> {
    TRANSFER.iter().find_map(|word| tool.strip_prefix(word))
}

/// Tools cannot have every sign in their names that agents have.
fn is_named(agent: &str, tool: &str) -> bool {
    let letters = |name: &'_ str| {
        let letters = name.bytes().filter(u8::is_ascii_alphanumeric);
        letters
            .map(|byte| byte.to_ascii_lowercase())
            .collect::<Vec<u8>>()
    };
    letters(agent) == letters(tool)
}

fn digest(text: &str) -> Option<u64> {
    let text = text.trim();
    (text.len() >= LEAST_BYTES).then(|| xxh3_64(text.as_bytes()))
}
