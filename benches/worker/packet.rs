//! Packets of 60 octets (64 on the wire), made fast: of templates, whose sums are known but for a tuple and a mark.
//!
//! The mark says which flow a packet is of, wherever it leaves: in the upper octets of a segment's numbers, which are those
//! of both sides' first, and in the first octets of a datagram's payload. A worker changes neither.

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TcpOptionElement, TransportSlice};

use super::balancer::OUR_MAC;

/// Octets of every packet that a worker receives here.
pub(crate) const OCTETS: usize = 60;

/// An address and a port.
pub(crate) type Address = (u32, u16);

/// A packet in a cache line of its own.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(crate) struct Packet(pub(crate) [u8; 64]);

const IP: usize = 14;
const PROTOCOL: usize = IP + 9;
const SOURCE: usize = IP + 12;
const DESTINATION: usize = IP + 16;
const TRANSPORT: usize = IP + 20;
const SEQUENCE: usize = TRANSPORT + 4;
const ACKNOWLEDGEMENT: usize = TRANSPORT + 8;
const TCP_FLAGS: usize = TRANSPORT + 13;
const UDP_MARK: usize = TRANSPORT + 8;
const TCP_CHECKSUM: usize = TRANSPORT + 16;
const UDP_CHECKSUM: usize = TRANSPORT + 6;
const TCP: u8 = 6;

/// Bits of a sequence number that count on from the side's first: marks are below 2^24.
const OFFSET_BITS: u32 = 8;

/// The flags of a segment, as they lie in it.
pub(crate) mod flags {
    pub(crate) const FIN: u8 = 1;
    pub(crate) const SYN: u8 = 2;
    pub(crate) const PSH: u8 = 8;
    pub(crate) const ACK: u8 = 16;
}

impl Packet {
    pub(crate) const EMPTY: Self = Self([0; 64]);

    /// What left, as far as it is kept.
    pub(crate) fn of(head: &[u8]) -> Self {
        let mut packet = Self::EMPTY;
        let octets = head.len().min(64);
        packet.0[..octets].copy_from_slice(&head[..octets]);
        packet
    }

    pub(crate) fn source(&self) -> Address {
        (self.word(SOURCE), self.half(TRANSPORT))
    }

    pub(crate) fn destination(&self) -> Address {
        (self.word(DESTINATION), self.half(TRANSPORT + 2))
    }

    pub(crate) fn mark(&self) -> u32 {
        match self.0[PROTOCOL] {
            TCP => self.word(SEQUENCE) >> OFFSET_BITS,
            _ => self.word(UDP_MARK),
        }
    }

    /// Whether it is a SYN that acknowledges nothing.
    pub(crate) const fn is_bare_syn(&self) -> bool {
        self.0[PROTOCOL] == TCP && self.0[TCP_FLAGS] & (flags::SYN | flags::ACK) == flags::SYN
    }

    /// Whether both checksums are right, by somebody else's reckoning.
    pub(crate) fn is_sound(&self) -> bool {
        let Ok(sliced) = SlicedPacket::from_ethernet(&self.0[..OCTETS]) else { return false };
        let (Some(NetSlice::Ipv4(network)), Some(transport)) = (&sliced.net, &sliced.transport) else {
            return false;
        };
        let header = network.header().to_header();
        let (from, to) = (header.source, header.destination);
        let transport = match transport {
            TransportSlice::Tcp(tcp) => tcp.calc_checksum_ipv4(from, to).ok().zip(Some(tcp.checksum())),
            TransportSlice::Udp(udp) => {
                let sum = udp.to_header().calc_checksum_ipv4(&header, udp.payload());
                sum.ok().zip(Some(udp.checksum()))
            }
            TransportSlice::Icmpv4(_) | TransportSlice::Icmpv6(_) | TransportSlice::Igmp(_) => None,
        };
        is_same(header.calc_header_checksum(), header.header_checksum)
            && transport.is_some_and(|(right, its)| is_same(right, its))
    }

    fn word(&self, at: usize) -> u32 {
        u32::from_be_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]])
    }

    fn half(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.0[at], self.0[at + 1]])
    }
}

/// A kind of packet, without the tuple and the mark.
#[derive(Clone)]
pub(crate) struct Template {
    packet: Packet,
    ip_sum: u32,
    transport_sum: u32,
    checksum_at: usize,
    /// Of a segment: how far behind its sender's first number, and behind the other side's, if it acknowledges.
    offsets: (u32, Option<u32>),
}

impl Template {
    /// A datagram with 18 octets.
    pub(crate) fn datagram() -> Self {
        let builder = PacketBuilder::ethernet2(NEIGHBOUR, OUR_MAC.0).ipv4([0; 4], [0; 4], 64).udp(0, 0);
        let mut bytes = Vec::new();
        builder.write(&mut bytes, &[0; 18]).expect("a vector takes every octet");
        Self::new(&bytes, (0, None))
    }

    /// A segment with these flags: with 6 octets if it pushes, with the usual option if it is a SYN. It is so far behind its
    /// sender's first number and, if it acknowledges, behind the other side's.
    pub(crate) fn segment((bits, sequence, acknowledgement): (u8, u8, u8)) -> Self {
        let mut builder =
            PacketBuilder::ethernet2(NEIGHBOUR, OUR_MAC.0).ipv4([0; 4], [0; 4], 64).tcp(0, 0, 0, 64_000);
        if bits & flags::ACK != 0 {
            builder = builder.ack(0);
        }
        let payload: &[u8] = if bits & flags::PSH != 0 { &[0x2e; 6] } else { &[] };
        if bits & flags::SYN != 0 {
            builder = builder.syn();
            let options = [TcpOptionElement::MaximumSegmentSize(1460)];
            builder = builder.options(&options).expect("there is room for one option");
        }
        if bits & flags::FIN != 0 {
            builder = builder.fin();
        }
        if bits & flags::PSH != 0 {
            builder = builder.psh();
        }
        let mut bytes = Vec::new();
        builder.write(&mut bytes, payload).expect("a vector takes every octet");
        let acknowledges = bits & flags::ACK != 0;
        Self::new(&bytes, (sequence.into(), acknowledges.then_some(acknowledgement.into())))
    }

    fn new(bytes: &[u8], offsets: (u32, Option<u32>)) -> Self {
        let mut packet = Packet::of(bytes);
        let protocol = packet.0[PROTOCOL];
        let checksum_at = if protocol == TCP { TCP_CHECKSUM } else { UDP_CHECKSUM };
        packet.0[IP + 10..IP + 12].fill(0);
        packet.0[checksum_at..checksum_at + 2].fill(0);
        // What follows the end of the packet is padding, and zero.
        let segment = usize::from(packet.half(IP + 2)) - 20;
        let length = u32::try_from(segment).expect("it is short");
        Self {
            ip_sum: sum(&packet.0[IP..TRANSPORT]),
            transport_sum: sum(&packet.0[TRANSPORT..TRANSPORT + segment]) + u32::from(protocol) + length,
            checksum_at,
            offsets,
            packet,
        }
    }

    /// The packet from `source` to `destination` with this mark.
    #[inline(always)]
    pub(crate) fn packet(&self, source: Address, destination: Address, mark: u32) -> Packet {
        let mut packet = self.packet;
        let addresses = halves(source.0) + halves(destination.0);
        let mut rest = u32::from(source.1) + u32::from(destination.1);
        let Packet(bytes) = &mut packet;
        bytes[SOURCE..SOURCE + 4].copy_from_slice(&source.0.to_be_bytes());
        bytes[DESTINATION..DESTINATION + 4].copy_from_slice(&destination.0.to_be_bytes());
        bytes[TRANSPORT..TRANSPORT + 2].copy_from_slice(&source.1.to_be_bytes());
        bytes[TRANSPORT + 2..TRANSPORT + 4].copy_from_slice(&destination.1.to_be_bytes());
        let mut put = |number: u32, at: usize| {
            rest += halves(number);
            bytes[at..at + 4].copy_from_slice(&number.to_be_bytes());
        };
        if self.checksum_at == UDP_CHECKSUM {
            put(mark, UDP_MARK);
        } else {
            let (sequence, acknowledgement) = self.offsets;
            put(mark << OFFSET_BITS | sequence, SEQUENCE);
            if let Some(offset) = acknowledgement {
                put(mark << OFFSET_BITS | offset, ACKNOWLEDGEMENT);
            }
        }
        bytes[IP + 10..IP + 12].copy_from_slice(&checksum(self.ip_sum + addresses).to_be_bytes());
        let checksum = match checksum(self.transport_sum + addresses + rest) {
            // RFC 768: zero means "no checksum".
            0 if self.checksum_at == UDP_CHECKSUM => u16::MAX,
            checksum => checksum,
        };
        bytes[self.checksum_at..self.checksum_at + 2].copy_from_slice(&checksum.to_be_bytes());
        packet
    }
}

/// Where packets come from, on the link.
const NEIGHBOUR: [u8; 6] = [2, 0, 0, 0, 0, 0xc];

const fn halves(word: u32) -> u32 {
    (word >> 16) + (word & 0xffff)
}

fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low))).sum()
}

/// The checksum of RFC 1071 for this sum of 16-bit words, of which there are few.
fn checksum(sum: u32) -> u16 {
    !u16::try_from(halves(halves(sum))).expect("it is folded")
}

/// Both forms of zero say the same.
const fn is_same(one: u16, other: u16) -> bool {
    one == other || one.is_multiple_of(u16::MAX) && other.is_multiple_of(u16::MAX)
}
