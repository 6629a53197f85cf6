//! As what providers' models answered last: known only where somebody asks (`[skew] action = "deny"`).

use crate::units::ProviderName;
use quick_cache::sync::Cache;
use std::sync::Arc;

/// Models remembered, about 200 bytes each. Of the others it is taken that they answer as they are called.
const MAX_MODELS: usize = 10_000;

/// See the module.
#[derive(Debug)]
pub struct Answering(Cache<(ProviderName, Arc<str>), Arc<str>>);

impl Default for Answering {
    fn default() -> Self {
        Self(Cache::new(MAX_MODELS))
    }
}

impl Answering {
    /// A model has answered as this.
    pub fn heard(&self, provider: &ProviderName, model: &Arc<str>, answered: &str) {
        let key = (provider.clone(), Arc::clone(model));
        if self.0.get(&key).is_none_or(|known| *known != *answered) {
            self.0.insert(key, answered.into());
        }
    }

    /// As what it answered last.
    #[must_use]
    pub fn last(&self, provider: &ProviderName, model: &Arc<str>) -> Option<Arc<str>> {
        self.0.get(&(provider.clone(), Arc::clone(model)))
    }
}
