//! What a TCP segment says of the two streams of its connection, told to somebody who counts otherwise: sequence and
//! acknowledgement numbers, SACK blocks, timestamps, window.
//!
//! A segment's length stays; everything is changed where it stands, and never beyond the header's own length.

use super::checksum::{self, Delta};
use super::options::{kind, option_from};
use super::tcp_flags::{ACK, SYN};
use super::{Packet, Transport};

/// How the numbers of one stream become those that somebody else counts by, modulo 2^32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Renumber {
    /// What is added.
    pub by: u32,
    /// What a number that would be before this one becomes, as numbers go (RFC 9293, 3.4): the beginning of a stream whose
    /// receiver got something ahead of it that its sender knows nothing of.
    pub least: Option<u32>,
}

impl Renumber {
    /// Adds `by` to every number.
    #[must_use]
    pub const fn by(by: u32) -> Self {
        Self { by, least: None }
    }

    /// What `number` becomes.
    #[must_use]
    #[inline]
    pub const fn of(self, number: u32) -> u32 {
        let sum = number.wrapping_add(self.by);
        match self.least {
            Some(least) if is_before(sum, least) => least,
            Some(_) | None => sum,
        }
    }

    const fn is_nothing(self) -> bool {
        self.by == 0 && self.least.is_none()
    }
}

/// Whether `a` is before `b` in a stream: less than 2^31 ahead of it (RFC 9293, 3.4).
#[must_use]
pub const fn is_before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) > i32::MAX as u32
}

/// What is done to a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alteration {
    /// To the sequence number.
    pub sequence: Renumber,
    /// To the acknowledgement number and the edges of SACK blocks.
    pub acknowledgement: Renumber,
    /// Added to the timestamp.
    pub clock: u32,
    /// Added to the timestamp that is echoed.
    pub echo: u32,
    /// Whether timestamps become options that mean nothing (RFC 9293, 3.1, kind 1): for a receiver that has not offered them
    /// (RFC 7323, 3.2). The segment keeps its length.
    pub blanks_timestamps: bool,
    /// The window becomes 2 to the power of this times itself, at most 65,535; -14 to 14. That of a SYN, which is never
    /// scaled (RFC 7323, 2.2), stays.
    pub scale: i8,
    /// Taken from the window, then, down to nothing.
    pub narrower: u16,
}

impl Alteration {
    /// Does it to the segment of `packet`, which is in the frame that `head` is the first part of; its checksum is updated
    /// (RFC 1624). What is no whole TCP segment, or the first piece of one, stays.
    pub fn apply(&self, head: &mut [u8], packet: &Packet) {
        if packet.transport != Transport::Tcp {
            return;
        }
        let end = usize::from(packet.layout.end).min(head.len());
        if let Some(segment) = head.get_mut(usize::from(packet.layout.l4)..end) {
            self.apply_to(segment);
        }
    }

    /// Does it to the segment that `segment` begins with, as far as it is there: errors quote no more than eight octets
    /// of it. A checksum of which not both octets are there is left alone.
    pub(super) fn apply_to(&self, segment: &mut [u8]) {
        let flags = segment.get(13).copied().unwrap_or(ACK);
        let acknowledges = flags & ACK != 0;
        let mut sums = Sums::default();
        sums.renumber(segment, 4, self.sequence);
        if acknowledges {
            sums.renumber(segment, 8, self.acknowledgement);
        }
        let scale = if flags & SYN == 0 { self.scale } else { 0 };
        if scale != 0 || self.narrower != 0 {
            sums.change(segment, 14, |window| {
                let window = scaled(u16::from_be_bytes(window), scale);
                window.saturating_sub(self.narrower).to_be_bytes()
            });
        }
        self.apply_to_options(segment, acknowledges, &mut sums);
        // RFC 1624, equation 3.
        if let Some(field) = segment.get_mut(16..).and_then(<[u8]>::first_chunk_mut::<2>) {
            *field = sums.delta().apply(u16::from_be_bytes(*field)).to_be_bytes();
        }
    }

    fn apply_to_options(&self, segment: &mut [u8], acknowledges: bool, sums: &mut Sums) {
        let header = segment.get(12).map_or(0, |octet| usize::from(octet >> 4) * 4).min(segment.len());
        let Some(options) = segment.get_mut(20..header) else { return };
        let mut place = 0;
        while let Some((kind, at)) = option_from(options, place) {
            place = at.end;
            let value = at.start + 2;
            match (kind, at.len()) {
                (kind::TIMESTAMPS, 10) if self.blanks_timestamps => {
                    sums.change(options, at.start, |_: [u8; 10]| [kind::NOTHING; 10]);
                }
                (kind::TIMESTAMPS, 10) => {
                    sums.renumber(options, value, Renumber::by(self.clock));
                    // RFC 7323, 3.2: without an acknowledgement the echo means nothing.
                    if acknowledges {
                        sums.renumber(options, value + 4, Renumber::by(self.echo));
                    }
                }
                (kind::SACK, length) => {
                    for edge in (0..(length - 2) / 4).map(|edge| value + edge * 4) {
                        sums.renumber(options, edge, self.acknowledgement);
                    }
                }
                _ => {}
            }
        }
    }
}

/// What changed words add to the sum of a segment: before, and now.
#[derive(Default)]
struct Sums {
    old: u32,
    new: u32,
}

impl Sums {
    /// Renumbers the number at `place`, if all of it is there.
    #[inline]
    fn renumber(&mut self, bytes: &mut [u8], place: usize, renumber: Renumber) {
        if !renumber.is_nothing() {
            self.change(bytes, place, |number| renumber.of(u32::from_be_bytes(number)).to_be_bytes());
        }
    }

    /// Changes the octets at `place`, if all of them are there. `bytes` begin at an even place of the segment.
    #[inline]
    fn change<const N: usize>(
        &mut self,
        bytes: &mut [u8],
        place: usize,
        change: impl FnOnce([u8; N]) -> [u8; N],
    ) {
        let Some(field) = bytes.get_mut(place..).and_then(<[u8]>::first_chunk_mut::<N>) else { return };
        // At an odd place each octet belongs to the other half of a word (RFC 1071, section 2 B).
        let sum = |field: &[u8; N]| {
            let sum = checksum::fold(checksum::sum(field));
            u32::from(if place.is_multiple_of(2) { sum } else { sum.swap_bytes() })
        };
        self.old += sum(field);
        *field = change(*field);
        self.new += sum(field);
    }

    const fn delta(&self) -> Delta {
        Delta::between(self.old, self.new)
    }
}

fn scaled(window: u16, scale: i8) -> u16 {
    let window = u32::from(window);
    let by = u32::from(scale.unsigned_abs()).min(15);
    let window = if scale < 0 { window >> by } else { window << by };
    u16::try_from(window).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests;
