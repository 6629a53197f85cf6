//! What a call asks of the purse, and who asks.

use super::quote::Quote;
use super::{AccountKey, Caps};
use crate::units::{AgentId, Amounts, Meter, TaskKey, UnixMs};

/// One account that covers a call.
#[derive(Clone, Debug)]
pub struct Cover {
    /// Which account.
    pub key: AccountKey,
    /// Its caps as the policy says now (top-ups are the account's own and come on top).
    pub caps: Caps,
    /// `on_exceed = "observe"`: count, never refuse.
    pub observe: bool,
    /// `warn_at` in thousandths of each cap: [`End::warned`](super::End::warned) says when it was crossed.
    pub warn_permille: Option<u16>,
    /// Who says so, so that a call that began earlier does not bring old caps back.
    pub edition: Edition,
}

/// Which of two that name caps for one account is to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edition {
    /// The policy of this version: the newest one.
    Policy(u64),
    /// A task's own caps, which only ever fall: the lower ones.
    Falling,
}

/// The part of a quote that grows with the output the provider is told it may produce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elastic {
    /// Output tokens wanted, for one output.
    pub want: u64,
    /// The caller named no cap: fall back to this when `want` takes more than a quarter of what is left.
    pub unasked: Option<u64>,
    /// Fewer than this is no use: deny instead. Equal to `want` if the call cannot be clamped.
    pub least: u64,
    /// How many outputs are produced (`n`, prompts, rounds).
    pub outputs: u64,
    /// Nano-dollars per million output tokens, at the dearest rate that the request can select.
    pub nano_per_million: u64,
}

impl Elastic {
    /// What `fixed` and `tokens` output tokens may cost in all.
    #[must_use]
    pub fn quote(&self, fixed: &Amounts, tokens: u64) -> Amounts {
        Quote {
            fixed: *fixed,
            elastic: Some(*self),
        }
        .at(tokens)
    }
}

/// What a call asks of the purse: `fixed + elastic(n)` on every covering account, all or none.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The covering accounts; each at most once.
    pub covers: Vec<Cover>,
    /// Input, fees, the turn; rounded up.
    pub fixed: Amounts,
    /// The output side, if it generates.
    pub elastic: Option<Elastic>,
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Asker {
    /// The task that the call belongs to.
    pub task: TaskKey,
    /// The agent that makes it.
    pub agent: Option<AgentId>,
    /// Who called that agent: the call does not wait for a hold of that agent's, nor of its callers'.
    pub parent: Option<AgentId>,
    /// What waiting costs in memory, bytes: the request's body.
    pub bytes: usize,
    /// Milliseconds that the task was suspended, for `duration`.
    pub paused_ms: u64,
    /// Where the call stands in the tree of the task's agents, for `depth` and `fan_out`: the depth of
    /// the agent, and the children of its parent if it is a new one, itself included.
    pub stand: Stand,
    /// When the first of the covering calendar windows ends: a call that still waits then is woken
    /// with [`Verdict::Rolled`](super::Verdict::Rolled), for other accounts cover it from there on.
    pub windows_until: Option<UnixMs>,
}

/// Where a call stands in the tree of its task's agents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stand {
    /// How deep below its root the calling agent stands; a root stands at 0.
    pub depth: u64,
    /// Children of its parent, this one included; 0 if it adds none.
    pub fan_out: u64,
}

impl Stand {
    /// What a meter of the tree reads; `None` for every other meter.
    #[must_use]
    pub const fn on(self, meter: Meter) -> Option<u64> {
        match meter {
            Meter::Depth => Some(self.depth),
            Meter::FanOut => Some(self.fan_out),
            _ => None,
        }
    }
}
