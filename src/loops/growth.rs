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

impl Grown {
    /// Takes in a call's context; what was measured if it explodes.
    pub(super) fn grow(
        &mut self,
        context: &Context,
        added_bytes: u64,
        rule: &Growth,
    ) -> Option<Growing> {
        let inherits = context.first
            && context.inherited_bytes >= rule.least_bytes
            && share(context.inherited_bytes, context.bytes) >= rule.inherited_percent;
        if inherits {
            *self = Self::from(context);
            return Some(Growing {
                context_bytes: context.bytes,
                grown_bytes: context.inherited_bytes,
                added_bytes,
            });
        }
        let base = match self.base_bytes {
            // A conversation that began anew or was cut is measured from there.
            Some(base) if !context.first && context.bytes >= base => base,
            _ => {
                *self = Self::from(context);
                return None;
            }
        };
        self.added_bytes = self.added_bytes.saturating_add(added_bytes);
        let grown = context.bytes - base;
        let explodes =
            grown >= rule.least_bytes && share(grown, self.added_bytes) >= rule.most_percent;
        explodes.then_some(Growing {
            context_bytes: context.bytes,
            grown_bytes: grown,
            added_bytes: self.added_bytes,
        })
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
