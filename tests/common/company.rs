//! A company of tasks under caps by task, agent in task and owner at once: the field of the race and
//! of the crashes.

use super::books;
use super::load::{Crew, Member};
use super::setup::Setup;
use bursar::sim::Bill;
use bursar::units::NanoUsd;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

/// How large it is.
#[derive(Clone, Copy, Debug)]
pub struct Company {
    pub tasks: usize,
    /// Of each task.
    pub workers: usize,
    /// Nano-dollars.
    pub task_cap: u64,
}

/// What one account has, in nano-dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    pub settled: u64,
    pub in_doubt: u64,
    pub granted: u64,
}

impl Account {
    /// Spent, certainly or perhaps.
    pub fn used(&self) -> u64 {
        self.settled + self.in_doubt
    }

    /// Granted, and not accounted for yet.
    pub fn alive(&self) -> u64 {
        self.granted.saturating_sub(self.used())
    }
}

impl Company {
    /// Half of the tasks are `tight`'s, whose own cap is below the sum of theirs, and half `wide`'s.
    pub fn members(&self) -> Vec<Member> {
        let member = |index: usize| {
            let owner = if index.is_multiple_of(2) {
                "tight"
            } else {
                "wide"
            };
            Member {
                task: format!("task-{index}"),
                identity: format!("{owner}-{}", index % 4 / 2),
                owner: owner.to_owned(),
            }
        };
        (0..self.tasks).map(member).collect()
    }

    /// What one agent of a task may spend: less than a fourth part of them would leave the task's
    /// cap untouched, so it is more.
    pub fn agent_cap(&self) -> u64 {
        self.task_cap * 2 / 5
    }

    /// Five eighths of what its tasks may spend.
    pub fn tight_cap(&self) -> u64 {
        self.task_cap * (self.tasks as u64 / 2) * 5 / 8
    }

    /// The gateway's configuration before a provider.
    pub fn setup(&self, provider: SocketAddr) -> Setup {
        let dollars = |nano: u64| NanoUsd(nano).to_string();
        let limits = format!(
            r#"
[[limit]]
name = "task"
per = ["task"]
usd = "{}"
turns = 1_000_000

[[limit]]
name = "agent"
per = ["task", "agent"]
usd = "{}"

[[limit]]
name = "tight owner"
match = {{ owner = "tight" }}
per = ["owner"]
window = {{ every = "month", timezone = "UTC" }}
usd = "{}"

[[limit]]
name = "owner"
per = ["owner"]
window = {{ every = "month", timezone = "UTC" }}
usd = "1000"
"#,
            dollars(self.task_cap),
            dollars(self.agent_cap()),
            dollars(self.tight_cap()),
        );
        let setup = Setup::new(provider).limits(&limits);
        let names = ["tight", "wide"].into_iter();
        names
            .flat_map(|owner| (0..2).map(move |number| (format!("{owner}-{number}"), owner)))
            .fold(setup, |setup, (name, owner)| setup.identity(&name, owner))
    }

    /// Its workers.
    pub fn crew(&self, seed: u64) -> Crew {
        Crew {
            tasks: self.members(),
            workers_per_task: self.workers,
            agents_per_task: 4,
            seed,
            hang_up_percent: 20,
        }
    }

    /// What each owner was billed.
    pub fn billed_by_owner(&self, bill: &Bill) -> BTreeMap<String, u64> {
        let members = self.members();
        members.iter().fold(BTreeMap::new(), |mut owners, member| {
            *owners.entry(member.owner.clone()).or_default() += bill.task(&member.task).0;
            owners
        })
    }

    /// The provider's bill is never above any cap, by a nano-dollar.
    pub fn assert_never_above(&self, bill: &Bill) {
        for (task, line) in &bill.by_task {
            assert!(line.nano_usd <= self.task_cap, "{task}: {line:?}");
        }
        for (agent, line) in &bill.by_agent {
            assert!(line.nano_usd <= self.agent_cap(), "{agent}: {line:?}");
        }
        let owners = self.billed_by_owner(bill);
        assert!(owners["tight"] <= self.tight_cap(), "{owners:?}");
    }

    /// Whatever was billed stands in the books, as spent or as in doubt.
    pub fn assert_nothing_lost(&self, bill: &Bill, store: &Path) {
        let tasks = accounts(store, "task");
        for (task, line) in &bill.by_task {
            let account = tasks[task];
            assert!(
                line.nano_usd <= account.used(),
                "{task}: {line:?}, {account:?}"
            );
        }
        let agents = accounts(store, "agent");
        for (agent, line) in &bill.by_agent {
            let account = agents[agent];
            assert!(
                line.nano_usd <= account.used(),
                "{agent}: {line:?}, {account:?}"
            );
        }
        let owners = accounts(store, "owner");
        for (owner, billed) in self.billed_by_owner(bill) {
            let account = owners[&owner];
            assert!(billed <= account.used(), "{owner}: {billed}, {account:?}");
        }
    }
}

/// The accounts of a limit as the store has them, by the values of its `per` without the owner that
/// stands behind every task.
pub fn accounts(store: &Path, limit: &str) -> BTreeMap<String, Account> {
    let rows = books::accounts(store, limit);
    let named = rows.into_iter().map(|row| {
        let per = row.key.per.iter();
        let with_task = row.key.per.iter().any(|(side, _)| *side == "task");
        let values: Vec<&str> = per
            .filter(|(side, _)| *side != "owner" || !with_task)
            .map(|(_, value)| &**value)
            .collect();
        let account = Account {
            settled: row.balance.settled.usd().0,
            in_doubt: row.balance.in_doubt.usd().0,
            granted: row.balance.granted.usd().0,
        };
        (values.join("/"), account)
    });
    named.collect()
}
