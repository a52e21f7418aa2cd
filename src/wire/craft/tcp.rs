//! TCP segments.

use etherparse::{IpNumber, TcpHeader, TcpOptionElement};

use super::{Answer, Reply, Say, Way, header_v4, header_v6};
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
    write(answer, packet, head, Way::Back, tcp, &[])
}

/// The reset that takes a segment's place: with its sequence number, which the receiver expects, and what it
/// acknowledged. None for a reset.
pub(super) fn reset_onward(answer: &mut Answer, packet: &Packet, head: &[u8]) -> Option<()> {
    let segment = Segment::read(packet, head)?;
    let mut tcp = header(&segment, Way::Onward, segment.sequence, segment.acknowledgement);
    tcp.rst = true;
    (segment.flags & RST == 0).then_some(())?;
    write(answer, packet, head, Way::Onward, tcp, &[])
}

/// The segment that answers one of a connection that nobody holds. None to a reset.
pub(super) fn reply(answer: &mut Answer, reply: Reply, packet: &Packet, head: &[u8]) -> Option<()> {
    let segment = Segment::read(packet, head)?;
    (segment.flags & RST == 0).then_some(())?;
    let mut tcp = header(&segment, Way::Back, reply.sequence, Some(reply.acknowledgement));
    tcp.window_size = u16::MAX;
    match reply.say {
        // No window scale, timestamps or SACK: they are agreed on in SYNs, and what was agreed on would have to be known.
        Say::Accept { mss } => {
            tcp.syn = true;
            tcp.set_options(&[TcpOptionElement::MaximumSegmentSize(mss)]).ok()?;
        }
        Say::Acknowledge => {}
        Say::Close => tcp.fin = true,
        Say::Page | Say::Head => {
            tcp.psh = true;
            tcp.fin = true;
        }
    }
    write(answer, packet, head, Way::Back, tcp, reply.say.text())
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

/// Appends the IP packet with a segment of this header and text, between the addresses of `packet`.
fn write(
    answer: &mut Answer,
    packet: &Packet,
    head: &[u8],
    way: Way,
    mut tcp: TcpHeader,
    text: &[u8],
) -> Option<()> {
    match packet.network {
        Network::V4 => {
            let ip = header_v4(packet, head, way, IpNumber::TCP, tcp.header_len() + text.len())?;
            tcp.checksum = tcp.calc_checksum_ipv4(&ip, text).ok()?;
            answer.try_extend_from_slice(&ip.to_bytes()).ok()?;
        }
        Network::V6 => {
            let ip = header_v6(packet, head, way, IpNumber::TCP, tcp.header_len() + text.len())?;
            tcp.checksum = tcp.calc_checksum_ipv6(&ip, text).ok()?;
            answer.try_extend_from_slice(&ip.to_bytes()).ok()?;
        }
    }
    answer.try_extend_from_slice(&tcp.to_bytes()).ok()?;
    answer.try_extend_from_slice(text).ok()
}
