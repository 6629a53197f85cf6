//! One call that waits: for what, how long, and when to look at it again.

use super::account::AccountAt;
use super::hold::earliest;
use super::{Asker, Need};
use crate::units::UnixMs;

/// One waiting call.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) asker: Asker,
    pub(super) need: Need,
    /// When the call itself ends. `None`: it only peeks, and waits for the store alone.
    pub(super) deadline: Option<UnixMs>,
    /// Its wait for holds, once it has begun.
    pub(super) wait: Option<Wait>,
    /// The wait is over: it takes what there is, and at most still waits for the store.
    pub(super) over: bool,
    /// It is kept room for on all its accounts.
    pub(super) is_next: bool,
    /// In the table, its accounts pinned.
    pub(super) entered: bool,
    /// Where it stands in line.
    pub(super) stands: Vec<AccountAt>,
    pub(super) timer: Option<UnixMs>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    pub(super) half: UnixMs,
    pub(super) half_over: bool,
    pub(super) until: UnixMs,
}

impl Waiter {
    pub(super) fn peeks(&self) -> bool {
        self.deadline.is_none()
    }

    /// When to look at it without any other reason.
    pub(super) fn next_look(&self) -> Option<UnixMs> {
        let wait = self.wait.filter(|_| !self.over);
        let wait = wait.map(|wait| {
            if wait.half_over {
                wait.until
            } else {
                wait.half
            }
        });
        earliest(wait, earliest(self.deadline, self.asker.windows_until))
    }

    pub(super) fn reach(&mut self, now: UnixMs) {
        if let Some(wait) = &mut self.wait {
            wait.half_over |= wait.half <= now;
            self.over |= wait.until <= now;
        }
        self.over |= self.is_past_deadline(now);
    }

    pub(super) fn is_past_deadline(&self, now: UnixMs) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }
}
