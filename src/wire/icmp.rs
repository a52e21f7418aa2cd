//! ICMP and ICMPv6 messages that come in: what they are, the packet that an error quotes, and both ways of sending one
//! on: an error about a flow's packet to the other side of the flow, an echo back to where it came from.
//!
//! ```text
//! IP | type code checksum | rest | IP ... transport ... | extensions
//!    0                    4      8 the quote             RFC 4884
//! ```
//!
//! An error's layout is that of RFC 792 and RFC 4443, section 2.1. The rules for its translation are in RFC 5508,
//! section 4: the quote gets the addresses and ports that its sender knows, type, code and all else stay.

use super::checksum::{self, Delta};
use super::craft::HOP_LIMIT;
use super::parse::MAX_EXTENSION_HEADERS;
use super::rewrite::rewrite_quote;
use super::{Alteration, Packet, WireFamily};
use crate::model::{FiveTuple, PortPair, Protocol, V4, V6};

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<F: WireFamily> {
    /// A ping.
    EchoRequest,
    /// The answer to one.
    EchoReply,
    /// Neighbour or router discovery (RFC 4861), but for redirects.
    Neighbour,
    /// An error about this packet.
    Error(Quote<F>),
    /// Anything else. Source quench is to be ignored (RFC 6633), redirects are for those who choose their routes by
    /// them, and what else ICMP can ask a host is nobody's business on an address that many share.
    Other,
}

/// The packet that an error is about, as far as it is quoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote<F: WireFamily> {
    /// What it carried; `None` if that has no ports: a later fragment, or neither TCP nor UDP.
    pub tuple: Option<FiveTuple<F>>,
    /// Where its transport header stands, in octets from its start.
    transport: usize,
    /// Octets that are quoted of it.
    octets: usize,
}

impl<F: WireFamily> Quote<F> {
    /// Octets that are quoted.
    #[must_use]
    pub const fn octets(&self) -> usize {
        self.octets
    }
}

/// Why a message cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It ends too early, or what it quotes contradicts itself.
    Malformed,
    /// Its checksum is wrong.
    Checksum,
    /// It reports an MTU that every link exceeds.
    Mtu,
}

/// A family with its ICMP.
pub trait IcmpFamily: WireFamily {
    /// The IP protocol number of its ICMP (IANA).
    const ICMP: u8;

    /// The types of echo request and echo reply.
    const ECHO: [u8; 2];

    /// What a type is.
    fn kind(icmp_type: u8) -> Kind;

    /// What the checksum of a message of so many octets covers besides itself: the sum of the pseudo-header, if there is
    /// one.
    fn pseudo_sum(addresses: Self::Pair, octets: usize) -> u32;

    /// Whether the MTU that an error reports, if it does, is one that receivers must not believe.
    fn is_mtu_impossible(header: &[u8; 8]) -> bool;

    /// The places in the header of the MTU that an error reports, if it does and says how large it is.
    fn mtu_in(header: &[u8; 8]) -> Option<[usize; 2]>;

    /// The MTU that an error with this header reports; `None` if it is about something else. IPv4 routers older than
    /// RFC 1191 report 0.
    fn reported_mtu(header: &[u8; 8]) -> Option<u32>;

    /// The smallest MTU that there is to report.
    const LEAST_MTU: u16;

    /// The octets that the error's length field says its quote has (RFC 4884, section 4); 0 if it says nothing.
    fn stated_octets(header: &[u8; 8]) -> usize;

    /// Protocol and place of the transport header of the packet that `quote` starts with, however far it is quoted; the
    /// place is `None` in a later fragment, which has no such header.
    ///
    /// # Errors
    /// A quote that ends before that can be said, or contradicts itself.
    fn transport(quote: &[u8]) -> Result<(u8, Option<usize>), Flaw>;

    /// Sets TTL or hop limit, and the header checksum if there is one; a header too short is left alone.
    fn set_hop_limit(header: &mut [u8], hop_limit: u8);
}

/// What the type of a message says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// See [`Message`], as for all of these.
    EchoRequest,
    /// The answer to one.
    EchoReply,
    /// Neighbour discovery.
    Neighbour,
    /// An error.
    Error,
    /// Anything else.
    Other,
}

/// Octets of the header: type, code, checksum, and four whose meaning depends on the type.
pub const HEADER: usize = 8;

/// Reads the message that `packet`, whose protocol is [`IcmpFamily::ICMP`], carries; the frame begins with `head`. Linear
/// in the length of errors and echo requests, for their checksum.
///
/// # Errors
/// What makes it unusable.
pub fn read<F: IcmpFamily>(packet: &Packet, head: &[u8]) -> Result<Message<F>, Flaw> {
    let (start, end) = (usize::from(packet.layout.l4), usize::from(packet.layout.end));
    let octets = end.checked_sub(start).filter(|octets| *octets >= HEADER).ok_or(Flaw::Malformed)?;
    let header: &[u8; HEADER] = head.get(start..).and_then(<[u8]>::first_chunk).ok_or(Flaw::Malformed)?;
    let is_echo = match F::kind(header[0]) {
        Kind::EchoRequest => true,
        Kind::Error => false,
        // Whoever gets these looks at them again.
        Kind::EchoReply => return Ok(Message::EchoReply),
        Kind::Neighbour => return Ok(Message::Neighbour),
        Kind::Other => return Ok(Message::Other),
    };
    let Some(message) = head.get(start..end) else {
        // In several parts. Only an echo has reason to be so large, and who gets its answer sees if it is damaged.
        return if is_echo { Ok(Message::EchoRequest) } else { Err(Flaw::Malformed) };
    };
    let addresses = head.get(usize::from(packet.layout.l3)..).and_then(F::pair_in).ok_or(Flaw::Malformed)?;
    if checksum::fold(checksum::sum(message) + F::pseudo_sum(addresses, octets)) != 0xffff {
        return Err(Flaw::Checksum);
    }
    if is_echo {
        return Ok(Message::EchoRequest);
    }
    if F::is_mtu_impossible(header) {
        return Err(Flaw::Mtu);
    }
    let (_, receiver) = F::addresses(addresses);
    quote(header, &message[HEADER..], receiver).map(Message::Error)
}

/// Reads what an error for `receiver` quotes; `rest` is what stands behind the error's header.
fn quote<F: IcmpFamily>(header: &[u8; HEADER], rest: &[u8], receiver: F::Address) -> Result<Quote<F>, Flaw> {
    // Before RFC 4884 the field was unused, and what stands there may mean nothing (section 5.5).
    let stated = Some(F::stated_octets(header)).filter(|octets| *octets >= LEAST_STATED);
    let quote = stated.and_then(|octets| rest.get(..octets)).unwrap_or(rest);
    if quote.first().is_none_or(|first| first >> 4 != F::VERSION) {
        return Err(Flaw::Malformed);
    }
    let addresses = F::pair_in(quote).ok_or(Flaw::Malformed)?;
    // An error goes to the sender of what it is about.
    if F::addresses(addresses).0 != receiver {
        return Err(Flaw::Malformed);
    }
    let (protocol, place) = F::transport(quote)?;
    let octets = quote.len();
    let (Some(protocol), Some(transport)) = (Protocol::from_number(protocol), place) else {
        return Ok(Quote { tuple: None, transport: octets, octets });
    };
    // RFC 792 and RFC 5508, section 4: eight octets of it are always there; four hold the ports.
    let ports: &[u8; 8] = quote.get(transport..).and_then(<[u8]>::first_chunk).ok_or(Flaw::Malformed)?;
    let [s0, s1, d0, d1, ..] = *ports;
    let tuple = FiveTuple::from_wire(addresses, PortPair::from_octets([s0, s1, d0, d1]), protocol);
    Ok(Quote { tuple: Some(tuple), transport, octets })
}

/// Makes the error that `packet` in `head` carries, and whose quote was found to be `quote`, what the other side of a
/// flow understands: between `addresses`, about a packet that carried `to`, with one hop less. All checksums are updated
/// incrementally (RFC 1624). `alteration` is what makes of the quoted segment the one that the other side sent, if its
/// numbers were changed. The quoted header's own checksum is not judged before (RFC 5508, REQ-3 a advises to): there
/// are hosts and routers that quote a header with fields changed, and their errors are as true as others.
pub fn translate<F: IcmpFamily>(
    head: &mut [u8],
    packet: &Packet,
    quote: &Quote<F>,
    (addresses, alteration): (F::Pair, Option<&Alteration>),
    to: &FiveTuple<F>,
) {
    let Some(from) = &quote.tuple else { return };
    let Some(header) = head.get_mut(usize::from(packet.layout.l3)..) else { return };
    let Some(before) = F::pair_in(header) else { return };
    let moved = Delta::between(
        u32::from(checksum::pair_sum::<F>(before)),
        u32::from(checksum::pair_sum::<F>(addresses)),
    );
    F::rewrite_header(header, addresses, moved.and(Delta::HOP));

    // Nothing changes behind the quoted transport header, which is of 60 octets at most.
    let changing = HEADER + quote.octets.min(quote.transport + 60);
    let start = usize::from(packet.layout.l4);
    let Some(message) = head.get_mut(start..start + changing) else { return };
    let old = checksum::sum(message) + F::pseudo_sum(before, 0);
    rewrite_quote(&mut message[HEADER..], quote.transport, from, to);
    if let Some(alteration) = alteration
        && to.protocol() == Protocol::Tcp
        && let Some(segment) = message.get_mut(HEADER + quote.transport..)
    {
        alteration.apply_to(segment);
    }
    let new = checksum::sum(message) + F::pseudo_sum(addresses, 0);
    update_checksum(message, Delta::between(old, new));
}

/// The path MTU that the error in `packet` reports, in octets of IP packet, if it does: 0 if that is unknown.
#[must_use]
pub fn reported_mtu<F: IcmpFamily>(head: &[u8], packet: &Packet) -> Option<u32> {
    F::reported_mtu(head.get(usize::from(packet.layout.l4)..)?.first_chunk()?)
}

/// Lowers the MTU that the error in `packet` reports, if it does, by `growth`: what we add to packets on the way that it is
/// of, so that their sender learns what is left for it. Not below what every way takes.
pub fn lower_mtu<F: IcmpFamily>(head: &mut [u8], packet: &Packet, growth: u16) {
    let Some(message) = head.get_mut(usize::from(packet.layout.l4)..) else { return };
    let Some(header) = message.first_chunk_mut::<HEADER>() else { return };
    let Some(places) = F::mtu_in(header) else { return };
    let before = u16::from_be_bytes(places.map(|place| header[place]));
    let after = before.saturating_sub(growth).max(before.min(F::LEAST_MTU));
    for (place, octet) in places.into_iter().zip(after.to_be_bytes()) {
        header[place] = octet;
    }
    update_checksum(header, Delta::between(before.into(), after.into()));
}

/// Makes the answer of the echo request that `packet` in `head` carries, without options or extension headers: from the
/// address that it was sent to, with the same identifier, sequence number and data (RFC 792; RFC 4443, section 4.2).
pub fn answer_echo<F: IcmpFamily>(head: &mut [u8], packet: &Packet) {
    let Some(header) = head.get_mut(usize::from(packet.layout.l3)..) else { return };
    let Some(addresses) = F::pair_in(header) else { return };
    F::readdress(header, F::reversed(addresses), Delta::between(0, 0));
    F::set_hop_limit(header, HOP_LIMIT);
    let Some(message) = head.get_mut(usize::from(packet.layout.l4)..) else { return };
    let [request, reply] = F::ECHO;
    message[0] = reply;
    let word = |icmp_type: u8| u32::from(icmp_type) << 8;
    update_checksum(message, Delta::between(word(request), word(reply)));
    // Of zeros alone the sum is zero, which an update takes for all ones (RFC 1624, section 3).
    let octets = usize::from(packet.layout.end - packet.layout.l4);
    if message.get(..octets).is_some_and(|message| message.iter().all(|octet| *octet == 0)) {
        message[2..4].fill(0xff);
    }
}

/// Changes a message's checksum; `change` is in network byte order.
fn update_checksum(message: &mut [u8], change: Delta) {
    let Some(field) = message.get_mut(2..).and_then(<[u8]>::first_chunk_mut::<2>) else { return };
    *field = change.apply(u16::from_be_bytes(*field)).to_be_bytes();
}

impl IcmpFamily for V4 {
    const ICMP: u8 = 1;
    const ECHO: [u8; 2] = [8, 0];

    /// The numbers are RFC 792's.
    fn kind(icmp_type: u8) -> Kind {
        match icmp_type {
            0 => Kind::EchoReply,
            8 => Kind::EchoRequest,
            // Destination unreachable, time exceeded, parameter problem.
            3 | 11 | 12 => Kind::Error,
            _ => Kind::Other,
        }
    }

    fn pseudo_sum(_: u64, _: usize) -> u32 {
        0
    }

    /// Zero comes from routers older than RFC 1191 (section 5), and of the others the receiver takes what it can.
    fn is_mtu_impossible(_: &[u8; 8]) -> bool {
        false
    }

    /// RFC 1191, section 4: fragmentation needed, in the lower half of a field that was unused before.
    fn mtu_in(header: &[u8; 8]) -> Option<[usize; 2]> {
        matches!(*header, [3, 4, .., high, low] if (high, low) != (0, 0)).then_some([6, 7])
    }

    /// RFC 1191, section 4.
    fn reported_mtu(header: &[u8; 8]) -> Option<u32> {
        let [icmp_type, code, .., high, low] = *header;
        ((icmp_type, code) == (3, 4)).then_some(u16::from_be_bytes([high, low]).into())
    }

    /// RFC 791, section 3.2.
    const LEAST_MTU: u16 = 68;

    fn stated_octets(header: &[u8; 8]) -> usize {
        usize::from(header[5]) * 4
    }

    fn transport(quote: &[u8]) -> Result<(u8, Option<usize>), Flaw> {
        let header: &[u8; 20] = quote.first_chunk().ok_or(Flaw::Malformed)?;
        let octets = usize::from(header[0] & 0x0f) * 4;
        if octets < 20 {
            return Err(Flaw::Malformed);
        }
        let is_first = u16::from_be_bytes([header[6], header[7]]) & 0x1fff == 0;
        Ok((header[9], is_first.then_some(octets)))
    }

    fn set_hop_limit(header: &mut [u8], hop_limit: u8) {
        let Some(header) = header.first_chunk_mut::<20>() else { return };
        let word = |ttl: u8| u32::from(ttl) << 8;
        let change = Delta::between(word(header[8]), word(hop_limit));
        header[8] = hop_limit;
        let checksum = change.apply(u16::from_be_bytes([header[10], header[11]]));
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
}

impl IcmpFamily for V6 {
    const ICMP: u8 = 58;
    const ECHO: [u8; 2] = [128, 129];

    /// The numbers are RFC 4443's and RFC 4861's.
    fn kind(icmp_type: u8) -> Kind {
        match icmp_type {
            // Destination unreachable, packet too big, time exceeded, parameter problem.
            1..=4 => Kind::Error,
            128 => Kind::EchoRequest,
            129 => Kind::EchoReply,
            133..=136 => Kind::Neighbour,
            _ => Kind::Other,
        }
    }

    /// RFC 8200, section 8.1.
    fn pseudo_sum(addresses: [u64; 4], octets: usize) -> u32 {
        let addresses = u32::from(u16::from_be(checksum::pair_sum::<Self>(addresses)));
        addresses + u32::try_from(octets).unwrap_or(0) + u32::from(Self::ICMP)
    }

    /// RFC 8201, section 4: a report of less than the minimum MTU must be discarded. It could only make a host slower, or
    /// one that knows no better send atomic fragments (RFC 8021).
    fn is_mtu_impossible(header: &[u8; 8]) -> bool {
        const PACKET_TOO_BIG: u8 = 2;
        let [icmp_type, _, _, _, mtu @ ..] = *header;
        icmp_type == PACKET_TOO_BIG && u32::from_be_bytes(mtu) < IPV6_MINIMUM_MTU
    }

    /// RFC 4443, section 3.2: packet too big. More than fits the lower half is none that we would reach.
    fn mtu_in(header: &[u8; 8]) -> Option<[usize; 2]> {
        matches!(*header, [2, _, _, _, 0, 0, ..]).then_some([6, 7])
    }

    /// RFC 4443, section 3.2.
    fn reported_mtu(header: &[u8; 8]) -> Option<u32> {
        let [icmp_type, _, _, _, mtu @ ..] = *header;
        (icmp_type == 2).then_some(u32::from_be_bytes(mtu))
    }

    /// RFC 8200, section 5.
    const LEAST_MTU: u16 = 1280;

    fn stated_octets(header: &[u8; 8]) -> usize {
        // Destination unreachable and time exceeded alone have the field (RFC 4884, sections 4.4 and 4.5).
        if matches!(header[0], 1 | 3) { usize::from(header[4]) * 8 } else { 0 }
    }

    fn transport(quote: &[u8]) -> Result<(u8, Option<usize>), Flaw> {
        const HOP_BY_HOP: u8 = 0;
        const ROUTING: u8 = 43;
        const FRAGMENT: u8 = 44;
        const DESTINATION_OPTIONS: u8 = 60;

        let mut next = *quote.get(6).ok_or(Flaw::Malformed)?;
        let mut at = 40;
        for _ in 0..=MAX_EXTENSION_HEADERS {
            if !matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS) {
                return Ok((next, Some(at)));
            }
            let header: &[u8; 8] = quote.get(at..).and_then(<[u8]>::first_chunk).ok_or(Flaw::Malformed)?;
            let is_fragment = next == FRAGMENT;
            next = header[0];
            if is_fragment && u16::from_be_bytes([header[2], header[3]]) & 0xfff8 != 0 {
                return Ok((next, None));
            }
            at += if is_fragment { 8 } else { (usize::from(header[1]) + 1) * 8 };
        }
        Err(Flaw::Malformed)
    }

    fn set_hop_limit(header: &mut [u8], hop_limit: u8) {
        if let Some(field) = header.get_mut(7) {
            *field = hop_limit;
        }
    }
}

/// What every link of IPv6 carries (RFC 8200, section 5).
const IPV6_MINIMUM_MTU: u32 = V6::LEAST_MTU as u32;

/// What an error with a length field quotes at least, be it of zeros (RFC 4884, section 4).
const LEAST_STATED: usize = 128;

#[cfg(test)]
mod tests;
