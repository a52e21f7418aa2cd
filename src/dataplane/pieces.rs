//! How a packet leaves that is too large for its way and may be fragmented, and the outer headers that a packet of a
//! tunnel leaves in, whole or in pieces.

use crate::io::Frame;
use crate::model::{Family, V4, V6, VlanTag};
use crate::shared::NextHop;
use crate::wire::checksum::Delta;
use crate::wire::encapsulate::Outer;
use crate::wire::ethernet::{self, HEADER, TAG};
use crate::wire::{Layout, Network, Packet, WireFamily};

/// What is done to the pieces of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pieces {
    /// They get an identification of ours: the packet's was unique for the source that it had (RFC 6864, section 5.3).
    Renumbered,
    /// Nothing: they are what any router would make of it.
    Plain,
    /// Each is put into a packet of its own, which nobody on the way may fragment: so the receiver puts together what it
    /// takes out, as any host does, and the end of the tunnel nothing (RFC 2003, section 3.1; RFC 4459, section 3.4).
    Wrapped(Wrapping),
}

/// What a packet travels in: outer headers, and those of the link.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wrapping {
    outer: Outer,
    /// Destination and source, as they stand in the frame.
    addresses: [u8; 12],
    vlan: Option<u16>,
}

impl Wrapping {
    /// That of packets to `hop` which came with the tag `had`; `None` while the hop is not resolved.
    pub(super) fn new(outer: Outer, hop: &NextHop, had: Option<u16>) -> Option<Self> {
        let vlan = match hop.vlan {
            VlanTag::AsReceived => had,
            VlanTag::Untagged => None,
            VlanTag::Id(id) => Some(id),
        };
        Some(Self { outer, addresses: *hop.addresses()?, vlan })
    }

    /// Puts the frame's packet into another one. It stays as it is but for its TTL, as it is being forwarded (RFC 2003,
    /// section 3.1; RFC 2473, section 3.1). False, and nothing changed, if there is no headroom.
    #[must_use]
    pub(super) fn wrap<T: Frame>(&self, frame: &mut T, packet: &Packet) -> bool {
        let Layout { l3, end, .. } = packet.layout;
        let link = HEADER + if self.vlan.is_some() { TAG } else { 0 };
        let l3 = usize::from(l3);
        // Outer headers are longer than all tags that may go.
        if !frame.prepend(link + usize::from(self.outer.octets()) - l3) {
            return false;
        }
        frame.truncate(link + usize::from(self.outer.octets() + end) - l3);
        let head = frame.head_mut();
        let ether_type = match self.outer.network() {
            Network::V4 => ethernet::IPV4,
            Network::V6 => ethernet::IPV6,
        };
        ethernet::set_addresses(head, &self.addresses);
        ethernet::set_type(head, self.vlan, ether_type);
        let Some(head) = head.get_mut(link..) else { return true };
        if let Some(inner) = head.get_mut(usize::from(self.outer.octets())..) {
            match packet.network {
                Network::V4 => take_hop::<V4>(inner),
                Network::V6 => take_hop::<V6>(inner),
            }
        }
        self.outer.write(head, packet);
        true
    }
}

fn take_hop<F: WireFamily + Family>(inner: &mut [u8]) {
    if let Some(pair) = F::pair_in(inner) {
        F::rewrite_header(inner, pair, Delta::HOP);
    }
}
