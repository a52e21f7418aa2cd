//! TCP Fast Open (RFC 7413) taken out of a SYN: a backend that does not see it waits for the handshake before data.

use super::checksum::{self, Delta};
use super::options::{kind, option_from};
use super::{Packet, Transport};

/// What the option began with before it had a kind of its own: an experiment's, by this number (RFC 6994).
const EXPERIMENT: [u8; 2] = [0xf9, 0x89];

/// The kinds of experiments (RFC 4727).
const EXPERIMENTS: [u8; 2] = [253, 254];

/// Makes padding of the option in the TCP packet that was found in `head`; its checksum follows (RFC 1624).
pub fn take_out(head: &mut [u8], packet: &Packet) {
    if packet.transport != Transport::Tcp {
        return;
    }
    let Some(header) = head.get_mut(usize::from(packet.layout.l4)..) else { return };
    let Some((fixed, rest)) = header.split_first_chunk_mut::<20>() else { return };
    let length = usize::from(fixed[12] >> 4) * 4;
    let Some(options) = length.checked_sub(20).and_then(|length| rest.get_mut(..length)) else { return };
    let before = checksum::sum(options);
    let mut place = 0;
    while let Some((kind, at)) = option_from(options, place) {
        place = at.end;
        let is_experiment =
            EXPERIMENTS.contains(&kind) && options.get(at.start + 2..at.start + 4) == Some(&EXPERIMENT);
        if kind == kind::FAST_OPEN || is_experiment && at.len() >= 4 {
            options[at].fill(kind::NOTHING);
        }
    }
    let change = Delta::between(before, checksum::sum(options));
    let checksum = change.apply(u16::from_be_bytes([fixed[16], fixed[17]]));
    [fixed[16], fixed[17]] = checksum.to_be_bytes();
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    use super::*;
    use crate::wire::ethernet::Link;
    use crate::wire::{Parsed, parse};

    fn syn(options: &[u8]) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .ipv4([192, 0, 2, 1], [203, 0, 113, 80], 64)
            .tcp(40_000, 80, 1, 1024)
            .syn()
            .options_raw(options)
            .unwrap();
        let mut frame = Vec::new();
        builder.write(&mut frame, b"data").unwrap();
        frame
    }

    fn without(frame: &[u8]) -> Vec<u8> {
        let mut after = frame.to_vec();
        let Ok(Parsed::Ip(packet)) = parse(&Link::read(frame).unwrap(), frame, frame.len()) else { panic!() };
        take_out(&mut after, &packet);
        after
    }

    #[test]
    fn the_option_becomes_padding_under_either_name_and_others_stay() {
        for (options, expected) in [
            (&[2, 4, 5, 180, 34, 6, 1, 2, 3, 4, 4, 2][..], [2, 4, 5, 180, 1, 1, 1, 1, 1, 1, 4, 2]),
            (&[1, 34, 2, 3, 3, 7, 4, 2, 1, 1, 1, 0], [1, 1, 1, 3, 3, 7, 4, 2, 1, 1, 1, 0]),
            (&[1, 254, 6, 0xf9, 0x89, 7, 7, 3, 3, 7, 1, 0], [1, 1, 1, 1, 1, 1, 1, 3, 3, 7, 1, 0]),
            (&[254, 8, 1, 2, 3, 4, 5, 6, 4, 2, 1, 1], [254, 8, 1, 2, 3, 4, 5, 6, 4, 2, 1, 1]),
        ] {
            assert_eq!(without(&syn(options)), syn(&expected), "{options:x?}");
        }
    }

    proptest! {
        #[test]
        fn no_options_however_broken_lead_astray(mut options in prop::collection::vec(any::<u8>(), 0..40)) {
            options.truncate(options.len() / 4 * 4);
            let after = without(&syn(&options));
            let rebuilt = syn(&after[54..after.len() - 4]);
            prop_assert_eq!(after, rebuilt);
        }
    }
}
