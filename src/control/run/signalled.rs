//! The reactions of the loop to signals.

use super::Event;
use super::Loop;
use super::Phase;
use crate::control::reload::Request;
use crate::control::signals::SignalMeaning;

impl Loop {
    pub(super) fn ready(&mut self) {
        self.service_manager.ready(&self.state.summary());
        if std::mem::take(&mut self.reload_when_ready) {
            self.reload_on_signal();
        }
    }

    pub(super) fn signalled(&mut self, meaning: SignalMeaning) {
        match meaning {
            SignalMeaning::Leave => self.apply(Event::Shutdown),
            // The first probes are under way; a change of their targets must not delay the start.
            SignalMeaning::Reload if matches!(self.state.phase(), Phase::Starting) => {
                self.reload_when_ready = true;
            }
            SignalMeaning::Reload => self.reload_on_signal(),
            SignalMeaning::Ignored(name) => tracing::info!(signal = name, "signal_ignored"),
        }
    }

    fn reload_on_signal(&mut self) {
        // The log says how it ended.
        self.begin_reload(Request { dry_run: false, reply: None });
    }
}
