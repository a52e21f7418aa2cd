//! The path MTUs to tunnel ends that ICMP errors about outer packets have reported: shared by all workers, as an error
//! reaches any of them.

use std::fmt;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::hash::AddressHash;
use crate::model::Nanos;

/// See the module. Only addresses of configured tunnel ends enter, so that strangers cannot fill it.
///
/// ```text
///   slot | tag of the address, 24 bits | second of the report, 24 | MTU, 16 |      0: none
/// ```
pub struct PathMtus {
    /// The second of the latest report, plus one; 0: there was none. Packets of paths without reports look no further.
    latest: AtomicU64,
    slots: Box<[AtomicU64]>,
}

const SECONDS: u64 = (1 << 24) - 1;

impl PathMtus {
    /// How long a report holds: the path may have become wider since (RFC 1191, section 6.3; RFC 8201, section 4).
    pub const LIFETIME: Nanos = Nanos::from_secs(600);

    /// For so many tunnel ends, none reported. Two that share one of the four slots for each end take turns.
    #[must_use]
    pub fn new(ends: usize) -> Self {
        let slots = (ends.max(1) * 4).next_power_of_two();
        Self { latest: AtomicU64::new(0), slots: (0..slots).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Memory that it takes for so many tunnel ends, in octets.
    #[must_use]
    pub const fn octets(ends: usize) -> usize {
        ends.next_power_of_two() * 4 * size_of::<AtomicU64>()
    }

    /// The path MTU to `end` that was reported in the last [`LIFETIME`](Self::LIFETIME), in octets. Constant time.
    #[must_use]
    #[inline]
    pub fn get(&self, end: IpAddr, now: Nanos) -> Option<u16> {
        let latest = self.latest.load(Relaxed);
        if latest == 0 || second(now) >= latest - 1 + second(Self::LIFETIME) {
            return None;
        }
        let (slot, tag) = self.place(end)?;
        let word = slot.load(Relaxed);
        let age = second(now).wrapping_sub(word >> 16) & SECONDS;
        let is_known = word != 0 && word >> 40 == tag && age < second(Self::LIFETIME);
        is_known.then_some(u16::try_from(word & 0xffff).unwrap_or(u16::MAX))
    }

    /// Notes the path MTU to `end`. A wider one than a report that holds changes nothing: it is about an older packet.
    pub fn learn(&self, end: IpAddr, mtu: u16, now: Nanos) {
        if self.get(end, now).is_some_and(|known| known < mtu) {
            return;
        }
        let Some((slot, tag)) = self.place(end) else { return };
        slot.store(tag << 40 | (second(now) & SECONDS) << 16 | u64::from(mtu), Relaxed);
        self.latest.fetch_max(second(now) + 1, Relaxed);
    }

    fn place(&self, end: IpAddr) -> Option<(&AtomicU64, u64)> {
        let hash = AddressHash.hash_one(end);
        let slot = usize::try_from(hash).unwrap_or(0) & (self.slots.len() - 1);
        // Never 0, which marks a slot without a report.
        Some((self.slots.get(slot)?, hash >> 40 | 1))
    }
}

const fn second(time: Nanos) -> u64 {
    time.0 / 1_000_000_000
}

impl fmt::Debug for PathMtus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PathMtus").field("latest", &self.latest).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_holds_for_ten_minutes_and_is_only_lowered_meanwhile() {
        let mtus = PathMtus::new(8);
        let [end, other] = [[10, 0, 9, 1], [10, 0, 9, 2]].map(IpAddr::from);
        let at = Nanos::from_secs;
        assert_eq!(mtus.get(end, at(5)), None);
        mtus.learn(end, 1400, at(5));
        assert_eq!((mtus.get(end, at(604)), mtus.get(other, at(5))), (Some(1400), None));
        assert_eq!(mtus.get(end, at(605)), None);
        mtus.learn(end, 1300, at(10));
        mtus.learn(end, 1450, at(20));
        assert_eq!((mtus.get(end, at(609)), mtus.get(end, at(610))), (Some(1300), None));
        mtus.learn(end, 1450, at(610));
        assert_eq!(mtus.get(end, at(610)), Some(1450));
    }
}
