//! A ledger with a small store behind it, and the rules one by one.

mod ends;
mod grants;
mod limits;
mod line;
mod model;
mod quotes;
mod shape;
mod swap;
mod usable;

use super::*;
use crate::units::TaskKey;
use std::collections::HashMap;

const NEVER: UnixMs = UnixMs(i64::MAX);
const WAIT_MS: i64 = 30_000;

fn settings() -> Settings {
    Settings {
        wait_for_holds_ms: WAIT_MS,
        line_max_waiters: 1000,
        line_max_bytes: 1 << 30,
    }
}

fn key(limit: &str, of: &str) -> AccountKey {
    AccountKey {
        limit: limit.into(),
        per: Arc::from([("task", Arc::from(of))]),
        window: None,
    }
}

fn cover(key: &AccountKey, caps: Caps) -> Cover {
    Cover {
        key: key.clone(),
        caps,
        observe: false,
        warn_permille: None,
        edition: Edition::Policy(0),
    }
}

fn usd_cap(cap: u64) -> Caps {
    Caps::default().with(Meter::Usd, cap)
}

fn usd(nano: u64) -> Amounts {
    Amounts::ZERO.with(Meter::Usd, nano)
}

/// An ask of a fixed price under dollar caps.
fn fixed(price: u64, covers: &[(&AccountKey, u64)]) -> Ask {
    let covers = covers
        .iter()
        .map(|(key, cap)| cover(key, usd_cap(*cap)))
        .collect();
    Ask {
        covers,
        fixed: usd(price),
        elastic: None,
    }
}

/// Output at one nano-dollar per token.
fn output(want: u64, least: u64) -> Elastic {
    Elastic {
        want,
        unasked: None,
        least,
        outputs: 1,
        nano_per_million: 1_000_000,
    }
}

fn elastic(want: u64, least: u64, covers: &[(&AccountKey, u64)]) -> Ask {
    Ask {
        elastic: Some(output(want, least)),
        ..fixed(0, covers)
    }
}

fn asker(agent: &str, parent: Option<&str>) -> Asker {
    Asker {
        stand: Stand::default(),
        task: TaskKey {
            owner: "o".into(),
            task: "t".into(),
        },
        agent: Some(agent.into()),
        parent: parent.map(Into::into),
        bytes: 100,
        paused_ms: 0,
        windows_until: None,
    }
}

/// A ledger, the store behind it, and the clock.
struct Desk {
    ledger: Ledger,
    now: UnixMs,
    durable: HashMap<AccountKey, Balance>,
    /// Grants that the store has not answered yet.
    asked: Vec<Grant>,
    /// What the store read when it was asked: its queue keeps the order in which it is told.
    read: HashMap<AccountKey, Balance>,
    answers: HashMap<WaiterId, Verdict>,
    /// Whether the store answers by itself.
    serves: bool,
    trips: usize,
    audits: bool,
}

impl Desk {
    fn new() -> Self {
        Self {
            ledger: Ledger::new(settings()),
            now: UnixMs(1_000_000),
            durable: HashMap::new(),
            asked: Vec::new(),
            read: HashMap::new(),
            answers: HashMap::new(),
            serves: true,
            trips: 0,
            audits: true,
        }
    }

    /// Carries grants to the store and verdicts to those who wait.
    fn drain(&mut self) {
        loop {
            let grants = self.ledger.grants();
            self.ask(grants);
            for (id, verdict) in self.ledger.woken() {
                let before = self.answers.insert(id, verdict);
                assert!(before.is_none(), "a waiter is answered once");
            }
            if !self.serves || self.asked.is_empty() {
                break;
            }
            self.serve();
        }
        if self.audits {
            self.audit();
        }
    }

    /// The store reads what it is asked.
    fn ask(&mut self, grants: Vec<Grant>) {
        for grant in grants {
            let balance = self.durable.entry(grant.key.clone()).or_default();
            for (granted, upto) in balance.granted.0.iter_mut().zip(grant.upto.0) {
                *granted = (*granted).max(upto);
            }
            let before = self.read.insert(grant.key.clone(), balance.clone());
            assert!(before.is_none(), "one grant for an account at a time");
            self.asked.push(grant);
        }
    }

    /// The store answers what it was asked.
    fn serve(&mut self) {
        self.trips += 1;
        let asked = std::mem::take(&mut self.asked);
        let answer = asked.into_iter().map(|grant| {
            let balance = self.read.remove(&grant.key).expect("read");
            (grant.key, balance)
        });
        let balances: Vec<_> = answer.collect();
        self.ledger.granted(self.now, &balances);
    }

    /// The store could do none of it.
    fn fail(&mut self) {
        let keys: Vec<_> = std::mem::take(&mut self.asked)
            .into_iter()
            .map(|grant| grant.key)
            .collect();
        self.read.clear();
        self.ledger.grant_failed(&keys);
    }

    fn request_by(&mut self, asker: &Asker, ask: &Ask, patience: Patience) -> Verdict {
        let verdict = self.ledger.request(self.now, asker, ask, patience);
        self.drain();
        match verdict {
            Verdict::Waiting(id) => self.answers.remove(&id).unwrap_or(Verdict::Waiting(id)),
            verdict => verdict,
        }
    }

    fn request(&mut self, ask: &Ask) -> Verdict {
        self.request_by(&asker("a", None), ask, Patience::Wait { deadline: NEVER })
    }

    fn peek(&mut self, ask: &Ask) -> Verdict {
        self.request_by(&asker("a", None), ask, Patience::Peek)
    }

    fn held(&mut self, ask: &Ask) -> Held {
        held(self.request(ask))
    }

    fn waits(&mut self, ask: &Ask) -> WaiterId {
        waits(self.request(ask))
    }

    fn denied(&mut self, ask: &Ask) -> Denial {
        denied(self.request(ask))
    }

    fn settle(&mut self, id: HoldId, price: u64) -> End {
        let end = self.ledger.settle(self.now, id, usd(price));
        self.drain();
        end
    }

    fn pass(&mut self, ms: i64) {
        self.now.0 += ms;
        self.ledger.tick(self.now);
        self.drain();
    }

    fn answer(&mut self, id: WaiterId) -> Option<Verdict> {
        self.answers.remove(&id)
    }

    fn view(&self, key: &AccountKey) -> AccountView<'_> {
        self.ledger.account(key).expect("in memory")
    }

    /// What must hold between any two steps.
    fn audit(&self) {
        let ledger = &self.ledger;
        let mut held: HashMap<AccountKey, Amounts> = HashMap::new();
        let mut held_usd = 0;
        for hold in ledger.holds.iter() {
            held_usd += hold.quoted[Meter::Usd];
            for at in &hold.places {
                let sum = held.entry(ledger.accounts[*at].key.clone()).or_default();
                *sum = sum.saturating_add(&hold.quoted);
            }
        }
        assert_eq!(ledger.totals().held_usd.0, held_usd);
        for view in ledger.accounts() {
            assert_eq!(
                view.held,
                held.get(view.key).copied().unwrap_or_default(),
                "held = holds"
            );
            if view.loaded {
                let durable = &self.durable[view.key];
                for meter in Meter::ALL {
                    assert!(
                        view.granted[meter] <= durable.granted[meter],
                        "granted is durable"
                    );
                }
            }
        }
    }

    /// Nothing is held and nobody waits.
    fn assert_quiet(&self) {
        let totals = self.ledger.totals();
        assert_eq!((totals.held_usd.0, totals.holds, totals.waiting), (0, 0, 0));
        assert_eq!(self.ledger.next_tick(), None);
        for account in self.ledger.accounts.iter() {
            assert_eq!(account.pins, 0);
            assert!(
                account.waits.line.is_empty()
                    && account.waits.passing.is_empty()
                    && account.waits.kept.is_empty()
            );
        }
    }
}

fn held(verdict: Verdict) -> Held {
    match verdict {
        Verdict::Held(held) => *held,
        other => panic!("held, not {other:?}"),
    }
}

fn waits(verdict: Verdict) -> WaiterId {
    match verdict {
        Verdict::Waiting(id) => id,
        other => panic!("waiting, not {other:?}"),
    }
}

fn denied(verdict: Verdict) -> Denial {
    match verdict {
        Verdict::Refused(Refusal::Limit(denial)) => denial,
        other => panic!("denied, not {other:?}"),
    }
}
