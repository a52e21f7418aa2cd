//! Whether a configuration can be loaded, and what that would change.

use std::sync::Arc;

use super::difference::Difference;
use super::difference::restart_only;
use super::event::Refusal;
use super::registry::Registry;
use crate::config::Config;
use crate::model::Nanos;

/// What a load of a configuration would do: a copy of the state, to be looked at beside the loop.
#[derive(Debug)]
pub struct Review {
    config: Arc<Config>,
    registry: Registry,
}

impl Review {
    /// Of what is in effect.
    pub(super) const fn new(config: Arc<Config>, registry: Registry) -> Self {
        Self { config, registry }
    }

    /// What loading `config` would change.
    ///
    /// # Errors
    ///
    /// If it cannot be loaded.
    pub fn of(mut self, config: &Config) -> Result<Difference, Refusal> {
        let keys = restart_only(&self.config, config);
        if !keys.is_empty() {
            return Err(Refusal::RestartNeeded(keys));
        }
        self.registry.load(Nanos(0), &config.services)?;
        Ok(Difference::between(&self.config, config))
    }
}
