//! Next hops learned from frames: for clients whose way back the kernel does not know, the answer goes where the
//! request came from. Each worker has its own, under ids above [`Fib::MAX_NEXT_HOPS`].

use crate::model::{Mac, NextHopId, PortId, VlanTag};
use crate::shared::{Egress, Fib, NextHop};

/// Neighbours that a worker can remember. On a link they are hosts and routers, so a few at most; a power of two, for
/// the hash below.
const CAPACITY: usize = 4096;

/// How many places are looked at for one neighbour.
const TRIES: usize = 16;

/// See the module. Entries are never given up, as flows refer to them.
pub struct LastHops {
    places: Box<[Option<NextHop>]>,
    /// What was learned last, by its port: most likely that of the next client, too.
    latest: Option<(PortId, VlanTag, Mac, NextHopId)>,
}

impl LastHops {
    /// None known.
    #[must_use]
    pub fn new() -> Self {
        Self { places: vec![None; CAPACITY].into_boxed_slice(), latest: None }
    }

    /// The id of the neighbour `destination` behind `egress` on `vlan`, learned now if it is new; `None` when there is no
    /// room.
    #[inline]
    pub fn learn(&mut self, egress: &Egress, vlan: VlanTag, destination: Mac) -> Option<NextHopId> {
        match self.latest {
            Some((port, tag, known, id)) if (port, tag, known) == (egress.port, vlan, destination) => {
                Some(id)
            }
            Some(_) | None => {
                let id = self.find_or_add(*egress, vlan, destination)?;
                self.latest = Some((egress.port, vlan, destination, id));
                Some(id)
            }
        }
    }

    #[inline(never)]
    fn find_or_add(&mut self, egress: Egress, vlan: VlanTag, destination: Mac) -> Option<NextHopId> {
        let hop = NextHop::new(egress, vlan, Some(destination));
        let [.., a, b, c] = destination.0;
        let start = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        let start = start.wrapping_mul(0x9e37_79b1) >> 8;
        let place = (0..TRIES)
            .map(|step| (start + step) % CAPACITY)
            .find(|place| self.places[*place].is_none_or(|known| known == hop))?;
        self.places[place] = Some(hop);
        u16::try_from(place).ok().map(|place| NextHopId(Fib::MAX_NEXT_HOPS + place))
    }

    /// The next hop with this id.
    #[must_use]
    pub fn next_hop(&self, id: NextHopId) -> Option<&NextHop> {
        self.places.get(usize::from(id.0.checked_sub(Fib::MAX_NEXT_HOPS)?))?.as_ref()
    }
}

impl Default for LastHops {
    fn default() -> Self {
        Self::new()
    }
}
