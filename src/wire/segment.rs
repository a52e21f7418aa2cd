//! A TCP segment's place in the two streams of its connection.

use super::tcp_flags::{ACK, FIN, SYN};
use super::{Packet, Transport};

/// What the header of a TCP segment says (RFC 9293, 3.1), as far as answers depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The sender's port.
    pub source_port: u16,
    /// The receiver's port.
    pub destination_port: u16,
    /// Of the first octet of data, or of the SYN.
    pub sequence: u32,
    /// What the sender expects next; `None` without the ACK flag.
    pub acknowledgement: Option<u32>,
    /// See [`super::tcp_flags`].
    pub flags: u8,
    /// What the sender takes, as it stands there: not scaled.
    pub window: u16,
    /// Where its data begin in the frame.
    start: u16,
    /// The first octet behind them.
    end: u16,
}

impl Segment {
    /// Reads the segment of a packet that was found in `head`; `None` unless it is a whole one.
    #[must_use]
    #[inline(always)]
    pub fn read(packet: &Packet, head: &[u8]) -> Option<Self> {
        if packet.transport != Transport::Tcp {
            return None;
        }
        let header: &[u8; 20] = head.get(usize::from(packet.layout.l4)..)?.first_chunk()?;
        let short = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let word =
            |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let start = packet.layout.l4 + u16::from(header[12] >> 4) * 4;
        (start <= packet.layout.end).then_some(Self {
            source_port: short(0),
            destination_port: short(2),
            sequence: word(4),
            acknowledgement: (packet.tcp_flags & ACK != 0).then_some(word(8)),
            flags: packet.tcp_flags,
            window: short(14),
            start,
            end: packet.layout.end,
        })
    }

    /// Octets of data.
    #[must_use]
    pub const fn octets(&self) -> u16 {
        self.end - self.start
    }

    /// The data, as far as they stand in `head`.
    #[must_use]
    pub fn data<'a>(&self, head: &'a [u8]) -> &'a [u8] {
        let end = usize::from(self.end).min(head.len());
        head.get(usize::from(self.start)..end).unwrap_or_default()
    }

    /// The sequence number behind the segment, which acknowledges all of it: SYN and FIN take one each (RFC 9293, 3.4).
    #[must_use]
    pub const fn next(&self) -> u32 {
        let marks = (self.flags & SYN != 0) as u32 + (self.flags & FIN != 0) as u32;
        self.sequence.wrapping_add(self.octets() as u32).wrapping_add(marks)
    }
}
