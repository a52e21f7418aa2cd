//! The one place that changes addresses and ports.

use super::Layout;
use super::checksum::{self, Delta};
use crate::model::{Family, FiveTuple, PortPair, Protocol, V4, V6};

/// New addresses and ports for a packet and one hop less, with the change that makes to its checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewrite<F: Family> {
    /// What the packet carries afterwards.
    pub to: FiveTuple<F>,
    /// The change of its checksums.
    pub change: Change,
}

/// What a rewrite does to the checksums of a packet; both in network byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Of the addresses and the hop: what the IPv4 header checksum sees.
    pub header: Delta,
    /// Of addresses and ports: what TCP and UDP see, through the pseudo-header.
    pub transport: Delta,
}

impl Change {
    /// The change that makes `to` of `from`.
    #[must_use]
    pub fn between<F: Family>(from: &FiveTuple<F>, to: &FiveTuple<F>) -> Self {
        Self::there_and_back(from, to)[0]
    }

    /// The change that makes `to` of `from`, and the one that makes of answers to `to` answers to `from`.
    #[must_use]
    #[inline]
    pub fn there_and_back<F: Family>(from: &FiveTuple<F>, to: &FiveTuple<F>) -> [Self; 2] {
        let sum = |tuple: &FiveTuple<F>| u32::from(checksum::pair_sum::<F>(tuple.addresses()));
        let addresses = Delta::between(sum(from), sum(to));
        let transport = addresses.and(Delta::between(from.ports().word(), to.ports().word()));
        // Who is the source and who the destination does not matter to a sum.
        [(addresses, transport), (addresses.reversed(), transport.reversed())]
            .map(|(addresses, transport)| Self { header: addresses.and(Delta::HOP), transport })
    }
}

impl<F: Family> Rewrite<F> {
    /// The rewrite of packets that carry `from`.
    #[must_use]
    pub fn between(from: &FiveTuple<F>, to: FiveTuple<F>) -> Self {
        Self { to, change: Change::between(from, &to) }
    }
}

/// A family whose headers can be read and rewritten.
pub trait WireFamily: Family {
    /// Both addresses of the packet whose IP header `header` starts with; `None` if it is cut short.
    fn pair_in(header: &[u8]) -> Option<Self::Pair>;

    /// Writes both addresses, takes one from the TTL or hop limit and updates the header checksum, if there is one.
    /// `header` starts at the IP header; one too short is left alone.
    fn rewrite_header(header: &mut [u8], to: Self::Pair, change: Delta);

    /// [`rewrite_header`](Self::rewrite_header) without the hop.
    fn readdress(header: &mut [u8], to: Self::Pair, change: Delta);
}

impl WireFamily for V4 {
    #[inline(always)]
    fn pair_in(header: &[u8]) -> Option<u64> {
        Some(u64::from_ne_bytes(*header.first_chunk::<20>()?.last_chunk()?))
    }

    #[inline(always)]
    fn rewrite_header(header: &mut [u8], to: u64, change: Delta) {
        let Some(header) = header.first_chunk_mut::<20>() else { return };
        header[8] = header[8].wrapping_sub(1);
        Self::readdress(header, to, change);
    }

    #[inline(always)]
    fn readdress(header: &mut [u8], to: u64, change: Delta) {
        let Some(header) = header.first_chunk_mut::<20>() else { return };
        let checksum = change.apply(u16::from_ne_bytes([header[10], header[11]]));
        header[10..12].copy_from_slice(&checksum.to_ne_bytes());
        header[12..20].copy_from_slice(&to.to_ne_bytes());
    }
}

impl WireFamily for V6 {
    #[inline(always)]
    fn pair_in(header: &[u8]) -> Option<[u64; 4]> {
        let (words, _) = header.first_chunk::<40>()?.as_chunks();
        let [_, words @ ..] = *words.first_chunk::<5>()?;
        Some(words.map(u64::from_ne_bytes))
    }

    #[inline(always)]
    fn rewrite_header(header: &mut [u8], to: [u64; 4], change: Delta) {
        let Some(header) = header.first_chunk_mut::<40>() else { return };
        header[7] = header[7].wrapping_sub(1);
        Self::readdress(header, to, change);
    }

    #[inline(always)]
    fn readdress(header: &mut [u8], to: [u64; 4], _: Delta) {
        let Some(header) = header.first_chunk_mut::<40>() else { return };
        for (octets, word) in header[8..].as_chunks_mut::<8>().0.iter_mut().zip(to) {
            *octets = word.to_ne_bytes();
        }
    }
}

/// Gives a packet its new addresses and ports and takes one from its TTL or hop limit (which must be above 1). All
/// checksums are updated incrementally, so that an error on the way here is still seen at the end. `head` and
/// `layout` are of a packet that [`parse`](super::parse()) accepted.
#[inline(never)]
pub fn rewrite<F: WireFamily>(head: &mut [u8], layout: Layout, rewrite: &Rewrite<F>) {
    rewrite_at(head, layout, rewrite);
}

/// [`rewrite`] for a piece of a packet that is not the first one: it has addresses and a TTL or hop limit alone. The
/// packet's transport checksum is in its first piece, and covers all.
pub fn rewrite_addresses<F: WireFamily>(head: &mut [u8], layout: Layout, rewrite: &Rewrite<F>) {
    if let Some(header) = head.get_mut(usize::from(layout.l3)..) {
        F::rewrite_header(header, rewrite.to.addresses(), rewrite.change.header);
    }
}

/// [`rewrite`] for a packet that [`Common::read`](super::Common::read) accepted in these bytes: with `layout` a
/// constant, every place in it is one.
#[inline(always)]
pub(super) fn rewrite_at<F: WireFamily>(head: &mut [u8], layout: Layout, rewrite: &Rewrite<F>) {
    if let Some(header) = head.get_mut(usize::from(layout.l3)..) {
        F::rewrite_header(header, rewrite.to.addresses(), rewrite.change.header);
    }
    let Some(transport) = head.get_mut(usize::from(layout.l4)..) else { return };
    let change = rewrite.change.transport;
    match rewrite.to.protocol() {
        Protocol::Tcp => {
            let Some(header) = transport.first_chunk_mut::<18>() else { return };
            set_ports(header, rewrite.to.ports());
            let checksum = change.apply(u16::from_ne_bytes([header[16], header[17]]));
            header[16..18].copy_from_slice(&checksum.to_ne_bytes());
        }
        Protocol::Udp => {
            let Some(header) = transport.first_chunk_mut::<8>() else { return };
            set_ports(header, rewrite.to.ports());
            let checksum = u16::from_ne_bytes([header[6], header[7]]);
            // RFC 768: zero means "no checksum", and stays so.
            if checksum != 0 {
                header[6..8].copy_from_slice(&change.apply_udp(checksum).to_ne_bytes());
            }
        }
    }
}

/// Gives a packet that an ICMP error quotes, and that carries `from`, the addresses and ports of `to`; its TTL or hop
/// limit stays, as it travels no further. `quote` starts at its IP header and may end anywhere behind its ports, which
/// stand at `transport`; a checksum of which not both octets are quoted is left alone.
pub(super) fn rewrite_quote<F: WireFamily>(
    quote: &mut [u8],
    transport: usize,
    from: &FiveTuple<F>,
    to: &FiveTuple<F>,
) {
    let sum = |tuple: &FiveTuple<F>| u32::from(checksum::pair_sum::<F>(tuple.addresses()));
    F::readdress(quote, to.addresses(), Delta::between(sum(from), sum(to)));
    let Some(transport) = quote.get_mut(transport..) else { return };
    set_ports(transport, to.ports());
    let change = Change::between(from, to).transport;
    let (at, is_udp) = match to.protocol() {
        Protocol::Tcp => (16, false),
        Protocol::Udp => (6, true),
    };
    let Some(field) = transport.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<2>) else { return };
    let checksum = u16::from_ne_bytes(*field);
    *field = match (is_udp, checksum) {
        // RFC 768: zero means "no checksum", and stays so.
        (true, 0) => *field,
        (true, _) => change.apply_udp(checksum).to_ne_bytes(),
        (false, _) => change.apply(checksum).to_ne_bytes(),
    };
}

#[inline(always)]
fn set_ports(header: &mut [u8], ports: PortPair) {
    if let Some(bytes) = header.first_chunk_mut::<4>() {
        *bytes = ports.octets();
    }
}
