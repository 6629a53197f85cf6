//! How holds begin and end. A hold is the same quote on every covering account; it ends once.

use super::account::AccountAt;
use super::quote::{COUNTED, HELD, SHOWN};
use super::{
    AccountKey, Ask, Asker, Cover, Deadline, End, Held, Ledger, Need, Patience, Reached, Remaining,
    Verdict,
};
use crate::store::Grant;
use crate::units::{AgentId, Amounts, Meter, NanoUsd, TaskKey, UnixMs};
use std::collections::HashMap;

/// Names a hold until its end; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HoldId(u64);

/// One call in flight.
#[derive(Debug)]
pub(super) struct Hold {
    pub(super) quoted: Amounts,
    pub(super) places: Box<[AccountAt]>,
    /// How many of the places, the last ones, were added after the hold began.
    added: usize,
    /// The agent that made the call and who called it, if it named itself.
    made_by: Option<MadeBy>,
}

/// How far the balances of the accounts that a hold covers are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Footing {
    /// All are known.
    Known,
    /// Some account's balance is unknown, and the store has not been asked for it. The end and its
    /// journal entry must come in one step, so that an answer of the store contains both or neither.
    Unknown,
    /// The store is being asked. The hold ends when it has answered: nobody could say whether the
    /// answer contains an end that was posted meanwhile.
    Awaited,
}

#[derive(Debug)]
struct MadeBy {
    task: TaskKey,
    agent: AgentId,
    parent: Option<AgentId>,
}

#[derive(Debug)]
struct Slot {
    /// How often this slot was used: the upper half of the id.
    turn: u32,
    hold: Option<Hold>,
}

/// Every call in flight, and those of one task together.
#[derive(Debug, Default)]
pub(super) struct Holds {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Only calls whose agent is known.
    by_task: HashMap<TaskKey, Vec<HoldId>, foldhash::quality::RandomState>,
    held_usd: u128,
    len: usize,
}

impl Holds {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn held_usd(&self) -> NanoUsd {
        NanoUsd(u64::try_from(self.held_usd).unwrap_or(u64::MAX))
    }

    fn insert(&mut self, hold: Hold) -> HoldId {
        self.held_usd += u128::from(hold.quoted[Meter::Usd]);
        self.len += 1;
        let slot = self.free.pop().unwrap_or_else(|| {
            let next = u32::try_from(self.slots.len());
            assert!(
                next.is_ok(),
                "four billion calls in flight do not fit into memory"
            );
            self.slots.push(Slot {
                turn: 0,
                hold: None,
            });
            next.unwrap_or(u32::MAX)
        });
        let turn = self.slots[slot as usize].turn;
        let id = HoldId(u64::from(turn) << 32 | u64::from(slot));
        if let Some(made_by) = &hold.made_by {
            match self.by_task.get_mut(&made_by.task) {
                Some(holds) => holds.push(id),
                None => drop(self.by_task.insert(made_by.task.clone(), vec![id])),
            }
        }
        self.slots[slot as usize].hold = Some(hold);
        id
    }

    fn remove(&mut self, id: HoldId) -> Option<Hold> {
        let (turn, slot) = id.parts()?;
        let place = self.slots.get_mut(slot)?;
        if place.turn != turn {
            return None;
        }
        let hold = place.hold.take()?;
        // A slot whose turns are used up is not used again.
        if let Some(next) = place.turn.checked_add(1) {
            place.turn = next;
            self.free.extend(u32::try_from(slot));
        }
        self.len -= 1;
        self.held_usd -= u128::from(hold.quoted[Meter::Usd]);
        if let Some(made_by) = &hold.made_by
            && let Some(holds) = self.by_task.get_mut(&made_by.task)
        {
            holds.retain(|held| *held != id);
            if holds.is_empty() {
                self.by_task.remove(&made_by.task);
            }
        }
        Some(hold)
    }

    fn get(&self, id: HoldId) -> Option<&Hold> {
        let (turn, slot) = id.parts()?;
        self.slots
            .get(slot)
            .filter(|slot| slot.turn == turn)?
            .hold
            .as_ref()
    }

    fn get_mut(&mut self, id: HoldId) -> Option<&mut Hold> {
        let (turn, slot) = id.parts()?;
        self.slots
            .get_mut(slot)
            .filter(|slot| slot.turn == turn)?
            .hold
            .as_mut()
    }

    /// The calls in flight that wait for this one: those of its caller, of its caller's caller, and
    /// so on, as far as calls in flight say who called them.
    pub(super) fn callers(&self, asker: &Asker) -> Vec<&Hold> {
        let mut callers: Vec<&Hold> = Vec::new();
        let Some(parent) = &asker.parent else {
            return callers;
        };
        let Some(holds) = self.by_task.get(&asker.task) else {
            return callers;
        };
        let mut names = vec![parent];
        let mut looked_at = 0;
        while let Some(name) = names.get(looked_at).copied() {
            looked_at += 1;
            if asker.agent.as_ref() == Some(name) {
                continue;
            }
            for hold in holds.iter().filter_map(|id| self.get(*id)) {
                let Some(made_by) = hold.made_by.as_ref().filter(|by| by.agent == *name) else {
                    continue;
                };
                callers.push(hold);
                names.extend(
                    made_by
                        .parent
                        .as_ref()
                        .filter(|parent| !names.contains(parent)),
                );
            }
        }
        callers
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Hold> {
        self.slots.iter().filter_map(|slot| slot.hold.as_ref())
    }
}

impl HoldId {
    fn parts(self) -> Option<(u32, usize)> {
        let turn = u32::try_from(self.0 >> 32).ok()?;
        let slot = usize::try_from(self.0 & u64::from(u32::MAX)).ok()?;
        Some((turn, slot))
    }
}

/// What an end does to an account.
enum Charge {
    Settled(Amounts),
    InDoubt(Amounts),
}

impl Ledger {
    /// Ends a hold at what was charged, `tool_calls` and `attempts` included. What was charged
    /// beyond the hold is charged in full and reported.
    ///
    /// # Panics
    /// If the hold has ended already.
    pub fn settle(&mut self, now: UnixMs, id: HoldId, charged: Amounts) -> End {
        self.end(now, id, &Charge::Settled(charged))
    }

    /// Ends a hold without a charge; `attempts` definite refusals by providers are counted.
    ///
    /// # Panics
    /// If the hold has ended already.
    pub fn void(&mut self, now: UnixMs, id: HoldId, attempts: u64) -> End {
        let charged = Amounts::ZERO.with(Meter::Attempts, attempts);
        self.end(now, id, &Charge::Settled(charged))
    }

    /// Ends a hold without a charge and, in the same step, asks for another in its stead: what it sets
    /// free is the new ask's before anybody's in line. If that does not fit at once, or not whole, it is
    /// as if it were asked for afterwards.
    ///
    /// # Panics
    /// If the hold has ended already, or the ask names an account twice.
    pub fn swap(
        &mut self,
        now: UnixMs,
        (id, attempts): (HoldId, u64),
        asker: &Asker,
        ask: &Ask,
        patience: Patience,
    ) -> (End, Verdict) {
        let charged = Amounts::ZERO.with(Meter::Attempts, attempts);
        let end = self.end_unseen(now, id, &Charge::Settled(charged));
        let need = self.find(ask);
        let verdict = self.queue_ahead(now, asker, need, patience);
        self.look(now);
        (end, verdict)
    }

    /// Ends a hold without evidence: the whole hold, or a bound, is in doubt and counts against the
    /// cap until [`Ledger::correct`] releases it.
    ///
    /// # Panics
    /// If the hold has ended already.
    pub fn doubt(&mut self, now: UnixMs, id: HoldId, in_doubt: Amounts) -> End {
        self.end(now, id, &Charge::InDoubt(in_doubt))
    }

    /// Whether the hold can end now and be counted exactly once. `None` if it has ended.
    #[must_use]
    pub fn footing(&self, id: HoldId) -> Option<Footing> {
        let hold = self.holds.get(id)?;
        let mut footing = Footing::Known;
        for account in hold.places.iter().map(|at| &self.accounts[*at]) {
            if account.is_awaited() {
                return Some(Footing::Awaited);
            }
            if !account.loaded {
                footing = Footing::Unknown;
            }
        }
        Some(footing)
    }

    /// Adds a running hold to further accounts: of limits that came into force after its call had
    /// left. The money may be spent already, so it is set aside whether it fits or not; what does
    /// not fit keeps others out until the hold ends. [`Ledger::load`] fetches the balances. False
    /// if the hold has ended.
    pub fn cover(&mut self, now: UnixMs, id: HoldId, covers: &[Cover]) -> bool {
        self.told_time(now);
        let Some(hold) = self.holds.get(id) else {
            return false;
        };
        let quoted = hold.quoted;
        let mut places = hold.places.to_vec();
        let before = places.len();
        for cover in covers.iter().filter(|cover| !cover.key.is_per_call()) {
            let at = self.accounts.at_or_new(&cover.key, now);
            let account = &mut self.accounts[at];
            let is_new = account.take_terms(cover);
            if !places.contains(&at) {
                account.add(now, &quoted);
                places.push(at);
            }
            if is_new {
                self.mark(at);
            }
        }
        if let Some(hold) = self.holds.get_mut(id) {
            hold.added += places.len() - before;
            hold.places = places.into();
        }
        self.look(now);
        true
    }

    /// What the store must be asked so that these accounts' balances are known, and durably granted
    /// what is held there: for accounts that holds were added to. The shell carries the grants as
    /// those of [`Ledger::grants`]. The second says whether any account is still to be heard of.
    pub fn load(&mut self, now: UnixMs, keys: &[AccountKey]) -> (Vec<Grant>, bool) {
        self.told_time(now);
        let (mut grants, mut waits) = (Vec::new(), false);
        for key in keys {
            let Some(at) = self.accounts.find(key) else {
                continue;
            };
            let account = &mut self.accounts[at];
            if account.pins > 0 && !account.covers_its_holds() {
                waits = true;
                grants.extend(account.ask_for_holds());
            }
        }
        (grants, waits)
    }

    /// Sets `quoted` aside on every place. The places fit: `weigh` has seen to that, and the
    /// accounts assert it.
    pub(super) fn begin(
        &mut self,
        now: UnixMs,
        asker: &Asker,
        need: Need,
        quoted: Amounts,
        told: Option<u64>,
    ) -> Box<Held> {
        let Need {
            quote: _,
            places,
            ceilings,
        } = need;
        let mut deadline = None;
        let mut observed = Vec::new();
        for cover in &ceilings {
            let cap_ms = cover.caps.0[Meter::Duration as usize];
            if let Some(cap_ms) = cap_ms.filter(|_| !cover.observe) {
                let at = after(now, cap_ms);
                sooner(&mut deadline, at, &cover.key, cap_ms);
            }
            if cover.observe {
                observed.extend(HELD.each().filter_map(|meter| {
                    let cap = cover.caps.0[meter as usize].filter(|cap| quoted[meter] > *cap)?;
                    Some(Reached {
                        key: cover.key.clone(),
                        meter,
                        cap,
                        used: 0,
                    })
                }));
            }
        }
        for at in &places {
            let account = &mut self.accounts[*at];
            account.hold(now, &quoted);
            let wish = if account.observe {
                let over = |meter: &Meter| match *meter {
                    Meter::Duration => account.open_ms(now, asker.paused_ms) >= account.cap(*meter),
                    Meter::Depth | Meter::FanOut => {
                        asker.stand.on(*meter) > Some(account.cap(*meter))
                    }
                    meter if COUNTED.has(meter) => account.spent(meter) >= account.cap(meter),
                    meter => quoted[meter] > 0 && account.used(meter) > account.cap(meter),
                };
                observed.extend(
                    account
                        .caps
                        .meters
                        .each()
                        .filter(over)
                        .map(|meter| account.reached(meter)),
                );
                account.ask_balance()
            } else {
                if let Some(at) = account.ends_at(now, asker.paused_ms) {
                    let cap_ms = account.cap(Meter::Duration);
                    sooner(&mut deadline, at, &account.key, cap_ms);
                }
                account.ask_ahead(&quoted)
            };
            self.wished.extend(wish);
        }
        let remaining = self.remaining(&places);
        let made_by = asker.agent.clone().map(|agent| MadeBy {
            task: asker.task.clone(),
            agent,
            parent: asker.parent.clone(),
        });
        let id = self.holds.insert(Hold {
            quoted,
            places,
            added: 0,
            made_by,
        });
        Box::new(Held {
            id,
            quoted,
            told,
            deadline,
            remaining,
            observed,
        })
    }

    fn end(&mut self, now: UnixMs, id: HoldId, charge: &Charge) -> End {
        let end = self.end_unseen(now, id, charge);
        self.look(now);
        end
    }

    /// Ends a hold; the lines are looked at later.
    fn end_unseen(&mut self, now: UnixMs, id: HoldId, charge: &Charge) -> End {
        self.told_time(now);
        let hold = self.holds.remove(id);
        assert!(hold.is_some(), "a hold ends once");
        let Some(hold) = hold else {
            return End::default();
        };
        let (Charge::Settled(amounts) | Charge::InDoubt(amounts)) = charge;
        if let Charge::InDoubt(amounts) = charge {
            let usd = self.in_doubt_usd.0.saturating_add(amounts[Meter::Usd]);
            self.in_doubt_usd = NanoUsd(usd);
        }
        let mut end = End::default();
        let added = hold.places.iter().skip(hold.places.len() - hold.added);
        end.added
            .extend(added.map(|at| self.accounts[*at].key.clone()));
        for meter in HELD {
            end.overrun[meter] = amounts[meter].saturating_sub(hold.quoted[meter]);
        }
        for at in &hold.places {
            let account = &mut self.accounts[*at];
            account.unhold(now, &hold.quoted);
            match charge {
                Charge::Settled(amounts) => account.settle(amounts),
                Charge::InDoubt(amounts) => account.doubt(amounts),
            }
            if account.warns() {
                let warned = account.warned(amounts);
                end.warned
                    .extend(warned.map(|meter| account.reached(meter)));
            }
            self.mark(*at);
        }
        end.remaining = self.remaining(&hold.places);
        end
    }

    /// What is left on the tightest enforced account, meter by meter.
    fn remaining(&self, places: &[AccountAt]) -> Remaining {
        // What is left of a cap is below `u64::MAX`, which stands for no cap here.
        let mut least = Amounts([u64::MAX; Meter::COUNT]);
        for at in places {
            let account = &self.accounts[*at];
            if account.observe {
                continue;
            }
            for meter in account.caps.meters.and(SHOWN) {
                least[meter] = least[meter].min(account.unheld(meter));
            }
        }
        let capped = |left: u64| (left != u64::MAX).then_some(left);
        let tokens = least[Meter::Tokens].min(least[Meter::OutputTokens]);
        Remaining {
            tokens: capped(tokens.min(least[Meter::FreshTokens])),
            usd: capped(least[Meter::Usd]).map(NanoUsd),
            turns: capped(least[Meter::Turns]),
            tool_calls: capped(least[Meter::ToolCalls]),
        }
    }
}

fn after(now: UnixMs, ms: u64) -> UnixMs {
    UnixMs(now.0.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX)))
}

fn sooner(deadline: &mut Option<Deadline>, at: UnixMs, key: &AccountKey, cap_ms: u64) {
    if deadline.as_ref().is_none_or(|other| at < other.at) {
        let key = key.clone();
        *deadline = Some(Deadline { at, key, cap_ms });
    }
}

pub(super) fn earliest(one: Option<UnixMs>, other: Option<UnixMs>) -> Option<UnixMs> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
