//! SYN cookies (RFC 4987, 3.6): what is known of a connection that is being opened stands in our first sequence number
//! and timestamp, which the client's acknowledgement brings back.
//!
//! ```text
//!   cookie    = | 2 bits: time | 3 bits: maximum segment size | 27 bits: keyed hash of all of this |
//!   timestamp = | 27 bits: milliseconds in units of 32 | 1 bit: SACK | 4 bits: window scale |
//! ```
//!
//! The layout of the timestamp is after Linux's. Without timestamps there is no room for the scale, and it is not offered;
//! nor is SACK then. Who guesses is right once in 2^26 acknowledgements, and gets no more than a connection.

use crate::hash::{IndexKey, SipKey};
use crate::model::{Family, FiveTuple, Nanos};
use crate::wire::Segment;
use crate::wire::handshake::Offer;

/// The secret of the cookies, the same for all workers of a process.
#[derive(Clone, Copy, Debug)]
pub(super) struct SynCookies(SipKey);

/// What a client said in its SYN, as far as a cookie keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// One of [`SIZES`], not above the client's.
    pub(super) mss: u16,
    /// See [`Offer`].
    pub(super) scale: Option<u8>,
    /// See [`Offer`].
    pub(super) sack: bool,
    /// Whether it has timestamps.
    pub(super) timestamps: bool,
}

/// What a SYN is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cookie {
    /// Our first sequence number.
    pub(super) sequence: u32,
    /// Our clock, if the client has one.
    pub(super) clock: Option<u32>,
    /// What is kept.
    pub(super) kept: Kept,
}

/// What an acknowledgement brought back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Brought {
    /// A cookie that holds, the client's first sequence number, and what was kept.
    Right(Cookie, u32),
    /// A cookie of ours that is too old.
    Late,
    /// No cookie of ours.
    Wrong,
}

/// Maximum segment sizes that are kept: what RFC 9293 (3.7.1) has every host take, over IPv4 and IPv6, what crosses common
/// tunnels, PPPoE and Ethernet, and jumbo frames. The least is for who offers still less.
const SIZES: [u16; 8] = [256, 536, 1220, 1300, 1380, 1440, 1460, 8940];

/// How long a connection has the same cookie. It holds for the next such time, too: one to two minutes, as Linux's do.
const SLOT: Nanos = Nanos::from_secs(64);

const HASH_BITS: u32 = 27;
const OPTION_BITS: u32 = 5;
const SACK: u8 = 1 << 4;
const NO_SCALE: u8 = 15;

/// In place of options: the client has no timestamps.
const NO_OPTIONS: u8 = 1 << 7;

impl Kept {
    /// What a cookie keeps of an offer, and the place of the segment size in [`SIZES`].
    fn of<F: Family>(offer: &Offer) -> (Self, u32) {
        // RFC 9293, 3.7.1: without the option.
        let default = if F::VERSION == 4 { 536 } else { 1220 };
        let offered = offer.mss.unwrap_or(default);
        let larger = (0..).zip(SIZES).skip(1).take_while(|(_, size)| *size <= offered);
        let (place, mss) = larger.last().unwrap_or((0, SIZES[0]));
        let timestamps = offer.timestamps.is_some();
        let kept = Self {
            mss,
            scale: offer.scale.filter(|_| timestamps),
            sack: offer.sack && timestamps,
            timestamps,
        };
        (kept, place)
    }

    /// Its octet in timestamps and hashes.
    pub(super) const fn options(&self) -> u8 {
        if !self.timestamps {
            return NO_OPTIONS;
        }
        let scale = match self.scale {
            Some(scale) => scale,
            None => NO_SCALE,
        };
        scale | if self.sack { SACK } else { 0 }
    }

    /// What [`options`](Self::options) says, with this segment size.
    pub(super) fn from_options(options: u8, mss: u16) -> Self {
        let timestamps = options & NO_OPTIONS == 0;
        let scale = options & (SACK - 1);
        Self {
            mss,
            scale: (timestamps && scale != NO_SCALE).then_some(scale),
            sack: timestamps && options & SACK != 0,
            timestamps,
        }
    }
}

impl SynCookies {
    /// The cookies of a process with this key.
    pub(super) fn new(key: &IndexKey) -> Self {
        Self(key.derive(u64::from_be_bytes(*b"syncooky")))
    }

    /// The cookie for a client that begins with `sequence` and offers this.
    pub(super) fn make<F: Family>(
        &self,
        tuple: &FiveTuple<F>,
        sequence: u32,
        offer: &Offer,
        now: Nanos,
    ) -> Cookie {
        let (kept, size) = Kept::of::<F>(offer);
        let options = kept.options();
        let slot = slot(now);
        Cookie {
            sequence: self.sequence(tuple, sequence, (slot, size), options),
            clock: kept.timestamps.then(|| clock(now) | u32::from(options)),
            kept,
        }
    }

    /// What the acknowledgement of a segment brings back; `echo` is the timestamp that it echoes.
    pub(super) fn check<F: Family>(
        &self,
        tuple: &FiveTuple<F>,
        segment: &Segment,
        echo: Option<u32>,
        now: Nanos,
    ) -> Brought {
        let Some(cookie) = segment.acknowledgement.map(|number| number.wrapping_sub(1)) else {
            return Brought::Wrong;
        };
        let age = slot(now).wrapping_sub(u64::from(cookie >> 30)) & 3;
        let place = cookie >> HASH_BITS & 7;
        let options = echo.map_or(NO_OPTIONS, options_in);
        let what = (slot(now).wrapping_sub(age), place);
        let is_from = |first| self.sequence(tuple, first, what, options) == cookie;
        // Behind the SYN; or, as some probe a window of zero, at it (RFC 9293, 3.8.6.1, leaves it open).
        let behind = segment.sequence.wrapping_sub(1);
        let first = if is_from(behind) {
            behind
        } else if segment.octets() == 0 && is_from(segment.sequence) {
            segment.sequence
        } else {
            return Brought::Wrong;
        };
        if age > 1 {
            return Brought::Late;
        }
        let mss = SIZES.get(place as usize).copied().unwrap_or(SIZES[0]);
        let kept = Kept::from_options(options, mss);
        Brought::Right(Cookie { sequence: cookie, clock: echo, kept }, first)
    }

    #[expect(clippy::cast_possible_truncation, reason = "any bits of a hash are as good as others")]
    fn sequence<F: Family>(
        &self,
        tuple: &FiveTuple<F>,
        first: u32,
        (slot, place): (u64, u32),
        options: u8,
    ) -> u32 {
        let ports = u64::from(tuple.ports().word()) << 8 | u64::from(F::VERSION);
        let what = u64::from(first) << 32 | u64::from(place) << 8 | u64::from(options);
        let words = F::words(tuple.addresses());
        let hash = match F::VERSION {
            4 => self.0.hash(&[words[0], ports, slot, what]),
            _ => self.0.hash(&[words[0], words[1], words[2], words[3], ports, slot, what]),
        };
        (slot as u32 & 3) << 30 | place << HASH_BITS | hash as u32 & ((1 << HASH_BITS) - 1)
    }
}

const fn slot(now: Nanos) -> u64 {
    now.0 / SLOT.0
}

/// Our clock without its low bits.
#[expect(clippy::cast_possible_truncation, reason = "timestamps wrap (RFC 7323, 5.2)")]
const fn clock(now: Nanos) -> u32 {
    (now.0 / 1_000_000) as u32 >> OPTION_BITS << OPTION_BITS
}

#[expect(clippy::cast_possible_truncation, reason = "the low bits are what is asked for")]
const fn options_in(clock: u32) -> u8 {
    clock as u8 & ((1 << OPTION_BITS) - 1)
}

/// How long cookies may come back for that were made until some moment.
pub(super) const LIFETIME: Nanos = Nanos(2 * SLOT.0);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Protocol, V4, V6};
    use crate::wire::ethernet::Link;
    use crate::wire::handshake::Bare;
    use crate::wire::{Parsed, parse};

    fn cookies() -> SynCookies {
        SynCookies::new(&IndexKey::new([1, 2, 3, 4]))
    }

    fn offers() -> impl Strategy<Value = Offer> {
        let sizes = prop_oneof![any::<u16>(), prop::sample::select(&SIZES[..])];
        let options =
            (prop::option::of(sizes), prop::option::of(0..=14_u8), any::<bool>(), any::<Option<u32>>());
        options.prop_map(|(mss, scale, sack, clock)| Offer {
            mss,
            scale,
            sack,
            timestamps: clock.map(|clock| (clock, 0)),
        })
    }

    fn segment(sequence: u32, acknowledgement: u32) -> Segment {
        let tuple = FiveTuple::<V4>::new((1, 2), (3, 4), Protocol::Tcp);
        let acknowledgement = Some(acknowledgement);
        let bare = Bare { tuple, sequence, acknowledgement, flags: 0, window: 1, offer: Offer::default() };
        let frame = [&[2; 12][..], &[8, 0], &bare.packet()].concat();
        let link = Link::read(&frame).unwrap();
        let Ok(Parsed::Ip(packet)) = parse(&link, &frame, frame.len()) else { panic!("{frame:x?}") };
        Segment::read(&packet, &frame).unwrap()
    }

    proptest! {
        #[test]
        fn a_cookie_brings_back_what_was_offered_for_one_to_two_slots(
            client: (u128, u16),
            vip: (u128, u16),
            first: u32,
            offer in offers(),
            seconds in 0_u64..1 << 33,
            probes: bool,
        ) {
            let tuple = FiveTuple::<V6>::new(client, vip, Protocol::Tcp);
            let began = Nanos::from_secs(seconds);
            let cookie = cookies().make(&tuple, first, &offer, began);
            let Kept { mss, scale, sack, timestamps } = cookie.kept;
            prop_assert!(mss <= offer.mss.unwrap_or(1220).max(SIZES[0]), "never more than the client takes");
            prop_assert_eq!(timestamps, offer.timestamps.is_some());
            let all = (offer.scale, offer.sack);
            prop_assert_eq!((scale, sack), if timestamps { all } else { (None, false) });
            let from = if probes { first } else { first.wrapping_add(1) };
            let answer = segment(from, cookie.sequence.wrapping_add(1));
            let brought =
                |later| cookies().check(&tuple, &answer, cookie.clock, began + Nanos::from_secs(later));
            for later in [0, 63, 64] {
                prop_assert_eq!(brought(later), Brought::Right(cookie, first));
            }
            for later in [128, 191] {
                prop_assert_eq!(brought(later), Brought::Late);
            }
            prop_assert_eq!(brought(256), Brought::Wrong);
        }

        #[test]
        fn no_other_connection_time_number_or_option_passes(
            client: (u32, u16),
            vip: (u32, u16),
            first: u32,
            offer in offers(),
            change in 0..7_u8,
            by in 1_u32..,
        ) {
            let now = Nanos::from_secs(100_000);
            let tuple = |c: u32, p: u16, v: u32, q: u16| {
                FiveTuple::<V4>::new((client.0 ^ c, client.1 ^ p), (vip.0 ^ v, vip.1 ^ q), Protocol::Tcp)
            };
            let cookie = cookies().make(&tuple(0, 0, 0, 0), first, &offer, now);
            let port = u16::try_from(by & 0xffff).unwrap() | 1;
            let (mut from, mut number) = (first.wrapping_add(1), cookie.sequence.wrapping_add(1));
            let (mut then, mut echo, mut other) = (now, cookie.clock, tuple(0, 0, 0, 0));
            match change {
                0 => other = tuple(by, 0, 0, 0),
                1 => other = tuple(0, port, 0, 0),
                2 => other = tuple(0, 0, by, 0),
                3 => other = tuple(0, 0, 0, port),
                4 => number = number.wrapping_add(by),
                5 => from = from.wrapping_add(by),
                _ => echo = match echo {
                    Some(clock) if by % 2 == 0 => Some(clock ^ 1 << (by / 2 % OPTION_BITS)),
                    Some(_) => None,
                    None => Some(by),
                },
            }
            if by == 7 {
                then = then + SLOT;
            }
            // A probe stands one before, and is right.
            prop_assume!(from != first);
            let brought = cookies().check(&other, &segment(from, number), echo, then);
            prop_assert_eq!(brought, Brought::Wrong);
        }
    }

    #[test]
    fn who_guesses_is_right_no_oftener_than_said() {
        let tuple = FiveTuple::<V4>::new((1, 40_000), (2, 80), Protocol::Tcp);
        let now = Nanos::from_secs(1_000);
        let mut segment = segment(5, 6);
        let right = (0..2_000_000_u32).filter(|n| {
            segment.acknowledgement = Some(n.wrapping_mul(0x9e37_79b9));
            cookies().check(&tuple, &segment, None, now) != Brought::Wrong
        });
        // Two first numbers, 27 bits: 0.03 expected.
        assert!(right.count() <= 1);
    }

    #[test]
    fn a_segment_size_is_kept_as_it_is_or_lowered() {
        for (offered, kept) in [(None, 536), (Some(100), 256), (Some(1452), 1440), (Some(9000), 8940)] {
            let (of, _) = Kept::of::<V4>(&Offer { mss: offered, ..Offer::default() });
            assert_eq!(of.mss, kept, "{offered:?}");
        }
    }
}
