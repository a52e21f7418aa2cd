//! The log: state changes, to standard error, as `time LEVEL event key=value`.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::log_queue::{LogQueue, QueueBounds, StandardError};

/// The environment variable that sets the level: `error`, `warn`, `info` (the default), `debug`, `trace`, or a list
/// such as `info,evenkeel::control=debug`.
const LEVEL: &str = "EVENKEEL_LOG";

/// Lines that wait for a slow reader: those of a start or a reload with 10,000 services of 3 backends, and as many octets
/// as these take.
const BOUNDS: QueueBounds = QueueBounds { lines: 1 << 16, octets: 8 << 20 };

/// The longest time that the end of the process waits for the reader of the log.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// Starts the log of a command that does its work and ends: it waits for its reader. Only the first call of a process has
/// an effect.
pub(super) fn start() {
    init(io::stderr);
}

/// Starts the log of a process that must go on without a reader, and loses lines in that case. `dropped` counts them.
///
/// # Errors
///
/// If there is no descriptor or no thread for it.
pub(super) fn start_bounded(dropped: Arc<AtomicU64>) -> io::Result<BoundedLog> {
    let queue = LogQueue::start(StandardError::open()?, BOUNDS, dropped)?;
    init(queue.clone());
    let log = BoundedLog(queue);
    let panics = log.clone();
    // The standard library's hook writes to standard error itself, and would wait for a reader that stands still.
    std::panic::set_hook(Box::new(move |panic| {
        tracing::error!(reason = %panic.to_string().replace('\n', " "), "panic");
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            panics.0.push(format!("{backtrace}\n").as_bytes());
        }
        panics.flush();
    }));
    Ok(log)
}

/// The log of a process that never waits for its reader.
#[derive(Clone, Debug)]
pub(super) struct BoundedLog(LogQueue);

impl BoundedLog {
    /// Adds lines for people, without time and level.
    pub(super) fn say(&self, text: &str) {
        self.0.push(format!("{text}\n").as_bytes());
    }

    /// Waits until everything is written, for a second at most.
    pub(super) fn flush(&self) {
        // Lines that are not read by now are lost.
        let _complete = self.0.flush(FLUSH_LIMIT);
    }
}

fn init(writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static) {
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
