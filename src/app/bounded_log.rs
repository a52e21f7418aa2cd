//! The log of a process that must go on without a reader of it: `evenkeel run`.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::log_queue::{LogQueue, QueueBounds, StandardError};
use super::logging;

/// Lines that wait for a slow reader: those of a start or a reload with 10,000 services of 3 backends, and as many octets
/// as these take.
const BOUNDS: QueueBounds = QueueBounds { lines: 1 << 16, octets: 8 << 20 };

/// The longest time that the end of the process waits for the reader of the log.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// Starts the log of a process that must go on without a reader, and loses lines in that case.
///
/// # Errors
///
/// If there is no descriptor or no thread for it.
pub(super) fn start() -> io::Result<BoundedLog> {
    let queue = LogQueue::start(StandardError::open()?, BOUNDS)?;
    logging::init(queue.clone());
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
    /// Has the log's thread run on this core.
    pub(super) fn run_on(&self, core: usize) {
        self.0.run_on(core);
    }

    /// Lines that were lost, counted from the start.
    pub(super) fn dropped(&self) -> Arc<AtomicU64> {
        self.0.dropped()
    }

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
