//! Loop detection: is a task going round in circles? A pure state machine, without HTTP and without a
//! clock: it is told what each agent did and saw, from traffic alone, and says which rule fires and
//! on what evidence.
//!
//! What is compared is a **state**: what an agent did (its tool calls with canonical arguments, or,
//! without any, what it said) and what came of it (the observations without what changes by itself).
//! Assistant text beside a tool call is left out, for paraphrase costs nothing.
//!
//! What looks like a loop and is none passes: a retry and a twin are told by [`Circumstance`]; an
//! agent replayed from a checkpoint by its chain; polling, paging, maps over a list and edit-test
//! cycles by their arguments or observations, which differ.
//!
//! A person's own message resets every window of the task.
//!
//! **Invariant:** a task's memory never passes [`MOST_TASK_BYTES`], and a task that rests with one
//! agent stays within [`USUAL_TASK_BYTES`].
//!
//! **Invariant:** only what is new in a call is looked at: the cost follows the delta, not the body.

mod asks;
mod chant;
mod digest;
mod growth;
mod heard;
mod observed;
mod recorded;
mod rules;
mod scrub;
mod turn;
mod window;

pub use chant::{Chant, Chanting};
pub use digest::{Digest, Tone, action, canonical_arguments, gist, outcome, together};
pub use observed::{Circumstance, Context, Handoff, Message, Observed, Role, ToolCall};
pub use recorded::{Heading, Recording, Unreadable, heading};
pub use rules::{Action, Again, Cycle, Growth, Monologue, NoProgress, Rounds, Rule, Rules};
pub use scrub::{MOST_SCRUBBED_BYTES, scrub};

use asks::Asks;
use growth::Grown;
use heard::{Heard, Sentences};
use recorded::{Part, Seen};
use std::collections::VecDeque;
use turn::Reading;
use window::{Found, InCycle, MOST_STEPS, Recent, Steps};
use xxhash_rust::xxh3::xxh3_64;

/// As many agents of a task are watched at once; the one longest silent makes room.
pub const MOST_AGENTS: usize = 32;
/// As many conversations of one agent in which it has not done anything yet.
const MOST_IDLE: usize = 8;
/// The most memory that one task takes here, in bytes.
pub const MOST_TASK_BYTES: usize = 96 << 10;
/// The most memory that a task takes here while it has one agent and no hand-offs, in bytes.
pub const USUAL_TASK_BYTES: usize = 2 << 10;
/// As many chains are remembered, to know a replay by.
const MOST_CHAINS: usize = 32;

/// A rule that fires, with its evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firing {
    /// The rule.
    pub rule: Rule,
    /// What is to be done.
    pub action: Action,
    /// Whose call it fired on.
    pub agent: String,
    /// The calls that make up the pattern, the latest last; at most [`Self::MOST_CALLS`].
    pub calls: Vec<u64>,
    /// The digests of the states or texts that came again.
    pub digests: Vec<Digest>,
    /// For `growth`: what was measured, in bytes.
    pub growth: Option<Growing>,
    /// It did not fire on the agent's call before: the first of an episode. A nudge is given then only.
    pub first: bool,
}

impl Firing {
    /// As many calls are named.
    pub const MOST_CALLS: usize = MOST_STEPS;
}

/// What `growth` measured, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growing {
    /// The context now.
    pub context_bytes: u64,
    /// By how much it grew, or what it inherited.
    pub grown_bytes: u64,
    /// What was added meanwhile.
    pub added_bytes: u64,
    /// It was inherited, not grown.
    pub inherited: bool,
}

/// What is known of one task.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// The agent of the task's first call: a person speaks to it.
    root: Option<u64>,
    /// The agents, the one that spoke last at the end.
    agents: VecDeque<Agent>,
    /// The steps of all agents together; kept only while there are several.
    steps: Recent<Shared, MOST_STEPS>,
    monologue: Monologues,
    asks: Asks,
    heard: Heard,
    chains: Recent<u64, MOST_CHAINS>,
    /// How often the windows began anew.
    resets: u32,
}

/// An agent in one of its conversations.
#[derive(Clone, Debug)]
struct Agent {
    /// The agent, whatever the conversation.
    agent: u64,
    /// The agent in this conversation.
    id: u64,
    steps: Steps,
    grown: Grown,
    /// The rule that fired on the call before.
    fired: Option<Rule>,
}

/// A step as seen from the task.
#[derive(Clone, Copy, Debug)]
struct Shared {
    call: u64,
    state: Digest,
}

impl InCycle for Shared {
    fn state(&self) -> Digest {
        self.state
    }

    fn call(&self) -> u64 {
        self.call
    }
}

/// As many texts of one monologue are remembered.
const MOST_TEXTS: usize = 8;

/// What the agent that spoke last said, with nothing in between.
#[derive(Clone, Debug, Default)]
struct Monologues {
    agent: u64,
    texts: Recent<(u64, u64), MOST_TEXTS>,
}

// === impl Watch ===

impl Watch {
    /// Takes in one call, and tells the rule that fires, if any: of several, the one that comes first
    /// in [`Rule::ALL`].
    pub fn observe(&mut self, rules: &Rules, seen: &Observed<'_>) -> Option<Firing> {
        self.observe_into(rules, seen, &mut Recording::default())
    }

    /// The same, and records it.
    pub fn observe_into(
        &mut self,
        rules: &Rules,
        seen: &Observed<'_>,
        recording: &mut Recording,
    ) -> Option<Firing> {
        let agent = xxh3_64(seen.agent.as_bytes());
        self.root.get_or_insert(agent);
        if seen.circumstance != Circumstance::Fresh || self.is_replay(seen.chain) {
            return None;
        }
        let (id, call) = (digest::pair(agent, seen.line), seen.call);
        let (place, is_new) = self.place_of(agent, id);
        recording.part(Part { id, is_new, call });
        let mut founds = Founds::into(recording);
        for turn in turns(seen.messages) {
            self.turn(rules, seen.call, place, turn, &mut founds);
        }
        if let Some(handoff) = &seen.handoff {
            let to = xxh3_64(handoff.to.as_bytes());
            let asked = self.asks.hand(agent, to, handoff.text);
            founds.recording.handed(self.resets, &asked);
            let rule = &rules.rounds;
            founds.add(Rule::Rounds, rule.action, || {
                self.asks.put(call, asked, rule)
            });
        }
        let growing = self.grow(rules, place, seen, founds.recording);
        self.firing(rules, place, (call, seen.agent), founds.first, growing)
    }

    /// A person stepped in by other means (a decision, a top-up): every window starts anew.
    pub fn reset(&mut self) {
        self.resets = self.resets.wrapping_add(1);
        for agent in &mut self.agents {
            agent.steps.clear();
            agent.fired = None;
        }
        self.steps.clear();
        self.monologue = Monologues::default();
        self.asks.clear();
    }

    /// How often a person has stepped in: what was refused before may pass once this has changed.
    #[must_use]
    pub const fn resets(&self) -> u32 {
        self.resets
    }

    /// The memory this takes, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let agents = self.agents.capacity() * size_of::<Agent>();
        let steps: usize = self.agents.iter().map(|agent| agent.steps.bytes()).sum();
        let texts = self.monologue.texts.bytes() + self.heard.bytes() + self.chains.bytes();
        size_of::<Self>() + agents + steps + self.steps.bytes() + texts + self.asks.bytes()
    }

    /// A workflow engine that runs an agent again from its last checkpoint sends conversations that
    /// were met once. What is met a third time is no replay.
    fn is_replay(&mut self, chain: Option<u64>) -> bool {
        let Some(chain) = chain else { return false };
        let met = self.chains.iter().filter(|known| **known == chain).count();
        self.chains.push(chain);
        met == 1
    }

    /// The agent's place, the last, and whether the agent is new.
    fn place_of(&mut self, agent: u64, id: u64) -> (usize, bool) {
        let known = self.agents.iter().rposition(|agent| agent.id == id);
        let known = known.and_then(|place| self.agents.remove(place));
        let idle = |other: &Agent| other.agent == agent && other.steps.is_empty();
        let mut idlers = (0..).zip(&self.agents).filter(|(_, other)| idle(other));
        let oldest = idlers.next().map(|(place, _)| place);
        if known.is_none() && idlers.count() + 1 >= MOST_IDLE {
            oldest.and_then(|oldest| self.agents.remove(oldest));
        } else if self.agents.len() >= MOST_AGENTS {
            self.agents.pop_front();
        }
        if self.agents.len() == self.agents.capacity() {
            self.agents.reserve_exact(1);
        }
        let is_new = known.is_none();
        self.agents.push_back(known.unwrap_or_else(|| Agent {
            agent,
            id,
            steps: Steps::default(),
            grown: Grown::default(),
            fired: None,
        }));
        (self.agents.len() - 1, is_new)
    }

    /// One answer and what came of it.
    fn turn(
        &mut self,
        rules: &Rules,
        call: u64,
        place: usize,
        turn: &[Message<'_>],
        founds: &mut Founds<'_>,
    ) {
        let is_root = self.root == Some(self.agents[place].agent);
        let mut read = Reading::default();
        let mut person = false;
        // What comes before the agent's first answer is no outcome of anything.
        let mut answered = false;
        for message in turn {
            match message.role {
                Role::Assistant if !answered => {
                    answered = true;
                    read.answer(message, &mut self.heard);
                }
                Role::User if is_root => {
                    let said = Sentences::of(message.text);
                    if self.is_from_a_person(message, &said) {
                        person = true;
                    } else if answered {
                        let text = read.outcome(message);
                        self.asks.observe(text);
                    }
                    self.heard.hear(&said);
                }
                // An answer that is not the first of its turn is another agent's.
                Role::Assistant | Role::Tool | Role::User => {
                    if answered {
                        let text = read.outcome(message);
                        self.asks.observe(text);
                    }
                    self.heard.hear(&Sentences::of(message.text));
                }
                Role::Other => {}
            }
        }
        if let Some(step) = read.step(call, &self.agents[place].steps) {
            let only_said = !step.acted && !step.answered;
            let seen = Seen {
                step,
                shared: self.agents.len() > 1,
                said: only_said.then(|| gist(read.said())),
            };
            founds.recording.step(self.resets, &seen);
            self.put_step(rules, place, &seen, founds);
        }
        if person {
            self.reset();
            founds.recording.reset();
            founds.first = None;
        }
    }

    fn is_from_a_person(&self, message: &Message<'_>, said: &Sentences) -> bool {
        let is_agent = |name: &str| {
            let id = xxh3_64(name.as_bytes());
            self.agents.iter().any(|agent| agent.agent == id)
        };
        !message.name.is_some_and(is_agent) && !self.heard.knows(said)
    }

    fn put_step(&mut self, rules: &Rules, place: usize, seen: &Seen, founds: &mut Founds<'_>) {
        let Seen { step, shared, said } = *seen;
        let agent = &mut self.agents[place];
        agent.steps.push(step);
        if shared {
            let state = Digest(digest::pair(agent.id, step.state().0));
            let call = step.call;
            self.steps.push(Shared { call, state });
        }
        founds.add(Rule::Cycle, rules.cycle.action, || {
            window::cycle(&agent.steps, &rules.cycle)
                .or_else(|| window::cycle(&self.steps, &rules.cycle))
        });
        let again = |rule, errors| window::again(&agent.steps, rule, errors);
        founds.add(Rule::ErrorRetry, rules.error_retry.action, || {
            again(&rules.error_retry, true)
        });
        founds.add(Rule::Repeat, rules.repeat.action, || {
            again(&rules.repeat, false)
        });
        founds.add(Rule::NoProgress, rules.no_progress.action, || {
            window::no_progress(&agent.steps, &rules.no_progress)
        });
        let id = agent.id;
        match said {
            None => self.monologue = Monologues::default(),
            Some(said) => founds.add(Rule::Monologue, rules.monologue.action, || {
                self.monologue.say(id, step.call, said, &rules.monologue)
            }),
        }
    }

    fn grow(
        &mut self,
        rules: &Rules,
        place: usize,
        seen: &Observed<'_>,
        recording: &mut Recording,
    ) -> Option<Growing> {
        let context = seen.context?;
        let added = seen.messages.iter().map(|message| {
            let tools = message
                .tools
                .iter()
                .map(|tool| tool.name.len() + tool.arguments.len());
            message.text.len() + tools.sum::<usize>()
        });
        let added = u64::try_from(added.sum::<usize>()).unwrap_or(u64::MAX);
        let measured = self.agents[place].grown.measure(&context, added)?;
        recording.measured(self.resets, &measured);
        let growing = measured.explodes(&rules.growth);
        growing.filter(|_| rules.growth.action.is_on())
    }

    fn firing(
        &mut self,
        rules: &Rules,
        place: usize,
        (call, agent): (u64, &str),
        found: Option<(Rule, Found)>,
        growing: Option<Growing>,
    ) -> Option<Firing> {
        let grown = growing.map(|_| {
            let calls = vec![call];
            let found = Found {
                calls,
                digests: Vec::new(),
            };
            (Rule::Growth, found)
        });
        let Some((rule, found)) = found.or(grown) else {
            self.agents[place].fired = None;
            return None;
        };
        let before = self.agents[place].fired.replace(rule);
        let Found { mut calls, digests } = found;
        let surplus = calls.len().saturating_sub(Firing::MOST_CALLS);
        calls.drain(..surplus);
        Some(Firing {
            rule,
            action: rules.action(rule),
            agent: agent.to_owned(),
            calls,
            digests,
            growth: growing.filter(|_| rule == Rule::Growth),
            first: before != Some(rule),
        })
    }
}

/// Cuts messages into turns: an answer of the agent and all that follows up to its next.
fn turns<'a, 'b>(messages: &'b [Message<'a>]) -> impl Iterator<Item = &'b [Message<'a>]> {
    let is_answer = |message: &&Message<'_>| message.role == Role::Assistant;
    let own = messages
        .iter()
        .find(is_answer)
        .and_then(|answer| answer.name);
    let mut rest = messages;
    std::iter::from_fn(move || {
        let after_first = rest.get(1..)?;
        let next = after_first
            .iter()
            .position(|m| is_answer(&m) && m.name == own);
        let (turn, later) = rest.split_at(next.map_or(rest.len(), |i| i + 1));
        rest = later;
        Some(turn)
    })
}

// === impl Founds ===

/// The first rule, in the order of [`Rule::ALL`], that was found to hold; and where what is looked at
/// is recorded.
#[derive(Debug)]
struct Founds<'r> {
    first: Option<(Rule, Found)>,
    recording: &'r mut Recording,
}

impl<'r> Founds<'r> {
    const fn into(recording: &'r mut Recording) -> Self {
        let first = None;
        Self { first, recording }
    }

    fn add(&mut self, rule: Rule, action: Action, find: impl FnOnce() -> Option<Found>) {
        // Looked for even where another rule holds already: some remember what they see.
        let Some(found) = find() else { return };
        let place = |rule: Rule| Rule::ALL.iter().position(|other| *other == rule);
        let is_first = self
            .first
            .as_ref()
            .is_none_or(|(held, _)| place(rule) < place(*held));
        if action.is_on() && is_first {
            self.first = Some((rule, found));
        }
    }
}

// === impl Monologues ===

impl Monologues {
    fn say(&mut self, agent: u64, call: u64, said: u64, rule: &Monologue) -> Option<Found> {
        let is_near = |(_, other): &(u64, u64)| (other ^ said).count_ones() <= rule.near_bits;
        if self.agent != agent || !self.texts.last().is_some_and(is_near) {
            self.agent = agent;
            self.texts.clear();
        }
        self.texts.push((call, said));
        let times = self.texts.len();
        (times >= rule.in_row.min(MOST_TEXTS)).then(|| Found {
            calls: self.texts.iter().map(|(call, _)| *call).collect(),
            digests: self.texts.iter().map(|(_, said)| Digest(*said)).collect(),
        })
    }
}

#[cfg(test)]
mod tests;
