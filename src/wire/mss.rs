//! The TCP option that says how large a segment its sender takes (RFC 9293, 3.7.1).

use super::checksum::Delta;
use super::options::{kind, option_from};
use super::{Network, Packet, Transport};

/// The largest segment that fits into packets of `mtu` octets: without what IP and TCP headers take that have no options,
/// as the option's value counts neither (RFC 6691).
#[must_use]
pub const fn largest_for(mtu: u16, network: Network) -> u16 {
    let headers = match network {
        Network::V4 => 40,
        Network::V6 => 60,
    };
    mtu.saturating_sub(headers)
}

/// Lowers the option of a TCP packet that was found in `head` to `most`, then by what its receiver's segments will grow on
/// their way back, and its checksum with it. What is lower, and a packet without one, stays. At most 40 octets of options
/// are looked at.
pub fn clamp(head: &mut [u8], packet: Packet, most: u16, growth: u16) {
    if packet.transport != Transport::Tcp {
        return;
    }
    let Some(header) = head.get_mut(usize::from(packet.layout.l4)..) else { return };
    let Some((fixed, rest)) = header.split_first_chunk_mut::<20>() else { return };
    let length = usize::from(fixed[12] >> 4) * 4;
    let Some(options) = length.checked_sub(20).and_then(|length| rest.get_mut(..length)) else { return };
    let Some((value, place)) = find(options) else { return };
    let before = u16::from_be_bytes(*value);
    // One that is below what is added is nobody's who could send.
    let after = before.min(most).checked_sub(growth).unwrap_or(before);
    if after >= before {
        return;
    }
    *value = after.to_be_bytes();
    // At an odd place its octets belong to two words of the sum: to the low half of one and the high half of the next.
    let in_sum = |value: u16| u32::from(if place % 2 == 0 { value } else { value.swap_bytes() }.to_be());
    let change = Delta::between(in_sum(before), in_sum(after));
    let checksum = change.apply(u16::from_ne_bytes([fixed[16], fixed[17]]));
    [fixed[16], fixed[17]] = checksum.to_ne_bytes();
}

/// The value of the option, and its place in `options`.
fn find(options: &mut [u8]) -> Option<(&mut [u8; 2], usize)> {
    let mut place = 0;
    while let Some((kind, at)) = option_from(options, place) {
        if kind == kind::MAXIMUM_SEGMENT_SIZE && at.len() == 4 {
            let place = at.start + 2;
            return Some((options.get_mut(place..)?.first_chunk_mut()?, place));
        }
        place = at.end;
    }
    None
}

#[cfg(test)]
mod tests {
    use etherparse::{PacketBuilder, SlicedPacket, TcpOptionElement, TransportSlice};
    use proptest::prelude::*;

    use super::*;
    use crate::wire::ethernet::Link;
    use crate::wire::{Parsed, parse};

    fn clamped(frame: &[u8], most: u16, growth: u16) -> Vec<u8> {
        let mut frame = frame.to_vec();
        let link = Link::read(&frame).unwrap();
        if let Ok(Parsed::Ip(packet)) = parse(&link, &frame, frame.len()) {
            clamp(&mut frame, packet, most, growth);
        }
        frame
    }

    fn syn(options: &[u8]) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .ipv4([192, 0, 2, 1], [203, 0, 113, 80], 64)
            .tcp(40_000, 80, 1, 1024)
            .syn()
            .options_raw(options)
            .unwrap();
        let mut frame = Vec::new();
        builder.write(&mut frame, &[]).unwrap();
        frame
    }

    /// What etherparse reads in it, with the checksum judged.
    fn mss(frame: &[u8]) -> Option<u16> {
        let packet = SlicedPacket::from_ethernet(frame).unwrap();
        let Some(TransportSlice::Tcp(tcp)) = packet.transport else { panic!("{frame:x?}") };
        let sum = tcp.to_header().calc_checksum_ipv4_raw([192, 0, 2, 1], [203, 0, 113, 80], &[]).unwrap();
        assert_eq!(tcp.checksum(), sum, "{frame:x?}");
        tcp.options_iterator().find_map(|option| match option {
            Ok(TcpOptionElement::MaximumSegmentSize(mss)) => Some(mss),
            _ => None,
        })
    }

    #[test]
    fn a_larger_one_is_lowered_wherever_it_stands_and_a_smaller_one_stays() {
        for options in
            [&[2, 4, 0x23, 0x28][..], &[1, 2, 4, 0x23, 0x28, 1, 1, 1], &[3, 3, 7, 2, 4, 0x23, 0x28, 0]]
        {
            assert_eq!(mss(&syn(options)), Some(9000));
            assert_eq!(mss(&clamped(&syn(options), 1460, 0)), Some(1460), "{options:x?}");
            assert_eq!(clamped(&syn(options), 9000, 0), syn(options));
        }
        assert_eq!(
            clamped(&syn(&[]), 1460, 20),
            syn(&[]),
            "536 by default (RFC 9293, 3.7.1), and small enough"
        );
    }

    #[test]
    fn room_is_kept_for_what_segments_grow_by() {
        let offer = syn(&[2, 4, 0x05, 0xb4]);
        assert_eq!(mss(&clamped(&offer, 1460, 8)), Some(1452));
        assert_eq!(mss(&clamped(&offer, 1300, 20)), Some(1280));
        assert_eq!(mss(&clamped(&offer, 9000, 20)), Some(1440), "a receiver's own limit, too");
        assert_eq!(mss(&clamped(&syn(&[2, 4, 0, 7]), 1460, 8)), Some(7), "less than nothing is none");
    }

    #[test]
    fn what_fits_is_the_mtu_without_headers() {
        assert_eq!(largest_for(1500, Network::V4), 1460);
        assert_eq!(largest_for(1500, Network::V6), 1440);
        assert_eq!(largest_for(20, Network::V6), 0);
    }

    proptest! {
        #[test]
        fn no_options_however_broken_lead_astray(
            mut options in prop::collection::vec(any::<u8>(), 0..40),
            most: u16,
            growth in 0_u16..30,
        ) {
            options.truncate(options.len() / 4 * 4);
            let before = syn(&options);
            let after = clamped(&before, most, growth);
            prop_assert!(mss(&after).is_none_or(|found| found <= most), "{:x?}", options);
            prop_assert_eq!(after.len(), before.len());
        }
    }
}
