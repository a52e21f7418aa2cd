//! Packets that grow or shrink on their way: what their headers say of their length, and what their checksums cover.

use super::checksum::{self, Delta};
use super::ethernet::Link;
use super::tcp_flags::URG;
use super::{Network, Packet, Parsed, Transport, parse};
use crate::model::Protocol;

/// Where in the frame the data of a packet begin that is TCP or UDP, or the first piece of one.
#[must_use]
pub fn data_start(packet: &Packet, head: &[u8]) -> Option<u16> {
    let l4 = packet.layout.l4;
    match packet.transport {
        Transport::Tcp => {
            let octets = head.get(usize::from(l4) + 12)? >> 4;
            Some(l4 + u16::from(octets) * 4)
        }
        Transport::Udp => Some(l4 + 8),
        Transport::Fragment | Transport::Other => None,
    }
}

/// Whether the frame of `octets` octets that begins with `head` holds a whole packet, no piece of one.
#[must_use]
pub fn is_whole(head: &[u8], octets: usize) -> bool {
    let parsed = Link::read(head).map(|link| parse(&link, head, octets));
    matches!(parsed, Some(Ok(Parsed::Ip(packet))) if packet.transport != Transport::Fragment)
}

/// Puts `bytes`, an even number of them, in front of the data of a whole packet. The frame, which begins with `head`, has
/// grown by as much at its front; `packet` is as it was before, and its places are right again afterwards but for its end.
/// Length fields, checksums (RFC 1624) and the urgent pointer (RFC 9293, 3.8.5: it counts from the sequence number) are
/// updated. No effect if it is neither TCP nor UDP.
pub fn put_ahead(head: &mut [u8], packet: &Packet, bytes: &[u8]) {
    let Some(start) = head.get(bytes.len()..).and_then(|before| data_start(packet, before)) else { return };
    let start = usize::from(start);
    if head.len() < start + bytes.len() {
        return;
    }
    head.copy_within(bytes.len()..bytes.len() + start, 0);
    head[start..start + bytes.len()].copy_from_slice(bytes);
    let by = i32::try_from(bytes.len()).unwrap_or_default();
    let urgent = match packet.transport {
        Transport::Tcp if packet.tcp_flags & URG != 0 => add(head, usize::from(packet.layout.l4) + 18, by),
        Transport::Tcp | Transport::Udp | Transport::Fragment | Transport::Other => Delta::between(0, 0),
    };
    resize(head, packet, by, Delta::between(0, checksum::sum(bytes)).and(urgent));
}

/// Takes its data from a whole TCP segment and returns where it ends now; the frame has still to be cut there. `None`, and
/// nothing changed, if the data are not all in `head`.
#[must_use]
pub fn take_data(head: &mut [u8], packet: &Packet) -> Option<u16> {
    let start = data_start(packet, head)?;
    let data = head.get(usize::from(start)..usize::from(packet.layout.end))?;
    let gone = Delta::between(checksum::sum(data), 0);
    let by = i32::from(start) - i32::from(packet.layout.end);
    resize(head, packet, by, gone);
    Some(start)
}

/// Updates lengths that change `by` so many octets, and the checksums; the data's part of theirs changes by `data`.
fn resize(head: &mut [u8], packet: &Packet, by: i32, data: Delta) {
    let l3 = usize::from(packet.layout.l3);
    match packet.network {
        Network::V4 => {
            let change = add(head, l3 + 2, by);
            update(head, l3 + 10, change, false);
        }
        Network::V6 => {
            add(head, l3 + 4, by);
        }
    }
    let l4 = usize::from(packet.layout.l4);
    let octets = packet.layout.end - packet.layout.l4;
    // In the pseudo-header (RFC 9293, 3.1; RFC 768; RFC 8200, 8.1).
    let length = Delta::between(u32::from(octets), u32::from(changed(octets, by)));
    match Protocol::from_number(packet.protocol) {
        Some(Protocol::Tcp) => update(head, l4 + 16, data.and(length), false),
        Some(Protocol::Udp) => {
            let field = add(head, l4 + 4, by);
            update(head, l4 + 6, data.and(length).and(field), true);
        }
        None => {}
    }
}

fn changed(length: u16, by: i32) -> u16 {
    u16::try_from(i32::from(length) + by).unwrap_or(u16::MAX)
}

/// Adds to the number at `place`, and says what that does to a sum over it.
fn add(head: &mut [u8], place: usize, by: i32) -> Delta {
    let Some(field) = head.get_mut(place..).and_then(<[u8]>::first_chunk_mut::<2>) else {
        return Delta::between(0, 0);
    };
    let before = u16::from_be_bytes(*field);
    let after = changed(before, by);
    *field = after.to_be_bytes();
    Delta::between(u32::from(before), u32::from(after))
}

fn update(head: &mut [u8], place: usize, change: Delta, is_udp: bool) {
    let Some(field) = head.get_mut(place..).and_then(<[u8]>::first_chunk_mut::<2>) else { return };
    let checksum = u16::from_be_bytes(*field);
    *field = match (is_udp, checksum) {
        // RFC 768: zero means "no checksum", and stays so.
        (true, 0) => *field,
        (true, _) => change.apply_udp(checksum).to_be_bytes(),
        (false, _) => change.apply(checksum).to_be_bytes(),
    };
}

#[cfg(test)]
mod tests {
    use etherparse::{PacketBuilder, TcpHeader};
    use proptest::prelude::*;

    use super::*;

    fn built(v6: bool, udp: bool, options: &[u8], payload: &[u8]) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let builder = if v6 { builder.ipv6([1; 16], [2; 16], 64) } else { builder.ipv4([1; 4], [2; 4], 64) };
        let mut frame = Vec::new();
        if udp {
            builder.udp(53, 54).write(&mut frame, payload).unwrap();
        } else {
            let mut header = TcpHeader::new(80, 40_000, 7, 1024);
            header.ack = true;
            header.set_options_raw(options).unwrap();
            builder.tcp_header(header).write(&mut frame, payload).unwrap();
        }
        frame
    }

    fn packet(frame: &[u8]) -> Packet {
        let Ok(Parsed::Ip(packet)) = parse(&Link::read(frame).unwrap(), frame, frame.len()) else { panic!() };
        packet
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_put_ahead_makes_the_packet_that_would_have_been_built_with_it(
            shape in any::<(bool, bool)>(),
            options in 0_usize..10,
            mut ahead in prop::collection::vec(any::<u8>(), 2..60),
            data in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let (v6, udp) = shape;
            ahead.truncate(ahead.len() / 2 * 2);
            let options = vec![1; options * 4];
            let frame = built(v6, udp, &options, &data);
            let packet = packet(&frame);
            let mut grown = vec![0; ahead.len()];
            grown.extend(&frame);
            put_ahead(&mut grown, &packet, &ahead);
            prop_assert!(is_whole(&grown, grown.len()));
            prop_assert_eq!(grown, built(v6, udp, &options, &[ahead, data].concat()));
        }

        #[test]
        fn a_segment_without_its_data_is_the_one_that_never_had_any(
            v6: bool,
            data in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let mut frame = built(v6, false, &[2, 4, 5, 180], &data);
            let packet = packet(&frame);
            let end = take_data(&mut frame, &packet).unwrap();
            frame.truncate(usize::from(end));
            prop_assert_eq!(frame, built(v6, false, &[2, 4, 5, 180], &[]));
        }
    }

    #[test]
    fn urgent_data_are_urgent_still() {
        let segment = |urgent: u16, payload: &[u8]| {
            let mut header = TcpHeader::new(80, 40_000, 7, 1024);
            (header.ack, header.urg, header.urgent_pointer) = (true, true, urgent);
            let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
            let mut frame = Vec::new();
            builder.ipv4([1; 4], [2; 4], 64).tcp_header(header).write(&mut frame, payload).unwrap();
            frame
        };
        let before = segment(3, b"data");
        let mut frame = [vec![0; 4], before.clone()].concat();
        put_ahead(&mut frame, &packet(&before), b"head");
        assert_eq!(frame, segment(7, b"headdata"));
    }

    #[test]
    fn a_datagram_without_a_checksum_gets_none() {
        let mut frame = vec![0; 4];
        frame.extend(built(false, true, &[], b"data"));
        let before = packet(&frame[4..]);
        frame[4 + 40..4 + 42].fill(0);
        put_ahead(&mut frame, &before, b"head");
        assert_eq!(frame[40..42], [0, 0]);
        assert_eq!(&frame[42..], b"headdata");
    }

    #[test]
    fn data_that_are_not_in_the_first_part_stay() {
        let mut frame = built(false, false, &[], &[7; 100]);
        let packet = packet(&frame);
        frame.truncate(80);
        let before = frame.clone();
        assert_eq!(take_data(&mut frame, &packet), None);
        assert_eq!(frame, before);
    }
}
