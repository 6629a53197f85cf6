//! Limits per tool. A tool call is asked for by an answer, so nothing can be held for it: the answer
//! that crosses a cap is delivered, and the next call of a task that used the tool is denied.
//!
//! Used by `admit` (is a tool used up?) and by `record` (which tools did the answer ask for?).
//! Asked only where some limit counts per tool.

use super::admit::Admission;
use super::record::journal_entry;
use crate::attribution::Attribution;
use crate::clock;
use crate::config::Facts;
use crate::gateway::{Gateway, Live};
use crate::ledger::{Ask, Asker, Caps, Cover};
use crate::log;
use crate::purse::{Hold, NoHold, Outcome};
use crate::store::Ending;
use crate::task::Task;
use crate::units::{Amounts, Meter, UnixMs};
use std::sync::Arc;

/// Whether a call's task has used a tool beyond its cap.
///
/// # Errors
/// It has: the limit in the way.
pub async fn check(admission: &Admission, task: &Task) -> Result<(), NoHold> {
    for tool in task.tools() {
        let facts = Facts {
            tool: Some(tool),
            ..admission.facts()
        };
        let covers = covers(&admission.live, &facts);
        let mut ask = Ask {
            covers,
            fixed: Amounts::ZERO,
            elastic: None,
        };
        let asker = admission.asker(0, None);
        let hold = admission
            .gateway
            .purse
            .hold(&asker, &mut ask, admission.now, |_| {})
            .await;
        // Nothing was set aside: the question was only whether anything is left.
        hold?.let_go();
    }
    Ok(())
}

fn covers(live: &Live, facts: &Facts) -> Vec<Cover> {
    let mut found = Vec::new();
    live.loaded.policies.covers(facts, clock::now(), &mut found);
    found
}

/// One answer's tools, to be counted on the accounts of the limits per tool.
pub struct Asked {
    /// The gateway.
    pub gateway: Arc<Gateway>,
    /// The configuration the call began with.
    pub live: Arc<Live>,
    /// Whose call it was.
    pub attribution: Arc<Attribution>,
    /// What the call's own limits looked at.
    pub facts: Facts,
    /// When it was admitted.
    pub admitted: UnixMs,
    /// Name and count.
    pub tools: Vec<(Arc<str>, u64)>,
}

impl Asked {
    /// Counts them, after the answer.
    pub fn count(self) {
        let key = self.attribution.task_key();
        if let Some(task) = self.gateway.tasks.known(&key, clock::now()) {
            self.tools.iter().for_each(|(tool, _)| task.used(tool));
        }
        let gateway = Arc::clone(&self.gateway);
        gateway.finishing(log::inherited(async move {
            for (tool, count) in &self.tools {
                self.count_one(tool, *count).await;
            }
        }));
    }

    async fn count_one(&self, tool: &Arc<str>, count: u64) {
        let facts = Facts {
            tool: Some(Arc::clone(tool)),
            ..self.facts.clone()
        };
        // Counting must not be refused, whatever is used up; an account without caps is loaded all
        // the same before anything is counted on it. The next `check` brings the caps back.
        let mut covers = covers(&self.live, &facts);
        covers
            .iter_mut()
            .for_each(|cover| cover.caps = Caps::default());
        if covers.is_empty() {
            return;
        }
        let asker = Asker {
            stand: crate::ledger::Stand::default(),
            task: self.attribution.task_key(),
            agent: None,
            parent: None,
            bytes: 0,
            paused_ms: 0,
            windows_until: None,
        };
        let mut ask = Ask {
            covers,
            fixed: Amounts::ZERO,
            elastic: None,
        };
        let now = clock::now();
        match self.gateway.purse.hold(&asker, &mut ask, now, |_| {}).await {
            Ok(hold) => self.settle(hold, tool, count),
            Err(error) => tracing::error!(?error, "a tool call was not counted"),
        }
    }

    fn settle(&self, hold: Hold, tool: &Arc<str>, count: u64) {
        let price = self.live.loaded.policies.tool_prices().of(tool);
        let charged = Amounts::ZERO
            .with(Meter::ToolCalls, count)
            .with(Meter::Usd, price.0.saturating_mul(count));
        let mut entry = journal_entry(&self.attribution, self.admitted, Ending::Settle, charged);
        entry.dialect = "tool";
        entry.model = Arc::clone(tool);
        entry.accounts = Arc::clone(&hold.accounts);
        entry.tools = vec![(Arc::clone(tool), count)];
        self.gateway
            .end(hold, Outcome::Settle(charged), Box::new(entry));
    }
}
