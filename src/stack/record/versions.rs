//! Which version of its model answered: held to by tasks that pin, and told where it changes within a task.

use super::Record;
use crate::config::OnSkew;
use crate::dialect::Answer;
use crate::gateway::Gateway;
use crate::log;
use crate::store::{Entry, Mark, ModelPin};
use crate::task::versions::{Heard, VersionEvent};
use std::sync::Arc;

impl Record {
    /// Takes in which model answered.
    pub(super) fn hear(&self, answer: Option<&Answer>) {
        let Some(answer) = answer else { return };
        let whose = &self.flight().attribution;
        if whose.is_unattributed() {
            return;
        }
        let answered = answer.model.as_deref().filter(|model| !model.is_empty());
        let answered = answered.unwrap_or(&self.facts.model);
        self.pin(answered);
        match self.live.routes.skew() {
            OnSkew::Off => return,
            OnSkew::Warn => {}
            OnSkew::Deny => {
                let (provider, model) = (&self.provider.name, &self.facts.model);
                self.gateway.answering.heard(provider, model, answered);
            }
        }
        let heard = Heard {
            who: who(whose),
            provider: self.provider.name.as_str(),
            model: &self.facts.model,
            answered,
        };
        for event in self.facts.task.0.versions.hear(&heard) {
            self.tell_version(&event);
        }
    }

    /// The first answer holds the task to its model, where the route pins.
    fn pin(&self, answered: &str) {
        let Some(course) = &self.facts.course else {
            return;
        };
        if !course.route.rule.pins || course.stays.is_some() {
            return;
        }
        let task = self.flight().attribution.task_key();
        let pin = ModelPin {
            what: course.pin_name(),
            provider: self.provider.name.clone(),
            model: answered.into(),
        };
        // At once for the task's next call, and durably behind it.
        if self.gateway.pins.begin(&task, &pin) {
            let gateway: Arc<Gateway> = Arc::clone(&self.gateway);
            self.gateway.finishing(log::inherited(async move {
                let store = gateway.purse.store();
                if let Err(error) = gateway.pins.keep(&**store, &task, pin).await {
                    tracing::error!(%error, "the store could not keep the model of a task");
                }
            }));
        }
    }

    fn tell_version(&self, event: &VersionEvent) {
        let VersionEvent { kind, detail } = event;
        let whose = &self.flight().attribution;
        self.gateway.metrics.skews.with_label_values(&[kind]).inc();
        tracing::warn!(kind, detail, "a task is answered by other versions");
        if let Ok(place) = self.gateway.purse.store().try_reserve() {
            place.post(Entry::Mark(Box::new(Mark {
                task: whose.task_key(),
                rule: (*kind).into(),
                agent: whose.agent.as_ref().map(|agent| agent.value.shared()),
                received_by: None,
                detail: detail.as_str().into(),
                calls: vec![self.facts.request.shared()],
            })));
        }
    }
}

/// The agent, else its role: versions are told apart by whom they answer.
pub(in crate::stack) fn who(whose: &crate::attribution::Attribution) -> &str {
    let agent = whose.agent.as_ref().map(|agent| agent.value.as_str());
    let role = || whose.role.as_ref().map(|role| role.value.as_str());
    agent.or_else(role).unwrap_or("-")
}
