//! The log: state changes, to standard error, as `time LEVEL event key=value`.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// The environment variable that sets the level: `error`, `warn`, `info` (the default), `debug`, `trace`, or a list
/// such as `info,evenkeel::control=debug`.
const LEVEL: &str = "EVENKEEL_LOG";

/// Starts logging. Only the first call of a process has an effect.
pub(super) fn start() {
    let filter = EnvFilter::try_from_env(LEVEL).unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    // It has been started before.
    let _already = log.try_init();
}
