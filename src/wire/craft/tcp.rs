//! TCP segments.

use etherparse::{IpNumber, TcpHeader};

use super::{Answer, Way, header_v4, header_v6};
use crate::wire::tcp_flags::RST;
use crate::wire::{Network, Packet, Segment};

/// The reset that answers a segment: its sequence number is the one the sender expects, or it acknowledges all that
/// the segment carried (RFC 9293, 3.10.7.1). None for a reset.
pub(super) fn reset_back(answer: &mut Answer, packet: &Packet, head: &[u8]) -> Option<()> {
    let segment = Segment::read(packet, head)?;
    let mut tcp = match segment.acknowledgement {
        Some(expected) => header(&segment, Way::Back, expected, None),
        None => header(&segment, Way::Back, 0, Some(segment.next())),
    };
    tcp.rst = true;
    (segment.flags & RST == 0).then_some(())?;
    write(answer, packet, head, Way::Back, tcp)
}

/// The reset that takes a segment's place: with its sequence number, which the receiver expects, and what it
/// acknowledged. None for a reset.
pub(super) fn reset_onward(answer: &mut Answer, packet: &Packet, head: &[u8]) -> Option<()> {
    let segment = Segment::read(packet, head)?;
    let mut tcp = header(&segment, Way::Onward, segment.sequence, segment.acknowledgement);
    tcp.rst = true;
    (segment.flags & RST == 0).then_some(())?;
    write(answer, packet, head, Way::Onward, tcp)
}

/// The header of a segment between the ports of `segment`.
fn header(segment: &Segment, way: Way, sequence: u32, acknowledgement: Option<u32>) -> TcpHeader {
    let (from, to) = match way {
        Way::Back => (segment.destination_port, segment.source_port),
        Way::Onward => (segment.source_port, segment.destination_port),
    };
    let mut header = TcpHeader::new(from, to, sequence, 0);
    if let Some(number) = acknowledgement {
        header.ack = true;
        header.acknowledgment_number = number;
    }
    header
}

/// Appends the IP packet with this segment, between the addresses of `packet`.
fn write(answer: &mut Answer, packet: &Packet, head: &[u8], way: Way, mut tcp: TcpHeader) -> Option<()> {
    match packet.network {
        Network::V4 => {
            let ip = header_v4(packet, head, way, IpNumber::TCP, tcp.header_len())?;
            tcp.checksum = tcp.calc_checksum_ipv4(&ip, &[]).ok()?;
            answer.try_extend_from_slice(&ip.to_bytes()).ok()?;
        }
        Network::V6 => {
            let ip = header_v6(packet, head, way, IpNumber::TCP, tcp.header_len())?;
            tcp.checksum = tcp.calc_checksum_ipv6(&ip, &[]).ok()?;
            answer.try_extend_from_slice(&ip.to_bytes()).ok()?;
        }
    }
    answer.try_extend_from_slice(&tcp.to_bytes()).ok()
}
