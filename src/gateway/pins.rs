//! Which model each task is held to, by the routes that pin (`pin = "task"`).
//!
//! The store keeps them for good; here stand those of the tasks that calls have named lately. Of two
//! that come at once the first wins, here and there.

use crate::store::{ModelPin, Store, StoreError};
use crate::units::TaskKey;
use parking_lot::RwLock;
use quick_cache::sync::Cache;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Tasks whose pins are remembered; about 300 bytes each. Of the others the store is asked again.
const MAX_TASKS: usize = 20_000;

/// The pins of one task.
#[derive(Debug, Default)]
pub struct TaskPins {
    /// The store was asked.
    is_loaded: AtomicBool,
    pins: RwLock<Vec<ModelPin>>,
}

impl TaskPins {
    /// The pin of a route, or of a route and the model asked for, if there is one.
    #[must_use]
    pub fn find(&self, what: impl Fn(&str) -> bool) -> Option<ModelPin> {
        let pins = self.pins.read();
        pins.iter().find(|pin| what(&pin.what)).cloned()
    }

    /// Takes a pin in, unless there is one.
    fn add(&self, pin: &ModelPin) -> bool {
        let mut pins = self.pins.write();
        let is_new = pins.iter().all(|known| known.what != pin.what);
        if is_new {
            pins.push(pin.clone());
        }
        is_new
    }

    /// What the store has is so, whatever stood here.
    fn settle(&self, pin: &ModelPin) {
        let mut pins = self.pins.write();
        pins.retain(|known| known.what != pin.what);
        pins.push(pin.clone());
    }
}

/// See the module.
#[derive(Debug)]
pub struct Pins(Cache<TaskKey, Arc<TaskPins>>);

impl Default for Pins {
    fn default() -> Self {
        Self(Cache::new(MAX_TASKS))
    }
}

impl Pins {
    /// Those of a task, if they are remembered.
    #[must_use]
    pub fn of(&self, task: &TaskKey) -> Option<Arc<TaskPins>> {
        let known = self.0.get(task)?;
        known.is_loaded.load(Ordering::Acquire).then_some(known)
    }

    /// Those of a task, from the store if need be.
    ///
    /// # Errors
    /// The store's fault.
    pub async fn load(
        &self,
        store: &dyn Store,
        task: &TaskKey,
    ) -> Result<Arc<TaskPins>, StoreError> {
        if let Some(known) = self.of(task) {
            return Ok(known);
        }
        // Before the store is asked: what is pinned meanwhile is added there.
        let pins = self.entry(task);
        for pin in store.pins(task.clone()).await? {
            pins.settle(&pin);
        }
        pins.is_loaded.store(true, Ordering::Release);
        Ok(pins)
    }

    /// Pins at once for calls to come; false if there is a pin already.
    #[must_use]
    pub fn begin(&self, task: &TaskKey, pin: &ModelPin) -> bool {
        self.entry(task).add(pin)
    }

    /// Makes a pin durable, and takes the store's word for it.
    ///
    /// # Errors
    /// The store's fault.
    pub async fn keep(
        &self,
        store: &dyn Store,
        task: &TaskKey,
        pin: ModelPin,
    ) -> Result<(), StoreError> {
        let kept = store.pin(task.clone(), pin).await?;
        self.entry(task).settle(&kept);
        Ok(())
    }

    fn entry(&self, task: &TaskKey) -> Arc<TaskPins> {
        let made = self
            .0
            .get_or_insert_with(task, || Ok::<_, std::convert::Infallible>(Arc::default()));
        match made {
            Ok(pins) => pins,
            Err(never) => match never {},
        }
    }
}
