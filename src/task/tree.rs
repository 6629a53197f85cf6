//! The tree of a task's agents: who was called by whom, as far as calls say it. `depth` and
//! `fan_out` are measured on it.
//!
//! An agent that names no parent is a root. The first parent that an agent was called by is where it
//! stands; later ones count it among their children too. Whoever names one of its own descendants as
//! its parent (two agents that hand work back and forth) stays where it is.
//!
//! Nothing but digests of names is kept, and only pairs of an agent and its parent: roots that call
//! nobody cost nothing. A pair stands from the moment its first call asks to be admitted, so that a
//! burst of new children meets the same cap as the last of them; it goes again with a call that is not
//! admitted.
//!
//! **Invariant:** following parents ends: a pair that would close a ring never places an agent.

use crate::ledger::Stand;
use crate::units::AgentId;
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// Pairs of an agent and its parent kept per task, about 200 bytes each; beyond it no further agent
/// is let in where the tree is capped.
pub const MAX_PAIRS: usize = 4_096;
/// The deepest that is told apart; caps on `depth` are no larger.
pub const MAX_DEPTH: u64 = 100;

/// An agent's name, or that a call named none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Name([u8; 16]);

impl Name {
    fn of(agent: Option<&AgentId>) -> Self {
        let digest = Sha256::digest(agent.map_or("", AgentId::as_str).as_bytes());
        let mut name = [0; 16];
        name.copy_from_slice(&digest[..16]);
        Self(name)
    }
}

/// A child and its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pair {
    child: Name,
    parent: Name,
}

/// No room for a further pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

#[derive(Debug, Default)]
struct Node {
    /// Where it stands.
    parent: Option<Name>,
    /// Pairs in which it is the parent.
    children: u64,
    /// Pairs in which it is the child.
    callers: u64,
}

#[derive(Debug)]
struct Edge {
    /// Children of the parent when this one came, itself included.
    rank: u64,
    /// Calls that have asked and are not admitted yet.
    asking: u64,
    /// A call of it was admitted.
    stands: bool,
}

/// The agents of one task.
#[derive(Debug, Default)]
pub struct Tree {
    nodes: HashMap<Name, Node, foldhash::quality::RandomState>,
    edges: HashMap<Pair, Edge, foldhash::quality::RandomState>,
}

impl Tree {
    /// The tree that these pairs of an agent and its parent make, in the order in which they came.
    #[must_use]
    pub fn of(pairs: &[(Option<AgentId>, AgentId)]) -> Self {
        let mut tree = Self::default();
        for (agent, parent) in pairs {
            if let Ok((_, Some(pair))) = tree.ask(agent.as_ref(), Some(parent)) {
                tree.admit(pair);
            }
        }
        tree
    }

    /// A call of `agent`, which says that `parent` called it: where it stands, and the pair that it
    /// adds until [`Tree::admit`] or [`Tree::leave`] says what became of the call.
    ///
    /// # Errors
    /// No room for the pair.
    pub fn ask(
        &mut self,
        agent: Option<&AgentId>,
        parent: Option<&AgentId>,
    ) -> Result<(Stand, Option<Pair>), Full> {
        let child = Name::of(agent);
        let Some(parent) = parent.filter(|parent| Some(*parent) != agent) else {
            let depth = self.depth(child);
            return Ok((Stand { depth, fan_out: 0 }, None));
        };
        let parent = Name::of(Some(parent));
        let pair = Pair { child, parent };
        let depth = self.depth_under(pair);
        if let Some(edge) = self.edges.get_mut(&pair) {
            if edge.stands {
                return Ok((Stand { depth, fan_out: 0 }, None));
            }
            edge.asking += 1;
            let fan_out = edge.rank;
            return Ok((Stand { depth, fan_out }, Some(pair)));
        }
        if self.edges.len() >= MAX_PAIRS {
            return Err(Full);
        }
        let children = &mut self.nodes.entry(parent).or_default().children;
        *children += 1;
        let fan_out = *children;
        self.nodes.entry(child).or_default().callers += 1;
        self.edges.insert(
            pair,
            Edge {
                rank: fan_out,
                asking: 1,
                stands: false,
            },
        );
        Ok((Stand { depth, fan_out }, Some(pair)))
    }

    /// A call that added this pair was admitted; true if none was before.
    pub fn admit(&mut self, pair: Pair) -> bool {
        let closes_ring = self.is_under(pair.parent, pair.child, usize::MAX);
        let Some(edge) = self.edges.get_mut(&pair) else {
            return false;
        };
        edge.asking = edge.asking.saturating_sub(1);
        let first = !std::mem::replace(&mut edge.stands, true);
        if first
            && !closes_ring
            && let Some(node) = self.nodes.get_mut(&pair.child)
        {
            node.parent.get_or_insert(pair.parent);
        }
        first
    }

    /// A call that added this pair was not admitted.
    pub fn leave(&mut self, pair: Pair) {
        let Some(edge) = self.edges.get_mut(&pair) else {
            return;
        };
        edge.asking = edge.asking.saturating_sub(1);
        if edge.asking > 0 || edge.stands {
            return;
        }
        self.edges.remove(&pair);
        self.forget(pair.parent, |node| node.children -= 1);
        self.forget(pair.child, |node| node.callers -= 1);
    }

    fn forget(&mut self, name: Name, change: impl FnOnce(&mut Node)) {
        if let Some(node) = self.nodes.get_mut(&name) {
            change(node);
            if node.children == 0 && node.callers == 0 {
                self.nodes.remove(&name);
            }
        }
    }

    /// The deepest that any agent stands, and the most children that one has.
    #[must_use]
    pub fn reached(&self) -> Stand {
        let depths = self.nodes.keys().map(|name| self.depth(*name));
        let children = self.nodes.values().map(|node| node.children);
        Stand {
            depth: depths.max().unwrap_or(0),
            fan_out: children.max().unwrap_or(0),
        }
    }

    /// Pairs of a child and its parent.
    #[must_use]
    pub fn pairs(&self) -> usize {
        self.edges.len()
    }

    /// Those above an agent, from its parent to the root.
    fn above(&self, name: Name) -> impl Iterator<Item = Name> {
        let parent = |name: &Name| self.nodes.get(name)?.parent;
        std::iter::successors(parent(&name), move |name| parent(name))
    }

    /// `name` is `other`, or stands somewhere below it, as far as so many steps tell.
    fn is_under(&self, name: Name, other: Name, steps: usize) -> bool {
        name == other || self.above(name).take(steps).any(|above| above == other)
    }

    fn depth(&self, name: Name) -> u64 {
        let most = usize::try_from(MAX_DEPTH + 1).unwrap_or(usize::MAX);
        self.above(name).take(most).count() as u64
    }

    /// How deep a call of the child stands that the parent made.
    fn depth_under(&self, pair: Pair) -> u64 {
        let most = usize::try_from(MAX_DEPTH + 1).unwrap_or(usize::MAX);
        if self.is_under(pair.parent, pair.child, most) {
            self.depth(pair.child)
        } else {
            self.depth(pair.parent) + 1
        }
    }
}

#[cfg(test)]
mod tests;
