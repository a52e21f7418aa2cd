//! Until when services answer SYNs in their backends' place: shared by all workers, as a flood that one of them notices
//! reaches all.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::model::{Nanos, ServiceId};

/// See the module. Written when a flood begins and about once a second while it lasts; read at each SYN.
pub struct SynProxies {
    services: Box<[Until]>,
}

/// A cache line each: a flood of one service must not slow down its neighbours. 0: there was no flood.
#[derive(Default)]
#[repr(align(64))]
struct Until(AtomicU64);

impl SynProxies {
    /// How long a service goes on after a flood has ended: a flood that comes in waves must find it prepared.
    pub const HOLD: Nanos = Nanos::from_secs(10);

    /// For so many services, none of them flooded.
    #[must_use]
    pub fn new(services: usize) -> Self {
        Self { services: (0..services).map(|_| Until::default()).collect() }
    }

    /// Whether a service with `syn_proxy = "auto"` is on at `now`, in the workers' time.
    #[must_use]
    #[inline]
    pub fn is_on(&self, id: ServiceId, now: Nanos) -> bool {
        self.was_on(id, now, Nanos(0))
    }

    /// Whether it is, or was until `within` ago at most.
    #[must_use]
    pub fn was_on(&self, id: ServiceId, now: Nanos, within: Nanos) -> bool {
        let until = self.services.get(id.index()).map_or(0, |until| until.0.load(Relaxed));
        until != 0 && now.0 < until.saturating_add(within.0)
    }

    /// A flood goes on at `now`.
    pub fn keep_on(&self, id: ServiceId, now: Nanos) {
        if let Some(until) = self.services.get(id.index()) {
            until.0.fetch_max((now + Self::HOLD).0, Relaxed);
        }
    }
}

impl fmt::Debug for SynProxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SynProxies").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_stays_on_for_a_while_and_is_remembered_for_longer() {
        let proxies = SynProxies::new(2);
        let (flooded, other) = (ServiceId(1), ServiceId(0));
        assert!(!proxies.was_on(flooded, Nanos(0), Nanos::from_secs(100)), "not at the start");
        proxies.keep_on(flooded, Nanos::from_secs(5));
        assert!(proxies.is_on(flooded, Nanos::from_millis(14_999)));
        assert!(!proxies.is_on(flooded, Nanos::from_secs(15)));
        assert!(proxies.was_on(flooded, Nanos::from_secs(24), Nanos::from_secs(10)));
        assert!(!proxies.was_on(flooded, Nanos::from_secs(25), Nanos::from_secs(10)));
        assert!(!proxies.is_on(other, Nanos::from_secs(6)));
        proxies.keep_on(ServiceId(2), Nanos(1));
    }
}
