//! Signs that a task does not go on as it should, read from its traffic alone. They are told as events
//! and never refuse a call.
//!
//! - `stalled`: the last answer asked for a tool, and nothing came since.
//! - `turn_share`: one agent of a crew takes nearly all of its turns.
//! - `state_lost`: an agent returns with a shorter conversation than it had, as one does whose memory was
//!   lost with its process. A replay from a checkpoint is known by what was met before; a conversation
//!   that a hand-off began, by the other agent that called in between; one that was only shortened, by
//!   the newest message that still stands in it.
//!
//! Kept are digests and counts, at most [`MAX_MEMBERS`] agents a task.

use crate::conversation::Link;
use crate::units::UnixMs;
use xxhash_rust::xxh3::xxh3_64;

/// Agents of a task that are told apart; the turns of further ones are counted together.
pub const MAX_MEMBERS: usize = 32;
/// Conversations met that are remembered per agent, the first half of them and the last.
const MAX_MET: usize = 64;
/// Signs kept per task, the newest.
const MAX_SIGNS: usize = 8;
/// A conversation of fewer messages has no answer in it that could be lost.
const LEAST_LINKS: u32 = 3;

/// When to tell: `[stalled]` and `[state_lost]` of `policies/loops.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PulseRules {
    /// Tell of lost state.
    pub state_lost: bool,
    /// Tell of silence and of turns.
    pub stalled: bool,
    /// How long a tool call is open without any traffic, milliseconds.
    pub after_ms: u64,
    /// One agent takes more than this share of the turns.
    pub share_percent: u32,
    /// A crew has so many agents.
    pub least_agents: usize,
    /// Its turns so far.
    pub least_turns: u32,
}

impl Default for PulseRules {
    fn default() -> Self {
        Self {
            state_lost: true,
            stalled: true,
            after_ms: 600_000,
            share_percent: 80,
            least_agents: 3,
            least_turns: 20,
        }
    }
}

/// What was noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sign {
    /// `stalled`, `turn_share`, `state_lost`.
    pub kind: &'static str,
    /// When.
    pub at: UnixMs,
    /// In words.
    pub detail: String,
}

/// A call that was admitted.
#[derive(Clone, Copy, Debug)]
pub struct Beat<'a> {
    /// The agent, if it says who it is.
    pub agent: Option<&'a str>,
    /// Who called that agent.
    pub parent: Option<&'a str>,
    /// Its conversation; empty where the provider keeps it.
    pub links: &'a [Link],
    /// The body in which the links' messages stand.
    pub body: &'a [u8],
    /// It is a turn.
    pub turn: bool,
    /// Now.
    pub at: UnixMs,
}

/// What is known of one task.
#[derive(Clone, Debug, Default)]
pub struct Pulse {
    /// The last answer asked for a tool, and ended then.
    open_since: Option<UnixMs>,
    /// Calls in flight.
    flying: u32,
    crew: Vec<Member>,
    /// Turns of agents beyond the crew.
    others: u32,
    /// The agent that called last.
    last: u64,
    /// The agent of the first call.
    root: u64,
    /// The root was named as somebody's parent.
    leads: bool,
    signs: Vec<Sign>,
}

#[derive(Clone, Debug, Default)]
struct Member {
    agent: u64,
    turns: u32,
    /// It was told that it takes too many.
    greedy: bool,
    flying: u32,
    talk: Talk,
}

/// An agent's conversation.
#[derive(Clone, Debug, Default)]
struct Talk {
    /// Its messages, in number.
    links: u32,
    /// The digest of its newest message.
    newest: u64,
    /// It is not told again until it is longer than what was lost, messages.
    lost: u32,
    /// What was met, each as the lower half of its digest.
    met: Vec<u64>,
}

impl Pulse {
    /// Takes in a call that was admitted; tells what it is a sign of.
    pub fn beat(&mut self, rules: &PulseRules, beat: &Beat<'_>) -> Vec<Sign> {
        self.open_since = None;
        self.flying = self.flying.saturating_add(1);
        let Some(name) = beat.agent else {
            return Vec::new();
        };
        let agent = xxh3_64(name.as_bytes());
        if self.root == 0 {
            self.root = agent;
        }
        self.leads |= beat
            .parent
            .is_some_and(|parent| parent != name && xxh3_64(parent.as_bytes()) == self.root);
        let handed_on = self.last != agent && !(agent == self.root && self.leads);
        self.last = agent;
        let Some(place) = self.place(agent) else {
            self.others = self.others.saturating_add(u32::from(beat.turn));
            return Vec::new();
        };
        let mut signs = Vec::new();
        let member = &mut self.crew[place];
        let lost = member.talk.hear(beat, handed_on || member.flying > 0);
        member.flying = member.flying.saturating_add(1);
        member.turns = member.turns.saturating_add(u32::from(beat.turn));
        let mut tell = |kind, detail| {
            signs.push(Sign {
                kind,
                at: beat.at,
                detail,
            });
        };
        if let Some(before) = lost.filter(|_| rules.state_lost) {
            let now = beat.links.len();
            tell(
                "state_lost",
                format!("{name} returned with {now} messages after {before}"),
            );
        }
        if rules.stalled && self.takes_too_many(rules, place) {
            let (turns, all) = (self.crew[place].turns, self.turns());
            tell(
                "turn_share",
                format!("{name} has taken {turns} of {all} turns"),
            );
        }
        self.keep(&signs);
        signs
    }

    /// A call ended; `asked` for tools or not.
    pub fn ended(&mut self, agent: Option<&str>, asked: bool, at: UnixMs) {
        self.flying = self.flying.saturating_sub(1);
        self.open_since = asked.then_some(at);
        let agent = agent.map(|agent| xxh3_64(agent.as_bytes()));
        let member = self
            .crew
            .iter_mut()
            .find(|member| Some(member.agent) == agent);
        if let Some(member) = member {
            member.flying = member.flying.saturating_sub(1);
        }
    }

    /// Time has passed: tells once if the task stalls.
    pub fn look(&mut self, rules: &PulseRules, at: UnixMs) -> Option<Sign> {
        let since = self.open_since.filter(|_| self.flying == 0)?;
        let silent = u64::try_from(at.0.saturating_sub(since.0)).unwrap_or(0);
        if !rules.stalled || silent < rules.after_ms {
            return None;
        }
        self.open_since = None;
        let minutes = silent / 60_000;
        let sign = Sign {
            kind: "stalled",
            at,
            detail: format!(
                "the last answer asked for a tool, and nothing came for {minutes} minutes"
            ),
        };
        self.keep(std::slice::from_ref(&sign));
        Some(sign)
    }

    /// The task is suspended: its silence counts from when it no longer is.
    pub fn rest(&mut self, at: UnixMs) {
        self.open_since = self.open_since.map(|_| at);
    }

    /// What was noticed so far, oldest first.
    #[must_use]
    pub fn signs(&self) -> &[Sign] {
        &self.signs
    }

    fn keep(&mut self, signs: &[Sign]) {
        self.signs.extend_from_slice(signs);
        let surplus = self.signs.len().saturating_sub(MAX_SIGNS);
        self.signs.drain(..surplus);
    }

    fn place(&mut self, agent: u64) -> Option<usize> {
        let known = self.crew.iter().position(|member| member.agent == agent);
        if known.is_some() || self.crew.len() >= MAX_MEMBERS {
            return known;
        }
        if self.crew.len() == self.crew.capacity() {
            self.crew.reserve_exact(1);
        }
        self.crew.push(Member {
            agent,
            ..Member::default()
        });
        Some(self.crew.len() - 1)
    }

    fn turns(&self) -> u64 {
        let crew = self.crew.iter().map(|member| u64::from(member.turns));
        crew.sum::<u64>() + u64::from(self.others)
    }

    /// True once, until it takes less again.
    fn takes_too_many(&mut self, rules: &PulseRules, place: usize) -> bool {
        let agents = self.crew.len() + usize::from(self.others > 0);
        let all = self.turns();
        let member = &mut self.crew[place];
        let too_many = agents >= rules.least_agents
            && all >= u64::from(rules.least_turns)
            && u64::from(member.turns) * 100 > all * u64::from(rules.share_percent);
        let before = std::mem::replace(&mut member.greedy, too_many);
        too_many && !before
    }
}

impl Talk {
    /// Takes in the conversation of a call; how long it was before, if that is lost.
    fn hear(&mut self, beat: &Beat<'_>, excused: bool) -> Option<u32> {
        let last = beat.links.last()?;
        let links = u32::try_from(beat.links.len()).unwrap_or(u32::MAX);
        let digest = |link: &Link| xxh3_64(beat.body.get(link.at.clone()).unwrap_or_default());
        let before = self.links;
        #[expect(clippy::cast_possible_truncation, reason = "the lower half is enough")]
        let met = last.digest as u64;
        let shorter = before >= LEAST_LINKS && links.saturating_add(2) <= before;
        let lost = shorter
            && !excused
            && before > self.lost
            && !self.met.contains(&met)
            && !beat.links.iter().any(|link| digest(link) == self.newest);
        self.links = links;
        self.newest = digest(last);
        if !self.met.contains(&met) {
            if self.met.len() >= MAX_MET {
                self.met.remove(MAX_MET / 2);
            } else if self.met.len() == self.met.capacity() {
                // Grown by little: most conversations are short, and many rest at once.
                self.met.reserve_exact(2);
            }
            self.met.push(met);
        }
        if lost {
            self.lost = before;
        }
        lost.then_some(before)
    }
}

#[cfg(test)]
mod tests;
