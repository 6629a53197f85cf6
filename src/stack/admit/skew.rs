//! `[skew] action = "deny"`: a call that would be answered by another version of a model than its task has
//! had does not leave.
//!
//! What a provider answers with is known only afterwards, so a model is taken to answer as it did last, to
//! whomever; the first answer of a new version gets through.

use super::{Admission, Miss};
use crate::config::OnSkew;
use crate::stack::{Code, Refused};
use crate::store::Ending;
use crate::task::Task;
use crate::task::versions::Heard;

/// Calls of the journal that the versions are taken from after a restart, the newest.
const MAX_CALLS: usize = 10_000;

impl Admission {
    /// Skew is denied, and calls must be looked at.
    pub(super) fn denies_skew(&self) -> bool {
        self.live.routes.skew() == OnSkew::Deny && !self.attribution.is_unattributed()
    }

    /// Whether the present target answers in the versions that the task has had.
    ///
    /// # Errors
    /// It does not, as far as anybody knows; or the store's fault.
    pub(super) async fn check_skew(&self, task: &Task) -> Result<(), Miss> {
        if !task.versions.is_whole() {
            self.recall(task).await.map_err(Miss::Unquoted)?;
        }
        let (provider, model) = (&self.routed.provider.name, &self.routed.model);
        let last = self.gateway.answering.last(provider, model);
        let answers = last.as_deref().unwrap_or(model);
        let Some(had) = task.versions.against(answers) else {
            return Ok(());
        };
        let message = format!(
            "Task `{}` has been answered by `{had}`, and {provider} answers `{model}` as `{answers}` now: [skew] denies \
             that. A route with `pin = \"task\"` keeps a task on one version.",
            self.attribution.task.value
        );
        Err(Miss::Unquoted(Refused::new(Code::NotPermitted, &message)))
    }

    async fn recall(&self, task: &Task) -> Result<(), Refused> {
        let store = self.gateway.purse.store();
        let rows = store
            .trace(self.attribution.task_key(), MAX_CALLS)
            .await
            .map_err(Refused::from)?;
        let mut calls = Vec::with_capacity(rows.len());
        for row in &rows {
            calls.push(row.body().map_err(Refused::from)?);
        }
        let heard = calls.iter().filter_map(|call| {
            let settled = Ending::from_name(call.ending.as_str()) == Some(Ending::Settle);
            let who = call.agent.as_ref().or(call.role.as_ref());
            Some(Heard {
                who: who.map_or("-", |who| who.as_str()),
                provider: call.provider.as_ref().filter(|_| settled)?.as_str(),
                model: call.model.as_str(),
                answered: call.answered.as_ref()?.as_str(),
            })
        });
        task.versions.recall(heard);
        Ok(())
    }
}
