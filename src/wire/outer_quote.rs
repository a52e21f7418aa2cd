//! ICMP errors about outer packets of tunnels: the outer headers that they quote, and what they mean for the sender of
//! the inner packet (RFC 2003, section 4; RFC 2473, section 8).

use std::net::IpAddr;

use super::icmp::IcmpFamily;
use crate::model::Encapsulation;

/// The outer headers of a packet of ours that an error quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OuterQuote {
    /// Our end of the tunnel.
    pub source: IpAddr,
    /// The backend's end.
    pub destination: IpAddr,
    /// Octets of the whole outer packet.
    pub octets: u16,
    /// Octets of the outer headers: the place of the inner packet in the quote, which may end before.
    pub headers: u16,
    /// The outer headers behind IP.
    pub encapsulation: Encapsulation,
}

/// The news in an error about an outer packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// The outer packet does not fit the way, which takes so many octets.
    TooBig(u16),
    /// The tunnel does not lead to its end.
    Unreachable,
    /// Nothing for the sender of the inner packet: the fault is in our outer header.
    Other,
}

impl OuterQuote {
    /// Reads the outer headers that `quote` starts with; `None` if they are not those of a tunnel.
    #[must_use]
    pub fn read<F: IcmpFamily>(quote: &[u8]) -> Option<Self> {
        const GUE_HEADERS: usize = 12;
        /// See `Outer::write`: source ports of GUE are dynamic.
        const FIRST_PORT: u16 = 0xc000;
        let (source, destination) = F::addresses(F::pair_in(quote)?);
        let (protocol, place) = F::transport(quote).ok()?;
        let place = place?;
        let (encapsulation, headers) = match protocol {
            4 | 41 => (Encapsulation::Ip, place),
            17 => {
                let [s0, s1, d0, d1, ..] = *quote.get(place..)?.first_chunk::<8>()?;
                if u16::from_be_bytes([s0, s1]) < FIRST_PORT {
                    return None;
                }
                (Encapsulation::Gue { port: u16::from_be_bytes([d0, d1]) }, place + GUE_HEADERS)
            }
            _ => return None,
        };
        let word = |at: usize| Some(u16::from_be_bytes(*quote.get(at..)?.first_chunk()?));
        let octets = if F::VERSION == 4 { word(2)? } else { word(4)?.saturating_add(40) };
        let headers = u16::try_from(headers).ok()?;
        let [source, destination] = [source, destination].map(F::ip);
        Some(Self { source, destination, octets, headers, encapsulation })
    }
}

/// The news in an error whose header is `header`.
#[must_use]
pub fn news<F: IcmpFamily>(header: &[u8; 8]) -> News {
    if let Some(places) = F::mtu_in(header) {
        return News::TooBig(u16::from_be_bytes(places.map(|place| header[place])));
    }
    match (F::VERSION, header[0], header[1]) {
        // RFC 2003, sections 4.1 and 4.4. Of GUE a port can be unreachable, where of IP in IP a protocol is.
        (4, 3, 0..=3) | (4, 11, _) => News::Unreachable,
        // RFC 2473, section 8.
        (6, 1, _) | (6, 3, _) => News::Unreachable,
        _ => News::Other,
    }
}
