//! A bounded queue between the threads that log and the thread that writes the log.
//!
//! Invariant: [`LogQueue::push`] never waits for the reader of the log. A line that finds the queue full, or that cannot
//! be written, is dropped and counted; the next line that can be written is followed by one that says how many were lost.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::io::Write;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use core_affinity::CoreId;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::event::poll;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::time::SystemTime;

/// The most that waits in a queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueBounds {
    /// Lines.
    pub(super) lines: usize,
    /// Octets of all lines.
    pub(super) octets: usize,
}

/// A queue with a thread that writes its lines. Clones share it; the thread lasts until the process ends.
#[derive(Clone, Debug)]
pub(super) struct LogQueue(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    bounds: QueueBounds,
    waiting: Mutex<Waiting>,
    /// A line was pushed or written.
    changed: Condvar,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: VecDeque<Vec<u8>>,
    octets: usize,
    /// The thread holds a line that is not in `lines` any more.
    writing: bool,
    /// The core that the thread is to move to.
    core: Option<usize>,
}

impl LogQueue {
    /// Starts the thread, which writes to `sink`.
    ///
    /// # Errors
    ///
    /// If the system gives no thread.
    pub(super) fn start(sink: impl Write + Send + 'static, bounds: QueueBounds) -> io::Result<Self> {
        let (waiting, changed, dropped) = (Mutex::default(), Condvar::new(), Arc::default());
        let shared = Arc::new(Shared { bounds, waiting, changed, dropped });
        let queue = Self(Arc::clone(&shared));
        let writer = LogWriter { shared, sink, told: 0, retry: None };
        std::thread::Builder::new().name("log".to_owned()).spawn(move || writer.run())?;
        Ok(queue)
    }

    /// Adds a line, which ends with a line feed, or counts it as dropped if there is no room.
    pub(super) fn push(&self, line: &[u8]) {
        let mut waiting = self.0.waiting();
        let octets = waiting.octets + line.len();
        if waiting.lines.len() >= self.0.bounds.lines || octets > self.0.bounds.octets {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.octets = octets;
        waiting.lines.push_back(line.to_vec());
        drop(waiting);
        self.0.changed.notify_all();
    }

    /// Has the thread run on this core from its next line on.
    pub(super) fn run_on(&self, core: usize) {
        self.0.waiting().core = Some(core);
        self.0.changed.notify_all();
    }

    /// Lines that were lost, counted from the start.
    pub(super) fn dropped(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.0.dropped)
    }

    /// Waits until every line is written or dropped, at most for `limit`. Returns true if that succeeded.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        let pending = |waiting: &mut Waiting| waiting.writing || !waiting.lines.is_empty();
        let waited = self.0.changed.wait_timeout_while(self.0.waiting(), limit, pending);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Each change of the queue is complete before anything can panic.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> MakeWriter<'a> for LogQueue {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

/// The subscriber writes each event by one call.
impl Write for &LogQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The thread's part.
struct LogWriter<W> {
    shared: Arc<Shared>,
    sink: W,
    /// Dropped lines that the log has mentioned.
    told: u64,
    /// After a failed write: when the loss is mentioned without waiting for another line.
    retry: Option<Instant>,
}

/// Pause between attempts to mention lost lines while no other line comes.
const RETRY: Duration = Duration::from_secs(1);

impl<W: Write> LogWriter<W> {
    fn run(mut self) {
        loop {
            let line = self.next_line();
            let lost = match line {
                Some(line) => self.sink.write_all(&line).is_err(),
                None => false,
            };
            if lost {
                self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            }
            self.mention_losses(lost);
            self.shared.waiting().writing = false;
            self.shared.changed.notify_all();
        }
    }

    /// Waits for the next line; `None` when it is time to try to mention lost lines again.
    fn next_line(&self) -> Option<Vec<u8>> {
        let mut waiting = self.shared.waiting();
        loop {
            if let Some(id) = waiting.core.take() {
                // The configuration's check of cores names one that is not available.
                let _pinned = core_affinity::set_for_current(CoreId { id });
            }
            if let Some(line) = waiting.lines.pop_front() {
                waiting.octets -= line.len();
                waiting.writing = true;
                return Some(line);
            }
            let Some(retry) = self.retry else {
                waiting = self.shared.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = retry.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let waited = self.shared.changed.wait_timeout(waiting, left);
            waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Writes how many lines were lost, once the lines that came before them are written.
    fn mention_losses(&mut self, failing: bool) {
        let dropped = self.shared.dropped.load(Ordering::Relaxed);
        if dropped == self.told {
            self.retry = None;
        } else if failing {
            self.retry = Some(Instant::now() + RETRY);
        } else if self.shared.waiting().lines.is_empty() {
            let line = format!("{} WARN log_lines_dropped lines={}\n", timestamp(), dropped - self.told);
            match self.sink.write_all(line.as_bytes()) {
                Ok(()) => (self.told, self.retry) = (dropped, None),
                Err(_) => self.retry = Some(Instant::now() + RETRY),
            }
        }
    }
}

/// The time as the subscriber writes it.
fn timestamp() -> String {
    let mut time = String::new();
    // The clock's time can always be formatted.
    let _infallible = SystemTime.format_time(&mut format::Writer::new(&mut time));
    time
}

/// Standard error without the lock of the standard library, which a panicking thread would wait for.
pub(super) struct StandardError(File);

impl StandardError {
    /// A descriptor of its own.
    ///
    /// # Errors
    ///
    /// If the process has no descriptor left.
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self(io::stderr().as_fd().try_clone_to_owned()?.into()))
    }
}

impl Write for StandardError {
    /// Waits for room, also if another process made the descriptor non-blocking.
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(octets) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let second = Timespec { tv_sec: 1, tv_nsec: 0 };
                    // After an error or a second the write is tried again.
                    let _ready = poll(&mut [PollFd::new(&self.0, PollFlags::OUT)], Some(&second));
                }
                result => return result,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(20);

    /// Each write takes its result from `results`, and sends what it wrote to `written`.
    struct Scripted {
        results: mpsc::Receiver<bool>,
        written: mpsc::Sender<String>,
    }

    impl Write for Scripted {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            if !self.results.recv().unwrap_or(true) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let _gone = self.written.send(String::from_utf8_lossy(octets).into_owned());
            Ok(octets.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Rig {
        queue: LogQueue,
        allow: mpsc::Sender<bool>,
        written: mpsc::Receiver<String>,
        dropped: Arc<AtomicU64>,
    }

    fn rig(bounds: QueueBounds) -> Rig {
        let ((allow, results), (told, written)) = (mpsc::channel(), mpsc::channel());
        let queue = LogQueue::start(Scripted { results, written: told }, bounds).unwrap();
        let dropped = queue.dropped();
        Rig { queue, allow, written, dropped }
    }

    const FEW: QueueBounds = QueueBounds { lines: 4, octets: 40 };

    #[test]
    fn stalled_log_reader_costs_lines_and_never_blocks() {
        let Rig { queue, allow, written, dropped } = rig(FEW);
        for n in 0..100 {
            queue.push(format!("line {n}\n").as_bytes());
        }
        assert!(!queue.flush(SHORT), "nobody reads");
        let lost = dropped.load(Ordering::Relaxed);
        assert!((95..=96).contains(&lost), "four wait, one may be at the writer: {lost}");
        for _ in 0..100 - lost + 1 {
            allow.send(true).unwrap();
        }
        for n in 0..100 - lost {
            assert_eq!(written.recv_timeout(LONG).unwrap(), format!("line {n}\n"), "the oldest ones remain");
        }
        let notice = written.recv_timeout(LONG).unwrap();
        assert!(notice.ends_with(&format!(" WARN log_lines_dropped lines={lost}\n")), "{notice}");
        assert!(queue.flush(LONG));
    }

    #[test]
    fn queue_is_bounded_in_octets() {
        let Rig { queue, allow, written, dropped } = rig(FEW);
        queue.push(&[b'x'; 41]);
        assert_eq!(dropped.load(Ordering::Relaxed), 1, "it never fits");
        queue.push(b"short\n");
        allow.send(true).unwrap();
        assert_eq!(written.recv_timeout(LONG).unwrap(), "short\n");
        drop(allow);
        assert!(written.recv_timeout(LONG).unwrap().contains("lines=1\n"));
    }

    #[test]
    fn failed_writes_are_counted_and_mentioned_when_the_log_works_again() {
        let Rig { queue, allow, written, dropped } = rig(FEW);
        for _ in 0..3 {
            queue.push(b"lost\n");
            allow.send(false).unwrap();
        }
        assert!(queue.flush(LONG), "a failure is an end, too");
        assert_eq!(dropped.load(Ordering::Relaxed), 3);
        drop(allow);
        let notice = written.recv_timeout(LONG).unwrap();
        assert!(notice.ends_with(" WARN log_lines_dropped lines=3\n"), "without another line: {notice}");
        queue.push(b"kept\n");
        assert_eq!(written.recv_timeout(LONG).unwrap(), "kept\n");
        assert!(queue.flush(LONG));
    }
}
