//! Starts the balancer.

use std::path::Path;

/// Runs the balancer with the configuration at `path` until it is told to leave.
///
/// # Errors
///
/// If it cannot start, or has to stop.
pub fn run(path: &Path) -> anyhow::Result<()> {
    let _config = crate::config::load(path)?;
    anyhow::bail!("run is not built in yet")
}
