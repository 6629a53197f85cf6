//! Hand-offs between the agents of a task, counted since a person last looked at them.

use crate::units::AgentId;

/// Hand-offs between the agents of a task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandOffs {
    last: Option<AgentId>,
    made: u64,
}

impl HandOffs {
    /// A call of this agent; how many hand-offs have been made since a person last looked.
    pub fn hand_off(&mut self, agent: &AgentId) -> u64 {
        if self.last.as_ref() != Some(agent) {
            self.made += u64::from(self.last.is_some());
            self.last = Some(agent.clone());
        }
        self.made
    }

    /// A person has looked: the count begins anew.
    pub fn looked_at(&mut self) {
        self.made = 0;
    }
}
