//! What systemd is told (sd_notify(3)): ready, stopping, a line of status, and that the watchdog need not bite. Without
//! a service manager nothing is sent.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::Instant;

/// The way to the service manager.
#[derive(Debug)]
pub(super) struct ServiceManager {
    /// Half of the time after which the watchdog bites; `None`: there is none.
    watchdog: Option<Duration>,
    fed: Option<Instant>,
    status: String,
}

/// To withdraw addresses and close ports.
const STOP_MARGIN: Duration = Duration::from_secs(10);

impl Default for ServiceManager {
    fn default() -> Self {
        Self {
            watchdog: sd_notify::watchdog_enabled().map(|limit| limit / 2),
            fed: None,
            status: String::new(),
        }
    }
}

impl ServiceManager {
    /// The balancer serves.
    pub(super) fn ready(&mut self, status: &str) {
        status.clone_into(&mut self.status);
        send(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// The balancer is leaving, and needs up to `within` for it: more than a service manager grants by itself.
    pub(super) fn stopping(&self, within: Duration) {
        let micros = u32::try_from((within + STOP_MARGIN).as_micros()).unwrap_or(u32::MAX);
        send(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(micros)]);
    }

    /// Feeds the watchdog when it is time and `turning`: every worker turns. Refreshes the status line.
    pub(super) fn watchdog(&mut self, turning: bool, status: &str) {
        if !self.status.is_empty() && self.status != status {
            status.clone_into(&mut self.status);
            send(&[NotifyState::Status(status)]);
        }
        let Some(span) = self.watchdog else { return };
        if turning && self.fed.is_none_or(|at| at.elapsed() >= span) {
            self.fed = Some(Instant::now());
            send(&[NotifyState::Watchdog]);
        }
    }
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "service_manager_unreachable");
    }
}
