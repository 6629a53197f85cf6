//! Who waits and who is next.
//!
//! A waiter holds nothing. It stands in line on the accounts that are short for it, or where others
//! come before it; nowhere else, so calls that need other accounts pass it. On one account the
//! order is that of arrival. A waiter whose wait is half over and who is at the head wherever it
//! stands is *next*: what it needs is kept free on every account of its, against all who came
//! later. (Kept free rather than closed: one task near its cap must not stop its whole owner.)
//!
//! Some pass the line: those whose wait is over take what there is or go, and a call whose caller
//! is itself in flight does not stand behind those who wait for that caller.
//!
//! Calls whose accounts lack an allotment stand here too until the store has granted it.

use super::account::AccountAt;
use super::hold::earliest;
use super::waiter::{Wait, Waiter};
use super::weigh::{Decision, Standing};
use super::{Asker, Ledger, Need, Patience, Refusal, Shortage, Verdict};
use crate::units::{Amounts, UnixMs};
use std::collections::{BTreeSet, HashMap};

/// What a waiter costs beside its request, bytes.
const WAITER_BYTES: usize = 1024;
/// The clock of several threads may be read in another order than the lock is taken; only what
/// exceeds this is a clock that was set back, milliseconds.
const CLOCK_JITTER_MS: i64 = 1000;

/// Names a waiting call; later ones are larger. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaiterId(u64);

impl WaiterId {
    /// Older than all.
    const FIRST: Self = Self(0);
    /// Those who come in order are above it, those who come before all in line below.
    const MIDDLE: u64 = 1 << 62;
}

/// Every waiting call.
#[derive(Debug, Default)]
pub(super) struct Line {
    waiters: HashMap<WaiterId, Waiter>,
    timers: BTreeSet<(UnixMs, WaiterId)>,
    last: u64,
    /// Who came before all in line.
    ahead: u64,
    bytes: usize,
    /// Accounts whose lines are to be looked at.
    marked: Vec<AccountAt>,
}

impl Line {
    pub(super) fn len(&self) -> usize {
        self.waiters.len()
    }

    fn set_timer(&mut self, id: WaiterId, waiter: &mut Waiter, at: Option<UnixMs>) {
        if waiter.timer != at {
            self.timers.extend(at.map(|at| (at, id)));
            if let Some(before) = std::mem::replace(&mut waiter.timer, at) {
                self.timers.remove(&(before, id));
            }
        }
    }
}

impl Ledger {
    /// Looks at waits that are over, half over, or whose windows have ended.
    pub fn tick(&mut self, now: UnixMs) {
        self.told_time(now);
        while let Some((_, id)) = self
            .line
            .timers
            .first()
            .copied()
            .filter(|(at, _)| *at <= now)
        {
            self.reconsider(now, id);
        }
        self.look(now);
    }

    /// When [`Ledger::tick`] has something to do next.
    #[must_use]
    pub fn next_tick(&self) -> Option<UnixMs> {
        self.line.timers.first().map(|(at, _)| *at)
    }

    /// A waiting call goes away. Nothing happens if it has been answered already; a hold in that
    /// answer is the caller's to void.
    pub fn leave(&mut self, id: WaiterId) {
        let now = self.now;
        if let Some(mut waiter) = self.line.waiters.remove(&id) {
            self.depart(id, &mut waiter);
        }
        self.look(now);
    }

    /// Takes waiting calls out of the line, for their task was suspended or closed, their identity
    /// stopped, the gateway drained. They get no verdict: the caller knows what to tell them.
    pub fn refuse_waiters(&mut self, now: UnixMs, which: impl Fn(&Asker) -> bool) -> Vec<WaiterId> {
        self.told_time(now);
        let waiters = self
            .line
            .waiters
            .iter()
            .filter(|(_, waiter)| which(&waiter.asker));
        let mut ids: Vec<WaiterId> = waiters.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        for id in &ids {
            self.leave(*id);
        }
        ids
    }

    /// An ask that cannot be had at once: decided now, or put in line.
    pub(super) fn queue(
        &mut self,
        now: UnixMs,
        asker: &Asker,
        need: Need,
        patience: Patience,
    ) -> Verdict {
        self.line.last += 1;
        let id = WaiterId(WaiterId::MIDDLE + self.line.last);
        self.enqueue(now, id, asker, need, patience)
    }

    /// The same for one who comes before all in line: it held already.
    pub(super) fn queue_ahead(
        &mut self,
        now: UnixMs,
        asker: &Asker,
        need: Need,
        patience: Patience,
    ) -> Verdict {
        self.line.ahead += 1;
        let id = WaiterId(WaiterId::MIDDLE - self.line.ahead);
        self.enqueue(now, id, asker, need, patience)
    }

    fn enqueue(
        &mut self,
        now: UnixMs,
        id: WaiterId,
        asker: &Asker,
        need: Need,
        patience: Patience,
    ) -> Verdict {
        let deadline = match patience {
            Patience::Peek => None,
            Patience::Wait { deadline } => Some(deadline),
        };
        let waiter = Waiter {
            asker: asker.clone(),
            need,
            deadline,
            wait: None,
            over: false,
            is_next: false,
            entered: false,
            stands: Vec::new(),
            timer: None,
        };
        self.consider(now, id, waiter)
            .unwrap_or(Verdict::Waiting(id))
    }

    /// The account's line is to be looked at.
    pub(super) fn mark(&mut self, at: AccountAt) {
        let account = &mut self.accounts[at];
        if !account.marked && !account.waits.line.is_empty() {
            account.marked = true;
            self.line.marked.push(at);
        }
    }

    /// Looks at the lines of all marked accounts, each from its head to the first who stays, and at
    /// those that pass the line.
    pub(super) fn look(&mut self, now: UnixMs) {
        while let Some(at) = self.line.marked.pop() {
            self.accounts[at].marked = false;
            while let Some(head) = self.accounts[at].waits.line.first().copied() {
                self.reconsider(now, head);
                if self.accounts[at].waits.line.first() == Some(&head) {
                    break;
                }
            }
            if !self.accounts[at].waits.passing.is_empty() {
                let passing: Vec<WaiterId> =
                    self.accounts[at].waits.passing.iter().copied().collect();
                for id in passing {
                    self.reconsider(now, id);
                }
            }
        }
    }

    /// Notes the time. When the clock was set back, waits go on as long as they would have.
    pub(super) fn told_time(&mut self, now: UnixMs) {
        let back_ms = self.now.0.saturating_sub(now.0);
        self.now = now;
        if back_ms <= CLOCK_JITTER_MS {
            return;
        }
        let back = |at: &mut UnixMs| at.0 = at.0.saturating_sub(back_ms);
        self.line.timers.clear();
        for (id, waiter) in &mut self.line.waiters {
            if let Some(wait) = &mut waiter.wait {
                back(&mut wait.half);
                back(&mut wait.until);
            }
            waiter.deadline.as_mut().map(back);
            waiter.timer = waiter.next_look();
            self.line.timers.extend(waiter.timer.map(|at| (at, *id)));
        }
    }

    /// The store will not grant this account what was asked: whoever cannot go without is refused,
    /// rather than each asking the store in turn.
    pub(super) fn refuse_for_want_of_grant(&mut self, now: UnixMs, at: AccountAt) {
        let ids: Vec<WaiterId> = self.accounts[at].waits.line.iter().copied().collect();
        for id in ids {
            let Some(waiter) = self.line.waiters.get(&id) else {
                continue;
            };
            // As if nobody came before it.
            let standing = Standing {
                me: WaiterId::FIRST,
                over: waiter.over,
            };
            let decision = self.weigh(now, &waiter.asker, &waiter.need, standing);
            if matches!(decision, Decision::Grant { at: lacking, .. } if lacking.contains(&at))
                && let Some(mut waiter) = self.line.waiters.remove(&id)
            {
                self.depart(id, &mut waiter);
                self.woken
                    .push((id, Verdict::Refused(Refusal::StoreUnavailable)));
            }
        }
        self.mark(at);
    }

    fn reconsider(&mut self, now: UnixMs, id: WaiterId) {
        if let Some(waiter) = self.line.waiters.remove(&id)
            && let Some(verdict) = self.consider(now, id, waiter)
        {
            self.woken.push((id, verdict));
        }
    }

    /// Decides about a waiter that is not in the table: a verdict, or it is put (back) there.
    fn consider(&mut self, now: UnixMs, id: WaiterId, mut waiter: Waiter) -> Option<Verdict> {
        waiter.reach(now);
        let mut decision = self.weigh_waiter(now, id, &waiter);
        if matches!(decision, Decision::Wait { .. }) && !waiter.peeks() && waiter.wait.is_none() {
            self.begin_wait(now, &mut waiter);
            if waiter.over {
                decision = self.weigh_waiter(now, id, &waiter);
            }
        }
        let verdict = match decision {
            Decision::Hold { clamped: true, .. }
            | Decision::Grant { clamped: true, .. }
            | Decision::Deny {
                refinable: true, ..
            } if waiter.peeks() => Verdict::Short(Shortage { refinable: true }),
            Decision::Wait { at, .. } if waiter.peeks() && self.may_await_balance(&waiter, &at) => {
                // Passes the line, for it wants an answer as soon as there is a balance.
                self.stand(id, waiter, at, true, None);
                return None;
            }
            Decision::Wait { refinable, .. } if waiter.peeks() => {
                Verdict::Short(Shortage { refinable })
            }
            Decision::Hold {
                quoted,
                told,
                clamped: _,
            } => {
                self.depart(id, &mut waiter);
                let Waiter { asker, need, .. } = waiter;
                return Some(Verdict::Held(self.begin(now, &asker, need, quoted, told)));
            }
            Decision::Grant {
                quoted,
                at,
                passes,
                clamped: _,
            } => match self.may_await_grant(now, &waiter) {
                Ok(()) => {
                    self.ask_for(&at, &quoted);
                    self.stand(id, waiter, at, passes, None);
                    return None;
                }
                Err(refusal) => Verdict::Refused(refusal),
            },
            Decision::Wait {
                quoted,
                at,
                passes,
                denial,
                refinable: _,
            } => {
                if waiter.entered || self.has_room(&waiter, &at) {
                    self.stand(id, waiter, at, passes, Some(quoted));
                    return None;
                }
                Verdict::Refused(Refusal::LineFull(denial))
            }
            Decision::Deny {
                denial,
                refinable: _,
            } => Verdict::Refused(Refusal::Limit(denial)),
            Decision::Roll => Verdict::Rolled,
        };
        self.depart(id, &mut waiter);
        Some(verdict)
    }

    fn weigh_waiter(&self, now: UnixMs, id: WaiterId, waiter: &Waiter) -> Decision {
        let standing = Standing {
            me: id,
            over: waiter.over,
        };
        self.weigh(now, &waiter.asker, &waiter.need, standing)
    }

    /// It is to wait for holds from now on: until `wait_for_holds` is over, its own deadline comes,
    /// or an account's `duration` runs out.
    fn begin_wait(&self, now: UnixMs, waiter: &mut Waiter) {
        let wait_ms = self.settings.wait_for_holds_ms.max(0);
        let patience = Some(UnixMs(now.0.saturating_add(wait_ms)));
        let places = waiter.need.places.iter().map(|at| &self.accounts[*at]);
        let until = places
            .filter(|account| !account.observe)
            .map(|account| account.ends_at(now, waiter.asker.paused_ms))
            .fold(earliest(patience, waiter.deadline), earliest)
            .unwrap_or(now);
        let half = UnixMs(now.0 + until.0.saturating_sub(now.0) / 2);
        waiter.wait = Some(Wait {
            half,
            half_over: false,
            until,
        });
        waiter.over |= until <= now;
    }

    fn ask_for(&mut self, at: &[AccountAt], quoted: &Amounts) {
        for at in at {
            let account = &mut self.accounts[*at];
            self.wished.extend(account.ask(quoted));
        }
    }

    fn may_await_grant(&self, now: UnixMs, waiter: &Waiter) -> Result<(), Refusal> {
        let has_time = !waiter.is_past_deadline(now);
        let has_room = waiter.entered || self.has_memory(waiter);
        if has_time && has_room {
            Ok(())
        } else {
            Err(Refusal::StoreUnavailable)
        }
    }

    /// A peek behind others who wait for an account's balance waits for it as well.
    fn may_await_balance(&self, waiter: &Waiter, at: &[AccountAt]) -> bool {
        let has_room = waiter.entered || self.has_memory(waiter);
        has_room && at.iter().any(|at| !self.accounts[*at].loaded)
    }

    fn has_memory(&self, waiter: &Waiter) -> bool {
        let bytes = waiter.asker.bytes.saturating_add(WAITER_BYTES);
        self.line.bytes.saturating_add(bytes) <= self.settings.line_max_bytes
    }

    /// The line of an account whose balance is still unknown is bounded by memory alone: the first
    /// burst of a task is no queue for held money.
    fn has_room(&self, waiter: &Waiter, at: &[AccountAt]) -> bool {
        let max = self.settings.line_max_waiters;
        let not_full = |at: &AccountAt| {
            let account = &self.accounts[*at];
            !account.loaded || account.waits.line.len() < max
        };
        self.has_memory(waiter) && at.iter().all(not_full)
    }

    /// Puts it (back) into the table, in line on these accounts and no others.
    fn stand(
        &mut self,
        id: WaiterId,
        mut waiter: Waiter,
        at: Vec<AccountAt>,
        passes: bool,
        waits_for: Option<Amounts>,
    ) {
        assert!(!at.is_empty(), "who waits stands in line somewhere");
        if !waiter.entered {
            waiter.entered = true;
            self.line.bytes += waiter.asker.bytes.saturating_add(WAITER_BYTES);
            for place in &waiter.need.places {
                self.accounts[*place].pins += 1;
            }
        }
        for before in std::mem::take(&mut waiter.stands) {
            if !at.contains(&before) {
                self.unstand(id, before);
            }
        }
        for place in &at {
            let account = &mut self.accounts[*place];
            account.waits.change(|queue| {
                queue.line.insert(id);
                if passes {
                    queue.passing.insert(id);
                } else {
                    queue.passing.remove(&id);
                }
            });
        }
        waiter.stands = at;
        self.keep_room(id, &mut waiter, waits_for);
        let timer = waiter.next_look();
        self.line.set_timer(id, &mut waiter, timer);
        self.line.waiters.insert(id, waiter);
    }

    /// Makes it next if it is its turn to be, and keeps free what it waits for.
    fn keep_room(&mut self, id: WaiterId, waiter: &mut Waiter, waits_for: Option<Amounts>) {
        let Some(waits_for) = waits_for else { return };
        let is_head = |at: &AccountAt| self.accounts[*at].waits.line.first() == Some(&id);
        let is_due = waiter.wait.is_some_and(|wait| wait.half_over);
        waiter.is_next = waiter.is_next || is_due && waiter.stands.iter().all(is_head);
        if !waiter.is_next {
            return;
        }
        for place in &waiter.need.places {
            let waits = &mut self.accounts[*place].waits;
            let before = waits.change(|queue| queue.kept.insert(id, waits_for));
            if before.is_some_and(|before| before != waits_for) {
                self.mark(*place);
            }
        }
    }

    fn unstand(&mut self, id: WaiterId, at: AccountAt) {
        let account = &mut self.accounts[at];
        account.waits.change(|queue| {
            queue.line.remove(&id);
            queue.passing.remove(&id);
        });
        self.mark(at);
    }

    /// Takes it out of every line; whoever stood behind it is looked at.
    fn depart(&mut self, id: WaiterId, waiter: &mut Waiter) {
        if !waiter.entered {
            return;
        }
        self.line.bytes -= waiter.asker.bytes.saturating_add(WAITER_BYTES);
        self.line.set_timer(id, waiter, None);
        for at in std::mem::take(&mut waiter.stands) {
            self.unstand(id, at);
        }
        for place in &waiter.need.places {
            let account = &mut self.accounts[*place];
            account.unpin();
            if waiter.is_next {
                account.waits.change(|queue| queue.kept.remove(&id));
                self.mark(*place);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn waiting_on(&self, id: WaiterId) -> &[AccountAt] {
        self.line
            .waiters
            .get(&id)
            .map_or(&[], |waiter| &waiter.stands)
    }
}
