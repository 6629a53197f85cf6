//! The models that tasks are held to.

use super::super::{ModelPin, StoreError, sqlite};
use super::Reader;
use crate::units::TaskKey;

impl Reader {
    /// Those of a task, the oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn pins(&self, task: &TaskKey) -> Result<Vec<ModelPin>, StoreError> {
        sqlite::read_pins(&self.conn, task)
    }
}
