//! Whether an ask fits, and if not, what it waits for. Reads only: `line` and `hold` act on it.

use super::account::{Account, AccountAt};
use super::hold::Hold;
use super::line::WaiterId;
use super::quote::{BOUNDED, COUNTED, GROWING, HELD};
use super::{Asker, Denial, Ledger, Need};
use crate::units::{Amounts, Meter, UnixMs};

/// A model's maximum that takes more than one part in so many of what is left is not held unasked.
const UNASKED_PART: u64 = 4;

/// How an ask stands to the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// Those older come first. A fresh ask is younger than all.
    pub(super) me: WaiterId,
    /// The wait is over: take what there is, or nothing.
    pub(super) over: bool,
}

/// What becomes of an ask as things are.
#[derive(Clone, Debug)]
pub(super) enum Decision {
    /// It fits in every way.
    Hold {
        quoted: Amounts,
        told: Option<u64>,
        /// With less output than was asked for.
        clamped: bool,
    },
    /// It fits under the caps; these accounts' allotments do not reach, or are not known yet.
    Grant {
        quoted: Amounts,
        at: Vec<AccountAt>,
        clamped: bool,
        /// It need not stay behind those who came before it.
        passes: bool,
    },
    /// These accounts are short for it, or others come first there.
    Wait {
        quoted: Amounts,
        at: Vec<AccountAt>,
        passes: bool,
        denial: Denial,
        /// A better bound on the input could help.
        refinable: bool,
    },
    /// It does not fit, and waiting will not change that, or is over.
    Deny { denial: Denial, refinable: bool },
    /// Its windows have ended.
    Roll,
}

/// The number of output tokens it comes to, per output.
#[derive(Clone, Copy, Debug)]
struct Output {
    n: u64,
    /// The provider has to be told.
    tell: bool,
}

impl Output {
    fn told(self) -> Option<u64> {
        self.tell.then_some(self.n)
    }
}

impl Ledger {
    /// The usual case, without a detour: every account known, nobody in line, money and allotment
    /// suffice. Anything else is `weigh`'s.
    pub(super) fn quick(
        &self,
        now: UnixMs,
        asker: &Asker,
        need: &Need,
    ) -> Option<(Amounts, Option<u64>)> {
        if !need.ceilings.is_empty() || asker.windows_until.is_some_and(|until| until <= now) {
            return None;
        }
        let (output, quoted) = self.wanted(need);
        for account in self.enforced(need) {
            if !account.allots(&quoted)
                || !account.waits.line.is_empty()
                || !account.waits.kept.is_empty()
            {
                return None;
            }
            let fits = account.caps.meters.each().all(|meter| match meter {
                Meter::Duration => account.open_ms(now, asker.paused_ms) < account.cap(meter),
                Meter::Depth | Meter::FanOut => asker.stand.on(meter) <= Some(account.cap(meter)),
                meter if COUNTED.has(meter) => account.spent(meter) < account.cap(meter),
                meter => quoted[meter] == 0 || quoted[meter] <= account.unheld(meter),
            });
            if !fits {
                return None;
            }
        }
        Some((quoted, output.told()))
    }

    /// The whole of the rules, in their order: what is used up, what is settled, what is held, who
    /// comes first, what is allotted.
    pub(super) fn weigh(
        &self,
        now: UnixMs,
        asker: &Asker,
        need: &Need,
        standing: Standing,
    ) -> Decision {
        if asker.windows_until.is_some_and(|until| until <= now) {
            return Decision::Roll;
        }
        if let Some(denial) = self.used_up(now, asker, need) {
            return Decision::Deny {
                denial,
                refinable: false,
            };
        }
        let (mut output, _) = self.wanted(need);
        let wanted = output.n;
        if let Some(denied) = under_ceilings(need, &mut output) {
            return denied;
        }
        let callers = self.holds.callers(asker);
        let scales = Scales {
            ledger: self,
            need,
            standing,
            wanted,
            callers,
        };
        let not_now = scales.money(&mut output);
        not_now.unwrap_or_else(|| scales.line_and_grants(output))
    }

    fn enforced<'a>(&'a self, need: &'a Need) -> impl Iterator<Item = &'a Account> {
        let accounts = need.places.iter().map(|at| &self.accounts[*at]);
        accounts.filter(|account| !account.observe)
    }

    /// Meters that are not held are refused once they are used up.
    fn used_up(&self, now: UnixMs, asker: &Asker, need: &Need) -> Option<Denial> {
        for account in self.enforced(need).filter(|account| account.loaded) {
            for meter in account.caps.meters {
                if let Some(stands) = asker.stand.on(meter) {
                    if stands > account.cap(meter) {
                        let mut denial = denial_of(account, meter, &Amounts::ZERO, &Amounts::ZERO);
                        (denial.settled, denial.needed) = (stands - 1, 1);
                        return Some(denial);
                    }
                    continue;
                }
                let passed = match meter {
                    Meter::Duration => account.open_ms(now, asker.paused_ms),
                    meter if COUNTED.has(meter) => account.spent(meter),
                    _ => continue,
                };
                if passed >= account.cap(meter) {
                    let mut denial = denial_of(account, meter, &Amounts::ZERO, &Amounts::ZERO);
                    if meter == Meter::Duration {
                        denial.settled = passed;
                    }
                    return Some(denial);
                }
            }
        }
        None
    }

    /// The output to hold for, and its quote. When the caller named no cap and the model's maximum
    /// takes too much of what is left, it is what is usual instead, and the provider is told.
    fn wanted(&self, need: &Need) -> (Output, Amounts) {
        let quote = &need.quote;
        let (want, least) = (quote.want(), quote.least());
        let all = quote.at(want);
        let as_asked = (
            Output {
                n: want,
                tell: false,
            },
            all,
        );
        let Some(unasked) = quote.elastic.and_then(|elastic| elastic.unasked) else {
            return as_asked;
        };
        let modest = self.enforced(need).all(|account| {
            let mut growing = account.caps.meters.and(GROWING).each();
            growing.all(|meter| all[meter] <= account.unheld(meter) / UNASKED_PART)
        });
        if modest || least == want {
            return as_asked;
        }
        let n = unasked.min(want).max(least);
        (Output { n, tell: true }, quote.at(n))
    }
}

/// Lowers the output to what fits under the ceilings on one call.
fn under_ceilings(need: &Need, output: &mut Output) -> Option<Decision> {
    let least = need.quote.least();
    for cover in need.ceilings.iter().filter(|cover| !cover.observe) {
        for meter in HELD {
            let Some(cap) = cover.caps.0[meter as usize] else {
                continue;
            };
            let most = need.quote.most_within(meter, cap.min(u64::MAX - 1));
            match most.filter(|most| *most >= least) {
                Some(most) if most >= output.n => {}
                Some(most) => {
                    *output = Output {
                        n: most,
                        tell: true,
                    }
                }
                None => {
                    let denial = Denial {
                        key: cover.key.clone(),
                        meter,
                        cap,
                        settled: 0,
                        held: 0,
                        in_doubt: 0,
                        needed: need.quote.at(output.n)[meter],
                        least: need.quote.at(least)[meter],
                        only_held: false,
                    };
                    return Some(Decision::Deny {
                        denial,
                        refinable: BOUNDED.has(meter),
                    });
                }
            }
        }
    }
    None
}

/// An account as a denial shows it.
fn denial_of(account: &Account, meter: Meter, needed: &Amounts, least: &Amounts) -> Denial {
    Denial {
        key: account.key.clone(),
        meter,
        cap: account.cap(meter),
        settled: account.settled[meter],
        held: account.held(meter),
        in_doubt: account.in_doubt[meter],
        needed: needed[meter],
        least: least[meter],
        only_held: false,
    }
}

/// One ask on the scales.
struct Scales<'a> {
    ledger: &'a Ledger,
    need: &'a Need,
    standing: Standing,
    /// Output wanted, per output.
    wanted: u64,
    /// Calls in flight that wait for this one: it does not wait for them.
    callers: Vec<&'a Hold>,
}

impl Scales<'_> {
    /// Enforced accounts, with where they stand.
    fn enforced(&self) -> impl Iterator<Item = (AccountAt, &Account)> {
        let accounts = self
            .need
            .places
            .iter()
            .map(|at| (*at, &self.ledger.accounts[*at]));
        accounts.filter(|(_, account)| !account.observe)
    }

    /// Those whose balance is known; of the others nothing can be said yet.
    fn known(&self) -> impl Iterator<Item = (AccountAt, &Account)> {
        self.enforced().filter(|(_, account)| account.loaded)
    }

    /// Lowers the output as far as the money demands it, or says why it is not now or never.
    fn money(&self, output: &mut Output) -> Option<Decision> {
        let quote = &self.need.quote;
        let (wanted, least) = (output.n, quote.least());
        let needed = quote.at(wanted);
        let short = self.short_of(&needed);
        if short.is_empty() {
            return None;
        }
        let once_settled = self.most(|at, account, meter| {
            account
                .left(meter)
                .saturating_sub(self.held_by_callers(at, meter))
        });
        if once_settled >= Some(wanted) && !self.standing.over {
            return Some(self.wait(needed, short, &needed));
        }
        if once_settled.is_none_or(|most| most < least) {
            return Some(self.deny(&needed, &quote.at(least)));
        }
        // Either what is settled leaves too little for all that is wanted, or the wait is over.
        let now = self.most(|_, account, meter| account.unheld(meter));
        match now.filter(|now| *now >= least) {
            Some(now) => {
                *output = Output {
                    n: now.min(wanted),
                    tell: true,
                };
                None
            }
            None if self.standing.over => Some(self.deny(&needed, &quote.at(least))),
            None => {
                let least = quote.at(least);
                Some(self.wait(least, self.short_of(&least), &needed))
            }
        }
    }

    /// What fits goes in its turn, when the store has allotted it.
    fn line_and_grants(&self, mut output: Output) -> Decision {
        let quote = &self.need.quote;
        if self.standing.over {
            // Nobody passes one who is next, not even at the end of his wait.
            let beside = self.most(|_, account, meter| {
                account
                    .unheld(meter)
                    .saturating_sub(self.kept(account, meter))
            });
            match beside.filter(|beside| *beside >= quote.least()) {
                Some(beside) if beside < output.n => {
                    output = Output {
                        n: beside,
                        tell: true,
                    }
                }
                Some(_) => {}
                None => return self.deny(&quote.at(output.n), &quote.at(quote.least())),
            }
        }
        let quoted = quote.at(output.n);
        if !self.standing.over {
            let blocked: Vec<AccountAt> = self
                .enforced()
                .filter(|(at, account)| self.is_behind(*at, account, &quoted))
                .map(|(at, _)| at)
                .collect();
            if !blocked.is_empty() {
                return self.wait(quoted, blocked, &quote.at(self.wanted));
            }
        }
        let ungranted: Vec<AccountAt> = self
            .enforced()
            .filter(|(_, account)| !account.allots(&quoted))
            .map(|(at, _)| at)
            .collect();
        let clamped = output.n < self.wanted;
        if ungranted.is_empty() {
            Decision::Hold {
                quoted,
                told: output.told(),
                clamped,
            }
        } else {
            Decision::Grant {
                quoted,
                at: ungranted,
                clamped,
                passes: self.passes(),
            }
        }
    }

    /// The most output within a room, over every known account; `None` if not even the fixed part
    /// fits. Quantities of zero always fit: what costs nothing breaks no cap.
    fn most(&self, room: impl Fn(AccountAt, &Account, Meter) -> u64) -> Option<u64> {
        let mut most = u64::MAX;
        for (at, account) in self.known() {
            for meter in account.caps.meters.and(HELD) {
                most = most.min(
                    self.need
                        .quote
                        .most_within(meter, room(at, account, meter))?,
                );
            }
        }
        Some(most)
    }

    fn short_of(&self, quoted: &Amounts) -> Vec<AccountAt> {
        let is_short = |account: &Account| {
            account
                .caps
                .meters
                .and(HELD)
                .each()
                .any(|meter| quoted[meter] > account.unheld(meter))
        };
        self.known()
            .filter(|(_, account)| is_short(account))
            .map(|(at, _)| at)
            .collect()
    }

    /// An older waiter stands in line there, or what is kept for one would be touched.
    fn is_behind(&self, at: AccountAt, account: &Account, quoted: &Amounts) -> bool {
        if self.callers.iter().any(|hold| hold.places.contains(&at)) {
            // To wait behind those who wait for the caller's hold is to wait for the caller.
            return false;
        }
        let in_line = account
            .waits
            .line
            .first()
            .is_some_and(|first| *first < self.standing.me);
        let kept_free = || {
            account.caps.meters.and(HELD).each().any(|meter| {
                let beside = account
                    .unheld(meter)
                    .saturating_sub(self.kept(account, meter));
                quoted[meter] > 0 && quoted[meter] > beside
            })
        };
        in_line || account.loaded && !account.waits.kept.is_empty() && kept_free()
    }

    /// What is kept free there for older waiters that are next.
    fn kept(&self, account: &Account, meter: Meter) -> u64 {
        let older = account.waits.kept.range(..self.standing.me);
        older.fold(0, |sum, (_, quoted)| sum.saturating_add(quoted[meter]))
    }

    fn held_by_callers(&self, at: AccountAt, meter: Meter) -> u64 {
        let here = self.callers.iter().filter(|hold| hold.places.contains(&at));
        here.fold(0, |sum: u64, hold| sum.saturating_add(hold.quoted[meter]))
    }

    fn wait(&self, quoted: Amounts, at: Vec<AccountAt>, needed: &Amounts) -> Decision {
        let least = self.need.quote.at(self.need.quote.least());
        let short = at
            .iter()
            .map(|at| &self.ledger.accounts[*at])
            .find_map(|account| {
                let mut capped = account.caps.meters.and(HELD).each();
                capped
                    .find(|meter| needed[*meter] > account.unheld(*meter))
                    .map(|meter| (account, meter))
            });
        let (account, meter, refinable) = match short {
            Some((account, meter)) => (account, meter, BOUNDED.has(meter)),
            // Others come first, that is all.
            None => {
                let account = &self.ledger.accounts[at[0]];
                (
                    account,
                    account
                        .caps
                        .meters
                        .and(HELD)
                        .each()
                        .next()
                        .unwrap_or(Meter::Usd),
                    false,
                )
            }
        };
        let mut denial = denial_of(account, meter, needed, &least);
        denial.only_held = true;
        Decision::Wait {
            quoted,
            at,
            passes: self.passes(),
            denial,
            refinable,
        }
    }

    fn passes(&self) -> bool {
        self.standing.over || !self.callers.is_empty()
    }

    /// Names the account that is in the way: the first where what is spent leaves too little for
    /// the least; else the first where what is held, or kept for others, does.
    fn deny(&self, needed: &Amounts, least: &Amounts) -> Decision {
        let find = |room: &dyn Fn(AccountAt, &Account, Meter) -> u64| {
            self.known().find_map(|(at, account)| {
                let mut capped = account.caps.meters.and(HELD).each();
                let meter = capped.find(|meter| least[*meter] > room(at, account, *meter))?;
                Some((account, meter))
            })
        };
        let spent = find(&|_, account, meter| account.left(meter));
        let held = || {
            find(&|_, account, meter| {
                account
                    .unheld(meter)
                    .saturating_sub(self.kept(account, meter))
            })
        };
        let only_held = spent.is_none();
        let found = spent.or_else(held);
        assert!(found.is_some(), "a denial has a reason");
        let Some((account, meter)) = found else {
            return Decision::Roll;
        };
        let mut denial = denial_of(account, meter, needed, least);
        denial.only_held = only_held;
        Decision::Deny {
            denial,
            refinable: BOUNDED.has(meter),
        }
    }
}
