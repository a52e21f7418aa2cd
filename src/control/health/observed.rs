//! What clients' connections say of a backend: passive checks.

use std::collections::VecDeque;

use crate::config::FailureWindow;
use crate::model::Nanos;

/// The anomalies in handshakes with a backend that still count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// The counter of anomalies at the last look; `None`: there was none.
    total: Option<u64>,
    /// How many were new at each look, and when that was.
    recent: VecDeque<(Nanos, u64)>,
}

impl Observed {
    /// Takes in the counter of anomalies at `now`. True if too many came within the window's time; then they count no more.
    pub fn look(&mut self, now: Nanos, total: u64, window: FailureWindow) -> bool {
        // What was before the first look is nobody's news.
        let new = total.saturating_sub(self.total.replace(total).unwrap_or(total));
        if new > 0 {
            self.recent.push_back((now, new));
        }
        let within = Nanos::from(window.within);
        while self.recent.front().is_some_and(|(at, _)| now.since(*at) > within) {
            self.recent.pop_front();
        }
        let count: u64 = self.recent.iter().map(|(_, count)| count).sum();
        let too_many = count >= u64::from(window.failures);
        if too_many {
            self.recent.clear();
        }
        too_many
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn too_many_anomalies_within_the_time_are_told_once() {
        let window = FailureWindow { failures: 5, within: Duration::from_secs(10) };
        let mut observed = Observed::default();
        let mut look = |second, total| observed.look(Nanos::from_secs(second), total, window);
        assert!(!look(0, 1000), "what was before");
        assert!(!look(1, 1002));
        assert!(!look(9, 1004));
        assert!(!look(12, 1004), "the first two are too old");
        assert!(!look(13, 1006));
        assert!(look(14, 1007), "five within ten seconds");
        assert!(!look(15, 1007));
        assert!(!look(16, 3), "a counter that starts anew");
    }
}
