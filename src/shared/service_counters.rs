//! What workers count of each service; see [`counters`](super::counters).

use std::sync::atomic::{AtomicU64, Ordering};

use super::counters::add;

/// What one worker counted for one service.
#[derive(Debug, Default)]
pub struct ServiceCounters {
    connections: AtomicU64,
    refused: AtomicU64,
    limited: AtomicU64,
    denied: AtomicU64,
    flows: AtomicU64,
    half_open: AtomicU64,
    cookies: CookieCounters,
    toa_skipped: AtomicU64,
    toa_forged: AtomicU64,
}

#[derive(Debug, Default)]
struct CookieCounters {
    sent: AtomicU64,
    accepted: AtomicU64,
    wrong: AtomicU64,
    late: AtomicU64,
}

/// A reading of [`ServiceCounters`], or the sum of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceTotals {
    /// Flows created. Of a service that keeps none: TCP SYNs sent on, repeated ones too, and UDP sessions that got a
    /// record; how many others there were is not known.
    pub connections: u64,
    /// Flows refused: no backend, a limit, table full or local ports exhausted.
    pub refused: u64,
    /// Those of them that a limit refused.
    pub limited: u64,
    /// Packets of clients that it does not let in, but for those that came before a flow of theirs was ended.
    pub denied: u64,
    /// TCP flows now whose client has not completed the handshake.
    pub half_open: u64,
    /// SYNs answered with a cookie.
    pub cookies_sent: u64,
    /// Acknowledgements that brought one back.
    pub cookies_accepted: u64,
    /// Acknowledgements without a flow that brought none of ours, while one could have come.
    pub cookies_wrong: u64,
    /// Those that brought one too late.
    pub cookies_late: u64,
    /// Segments that should have carried the client's address and left without it: no room among the options or in the MTU,
    /// or a fragment.
    pub toa_skipped: u64,
    /// Segments from which something was taken that could pass for the client's address.
    pub toa_forged: u64,
}

impl ServiceTotals {
    /// SYNs that came: a connection that a cookie opened began with one of those that were answered.
    #[must_use]
    pub const fn syns(&self) -> u64 {
        (self.connections + self.refused + self.cookies_sent).saturating_sub(self.cookies_accepted)
    }
}

impl ServiceCounters {
    /// Counts a new flow. Worker only.
    pub fn count_connection(&self) {
        add(&self.connections, 1);
    }

    /// Counts a flow that could not be created. Worker only.
    pub fn count_refused(&self) {
        add(&self.refused, 1);
    }

    /// Counts one that a limit refused. Worker only.
    pub fn count_limited(&self) {
        add(&self.limited, 1);
    }

    /// Counts a packet of a client that is not let in. Worker only.
    pub fn count_denied(&self) {
        add(&self.denied, 1);
    }

    /// Counts a flow that begins, or ends, to be half-open. Worker only.
    pub fn count_half_open(&self, begins: bool) {
        add(&self.half_open, if begins { 1 } else { u64::MAX });
    }

    /// Counts a flow, or a session with a record, that begins or ends. Worker only.
    #[inline]
    pub fn count_flow(&self, begins: bool) {
        add(&self.flows, if begins { 1 } else { u64::MAX });
    }

    /// Flows now, those whose local port only rests included.
    #[must_use]
    pub fn flows(&self) -> u64 {
        self.flows.load(Ordering::Relaxed)
    }

    /// Half-open flows now.
    #[must_use]
    pub fn half_open(&self) -> u64 {
        self.half_open.load(Ordering::Relaxed)
    }

    /// Counts a SYN that is answered with a cookie. Worker only.
    pub fn count_cookie_sent(&self) {
        add(&self.cookies.sent, 1);
    }

    /// Counts an acknowledgement that brings one back. Worker only.
    pub fn count_cookie_accepted(&self) {
        add(&self.cookies.accepted, 1);
    }

    /// Counts one that brings none of ours. Worker only.
    pub fn count_cookie_wrong(&self) {
        add(&self.cookies.wrong, 1);
    }

    /// Counts one that brings one too late. Worker only.
    pub fn count_cookie_late(&self) {
        add(&self.cookies.late, 1);
    }

    /// Counts a segment that left without the client's address. Worker only.
    pub fn count_toa_skipped(&self) {
        add(&self.toa_skipped, 1);
    }

    /// Counts a segment from which a forged address was taken. Worker only.
    pub fn count_toa_forged(&self) {
        add(&self.toa_forged, 1);
    }

    /// The totals now.
    #[must_use]
    pub fn totals(&self) -> ServiceTotals {
        ServiceTotals {
            connections: self.connections.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            limited: self.limited.load(Ordering::Relaxed),
            denied: self.denied.load(Ordering::Relaxed),
            half_open: self.half_open(),
            cookies_sent: self.cookies.sent.load(Ordering::Relaxed),
            cookies_accepted: self.cookies.accepted.load(Ordering::Relaxed),
            cookies_wrong: self.cookies.wrong.load(Ordering::Relaxed),
            cookies_late: self.cookies.late.load(Ordering::Relaxed),
            toa_skipped: self.toa_skipped.load(Ordering::Relaxed),
            toa_forged: self.toa_forged.load(Ordering::Relaxed),
        }
    }
}
