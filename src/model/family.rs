//! IPv4 and IPv6 as data: one code path, two instances.

use std::fmt::Debug;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address family. The flow table, the admission of flows and the rewriting of packets are written once over
/// this trait.
pub trait Family: Copy + Debug + Ord + Hash + Send + Sync + 'static {
    /// An address in host byte order: `u32` for IPv4, `u128` for IPv6.
    type Address: Copy + Debug + Default + Eq + Ord + Hash + Send + Sync + 'static;

    /// The value of the IP version field, 4 or 6.
    const VERSION: u8;

    /// `ip` as an address of this family; `None` if it is of the other one.
    fn address(ip: IpAddr) -> Option<Self::Address>;

    /// `address` as the family-neutral type.
    fn ip(address: Self::Address) -> IpAddr;

    /// `address` widened to 128 bits with zeros in front.
    fn bits(address: Self::Address) -> u128;
}

/// IP version 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct V4;

/// IP version 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct V6;

impl Family for V4 {
    type Address = u32;

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
}

impl Family for V6 {
    type Address = u128;

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
}
