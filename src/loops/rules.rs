//! The rules: what counts as a loop, and what is done about each kind.

use std::fmt;

/// A kind of loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// Several steps in a fixed order, over and over, within an agent or across agents.
    Cycle,
    /// The same action, answered by the same error.
    ErrorRetry,
    /// The same state: the same action with the same outcome.
    Repeat,
    /// Near-identical text with nothing in between.
    Monologue,
    /// Two agents hand work to and fro: too often, or the same work.
    Rounds,
    /// The actions differ, what comes back does not.
    NoProgress,
    /// A context grows faster than what is added to it, or is handed on whole.
    Growth,
}

impl Rule {
    /// Every rule, the most telling first: where several fire at once, the first is named.
    pub const ALL: [Self; 7] = [
        Self::Cycle,
        Self::ErrorRetry,
        Self::Repeat,
        Self::Monologue,
        Self::Rounds,
        Self::NoProgress,
        Self::Growth,
    ];

    /// The word in configuration, refusals, the journal and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cycle => "cycle",
            Self::ErrorRetry => "error_retry",
            Self::Repeat => "repeat",
            Self::Monologue => "monologue",
            Self::Rounds => "rounds",
            Self::NoProgress => "no_progress",
            Self::Growth => "growth",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is done when a rule fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Nothing: the rule is off.
    Off,
    /// A header, an event and a count; the call goes on.
    Warn,
    /// One notice to the model, behind its last message.
    Nudge,
    /// The task waits for a person.
    Escalate,
    /// The call is refused.
    Deny,
}

impl Action {
    /// The word in configuration and the journal.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Warn => "warn",
            Self::Nudge => "nudge",
            Self::Escalate => "escalate",
            Self::Deny => "deny",
        }
    }

    /// True unless the rule is off.
    #[must_use]
    pub const fn is_on(self) -> bool {
        !matches!(self, Self::Off)
    }
}

/// `repeat` and `error_retry`: one state again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Again {
    /// What is done.
    pub action: Action,
    /// This many times in a row.
    pub in_row: usize,
    /// Or this many times among the last [`Self::window`] steps of the agent.
    pub in_window: usize,
    /// So many more if something new was learnt or done since the last time: the agent explores, or
    /// edits and tests.
    pub slack: usize,
    /// How many steps the window has; at most [`Self::MOST_WINDOW`].
    pub window: usize,
}

impl Again {
    /// As many steps of an agent are remembered.
    pub const MOST_WINDOW: usize = 18;
}

/// `cycle`: a period of steps, over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// What is done.
    pub action: Action,
    /// The longest period looked for, in steps; at least 2.
    pub longest_period: usize,
    /// This many times in a row.
    pub times: usize,
}

/// `monologue`: near-identical text with nothing in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Monologue {
    /// What is done.
    pub action: Action,
    /// This many times in a row.
    pub in_row: usize,
    /// Two texts are near if their gists differ in at most this many of 64 bits.
    pub near_bits: u32,
}

/// `rounds`: one agent hands work to another, over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rounds {
    /// What is done.
    pub action: Action,
    /// More hand-offs than this from one agent to one other, however they are put.
    pub most: usize,
    /// The same work this many times among the last [`Self::MOST_ASKS`] hand-offs: most words the
    /// same, no item crossed off, and mostly known things seen in between.
    pub same: usize,
    /// Two hand-offs ask the same if at least this share of their words is common, in percent.
    pub alike_percent: u32,
    /// What was seen in between may be new by at most this share, in percent; beyond, it is work.
    pub new_percent: u32,
}

impl Rounds {
    /// As many hand-offs of a pair of agents are remembered.
    pub const MOST_ASKS: usize = 6;
}

/// `no_progress`: actions differ, observations do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoProgress {
    /// What is done.
    pub action: Action,
    /// So many steps in a row that only brought errors or nothing, each met before.
    pub in_vain: usize,
    /// So many steps in a row that brought only what was met before, good or bad; twice the longest
    /// cycle, so that a cycle is told as one. Acknowledgements do not count: a tool that answers
    /// "done" to every item of a list makes progress.
    pub nothing_new: usize,
}

/// `growth`: contexts that explode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growth {
    /// What is done.
    pub action: Action,
    /// An agent's context may grow by this many times what was added to it, in percent.
    pub most_percent: u64,
    /// A first call may inherit this share of its parent's conversation, in percent.
    pub inherited_percent: u64,
    /// Growth and inheritance below this are nobody's trouble, in bytes.
    pub least_bytes: u64,
}

/// Every rule with its threshold and action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The same state.
    pub repeat: Again,
    /// The same action and the same error.
    pub error_retry: Again,
    /// A period of states.
    pub cycle: Cycle,
    /// The same text.
    pub monologue: Monologue,
    /// The same hand-off.
    pub rounds: Rounds,
    /// Nothing new.
    pub no_progress: NoProgress,
    /// Too much.
    pub growth: Growth,
    /// Streams that chant are ended.
    pub ends_chants: bool,
}

impl Default for Rules {
    fn default() -> Self {
        let again = Again {
            action: Action::Deny,
            in_row: 3,
            in_window: 3,
            slack: 2,
            window: 10,
        };
        Self {
            repeat: again,
            error_retry: again,
            cycle: Cycle {
                action: Action::Deny,
                longest_period: 6,
                times: 3,
            },
            monologue: Monologue {
                action: Action::Nudge,
                in_row: 3,
                near_bits: 8,
            },
            rounds: Rounds {
                action: Action::Escalate,
                most: 12,
                same: 3,
                alike_percent: 50,
                new_percent: 75,
            },
            no_progress: NoProgress {
                action: Action::Nudge,
                in_vain: 4,
                nothing_new: 12,
            },
            growth: Growth {
                action: Action::Warn,
                most_percent: 200,
                inherited_percent: 80,
                least_bytes: 64 << 10,
            },
            ends_chants: true,
        }
    }
}

impl Rules {
    /// Some rule is on.
    #[must_use]
    pub fn any_on(&self) -> bool {
        Rule::ALL.into_iter().any(|rule| self.action(rule).is_on())
    }

    /// What is done when a rule fires.
    #[must_use]
    pub const fn action(&self, rule: Rule) -> Action {
        match rule {
            Rule::Repeat => self.repeat.action,
            Rule::ErrorRetry => self.error_retry.action,
            Rule::Cycle => self.cycle.action,
            Rule::Monologue => self.monologue.action,
            Rule::Rounds => self.rounds.action,
            Rule::NoProgress => self.no_progress.action,
            Rule::Growth => self.growth.action,
        }
    }
}
