//! How much a service lets in of whom, and where it sends who comes again.

use super::{Family, Nanos, V4};

/// The limits of a service; 0 is no limit everywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceLimits {
    /// Connections (flows that are not over) at a time.
    pub connections: u32,
    /// New connections a second.
    pub connections_per_second: u32,
    /// Connections at a time of one client prefix, at most [`ServiceLimits::MOST_OF_CLIENT`].
    pub client_connections: u32,
    /// New connections a second of one client prefix.
    pub client_connections_per_second: u32,
    /// What one client prefix is.
    pub client_prefix: ClientPrefix,
}

impl ServiceLimits {
    /// The largest limit of one client prefix: its count has 24 bits.
    pub const MOST_OF_CLIENT: u32 = (1 << 24) - 1;

    /// Whether there are limits of single client prefixes.
    #[must_use]
    pub const fn concern_clients(&self) -> bool {
        self.client_connections > 0 || self.client_connections_per_second > 0
    }

    /// Whether there is any limit.
    #[must_use]
    pub const fn any(&self) -> bool {
        self.connections > 0 || self.connections_per_second > 0 || self.concern_clients()
    }
}

/// How long a client goes to the backend that it was sent to before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PersistenceRules {
    /// From its last new flow on.
    pub timeout: Nanos,
    /// What one client is.
    pub prefix: ClientPrefix,
}

/// How many leading bits of their addresses clients have in common that are one to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientPrefix {
    /// Of IPv4 addresses, 0 to 32.
    pub v4: u8,
    /// Of IPv6 addresses, 0 to 128.
    pub v6: u8,
}

impl Default for ClientPrefix {
    /// Single IPv4 addresses, and /64 of IPv6: what one subscriber link has (RFC 6177, 2), who can use all of it.
    fn default() -> Self {
        Self { v4: 32, v6: 64 }
    }
}

impl ClientPrefix {
    /// The length that holds for addresses of a family.
    #[must_use]
    pub const fn length<F: Family>(self) -> u8 {
        if F::VERSION == V4::VERSION { self.v4 } else { self.v6 }
    }

    /// The leading bits of `address` that count, in the place they have in it, and how many they are.
    #[must_use]
    pub fn of<F: Family>(self, address: F::Address) -> (u128, u8) {
        let (length, width) = (self.length::<F>(), if F::VERSION == V4::VERSION { 32 } else { 128 });
        let host = u32::from(width) - u32::from(length.min(width));
        let mask = u128::MAX.checked_shl(host).unwrap_or(0);
        (F::bits(address) & mask, length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::V6;

    #[test]
    fn a_client_prefix_keeps_the_leading_bits() {
        let prefix = ClientPrefix { v4: 24, v6: 64 };
        assert_eq!(prefix.of::<V4>(0xc633_6407), (0xc633_6400, 24));
        assert_eq!(prefix.of::<V6>(7 << 64 | 5), (7 << 64, 64));
        let all = ClientPrefix { v4: 0, v6: 0 };
        assert_eq!(all.of::<V4>(0xc633_6407), (0, 0));
        assert_eq!(all.of::<V6>(u128::MAX), (0, 0));
        let single = ClientPrefix { v4: 32, v6: 128 };
        assert_eq!(single.of::<V4>(0xc633_6407).0, 0xc633_6407);
        assert_eq!(single.of::<V6>(5).0, 5);
    }
}
