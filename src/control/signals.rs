//! Signals of the process, and the runtime that receives them.
//!
//! The handlers are installed before anything else of a start, so that no signal ends the process by its default action:
//! one that comes during the start waits for control's loop.

use std::io;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::runtime::Runtime;
use tokio::signal::unix::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

/// The runtime of control with handlers for its signals.
#[derive(Debug)]
pub struct ControlRuntime {
    runtime: Runtime,
    signals: Signals,
    terminated: bool,
}

/// Signals that arrive while the loop runs.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user1: Signal,
    user2: Signal,
    alarm: Signal,
}

/// The meaning of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SignalMeaning {
    /// SIGTERM, SIGINT: drain and leave.
    Leave,
    /// SIGHUP: read the configuration again.
    Reload,
    /// A signal with this name, which would end the process if it were not handled, and has no meaning.
    Ignored(&'static str),
}

impl ControlRuntime {
    /// Makes the runtime and installs the handlers.
    ///
    /// # Errors
    ///
    /// If the system gives no descriptors for either.
    pub fn install() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let signals = {
            let _entered = runtime.enter();
            Signals {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
                hangup: signal(SignalKind::hangup())?,
                user1: signal(SignalKind::user_defined1())?,
                user2: signal(SignalKind::user_defined2())?,
                alarm: signal(SignalKind::alarm())?,
            }
        };
        Ok(Self { runtime, signals, terminated: false })
    }

    /// Returns true if SIGTERM or SIGINT has arrived since the handlers were installed. Takes a millisecond.
    pub fn is_terminated(&mut self) -> bool {
        let signals = &mut self.signals;
        let arrived = self.runtime.block_on(async {
            tokio::select! {
                _ = signals.terminate.recv() => true,
                _ = signals.interrupt.recv() => true,
                () = tokio::time::sleep(SIGNAL_LOOK) => false,
            }
        });
        self.terminated |= arrived;
        self.terminated
    }

    pub(super) fn into_parts(self) -> (Runtime, Signals) {
        (self.runtime, self.signals)
    }
}

/// Long enough for the runtime to look at its descriptors.
const SIGNAL_LOOK: Duration = Duration::from_millis(1);

impl Signals {
    /// Waits for the next signal.
    pub(super) async fn recv(&mut self) -> SignalMeaning {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => SignalMeaning::Leave,
            _ = self.interrupt.recv() => SignalMeaning::Leave,
            _ = self.hangup.recv() => SignalMeaning::Reload,
            _ = self.user1.recv() => SignalMeaning::Ignored("SIGUSR1"),
            _ = self.user2.recv() => SignalMeaning::Ignored("SIGUSR2"),
            _ = self.alarm.recv() => SignalMeaning::Ignored("SIGALRM"),
        }
    }
}
