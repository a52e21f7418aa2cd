//! Links and networks: MAC addresses, VLAN tags, prefixes.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use thiserror::Error;

/// The default of `appliance.min_path_mtu`, for both families: links that carry IPv6 have it (RFC 8200, section 5), and a
/// path of less carries no QUIC either (RFC 9000, section 14). IPv4 allows 68 (RFC 791), but what is between is found
/// behind old modems alone, while one client that reports 552 slows all others down for ten minutes.
pub const MIN_PATH_MTU: u16 = 1280;

/// An Ethernet address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

/// A text that is not a MAC address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is not a MAC address; write six pairs of hexadecimal digits, as 02:00:00:00:00:09")]
pub struct MacError(String);

impl Mac {
    /// Group bit set: multicast or broadcast (IEEE 802-2014, 8.2.2).
    #[must_use]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }
}

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let error = || MacError(text.to_owned());
        let mut bytes = [0; 6];
        let mut pairs = text.split(':');
        for byte in &mut bytes {
            let is_pair =
                |pair: &&str| pair.len() == 2 && pair.bytes().all(|digit| digit.is_ascii_hexdigit());
            let pair = pairs.next().filter(is_pair).ok_or_else(error)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| error())?;
        }
        if pairs.next().is_some() {
            return Err(error());
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// The first local port that is leased to flows. Those below are the kernel's.
pub const FIRST_LOCAL_PORT: u16 = 4096;

/// Local ports that are leased per local address and backend, over all workers.
pub const LOCAL_PORTS: u16 = u16::MAX - FIRST_LOCAL_PORT + 1;

/// Which 802.1Q tag frames to a next hop carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VlanTag {
    /// None: the frame leaves untagged, whatever it came with.
    Untagged,
    /// This VLAN, 1 to 4094.
    Id(u16),
    /// As the frame came: a tagged frame keeps its tag. For rigs and replay, where no kernel says which VLAN a
    /// next hop is on.
    AsReceived,
}

impl VlanTag {
    /// That of a frame which came with this VLAN, or without a tag.
    #[must_use]
    #[inline]
    pub const fn of(vlan: Option<u16>) -> Self {
        match vlan {
            Some(id) => Self::Id(id),
            None => Self::Untagged,
        }
    }
}

/// A prefix: an address and a length, host bits cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    address: IpAddr,
    length: u8,
}

/// A text that is not a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is not a prefix; write an address and a length, as 10.0.9.0/24 or fd00:9::/64")]
pub struct CidrError(String);

impl Cidr {
    /// The prefix of `length` bits that `address` lies in; `None` if the family has no such length (0 to 32, 0 to
    /// 128).
    #[must_use]
    pub fn new(address: IpAddr, length: u8) -> Option<Self> {
        match address {
            IpAddr::V4(v4) if length <= 32 => {
                let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
                Some(Self { address: IpAddr::V4((v4.to_bits() & mask).into()), length })
            }
            IpAddr::V6(v6) if length <= 128 => {
                let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
                Some(Self { address: IpAddr::V6((v6.to_bits() & mask).into()), length })
            }
            _ => None,
        }
    }

    /// The prefix that holds `address` alone: /32 or /128.
    #[must_use]
    pub const fn host(address: IpAddr) -> Self {
        let length = if address.is_ipv4() { 32 } else { 128 };
        Self { address, length }
    }

    /// The first address of the prefix.
    #[must_use]
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// The number of fixed bits.
    #[must_use]
    pub const fn length(self) -> u8 {
        self.length
    }

    /// Whether `address` is of the prefix's family and lies in it.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        Self::new(address, self.length) == Some(self)
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    /// Accepts host bits (and clears them) and a bare address (the host prefix).
    fn from_str(text: &str) -> Result<Self, CidrError> {
        let error = || CidrError(text.to_owned());
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length.parse().map_err(|_| error())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| error())?;
        match length {
            Some(length) => Self::new(address, length).ok_or_else(error),
            None => Ok(Self::host(address)),
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_clears_its_host_bits_and_contains_what_lies_in_it() {
        let prefix: Cidr = "10.0.9.7/24".parse().unwrap();
        assert_eq!(prefix.to_string(), "10.0.9.0/24");
        assert!(prefix.contains("10.0.9.255".parse().unwrap()));
        assert!(!prefix.contains("10.0.10.0".parse().unwrap()));
        assert!(!prefix.contains("fd00::1".parse().unwrap()));
        let all: Cidr = "::/0".parse().unwrap();
        assert!(all.contains("fd00::1".parse().unwrap()));
    }

    #[test]
    fn a_prefix_longer_than_its_family_is_refused() {
        assert!("10.0.0.0/33".parse::<Cidr>().is_err());
        assert!("fd00::/129".parse::<Cidr>().is_err());
    }

    #[test]
    fn a_mac_address_prints_as_it_is_read() {
        let mac: Mac = "02:00:5e:00:00:0a".parse().unwrap();
        assert_eq!(mac.to_string(), "02:00:5e:00:00:0a");
        for wrong in [
            "02:00:5e:00:00",
            "02:00:5e:00:00:0a:01",
            "2:0:5e:0:0:a",
            "02:00:5e:00:00:zz",
            "02:00:5e:00:00:+a",
        ] {
            assert!(wrong.parse::<Mac>().is_err(), "{wrong}");
        }
    }
}
