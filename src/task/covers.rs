//! The accounts that a task brings along itself: its own caps, and the turns that a person allowed.

use crate::escalation::{Allowed, allowed_account};
use crate::ledger::{AccountKey, Caps, Cover, Edition};
use crate::units::{Meter, NanoUsd, TaskKey};

/// The limit that a task's own caps make.
pub const TASKS_OWN: &str = "task's own";

/// The account of a task's own caps.
#[must_use]
pub fn own_account(key: &TaskKey) -> AccountKey {
    AccountKey {
        limit: TASKS_OWN.into(),
        per: [("task", key.task.shared()), ("owner", key.owner.shared())].into(),
        window: None,
    }
}

/// How a task's own caps cover its calls, if it has any.
#[must_use]
pub fn own_cover(key: &TaskKey, caps: Caps) -> Option<Cover> {
    let any = caps.0.iter().any(Option::is_some);
    any.then(|| Cover {
        key: own_account(key),
        caps,
        observe: false,
        warn_permille: None,
        edition: Edition::Falling,
    })
}

/// How the turns that a person allowed cover a task's calls, if there is such a bound.
#[must_use]
pub fn allowed_cover(key: &TaskKey, allowed: Option<&Allowed>) -> Option<Cover> {
    let allowed = allowed?;
    Some(Cover {
        key: allowed_account(key, allowed),
        caps: Caps::default().with(Meter::Turns, allowed.turns),
        observe: false,
        warn_permille: None,
        edition: Edition::Policy(0),
    })
}

/// The cap a caller sets on its own task by header.
#[must_use]
pub fn own_usd(usd: NanoUsd) -> Caps {
    let mut caps = Caps::default();
    caps.0[Meter::Usd as usize] = Some(usd.0);
    caps
}
