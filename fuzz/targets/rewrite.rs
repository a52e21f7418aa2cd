//! Any packet, any new addresses and ports: the checksums after an incremental rewrite are those computed from
//! scratch, only what should change changes, and the way back restores it.
#![no_main]

mod packet_bytes;

use evenkeel::model::{FiveTuple, Protocol, V4, V6};
use evenkeel::wire::ethernet::Link;
use evenkeel::wire::{Common, Network, Packet, Parsed, Rewrite, parse, rewrite};
use libfuzzer_sys::fuzz_target;
use packet_bytes::{internet_sum, mend_ipv4_header};

fuzz_target!(|data: &[u8]| {
    let Some((to, frame)) = data.split_first_chunk::<36>() else { return };
    let mut frame = frame.to_vec();
    mend_ipv4_header(&mut frame);
    let Some(link) = Link::read(&frame) else { return };
    let Ok(Parsed::Ip(packet)) = parse(&link, &frame, frame.len()) else { return };
    if packet.hop_limit <= 1 {
        return;
    }
    let word = |at: usize| u128::from_be_bytes(*to[at..].first_chunk().expect("36 octets"));
    let ports = [u16::from_be_bytes([to[32], to[33]]), u16::from_be_bytes([to[34], to[35]])];
    match packet.network {
        Network::V4 => {
            let address = |at: usize| u32::from_be_bytes(*to[at..].first_chunk().expect("36 octets"));
            there_and_back::<V4>(&mut frame, &packet, address(0), address(16), ports);
        }
        Network::V6 => there_and_back::<V6>(&mut frame, &packet, word(0), word(16), ports),
    }
});

/// Both ways of rewriting do the same to a packet that either may be used for.
fn agree<F: Common>(frame: &[u8], packet: &Packet, change: &Rewrite<F>) {
    if F::read(frame, frame.len()).is_none() {
        return;
    }
    let (mut general, mut common) = (frame.to_vec(), frame.to_vec());
    F::rewrite(&mut common, change);
    rewrite(&mut general, packet.layout, change);
    assert_eq!(common, general);
}

fn there_and_back<F: Common>(
    frame: &mut [u8],
    packet: &Packet,
    source: F::Address,
    destination: F::Address,
    [source_port, destination_port]: [u16; 2],
) {
    let Some(from) = packet.tuple::<F>(frame) else { return };
    let has_checksum =
        from.protocol() == Protocol::Tcp || frame[usize::from(packet.layout.l4) + 6..][..2] != [0, 0];
    if has_checksum {
        let sum = full_checksum::<F>(frame, packet, from.protocol());
        frame[checksum_at(packet, from.protocol())..][..2].copy_from_slice(&sum.to_be_bytes());
    }
    let before = frame.to_vec();

    let to = FiveTuple::new((source, source_port), (destination, destination_port), from.protocol());
    let there = Rewrite::between(&from, to);
    agree::<F>(frame, packet, &there);
    rewrite(frame, packet.layout, &there);
    assert_eq!(packet.tuple::<F>(frame), Some(to));
    assert_right::<F>(frame, packet, from.protocol(), has_checksum);

    let back = Rewrite::between(&to, from);
    rewrite(frame, packet.layout, &back);
    assert_eq!(packet.tuple::<F>(frame), Some(from));
    assert_right::<F>(frame, packet, from.protocol(), has_checksum);
    // All is as it was but for two hops.
    let l3 = usize::from(packet.layout.l3);
    let hop = l3 + if packet.network == Network::V4 { 8 } else { 7 };
    frame[hop] = before[hop];
    if packet.network == Network::V4 {
        frame[l3 + 10..l3 + 12].copy_from_slice(&before[l3 + 10..l3 + 12]);
    }
    assert_eq!(frame, before);
}

fn assert_right<F: Common>(frame: &[u8], packet: &Packet, protocol: Protocol, has_checksum: bool) {
    let l3 = usize::from(packet.layout.l3);
    if packet.network == Network::V4 {
        let mut mended = frame.to_vec();
        mend_ipv4_header(&mut mended);
        assert_eq!(frame[l3 + 10..l3 + 12], mended[l3 + 10..l3 + 12], "header checksum");
    }
    let at = checksum_at(packet, protocol);
    let stands = u16::from_be_bytes([frame[at], frame[at + 1]]);
    let expected = if has_checksum { full_checksum::<F>(frame, packet, protocol) } else { 0 };
    assert_eq!(stands, expected, "{protocol} checksum");
}

fn checksum_at(packet: &Packet, protocol: Protocol) -> usize {
    usize::from(packet.layout.l4) + if protocol == Protocol::Tcp { 16 } else { 6 }
}

/// The checksum over pseudo-header, header and data (RFC 9293, 3.1; RFC 768; RFC 8200, 8.1).
fn full_checksum<F: Common>(frame: &[u8], packet: &Packet, protocol: Protocol) -> u16 {
    let (l3, l4) = (usize::from(packet.layout.l3), usize::from(packet.layout.l4));
    let mut segment = frame[l4..usize::from(packet.layout.end)].to_vec();
    if protocol == Protocol::Udp {
        let length = u16::from_be_bytes([segment[4], segment[5]]);
        segment.truncate(usize::from(length));
    }
    let checksum = checksum_at(packet, protocol) - l4;
    segment[checksum..checksum + 2].fill(0);
    let addresses = match packet.network {
        Network::V4 => &frame[l3 + 12..l3 + 20],
        Network::V6 => &frame[l3 + 8..l3 + 40],
    };
    let octets = u32::try_from(segment.len()).expect("a packet is shorter");
    let mut sum = internet_sum(addresses, 0);
    sum = internet_sum(&octets.to_be_bytes(), sum);
    sum = internet_sum(&[0, protocol as u8], sum);
    let sum = !internet_sum(&segment, sum);
    if protocol == Protocol::Udp && sum == 0 { 0xffff } else { sum }
}
