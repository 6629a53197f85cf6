//! The task of a call: found, or opened and paid for on the accounts that cap tasks.

use super::{Admission, refusal};
use crate::ledger::{Ask, Cover, Edition};
use crate::stack::Refused;
use crate::store::TaskOpening;
use crate::task::{Task, own_usd};
use crate::units::{Amounts, Meter, UnixMs};
use std::sync::Arc;

impl Admission {
    /// The task, opened if nobody has seen it, its own cap lowered if the caller says so.
    pub(super) async fn task(&self) -> Result<Arc<Task>, Refused> {
        let tasks = &self.gateway.tasks;
        let key = self.attribution.task_key();
        let own = self.task_usd.as_ref().map(|usd| own_usd(usd.0));
        let task = match tasks.known(&key, self.now) {
            Some(task) => task,
            None => {
                let opening = TaskOpening {
                    key: key.clone(),
                    caps: own.unwrap_or_default(),
                    by: self.attribution.identity.shared(),
                };
                // Once a task: not in every call's future.
                Box::pin(tasks.open(opening, self.pay_for_task())).await?
            }
        };
        if let Some(own) = own {
            let usd = |caps: &crate::ledger::Caps| caps.0[Meter::Usd as usize].unwrap_or(u64::MAX);
            if usd(&own) < usd(&task.caps()) {
                let by = self.attribution.identity.shared();
                Box::pin(self.gateway.lower_caps(key, own, by)).await?;
            }
        }
        Ok(task)
    }

    /// A task that nobody has seen counts on the accounts that cap `tasks`.
    async fn pay_for_task(&self) -> Result<(), Refused> {
        let mut found = self.covers(None);
        found.covers.retain(|cover| !cover.key.is_per_call());
        let tasks = Meter::Tasks as usize;
        found.covers.retain(|cover| cover.caps.0[tasks].is_some());
        found.covers.extend(self.tasks_per_hour());
        let mut ask = Ask {
            covers: found.covers,
            fixed: Amounts::ZERO.with(Meter::Tasks, 1),
            elastic: None,
        };
        let asker = self.asker(0, None);
        let hold = self
            .gateway
            .purse
            .hold(&asker, &mut ask, self.now, |_| {})
            .await;
        let hold = hold.map_err(|error| self.no_hold(error))?;
        crate::stack::record::settle_opening(hold, self);
        Ok(())
    }

    /// The bound on tasks opened per owner and hour.
    fn tasks_per_hour(&self) -> Option<Cover> {
        if self.attribution.is_unattributed() {
            return None;
        }
        let most = self.live.config().attribution.tasks_per_hour;
        let key = crate::ledger::AccountKey {
            limit: refusal::TASKS_PER_HOUR.into(),
            per: [("owner", self.attribution.owner.shared())].into(),
            window: Some(UnixMs(self.now.0 - self.now.0.rem_euclid(3_600_000))),
        };
        let caps = crate::ledger::Caps::default().with(Meter::Tasks, most);
        Some(Cover {
            key,
            caps,
            observe: false,
            warn_permille: None,
            edition: Edition::Policy(self.live.loaded.policies.version()),
        })
    }
}
