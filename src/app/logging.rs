//! The log: state changes, to standard error, as `time LEVEL event key=value`.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// The environment variable that sets the level: `error`, `warn`, `info` (the default), `debug`, `trace`, or a list
/// such as `info,evenkeel::control=debug`.
const LEVEL: &str = "EVENKEEL_LOG";

/// Starts the log of a command that does its work and ends: it waits for its reader. Only the first call of a process has
/// an effect.
pub(super) fn start() {
    init(io::stderr);
}

/// Starts logging to `writer`. Only the first call of a process has an effect.
pub(super) fn init(writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static) {
    let filter = EnvFilter::try_from_env(LEVEL).unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(io::stderr().is_terminal())
        // It would tell of failed writes by eprintln!, which panics if that cannot be written either.
        .log_internal_errors(false)
        .with_target(false);
    // It has been started before.
    let _already = log.try_init();
}
