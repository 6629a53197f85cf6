//! `growth`: a context that grows faster than what is added to it, and a hand-off that carries the
//! whole of its parent's conversation.

use super::rules::Growth;
use super::{Context, Growing};

/// Since when an agent's growth is measured.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Grown {
    /// The context at the start of the measure, in bytes; `None` before the first call.
    base_bytes: Option<u64>,
    /// What was added since, in bytes.
    added_bytes: u64,
}

/// A context beside what explains it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    pub growing: Growing,
}

impl Measured {
    /// With some rule, this would be an explosion.
    pub(super) const fn may_explode(&self) -> bool {
        let Growing {
            grown_bytes,
            added_bytes,
            inherited,
            ..
        } = self.growing;
        if inherited {
            grown_bytes > 0
        } else {
            grown_bytes > added_bytes
        }
    }

    /// What was measured, if it is too much.
    pub(super) fn explodes(&self, rule: &Growth) -> Option<Growing> {
        let Growing {
            context_bytes,
            grown_bytes,
            added_bytes,
            inherited,
        } = self.growing;
        let is_too_much = if inherited {
            share(grown_bytes, context_bytes) >= rule.inherited_percent
        } else {
            share(grown_bytes, added_bytes) >= rule.most_percent
        };
        (grown_bytes >= rule.least_bytes && is_too_much).then_some(self.growing)
    }
}

impl Grown {
    /// Takes in a call's context; how it stands beside what was added, if there is anything to compare.
    pub(super) fn measure(&mut self, context: &Context, added_bytes: u64) -> Option<Measured> {
        let measured = |context_bytes, grown_bytes, added_bytes| Measured {
            growing: Growing {
                context_bytes,
                grown_bytes,
                added_bytes,
                inherited: context.first,
            },
        };
        let base = match self.base_bytes {
            // A conversation that began anew or was cut is measured from there.
            Some(base) if !context.first && context.bytes >= base => base,
            _ => {
                *self = Self::from(context);
                return context
                    .first
                    .then(|| measured(context.whole_bytes, context.inherited_bytes, added_bytes));
            }
        };
        self.added_bytes = self.added_bytes.saturating_add(added_bytes);
        let grown = context.bytes - base;
        Some(measured(context.bytes, grown, self.added_bytes))
    }
}

impl From<&Context> for Grown {
    fn from(context: &Context) -> Self {
        Self {
            base_bytes: Some(context.bytes),
            added_bytes: 0,
        }
    }
}

/// A share in percent.
fn share(part: u64, whole: u64) -> u64 {
    let percent = u128::from(part) * 100 / u128::from(whole.max(1));
    u64::try_from(percent).unwrap_or(u64::MAX)
}
