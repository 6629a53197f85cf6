//! Who called whom in a task, as its calls said.

use super::{CallBody, Ending, Kind, Reader, StoreError};
use crate::units::{AgentId, TaskKey};
use std::collections::HashSet;

impl Reader {
    /// The pairs of an agent (`None`: calls that named none) and its parent, in the order in which they
    /// first came, at most so many. Calls that were refused here made none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn agents(
        &self,
        task: &TaskKey,
        most: usize,
    ) -> Result<Vec<(Option<AgentId>, AgentId)>, StoreError> {
        let mut seen = HashSet::new();
        let mut found = Vec::new();
        self.rows_of_task(task, |row| {
            // Most rows tell of no parent; those are not parsed.
            if row.kind != Kind::Call.name()
                || found.len() >= most
                || !row.entry.contains("\"parent\"")
            {
                return Ok(());
            }
            let call = CallBody::read(row.at, row.entry)?;
            let same = call.owner.as_str() == task.owner.as_str()
                && call.task.as_str() == task.task.as_str();
            let denied = Ending::from_name(call.ending.as_str()) == Some(Ending::Denied);
            // The row of an opened task speaks of a call that may not have been let through.
            let tells =
                !denied && call.reason.as_ref().map(|why| why.as_str()) != Some("task_opened");
            let Some(parent) = call.parent.filter(|_| same && tells) else {
                return Ok(());
            };
            let agent: Option<AgentId> = call.agent.map(|agent| agent.as_str().into());
            let pair = (agent, AgentId::from(parent.as_str()));
            if seen.insert(pair.clone()) {
                found.push(pair);
            }
            Ok(())
        })?;
        Ok(found)
    }
}
