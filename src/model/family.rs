//! IPv4 and IPv6 as data: one code path, two instances.

use std::fmt::Debug;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address family. The flow table, the admission of flows and the rewriting of packets are written once over
/// this trait.
pub trait Family: Copy + Debug + Ord + Hash + Send + Sync + 'static {
    /// An address in host byte order: `u32` for IPv4, `u128` for IPv6.
    type Address: Copy + Debug + Default + Eq + Ord + Hash + Send + Sync + 'static;

    /// Source and destination address, octet for octet as they stand side by side in the header.
    type Pair: Copy + Debug + Eq + Hash + Send + Sync + 'static;

    /// The value of the IP version field, 4 or 6.
    const VERSION: u8;

    /// `ip` as an address of this family; `None` if it is of the other one.
    fn address(ip: IpAddr) -> Option<Self::Address>;

    /// `address` as the family-neutral type.
    fn ip(address: Self::Address) -> IpAddr;

    /// `address` widened to 128 bits with zeros in front.
    fn bits(address: Self::Address) -> u128;

    /// Source and destination as a header has them.
    fn pair(source: Self::Address, destination: Self::Address) -> Self::Pair;

    /// Source and destination of a header's pair.
    fn addresses(pair: Self::Pair) -> (Self::Address, Self::Address);

    /// The pair of the answer: source and destination exchanged.
    fn reversed(pair: Self::Pair) -> Self::Pair;

    /// The octets of a pair as numbers, in this machine's order, zero behind the last.
    fn words(pair: Self::Pair) -> [u64; 4];
}

/// IP version 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct V4;

/// IP version 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct V6;

impl Family for V4 {
    type Address = u32;
    type Pair = u64;

    const VERSION: u8 = 4;

    fn address(ip: IpAddr) -> Option<u32> {
        match ip {
            IpAddr::V4(v4) => Some(v4.to_bits()),
            IpAddr::V6(_) => None,
        }
    }

    fn ip(address: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(address))
    }

    fn bits(address: u32) -> u128 {
        u128::from(address)
    }

    #[inline]
    fn pair(source: u32, destination: u32) -> u64 {
        (u64::from(source) << 32 | u64::from(destination)).to_be()
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
    fn addresses(pair: u64) -> (u32, u32) {
        let pair = u64::from_be(pair);
        ((pair >> 32) as u32, pair as u32)
    }

    #[inline(always)]
    fn reversed(pair: u64) -> u64 {
        pair.rotate_left(32)
    }

    #[inline(always)]
    fn words(pair: u64) -> [u64; 4] {
        [pair, 0, 0, 0]
    }
}

impl Family for V6 {
    type Address = u128;
    type Pair = [u64; 4];

    const VERSION: u8 = 6;

    fn address(ip: IpAddr) -> Option<u128> {
        match ip {
            IpAddr::V4(_) => None,
            IpAddr::V6(v6) => Some(v6.to_bits()),
        }
    }

    fn ip(address: u128) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from_bits(address))
    }

    fn bits(address: u128) -> u128 {
        address
    }

    #[inline]
    fn pair(source: u128, destination: u128) -> [u64; 4] {
        let [[s0, s1], [d0, d1]] = [source, destination].map(halves);
        [s0, s1, d0, d1]
    }

    #[inline]
    fn addresses([s0, s1, d0, d1]: [u64; 4]) -> (u128, u128) {
        let address = |high, low| u128::from(u64::from_be(high)) << 64 | u128::from(u64::from_be(low));
        (address(s0, s1), address(d0, d1))
    }

    #[inline(always)]
    fn reversed([s0, s1, d0, d1]: [u64; 4]) -> [u64; 4] {
        [d0, d1, s0, s1]
    }

    #[inline(always)]
    fn words(pair: [u64; 4]) -> [u64; 4] {
        pair
    }
}

/// The high and the low half of an address, as a header has them.
#[expect(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
const fn halves(address: u128) -> [u64; 2] {
    [((address >> 64) as u64).to_be(), (address as u64).to_be()]
}
