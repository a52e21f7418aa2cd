//! TOA, the option that tells a backend who the client is (TCP option address): no RFC has it, but receivers agree on its
//! form, which came with LVS.
//!
//! ```text
//! | kind | 8  | port | IPv4 address    |     numbers in network byte order
//! | kind | 20 | port | IPv6 address    |
//! ```

use std::net::IpAddr;

use arrayvec::ArrayVec;

use super::Network;
use crate::model::Endpoint;

/// The option, in octets that are a multiple of 4.
pub type Octets = ArrayVec<u8, 20>;

/// Octets of the option.
#[must_use]
pub const fn octets(network: Network) -> u16 {
    match network {
        Network::V4 => 8,
        Network::V6 => 20,
    }
}

/// The option of this kind that names `client`.
#[must_use]
pub fn option(kind: u8, client: Endpoint) -> Octets {
    let mut option = Octets::new();
    let mut push = |octets: &[u8]| octets.iter().for_each(|octet| option.push(*octet));
    match client.address {
        IpAddr::V4(address) => {
            push(&[kind, 8]);
            push(&client.port.to_be_bytes());
            push(&address.octets());
        }
        IpAddr::V6(address) => {
            push(&[kind, 20]);
            push(&client.port.to_be_bytes());
            push(&address.octets());
        }
    }
    option
}

/// Whether a SYN with this option would be taken for one that asks for something else: the experimental kinds are shared,
/// and what follows the length says by whom (RFC 6994). In a port and the address behind it Linux would read TCP Fast Open's
/// and SMC's numbers (IANA), which mean something in SYNs alone.
#[must_use]
pub fn asks_for_something_else(option: &[u8]) -> bool {
    const EXPERIMENTAL: [u8; 2] = [253, 254];
    const FAST_OPEN: [u8; 2] = 0xf989_u16.to_be_bytes();
    const SMC: [u8; 4] = 0xe2d4_c3d9_u32.to_be_bytes();
    match option {
        [kind, _, number @ ..] => {
            EXPERIMENTAL.contains(kind) && (number.starts_with(&FAST_OPEN) || number.starts_with(&SMC))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_is_as_receivers_read_it() {
        let client = Endpoint::new([198, 51, 100, 7].into(), 40_000);
        assert_eq!(option(254, client).as_slice(), [254, 8, 0x9c, 0x40, 198, 51, 100, 7]);
        let client = Endpoint::new("2001:db8:7::9".parse().unwrap(), 1);
        let wanted = [252, 20, 0, 1, 0x20, 0x01, 0x0d, 0xb8, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
        assert_eq!(option(252, client).as_slice(), wanted);
        assert_eq!(usize::from(octets(Network::V4)), 8);
        assert_eq!(usize::from(octets(Network::V6)), wanted.len());
    }

    #[test]
    fn numbers_of_others_are_told_from_ports() {
        let fast_open = |kind, port| option(kind, Endpoint::new([192, 0, 2, 1].into(), port));
        assert!(asks_for_something_else(&fast_open(254, 0xf989)));
        assert!(asks_for_something_else(&fast_open(253, 0xf989)));
        assert!(!asks_for_something_else(&fast_open(252, 0xf989)), "only experimental kinds are shared");
        assert!(!asks_for_something_else(&fast_open(254, 0xf98a)));
        let smc = |third| option(254, Endpoint::new([0xc3, 0xd9, third, 1].into(), 0xe2d4));
        assert!(asks_for_something_else(&smc(0)));
        assert!(!asks_for_something_else(&option(254, Endpoint::new([0xc3, 0xd8, 0, 1].into(), 0xe2d4))));
    }
}
