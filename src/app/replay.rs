//! Runs the pipeline over a capture.

use super::cli::ReplayArgs;

/// Replays what `args` name.
///
/// # Errors
///
/// If a file cannot be read or written.
pub fn run(args: &ReplayArgs) -> anyhow::Result<()> {
    let _config = crate::config::load(&args.config)?;
    anyhow::bail!("replay is not built in yet")
}
