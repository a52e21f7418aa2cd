//! The two flow tables of a worker.

use super::FlowTable;
use crate::model::{MemoryNeed, TablePages, V4, V6};
use crate::shared::RoleFamily;
use crate::wire::{Common, IcmpFamily};

/// The flow tables of a worker, one code for both.
pub struct Flows {
    /// IPv4 flows.
    pub v4: FlowTable<V4>,
    /// IPv6 flows.
    pub v6: FlowTable<V6>,
}

impl Flows {
    /// What tables for `capacity` flows of each family take of the machine.
    #[must_use]
    pub fn need(capacity: usize) -> MemoryNeed {
        FlowTable::<V4>::need(capacity) + FlowTable::<V6>::need(capacity)
    }

    /// Flows that exist now.
    #[must_use]
    #[inline]
    pub const fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Flows in the table that has more.
    #[must_use]
    pub fn fullest(&self) -> usize {
        self.v4.len().max(self.v6.len())
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The memory they take when they are full, in octets, and where all of it lies.
    #[must_use]
    pub fn memory(&self) -> (usize, TablePages) {
        let pages = if self.v4.pages() == self.v6.pages() { self.v4.pages() } else { TablePages::Ordinary };
        (self.v4.octets() + self.v6.octets(), pages)
    }
}

/// A family that has a flow table.
pub trait FlowFamily: Common + IcmpFamily + RoleFamily {
    /// Its table.
    fn table(flows: &Flows) -> &FlowTable<Self>;

    /// Its table, to change.
    fn table_mut(flows: &mut Flows) -> &mut FlowTable<Self>;

    /// Whether `source` may be the source of a packet: a unicast address that is not loopback, nor "this host" (RFC 6890;
    /// RFC 1812, 5.3.7).
    fn may_be_source(source: Self::Address) -> bool;

    /// Whether `address` means somebody on its own link alone. A router that reports an error may have no other, but
    /// nothing that comes from it may be forwarded (RFC 3927, 7; RFC 4291, 2.5.6).
    fn is_link_local(address: Self::Address) -> bool;

    /// Whether a packet to a service may come from `source`.
    fn may_be_client(source: Self::Address) -> bool {
        Self::may_be_source(source) && !Self::is_link_local(source)
    }
}

impl FlowFamily for V4 {
    fn table(flows: &Flows) -> &FlowTable<Self> {
        &flows.v4
    }

    fn table_mut(flows: &mut Flows) -> &mut FlowTable<Self> {
        &mut flows.v4
    }

    fn may_be_source(source: u32) -> bool {
        // 0/8, 127/8, and everything from 224/4 up: multicast, reserved, broadcast.
        !matches!(source >> 24, 0 | 127 | 224..)
    }

    fn is_link_local(address: u32) -> bool {
        // 169.254/16.
        address >> 16 == 0xa9fe
    }
}

impl FlowFamily for V6 {
    fn table(flows: &Flows) -> &FlowTable<Self> {
        &flows.v6
    }

    fn table_mut(flows: &mut Flows) -> &mut FlowTable<Self> {
        &mut flows.v6
    }

    fn may_be_source(source: u128) -> bool {
        // ::/128, ::1/128, ff00::/8 and IPv4-mapped addresses, which are never on the wire.
        source > 1 && source >> 120 != 0xff && source >> 32 != 0xffff
    }

    fn is_link_local(address: u128) -> bool {
        // fe80::/10.
        address >> 118 == 0xfe80 >> 6
    }
}
