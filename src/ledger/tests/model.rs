//! Random histories against a model that is too simple to be wrong: sums in maps, and the promise
//! that every call gets exactly one answer.

mod history;

use super::*;
use history::{Op, Request, op};
use proptest::prelude::*;
use std::collections::BTreeMap;

const ACCOUNTS: usize = 4;
const AGENTS: [&str; 4] = ["root", "lead", "one", "two"];

#[derive(Default)]
struct Sums {
    cap: u64,
    observe: bool,
    topped_up: u64,
    settled: u64,
    in_doubt: u64,
    attempts: u64,
}

#[derive(Clone, Copy)]
enum Charge {
    Settled(u64),
    InDoubt(u64),
}

struct Asked {
    ask: Ask,
    mask: u8,
    parent: bool,
    peek: bool,
    at: UnixMs,
    deadline: UnixMs,
}

impl Asked {
    fn patience(&self) -> Patience {
        if self.peek {
            return Patience::Peek;
        }
        let deadline = self.deadline;
        Patience::Wait { deadline }
    }

    fn price(&self, n: u64) -> u64 {
        self.ask.fixed[Meter::Usd] + n
    }

    fn elastic(&self) -> Elastic {
        self.ask.elastic.expect("every ask has an output")
    }

    fn least(&self) -> u64 {
        self.elastic().least.min(self.elastic().want)
    }
}

struct Model {
    desk: Desk,
    keys: [AccountKey; ACCOUNTS],
    sums: [Sums; ACCOUNTS],
    holds: BTreeMap<HoldId, (u64, u8)>,
    /// Holds that end once the store has answered.
    ending: Vec<(HoldId, u64, u8, Charge)>,
    waiting: BTreeMap<WaiterId, Asked>,
    failed: bool,
    /// Accounts on which this step has set money aside.
    newly: u8,
    /// Accounts on which this step has charged more than was held.
    overrun: u8,
}

impl Model {
    fn new() -> Self {
        let keys = std::array::from_fn(|i| key("limit", &i.to_string()));
        let mut desk = Desk::new();
        desk.serves = false;
        let sums = std::array::from_fn(|i| Sums {
            cap: 500 + 500 * i as u64,
            ..Sums::default()
        });
        let mut model = Self {
            desk,
            keys,
            sums,
            holds: BTreeMap::new(),
            ending: Vec::new(),
            waiting: BTreeMap::new(),
            failed: false,
            newly: 0,
            overrun: 0,
        };
        // One of them is known to the store from before.
        let before = Balance {
            settled: usd(100),
            in_doubt: usd(50),
            granted: usd(170),
            ..Balance::default()
        };
        model.desk.durable.insert(model.keys[1].clone(), before);
        (model.sums[1].settled, model.sums[1].in_doubt) = (100, 50);
        model
    }

    fn of(&self, mask: u8) -> impl Iterator<Item = (&AccountKey, &Sums)> {
        let accounts = self.keys.iter().zip(&self.sums).enumerate();
        accounts
            .filter(move |(i, _)| mask & 1 << i != 0)
            .map(|(_, account)| account)
    }

    fn held(&self, account: usize) -> u64 {
        let ending = self
            .ending
            .iter()
            .map(|(_, quoted, mask, _)| (quoted, mask));
        let holds = self.holds.values().map(|(quoted, mask)| (quoted, mask));
        let here = holds
            .chain(ending)
            .filter(|(_, mask)| **mask & 1 << account != 0);
        here.map(|(quoted, _)| quoted).sum()
    }

    fn left(&self, account: usize) -> u64 {
        let sums = &self.sums[account];
        (sums.cap + sums.topped_up).saturating_sub(sums.settled + sums.in_doubt)
    }

    fn enforced(&self, mask: u8) -> impl Iterator<Item = usize> {
        (0..ACCOUNTS).filter(move |i| mask & 1 << i != 0 && !self.sums[*i].observe)
    }

    fn apply(&mut self, op: Op) {
        self.failed = false;
        match op {
            Op::Request(request) => {
                let (asker, asked) = self.asked(&request);
                let patience = asked.patience();
                let verdict = self
                    .desk
                    .ledger
                    .request(self.desk.now, &asker, &asked.ask, patience);
                self.told(asked, verdict);
            }
            Op::Swap {
                which,
                attempts,
                request,
            } => self.swap(which, attempts, &request),
            Op::Recap {
                account,
                cap,
                observe,
            } => {
                self.sums[account].cap = cap;
                self.sums[account].observe = observe;
                // The next call that it covers brings the news; here that is one that costs nothing.
                let ask = Ask {
                    covers: vec![Cover {
                        observe,
                        ..cover(&self.keys[account], usd_cap(cap))
                    }],
                    fixed: usd(0),
                    elastic: Some(output(0, 0)),
                };
                let (at, deadline) = (self.desk.now, NEVER);
                let asked = Asked {
                    ask,
                    mask: 1 << account,
                    parent: false,
                    peek: false,
                    at,
                    deadline,
                };
                let asker = asker("root", None);
                let verdict = self
                    .desk
                    .ledger
                    .request(at, &asker, &asked.ask, asked.patience());
                self.told(asked, verdict);
            }
            Op::Settle { which, permille } => {
                if let Some((id, quoted, mask)) = self.take(which) {
                    self.end(id, quoted, mask, Charge::Settled(quoted * permille / 1000));
                }
            }
            Op::Void { which } => {
                if let Some((id, quoted, mask)) = self.take(which) {
                    self.end(id, quoted, mask, Charge::Settled(0));
                }
            }
            Op::Doubt { which } => {
                if let Some((id, quoted, mask)) = self.take(which) {
                    self.end(id, quoted, mask, Charge::InDoubt(quoted));
                }
            }
            Op::Cover { which, mask } => {
                let covers = self.of(mask).map(|(key, sums)| Cover {
                    observe: sums.observe,
                    ..cover(key, usd_cap(sums.cap))
                });
                let covers: Vec<_> = covers.collect();
                let id = self
                    .holds
                    .keys()
                    .nth(which % self.holds.len().max(1))
                    .copied();
                if let Some(id) = id {
                    assert!(self.desk.ledger.cover(self.desk.now, id, &covers));
                    self.holds
                        .entry(id)
                        .and_modify(|(_, before)| *before |= mask);
                }
            }
            Op::Load { mask } => {
                let keys: Vec<_> = self.of(mask).map(|(key, _)| key.clone()).collect();
                let (grants, _) = self.desk.ledger.load(self.desk.now, &keys);
                self.desk.ask(grants);
            }
            Op::Retire => {
                let (levels, _) = self.desk.ledger.retire(self.desk.now, &["limit".into()]);
                self.page_out(levels);
            }
            Op::Correct { account, quantity } => {
                let from = quantity.min(self.sums[account].in_doubt);
                let to = from / 2;
                self.post(1 << account, |sums, balance| {
                    sums.in_doubt -= from;
                    sums.settled += to;
                    balance.in_doubt[Meter::Usd] -= from;
                    balance.settled[Meter::Usd] += to;
                });
                let keys = std::slice::from_ref(&self.keys[account]);
                self.desk
                    .ledger
                    .correct(self.desk.now, keys, &usd(from), &usd(to));
            }
            Op::TopUp { account, by } => {
                let mut total = 0;
                self.post(1 << account, |sums, balance| {
                    sums.topped_up += by;
                    total = sums.topped_up;
                    balance.topped_up[Meter::Usd] += by;
                });
                let key = &self.keys[account];
                self.desk
                    .ledger
                    .topped_up_to(self.desk.now, key, &usd(total), &Amounts::ZERO);
            }
            Op::Pass { ms } => {
                self.desk.now.0 += ms;
                self.desk.ledger.tick(self.desk.now);
            }
            Op::Serve => self.desk.serve(),
            Op::Fail => {
                self.failed = true;
                self.desk.fail();
            }
            Op::Leave { which } => {
                let id = self
                    .waiting
                    .keys()
                    .nth(which % self.waiting.len().max(1))
                    .copied();
                if let Some(id) = id {
                    self.waiting.remove(&id);
                    self.desk.ledger.leave(id);
                }
            }
            Op::Idle => self.idle(),
        }
        self.check();
    }

    fn asked(&self, request: &Request) -> (Asker, Asked) {
        let covers = self.of(request.mask).map(|(key, sums)| Cover {
            observe: sums.observe,
            ..cover(key, usd_cap(sums.cap))
        });
        let elastic = Elastic {
            unasked: request.unasked.then_some(80),
            ..output(request.want, request.least)
        };
        let ask = Ask {
            covers: covers.collect(),
            fixed: usd(request.price),
            elastic: Some(elastic),
        };
        let parent = AGENTS.get(request.parent).copied();
        let asked = Asked {
            ask,
            mask: request.mask,
            parent: parent.is_some(),
            peek: request.peek,
            at: self.desk.now,
            deadline: UnixMs(self.desk.now.0 + request.ms),
        };
        (asker(AGENTS[request.agent], parent), asked)
    }

    fn told(&mut self, asked: Asked, verdict: Verdict) {
        match verdict {
            Verdict::Waiting(id) => drop(self.waiting.insert(id, asked)),
            verdict => self.answered(&asked, verdict),
        }
    }

    /// As the shell does it: where a balance is not known, one after the other.
    fn swap(&mut self, which: usize, attempts: u64, request: &Request) {
        let Some((id, quoted, mask)) = self.take(which) else {
            return;
        };
        if self.desk.ledger.footing(id) != Some(Footing::Known) {
            self.end(id, quoted, mask, Charge::Settled(0));
            return self.apply(Op::Request(request.clone()));
        }
        let (asker, asked) = self.asked(request);
        self.post(mask, |sums, balance| {
            sums.attempts += attempts;
            balance.settled[Meter::Attempts] += attempts;
        });
        // Whoever waits, what is set free is this one's first.
        let wanted = asked.price(asked.elastic().want);
        let fits = self
            .enforced(asked.mask)
            .all(|i| wanted <= self.left(i).saturating_sub(self.held(i)));
        let void = (id, attempts);
        let patience = asked.patience();
        let (end, verdict) =
            self.desk
                .ledger
                .swap(self.desk.now, void, &asker, &asked.ask, patience);
        assert_eq!(end.overrun, Amounts::ZERO);
        assert_eq!(self.desk.ledger.footing(id), None);
        let is_known = self.of(asked.mask).all(|(key, _)| {
            let view = self.desk.ledger.account(key);
            view.is_some_and(|view| view.loaded)
        });
        if fits && is_known {
            // It may have to wait for the store, and for nothing else.
            let is_let_in = matches!(verdict, Verdict::Held(_) | Verdict::Waiting(_));
            assert!(is_let_in, "there was room: {verdict:?}");
        }
        self.told(asked, verdict);
    }

    fn take(&mut self, which: usize) -> Option<(HoldId, u64, u8)> {
        let id = *self.holds.keys().nth(which % self.holds.len().max(1))?;
        let (quoted, mask) = self.holds.remove(&id)?;
        Some((id, quoted, mask))
    }

    fn post(&mut self, mask: u8, mut post: impl FnMut(&mut Sums, &mut Balance)) {
        for i in (0..ACCOUNTS).filter(|i| mask & 1 << i != 0) {
            let balance = self.desk.durable.entry(self.keys[i].clone()).or_default();
            post(&mut self.sums[i], balance);
        }
    }

    /// As the shell does it: not while the store is being asked about one of its accounts.
    fn end(&mut self, id: HoldId, quoted: u64, mask: u8, charge: Charge) {
        if self.desk.ledger.footing(id) == Some(Footing::Awaited) {
            self.ending.push((id, quoted, mask, charge));
            return;
        }
        let now = self.desk.now;
        let end = match charge {
            Charge::Settled(charged) => {
                if charged > quoted {
                    self.overrun |= mask;
                }
                self.post(mask, |sums, balance| {
                    sums.settled += charged;
                    balance.settled[Meter::Usd] += charged;
                });
                let end = self.desk.ledger.settle(now, id, usd(charged));
                assert_eq!(end.overrun.usd().0, charged.saturating_sub(quoted));
                end
            }
            Charge::InDoubt(doubted) => {
                self.post(mask, |sums, balance| {
                    sums.in_doubt += doubted;
                    balance.in_doubt[Meter::Usd] += doubted;
                });
                self.desk.ledger.doubt(now, id, usd(doubted))
            }
        };
        assert!(end.added.iter().all(|key| self.keys.contains(key)));
        assert_eq!(self.desk.ledger.footing(id), None);
    }

    fn end_delayed(&mut self) {
        for (id, quoted, mask, charge) in std::mem::take(&mut self.ending) {
            self.end(id, quoted, mask, charge);
            self.hear();
        }
    }

    fn idle(&mut self) {
        let levels = self.desk.ledger.idle(self.desk.now, 0);
        self.page_out(levels);
    }

    fn page_out(&mut self, levels: Vec<(AccountKey, Amounts)>) {
        for (key, level) in levels {
            let balance = self.desk.durable.get_mut(&key).expect("known");
            let spent = balance.settled.saturating_add(&balance.in_doubt);
            assert_eq!(level, spent, "memory and store agree");
            balance.granted = level;
            self.desk.ledger.forget(&key);
            assert!(self.desk.ledger.account(&key).is_none());
        }
    }

    fn hear(&mut self) {
        self.desk.drain();
        let mut answers: Vec<_> = self.desk.answers.drain().collect();
        answers.sort_by_key(|(id, _)| *id);
        for (id, verdict) in answers {
            let asked = self.waiting.remove(&id).expect("it waited");
            self.answered(&asked, verdict);
        }
    }

    /// Collects the answers of this step and compares every sum.
    fn check(&mut self) {
        self.hear();
        self.end_delayed();
        let newly = std::mem::take(&mut self.newly) & !std::mem::take(&mut self.overrun);
        for i in self.enforced(newly) {
            assert!(self.held(i) <= self.left(i), "no more is held than is left");
        }
        for (i, key) in self.keys.iter().enumerate() {
            if let Some(view) = self.desk.ledger.account(key).filter(|view| view.loaded) {
                let sums = &self.sums[i];
                let seen = (
                    view.settled.usd().0,
                    view.in_doubt.usd().0,
                    view.held.usd().0,
                );
                assert_eq!(seen, (sums.settled, sums.in_doubt, self.held(i)));
                assert_eq!(view.topped_up.usd().0, sums.topped_up);
                assert_eq!(view.settled[Meter::Attempts], sums.attempts);
            }
        }
        assert_eq!(self.desk.ledger.totals().waiting, self.waiting.len());
        let patient = self.waiting.values().any(|asked| !asked.peek);
        assert!(!patient || self.desk.ledger.next_tick().is_some());
        self.check_head();
    }

    /// Whoever came first waits for a reason.
    fn check_head(&self) {
        if let Some((id, asked)) = self.waiting.first_key_value()
            && self.desk.asked.is_empty()
        {
            let wanted = asked.price(asked.elastic().want);
            let short = self
                .enforced(asked.mask)
                .any(|i| wanted > self.left(i).saturating_sub(self.held(i)));
            assert!(short, "{id:?} waits for nothing");
        }
    }

    fn answered(&mut self, asked: &Asked, verdict: Verdict) {
        let elastic = asked.elastic();
        match verdict {
            Verdict::Held(held) => {
                let n = held.told.unwrap_or(elastic.want);
                assert!(n <= elastic.want && n >= asked.least());
                assert_eq!(held.quoted.usd().0, asked.price(n));
                let before = self
                    .holds
                    .insert(held.id, (held.quoted.usd().0, asked.mask));
                assert!(before.is_none());
                if held.quoted.usd().0 > 0 {
                    self.newly |= asked.mask;
                }
            }
            Verdict::Short(_) => assert!(asked.peek),
            Verdict::Refused(Refusal::Limit(denial)) => {
                let spent = self
                    .enforced(asked.mask)
                    .any(|i| asked.price(asked.least()) > self.left(i));
                // Of an account that is not loaded yet the ledger cannot know that it is spent.
                let all_known = self.of(asked.mask).all(|(key, _)| {
                    self.desk
                        .ledger
                        .account(key)
                        .is_some_and(|account| account.loaded)
                });
                assert!(spent || denial.only_held, "{denial:?}");
                assert!(!spent || !denial.only_held || !all_known, "{denial:?}");
                let waited = self.desk.now.0 - asked.at.0;
                assert!(
                    spent || asked.parent || waited >= WAIT_MS || self.desk.now >= asked.deadline
                );
            }
            Verdict::Refused(Refusal::StoreUnavailable) => {
                assert!(self.failed || self.desk.now >= asked.deadline);
            }
            other => panic!("{other:?}"),
        }
    }

    /// Everything ends, and then nothing is left over.
    fn finish(&mut self) {
        for round in 0.. {
            assert!(round < 1000, "{} wait for ever", self.waiting.len());
            self.apply(Op::Serve);
            while !self.holds.is_empty() {
                self.apply(Op::Settle {
                    which: 0,
                    permille: 500,
                });
            }
            if self.waiting.is_empty() && self.desk.asked.is_empty() {
                break;
            }
        }
        self.desk.assert_quiet();
        self.idle();
        assert_eq!(self.desk.ledger.accounts().count(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 20_000, ..ProptestConfig::default() })]
    #[test]
    fn any_history_adds_up(ops in prop::collection::vec(op(), 1..150)) {
        let mut model = Model::new();
        for op in ops {
            model.apply(op);
        }
        model.finish();
    }
}
