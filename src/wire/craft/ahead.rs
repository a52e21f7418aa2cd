//! A segment that carries something ahead of another.

use super::Answer;
use crate::wire::checksum;
use crate::wire::grow::data_start;
use crate::wire::tcp_flags::ACK;
use crate::wire::{Network, Packet, Transport};

/// The segment that carries `bytes` in front of what one begins with, which is ready in `head` and numbered behind them:
/// with the same headers, options included, and nothing of its flags but the acknowledgement. `None` for what is no TCP
/// segment, and for an IPv6 fragment; that of the first piece of an IPv4 packet is whole.
#[must_use]
pub fn segment_ahead(head: &[u8], packet: &Packet, bytes: &[u8]) -> Option<Answer> {
    let first = match (packet.network, packet.transport) {
        (_, Transport::Tcp) => *packet,
        (Network::V4, Transport::Fragment) => Packet { transport: Transport::Tcp, ..*packet },
        (Network::V6, Transport::Fragment) | (_, Transport::Udp | Transport::Other) => return None,
    };
    let mut segment = Answer::new();
    segment.try_extend_from_slice(head.get(..usize::from(data_start(&first, head)?))?).ok()?;
    segment.try_extend_from_slice(bytes).ok()?;

    let (l3, l4) = (usize::from(packet.layout.l3), usize::from(packet.layout.l4));
    let addresses = match packet.network {
        Network::V4 => {
            let total = u16::try_from(segment.len() - l3).ok()?;
            let header = segment.get_mut(l3..l4)?;
            let fixed: &mut [u8; 20] = header.first_chunk_mut()?;
            fixed[2..4].copy_from_slice(&total.to_be_bytes());
            // Don't fragment, as before; no piece of anything.
            fixed[6] &= 0x40;
            fixed[7] = 0;
            fixed[10..12].fill(0);
            let sum = !checksum::fold(checksum::sum(header));
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            checksum::sum(&header[12..20])
        }
        Network::V6 => {
            let payload = u16::try_from(segment.len() - l3 - 40).ok()?;
            let header: &mut [u8; 40] = segment.get_mut(l3..)?.first_chunk_mut()?;
            header[4..6].copy_from_slice(&payload.to_be_bytes());
            checksum::sum(&header[8..])
        }
    };
    let tcp = segment.get_mut(l4..)?;
    let octets = u32::try_from(tcp.len()).ok()?;
    let fixed: &mut [u8; 20] = tcp.first_chunk_mut()?;
    let behind = u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
    let sequence = behind.wrapping_sub(u32::try_from(bytes.len()).ok()?);
    fixed[4..8].copy_from_slice(&sequence.to_be_bytes());
    fixed[13] &= ACK;
    fixed[16..20].fill(0);
    // RFC 9293, 3.1; RFC 8200, 8.1.
    let sum = !checksum::fold(checksum::sum(tcp) + addresses + octets + u32::from(packet.protocol));
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    Some(segment)
}

#[cfg(test)]
mod tests {
    use etherparse::{IpHeaders, PacketBuilder, TcpHeader};

    use super::*;
    use crate::wire::ethernet::Link;
    use crate::wire::{Parsed, parse};

    fn built(v6: bool, change: impl Fn(&mut TcpHeader), payload: &[u8]) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let builder = if v6 { builder.ipv6([1; 16], [2; 16], 9) } else { builder.ipv4([1; 4], [2; 4], 9) };
        let mut header = TcpHeader::new(40_000, 80, 128, 1024);
        (header.ack, header.acknowledgment_number) = (true, 7);
        header.set_options_raw(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]).unwrap();
        change(&mut header);
        let mut frame = Vec::new();
        builder.tcp_header(header).write(&mut frame, payload).unwrap();
        frame
    }

    fn ahead(frame: &[u8], bytes: &[u8]) -> Option<Answer> {
        let Ok(Parsed::Ip(packet)) = parse(&Link::read(frame).unwrap(), frame, frame.len()) else { panic!() };
        segment_ahead(frame, &packet, bytes)
    }

    #[test]
    fn it_has_the_headers_of_the_other_and_the_numbers_in_front_of_it() {
        for v6 in [false, true] {
            let frame = built(v6, |header| (header.psh, header.fin) = (true, true), &[7; 900]);
            let expected = built(v6, |header| header.sequence_number = 124, b"head");
            assert_eq!(ahead(&frame, b"head").unwrap()[..], expected[..]);
        }
    }

    #[test]
    fn that_of_a_first_fragment_is_whole() {
        let mut frame = built(false, |_| {}, &[7; 64]);
        frame[20] = 0x20;
        let header = etherparse::Ipv4HeaderSlice::from_slice(&frame[14..34]).unwrap().to_header();
        frame[24..26].copy_from_slice(&header.calc_header_checksum().to_be_bytes());
        let ahead = ahead(&frame, b"head").unwrap();
        let header = IpHeaders::from_slice(&ahead[14..]).unwrap().0;
        assert!(!header.ipv4().unwrap().0.more_fragments);
    }
}
