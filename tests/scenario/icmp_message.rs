//! ICMP messages made with etherparse.

use std::net::{IpAddr, SocketAddr};

use etherparse::{Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type};

use crate::packet::{Build, decode};

/// Type, code and the four octets behind the checksum.
pub type Says = (u8, u8, [u8; 4]);

/// Too large for a link of 1400 octets.
pub fn too_big(v6: bool) -> Says {
    if v6 { (2, 0, [0, 0, 5, 120]) } else { (3, 4, [0, 0, 5, 120]) }
}

/// A message to be built: `kind` followed by `rest`.
pub fn message(from: &str, to: IpAddr, (icmp_type, code, word): Says, rest: &[u8]) -> Vec<u8> {
    let from = SocketAddr::new(from.parse().unwrap(), 0);
    let mut bytes = match (from.ip(), to) {
        (IpAddr::V4(_), IpAddr::V4(_)) => {
            let kind = Icmpv4Type::Unknown { type_u8: icmp_type, code_u8: code, bytes5to8: word };
            Icmpv4Header::with_checksum(kind, rest).to_bytes().to_vec()
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let kind = Icmpv6Type::Unknown { type_u8: icmp_type, code_u8: code, bytes5to8: word };
            let header = Icmpv6Header::with_checksum(kind, from.octets(), to.octets(), rest).unwrap();
            header.to_bytes().to_vec()
        }
        _ => panic!("one family a packet"),
    };
    bytes.extend(rest);
    let protocol = if to.is_ipv6() { 58 } else { 1 };
    Build::between(from, SocketAddr::new(to, 0)).raw(protocol, &bytes)
}

/// A router's address, and that of a frame's sender.
pub fn router(v6: bool) -> &'static str {
    if v6 { "2001:db8:ffff::1" } else { "192.0.2.254" }
}

/// What a router says of a frame, of which it quotes `octets` of the IP packet at most.
pub fn error(about: &[u8], says: Says, octets: usize) -> Vec<u8> {
    let sender = decode(about).from.ip();
    let quote = &about[14..about.len().min(14 + octets)];
    message(router(sender.is_ipv6()), sender, says, quote)
}
