//! The header of the PROXY protocol, version 2 (HAProxy's proxy-protocol.txt, section 2.2), which says in front of a
//! connection, or of a datagram, who is at its other end.
//!
//! ```text
//! signature (12) | version 2, command | family, transport | octets that follow (2) |
//! client's address | address it connected to | client's port | port it connected to
//! ```

use arrayvec::ArrayVec;

use super::WireFamily;
use crate::model::{FiveTuple, Protocol};

/// A header: 28 octets with IPv4 addresses, 52 with IPv6 ones.
pub type ProxyHeader = ArrayVec<u8, MOST_OCTETS>;

/// The longest header that is made here.
pub const MOST_OCTETS: usize = FIXED + 36;

/// What every header begins with: no text that people or programs send.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Octets in front of the addresses.
const FIXED: usize = 16;

/// Version 2, on behalf of somebody; in the lower half: 0 for oneself (LOCAL).
const PROXY: u8 = 0x21;
const LOCAL: u8 = 0x20;

/// In front of what a probe sends: the connection is the balancer's own, and its addresses are the packets'.
pub const LOCAL_HEADER: [u8; FIXED] = {
    let mut header = [0; FIXED];
    let mut place = 0;
    while place < SIGNATURE.len() {
        header[place] = SIGNATURE[place];
        place += 1;
    }
    header[SIGNATURE.len()] = LOCAL;
    // Family and transport are not said, and nothing follows.
    header
};

/// Octets of the header about packets of family `F`.
#[must_use]
pub const fn octets<F: WireFamily>() -> u16 {
    if F::VERSION == 4 { 28 } else { 52 }
}

/// The header about a client's packets, which carry `tuple` when they come in.
#[must_use]
pub fn header<F: WireFamily>(tuple: &FiveTuple<F>) -> ProxyHeader {
    let transport = match tuple.protocol() {
        Protocol::Tcp => 1,
        Protocol::Udp => 2,
    };
    let family = if F::VERSION == 4 { 0x10 } else { 0x20 };
    let following = u8::try_from(usize::from(octets::<F>()) - FIXED).unwrap_or(u8::MAX);
    let mut header = ProxyHeader::new();
    header.extend(SIGNATURE);
    header.extend([PROXY, family | transport, 0, following]);
    // As they stand in a packet.
    for word in F::words(tuple.addresses()).into_iter().take(usize::from(following) / 8) {
        header.extend(word.to_ne_bytes());
    }
    header.extend(tuple.ports().octets());
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{V4, V6};

    #[test]
    fn the_header_of_ipv4_has_28_octets() {
        let tuple = FiveTuple::<V4>::new((0xc000_0201, 40_000), (0xcb00_7150, 80), Protocol::Tcp);
        let expected = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xcb\0\x71\x50\x9c\x40\0\x50";
        assert_eq!(header(&tuple).as_slice(), expected);
        assert_eq!(usize::from(octets::<V4>()), expected.len());
    }

    #[test]
    fn the_header_of_ipv6_has_52_octets() {
        let (client, vip) = (0x2001_0db8 << 96 | 7, 0x2001_0db8 << 96 | 0x80);
        let tuple = FiveTuple::<V6>::new((client, 40_000), (vip, 53), Protocol::Udp);
        let header = header(&tuple);
        assert_eq!(header.len(), usize::from(octets::<V6>()));
        assert_eq!(header[12..16], [0x21, 0x22, 0, 36]);
        assert_eq!(header[16..32], client.to_be_bytes());
        assert_eq!(header[32..48], vip.to_be_bytes());
        assert_eq!(header[48..], [0x9c, 0x40, 0, 53]);
    }

    #[test]
    fn a_probes_header_says_nothing_of_addresses() {
        assert_eq!(&LOCAL_HEADER, b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
    }
}
