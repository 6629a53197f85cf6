//! `policies/limits.toml` as a whole, and the question asked on every call: which accounts cover it?
//!
//! **Invariant:** every limit that matches covers the call; none hides another.

use super::context::ContextRule;
use super::facts::{Facts, Match, Side};
use super::fault::Faults;
use super::limit::{self, Limit, Per, ToolPrices};
use super::read::document;
use super::window::Clock;
use crate::ledger::{AccountKey, Caps, Cover, Dimension, Edition};
use crate::units::{Meter, UnixMs};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

/// Stands for a side that the call lacks: all calls without an agent share one account per agent.
static ABSENT: LazyLock<Arc<str>> = LazyLock::new(|| "-".into());

/// A limit's place in [`Policies::limits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LimitIndex(pub usize);

/// The ceilings on one call by itself: the least of all limits per call that match, meter by meter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallCeiling {
    /// The ceilings.
    pub caps: Caps,
    /// Whose each is.
    pub of: [Option<LimitIndex>; Meter::COUNT],
}

impl CallCeiling {
    fn lower(&mut self, caps: &Caps, of: LimitIndex) {
        for (i, cap) in caps.0.iter().enumerate() {
            let Some(cap) = *cap else { continue };
            if self.caps.0[i].is_none_or(|held| cap < held) {
                self.caps.0[i] = Some(cap);
                self.of[i] = Some(of);
            }
        }
    }
}

/// What the limits per call say of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallCeilings {
    /// Beyond these it is refused.
    pub deny: CallCeiling,
    /// Beyond these it is only noted.
    pub observe: CallCeiling,
}

/// A limit with all that can be worked out before a call comes.
#[derive(Debug)]
struct Rule {
    limit: Limit,
    /// What its keys are made of: `per` and, for limits per task, the owner last, since a task is
    /// known within its owner only.
    key: Vec<Side>,
    clock: Option<usize>,
    /// Concerns tool calls, not model calls.
    of_tools: bool,
    /// It caps anything; else it only has a person look.
    counts: bool,
    /// `match` names a role or an agent.
    by_claim: bool,
    /// The other limits by claim with the same `per`, window and `on_exceed`.
    peers: Vec<usize>,
}

/// The limits and tool prices in force.
#[derive(Debug, Default)]
pub struct Policies {
    rules: Vec<Rule>,
    /// One per distinct window, so that limits with the same window roll at the same instant.
    clocks: Vec<Clock>,
    tools: Arc<ToolPrices>,
    /// Some limit has `review_every`.
    reviews: bool,
    /// Some limit has `on_exceed = "wrap_up"`.
    wraps_up: bool,
    /// Some limit caps `depth` or `fan_out`.
    caps_tree: bool,
    /// One more than that of the policies before.
    version: AtomicU64,
    /// Some limit caps contexts.
    caps_context: bool,
    summarises: bool,
}

impl Policies {
    /// Reads the text of a `limits.toml` that stands at `path`.
    ///
    /// # Errors
    /// Every fault, with its line.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Faults> {
        document(path, text, |section| {
            let limits = limit::read_limits(section);
            Some(Self::new(limits, limit::read_tools(section)))
        })
    }

    fn new(limits: Vec<Limit>, tools: ToolPrices) -> Self {
        let mut clocks: Vec<Clock> = Vec::new();
        let reviews = limits.iter().any(|limit| limit.review_every.is_some());
        let wraps_up = limits.iter().any(|limit| limit.reserve.is_some());
        let of_tree = [Meter::Depth, Meter::FanOut];
        let caps_tree = |limit: &Limit| of_tree.iter().any(|meter| limit.cap(*meter).is_some());
        let caps_tree = limits.iter().any(caps_tree);
        let caps_context = limits.iter().any(|limit| limit.context.is_some());
        let summarises = limits.iter().any(|limit| limit.summarise_with.is_some());
        let peers: Vec<Vec<usize>> = (0..limits.len()).map(|i| peers(&limits, i)).collect();
        let rules = limits.into_iter().zip(peers).map(|(limit, peers)| {
            let clock = limit.window.as_ref().map(|window| {
                let same = clocks.iter().position(|clock| clock.window == *window);
                same.unwrap_or_else(|| {
                    clocks.push(Clock::new(window.clone()));
                    clocks.len() - 1
                })
            });
            let mut key = limit.sides().to_vec();
            if limit.is_per(Side::Task) && !limit.is_per(Side::Owner) {
                key.push(Side::Owner);
            }
            Rule {
                key,
                clock,
                of_tools: limit.is_of_tools(),
                counts: limit.caps != Caps::default(),
                by_claim: is_by_claim(&limit.matches),
                peers,
                limit,
            }
        });
        let rules = rules.collect();
        Self {
            rules,
            clocks,
            tools: Arc::new(tools),
            reviews,
            wraps_up,
            caps_tree,
            version: AtomicU64::new(0),
            caps_context,
            summarises,
        }
    }

    /// Every limit, in the order of the file.
    pub fn limits(&self) -> impl ExactSizeIterator<Item = &Limit> {
        self.rules.iter().map(|rule| &rule.limit)
    }

    /// The limit at an index that these policies gave.
    #[must_use]
    pub fn limit(&self, index: LimitIndex) -> Option<&Limit> {
        self.rules.get(index.0).map(|rule| &rule.limit)
    }

    /// The limit with that id, if it still exists.
    #[must_use]
    pub fn by_id(&self, id: &str) -> Option<&Limit> {
        self.limits().find(|limit| *limit.id == *id)
    }

    /// What tool calls cost.
    #[must_use]
    pub const fn tool_prices(&self) -> &Arc<ToolPrices> {
        &self.tools
    }

    /// Appends the accounts that cover a call, in the order of the file, and returns the ceilings
    /// on the call by itself. With `facts.tool` set: the accounts that cover that one tool call
    /// (limits with `tool` in `per` or `match`), and no others.
    pub fn covers(&self, facts: &Facts, now: UnixMs, out: &mut Vec<Cover>) -> CallCeilings {
        let mut ceilings = CallCeilings::default();
        for (i, rule) in self.rules.iter().enumerate() {
            let limit = &rule.limit;
            if rule.of_tools != facts.tool.is_some()
                || !rule.counts
                || !limit.matches.matches(facts)
            {
                continue;
            }
            if limit.per == Per::Call {
                let mut caps = limit.caps;
                if rule.by_claim {
                    self.tighten(rule, facts, &mut caps);
                }
                let side = match limit.observe {
                    true => &mut ceilings.observe,
                    false => &mut ceilings.deny,
                };
                side.lower(&caps, LimitIndex(i));
                continue;
            }
            let window = rule.clock.map(|clock| self.clocks[clock].opened(now));
            out.push(self.cover(rule, facts, window));
        }
        ceilings
    }

    /// The accounts that cover a call that was admitted before these policies came into force, as
    /// far as they lie in the present windows.
    #[must_use]
    pub fn covers_of_past(&self, facts: &Facts, admitted: UnixMs, now: UnixMs) -> Vec<Cover> {
        let matching = self.rules.iter().filter(|rule| {
            rule.limit.per != Per::Call
                && rule.of_tools == facts.tool.is_some()
                && rule.counts
                && rule.limit.matches.matches(facts)
        });
        let present = matching.filter_map(|rule| {
            let window = rule.clock.map(|clock| self.clocks[clock].opened(now));
            // A window that lies ahead of the clock is the present one, for windows never go back.
            let holds = |opened| admitted >= opened || now < opened;
            window
                .is_none_or(holds)
                .then(|| self.cover(rule, facts, window))
        });
        present.collect()
    }

    fn cover(&self, rule: &Rule, facts: &Facts, window: Option<UnixMs>) -> Cover {
        let limit = &rule.limit;
        let mut cover = Cover {
            key: rule.key(facts, window),
            caps: limit.caps,
            observe: limit.observe,
            warn_permille: limit
                .warn_at
                .map(|millionths| u16::try_from(millionths / 1_000).unwrap_or(1_000)),
            edition: Edition::Policy(self.version()),
        };
        if rule.by_claim {
            self.tighten(rule, facts, &mut cover.caps);
        }
        if facts.unattributed && limit.is_per(Side::Task) {
            // The unattributed task of a day is no stretch of work that could last too long.
            cover.caps.0[Meter::Duration as usize] = None;
        }
        cover
    }

    /// A caller that picks its own role or agent shall gain nothing by the choice: where `rule`
    /// matches through a claim, each cap is the least among its peers that another claim would
    /// have matched.
    fn tighten(&self, rule: &Rule, facts: &Facts, caps: &mut Caps) {
        for peer in self.claimed_peers(rule, facts) {
            *caps = caps.lowered(&peer.caps);
        }
    }

    /// The peers of `rule` that another claim of this caller's would have matched.
    fn claimed_peers<'p>(
        &'p self,
        rule: &'p Rule,
        facts: &'p Facts,
    ) -> impl Iterator<Item = &'p Limit> {
        let claimed = |matches: &Match, side| facts.is_claimed(side) && matches.on(side).is_some();
        let own = [Side::Role, Side::Agent].map(|side| claimed(&rule.limit.matches, side));
        let peers = rule.peers.iter().filter(move |_| own != [false, false]);
        let peers = peers.map(|peer| &self.rules[*peer].limit);
        peers.filter(move |peer| {
            let shared = (own[0] && claimed(&peer.matches, Side::Role))
                || (own[1] && claimed(&peer.matches, Side::Agent));
            shared && peer.matches.matches_unclaimed(facts)
        })
    }

    /// The account of a past call under one limit: what a new or changed limit must count from the
    /// journal before it opens. `None` if the limit does not cover the call. Unlike [`Self::covers`]
    /// it looks at the window of `admitted` itself, however long ago that is.
    #[must_use]
    pub fn account_of(
        &self,
        index: LimitIndex,
        facts: &Facts,
        admitted: UnixMs,
    ) -> Option<AccountKey> {
        let rule = self.rules.get(index.0)?;
        let limit = &rule.limit;
        let covered = limit.per != Per::Call
            && rule.of_tools == facts.tool.is_some()
            && limit.matches.matches(facts);
        let window = limit.window.as_ref().map(|w| w.opening(admitted).opens);
        covered.then(|| rule.key(facts, window))
    }

    /// The sides that the keys of a limit's accounts are made of; none for limits per call.
    #[must_use]
    pub fn key_sides(&self, index: LimitIndex) -> &[Side] {
        self.rules.get(index.0).map_or(&[], |rule| &rule.key)
    }

    /// The limit's account for these facts at present, whether the limit matches them or not.
    /// `None` for limits per call.
    #[must_use]
    pub fn account_at(&self, index: LimitIndex, facts: &Facts, now: UnixMs) -> Option<AccountKey> {
        let rule = self.rules.get(index.0)?;
        let window = rule.clock.map(|clock| self.clocks[clock].opened(now));
        (rule.limit.per != Per::Call).then(|| rule.key(facts, window))
    }

    /// When the limit's window of `now` ends; `None` if it has none.
    #[must_use]
    pub fn resets_at(&self, index: LimitIndex, now: UnixMs) -> Option<UnixMs> {
        let rule = self.rules.get(index.0)?;
        let clock = &self.clocks[rule.clock?];
        let opened = clock.opened(now);
        Some(clock.window.opening(opened).closes)
    }

    /// Some limit has a person look after so many hand-offs.
    #[must_use]
    pub const fn reviews(&self) -> bool {
        self.reviews
    }

    /// Some limit keeps something for a last call.
    #[must_use]
    pub const fn wraps_up(&self) -> bool {
        self.wraps_up
    }

    /// Some limit caps the tree of a task's agents.
    #[must_use]
    pub const fn caps_tree(&self) -> bool {
        self.caps_tree
    }

    /// After how many hand-offs of this call's task a person looks, and by which limit: the least of all
    /// that match.
    #[must_use]
    pub fn review_every(&self, facts: &Facts) -> Option<(&str, u64)> {
        let limits = self.limits().filter(|limit| limit.matches.matches(facts));
        let every = limits.filter_map(|limit| Some((limit.name.as_str(), limit.review_every?)));
        every.min_by_key(|(_, every)| *every)
    }

    /// Some limit caps the context of calls.
    #[must_use]
    pub const fn caps_context(&self) -> bool {
        self.caps_context
    }

    /// Some limit has what is left out summed up.
    #[must_use]
    pub const fn summarises(&self) -> bool {
        self.summarises
    }

    /// The caps on the context of this call. A caller that only claims its role or agent is under the
    /// least cap that another claim would have brought it under.
    #[must_use]
    pub fn context(&self, facts: &Facts) -> Vec<ContextRule> {
        let rules = self.rules.iter().filter_map(|rule| {
            let caps = rule.limit.context?;
            if !rule.limit.matches.matches(facts) {
                return None;
            }
            let mut least = caps;
            if rule.by_claim {
                let peers = self.claimed_peers(rule, facts);
                for peer in peers.filter_map(|peer| peer.context) {
                    least = least.least(&peer);
                }
            }
            Some(ContextRule {
                limit: rule.limit.name.clone(),
                caps: least,
                summarise_with: rule.limit.summarise_with.clone(),
            })
        });
        rules.collect()
    }

    /// Some limit counts per tool.
    #[must_use]
    pub fn limits_tools(&self) -> bool {
        self.rules.iter().any(|rule| rule.of_tools)
    }

    /// When the first of the present calendar windows ends.
    #[must_use]
    pub fn next_roll(&self, now: UnixMs) -> Option<UnixMs> {
        let closes = self.clocks.iter().map(|clock| {
            clock.opened(now);
            clock.closes()
        });
        closes.min()
    }

    /// Moves every window at least to `at`: the latest time that the store has seen. Called once at
    /// start, so that a clock that was set back while the gateway was down reopens nothing.
    pub fn not_before(&self, at: UnixMs) {
        for clock in &self.clocks {
            clock.opened(at);
        }
    }

    /// Counts reloads: covers of a newer version win over those of an older one.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Relaxed)
    }

    /// Keeps the windows that `before` had reached: called when these policies take its place.
    pub fn follow(&self, before: &Self) {
        self.version.store(before.version() + 1, Ordering::Relaxed);
        for clock in &self.clocks {
            let same = before.clocks.iter().find(|c| c.window == clock.window);
            if let Some(reached) = same.and_then(Clock::reached) {
                clock.opened(reached);
            }
        }
    }

    /// Limits whose caps are not what they say for a caller that claims its role or agent: for
    /// `bursar check`.
    pub(super) fn tightened(&self) -> impl Iterator<Item = (&Limit, &Limit)> {
        self.rules.iter().filter_map(|rule| {
            let tighter = rule.peers.iter().find(|peer| {
                let pairs = rule
                    .limit
                    .caps
                    .0
                    .iter()
                    .zip(self.rules[**peer].limit.caps.0);
                let mut tighter = pairs.map(|(own, other)| match (own, other) {
                    (Some(own), Some(other)) => other < *own,
                    (None, Some(_)) => true,
                    _ => false,
                });
                tighter.any(|is| is) || tightens_context(&rule.limit, &self.rules[**peer].limit)
            });
            tighter.map(|peer| (&rule.limit, &self.rules[*peer].limit))
        })
    }
}

impl Rule {
    fn key(&self, facts: &Facts, window: Option<UnixMs>) -> AccountKey {
        let dimension = |side: &Side| -> Dimension {
            let text = facts.shared(*side).unwrap_or_else(|| &*ABSENT);
            (side.name(), Arc::clone(text))
        };
        AccountKey {
            limit: Arc::clone(&self.limit.id),
            per: self.key.iter().map(dimension).collect(),
            window,
        }
    }
}

/// A cap on contexts of `other` is lower than that of `limit`, which has one.
fn tightens_context(limit: &Limit, other: &Limit) -> bool {
    let (Some(own), Some(other)) = (&limit.context, &other.context) else {
        return false;
    };
    own.least(other) != *own
}

fn is_by_claim(matches: &Match) -> bool {
    matches.on(Side::Role).is_some() || matches.on(Side::Agent).is_some()
}

fn peers(limits: &[Limit], index: usize) -> Vec<usize> {
    let limit = &limits[index];
    let is_peer = |other: &Limit| {
        is_by_claim(&other.matches)
            && other.per == limit.per
            && other.window == limit.window
            && other.observe == limit.observe
            && other.is_of_tools() == limit.is_of_tools()
    };
    let others = limits.iter().enumerate();
    let others =
        others.filter(|(i, other)| *i != index && is_by_claim(&limit.matches) && is_peer(other));
    others.map(|(i, _)| i).collect()
}
