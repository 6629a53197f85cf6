//! Which agents calls look like, by this configuration: worked out once for each system text and set of
//! tools, and looked up by their digest.

use crate::config::KnownAgent;
use crate::dialect::Call;
use crate::inference::{Likeness, portrait};
use quick_cache::sync::Cache;
use std::sync::Arc;

/// Agents whose likeness is remembered, about 1 KiB each at most (evicting: worked out anew).
pub const MAX_LIKENESSES: usize = 4_096;

/// Likenesses by the digest that a call's chain begins with.
pub struct Likenesses(Cache<u128, Arc<Likeness>>);

impl Default for Likenesses {
    fn default() -> Self {
        Self(Cache::new(MAX_LIKENESSES))
    }
}

impl Likenesses {
    /// Of a call; named by the first of `agents` that it matches.
    pub(super) fn of(&self, call: &Call, agents: &[KnownAgent]) -> Arc<Likeness> {
        let root = call.chain.root;
        if let Some(known) = self.0.get(&root) {
            return known;
        }
        let portrait = portrait(call);
        let print = portrait.fingerprint();
        let named = agents.iter().find(|agent| {
            let matches = agent.matches.as_ref();
            matches.is_some_and(|matches| matches.is(print, &portrait))
        });
        let likeness = Arc::new(Likeness {
            print,
            is_blank: portrait.is_blank(),
            tools: portrait.tools,
            named: named.map(|agent| agent.id.clone()),
        });
        self.0.insert(root, Arc::clone(&likeness));
        likeness
    }
}
