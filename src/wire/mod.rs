//! Packets as bytes: the only place that knows their layout and byte order.
//!
//! [`parse()`] decides what is well-formed; what it returns says where things stand, so that the rest
//! need not look again. [`rewrite`](mod@rewrite) is the one place that changes addresses and ports. Nothing here
//! panics, whatever the bytes; values that come out are in host byte order.

pub mod checksum;
pub mod common;
pub mod craft;
pub mod encapsulate;
pub mod ethernet;
pub mod fast_open;
pub mod fragment;
pub mod grow;
pub mod handshake;
pub mod icmp;
#[cfg(target_arch = "x86_64")]
pub mod lanes;
pub mod mss;
pub mod option_list;
pub mod options;
pub mod outer_quote;
pub mod parse;
pub mod proxy;
pub mod rewrite;
pub mod segment;
pub mod split;
pub mod stream;
pub mod toa;

pub use common::Common;
pub use fragment::Fragment;
pub use icmp::IcmpFamily;
pub use parse::{Layout, Malformed, Network, Packet, Parsed, Transport, parse};
pub use rewrite::{Change, Rewrite, WireFamily, rewrite, rewrite_addresses};
pub use segment::Segment;
pub use stream::{Alteration, Renumber};

/// TCP flag bits (RFC 9293, 3.1).
pub mod tcp_flags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// The acknowledgement field counts.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer counts.
    pub const URG: u8 = 0x20;

    /// Whether some TCP sends segments with these flags. None begins and ends at once (SYN with FIN was T/TCP's, which is
    /// history: RFC 6247), or resets what it begins or ends; and all but a SYN and a reset acknowledge something, or their
    /// receiver drops them (RFC 9293, 3.10.7.4, fifth). Port scanners send the rest: nothing (null), FIN with URG and PSH
    /// (Christmas tree). Linux's connection tracking judges alike, but also of URG, which harms nobody.
    #[must_use]
    #[inline(always)]
    pub const fn are_possible(flags: u8) -> bool {
        match flags & (SYN | RST | FIN) {
            0 | FIN => flags & ACK != 0,
            marks => marks == SYN || marks == RST,
        }
    }
}
