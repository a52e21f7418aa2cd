//! Any options in any TCP packet: one put in front of the others, one kind taken out. The frame that comes of it is sound
//! to a second reader, has the option first and nothing of the kind behind it, and the data are untouched.
#![no_main]

mod packet_bytes;

use std::net::IpAddr;

use etherparse::{SlicedPacket, TransportSlice};
use evenkeel::model::Endpoint;
use evenkeel::wire::ethernet::Link;
use evenkeel::wire::option_list::Options;
use evenkeel::wire::{Packet, Parsed, Transport, mss, parse, toa};
use libfuzzer_sys::fuzz_target;
use packet_bytes::{internet_sum, mend_ipv4_header};

fuzz_target!(|data: &[u8]| {
    // Kind, whether to put in, which client; then the frame.
    let Some(([kind, put, port, v6], frame)) = data.split_first_chunk::<4>() else { return };
    let mut frame = frame.to_vec();
    mend_ipv4_header(&mut frame);
    let Some(packet) = tcp_packet(&frame) else { return };
    frame.truncate(packet.layout.end.into());
    let Some(mut options) = Options::read(&frame, &packet) else { return };
    mend_tcp(&mut frame, &packet);
    // Kinds 0 and 1 are no options of their own.
    let kind = (*kind).max(2);
    let before = options;
    let changed = options.take_out(kind);
    assert_eq!(changed, options.octets() != before.octets());
    assert_eq!(options.octets().len(), before.octets().len());
    let address: IpAddr = if v6 % 2 == 0 { [198, 51, 100, *port].into() } else { [*v6; 16].into() };
    let option = toa::option(kind, Endpoint::new(address, 40_000 + u16::from(*port)));
    let first: &[u8] = if put % 2 == 0 { &option } else { &[] };
    let Some(longer) = options.behind(first) else { return };
    let growth = longer.octets().len() - options.octets().len();
    let data_before = frame[data_start(&frame, &packet)..].to_vec();
    let mut grown = [vec![*put; growth], frame.clone()].concat();
    let Some(after) = longer.write(&mut grown, &packet, u16::try_from(growth).expect("40 at most")) else {
        return;
    };
    assert_eq!(tcp_packet(&grown), Some(after), "the packet as it is parsed anew");
    assert_eq!(usize::from(after.layout.end), grown.len());
    assert!(grown[data_start(&grown, &after)..] == data_before, "the data");
    let read = Options::read(&grown, &after).expect("options that were there are there");
    assert_eq!(&read.octets()[..first.len()], first);
    assert!(!names(&read.octets()[first.len()..], kind), "{:x?}", read.octets());
    judge(&grown, &after);

    let most = u16::from(*port) * 8;
    mss::clamp(&mut grown, after, most, u16::from(*put % 32));
    judge(&grown, &after);
});

fn tcp_packet(frame: &[u8]) -> Option<Packet> {
    let link = Link::read(frame)?;
    match parse(&link, frame, frame.len()) {
        Ok(Parsed::Ip(packet)) if packet.transport == Transport::Tcp => Some(packet),
        _ => None,
    }
}

fn data_start(frame: &[u8], packet: &Packet) -> usize {
    let l4 = usize::from(packet.layout.l4);
    l4 + usize::from(frame[l4 + 12] >> 4) * 4
}

/// Whether a reader that does not stop at the end of the list finds an option of the kind.
fn names(mut options: &[u8], kind: u8) -> bool {
    while let [first, rest @ ..] = options {
        options = rest;
        if *first > 1 {
            if *first == kind {
                return true;
            }
            let Some(behind) = rest.first().and_then(|length| rest.get(usize::from(*length).max(2) - 1..))
            else {
                return false;
            };
            options = behind;
        }
    }
    false
}

/// The sum over pseudo-header and segment (RFC 9293, 3.1; RFC 8200, 8.1), which etherparse has no part in: it refuses to
/// compute one over packets with extension headers.
fn tcp_sum(frame: &[u8], packet: &Packet) -> u16 {
    let (l3, l4) = (usize::from(packet.layout.l3), usize::from(packet.layout.l4));
    let segment = &frame[l4..usize::from(packet.layout.end)];
    let addresses = if frame[l3] >> 4 == 4 { &frame[l3 + 12..l3 + 20] } else { &frame[l3 + 8..l3 + 40] };
    let octets = u32::try_from(segment.len()).expect("a packet is shorter");
    let sum = internet_sum(&octets.to_be_bytes(), internet_sum(addresses, 6));
    internet_sum(segment, sum)
}

fn mend_tcp(frame: &mut [u8], packet: &Packet) {
    let at = usize::from(packet.layout.l4) + 16;
    frame[at..at + 2].fill(0);
    let sum = !tcp_sum(frame, packet);
    frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

fn judge(frame: &[u8], packet: &Packet) {
    assert_eq!(tcp_sum(frame, packet), 0xffff, "TCP checksum");
    let Ok(sliced) = SlicedPacket::from_ethernet(frame) else { return };
    let header_octets = data_start(frame, packet) - usize::from(packet.layout.l4);
    if let Some(TransportSlice::Tcp(tcp)) = &sliced.transport {
        assert_eq!(usize::from(tcp.data_offset()) * 4, header_octets);
    }
    let mut mended = frame.to_vec();
    mend_ipv4_header(&mut mended);
    assert!(mended == frame, "IPv4 header checksum");
}
