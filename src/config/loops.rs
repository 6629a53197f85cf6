//! `policies/loops.toml`: the rules on loops, each with its thresholds, its action and thereby its
//! off switch; and other rules for the calls that an `[[override]]` matches.
//!
//! Every table and key may be left out: what is not said is the default.

use super::facts::{Facts, Match, Side};
use super::fault::Faults;
use super::limit::read_match;
use super::read::{Section, document};
use super::value;
use crate::conduct::Thresholds;
use crate::loops::{Action, Again, Cycle, Growth, Monologue, NoProgress, Rounds, Rules};
use crate::task::pulse::PulseRules;
use std::path::Path;
use toml::de::DeValue;

/// Most of any threshold that has no bound of its own.
const MOST: u32 = 1_000;
/// Most of anything in a row.
const MOST_IN_ROW: u32 = 1_000;
/// Most failed children: as many as are kept, but for the parent itself.
const CHILDREN: u32 = 15;

/// The rules in force.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoopPolicies {
    base: Rules,
    conduct: ConductRules,
    overrides: Vec<Override>,
    pulse: PulseRules,
}

/// The rules on what goes wrong: malformed answers, failed calls and failed children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConductRules {
    /// `[malformed]`: what is done.
    pub malformed: Action,
    /// From so many malformed answers of an agent in a row.
    pub malformed_in_row: u32,
    /// `[failures]`: what is done.
    pub failures: Action,
    /// From so many failed calls of an agent in a row.
    pub failures_in_row: u32,
    /// From so many failed children of an agent.
    pub failed_children: u32,
}

impl Default for ConductRules {
    fn default() -> Self {
        Self {
            malformed: Action::Deny,
            malformed_in_row: 3,
            failures: Action::Escalate,
            failures_in_row: 20,
            failed_children: 5,
        }
    }
}

impl ConductRules {
    /// From where on something stands out.
    #[must_use]
    pub fn thresholds(&self) -> Thresholds {
        let on = |action: Action, from: u32| (action != Action::Off).then_some(from);
        Thresholds {
            malformed: on(self.malformed, self.malformed_in_row),
            failures: on(self.failures, self.failures_in_row),
            children: on(self.failures, self.failed_children),
        }
    }
}

/// Rules for some calls.
#[derive(Clone, Debug, PartialEq)]
struct Override {
    matches: Match,
    rules: Rules,
    conduct: ConductRules,
}

impl LoopPolicies {
    /// Reads the text of a `loops.toml` that stands at `path`.
    ///
    /// # Errors
    /// Every fault, with its line.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Faults> {
        document(path, text, |file| {
            let base = read_rules(file, &Rules::default());
            let conduct = read_conduct(file, &ConductRules::default());
            let overrides = file.sections("override");
            let overrides = overrides
                .iter()
                .map(|section| read_override(section, &base, &conduct));
            Some(Self {
                overrides: overrides.collect(),
                base,
                conduct,
                pulse: read_pulse(file),
            })
        })
    }

    /// Reads a `loops.toml`.
    ///
    /// # Errors
    /// Every fault; a file that is not there is one.
    pub fn from_path(path: &Path) -> Result<Self, Faults> {
        Self::parse(
            &super::need_file(path, "name the file with the rules")?,
            path,
        )
    }

    /// The rules for calls that no override matches.
    #[must_use]
    pub const fn base(&self) -> &Rules {
        &self.base
    }

    /// When a task's signs are told.
    #[must_use]
    pub const fn pulse(&self) -> &PulseRules {
        &self.pulse
    }

    /// The same rules hold for every call.
    #[must_use]
    pub const fn is_uniform(&self) -> bool {
        self.overrides.is_empty()
    }

    /// The rules for a call: the first override that matches, else the base.
    #[must_use]
    pub fn of(&self, facts: &Facts) -> &Rules {
        let found = self
            .overrides
            .iter()
            .find(|other| other.matches.matches(facts));
        found.map_or(&self.base, |found| &found.rules)
    }

    /// The rules on what goes wrong, for a call with these facts, which are asked for only if it matters.
    #[must_use]
    pub fn conduct(&self, facts: impl FnOnce() -> Facts) -> &ConductRules {
        if self.overrides.is_empty() {
            return &self.conduct;
        }
        let facts = facts();
        let mut overrides = self.overrides.iter();
        let found = overrides.find(|other| other.matches.matches(&facts));
        found.map_or(&self.conduct, |found| &found.conduct)
    }
}

fn read_override(section: &Section<'_>, base: &Rules, conduct: &ConductRules) -> Override {
    let matches = read_match(section);
    if matches.sides.is_empty() {
        section.fault("an override needs a `match`; what is for every call stands above it");
    }
    for side in [Side::Provider, Side::Tool] {
        if matches.on(side).is_some() {
            let side = side.name();
            section.fault(format!(
                "rules on loops cannot `match` a {side}: it is not known yet"
            ));
        }
    }
    let rules = read_rules(section, base);
    let conduct = read_conduct(section, conduct);
    section.close();
    Override {
        matches,
        rules,
        conduct,
    }
}

/// The rules on what goes wrong in `parent`; what they do not say is as in `default`.
fn read_conduct(parent: &Section<'_>, default: &ConductRules) -> ConductRules {
    let most = small(1, MOST_IN_ROW);
    let rules = table(parent, "malformed", *default, |section, default| {
        ConductRules {
            malformed: section.or("action", default.malformed, firm),
            malformed_in_row: section.or("in_row", default.malformed_in_row, &most),
            ..default
        }
    });
    table(parent, "failures", rules, |section, default| ConductRules {
        failures: section.or("action", default.failures, firm),
        failures_in_row: section.or("in_row", default.failures_in_row, &most),
        failed_children: section.or("children", default.failed_children, small(1, CHILDREN)),
        ..default
    })
}

/// An action that the model itself has no part in.
fn firm(value: &DeValue<'_>) -> Result<Action, String> {
    let actions = [Action::Off, Action::Warn, Action::Escalate, Action::Deny];
    value::word(&actions.map(|action| (action.name(), action)))(value)
}

/// The rules in `parent`; what they do not say is as in `default`.
fn read_rules(parent: &Section<'_>, default: &Rules) -> Rules {
    Rules {
        repeat: table(parent, "repeat", default.repeat, read_again),
        error_retry: table(parent, "error_retry", default.error_retry, read_again),
        cycle: table(parent, "cycle", default.cycle, |section, default| Cycle {
            action: section.or("action", default.action, action),
            longest_period: section.or(
                "longest_period",
                default.longest_period,
                value::size_in(2, 6),
            ),
            times: section.or("times", default.times, value::size_in(2, 3)),
        }),
        monologue: table(
            parent,
            "monologue",
            default.monologue,
            |section, default| Monologue {
                action: section.or("action", default.action, action),
                in_row: section.or("in_row", default.in_row, value::size_in(2, 8)),
                near_bits: section.or("near_bits", default.near_bits, small(0, 31)),
            },
        ),
        rounds: table(parent, "rounds", default.rounds, |section, default| {
            Rounds {
                action: section.or("action", default.action, action),
                most: section.or("most", default.most, value::size_in(1, MOST)),
                same: section.or("same", default.same, value::size_in(2, 6)),
                alike_percent: section.or("alike_percent", default.alike_percent, small(1, 100)),
                new_percent: section.or("new_percent", default.new_percent, small(0, 100)),
            }
        }),
        no_progress: table(
            parent,
            "no_progress",
            default.no_progress,
            |section, default| NoProgress {
                action: section.or("action", default.action, action),
                in_vain: section.or("in_vain", default.in_vain, value::size_in(2, 18)),
                nothing_new: section.or("nothing_new", default.nothing_new, value::size_in(2, 18)),
            },
        ),
        ends_chants: table(parent, "chant", default.ends_chants, |section, default| {
            section.or(
                "action",
                default,
                value::word(&[("off", false), ("end", true)]),
            )
        }),
        growth: table(parent, "growth", default.growth, |section, default| {
            Growth {
                action: section.or("action", default.action, action),
                most_percent: section.or(
                    "most_percent",
                    default.most_percent,
                    value::count_in(101, 100_000),
                ),
                inherited_percent: section.or(
                    "inherited_percent",
                    default.inherited_percent,
                    value::count_in(1, 100),
                ),
                least_bytes: section.or("least_bytes", default.least_bytes, |value| {
                    value::bytes(value).map(|size| u64::try_from(size).unwrap_or(u64::MAX))
                }),
            }
        }),
    }
}

/// `[stalled]` and `[state_lost]`: events only, for all tasks alike.
fn read_pulse(file: &Section<'_>) -> PulseRules {
    let told = [("off", false), ("warn", true)];
    let default = PulseRules::default();
    let lost = table(
        file,
        "state_lost",
        default.state_lost,
        |section, default| section.or("action", default, value::word(&told)),
    );
    let rules = table(file, "stalled", default, |section, default| PulseRules {
        stalled: section.or("action", default.stalled, value::word(&told)),
        after_ms: section.or("after", default.after_ms, |value| {
            let span = value::positive_span(value)?;
            u64::try_from(span.as_millis()).map_err(|error| error.to_string())
        }),
        share_percent: section.or("share_percent", default.share_percent, small(1, 100)),
        least_agents: section.or("least_agents", default.least_agents, value::size_in(2, 32)),
        least_turns: section.or("least_turns", default.least_turns, small(1, 1_000_000)),
        ..default
    });
    PulseRules {
        state_lost: lost,
        ..rules
    }
}

fn table<T>(
    parent: &Section<'_>,
    key: &'static str,
    default: T,
    read: impl FnOnce(&Section<'_>, T) -> T,
) -> T {
    let Some(section) = parent.section(key) else {
        return default;
    };
    let rule = read(&section, default);
    section.close();
    rule
}

fn read_again(section: &Section<'_>, default: Again) -> Again {
    const WINDOW: u32 = 18;
    let rule = Again {
        action: section.or("action", default.action, action),
        in_row: section.or("in_row", default.in_row, value::size_in(2, WINDOW)),
        in_window: section.or("in_window", default.in_window, value::size_in(2, WINDOW)),
        slack: section.or("slack", default.slack, value::size_in(0, WINDOW)),
        window: section.or("window", default.window, value::size_in(2, WINDOW)),
    };
    if rule.in_window > rule.window {
        let (times, window) = (rule.in_window, rule.window);
        section.fault_of(
            "in_window",
            format!("`in_window`: {times} times do not fit a window of {window}"),
        );
    }
    rule
}

fn action(value: &DeValue<'_>) -> Result<Action, String> {
    let actions = [
        Action::Off,
        Action::Warn,
        Action::Nudge,
        Action::Escalate,
        Action::Deny,
    ];
    value::word(&actions.map(|action| (action.name(), action)))(value)
}

fn small(least: u32, most: u32) -> impl Fn(&DeValue<'_>) -> Result<u32, String> {
    move |value| {
        let number = value::count_in(u64::from(least), u64::from(most))(value)?;
        u32::try_from(number).map_err(|error| error.to_string())
    }
}
