//! How full a resource of the data plane is, with hysteresis: nearly full from 90 % on until it is below 80 %, refusing
//! from the first refusal on until there was none for ten seconds.

use std::sync::Arc;

use crate::model::Endpoint;
use crate::model::Nanos;
use crate::model::WorkerId;

/// What new flows take a part of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// The flow table of a worker, of the address family that has more flows.
    FlowTable {
        /// The worker.
        worker: WorkerId,
    },
    /// The local ports for a backend.
    LocalPorts {
        /// The backend's service.
        service: Arc<str>,
        /// The backend's address and port.
        backend: Endpoint,
    },
}

/// How full it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pressure {
    /// There is room.
    #[default]
    Normal,
    /// Nine tenths are in use.
    NearlyFull,
    /// New flows are refused, as no flow gives way to them.
    Refusing,
}

/// A reading of a resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Units in use.
    pub used: u64,
    /// Units there are; 0 if that is not known.
    pub capacity: u64,
    /// Flows refused since the start for want of one.
    pub refused: u64,
}

impl Usage {
    const fn is_above(self, per_cent: u64) -> bool {
        self.capacity > 0 && self.used.saturating_mul(100) >= self.capacity.saturating_mul(per_cent)
    }
}

/// The pressure on one resource, from one reading to the next.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gauge {
    pressure: Pressure,
    refused: u64,
    refused_at: Nanos,
}

impl Gauge {
    /// From this share in use on it is nearly full, per cent.
    const NEARLY_FULL: u64 = 90;

    /// Below this share there is room again, per cent.
    const ROOM: u64 = 80;

    /// How long nothing was refused when it refuses no more.
    const CALM: Nanos = Nanos::from_secs(10);

    /// Whether the resource was never under pressure, so that nothing is lost with the gauge.
    pub(super) const fn is_idle(&self) -> bool {
        matches!(self.pressure, Pressure::Normal) && self.refused == 0
    }

    /// Takes a reading at `now`. The pressure from now on, if that is another one, and the flows refused since the last
    /// reading.
    pub(super) fn read(&mut self, usage: Usage, now: Nanos) -> Option<(Pressure, u64)> {
        let refused = usage.refused.saturating_sub(self.refused);
        self.refused = usage.refused;
        if refused > 0 {
            self.refused_at = now;
        }
        let filling = if usage.is_above(Self::NEARLY_FULL) { Pressure::NearlyFull } else { Pressure::Normal };
        let emptying = if usage.is_above(Self::ROOM) { Pressure::NearlyFull } else { Pressure::Normal };
        let next = match self.pressure {
            _ if refused > 0 => Pressure::Refusing,
            Pressure::Normal => filling,
            Pressure::NearlyFull => emptying,
            Pressure::Refusing if now.since(self.refused_at) < Self::CALM => Pressure::Refusing,
            Pressure::Refusing => emptying,
        };
        let before = std::mem::replace(&mut self.pressure, next);
        (before != next).then_some((next, refused))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(readings: &[(u64, u64, u64)]) -> Vec<(u64, Pressure)> {
        let mut gauge = Gauge::default();
        let read = |(second, used, refused): &(u64, u64, u64)| {
            let usage = Usage { used: *used, capacity: 1000, refused: *refused };
            gauge.read(usage, Nanos::from_secs(*second)).map(|(pressure, _)| (*second, pressure))
        };
        readings.iter().filter_map(read).collect()
    }

    #[test]
    fn pressure_begins_at_90_per_cent_and_ends_below_80() {
        let readings =
            [(0, 899, 0), (1, 900, 0), (2, 950, 0), (3, 880, 0), (4, 905, 0), (5, 800, 0), (6, 799, 0)];
        assert_eq!(levels(&readings), [(1, Pressure::NearlyFull), (6, Pressure::Normal)]);
    }

    #[test]
    fn refusing_ends_after_ten_seconds_without_a_refusal() {
        let readings =
            [(0, 950, 0), (1, 1000, 3), (2, 1000, 3), (3, 1000, 9), (12, 100, 9), (13, 100, 9), (14, 100, 9)];
        let expected = [(0, Pressure::NearlyFull), (1, Pressure::Refusing), (13, Pressure::Normal)];
        assert_eq!(levels(&readings), expected);
        let still_full = [(0, 1000, 1), (10, 1000, 1), (11, 1000, 2)];
        let expected = [(0, Pressure::Refusing), (10, Pressure::NearlyFull), (11, Pressure::Refusing)];
        assert_eq!(levels(&still_full), expected);
    }

    #[test]
    fn resource_of_unknown_size_is_under_pressure_only_when_it_refuses() {
        let mut gauge = Gauge::default();
        let usage = Usage { used: 1_000_000, ..Usage::default() };
        assert_eq!(gauge.read(usage, Nanos(0)), None);
        let refused = gauge.read(Usage { refused: 2, ..usage }, Nanos(1));
        assert_eq!(refused, Some((Pressure::Refusing, 2)));
        assert!(!gauge.is_idle());
    }
}
