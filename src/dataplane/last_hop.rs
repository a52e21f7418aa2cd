//! Next hops learned from frames: for clients whose way back the kernel does not know, the answer goes where the
//! request came from. Each worker has its own, under ids above [`Fib::MAX_NEXT_HOPS`].
//!
//! Flows refer to a next hop by its id, so that an entry may be used for another neighbour only when no flow does. Each entry
//! counts its flows, and knows the last one. Where a neighbour finds no free entry, one that a single flow uses is taken
//! if that flow may be evicted: a flood from invented MAC addresses consists of such entries, and the router that
//! many clients are behind never is one.

use super::flow::{FlowFamily, FlowId};
use crate::model::{Mac, NextHopId, PortId, VlanTag};
use crate::shared::{Egress, Fib, NextHop};

/// Neighbours that a worker can remember. On a link they are hosts and routers, so a few at most; a power of two, for
/// the hash below.
const CAPACITY: usize = 4096;

/// How many places are looked at for one neighbour.
const TRIES: usize = 16;

/// See the module.
pub struct LastHops {
    places: Box<[Option<NextHop>]>,
    /// By place: who refers to it.
    uses: Box<[Use]>,
    /// What was learned last, by its port: most likely that of the next client, too.
    latest: Option<Latest>,
}

#[derive(Clone, Copy)]
struct Latest {
    port: PortId,
    vlan: VlanTag,
    neighbour: Mac,
    id: NextHopId,
}

/// The flows that refer to an entry.
#[derive(Clone, Copy, Default)]
struct Use {
    flows: u32,
    /// The last one that was created.
    last: Option<Holding>,
}

/// An entry that a single flow refers to: the one named, if that still does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoleUse {
    /// The next hop.
    pub id: NextHopId,
    /// The flow that was the last one to refer to it.
    pub by: Holding,
}

/// A flow that refers to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding {
    /// In which table.
    pub is_v4: bool,
    /// Which flow.
    pub flow: FlowId,
}

impl Holding {
    /// A flow of family `F`.
    #[must_use]
    pub const fn new<F: FlowFamily>(flow: FlowId) -> Self {
        Self { is_v4: F::VERSION == 4, flow }
    }
}

impl LastHops {
    /// None known.
    #[must_use]
    pub fn new() -> Self {
        let uses = vec![Use::default(); CAPACITY].into_boxed_slice();
        Self { places: vec![None; CAPACITY].into_boxed_slice(), uses, latest: None }
    }

    /// The id of the neighbour `destination` behind `egress` on `vlan`, learned now if it is new; `None` when all entries that
    /// it may have are in use.
    #[inline]
    pub fn learn(&mut self, egress: &Egress, vlan: VlanTag, destination: Mac) -> Option<NextHopId> {
        match self.latest {
            Some(Latest { port, vlan: tag, neighbour, id })
                if (port, tag, neighbour) == (egress.port, vlan, destination) =>
            {
                Some(id)
            }
            Some(_) | None => {
                let id = self.find_or_add(*egress, vlan, destination)?;
                self.latest = Some(Latest { port: egress.port, vlan, neighbour: destination, id });
                Some(id)
            }
        }
    }

    #[inline(never)]
    fn find_or_add(&mut self, egress: Egress, vlan: VlanTag, destination: Mac) -> Option<NextHopId> {
        let hop = NextHop::new(egress, vlan, Some(destination));
        let place = window(destination)
            .find(|place| self.places[*place].is_none_or(|known| known == hop))
            .or_else(|| window(destination).find(|place| self.uses[*place].flows == 0))?;
        self.places[place] = Some(hop);
        Some(id(place))
    }

    /// The entries that the neighbour `destination` could have if a single flow ended.
    pub fn in_the_way_of(&self, destination: Mac) -> impl Iterator<Item = SoleUse> + '_ {
        window(destination).filter_map(|place| {
            let Use { flows, last } = self.uses[place];
            last.filter(|_| flows == 1).map(|by| SoleUse { id: id(place), by })
        })
    }

    /// A flow refers to the next hop `id` from now on, if that was learned.
    #[inline]
    pub fn hold(&mut self, id: NextHopId, by: Holding) {
        if let Some(used) = self.used(id) {
            used.flows += 1;
            used.last = Some(by);
        }
    }

    /// A flow does not refer to the next hop `id` any more, if that was learned.
    #[inline]
    pub fn release(&mut self, id: NextHopId) {
        if let Some(used) = self.used(id) {
            used.flows = used.flows.saturating_sub(1);
        }
    }

    #[inline(always)]
    fn used(&mut self, id: NextHopId) -> Option<&mut Use> {
        self.uses.get_mut(usize::from(id.0.checked_sub(Fib::MAX_NEXT_HOPS)?))
    }

    /// The next hop with this id.
    #[must_use]
    pub fn next_hop(&self, id: NextHopId) -> Option<&NextHop> {
        self.places.get(usize::from(id.0.checked_sub(Fib::MAX_NEXT_HOPS)?))?.as_ref()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "places are below CAPACITY")]
const fn id(place: usize) -> NextHopId {
    NextHopId(Fib::MAX_NEXT_HOPS + (place % CAPACITY) as u16)
}

/// The places that a neighbour may have.
fn window(neighbour: Mac) -> impl Iterator<Item = usize> {
    let [.., a, b, c] = neighbour.0;
    let start = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
    let start = start.wrapping_mul(0x9e37_79b1) >> 8;
    (0..TRIES).map(move |step| (start + step) % CAPACITY)
}

impl Default for LastHops {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EGRESS: Egress = Egress { port: PortId(0), mac: Mac([2, 0, 0, 0, 0, 1]), mtu: 1500 };
    const BY: Holding = Holding { is_v4: true, flow: FlowId::first() };

    fn mac(n: u32) -> Mac {
        let [_, a, b, c] = n.to_be_bytes();
        Mac([2, 0, 0, a, b, c])
    }

    fn learn(hops: &mut LastHops, n: u32) -> Option<NextHopId> {
        hops.learn(&EGRESS, VlanTag::Untagged, mac(n))
    }

    #[test]
    fn entry_of_a_neighbour_is_used_again_once_no_flow_refers_to_it() {
        let mut hops = LastHops::new();
        let ids: Vec<_> =
            (0..100_000).map_while(|n| learn(&mut hops, n).inspect(|id| hops.hold(*id, BY))).collect();
        let refused = u32::try_from(ids.len()).unwrap();
        assert!(ids.len() > 1000, "{refused} neighbours found room");
        assert_eq!(learn(&mut hops, refused), None);
        assert_eq!(hops.in_the_way_of(mac(refused)).count(), TRIES);
        for id in &ids {
            hops.release(*id);
        }
        let id = learn(&mut hops, refused).expect("no flow is left");
        assert_eq!(hops.next_hop(id).and_then(NextHop::destination), Some(mac(refused)));
    }

    #[test]
    fn entry_keeps_its_neighbour_while_any_flow_refers_to_it() {
        let mut hops = LastHops::new();
        let router = learn(&mut hops, 0).unwrap();
        hops.hold(router, BY);
        hops.hold(router, BY);
        hops.release(router);
        for n in 1..100_000 {
            learn(&mut hops, n);
        }
        assert_eq!(hops.next_hop(router).and_then(NextHop::destination), Some(mac(0)));
        assert_eq!(learn(&mut hops, 0), Some(router));
    }
}
