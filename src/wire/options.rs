//! The options of a TCP header (RFC 9293, 3.1), one after another.

use std::ops::Range;

/// Kinds of options (IANA, TCP option kind numbers) that are told apart here.
pub mod kind {
    /// What follows is padding.
    pub const END: u8 = 0;
    /// A single octet between options.
    pub const NOTHING: u8 = 1;
    /// The largest segment that the sender takes (RFC 9293, 3.7.1).
    pub const MAXIMUM_SEGMENT_SIZE: u8 = 2;
    /// The scale of the sender's windows (RFC 7323, 2.2).
    pub const WINDOW_SCALE: u8 = 3;
    /// Selective acknowledgements are understood (RFC 2018, 2).
    pub const SACK_PERMITTED: u8 = 4;
    /// What was received behind a gap (RFC 2018, 3).
    pub const SACK: u8 = 5;
    /// The sender's clock, and the last value of the receiver's (RFC 7323, 3.2).
    pub const TIMESTAMPS: u8 = 8;
    /// A keyed digest of the segment (RFC 2385).
    pub const MD5: u8 = 19;
    /// Its successor, TCP-AO (RFC 5925, 2.2).
    pub const AUTHENTICATION: u8 = 29;
    /// A cookie that lets data travel with a SYN, or a request for one (RFC 7413, 4.1.1).
    pub const FAST_OPEN: u8 = 34;
}

/// The first option at or behind `place` in `options`: its kind, and where it stands, kind and length included. `None`
/// behind the last one, and from one on that is cut short or contradicts itself. Goes over as much padding as there is.
#[must_use]
pub fn option_from(options: &[u8], mut place: usize) -> Option<(u8, Range<usize>)> {
    loop {
        match *options.get(place)? {
            kind::END => return None,
            kind::NOTHING => place += 1,
            kind => {
                // Kind and length are in it.
                let length = usize::from(*options.get(place + 1)?);
                let end = place + length;
                return (length >= 2 && end <= options.len()).then_some((kind, place..end));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(options: &[u8]) -> Vec<(u8, Range<usize>)> {
        let next = |place| option_from(options, place);
        std::iter::successors(next(0), |(_, at)| next(at.end)).collect()
    }

    #[test]
    fn options_are_found_between_padding_and_none_behind_a_broken_one() {
        let options = [1, 2, 4, 5, 180, 1, 1, 4, 2, 0, 8, 2];
        assert_eq!(kinds(&options), [(kind::MAXIMUM_SEGMENT_SIZE, 1..5), (kind::SACK_PERMITTED, 7..9)]);
        assert_eq!(kinds(&[3, 1, 7, 4, 2]), [], "shorter than itself");
        assert_eq!(kinds(&[4, 2, 8, 10, 0]), [(kind::SACK_PERMITTED, 0..2)], "cut short");
        assert_eq!(kinds(&[4, 2, 8]), [(kind::SACK_PERMITTED, 0..2)]);
    }
}
