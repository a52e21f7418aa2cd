//! The one place that changes addresses and ports.

use super::checksum::{self, Delta};
use super::{CommonHead, Layout};
use crate::model::{Family, FiveTuple, Protocol, V4, V6};

/// New addresses and ports for a packet, with the change they make to its checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewrite<F: Family> {
    /// What the packet carries afterwards.
    pub to: FiveTuple<F>,
    /// Change of the addresses alone: what the IPv4 header checksum sees.
    pub addresses: Delta,
    /// Change of addresses and ports: what TCP and UDP see, through the pseudo-header.
    pub transport: Delta,
}

impl<F: Family> Rewrite<F> {
    /// The rewrite of packets that carry `from`.
    #[must_use]
    pub fn between(from: &FiveTuple<F>, to: FiveTuple<F>) -> Self {
        let addresses = Delta::between(
            checksum::address_sum::<F>(from.source) + checksum::address_sum::<F>(from.destination),
            checksum::address_sum::<F>(to.source) + checksum::address_sum::<F>(to.destination),
        );
        let ports = Delta::between(
            u32::from(from.source_port) + u32::from(from.destination_port),
            u32::from(to.source_port) + u32::from(to.destination_port),
        );
        Self { to, addresses, transport: addresses.and(ports) }
    }
}

/// A family whose headers can be read and rewritten.
pub trait WireFamily: Family {
    /// Source and destination of the packet whose IP header `header` starts with; `None` if it is cut short.
    fn addresses(header: &[u8]) -> Option<(Self::Address, Self::Address)>;

    /// Writes both addresses, takes one from the TTL or hop limit and updates the header checksum, if there is one.
    /// `header` starts at the IP header; one too short is left alone.
    fn rewrite_header(header: &mut [u8], rewrite: &Rewrite<Self>);
}

impl WireFamily for V4 {
    #[inline(always)]
    fn addresses(header: &[u8]) -> Option<(u32, u32)> {
        let [.., s0, s1, s2, s3, d0, d1, d2, d3] = header.first_chunk::<20>()?;
        Some((u32::from_be_bytes([*s0, *s1, *s2, *s3]), u32::from_be_bytes([*d0, *d1, *d2, *d3])))
    }

    #[inline(always)]
    fn rewrite_header(header: &mut [u8], rewrite: &Rewrite<Self>) {
        let Some(header) = header.first_chunk_mut::<20>() else { return };
        header[8] = header[8].wrapping_sub(1);
        let checksum = u16::from_be_bytes([header[10], header[11]]);
        let checksum = rewrite.addresses.and(Delta::HOP).apply(checksum);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        header[12..16].copy_from_slice(&rewrite.to.source.to_be_bytes());
        header[16..20].copy_from_slice(&rewrite.to.destination.to_be_bytes());
    }
}

impl WireFamily for V6 {
    #[inline(always)]
    fn addresses(header: &[u8]) -> Option<(u128, u128)> {
        let (_, addresses) = header.first_chunk::<40>()?.split_at(8);
        let (source, destination) = addresses.split_at(16);
        Some((u128::from_be_bytes(*source.first_chunk()?), u128::from_be_bytes(*destination.first_chunk()?)))
    }

    #[inline(always)]
    fn rewrite_header(header: &mut [u8], rewrite: &Rewrite<Self>) {
        let Some(header) = header.first_chunk_mut::<40>() else { return };
        header[7] = header[7].wrapping_sub(1);
        header[8..24].copy_from_slice(&rewrite.to.source.to_be_bytes());
        header[24..40].copy_from_slice(&rewrite.to.destination.to_be_bytes());
    }
}

/// Gives a packet its new addresses and ports and takes one from its TTL or hop limit (which must be above 1). All
/// checksums are updated incrementally, so that an error on the way here is still seen at the end. `head` and
/// `layout` are of a packet that [`parse`](super::parse()) accepted.
#[inline(never)]
pub fn rewrite<F: WireFamily>(head: &mut [u8], layout: Layout, rewrite: &Rewrite<F>) {
    rewrite_at(head, layout, rewrite);
}

/// [`rewrite`] for a packet that [`parse_common`](super::parse_common) accepted in these bytes.
#[inline(always)]
pub fn rewrite_common(head: &mut CommonHead, rewrite: &Rewrite<V4>) {
    rewrite_at(head, Layout::COMMON, rewrite);
}

#[inline(always)]
fn rewrite_at<F: WireFamily>(head: &mut [u8], layout: Layout, rewrite: &Rewrite<F>) {
    if let Some(header) = head.get_mut(usize::from(layout.l3)..) {
        F::rewrite_header(header, rewrite);
    }
    let Some(transport) = head.get_mut(usize::from(layout.l4)..) else { return };
    match rewrite.to.protocol {
        Protocol::Tcp => {
            let Some(header) = transport.first_chunk_mut::<18>() else { return };
            set_ports(header, &rewrite.to);
            let checksum = rewrite.transport.apply(u16::from_be_bytes([header[16], header[17]]));
            header[16..18].copy_from_slice(&checksum.to_be_bytes());
        }
        Protocol::Udp => {
            let Some(header) = transport.first_chunk_mut::<8>() else { return };
            set_ports(header, &rewrite.to);
            let checksum = u16::from_be_bytes([header[6], header[7]]);
            // RFC 768: zero means "no checksum", and stays so.
            if checksum != 0 {
                let checksum = rewrite.transport.apply_udp(checksum);
                header[6..8].copy_from_slice(&checksum.to_be_bytes());
            }
        }
    }
}

#[inline(always)]
fn set_ports<F: Family>(header: &mut [u8], to: &FiveTuple<F>) {
    let ports = u32::from(to.source_port) << 16 | u32::from(to.destination_port);
    if let Some(bytes) = header.first_chunk_mut::<4>() {
        *bytes = ports.to_be_bytes();
    }
}
