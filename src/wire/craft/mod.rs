//! Answers that the balancer itself gives: TCP resets, ICMP errors, a page. Off the fast path, built with etherparse.

mod ahead;
mod icmp;
mod page;
mod tcp;

pub use ahead::segment_ahead;
use arrayvec::ArrayVec;
use etherparse::{
    EtherType, Ethernet2Header, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, SingleVlanHeader, VlanId,
};

use super::ethernet::{self, Link};
use super::{IcmpFamily, Layout, Network, Packet, Transport, WireFamily};
use crate::model::{Mac, V4, V6};

/// Room for the largest answer: an ICMPv6 error of the minimum MTU, 1280 octets, and a tagged Ethernet header.
pub type Answer = ArrayVec<u8, 1300>;

/// What to tell the sender of a packet that is not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody listens: RST for TCP (RFC 9293, 3.10.7.1), port unreachable for everything else.
    Unreachable,
    /// The hop limit ran out: ICMP time exceeded (RFC 792; RFC 4443, 3.3).
    TimeExceeded,
    /// The host is out of reach: ICMP host unreachable, or address unreachable (RFC 792; RFC 4443, 3.1).
    HostUnreachable,
    /// It does not fit the way: ICMP fragmentation needed, or packet too big (RFC 1191, section 4; RFC 4443, 3.2).
    TooBig {
        /// The largest IP packet that does, in octets.
        mtu: u16,
    },
    /// A segment of a connection that nobody holds.
    Reply(Reply),
}

/// A TCP segment that answers one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Of its first octet, or of its SYN.
    pub sequence: u32,
    /// What is expected next.
    pub acknowledgement: u32,
    /// What it says.
    pub say: Say,
}

/// What a segment says besides what it acknowledges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Say {
    /// SYN, and that segments of up to `mss` octets are taken (RFC 9293, 3.7.1).
    Accept {
        /// Without headers.
        mss: u16,
    },
    /// Nothing.
    Acknowledge,
    /// FIN.
    Close,
    /// HTTP's `503 Service Unavailable`, then FIN.
    Page,
    /// The head of the same without its body, then FIN.
    Head,
}

impl Say {
    /// The sequence numbers it takes: SYN and FIN take one each (RFC 9293, 3.4).
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the page fits one segment")]
    pub const fn octets(self) -> u32 {
        match self {
            Self::Acknowledge => 0,
            Self::Accept { .. } | Self::Close => 1,
            Self::Page | Self::Head => self.text().len() as u32 + 1,
        }
    }

    const fn text(self) -> &'static [u8] {
        match self {
            Self::Accept { .. } | Self::Acknowledge | Self::Close => &[],
            Self::Page => page::PAGE,
            Self::Head => page::HEAD,
        }
    }
}

/// The frame that tells the sender of a packet about it, from `our_mac` and from the address that the packet was
/// sent to. `head` holds the packet, as received. `None` where an answer must not be given: to a reset; to an ICMP
/// error, a fragment that is not the first, a group, a sender that cannot be one (RFC 1812, 4.3.2.7; RFC 4443, 2.4 e);
/// about the size of an IPv4 packet that may be fragmented.
#[must_use]
pub fn refuse(refusal: Refusal, link: &Link, packet: &Packet, head: &[u8], our_mac: Mac) -> Option<Answer> {
    let mut answer = Answer::new();
    write_link(&mut answer, (our_mac, link.source), link.vlan, packet)?;
    let error = match refusal {
        Refusal::Unreachable if packet.transport == Transport::Tcp => {
            tcp::reset_back(&mut answer, packet, head)?;
            return Some(answer);
        }
        Refusal::Reply(reply) => {
            tcp::reply(&mut answer, reply, packet, head)?;
            return Some(answer);
        }
        Refusal::Unreachable => icmp::Error::PortUnreachable,
        Refusal::TimeExceeded => icmp::Error::TimeExceeded,
        Refusal::HostUnreachable => icmp::Error::HostUnreachable,
        Refusal::TooBig { mtu } => icmp::Error::TooBig(mtu),
    };
    if link.destination.is_multicast() {
        return None;
    }
    match packet.network {
        Network::V4 => icmp::v4(&mut answer, error, packet, head)?,
        Network::V6 => icmp::v6(&mut answer, error, packet, head)?,
    }
    Some(answer)
}

/// The frame that tells the sender of a packet that went on through a tunnel about it. `inner` is the packet as far as an
/// error quotes it, `macs` are those of sender and receiver of the frame. `None` where no answer must be given, and
/// where the quote ends before the first eight octets behind the IP header.
#[must_use]
pub fn relay<F: IcmpFamily>(
    refusal: Refusal,
    macs: (Mac, Mac),
    vlan: Option<u16>,
    inner: &[u8],
) -> Option<Answer> {
    let (protocol, transport) = F::transport(inner).ok()?;
    let transport = transport?;
    let packet = Packet {
        network: if F::VERSION == 4 { Network::V4 } else { Network::V6 },
        transport: Transport::Other,
        protocol,
        tcp_flags: 0,
        hop_limit: HOP_LIMIT,
        layout: Layout {
            l3: 0,
            l4: u16::try_from(transport).ok()?,
            end: u16::try_from(inner.len()).ok().filter(|end| usize::from(*end) >= transport + 8)?,
        },
    };
    let error = match refusal {
        Refusal::TooBig { mtu } => icmp::Error::TooBig(mtu),
        Refusal::HostUnreachable => icmp::Error::HostUnreachable,
        Refusal::Unreachable | Refusal::TimeExceeded | Refusal::Reply(_) => return None,
    };
    let mut answer = Answer::new();
    write_link(&mut answer, macs, vlan, &packet)?;
    match packet.network {
        Network::V4 => icmp::v4(&mut answer, error, &packet, inner)?,
        Network::V6 => icmp::v6(&mut answer, error, &packet, inner)?,
    }
    Some(answer)
}

/// The frame that resets the connection of a TCP packet at the side that the packet is on its way to, from its
/// sender's address; `macs` are those of sender and receiver on that side. `head` holds the packet, translated. `None`
/// for a reset, which says so itself.
#[must_use]
pub fn reset_onward(macs: (Mac, Mac), vlan: Option<u16>, packet: &Packet, head: &[u8]) -> Option<Answer> {
    let mut answer = Answer::new();
    write_link(&mut answer, macs, vlan, packet)?;
    tcp::reset_onward(&mut answer, packet, head)?;
    Some(answer)
}

/// Where an answer goes, seen from the packet that causes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// To its sender.
    Back,
    /// To its receiver.
    Onward,
}

/// TTL and hop limit of our own packets (RFC 1700, "IP TIME TO LIVE PARAMETER").
pub(super) const HOP_LIMIT: u8 = 64;

fn write_link(answer: &mut Answer, (from, to): (Mac, Mac), vlan: Option<u16>, packet: &Packet) -> Option<()> {
    let payload = match packet.network {
        Network::V4 => EtherType::IPV4,
        Network::V6 => EtherType::IPV6,
    };
    let ether_type = if vlan.is_some() { EtherType(ethernet::VLAN) } else { payload };
    let header = Ethernet2Header { source: from.0, destination: to.0, ether_type };
    answer.try_extend_from_slice(&header.to_bytes()).ok()?;
    if let Some(id) = vlan {
        let tag = SingleVlanHeader {
            vlan_id: VlanId::try_new(id).ok()?,
            ether_type: payload,
            ..SingleVlanHeader::default()
        };
        answer.try_extend_from_slice(&tag.to_bytes()).ok()?;
    }
    Some(())
}

/// The header of a packet with so many octets of payload, between the addresses of `packet`.
fn header_v4(
    packet: &Packet,
    head: &[u8],
    way: Way,
    protocol: IpNumber,
    octets: usize,
) -> Option<Ipv4Header> {
    let (source, destination) = ends::<V4>(packet, head, way)?;
    let (source, destination) = (source.to_be_bytes(), destination.to_be_bytes());
    let octets = u16::try_from(octets).ok()?;
    let mut header = Ipv4Header::new(octets, HOP_LIMIT, protocol, source, destination).ok()?;
    header.header_checksum = header.calc_header_checksum();
    Some(header)
}

/// The same for IPv6.
fn header_v6(
    packet: &Packet,
    head: &[u8],
    way: Way,
    protocol: IpNumber,
    octets: usize,
) -> Option<Ipv6Header> {
    let (source, destination) = ends::<V6>(packet, head, way)?;
    Some(Ipv6Header {
        traffic_class: 0,
        flow_label: Ipv6FlowLabel::ZERO,
        payload_length: u16::try_from(octets).ok()?,
        next_header: protocol,
        hop_limit: HOP_LIMIT,
        source: source.to_be_bytes(),
        destination: destination.to_be_bytes(),
    })
}

/// Source and destination of what goes this way.
fn ends<F: WireFamily>(packet: &Packet, head: &[u8], way: Way) -> Option<(F::Address, F::Address)> {
    let pair = F::pair_in(head.get(usize::from(packet.layout.l3)..)?)?;
    Some(F::addresses(match way {
        Way::Back => F::reversed(pair),
        Way::Onward => pair,
    }))
}
